#include "common/fits_tile.h"

#include <stdio.h>
#include <string.h>

static enum status no_memory(struct fault *why)
{
    return fault(why, ST_RETRY, "no memory for a tile-compressed image");
}

/* ---- headers ---- */

static bool add_column(struct fits_header *h, int number, const char *name, size_t longest)
{
    char type[16], form[16], label[32], text[32];
    snprintf(type, sizeof type, "TTYPE%d", number);
    snprintf(form, sizeof form, "TFORM%d", number);
    snprintf(label, sizeof label, "label for field %3d", number);
    snprintf(text, sizeof text, "1PB(%zu)", longest);
    bool array = name[0] != 'Z';
    return fits_header_add_text(h, type, name, label) &&
           fits_header_add_text(h, form, array ? text : "1D",
                                array ? "data format of field: variable length array"
                                      : "data format of field: 8-byte DOUBLE");
}

static bool add_table_structure(struct fits_header *h, const struct tile_file *f)
{
    static const char *const names[] = {"COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "ZSCALE",
                                        "ZZERO"};
    int columns = f->dither ? 4 : 1;
    bool ok = fits_header_add_text(h, "XTENSION", "BINTABLE", "binary table extension") &&
              fits_header_add_int(h, "BITPIX", 8, "8-bit bytes") &&
              fits_header_add_int(h, "NAXIS", 2, "2-dimensional binary table") &&
              fits_header_add_int(h, "NAXIS1", 8 * columns, "width of table in bytes") &&
              fits_header_add_int(h, "NAXIS2", f->rows, "number of rows in table") &&
              fits_header_add_int(h, "PCOUNT", (int64_t)f->heap_bytes,
                                  "size of special data area") &&
              fits_header_add_int(h, "GCOUNT", 1, "one data group (required keyword)") &&
              fits_header_add_int(h, "TFIELDS", columns, "number of fields in each row");
    for (int i = 0; ok && i < columns; i++)
        ok = add_column(h, i + 1, names[i], i < 2 ? f->longest[i] : 0);
    return ok;
}

static bool add_quantisation(struct fits_header *h, const struct tile_file *f)
{
    return fits_header_add_text(h, "ZQUANTIZ",
                                f->dither == 2 ? "SUBTRACTIVE_DITHER_2" : "SUBTRACTIVE_DITHER_1",
                                "Pixel Quantization Algorithm") &&
           fits_header_add_int(h, "ZDITHER0", f->seed, "dithering offset when quantizing floats") &&
           fits_header_add_int(h, "ZBLANK", FITS_QUANT_NULL,
                               "null value in the compressed integers");
}

static bool add_tile_cards(struct fits_header *h, const struct tile_file *f)
{
    bool ok = fits_header_add_logical(h, "ZIMAGE", true, "extension contains compressed image");
    for (int i = 0; ok && i < f->naxis; i++) {
        char key[16];
        snprintf(key, sizeof key, "ZTILE%d", i + 1);
        ok = fits_header_add_int(h, key, f->side[i], "size of tiles to be compressed");
    }
    if (ok && f->dither)
        ok = add_quantisation(h, f);
    else if (ok && f->raw_floats)
        ok = fits_header_add_text(h, "ZQUANTIZ", "NONE",
                                  "Lossless compression without quantization");
    if (f->method != TILE_RICE)
        return ok && fits_header_add_text(h, "ZCMPTYPE", "GZIP_2", "compression algorithm");
    return ok && fits_header_add_text(h, "ZCMPTYPE", "RICE_1", "compression algorithm") &&
           fits_header_add_text(h, "ZNAME1", "BLOCKSIZE", "compression block size") &&
           fits_header_add_int(h, "ZVAL1", FITS_RICE_BLOCK, "pixels per block") &&
           fits_header_add_text(h, "ZNAME2", "BYTEPIX", "bytes per pixel (1, 2, 4, or 8)") &&
           fits_header_add_int(h, "ZVAL2", f->byte_pixel, "bytes per pixel (1, 2, 4, or 8)");
}

static bool table_header(struct fits_header *h, const struct tile_file *f)
{
    return add_table_structure(h, f) && add_tile_cards(h, f) &&
           fits_header_add_sums(h, f->datasum) && fits_tile_wrap(f->image, h);
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

/* ---- rows and heap ---- */

static unsigned char *row_at(const struct tile_file *f, int64_t row, const struct buf *out)
{
    return out->data + f->table + (size_t)row * (f->dither ? 32 : 8);
}

static void put_u32(unsigned char *p, size_t v)
{
    uint32_t be = __builtin_bswap32((uint32_t)v);
    memcpy(p, &be, 4);
}

bool fits_tile_put(struct tile_file *f, int64_t row, int column, size_t made, struct buf *out)
{
    size_t at = out->len - f->heap;
    if (at + made > INT32_MAX)
        return false;
    unsigned char *descriptor = row_at(f, row, out) + 8 * column;
    put_u32(descriptor, made);
    put_u32(descriptor + 4, at);
    if (made > f->longest[column])
        f->longest[column] = made;
    out->len += made;
    return true;
}

void fits_tile_put_scale(const struct tile_file *f, int64_t row, double scale, double zero,
                         struct buf *out)
{
    uint64_t be[2];
    memcpy(&be[0], &scale, 8);
    memcpy(&be[1], &zero, 8);
    be[0] = __builtin_bswap64(be[0]);
    be[1] = __builtin_bswap64(be[1]);
    memcpy(row_at(f, row, out) + 16, be, 16);
}

/* Appends the table and its heap, after room for a header of head_bytes. */
static enum status write_rows(struct tile_file *f, size_t head_bytes, struct buf *out,
                              struct fault *why)
{
    size_t table_bytes = (size_t)f->rows * (f->dither ? 32 : 8);
    if (!buf_reserve(out, head_bytes + table_bytes + f->guess))
        return no_memory(why);
    f->table = out->len + head_bytes;
    f->heap = f->table + table_bytes;
    memset(out->data + f->table, 0, table_bytes);
    out->len = f->heap;
    for (int64_t row = 0; row < f->rows; row++) {
        enum status st = f->pack(f, row, out, why);
        if (st != ST_OK)
            return st;
    }
    f->heap_bytes = out->len - f->heap;
    size_t pad = (FITS_BLOCK - (out->len - f->table) % FITS_BLOCK) % FITS_BLOCK;
    if (!buf_reserve(out, pad + 1))
        return no_memory(why);
    memset(out->data + out->len, 0, pad);
    out->len += pad;
    f->datasum = fits_sum(out->data + f->table, out->len - f->table, 0);
    return ST_OK;
}

static enum status write_extension(struct tile_file *f, struct buf *out, struct fault *why)
{
    struct fits_header h = {0};
    struct buf head = {0};
    size_t start = out->len;
    enum status st = table_header(&h, f) ? ST_OK : no_memory(why);
    size_t head_bytes = (h.count + 36) / 36 * FITS_BLOCK;
    if (st == ST_OK)
        st = write_rows(f, head_bytes, out, why);
    if (st != ST_OK)
        goto out;
    /* PCOUNT, TFORMn and DATASUM are known only now; the number of cards stays the same. */
    fits_header_free(&h);
    if (!table_header(&h, f) || !fits_header_write(&h, &head)) {
        st = no_memory(why);
        goto out;
    }
    memcpy(out->data + start, head.data, head_bytes);
    fits_sum_header(out->data + start, head_bytes, (size_t)fits_header_find(&h, "CHECKSUM"),
                    f->datasum);
out:
    buf_free(&head);
    fits_header_free(&h);
    return st;
}

enum status fits_tile_write(struct tile_file *f, struct buf *out, struct fault *why)
{
    size_t start = out->len;
    enum status st = primary_header(out) ? ST_OK : no_memory(why);
    if (st == ST_OK)
        st = write_extension(f, out, why);
    if (st != ST_OK)
        out->len = start;
    return st;
}
