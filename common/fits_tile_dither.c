#include "common/fits_tile.h"

#include <pthread.h>

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

/* ---- the standard's random numbers ---- */

static float randoms[FITS_DITHER_SEEDS];

/* Park and Miller's generator, as appendix I of the standard prints it. Single precision, as
 * every other reader has it. */
static void make_randoms(void)
{
    int64_t seed = 1;
    for (int i = 0; i < FITS_DITHER_SEEDS; i++) {
        seed = seed * 16807 % 2147483647;
        randoms[i] = (float)((double)seed / 2147483647.0);
    }
}

/* A place in the numbers. They are used from somewhere in the first 500 to the end, then from
 * another such place. */
struct place {
    int64_t seed;
    size_t next;
};

static void begin_at(struct place *p, int64_t seed)
{
    p->seed = seed % FITS_DITHER_SEEDS;
    p->next = (size_t)(randoms[p->seed] * 500);
}

static struct place first_place(const struct dither *d)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct place p;
    pthread_once(&once, make_randoms);
    begin_at(&p, d->row + d->seed - 1);
    return p;
}

/* The numbers for the next pixels, at most n of them: *run. */
static const float *take_run(struct place *p, size_t n, size_t *run)
{
    const float *from = randoms + p->next;
    size_t left = FITS_DITHER_SEEDS - p->next;
    *run = n < left ? n : left;
    p->next += *run;
    if (p->next == FITS_DITHER_SEEDS)
        begin_at(p, p->seed + 1);
    return from;
}

/* ---- there and back ---- */

/* What is cast is never negative, so that cutting off is rounding down. */
VECTORISE static void quantise_run(const double *restrict x, const float *restrict r, size_t n,
                                   double low, double steps, int32_t base, int32_t *restrict q)
{
    for (size_t i = 0; i < n; i++)
        q[i] = base + (int32_t)((x[i] - low) * steps + (double)r[i]);
}

VECTORISE static void restore_run(const int32_t *restrict q, const float *restrict r, size_t n,
                                  double scale, double zero, double *restrict x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ((double)q[i] - (double)r[i] + 0.5) * scale + zero;
}

void fits_dither(const struct dither *d, const double *x, size_t n, double low, int32_t base,
                 int32_t *q)
{
    struct place p = first_place(d);
    size_t run;
    for (size_t at = 0; at < n; at += run) {
        const float *r = take_run(&p, n - at, &run);
        quantise_run(x + at, r, run, low, 1 / d->scale, base, q + at);
    }
}

void fits_undither(const struct dither *d, const int32_t *q, size_t n, double *x)
{
    struct place p = first_place(d);
    size_t run;
    for (size_t at = 0; at < n; at += run) {
        const float *r = take_run(&p, n - at, &run);
        restore_run(q + at, r, run, d->scale, d->zero, x + at);
    }
}
