/*
 * camera.h - the instrument: how many CCDs, where they stand, how each is read out, and the filters.
 *
 * The default is DECam: 62 CCDs of 2160 x 4146 raw pixels on 12 columns of the focal plane, numbered and named as the
 * instrument's are. Each CCD has two amplifiers, A and B, with a prescan and an overscan column block on each side and a block
 * of overscan rows: below the data for the S half of the focal plane, where A reads the right half; above the data for the
 * N half, where A reads the left. Other sizes keep these proportions. CCDs beyond 62 follow on further columns, named X63...
 * What is fixed about a CCD (levels, gains, bad columns) comes from the camera's seed and its number only.
 * Plain values; nothing here allocates or keeps state.
 */
#ifndef SIMCAM_CAMERA_H
#define SIMCAM_CAMERA_H

#include <stdbool.h>
#include <stdint.h>

#define CAMERA_PIXEL_ARCSEC 0.263
#define CAMERA_SMALLEST 64      /* raw pixels on a side */
#define CAMERA_LARGEST 32767
#define CAMERA_MOST_CCDS 999
#define CAMERA_WELL_MARGIN 1.02 /* a full well lies so much above the level that SATURATE gives */

struct camera {
    long width, height;         /* raw, with overscan */
    long data_width, data_height;
    long prescan, overscan;     /* columns on each side */
    long overscan_rows;
    int ccds;
    int dead_ccd;               /* number of a CCD that sees no light, 0 for none */
    uint64_t seed;
};

/* Inclusive pixel ranges counted from 1, as in a FITS section keyword; all in the raw frame. */
struct section {
    long x1, x2, y1, y2;
};

struct amplifier {
    char name;                  /* 'A' or 'B' */
    bool left;
    double bias;                /* ADU */
    double gain;                /* electrons per ADU */
    double read_noise;          /* electrons */
    double saturation;          /* ADU, raw */
    struct section data, overscan, prescan, postscan;
};

struct ccd {
    int number;                 /* CCDNUM, from 1 */
    char name[16];              /* DETPOS and EXTNAME */
    bool south, dead;
    struct amplifier amp[2];    /* A, B */
    int left;                   /* which of amp[] reads the left half */
    struct section data;        /* both halves */
    double crpix1, crpix2;      /* the optical axis in raw pixels of this CCD */
    double efficiency;          /* relative to the mean CCD */
    long column, row2;          /* place in the mosaic: column from 0, twice the row from 0 (rows come in halves) */
    uint64_t key;               /* seeds everything fixed about this CCD */
};

struct filter {
    const char *name;           /* as a user gives it */
    const char *title;          /* the FILTER keyword */
    double zero_point;          /* magnitude of one electron per second */
    double colour;              /* magnitude = g - colour * (g - r) */
    double sky_rate;            /* dark-sky ADU per second and pixel */
};

/* Lay out a camera; width, height, ccds are within the limits above. */
void camera_init(struct camera *c, long width, long height, int ccds, uint64_t seed);

/* Describe the CCD of a number from 1 to c->ccds. */
void camera_ccd(const struct camera *c, int number, struct ccd *ccd);

/* The distance from the axis to the rim of the field, in pixels: vignetting is relative to it. */
double camera_field_radius(const struct camera *c);

/* The filter of that name (u g r i z Y VR), or NULL. */
const struct filter *filter_find(const char *name);

#endif
