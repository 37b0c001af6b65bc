/* Skies of Gaussian noise for what is measured in units of it: values of 16 bits, and what came of
 * them after a codec. */
#ifndef SKYFERRY_SKY_FIXTURE_H
#define SKYFERRY_SKY_FIXTURE_H

#include <math.h>

#include "tests/unit/codec_fixture.h"

static uint64_t sky_seed = 0x5eed5eed5eedULL;

/* Box and Muller's method; two at a time. */
static inline void two_normals(double out[2])
{
    double u = (fixture_random(&sky_seed) + 1.0) / 4294967297.0;
    double turn = 6.283185307179586 * (fixture_random(&sky_seed) / 4294967296.0);
    double r = sqrt(-2 * log(u));
    out[0] = r * cos(turn);
    out[1] = r * sin(turn);
}

/* ADU of a 16-bit image. */
static inline int adu(const struct fits_image *img, size_t i, bool is_unsigned)
{
    return (int16_t)(img->data[2 * i] << 8 | img->data[2 * i + 1]) + (is_unsigned ? 32768 : 0);
}

static inline void put_adu(struct fits_image *img, size_t i, double v, bool is_unsigned)
{
    int low = is_unsigned ? 0 : -32768, high = low + 65535;
    int n = v < low ? low : v > high ? high : (int)floor(v + 0.5);
    put_pixel(img->data + 2 * i, 2, n - (is_unsigned ? 32768 : 0));
}

/* A level and white noise, cut to the range of the values. */
static inline void make_noise(struct fits_image *img, int width, int height, bool is_unsigned,
                              double level, double noise)
{
    double two[2] = {0, 0};
    make_image(img, 16, width, height, is_unsigned, PIX_ZERO);
    for (size_t i = 0; i < img->size / 2; i++) {
        if (i % 2 == 0 && noise > 0)
            two_normals(two);
        put_adu(img, i, level + noise * two[i % 2], is_unsigned);
    }
}

#endif
