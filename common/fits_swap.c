#include "common/fits_private.h"

#include <stdlib.h>
#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

VECTORISE static void swap16(uint16_t *restrict to, const uint16_t *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = __builtin_bswap16(from[i]);
}

VECTORISE static void swap32(uint32_t *restrict to, const uint32_t *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = __builtin_bswap32(from[i]);
}

VECTORISE static void swap64(uint64_t *restrict to, const uint64_t *restrict from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = __builtin_bswap64(from[i]);
}

void fits_swap_copy(void *restrict to, const void *restrict from, size_t n, int size)
{
    if (size == 2)
        swap16(to, from, n);
    else if (size == 4)
        swap32(to, from, n);
    else if (size == 8)
        swap64(to, from, n);
    else
        memcpy(to, from, n);
}

void fits_unshuffle(unsigned char *restrict to, const unsigned char *restrict from, size_t n,
                    int size)
{
    for (int k = 0; k < size; k++)
        for (size_t i = 0; i < n; i++)
            to[i * (size_t)size + (size_t)k] = from[(size_t)k * n + i];
}

void fits_shuffle(unsigned char *restrict to, const unsigned char *restrict from, size_t n,
                  int size)
{
    for (int k = 0; k < size; k++)
        for (size_t i = 0; i < n; i++)
            to[(size_t)k * n + i] = from[i * (size_t)size + (size_t)k];
}

double fits_stored_value(const unsigned char *p, int bitpix)
{
    uint64_t u = 0;
    for (int i = 0; i < abs(bitpix) / 8; i++)
        u = u << 8 | p[i];
    switch (bitpix) {
    case 8:
        return (double)u;
    case 16:
        return (int16_t)u;
    case 32:
        return (int32_t)u;
    case 64:
        return (double)(int64_t)u;
    case -32: {
        float f;
        uint32_t w = (uint32_t)u;
        memcpy(&f, &w, sizeof f);
        return (double)f;
    }
    default: {
        double d;
        memcpy(&d, &u, sizeof d);
        return d;
    }
    }
}
