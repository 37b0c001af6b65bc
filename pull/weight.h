/* The weight map of one delivered ccd: what its raw sky's noise was, pixel by pixel, for detectors
 * that would measure it themselves and take a sky that a codec made smooth for a deep one
 * (skyferry-pull(1), NOISE). Made from the delivered file alone; `skyferry-pull unpack --weights`
 * calls it. Any thread. */
#ifndef SKYFERRY_PULL_WEIGHT_H
#define SKYFERRY_PULL_WEIGHT_H

#include "common/camera.h"

#define WEIGHT_BLOCK 64 /* pixels, about: the local background is the median of such a block */

/* Appends the map to out, as a FITS file of 32-bit floats and the ccd's shape and WCS:
 *
 *   1 / (SFNOISE^2 + (background - level) / SFGAIN)    in ADU^-2, the variance at least SFRDN^2
 *
 * with background the median of the pixel's block, and level the median of these over the
 * amplifier's section. Where no SFGAIN is known the noise is the same everywhere. 0: outside of
 * the data section, saturated (to within SFMAXERR) or no number.
 * Not in it are the photons of the sources, which a detector adds itself by the gain, nor the
 * error of quantisation: on the scale of a source a codec takes away more noise than it adds.
 * REJECT when the header states no noise above 0, or the file is no image of two axes. */
enum status weight_make(const struct buf *file, const struct camera *c, struct buf *out,
                        struct fault *why);

#endif
