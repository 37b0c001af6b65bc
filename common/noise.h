/* The sky of one raw ccd, measured: what a lossy codec must know before it may be lossy.
 * push's workers call this for every ccd of every exposure, so it reads only as many rows
 * as a good median needs (about a million pixels; 2 to 3 ms for a DECam ccd).
 *
 * Noise is the third-order estimator of Stoehr et al. 2007 (DER_SNR, ST-ECF Newsletter 42):
 * the median of |2 x[i] - x[i-2] - x[i+2]| along rows is 1.482602 sqrt(6) sigma of white noise,
 * whatever the sky's level and slope. Two refinements. Pixels are integers and the noise may be
 * one ADU, so the histogram's counts are compared with the normal distribution at edges
 * between integers, where they are exact, rather than its median read off at an integer.
 * And values over twice the sigma are left out (the normal distribution cut likewise), so
 * that stars do not shift the median. Rounding to integers (1/12 ADU^2) is part of the noise.
 *
 * Limits: it sees white noise. Noise correlated between neighbours in a row (resampled or
 * smoothed frames, frames that went through a lossy codec) is underestimated. Differences of
 * response from pixel to pixel count as noise: half a percent outweighs the photons in a flat. */
#ifndef SKYFERRY_NOISE_H
#define SKYFERRY_NOISE_H

#include "common/regions.h"

/* ADU as BZERO and BSCALE give them. NaN: cannot be measured and the header does not say. */
struct sky {
    double level;      /* median of the data, bias included; the mean over the amplifiers */
    double noise;      /* sigma of one pixel of sky; the rms over the amplifiers */
    double bias;       /* median of the overscan; the mean over the amplifiers */
    double read_noise; /* sigma of one pixel of overscan; else the header's over the gain */
    double gain;       /* e-/ADU: (level - bias) / (noise^2 - read_noise^2), else the header's */
    bool read_noise_measured, gain_measured; /* false: the header's */
};

/* Measures each amplifier's section and overscan for itself. Saturated, blank and non-finite
 * pixels do not count. The gain is measured when light makes 40 % of the variance or more, the
 * pixels are enough to tell it to 2 %, and the sky is not so bright (some 300 ADU at 4 e-/ADU)
 * that unequal pixels could falsify it by more than 5 %.
 * Constant data, or all but, have noise 0; under 64 usable pixels there is no noise (NaN).
 * A saturation level below the sky leaves nothing to measure. RETRY only (memory). */
enum status sky_measure(const struct fits_image *img, const struct regions *r, struct sky *out);

#endif
