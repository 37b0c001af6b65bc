#include "push/choice.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* CPU ns a pixel on the reference machine (docs/performance.md), of sky frames of 16 bits.
 * Encoding holds reading, measuring and proving as well; loading tiles comes on top. */
struct cost {
    const char *method;
    double ratio;          /* what comes out; htj2k: what is asked for */
    double encode, decode;
};

static const struct cost costs[] = {
    {"original", 0, 0.05, 3.5}, {"rice", 3.7, 0.5, 3.5},  {"jxl", 4.5, 21.5, 21.5},
    {"htj2k", 5, 27.5, 6.9},    {"htj2k", 6.5, 24, 7.0},  {"htj2k", 8, 22, 7.1},
    {"htj2k", 10, 20, 6.9},     {"htj2k", 14, 17.5, 5.8}, {"htj2k", 20, 13.5, 4.1},
    {"htj2k", 30, 11, 3.3},     {"htj2k", 40, 10, 3.2}};
#define COSTS (sizeof costs / sizeof *costs)
#define LOAD 2.5     /* loading compressed tiles */
#define SAME 1.05    /* such times are as good as equal */
#define STAY (7.0 / 6)

static bool is_lossy(const struct cost *c)
{
    return strcmp(c->method, "htj2k") == 0;
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
    return f->pixels * (c->encode + (loads ? LOAD : 0));
}

double choice_decode_cost(const struct choice *x, const struct freight *f)
{
    return f->pixels * cost_of(x)->decode;
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

void choice_time(const struct conditions *c, const struct freight *f, struct choice *io)
{
    io->encode = choice_encode_cost(io, f) * 1e-9 * known(c->near, 1) / known(c->near_threads, 1);
    io->decode = choice_decode_cost(io, f) * 1e-9 * known(c->far, 1) / known(c->far_threads, 1);
    io->line = c->line > 0 ? bytes_of(io, f) / c->line : 0;
    io->whole = fmax(io->encode, io->line) + io->decode;
}

static void take(struct choice *x, const char *method, double ratio)
{
    *x = (struct choice){.ratio = ratio};
    snprintf(x->method, sizeof x->method, "%s", method);
}

/* The i-th candidate; false: not allowed. A lossy one beyond the allowed ratio is cut to it. */
static bool candidate(size_t i, double ratio_max, struct choice *out)
{
    const struct cost *c = &costs[i];
    if (!is_lossy(c)) {
        take(out, c->method, 0);
        return true;
    }
    bool last = i + 1 == COSTS || costs[i - 1].ratio < ratio_max;
    double ratio = fmin(c->ratio, ratio_max);
    take(out, c->method, ratio);
    return ratio_max >= FIDELITY_RATIO_MIN && (c->ratio <= ratio_max || (is_lossy(&costs[i - 1]) && last));
}

static bool is_allowed(const struct choice *x, double ratio_max)
{
    return x->method[0] && x->ratio <= ratio_max * 1.001;
}

void choice_make(const struct conditions *c, const struct freight *f, double ratio_max,
                 const struct choice *before, struct choice *out)
{
    struct choice all[COSTS], stay = *before;
    bool allowed[COSTS];
    double best = INFINITY;
    if (!(c->line > 0)) {
        bool lossy = ratio_max >= FIDELITY_RATIO_MIN;
        take(out, lossy ? "htj2k" : "rice", lossy ? fmin(10, ratio_max) : 0);
        choice_time(c, f, out);
        return;
    }
    for (size_t i = 0; i < COSTS; i++) {
        allowed[i] = candidate(i, ratio_max, &all[i]);
        choice_time(c, f, &all[i]);
        if (allowed[i])
            best = fmin(best, all[i].whole);
    }
    choice_time(c, f, &stay);
    if (is_allowed(before, ratio_max) && stay.whole <= best * STAY) {
        *out = stay;
        return;
    }
    /* The rows go from exact to lossy. */
    for (size_t i = 0; i < COSTS; i++)
        if (allowed[i] && all[i].whole <= best * SAME) {
            *out = all[i];
            return;
        }
}

void choice_text(const struct choice *x, char *out, size_t size)
{
    char ratio[24] = "";
    if (x->ratio > 0)
        snprintf(ratio, sizeof ratio, " %.3g:1", x->ratio);
    snprintf(out, size, "%s%s: %.1f s (encode %.1f, line %.1f, decode %.1f)", x->method, ratio,
             x->whole, x->encode, x->line, x->decode);
}
