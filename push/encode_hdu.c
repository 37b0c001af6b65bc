#include "push/encode_hdu_inner.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

static bool as_it_stands(const struct encode_hdu *h)
{
    return strcmp(h->fidelity.method, "original") == 0;
}

struct member *encode_hdu_member(struct encode_hdu *h, enum member_role role, const char *codec,
                                 const char *suffix)
{
    struct member *m = &h->member[h->count++];
    m->role = role;
    m->measured = measures_none;
    m->hdu = h->hdu.index;
    m->ccd = role == MEMBER_IMAGE || h->ccd > 0 ? h->ccd : 0;
    snprintf(m->extname, sizeof m->extname, "%s", h->hdu.extname);
    snprintf(m->codec, sizeof m->codec, "%s", codec);
    member_name(m, h->root, suffix);
    return m;
}

enum status encode_hdu_header(struct encode_hdu *h, const struct fits_header *cards)
{
    struct member *m = encode_hdu_member(h, MEMBER_HEADER, "zstd", ".hdr.zst");
    struct buf *out = &h->bytes[h->count - 1];
    m->raw_size = (int64_t)cards->count * FITS_CARD;
    return bundle_squeeze(cards->cards, (size_t)m->raw_size, out, &h->why);
}

void encode_hdu_as_it_stands(struct encode_hdu *h, enum member_role role, struct buf *hdu)
{
    struct member *m = encode_hdu_member(h, role, "original", ".hdu");
    m->raw_size = (int64_t)hdu->len;
    h->bytes[h->count - 1] = *hdu;
    *hdu = (struct buf){0};
}

static enum status add_squeezed(struct encode_hdu *h, const struct buf *hdu)
{
    struct member *m = encode_hdu_member(h, MEMBER_HDU, "zstd", ".hdu.zst");
    m->raw_size = (int64_t)hdu->len;
    return bundle_squeeze(hdu->data, hdu->len, &h->bytes[h->count - 1], &h->why);
}

static enum status encode_empty(struct encode_hdu *h, struct buf *hdu)
{
    struct fits_header cards = {0};
    enum status st = fits_header_parse(hdu->data, hdu->len, &cards, &h->why);
    if (st == ST_OK)
        st = encode_hdu_header(h, &cards);
    if (st == ST_OK && as_it_stands(h))
        encode_hdu_as_it_stands(h, MEMBER_HDU, hdu);
    fits_header_free(&cards);
    return st;
}

static enum status encode_bytes(struct encode_hdu *h, struct buf *hdu)
{
    switch (h->hdu.kind) {
    case FITS_EMPTY:
        return encode_empty(h, hdu);
    case FITS_IMAGE:
    case FITS_TILED:
        if (!as_it_stands(h))
            return encode_hdu_image(h, hdu);
        encode_hdu_as_it_stands(h, MEMBER_IMAGE, hdu);
        return ST_OK;
    default:
        if (!as_it_stands(h))
            return add_squeezed(h, hdu);
        encode_hdu_as_it_stands(h, MEMBER_HDU, hdu);
        return ST_OK;
    }
}

static enum status read_and_encode(struct encode_hdu *h)
{
    struct buf hdu = {0};
    bool trailing = h->hdu.index < 0;
    enum status st = fits_read_hdu(h->fd, &h->hdu, &hdu, &h->why);
    if (st == ST_OK && !trailing)
        st = fits_check_sums(hdu.data, hdu.len, &h->why);
    if (st == ST_OK && trailing)
        encode_hdu_as_it_stands(h, MEMBER_HDU, &hdu);
    else if (st == ST_OK)
        st = encode_bytes(h, &hdu);
    h->cpu_ns[PART_READ] += clock_lap(&h->mark);
    for (int i = 0; i < h->count && st == ST_OK; i++) {
        h->member[i].size = (int64_t)h->bytes[i].len;
        digest_bytes(h->bytes[i].data, h->bytes[i].len, h->member[i].sha256);
    }
    h->cpu_ns[PART_DIGEST] += clock_lap(&h->mark);
    buf_free(&hdu);
    return st;
}

void encode_hdu_run(struct encode_hdu *h)
{
    h->mark = clock_thread_cpu();
    h->grade = read_and_encode(h);
    if (h->grade != ST_OK && h->hdu.index >= 0)
        fault_within(&h->why, "HDU %d (EXTNAME %s): ", h->hdu.index,
                     h->hdu.extname[0] ? h->hdu.extname : "missing");
}

void encode_hdu_free(struct encode_hdu *h)
{
    for (int i = 0; i < ENCODE_MEMBERS; i++)
        buf_free(&h->bytes[i]);
}
