/* An image through a codec and back, for the codecs' unit programs. */
#ifndef SKYFERRY_CODEC_FIXTURE_H
#define SKYFERRY_CODEC_FIXTURE_H

#include "common/codec.h"
#include "tests/unit/fits_fixture.h"

static const struct codec_options lossless_options[] = {
    {.method = "original"}, {.method = "rice"}, {.method = "htj2k", .reversible = true}, {.method = "jp2", .reversible = true},
    {.method = "htj2k"},    {.method = "jp2", .qstep = 1e-6},
    {.method = "jxl", .qstep = 3e-5}};
#define LOSSLESS_OPTIONS 7

/* Encodes and decodes; the header goes beside the bytes where the codec carries none. */
static inline enum status through(const struct codec_options *o, const struct fits_image *img,
                                  struct buf *bytes, struct fits_image *got, struct fault *why)
{
    const struct codec *c = codec_find(o->method);
    *got = (struct fits_image){0};
    enum status st = c->encode(img, o, bytes, why);
    if (st == ST_OK && !c->has_header && !fits_header_copy(&got->header, &img->header))
        abort();
    if (st == ST_OK)
        st = codec_decode(c, bytes->data, bytes->len, got, why);
    return st;
}

/* The largest and the mean square difference of two images of 8 or 16 bits. */
static inline double compare_pixels(const struct fits_image *a, const struct fits_image *b,
                                    int *worst)
{
    double sum = 0;
    size_t bytes = (size_t)a->bitpix / 8, n = a->size / bytes;
    *worst = 0;
    for (size_t i = 0; i < n; i++) {
        int x = a->data[i * bytes], y = b->data[i * bytes];
        if (bytes == 2) {
            x = (int16_t)(x << 8 | a->data[2 * i + 1]);
            y = (int16_t)(y << 8 | b->data[2 * i + 1]);
        }
        int d = x > y ? x - y : y - x;
        *worst = d > *worst ? d : *worst;
        sum += (double)d * d;
    }
    return sum / (double)n;
}

#endif
