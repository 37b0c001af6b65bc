#include "common/fits_tile.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

/* ---- which images ---- */

/* A card's number; `missing` when there is none; false when it is no finite number. */
static bool number_or(const struct fits_header *h, const char *key, double missing, double *out)
{
    *out = missing;
    return fits_header_find(h, key) < 0 || (fits_header_real(h, key, out) && isfinite(*out));
}

bool fits_tile_values(const struct fits_image *img, struct tile_values *out)
{
    const struct fits_header *h = &img->header;
    int bits = img->bitpix;
    struct tile_values v = {.bitpix = bits, .packed = bits};
    if (!number_or(h, "BSCALE", 1, &v.scale) || !number_or(h, "BZERO", 0, &v.zero))
        return false;
    *out = v;
    if (bits < 0) /* readers would take a scale of floats for one of the quantised integers */
        return v.scale == 1 && v.zero == 0;
    if (bits != 8 && bits != 16 && bits != 32)
        return false;
    v.low = bits == 8 ? 0 : -ldexp(1, bits - 1);
    v.high = v.low + ldexp(1, bits) - 1;
    if (fits_header_find(h, "BLANK") >= 0 && !fits_header_int(h, "BLANK", &v.blank))
        return false;
    v.has_blank = fits_header_find(h, "BLANK") >= 0 && (double)v.blank >= v.low &&
                  (double)v.blank <= v.high; /* others are the blank of no pixel */
    /* Tiles that are kept exactly hold floats, which must tell all the values apart. */
    bool plain = bits != 32 && v.scale == 1 && v.zero == floor(v.zero) && fabs(v.zero) <= 1 << 23;
    v.packed = plain ? -32 : -64;
    *out = v;
    return fabs(v.scale) > 1e-200 && fabs(v.scale) < 1e200 &&
           fabs(v.zero) <= ldexp(fabs(v.scale), 32);
}

/* ---- stored to physical ---- */

VECTORISE static void read16(const unsigned char *restrict p, size_t n, double scale, double zero,
                             double *restrict x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (double)(int16_t)(uint16_t)(p[2 * i] << 8 | p[2 * i + 1]) * scale + zero;
}

static int32_t get_i32(const unsigned char *p)
{
    uint32_t u;
    memcpy(&u, p, 4);
    return (int32_t)__builtin_bswap32(u);
}

static double get_real(const unsigned char *p, int bitpix)
{
    uint32_t single;
    uint64_t both;
    float f;
    double d;
    if (bitpix == -32) {
        memcpy(&single, p, 4);
        single = __builtin_bswap32(single);
        memcpy(&f, &single, 4);
        return (double)f;
    }
    memcpy(&both, p, 8);
    both = __builtin_bswap64(both);
    memcpy(&d, &both, 8);
    return d;
}

static int64_t get_stored(const unsigned char *p, int bitpix)
{
    return bitpix == 8 ? *p : bitpix == 16 ? (int16_t)(p[0] << 8 | p[1]) : get_i32(p);
}

void fits_tile_read_values(const struct tile_values *v, const unsigned char *stored, size_t n,
                           double *x)
{
    size_t size = (size_t)(v->bitpix < 0 ? -v->bitpix : v->bitpix) / 8;
    if (v->bitpix == 16)
        read16(stored, n, v->scale, v->zero, x);
    for (size_t i = 0; v->bitpix < 0 && i < n; i++)
        x[i] = get_real(stored + i * size, v->bitpix);
    for (size_t i = 0; (v->bitpix == 8 || v->bitpix == 32) && i < n; i++)
        x[i] = (double)get_stored(stored + i * size, v->bitpix) * v->scale + v->zero;
    for (size_t i = 0; v->has_blank && i < n; i++)
        if (get_stored(stored + i * size, v->bitpix) == v->blank)
            x[i] = (double)NAN;
}

/* ---- and back ---- */

VECTORISE static void write16(const double *restrict x, size_t n, double scale, double zero,
                              uint16_t *restrict to)
{
    for (size_t i = 0; i < n; i++) {
        double y = (x[i] - zero) / scale + 32768;
        y = y > 0 ? y : 0; /* NaN, too */
        y = y < 65535 ? y : 65535;
        to[i] = __builtin_bswap16((uint16_t)((uint16_t)(int32_t)(y + 0.5) ^ 0x8000u));
    }
}

static int64_t to_stored(const struct tile_values *v, double x)
{
    double y = (x - v->zero) / v->scale;
    if (y != y)
        return v->blank;
    y = y < v->low ? v->low : y > v->high ? v->high : y;
    int64_t stored = (int64_t)(y - v->low + 0.5) + (int64_t)v->low;
    if (!v->has_blank || stored != v->blank)
        return stored;
    /* A bright or dark pixel next to the blank value is still a pixel. */
    bool up = y >= (double)stored ? (double)stored < v->high : (double)stored <= v->low;
    return up ? stored + 1 : stored - 1;
}

static void put_stored(unsigned char *p, size_t size, int64_t value)
{
    for (size_t i = size; i-- > 0; value >>= 8)
        p[i] = (unsigned char)(value & 0xff);
}

/* A value next to the largest may come back beyond it: that is no infinity. */
static void put_real(unsigned char *p, int bitpix, double x)
{
    double most = bitpix == -32 ? (double)FLT_MAX : DBL_MAX;
    x = x > most ? most : x < -most ? -most : x;
    float f = (float)x;
    uint32_t single;
    uint64_t both;
    memcpy(&single, &f, 4);
    memcpy(&both, &x, 8);
    single = __builtin_bswap32(single);
    both = __builtin_bswap64(both);
    if (bitpix == -32)
        memcpy(p, &single, 4);
    else
        memcpy(p, &both, 8);
}

void fits_tile_write_values(const struct tile_values *v, const double *x, size_t n,
                            unsigned char *stored)
{
    size_t size = (size_t)(v->bitpix < 0 ? -v->bitpix : v->bitpix) / 8;
    if (v->bitpix == 16 && !v->has_blank) {
        write16(x, n, v->scale, v->zero, (uint16_t *)(void *)stored);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (v->bitpix < 0)
            put_real(stored + i * size, v->bitpix, x[i]);
        else
            put_stored(stored + i * size, size, to_stored(v, x[i]));
}
