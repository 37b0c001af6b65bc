/* Where one exposure's ccds go: its night, each ccd's path and the request to place it, by the
 * settings' templates (pull/place.h) and policies (pull/place_file.h). Shared by the step that
 * places and by `rebuild`. No state; main thread. */
#ifndef SKYFERRY_PULL_PLACING_H
#define SKYFERRY_PULL_PLACING_H

#include "pull/exposure.h"
#include "pull/place_file.h"
#include "pull/settings.h"

/* An exposure's night (out may be fallback): --run-date, else by the site's rule from DATE-OBS,
 * else `fallback` (the receipt's night). */
void placing_night(const struct pull_settings *s, const struct facts *facts, const char *fallback,
                   char out[NIGHT_SIZE]);

/* A new row for one image member. */
void placing_ccd(struct ccd *out, const struct exposure *x, const struct member *m);

/* What the row says of the member that its file was made from. */
void placing_member(struct ccd *one, const struct member *m);

/* The path below root of one ccd of an exposure. */
enum status placing_path(const struct pull_settings *s, const struct exposure *x,
                         const struct ccd *one, char *out, size_t size, struct fault *why);

/* What two exposures have in common that claim the same names: the path of no ccd. */
enum status placing_claim(const struct pull_settings *s, const struct exposure *x, char *out,
                          size_t size, struct fault *why);

/* The same as a request, with what to do when the name is taken, and the workspace's copy. */
enum status placing_file(const struct pull_settings *s, const struct exposure *x,
                         const struct ccd *c, struct place_file *file, struct fault *why);

/* Removes the drafts that a killed run left in these ccds' folders. */
void placing_sweep(const struct pull_settings *s, const struct exposure *x, const struct ccd *ccds,
                   size_t count);

#endif
