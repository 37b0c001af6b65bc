#include "common/fits_tile.h"

#include <inttypes.h>
#include <stdlib.h>

/* What is being packed: a tile is one row of the image. */
struct packing {
    const struct fits_image *img;
    size_t row;          /* pixels a row */
    int size;            /* bytes a pixel */
    unsigned char *line; /* a row in the machine's order, or shuffled */
};

/* Compresses one row to the end of out. */
static enum status pack_row(struct tile_file *f, int64_t row, struct buf *out, struct fault *why)
{
    const struct packing *p = f->ctx;
    bool rice = f->method == TILE_RICE;
    size_t bytes = p->row * (size_t)p->size;
    const unsigned char *from = p->img->data + (size_t)row * bytes;
    size_t room = rice ? FITS_RICE_ROOM(p->row, p->size) : FITS_GZIP_ROOM(bytes);
    if (!buf_reserve(out, room))
        return fault(why, ST_RETRY, "no memory for a tile-compressed image");
    long made;
    if (rice) {
        fits_swap_copy(p->line, from, p->row, p->size);
        made = fits_rice_encode(p->line, p->row, p->size, FITS_RICE_BLOCK, out->data + out->len,
                                room);
    } else {
        fits_shuffle(p->line, from, p->row, p->size);
        made = fits_gzip_encode(p->line, bytes, out->data + out->len, room);
    }
    if (made <= 0 || !fits_tile_put(f, row, 0, (size_t)made, out))
        return fault(why, ST_REJECT, "row %" PRId64 " cannot be tile-compressed", row + 1);
    return ST_OK;
}

/* The convention has no 64-bit integers; cfitsio reads six axes, and counts in an int. */
bool fits_tile_packable_shape(const struct fits_image *img)
{
    return img->bitpix != 64 && img->bitpix != 0 && img->naxis >= 1 && img->naxis <= 6 &&
           img->naxes[0] >= 1 && img->naxes[0] <= INT32_MAX / 16 && img->size <= INT32_MAX;
}

bool fits_tile_packable(const struct fits_image *img)
{
    return fits_tile_packable_shape(img) && fits_tile_can_carry(&img->header);
}

enum status fits_tile_pack(const struct fits_image *img, struct buf *out, struct fault *why)
{
    struct packing p = {.img = img, .size = abs(img->bitpix) / 8};
    struct tile_file f = {.image = &img->header, .naxis = img->naxis, .raw_floats = img->bitpix < 0,
                          .method = img->bitpix > 0 ? TILE_RICE : TILE_GZIP_2,
                          .byte_pixel = p.size, .guess = img->size / 2, .pack = pack_row,
                          .ctx = &p};
    if (!fits_tile_packable_shape(img))
        return fault(why, ST_REJECT, "tile compression cannot hold an image of BITPIX %d, %d axes "
                     "and %zu bytes", img->bitpix, img->naxis, img->size);
    if (!fits_tile_can_carry(&img->header))
        return fault(why, ST_REJECT, "the header has cards that belong to tile compression itself");
    p.row = (size_t)img->naxes[0];
    f.rows = (int64_t)(img->size / (p.row * (size_t)p.size));
    for (int i = 0; i < img->naxis; i++)
        f.side[i] = i == 0 ? img->naxes[0] : 1;
    if (!(p.line = malloc(p.row * (size_t)p.size)))
        return fault(why, ST_RETRY, "no memory for a row of %zu pixels", p.row);
    enum status st = fits_tile_write(&f, out, why);
    free(p.line);
    return st;
}

/* ---- and back ---- */

enum status fits_tile_open(const void *file, size_t len, struct fits_header *table,
                           const unsigned char **data, size_t *data_len, struct fault *why)
{
    struct fits_header primary = {0};
    const unsigned char *bytes = file;
    bool tiled = false;
    enum status st = fits_header_parse(bytes, len, &primary, why);
    size_t at = (primary.count + 36) / 36 * FITS_BLOCK, head = 0;
    fits_header_free(&primary);
    if (st == ST_OK && at >= len)
        st = fault(why, ST_REJECT, "the file has no second HDU");
    if (st == ST_OK)
        st = fits_header_parse(bytes + at, len - at, table, why);
    if (st != ST_OK)
        return st;
    head = at + (table->count + 36) / 36 * FITS_BLOCK;
    fits_header_logical(table, "ZIMAGE", &tiled);
    if (!tiled || head > len)
        return fault(why, ST_REJECT, "the file's second HDU is no tile-compressed image");
    if (fits_header_find(table, "CHECKSUM") < 0 || fits_header_find(table, "DATASUM") < 0)
        return fault(why, ST_REJECT, "the file's second HDU lacks CHECKSUM or DATASUM");
    *data = bytes + head;
    *data_len = len - head;
    return fits_check_sums(bytes + at, len - at, why);
}

enum status fits_tile_unpack(const void *file, size_t len, struct fits_image *out,
                             struct fault *why)
{
    struct fits_header table = {0};
    const unsigned char *data = NULL;
    size_t data_len = 0;
    *out = (struct fits_image){0};
    enum status st = fits_tile_open(file, len, &table, &data, &data_len, why);
    if (st == ST_OK)
        st = fits_tile_load(&table, data, data_len, true, out, why);
    fits_header_free(&table);
    return st;
}
