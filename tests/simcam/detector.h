/*
 * detector.h - the readout: from expected electrons to raw 16-bit numbers.
 *
 * Every raw pixel gets its amplifier's bias level, photon noise and read noise, is divided by the gain, rounded, and clipped as
 * a 16-bit converter does. Overscan and prescan pixels are read the same way, without light. Reentrant.
 */
#ifndef SIMCAM_DETECTOR_H
#define SIMCAM_DETECTOR_H

#include "exposure.h"
#include "scene.h"

/*
 * Read the scene out into pixels: e->camera.width * height big-endian 16-bit integers with the offset of BZERO = 32768, as a
 * FITS data unit holds them, row by row. The caller owns pixels.
 */
void detector_read(const struct scene *s, const struct exposure *e, const struct ccd *ccd, uint16_t *pixels);

#endif
