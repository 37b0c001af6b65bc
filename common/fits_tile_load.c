#include "common/fits_tile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void fits_tile_scratch_free(struct tile_scratch *s)
{
    free(s->packed);
    free(s->pixels);
    *s = (struct tile_scratch){0};
}

static bool make_room(unsigned char **at, size_t *room, size_t need)
{
    if (need <= *room)
        return true;
    unsigned char *more = realloc(*at, need + need / 4);
    if (!more)
        return false;
    *at = more;
    *room = need + need / 4;
    return true;
}

static enum status bad_tile(const struct tiles *t, int64_t row, const char *what,
                            struct fault *why)
{
    return fault(why, ST_REJECT, "tile %" PRId64 " of %" PRId64 " is broken: %s", row + 1, t->rows,
                 what);
}

/* ---- one tile ---- */

/* The tile's bytes with ones behind them. Rice code has no end mark: a decoder runs on and
 * notices only after a block, cfitsio's not before a one if there are only zeros. */
static enum status add_tail(const struct tiles *t, const unsigned char **bytes, size_t len,
                            struct tile_scratch *s, struct fault *why)
{
    size_t tail = FITS_RICE_TAIL(t->block);
    if (!make_room(&s->packed, &s->packed_room, len + tail))
        return fault(why, ST_RETRY, "no memory for a tile of %zu bytes", len);
    memcpy(s->packed, *bytes, len);
    memset(s->packed + len, 0xff, tail);
    *bytes = s->packed;
    return ST_OK;
}

static enum status check_rice(const struct tiles *t, size_t len, const struct tile_scratch *s,
                              struct fault *why)
{
    if (len < (size_t)t->byte_pixel + 1 || len > INT32_MAX - FITS_RICE_TAIL(t->block))
        return bad_tile(t, s->row, "it is too short", why);
    return ST_OK;
}

static enum status bad_rice(const struct tiles *t, const struct tile_scratch *s, struct fault *why)
{
    return bad_tile(t, s->row, "its Rice code runs past its end", why);
}

/* Decodes Rice bytes to n values of t->byte_pixel bytes in s->pixels. */
enum status fits_tile_unrice(const struct tiles *t, const unsigned char *bytes, size_t len,
                             size_t n, struct tile_scratch *s, struct fault *why)
{
    enum status st = check_rice(t, len, s, why);
    if (st == ST_OK)
        st = add_tail(t, &bytes, len, s, why);
    if (st != ST_OK)
        return st;
    if (!make_room(&s->pixels, &s->pixel_room, n * (size_t)t->byte_pixel))
        return fault(why, ST_RETRY, "no memory for a tile of %zu pixels", n);
    bool good = fits_rice_decode(s->packed, len, s->pixels, n, t->byte_pixel, t->block);
    return good ? ST_OK : bad_rice(t, s, why);
}

/* The same for 16 bits a pixel, to pixels as FITS stores them. What stands behind the tile
 * does not matter, so it is read where it is: only the heap's last tiles need more. */
static enum status unrice16(const struct tiles *t, const unsigned char *bytes, size_t len,
                            size_t n, unsigned char *to, struct tile_scratch *s, struct fault *why)
{
    const unsigned char *end = t->data + t->heap + t->heap_bytes;
    enum status st = check_rice(t, len, s, why);
    if (st == ST_OK && (size_t)(end - bytes) < len + FITS_RICE_TAIL(t->block))
        st = add_tail(t, &bytes, len, s, why);
    if (st != ST_OK)
        return st;
    return fits_rice16_decode(bytes, len, t->block, to, n) ? ST_OK : bad_rice(t, s, why);
}

/* Unzips at most `room` bytes to s->pixels + at. */
static enum status unzip(const struct tiles *t, const unsigned char *bytes, size_t len, size_t at,
                         size_t room, size_t *got, struct tile_scratch *s, struct fault *why)
{
    if (!make_room(&s->pixels, &s->pixel_room, at + room))
        return fault(why, ST_RETRY, "no memory for a tile of %zu bytes", room);
    if (len == 0 || !fits_gzip_decode(bytes, len, s->pixels + at, room, got))
        return bad_tile(t, s->row, "its gzip stream is damaged or too long", why);
    return ST_OK;
}

/* Unzips a tile of n values, `size` bytes each, to s->pixels, in FITS's order. */
enum status fits_tile_ungzip(const struct tiles *t, const unsigned char *bytes, size_t len,
                             size_t n, int size, struct tile_scratch *s, struct fault *why)
{
    size_t need = n * (size_t)size, got = 0;
    bool shuffled = t->method == TILE_GZIP_2 && size > 1;
    enum status st = unzip(t, bytes, len, shuffled ? need : 0, need, &got, s, why);
    if (st != ST_OK)
        return st;
    if (got != need)
        return bad_tile(t, s->row, "it does not hold its number of pixels", why);
    if (shuffled)
        fits_unshuffle(s->pixels, s->pixels + need, n, size);
    return ST_OK;
}

/* ---- a whole image, directly ---- */

/* Where a tile belongs. */
struct place {
    int64_t first[FITS_MAX_AXES], side[FITS_MAX_AXES];
    size_t pixels; /* in the tile */
    int size;      /* bytes a pixel */
    unsigned char *image;
};

/* Where the tile's pixel `at` lies in the image. */
static unsigned char *pixel_place(const struct tiles *t, const struct place *p, const int64_t *at)
{
    int64_t index = 0;
    for (int i = t->image.naxis - 1; i > 0; i--)
        index = (index + p->first[i] + at[i]) * t->image.n[i - 1];
    return p->image + (size_t)(index + p->first[0]) * (size_t)p->size;
}

/* Lays the tile's values into the image, a run of its first axis at a time. */
static void place_tile(const struct tiles *t, const struct place *p, const unsigned char *pixels,
                       bool swap)
{
    int64_t at[FITS_MAX_AXES] = {0};
    int axes = t->image.naxis;
    size_t run = (size_t)p->side[0], bytes = run * (size_t)p->size;
    for (;;) {
        unsigned char *to = pixel_place(t, p, at);
        if (swap)
            fits_swap_copy(to, pixels, run, p->size);
        else
            memcpy(to, pixels, bytes);
        pixels += bytes;
        int axis = 1;
        while (axis < axes && ++at[axis] == p->side[axis])
            at[axis++] = 0;
        if (axis >= axes)
            return;
    }
}

/* A tile that is a run of the first axis, as fpack makes them, is decoded where it belongs. */
static enum status load_rice16(const struct tiles *t, const unsigned char *bytes, size_t len,
                               const struct place *p, struct tile_scratch *s, struct fault *why)
{
    static const int64_t begin[FITS_MAX_AXES];
    bool is_run = p->pixels == (size_t)p->side[0];
    if (!is_run && !make_room(&s->pixels, &s->pixel_room, p->pixels * 2))
        return fault(why, ST_RETRY, "no memory for a tile of %zu pixels", p->pixels);
    unsigned char *to = is_run ? pixel_place(t, p, begin) : s->pixels;
    enum status st = unrice16(t, bytes, len, p->pixels, to, s, why);
    if (st == ST_OK && !is_run)
        place_tile(t, p, to, false);
    return st;
}

static enum status load_tile(const struct tiles *t, const unsigned char *bytes, size_t len,
                             const struct place *p, struct tile_scratch *s, struct fault *why)
{
    bool rice = t->method == TILE_RICE;
    if (rice && p->size == 2)
        return load_rice16(t, bytes, len, p, s, why);
    enum status st = rice ? fits_tile_unrice(t, bytes, len, p->pixels, s, why)
                          : fits_tile_ungzip(t, bytes, len, p->pixels, p->size, s, why);
    if (st == ST_OK)
        place_tile(t, p, s->pixels, rice);
    return st;
}

static enum status load_directly(const struct tiles *t, struct fits_image *out, struct fault *why)
{
    struct tile_scratch s = {0};
    struct place p = {.size = abs(t->image.bitpix) / 8, .image = out->data};
    enum status st = ST_OK;
    for (int64_t row = 0; row < t->rows && st == ST_OK; row++) {
        const unsigned char *bytes;
        size_t len;
        s.row = row;
        p.pixels = (size_t)fits_tile_box(t, row, p.first, p.side);
        st = fits_tile_bytes(t, &t->packed, row, &bytes, &len, why);
        if (st == ST_OK)
            st = load_tile(t, bytes, len, &p, &s, why);
    }
    fits_tile_scratch_free(&s);
    return st;
}

/* ---- a whole image, through cfitsio ---- */

/* Hcompress: the stream says its own sides, and nothing says where it ends. Decoded twice
 * with different bytes behind it, it gives the same pixels only if it ends where it should. */
static enum status check_hcompress(const struct tiles *t, const unsigned char *bytes, size_t len,
                                   size_t n, struct tile_scratch *s, struct fault *why)
{
    static const unsigned char magic[] = {0xdd, 0x99};
    uint32_t nx, ny;
    bool wide = t->image.bitpix != 8 && t->image.bitpix != 16;
    if (len < 25 || memcmp(bytes, magic, 2) != 0)
        return bad_tile(t, s->row, "it does not begin as Hcompress does", why);
    memcpy(&nx, bytes + 2, 4);
    memcpy(&ny, bytes + 6, 4);
    nx = __builtin_bswap32(nx);
    ny = __builtin_bswap32(ny);
    if (nx == 0 || ny == 0 || nx > n || ny > n || (uint64_t)nx * ny != n)
        return bad_tile(t, s->row, "its Hcompress stream has other sides", why);
    for (int i = 22; i < 25; i++)
        if (bytes[i] > (wide ? 60 : 31))
            return bad_tile(t, s->row, "its Hcompress stream has too many bit planes", why);
    /* A quadtree code takes at most 2 bits a pixel of its quadrant and bit plane; twice that. */
    size_t planes = bytes[22] + 2u * bytes[23] + bytes[24] + 2u;
    size_t tail = (size_t)(nx + 8) * (ny + 8) * planes / 8;
    size_t each = n * (wide ? sizeof(int64_t) : sizeof(int));
    if (!make_room(&s->packed, &s->packed_room, len + tail) ||
        !make_room(&s->pixels, &s->pixel_room, 2 * each))
        return fault(why, ST_RETRY, "no memory for a tile of %zu pixels", n);
    memset(s->pixels, 0, 2 * each);
    memcpy(s->packed, bytes, len);
    for (int pass = 0; pass < 2; pass++) {
        memset(s->packed + len, pass ? 0xff : 0x00, tail);
        if (!fits_hcompress_decode(s->packed, !wide, t->hcompress_smooth,
                                   s->pixels + (size_t)pass * each))
            return bad_tile(t, s->row, "its Hcompress stream is damaged", why);
    }
    if (memcmp(s->pixels, s->pixels + each, each) != 0)
        return bad_tile(t, s->row, "its Hcompress stream runs past its end", why);
    return ST_OK;
}

/* PLIO: the list says its own length, in its first words. */
static enum status check_plio(const struct tiles *t, const unsigned char *bytes, size_t len,
                              struct tile_scratch *s, struct fault *why)
{
    if (len < 14)
        return bad_tile(t, s->row, "it is too short", why);
    int head = (int16_t)(bytes[2] << 8 | bytes[3]), third = (int16_t)(bytes[4] << 8 | bytes[5]);
    int64_t low = (int16_t)(bytes[6] << 8 | bytes[7]), high = (int16_t)(bytes[8] << 8 | bytes[9]);
    /* A positive third word is the length itself, in the list's older form. */
    int64_t words = third > 0 ? third : high * 32768 + low;
    if (words < 0 || words > (int64_t)(len / 2) || (third <= 0 && (head < 0 || head > words)))
        return bad_tile(t, s->row, "its PLIO list is longer than it is", why);
    /* The last word may be a high value that takes the next one with it. */
    if (words > 0 && words == (int64_t)(len / 2) && (bytes[2 * words - 2] >> 4) == 1)
        return bad_tile(t, s->row, "its PLIO list ends within a value", why);
    return ST_OK;
}

static enum status check_gzip(const struct tiles *t, const unsigned char *bytes, size_t len,
                              size_t n, bool raw, struct tile_scratch *s, struct fault *why)
{
    size_t got = 0;
    enum status st = unzip(t, bytes, len, 0, n * 8, &got, s, why);
    if (st != ST_OK)
        return st;
    size_t size = (size_t)abs(t->image.bitpix) / 8;
    bool fits = raw ? got == n * size : got == n || got == 2 * n || got == 4 * n || got == 8 * n;
    return fits ? ST_OK : bad_tile(t, s->row, "it does not hold its number of pixels", why);
}

/* Checks every tile, so that cfitsio is only shown what it can read without harm. */
static enum status check_tiles(const struct tiles *t, struct fault *why)
{
    struct tile_scratch s = {0};
    enum status st = ST_OK;
    int64_t first[FITS_MAX_AXES], side[FITS_MAX_AXES];
    for (int64_t row = 0; row < t->rows && st == ST_OK; row++) {
        size_t n = (size_t)fits_tile_box(t, row, first, side), len;
        const unsigned char *bytes;
        s.row = row;
        st = fits_tile_bytes(t, &t->packed, row, &bytes, &len, why);
        if (st == ST_OK && len > 0) {
            st = t->method == TILE_RICE        ? fits_tile_unrice(t, bytes, len, n, &s, why)
                 : t->method == TILE_HCOMPRESS ? check_hcompress(t, bytes, len, n, &s, why)
                 : t->method == TILE_PLIO      ? check_plio(t, bytes, len, &s, why)
                                               : check_gzip(t, bytes, len, n, false, &s, why);
        } else if (st == ST_OK && t->plain.offset >= 0) {
            st = fits_tile_bytes(t, &t->plain, row, &bytes, &len, why);
            if (st == ST_OK && len != n * (size_t)t->plain.item)
                st = bad_tile(t, row, "it does not hold its number of pixels", why);
        } else if (st == ST_OK && t->gzipped.offset >= 0) {
            st = fits_tile_bytes(t, &t->gzipped, row, &bytes, &len, why);
            if (st == ST_OK)
                st = check_gzip(t, bytes, len, n, true, &s, why);
        } else if (st == ST_OK) {
            st = bad_tile(t, row, "it is empty", why);
        }
    }
    fits_tile_scratch_free(&s);
    return st;
}

/* A primary without data and the table, as cfitsio wants to see a file. */
static enum status stub_file(const struct fits_header *table, const struct tiles *t,
                             struct buf *out, struct fault *why)
{
    struct fits_header primary = {0}, core = {0};
    size_t len = (size_t)(t->heap + t->heap_bytes);
    size_t pad = (FITS_BLOCK - len % FITS_BLOCK) % FITS_BLOCK;
    enum status st = fits_tile_core(table, &core, why);
    if (st == ST_OK && !(fits_header_add_logical(&primary, "SIMPLE", true, NULL) &&
                         fits_header_add_int(&primary, "BITPIX", 8, NULL) &&
                         fits_header_add_int(&primary, "NAXIS", 0, NULL) &&
                         fits_header_add_logical(&primary, "EXTEND", true, NULL) &&
                         buf_reserve(out, len + 4 * FITS_BLOCK + core.count * FITS_CARD) &&
                         fits_header_write(&primary, out) && fits_header_write(&core, out) &&
                         buf_append(out, t->data, len) && buf_reserve(out, pad + 1)))
        st = fault(why, ST_RETRY, "no memory for tiles of %zu bytes", len);
    if (st == ST_OK) {
        memset(out->data + out->len, 0, pad);
        out->len += pad;
    }
    fits_header_free(&primary);
    fits_header_free(&core);
    return st;
}

static enum status load_by_cfitsio(const struct fits_header *table, const struct tiles *t,
                                   struct fits_image *out, struct fault *why)
{
    struct buf file = {0};
    if (t->image.bitpix == 64)
        return fault(why, ST_REJECT, "64-bit tiles (ZBITPIX = 64) of this kind cannot be read");
    /* Rice, PLIO and Hcompress hold integers; cfitsio would read past what they unpack to. */
    bool integers = t->method != TILE_GZIP_1 && t->method != TILE_GZIP_2;
    if (integers && t->image.bitpix < 0 && !t->quantised)
        return fault(why, ST_REJECT, "the tiles hold integers, but ZBITPIX = %d says floats",
                     t->image.bitpix);
    enum status st = check_tiles(t, why);
    if (st == ST_OK)
        st = stub_file(table, t, &file, why);
    if (st == ST_OK)
        st = fits_run_decompress(&file, t, out->data, out->size, why);
    buf_free(&file);
    return st;
}

/* Whole tiles of integers need no library but for their decoding. */
static bool is_direct(const struct tiles *t, bool exact)
{
    if (t->gzipped.offset >= 0 || t->plain.offset >= 0 || t->quantised)
        return false;
    if (t->method == TILE_RICE)
        return t->image.bitpix == 8 * t->byte_pixel;
    /* funpack turns every NaN into one and the same: so do we, but for our own files. */
    return (t->method == TILE_GZIP_1 || t->method == TILE_GZIP_2) && (exact || t->image.bitpix > 0);
}

enum status fits_tile_load(const struct fits_header *table, const void *data, size_t len,
                           bool exact, struct fits_image *out, struct fault *why)
{
    struct tiles t;
    *out = (struct fits_image){0};
    enum status st = fits_tiles_read(table, data, len, &t, why);
    if (st == ST_OK)
        st = fits_tile_header(table, exact, &out->header, why);
    if (st == ST_OK)
        st = fits_image_shape(out, why);
    if (st != ST_OK)
        goto out;
    if (out->bitpix != t.image.bitpix || out->naxis != t.image.naxis ||
        memcmp(out->naxes, t.image.n, sizeof out->naxes) != 0) {
        st = fault(why, ST_REJECT, "the restored header's axes are not those of the tiles");
        goto out;
    }
    if (!(out->data = malloc(out->size))) {
        st = fault(why, ST_RETRY, "no memory for an image of %zu bytes", out->size);
        goto out;
    }
    if (is_direct(&t, exact))
        st = load_directly(&t, out, why);
    else
        st = load_by_cfitsio(table, &t, out, why);
out:
    if (st != ST_OK)
        fits_image_free(out);
    return st;
}
