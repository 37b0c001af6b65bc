#include "rng.h"

#include <math.h>

/* Tail start and layer area for 256 layers, from the paper. */
static const double tail_start = 3.6541528853610088;
static const double layer_area = 0.00492867323399;

void
rng_seed(struct rng *r, uint64_t key)
{
    for (uint64_t i = 0; i < 4; i++)
        r->s[i] = rng_hash(key, i);
}

void
normal_table_init(struct normal_table *t)
{
    double edge[257];

    /* Layer 0 is the base strip with the tail; its edge is that of a rectangle of the same area. */
    edge[0] = layer_area / exp(-0.5 * tail_start * tail_start);
    edge[1] = tail_start;
    for (int i = 1; i < 255; i++)
        edge[i + 1] = sqrt(-2.0 * log(layer_area / edge[i] + exp(-0.5 * edge[i] * edge[i])));
    edge[256] = 0.0;
    for (int i = 0; i < 257; i++)
        t->height[i] = (float)exp(-0.5 * edge[i] * edge[i]);
    for (int i = 0; i < 256; i++) {
        t->width[i] = (float)(edge[i] / 0x1.0p24);
        t->fast[i] = (uint32_t)(edge[i + 1] / edge[i] * 0x1.0p24);
    }
}

bool
rng_normal_slow(struct rng *r, const struct normal_table *t, uint8_t layer, float *x)
{
    double tail, y;

    if (layer == 0) {
        /* Marsaglia's tail: exponential in both, accepted with the right probability. */
        do {
            tail = -log(1.0 - rng_uniform(r)) / tail_start;
            y = -log(1.0 - rng_uniform(r));
        } while (2.0 * y < tail * tail);
        *x = (float)(tail_start + tail);
        return true;
    }
    y = t->height[layer] + rng_uniform(r) * (t->height[layer + 1] - t->height[layer]);
    return y < exp(-0.5 * (double)*x * (double)*x);
}

long
rng_poisson(struct rng *r, double mean)
{
    const double most = 500.0;          /* exp(-500) is still a normal double */
    long count = 0;

    while (mean > most) {
        count += rng_poisson(r, most);
        mean -= most;
    }
    const double limit = exp(-mean);
    for (double p = rng_uniform(r); p > limit; p *= rng_uniform(r))
        count++;
    return count;
}
