#include "push/encode_hdu.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

static bool as_it_stands(const struct encode_hdu *h)
{
    return strcmp(h->method, "original") == 0;
}

/* The next member to fill; its bytes go into h->bytes at the same place. */
static struct member *start_member(struct encode_hdu *h, enum member_role role, const char *codec,
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

static enum status add_header(struct encode_hdu *h, const struct fits_header *cards)
{
    struct member *m = start_member(h, MEMBER_HEADER, "zstd", ".hdr.zst");
    struct buf *out = &h->bytes[h->count - 1];
    m->raw_size = (int64_t)cards->count * FITS_CARD;
    return bundle_squeeze(cards->cards, (size_t)m->raw_size, out, &h->why);
}

/* The HDU whole; its bytes are handed over. */
static void add_as_it_stands(struct encode_hdu *h, enum member_role role, struct buf *hdu)
{
    struct member *m = start_member(h, role, "original", ".hdu");
    m->raw_size = (int64_t)hdu->len;
    h->bytes[h->count - 1] = *hdu;
    *hdu = (struct buf){0};
}

static enum status add_squeezed(struct encode_hdu *h, const struct buf *hdu)
{
    struct member *m = start_member(h, MEMBER_HDU, "zstd", ".hdu.zst");
    m->raw_size = (int64_t)hdu->len;
    return bundle_squeeze(hdu->data, hdu->len, &h->bytes[h->count - 1], &h->why);
}

static enum status add_pixels(struct encode_hdu *h, const struct codec *codec,
                              const struct codec_options *options, const struct fits_image *img)
{
    struct buf pixels = {0};
    enum status st = codec_encode(&codec, img, options, &pixels, &h->why);
    if (st == ST_OK && !codec->has_header)
        st = add_header(h, &img->header);
    if (st != ST_OK) {
        buf_free(&pixels);
        return st;
    }
    struct member *m = start_member(h, MEMBER_IMAGE, codec->name, codec->suffix);
    m->raw_size = (int64_t)img->size;
    m->qstep = codec_qstep(codec, options, pixels.data, pixels.len);
    h->bytes[h->count - 1] = pixels;
    return ST_OK;
}

static enum status encode_image(struct encode_hdu *h, struct buf *hdu)
{
    struct codec_options options = h->options;
    options.method = h->method;
    struct fits_image img = {0};
    bool tiled = h->hdu.kind == FITS_TILED;
    h->cpu_ns[PART_READ] += clock_lap(&h->mark);
    enum status st = fits_image_load(hdu->data, hdu->len, &img, &h->why);
    h->cpu_ns[PART_TILES] += clock_lap(&h->mark);
    if (st != ST_OK)
        goto out;
    const struct codec *codec =
        codec_choose(&options, &img, tiled, tiled && fits_tiled_lossless(hdu->data, hdu->len));
    h->fell_back = strcmp(codec->name, h->method) != 0;
    if (strcmp(codec->name, "original") == 0) {
        add_as_it_stands(h, MEMBER_IMAGE, hdu);
    } else {
        buf_free(hdu); /* the encoder needs the room */
        st = add_pixels(h, codec, &options, &img);
        h->cpu_ns[PART_ENCODE] += clock_lap(&h->mark);
    }
out:
    fits_image_free(&img);
    return st;
}

static enum status encode_empty(struct encode_hdu *h, struct buf *hdu)
{
    struct fits_header cards = {0};
    enum status st = fits_header_parse(hdu->data, hdu->len, &cards, &h->why);
    if (st == ST_OK)
        st = add_header(h, &cards);
    if (st == ST_OK && as_it_stands(h))
        add_as_it_stands(h, MEMBER_HDU, hdu);
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
            return encode_image(h, hdu);
        add_as_it_stands(h, MEMBER_IMAGE, hdu);
        return ST_OK;
    default:
        if (!as_it_stands(h))
            return add_squeezed(h, hdu);
        add_as_it_stands(h, MEMBER_HDU, hdu);
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
        add_as_it_stands(h, MEMBER_HDU, &hdu);
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
