/* One ccd as the measuring job sees it: overscan taken off amplifier by amplifier, the
 * light-sensitive pixels alone, as floats in ADU. Made from a placed FITS file; the
 * sections come from the header (DECam's DATASECA/B and BIASSECA/B, else DATASEC/TRIMSEC
 * and BIASSEC, else the whole image and no overscan). Owned by the caller. */
#ifndef SKYFERRY_FRAME_H
#define SKYFERRY_FRAME_H

#include <stddef.h>

#include "common/fits.h"
#include "common/status.h"

struct frame {
    struct fits_header header;
    long width, height;
    float *pixel;        /* width * height, row by row; NaN where the file has no value */
    double bias;         /* mean of the amplifiers' overscan levels, ADU; NaN: no overscan */
    double saturated;    /* fraction of the pixels at or above SATURATA/B, SATURATE, else full scale */
    double saturation;   /* the lowest level used for that, ADU above overscan */
};

enum status frame_load(const char *path, struct frame *out, struct fault *why);
void frame_free(struct frame *f);

/* Writes the frame as a float FITS file for a detector (not durable: it is scratch). */
enum status frame_save(const struct frame *f, const char *path, struct fault *why);

/* Sky level and its scatter: sigma-clipped (3 sigma, started from median and MAD, at most
 * 10 rounds) over at most 250,000 pixels evenly spread. The scatter is that of neighbouring
 * pixels' differences over sqrt(2), so that a gradient does not count as noise, divided
 * by 0.9866, what 3-sigma clipping leaves of a normal distribution's. NaN: no pixels. */
void frame_sky(const struct frame *f, double *level, double *noise);

#endif
