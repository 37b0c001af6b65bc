/*
 * header.h - the keywords of a raw DECam exposure, as the simulated camera knows them.
 *
 * Names, order and comments follow raw DECam headers; what the simulation does not model is left out, not invented, except the
 * few cards that readers of the real files stumble over (a lower-case HIERARCH keyword, INHERIT). Everything is a function of
 * the exposure: no clock is read, so that equal arguments give equal bytes. Reentrant.
 */
#ifndef SIMCAM_HEADER_H
#define SIMCAM_HEADER_H

#include "cards.h"
#include "exposure.h"

/* The cards of the primary HDU, which has no data. */
void header_primary(const struct exposure *e, struct cards *c);

/* The cards of a CCD's image extension, structural keywords included. */
void header_extension(const struct exposure *e, const struct ccd *ccd, struct cards *c);

/* ---- Hyper Suprime-Cam: a visit has two numbers, and each file one CCD as its primary image ---- */

#define HSC_HALF 52             /* science CCDs of either number */
#define HSC_FRAME 16

/* HSCAnnnnnnkk: the visit's first or second number, and which of its CCDs. */
void header_frame(const struct exposure *e, const struct ccd *ccd, char frame[HSC_FRAME]);

/* The cards of that primary image. DET-ID counts from 0. */
void header_single(const struct exposure *e, const struct ccd *ccd, struct cards *c);

#endif
