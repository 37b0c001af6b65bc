/* Members of the codec `quantized` as others see them: funpack and astropy read what our own
 * decoder reads, fitsverify finds nothing to say, and damage or forgery is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/fits_private.h"
#include "tests/unit/quantized_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch folder;
static const struct codec_options usual = {.method = "quantized", .q = 0.7, .noise = 2};

/* ---- frames of every kind ---- */

enum oddity { PLAIN, WITH_NAN, WITH_ZEROS, WITH_BLANK, SCALED, FLAT, HUGE_SPAN, INFINITE, PRIMARY,
              KINDS };

static void make_odd(struct fits_image *img, int bitpix, enum oddity kind)
{
    make_sky(img, bitpix, 310, 250, kind == PLAIN && bitpix == 16);
    if (kind == WITH_BLANK)
        fits_header_add_int(&img->header, "BLANK", bitpix == 8 ? 0 : -999, NULL);
    if (kind == SCALED && bitpix > 0) {
        fits_header_add_real(&img->header, "BSCALE", 0.25, NULL);
        fits_header_add_real(&img->header, "BZERO", 100, NULL);
    }
    if (kind == PRIMARY)
        memcpy(img->header.cards, "SIMPLE  =                    T / a primary", 42);
    fits_header_add_text(&img->header, "OBJECT", "it's a field", "a card to keep");
    for (size_t i = 0; i < pixels(img); i += 3) {
        bool last = i > pixels(img) / 2;
        if (kind == WITH_NAN && bitpix < 0 && last)
            put_value(img, i, (double)NAN);
        if (kind == WITH_ZEROS)
            put_value(img, i, 0);
        if (kind == WITH_BLANK && bitpix > 0)
            put_value(img, i, bitpix == 8 ? 0 : -999);
        if (kind == HUGE_SPAN && bitpix < 0 && last)
            put_value(img, i, 3e20);
        if (kind == INFINITE && bitpix < 0 && last)
            put_value(img, i, (double)INFINITY);
        if (kind == FLAT && !last)
            for (size_t k = i; k < i + 3 && k < pixels(img); k++)
                put_value(img, k, 77);
    }
}

/* ---- other readers ---- */

/* What another program made of a member: our decoder's values, but for rounding to whole
 * numbers, and NaN for blank pixels. */
static void assert_agrees(const struct fits_image *ours, const struct fits_image *theirs)
{
    double scale = 1, zero = 0;
    int64_t blank = INT64_MAX;
    fits_header_real(&ours->header, "BSCALE", &scale);
    fits_header_real(&ours->header, "BZERO", &zero);
    fits_header_int(&ours->header, "BLANK", &blank);
    assert_true(theirs->bitpix < 0);
    assert_int_equal(pixels(ours), pixels(theirs));
    for (size_t i = 0; i < pixels(ours); i++) {
        double a = value(ours, i), b = value(theirs, i), most = ours->bitpix > 0 ? 0.500001 : 0;
        bool undefined = a != a || isinf(a) || /* of which cfitsio makes NaN */
                         (ours->bitpix > 0 && a == (double)blank);
        double stored = (b - zero) / scale;
        if (ours->bitpix == 8) /* which ours is cut to */
            stored = stored < 0 ? 0 : stored > 255 ? 255 : stored;
        if (undefined != (b != b) || fabs(stored - a) > most)
            fail_msg("BITPIX %d, pixel %zu: ours %.17g, theirs %.17g", ours->bitpix, i, a, b);
    }
}

static void assert_funpack_agrees(const char *packed, const struct fits_image *ours, bool primary)
{
    char plain[4096], text[72];
    struct buf b = {0};
    struct fits_image theirs;
    struct fault why = {0};
    scratch_path(&folder, "unpacked.fits", plain);
    unlink(plain);
    assert_int_equal(RUN("funpack", "-O", plain, packed), 0);
    assert_int_equal(fs_read_file(plain, 1u << 26, &b, &why), ST_OK);
    if (load_hdu(&b, primary ? 0 : 1, &theirs, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_agrees(ours, &theirs);
    assert_true(fits_header_text(&theirs.header, "OBJECT", text, sizeof text));
    assert_string_equal(text, "it's a field");
    assert_true(fits_header_find(&theirs.header, "BSCALE") < 0);
    fits_image_free(&theirs);
    buf_free(&b);
}

/* astropy sees the same numbers in the member as in what funpack made of it. Undefined pixels
 * aside: Debian's 5.2.1 takes their code for a number, in fpack's own files as well. */
static void assert_astropy_agrees(const char *packed)
{
    static const char *const script =
        "import sys, warnings; import numpy as np\n"
        "try:\n"
        "    from astropy.io import fits\n"
        "except ImportError:\n"
        "    sys.exit(77)\n"
        "warnings.simplefilter('error')\n"
        "a = fits.open(sys.argv[1], checksum=True)\n"
        "b = [h for h in fits.open(sys.argv[2]) if h.data is not None][0]\n"
        "assert isinstance(a[1], fits.CompImageHDU) and len(a) == 2\n"
        "defined = ~np.isnan(b.data)\n"
        "assert a[1].data.dtype.kind == 'f' and a[1].data.shape == b.data.shape\n"
        "assert defined.any() and np.array_equal(a[1].data[defined], b.data[defined])\n";
    char plain[4096];
    scratch_path(&folder, "unpacked.fits", plain);
    int code = RUN("/usr/bin/python3", "-c", script, packed, plain);
    if (code == 77 || code == -1)
        print_message("[  SKIPPED ] astropy is not installed\n");
    else
        assert_int_equal(code, 0);
}

static void others_read_the_same(void **state)
{
    (void)state;
    static const int bitpix[] = {16, 8, 32, -32, -64};
    if (RUN("funpack", "-V") < 0) {
        print_message("[  SKIPPED ] funpack is not installed\n");
        return;
    }
    for (size_t k = 0; k < 5; k++)
        for (int kind = 0; kind < KINDS; kind++) {
            struct fits_image img, got;
            struct buf b = {0};
            struct fault why = {0};
            char path[4096];
            make_odd(&img, bitpix[k], (enum oddity)kind);
            if (through(&usual, &img, &b, &got, &why) != ST_OK)
                fail_msg("BITPIX %d, kind %d: %s", bitpix[k], kind, why.text);
            scratch_path(&folder, "member.fits.fz", path);
            write_bytes(path, b.data, b.len);
            assert_funpack_agrees(path, &got, kind == PRIMARY);
            if ((kind == PLAIN && k == 0) || (kind == WITH_NAN && k == 4) || (kind == FLAT && k == 3))
                assert_astropy_agrees(path);
            int verified = RUN("fitsverify", "-q", path);
            if (verified > 0)
                fail_msg("BITPIX %d, kind %d: fitsverify says %d", bitpix[k], kind, verified);
            fits_image_free(&img);
            fits_image_free(&got);
            buf_free(&b);
        }
}

/* ---- damage ---- */

static enum status decode_as(const struct fits_image *as, const void *bytes, size_t len,
                             struct fault *why)
{
    struct fits_image got = {0};
    unsigned char *copy = malloc(len + 1); /* exactly as long, so that ASan sees the end */
    memcpy(copy, bytes, len);
    assert_true(fits_header_copy(&got.header, &as->header));
    enum status st = codec_decode(codec_find("quantized"), copy, len, &got, why);
    assert_true((st == ST_OK) == (got.data != NULL));
    assert_true(st == ST_OK || strlen(why->text) > 20);
    fits_image_free(&got);
    free(copy);
    return st;
}

static void member_of(struct fits_image *img, struct buf *b, enum oddity kind)
{
    *b = (struct buf){0};
    make_odd(img, kind == WITH_BLANK ? 16 : -32, kind);
    assert_int_equal(codec_find("quantized")->encode(img, &usual, b, NULL), ST_OK);
}

static void damage_is_found(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf b;
    struct fault why = {0};
    uint64_t seed = 31;
    member_of(&img, &b, FLAT);
    for (int n = 0; n < 1500; n++) { /* the empty primary says nothing */
        size_t at = FITS_BLOCK +
                    (n < 500 ? (size_t)n * 11 : fixture_random(&seed) % (b.len - FITS_BLOCK));
        unsigned char bit = (unsigned char)(1 << fixture_random(&seed) % 8);
        b.data[at] ^= bit;
        assert_int_equal(decode_as(&img, b.data, b.len, &why), ST_REJECT);
        b.data[at] ^= bit;
    }
    for (size_t len = 0; len < b.len; len += len < 300 ? 7 : 997)
        assert_int_equal(decode_as(&img, b.data, len, &why), ST_REJECT);
    assert_int_equal(decode_as(&img, b.data, b.len, &why), ST_OK);
    assert_true(buf_append(&b, "more", 4));
    assert_int_equal(decode_as(&img, b.data, b.len, &why), ST_REJECT);
    fits_image_free(&img);
    buf_free(&b);
}

static void members_of_other_images_are_refused(void **state)
{
    (void)state;
    static const struct {
        int bitpix, width, height;
        const char *words;
    } rows[] = {{-32, 311, 250, "310 x 250 where the header asks for BITPIX -32, 2 axes, 311 x"},
                {-32, 250, 310, "asks for BITPIX -32, 2 axes, 250 x 310"},
                {-64, 310, 250, "BITPIX -32, 2 axes, 310 x 250 where the header asks for BITPIX -64"},
                {32, 310, 250, "asks for BITPIX -64"},
                {64, 310, 250, "never quantised"},
                {-32, 310, 0, "1 axes"}};
    struct fits_image img;
    struct buf b, rice = {0};
    struct fault why = {0};
    member_of(&img, &b, PLAIN);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fits_image as;
        make_image(&as, rows[i].bitpix, rows[i].width, rows[i].height, false, PIX_ZERO);
        assert_int_equal(decode_as(&as, b.data, b.len, &why), ST_REJECT);
        if (!strstr(why.text, rows[i].words))
            fail_msg("%s", why.text);
        fits_image_free(&as);
    }
    struct fits_image none = {0};
    assert_int_equal(codec_decode(codec_find("quantized"), b.data, b.len, &none, &why), ST_REJECT);
    /* The other codec's .fits.fz is not this one's. */
    assert_int_equal(codec_find("rice")->encode(&img, &usual, &rice, NULL), ST_OK);
    assert_int_equal(decode_as(&img, rice.data, rice.len, &why), ST_REJECT);
    fits_image_free(&img);
    buf_free(&b);
    buf_free(&rice);
}

/* ---- behind the sums: what a forger could write ---- */

static size_t card_at(const struct buf *b, const char *keyword)
{
    for (size_t at = FITS_BLOCK; at + FITS_CARD <= b->len; at += FITS_CARD)
        if (fits_card_is((char *)b->data + at, keyword))
            return at;
    fail_msg("no card %s", keyword);
    return 0;
}

static void set_card(struct buf *b, const char *keyword, const char *with)
{
    char padded[FITS_CARD + 1];
    snprintf(padded, sizeof padded, "%-80s", with);
    memcpy(b->data + card_at(b, keyword), padded, FITS_CARD);
}

static size_t data_at(const struct buf *b)
{
    return (card_at(b, "END") / FITS_BLOCK + 1) * FITS_BLOCK;
}

static void reseal(struct buf *b)
{
    char text[FITS_CARD];
    size_t data = data_at(b);
    uint32_t sum = fits_sum(b->data + data, b->len - data, 0);
    snprintf(text, sizeof text, "DATASUM = '%u'", sum);
    set_card(b, "DATASUM", text);
    set_card(b, "CHECKSUM", "CHECKSUM= '0000000000000000'");
    fits_sum_header(b->data + FITS_BLOCK, data - FITS_BLOCK,
                    (card_at(b, "CHECKSUM") - FITS_BLOCK) / FITS_CARD, sum);
}

static void forged_cards_are_refused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"ZQUANTIZ", "ZQUANTIZ= 'NO_DITHER'"},     {"ZQUANTIZ", "COMMENT"},
        {"ZDITHER0", "ZDITHER0= 0"},               {"ZDITHER0", "ZDITHER0= 10001"},
        {"ZDITHER0", "ZDITHER0= 'x'"},             {"ZBLANK", "ZBLANK  = 0"},
        {"ZBLANK", "COMMENT"},                     {"ZVAL2", "ZVAL2   = 2"},
        {"ZCMPTYPE", "ZCMPTYPE= 'GZIP_1'"},        {"ZTILE1", "ZTILE1  = 155"},
        {"ZTILE2", "ZTILE2  = 1"},                 {"ZBITPIX", "ZBITPIX = -64"},
        {"TTYPE3", "TTYPE3  = 'OTHER'"},           {"TTYPE4", "TTYPE4  = 'ZSCALE'"},
        {"TTYPE2", "TTYPE2  = 'UNCOMPRESSED_DATA'"}, {"TFORM3", "TFORM3  = '2E'"},
        {"TFORM4", "TFORM4  = '1K'"},              {"ZIMAGE", "ZIMAGE  = F"},
        {"NAXIS2", "NAXIS2  = 1"},                 {"PCOUNT", "PCOUNT  = 9"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fits_image img;
        struct buf b;
        struct fault why = {0};
        member_of(&img, &b, PLAIN);
        reseal(&b);
        assert_int_equal(decode_as(&img, b.data, b.len, &why), ST_OK);
        set_card(&b, rows[i][0], rows[i][1]);
        reseal(&b);
        if (decode_as(&img, b.data, b.len, &why) != ST_REJECT)
            fail_msg("%s was taken", rows[i][1]);
        fits_image_free(&img);
        buf_free(&b);
    }
}

static void forged_scales_are_refused(void **state)
{
    (void)state;
    static const double bad[] = {0, -1, (double)NAN, (double)INFINITY, 1e300};
    for (int column = 0; column < 2; column++)
        for (size_t i = column ? 2 : 0; i < 5; i++) {
            struct fits_image img;
            struct buf b;
            struct fault why = {0};
            uint64_t u;
            member_of(&img, &b, PLAIN);
            memcpy(&u, &bad[i], 8);
            u = __builtin_bswap64(u);
            memcpy(b.data + data_at(&b) + 16 + 8 * column, &u, 8);
            reseal(&b);
            /* A zero of 1e300 overflows nothing but the floats, which are cut to their range. */
            enum status wanted = column && bad[i] == 1e300 ? ST_OK : ST_REJECT;
            assert_int_equal(decode_as(&img, b.data, b.len, &why), wanted);
            fits_image_free(&img);
            buf_free(&b);
        }
}

/* Undefined pixels in an image of integers that knows none. */
static void undefined_pixels_need_a_blank(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf b;
    struct fault why = {0};
    member_of(&img, &b, WITH_BLANK);
    assert_int_equal(decode_as(&img, b.data, b.len, &why), ST_OK);
    fits_header_remove(&img.header, "BLANK");
    assert_int_equal(decode_as(&img, b.data, b.len, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "undefined pixels"));
    fits_image_free(&img);
    buf_free(&b);
}

static void forged_tiles_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = 33;
    for (int n = 0; n < 600; n++) {
        struct fits_image img;
        static struct buf made[2];
        struct buf b = {0};
        struct fault why = {0};
        enum oddity kind = n % 2 ? WITH_BLANK : FLAT;
        make_odd(&img, kind == WITH_BLANK ? 16 : -32, kind);
        if (!made[n % 2].len)
            assert_int_equal(codec_find("quantized")->encode(&img, &usual, &made[n % 2], NULL),
                             ST_OK);
        assert_true(buf_append(&b, made[n % 2].data, made[n % 2].len));
        size_t data = data_at(&b), table = 3 * 32, span = n % 3 ? b.len - data : table;
        for (int k = 0; k < 1 + n % 9; k++)
            b.data[data + fixture_random(&seed) % span] = (unsigned char)fixture_random(&seed);
        reseal(&b);
        enum status st = decode_as(&img, b.data, b.len, &why);
        assert_true(st == ST_OK || st == ST_REJECT);
        fits_image_free(&img);
        buf_free(&b);
        if (n >= 598)
            buf_free(&made[n % 2]);
    }
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
        cmocka_unit_test(others_read_the_same),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(members_of_other_images_are_refused),
        cmocka_unit_test(forged_cards_are_refused),
        cmocka_unit_test(forged_scales_are_refused),
        cmocka_unit_test(undefined_pixels_need_a_blank),
        cmocka_unit_test(forged_tiles_do_no_harm),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
