/* Tile compression: what is packed comes out to the bit and card, what fpack made comes out
 * as funpack has it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/fits_private.h"
#include "tests/unit/fits_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch folder;

static void assert_comes_back(const struct fits_image *img)
{
    struct buf b = {0};
    struct fits_image got;
    struct fault why = {0};
    assert_true(fits_tile_packable(img));
    enum status st = fits_tile_pack(img, &b, &why);
    if (st == ST_OK)
        st = fits_tile_unpack(b.data, b.len, &got, &why);
    if (st != ST_OK)
        fail_msg("BITPIX %d, %d x %d: %s", img->bitpix, (int)img->naxes[0], (int)img->naxes[1],
                 why.text);
    assert_true(same_image(img, &got));
    assert_int_equal(got.bitpix, img->bitpix);
    assert_int_equal(got.naxis, img->naxis);
    fits_image_free(&got);
    buf_free(&b);
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    static const int bitpix[] = {8, 16, 32, -32, -64};
    static const int sides[][2] = {{1, 1},   {1, 40},   {40, 1}, {31, 33},
                                   {32, 32}, {257, 64}, {500, 0}};
    for (size_t i = 0; i < sizeof bitpix / sizeof *bitpix; i++)
        for (size_t k = 0; k < sizeof sides / sizeof *sides; k++)
            for (int kind = 0; kind < PIX_KINDS; kind++) {
                struct fits_image img;
                make_image(&img, bitpix[i], sides[k][0], sides[k][1], bitpix[i] == 16 && k % 2,
                           (enum pixels)kind);
                assert_comes_back(&img);
                fits_image_free(&img);
            }
}

static void a_cube_comes_back(void **state)
{
    (void)state;
    struct fits_image img;
    make_image(&img, 16, 30, 20, false, PIX_RANDOM);
    fits_header_remove(&img.header, "NAXIS");
    fits_header_remove(&img.header, "PCOUNT");
    fits_header_remove(&img.header, "GCOUNT");
    fits_header_add_int(&img.header, "NAXIS", 4, NULL);
    fits_header_add_int(&img.header, "NAXIS3", 7, NULL);
    fits_header_add_int(&img.header, "NAXIS4", 2, NULL);
    assert_int_equal(fits_image_shape(&img, NULL), ST_OK);
    free(img.data);
    img.data = malloc(img.size);
    fill_pixels(&img, PIX_RANDOM);
    assert_comes_back(&img);
    fits_image_free(&img);
}

static void unusual_cards_come_back(void **state)
{
    (void)state;
    static const char *const cards[] = {"EXTNAME = 'COMPRESSED_IMAGE'",
                                        "HIERARCH ESO DET CHIP1 NAME = 'EEV' / chip",
                                        "COMMENT",
                                        "",
                                        "lower   = 'case'",
                                        "CHECKSUM= 'abcdefghijklmnop'   / of the source",
                                        "DATASUM = '123     '",
                                        "LONG    = 'a&'",
                                        "CONTINUE  'b'",
                                        "HISTORY  x",
                                        "NAXISX  = 5",
                                        "ZD      = 56.4",
                                        "KEY?#$  = 1",
                                        "EXTEND  =                    T",
                                        "BLOCKED =                    T",
                                        "NOVALUE",
                                        "BLANK   = 5",
                                        "BSCALE  = 2.0",
                                        "",
                                        ""};
    struct fits_image img;
    make_image(&img, 32, 20, 10, false, PIX_SKY);
    struct buf b = {0};
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
        card(&b, "%s", cards[i]);
    for (size_t at = 0; at < b.len; at += FITS_CARD)
        assert_true(fits_header_append(&img.header, (char *)b.data + at));
    assert_comes_back(&img);
    assert_true(fits_header_add_int(&img.header, "ZTILE1", 5, NULL));
    struct fault why;
    b.len = 0;
    assert_false(fits_tile_packable(&img));
    assert_int_equal(fits_tile_pack(&img, &b, &why), ST_REJECT);
    assert_int_equal(b.len, 0);
    fits_image_free(&img);
    make_image(&img, 64, 20, 10, false, PIX_SKY);
    assert_false(fits_tile_packable(&img));
    assert_int_equal(fits_tile_pack(&img, &b, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "BITPIX 64"));
    fits_image_free(&img);
    buf_free(&b);
}

static void nan_payloads_come_back(void **state)
{
    (void)state;
    static const uint32_t odd[] = {0x7fc00000, 0xffffffff, 0x7f800001, 0xffc12345,
                                   0x7f800000, 0xff800000, 0x80000000, 0x00000001};
    struct fits_image img;
    make_image(&img, -32, 64, 8, false, PIX_SKY);
    for (size_t i = 0; i < 64; i++)
        put_pixel(img.data + 4 * (i * 7), 4, odd[i % 8]);
    assert_comes_back(&img);
    fits_image_free(&img);
}

static void real_frames_come_back(void **state)
{
    (void)state;
    char path[4096];
    for (int i = 0; i < REAL_FRAMES; i++) {
        struct buf frame = {0}, packed = {0};
        struct fits_image img;
        struct fault why;
        if (!read_frame(real_frames[i], &frame))
            continue;
        assert_int_equal(load_hdu(&frame, 1, &img, &why), ST_OK);
        assert_comes_back(&img);
        assert_int_equal(fits_tile_pack(&img, &packed, &why), ST_OK);
        scratch_path(&folder, "packed.fits.fz", path);
        write_bytes(path, packed.data, packed.len);
        int verified = RUN("fitsverify", "-q", path);
        if (verified < 0)
            print_message("[  SKIPPED ] fitsverify is not installed\n");
        else
            assert_int_equal(verified, 0);
        buf_free(&packed);
        fits_image_free(&img);
        buf_free(&frame);
    }
}

/* ---- against fpack and funpack ---- */

/* Leaves out what funpack renews (sums) and the blank cards at the end. */
static void comparable(struct fits_header *h)
{
    fits_header_remove(h, "CHECKSUM");
    fits_header_remove(h, "DATASUM");
    char blank[FITS_CARD];
    memset(blank, ' ', sizeof blank);
    while (h->count && memcmp(h->cards + (h->count - 1) * FITS_CARD, blank, FITS_CARD) == 0)
        h->count--;
}

/* Does this file's HDU, loaded by us, equal what funpack makes of it? */
static void assert_as_funpack(const char *packed, size_t packed_hdu, size_t plain_hdu)
{
    char plain[4096];
    struct buf a = {0}, b = {0};
    struct fits_image ours, theirs;
    struct fault why = {0};
    scratch_path(&folder, "unpacked.fits", plain);
    unlink(plain);
    assert_int_equal(RUN("funpack", "-O", plain, packed), 0);
    assert_int_equal(fs_read_file(packed, 1u << 26, &a, &why), ST_OK);
    assert_int_equal(fs_read_file(plain, 1u << 26, &b, &why), ST_OK);
    if (load_hdu(&a, packed_hdu, &ours, &why) != ST_OK)
        fail_msg("%s: %s", packed, why.text);
    assert_int_equal(load_hdu(&b, plain_hdu, &theirs, &why), ST_OK);
    comparable(&ours.header);
    comparable(&theirs.header);
    assert_int_equal(ours.size, theirs.size);
    assert_memory_equal(ours.data, theirs.data, ours.size);
    assert_int_equal(ours.header.count, theirs.header.count);
    assert_memory_equal(ours.header.cards, theirs.header.cards, ours.header.count * FITS_CARD);
    fits_image_free(&ours);
    fits_image_free(&theirs);
    buf_free(&a);
    buf_free(&b);
}

struct fpacked {
    int bitpix;
    const char *options[5]; /* of fpack */
    bool lossless;
};

static const struct fpacked fpack_rows[] = {{16, {"-r"}, true},
                                            {8, {"-r"}, true},
                                            {32, {"-r"}, true},
                                            {16, {"-g1"}, true},
                                            {16, {"-g2"}, true},
                                            {8, {"-g2"}, true},
                                            {32, {"-g1"}, true},
                                            {16, {"-h"}, true},
                                            {32, {"-h"}, true},
                                            {16, {"-h", "-s", "2"}, false},
                                            {16, {"-t", "30,20"}, true},
                                            {16, {"-w", "-r"}, true},
                                            {-32, {"-q", "4"}, false},
                                            {-32, {"-qz", "4"}, false},
                                            {-32, {"-q", "4", "-g2"}, false},
                                            {-32, {"-q", "4", "-h"}, false},
                                            {-64, {"-q", "4"}, false},
                                            {-32, {"-q", "0", "-g2"}, true},
                                            {-32, {"-q", "0", "-g1"}, true},
                                            {-64, {"-q", "0", "-g2"}, true}};

/* Sky with NaNs, an empty row, and a row that no quantisation takes. */
static void float_image(struct fits_image *img, int bitpix)
{
    make_image(img, bitpix, 120, 90, false, PIX_ZERO);
    uint64_t seed = 5;
    for (size_t i = 0; i < 120 * 90; i++) {
        double v = 1000 + fixture_random(&seed) % 1000 / 100.0;
        if (i / 120 == 7)
            v = i % 2 ? 1e30 : 1e-30;
        float f = (float)v;
        int64_t bits = 0;
        if (bitpix == -32)
            memcpy(&bits, &f, 4);
        else
            memcpy(&bits, &v, 8);
        if (i % 211 == 0 || i / 120 == 9)
            bits = bitpix == -32 ? 0x7fc00001 : 0x7ff8000000000001;
        put_pixel(img->data + i * (size_t)(abs(bitpix) / 8), abs(bitpix) / 8, bits);
    }
}

static void fpacks_files_load_as_funpack_has_them(void **state)
{
    (void)state;
    char plain[4096], packed[4096];
    if (RUN("fpack", "-V") < 0) {
        print_message("[  SKIPPED ] fpack is not installed\n");
        return;
    }
    scratch_path(&folder, "plain.fits", plain);
    scratch_path(&folder, "fpacked.fz", packed);
    for (size_t i = 0; i < sizeof fpack_rows / sizeof *fpack_rows; i++)
        for (int primary = 0; primary < 2; primary++) {
            const struct fpacked *row = &fpack_rows[i];
            struct fits_image img;
            struct buf b = {0}, file = {0};
            struct fault why;
            if (row->bitpix < 0)
                float_image(&img, row->bitpix);
            else
                make_image(&img, row->bitpix, 120, 90, row->bitpix == 16, PIX_SKY);
            fits_header_add_text(&img.header, "LONG",
                                 "a text that does not fit into one card: it "
                                 "goes on and on and on, until at last it ends",
                                 NULL);
            fits_header_add_text(&img.header, "ESO DET NAME", "chip", "by a long name");
            fits_header_add_text(&img.header, "HISTORY", "made by a test", NULL);
            if (primary) {
                assert_int_equal(fits_image_file(NULL, &img, NULL, &b, &why), ST_OK);
            } else {
                empty_primary(&b);
                append_hdu(&b, &img);
            }
            write_bytes(plain, b.data, b.len);
            unlink(packed);
            const char *argv[12] = {"fpack"};
            int argc = 1;
            for (int k = 0; k < 5 && row->options[k]; k++)
                argv[argc++] = row->options[k];
            argv[argc++] = "-O";
            argv[argc++] = packed;
            argv[argc++] = plain;
            assert_int_equal(run_tool(argv), 0);
            assert_as_funpack(packed, 1, primary ? 0 : 1);
            assert_int_equal(fs_read_file(packed, 1u << 26, &file, &why), ST_OK);
            assert_int_equal(fits_tiled_lossless(file.data + FITS_BLOCK, file.len - FITS_BLOCK),
                             row->lossless);
            fits_image_free(&img);
            buf_free(&file);
            buf_free(&b);
        }
    for (int i = 2; i < REAL_FRAMES; i++)
        if (access(real_frames[i], R_OK) == 0)
            assert_as_funpack(real_frames[i], 1, 1);
}

static void funpack_reads_what_we_pack(void **state)
{
    (void)state;
    static const int bitpix[] = {8, 16, 32, -32, -64};
    char path[4096];
    scratch_path(&folder, "ours.fits.fz", path);
    if (RUN("fpack", "-V") < 0) {
        print_message("[  SKIPPED ] funpack is not installed\n");
        return;
    }
    for (size_t i = 0; i < sizeof bitpix / sizeof *bitpix; i++) {
        struct fits_image img;
        struct buf b = {0};
        if (bitpix[i] < 0)
            float_image(&img, bitpix[i]);
        else
            make_image(&img, bitpix[i], 130, 70, bitpix[i] == 16, PIX_RANDOM);
        fits_header_add_text(&img.header, "EXTNAME", "S7", NULL);
        assert_int_equal(fits_tile_pack(&img, &b, NULL), ST_OK);
        write_bytes(path, b.data, b.len);
        assert_as_funpack(path, 1, 1);
        fits_image_free(&img);
        buf_free(&b);
    }
}

/* funpack 4.2 misplaces these tiles; the original says where the pixels belong. */
static void narrow_tiles_with_nans_are_placed(void **state)
{
    (void)state;
    char plain[4096], packed[4096];
    struct fits_image img, got;
    struct buf b = {0}, file = {0};
    struct fault why;
    scratch_path(&folder, "narrow.fits", plain);
    scratch_path(&folder, "narrow.fz", packed);
    float_image(&img, -32);
    empty_primary(&b);
    append_hdu(&b, &img);
    write_bytes(plain, b.data, b.len);
    if (RUN("fpack", "-t", "40,17", "-q", "4", "-O", packed, plain) != 0) {
        print_message("[  SKIPPED ] fpack is not installed\n");
    } else {
        assert_int_equal(fs_read_file(packed, 1u << 26, &file, &why), ST_OK);
        assert_int_equal(load_hdu(&file, 1, &got, &why), ST_OK);
        assert_int_equal(got.size, img.size);
        for (size_t i = 0; i < img.size; i += 4) {
            uint32_t was_bits, is_bits;
            float was, is;
            fits_swap_copy(&was_bits, img.data + i, 1, 4);
            fits_swap_copy(&is_bits, got.data + i, 1, 4);
            memcpy(&was, &was_bits, 4);
            memcpy(&is, &is_bits, 4);
            assert_int_equal(is_bits == 0xffffffff, was_bits == 0x7fc00001);
            if (was_bits != 0x7fc00001 && was > 900 && was < 1100)
                assert_true(is - was < 2 && was - is < 2);
        }
        fits_image_free(&got);
    }
    fits_image_free(&img);
    buf_free(&file);
    buf_free(&b);
}

/* ---- threads ---- */

struct work {
    const struct buf *hdu;
    const struct fits_image *expected;
    int failures;
};

static void *load_often(void *arg)
{
    struct work *w = arg;
    for (int n = 0; n < 15; n++) {
        struct fits_image img;
        struct fault why;
        if (fits_image_load(w->hdu->data, w->hdu->len, &img, &why) != ST_OK) {
            w->failures++;
            continue;
        }
        w->failures += !same_image(&img, w->expected);
        fits_image_free(&img);
    }
    return NULL;
}

/* The tiled frame goes through cfitsio's files in memory, which share tables inside. */
static void threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    struct buf frame = {0}, hdu = {0};
    struct fits_image expected;
    struct fault why;
    if (!read_frame(real_frames[2], &frame))
        return;
    assert_true(buf_append(&hdu, frame.data + 17280, frame.len - 17280));
    assert_int_equal(fits_image_load(hdu.data, hdu.len, &expected, &why), ST_OK);
    pthread_t threads[6];
    struct work works[6];
    for (int i = 0; i < 6; i++) {
        works[i] = (struct work){&hdu, &expected, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, load_often, &works[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(works[i].failures, 0);
    }
    fits_image_free(&expected);
    buf_free(&hdu);
    buf_free(&frame);
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
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(a_cube_comes_back),
        cmocka_unit_test(unusual_cards_come_back),
        cmocka_unit_test(nan_payloads_come_back),
        cmocka_unit_test(real_frames_come_back),
        cmocka_unit_test(fpacks_files_load_as_funpack_has_them),
        cmocka_unit_test(funpack_reads_what_we_pack),
        cmocka_unit_test(narrow_tiles_with_nans_are_placed),
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
