/* The structure of a file is told to the byte: whole, still growing (and how much is
 * missing), or never FITS (and why). Checksums that are there are checked. */
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

/* An open file that holds these bytes, or the first `len` of them. */
static int file_of(const struct buf *b, size_t len)
{
    char path[4096];
    int fd = open(scratch_path(&folder, "f.fits", path), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, b->data, len), 0);
    return fd;
}

/* What the scan finds; freed here when it finds fault, so that only a good one is the
 * caller's to free (freeing twice is harmless). */
static enum status scan_bytes(const struct buf *b, size_t len, struct fits_file *f,
                              struct fault *why)
{
    int fd = file_of(b, len);
    enum status st = fits_scan(fd, f, why);
    close(fd);
    if (st != ST_OK)
        fits_file_free(f);
    return st;
}

/* A primary, an image, a table, a tiled image, an empty image, an unknown extension. */
static void sample_file(struct buf *b)
{
    struct fits_image img;
    empty_primary(b);
    make_image(&img, 16, 40, 30, true, PIX_SKY);
    fits_header_add_text(&img.header, "EXTNAME", "S1", NULL);
    append_hdu(b, &img);
    card(b, "XTENSION= 'BINTABLE'");
    card(b, "BITPIX  = 8");
    card(b, "NAXIS   = 2");
    card(b, "NAXIS1  = 100");
    card(b, "NAXIS2  = 10");
    card(b, "PCOUNT  = 2000");
    card(b, "GCOUNT  = 1");
    card(b, "TFIELDS = 1");
    card(b, "TFORM1  = '100A'");
    end_card(b);
    for (int i = 0; i < 3000; i++)
        assert_true(buf_append(b, "t", 1));
    pad(b, 0);
    struct buf packed = {0};
    assert_int_equal(fits_tile_pack(&img, &packed, NULL), ST_OK);
    assert_true(buf_append(b, packed.data + FITS_BLOCK, packed.len - FITS_BLOCK));
    card(b, "XTENSION= 'IMAGE   '");
    card(b, "BITPIX  = 16");
    card(b, "NAXIS   = 0");
    card(b, "PCOUNT  = 0");
    card(b, "GCOUNT  = 1");
    end_card(b);
    card(b, "XTENSION= 'A3DTABLE'");
    card(b, "BITPIX  = 8");
    card(b, "NAXIS   = 1");
    card(b, "NAXIS1  = 5");
    end_card(b);
    assert_true(buf_append(b, "12345", 5));
    pad(b, 0);
    buf_free(&packed);
    fits_image_free(&img);
}

static void tells_the_structure(void **state)
{
    (void)state;
    static const enum fits_kind kinds[] = {FITS_EMPTY, FITS_IMAGE, FITS_TABLE,
                                           FITS_TILED, FITS_EMPTY, FITS_OTHER};
    struct buf b = {0}, one = {0};
    struct fits_file f;
    struct fault why;
    sample_file(&b);
    int fd = file_of(&b, b.len);
    assert_int_equal(fits_scan(fd, &f, &why), ST_OK);
    assert_int_equal(f.count, 6);
    assert_int_equal(f.size, b.len);
    assert_int_equal(f.end, b.len);
    for (size_t i = 0; i < f.count; i++) {
        assert_int_equal(f.hdu[i].index, i);
        assert_int_equal(f.hdu[i].kind, kinds[i]);
        assert_int_equal(f.hdu[i].head, i ? f.hdu[i - 1].end : 0);
        struct fits_header h;
        assert_int_equal(fits_read_header(fd, &f.hdu[i], &h, &why), ST_OK);
        assert_memory_equal(h.cards, b.data + f.hdu[i].head, h.count * FITS_CARD);
        fits_header_free(&h);
        one.len = 0;
        assert_int_equal(fits_read_hdu(fd, &f.hdu[i], &one, &why), ST_OK);
        assert_int_equal(one.len, f.hdu[i].end - f.hdu[i].head);
        assert_memory_equal(one.data, b.data + f.hdu[i].head, one.len);
    }
    for (int i = 1; i <= 3; i += 2) { /* the shape is the image's, also when tiled */
        assert_int_equal(f.hdu[i].bitpix, 16);
        assert_int_equal(f.hdu[i].naxis, 2);
        assert_int_equal(f.hdu[i].naxes[0], 40);
        assert_int_equal(f.hdu[i].naxes[1], 30);
        assert_string_equal(f.hdu[i].extname, "S1");
    }
    assert_int_equal(f.hdu[1].data - f.hdu[1].head, FITS_BLOCK);
    assert_int_equal(f.hdu[1].end - f.hdu[1].data, FITS_BLOCK);
    assert_int_equal(f.hdu[2].end - f.hdu[2].data, 2 * FITS_BLOCK);
    assert_int_equal(ftruncate(fd, f.hdu[5].end - 1), 0);
    one.len = 0;
    assert_int_equal(fits_read_hdu(fd, &f.hdu[5], &one, &why), ST_WAIT);
    close(fd);
    fits_file_free(&f);
    assert_null(f.hdu);
    buf_free(&one);
    buf_free(&b);
}

static void real_frames_are_whole(void **state)
{
    (void)state;
    static const enum fits_kind kinds[REAL_FRAMES] = {FITS_IMAGE, FITS_IMAGE, FITS_TILED};
    static const int bitpix[REAL_FRAMES] = {32, -32, -32};
    static const off_t ends[REAL_FRAMES] = {279360, 282240, 106560};
    for (int i = 0; i < REAL_FRAMES; i++) {
        struct buf b = {0}, hdu = {0};
        struct fits_file f;
        struct fault why;
        if (!read_frame(real_frames[i], &b))
            continue;
        int fd = file_of(&b, b.len);
        assert_int_equal(fits_scan(fd, &f, &why), ST_OK);
        assert_int_equal(f.count, 2);
        assert_int_equal(f.end, ends[i]);
        assert_int_equal(f.hdu[1].kind, kinds[i]);
        assert_int_equal(f.hdu[1].bitpix, bitpix[i]);
        assert_string_equal(f.hdu[1].extname, i == 2 ? "N6" : "N2");
        for (size_t k = 0; k < f.count; k++) {
            hdu.len = 0;
            assert_int_equal(fits_read_hdu(fd, &f.hdu[k], &hdu, &why), ST_OK);
            assert_int_equal(fits_check_sums(hdu.data, hdu.len, &why), ST_OK);
        }
        close(fd);
        fits_file_free(&f);
        buf_free(&hdu);
        buf_free(&b);
    }
}

static void every_prefix_waits(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_file whole, f;
    struct fault why;
    sample_file(&b);
    assert_int_equal(scan_bytes(&b, b.len, &whole, &why), ST_OK);
    for (size_t len = 0; len < b.len; len += len % 97 == 1 ? 1 : 29) {
        size_t hdus = 0;
        while (hdus < whole.count && (size_t)whole.hdu[hdus].end < len)
            hdus++;
        bool at_end = (size_t)whole.hdu[hdus].end == len;
        enum status st = scan_bytes(&b, len, &f, &why);
        assert_int_equal(st, at_end ? ST_OK : ST_WAIT);
        if (st == ST_WAIT) {
            char hdu[32];
            snprintf(hdu, sizeof hdu, "HDU %zu", hdus);
            assert_non_null(strstr(why.text, hdu));
            assert_non_null(strstr(why.text, "missing"));
        }
        fits_file_free(&f);
    }
    assert_int_equal(scan_bytes(&b, (size_t)whole.hdu[1].end - 7, &f, &why), ST_WAIT);
    assert_string_equal(why.text, "the file ends within HDU 1 S1, 7 bytes are missing");
    fits_file_free(&f);
    fits_file_free(&whole);
    buf_free(&b);
}

static void bytes_after_the_last_hdu(void **state)
{
    (void)state;
    static const char *const tails[] = {"\0", " ", "junk", "XTENSIVE", "XTENSION "};
    struct buf b = {0};
    struct fits_file f;
    struct fault why;
    sample_file(&b);
    size_t end = b.len;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        b.len = end;
        for (int k = 0; k < 1000; k++)
            assert_true(buf_append(&b, tails[i], tails[i][0] ? strlen(tails[i]) : 1));
        assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_OK);
        assert_int_equal(f.count, 6);
        assert_int_equal(f.end, end);
        assert_int_equal(f.size, b.len);
        fits_file_free(&f);
    }
    b.len = end;
    assert_true(buf_append(&b, "XTENS", 5)); /* the next HDU's first bytes */
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_WAIT);
    fits_file_free(&f);
    buf_free(&b);
}

/* A header with one card in the place of another. */
struct hostile {
    const char *was, *is;
    enum status grade;
    const char *words;
};

static void hostile_headers(void **state)
{
    (void)state;
    static const char *const cards[] = {"XTENSION= 'IMAGE   '", "BITPIX  = 16", "NAXIS   = 2",
                                        "NAXIS1  = 10",         "NAXIS2  = 10", "PCOUNT  = 0",
                                        "GCOUNT  = 1"};
    static const struct hostile rows[] = {
        {"NAXIS   = 2", "NAXIS   = 999", ST_REJECT, "NAXIS = 999"},
        {"NAXIS   = 2", "NAXIS   = -1", ST_REJECT, "NAXIS = -1"},
        {"NAXIS   = 2", "NAXIS   = 'two'", ST_REJECT, "NAXIS is no integer"},
        {"NAXIS   = 2", "NAXIZ   = 2", ST_REJECT, "no NAXIS"},
        {"NAXIS   = 2", "NAXIS   = 3", ST_REJECT, "no NAXIS3"},
        {"NAXIS1  = 10", "NAXIS1  = -5", ST_REJECT, "NAXIS1 = -5"},
        {"NAXIS1  = 10", "NAXIS1  = 1000000000000000000", ST_REJECT, "NAXIS1"},
        {"NAXIS1  = 10", "NAXIS1  = 99999999999999999999", ST_REJECT, "NAXIS1"},
        {"NAXIS1  = 10", "NAXIS1  = 1000000000000", ST_REJECT, "1 TiB"},
        {"NAXIS1  = 10", "NAXIS1  = 100000000", ST_WAIT, "1999998720 bytes"},
        {"NAXIS1  = 10", "NAXIS1  = 1E1", ST_REJECT, "NAXIS1 is no integer"},
        {"NAXIS2  = 10", "NAXIS1  = 10", ST_REJECT, "no NAXIS2"},
        {"PCOUNT  = 0", "PCOUNT  = -2880", ST_REJECT, "PCOUNT = -2880"},
        {"PCOUNT  = 0", "PCOUNT  = 9223372036854775807", ST_REJECT, "PCOUNT"},
        {"GCOUNT  = 1", "GCOUNT  = -1", ST_REJECT, "GCOUNT"},
        {"GCOUNT  = 1", "GCOUNT  = 1000000000000", ST_REJECT, "1 TiB"},
        {"BITPIX  = 16", "BITPIX  = 7", ST_REJECT, "BITPIX = 7"},
        {"BITPIX  = 16", "BITPIX  = -16", ST_REJECT, "BITPIX = -16"},
        {"GCOUNT  = 1", "GCOUNT  = 1\a", ST_REJECT, "0x07"},
        {"GCOUNT  = 1", "ZIMAGE  = T", ST_OK, ""}, /* an image says so in vain */
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct buf b = {0};
        struct fits_file f;
        struct fault why = {0};
        empty_primary(&b);
        for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
            card(&b, "%s", strcmp(cards[i], rows[r].was) == 0 ? rows[r].is : cards[i]);
        end_card(&b);
        for (int i = 0; i < FITS_BLOCK; i++)
            assert_true(buf_append(&b, "d", 1));
        enum status st = scan_bytes(&b, b.len, &f, &why);
        if (st != rows[r].grade || !strstr(why.text, rows[r].words))
            fail_msg("%s: %s %s", rows[r].is, status_name(st), why.text);
        if (st != ST_OK)
            assert_non_null(strstr(why.text, "HDU 1"));
        fits_file_free(&f);
        buf_free(&b);
    }
}

static void tables_that_claim_to_be_images(void **state)
{
    (void)state;
    static const struct hostile rows[] = {
        {"", "ZNAXIS  = 2", ST_OK, ""},
        {"", "ZNAXIS  = 0", ST_REJECT, "describe no image"},
        {"", "ZNAXIS  = 12", ST_REJECT, "ZNAXIS = 12"},
        {"", "ZNAXIS  = 3", ST_REJECT, "no ZNAXIS3"},
        {"", "COMMENT", ST_REJECT, "no ZNAXIS"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct buf b = {0};
        struct fits_file f;
        struct fault why = {0};
        empty_primary(&b);
        card(&b, "XTENSION= 'BINTABLE'");
        card(&b, "BITPIX  = 8");
        card(&b, "NAXIS   = 2");
        card(&b, "NAXIS1  = 8");
        card(&b, "NAXIS2  = 0");
        card(&b, "ZIMAGE  = T");
        card(&b, "ZBITPIX = 16");
        card(&b, "ZNAXIS1 = 5");
        card(&b, "ZNAXIS2 = 6");
        card(&b, "%s", rows[r].is);
        end_card(&b);
        assert_int_equal(scan_bytes(&b, b.len, &f, &why), rows[r].grade);
        assert_non_null(strstr(why.text, rows[r].words));
        fits_file_free(&f);
        buf_free(&b);
    }
}

static void files_that_are_no_fits(void **state)
{
    (void)state;
    static const char *const texts[] = {"hello",       "S",      "SIMPLE",
                                        "#!/bin/sh\n", "SIMPLY", "XTENSION="};
    static const enum status grades[] = {ST_REJECT, ST_WAIT,   ST_WAIT,
                                         ST_REJECT, ST_REJECT, ST_REJECT};
    struct fits_file f;
    struct fault why;
    struct buf b = {0};
    assert_int_equal(scan_bytes(&b, 0, &f, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "empty"));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        b.len = 0;
        assert_true(buf_append(&b, texts[i], strlen(texts[i])));
        assert_int_equal(scan_bytes(&b, b.len, &f, &why), grades[i]);
        if (grades[i] == ST_REJECT)
            assert_non_null(strstr(why.text, "no FITS file"));
        fits_file_free(&f);
    }
    b.len = 0;
    for (int i = 0; i < 10000; i++) /* its place is taken, nothing is written yet */
        assert_true(buf_append(&b, "\0\0\0\0\0\0\0\0\0", 9));
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "not written yet"));
    memcpy(b.data, "SIMPLE  =                    T", 30);
    memset(b.data + 30, ' ', 50);
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_WAIT);
    b.data[5000] = 1;
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_REJECT);
    buf_free(&b);
}

static void headers_without_end(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_file f;
    struct fault why;
    card(&b, "SIMPLE  =                    T");
    while (b.len < FITS_HEADER_MAX - 100000)
        card(&b, "COMMENT and so on");
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "within the header of HDU 0"));
    while (b.len < 3 * FITS_HEADER_MAX)
        card(&b, "COMMENT and so on");
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "no END card in its first 10 MB"));
    fits_file_free(&f);
    buf_free(&b);
}

static void too_many_hdus(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_file f;
    struct fault why;
    empty_primary(&b);
    for (int i = 1; i <= FITS_MAX_HDUS; i++) {
        card(&b, "XTENSION= 'IMAGE   '");
        card(&b, "BITPIX  = 8");
        card(&b, "NAXIS   = 0");
        end_card(&b);
    }
    assert_int_equal(scan_bytes(&b, b.len - FITS_BLOCK, &f, &why), ST_OK);
    assert_int_equal(f.count, FITS_MAX_HDUS);
    fits_file_free(&f);
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "more than 4096 HDUs"));
    fits_file_free(&f);
    buf_free(&b);
}

static void random_groups_are_measured(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_file f;
    struct fault why;
    card(&b, "SIMPLE  =                    T");
    card(&b, "BITPIX  = 16");
    card(&b, "NAXIS   = 3");
    card(&b, "NAXIS1  = 0");
    card(&b, "NAXIS2  = 10");
    card(&b, "NAXIS3  = 10");
    card(&b, "GROUPS  = T");
    card(&b, "PCOUNT  = 6");
    card(&b, "GCOUNT  = 20");
    end_card(&b);
    for (int i = 0; i < 2 * 106 * 20; i++)
        assert_true(buf_append(&b, "g", 1));
    pad(&b, 0);
    assert_int_equal(scan_bytes(&b, b.len, &f, &why), ST_OK);
    assert_int_equal(f.hdu[0].kind, FITS_OTHER);
    assert_int_equal(f.end, b.len);
    fits_file_free(&f);
    buf_free(&b);
}

static void sums_are_those_of_the_standard(void **state)
{
    (void)state;
    char text[17];
    fits_sum_text(868229149u, text); /* the example of the standard's appendix J */
    assert_string_equal(text, "hcHjjc9ghcEghc9g");
    unsigned char words[] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0x80, 0,
                             0,    0,    0x80, 0,    0, 0, 0, 0, 0,    5};
    assert_int_equal(fits_sum(words, 4, 0), 0xffffffff);
    assert_int_equal(fits_sum(words, 8, 0), 2);
    assert_int_equal(fits_sum(words, 20, 0), 8);
    assert_int_equal(fits_sum(words + 4, 4, 0xfffffffe), 1);
    assert_int_equal(fits_sum(words, 0, 0), 0);
}

static void wrong_sums_are_told(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_image img;
    struct fault why;
    make_image(&img, 16, 60, 50, true, PIX_RANDOM);
    assert_int_equal(fits_image_file(NULL, &img, NULL, &b, &why), ST_OK);
    assert_int_equal(fits_check_sums(b.data, b.len, &why), ST_OK);
    for (size_t at = FITS_BLOCK; at < b.len; at += 61) {
        b.data[at] ^= 0x10;
        assert_int_equal(fits_check_sums(b.data, b.len, &why), ST_REJECT);
        assert_non_null(strstr(why.text, "DATASUM is wrong"));
        b.data[at] ^= 0x10;
    }
    b.data[100] ^= 1; /* a comment in the header */
    assert_int_equal(fits_check_sums(b.data, b.len, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "CHECKSUM is wrong"));
    b.data[100] ^= 1;
    assert_int_equal(fits_check_sums(b.data, b.len - 1, &why), ST_REJECT);
    b.len = 0;
    append_hdu(&b, &img); /* without sums there is nothing to check */
    assert_int_equal(fits_check_sums(b.data, b.len, &why), ST_OK);
    assert_int_equal(fits_check_sums(b.data, 100, &why), ST_REJECT);
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
        cmocka_unit_test(tells_the_structure),
        cmocka_unit_test(real_frames_are_whole),
        cmocka_unit_test(every_prefix_waits),
        cmocka_unit_test(bytes_after_the_last_hdu),
        cmocka_unit_test(hostile_headers),
        cmocka_unit_test(tables_that_claim_to_be_images),
        cmocka_unit_test(files_that_are_no_fits),
        cmocka_unit_test(headers_without_end),
        cmocka_unit_test(too_many_hdus),
        cmocka_unit_test(random_groups_are_measured),
        cmocka_unit_test(sums_are_those_of_the_standard),
        cmocka_unit_test(wrong_sums_are_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
