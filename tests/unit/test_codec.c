/* Every codec gives back what it promises: the same bits where it says so, an error of the
 * size that qstep names where it is lossy, and nothing it cannot hold is accepted. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/codec_fixture.h"

static void the_table(void **state)
{
    (void)state;
    static const char *const names[] = {"original", "rice", "htj2k",
                                        "jp2",      "jxl",  "quantized"};
    static const char *const suffixes[] = {".hdu", ".fits.fz", ".jph",
                                           ".jp2", ".jxl",     ".fits.fz"};
    const struct codec *const *all = codec_all();
    for (int i = 0; i < 6; i++) {
        assert_string_equal(all[i]->name, names[i]);
        assert_string_equal(all[i]->suffix, suffixes[i]);
        assert_ptr_equal(codec_find(names[i]), all[i]);
        assert_int_equal(all[i]->has_header, i < 2);
        assert_int_equal(all[i]->lossy_possible, i == 2 || i == 3 || i == 5);
        assert_int_equal(all[i]->never_larger, i == 4);
        assert_true(strlen(all[i]->sentence) > 20);
    }
    assert_null(all[6]);
    assert_null(codec_find("j2k"));
    assert_null(codec_find(""));
    assert_null(codec_find(NULL));
}

static void lossless_is_said_truly(void **state)
{
    (void)state;
    const struct codec *htj2k = codec_find("htj2k");
    assert_true(codec_is_lossless(htj2k, &(struct codec_options){.method = "htj2k", .qstep = 3e-5,
        .reversible = true}));
    assert_true(codec_is_lossless(htj2k, &(struct codec_options){.method = "htj2k"}));
    assert_true(codec_is_lossless(htj2k, &(struct codec_options){.method = "htj2k",
        .qstep = 9e-6}));
    assert_false(codec_is_lossless(htj2k, &(struct codec_options){.method = "htj2k",
        .qstep = 1e-5}));
    assert_false(codec_is_lossless(codec_find("jp2"), &(struct codec_options){.method = "jp2",
        .qstep = 3e-5}));
    const struct codec *quantized = codec_find("quantized");
    assert_false(codec_is_lossless(quantized, &(struct codec_options){.method = "quantized"}));
    assert_true(codec_is_lossless(quantized, &(struct codec_options){.method = "quantized",
        .reversible = true}));
    assert_true(
        codec_is_lossless(codec_find("rice"), &(struct codec_options){.method = "htj2k",
            .qstep = 3e-5}));
    assert_true(
        codec_is_lossless(codec_find("original"), &(struct codec_options){.method = "jp2", .qstep = 3e-5}));
    assert_true(codec_is_lossless(codec_find("jxl"), &(struct codec_options){.method = "jxl", .qstep = 3e-5}));
}

/* A change to the header of a 16-bit image, and who carries it then. */
static void what_is_accepted(void **state)
{
    (void)state;
    static const struct {
        int bitpix, width, height;
        const char *key;
        double value;
        bool lossless, lossy;
    } rows[] = {{16, 100, 100, NULL, 0, true, true},
                {16, 100, 100, "BZERO", 32768, true, true},
                {16, 100, 100, "BZERO", 0, true, true},
                {16, 100, 100, "BZERO", 100, true, false},
                {16, 100, 100, "BSCALE", 1, true, true},
                {16, 100, 100, "BSCALE", 0.5, true, false},
                {16, 100, 100, "BLANK", -32768, true, false},
                {8, 100, 100, NULL, 0, true, true},
                {8, 100, 100, "BZERO", -128, true, true},
                {8, 100, 100, "BZERO", 32768, true, false},
                {16, 63, 100, NULL, 0, true, false},
                {16, 100, 63, NULL, 0, true, false},
                {16, 64, 64, NULL, 0, true, true},
                {16, 100, 0, NULL, 0, false, false},
                {32, 100, 100, NULL, 0, false, false},
                {64, 100, 100, NULL, 0, false, false},
                {-32, 100, 100, NULL, 0, false, false},
                {-64, 100, 100, NULL, 0, false, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 3; k++) {
            const char *name = k == 2 ? "jxl" : k ? "jp2" : "htj2k";
            const struct codec *c = codec_find(name);
            struct codec_options lossy = {.method = name, .qstep = 3e-5}, exact = {.method = name,
                .qstep = 3e-5, .reversible = true};
            struct fits_image img;
            make_image(&img, rows[i].bitpix, rows[i].width, rows[i].height, false, PIX_ZERO);
            if (rows[i].key)
                fits_header_add_real(&img.header, rows[i].key, rows[i].value, NULL);
            bool plain = k == 2 ? rows[i].lossless : rows[i].lossy; /* jxl has no other way */
            assert_int_equal(c->accepts(&img, &exact), rows[i].lossless);
            assert_int_equal(c->accepts(&img, &lossy), plain);
            const struct codec *fallback = codec_find(rows[i].bitpix == 64 ? "original" : "rice");
            assert_ptr_equal(codec_choose(&lossy, &img, false, false),
                             plain ? c : fallback);
            assert_ptr_equal(codec_choose(&lossy, &img, true, true),
                             plain ? c : codec_find("original"));
            fits_image_free(&img);
        }
    struct fits_image img;
    make_image(&img, 16, 100, 100, false, PIX_ZERO);
    static const double steps[] = {-1e-5, NAN, INFINITY, 0.6};
    for (size_t i = 0; i < 4; i++)
        assert_false(
            codec_find("htj2k")->accepts(&img, &(struct codec_options){.method = "htj2k",
                .qstep = steps[i]}));
    fits_header_remove(&img.header, "NAXIS");
    fits_header_add_int(&img.header, "NAXIS", 3, NULL);
    fits_header_add_int(&img.header, "NAXIS3", 1, NULL);
    assert_int_equal(fits_image_shape(&img, NULL), ST_OK);
    assert_true(codec_find("jp2")->accepts(&img, &(struct codec_options){.method = "jp2",
        .qstep = 3e-5}));
    img.naxes[2] = 2;
    assert_false(codec_find("jp2")->accepts(&img, &(struct codec_options){.method = "jp2",
        .qstep = 3e-5, .reversible = true}));
    fits_image_free(&img);
}

static void what_is_already_tiled_stays(void **state)
{
    (void)state;
    struct fits_image img;
    make_image(&img, 16, 100, 100, true, PIX_ZERO);
    struct codec_options rice = {.method = "rice", .qstep = 3e-5},
        original = {.method = "original", .qstep = 3e-5},
                         unknown = {.method = "zip", .qstep = 3e-5};
    assert_ptr_equal(codec_choose(&rice, &img, false, false), codec_find("rice"));
    assert_ptr_equal(codec_choose(&rice, &img, true, true), codec_find("original"));
    assert_ptr_equal(codec_choose(&rice, &img, true, false), codec_find("rice"));
    assert_ptr_equal(codec_choose(&original, &img, true, true), codec_find("original"));
    assert_ptr_equal(codec_choose(&unknown, &img, false, false), codec_find("rice"));
    fits_header_add_int(&img.header, "ZIMAGE", 1, NULL); /* rice cannot carry this card */
    assert_ptr_equal(codec_choose(&rice, &img, false, false), codec_find("original"));
    fits_image_free(&img);
    make_image(&img, -32, 100, 100, false, PIX_SKY);
    assert_ptr_equal(codec_choose(&rice, &img, true, false), codec_find("original"));
    assert_ptr_equal(codec_choose(&rice, &img, false, false), codec_find("rice"));
    fits_image_free(&img);
}

/* Small and odd sides are where wavelets go wrong. */
static void lossless_means_every_bit(void **state)
{
    (void)state;
    static const int sides[][2] = {{1, 1},    {1, 2},    {2, 1},   {1, 17}, {17, 1}, {2, 2},
                                   {3, 5},    {5, 3},    {8, 8},   {9, 16}, {16, 9}, {16, 16},
                                   {17, 17},  {31, 33},  {33, 31}, {64, 2}, {2, 64}, {65, 65},
                                   {130, 97}, {1, 3000}, {3000, 1}};
    for (size_t k = 0; k < sizeof sides / sizeof *sides; k++)
        for (int form = 0; form < 3; form++)
            for (int kind = 0; kind < PIX_KINDS; kind++) {
                struct fits_image img;
                make_image(&img, form ? 16 : 8, sides[k][0], sides[k][1], form == 2,
                           (enum pixels)kind);
                for (int o = 0; o < LOSSLESS_OPTIONS; o++) {
                    struct fits_image got;
                    struct buf b = {0};
                    struct fault why = {0};
                    enum status st = through(&lossless_options[o], &img, &b, &got, &why);
                    if (st != ST_OK || !same_image(&img, &got))
                        fail_msg("%s %d x %d: %s", lossless_options[o].method, sides[k][0],
                                 sides[k][1], st ? why.text : "not the same");
                    fits_image_free(&got);
                    buf_free(&b);
                }
                fits_image_free(&img);
            }
}

static void real_frames_survive_every_method(void **state)
{
    (void)state;
    for (int i = 0; i < REAL_FRAMES; i++) {
        struct buf frame = {0};
        struct fits_image img;
        struct fault why = {0};
        if (!read_frame(real_frames[i], &frame))
            continue;
        assert_int_equal(load_hdu(&frame, 1, &img, &why), ST_OK);
        for (int o = 0; o < LOSSLESS_OPTIONS; o++) {
            struct fits_image got;
            struct buf b = {0};
            struct codec_options options = lossless_options[o];
            const struct codec *c = codec_choose(&options, &img, false, false);
            options.method = c->name;
            assert_int_equal(through(&options, &img, &b, &got, &why), ST_OK);
            assert_true(same_image(&img, &got));
            fits_image_free(&got);
            buf_free(&b);
        }
        fits_image_free(&img);
        buf_free(&frame);
    }
}

/* The promise of qstep: a mean error as of a quantiser of that step, never far above, and
 * less than the noise it is allowed to take. Steps at both sides of each change of levels. */
static void lossy_errors_have_the_size_of_qstep(void **state)
{
    (void)state;
    static const double steps[] = {1e-5, 1.4e-5, 2e-5, 2.75e-5, 2.82e-5,
                                   3e-5, 5.5e-5, 1e-4, 1e-3,    0.1};
    static const int sides[][2] = {{64, 64}, {65, 67}, {215, 131}, {326, 67}};
    for (size_t k = 0; k < 4; k++)
        for (int form = 0; form < 3; form++)
            for (int kind = 0; kind < PIX_KINDS; kind++) {
                struct fits_image img;
                make_image(&img, form ? 16 : 8, sides[k][0], sides[k][1], form == 2,
                           (enum pixels)kind);
                for (size_t s = 0; s < 2 * sizeof steps / sizeof *steps; s++) {
                    struct codec_options o = {.method = s % 2 ? "jp2" : "htj2k",
                        .qstep = steps[s / 2]};
                    struct fits_image got;
                    struct buf b = {0};
                    struct fault why = {0};
                    int worst;
                    enum status st = through(&o, &img, &b, &got, &why);
                    if (st != ST_OK)
                        fail_msg("%s %g: %s", o.method, o.qstep, why.text);
                    double step = o.qstep * (form ? 65536 : 256);
                    double rms = sqrt(compare_pixels(&img, &got, &worst));
                    if (rms > 1 + step)
                        fail_msg("%s %g, %d x %d, form %d, kind %d: rms %g at step %g", o.method,
                                 o.qstep, sides[k][0], sides[k][1], form, kind, rms, step);
                    fits_image_free(&got);
                    buf_free(&b);
                }
                fits_image_free(&img);
            }
}

static void larger_steps_make_smaller_members(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        static const double steps[] = {0, 3e-5, 5.5e-5, 1e-4};
        size_t before = SIZE_MAX;
        struct fits_image img;
        make_image(&img, 16, 300, 200, true, PIX_SKY);
        for (size_t i = 0; i < 4; i++) {
            struct codec_options o = {.method = k ? "jp2" : "htj2k", .qstep = steps[i]};
            struct buf b = {0}, again = {0};
            assert_int_equal(codec_find(o.method)->encode(&img, &o, &b, NULL), ST_OK);
            assert_true(b.len < before);
            before = b.len;
            /* The same image and options give the same bytes, behind what is there. */
            assert_true(buf_append(&again, "here", 4));
            assert_int_equal(codec_find(o.method)->encode(&img, &o, &again, NULL), ST_OK);
            assert_int_equal(again.len, b.len + 4);
            assert_memory_equal(again.data + 4, b.data, b.len);
            buf_free(&again);
            buf_free(&b);
        }
        fits_image_free(&img);
    }
}

struct work {
    const struct fits_image *img;
    const struct buf *expected;
    struct codec_options options;
    int failures;
};

static void *code_often(void *arg)
{
    struct work *w = arg;
    for (int n = 0; n < 8; n++) {
        struct buf b = {0};
        struct fits_image got;
        struct fault why;
        w->failures += through(&w->options, w->img, &b, &got, &why) != ST_OK;
        w->failures += b.len != w->expected->len || memcmp(b.data, w->expected->data, b.len) != 0;
        if (n == 3) { /* one thread's bad member is no other's */
            struct fits_image bad = {0};
            fits_header_copy(&bad.header, &w->img->header);
            w->failures +=
                codec_decode(codec_find(w->options.method), b.data, b.len / 2, &bad,
                    &why) != ST_REJECT;
            fits_image_free(&bad);
        }
        fits_image_free(&got);
        buf_free(&b);
    }
    return NULL;
}

static void threads_code_side_by_side(void **state)
{
    (void)state;
    static const struct codec_options options[5] = {
        {.method = "htj2k", .qstep = 3e-5}, {.method = "rice"}, {.method = "jp2", .qstep = 3e-5},
        {.method = "jxl", .reversible = true}, {.method = "quantized", .q = 0.5}};
    struct fits_image img;
    struct buf expected[5] = {{0}, {0}, {0}, {0}, {0}};
    struct work works[10];
    pthread_t threads[10];
    make_image(&img, 16, 200, 150, true, PIX_SKY);
    for (int i = 0; i < 5; i++)
        assert_int_equal(
            codec_find(options[i].method)->encode(&img, &options[i], &expected[i], NULL), ST_OK);
    for (int i = 0; i < 10; i++) {
        works[i] = (struct work){&img, &expected[i % 5], options[i % 5], 0};
        assert_int_equal(pthread_create(&threads[i], NULL, code_often, &works[i]), 0);
    }
    for (int i = 0; i < 10; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(works[i].failures, 0);
    }
    for (int i = 0; i < 5; i++)
        buf_free(&expected[i]);
    fits_image_free(&img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table),
        cmocka_unit_test(lossless_is_said_truly),
        cmocka_unit_test(what_is_accepted),
        cmocka_unit_test(what_is_already_tiled_stays),
        cmocka_unit_test(lossless_means_every_bit),
        cmocka_unit_test(real_frames_survive_every_method),
        cmocka_unit_test(lossy_errors_have_the_size_of_qstep),
        cmocka_unit_test(larger_steps_make_smaller_members),
        cmocka_unit_test(threads_code_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
