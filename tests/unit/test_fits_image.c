/* Images come out of their HDUs as they stood, and the file that is delivered for one ccd
 * has the cards that fits.h promises, in that order, right sums, and readers that agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fits_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch folder;

static struct fits_header of_cards(const char *const *cards)
{
    struct buf b = {0};
    struct fits_header h;
    for (; *cards; cards++)
        card(&b, "%s", *cards);
    end_card(&b);
    assert_int_equal(fits_header_parse(b.data, b.len, &h, NULL), ST_OK);
    buf_free(&b);
    return h;
}
#define CARDS(...) of_cards((const char *const[]){__VA_ARGS__, NULL})

static void shapes(void **state)
{
    (void)state;
    static const struct {
        const char *bitpix, *naxis, *n1, *n2, *more;
        enum status grade;
        size_t size;
    } rows[] = {
        {"BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 3", "NAXIS2  = 5", "COMMENT", ST_OK, 30},
        {"BITPIX  = -64", "NAXIS   = 1", "NAXIS1  = 3", "COMMENT", "COMMENT", ST_OK, 24},
        {"BITPIX  = 64", "NAXIS   = 3", "NAXIS1  = 2", "NAXIS2  = 2", "NAXIS3  = 2", ST_OK, 64},
        {"BITPIX  = 8", "NAXIS   = 0", "COMMENT", "COMMENT", "COMMENT", ST_REJECT, 0},
        {"BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 0", "NAXIS2  = 5", "COMMENT", ST_REJECT, 0},
        {"BITPIX  = 8", "NAXIS   = 9", "NAXIS1  = 1", "NAXIS2  = 5", "COMMENT", ST_REJECT, 0},
        {"BITPIX  = 12", "NAXIS   = 2", "NAXIS1  = 3", "NAXIS2  = 5", "COMMENT", ST_REJECT, 0},
        {"COMMENT", "NAXIS   = 2", "NAXIS1  = 3", "NAXIS2  = 5", "COMMENT", ST_REJECT, 0},
        {"BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 200000", "NAXIS2  = 200000", "COMMENT", ST_REJECT,
         0},
        {"BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 9999999999", "NAXIS2  = 9999999999", "COMMENT",
         ST_REJECT, 0},
        {"BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 3", "NAXIS2  = 5", "PCOUNT  = 4", ST_REJECT, 0},
        {"BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 3", "NAXIS2  = 5", "GCOUNT  = 2", ST_REJECT, 0},
        {"BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 3", "NAXIS2  = 5", "GROUPS  = T", ST_REJECT, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fits_image img = {
            .header = CARDS(rows[i].bitpix, rows[i].naxis, rows[i].n1, rows[i].n2, rows[i].more)};
        struct fault why = {0};
        assert_int_equal(fits_image_shape(&img, &why), rows[i].grade);
        assert_int_equal(img.size, rows[i].size);
        assert_null(img.data);
        assert_true(rows[i].grade == ST_OK || why.text[0]);
        fits_image_free(&img);
    }
}

static void plain_images_load(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_image img, got;
    struct fault why;
    make_image(&img, -32, 31, 17, false, PIX_RANDOM);
    append_hdu(&b, &img);
    assert_int_equal(fits_image_load(b.data, b.len, &got, &why), ST_OK);
    assert_true(same_image(&img, &got));
    assert_int_equal(got.bitpix, -32);
    assert_int_equal(got.naxes[1], 17);
    fits_image_free(&got);
    assert_int_equal(fits_image_load(b.data, FITS_BLOCK + img.size - 1, &got, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "2107 bytes of pixels where its header says 2108"));
    assert_null(got.data);
    assert_null(got.header.cards);
    assert_int_equal(fits_image_load(b.data, 100, &got, &why), ST_REJECT);
    b.len = 0;
    card(&b, "XTENSION= 'TABLE   '");
    end_card(&b);
    assert_int_equal(fits_image_load(b.data, b.len, &got, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "no image"));
    b.len = 0;
    end_card(&b);
    assert_int_equal(fits_image_load(b.data, b.len, &got, &why), ST_REJECT);
    b.len = 0;
    empty_primary(&b);
    assert_int_equal(fits_image_load(b.data, b.len, &got, &why), ST_REJECT);
    buf_free(&b);
    fits_image_free(&img);
}

/* The cards of a file's primary, one text each, without trailing blanks. */
static size_t cards_of(const struct buf *file, char out[][FITS_CARD + 1], size_t room)
{
    struct fits_header h;
    assert_int_equal(fits_header_parse(file->data, file->len, &h, NULL), ST_OK);
    assert_true(h.count <= room);
    for (size_t i = 0; i < h.count; i++) {
        size_t len = FITS_CARD;
        while (len > 0 && h.cards[i * FITS_CARD + len - 1] == ' ')
            len--;
        memcpy(out[i], h.cards + i * FITS_CARD, len);
        out[i][len] = '\0';
    }
    size_t count = h.count;
    fits_header_free(&h);
    return count;
}

static void the_file_has_the_promised_cards(void **state)
{
    (void)state;
    struct fits_header primary = CARDS(
        "SIMPLE  =                    T / of the primary", "BITPIX  =                    8",
        "NAXIS   =                    0", "EXTEND  =                    T",
        "NEXTEND =                   62", "OBJECT  = 'M 31    '           / target",
        "EXPNUM  =                   12", "GAIN    =                  1.0 / of the camera",
        "COMMENT one", "LONGSTRN= 'OGIP 1.0'", "TITLE   = 'a long title that goes&'",
        "CONTINUE  ' on and on'", "NOTE    = 'kept&'", "CONTINUE  ' whole'",
        "HIERARCH ESO TEL NAME = 'Blanco'", "HIERARCH ESO TEL ALT = 45.0",
        "BZERO   =                  100", "EXTNAME = 'PRIMARY '", "ZD      =                56.41",
        "CHECKSUM= 'xxxxxxxxxxxxxxxx'", "DATASUM = '0       '", "SFCODEC = 'old     '", "");
    struct fits_image img = {
        .header = CARDS(
            "XTENSION= 'IMAGE   '           / image extension",
            "BITPIX  =                   16 / two bytes", "NAXIS   =                    2 / flat",
            "NAXIS1  =                   20 / columns", "NAXIS2  =                   10",
            "PCOUNT  =                    0", "GCOUNT  =                    1",
            "INHERIT =                    T", "EXTNAME = 'S1      '",
            "GAIN    =                  4.2 / of this ccd", "COMMENT one", "HISTORY made",
            "TITLE   = 'short   '", "HIERARCH ESO TEL ALT = 46.0", "ZNAXIS1 =                    5",
            "ZPDELRA =                 -1.5", "lower   = 'odd but printable'", "NOEQUALS here",
            "BSCALE  =                  1.0", "BZERO   =              32768.0",
            "CHECKSUM= 'yyyyyyyyyyyyyyyy'", "DATASUM = '5       '")};
    struct fits_header extra = CARDS("SFCODEC = 'htj2k   '", "HISTORY carried by skyferry");
    static const char *const expected[] = {
        "SIMPLE  =                    T / conforms to FITS standard",
        "BITPIX  =                   16 / two bytes",
        "NAXIS   =                    2 / flat",
        "NAXIS1  =                   20 / columns",
        "NAXIS2  =                   10 / length of this axis",
        "OBJECT  = 'M 31    '           / target",
        "EXPNUM  =                   12",
        "COMMENT one",
        "LONGSTRN= 'OGIP 1.0'",
        "NOTE    = 'kept&'",
        "CONTINUE  ' whole'",
        "HIERARCH ESO TEL NAME = 'Blanco'",
        "ZD      =                56.41",
        "",
        "EXTNAME = 'S1      '",
        "GAIN    =                  4.2 / of this ccd",
        "COMMENT one",
        "HISTORY made",
        "TITLE   = 'short   '",
        "HIERARCH ESO TEL ALT = 46.0",
        "ZPDELRA =                 -1.5",
        "lower   = 'odd but printable'",
        "NOEQUALS here",
        "BSCALE  =                  1.0",
        "BZERO   =              32768.0",
        "SFCODEC = 'htj2k   '",
        "HISTORY carried by skyferry"};
    char got[64][FITS_CARD + 1];
    struct buf b = {0}, again = {0};
    struct fault why;
    assert_int_equal(fits_image_shape(&img, &why), ST_OK);
    img.data = calloc(1, img.size);
    img.data[0] = 0x12;
    assert_int_equal(fits_image_file(&primary, &img, &extra, &b, &why), ST_OK);
    assert_int_equal(b.len, 2 * FITS_BLOCK);
    size_t count = cards_of(&b, got, 64), wanted = sizeof expected / sizeof *expected;
    assert_int_equal(count, wanted + 2);
    for (size_t i = 0; i < wanted; i++)
        assert_string_equal(got[i], expected[i]);
    assert_memory_equal(got[wanted], "CHECKSUM= '", 11);
    assert_string_equal(got[wanted] + 27, "'   / HDU checksum");
    assert_string_equal(got[wanted + 1], "DATASUM = '301989888'          / data unit checksum");
    assert_int_equal(fits_check_sums(b.data, b.len, &why), ST_OK);
    /* The same ccd gives the same file, wherever it is appended. */
    assert_true(buf_append(&again, "before", 6));
    assert_int_equal(fits_image_file(&primary, &img, &extra, &again, &why), ST_OK);
    assert_int_equal(again.len, b.len + 6);
    assert_memory_equal(again.data + 6, b.data, b.len);
    buf_free(&again);
    buf_free(&b);
    fits_header_free(&extra);
    fits_header_free(&primary);
    fits_image_free(&img);
}

static void the_file_loads_again(void **state)
{
    (void)state;
    static const int bitpix[] = {8, 16, 32, 64, -32, -64};
    for (size_t i = 0; i < 6; i++)
        for (int width = 1; width < 200; width += 66) {
            struct fits_image img, got;
            struct buf b = {0};
            struct fault why;
            make_image(&img, bitpix[i], width, 53, bitpix[i] == 16, PIX_RANDOM);
            assert_int_equal(fits_image_file(NULL, &img, NULL, &b, &why), ST_OK);
            assert_int_equal(b.len % FITS_BLOCK, 0);
            assert_int_equal(fits_check_sums(b.data, b.len, &why), ST_OK);
            assert_int_equal(fits_image_load(b.data, b.len, &got, &why), ST_OK);
            assert_int_equal(got.size, img.size);
            assert_memory_equal(got.data, img.data, img.size);
            fits_image_free(&got);
            fits_image_free(&img);
            buf_free(&b);
        }
}

/* What astropy makes of the delivered file and of the source, compared value by value. */
static const char compare_py[] =
    "import sys, warnings\n"
    "try:\n"
    "    import numpy as np\n"
    "    from astropy.io import fits\n"
    "except ImportError:\n"
    "    sys.exit(77)\n"
    "warnings.simplefilter('error', fits.verify.VerifyWarning)\n"
    "a, b = fits.open(sys.argv[1]), fits.open(sys.argv[2], checksum=True)\n"
    "b.verify('exception')\n"
    "assert len(b) == 1\n"
    "d = a[1].data\n"
    "assert d.dtype.newbyteorder('=') == b[0].data.dtype.newbyteorder('=')\n"
    "assert np.array_equal(d, b[0].data, equal_nan=d.dtype.kind == 'f')\n"
    "skip = ('SIMPLE XTENSION BITPIX NAXIS NAXIS1 NAXIS2 PCOUNT GCOUNT EXTEND INHERIT NEXTEND'\n"
    "        ' CHECKSUM DATASUM COMMENT HISTORY ZDITHER0').split() + ['']\n"
    "for h in (a[0].header, a[1].header):\n"
    "    for k in h:\n"
    "        if k not in skip and not (h is a[0].header and (k in a[1].header or k == "
    "'EXTNAME')):\n"
    "            assert b[0].header[k] == h[k], k\n";

static void readers_agree_on_real_frames(void **state)
{
    (void)state;
    char path[4096], script[4096];
    scratch_path(&folder, "compare.py", script);
    write_bytes(script, compare_py, sizeof compare_py - 1);
    for (int i = 0; i < REAL_FRAMES; i++) {
        struct buf frame = {0}, b = {0};
        struct fits_image img, again;
        struct fits_header primary;
        struct fault why;
        if (!read_frame(real_frames[i], &frame))
            continue;
        assert_int_equal(fits_header_parse(frame.data, frame.len, &primary, &why), ST_OK);
        assert_int_equal(load_hdu(&frame, 1, &img, &why), ST_OK);
        assert_int_equal(fits_image_file(&primary, &img, NULL, &b, &why), ST_OK);
        assert_int_equal(fits_image_load(b.data, b.len, &again, &why), ST_OK);
        assert_memory_equal(again.data, img.data, img.size);
        scratch_path(&folder, "ccd.fits", path);
        write_bytes(path, b.data, b.len);
        int verified = RUN("fitsverify", "-q", path);
        if (verified < 0)
            print_message("[  SKIPPED ] fitsverify is not installed\n");
        else
            assert_int_equal(verified, 0); /* no warning, no error */
        int compared = RUN("/usr/bin/python3", script, real_frames[i], path);
        if (compared == 77 || compared < 0)
            print_message("[  SKIPPED ] astropy is not installed\n");
        else
            assert_int_equal(compared, 0);
        fits_image_free(&again);
        fits_image_free(&img);
        fits_header_free(&primary);
        buf_free(&b);
        buf_free(&frame);
    }
}

static void long_headers_merge_fast(void **state)
{
    (void)state;
    struct fits_image img;
    struct fits_header primary = {0};
    struct buf b = {0};
    struct fault why;
    make_image(&img, 8, 4, 4, false, PIX_ZERO);
    for (int i = 0; i < 20000; i++) {
        char key[16];
        snprintf(key, sizeof key, "A%d", i);
        assert_true(fits_header_add_int(&primary, key, i, NULL));
        snprintf(key, sizeof key, "A%d", i + 10000);
        assert_true(fits_header_add_int(&img.header, key, i, NULL));
    }
    assert_int_equal(fits_image_file(&primary, &img, NULL, &b, &why), ST_OK);
    struct fits_header h;
    assert_int_equal(fits_header_parse(b.data, b.len, &h, &why), ST_OK);
    assert_int_equal(h.count, 5 + 10000 + 20000 + 2);
    fits_header_free(&h);
    fits_header_free(&primary);
    fits_image_free(&img);
    buf_free(&b);
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
        cmocka_unit_test(shapes),
        cmocka_unit_test(plain_images_load),
        cmocka_unit_test(the_file_has_the_promised_cards),
        cmocka_unit_test(the_file_loads_again),
        cmocka_unit_test(readers_agree_on_real_frames),
        cmocka_unit_test(long_headers_merge_fast),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
