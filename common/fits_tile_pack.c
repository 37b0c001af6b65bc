#include "common/fits_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 32 /* pixels a Rice block, as fpack has it */

/* What is being packed: a tile is one row of the image. */
struct packing {
    const struct fits_image *img;
    size_t row;      /* pixels a row */
    int64_t rows;
    int size;        /* bytes a pixel */
    bool rice;
    unsigned char *line;  /* a row in the machine's order, or shuffled */
    size_t longest;       /* tile so far */
    size_t table, heap;   /* offsets in out */
    size_t heap_bytes;
    uint32_t datasum;
};

static bool add_table_structure(struct fits_header *h, const struct packing *p)
{
    char form[32];
    snprintf(form, sizeof form, "1PB(%zu)", p->longest);
    return fits_header_add_text(h, "XTENSION", "BINTABLE", "binary table extension") &&
           fits_header_add_int(h, "BITPIX", 8, "8-bit bytes") &&
           fits_header_add_int(h, "NAXIS", 2, "2-dimensional binary table") &&
           fits_header_add_int(h, "NAXIS1", 8, "width of table in bytes") &&
           fits_header_add_int(h, "NAXIS2", p->rows, "number of rows in table") &&
           fits_header_add_int(h, "PCOUNT", (int64_t)p->heap_bytes, "size of special data area") &&
           fits_header_add_int(h, "GCOUNT", 1, "one data group (required keyword)") &&
           fits_header_add_int(h, "TFIELDS", 1, "number of fields in each row") &&
           fits_header_add_text(h, "TTYPE1", "COMPRESSED_DATA", "label for field   1") &&
           fits_header_add_text(h, "TFORM1", form, "data format of field: variable length array");
}

static bool add_tile_cards(struct fits_header *h, const struct packing *p)
{
    bool ok = fits_header_add_logical(h, "ZIMAGE", true, "extension contains compressed image");
    for (int i = 1; ok && i <= p->img->naxis; i++) {
        char key[16];
        snprintf(key, sizeof key, "ZTILE%d", i);
        ok = fits_header_add_int(h, key, i == 1 ? (int64_t)p->row : 1,
                                 "size of tiles to be compressed");
    }
    if (!p->rice)
        return ok &&
               (p->img->bitpix > 0 ||
                fits_header_add_text(h, "ZQUANTIZ", "NONE",
                                     "Lossless compression without quantization")) &&
               fits_header_add_text(h, "ZCMPTYPE", "GZIP_2", "compression algorithm");
    return ok && fits_header_add_text(h, "ZCMPTYPE", "RICE_1", "compression algorithm") &&
           fits_header_add_text(h, "ZNAME1", "BLOCKSIZE", "compression block size") &&
           fits_header_add_int(h, "ZVAL1", BLOCK, "pixels per block") &&
           fits_header_add_text(h, "ZNAME2", "BYTEPIX", "bytes per pixel (1, 2, 4, or 8)") &&
           fits_header_add_int(h, "ZVAL2", p->size, "bytes per pixel (1, 2, 4, or 8)");
}

static bool table_header(struct fits_header *h, const struct packing *p)
{
    return add_table_structure(h, p) && add_tile_cards(h, p) &&
           fits_header_add_sums(h, p->datasum) && fits_tile_wrap(&p->img->header, h);
}

static bool primary_header(struct buf *out)
{
    struct fits_header h = {0};
    bool ok = fits_header_add_logical(&h, "SIMPLE", true, "conforms to FITS standard") &&
              fits_header_add_int(&h, "BITPIX", 8, "bits per pixel") &&
              fits_header_add_int(&h, "NAXIS", 0, "no pixels here") &&
              fits_header_add_logical(&h, "EXTEND", true, "the image is in an extension") &&
              fits_header_write(&h, out);
    fits_header_free(&h);
    return ok;
}

static void put_u32(unsigned char *p, size_t v)
{
    uint32_t be = __builtin_bswap32((uint32_t)v);
    memcpy(p, &be, 4);
}

static enum status no_memory(struct fault *why)
{
    return fault(why, ST_RETRY, "no memory for a tile-compressed image");
}

/* Compresses one row to the end of out and notes where it lies. */
static enum status pack_row(struct packing *p, int64_t row, struct buf *out, struct fault *why)
{
    size_t bytes = p->row * (size_t)p->size;
    const unsigned char *from = p->img->data + (size_t)row * bytes;
    size_t room = p->rice ? FITS_RICE_ROOM(p->row, p->size) : FITS_GZIP_ROOM(bytes);
    if (!buf_reserve(out, room))
        return no_memory(why);
    long made;
    if (p->rice) {
        fits_swap_copy(p->line, from, p->row, p->size);
        made = fits_rice_encode(p->line, p->row, p->size, BLOCK, out->data + out->len, room);
    } else {
        fits_shuffle(p->line, from, p->row, p->size);
        made = fits_gzip_encode(p->line, bytes, out->data + out->len, room);
    }
    size_t at = out->len - p->heap;
    if (made <= 0 || at + (size_t)made > INT32_MAX)
        return fault(why, ST_REJECT, "row %" PRId64 " cannot be tile-compressed", row + 1);
    unsigned char *descriptor = out->data + p->table + (size_t)row * 8;
    put_u32(descriptor, (size_t)made);
    put_u32(descriptor + 4, at);
    if ((size_t)made > p->longest)
        p->longest = (size_t)made;
    out->len += (size_t)made;
    return ST_OK;
}

/* Appends the table and its heap, after room for a header of head_bytes. */
static enum status pack_rows(struct packing *p, size_t head_bytes, struct buf *out,
                             struct fault *why)
{
    size_t table_bytes = (size_t)p->rows * 8;
    if (!buf_reserve(out, head_bytes + table_bytes + p->img->size / 2))
        return no_memory(why);
    p->table = out->len + head_bytes;
    p->heap = p->table + table_bytes;
    out->len = p->heap;
    for (int64_t row = 0; row < p->rows; row++) {
        enum status st = pack_row(p, row, out, why);
        if (st != ST_OK)
            return st;
    }
    p->heap_bytes = out->len - p->heap;
    size_t pad = (FITS_BLOCK - (out->len - p->table) % FITS_BLOCK) % FITS_BLOCK;
    if (!buf_reserve(out, pad + 1))
        return no_memory(why);
    memset(out->data + out->len, 0, pad);
    out->len += pad;
    p->datasum = fits_sum(out->data + p->table, out->len - p->table, 0);
    return ST_OK;
}

static enum status pack_extension(struct packing *p, struct buf *out, struct fault *why)
{
    struct fits_header h = {0};
    struct buf head = {0};
    size_t start = out->len;
    enum status st = table_header(&h, p) ? ST_OK : no_memory(why);
    size_t head_bytes = (h.count + 36) / 36 * FITS_BLOCK;
    if (st == ST_OK)
        st = pack_rows(p, head_bytes, out, why);
    if (st != ST_OK)
        goto out;
    /* PCOUNT, TFORM1 and DATASUM are known only now; the number of cards stays the same. */
    fits_header_free(&h);
    if (!table_header(&h, p) || !fits_header_write(&h, &head)) {
        st = no_memory(why);
        goto out;
    }
    memcpy(out->data + start, head.data, head_bytes);
    fits_sum_header(out->data + start, head_bytes, (size_t)fits_header_find(&h, "CHECKSUM"),
                    p->datasum);
out:
    buf_free(&head);
    fits_header_free(&h);
    return st;
}

/* The convention has no 64-bit integers; cfitsio reads six axes, and counts in an int. */
static bool is_packable_shape(const struct fits_image *img)
{
    return img->bitpix != 64 && img->bitpix != 0 && img->naxis >= 1 && img->naxis <= 6 &&
           img->naxes[0] >= 1 && img->naxes[0] <= INT32_MAX / 16 && img->size <= INT32_MAX;
}

bool fits_tile_packable(const struct fits_image *img)
{
    return is_packable_shape(img) && fits_tile_can_carry(&img->header);
}

enum status fits_tile_pack(const struct fits_image *img, struct buf *out, struct fault *why)
{
    struct packing p = {.img = img, .size = abs(img->bitpix) / 8, .rice = img->bitpix > 0};
    size_t start = out->len;
    if (!is_packable_shape(img))
        return fault(why, ST_REJECT, "tile compression cannot hold an image of BITPIX %d, %d axes "
                     "and %zu bytes", img->bitpix, img->naxis, img->size);
    if (!fits_tile_can_carry(&img->header))
        return fault(why, ST_REJECT, "the header has cards that belong to tile compression itself");
    p.row = (size_t)img->naxes[0];
    p.rows = (int64_t)(img->size / (p.row * (size_t)p.size));
    p.line = malloc(p.row * (size_t)p.size);
    enum status st = p.line && primary_header(out) ? ST_OK : no_memory(why);
    if (st == ST_OK)
        st = pack_extension(&p, out, why);
    if (st != ST_OK)
        out->len = start;
    free(p.line);
    return st;
}

enum status fits_tile_unpack(const void *file, size_t len, struct fits_image *out,
                             struct fault *why)
{
    struct fits_header primary = {0}, table = {0};
    const unsigned char *bytes = file;
    bool tiled = false;
    *out = (struct fits_image){0};
    enum status st = fits_header_parse(bytes, len, &primary, why);
    size_t at = (primary.count + 36) / 36 * FITS_BLOCK, head = 0;
    if (st == ST_OK && at >= len)
        st = fault(why, ST_REJECT, "the file has no second HDU");
    if (st == ST_OK)
        st = fits_header_parse(bytes + at, len - at, &table, why);
    if (st != ST_OK)
        goto out;
    head = at + (table.count + 36) / 36 * FITS_BLOCK;
    fits_header_logical(&table, "ZIMAGE", &tiled);
    if (!tiled || head > len)
        st = fault(why, ST_REJECT, "the file's second HDU is no tile-compressed image");
    else if (fits_header_find(&table, "CHECKSUM") < 0 || fits_header_find(&table, "DATASUM") < 0)
        st = fault(why, ST_REJECT, "the file's second HDU lacks CHECKSUM or DATASUM");
    else if ((st = fits_check_sums(bytes + at, len - at, why)) == ST_OK)
        st = fits_tile_load(&table, bytes + head, len - head, true, out, why);
out:
    fits_header_free(&table);
    fits_header_free(&primary);
    return st;
}
