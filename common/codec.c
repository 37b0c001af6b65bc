#include "common/codec_j2k.h"

#include <stdlib.h>
#include <string.h>

#define SIDE_MAX (1 << 20)
#define PIXELS_MAX (1LL << 28)

/* Each row lives in its own file, codec_NAME.c. */
extern const struct codec codec_original, codec_rice, codec_htj2k, codec_jp2, codec_jxl,
    codec_quantized;

static const struct codec *const rows[] = {&codec_original, &codec_rice, &codec_htj2k, &codec_jp2,
                                           &codec_jxl, &codec_quantized, NULL};

const struct codec *const *codec_all(void)
{
    return rows;
}

const struct codec *codec_find(const char *name)
{
    for (const struct codec *const *c = rows; name && *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

const struct codec *codec_choose(const struct codec_options *o, const struct fits_image *img,
                                 bool tiled, bool tiled_lossless)
{
    const struct codec *wanted = codec_find(o->method);
    /* Floats that were quantised once lost what they lost: packed anew without loss they
     * would only grow threefold. */
    if (wanted == &codec_rice && tiled && (tiled_lossless || img->bitpix < 0))
        return &codec_original;
    /* And quantised anew they would lose again. */
    if (wanted == &codec_quantized && tiled && !tiled_lossless)
        return &codec_original;
    if (wanted && wanted->accepts(img, o))
        return wanted;
    if (!tiled && codec_rice.accepts(img, o))
        return &codec_rice;
    return &codec_original;
}

/* ---- decoding ---- */

struct plane {
    unsigned char *data;
    size_t row;
};

static enum status keep_row(void *ctx, int64_t y, const unsigned char *row, struct fault *why)
{
    const struct plane *p = ctx;
    (void)why;
    memcpy(p->data + (size_t)y * p->row, row, p->row);
    return ST_OK;
}

static size_t row_bytes(const struct fits_image *img)
{
    return img->naxis > 0 ? (size_t)img->naxes[0] * (size_t)abs(img->bitpix) / 8 : 0;
}

enum status codec_decode(const struct codec *c, const void *bytes, size_t len,
                         struct fits_image *img, struct fault *why)
{
    if (c->decode)
        return c->decode(bytes, len, img, why);
    enum status st = fits_image_shape(img, why);
    if (st != ST_OK)
        return st;
    struct plane p = {malloc(img->size ? img->size : 1), row_bytes(img)};
    if (!p.data)
        return fault(why, ST_RETRY, "no memory for an image of %zu bytes", img->size);
    st = c->rows(bytes, len, img, keep_row, &p, why);
    if (st == ST_OK)
        img->data = p.data;
    else
        free(p.data);
    return st;
}

enum status codec_rows(const struct codec *c, const void *bytes, size_t len,
                       struct fits_image *img, codec_row_fn *fn, void *ctx, struct fault *why)
{
    if (c->rows)
        return c->rows(bytes, len, img, fn, ctx, why);
    enum status st = c->decode(bytes, len, img, why);
    size_t row = row_bytes(img);
    for (size_t at = 0, y = 0; st == ST_OK && row > 0 && at + row <= img->size; at += row, y++)
        st = fn(ctx, (int64_t)y, img->data + at, why);
    free(img->data);
    img->data = NULL;
    return st;
}

bool codec_is_flat(const struct fits_image *img)
{
    if ((img->bitpix != 8 && img->bitpix != 16) || img->naxis < 2 || img->naxis > FITS_MAX_AXES)
        return false;
    for (int i = 2; i < img->naxis; i++)
        if (img->naxes[i] != 1)
            return false;
    return img->naxes[0] >= 1 && img->naxes[0] <= SIDE_MAX && img->naxes[1] >= 1 &&
           img->naxes[1] <= SIDE_MAX && img->naxes[0] * img->naxes[1] <= PIXELS_MAX;
}

enum status codec_encode(const struct codec **c, const struct fits_image *img,
                         const struct codec_options *o, struct buf *out, struct fault *why)
{
    size_t start = out->len;
    enum status st = (*c)->encode(img, o, out, why);
    if (st != ST_OK || !(*c)->never_larger || out->len - start <= fits_tile_least(img) ||
        !codec_rice.accepts(img, o))
        return st;
    struct buf rice = {0};
    st = codec_rice.encode(img, o, &rice, why);
    if (st == ST_OK && rice.len < out->len - start) {
        out->len = start;
        *c = &codec_rice;
        if (!buf_append(out, rice.data, rice.len))
            st = fault(why, ST_RETRY, "no memory for %zu bytes", rice.len);
    }
    buf_free(&rice);
    return st;
}

bool codec_is_lossless(const struct codec *c, const struct codec_options *o)
{
    if (c == &codec_quantized)
        return o->reversible;
    return !c->lossy_possible || !j2k_is_lossy(o);
}

double codec_qstep(const struct codec *c, const struct codec_options *o, const void *bytes,
                   size_t len)
{
    if (codec_is_lossless(c, o))
        return 0;
    double step = c->step ? c->step(bytes, len) / 65536 : o->step[0] > 0 ? o->step[0] : o->qstep;
    return step < 1 ? step : 1;
}
