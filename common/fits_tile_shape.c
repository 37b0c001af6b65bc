#include "common/fits_private.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TILE_PIXELS_MAX (1 << 27) /* cfitsio counts a tile's bytes in an int */
#define TILE_AXES_MAX 6           /* and has no more axes */

/* ---- the table's columns ---- */

struct form {
    int64_t repeat;
    char type, item; /* item: of a P or Q descriptor */
};

static bool parse_form(const char *text, struct form *out)
{
    char *end;
    while (*text == ' ')
        text++;
    long repeat = isdigit((unsigned char)*text) ? strtol(text, &end, 10) : 1;
    if (isdigit((unsigned char)*text))
        text = end;
    if (repeat < 0 || repeat > INT_MAX || !*text)
        return false;
    out->repeat = repeat;
    out->type = *text;
    out->item = *text == 'P' || *text == 'Q' ? text[1] : *text;
    return true;
}

static int item_bytes(char type)
{
    switch (type) {
    case 'L': case 'B': case 'A':
        return 1;
    case 'I':
        return 2;
    case 'J': case 'E':
        return 4;
    case 'K': case 'D': case 'C':
        return 8;
    case 'M':
        return 16;
    default:
        return 0;
    }
}

static int64_t form_bytes(const struct form *f)
{
    if (f->type == 'P')
        return 8 * f->repeat;
    if (f->type == 'Q')
        return 16 * f->repeat;
    if (f->type == 'X')
        return (f->repeat + 7) / 8;
    return item_bytes(f->type) * f->repeat;
}

static enum status take_column(const struct form *f, const char *name, int64_t offset,
                               struct tiles *t, struct fault *why)
{
    struct tile_column *c = strcasecmp(name, "COMPRESSED_DATA") == 0        ? &t->packed
                            : strcasecmp(name, "GZIP_COMPRESSED_DATA") == 0 ? &t->gzipped
                            : strcasecmp(name, "UNCOMPRESSED_DATA") == 0    ? &t->plain
                                                                            : NULL;
    if (strcasecmp(name, "ZSCALE") == 0 || strcasecmp(name, "ZZERO") == 0)
        t->quantised = true;
    if (f->type == 'D' && f->repeat == 1 && strcasecmp(name, "ZSCALE") == 0)
        t->scale_at = offset;
    if (f->type == 'D' && f->repeat == 1 && strcasecmp(name, "ZZERO") == 0)
        t->zero_at = offset;
    if (!c)
        return ST_OK;
    if ((f->type != 'P' && f->type != 'Q') || f->repeat != 1 || item_bytes(f->item) == 0)
        return fault(why, ST_REJECT, "column %s of a tile-compressed image is no array in the heap",
                     name);
    *c = (struct tile_column){.offset = offset,
                              .width = f->type == 'P' ? 8 : 16,
                              .item = item_bytes(f->item)};
    return ST_OK;
}

/* A card that may be missing, but not malformed. */
static enum status optional_int(const struct fits_header *h, const char *key, int64_t min,
                                int64_t max, int64_t *out, struct fault *why)
{
    if (fits_header_find(h, key) < 0)
        return ST_OK;
    if (!fits_header_int(h, key, out) || *out < min || *out > max)
        return fault(why, ST_REJECT, "%s is not a number from %" PRId64 " to %" PRId64, key, min,
                     max);
    return ST_OK;
}

static enum status read_columns(const struct fits_header *h, struct tiles *t, struct fault *why)
{
    int64_t fields, offset = 0;
    t->packed.offset = t->gzipped.offset = t->plain.offset = -1;
    t->scale_at = t->zero_at = -1;
    if (!fits_header_int(h, "TFIELDS", &fields) || fields < 1 || fields > 999)
        return fault(why, ST_REJECT, "TFIELDS of a tile-compressed image is not 1 to 999");
    for (int i = 1; i <= (int)fields; i++) {
        char key[16], text[72], name[72] = "";
        struct form f;
        snprintf(key, sizeof key, "TFORM%d", i);
        if (!fits_header_text(h, key, text, sizeof text) || !parse_form(text, &f) ||
            (form_bytes(&f) == 0 && f.repeat != 0))
            return fault(why, ST_REJECT, "%s of a tile-compressed image is unknown", key);
        snprintf(key, sizeof key, "TTYPE%d", i);
        fits_header_text(h, key, name, sizeof name);
        enum status st = take_column(&f, name, offset, t, why);
        if (st != ST_OK)
            return st;
        offset += form_bytes(&f);
    }
    if (offset != t->row_bytes)
        return fault(why, ST_REJECT, "the columns of a tile-compressed image are %" PRId64
                     " bytes wide, NAXIS1 says %" PRId64, offset, t->row_bytes);
    if (t->packed.offset < 0)
        return fault(why, ST_REJECT, "a tile-compressed image has no column COMPRESSED_DATA");
    return ST_OK;
}

/* ---- sizes ---- */

static enum status read_table(const struct fits_header *h, size_t len, bool with_data,
                              struct tiles *t, struct fault *why)
{
    struct fits_axes table;
    int64_t pcount = 0, start, body;
    enum status st = fits_header_axes(h, "", &table, why);
    if (st != ST_OK)
        return st;
    body = fits_axes_bytes(&table, FITS_DATA_MAX);
    if (table.bitpix != 8 || table.naxis != 2 || body < 0)
        return fault(why, ST_REJECT, "the table of a tile-compressed image has an impossible "
                     "BITPIX, NAXIS or NAXISn");
    t->row_bytes = table.n[0];
    t->rows = table.n[1];
    start = body;
    st = optional_int(h, "PCOUNT", 0, FITS_DATA_MAX, &pcount, why);
    if (st == ST_OK)
        st = optional_int(h, "THEAP", body, body + pcount, &start, why);
    if (st != ST_OK)
        return st;
    t->heap = start;
    t->heap_bytes = body + pcount - start;
    if (with_data && (uint64_t)(body + pcount) > len)
        return fault(why, ST_REJECT, "the tiles are cut off: %zu bytes where the header says %"
                     PRId64, len, body + pcount);
    return ST_OK;
}

static enum status read_sides(const struct fits_header *h, struct tiles *t, struct fault *why)
{
    int64_t count = 1;
    t->pixels = 1;
    enum status st = fits_header_axes(h, "Z", &t->image, why);
    if (st != ST_OK)
        return st;
    if (t->image.naxis > TILE_AXES_MAX)
        return fault(why, ST_REJECT, "a tile-compressed image of %d axes; %d can be read",
                     t->image.naxis, TILE_AXES_MAX);
    if (t->image.naxis == 0 || fits_axes_bytes(&t->image, FITS_IMAGE_MAX) <= 0)
        return fault(why, ST_REJECT, "ZNAXIS and ZNAXISn describe no image, or one of more than "
                     "%lld GiB", FITS_IMAGE_MAX >> 30);
    for (int i = 0; i < t->image.naxis; i++) {
        char key[16];
        snprintf(key, sizeof key, "ZTILE%d", i + 1);
        t->side[i] = i == 0 ? t->image.n[0] : 1;
        if ((st = optional_int(h, key, 1, TILE_PIXELS_MAX, &t->side[i], why)) != ST_OK)
            return st;
        if (t->side[i] > TILE_PIXELS_MAX || (t->pixels *= t->side[i]) > TILE_PIXELS_MAX)
            return fault(why, ST_REJECT, "%s = %" PRId64 " makes tiles of more than %d pixels", key,
                         t->side[i], TILE_PIXELS_MAX);
        count *= (t->image.n[i] - 1) / t->side[i] + 1;
    }
    /* A tile larger than its image is odd but allowed; one that is mostly empty is damage. */
    if (t->pixels / 4 > fits_axes_bytes(&t->image, FITS_IMAGE_MAX) + 65536)
        return fault(why, ST_REJECT, "ZTILEn are far larger than ZNAXISn");
    if (count != t->rows)
        return fault(why, ST_REJECT, "the image has %" PRId64 " tiles and its table %" PRId64
                     " rows (ZNAXISn, ZTILEn and NAXIS2 disagree)", count, t->rows);
    return ST_OK;
}

/* ---- the method and its numbers ---- */

static enum status read_rice(const struct fits_header *h, struct tiles *t, struct fault *why)
{
    int64_t block = 32, bytes = 4;
    char name[16] = "";
    if (fits_header_find(h, "ZVAL1") < 0)
        return fault(why, ST_REJECT, "Rice tiles without their block size (ZVAL1)");
    enum status st = optional_int(h, "ZVAL1", 1, 4096, &block, why);
    fits_header_text(h, "ZNAME2", name, sizeof name);
    if (st == ST_OK && strcmp(name, "NOISEBIT") != 0) /* very old files: the second is another */
        st = optional_int(h, "ZVAL2", 1, 4096, &bytes, why);
    if (st != ST_OK)
        return st;
    if (block < 16 && bytes > 8) { /* some early writers swapped the two; cfitsio knows them */
        int64_t swap = block;
        block = bytes;
        bytes = swap;
    }
    if (bytes != 1 && bytes != 2 && bytes != 4)
        return fault(why, ST_REJECT, "Rice tiles of %" PRId64 " bytes a pixel are unknown (ZVAL2)",
                     bytes);
    t->block = (int)block;
    t->byte_pixel = (int)bytes;
    return ST_OK;
}

static enum status read_method(const struct fits_header *h, struct tiles *t, struct fault *why)
{
    static const struct {
        const char *name;
        enum tile_method method;
    } known[] = {{"RICE_1", TILE_RICE},   {"RICE_ONE", TILE_RICE}, {"GZIP_1", TILE_GZIP_1},
                 {"GZIP_2", TILE_GZIP_2}, {"PLIO_1", TILE_PLIO},
                 {"HCOMPRESS_1", TILE_HCOMPRESS}};
    char name[72] = "";
    int64_t smooth = 0, seed = 1;
    double any;
    fits_header_text(h, "ZCMPTYPE", name, sizeof name);
    size_t i = 0;
    while (i < sizeof known / sizeof *known && strcmp(name, known[i].name) != 0)
        i++;
    if (i == sizeof known / sizeof *known)
        return fault(why, ST_REJECT, "the tile compression '%s' (ZCMPTYPE) is unknown", name);
    t->method = known[i].method;
    if (fits_header_real(h, "ZSCALE", &any) || fits_header_real(h, "ZZERO", &any))
        t->quantised = true;
    if (t->method == TILE_HCOMPRESS) {
        if (!fits_header_real(h, "ZVAL1", &t->hcompress_scale))
            return fault(why, ST_REJECT, "Hcompress tiles without their scale (ZVAL1)");
        fits_header_int(h, "ZVAL2", &smooth);
        t->hcompress_smooth = smooth != 0;
    }
    /* cfitsio takes the seed for an index into its 10,000 random numbers. */
    enum status st = optional_int(h, "ZDITHER0", 1, 10000, &seed, why);
    return st == ST_OK && t->method == TILE_RICE ? read_rice(h, t, why) : st;
}

enum status fits_tiles_read(const struct fits_header *h, const void *bytes, size_t len,
                            struct tiles *out, struct fault *why)
{
    *out = (struct tiles){.data = bytes};
    enum status st = read_table(h, len, bytes != NULL, out, why);
    if (st == ST_OK)
        st = read_sides(h, out, why);
    if (st == ST_OK)
        st = read_columns(h, out, why);
    if (st == ST_OK)
        st = read_method(h, out, why);
    return st;
}

bool fits_tiled_lossless(const void *hdu_bytes, size_t len)
{
    struct fits_header h = {0};
    struct tiles t;
    bool lossless = fits_header_parse(hdu_bytes, len, &h, NULL) == ST_OK &&
                    fits_tiles_read(&h, NULL, 0, &t, NULL) == ST_OK && !t.quantised &&
                    (t.method != TILE_HCOMPRESS || t.hcompress_scale == 0);
    fits_header_free(&h);
    return lossless;
}

/* ---- one tile ---- */

static uint64_t big_endian(const unsigned char *p, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

enum status fits_tile_bytes(const struct tiles *t, const struct tile_column *c, int64_t row,
                            const unsigned char **bytes, size_t *len, struct fault *why)
{
    const unsigned char *at = t->data + row * t->row_bytes + c->offset;
    uint64_t count = big_endian(at, c->width / 2);
    uint64_t offset = big_endian(at + c->width / 2, c->width / 2);
    uint64_t heap = (uint64_t)t->heap_bytes;
    *bytes = t->data + t->heap;
    *len = 0;
    if (count == 0)
        return ST_OK;
    if (offset > heap || count > (heap - offset) / (uint64_t)c->item)
        return fault(why, ST_REJECT, "tile %" PRId64 " of %" PRId64 " lies outside the heap (%"
                     PRIu64 " elements at byte %" PRIu64 " of %" PRIu64 ")", row + 1, t->rows,
                     count, offset, heap);
    *bytes += offset;
    *len = (size_t)count * (size_t)c->item;
    return ST_OK;
}

int64_t fits_tile_box(const struct tiles *t, int64_t row, int64_t *first, int64_t *side)
{
    int64_t pixels = 1;
    for (int i = 0; i < t->image.naxis; i++) {
        int64_t count = (t->image.n[i] - 1) / t->side[i] + 1;
        first[i] = row % count * t->side[i];
        row /= count;
        int64_t left = t->image.n[i] - first[i];
        side[i] = left < t->side[i] ? left : t->side[i];
        pixels *= side[i];
    }
    return pixels;
}
