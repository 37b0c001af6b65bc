/* The weight map is the raw sky's noise: the same on both amplifiers whatever their bias, less
 * weight where the background is bright, none outside the data section or where pixels are
 * saturated or no numbers; sources weigh no less than the sky around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>

#include <cmocka.h>

#include "pull/weight.h"
#include "tests/unit/unpack_fixture.h"

#define W 320
#define H 160
#define EDGE 32      /* columns of overscan at the left */
#define MIDDLE 176   /* the second amplifier's first column */
#define NOISE 3.0
#define GAIN 4.0
#define BRIGHT 40    /* ADU more in the lower right corner, x >= 240, y < 80 */

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

static void usual_keys(struct camera *c)
{
    struct config_report r = {0};
    assert_true(config_load(NULL, camera_settings, c, &r));
}

static int sky_at(int x, int y)
{
    int bias = x < EDGE ? 900 : x < MIDDLE ? 1534 : 1998;
    return bias + (x >= 240 && y < 80 ? BRIGHT : 0) + ((x * 7 + y * 13) % 5 - 2);
}

/* Special pixels. */
static int adu_at(int x, int y)
{
    if (x == 100 && y == 50)
        return 43000; /* saturated */
    if (x == 101 && y == 50)
        return 42990; /* so near that its raw value may have been */
    if (x == 102 && y == 50)
        return 30000; /* a star */
    return sky_at(x, y);
}

/* A delivered file; each text replaces the card of its keyword, or comes behind ("-KEY": none). */
static void delivered(const char *const *changes, int bitpix, struct buf *out)
{
    static const char *const cards[] = {
        "SIMPLE  =                    T", "BITPIX  =                   16",
        "NAXIS   =                    2", "NAXIS1  =                  320",
        "NAXIS2  =                  160", "CCDNUM  =                    7",
        "DATASEC = '[33:320,1:150]'",     "DATASECA= '[33:176,1:150]'",
        "DATASECB= '[177:320,1:150]'",    "SATURATE=              43000.0",
        "BZERO   =                32768", "BSCALE  =                    1",
        "CTYPE1  = 'RA---TPV'",           "CTYPE2  = 'DEC--TPV'",
        "CRVAL1  =               127.53", "CRVAL2  =               -12.66",
        "CRPIX1  =                 10.0", "CRPIX2  =                 20.0",
        "CD1_1   =                  0.0", "CD1_2   =              7.3E-05",
        "CD2_1   =              7.3E-05", "CD2_2   =                  0.0",
        "PV1_10  =              0.00123", "RADESYS = 'ICRS'",
        "CDELTA  =                  1.0", "COMMENT of the ccd",
        "SFNOISE =                  3.0", "SFGAIN  =                  4.0",
        "SFRDN   =                 1.75", "SFMAXERR=                 12.0",
        "SFSRC   = 'a.fits'",             "SFHDU   =                    3", NULL};
    struct fits_image img = {.bitpix = bitpix, .naxis = 2, .naxes = {W, H}};
    struct buf b = {0};
    for (const char *const *card = cards; *card; card++) {
        const char *said = *card;
        for (const char *const *c = changes; c && *c && said; c++)
            if (memcmp(*c + (**c == '-'), *card, 8) == 0)
                said = **c == '-' ? NULL : *c;
        if (said && memcmp(said, "BITPIX", 6) != 0)
            golden_card(&b, said);
    }
    golden_card(&b, "END");
    assert_int_equal(fits_header_parse(b.data, b.len, &img.header, NULL), ST_OK);
    img.size = (size_t)(W * H * abs(bitpix) / 8);
    img.data = malloc(img.size);
    for (int i = 0; i < W * H; i++) {
        int adu = adu_at(i % W, i / W) - 32768;
        float real = i == 60 * W + 200 ? NAN : (float)adu;
        uint32_t bits;
        memcpy(&bits, &real, 4);
        bits = bitpix == 16 ? (uint32_t)(uint16_t)adu << 16 : bits;
        for (int k = 0; k < abs(bitpix) / 8; k++)
            img.data[i * abs(bitpix) / 8 + k] = (unsigned char)(bits >> (24 - 8 * k));
    }
    assert_int_equal(fits_image_file(NULL, &img, NULL, out, NULL), ST_OK);
    fits_image_free(&img);
    buf_free(&b);
}

static enum status map_of(const char *const *changes, int bitpix, struct fits_image *map,
                          struct fault *why)
{
    struct camera c;
    struct buf file = {0}, out = {0};
    char path[4096];
    usual_keys(&c);
    delivered(changes, bitpix, &file);
    enum status s = weight_make(&file, &c, &out, why);
    if (s == ST_OK) {
        assert_int_equal(fs_write_file(scratch_path(&dir, "map.fits", path), out.data, out.len,
                                       false, why), ST_OK);
        verify(path);
        load(path, map);
    } else {
        assert_int_equal(out.len, 0);
    }
    buf_free(&out);
    buf_free(&file);
    return s;
}

static double weight_at(const struct fits_image *map, int x, int y)
{
    uint32_t bits;
    float weight;
    memcpy(&bits, map->data + 4 * (y * W + x), 4);
    bits = __builtin_bswap32(bits);
    memcpy(&weight, &bits, 4);
    return (double)weight;
}

static void assert_variance(const struct fits_image *map, int x, int y, double wanted)
{
    double weight = weight_at(map, x, y);
    if (!(fabs(1 / weight / wanted - 1) < 0.02))
        fail_msg("at %d, %d: variance %g, not %g", x, y, 1 / weight, wanted);
}

static void the_noise_is_the_raw_skys(void **state)
{
    (void)state;
    struct fits_image map;
    struct fault why;
    const double quiet = NOISE * NOISE, bright = quiet + BRIGHT / GAIN;
    if (map_of(NULL, 16, &map, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_int_equal(map.bitpix, -32);
    assert_int_equal(map.naxes[0], W);
    assert_variance(&map, 60, 20, quiet);
    assert_variance(&map, MIDDLE, 140, quiet); /* 464 ADU above the other amplifier */
    assert_variance(&map, 300, 20, bright);
    assert_variance(&map, 102, 50, quiet);     /* a source */
    fits_image_free(&map);
}

static void unusable_pixels_weigh_nothing(void **state)
{
    (void)state;
    struct fits_image map;
    struct fault why;
    assert_int_equal(map_of(NULL, 16, &map, &why), ST_OK);
    assert_true(weight_at(&map, 100, 50) == 0);
    assert_true(weight_at(&map, 101, 50) == 0);
    int outside = 0, inside = 0;
    for (int i = 0; i < W * H; i++) {
        bool out = i % W < EDGE || i / W >= 150;
        outside += out && weight_at(&map, i % W, i / W) != 0;
        inside += !out && weight_at(&map, i % W, i / W) > 0;
    }
    assert_int_equal(outside, 0);
    assert_int_equal(inside, (W - EDGE) * 150 - 2);
    fits_image_free(&map);
    /* Floats, one of them no number; no error is stated: the near one is a star's. */
    const char *const plain[] = {"-BZERO  ", "-SFMAXERR", "-SATURATE", NULL};
    assert_int_equal(map_of(plain, -32, &map, &why), ST_OK);
    assert_true(weight_at(&map, 200, 60) == 0);
    assert_true(weight_at(&map, 101, 50) > 0);
    assert_variance(&map, 60, 20, NOISE * NOISE);
    fits_image_free(&map);
}

static void without_a_gain_it_is_the_same_everywhere(void **state)
{
    (void)state;
    const char *const changes[] = {"-SFGAIN  ", NULL};
    struct fits_image map;
    struct fault why;
    assert_int_equal(map_of(changes, 16, &map, &why), ST_OK);
    assert_variance(&map, 60, 20, NOISE * NOISE);
    assert_variance(&map, 300, 20, NOISE * NOISE);
    assert_false(fits_header_find(&map.header, "SFGAIN") >= 0);
    fits_image_free(&map);
}

/* A corner darker by more than the photons that the noise holds cannot have less than the read
 * noise: in this section the bright part is the rule. */
static void the_read_noise_is_the_least(void **state)
{
    (void)state;
    const char *const changes[] = {"DATASECB= '[225:320,1:100]'", NULL};
    struct fits_image map;
    struct fault why;
    assert_int_equal(map_of(changes, 16, &map, &why), ST_OK);
    assert_true(1 / weight_at(&map, 300, 20) > 8);
    assert_variance(&map, 230, 90, 1.75 * 1.75);
    assert_true(weight_at(&map, 200, 20) == 0); /* no amplifier's */
    fits_image_free(&map);
}

static void the_cards_are_the_ccds_own(void **state)
{
    (void)state;
    struct fits_image map;
    struct fault why;
    assert_int_equal(map_of(NULL, 16, &map, &why), ST_OK);
    bool yes = false;
    assert_true(fits_header_logical(&map.header, "SFWEIGHT", &yes) && yes);
    assert_text(&map.header, "CTYPE1", "RA---TPV");
    assert_number(&map.header, "CRVAL2", -12.66);
    assert_number(&map.header, "CD1_2", 7.3e-05);
    assert_number(&map.header, "PV1_10", 0.00123);
    assert_number(&map.header, "CCDNUM", 7);
    assert_number(&map.header, "SFNOISE", 3);
    assert_text(&map.header, "SFSRC", "a.fits");
    /* What would make it pass for the ccd, or change its numbers. */
    static const char *const none[] = {"BZERO", "BSCALE", "SFHDU", "SATURATE", "CDELTA", "COMMENT",
                                       NULL};
    for (const char *const *key = none; *key; key++)
        if (fits_header_find(&map.header, *key) >= 0)
            fail_msg("%s is there", *key);
    fits_image_free(&map);
}

static void without_noise_there_is_no_map(void **state)
{
    (void)state;
    const char *const none[] = {"-SFNOISE ", NULL}, *const zero[] = {"SFNOISE = 0.0", NULL};
    struct fits_image map;
    struct fault why = {0};
    assert_int_equal(map_of(none, 16, &map, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "the noise of its raw sky was not measured"));
    assert_int_equal(map_of(zero, 16, &map, &why), ST_REJECT);
    struct camera c;
    struct buf junk = {0}, out = {0};
    usual_keys(&c);
    assert_true(buf_append(&junk, "no FITS", 7));
    assert_int_equal(weight_make(&junk, &c, &out, &why), ST_REJECT);
    buf_free(&junk);
    buf_free(&out);
}

/* Through unpack_bundle: beside the ccd, and a bundle that says nothing has ccds only. */
static void unpack_writes_it_beside_the_ccd(void **state)
{
    (void)state;
    char source[4096], bundle[4096], to[4096], path[4096];
    struct unpack_report r;
    struct fault why = {0};
    struct camera c;
    usual_keys(&c);
    make_source(scratch_path(&dir, "beside.fits", source));
    make_bundle(source, "rice", scratch_path(&dir, "beside.tar", bundle));
    struct unpack_options o = {.to = scratch_path(&dir, "beside", to), .weights = &c};
    assert_int_equal(unpack_bundle(bundle, &o, &r, &why), ST_OK);
    assert_int_equal(r.done, 3);
    assert_int_equal(r.weightless, 2); /* its ccds; not the table */
    assert_string_equal(r.ccds[0].weight, "");
    assert_int_equal(r.ccds[0].weightless.grade, ST_REJECT);
    unpack_report_free(&r);
    struct manifest m = {0};
    struct bundle_writer *w = NULL;
    struct buf bytes = {0}, whole = {0};
    char sha256[DIGEST_HEX];
    int64_t size;
    golden_facts(&m);
    delivered(NULL, 16, &bytes);
    struct member one = {.role = MEMBER_IMAGE, .hdu = 0, .ccd = 7, .codec = "original",
                         .raw_size = W * H * 2, .measured = measures_none};
    one.measured.noise = NOISE;
    assert_int_equal(bundle_create(bundle, GOLDEN_MTIME, &w, &why), ST_OK);
    add(w, &m, &one, &bytes, ".hdu");
    memcpy(m.source_sha256, one.sha256, DIGEST_HEX);
    assert_int_equal(golden_add_manifest(w, &m, &why), ST_OK);
    assert_int_equal(bundle_finish(&w, sha256, &size, &why), ST_OK);
    if (unpack_bundle(bundle, &o, &r, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.weightless, 0);
    assert_string_equal(r.ccds[0].weight,
                        scratch_path(&dir, "beside/" ROOT "_7.weight.fits", path));
    verify(path);
    unpack_report_free(&r);
    /* One of another content is left alone, and that is said. */
    assert_int_equal(fs_write_file(path, "mine", 4, false, &why), ST_OK);
    assert_int_equal(unpack_bundle(bundle, &o, &r, &why), ST_OK);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.weightless, 1);
    assert_non_null(strstr(r.ccds[0].weightless.text, "is there already with other content"));
    unpack_report_free(&r);
    buf_free(&whole);
    buf_free(&bytes);
    manifest_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_noise_is_the_raw_skys),
        cmocka_unit_test(unusable_pixels_weigh_nothing),
        cmocka_unit_test(without_a_gain_it_is_the_same_everywhere),
        cmocka_unit_test(the_read_noise_is_the_least),
        cmocka_unit_test(the_cards_are_the_ccds_own),
        cmocka_unit_test(without_noise_there_is_no_map),
        cmocka_unit_test(unpack_writes_it_beside_the_ccd),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
