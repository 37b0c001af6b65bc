/* HTJ2K with a step for each group of wavelet levels: every pixel comes back within what the three
 * steps say, whatever the sides, kind of values, offset and brightness; finer coarse steps pay in
 * the low frequencies; and other readers of JPEG 2000 see the same pixels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/openjpeg_fixture.h"
#include "tests/unit/scratch.h"
#include "tests/unit/sky_fixture.h"

#define BOXES 85 /* before the codestream */
#define SEAL 88  /* behind it */

static struct scratch folder;

/* Steps in ADU, of level 1, level 2 and the coarser ones. */
static struct codec_options shaped(double first, double second, double others, int offset)
{
    return (struct codec_options){.method = "htj2k", .offset = offset,
                                  .step = {first / 65536, second / 65536, others / 65536}};
}

/* The variance that a quantiser of this step leaves in coefficients of this sigma: its zero is
 * two steps wide, what is not zero comes back as the middle of its step. */
static double variance_of(double step, double sigma)
{
    double sum = 0, weights = 0;
    for (double x = -6; x <= 6; x += 0.005) {
        double v = fabs(x) * sigma, k = floor(v / step), weight = exp(-x * x / 2);
        double left = k > 0 ? v - (k + 0.5) * step : v;
        sum += weight * left * left;
        weights += weight;
    }
    return sum / weights;
}

/* White noise lies in the three groups as their coefficients: 12, 3 and 1 of 16. Rounding to whole
 * ADU comes on top. */
static double predicted_rms(const struct codec_options *o, double noise)
{
    static const double share[3] = {12 / 16.0, 3 / 16.0, 1 / 16.0};
    double sum = 1 / 12.0;
    for (int i = 0; i < 3; i++)
        sum += share[i] * variance_of(o->step[i] * 65536, noise);
    return sqrt(sum);
}

/* Encodes and decodes; fails the test when that fails. */
static double rms_through(const char *what, const struct codec_options *o,
                          const struct fits_image *img, int *worst, struct fits_image *keep)
{
    struct buf b = {0};
    struct fits_image got;
    struct fault why = {0};
    if (through(o, img, &b, &got, &why) != ST_OK)
        fail_msg("%s: %s", what, why.text);
    double rms = sqrt(compare_pixels(img, &got, worst));
    if (keep)
        *keep = got;
    else
        fits_image_free(&got);
    buf_free(&b);
    return rms;
}

/* ---- what comes back ---- */

static void any_sides_come_back_as_the_steps_say(void **state)
{
    (void)state;
    static const int sides[][2] = {{64, 64},   {65, 97},   {97, 65},    {131, 64}, {64, 131},
                                   {66, 67},   {127, 128}, {300, 255},  {257, 81}, {2160, 300},
                                   {64, 4146}, {4145, 65}};
    const struct codec_options steps[] = {shaped(2, 1.4, 1, 0), shaped(7, 3, 2, 0),
                                          shaped(16, 5, 2.5, 0)};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        for (int k = 0; k < 6; k++) {
            struct fits_image img;
            struct codec_options o = steps[k / 2];
            bool is_unsigned = k % 2;
            int worst;
            char what[64];
            o.offset = is_unsigned ? 1800 : -50;
            snprintf(what, sizeof what, "%d x %d, %g", sides[i][0], sides[i][1], o.step[0] * 65536);
            make_noise(&img, sides[i][0], sides[i][1], is_unsigned, o.offset, 7);
            double rms = rms_through(what, &o, &img, &worst, NULL);
            double wanted = predicted_rms(&o, 7);
            if (fabs(rms / wanted - 1) > 0.04 || worst > 6 * wanted + 1)
                fail_msg("%s: rms %g for %g, worst %d", what, rms, wanted, worst);
            fits_image_free(&img);
        }
}

/* The sky at either end of the range or between, and the offset far from it or not. */
static void any_offset_will_do(void **state)
{
    (void)state;
    static const int offsets[] = {-32768, 0, 1000, 32767, 65535};
    for (int is_unsigned = 0; is_unsigned < 2; is_unsigned++)
        for (int l = 0; l < 4; l++)
            for (int k = 0; k < 5; k++) {
                static const double part[4] = {0, 0.1, 0.6, 1};
                struct codec_options o = shaped(10, 8, 5, offsets[k]);
                struct fits_image img;
                int worst;
                double level = part[l] * 65535 - (is_unsigned ? 0 : 32768);
                make_noise(&img, 150, 130, is_unsigned, level, 20);
                double rms = rms_through("offset", &o, &img, &worst, NULL);
                double wanted = predicted_rms(&o, 20);
                if (fabs(rms / wanted - 1) > 0.04 || worst > 6 * wanted + 1)
                    fail_msg("level %g, offset %d: rms %g for %g, worst %d", level, o.offset, rms,
                             wanted, worst);
                fits_image_free(&img);
            }
}

static void saturate(struct fits_image *img, int width, int height)
{
    for (int k = 0; k < 20; k++) {
        int x0 = k * 97 % (width - 40), y0 = k * 61 % (height - 40);
        for (int i = 0; i < 1600; i++)
            put_adu(img, (size_t)((y0 + i / 40) * width + x0 + i % 40), 65535, true);
    }
}

/* OpenJPH 0.9 takes a wrong bit where a coefficient has more than 20 of them, which saturated stars
 * on a quiet sky reach: levels are left out, or it is refused, but no pixel is far from its own. */
static void saturated_stars_cost_no_wrong_bit(void **state)
{
    (void)state;
    static const double noises[] = {0.5, 1, 2, 5, 20, 100};
    int refused = 0, encoded = 0;
    for (size_t i = 0; i < sizeof noises / sizeof *noises; i++) {
        double s = noises[i];
        const struct codec_options steps[] = {
            shaped(0.3 * s, 0.2 * s, 0.15 * s, 1500), shaped(1.5 * s, 0.55 * s, 0.3 * s, 1500),
            shaped(0.28, 0.28, 0.28, 1500), shaped(4 * s, 0.85 * s, 0.4 * s, 1500)};
        struct fits_image img;
        make_noise(&img, 500, 300, true, 1500, s);
        saturate(&img, 500, 300);
        for (int k = 0; k < 4; k++) {
            struct buf b = {0};
            struct fits_image got = {0};
            struct fault why = {0};
            int worst;
            enum status st = through(&steps[k], &img, &b, &got, &why);
            if (st == ST_OK) {
                double rms = sqrt(compare_pixels(&img, &got, &worst));
                double most = predicted_rms(&steps[k], s);
                if (rms > 1.04 * most || worst > 7 * most + 1)
                    fail_msg("noise %g, steps %d: rms %g for %g, worst %d", s, k, rms, most, worst);
                encoded++;
            } else {
                assert_int_equal(st, ST_REJECT);
                assert_non_null(strstr(why.text, "too large for steps so fine"));
                assert_int_equal(b.len, 0);
                refused++;
            }
            fits_image_free(&got);
            buf_free(&b);
        }
        fits_image_free(&img);
    }
    assert_in_range(encoded, 14, 23);
    assert_in_range(refused, 1, 10);
}

/* ADU of pixel x, y of frames that are no sky. */
static int zeros(int x, int y) { return (void)x, (void)y, 0; }
static int full(int x, int y) { return (void)x, (void)y, 65535; }
static int constant(int x, int y) { return (void)x, (void)y, 1234; }
static int slope(int x, int y) { return x * 200 + y * 20; }
static int steps_of(int x, int y) { return x / 16 * 2000 + y / 16 * 300; }
static int checks1(int x, int y) { return (x + y) % 2 ? 65535 : 0; }
static int checks2(int x, int y) { return (x / 2 + y / 2) % 2 ? 65535 : 0; }
static int checks4(int x, int y) { return (x / 4 + y / 4) % 2 ? 65535 : 0; }
static int columns(int x, int y) { return (void)y, x % 2 ? 65535 : 0; }
static int one_star(int x, int y) { return x == 77 && y == 33 ? 65535 : 200; }

static void frames_that_are_no_sky_come_back(void **state)
{
    (void)state;
    static int (*const frames[])(int, int) = {zeros,   full,    constant, slope,   steps_of,
                                              checks1, checks2, checks4,  columns, one_star};
    static const int offsets[] = {0, 1234, 32768, 65535};
    for (size_t f = 0; f < sizeof frames / sizeof *frames; f++)
        for (int k = 0; k < 8; k++) {
            struct codec_options o = k % 2 ? shaped(3, 2, 1, offsets[k / 2])
                                           : shaped(0.28, 0.28, 0.28, offsets[k / 2]);
            struct fits_image img;
            int worst;
            char what[32];
            make_noise(&img, 201, 150, true, 0, 0);
            for (int i = 0; i < 201 * 150; i++)
                put_adu(&img, (size_t)i, frames[f](i % 201, i / 201), true);
            snprintf(what, sizeof what, "frame %zu, %d", f, k);
            if (f == 7 && k == 6) /* coefficients of 21 bits */
                o = shaped(0.56, 0.56, 0.56, o.offset);
            double rms = rms_through(what, &o, &img, &worst, NULL);
            if (rms > 1.3 || worst > 8)
                fail_msg("%s: rms %g, worst %d", what, rms, worst);
            if (f < 3) /* without detail nothing is lost */
                assert_int_equal(worst, 0);
            fits_image_free(&img);
        }
}

/* Errors of the means of 8 x 8 pixels, rms: what aperture photometry of faint stars sees. */
static double block_error(const struct fits_image *a, const struct fits_image *b)
{
    int wide = (int)a->naxes[0] / 8, high = (int)a->naxes[1] / 8;
    double squares = 0;
    for (int k = 0; k < wide * high; k++) {
        double sum = 0;
        for (int i = 0; i < 64; i++) {
            size_t at = (size_t)((k / wide * 8 + i / 8) * a->naxes[0] + k % wide * 8 + i % 8);
            sum += adu(a, at, true) - adu(b, at, true);
        }
        squares += sum * sum / 4096;
    }
    return sqrt(squares / (wide * high));
}

static void finer_coarse_steps_pay_in_the_low_frequencies(void **state)
{
    (void)state;
    const struct codec_options even = shaped(20, 20, 20, 1800), fine = shaped(20, 5.5, 3, 1800),
                               finest = shaped(20, 5.5, 0.5, 1800);
    struct fits_image img, by_even, by_fine, by_finest;
    int worst;
    make_noise(&img, 640, 512, true, 1800, 10);
    double a = rms_through("even", &even, &img, &worst, &by_even);
    double b = rms_through("fine", &fine, &img, &worst, &by_fine);
    double c = rms_through("finest", &finest, &img, &worst, &by_finest);
    double low[3] = {block_error(&img, &by_even), block_error(&img, &by_fine),
                     block_error(&img, &by_finest)};
    assert_true(b < a && c < b); /* the finest level makes most of the error of a pixel */
    assert_true(b > 0.8 * a);
    if (!(low[1] < low[0] / 3 && low[2] < 0.95 * low[1]))
        fail_msg("means err by %g, %g and %g", low[0], low[1], low[2]);
    fits_image_free(&img);
    fits_image_free(&by_even);
    fits_image_free(&by_fine);
    fits_image_free(&by_finest);
}

static void the_same_bytes_each_time(void **state)
{
    (void)state;
    struct codec_options o = shaped(9, 4, 2, 1800);
    struct fits_image img;
    struct buf a = {0}, b = {0};
    make_noise(&img, 333, 222, true, 1800, 9);
    assert_true(buf_append(&b, "before", 6)); /* appended behind what is there */
    assert_int_equal(codec_find("htj2k")->encode(&img, &o, &a, NULL), ST_OK);
    assert_int_equal(codec_find("htj2k")->encode(&img, &o, &b, NULL), ST_OK);
    assert_int_equal(b.len, a.len + 6);
    assert_memory_equal(a.data, b.data + 6, a.len);
    /* The offset only says where zero is. */
    o.offset = 1799;
    b.len = 0;
    assert_int_equal(codec_find("htj2k")->encode(&img, &o, &b, NULL), ST_OK);
    assert_in_range(b.len, a.len - a.len / 100, a.len + a.len / 100);
    fits_image_free(&img);
    buf_free(&a);
    buf_free(&b);
}

static void images_too_small_or_too_narrow_are_not_taken(void **state)
{
    (void)state;
    static const int sides[][2] = {{63, 64}, {64, 63}, {1, 4000}, {40000, 1}, {32, 32}};
    struct codec_options o = shaped(9, 4, 2, 1800);
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        struct fits_image img;
        make_noise(&img, sides[i][0], sides[i][1], true, 1800, 9);
        assert_string_equal(codec_choose(&o, &img, false, false)->name, "rice");
        fits_image_free(&img);
    }
}

/* ---- other readers ---- */

static void stars_on_noise(struct fits_image *img, bool is_unsigned, int level)
{
    make_noise(img, 301, 200, is_unsigned, level, 10);
    for (int i = 0; i < 40; i++)
        put_adu(img, (size_t)(5000 + i * 1103 % 50000), level + 30000, is_unsigned);
}

/* Two decoders of the same codestream differ by rounding, by a few ADU beside the brightest. */
static void openjpeg_sees_the_same_pixels(void **state)
{
    (void)state;
    static const double coarse[] = {0.3, 1, 4, 10, 20, 40};
    for (int k = 0; k < 12; k++) {
        bool is_unsigned = k % 2;
        int level = is_unsigned ? 1800 : -1200, worst, most = 0;
        double step = coarse[k / 2], squares = 0, differ = 0;
        struct codec_options o = shaped(step, 0.7 * step, 0.4 * step, level);
        struct fits_image img, got;
        struct buf b = {0};
        char path[4096];
        stars_on_noise(&img, is_unsigned, level);
        assert_int_equal(through(&o, &img, &b, &got, NULL), ST_OK);
        scratch_path(&folder, "picture.jph", path);
        write_bytes(path, b.data, b.len);
        opj_image_t *picture = read_by_openjpeg(path);
        assert_non_null(picture);
        assert_int_equal(picture->comps[0].prec, 17);
        assert_int_equal(picture->comps[0].sgnd, 1);
        for (size_t i = 0; i < 301 * 200; i++) {
            int theirs = picture->comps[0].data[i] + level, d = theirs - adu(&got, i, is_unsigned);
            double e = theirs - adu(&img, i, is_unsigned);
            most = abs(d) > most ? abs(d) : most;
            differ += d != 0;
            squares += e * e;
        }
        double rms = sqrt(compare_pixels(&img, &got, &worst));
        if (most > 3 || differ > 0.01 * 301 * 200 || fabs(sqrt(squares / 60200) - rms) > 0.05)
            fail_msg("step %g: differs by %d at most, in %g pixels", step, most, differ);
        opj_image_destroy(picture);
        fits_image_free(&img);
        fits_image_free(&got);
        buf_free(&b);
    }
}

/* It writes 16 unsigned bits of the 17 and so loses what is below the offset: an offset far below
 * every pixel shows them all. The bare codestream will do, too. */
static void ojph_expand_sees_the_same_pixels(void **state)
{
    (void)state;
    struct codec_options o = shaped(6, 4, 2, 100);
    struct fits_image img, got;
    struct buf b = {0}, raw = {0};
    char path[4096], out[4096];
    stars_on_noise(&img, true, 1800);
    assert_int_equal(through(&o, &img, &b, &got, NULL), ST_OK);
    scratch_path(&folder, "picture.j2c", path);
    scratch_path(&folder, "picture.yuv", out);
    write_bytes(path, b.data + BOXES, b.len - BOXES - SEAL);
    if (RUN("ojph_expand", "-i", path, "-o", out) != 0) {
        print_message("[  SKIPPED ] ojph_expand is not installed\n");
    } else {
        assert_int_equal(fs_read_file(out, 1u << 20, &raw, NULL), ST_OK);
        assert_int_equal(raw.len, img.size);
        for (size_t i = 0; i < img.size / 2; i++)
            assert_int_equal((raw.data[2 * i] | raw.data[2 * i + 1] << 8) + 100, adu(&got, i, true));
    }
    fits_image_free(&img);
    fits_image_free(&got);
    buf_free(&b);
    buf_free(&raw);
}

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&folder);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_sides_come_back_as_the_steps_say),
        cmocka_unit_test(any_offset_will_do),
        cmocka_unit_test(saturated_stars_cost_no_wrong_bit),
        cmocka_unit_test(frames_that_are_no_sky_come_back),
        cmocka_unit_test(finer_coarse_steps_pay_in_the_low_frequencies),
        cmocka_unit_test(the_same_bytes_each_time),
        cmocka_unit_test(images_too_small_or_too_narrow_are_not_taken),
        cmocka_unit_test(openjpeg_sees_the_same_pixels),
        cmocka_unit_test(ojph_expand_sees_the_same_pixels),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
