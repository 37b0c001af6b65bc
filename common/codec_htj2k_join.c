#include "common/codec_htj2k_join.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- packets (annex B.10) ---- */

struct bits {
    const unsigned char *p;
    size_t len, at;
    unsigned last, left; /* the byte being read and its unread bits */
    bool short_of;
};

static unsigned take_bit(struct bits *b)
{
    if (b->left == 0) {
        if (b->at == b->len) {
            b->short_of = true;
            return 0;
        }
        b->left = b->last == 0xff ? 7 : 8; /* a bit is stuffed behind 0xff */
        b->last = b->p[b->at++];
    }
    return b->last >> --b->left & 1;
}

static unsigned take_bits(struct bits *b, unsigned n)
{
    unsigned v = 0;
    while (n-- > 0)
        v = v << 1 | take_bit(b);
    return v;
}

/* A tag tree over wide x high leaves; the root is the last level. */
#define TREE_LEVELS 12
struct tag_tree {
    int levels;
    uint32_t wide[TREE_LEVELS], first[TREE_LEVELS]; /* nodes a row, index of the first node */
    struct { unsigned value; bool known; } *node;
};

static bool tree_open(struct tag_tree *t, uint32_t wide, uint32_t high)
{
    uint32_t nodes = 0;
    t->levels = 0;
    for (;;) {
        t->wide[t->levels] = wide;
        t->first[t->levels++] = nodes;
        nodes += wide * high;
        if (wide * high == 1 || t->levels == TREE_LEVELS)
            break;
        wide = (wide + 1) / 2;
        high = (high + 1) / 2;
    }
    t->node = calloc(nodes, sizeof *t->node);
    return t->node != NULL;
}

/* The leaf's value when it is below `limit`, else `limit`. */
static unsigned tree_read(struct tag_tree *t, struct bits *b, uint32_t x, uint32_t y,
                          unsigned limit)
{
    unsigned low = 0;
    for (int level = t->levels - 1; level >= 0; level--) {
        uint32_t at = t->first[level] + (y >> level) * t->wide[level] + (x >> level);
        if (t->node[at].value < low)
            t->node[at].value = low;
        while (!t->node[at].known && t->node[at].value < limit && !b->short_of) {
            if (take_bit(b))
                t->node[at].known = true;
            else
                t->node[at].value++;
        }
        low = t->node[at].value;
    }
    return low;
}

/* One code-block's entry of a packet header: its bytes, 0 when it is not included. Blocks of
 * OpenJPH have one pass; SIZE_MAX when it is something else. */
static size_t read_block(struct bits *b, struct tag_tree *included, struct tag_tree *planes,
                         uint32_t x, uint32_t y)
{
    unsigned length_bits = 3;
    if (tree_read(included, b, x, y, 1) > 0)
        return 0;
    tree_read(planes, b, x, y, 64);
    if (take_bit(b)) /* more than one pass */
        return SIZE_MAX;
    while (take_bit(b) && length_bits < 32)
        length_bits++;
    return length_bits < 32 ? take_bits(b, length_bits) : SIZE_MAX;
}

/* Bytes of the first packet, that of the one band of resolution 0; 0 when it cannot be read. */
static size_t first_packet(const unsigned char *p, size_t len, uint32_t width, uint32_t height)
{
    struct bits b = {.p = p, .len = len};
    struct tag_tree included = {0}, planes = {0};
    uint32_t wide = (width + 63) / 64, high = (height + 63) / 64;
    size_t body = 0;
    if (!take_bit(&b))
        return b.short_of ? 0 : 1;
    if (!tree_open(&included, wide, high) || !tree_open(&planes, wide, high))
        goto out;
    for (uint32_t y = 0; y < high; y++)
        for (uint32_t x = 0; x < wide; x++) {
            size_t block = read_block(&b, &included, &planes, x, y);
            if (block > len || body + block > len || b.short_of) {
                body = SIZE_MAX;
                goto out;
            }
            body += block;
        }
    if (b.last == 0xff && b.left == 0) /* the stuffed bit behind it has a byte of its own */
        b.at++;
    body += b.at;
out:
    free(included.node);
    free(planes.node);
    return body <= len ? body : 0;
}

/* ---- a codestream of our own ---- */

static uint32_t get_u16(const unsigned char *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

bool htj2k_find_markers(struct htj2k_group *g)
{
    const unsigned char *p = g->bytes.data;
    size_t at = 2;
    while (at + 12 <= g->bytes.len) {
        switch (get_u16(p + at)) {
        case 0xff51: g->siz = at; break;
        case 0xff50: g->cap = at; break;
        case 0xff52: g->cod = at; break;
        case 0xff5c: g->qcd = at; break;
        case 0xff90: /* SOT, then SOD */
            g->tile = at + 14;
            return g->siz && g->cap && g->cod && g->qcd && g->tile + 2 <= g->bytes.len &&
                   get_u16(p + at + 12) == 0xff93;
        default: break;
        }
        at += 2 + get_u16(p + at + 2);
    }
    return false;
}

static bool put(struct buf *out, const void *bytes, size_t len)
{
    return buf_append(out, bytes, len);
}

static bool put_u16(struct buf *out, uint32_t v)
{
    unsigned char b[2] = {(unsigned char)(v >> 8), (unsigned char)v};
    return put(out, b, 2);
}

static bool put_segment(struct buf *out, const struct htj2k_group *g, size_t at)
{
    return put(out, g->bytes.data + at, 2 + get_u16(g->bytes.data + at + 2));
}

/* QCD: the entries of the last group whole, then those of each finer one without its low band. */
static bool put_qcd(struct buf *out, const struct htj2k_group g[HTJ2K_GROUPS], int levels)
{
    const unsigned char *style = g[0].bytes.data + g[0].qcd + 4;
    bool ok = put_u16(out, 0xff5c) && put_u16(out, 3 + 2 * (3 * (uint32_t)levels + 1)) &&
              put(out, style, 1);
    for (int i = HTJ2K_GROUPS - 1; i >= 0 && ok; i--) {
        const unsigned char *steps = g[i].bytes.data + g[i].qcd + 5;
        size_t skip = i == HTJ2K_GROUPS - 1 ? 0 : 2;
        ok = g[i].bytes.data[g[i].qcd + 4] == style[0] &&
             put(out, steps + skip, 2 * (3 * (size_t)g[i].levels + 1) - skip);
    }
    return ok;
}

static bool put_offset(struct buf *out, int32_t offset)
{
    struct buf text = {0};
    bool ok = buf_printf(&text, "%s%" PRId32, J2K_OFFSET_WORDS, offset) &&
              put_u16(out, 0xff64) && put_u16(out, (uint32_t)text.len + 4) && put_u16(out, 1) &&
              put(out, text.data, text.len);
    buf_free(&text);
    return ok;
}

static bool put_packets(struct buf *out, const struct htj2k_group g[HTJ2K_GROUPS])
{
    for (int i = HTJ2K_GROUPS - 1; i >= 0; i--) {
        const unsigned char *p = g[i].bytes.data + g[i].tile;
        size_t len = g[i].bytes.len - g[i].tile - 2, skip = 0; /* EOC */
        if (i < HTJ2K_GROUPS - 1) {
            uint32_t round = (1u << g[i].levels) - 1;
            skip = first_packet(p, len, (g[i].width + round) >> g[i].levels,
                                (g[i].height + round) >> g[i].levels);
            if (skip == 0)
                return false;
        }
        if (!put(out, p + skip, len - skip))
            return false;
    }
    return true;
}

bool htj2k_join(const struct htj2k_group g[HTJ2K_GROUPS], int32_t offset, struct buf *out)
{
    static const unsigned char soc[2] = {0xff, 0x4f}, eoc[2] = {0xff, 0xd9};
    static const unsigned char sot[14] = {0xff, 0x90, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x93};
    int levels = 0;
    size_t siz, cap, cod, tile;
    unsigned most = 0;
    for (int i = 0; i < HTJ2K_GROUPS; i++) {
        unsigned bound = g[i].bytes.data[g[i].cap + 9] & 0x1f; /* of magnitudes, in CAP */
        most = bound > most ? bound : most;
        levels += g[i].levels;
    }
    bool ok = put(out, soc, 2);
    siz = out->len;
    ok = ok && put_segment(out, &g[0], g[0].siz);
    cap = out->len;
    ok = ok && put_segment(out, &g[0], g[0].cap);
    cod = out->len;
    ok = ok && put_segment(out, &g[0], g[0].cod) && put_qcd(out, g, levels) &&
         put_offset(out, offset);
    tile = out->len;
    ok = ok && put(out, sot, sizeof sot) && put_packets(out, g);
    if (!ok)
        return false;
    out->data[siz + 40] = 16 | 0x80; /* 17 bits and signed; the groups had LOW_BITS more */
    out->data[cap + 9] = (unsigned char)((out->data[cap + 9] & ~0x1fu) | most);
    out->data[cod + 9] = (unsigned char)levels;
    size_t part = out->len - tile;
    for (int i = 0; i < 4; i++)
        out->data[tile + 6 + (size_t)i] = (unsigned char)(part >> (24 - 8 * i));
    return part <= UINT32_MAX && put(out, eoc, 2);
}
