/*
 * rng.h - the random numbers of the simulated camera.
 *
 * Every random choice comes from a generator seeded with a hash of what it is for (seed, exposure, ccd, purpose), so that
 * the pixels do not depend on how many threads made them or in what order. A struct rng belongs to one thread; the table
 * of the normal deviate is made once by main and only read afterwards.
 * Generator: xoshiro256++ 1.0 (Blackman & Vigna 2019). Normal deviates: the ziggurat of Marsaglia & Tsang (2000), 256 layers.
 */
#ifndef SIMCAM_RNG_H
#define SIMCAM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/* Layer i of the ziggurat: x = j * width[i] is accepted at once when the 24-bit integer j is below fast[i]. */
struct normal_table {
    float width[256];
    uint32_t fast[256];
    float height[257];          /* exp(-x^2 / 2) at the right edge of each layer, and at 0 */
};

/* Mix two words into one (the finalizer of splitmix64); chain calls to hash a longer key. */
static inline uint64_t
rng_hash(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ (b * 0xD1342543DE82EF95ULL)) + 0x9E3779B97F4A7C15ULL;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static inline uint64_t
rng_rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* The next 64 random bits. */
static inline uint64_t
rng_next(struct rng *r)
{
    const uint64_t result = rng_rotate(r->s[0] + r->s[3], 23) + r->s[0];
    const uint64_t t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rng_rotate(r->s[3], 45);
    return result;
}

/* Uniform in [0, 1). */
static inline double
rng_uniform(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1.0p-53;
}

/* Start the generator r at the point that key names. */
void rng_seed(struct rng *r, uint64_t key);

/* Fill the table; call once, before any thread starts. */
void normal_table_init(struct normal_table *t);

/* The rare path of rng_normal: the wedge of layer i, or the tail; true when *x is a deviate, false to draw again. */
bool rng_normal_slow(struct rng *r, const struct normal_table *t, uint8_t layer, float *x);

/* A normal deviate of mean 0 and variance 1. */
static inline float
rng_normal(struct rng *r, const struct normal_table *t)
{
    for (;;) {
        const uint64_t bits = rng_next(r);
        const uint8_t layer = bits & 0xff;
        const uint32_t j = (uint32_t)(bits >> 40);
        float x = (float)j * t->width[layer];

        if (j < t->fast[layer] || rng_normal_slow(r, t, layer, &x))
            return (bits & 0x100) ? -x : x;
    }
}

/* A Poisson count; exact for any mean >= 0, in time proportional to the mean. For counts of things, not for pixels. */
long rng_poisson(struct rng *r, double mean);

#endif
