/* Frames for the codec `quantized`: values of any type in and out, and a sky. */
#ifndef SKYFERRY_QUANTIZED_FIXTURE_H
#define SKYFERRY_QUANTIZED_FIXTURE_H

#include <math.h>

#include "tests/unit/codec_fixture.h"

static uint64_t noise_seed = 7;

static inline double normal(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += fixture_random(&noise_seed) / 4294967296.0;
    return sum;
}

static inline void put_value(struct fits_image *img, size_t i, double v)
{
    unsigned char *p = img->data + i * (size_t)abs(img->bitpix) / 8;
    float f = (float)v;
    uint32_t single;
    uint64_t both;
    memcpy(&single, &f, 4);
    memcpy(&both, &v, 8);
    if (img->bitpix > 0)
        put_pixel(p, img->bitpix / 8, (int64_t)v);
    else
        put_pixel(p, -img->bitpix / 8, img->bitpix == -32 ? (int64_t)single : (int64_t)both);
}

/* As stored; NaN stays one. */
static inline double value(const struct fits_image *img, size_t i)
{
    int bytes = abs(img->bitpix) / 8;
    const unsigned char *p = img->data + i * (size_t)bytes;
    uint64_t u = 0;
    for (int k = 0; k < bytes; k++)
        u = u << 8 | p[k];
    uint32_t low = (uint32_t)u;
    float f;
    double d;
    memcpy(&f, &low, 4);
    memcpy(&d, &u, 8);
    return img->bitpix == 8     ? (double)u
           : img->bitpix == 16  ? (double)(int16_t)u
           : img->bitpix == 32  ? (double)(int32_t)low
           : img->bitpix == -32 ? (double)f
                                : d;
}

static inline size_t pixels(const struct fits_image *img)
{
    return img->size / ((size_t)abs(img->bitpix) / 8);
}

/* A sky of noise 2 with some stars; 16-bit unsigned when is_unsigned. */
static inline void make_sky(struct fits_image *img, int bitpix, int width, int height, bool is_unsigned)
{
    make_image(img, bitpix, width, height, is_unsigned, PIX_ZERO);
    double level = bitpix == 8 ? 100 : is_unsigned ? -31000 : 1000, top = bitpix == 8 ? 140 : 30000;
    for (size_t i = 0; i < pixels(img); i++) {
        double v = level + 2 * normal() + (fixture_random(&noise_seed) % 2000 == 0 ? top : 0);
        put_value(img, i, bitpix > 0 ? floor(v + 0.5) : v);
    }
}

#endif
