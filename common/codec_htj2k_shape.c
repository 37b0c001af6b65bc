#include "common/codec_htj2k.h"
#include "common/codec_htj2k_join.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

#define LOW_BITS 3      /* more bits for the low bands, which are averages */
#define MAGNITUDE 1.0e6 /* OpenJPH 0.9 decodes 20 bits */

/* ---- low bands ---- */

/* The low band of one 9/7 analysis step (ISO/IEC 15444-1 annex F: gain 1 at frequency 0) on even
 * samples, the image mirrored at its first and last sample. */
static const float tap[5] = {0.602949018236358f, 0.266864118442872f, -0.078223266528988f,
                             -0.016864118442875f, 0.026748757410810f};

struct low {
    uint32_t width, height;
    float *value;
};

#define MARGIN 4 /* samples of the mirror on each side, half of them even */

/* From: width samples with MARGIN mirrored ones before and behind. */
VECTORISE static void low_row(const float *restrict even, const float *restrict odd,
                              float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = tap[0] * even[i + 2] + tap[1] * (odd[i + 1] + odd[i + 2]) +
                tap[2] * (even[i + 1] + even[i + 3]) + tap[3] * (odd[i] + odd[i + 3]) +
                tap[4] * (even[i] + even[i + 4]);
}

VECTORISE static void low_column(const float *const row[9], float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = tap[0] * row[4][i] + tap[1] * (row[3][i] + row[5][i]) +
                tap[2] * (row[2][i] + row[6][i]) + tap[3] * (row[1][i] + row[7][i]) +
                tap[4] * (row[0][i] + row[8][i]);
}

/* Index i of n samples, mirrored at both ends. */
static size_t mirror(long i, long n)
{
    if (n == 1)
        return 0;
    while (i < 0 || i >= n)
        i = i < 0 ? -i : 2 * (n - 1) - i;
    return (size_t)i;
}

typedef void row_fn(const void *ctx, uint32_t y, float *out);

struct lowering {
    uint32_t width, height, half; /* of the source; half: columns of its low band */
    float *line, *even, *odd;     /* line: one row of the source */
    float *ring;                  /* 16 rows, low in x */
    row_fn *row;
    const void *ctx;
};

static void lower_row(struct lowering *w, uint32_t y)
{
    w->row(w->ctx, y, w->line);
    for (long i = -2; i < (long)w->half + 2; i++) {
        w->even[i + 2] = w->line[mirror(2 * i, w->width)];
        w->odd[i + 2] = w->line[mirror(2 * i + 1, w->width)];
    }
    low_row(w->even, w->odd, w->ring + (size_t)(y % 16) * w->half, w->half);
}

/* to: half the sides, rounded up; its values are allocated here. */
static bool lower(uint32_t width, uint32_t height, row_fn *row, const void *ctx, struct low *to)
{
    struct lowering w = {.width = width, .height = height, .half = (width + 1) / 2,
                         .row = row, .ctx = ctx};
    to->width = w.half;
    to->height = (height + 1) / 2;
    size_t half = w.half, room = half + 2 * MARGIN;
    float *work = malloc((width + 2 * room + 16 * half) * sizeof *work);
    to->value = malloc(half * to->height * sizeof *to->value);
    if (!work || !to->value) {
        free(work);
        free(to->value);
        to->value = NULL;
        return false;
    }
    w.line = work;
    w.even = work + width;
    w.odd = w.even + room;
    w.ring = w.odd + room;
    uint32_t done = 0;
    for (uint32_t y = 0; y < to->height; y++) {
        const float *rows[9];
        for (; done < height && done <= 2 * y + 4; done++)
            lower_row(&w, done);
        for (long k = -4; k <= 4; k++)
            rows[k + 4] = w.ring + (mirror(2 * (long)y + k, height) % 16) * half;
        low_column(rows, to->value + y * half, half);
    }
    free(work);
    return true;
}

struct picture {
    const struct fits_image *img;
    const struct j2k_shape *shape;
    int32_t *samples; /* one row */
};

VECTORISE static void to_float(const int32_t *restrict from, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (float)from[i];
}

static void picture_row(const void *ctx, uint32_t y, float *out)
{
    const struct picture *p = ctx;
    j2k_read_line(p->shape, p->img->data + (size_t)y * p->shape->width * 2, p->samples);
    to_float(p->samples, out, p->shape->width);
}

static void low_band_row(const void *ctx, uint32_t y, float *out)
{
    const struct low *l = ctx;
    memcpy(out, l->value + (size_t)y * l->width, l->width * sizeof *out);
}

/* ---- what the low band does not say ---- */

/* OpenJPH encodes the low band of each group as well, only to be dropped here: most of its time,
 * were the low band not taken out of the image before: what it makes of even and odd samples, rows
 * and columns (the synthesis of annex F), is subtracted. */
static const float up[4] = {1.115087052456994f, 0.591271763114247f, -0.057543526228500f,
                            -0.091271763114247f};

VECTORISE static void up_even(const float *restrict a, const float *restrict b,
                              const float *restrict c, float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = up[0] * b[i] + up[2] * (a[i] + c[i]);
}

VECTORISE static void up_odd(const float *restrict a, const float *restrict b,
                             const float *restrict c, const float *restrict d,
                             float *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = up[1] * (b[i] + c[i]) + up[3] * (a[i] + d[i]);
}

VECTORISE static void scaled_difference(const float *restrict line, const float *restrict even,
                                        const float *restrict odd, int32_t *restrict to, size_t n)
{
    const float scale = 1 << LOW_BITS;
    for (size_t i = 0; i < n; i++) {
        float e = scale * (line[2 * i] - even[i]), o = scale * (line[2 * i + 1] - odd[i]);
        to[2 * i] = (int32_t)(e + (e < 0 ? -0.5f : 0.5f));
        to[2 * i + 1] = (int32_t)(o + (o < 0 ? -0.5f : 0.5f));
    }
}

/* One image without its low band. */
struct detail {
    uint32_t width, height;
    row_fn *row;
    const void *ctx;
    const struct low *low;
    float *line, *column, *even, *odd; /* column: one row of the low band, with margins */
    int32_t *samples;
};

static bool detail_open(struct detail *d)
{
    size_t half = d->low->width, room = half + 2 * MARGIN;
    float *work = malloc((2 * half + 3 * room) * sizeof *work);
    d->samples = malloc(2 * half * sizeof *d->samples);
    d->line = work;
    if (!work || !d->samples)
        return false;
    memset(work, 0, 2 * half * sizeof *work);
    d->column = work + 2 * half;
    d->even = d->column + room;
    d->odd = d->even + room;
    return true;
}

static void detail_close(struct detail *d)
{
    free(d->line);
    free(d->samples);
}

static const float *low_row_at(const struct detail *d, long i)
{
    return d->low->value + mirror(2 * i, d->height) / 2 * d->low->width;
}

static void detail_line(void *ctx, uint32_t y, int32_t *samples)
{
    const struct detail *d = ctx;
    long i = y / 2, half = d->low->width;
    float *column = d->column + MARGIN;
    const float *a = low_row_at(d, i - 1), *b = low_row_at(d, i), *c = low_row_at(d, i + 1);
    if (y % 2 == 0)
        up_even(a, b, c, column, (size_t)half);
    else
        up_odd(a, b, c, low_row_at(d, i + 2), column, (size_t)half);
    column[-1] = column[mirror(-2, d->width) / 2];
    for (long x = half; x < half + 2; x++)
        column[x] = column[mirror(2 * x, d->width) / 2];
    up_even(column - 1, column, column + 1, d->even, (size_t)half);
    up_odd(column - 1, column, column + 1, column + 2, d->odd, (size_t)half);
    d->row(d->ctx, y, d->line);
    scaled_difference(d->line, d->even, d->odd, d->samples, (size_t)half);
    memcpy(samples, d->samples, d->width * sizeof *samples);
}

/* The low band itself, for the last group. */
VECTORISE static void round_line(const float *restrict from, int32_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float v = from[i] * (1 << LOW_BITS);
        to[i] = (int32_t)(v + (v < 0 ? -0.5f : 0.5f));
    }
}

static void low_line(void *ctx, uint32_t y, int32_t *samples)
{
    const struct low *l = ctx;
    round_line(l->value + (size_t)y * l->width, samples, l->width);
}

/* ---- encoding ---- */

static double largest(const struct low *l)
{
    double most = 0;
    for (size_t i = 0; i < (size_t)l->width * l->height; i++)
        most = fmax(most, fabs((double)l->value[i]));
    return most;
}

/* How many levels the last group can have, -1: not even none. Quantised values must stay within
 * what the decoder reads, and the steps of each further level are half as large: so the low bands
 * are made, and their largest values tell. (The other bands' are no larger.) */
static enum status levels_within(const struct low *l, double step, int *levels, struct fault *why)
{
    struct low here = *l, next = {0};
    enum status st = ST_OK;
    for (*levels = -1; largest(&here) / step < MAGNITUDE; step /= 2) {
        if (++*levels == J2K_LEVELS - 2)
            break;
        if (!lower(here.width, here.height, low_band_row, &here, &next)) {
            st = fault(why, ST_RETRY, "HTJ2K: no memory for the low bands");
            break;
        }
        if (here.value != l->value)
            free(here.value);
        here = next;
    }
    if (here.value != l->value)
        free(here.value);
    return st;
}

static enum status encode_group(struct htj2k_group *g, double step,
                                void (*line)(void *, uint32_t, int32_t *), void *ctx,
                                struct fault *why)
{
    struct htj2k_plane plane = {.width = g->width, .height = g->height, .bits = 17 + LOW_BITS,
                                .is_signed = true, .levels = g->levels, .qstep = step,
                                .line = line, .ctx = ctx};
    enum status st = htj2k_codestream(&plane, &g->bytes, why);
    if (st == ST_OK && !htj2k_find_markers(g))
        st = fault(why, ST_REJECT, "HTJ2K encoding: the encoder's codestream is not as expected");
    return st;
}

/* One level of an image whose low band is known. */
static enum status encode_level(struct htj2k_group *g, double step, row_fn *row, const void *ctx,
                                uint32_t width, uint32_t height, const struct low *low,
                                struct fault *why)
{
    struct detail d = {.width = width, .height = height, .row = row, .ctx = ctx, .low = low};
    enum status st = ST_OK;
    *g = (struct htj2k_group){.levels = 1, .width = width, .height = height};
    if (!detail_open(&d))
        st = fault(why, ST_RETRY, "HTJ2K: no memory for a line");
    if (st == ST_OK)
        st = encode_group(g, step, detail_line, &d, why);
    detail_close(&d);
    return st;
}

enum status htj2k_shaped(const struct fits_image *img, const struct j2k_shape *s,
                         const struct codec_options *o, struct buf *out, struct fault *why)
{
    struct picture picture = {img, s, malloc(s->width * sizeof(int32_t))};
    struct low low[2] = {{0}, {0}};
    struct htj2k_group g[HTJ2K_GROUPS] = {{.levels = 0}};
    size_t start = out->len;
    enum status st = ST_OK;
    /* Steps are fractions of 16 bits; the samples have a sign besides. A level's values shrink by
     * two against those of an orthonormal transform, and so do the steps of what is made of them. */
    double step[HTJ2K_GROUPS] = {o->step[0] / 2, o->step[1] / 4, o->step[2] / 8};
    if (!picture.samples || !lower(s->width, s->height, picture_row, &picture, &low[0]) ||
        !lower(low[0].width, low[0].height, low_band_row, &low[0], &low[1])) {
        st = fault(why, ST_RETRY, "HTJ2K: no memory for the low bands");
        goto out;
    }
    st = levels_within(&low[1], step[2] * (1 << 17), &g[2].levels, why);
    if (st != ST_OK)
        goto out;
    if (g[2].levels < 0) {
        st = fault(why, ST_REJECT, "HTJ2K: values too large for steps so fine");
        goto out;
    }
    g[2].width = low[1].width;
    g[2].height = low[1].height;
    st = encode_level(&g[0], step[0], picture_row, &picture, s->width, s->height, &low[0], why);
    if (st == ST_OK)
        st = encode_level(&g[1], step[1], low_band_row, &low[0], low[0].width, low[0].height,
                          &low[1], why);
    if (st == ST_OK)
        st = encode_group(&g[2], step[2], low_line, &low[1], why);
    if (st == ST_OK && !htj2k_join(g, s->offset, out))
        st = fault(why, ST_REJECT, "HTJ2K encoding: no memory, or a packet that cannot be read");
out:
    if (st != ST_OK)
        out->len = start;
    for (int i = 0; i < HTJ2K_GROUPS; i++)
        buf_free(&g[i].bytes);
    free(low[0].value);
    free(low[1].value);
    free(picture.samples);
    return st;
}
