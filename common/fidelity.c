#include "common/fidelity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/codec_j2k.h"

/* Steps over the sky noise: of wavelet level 1, level 2, and the coarser ones. Up to 10:1 the
 * finest level keeps enough for unbiased fluxes; beyond, its noise goes first and the coarse bands,
 * which hold the light of faint stars, last. */
struct row {
    double ratio, error, step[3]; /* error: before values are rounded to whole ADU */
};

static const struct row htj2k[] = {
    {3.61, 0.103, {0.30, 0.20, 0.15}}, {4.19, 0.164, {0.45, 0.25, 0.17}},
    {4.99, 0.253, {0.65, 0.30, 0.20}}, {6.58, 0.417, {1.00, 0.40, 0.25}},
    {9.14, 0.606, {1.45, 0.55, 0.30}}, {13.75, 0.820, {2.20, 0.65, 0.35}},
    {21.63, 0.981, {4.00, 0.85, 0.40}}, {29.78, 1.009, {5.00, 1.30, 0.50}},
    {43.85, 1.051, {6.00, 2.00, 0.60}}, {79.81, 1.093, {8.00, 3.00, 1.00}}};

/* One step for all bands. */
static const struct row jp2[] = {
    {5.10, 0.141, {0.5}}, {5.71, 0.226, {0.8}}, {7.06, 0.344, {1.2}}, {8.90, 0.517, {1.8}},
    {12.58, 0.688, {2.4}}, {19.54, 0.828, {2.9}}, {25.15, 0.908, {3.2}}, {31.44, 0.961, {3.4}},
    {42.25, 1.033, {3.6}}};

/* Step 1/q. */
static const struct row quantized[] = {
    {3.78, 0.144, {0.5}}, {4.68, 0.289, {1.0}}, {6.46, 0.577, {2.0}}, {7.83, 1.155, {4.0}},
    {9.00, 2.309, {8.0}}};

struct ladder {
    const char *method;
    const struct row *row;
    size_t count;
    double grain; /* ADU^2: the least error; 0: that of rounding, if any */
};

/* OpenJPEG begins with steps of about 1 ADU, whatever the quality it then cuts to. */
#define LADDER(name, grain) {#name, name, sizeof name / sizeof *name, grain}
static const struct ladder ladders[] = {LADDER(htj2k, 0), LADDER(jp2, 0.2), LADDER(quantized, 0)};

static const struct ladder *ladder_of(const char *method)
{
    for (size_t i = 0; i < sizeof ladders / sizeof *ladders; i++)
        if (strcmp(ladders[i].method, method) == 0)
            return &ladders[i];
    return NULL;
}

/* Between two rows everything goes by the same power. */
static double between(double a, double b, double part)
{
    return exp(log(a) + part * (log(b) - log(a)));
}

#define BELOW (-6) /* so many rows below the first, where steps and errors go on shrinking alike */

/* Where a value lies between two rows; part: below 0 or above 1 beyond the ends. */
struct span {
    const struct row *a, *b;
    double part;
};

static double value_of(const struct row *r, bool by_error)
{
    return by_error ? r->error : r->ratio;
}

static struct span find_span(const struct ladder *l, double value, bool by_error)
{
    size_t i = 0;
    while (i + 2 < l->count && value > value_of(&l->row[i + 1], by_error))
        i++;
    const struct row *a = &l->row[i], *b = a + 1;
    double low = value_of(a, by_error), high = value_of(b, by_error);
    return (struct span){a, b, log(value / low) / log(high / low)};
}

static double clamp(double x, double low, double high)
{
    return fmin(fmax(x, low), high);
}

/* Steps for a ratio, which may lie beyond the last row by as much again. */
static void steps_at(const struct ladder *l, double ratio, double step[3])
{
    struct span s = find_span(l, ratio, false);
    double part = clamp(s.part, BELOW, 2);
    for (int k = 0; k < 3; k++)
        step[k] = s.a->step[k] > 0 ? between(s.a->step[k], s.b->step[k], part) : 0;
}

static double ratio_for_error(const struct ladder *l, double error)
{
    struct span s = find_span(l, error, true);
    return between(s.a->ratio, s.b->ratio, clamp(s.part, BELOW, 1));
}

/* The rms of normal errors of rms e after rounding to integers: 1/12 more in the square, but next
 * to nothing where e is so small that most come out right again. */
static double rounded(double e)
{
    double sum = 0;
    for (int k = 1; k < 8 && k - 0.5 < 6 * e; k++)
        sum += (2 * k - 1) * erfc((k - 0.5) / (e * 1.4142135623730951));
    return e > 1.2 ? sqrt(e * e + 1 / 12.0) : sqrt(sum);
}

/* What an error of integers may be before it is rounded, ADU; above 0. */
static double before_rounding(const struct ladder *l, double error)
{
    if (l->grain > 0)
        return sqrt(fmax(error * error - l->grain, 1e-6));
    double low = 0, high = fmax(error, 0.5);
    for (int i = 0; i < 40; i++) {
        double middle = (low + high) / 2;
        if (rounded(middle) < error)
            low = middle;
        else
            high = middle;
    }
    return fmax(low, 1e-3);
}

double fidelity_error(const char *method, double ratio)
{
    const struct ladder *l = ladder_of(method);
    if (!l || !(ratio > 0))
        return 0;
    struct span s = find_span(l, ratio, false);
    return between(s.a->error, s.b->error, clamp(s.part, -1, 1));
}

bool fidelity_by_noise(const struct fidelity *f)
{
    bool own_step = strcmp(f->method, "quantized") == 0 && !(f->ratio > 0) && !(f->noise > 0);
    return !f->lossless && !(f->qstep > 0) && !own_step && ladder_of(f->method) != NULL;
}

double fidelity_rung(const struct fidelity *f)
{
    const struct ladder *l = ladder_of(f->method);
    if (!fidelity_by_noise(f))
        return 0;
    if (f->noise > 0)
        return ratio_for_error(l, f->noise);
    return (f->ratio > 0 ? f->ratio : FIDELITY_RATIO_DEFAULT) / (f->pace > 0 ? f->pace : 1);
}

/* White noise of sigma s, rounded to integers, has log2(s sqrt(2 pi e)) bits. Frames with stars
 * and overscan need a fifth more bytes without loss (simulated DECam frames, htj2k). */
static double lossless_ratio(double noise, int bitpix)
{
    return bitpix / 1.2 / fmax(log2(4.13 * noise) + 0.1, 0.5);
}

#define COARSE_MIN 0.28 /* ADU: finer, and values of saturated stars pass what OpenJPH decodes */

static void take_steps(const struct fidelity *f, const double step[3], const struct sky *sky,
                       int bitpix, struct codec_options *out)
{
    double range = ldexp(1, bitpix), adu[3];
    for (int i = 0; i < 3; i++)
        adu[i] = step[i] * sky->noise;
    if (strcmp(f->method, "quantized") == 0) {
        out->q = 1 / step[0];
        out->noise = sky->noise;
    } else if (step[1] > 0) {
        for (int i = 0; i < 3; i++)
            out->step[i] = fmax(adu[i], COARSE_MIN) / range;
        out->offset = isfinite(sky->level) ? (int)lrint(fmin(fmax(sky->level, -32768), 65535)) : 0;
    } else {
        out->qstep = fmax(adu[0] / range, J2K_QSTEP_MIN);
    }
}

void fidelity_options(const struct fidelity *f, double rung, const struct sky *sky, int bitpix,
                      struct codec_options *out)
{
    const struct ladder *l = ladder_of(f->method);
    double step[3];
    *out = (struct codec_options){.method = f->method, .qstep = f->lossless ? 0 : f->qstep,
                                  .reversible = f->lossless};
    /* Integers of 8 or 32 bits are masks as often as light: noise has no say in them. */
    bool light = bitpix == 16 || bitpix < 0;
    if (!fidelity_by_noise(f)) {
        out->q = f->q;
        out->noise = light && sky->noise > 0 ? sky->noise : 0;
        return;
    }
    if (f->noise > 0 && bitpix == 16 && sky->noise > 0)
        rung = ratio_for_error(l, before_rounding(l, f->noise * sky->noise) / sky->noise);
    if (!light || !(sky->noise > 0) ||
        (bitpix == 16 && rung <= lossless_ratio(sky->noise, bitpix))) {
        out->reversible = true;
        return;
    }
    steps_at(l, rung, step);
    take_steps(f, step, sky, bitpix, out);
}

double fidelity_bound(const struct fidelity *f, const struct sky *sky)
{
    if (!(f->max_error > 0))
        return NAN;
    return f->max_in_noise ? f->max_error * sky->noise : f->max_error;
}

/* ---- as configured ---- */

static const char *const exact_words[] = {"saturated", "overscan", "masked"};
#define EXACT_WORDS (sizeof exact_words / sizeof *exact_words)

bool fidelity_is_exact(const struct fidelity *f)
{
    const struct codec *codec = codec_find(f->method);
    return f->lossless || (codec && !codec->lossy_possible);
}

static void put_loss(const struct fidelity *f, double ratio_max, struct buf *b)
{
    if (fidelity_is_exact(f))
        buf_printf(b, ", without loss");
    else if (f->qstep > 0)
        buf_printf(b, ", qstep %g", f->qstep);
    else if (f->noise > 0)
        buf_printf(b, ", error %g of the sky noise", f->noise);
    else if (strcmp(f->method, "auto") == 0)
        buf_printf(b, ", at most %.3g:1", ratio_max);
    else if (!fidelity_by_noise(f))
        buf_printf(b, ", q %g", f->q);
    else
        buf_printf(b, ", ratio %g", f->ratio > 0 ? f->ratio : FIDELITY_RATIO_DEFAULT);
}

void fidelity_text(const struct fidelity *f, double ratio_max, char *out, size_t size)
{
    struct buf b = {0};
    buf_printf(&b, "%s", f->method);
    put_loss(f, ratio_max, &b);
    if (f->max_error > 0 && !fidelity_is_exact(f))
        buf_printf(&b, "; max_error %g%s", f->max_error, f->max_in_noise ? "s" : " ADU");
    for (unsigned i = 0, n = 0; i < EXACT_WORDS && !fidelity_is_exact(f); i++)
        if (f->exact & 1u << i)
            buf_printf(&b, "%s%s", n++ ? ", " : "; exact ", exact_words[i]);
    snprintf(out, size, "%s", b.data ? (char *)b.data : "");
    buf_free(&b);
}

bool fidelity_parse_bound(const char *text, double *value, bool *in_noise)
{
    char *end;
    *value = 0;
    *in_noise = false;
    if (text[0] == '\0')
        return true;
    /* strtod would also take blanks, "inf", "nan" and hexadecimal. */
    if (strspn(text, "+-.0123456789eEs") != strlen(text))
        return false;
    *value = strtod(text, &end);
    *in_noise = end != text && *end == 's';
    return end != text && end[*in_noise] == '\0' && *value > 0 && isfinite(*value);
}

bool fidelity_parse_exact(const char *text, unsigned *bits)
{
    *bits = 0;
    while (*text) {
        size_t len = strcspn(text, ", ");
        bool known = len == 0;
        for (unsigned i = 0; i < EXACT_WORDS; i++)
            if (len == strlen(exact_words[i]) && memcmp(text, exact_words[i], len) == 0) {
                *bits |= 1u << i;
                known = true;
            }
        if (!known)
            return false;
        text += len + strspn(text + len, ", ");
    }
    return true;
}
