/* A ccd's bad-pixel mask, for `exact = masked`: DIR/N.fits.fz or DIR/N.fits, N the ccd's number,
 * the first image in it; not 0 where a pixel is masked. Read anew for each ccd of each exposure,
 * so that masks can be exchanged while the agent runs. Any thread. */
#ifndef SKYFERRY_MASK_H
#define SKYFERRY_MASK_H

#include "common/fits.h"

/* Is there a file for this ccd that can be read? */
bool mask_is_there(const char *directory, int ccd);

/* One byte a pixel, 1 where masked. *out is malloc'ed. REJECT: there is no such file, it is no
 * FITS, or it is not as large as img (the words name the file). RETRY: memory. */
enum status mask_load(const char *directory, int ccd, const struct fits_image *img,
                      unsigned char **out, struct fault *why);

#endif
