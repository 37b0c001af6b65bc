/* The sky of synthetic ccds whose truth is known: two amplifiers with an overscan each,
 * normal noise, a slope, stars, bad pixels; every pixel type; and frames that hold no sky. */
#include "common/noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "tests/unit/fits_fixture.h"

/* Overscan of A, data of A, data of B, overscan of B. */
#define OVER 50
#define HALF 300
#define WIDE (2 * (OVER + HALF))
#define HIGH 1200

struct truth {
    double bias[2], read[2]; /* ADU */
    double light[2];         /* ADU in the middle of the ccd */
    double sigma[2];         /* of light and readout */
    double slope;            /* ADU from the left to the right of the data */
    double stars;            /* share of the data's pixels within 2.8 sigma of a star */
    double grid;             /* ADU: values are multiples of it; 0: of what the type gives */
};

static struct fits_image img;
static struct sky sky;
static uint64_t seed = 1;

static double uniform(void)
{
    return ((double)fixture_random(&seed) + 0.5) / 4294967296.0;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

/* The stored value big-endian, whatever the type. */
static void put(int64_t index, double value, bool flip)
{
    int bytes = abs(img.bitpix) / 8;
    int64_t bits = 0;
    float single = (float)value;
    if (img.bitpix == -32)
        memcpy(&bits, &single, 4);
    else if (img.bitpix == -64)
        memcpy(&bits, &value, 8);
    else
        bits = llround(value);
    put_pixel(img.data + index * bytes, bytes, flip ? bits ^ INT64_MIN : bits);
}

/* Stars as a telescope draws them, of all brightnesses: sigma 2 pixels, wings to 5 sigma. */
static float *star_light(double share)
{
    float *light = calloc((size_t)WIDE * HIGH, sizeof *light);
    assert_non_null(light);
    int stars = (int)(share * 2 * HALF * HIGH / 100);
    for (int n = 0; n < stars; n++) {
        double x = OVER + 2 * HALF * uniform(), y = HIGH * uniform();
        double peak = 20 / pow(uniform(), 1.2);
        for (int j = -10; j <= 10; j++)
            for (int i = -10; i <= 10; i++) {
                int px = (int)x + i, py = (int)y + j;
                if (px >= OVER && px < OVER + 2 * HALF && py >= 0 && py < HIGH)
                    light[py * WIDE + px] += (float)(peak * exp(-(i * i + j * j) / 8.0));
            }
    }
    return light;
}

/* Draws the ccd; value = stored * scale + zero. 16 bits without sign are saturated at 65000. */
static void draw(const struct truth *t, int bitpix, double zero, double scale)
{
    const bool flip = bitpix == 64 && zero == 0x1p63; /* past a double's digits */
    float *stars = star_light(t->stars);
    make_image(&img, bitpix, WIDE, HIGH, false, PIX_ZERO);
    assert_true(fits_header_add_real(&img.header, "BZERO", zero, NULL));
    assert_true(fits_header_add_real(&img.header, "BSCALE", scale, NULL));
    for (int64_t y = 0; y < HIGH; y++)
        for (int64_t x = 0; x < WIDE; x++) {
            int amp = x >= WIDE / 2;
            bool dark = x < OVER || x >= WIDE - OVER;
            double v = t->bias[amp] + (dark ? t->read[amp] : t->sigma[amp]) * normal();
            if (!dark)
                v += t->light[amp] + stars[y * WIDE + x] +
                     t->slope * ((double)x / WIDE - 0.5);
            if (t->grid > 0)
                v = t->grid * round(v / t->grid);
            if (zero == 32768)
                v = v > 65000 ? 65000 : v;
            put(y * WIDE + x, flip ? v : (v - zero) / scale, flip);
        }
    free(stars);
}

static struct regions layout(void)
{
    return (struct regions){
        .data = {OVER, 0, WIDE - OVER, HIGH},
        .section = {{{OVER, 0, OVER + HALF, HIGH}, 0}, {{OVER + HALF, 0, WIDE - OVER, HIGH}, 1}},
        .sections = 2,
        .overscan = {{0, 0, OVER, HIGH}, {WIDE - OVER, 0, WIDE, HIGH}},
        .overscans = 2,
        .saturate = 60000,
        .gain = 7,
        .read_noise = 21,
    };
}

static void measure(void)
{
    struct regions r = layout();
    assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
}

static void near(const char *what, double is, double truth, double tolerance)
{
    if (fabs(is - truth) <= tolerance)
        return;
    print_message("%s: %g, not %g +- %g\n", what, is, truth, tolerance);
    fail();
}

/* What rounding to whole numbers makes of a sigma. */
static double rounded(double sigma)
{
    return sqrt(sigma * sigma + 1.0 / 12);
}

static void noise_of_any_size(void **state)
{
    (void)state;
    static const double sigmas[] = {0.8, 0.9, 1, 1.15, 1.3, 1.6, 2, 2.7, 4, 10, 40, 200};
    for (size_t i = 0; i < sizeof sigmas / sizeof sigmas[0]; i++) {
        double s = sigmas[i];
        struct truth t = {.bias = {1500.3, 2100.8}, .read = {s, s}, .light = {300, 300},
                          .sigma = {s, s}, .slope = 25 * s, .stars = 0.03};
        draw(&t, 16, 32768, 1);
        measure();
        near("noise", sky.noise, rounded(s), 0.02 * s);
        near("read noise", sky.read_noise, rounded(s), 0.02 * s);
        near("bias", sky.bias, 1800.55, 0.05 * s);
        near("level", sky.level, 2100.55, 0.7 * s); /* stars shift a sloping median */
        assert_true(sky.read_noise_measured);
        assert_false(sky.gain_measured); /* no photons in that noise */
        assert_true(sky.gain == 7);
        fits_image_free(&img);
    }
}

/* Stars count a little, because their curvature does: a tenth of all pixels is a field in the
 * Milky Way's middle. */
static void crowded_fields(void **state)
{
    (void)state;
    static const double shares[] = {0.05, 0.1};
    for (int i = 0; i < 2; i++) {
        struct truth t = {.bias = {1500, 1900}, .read = {1.6, 1.7}, .light = {40, 44},
                          .sigma = {3.5, 3.5}, .slope = 10, .stars = shares[i]};
        draw(&t, 16, 32768, 1);
        measure();
        near("noise", sky.noise, rounded(3.5), (i ? 0.03 : 0.02) * 3.5);
        near("level", sky.level, 1742, 0.3 * 3.5);
        fits_image_free(&img);
    }
}

static struct truth photons(double electrons)
{
    static const double gain[] = {4.0, 4.6};
    struct truth t = {.bias = {1500.3, 2000.8}, .read = {7.2 / 4.0, 6.4 / 4.6}, .stars = 0.01};
    for (int i = 0; i < 2; i++) {
        t.light[i] = electrons / gain[i];
        t.sigma[i] = hypot(sqrt(electrons) / gain[i], t.read[i]);
    }
    return t;
}

static void gain_by_photon_transfer(void **state)
{
    (void)state;
    static const double electrons[] = {100, 300, 1000};
    for (int i = 0; i < 3; i++) {
        struct truth t = photons(electrons[i]);
        draw(&t, 16, 32768, 1);
        measure();
        assert_true(sky.gain_measured);
        near("gain", sky.gain, 4.3, 0.05 * 4.3);
        near("read noise", sky.read_noise, rounded(sqrt((1.8 * 1.8 + 1.391 * 1.391) / 2)), 0.03);
        fits_image_free(&img);
    }
}

static void gain_of_the_header(void **state)
{
    (void)state;
    static const double electrons[] = {0, 10, 20000};
    for (int i = 0; i < 3; i++) {
        struct truth t = photons(electrons[i]);
        draw(&t, 16, 32768, 1);
        measure();
        assert_false(sky.gain_measured);
        assert_true(sky.gain == 7);
        fits_image_free(&img);
    }
    /* No overscan: no bias, and the read noise is the header's, too. */
    struct truth t = photons(300);
    struct regions r = layout();
    r.overscans = 0;
    r.section[0].overscan = r.section[1].overscan = -1;
    draw(&t, 16, 32768, 1);
    assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
    assert_true(isnan(sky.bias));
    assert_false(sky.read_noise_measured || sky.gain_measured);
    assert_true(sky.read_noise == 3 && sky.gain == 7);
    r.gain = r.read_noise = NAN;
    assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
    assert_true(isnan(sky.gain) && isnan(sky.read_noise));
    assert_true(sky.noise > 3);
    fits_image_free(&img);
}

/* The same sky in all types, units and offsets, and in values that do not take every step. */
static void every_type(void **state)
{
    (void)state;
    static const struct {
        int bitpix;
        double zero, scale, sigma, bias, grid, step; /* step: between values, in ADU */
    } set[] = {{8, 0, 1, 3, 60, 0, 1},          {8, -128, 1, 3, -60, 0, 1},
               {8, 1000, 0.5, 3, 1030, 0, 0.5}, {16, 0, 1, 3, 1000, 0, 1},
               {16, 0, -1, 3, 1000, 0, 1},      {16, 100, 0.25, 3, 1000, 0, 0.25},
               {16, 32768, 1, 3, 1000, 2, 2},   {16, 0, 1, 30, 1000, 16, 16},
               {32, 0, 1, 3, 1000, 0, 1},       {32, 0, 1, 3, -3e6, 0, 1},
               {32, 0, 1, 4000, 1e6, 0, 1},     {32, 0x1p31, 1, 3, 1000, 0, 1},
               {32, 0, 0.001, 3, 1000, 0, 0},   {64, 0, 1, 3, 1000, 0, 1},
               {64, 0x1p63, 1, 3, 1000, 0, 1},  {-32, 0, 1, 3, 1000, 0, 0},
               {-32, 0, 1, 3, 1000, 1, 1},      {-32, 0, 1, 3, 1000, 2.5, 2.5},
               {-32, 0, 1, 0.003, 0.5, 0, 0},   {-64, 0, 1, 3e9, 1e12, 0, 0},
               {-64, 5, 2, 3, 1000, 0, 0}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        double s = set[i].sigma, b = set[i].bias;
        struct truth t = {.bias = {b, b}, .read = {s, s}, .sigma = {s, s},
                          .light = {10 * s, 10 * s}, .grid = set[i].grid};
        draw(&t, set[i].bitpix, set[i].zero, set[i].scale);
        struct regions r = layout();
        r.saturate = NAN;
        assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
        char what[32];
        snprintf(what, sizeof what, "row %zu, BITPIX %d", i, set[i].bitpix);
        near(what, sky.noise, hypot(s, set[i].step / sqrt(12)), 0.02 * s);
        near(what, sky.bias, b, 0.05 * s);
        near(what, sky.level, b + 10 * s, 0.05 * s);
        fits_image_free(&img);
    }
}

/* Dead columns, a saturated block and a blank tenth of the rows; in floats NaN and infinity. */
static void bad_pixels(void **state)
{
    (void)state;
    static const int types[] = {16, 32, -32};
    for (int k = 0; k < 3; k++) {
        struct truth t = {.bias = {1500, 1500}, .read = {2, 2}, .sigma = {5, 5},
                          .light = {100, 100}};
        bool real = types[k] < 0;
        draw(&t, types[k], 0, 1);
        if (!real)
            fits_header_add_int(&img.header, "BLANK", -7, NULL);
        for (int64_t y = 0; y < HIGH; y++)
            for (int64_t x = 0; x < WIDE; x++) {
                int64_t i = y * WIDE + x;
                if (y % 10 == 0 && x < WIDE / 2)
                    put(i, real ? NAN : -7, false);
                else if (x % 100 == 99)
                    put(i, real && x % 200 == 99 ? INFINITY : 1, false);
                else if (x > 200 && x < 300 && y > 400)
                    put(i, 30000 + (double)(x % 2), false);
            }
        struct regions r = layout();
        r.saturate = 29000;
        assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
        near("noise", sky.noise, rounded(5), 0.02 * 5);
        near("level", sky.level, 1600, 0.5);
        near("read noise", sky.read_noise, rounded(2), 0.02 * 2);
        fits_image_free(&img);
    }
}

/* Half a ccd that reads one number does not halve the noise of the other half. */
static void a_dead_amplifier(void **state)
{
    (void)state;
    struct truth t = {.bias = {1500, 1500}, .read = {2, 0}, .sigma = {5, 0}, .light = {100, 0}};
    draw(&t, 16, 32768, 1);
    measure();
    near("noise", sky.noise, rounded(5), 0.02 * 5);
    fits_image_free(&img);
}

static void measure_whole(int bitpix, int width, int height, double value)
{
    struct camera any = {.key_data_section = "DATASEC"};
    struct regions r;
    make_image(&img, bitpix, width, height, false, PIX_ZERO);
    for (int64_t i = 0; i < (int64_t)img.size / (abs(bitpix) / 8); i++)
        put(i, value, false);
    assert_int_equal(regions_read(&any, &img, &r, NULL), ST_OK);
    assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
    assert_true(isnan(sky.bias) && isnan(sky.read_noise) && isnan(sky.gain));
    fits_image_free(&img);
}

static void frames_without_a_sky(void **state)
{
    (void)state;
    static const int types[] = {8, 16, 32, 64, -32, -64};
    for (int i = 0; i < 6; i++) {
        measure_whole(types[i], 100, 80, 0);
        assert_true(sky.level == 0 && sky.noise == 0);
        measure_whole(types[i], 100, 80, 77);
        assert_true(sky.level == 77 && sky.noise == 0);
        static const int shapes[][2] = {{1, 1}, {1, 500}, {4, 500}, {500, 0}, {5, 3}, {70000, 1}};
        for (int k = 0; k < 6; k++) {
            measure_whole(types[i], shapes[k][0], shapes[k][1], 77);
            assert_true(sky.level == 77);
            assert_true(shapes[k][0] >= 500 ? sky.noise == 0 : isnan(sky.noise));
        }
    }
    measure_whole(8, 100, 80, 255);
    assert_true(isnan(sky.level) && isnan(sky.noise)); /* all saturated */
    measure_whole(16, 100, 80, 32767);
    assert_true(isnan(sky.level) && isnan(sky.noise));
    static const double hostile[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        measure_whole(-32, 100, 80, hostile[i]);
        assert_true(isnan(sky.level) && isnan(sky.noise));
        measure_whole(-64, 100, 80, hostile[i]);
        assert_true(isnan(sky.level) && isnan(sky.noise));
    }
    measure_whole(-64, 100, 80, 1e308);
    assert_true(!(sky.noise > 0));
}

/* Bits, not pixels: any outcome will do that is no crash and no negative noise. */
static void random_bytes(void **state)
{
    (void)state;
    static const int types[] = {8, 16, 32, 64, -32, -64};
    static const double scales[] = {1, 0, -1, 1e300, 1e-300};
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 5; k++) {
            make_image(&img, types[i], 300, 200, false, PIX_RANDOM);
            fits_header_add_real(&img.header, "BSCALE", scales[k], NULL);
            fits_header_add_real(&img.header, "BZERO", k * 1e300, NULL);
            fits_header_add_int(&img.header, "BLANK", k ? INT64_MIN : INT64_MAX, NULL);
            struct regions r = {.data = {0, 0, 300, 200}, .section = {{{0, 0, 300, 200}, -1}},
                                .sections = 1, .saturate = k ? 1e-300 : 1e300, .gain = NAN,
                                .read_noise = NAN};
            assert_int_equal(sky_measure(&img, &r, &sky), ST_OK);
            assert_false(sky.noise < 0);
            fits_image_free(&img);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_of_any_size),       cmocka_unit_test(crowded_fields),
        cmocka_unit_test(gain_by_photon_transfer), cmocka_unit_test(gain_of_the_header),
        cmocka_unit_test(every_type),              cmocka_unit_test(bad_pixels),
        cmocka_unit_test(a_dead_amplifier),        cmocka_unit_test(frames_without_a_sky),
        cmocka_unit_test(random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
