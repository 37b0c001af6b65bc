/* How faithful pixels must be, turned into the codecs' steps: always a step that is one, coarser
 * for a larger ratio; an error asked for is the error that comes out, and a ratio is near; masks
 * and what lossless packs better stay exact; and the words of the settings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/codec_j2k.h"
#include "common/fidelity.h"
#include "tests/unit/sky_fixture.h"

static const char *const methods[] = {"htj2k", "jp2", "quantized"};

static struct fidelity asked(const char *method, double ratio, double noise)
{
    struct fidelity f = {.ratio = ratio, .noise = noise, .q = 1, .pace = 1};
    snprintf(f.method, sizeof f.method, "%s", method);
    return f;
}

static struct sky sky_of(double noise)
{
    return (struct sky){.level = 1800, .noise = noise, .bias = NAN, .read_noise = NAN, .gain = NAN};
}

/* The finest and the coarsest step of these options, ADU; for quantized its own. */
static void steps_of(const struct codec_options *o, double *least, double *most)
{
    *least = *most = o->q > 0 ? o->noise / o->q : o->qstep * 65536;
    if (o->step[0] > 0) {
        *least = fmin(fmin(o->step[0], o->step[1]), o->step[2]) * 65536;
        *most = fmax(fmax(o->step[0], o->step[1]), o->step[2]) * 65536;
    }
}

/* ---- the ladder ---- */

static void a_larger_ratio_is_a_larger_step(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++)
        for (double noise = 0.01; noise < 1.01e5; noise *= 1.7) {
            struct sky sky = sky_of(noise);
            double before[2] = {0, 0};
            bool lossy = false;
            for (double ratio = FIDELITY_RATIO_MIN; ratio <= FIDELITY_RATIO_MAX; ratio += 0.25) {
                struct fidelity f = asked(methods[m], ratio, 0);
                struct codec_options o;
                double least, most;
                assert_true(fidelity_rung(&f) == ratio);
                fidelity_options(&f, ratio, &sky, 16, &o);
                if (o.reversible) { /* never again above the first that is lossy */
                    assert_false(lossy);
                    continue;
                }
                lossy = true;
                steps_of(&o, &least, &most);
                if (!(isfinite(most) && least > 0 && least >= before[0] && most >= before[1]))
                    fail_msg("%s, noise %g, ratio %g: steps %g to %g after %g to %g", methods[m],
                             noise, ratio, least, most, before[0], before[1]);
                before[0] = least;
                before[1] = most;
            }
        }
}

static void a_larger_error_is_a_larger_step(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++)
        for (double noise = 0.01; noise < 1.01e5; noise *= 1.7) {
            struct sky sky = sky_of(noise);
            double before = 0;
            for (double error = 0.005; error <= 1; error += 0.005) {
                struct fidelity f = asked(methods[m], 0, error);
                struct codec_options o;
                double least, most, rung = fidelity_rung(&f);
                assert_true(isfinite(rung) && rung > 0);
                fidelity_options(&f, rung, &sky, 16, &o);
                if (o.reversible) {
                    assert_true(before == 0);
                    continue;
                }
                steps_of(&o, &least, &most);
                if (!(isfinite(most) && least > 0 && most >= before))
                    fail_msg("%s, noise %g, error %g: steps %g to %g after %g", methods[m], noise,
                             error, least, most, before);
                before = most;
            }
        }
}

/* Values that no ladder has been measured for. */
static void any_rung_gives_steps(void **state)
{
    (void)state;
    static const double rungs[] = {1e-300, 0.5, 1, 2.5, 200, 1e6, 1e300};
    for (int m = 0; m < 3; m++)
        for (int i = 0; i < 7; i++) {
            struct fidelity f = asked(methods[m], 10, 0);
            struct sky sky = sky_of(40);
            struct codec_options o;
            double least, most;
            fidelity_options(&f, rungs[i], &sky, -32, &o);
            steps_of(&o, &least, &most);
            assert_true(!o.reversible && isfinite(most) && least > 0);
        }
}

/* ---- what comes out ---- */

struct outcome {
    bool lossless;
    double error, ratio; /* over the noise; of 16 bits */
};

static struct outcome encode_noise(const struct fidelity *f, double noise)
{
    struct sky sky = sky_of(noise);
    struct fits_image img, got;
    struct buf b = {0};
    struct fault why = {0};
    struct codec_options o;
    int worst;
    make_noise(&img, 320, 256, true, 1800, noise);
    fidelity_options(f, fidelity_rung(f), &sky, 16, &o);
    o.method = codec_choose(&o, &img, false, false)->name;
    if (through(&o, &img, &b, &got, &why) != ST_OK)
        fail_msg("%s at noise %g: %s", f->method, noise, why.text);
    struct outcome out = {o.reversible, sqrt(compare_pixels(&img, &got, &worst)) / noise,
                          (double)img.size / (double)b.len};
    fits_image_free(&img);
    fits_image_free(&got);
    buf_free(&b);
    return out;
}

static const double noises[] = {2, 3, 7, 30};

/* Of white noise the last of it goes at once: beyond 0.85 the ladder is one of skies with stars.
 * And OpenJPEG, which jp2 is, sets an error of half an ADU roughly; a step of two or three whole
 * ADU, as of quantized, makes other errors than normal ones. */
static void the_error_is_what_was_asked(void **state)
{
    (void)state;
    static const double errors[] = {0.15, 0.2, 0.3, 0.5, 0.7, 0.8, 0.95};
    int lossy = 0;
    for (int m = 0; m < 3; m++)
        for (int n = 0; n < 4; n++)
            for (int i = 0; i < 7; i++) {
                struct fidelity f = asked(methods[m], 0, errors[i]);
                struct outcome got = encode_noise(&f, noises[n]);
                double within = errors[i] > 0.85 || (m > 0 && errors[i] < 0.35) ? 0.15 : 0.05;
                if (!got.lossless && fabs(got.error / errors[i] - 1) > within)
                    fail_msg("%s, noise %g: %g for %g", methods[m], noises[n], got.error,
                             errors[i]);
                assert_true(got.lossless == (got.error == 0));
                assert_true(!got.lossless || errors[i] < 0.65);
                lossy += !got.lossless;
            }
    assert_true(lossy > 60);
}

/* From the ladder alone, without a pace. It was measured on skies with stars; noise alone packs
 * better, the more the less is left of it. */
static void the_ratio_is_near_what_was_asked(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        double ratio, most;
    } rows[] = {{"htj2k", 5, 1.15},  {"htj2k", 7, 1.15},  {"htj2k", 10, 1.18}, {"htj2k", 15, 1.28},
                {"htj2k", 20, 1.28}, {"htj2k", 30, 1.28}, {"htj2k", 40, 1.32}, {"jp2", 6, 1.15},
                {"jp2", 8, 1.25},    {"jp2", 10, 1.3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int n = 1; n < 4; n++) {
            struct fidelity f = asked(rows[i].method, rows[i].ratio, 0);
            struct outcome got = encode_noise(&f, noises[n]);
            if (got.lossless || got.ratio < 0.97 * rows[i].ratio ||
                got.ratio > rows[i].most * rows[i].ratio)
                fail_msg("%s, noise %g: %g for %g", rows[i].method, noises[n], got.ratio,
                         rows[i].ratio);
        }
}

/* ---- lossless ---- */

static void lossless_where_that_is_smaller(void **state)
{
    (void)state;
    /* Noise of 0.5 packs to 8:1 without loss, of 30 hardly to 2:1. */
    static const struct {
        double noise, ratio;
        bool lossless;
    } rows[] = {{0.5, 6, true}, {0.5, 20, false}, {1, 4, true}, {2, 3, true},   {2, 10, false},
                {7, 3, false},  {30, 3, false},   {0, 10, true}, {NAN, 10, true}};
    for (int m = 0; m < 3; m++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct fidelity f = asked(methods[m], rows[i].ratio, 0);
            struct sky sky = sky_of(rows[i].noise);
            struct codec_options o;
            fidelity_options(&f, rows[i].ratio, &sky, 16, &o);
            if (o.reversible != rows[i].lossless && !(rows[i].noise == 7 && o.reversible))
                fail_msg("noise %g, ratio %g: lossless %d", rows[i].noise, rows[i].ratio,
                         o.reversible);
        }
    /* Smaller indeed: what was lossless has the ratio asked for, or nearly so. */
    for (int n = 0; n < 2; n++) {
        struct fidelity f = asked("htj2k", n ? 3 : 6, 0);
        struct outcome got = encode_noise(&f, n ? 2 : 0.5);
        assert_true(got.lossless && got.error == 0 && got.ratio > 0.95 * f.ratio);
    }
}

static void masks_are_never_lossy(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++)
        for (int k = 0; k < 6; k++) {
            int bitpix = k % 3 == 0 ? 8 : k % 3 == 1 ? 32 : 64;
            struct fidelity f = asked(methods[m], k < 3 ? 40 : 0, k < 3 ? 0 : 1);
            struct sky sky = sky_of(5);
            struct codec_options o;
            fidelity_options(&f, fidelity_rung(&f), &sky, bitpix, &o);
            assert_true(o.reversible);
        }
    /* By q alone quantized is told no noise of them, and then takes none. */
    struct fidelity f = asked("quantized", 0, 0);
    struct sky sky = sky_of(5);
    struct codec_options o;
    struct fits_image img;
    make_image(&img, 32, 80, 80, false, PIX_SKY);
    fidelity_options(&f, fidelity_rung(&f), &sky, 32, &o);
    assert_string_equal(codec_choose(&o, &img, false, false)->name, "rice");
    fits_image_free(&img);
}

static void a_step_of_ones_own_stands(void **state)
{
    (void)state;
    struct sky sky = sky_of(5);
    struct codec_options o;
    for (int m = 0; m < 2; m++) {
        struct fidelity f = asked(methods[m], 0, 0);
        f.qstep = 0.0001;
        assert_false(fidelity_by_noise(&f));
        assert_true(fidelity_rung(&f) == 0);
        fidelity_options(&f, 0, &sky, 16, &o);
        assert_true(o.qstep == 0.0001 && !o.reversible && o.step[0] == 0);
        f.lossless = true;
        fidelity_options(&f, 0, &sky, 16, &o);
        assert_true(o.reversible && codec_is_lossless(codec_find(methods[m]), &o));
    }
    struct fidelity f = asked("quantized", 0, 0);
    f.q = 4;
    assert_false(fidelity_by_noise(&f));
    fidelity_options(&f, 0, &sky, 16, &o);
    assert_true(o.q == 4 && o.noise == 5);
    f = asked("rice", 0, 0);
    assert_false(fidelity_by_noise(&f));
    f = asked("htj2k", 0, 0); /* nothing said: 10:1 */
    assert_true(fidelity_by_noise(&f) && fidelity_rung(&f) == FIDELITY_RATIO_DEFAULT);
    f.pace = 1.25; /* what comes out is more than the ladder says: a lower row will do */
    assert_true(fabs(fidelity_rung(&f) - 8) < 1e-12);
}

/* The sky's level becomes 0, as far as a pixel can have it. */
static void the_offset_is_the_sky(void **state)
{
    (void)state;
    static const double levels[] = {1800.4, -1e9, 1e9, NAN, INFINITY, -32768, 65535};
    static const int offsets[] = {1800, -32768, 65535, 0, 0, -32768, 65535};
    struct fidelity f = asked("htj2k", 10, 0);
    for (int i = 0; i < 7; i++) {
        struct sky sky = {.level = levels[i], .noise = 5};
        struct codec_options o;
        fidelity_options(&f, 10, &sky, 16, &o);
        assert_int_equal(o.offset, offsets[i]);
    }
}

/* ---- as configured ---- */

static void bounds_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value; /* 0: refused */
        bool in_noise;
    } rows[] = {{"3", 3, false},   {"3.5", 3.5, false}, {"4s", 4, true},  {"0.25s", 0.25, true},
                {"1e2", 100, false}, {"0", 0, false},   {"0s", 0, false}, {"-1", 0, false},
                {"s", 0, false},   {"3 s", 0, false},   {"3ss", 0, false}, {"3sigma", 0, false},
                {"inf", 0, false}, {"nan", 0, false},   {"nans", 0, false}, {"three", 0, false},
                {"3,5", 0, false}, {"4S", 0, false},    {"1e999", 0, false}, {" ", 0, false},
                {"0x10", 0, false}, {" 3", 0, false}};
    double value = 7;
    bool in_noise = true;
    assert_true(fidelity_parse_bound("", &value, &in_noise));
    assert_true(value == 0 && !in_noise);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool ok = fidelity_parse_bound(rows[i].text, &value, &in_noise);
        if (ok != (rows[i].value > 0) ||
            (ok && (value != rows[i].value || in_noise != rows[i].in_noise)))
            fail_msg("'%s': %d %g %d", rows[i].text, ok, value, in_noise);
    }
}

static void bounds_follow_the_sky(void **state)
{
    (void)state;
    struct fidelity f = asked("htj2k", 10, 0);
    struct sky sky = sky_of(3), unknown = sky_of(NAN);
    assert_true(isnan(fidelity_bound(&f, &sky)));
    f.max_error = 4;
    assert_true(fidelity_bound(&f, &sky) == 4 && fidelity_bound(&f, &unknown) == 4);
    f.max_in_noise = true;
    assert_true(fidelity_bound(&f, &sky) == 12 && isnan(fidelity_bound(&f, &unknown)));
}

static void exact_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int bits; /* -1: refused */
    } rows[] = {{"", 0},
                {"saturated", EXACT_SATURATED},
                {"overscan", EXACT_OVERSCAN},
                {"saturated,overscan", EXACT_SATURATED | EXACT_OVERSCAN},
                {"overscan, saturated", EXACT_SATURATED | EXACT_OVERSCAN},
                {"overscan,overscan", EXACT_OVERSCAN},
                {" saturated ,", EXACT_SATURATED},
                {",", 0},
                {"saturate", -1},
                {"Saturated", -1},
                {"saturated;overscan", -1},
                {"saturatedoverscan", -1},
                {"overscan,stars", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned bits = 99;
        bool ok = fidelity_parse_exact(rows[i].text, &bits);
        if (ok != (rows[i].bits >= 0) || (ok && bits != (unsigned)rows[i].bits))
            fail_msg("'%s': %d %u", rows[i].text, ok, bits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_larger_ratio_is_a_larger_step),
        cmocka_unit_test(a_larger_error_is_a_larger_step),
        cmocka_unit_test(any_rung_gives_steps),
        cmocka_unit_test(the_error_is_what_was_asked),
        cmocka_unit_test(the_ratio_is_near_what_was_asked),
        cmocka_unit_test(lossless_where_that_is_smaller),
        cmocka_unit_test(masks_are_never_lossy),
        cmocka_unit_test(a_step_of_ones_own_stands),
        cmocka_unit_test(the_offset_is_the_sky),
        cmocka_unit_test(bounds_are_read),
        cmocka_unit_test(bounds_follow_the_sky),
        cmocka_unit_test(exact_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
