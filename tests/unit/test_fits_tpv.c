/* TAN-SIP to TPV: wcslib, which knows both, finds every pixel of a grid, corners and beyond
 * included, at the same sky position within 1 mas; and what is not whole is refused by name. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <wcslib/wcs.h>
#include <wcslib/wcshdr.h>

#include "common/fits_private.h"
#include "common/fits_tpv.h"
#include "tests/unit/fits_fixture.h"

#define LINES 40

/* A header's cards, NULL-ended; `but` stands for the first card that begins like it, "-KEY"
 * takes that card away. */
struct cards {
    const char *line[LINES];
};

static const struct cards plain = {{"CTYPE1  = 'RA---TAN-SIP'       / RA", "CTYPE2  = 'DEC--TAN-SIP'",
    "CRPIX1  = 1024.5", "CRPIX2  = 2048.5", "CRVAL1  = 150.1", "CRVAL2  = -35.2",
    "CD1_1   = 1.1E-6", "CD1_2   = 7.28E-5", "CD2_1   = -7.3E-5", "CD2_2   = 9.0E-7",
    "A_ORDER = 3", "A_0_2   = 2.1E-6", "A_1_1   = -3.3E-7", "A_2_0   = 5.1E-6", "A_3_0   = -1.2E-10",
    "A_1_2   = 3.1E-10", "B_ORDER = 3", "B_0_2   = -2.9E-6", "B_1_1   = 4.4E-6", "B_2_0   = 1.0E-7",
    "B_0_3   = -8.8E-11", "B_2_1   = 2.2E-10", "A_DMAX  = 12.5", "AP_ORDER= 2", "AP_2_0  = -5.1E-6",
    "BP_ORDER= 2", "BP_1_1  = -4.4E-6", "OBJECT  = 'Alpha'"}};

static struct cards with(const struct cards *base, ...)
{
    struct cards out = *base;
    va_list ap;
    va_start(ap, base);
    for (const char *but; (but = va_arg(ap, const char *));) {
        bool gone = but[0] == '-';
        const char *key = but + gone;
        size_t len = gone ? strlen(key) : 8;
        int at = 0, end = 0;
        while (out.line[end])
            end++;
        while (out.line[at] && strncmp(out.line[at], key, len) != 0)
            at++;
        if (gone)
            memmove(&out.line[at], &out.line[at + 1], sizeof out.line[0] * (size_t)(end - at));
        else
            out.line[at] = but;
    }
    va_end(ap);
    return out;
}
#define WITH(base, ...) with(&(base), __VA_ARGS__, NULL)

static void header_of(const struct cards *c, struct fits_header *h)
{
    struct buf b = {0};
    struct fault why;
    card(&b, "SIMPLE  =                    T");
    card(&b, "BITPIX  =                   16");
    card(&b, "NAXIS   =                    2");
    card(&b, "NAXIS1  =                    8");
    card(&b, "NAXIS2  =                    4");
    for (int i = 0; c->line[i]; i++)
        card(&b, "%s", c->line[i]);
    end_card(&b);
    assert_int_equal(fits_header_parse(b.data, b.len, h, &why), ST_OK);
    buf_free(&b);
}

/* wcslib's view of a header; free with drop_wcs. */
static struct wcsprm *read_wcs(const struct fits_header *h, int *count)
{
    struct wcsprm *wcs = NULL;
    struct buf b = {0};
    int rejected;
    assert_true(fits_header_write(h, &b));
    assert_int_equal(wcspih((char *)b.data, (int)(b.len / 80), WCSHDR_all, 0, &rejected, count,
                            &wcs), 0);
    assert_int_equal(*count, 1);
    int bad = wcsset(wcs);
    if (bad)
        fail_msg("wcslib refuses the header: %s", wcs_errmsg[bad]);
    buf_free(&b);
    return wcs;
}

/* v: the direction, and the third axis's value or 0. */
static void sky(struct wcsprm *wcs, double x, double y, double v[4])
{
    double pixel[3] = {x, y, 3}, image[3], phi, theta, world[3] = {0};
    int stat;
    assert_int_equal(wcsp2s(wcs, 1, wcs->naxis, pixel, image, &phi, &theta, world, &stat), 0);
    v[3] = world[2];
    double lng = world[0] * M_PI / 180, lat = world[1] * M_PI / 180;
    v[0] = cos(lat) * cos(lng);
    v[1] = cos(lat) * sin(lng);
    v[2] = sin(lat);
}

static double apart_mas(const double a[3], const double b[3])
{
    double d = sqrt((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]) +
                    (a[2] - b[2]) * (a[2] - b[2]));
    return d * 180 / M_PI * 3600e3;
}

static void assert_same_sky(const struct cards *c)
{
    struct fits_header in, out;
    struct fault why = {0};
    bool converted;
    int n_in, n_out;
    double worst = 0;
    header_of(c, &in);
    if (fits_tpv_header(&in, &out, &converted, &why) != ST_OK)
        fail_msg("refused: %s", why.text);
    assert_true(converted);
    struct wcsprm *sip = read_wcs(&in, &n_in), *tpv = read_wcs(&out, &n_out);
    for (double x = 0.5; x <= 2048.5; x += 128)
        for (double y = 0.5; y <= 4096.5; y += 128) {
            double a[4], b[4];
            sky(sip, x, y, a);
            sky(tpv, x, y, b);
            if (a[3] != b[3])
                fail_msg("the third axis: %.17g became %.17g", a[3], b[3]);
            double apart = apart_mas(a, b);
            if (!(apart <= worst)) /* NaN, too */
                worst = apart;
        }
    if (!(worst < 0.001))
        fail_msg("%g mas apart", worst);
    wcsvfree(&n_in, &sip);
    wcsvfree(&n_out, &tpv);
    fits_header_free(&in);
    fits_header_free(&out);
}

static void every_pixel_stays_where_it_was(void **state)
{
    (void)state;
    assert_same_sky(&plain);
    struct cards c = WITH(plain, "A_ORDER = 1", "B_ORDER = 2", "-A_0_2", "-A_1_1", "-A_2_0", "-A_3_0",
                          "-A_1_2", "-B_0_3", "-B_2_1");
    assert_same_sky(&c);
    c = WITH(plain, "A_ORDER = 7", "B_ORDER = 5", "A_4_3   = 1.0E-21", "A_0_7   = -3.0E-22",
             "B_5_0   = 2.0E-16", "A_2_4   = 1.0E-18", "B_2_2   = -3.0E-13");
    assert_same_sky(&c);
    c = WITH(plain, "CRVAL2  = 89.99", "CTYPE1  = 'GLON-TAN-SIP'", "CTYPE2  = 'GLAT-TAN-SIP'",
             "LONPOLE = 170.0");
    assert_same_sky(&c);
    c = WITH(plain, "-CD1_1", "-CD1_2", "-CD2_1", "-CD2_2", "CDELT1  = -7.3E-5", "CDELT2  = 7.2E-5",
             "CROTA2  = 31.0");
    assert_same_sky(&c);
    c = WITH(plain, "-CD1_1", "-CD1_2", "-CD2_1", "-CD2_2", "CDELT1  = -7.3E-5", "CDELT2  = 7.2E-5",
             "PC1_1   = 0.9", "PC1_2   = 0.3", "PC2_1   = -0.35");
    assert_same_sky(&c);
    c = WITH(plain, "CRPIX1  = 9000.5", "CRPIX2  = -7000.5");
    assert_same_sky(&c);
}

/* The standard allows CROTAi beside nothing that TPV has. */
static void an_old_rotation_beside_a_matrix_goes(void **state)
{
    (void)state;
    struct cards c = WITH(plain, "CDELT1  = -7.3E-5", "CDELT2  = 7.2E-5", "CROTA1  = 31.0",
                          "CROTA2  = 31.0");
    struct fits_header in, out;
    struct fault why;
    bool converted;
    assert_same_sky(&c);
    header_of(&c, &in);
    assert_int_equal(fits_tpv_header(&in, &out, &converted, &why), ST_OK);
    assert_true(fits_header_find(&out, "CROTA1") < 0 && fits_header_find(&out, "CROTA2") < 0);
    assert_true(fits_header_find(&out, "CDELT1") >= 0);
    fits_header_free(&in);
    fits_header_free(&out);
}

static void a_third_axis_keeps_its_scale(void **state)
{
    (void)state;
    struct cards base = WITH(plain, "-CD1_1", "-CD1_2", "-CD2_1", "-CD2_2", "CDELT1  = -7.3E-5",
                             "CDELT2  = 7.2E-5", "CTYPE3  = 'WAVE'", "CRVAL3  = 5.0E-7",
                             "CRPIX3  = 1.0");
    assert_same_sky(&base); /* whose CDELT3 is 1 */
    struct cards c = WITH(base, "CDELT3  = 2.0E-9", "PC1_1   = 0.9", "PC1_2   = 0.3", "PC3_3   = 1.5");
    assert_same_sky(&c);
    c = WITH(base, "CDELT3  = 2.0E-9", "CROTA2  = 31.0");
    assert_same_sky(&c);
    c = WITH(plain, "CTYPE3  = 'WAVE'", "CRVAL3  = 5.0E-7", "CRPIX3  = 1.0", "CD3_3   = 2.0E-9");
    assert_same_sky(&c);
}

static void another_description_has_its_own_pv(void **state)
{
    (void)state;
    struct cards c = WITH(plain, "CTYPE1A = 'RA---TPV'", "PV1_1A  = 1.0", "PV1_12B = 0.1");
    struct fits_header in, out;
    struct fault why = {0};
    bool converted;
    double value;
    header_of(&c, &in);
    if (fits_tpv_header(&in, &out, &converted, &why) != ST_OK)
        fail_msg("refused: %s", why.text);
    assert_true(converted);
    assert_true(fits_header_real(&out, "PV1_1A", &value) && fits_header_real(&out, "PV1_12B", &value));
    fits_header_free(&in);
    fits_header_free(&out);
}

/* Who restores the image's header would make it CHECKSUM again. */
static void a_tiled_images_old_sum_goes(void **state)
{
    (void)state;
    struct cards c = WITH(plain, "ZHECKSUM= 'abcdefghijklmnop'", "ZDATASUM= '12345   '");
    struct fits_header in, out;
    struct fault why;
    bool converted;
    header_of(&c, &in);
    assert_int_equal(fits_tpv_header(&in, &out, &converted, &why), ST_OK);
    assert_true(fits_header_find(&out, "ZHECKSUM") < 0 && fits_header_find(&out, "ZDATASUM") >= 0);
    fits_header_free(&in);
    fits_header_free(&out);
}

static void the_rest_of_the_header_stays(void **state)
{
    (void)state;
    struct fits_header in, out;
    struct fault why;
    bool converted;
    char text[72];
    header_of(&plain, &in);
    assert_int_equal(fits_tpv_header(&in, &out, &converted, &why), ST_OK);
    assert_memory_equal(out.cards + 5 * 80, "CTYPE1  = 'RA---TPV'           / RA", 35);
    for (size_t i = 0; i < out.count; i++) {
        const char *c = out.cards + i * 80;
        assert_false(strncmp(c, "A_", 2) == 0 || strncmp(c, "B_", 2) == 0);
        assert_false(strncmp(c, "AP_", 3) == 0 || strncmp(c, "BP_", 3) == 0);
    }
    assert_true(fits_header_text(&out, "OBJECT", text, sizeof text));
    assert_string_equal(text, "Alpha");
    assert_true(fits_header_find(&out, "PV1_0") == 15);
    assert_true(fits_header_find(&out, "PV1_3") < 0 && fits_header_find(&out, "PV2_11") < 0);
    fits_header_free(&in);
    in = out;
    assert_int_equal(fits_tpv_header(&in, &out, &converted, &why), ST_OK);
    assert_false(converted); /* a second time there is nothing to do */
    assert_null(out.cards);
    fits_header_free(&in);
}

static void assert_refused(struct cards c, const char *words)
{
    struct fits_header in, out;
    struct fault why = {0};
    bool converted;
    header_of(&c, &in);
    assert_int_equal(fits_tpv_header(&in, &out, &converted, &why), ST_REJECT);
    if (!strstr(why.text, words))
        fail_msg("no '%s' in: %s", words, why.text);
    assert_false(converted);
    assert_null(out.cards);
    fits_header_free(&in);
}

static void what_is_not_whole_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused(WITH(plain, "-A_ORDER"), "A_ORDER is missing");
    assert_refused(WITH(plain, "-B_ORDER"), "B_ORDER is missing");
    assert_refused(WITH(plain, "A_ORDER = 99"), "A_ORDER is no whole number from 0 to 9");
    assert_refused(WITH(plain, "A_ORDER = -1"), "A_ORDER is no whole number");
    assert_refused(WITH(plain, "A_ORDER = 2.5"), "A_ORDER is no whole number");
    assert_refused(WITH(plain, "A_ORDER = 2"), "is beyond A_ORDER = 2");
    assert_refused(WITH(plain, "A_2_0   = 'x'"), "A_2_0 is no number");
    assert_refused(WITH(plain, "A_2_0   = 1E999"), "A_2_0 is no number");
    assert_refused(WITH(plain, "A_2_0   ="), "A_2_0 is no number");
    assert_refused(WITH(plain, "A_ORDER = 8", "A_4_4   = 1.0E-20"), "TPV ends at 7");
    assert_refused(WITH(plain, "OBJECT  = 'x'", "B_DMAX  = 1", "-OBJECT", "A_1_0   = 1", "-CRVAL1"),
                   "CRVAL1 is missing");
    assert_refused(WITH(plain, "-CRPIX2"), "CRPIX2 is missing");
    assert_refused(WITH(plain, "-CTYPE1"), "no CTYPE1");
    assert_refused(WITH(plain, "CTYPE2  = 'DEC--TAN'"), "CTYPE2 is 'DEC--TAN'");
    assert_refused(WITH(plain, "CTYPE1  = 'RA---SIN-SIP'"), "RA---SIN-SIP");
    assert_refused(WITH(plain, "CTYPE1  = 'DEC--TAN-SIP'", "CTYPE2  = 'RA---TAN-SIP'"), "longitude");
    assert_refused(WITH(plain, "CUNIT1  = 'arcsec'"), "CUNIT1 is 'arcsec'");
    assert_refused(WITH(plain, "CD1_1   = 0", "CD1_2   = 0"), "cannot be inverted");
    assert_refused(WITH(plain, "CD1_1   = T"), "CD1_1 is no number");
    assert_refused(WITH(plain, "PC1_1   = 1"), "only one of them");
    assert_refused(WITH(plain, "-CD1_1", "-CD1_2", "-CD2_1", "-CD2_2"), "scale is missing");
    assert_refused(WITH(plain, "PV1_1   = 1.0"), "PV1_1 stands beside");
    assert_refused(WITH(plain, "CD1_3   = 1.0E-7"), "CD1_3 mixes the sky's axes");
    assert_refused(WITH(plain, "-CD1_1", "-CD1_2", "-CD2_1", "-CD2_2", "CDELT1  = -7.3E-5",
                        "CDELT2  = 7.2E-5", "CTYPE3  = 'WAVE'", "PC3_2   = 0.1"), "PC3_2 mixes");
    assert_refused(WITH(plain, "CPDIS1  = 'LOOKUP'"), "second distortion");
    assert_refused(WITH(plain, "CTYPE1A = 'RA---TAN-SIP'"), "CTYPE1A");
    assert_refused(WITH(plain, "A_2_0   = 1E300", "CD1_1   = 1E-5", "CD2_2   = 1E300"), "");
    struct cards twice = plain;
    for (int i = 0; i < LINES; i++)
        if (!twice.line[i]) {
            twice.line[i] = "A_2_0   = 5.0E-6";
            break;
        }
    assert_refused(twice, "A_2_0 is there twice");
}

static void headers_without_sip_are_left_alone(void **state)
{
    (void)state;
    struct cards tan = {{"CTYPE1  = 'RA---TAN'", "CTYPE2  = 'DEC--TAN'", "CRVAL1  = 1.0"}};
    struct cards tricky = {{"A_B_C   = 1", "A_ORDERS= 3", "AP_1_1X = 2", "B_10_1  = 3", "BAND    = 'g'"}};
    const struct cards *both[] = {&tan, &tricky};
    for (int i = 0; i < 2; i++) {
        struct fits_header in, out;
        struct fault why;
        bool converted = true;
        header_of(both[i], &in);
        assert_int_equal(fits_tpv_header(&in, &out, &converted, &why), ST_OK);
        assert_false(converted);
        fits_header_free(&in);
    }
}

static void sums_are_right(void **state)
{
    (void)state;
    struct cards c = plain;
    struct fits_image img = {0};
    struct fits_header in, changed;
    struct buf file = {0}, out = {0};
    struct fault why = {0};
    bool converted;
    header_of(&c, &img.header);
    assert_int_equal(fits_image_shape(&img, &why), ST_OK);
    img.data = malloc(img.size);
    fill_pixels(&img, PIX_RANDOM);
    assert_int_equal(fits_image_file(NULL, &img, NULL, &file, &why), ST_OK);
    size_t head = file.len - FITS_BLOCK;
    uint32_t sum = fits_sum(file.data + head, FITS_BLOCK, 0);
    assert_int_equal(fits_check_head(file.data, head, sum, &why), ST_OK);
    assert_int_equal(fits_check_head(file.data, head, sum + 1, &why), ST_REJECT);
    assert_int_equal(fits_header_parse(file.data, head, &in, &why), ST_OK);
    assert_int_equal(fits_tpv_header(&in, &changed, &converted, &why), ST_OK);
    assert_true(buf_append(&out, "before", 6));
    assert_true(fits_tpv_write(&changed, sum, &out));
    assert_int_equal((out.len - 6) % FITS_BLOCK, 0);
    assert_true(buf_append(&out, file.data + head, FITS_BLOCK));
    if (fits_check_sums(out.data + 6, out.len - 6, &why) != ST_OK)
        fail_msg("%s", why.text);
    file.data[5 * 80 + 30] ^= 1; /* a comment */
    assert_int_equal(fits_check_head(file.data, head, sum, &why), ST_REJECT);
    fits_image_free(&img);
    fits_header_free(&in);
    fits_header_free(&changed);
    buf_free(&file);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pixel_stays_where_it_was),
        cmocka_unit_test(an_old_rotation_beside_a_matrix_goes),
        cmocka_unit_test(a_third_axis_keeps_its_scale),
        cmocka_unit_test(another_description_has_its_own_pv),
        cmocka_unit_test(a_tiled_images_old_sum_goes),
        cmocka_unit_test(the_rest_of_the_header_stays),
        cmocka_unit_test(what_is_not_whole_is_refused_by_name),
        cmocka_unit_test(headers_without_sip_are_left_alone),
        cmocka_unit_test(sums_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
