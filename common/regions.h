/* Where one raw ccd holds what: the light-sensitive sections, one an amplifier, the
 * overscan of each, and what its header says of saturation, gain and read noise. Which
 * header keys say so is the camera profile's affair (common/camera.h). Header values are
 * hostile input: what is missing, unreadable or outside the image is as if it were not said.
 * Plain values; nothing is allocated; any thread. */
#ifndef SKYFERRY_REGIONS_H
#define SKYFERRY_REGIONS_H

#include "common/camera.h"
#include "common/fits.h"

#define REGIONS_MAX 8

/* Pixels from 0, half-open: x0 <= x < x1, y0 <= y < y1; never empty, always inside the image. */
struct rectangle {
    int64_t x0, y0, x1, y1;
};

struct section {
    struct rectangle data;
    int overscan; /* which of regions.overscan is this amplifier's own; -1: none */
};

struct regions {
    struct rectangle data; /* all that saw light; the whole image when the header does not say */
    struct section section[REGIONS_MAX]; /* the amplifiers' parts of it; data itself when unknown */
    int sections;                        /* >= 1 */
    struct rectangle overscan[REGIONS_MAX];
    int overscans;
    /* From the header; NaN: not said, or not a number above 0. */
    double saturate;   /* ADU: pixels from here on are saturated; the lowest of the keys */
    double gain;       /* e-/ADU, the mean of the keys that are there */
    double read_noise; /* e-, likewise */
};

/* Reads img->header by the profile's keys. Of an image of more than two axes the first plane
 * counts. REJECT, and nothing in out, for an image without pixels. */
enum status regions_read(const struct camera *c, const struct fits_image *img,
                         struct regions *out, struct fault *why);

#endif
