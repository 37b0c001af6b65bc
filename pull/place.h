/* Names and folders from the header, by template (S4.27, S4.28). Header values are hostile
 * input: each one becomes a harmless path component (fs_name_clean) before it is filled in,
 * and the result is joined below the store's root (fs_join). Pure text, any thread; writing
 * the file is pull/place_file.h.
 *     {night} utYYMMDD   {ccd} 7   {ccd2} 07   {object}   {filter} whole   {filter1} its first
 *     character   {expnum}   {obstype}   {propid}   {extname}   {name} the exposure's root
 * A value that the header lacks becomes "none" (object: "unnamed"); a missing exposure number
 * becomes the digits of the source file's name, else the exposure's name. */
#ifndef SKYFERRY_PULL_PLACE_H
#define SKYFERRY_PULL_PLACE_H

#include "common/camera.h"
#include "common/manifest.h"

struct place_values {
    const char *night, *name, *source_name, *extname;
    const struct facts *facts;
    const struct camera *camera;
    int ccd;
};

/* Is the template usable? Reports unknown placeholders, an absolute or ".." path, no {ccd}
 * (two ccds would share a name) and neither {expnum} nor {name}. key names it in messages. */
bool place_check(const char *template, const char *key, struct config_report *r);

/* The path below root. REJECT, with the template named, when it is no safe path. */
enum status place_path(const char *template, const struct place_values *v, char *out, size_t size,
                       struct fault *why);

/* "a/b.fits" and 2 give "a/b~2.fits": the name of another version. False: too long. */
bool place_version(const char *path, int version, char *out, size_t size);

#endif
