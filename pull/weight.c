#include "pull/weight.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/regions.h"

/* Every second pixel of every second row is enough for a median: to a tenth of the noise / 3. */
#define STEP 2
#define SAMPLES ((WEIGHT_BLOCK * 3 / 2 / STEP + 2) * (WEIGHT_BLOCK * 3 / 2 / STEP + 2))

/* Cards that a map has in common with its ccd; '#' stands for digits. */
static const char *const shared[] = {
    "WCSAXES", "CTYPE#", "CRVAL#",   "CRPIX#",  "CDELT#",  "CUNIT#",  "CROTA#", "CD#_#", "PC#_#",
    "PV#_#",   "RADESYS", "RADECSYS", "EQUINOX", "LONPOLE", "LATPOLE", NULL};

struct map {
    const struct fits_image *img;
    struct regions where;
    double bzero, bscale, saturated; /* saturated: ADU; NaN: unknown */
    bool blanked;
    int64_t blank;
    double noise, gain, read_noise;  /* as the header states them; gain, read_noise may be NaN */
    unsigned char *weight;           /* owned */
};

/* The blocks of one section, and their backgrounds. */
struct grid {
    struct rectangle in;
    int64_t columns, rows;
    double *background; /* owned */
    double level;
};

/* ---- pixels ---- */

/* ADU; NaN: no number. */
static double value_at(const struct map *m, int64_t x, int64_t y)
{
    const struct fits_image *img = m->img;
    int64_t at = y * img->naxes[0] + x;
    double stored = fits_stored_value(img->data + at * (abs(img->bitpix) / 8), img->bitpix);
    if (m->blanked && stored == (double)m->blank)
        return NAN;
    return m->bzero + m->bscale * stored;
}

static void put_weight(struct map *m, int64_t at, double weight)
{
    float single = (float)weight;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    bits = __builtin_bswap32(bits);
    memcpy(m->weight + at * (int64_t)sizeof bits, &bits, sizeof bits);
}

/* ---- the background ---- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of values that are multiples of `unit` (0: of none) the median is where half of them lie below,
 * each being spread over its unit: a sky of two or three values has one between them, too. */
static double median_of(double *v, size_t n, double unit)
{
    if (n == 0)
        return NAN;
    qsort(v, n, sizeof *v, ascending);
    double middle = v[n / 2];
    size_t below = n / 2, to = n / 2;
    while (below > 0 && v[below - 1] == middle)
        below--;
    while (to < n && v[to] == middle)
        to++;
    return middle + unit * (((double)n / 2 - (double)below) / (double)(to - below) - 0.5);
}

static struct rectangle block_at(const struct grid *g, int64_t column, int64_t row)
{
    int64_t wide = g->in.x1 - g->in.x0, high = g->in.y1 - g->in.y0;
    return (struct rectangle){
        g->in.x0 + wide * column / g->columns, g->in.y0 + high * row / g->rows,
        g->in.x0 + wide * (column + 1) / g->columns, g->in.y0 + high * (row + 1) / g->rows};
}

static double background_of(const struct map *m, const struct rectangle *block)
{
    double v[SAMPLES];
    size_t n = 0;
    for (int64_t y = block->y0; y < block->y1; y += STEP)
        for (int64_t x = block->x0; x < block->x1; x += STEP) {
            double value = value_at(m, x, y);
            if (isfinite(value) && n < SAMPLES)
                v[n++] = value;
        }
    return median_of(v, n, m->img->bitpix > 0 ? fabs(m->bscale) : 0);
}

/* False when memory is out. */
static bool grid_make(const struct map *m, const struct rectangle *in, struct grid *g)
{
    int64_t columns = (in->x1 - in->x0 + WEIGHT_BLOCK / 2) / WEIGHT_BLOCK;
    int64_t rows = (in->y1 - in->y0 + WEIGHT_BLOCK / 2) / WEIGHT_BLOCK;
    *g = (struct grid){.in = *in, .columns = columns > 0 ? columns : 1,
                       .rows = rows > 0 ? rows : 1};
    size_t count = (size_t)(g->columns * g->rows), found = 0;
    double *sorted = calloc(count, sizeof *sorted);
    g->background = calloc(count, sizeof *g->background);
    for (size_t i = 0; sorted && g->background && i < count; i++) {
        struct rectangle block = block_at(g, (int64_t)i % g->columns, (int64_t)i / g->columns);
        g->background[i] = background_of(m, &block);
        if (isfinite(g->background[i]))
            sorted[found++] = g->background[i];
    }
    bool ok = sorted && g->background;
    g->level = ok ? median_of(sorted, found, 0) : NAN;
    free(sorted);
    return ok;
}

/* ---- the map ---- */

static double weight_of(const struct map *m, double background, double level)
{
    double variance = m->noise * m->noise;
    double least = m->read_noise > 0 ? m->read_noise * m->read_noise : variance / 4;
    double more = (background - level) / m->gain;
    if (isfinite(more))
        variance += more;
    return 1 / (variance > least ? variance : least);
}

static enum status fill_section(struct map *m, const struct rectangle *in, struct fault *why)
{
    struct grid g;
    bool ok = grid_make(m, in, &g);
    for (int64_t i = 0; ok && i < g.columns * g.rows; i++) {
        struct rectangle block = block_at(&g, i % g.columns, i / g.columns);
        double weight = weight_of(m, g.background[i], g.level);
        for (int64_t y = block.y0; y < block.y1; y++)
            for (int64_t x = block.x0; x < block.x1; x++) {
                double value = value_at(m, x, y);
                if (isfinite(value) && !(value >= m->saturated))
                    put_weight(m, y * m->img->naxes[0] + x, weight);
            }
    }
    free(g.background);
    return ok ? ST_OK : fault(why, ST_RETRY, "out of memory for a weight map");
}

static double number(const struct fits_header *h, const char *key, double otherwise)
{
    double value;
    return fits_header_real(h, key, &value) && isfinite(value) ? value : otherwise;
}

static enum status map_make(const struct fits_image *img, const struct camera *c, struct map *m,
                            struct fault *why)
{
    const struct fits_header *h = &img->header;
    char codec[16];
    *m = (struct map){.img = img, .bzero = number(h, "BZERO", 0), .bscale = number(h, "BSCALE", 1),
                      .noise = number(h, "SFNOISE", NAN), .gain = number(h, "SFGAIN", NAN),
                      .read_noise = number(h, "SFRDN", NAN)};
    /* A transform codec takes noise away; a quantiser without one adds its error to what was there. */
    if (fits_header_text(h, "SFCODEC", codec, sizeof codec) && strcmp(codec, "quantized") == 0)
        m->noise = hypot(m->noise, number(h, "SFRMS", 0));
    m->blanked = img->bitpix > 0 && fits_header_int(h, "BLANK", &m->blank);
    if (!(m->noise > 0))
        return fault(why, ST_REJECT, "no weight map: the noise of its raw sky was not measured");
    if (img->naxis != 2)
        return fault(why, ST_REJECT, "no weight map: the image has %d axes", img->naxis);
    enum status s = regions_read(c, img, &m->where, why);
    if (s != ST_OK)
        return s;
    m->saturated = m->where.saturate - number(h, "SFMAXERR", 0);
    m->weight = calloc((size_t)(img->naxes[0] * img->naxes[1]), sizeof(float));
    if (!m->weight)
        return fault(why, ST_RETRY, "out of memory for a weight map");
    for (int i = 0; i < m->where.sections && s == ST_OK; i++)
        s = fill_section(m, &m->where.section[i].data, why);
    return s;
}

/* ---- the file ---- */

static bool is_shared(const char *card)
{
    for (const char *const *key = shared; *key; key++) {
        const char *at = card, *want = *key;
        for (; *want && at < card + 8; want++) {
            if (*want != '#' && *at++ != *want)
                break;
            if (*want == '#' && !isdigit((unsigned char)*at++))
                break;
            while (*want == '#' && at < card + 8 && isdigit((unsigned char)*at))
                at++;
        }
        if (!*want && (at == card + 8 || *at == ' '))
            return true;
    }
    return false;
}

/* The ccd's cards that hold for the map, and what the map is. */
static bool add_cards(const struct fits_image *ccd, const struct camera *c, struct fits_header *h)
{
    static const char *const numbers[] = {"SFNOISE", "SFGAIN", "SFRDN", NULL};
    char text[256];
    int64_t whole;
    double real;
    if (!fits_header_copy(h, &ccd->header))
        return false;
    h->count = 0;
    for (size_t i = 0; i < ccd->header.count; i++)
        if (is_shared(ccd->header.cards + i * FITS_CARD))
            memcpy(h->cards + h->count++ * FITS_CARD, ccd->header.cards + i * FITS_CARD, FITS_CARD);
    bool ok = fits_header_add_text(h, "BUNIT", "adu**(-2)", "inverse variance of the raw sky") &&
              fits_header_add_logical(h, "SFWEIGHT", true, "weight map; 0: not to be used");
    for (const char *const *key = numbers; *key && ok; key++)
        if (fits_header_real(&ccd->header, *key, &real))
            ok = fits_header_add_real(h, *key, real, "of the ccd that it belongs to");
    if (ok && fits_header_text(&ccd->header, "SFSRC", text, sizeof text))
        ok = fits_header_add_text(h, "SFSRC", text, "source file of that ccd");
    if (ok && fits_header_text(&ccd->header, "SFEXT", text, sizeof text))
        ok = fits_header_add_text(h, "SFEXT", text, "EXTNAME in the source file");
    if (ok && *c->key_ccd && fits_header_int(&ccd->header, c->key_ccd, &whole))
        ok = fits_header_add_int(h, c->key_ccd, whole, "ccd number");
    return ok;
}

enum status weight_make(const struct buf *file, const struct camera *c, struct buf *out,
                        struct fault *why)
{
    struct fits_image ccd = {0}, map = {0};
    struct map m = {0};
    enum status s = fits_image_load(file->data, file->len, &ccd, why);
    if (s == ST_OK)
        s = map_make(&ccd, c, &m, why);
    if (s != ST_OK)
        goto out;
    map = (struct fits_image){.bitpix = -32, .naxis = 2, .data = m.weight,
                              .size = (size_t)(ccd.naxes[0] * ccd.naxes[1]) * sizeof(float)};
    memcpy(map.naxes, ccd.naxes, sizeof map.naxes);
    m.weight = NULL;
    s = add_cards(&ccd, c, &map.header) ? fits_image_file(NULL, &map, NULL, out, why)
                                        : fault(why, ST_RETRY, "out of memory for a weight map");
out:
    free(m.weight);
    fits_image_free(&map);
    fits_image_free(&ccd);
    return s;
}
