/*
 * scene.h - the light: expected electrons in every data pixel of one CCD, before the noise and the readout.
 *
 * Sky or flat lamp, stars with a Moffat profile (beta 3.5), vignetting and pixel response, wells that overflow along the columns,
 * cosmic rays, bad columns. A scene belongs to one thread, which may use it for one CCD after the other.
 */
#ifndef SIMCAM_SCENE_H
#define SIMCAM_SCENE_H

#include <stddef.h>

#include "exposure.h"

/* A star as it was placed; x, y in raw FITS pixels, flux_adu the total that the frame holds of it. */
struct placed_star {
    double x, y, ra, dec, mag, flux_adu;
    bool saturated;
};

struct scene {
    long width, height;         /* of the data section */
    float *light;               /* electrons, row by row */
    struct placed_star *stars;  /* those whose centres are on the data section */
    size_t star_count, star_room;
    bool failed;                /* out of memory while the stars were placed */
};

/* Make room for the CCDs of a camera; 0, or -1 for want of memory. */
int scene_open(struct scene *s, const struct camera *c);

/* Fill light and stars for one CCD of an exposure; 0, or -1 for want of memory. */
int scene_build(struct scene *s, const struct exposure *e, const struct ccd *ccd);

void scene_close(struct scene *s);

#endif
