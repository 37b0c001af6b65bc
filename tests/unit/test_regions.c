/* The sections of a ccd from its header: DECam's own keys, cameras with fewer, and headers
 * that say nothing or nonsense. */
#include "common/regions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "tests/unit/fits_fixture.h"

static struct camera decam;
static struct fits_image img;
static struct regions r;
static struct fault why;

static int load_decam(void **state)
{
    (void)state;
    struct config_report report = {0};
    return camera_load("decam", "etc/cameras", &decam, &report) ? 0 : -1;
}

static int start(void **state)
{
    (void)state;
    make_image(&img, 16, 216, 104, true, PIX_ZERO);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fits_image_free(&img);
    return 0;
}

static void say(const char *key, const char *value)
{
    assert_true(fits_header_add_text(&img.header, key, value, NULL));
}

static void say_number(const char *key, double value)
{
    assert_true(fits_header_add_real(&img.header, key, value, NULL));
}

static void read_them(void)
{
    memset(&r, 0xee, sizeof r);
    assert_int_equal(regions_read(&decam, &img, &r, &why), ST_OK);
}

static void check(const struct rectangle *is, int64_t x0, int64_t x1, int64_t y0, int64_t y1)
{
    assert_int_equal(is->x0, x0);
    assert_int_equal(is->x1, x1);
    assert_int_equal(is->y0, y0);
    assert_int_equal(is->y1, y1);
}

/* As in a raw DECam header (B reads the left half), a tenth of the size. */
static void two_amplifiers(void **state)
{
    (void)state;
    say("DATASEC", "[7:210,1:100]");
    say("DATASECA", "[109:210,1:100]");
    say("BIASSECA", "[211:214,1:100]");
    say("DATASECB", "[7:108,1:100]");
    say("BIASSECB", "[3:6,1:100]");
    say("BIASSEC", "[3:6,1:100]");
    say_number("SATURATA", 44000);
    say_number("SATURATB", 43000.5);
    say_number("GAINA", 4);
    say_number("GAINB", 4.5);
    say_number("RDNOISEA", 7);
    read_them();
    check(&r.data, 6, 210, 0, 100);
    assert_int_equal(r.sections, 2);
    assert_int_equal(r.overscans, 2);
    check(&r.section[0].data, 108, 210, 0, 100);
    check(&r.section[1].data, 6, 108, 0, 100);
    check(&r.overscan[r.section[0].overscan], 210, 214, 0, 100);
    check(&r.overscan[r.section[1].overscan], 2, 6, 0, 100);
    assert_true(r.saturate == 43000.5);
    assert_true(r.gain == 4.25);
    assert_true(r.read_noise == 7);
}

static void one_amplifier(void **state)
{
    (void)state;
    say("DATASEC", " [ 1 : 200 , 1 : 104 ] ");
    say("BIASSEC", "[216:201,104:1]"); /* read the other way round */
    say_number("GAIN", 1.5);
    read_them();
    check(&r.data, 0, 200, 0, 104);
    assert_int_equal(r.sections, 1);
    check(&r.section[0].data, 0, 200, 0, 104);
    assert_int_equal(r.section[0].overscan, -1);
    assert_int_equal(r.overscans, 1);
    check(&r.overscan[0], 200, 216, 0, 104);
    assert_true(r.gain == 1.5);
    assert_true(isnan(r.saturate));
}

/* Without DATASEC the data are what the amplifiers' sections span. */
static void amplifiers_alone(void **state)
{
    (void)state;
    say("DATASECA", "[11:100,5:104]");
    say("DATASECB", "[101:190,5:104]");
    read_them();
    check(&r.data, 10, 190, 4, 104);
    assert_int_equal(r.sections, 2);
    assert_int_equal(r.overscans, 0);
}

static void a_header_that_says_nothing(void **state)
{
    (void)state;
    read_them();
    check(&r.data, 0, 216, 0, 104);
    assert_int_equal(r.sections, 1);
    assert_int_equal(r.section[0].overscan, -1);
    assert_int_equal(r.overscans, 0);
    assert_true(isnan(r.saturate) && isnan(r.gain) && isnan(r.read_noise));
}

static void cut_to_the_image(void **state)
{
    (void)state;
    say("DATASEC", "[100:99999999999999999999,50:4096]");
    say("BIASSECA", "[1:99,104:105]");
    read_them();
    check(&r.data, 99, 216, 49, 104);
    check(&r.overscan[0], 0, 99, 103, 104);
}

static void nonsense_is_as_if_not_said(void **state)
{
    (void)state;
    static const char *const bad[] = {"",           "[]",          "[1:10]",        "1:10,1:10",
                                      "[0:10,1:10]", "[1:10,-5:9]", "[300:400,1:9]", "[1:10,1:10",
                                      "[a:b,c:d]",  "[1:10,1:10,1:3]", "[1.5:9,1:9]", "[1;9,1;9]",
                                      "[",          "[1:",          "[+:1,1:1]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        say("DATASEC", bad[i]);
        say("DATASECA", bad[i]);
        say("BIASSECA", bad[i]);
        read_them();
        check(&r.data, 0, 216, 0, 104);
        assert_int_equal(r.sections, 1);
        assert_int_equal(r.overscans, 0);
        fits_header_remove(&img.header, "DATASEC");
        fits_header_remove(&img.header, "DATASECA");
        fits_header_remove(&img.header, "BIASSECA");
    }
    say_number("GAINA", -1);
    say_number("SATURATA", 0);
    say("RDNOISEA", "low");
    say("DATASEC", "[1:100,1:104]");
    say("DATASECA", "[1:60,1:104]");
    say("DATASECB", "[50:100,1:104]"); /* over A: one of them is wrong */
    say("BIASSECA", "[90:110,1:104]"); /* over the data */
    read_them();
    assert_int_equal(r.sections, 1);
    assert_int_equal(r.overscans, 0);
    assert_true(isnan(r.saturate) && isnan(r.gain) && isnan(r.read_noise));
}

static void more_keys_than_fit(void **state)
{
    (void)state;
    struct camera many = decam;
    snprintf(many.key_overscan_section, sizeof many.key_overscan_section,
             "S0,S1, S2 ,S3,S4,S5,S6,S7,S8,S9");
    snprintf(many.key_amplifier_section, sizeof many.key_amplifier_section, " , ,");
    many.key_data_section[0] = '\0';
    say("DATASECA", "[1:100,1:104]"); /* the profile names it no longer */
    for (int i = 0; i < 10; i++) {
        char key[8], value[32];
        snprintf(key, sizeof key, "S%d", i);
        snprintf(value, sizeof value, "[%d:%d,1:9]", 10 * i + 1, 10 * i + 10);
        say(key, value);
    }
    assert_int_equal(regions_read(&many, &img, &r, &why), ST_OK);
    check(&r.data, 0, 216, 0, 104);
    assert_int_equal(r.overscans, 0); /* all of the image is data */
    snprintf(many.key_data_section, sizeof many.key_data_section, "TRIMSEC");
    say("TRIMSEC", "[1:216,10:104]");
    assert_int_equal(regions_read(&many, &img, &r, &why), ST_OK);
    assert_int_equal(r.overscans, REGIONS_MAX);
}

static void an_image_without_pixels(void **state)
{
    (void)state;
    struct fits_image none = {.bitpix = 16};
    assert_int_equal(regions_read(&decam, &none, &r, &why), ST_REJECT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, end)
    const struct CMUnitTest tests[] = {
        T(two_amplifiers), T(one_amplifier), T(amplifiers_alone), T(a_header_that_says_nothing),
        T(cut_to_the_image), T(nonsense_is_as_if_not_said), T(more_keys_than_fit),
        T(an_image_without_pixels),
    };
    return cmocka_run_group_tests(tests, load_decam, NULL);
}
