#include "sky.h"

#include <math.h>

#include "rng.h"

#define DEGREE (M_PI / 180.0)

static const uint64_t sky_key = 0x736b79666572727aULL;
static const double band_deg = 0.02;
static const double stars_per_square_deg = 40000.0;
static const double count_slope = 0.28;         /* d log10 N / d magnitude */
static const double brightest = 11.0, faintest = 24.2;

/* One band of declination: its limits as sines, because stars are uniform in sin(dec). */
struct band_of_cells {
    long index, cells;
    double sin_low, sin_high;
};

static void
band_init(struct band_of_cells *b, long index)
{
    const double low = -90.0 + (double)index * band_deg;
    const double high = fmin(low + band_deg, 90.0);

    b->index = index;
    b->cells = lround(fmax(1.0, 360.0 * cos(0.5 * (low + high) * DEGREE) / band_deg));
    b->sin_low = sin(low * DEGREE);
    b->sin_high = sin(high * DEGREE);
}

static void
cell_visit(const struct band_of_cells *b, long cell, sky_visit *visit, void *arg)
{
    const double width = 360.0 / (double)b->cells;
    const double area = width / DEGREE * (b->sin_high - b->sin_low);
    const double few = pow(10.0, count_slope * (brightest - faintest));
    struct rng r;
    struct star s;

    rng_seed(&r, rng_hash(rng_hash(sky_key, (uint64_t)b->index), (uint64_t)cell));
    for (long n = rng_poisson(&r, stars_per_square_deg * area); n > 0; n--) {
        s.ra = width * ((double)cell + rng_uniform(&r));
        s.dec = asin(b->sin_low + rng_uniform(&r) * (b->sin_high - b->sin_low)) / DEGREE;
        s.mag_g = faintest + log10(few + rng_uniform(&r) * (1.0 - few)) / count_slope;
        s.colour = 0.2 + 1.2 * rng_uniform(&r);
        visit(arg, &s);
    }
}

static void
band_visit(const struct band_of_cells *b, double ra, double half_width, sky_visit *visit, void *arg)
{
    const double width = 360.0 / (double)b->cells;
    long first = (long)floor((ra - half_width) / width);
    long last = (long)floor((ra + half_width) / width);

    if (last - first + 1 >= b->cells) {
        first = 0;
        last = b->cells - 1;
    }
    for (long i = first; i <= last; i++)
        cell_visit(b, ((i % b->cells) + b->cells) % b->cells, visit, arg);
}

void
sky_cone(double ra, double dec, double radius, sky_visit *visit, void *arg)
{
    const long bands = lround(180.0 / band_deg);
    const long first = lround(fmax(0.0, floor((dec - radius + 90.0) / band_deg)));
    const long last = lround(fmin((double)bands - 1.0, floor((dec + radius + 90.0) / band_deg)));
    double half_width = 180.0;                  /* a cone over a pole holds every right ascension */
    struct band_of_cells b;

    if (fabs(dec) + radius < 90.0)
        half_width = asin(fmin(1.0, sin(radius * DEGREE) / cos(dec * DEGREE))) / DEGREE;
    for (long i = first; i <= last; i++) {
        band_init(&b, i);
        band_visit(&b, ra, half_width, visit, arg);
    }
}
