#include "push/choice.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* CPU ns a pixel of 16 bits on the reference machine, of sky frames (the agents' own log lines say
 * them). Encoding holds measuring and proving as well; reading the file and loading tiles come on
 * top. Decoding holds reading the bundle and writing the FITS files. */
struct cost {
    const char *method;
    double ratio;          /* what comes out; htj2k: what is asked for */
    double encode, decode;
};

static const struct cost costs[] = {
    {"original", 0, 0, 3.5},    {"rice", 3.7, 7.5, 3.5},  {"jxl", 4.5, 24, 20},
    {"htj2k", 5, 25, 6.9},      {"htj2k", 6.5, 21.5, 7},  {"htj2k", 8, 19.5, 7.1},
    {"htj2k", 10, 17.5, 6.9},   {"htj2k", 14, 15, 5.8},   {"htj2k", 20, 11, 4.1},
    {"htj2k", 30, 8.5, 3.3},    {"htj2k", 40, 7.5, 3.2}};
#define COSTS (sizeof costs / sizeof *costs)
#define READ 1.2     /* a byte of the file: reading, CHECKSUM, SHA-256 */
#define LOAD 5.0     /* a pixel: loading compressed tiles */
#define PLAIN 2.0    /* a pixel: decoding what is not even compressed */
#define SAME 1.05    /* such times are as good as equal */
#define STAY (7.0 / 6)

static bool is_lossy(const struct cost *c)
{
    return strcmp(c->method, "htj2k") == 0;
}

int choice_method(const char *name)
{
    static const char *const names[CHOICE_METHODS] = {"original", "rice", "jxl", "htj2k"};
    for (int i = 0; i < CHOICE_METHODS; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* The nearest row of this method. */
static const struct cost *cost_of(const struct choice *x)
{
    const struct cost *best = &costs[0];
    double nearest = INFINITY;
    for (size_t i = 0; i < COSTS; i++) {
        if (strcmp(costs[i].method, x->method) != 0)
            continue;
        double off = is_lossy(&costs[i]) && x->ratio > 0 ? fabs(log(x->ratio / costs[i].ratio)) : 0;
        if (off < nearest) {
            nearest = off;
            best = &costs[i];
        }
    }
    return best;
}

double choice_encode_cost(const struct choice *x, const struct freight *f)
{
    const struct cost *c = cost_of(x);
    bool loads = f->tiled && strcmp(c->method, "original") != 0;
    return f->file_bytes * READ + f->pixels * (c->encode + (loads ? LOAD : 0));
}

double choice_decode_cost(const struct choice *x, const struct freight *f)
{
    bool plain = !f->tiled && strcmp(x->method, "original") == 0;
    return f->pixels * (plain ? PLAIN : cost_of(x)->decode);
}

static double bytes_of(const struct choice *x, const struct freight *f)
{
    const struct cost *c = cost_of(x);
    if (c->ratio <= 0)
        return f->file_bytes;
    return 2 * f->pixels / (is_lossy(c) && x->ratio > 0 ? x->ratio : c->ratio);
}

static double known(double value, double otherwise)
{
    return value > 0 && isfinite(value) ? value : otherwise;
}

double choice_factor(const double by[CHOICE_METHODS], const char *method)
{
    int own = choice_method(method), count = 0;
    double sum = 0;
    if (own >= 0 && known(by[own], 0) > 0)
        return by[own];
    for (int i = 0; i < CHOICE_METHODS; i++)
        if (known(by[i], 0) > 0) {
            sum += by[i];
            count++;
        }
    return count ? sum / count : 0;
}

void choice_time(const struct conditions *c, const struct freight *f, struct choice *io)
{
    double near = known(choice_factor(c->near, io->method), 1);
    double far = known(choice_factor(c->far, io->method), 1);
    io->encode = choice_encode_cost(io, f) * 1e-9 * near / known(c->near_threads, 1);
    io->decode = choice_decode_cost(io, f) * 1e-9 * far / known(c->far_threads, 1);
    io->line = c->line > 0 ? bytes_of(io, f) / c->line : 0;
    io->whole = fmax(io->encode, io->line) + io->decode;
}

static void take(struct choice *x, const char *method, double ratio)
{
    *x = (struct choice){.ratio = ratio};
    snprintf(x->method, sizeof x->method, "%s", method);
}

/* Tiles made anew as rice are the file as it stands: not worth a candidate of their own. */
static bool is_allowed(const struct choice *x, const struct freight *f, double ratio_max)
{
    if (choice_method(x->method) < 0 || (f->tiled && strcmp(x->method, "rice") == 0))
        return false;
    return x->ratio <= 0 ? strcmp(x->method, "htj2k") != 0
                         : ratio_max >= FIDELITY_RATIO_MIN && x->ratio <= ratio_max * 1.001;
}

/* The candidate of the i-th row, timed. The first lossy one beyond the limit is cut to it. */
static bool candidate(const struct conditions *c, const struct freight *f, double ratio_max,
                      size_t i, struct choice *out)
{
    const struct cost *row = &costs[i];
    bool cut = is_lossy(row) && row->ratio > ratio_max &&
               (!is_lossy(&costs[i - 1]) || costs[i - 1].ratio < ratio_max);
    take(out, row->method, is_lossy(row) ? (cut ? ratio_max : row->ratio) : 0);
    choice_time(c, f, out);
    return is_allowed(out, f, ratio_max);
}

/* Nothing is known of the line: thin is the safer guess. */
static void guess(const struct conditions *c, const struct freight *f, double ratio_max,
                  struct choice *out)
{
    bool lossy = ratio_max >= FIDELITY_RATIO_MIN;
    take(out, lossy ? "htj2k" : f->tiled ? "original" : "rice",
         lossy ? fmin(FIDELITY_RATIO_DEFAULT, ratio_max) : 0);
    choice_time(c, f, out);
}

void choice_make(const struct conditions *c, const struct freight *f, double ratio_max,
                 const struct choice *before, struct choice *out)
{
    struct choice all[COSTS], stay = *before;
    bool allowed[COSTS];
    double best = INFINITY;
    size_t first = 0;
    if (!(c->line > 0)) {
        guess(c, f, ratio_max, out);
        return;
    }
    for (size_t i = 0; i < COSTS; i++)
        if ((allowed[i] = candidate(c, f, ratio_max, i, &all[i])))
            best = fmin(best, all[i].whole);
    /* The rows go from exact to lossy, exact ones from the quickest to the smallest. */
    while (!allowed[first] || all[first].whole > best * SAME)
        first++;
    *out = all[first];
    choice_time(c, f, &stay);
    if (is_allowed(before, f, ratio_max) && stay.whole <= best * STAY && stay.ratio <= out->ratio)
        *out = stay;
}

void choice_rival(const struct conditions *c, const struct freight *f, double ratio_max,
                  const struct choice *best, struct choice *out)
{
    struct choice one;
    out->whole = INFINITY;
    out->method[0] = '\0';
    for (size_t i = 0; i < COSTS; i++)
        if (candidate(c, f, ratio_max, i, &one) && one.whole < out->whole &&
            strcmp(one.method, best->method) != 0 && (best->ratio <= 0 || one.ratio <= 0))
            *out = one;
}

void choice_name(const struct choice *x, char *out, size_t size)
{
    if (x->ratio > 0)
        snprintf(out, size, "%s %.3g:1", x->method, x->ratio);
    else
        snprintf(out, size, "%s", x->method);
}

void choice_text(const struct choice *x, char *out, size_t size)
{
    char name[48], line[24] = "?";
    choice_name(x, name, sizeof name);
    if (x->line > 0)
        snprintf(line, sizeof line, "%.1f", x->line);
    snprintf(out, size, "%s: %.1f s (encode %.1f, line %s, decode %.1f)", name, x->whole,
             x->encode, line, x->decode);
}
