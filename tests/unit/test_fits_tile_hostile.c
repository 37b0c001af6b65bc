/* Tile-compressed HDUs that are damaged, or say what cannot be, are refused in words: no
 * crash, no endless loop, no gigabytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/fits_private.h"
#include "tests/unit/fits_fixture.h"

/* A packed image as a bare HDU, without its sums, so that damage reaches the decoder. */
static void packed_hdu(int bitpix, struct buf *hdu)
{
    struct fits_image img;
    struct buf b = {0};
    make_image(&img, bitpix, 60, 40, false, PIX_SKY);
    assert_int_equal(fits_tile_pack(&img, &b, NULL), ST_OK);
    assert_true(buf_append(hdu, b.data + FITS_BLOCK, b.len - FITS_BLOCK));
    fits_image_free(&img);
    buf_free(&b);
}

static void replace_card(struct buf *hdu, const char *keyword, const char *with)
{
    for (size_t at = 0; at + FITS_CARD <= hdu->len; at += FITS_CARD)
        if (fits_card_is((char *)hdu->data + at, keyword)) {
            char padded[FITS_CARD + 1];
            snprintf(padded, sizeof padded, "%-80s", with);
            memcpy(hdu->data + at, padded, FITS_CARD);
            return;
        }
    fail_msg("no card %s", keyword);
}

static void hostile_tables_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *keyword, *card, *words;
    } rows[] = {{"ZNAXIS", "ZNAXIS  = 3", "no ZNAXIS3"},
                {"ZNAXIS", "ZNAXIS  = 1", "40 rows"},
                {"ZNAXIS", "ZNAXIS  = 999", "ZNAXIS = 999"},
                {"ZNAXIS1", "ZNAXIS1 = -5", "ZNAXIS1 = -5"},
                {"ZNAXIS1", "ZNAXIS1 = 1000000000000000000", "ZNAXIS1"},
                {"ZNAXIS2", "ZNAXIS2 = 41", "41 tiles and its table 40 rows"},
                {"ZNAXIS1", "ZNAXIS1 = 600000000", "GiB"},
                {"ZBITPIX", "ZBITPIX = 7", "ZBITPIX = 7"},
                {"ZTILE1", "ZTILE1  = 0", "ZTILE1"},
                {"ZTILE1", "ZTILE1  = -60", "ZTILE1"},
                {"ZTILE1", "ZTILE1  = 100000000", "far larger"},
                {"ZTILE1", "ZTILE1  = 'x'", "ZTILE1"},
                {"ZTILE2", "ZTILE2  = 99999999999999", "ZTILE2"},
                {"ZTILE1", "ZTILE1  = 30", "80 tiles"},
                {"ZCMPTYPE", "ZCMPTYPE= 'SECRET'", "'SECRET'"},
                {"ZVAL1", "ZVAL1   = 0", "ZVAL1"},
                {"ZVAL1", "COMMENT", "ZVAL1"},
                {"ZVAL2", "ZVAL2   = 3", "ZVAL2"},
                {"TFIELDS", "TFIELDS = 0", "TFIELDS"},
                {"TFIELDS", "TFIELDS = 2", "TFORM2"},
                {"TFORM1", "TFORM1  = '8A'", "COMPRESSED_DATA"},
                {"TFORM1", "TFORM1  = '1QB'", "16 bytes wide"},
                {"TTYPE1", "TTYPE1  = 'OTHER'", "COMPRESSED_DATA"},
                {"NAXIS1", "NAXIS1  = 9", "NAXIS1 says 9"},
                {"NAXIS2", "NAXIS2  = 39", "39 rows"},
                {"PCOUNT", "PCOUNT  = 1", "outside the heap"},
                {"PCOUNT", "PCOUNT  = 99999999", "cut off"},
                {"PCOUNT", "PCOUNT  = -8", "PCOUNT"},
                {"ZIMAGE", "THEAP   = 1", "no image"},
                {"ZNAME1", "THEAP   = 5", "THEAP"},
                {"ZNAXIS2", "NAXIS2  = 40", "no ZNAXIS2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf hdu = {0};
        struct fits_image img;
        struct fault why = {0};
        packed_hdu(16, &hdu);
        replace_card(&hdu, rows[i].keyword, rows[i].card);
        enum status st = fits_image_load(hdu.data, hdu.len, &img, &why);
        if (st != ST_REJECT || !strstr(why.text, rows[i].words))
            fail_msg("%s: %s %s", rows[i].card, status_name(st), why.text);
        assert_null(img.data);
        buf_free(&hdu);
    }
}

static void damaged_tiles_are_refused_or_decoded(void **state)
{
    (void)state;
    static const int bitpix[] = {8, 16, 32, -32};
    uint64_t seed = 11;
    for (size_t k = 0; k < sizeof bitpix / sizeof *bitpix; k++) {
        struct buf hdu = {0};
        int refused = 0;
        packed_hdu(bitpix[k], &hdu);
        for (int n = 0; n < 1500; n++) {
            struct fits_image img;
            struct fault why = {0};
            size_t len = n % 5 ? hdu.len : fixture_random(&seed) % hdu.len;
            unsigned char *copy = malloc(len + 1); /* exactly as long, so that ASan sees the end */
            memcpy(copy, hdu.data, len);
            for (int flips = 0; flips < 1 + n % 4 && len; flips++)
                copy[fixture_random(&seed) % len] ^= (unsigned char)(1 << n % 8);
            enum status st = fits_image_load(copy, len, &img, &why);
            assert_true(st == ST_OK || (st == ST_REJECT && why.text[0]));
            refused += st != ST_OK;
            if (st == ST_OK)
                fits_image_free(&img);
            free(copy);
        }
        assert_true(refused > 300);
        buf_free(&hdu);
    }
}

static void files_with_wrong_sums_are_refused(void **state)
{
    (void)state;
    struct fits_image img, got;
    struct buf b = {0};
    struct fault why;
    make_image(&img, 16, 60, 40, true, PIX_SKY);
    assert_int_equal(fits_tile_pack(&img, &b, &why), ST_OK);
    for (size_t at = FITS_BLOCK; at < b.len; at += 37) {
        b.data[at] ^= 4;
        assert_int_equal(fits_tile_unpack(b.data, b.len, &got, &why), ST_REJECT);
        b.data[at] ^= 4;
    }
    for (size_t len = 0; len < b.len; len += 701)
        assert_int_equal(fits_tile_unpack(b.data, len, &got, &why), ST_REJECT);
    assert_int_equal(fits_tile_unpack(b.data, b.len, &got, &why), ST_OK);
    fits_image_free(&got);
    fits_image_free(&img);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_tables_are_refused),
        cmocka_unit_test(damaged_tiles_are_refused_or_decoded),
        cmocka_unit_test(files_with_wrong_sums_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
