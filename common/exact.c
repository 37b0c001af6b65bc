#include "common/exact.h"

#include <stdlib.h>
#include <string.h>

static const char magic[8] = "SFEXACT1";
#define HEAD 24 /* magic, bytes of a pixel, bytes of the runs; the last two as 8 bytes each */

static bool put_varint(struct buf *out, uint64_t v)
{
    unsigned char b[10];
    size_t n = 0;
    do {
        b[n] = (unsigned char)(v & 0x7f);
        v >>= 7;
        b[n++] |= v ? 0x80 : 0;
    } while (v);
    return buf_append(out, b, n);
}

static bool take_varint(const unsigned char **at, const unsigned char *end, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; shift < 63 && *at < end; shift += 7) {
        unsigned char b = *(*at)++;
        *v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return true;
    }
    return false;
}

static bool close_run(struct exact *e)
{
    if (e->length == 0)
        return true;
    bool ok = put_varint(&e->runs, (uint64_t)(e->first - e->next)) &&
              put_varint(&e->runs, (uint64_t)e->length);
    e->next = e->first + e->length;
    e->length = 0;
    return ok;
}

bool exact_add(struct exact *e, int64_t first, int64_t n, const unsigned char *stored)
{
    if (n <= 0)
        return true;
    if (first != e->first + e->length && !close_run(e))
        return false;
    if (e->length == 0)
        e->first = first;
    e->length += n;
    e->pixels += n;
    return buf_append(&e->values, stored, (size_t)n * (size_t)e->size);
}

static void put_u64(unsigned char *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

static uint64_t get_u64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

/* All first bytes of the values, then all second ones: near the sky the first hardly change. */
static void split_bytes(const unsigned char *from, unsigned char *to, size_t n, size_t size)
{
    for (size_t b = 0; b < size; b++)
        for (size_t i = 0; i < n; i++)
            to[b * n + i] = from[i * size + b];
}

bool exact_write(struct exact *e, struct buf *out)
{
    unsigned char head[HEAD];
    if (!close_run(e) || !buf_reserve(out, HEAD + e->runs.len + e->values.len))
        return false;
    memcpy(head, magic, sizeof magic);
    put_u64(head + 8, (uint64_t)e->size);
    put_u64(head + 16, e->runs.len);
    buf_append(out, head, HEAD);
    buf_append(out, e->runs.data, e->runs.len);
    if (e->pixels > 0)
        split_bytes(e->values.data, out->data + out->len, (size_t)e->pixels, (size_t)e->size);
    out->len += e->values.len;
    return true;
}

void exact_free(struct exact *e)
{
    buf_free(&e->runs);
    buf_free(&e->values);
}

static enum status damaged(struct fault *why)
{
    return fault(why, ST_REJECT, "the pixels to be carried exactly are damaged");
}

enum status exact_apply(const void *bytes, size_t len, struct fits_image *img, int64_t *pixels,
                        struct fault *why)
{
    const unsigned char *p = bytes, *end = p + len;
    size_t size = (size_t)abs(img->bitpix) / 8, done = 0, at = 0;
    *pixels = 0;
    if (len < HEAD || memcmp(p, magic, sizeof magic) != 0 || get_u64(p + 8) != size)
        return damaged(why);
    uint64_t runs = get_u64(p + 16);
    if (runs > len - HEAD || (len - HEAD - runs) % size != 0)
        return damaged(why);
    const unsigned char *run = p + HEAD, *values = run + runs;
    size_t n = (size_t)(end - values) / size, total = img->size / size;
    while (run < values) {
        uint64_t gap, length;
        if (!take_varint(&run, values, &gap) || !take_varint(&run, values, &length) ||
            gap > total - at || length == 0 || length > total - at - gap || length > n - done)
            return damaged(why);
        at += gap;
        for (uint64_t i = 0; i < length; i++, at++, done++)
            for (size_t b = 0; b < size; b++)
                img->data[at * size + b] = values[b * n + done];
    }
    if (done != n)
        return damaged(why);
    *pixels = (int64_t)n;
    return ST_OK;
}
