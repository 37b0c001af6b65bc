/*
 * exposure.h - what one exposure is of: the values that main decides and every other part reads.
 *
 * Plain values; the strings belong to the options or the plan and outlive it. Read only once filled, so threads share it.
 */
#ifndef SIMCAM_EXPOSURE_H
#define SIMCAM_EXPOSURE_H

#include <stdbool.h>
#include <stdint.h>

#include "camera.h"
#include "optics.h"
#include "rng.h"

enum exposure_kind { EXPOSURE_OBJECT, EXPOSURE_FLAT, EXPOSURE_BIAS };

struct exposure {
    enum exposure_kind kind;
    const char *object;                 /* the OBJECT keyword */
    const char *observer, *propid;
    const char *root;                   /* the file's name without directory and extension */
    const struct filter *filter;
    long number;                        /* EXPNUM */
    int64_t start;                      /* when.h */
    double exptime;                     /* seconds; 0 for a bias */
    double seeing_arcsec;
    double sky_adu;                     /* mean background of the frame, ADU, at the centre of the field */
    double ra, dec;                     /* the true pointing, degrees */
    double header_ra, header_dec;       /* the pointing that the header claims */
    struct optics optics;               /* the true pointing */
    bool tpv, checksum, compress;
    bool single;                        /* a file for each CCD, as Hyper Suprime-Cam writes them */
    struct camera camera;
    const struct normal_table *normal;
};

/* A seed for what is particular to a purpose in this exposure of a ccd. */
static inline uint64_t
exposure_key(const struct exposure *e, const struct ccd *ccd, uint64_t purpose)
{
    return rng_hash(rng_hash(ccd->key, (uint64_t)e->number), purpose);
}

#endif
