#include "common/fits.h"

#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

/* RICE_1 (FITS standard 4.0, 10.4.1) sends a row's first value, then for each block of 32
 * pixels a number fs, and each pixel's difference from the one before, folded to 0, 1, 2...,
 * as its lowest fs bits and the rest in unary: n * (fs + 1) bits and the sum of all v >> fs.
 * Each of those is more than v / 2^fs - (1 - 1 / 2^fs), hence the bound for any fs. */
#define BLOCK 32

VECTORISE static uint64_t sum16(const unsigned char *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t last, next;
        memcpy(&last, p + 2 * i, 2);
        memcpy(&next, p + 2 * i + 2, 2);
        int16_t d = (int16_t)(__builtin_bswap16(next) - __builtin_bswap16(last));
        sum += (uint16_t)((uint16_t)d << 1 ^ (d < 0 ? 0xffff : 0));
    }
    return sum;
}

VECTORISE static uint64_t sum8(const unsigned char *p, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        int8_t d = (int8_t)(p[i + 1] - p[i]);
        sum += (uint8_t)((uint8_t)d << 1 ^ (d < 0 ? 0xff : 0));
    }
    return sum;
}

/* Bits of a block of n differences that add up to `sum`, without those that say fs. */
static uint64_t least_bits(uint64_t sum, uint64_t n, int bits)
{
    uint64_t least = n * (uint64_t)bits;
    if (sum == 0)
        return 0;
    for (uint64_t fs = 0; fs < (uint64_t)bits; fs++) {
        uint64_t cost = n * fs + ((sum + n) >> fs);
        least = cost < least ? cost : least;
    }
    return least;
}

size_t fits_tile_least(const struct fits_image *img)
{
    if ((img->bitpix != 8 && img->bitpix != 16) || img->naxes[0] < 1)
        return 0;
    size_t width = (size_t)img->naxes[0], bytes = (size_t)img->bitpix / 8, total = 0;
    for (size_t row = 0; row < img->size; row += width * bytes) {
        uint64_t bits = 0;
        for (size_t x = 1; x < width; x += BLOCK) {
            size_t n = width - x < BLOCK ? width - x : BLOCK;
            const unsigned char *before = img->data + row + (x - 1) * bytes;
            bits += (bytes == 2 ? 4 : 3) +
                    least_bits(bytes == 2 ? sum16(before, n) : sum8(before, n), n, img->bitpix);
        }
        total += 8 + bytes + bits / 8; /* a row of the table; in the heap behind it */
    }
    return total;
}
