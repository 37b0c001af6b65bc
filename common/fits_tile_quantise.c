#include "common/fits_tile.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A tile is as many whole rows as fit: fewer would cost bytes for scales and first pixels,
 * more would spoil the processor's cache. */
#define TILE_PIXELS 32768
#define SAMPLES 15

/* What is being quantised, and room for one tile. */
struct quantising {
    const struct fits_image *img;
    const struct fits_quantum *quantum;
    struct tile_values values;
    struct tiles t;        /* the geometry only */
    double *x;             /* physical values */
    int32_t *q;
    float *rough;          /* for the noise */
    unsigned char *exact;  /* as the tiles' type stores them */
};

/* What a look at a tile's values tells. */
struct tile_look {
    double low, high;
    bool undefined, zeros, infinite;
};

static struct tile_look look_at(const double *x, size_t n, bool want_zeros)
{
    struct tile_look l = {.low = INFINITY, .high = -INFINITY};
    size_t defined = 0, zeros = 0;
    for (size_t i = 0; i < n; i++) {
        l.low = x[i] < l.low ? x[i] : l.low;
        l.high = x[i] > l.high ? x[i] : l.high;
        defined += x[i] == x[i];
        zeros += x[i] == 0;
    }
    l.undefined = defined < n;
    l.infinite = isinf(l.low) || isinf(l.high); /* also when nothing is defined */
    l.zeros = want_zeros && zeros > 0;
    return l;
}

/* ---- the step ---- */

/* The median of a few values: hardly one of the few that stand out. */
static double sample_median(const double *x, size_t n)
{
    double some[SAMPLES] = {0};
    size_t count = 0;
    for (size_t k = 0; k < SAMPLES; k++) {
        double v = x[k * (n - 1) / (SAMPLES - 1)];
        size_t at = count;
        if (v != v)
            continue;
        while (at > 0 && some[at - 1] > v) {
            some[at] = some[at - 1];
            at--;
        }
        some[at] = v;
        count++;
    }
    return count ? some[count / 2] : 0;
}

/* Counted from about the sky, in units of the range, any noise is one that floats can hold. */
static double tile_noise(struct quantising *z, size_t n, const struct tile_look *l, int64_t width)
{
    double sky = sample_median(z->x, n), range = l->high - l->low;
    for (size_t i = 0; i < n; i++)
        z->rough[i] = (float)((z->x[i] - sky) / range);
    double noise = range * fits_noise(z->rough, (long)width, (long)(n / (size_t)width));
    return isfinite(noise) ? noise : 0;
}

/* 0: the tile is to be kept exactly. */
static double tile_step(struct quantising *z, size_t n, const struct tile_look *l, int64_t width)
{
    const struct fits_quantum *k = z->quantum;
    double least = z->values.bitpix > 0 ? fabs(z->values.scale) : 0, step;
    if (l->infinite || !(l->low < l->high))
        return 0;
    if (k->q > 0) {
        double noise = k->noise > 0 ? k->noise : tile_noise(z, n, l, width);
        if (noise == 0)
            return 0;
        step = noise / k->q;
    } else {
        step = k->step * fabs(z->values.scale);
    }
    step = step > least ? step : least;
    /* Also false when the span is beyond a double. */
    bool representable = step > DBL_MIN / DBL_EPSILON && step < DBL_MAX / 8e9 &&
                         (l->high - l->low) / step < FITS_QUANT_SPAN;
    return representable ? step : 0;
}

/* ---- tiles ---- */

static enum status no_memory(struct fault *why)
{
    return fault(why, ST_RETRY, "no memory for a quantised image");
}

/* Into z->q; returns ZZERO. Undefined pixels and zeros that are kept have codes apart from all
 * others, which then begin next to them, so that Rice need not leap far. */
static double quantise_tile(struct quantising *z, size_t n, const struct tile_look *l,
                            const struct dither *d)
{
    bool apart = l->undefined || l->zeros;
    int32_t base = apart ? FITS_QUANT_LEAST : 0;
    unsigned char *mark = z->exact; /* not in use now */
    for (size_t i = 0; apart && i < n; i++) {
        mark[i] = z->x[i] != z->x[i] ? 1 : l->zeros && z->x[i] == 0 ? 2 : 0;
        if (mark[i] == 1)
            z->x[i] = l->low;
    }
    fits_dither(d, z->x, n, l->low, base, z->q);
    for (size_t i = 0; apart && i < n; i++)
        if (mark[i])
            z->q[i] = mark[i] == 1 ? FITS_QUANT_NULL : FITS_QUANT_ZERO;
    return l->low - base * d->scale;
}

/* The tile as gzip'ed floats: the original's own bytes where it holds floats. */
static enum status put_exact(struct quantising *z, struct tile_file *f, int64_t row,
                             const unsigned char *stored, size_t n, struct buf *out,
                             struct fault *why)
{
    const struct tile_values floats = {.bitpix = z->values.packed, .scale = 1};
    size_t bytes = n * (size_t)(-z->values.packed / 8), room = FITS_GZIP_ROOM(bytes);
    if (z->values.bitpix > 0) {
        fits_tile_read_values(&z->values, stored, n, z->x);
        fits_tile_write_values(&floats, z->x, n, z->exact);
        stored = z->exact;
    }
    if (!buf_reserve(out, room))
        return no_memory(why);
    long made = fits_gzip_encode(stored, bytes, out->data + out->len, room);
    if (made <= 0 || !fits_tile_put(f, row, 1, (size_t)made, out))
        return fault(why, ST_REJECT, "tile %" PRId64 " cannot be compressed", row + 1);
    return ST_OK;
}

/* One tile: whole rows, so that its pixels stand together. */
static enum status quantise_row(struct tile_file *f, int64_t row, struct buf *out,
                                struct fault *why)
{
    struct quantising *z = f->ctx;
    int64_t first[FITS_MAX_AXES], side[FITS_MAX_AXES], index = 0;
    size_t n = (size_t)fits_tile_box(&z->t, row, first, side);
    size_t room = FITS_RICE_ROOM(n, 4);
    for (int i = z->t.image.naxis - 1; i >= 0; i--)
        index = index * z->t.image.n[i] + first[i];
    const unsigned char *stored = z->img->data + index * abs(z->img->bitpix) / 8;
    fits_tile_read_values(&z->values, stored, n, z->x);
    struct tile_look look = look_at(z->x, n, f->dither == 2);
    struct dither d = {.scale = tile_step(z, n, &look, side[0]), .row = row, .seed = f->seed};
    if (d.scale == 0)
        return put_exact(z, f, row, stored, n, out, why);
    d.zero = quantise_tile(z, n, &look, &d);
    if (!buf_reserve(out, room))
        return no_memory(why);
    long made = fits_rice_encode(z->q, n, 4, FITS_RICE_BLOCK, out->data + out->len, room);
    if (made <= 0)
        return put_exact(z, f, row, stored, n, out, why);
    if (!fits_tile_put(f, row, 0, (size_t)made, out))
        return fault(why, ST_REJECT, "the image takes more than 2 GiB");
    fits_tile_put_scale(f, row, d.scale, d.zero, out);
    return ST_OK;
}

/* ---- the whole ---- */

/* The cards of the floats that the tiles hold. */
static bool float_cards(const struct quantising *z, struct fits_header *to)
{
    static const char *const stale[] = {"CHECKSUM", "DATASUM", "BSCALE", "BZERO", "BLANK"};
    const struct fits_header *from = &z->img->header;
    size_t stales = z->values.bitpix > 0 ? 5 : 2;
    bool ok = true;
    for (size_t i = 0; ok && i < from->count; i++) {
        const char *card = from->cards + i * FITS_CARD;
        bool drop = false;
        for (size_t k = 0; k < stales; k++)
            drop = drop || fits_card_is(card, stale[k]);
        if (fits_card_is(card, "BITPIX"))
            ok = fits_header_add_int(to, "BITPIX", z->values.packed, "floats");
        else if (!drop)
            ok = fits_header_append(to, card);
    }
    return ok;
}

static void shape_tiles(const struct fits_image *img, struct tiles *t)
{
    t->image = (struct fits_axes){.bitpix = img->bitpix, .naxis = img->naxis};
    t->rows = t->pixels = 1;
    for (int i = 0; i < img->naxis; i++) {
        int64_t rows = TILE_PIXELS / img->naxes[0];
        t->image.n[i] = img->naxes[i];
        t->side[i] = i == 0 ? img->naxes[0] : 1;
        if (i == 1 && rows > 1)
            t->side[i] = rows < img->naxes[1] ? rows : img->naxes[1];
        t->pixels *= t->side[i];
        t->rows *= (img->naxes[i] - 1) / t->side[i] + 1;
    }
}

bool fits_tile_quantisable(const struct fits_image *img)
{
    struct tile_values v;
    return fits_tile_packable(img) && img->size > 0 && fits_tile_values(img, &v);
}

enum status fits_tile_quantise(const struct fits_image *img, const struct fits_quantum *quantum,
                               struct buf *out, struct fault *why)
{
    struct quantising z = {.img = img, .quantum = quantum};
    struct fits_header cards = {0};
    enum status st = ST_OK;
    if (!fits_tile_quantisable(img) || !fits_tile_values(img, &z.values))
        return fault(why, ST_REJECT, "the image cannot be quantised: BITPIX %d, its shape, its "
                     "BSCALE, BZERO or BLANK, or cards of tile compression", img->bitpix);
    shape_tiles(img, &z.t);
    struct tile_file f = {.image = &cards, .naxis = img->naxis, .rows = z.t.rows,
                          .method = TILE_RICE, .byte_pixel = 4, .dither = img->bitpix < 0 ? 2 : 1,
                          .guess = img->size / 4, .pack = quantise_row, .ctx = &z};
    memcpy(f.side, z.t.side, sizeof f.side);
    /* Another place in the random numbers for each image, the same for the same one. */
    f.seed = 1 + (int)(fits_sum(img->data, img->size & ~(size_t)3, 0) % FITS_DITHER_SEEDS);
    z.x = malloc((size_t)z.t.pixels * sizeof *z.x);
    z.q = malloc((size_t)z.t.pixels * sizeof *z.q);
    z.rough = malloc((size_t)z.t.pixels * sizeof *z.rough);
    z.exact = malloc((size_t)z.t.pixels * 8);
    if (!z.x || !z.q || !z.rough || !z.exact || !float_cards(&z, &cards))
        st = no_memory(why);
    if (st == ST_OK)
        st = fits_tile_write(&f, out, why);
    fits_header_free(&cards);
    free(z.exact);
    free(z.rough);
    free(z.q);
    free(z.x);
    return st;
}
