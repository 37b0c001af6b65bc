#include "common/noise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

#define CODES 65536
#define UNUSABLE 65535   /* the code of a blank, saturated or non-finite pixel */
#define BEYOND 65534     /* a curvature that is this or more */
#define PIECE 4096       /* pixels of a row that are looked at in one go */
#define REACH 4          /* a curvature takes pixels i, i + 2 and i + 4 */
#define DATA_PIXELS (1 << 20)
#define OVERSCAN_PIXELS (1 << 17) /* each; rows of some 50 pixels cost more by the pixel */
#define OVERSCAN_TRIM 5           /* columns at either end: light and charge trail into them */
#define LEAST 64
#define RESPONSE 0.006   /* pixel-to-pixel differences of response that a ccd may have */
#define SCOUTS 1024      /* triples of pixels from which the codes of other types are chosen */

/* Whatever the type, pixels are measured as 16-bit codes: stored value = origin + step * code.
 * For 8 and 16 bits that is the value itself. For the others the codes are centred on the
 * sky; the step is that of the values (1 for whole numbers) or, when those are finer, a
 * small part of the noise. */
struct coder {
    const struct fits_image *img;
    int64_t width;
    int bytes;
    bool blanked, flip; /* flip: 64-bit integers whose BZERO makes them unsigned */
    int64_t blank;
    double bzero, bscale;
    double saturated; /* stored value; NaN: unknown */
    double origin, step;
    uint16_t ceiling; /* codes from here on are unusable */
};

struct tally {
    uint32_t level[CODES], curvature[CODES];
    double scout[3 * SCOUTS], bend[SCOUTS];
};

struct measured {
    double level, noise; /* ADU; NaN: nothing to measure */
    int64_t count;       /* curvatures that the noise comes from */
};

/* ---- pixels ---- */

static const unsigned char *pixel_at(const struct coder *c, int64_t x, int64_t y)
{
    return c->img->data + (y * c->width + x) * c->bytes;
}

/* Rows of 2-byte pixels in a malloc'ed image are aligned. */
VECTORISE static void codes16(const uint16_t *restrict from, uint16_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = __builtin_bswap16(from[i]) ^ 0x8000u;
}

VECTORISE static void codes8(const uint8_t *restrict from, uint16_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

VECTORISE static void blank_out(uint16_t *codes, size_t n, uint16_t blank)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = codes[i] == blank ? UNUSABLE : codes[i];
}

/* A stored value of the other types; NaN when blank. */
static double stored_at(const struct coder *c, const unsigned char *p)
{
    uint64_t bits = 0;
    uint32_t low;
    float single;
    double value;
    for (int i = 0; i < c->bytes; i++)
        bits = bits << 8 | p[i];
    if (c->img->bitpix == -64) {
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    if (c->bytes == 4) {
        low = (uint32_t)bits;
        if (c->img->bitpix < 0) {
            memcpy(&single, &low, sizeof single);
            return (double)single;
        }
        bits = (uint64_t)(int64_t)(int32_t)low;
    }
    if (c->blanked && (int64_t)bits == c->blank)
        return NAN;
    return c->flip ? (double)(bits ^ 1ULL << 63) : (double)(int64_t)bits;
}

static uint16_t code_of(const struct coder *c, double stored)
{
    double code = (stored - c->origin) / c->step + 0.5;
    return code >= 1 && code < UNUSABLE ? (uint16_t)code : UNUSABLE; /* NaN: unusable */
}

static void read_codes(const struct coder *c, int64_t x, int64_t y, uint16_t *to, size_t n)
{
    const unsigned char *from = pixel_at(c, x, y);
    if (c->bytes > 2) {
        for (size_t i = 0; i < n; i++)
            to[i] = code_of(c, stored_at(c, from + i * (size_t)c->bytes));
        return;
    }
    if (c->bytes == 2)
        codes16((const uint16_t *)(const void *)from, to, n);
    else
        codes8(from, to, n);
    double blank = (double)c->blank - c->origin;
    if (c->blanked && blank >= 0 && blank < CODES)
        blank_out(to, n, (uint16_t)blank);
}

/* ---- how pixels become codes ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The step of which all differences of the sorted values are multiples; 0: there is none. */
static double lattice_of(const double *sorted, size_t n)
{
    double step = INFINITY;
    for (size_t i = 1; i < n; i++)
        if (sorted[i] > sorted[i - 1] && sorted[i] - sorted[i - 1] < step)
            step = sorted[i] - sorted[i - 1];
    for (size_t i = 1; i < n; i++) {
        double gap = (sorted[i] - sorted[i - 1]) / step;
        if (gap < 1000 && fabs(gap - round(gap)) > 0.02)
            return 0;
    }
    return isfinite(step) ? step : 0;
}

/* A few finite values and curvatures from all over the section. */
static void choose_step(struct coder *c, const struct rectangle *r, struct tally *t)
{
    int64_t wide = r->x1 - r->x0 - REACH, high = r->y1 - r->y0;
    size_t n = 0;
    for (int64_t i = 0; i < 2 * SCOUTS && n < SCOUTS && wide > 0; i++) {
        /* Steps of the golden ratio along both axes leave no column or row out. */
        double across = (double)i * 0.6180339887, down = (double)i / (2 * SCOUTS);
        int64_t x = r->x0 + (int64_t)((across - floor(across)) * (double)wide);
        int64_t y = r->y0 + (int64_t)(down * (double)high);
        double v[3];
        for (int k = 0; k < 3; k++)
            v[k] = stored_at(c, pixel_at(c, x + 2 * k, y));
        t->bend[n] = fabs(2 * v[1] - v[0] - v[2]);
        if (!isfinite(t->bend[n]))
            continue;
        memcpy(t->scout + 3 * n++, v, sizeof v);
    }
    qsort(t->bend, n, sizeof *t->bend, by_size);
    qsort(t->scout, 3 * n, sizeof *t->scout, by_size);
    double noise = n ? 0.6052697 * t->bend[n / 2] : 0, step = lattice_of(t->scout, 3 * n);
    if (noise > 64 * step)
        step = noise / 32;
    c->step = step > 0 ? step : 1;
    c->origin = (n ? t->scout[3 * n / 2] : 0) - 32768 * c->step;
}

static double card_or(const struct fits_header *h, const char *key, double missing)
{
    double value;
    return fits_header_real(h, key, &value) ? value : missing;
}

static struct coder coder_for(const struct fits_image *img, const struct regions *r)
{
    struct coder c = {.img = img, .width = img->naxes[0], .bytes = abs(img->bitpix) / 8};
    c.bzero = card_or(&img->header, "BZERO", 0);
    c.bscale = card_or(&img->header, "BSCALE", 1);
    if (c.bscale == 0)
        c.bscale = 1;
    c.blanked = img->bitpix > 0 && fits_header_int(&img->header, "BLANK", &c.blank);
    c.flip = img->bitpix == 64 && c.bzero == 0x1p63;
    if (c.flip)
        c.bzero = 0;
    c.saturated = c.bscale > 0 ? (r->saturate - c.bzero) / c.bscale : NAN;
    return c;
}

/* Settles the codes for one section. */
static void aim(struct coder *c, const struct rectangle *r, struct tally *t)
{
    c->origin = c->bytes == 2 ? -32768 : 0;
    c->step = 1;
    if (c->bytes > 2)
        choose_step(c, r, t);
    c->ceiling = c->bytes == 1 ? 255 : UNUSABLE;
    double code = ceil((c->saturated - c->origin) / c->step);
    if (code < c->ceiling)
        c->ceiling = code > 0 ? (uint16_t)code : 0;
}

/* ---- counting ---- */

VECTORISE static void curvatures(const uint16_t *restrict x, size_t n, uint16_t ceiling,
                                 uint16_t *restrict to)
{
    for (size_t i = 0; i < n; i++) {
        int32_t a = x[i], b = x[i + 2], c = x[i + 4];
        int32_t top = a > b ? a : b;
        int32_t bend = 2 * b - a - c;
        bend = bend < 0 ? -bend : bend;
        bend = bend < BEYOND ? bend : BEYOND;
        top = top > c ? top : c;
        to[i] = (uint16_t)(top >= ceiling ? UNUSABLE : bend);
    }
}

static void count_piece(const uint16_t *codes, size_t n, uint16_t ceiling, struct tally *t)
{
    uint16_t bent[PIECE];
    for (size_t i = 0; i < n; i++)
        t->level[codes[i]]++;
    if (n <= REACH)
        return;
    curvatures(codes, n - REACH, ceiling, bent);
    for (size_t i = 0; i < n - REACH; i++)
        t->curvature[bent[i]]++;
}

static void count(const struct coder *c, const struct rectangle *r, int64_t pixels,
                  struct tally *t)
{
    uint16_t codes[PIECE];
    int64_t rows = (pixels + r->x1 - r->x0 - 1) / (r->x1 - r->x0);
    int64_t step = (r->y1 - r->y0 + rows - 1) / rows;
    memset(t->level, 0, sizeof t->level);
    memset(t->curvature, 0, sizeof t->curvature);
    for (int64_t y = r->y0; y < r->y1; y += step) {
        for (int64_t x = r->x0; x < r->x1; x += PIECE) {
            size_t n = (size_t)(r->x1 - x < PIECE ? r->x1 - x : PIECE);
            read_codes(c, x, y, codes, n);
            count_piece(codes, n, c->ceiling, t);
        }
    }
}

/* ---- from counts to numbers ---- */

/* The step between the codes that occur (2 when all are even or all odd); 0: fewer than two. */
static int step_of(const uint32_t *level, int ceiling)
{
    int first = -1, step = 0;
    for (int i = 0; i < ceiling && step != 1; i++) {
        if (!level[i])
            continue;
        if (first < 0)
            first = i;
        for (int a = i - first, b = step; a; step = b) { /* Euclid */
            int rest = b % a;
            b = a;
            a = rest;
        }
    }
    return step;
}

/* A count at code i stands for values all over i - step / 2 .. i + step / 2. */
static double median_code(const uint32_t *level, int ceiling, int step)
{
    int64_t total = 0, below = 0;
    for (int i = 0; i < ceiling; i++)
        total += level[i];
    for (int i = 0; i < ceiling; i++) {
        if (level[i] && 2 * (below + level[i]) >= total)
            return i + step * ((double)(total - 2 * below) / (2.0 * level[i]) - 0.5);
        below += level[i];
    }
    return NAN;
}

/* The share of a normal distribution of that sigma within +-edge. */
static double within(double edge, double sigma)
{
    return erf(edge / (sigma * M_SQRT2));
}

/* The sigma for which the share within `inner` is `ratio` of the share within `outer`
 * (INFINITY: of all). NaN: the ratio is a flat distribution's or less. */
static double sigma_from(double inner, double outer, double ratio)
{
    double low = inner / 8, high = isfinite(outer) ? outer * 8 : inner * 1e6;
    if (ratio < within(inner, high) / within(outer, high))
        return NAN;
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (within(inner, middle) / within(outer, middle) > ratio)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* How many curvatures are at most that many steps. */
static int64_t up_to(const uint32_t *curvature, int64_t steps, int step)
{
    int64_t sum = 0;
    for (int64_t i = 0; i <= steps && i * step < BEYOND; i++)
        sum += curvature[i * step];
    return sum;
}

/* From the edge where half the counts are within, on the way from that below to that above. */
static double sigma_by_half(const uint32_t *curvature, int64_t total, int step)
{
    int64_t within_it = 0, before = 0, i = -1;
    while (2 * within_it < total && (i + 1) * step < BEYOND) {
        before = within_it;
        within_it += curvature[++i * step];
    }
    double upper = sigma_from((double)i + 0.5, INFINITY, (double)within_it / (double)total);
    if (i == 0 || before == 0)
        return upper;
    double lower = sigma_from((double)i - 0.5, INFINITY, (double)before / (double)total);
    double way = (0.5 * (double)total - (double)before) / (double)(within_it - before);
    return lower + way * (upper - lower);
}

/* Sigma of the curvatures, in steps. */
static double sigma_of(const uint32_t *curvature, int64_t total, int step)
{
    if (3 * up_to(curvature, 0, step) >= 2 * total)
        return 0;
    double sigma = sigma_by_half(curvature, total, step);
    /* Cut at about twice the sigma and at the half of what is left (0.64 sigma), again and
     * again as sigma goes down; at edges between integers, whatever those are. */
    for (int round = 0; round < 8 && sigma > 0.3; round++) {
        int64_t inner = (int64_t)(0.64 * sigma), outer = (int64_t)(2 * sigma);
        outer = outer > inner ? outer : inner + 1;
        int64_t all = up_to(curvature, outer, step);
        if (all < LEAST)
            break;
        double ratio = (double)up_to(curvature, inner, step) / (double)all;
        double next = sigma_from((double)inner + 0.5, (double)outer + 0.5, ratio);
        if (!isfinite(next))
            break;
        bool settled = fabs(next - sigma) < 1e-3 * sigma;
        sigma = next;
        if (settled)
            break;
    }
    return sigma;
}

static struct measured measure(struct coder *c, const struct rectangle *r, int64_t pixels,
                               struct tally *t)
{
    struct measured m = {NAN, NAN, 0};
    aim(c, r, t);
    count(c, r, pixels, t);
    int step = step_of(t->level, c->ceiling);
    double median = median_code(t->level, c->ceiling, step);
    m.level = c->bzero + c->bscale * (c->origin + c->step * median);
    for (int i = 0; i < UNUSABLE; i++)
        m.count += t->curvature[i];
    if (m.count >= LEAST)
        m.noise = step ? fabs(c->bscale) * c->step * step / sqrt(6) *
                             sigma_of(t->curvature, m.count, step)
                       : 0;
    return m;
}

/* ---- a ccd ---- */

/* Means that leave out what is NaN. */
struct mean {
    double sum;
    int n;
};

static void add(struct mean *m, double value)
{
    if (!isfinite(value))
        return;
    m->sum += value;
    m->n++;
}

static double mean_of(const struct mean *m)
{
    return m->n ? m->sum / m->n : NAN;
}

static struct rectangle trimmed(struct rectangle r)
{
    if (r.x1 - r.x0 >= 4 * OVERSCAN_TRIM) {
        r.x0 += OVERSCAN_TRIM;
        r.x1 -= OVERSCAN_TRIM;
    }
    return r;
}

/* Photon transfer; NaN when the light's share of the variance, or the number of pixels, is
 * too small to tell the gain to 2 % (one sigma: that of a noise is about 1.6 / sqrt(count)),
 * or when so bright a sky may owe 5 % of its noise to unequal pixels rather than to photons. */
static double gain_of(const struct measured *sky, const struct measured *dark)
{
    double all = sky->noise * sky->noise, read = dark->noise * dark->noise;
    double light = all - read, signal = sky->level - dark->level;
    if (!(light >= 0.4 * all) || !(light > 0) || !(signal > 0))
        return NAN;
    if (pow(RESPONSE * signal, 2) > 0.05 * light)
        return NAN;
    double error = 2 * 1.6 * hypot(all / sqrt((double)sky->count),
                                   read / sqrt((double)dark->count)) / light;
    return error <= 0.02 ? signal / light : NAN;
}

static void combine(const struct regions *r, const struct measured *section,
                    const struct measured *overscan, struct sky *out)
{
    struct mean level = {0}, noise = {0}, bias = {0}, read = {0}, gain = {0};
    struct measured shared = {NAN, NAN, 0};
    for (int i = 0; i < r->overscans; i++) {
        add(&bias, overscan[i].level);
        add(&read, overscan[i].noise * overscan[i].noise);
        shared.count += overscan[i].count;
    }
    shared.level = mean_of(&bias);
    shared.noise = sqrt(mean_of(&read));
    for (int i = 0; i < r->sections; i++) {
        int own = r->section[i].overscan;
        add(&level, section[i].level);
        /* An amplifier that reads nothing but one number does not make the others better. */
        add(&noise, section[i].noise > 0 ? section[i].noise * section[i].noise : NAN);
        add(&gain, gain_of(&section[i], own >= 0 ? &overscan[own] : &shared));
        if (!noise.n && section[i].noise == 0)
            out->noise = 0;
    }
    out->level = mean_of(&level);
    if (noise.n)
        out->noise = sqrt(mean_of(&noise));
    out->bias = shared.level;
    out->gain_measured = gain.n > 0;
    out->gain = gain.n ? mean_of(&gain) : r->gain;
    out->read_noise_measured = !isnan(shared.noise);
    out->read_noise = out->read_noise_measured ? shared.noise : r->read_noise / out->gain;
}

enum status sky_measure(const struct fits_image *img, const struct regions *r, struct sky *out)
{
    struct measured section[REGIONS_MAX], overscan[REGIONS_MAX];
    struct coder c = coder_for(img, r);
    *out = (struct sky){.level = NAN, .noise = NAN, .bias = NAN, .read_noise = NAN, .gain = NAN};
    struct tally *t = malloc(sizeof *t);
    if (!t)
        return ST_RETRY;
    for (int i = 0; i < r->sections; i++)
        section[i] = measure(&c, &r->section[i].data, DATA_PIXELS / r->sections, t);
    for (int i = 0; i < r->overscans; i++) {
        struct rectangle o = trimmed(r->overscan[i]);
        overscan[i] = measure(&c, &o, OVERSCAN_PIXELS, t);
    }
    combine(r, section, overscan, out);
    free(t);
    return ST_OK;
}
