#include "detector.h"

#include <endian.h>
#include <math.h>

enum { KEY_DRIFT = 201, KEY_NOISE };

/* What the inner loop needs of an amplifier, as floats. */
struct channel {
    float bias, per_electron, noise2;
};

static void
channel_init(struct channel *c, const struct amplifier *a, double drift)
{
    c->bias = (float)(a->bias + drift);
    c->per_electron = (float)(1.0 / a->gain);
    c->noise2 = (float)(a->read_noise * a->read_noise);
}

/* Where the readout stands: the next pixel to fill and the noise it takes. */
struct reader {
    uint16_t *pixel;
    struct rng rng;
    const struct normal_table *normal;
};

static inline uint16_t
digitize(float adu)
{
    const float rounded = adu + 0.5f;           /* and cut below; compared by hand, for fminf is a call */
    const float clipped = rounded < 0.0f ? 0.0f : rounded > 65535.0f ? 65535.0f : rounded;

    return htobe16((uint16_t)((uint32_t)clipped ^ 0x8000u));        /* minus 32768 in two's complement */
}

/*
 * Read n pixels. Photon and read noise come from one deviate: a normal of variance mean + noise2, bent by the first term of the
 * Cornish-Fisher expansion so that it has the skewness of the Poisson part. With the read noise added, that is as good as
 * the exact sum at any level, at half the time.
 */
static void
read_lit(struct reader *reader, const float *light, long n, const struct channel *c)
{
    for (long i = 0; i < n; i++) {
        const float mean = light[i];
        const float variance = mean + c->noise2;
        const float z = rng_normal(&reader->rng, reader->normal);
        const float electrons = mean + sqrtf(variance) * z + mean / (6.0f * variance) * (z * z - 1.0f);

        reader->pixel[i] = digitize(c->bias + c->per_electron * electrons);
    }
    reader->pixel += n;
}

static void
read_dark(struct reader *reader, long n, const struct channel *c)
{
    const float scale = sqrtf(c->noise2) * c->per_electron;

    for (long i = 0; i < n; i++)
        reader->pixel[i] = digitize(c->bias + scale * rng_normal(&reader->rng, reader->normal));
    reader->pixel += n;
}

void
detector_read(const struct scene *s, const struct exposure *e, const struct ccd *ccd, uint16_t *pixels)
{
    const long edge = e->camera.prescan + e->camera.overscan;
    const long half = s->width / 2, rest = s->width - half;
    struct reader reader = {.pixel = pixels, .normal = e->normal};
    const float *light = s->light;
    struct channel left, right;

    /* Bias levels wander by an ADU or two from one exposure to the next. */
    rng_seed(&reader.rng, exposure_key(e, ccd, KEY_DRIFT));
    channel_init(&left, &ccd->amp[ccd->left], 1.5 * (double)rng_normal(&reader.rng, e->normal));
    channel_init(&right, &ccd->amp[1 - ccd->left], 1.5 * (double)rng_normal(&reader.rng, e->normal));

    rng_seed(&reader.rng, exposure_key(e, ccd, KEY_NOISE));
    for (long y = 1; y <= e->camera.height; y++) {
        read_dark(&reader, edge, &left);
        if (y >= ccd->data.y1 && y <= ccd->data.y2) {
            read_lit(&reader, light, half, &left);
            read_lit(&reader, light + half, rest, &right);
            light += s->width;
        } else {
            read_dark(&reader, half, &left);
            read_dark(&reader, rest, &right);
        }
        read_dark(&reader, edge, &right);
    }
}
