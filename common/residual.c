#include "common/residual.h"

#include <stdlib.h>
#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

#define PAD 3
#define MIDDLE 32768

bool residual_open(struct residual *r, size_t width, int bits)
{
    *r = (struct residual){.width = width, .bits = bits};
    r->lines = calloc(3 * (width + 2 * PAD), sizeof *r->lines);
    r->low = malloc(width * sizeof *r->low);
    r->high = malloc(width * sizeof *r->high);
    r->sum = malloc(width * sizeof *r->sum);
    r->left = malloc(width * sizeof *r->left);
    if (r->lines && r->low && r->high && r->sum && r->left)
        return true;
    residual_close(r);
    return false;
}

void residual_close(struct residual *r)
{
    free(r->lines);
    free(r->low);
    free(r->high);
    free(r->sum);
    free(r->left);
    *r = (struct residual){0};
}

/* ---- stored values ---- */

VECTORISE static void read16(const unsigned char *restrict from, uint16_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, from + 2 * i, 2);
        to[i] = __builtin_bswap16(v) ^ 0x8000u;
    }
}

VECTORISE static void write16(const uint16_t *restrict from, unsigned char *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t v = __builtin_bswap16(from[i] ^ 0x8000u);
        memcpy(to + 2 * i, &v, 2);
    }
}

VECTORISE static void read8(const unsigned char *restrict from, uint16_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

VECTORISE static void write8(const uint16_t *restrict from, unsigned char *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)from[i];
}

/* ---- the guess ---- */

VECTORISE static void look_above(const uint16_t *restrict a, const uint16_t *restrict b,
                                 uint32_t *restrict sum, uint16_t *restrict low,
                                 uint16_t *restrict high, size_t n)
{
    for (size_t x = 0; x < n; x++) {
        const uint16_t *p = a + x, *q = b + x;
        sum[x] = 2u * ((uint32_t)p[-3] + p[-2] + p[-1] + p[0] + p[1] + p[2] + p[3]) + q[-3] +
                 q[-2] + q[-1] + q[0] + q[1] + q[2] + q[3] + 16;
        uint16_t l = p[-1] < p[0] ? p[-1] : p[0], h = p[-1] < p[0] ? p[0] : p[-1];
        low[x] = l < p[1] ? l : p[1];
        high[x] = h > p[1] ? h : p[1];
    }
}

static inline uint16_t guess(uint32_t sum, uint16_t low, uint16_t high, const uint16_t *p)
{
    uint32_t mean = (sum + 2u * p[-3] + 4u * p[-2] + 5u * p[-1]) >> 5;
    low = p[-1] < low ? p[-1] : low;
    high = p[-1] > high ? p[-1] : high;
    return (uint16_t)(mean < low ? low : mean > high ? high : mean);
}

static uint16_t *line_of(const struct residual *r, size_t y)
{
    return r->lines + y % 3 * (r->width + 2 * PAD) + PAD;
}

/* The line that comes next, its surroundings ready. */
static uint16_t *next_line(struct residual *r)
{
    size_t y = r->done++;
    uint16_t *line = line_of(r, y), *above;
    if (y == 0) {
        line[-1] = MIDDLE;
        return line;
    }
    above = line_of(r, y - 1);
    for (size_t k = 1; k <= PAD; k++) {
        *(above - k) = above[0];
        *(line - k) = above[0];
        above[r->width - 1 + k] = above[r->width - 1];
    }
    look_above(above, y > 1 ? line_of(r, y - 2) : above, r->sum, r->low, r->high, r->width);
    return line;
}

/* ---- residuals ---- */

VECTORISE static void take_away(const struct residual *r, bool first, const uint16_t *restrict line,
                                uint16_t *restrict left)
{
    const uint32_t *restrict sum = r->sum;
    const uint16_t *restrict low = r->low, *restrict high = r->high;
    if (first)
        for (size_t x = 0; x < r->width; x++)
            left[x] = (uint16_t)(line[x] - *(line + x - 1));
    else
        for (size_t x = 0; x < r->width; x++)
            left[x] = (uint16_t)(line[x] - guess(sum[x], low[x], high[x], line + x));
}

static void add_again(const struct residual *r, bool first, const uint16_t *restrict left,
                      uint16_t *line)
{
    if (first)
        for (size_t x = 0; x < r->width; x++)
            line[x] = (uint16_t)(left[x] + *(line + x - 1));
    else
        for (size_t x = 0; x < r->width; x++)
            line[x] = (uint16_t)(left[x] + guess(r->sum[x], r->low[x], r->high[x], line + x));
}

/* ---- the field ---- */

static inline uint16_t middle(int w, int n, int nw)
{
    int low = w < n ? w : n, high = w < n ? n : w, plane = w + n - nw;
    return (uint16_t)(plane < low ? low : plane > high ? high : plane);
}

/* up: the field's line above, NULL in a strip's first. */
static void weave(const uint16_t *restrict left, const uint16_t *restrict up,
                  uint16_t *restrict field, size_t n)
{
    uint16_t w = (uint16_t)(left[0] + (up ? up[0] : MIDDLE));
    field[0] = w;
    for (size_t x = 1; x < n; x++) {
        w = (uint16_t)(left[x] + (up ? middle(w, up[x], up[x - 1]) : w));
        field[x] = w;
    }
}

VECTORISE static void unweave(const uint16_t *restrict field, const uint16_t *restrict up,
                              uint16_t *restrict left, size_t n)
{
    left[0] = (uint16_t)(field[0] - (up ? up[0] : MIDDLE));
    if (up)
        for (size_t x = 1; x < n; x++)
            left[x] = (uint16_t)(field[x] - middle(field[x - 1], up[x], up[x - 1]));
    else
        for (size_t x = 1; x < n; x++)
            left[x] = (uint16_t)(field[x] - field[x - 1]);
}

/* ---- strips ---- */

void residual_make(struct residual *r, const unsigned char *stored, size_t count, uint16_t *field)
{
    size_t n = r->width, bytes = n * (size_t)r->bits / 8;
    for (size_t y = 0; y < count; y++) {
        bool first = r->done == 0;
        uint16_t *line = next_line(r);
        if (r->bits == 16)
            read16(stored + y * bytes, line, n);
        else
            read8(stored + y * bytes, line, n);
        take_away(r, first, line, r->left);
        weave(r->left, y ? field + (y - 1) * n : NULL, field + y * n, n);
    }
}

void residual_undo(struct residual *r, const uint16_t *field, size_t count, unsigned char *stored)
{
    size_t n = r->width, bytes = n * (size_t)r->bits / 8;
    for (size_t y = 0; y < count; y++) {
        bool first = r->done == 0;
        uint16_t *line = next_line(r);
        unweave(field + y * n, y ? field + (y - 1) * n : NULL, r->left, n);
        add_again(r, first, r->left, line);
        if (r->bits == 16)
            write16(line, stored + y * bytes, n);
        else
            write8(line, stored + y * bytes, n);
    }
}
