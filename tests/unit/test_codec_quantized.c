/* The codec `quantized`: every pixel within half a step, without bias, whatever the frame; what
 * must not be touched is exact. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/quantized_fixture.h"

/* ---- the promise ---- */

/* Through the codec: every pixel within half a step and half a stored unit; the mean error. */
static double assert_within(const struct fits_image *img, const struct codec_options *o,
                            double unit, double *step, double *rms)
{
    const struct codec *c = codec_find("quantized");
    struct fits_image got;
    struct buf b = {0};
    struct fault why = {0};
    double sum = 0, squares = 0, most = img->bitpix > 0 ? 0.5 : 0;
    size_t n = 0;
    if (through(o, img, &b, &got, &why) != ST_OK)
        fail_msg("BITPIX %d: %s", img->bitpix, why.text);
    *step = c->step(b.data, b.len) / unit;
    double half = *step * (o->noise > 0 || o->q == 0 ? 0.500001 : 0.6); /* tiles differ a little */
    for (size_t i = 0; i < pixels(img); i++) {
        double was = value(img, i), is = value(&got, i), error = is - was;
        double rounding = img->bitpix == -32 ? fabs(was) * 2e-7 : fabs(was) * 1e-15;
        if (was != was || isinf(was)) {
            assert_true(was != was ? is != is : is == was);
            continue;
        }
        if (!(fabs(error) <= half + most + rounding))
            fail_msg("BITPIX %d pixel %zu: %.17g became %.17g at step %g", img->bitpix, i, was, is,
                     *step);
        sum += error;
        squares += error * error;
        n++;
    }
    assert_int_equal(got.header.count, img->header.count);
    *rms = n ? sqrt(squares / (double)n) : 0;
    fits_image_free(&got);
    buf_free(&b);
    return n ? sum / (double)n : 0;
}

static void every_pixel_is_within_half_a_step(void **state)
{
    (void)state;
    static const double qs[] = {0.5, 1, 1.7, 4};
    static const struct {
        int bitpix;
        bool is_unsigned;
    } kinds[] = {{16, true}, {16, false}, {8, false}, {32, false}, {-32, false}, {-64, false}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct fits_image img;
        make_sky(&img, kinds[k].bitpix, 300, 260, kinds[k].is_unsigned);
        for (size_t i = 0; i < 4; i++) {
            struct codec_options o = {.method = "quantized", .q = qs[i], .noise = 2};
            double step, rms, mean = assert_within(&img, &o, 1, &step, &rms);
            bool whole = img.bitpix > 0;
            double wanted = whole && qs[i] > 2 ? 1 : 2 / qs[i];
            assert_true(fabs(step - wanted) < 1e-9);
            assert_true(fabs(mean) < 0.01 * step);
            if (whole && step == 1)
                assert_true(rms == 0);
            else /* a uniform quantiser's error, and that of rounding */
                assert_true(fabs(rms / sqrt(step * step / 12 + (whole ? 1. / 12 : 0)) - 1) < 0.15);
        }
        fits_image_free(&img);
    }
}

/* Without a measured noise the step comes from each tile's own, as fpack has it. */
static void the_noise_is_found(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        static const int bitpix[] = {16, -32, -64};
        struct fits_image img;
        make_sky(&img, bitpix[k], 300, 260, k == 0);
        struct codec_options o = {.method = "quantized", .q = 0.5};
        double step, rms;
        assert_true(codec_find("quantized")->accepts(&img, &o));
        assert_within(&img, &o, 1, &step, &rms);
        assert_true(fabs(step - 4) < 0.4);
        fits_image_free(&img);
    }
    /* And with q = 0 it is absolute. */
    struct fits_image img;
    make_sky(&img, 16, 300, 260, true);
    struct codec_options o = {.method = "quantized", .qstep = 3. / 65536};
    double step, rms;
    assert_within(&img, &o, 1, &step, &rms);
    assert_true(fabs(step - 3) < 1e-9);
    fits_image_free(&img);
}

/* A slope far fainter than the step, without any noise to carry it: only dither does. */
static void faint_light_is_not_lost(void **state)
{
    (void)state;
    struct fits_image img, got;
    struct buf b = {0};
    struct codec_options o = {.method = "quantized", .q = 0.5, .noise = 2};
    make_image(&img, -32, 512, 512, false, PIX_ZERO);
    for (size_t i = 0; i < 512 * 512; i++)
        put_value(&img, i, 1000 + (double)(i % 512) / 512);
    assert_int_equal(through(&o, &img, &b, &got, NULL), ST_OK);
    for (size_t column = 0; column < 512; column += 64) {
        double sum = 0; /* of a box of 64 columns; the error of the mean is 1.15 / 181 */
        for (size_t y = 0; y < 512; y++)
            for (size_t x = column; x < column + 64; x++)
                sum += value(&got, y * 512 + x) - value(&img, y * 512 + x);
        assert_true(fabs(sum / (512 * 64)) < 4 * 1.1547 / 181);
    }
    fits_image_free(&img);
    fits_image_free(&got);
    buf_free(&b);
}

static void same_image_same_bytes(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf a = {0}, b = {0}, c = {0};
    struct codec_options o = {.method = "quantized", .q = 1, .noise = 2}, finer = o;
    make_sky(&img, 16, 300, 260, true);
    finer.q = 2;
    assert_true(buf_append(&b, "here", 4));
    assert_int_equal(codec_find("quantized")->encode(&img, &o, &a, NULL), ST_OK);
    assert_int_equal(codec_find("quantized")->encode(&img, &o, &b, NULL), ST_OK);
    assert_int_equal(codec_find("quantized")->encode(&img, &finer, &c, NULL), ST_OK);
    assert_int_equal(b.len, a.len + 4);
    assert_memory_equal(b.data + 4, a.data, a.len);
    assert_true(c.len > a.len);
    assert_true(img.size / (double)a.len > 3);
    assert_true(codec_qstep(codec_find("quantized"), &o, a.data, a.len) == 2. / 65536);
    fits_image_free(&img);
    buf_free(&a);
    buf_free(&b);
    buf_free(&c);
}

/* ---- frames out of the ordinary ---- */

static void assert_exact(const struct fits_image *img, const struct codec_options *o)
{
    struct fits_image got;
    struct buf b = {0};
    struct fault why = {0};
    if (through(o, img, &b, &got, &why) != ST_OK)
        fail_msg("BITPIX %d: %s", img->bitpix, why.text);
    assert_true(same_image(img, &got));
    assert_true(codec_qstep(codec_find("quantized"), o, b.data, b.len) == 0);
    fits_image_free(&got);
    buf_free(&b);
}

static void frames_without_noise_are_exact(void **state)
{
    (void)state;
    static const int bitpix[] = {8, 16, 32, -32, -64};
    static const int sides[][2] = {{1, 1}, {1, 300}, {300, 1}, {70, 80}, {4000, 20}, {50, 0}};
    static const double levels[] = {0, 1, -32768, 32767, 2147483647., -2147483648., 255};
    for (size_t k = 0; k < 5; k++)
        for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
            for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
                for (int measured = 0; measured < 2; measured++) {
                    struct fits_image img;
                    struct codec_options o = {.method = "quantized", .q = 1, .noise = measured * 2};
                    make_image(&img, bitpix[k], sides[s][0], sides[s][1], false, PIX_ZERO);
                    for (size_t i = 0; i < pixels(&img); i++)
                        put_value(&img, i, levels[l]);
                    assert_exact(&img, &o);
                    fits_image_free(&img);
                }
}

static void narrow_frames(void **state)
{
    (void)state;
    static const int sides[][2] = {{1, 2},  {2, 1},  {1, 9},   {9, 1},    {3, 5},    {1, 3000},
                                   {2, 40}, {40, 2}, {500, 0}, {40000, 3}, {33000, 0}};
    for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
        for (int k = 0; k < 3; k++)
            for (int measured = 0; measured < 2; measured++) {
                static const int bitpix[] = {16, -32, -64};
                struct fits_image img;
                struct codec_options o = {.method = "quantized", .q = 1, .noise = measured * 2};
                double step, rms;
                make_sky(&img, bitpix[k], sides[s][0], sides[s][1], false);
                assert_within(&img, &o, 1, &step, &rms);
                fits_image_free(&img);
            }
    struct fits_image cube;
    make_image(&cube, -32, 300, 200, false, PIX_ZERO);
    fits_header_remove(&cube.header, "NAXIS");
    fits_header_remove(&cube.header, "NAXIS2");
    fits_header_add_int(&cube.header, "NAXIS", 3, NULL);
    fits_header_add_int(&cube.header, "NAXIS2", 40, NULL);
    fits_header_add_int(&cube.header, "NAXIS3", 5, NULL);
    assert_int_equal(fits_image_shape(&cube, NULL), ST_OK);
    for (size_t i = 0; i < pixels(&cube); i++)
        put_value(&cube, i, 5 + normal());
    struct codec_options o = {.method = "quantized", .q = 1, .noise = 1};
    double step, rms;
    assert_within(&cube, &o, 1, &step, &rms);
    assert_true(rms > 0.2);
    fits_image_free(&cube);
}

/* Some values that are none: the others are quantised or exact, these stay. */
static void odd_floats(void **state)
{
    (void)state;
    static const double odd[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 0, -0.0,
                                 1e30,        -1e30,            1e-40};
    for (int k = 0; k < 2; k++)
        for (size_t v = 0; v < sizeof odd / sizeof *odd; v++)
            for (int measured = 0; measured < 2; measured++) {
                struct fits_image img, got;
                struct buf b = {0};
                struct codec_options o = {.method = "quantized", .q = 1, .noise = measured * 2};
                double step, rms;
                make_sky(&img, k ? -64 : -32, 300, 240, false);
                for (size_t i = 0; i < 300; i++) /* in the last tile a row */
                    put_value(&img, (i % 7 ? 230 : 3) * 300 + i, odd[v]);
                assert_within(&img, &o, 1, &step, &rms);
                assert_int_equal(through(&o, &img, &b, &got, NULL), ST_OK);
                for (size_t i = 0; i < pixels(&img); i++)
                    if (odd[v] == 0 && value(&img, i) == 0)
                        assert_true(value(&got, i) == 0);
                fits_image_free(&img);
                fits_image_free(&got);
                buf_free(&b);
            }
    static const double all[] = {(double)NAN, (double)INFINITY, DBL_MAX, -DBL_MAX, 4e-320};
    for (size_t v = 0; v < sizeof all / sizeof *all; v++) {
        struct fits_image img;
        struct codec_options o = {.method = "quantized", .q = 1};
        make_image(&img, -64, 60, 60, false, PIX_ZERO);
        for (size_t i = 0; i < pixels(&img); i++)
            put_value(&img, i, all[v] * (i % 2 ? 1 : 0.9));
        assert_exact(&img, &o); /* twice the same differences: no noise, or no step */
        fits_image_free(&img);
    }
}

/* Noise of any size, offset to any place, also at the very ends of the type's range. */
static void all_magnitudes(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++)
        for (int exponent = k ? -285 : -35; exponent <= (k ? 290 : 35); exponent += 5)
            for (int offset = 0; offset < 2; offset++) {
                struct fits_image img;
                struct codec_options o = {.method = "quantized", .q = 1};
                double step, rms, size = pow(10, exponent);
                make_image(&img, k ? -64 : -32, 200, 60, false, PIX_ZERO);
                for (size_t i = 0; i < pixels(&img); i++)
                    put_value(&img, i, (offset * 100 + normal()) * size);
                assert_within(&img, &o, 1, &step, &rms);
                if (!(step > 0.5 * size && step < 2 * size))
                    fail_msg("BITPIX %d: step %g at noise %g", img.bitpix, step, size);
                o.noise = size * 1e-12; /* more than 2^31 steps: exact */
                assert_exact(&img, &o);
                fits_image_free(&img);
            }
}

static void blank_pixels_stay_blank(void **state)
{
    (void)state;
    static const int64_t blanks[] = {-32768, 32767, 0, 1000, 99999};
    for (size_t k = 0; k < 5; k++)
        for (int near = 0; near < 2; near++) {
            struct fits_image img, got;
            struct buf b = {0};
            struct codec_options o = {.method = "quantized", .q = 0.5, .noise = 2};
            make_sky(&img, 16, 200, 150, false);
            fits_header_add_int(&img.header, "BLANK", blanks[k], NULL);
            for (size_t i = 0; i < pixels(&img); i++) {
                int64_t v = near ? blanks[k] + (int64_t)(fixture_random(&noise_seed) % 9) - 4 : 1500;
                if (i % 3 == 0)
                    put_value(&img, i, (double)(v < -32768 ? -32768 : v > 32767 ? 32767 : v));
                if (i % 50 == 0 && k < 4)
                    put_value(&img, i, (double)blanks[k]);
            }
            assert_true(codec_find("quantized")->accepts(&img, &o));
            assert_int_equal(through(&o, &img, &b, &got, NULL), ST_OK);
            for (size_t i = 0; i < pixels(&img); i++) {
                double was = value(&img, i), is = value(&got, i);
                assert_true((was == (double)blanks[k]) == (is == (double)blanks[k]));
                assert_true(fabs(is - was) <= 2 + 0.5 + 1);
            }
            fits_image_free(&img);
            fits_image_free(&got);
            buf_free(&b);
        }
}

static void scaled_integers(void **state)
{
    (void)state;
    static const struct {
        int bitpix;
        double scale, zero;
    } rows[] = {{16, 0.1, 3.3},     {16, -0.5, 1e6}, {16, 2, 0},      {8, 1, -128},
                {32, 1, 2147483648.}, {32, 1e-3, 12},  {16, 1e-9, 1},  {16, 1, 0.5}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (double q = 0.5; q < 100; q += 50) {
            struct fits_image img;
            double unit = fabs(rows[i].scale), step, rms;
            struct codec_options o = {.method = "quantized", .q = q, .noise = 2 * unit};
            make_sky(&img, rows[i].bitpix, 120, 90, false);
            fits_header_add_real(&img.header, "BSCALE", rows[i].scale, NULL);
            fits_header_add_real(&img.header, "BZERO", rows[i].zero, NULL);
            assert_true(codec_find("quantized")->accepts(&img, &o));
            assert_within(&img, &o, unit, &step, &rms);
            assert_true(fabs(step - (q < 1 ? 4 : 1)) < 1e-6);
            assert_true(q < 1 ? rms > 1 : rms == 0);
            fits_image_free(&img);
        }
}

static void real_frames_keep_the_promise(void **state)
{
    (void)state;
    for (int i = 0; i < REAL_FRAMES; i++) {
        struct buf frame = {0};
        struct fits_image img;
        struct codec_options o = {.method = "quantized", .q = 1, .noise = 10};
        double step, rms;
        if (!read_frame(real_frames[i], &frame))
            continue;
        assert_int_equal(load_hdu(&frame, 1, &img, NULL), ST_OK);
        if (codec_find("quantized")->accepts(&img, &o))
            assert_within(&img, &o, 1, &step, &rms);
        fits_image_free(&img);
        buf_free(&frame);
    }
}

static void what_is_accepted(void **state)
{
    (void)state;
    static const struct {
        int bitpix;
        const char *key;
        double value;
        bool unmeasured, measured;
    } rows[] = {{16, NULL, 0, true, true},         {8, NULL, 0, false, true},
                {32, NULL, 0, false, true},        {64, NULL, 0, false, false},
                {-32, NULL, 0, true, true},        {-64, NULL, 0, true, true},
                {-32, "BSCALE", 2, false, false},  {-32, "BZERO", 32768, false, false},
                {-32, "BSCALE", 1, true, true},    {16, "BSCALE", 0, false, false},
                {16, "BSCALE", 1e-300, false, false}, {16, "BZERO", 1e30, false, false},
                {16, "BLANK", 0.5, false, false},  {16, "ZSCALE", 1, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int measured = 0; measured < 2; measured++) {
            struct fits_image img;
            struct codec_options o = {.method = "quantized", .q = 1, .noise = measured};
            bool wanted = measured ? rows[i].measured : rows[i].unmeasured;
            make_image(&img, rows[i].bitpix, 100, 90, false, PIX_ZERO);
            if (rows[i].key)
                fits_header_add_real(&img.header, rows[i].key, rows[i].value, NULL);
            const struct codec *chosen = codec_choose(&o, &img, false, false);
            assert_int_equal(chosen == codec_find("quantized"), wanted);
            assert_true(wanted || codec_is_lossless(chosen, &o));
            /* What is quantised already is not quantised twice. */
            assert_ptr_equal(codec_choose(&o, &img, true, false), codec_find("original"));
            fits_image_free(&img);
        }
    struct fits_image img;
    static const struct codec_options no[] = {{.q = 0}, {.q = -1}, {.q = (double)NAN},
                                              {.q = 1, .noise = (double)NAN},
                                              {.q = 1, .noise = -1}, {.qstep = 0.7},
                                              {.q = 1, .reversible = true}};
    make_image(&img, 16, 100, 90, false, PIX_ZERO);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(codec_find("quantized")->accepts(&img, &no[i]));
    fits_image_free(&img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pixel_is_within_half_a_step),
        cmocka_unit_test(the_noise_is_found),
        cmocka_unit_test(faint_light_is_not_lost),
        cmocka_unit_test(same_image_same_bytes),
        cmocka_unit_test(frames_without_noise_are_exact),
        cmocka_unit_test(narrow_frames),
        cmocka_unit_test(odd_floats),
        cmocka_unit_test(all_magnitudes),
        cmocka_unit_test(blank_pixels_stay_blank),
        cmocka_unit_test(scaled_integers),
        cmocka_unit_test(real_frames_keep_the_promise),
        cmocka_unit_test(what_is_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
