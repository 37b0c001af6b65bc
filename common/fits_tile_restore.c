#include "common/fits_tile.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct restoring {
    struct tile_values values;
    struct tiles t;
    int dither;
    int64_t seed;
    struct tile_scratch scratch;
    double *x; /* one tile */
};

/* ---- what the table says ---- */

/* Only what fits_tile_quantise writes; anything else is damage. */
static enum status read_quantisation(const struct fits_header *table, struct restoring *r,
                                     struct fault *why)
{
    char how[72] = "";
    int64_t null = 0;
    const struct tiles *t = &r->t;
    fits_header_text(table, "ZQUANTIZ", how, sizeof how);
    r->dither = strcmp(how, "SUBTRACTIVE_DITHER_1") == 0   ? 1
                : strcmp(how, "SUBTRACTIVE_DITHER_2") == 0 ? 2
                                                           : 0;
    if (!r->dither || t->method != TILE_RICE || t->byte_pixel != 4)
        return fault(why, ST_REJECT, "the tiles are not dithered Rice tiles (ZQUANTIZ, ZCMPTYPE)");
    if (t->gzipped.offset < 0 || t->plain.offset >= 0 || t->scale_at < 0 || t->zero_at < 0)
        return fault(why, ST_REJECT, "the table of quantised tiles has other columns");
    if (!fits_header_int(table, "ZDITHER0", &r->seed) || r->seed < 1 ||
        r->seed > FITS_DITHER_SEEDS || !fits_header_int(table, "ZBLANK", &null) ||
        null != FITS_QUANT_NULL)
        return fault(why, ST_REJECT, "ZDITHER0 or ZBLANK of quantised tiles is missing or unknown");
    return ST_OK;
}

static enum status check_shape(const struct fits_image *img, const struct restoring *r,
                               struct fault *why)
{
    const struct fits_axes *a = &r->t.image;
    bool whole_rows = r->t.side[0] == a->n[0];
    for (int i = 2; i < a->naxis; i++)
        whole_rows = whole_rows && r->t.side[i] == 1;
    if (a->bitpix != r->values.packed || a->naxis != img->naxis ||
        memcmp(a->n, img->naxes, sizeof a->n) != 0)
        return fault(why, ST_REJECT, "the tiles hold BITPIX %d, %d axes, %" PRId64 " x %" PRId64
                     " where the header asks for BITPIX %d, %d axes, %" PRId64 " x %" PRId64,
                     a->bitpix, a->naxis, a->n[0], a->n[1], r->values.packed, img->naxis,
                     img->naxes[0], img->naxes[1]);
    if (!whole_rows)
        return fault(why, ST_REJECT, "the quantised tiles are no whole rows (ZTILEn)");
    return ST_OK;
}

static double get_double(const unsigned char *p)
{
    uint64_t u;
    double d;
    memcpy(&u, p, 8);
    u = __builtin_bswap64(u);
    memcpy(&d, &u, 8);
    return d;
}

/* ---- tiles ---- */

static enum status broken(const struct restoring *r, const char *what, struct fault *why)
{
    return fault(why, ST_REJECT, "tile %" PRId64 " of %" PRId64 " is broken: %s",
                 r->scratch.row + 1, r->t.rows, what);
}

static enum status restore_quantised(struct restoring *r, size_t n, struct fault *why)
{
    const unsigned char *at = r->t.data + r->scratch.row * r->t.row_bytes;
    struct dither d = {.scale = get_double(at + r->t.scale_at),
                       .zero = get_double(at + r->t.zero_at),
                       .row = r->scratch.row, .seed = r->seed};
    const int32_t *q = (const int32_t *)(const void *)r->scratch.pixels;
    bool may_be_undefined = r->values.bitpix < 0 || r->values.has_blank;
    if (!(d.scale > 0) || !isfinite(fabs(d.zero) + 4294967296.0 * d.scale))
        return broken(r, "ZSCALE or ZZERO is no possible scale", why);
    fits_undither(&d, q, n, r->x);
    for (size_t i = 0; i < n; i++) {
        if (q[i] >= FITS_QUANT_LEAST)
            continue;
        if (q[i] == FITS_QUANT_NULL && may_be_undefined)
            r->x[i] = (double)NAN;
        else if (q[i] == FITS_QUANT_ZERO && r->dither == 2)
            r->x[i] = 0;
        else
            return broken(r, "it has undefined pixels that its header does not know", why);
    }
    return ST_OK;
}

/* To where the image keeps it. */
static enum status restore_tile(struct restoring *r, size_t n, unsigned char *stored,
                                struct fault *why)
{
    const unsigned char *bytes;
    size_t len;
    int size = -r->values.packed / 8;
    const struct tile_values floats = {.bitpix = r->values.packed, .scale = 1};
    enum status st = fits_tile_bytes(&r->t, &r->t.packed, r->scratch.row, &bytes, &len, why);
    if (st != ST_OK)
        return st;
    if (len > 0) {
        st = fits_tile_unrice(&r->t, bytes, len, n, &r->scratch, why);
        if (st == ST_OK)
            st = restore_quantised(r, n, why);
    } else {
        st = fits_tile_bytes(&r->t, &r->t.gzipped, r->scratch.row, &bytes, &len, why);
        if (st == ST_OK)
            st = fits_tile_ungzip(&r->t, bytes, len, n, size, &r->scratch, why);
        if (st == ST_OK && r->values.bitpix < 0) { /* every bit, NaNs too */
            memcpy(stored, r->scratch.pixels, n * (size_t)size);
            return ST_OK;
        }
        if (st == ST_OK)
            fits_tile_read_values(&floats, r->scratch.pixels, n, r->x);
        for (size_t i = 0; st == ST_OK && !r->values.has_blank && i < n; i++)
            if (r->x[i] != r->x[i])
                st = broken(r, "it has undefined pixels that its header does not know", why);
    }
    if (st == ST_OK)
        fits_tile_write_values(&r->values, r->x, n, stored);
    return st;
}

static enum status restore_tiles(struct restoring *r, unsigned char *to, struct fault *why)
{
    enum status st = ST_OK;
    for (int64_t row = 0; row < r->t.rows && st == ST_OK; row++) {
        int64_t first[FITS_MAX_AXES], side[FITS_MAX_AXES];
        size_t n = (size_t)fits_tile_box(&r->t, row, first, side);
        r->scratch.row = row;
        st = restore_tile(r, n, to, why);
        to += n * (size_t)abs(r->values.bitpix) / 8; /* whole rows: the next tile goes on there */
    }
    return st;
}

/* ---- the whole ---- */

enum status fits_tile_restore(const void *file, size_t len, struct fits_image *img,
                              struct fault *why)
{
    struct restoring r = {.dither = 0};
    struct fits_header table = {0};
    const unsigned char *data = NULL;
    size_t data_len = 0;
    unsigned char *pixels = NULL;
    enum status st = fits_image_shape(img, why);
    if (st == ST_OK && !fits_tile_values(img, &r.values))
        st = fault(why, ST_REJECT, "an image of this BITPIX, BSCALE, BZERO or BLANK is never "
                   "quantised");
    if (st == ST_OK)
        st = fits_tile_open(file, len, &table, &data, &data_len, why);
    if (st == ST_OK)
        st = fits_tiles_read(&table, data, data_len, &r.t, why);
    if (st == ST_OK)
        st = check_shape(img, &r, why);
    if (st == ST_OK)
        st = read_quantisation(&table, &r, why);
    if (st != ST_OK)
        goto out;
    pixels = malloc(img->size);
    r.x = malloc((size_t)r.t.pixels * sizeof *r.x);
    if (!pixels || !r.x) {
        st = fault(why, ST_RETRY, "no memory for an image of %zu bytes", img->size);
        goto out;
    }
    st = restore_tiles(&r, pixels, why);
    if (st == ST_OK) {
        img->data = pixels;
        pixels = NULL;
    }
out:
    free(r.x);
    free(pixels);
    fits_tile_scratch_free(&r.scratch);
    fits_header_free(&table);
    return st;
}

double fits_tile_step(const void *file, size_t len)
{
    struct fits_header table = {0};
    struct tiles t;
    struct fault why;
    const unsigned char *data, *bytes;
    size_t data_len;
    double sum = 0;
    int64_t count = 0;
    if (fits_tile_open(file, len, &table, &data, &data_len, &why) != ST_OK ||
        fits_tiles_read(&table, data, data_len, &t, &why) != ST_OK || t.scale_at < 0)
        t.rows = 0;
    for (int64_t row = 0; row < t.rows; row++)
        if (fits_tile_bytes(&t, &t.packed, row, &bytes, &data_len, &why) == ST_OK && data_len > 0) {
            sum += get_double(data + row * t.row_bytes + t.scale_at);
            count++;
        }
    fits_header_free(&table);
    return count ? sum / (double)count : 0;
}
