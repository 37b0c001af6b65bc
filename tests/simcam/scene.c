#include "scene.h"

#include <math.h>
#include <stdlib.h>

#include "sky.h"

/* Purposes of the seeds. */
enum { KEY_RESPONSE = 101, KEY_COLUMNS, KEY_COSMIC };

static const double beta = 3.5;                 /* of the Moffat profile: between theory's 4.8 and the wings of real images */
static const double faint_edge = 0.1;           /* electrons a pixel at which a star's wing is cut */
static const double widest_wing = 600.0;        /* pixels */
static const double vignetting = 0.06;          /* loss at the rim of the field */
static const double response_range = 0.0087;    /* half width of the pixel response: 0.5 % rms */
static const double flat_adu = 20000.0;
static const double cosmic_rate = 0.5;          /* tracks a second on a full DECam CCD: 1.5 a minute and cm^2 */
static const double readout_wait = 10.0;        /* seconds that a mean pixel waits to be read, and collects rays */

/* What the visit of the sky needs to place stars. */
struct placing {
    struct scene *scene;
    const struct exposure *exposure;
    const struct ccd *ccd;
    double alpha;               /* Moffat core radius, pixels */
};

int
scene_open(struct scene *s, const struct camera *c)
{
    *s = (struct scene){.width = c->data_width, .height = c->data_height};
    s->light = malloc((size_t)s->width * (size_t)s->height * sizeof(*s->light));
    return s->light == NULL ? -1 : 0;
}

void
scene_close(struct scene *s)
{
    free(s->light);
    free(s->stars);
    *s = (struct scene){0};
}

static const struct amplifier *
amplifier_at(const struct scene *s, const struct ccd *ccd, long column)
{
    return &ccd->amp[column < s->width / 2 ? ccd->left : 1 - ccd->left];
}

/* Electrons above the bias that a pixel of this amplifier holds. */
static double
full_well(const struct amplifier *a)
{
    return (a->saturation * CAMERA_WELL_MARGIN - a->bias) * a->gain;
}

/* The share of the light that reaches a point of the focal plane (pixels from the axis). */
static double
illumination(const struct exposure *e, double x, double y)
{
    const double rim = camera_field_radius(&e->camera);

    return 1.0 - vignetting * fmin(4.0, (x * x + y * y) / (rim * rim));
}

/*
 * Add a star of so many electrons at x, y (pixels of the data section from 0). Sampled at pixel centres: for a full width of two
 * pixels and more the sum over pixels equals the integral to better than a percent.
 */
static double
add_star(struct scene *s, double alpha, double x, double y, double electrons)
{
    const double peak = electrons * (beta - 1.0) / (M_PI * alpha * alpha);
    const double wing = fmin(widest_wing, alpha * pow(fmax(peak / faint_edge, 1.0), 0.5 / beta));
    const long y1 = lround(fmax(0.0, ceil(y - wing))), y2 = lround(fmin((double)s->height - 1.0, floor(y + wing)));
    const long x1 = lround(fmax(0.0, ceil(x - wing))), x2 = lround(fmin((double)s->width - 1.0, floor(x + wing)));
    const float inverse = (float)(1.0 / (alpha * alpha));

    for (long j = y1; j <= y2; j++) {
        const float dy2 = (float)(((double)j - y) * ((double)j - y));
        float *row = s->light + j * s->width;

        for (long i = x1; i <= x2; i++) {
            const float dx = (float)((double)i - x);
            const float u = 1.0f + (dx * dx + dy2) * inverse;

            row[i] += (float)peak / (u * u * u * sqrtf(u));     /* u^-beta for beta = 3.5 */
        }
    }
    return peak;
}

/* Note a star for the truth file. */
static void
remember_star(struct scene *s, const struct placed_star *star)
{
    if (s->star_count == s->star_room) {
        const size_t room = s->star_room == 0 ? 1024 : 2 * s->star_room;
        struct placed_star *grown = realloc(s->stars, room * sizeof(*grown));

        if (grown == NULL) {
            s->failed = true;
            return;
        }
        s->stars = grown;
        s->star_room = room;
    }
    s->stars[s->star_count++] = *star;
}

/* Put one star of the sky on the CCD. One off the edge still lends its wings, but is not noted. */
static void
place_star(void *arg, const struct star *star)
{
    const struct placing *p = arg;
    const struct exposure *e = p->exposure;
    const struct ccd *ccd = p->ccd;
    struct scene *s = p->scene;
    struct placed_star placed = {.ra = star->ra, .dec = star->dec};
    double x, y, electrons, share, peak;
    long column;

    if (!optics_to_plane(&e->optics, star->ra, star->dec, &x, &y))
        return;
    placed.x = ccd->crpix1 + x;
    placed.y = ccd->crpix2 + y;
    placed.mag = star->mag_g - e->filter->colour * star->colour;
    electrons = e->exptime * pow(10.0, 0.4 * (e->filter->zero_point - placed.mag));
    peak = add_star(s, p->alpha, placed.x - (double)ccd->data.x1, placed.y - (double)ccd->data.y1, electrons);

    column = lround(placed.x) - ccd->data.x1;
    if (column < 0 || column >= s->width || lround(placed.y) < ccd->data.y1 || lround(placed.y) > ccd->data.y2)
        return;
    const struct amplifier *a = amplifier_at(s, ccd, column);
    share = ccd->efficiency * illumination(e, x, y);
    placed.flux_adu = electrons * share / a->gain;
    placed.saturated = peak * share + e->sky_adu * a->gain >= full_well(a);
    remember_star(s, &placed);
}

/* All stars near the CCD. */
static void
add_stars(struct scene *s, const struct exposure *e, const struct ccd *ccd)
{
    const double fwhm = e->seeing_arcsec / CAMERA_PIXEL_ARCSEC;
    struct placing p = {.scene = s, .exposure = e, .ccd = ccd, .alpha = 0.5 * fwhm / sqrt(pow(2.0, 1.0 / beta) - 1.0)};
    const double margin = 30.0 * p.alpha;       /* stars off the edge whose wings matter */
    const double radius = (hypot((double)s->width, (double)s->height) * 0.5 + margin) * CAMERA_PIXEL_ARCSEC / 3600.0;
    double ra, dec;

    optics_to_sky(&e->optics, 0.5 * (double)(ccd->data.x1 + ccd->data.x2) - ccd->crpix1,
        0.5 * (double)(ccd->data.y1 + ccd->data.y2) - ccd->crpix2, &ra, &dec);
    sky_cone(ra, dec, radius, place_star, &p);
}

/* Add the even background and apply what lies between the sky and the charge: vignetting, efficiency, pixel response. */
static void
add_background(struct scene *s, const struct exposure *e, const struct ccd *ccd)
{
    const double mean_gain = 0.5 * (ccd->amp[0].gain + ccd->amp[1].gain);
    const double adu = e->kind == EXPOSURE_FLAT ? flat_adu : e->sky_adu;
    const float background = (float)(adu * mean_gain / ccd->efficiency);
    const float step = (float)(2.0 * response_range / 65535.0);
    const float rim2 = (float)pow(camera_field_radius(&e->camera), 2.0);
    const float loss = (float)vignetting / rim2;
    struct rng r;

    rng_seed(&r, rng_hash(ccd->key, KEY_RESPONSE));
    for (long j = 0; j < s->height; j++) {
        const float y = (float)((double)(ccd->data.y1 + j) - ccd->crpix2);
        float *row = s->light + j * s->width;
        uint64_t bits = 0;

        for (long i = 0; i < s->width; i++) {
            const float x = (float)((double)(ccd->data.x1 + i) - ccd->crpix1);
            const float r2 = x * x + y * y;
            const float share = 1.0f - loss * (r2 < 4.0f * rim2 ? r2 : 4.0f * rim2);

            bits = (i & 3) == 0 ? rng_next(&r) : bits >> 16;    /* one draw serves four pixels */
            row[i] = (row[i] + background) * share * (float)ccd->efficiency
                * (1.0f - (float)response_range + step * (float)(bits & 0xffff));
        }
    }
}

/* Push what exceeds the well along a column, from start by step, as far as it fills pixels. */
static void
spill(struct scene *s, long column, long start, long step, double well, double charge)
{
    for (long j = start; j >= 0 && j < s->height && charge > 0.0; j += step) {
        float *pixel = s->light + j * s->width + column;
        const double room = well - (double)*pixel;

        if (room <= 0.0)
            continue;
        const double taken = fmin(room, charge);
        *pixel += (float)taken;
        charge -= taken;
    }
}

/* Clip a run of overfull pixels and let half its excess flow each way. */
static void
bleed_column(struct scene *s, long column, double well)
{
    for (long j = 0; j < s->height; j++) {
        const long first = j;
        double excess = 0.0;

        for (; j < s->height && s->light[j * s->width + column] > (float)well; j++) {
            excess += (double)s->light[j * s->width + column] - well;
            s->light[j * s->width + column] = (float)well;
        }
        if (excess > 0.0) {
            spill(s, column, first - 1, -1, well, 0.5 * excess);
            spill(s, column, j, 1, well, 0.5 * excess);
        }
    }
}

/* Let every overfull pixel bleed along its column. */
static void
bleed(struct scene *s, const struct ccd *ccd)
{
    const double least = fmin(full_well(&ccd->amp[0]), full_well(&ccd->amp[1]));
    bool *over = calloc((size_t)s->width, sizeof(*over));

    if (over == NULL) {
        s->failed = true;
        return;
    }
    /* Row by row to find the columns: reading every column along its length would miss the cache on every pixel. */
    for (long j = 0; j < s->height; j++)
        for (long i = 0; i < s->width; i++)
            if (s->light[j * s->width + i] > (float)least)
                over[i] = true;
    for (long i = 0; i < s->width; i++)
        if (over[i])
            bleed_column(s, i, full_well(amplifier_at(s, ccd, i)));
    free(over);
}

/* One track: a straight line of charge, sampled each half pixel and shared among the four pixels around. */
static void
add_cosmic_ray(struct scene *s, struct rng *r)
{
    const double angle = 2.0 * M_PI * rng_uniform(r);
    const double length = fmin(200.0, -9.0 * log(1.0 - rng_uniform(r)));
    const double charge = 0.5 * 400.0 * exp(1.5 * rng_uniform(r));      /* electrons in half a pixel of track */
    const double x0 = rng_uniform(r) * (double)(s->width - 1), y0 = rng_uniform(r) * (double)(s->height - 1);

    for (double t = 0.0; t <= length; t += 0.5) {
        const double x = x0 + t * cos(angle), y = y0 + t * sin(angle);
        const long i = lround(floor(x)), j = lround(floor(y));
        const float fx = (float)(x - (double)i), fy = (float)(y - (double)j);

        if (i < 0 || j < 0 || i + 1 >= s->width || j + 1 >= s->height)
            return;
        float *p = s->light + j * s->width + i;
        p[0] += (float)charge * (1.0f - fx) * (1.0f - fy);
        p[1] += (float)charge * fx * (1.0f - fy);
        p[s->width] += (float)charge * (1.0f - fx) * fy;
        p[s->width + 1] += (float)charge * fx * fy;
    }
}

/* As many tracks as the time and the area catch. */
static void
add_cosmic_rays(struct scene *s, const struct exposure *e, const struct ccd *ccd)
{
    const double share = (double)s->width * (double)s->height / (2048.0 * 4096.0);
    struct rng r;

    rng_seed(&r, exposure_key(e, ccd, KEY_COSMIC));
    for (long n = rng_poisson(&r, cosmic_rate * share * (e->exptime + readout_wait)); n > 0; n--)
        add_cosmic_ray(s, &r);
}

/* Columns that lose charge or leak it, from some row on away from the readout register; fixed for a CCD. */
static void
spoil_columns(struct scene *s, const struct exposure *e, const struct ccd *ccd)
{
    struct rng r;

    rng_seed(&r, rng_hash(ccd->key, KEY_COLUMNS));
    for (long n = 2 + rng_poisson(&r, 2.0); n > 0; n--) {
        const long column = lround(floor(rng_uniform(&r) * (double)s->width));
        const long start = lround(floor(rng_uniform(&r) * (double)s->height));
        const bool hot = rng_uniform(&r) < 0.4;
        const float level = (float)rng_uniform(&r);

        for (long j = start; j < s->height; j++) {
            float *pixel = s->light + (ccd->south ? j : s->height - 1 - j) * s->width + column;

            if (hot)
                *pixel += (100.0f + 900.0f * level) * (float)(1.0 + e->exptime / 10.0);
            else
                *pixel *= 0.3f * level;
        }
    }
}

int
scene_build(struct scene *s, const struct exposure *e, const struct ccd *ccd)
{
    s->star_count = 0;
    s->failed = false;
    for (long i = 0; i < s->width * s->height; i++)
        s->light[i] = 0.0f;
    if (e->kind == EXPOSURE_BIAS || ccd->dead)
        return 0;
    if (e->kind == EXPOSURE_OBJECT)
        add_stars(s, e, ccd);
    add_background(s, e, ccd);
    bleed(s, ccd);
    add_cosmic_rays(s, e, ccd);
    spoil_columns(s, e, ccd);
    return s->failed ? -1 : 0;
}
