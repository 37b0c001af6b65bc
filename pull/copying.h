/* Copies of calibrations for another night (S4.33): where each one goes, whether it may, and the
 * making. By the templates of [place] a copy has the name that the exposure's ccd would have in
 * that night. The rules: never over another file; a file of that night's own is right there, and
 * takes a copy's place when it comes later (pull/fanout.c); a copy of ours that nobody changed is
 * renewed when its original was. Masters ("bias.master.fits", made of several exposures by
 * somebody else) are known by their name alone and never linked: whoever makes the next one may
 * write into the file. Main thread. */
#ifndef SKYFERRY_PULL_COPYING_H
#define SKYFERRY_PULL_COPYING_H

#include "common/fsutil.h"
#include "pull/catalogue_copies.h"
#include "pull/place_file.h"
#include "pull/settings.h"

enum deed {
    DEED_COPY,
    DEED_RENEW,  /* over our own older copy */
    DEED_THERE,  /* it is there */
    DEED_OWN,    /* the night has a file of its own there */
    DEED_REFUSE  /* another file has the name, or the original is not what it was; *why says it */
};

struct copying {
    struct copy row; /* path, origin, sums: what is wanted */
    enum deed deed;
    enum fs_copy_way way; /* once made */
};

/* The row of one ccd's copy. REJECT: the template gives no path, or the same for every night. */
enum status copying_of(const struct pull_settings *s, const struct exposure *x, const struct ccd *one,
                       const char *night, struct copy *row, struct fault *why);
/* Is the file `rel` where a copy of this ccd would be, in whichever night? */
bool copying_is_copy(const struct pull_settings *s, const struct exposure *x, const struct ccd *one,
                     const char *rel, char night[NIGHT_SIZE]);

/* By its name: PREFIX.master.fits, PREFIX what the template's file name begins with. */
bool copying_is_master(const struct pull_settings *s, enum obstype kind, const char *rel);
/* The folder, below root, of a night's calibrations of one ccd, without a slash at its end. */
enum status copying_folder(const struct pull_settings *s, enum obstype kind, const char *night,
                           int ccd, char *out, size_t size, struct fault *why);

/* Looks at the disk and the catalogue, and decides. Fills in the sums of a row that has none. */
enum status copying_decide(const struct pull_settings *s, struct catalogue *cat, struct copying *c,
                           struct fault *why);
/* Makes the file; the row is in the catalogue by then. */
enum status copying_make(const struct pull_settings *s, struct copying *c, struct fault *why);

/* For the step that places: a calibration of the night's own takes the place of a copy that has its
 * name and that nobody changed; once it is placed the copy's row goes. Science costs nothing. */
enum status copying_give_way(const struct pull_settings *s, struct catalogue *cat,
                             const struct exposure *x, struct place_file *file, struct fault *why);
enum status copying_gave_way(const struct pull_settings *s, struct catalogue *cat,
                             const struct exposure *x, const struct ccd *one, struct fault *why);

#endif
