#include "push/proof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

struct run {
    const struct proof_order *o;
    struct exact *exact;
    int64_t width;
    size_t size;             /* bytes of a pixel */
    double scale, zero;      /* BSCALE and BZERO */
    double unit;             /* ADU of one stored unit */
    double saturate;         /* ADU from which a pixel is saturated; INFINITY: never */
    double squares, max, max_coded;
    struct fits_datasum sum;
    unsigned char *row;      /* one, with exact pixels put in */
};

/* ---- one row ---- */

#define RUN 4096 /* pixels */

/* The sum of the squares, which may have overflown: right when the largest difference says so. */
VECTORISE static uint32_t compare_run(const uint16_t *restrict a, const uint16_t *restrict b,
                                      size_t n, int32_t *most)
{
    uint32_t sum = 0;
    int32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t d = (int16_t)__builtin_bswap16(a[i]) - (int16_t)__builtin_bswap16(b[i]);
        int32_t size = d < 0 ? -d : d;
        max = size > max ? size : max;
        sum += (uint32_t)size * (uint32_t)size;
    }
    *most = max;
    return sum;
}

static void compare16(const uint16_t *a, const uint16_t *b, size_t n, int64_t *squares,
                      int32_t *most)
{
    *squares = *most = 0;
    for (size_t at = 0; at < n; at += RUN) {
        size_t run = n - at < RUN ? n - at : RUN;
        int32_t max;
        int64_t sum = compare_run(a + at, b + at, run, &max);
        if (max > 1000) {
            sum = 0;
            for (size_t i = at; i < at + run; i++) {
                int64_t d = (int16_t)__builtin_bswap16(a[i]) - (int16_t)__builtin_bswap16(b[i]);
                sum += d * d;
            }
        }
        *squares += sum;
        *most = max > *most ? max : *most;
    }
}

static uint64_t stored_bits(const unsigned char *p)
{
    uint64_t u;
    memcpy(&u, p, sizeof u);
    return __builtin_bswap64(u);
}

/* In stored units. Two that are no number are equal; large 64-bit integers are more than a double
 * can tell apart. */
static double difference(const unsigned char *a, const unsigned char *b, int bitpix)
{
    if (bitpix == 64) {
        int64_t i = (int64_t)stored_bits(a), k = (int64_t)stored_bits(b);
        return (double)(i > k ? (uint64_t)i - (uint64_t)k : (uint64_t)k - (uint64_t)i);
    }
    double x = fits_stored_value(a, bitpix), y = fits_stored_value(b, bitpix);
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? 0 : INFINITY;
    return x == y ? 0 : fabs(x - y);
}

static void compare(const struct run *r, const unsigned char *raw, const unsigned char *got,
                    double *squares, double *most)
{
    int bitpix = r->o->raw->bitpix;
    *squares = *most = 0;
    if (bitpix == 16) {
        int64_t sum;
        int32_t max;
        compare16((const uint16_t *)(const void *)raw, (const uint16_t *)(const void *)got,
                  (size_t)r->width, &sum, &max);
        *squares = (double)sum;
        *most = max;
        return;
    }
    for (int64_t x = 0; x < r->width; x++) {
        double d = difference(raw + (size_t)x * r->size, got + (size_t)x * r->size, bitpix);
        *squares += d * d;
        *most = fmax(*most, d);
    }
}

/* The sections are those of each plane of a cube: y counts within its plane. */
static bool in_overscan(const struct regions *g, int64_t x, int64_t y)
{
    for (int i = 0; i < g->overscans; i++) {
        const struct rectangle *r = &g->overscan[i];
        if (x >= r->x0 && x < r->x1 && y >= r->y0 && y < r->y1)
            return true;
    }
    return false;
}

/* Which pixels travel exactly; they are put into r->row. */
static bool gather(struct run *r, int64_t y, const unsigned char *raw)
{
    const struct proof_order *o = r->o;
    int bitpix = o->raw->bitpix;
    int64_t in_plane = o->raw->naxis > 1 ? y % o->raw->naxes[1] : 0;
    for (int64_t x = 0; x < r->width; x++) {
        const unsigned char *a = raw + (size_t)x * r->size;
        unsigned char *b = r->row + (size_t)x * r->size;
        bool wanted = difference(a, b, bitpix) * r->unit > o->bound ||
                      ((o->exact & EXACT_SATURATED) &&
                       r->zero + r->scale * fits_stored_value(a, bitpix) >= r->saturate) ||
                      ((o->exact & EXACT_OVERSCAN) && in_overscan(o->regions, x, in_plane)) ||
                      ((o->exact & EXACT_MASKED) && o->mask[y * r->width + x]);
        if (!wanted)
            continue;
        if (!exact_add(r->exact, y * r->width + x, 1, a))
            return false;
        memcpy(b, a, r->size);
    }
    return true;
}

static enum status take_row(void *ctx, int64_t y, const unsigned char *got, struct fault *why)
{
    struct run *r = ctx;
    size_t bytes = (size_t)r->width * r->size;
    const unsigned char *raw = r->o->raw->data + (size_t)y * bytes;
    double squares, most;
    compare(r, raw, got, &squares, &most);
    r->max_coded = fmax(r->max_coded, most);
    if (r->o->exact || most * r->unit > r->o->bound) {
        memcpy(r->row, got, bytes);
        if (!gather(r, y, raw))
            return fault(why, ST_RETRY, "out of memory for pixels that travel exactly");
        got = r->row;
        compare(r, raw, got, &squares, &most);
    }
    r->squares += squares;
    r->max = fmax(r->max, most);
    fits_datasum_add(&r->sum, got, bytes);
    return ST_OK;
}

/* ---- the whole ---- */

/* Where the header names no level: the largest value of the type. */
static double saturated_at(int bitpix, double zero, double scale)
{
    double most = bitpix == 8 ? 255 : bitpix == 16 ? INT16_MAX : INT32_MAX;
    return bitpix > 0 && bitpix <= 32 && scale > 0 ? zero + scale * most : INFINITY;
}

static double real_or(const struct fits_header *h, const char *key, double missing)
{
    double value;
    return fits_header_real(h, key, &value) ? value : missing;
}

enum status proof_run(const struct proof_order *o, const struct buf *member, struct exact *exact,
                      struct proof *out, struct fault *why)
{
    const struct fits_image *raw = o->raw;
    struct fits_image got = {0};
    struct run r = {.o = o, .exact = exact, .width = raw->naxes[0],
                    .size = (size_t)abs(raw->bitpix) / 8,
                    .scale = real_or(&raw->header, "BSCALE", 1),
                    .zero = real_or(&raw->header, "BZERO", 0), .saturate = INFINITY};
    enum status st = ST_OK;
    *exact = (struct exact){.size = (int)r.size};
    if (o->exact & EXACT_SATURATED)
        r.saturate = isfinite(o->regions->saturate)
                         ? o->regions->saturate
                         : saturated_at(raw->bitpix, r.zero, r.scale);
    r.unit = fabs(r.scale);
    r.row = malloc((size_t)r.width * r.size);
    if (!r.row || (!o->codec->has_header && !fits_header_copy(&got.header, &raw->header)))
        st = fault(why, ST_RETRY, "out of memory for a row");
    if (st == ST_OK)
        st = codec_rows(o->codec, member->data, member->len, &got, take_row, &r, why);
    *out = (struct proof){.rms = sqrt(r.squares / (double)(raw->size / r.size)) * r.unit,
                          .max = r.max * r.unit, .max_coded = r.max_coded * r.unit,
                          .datasum = fits_datasum_end(&r.sum)};
    fits_image_free(&got);
    free(r.row);
    return st;
}

void proof_lossless(const struct fits_image *raw, struct proof *out)
{
    struct fits_datasum sum = {0};
    fits_datasum_add(&sum, raw->data, raw->size);
    *out = (struct proof){.datasum = fits_datasum_end(&sum)};
}
