/* HTJ2K with a step for each group of wavelet levels, damaged or forged: found by the seal, and
 * where the seal was made anew the codestream's header is refused or harmless. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/codec_j2k.h"
#include "common/digest.h"
#include "tests/unit/sky_fixture.h"

#define BOXES 85 /* before the codestream */
#define SEAL 88  /* behind it */

static void small_picture(struct fits_image *img, struct buf *b)
{
    struct codec_options o = {.method = "htj2k", .offset = 1800,
                              .step = {6.0 / 65536, 4.0 / 65536, 2.0 / 65536}};
    make_noise(img, 100, 90, true, 1800, 10);
    put_adu(img, 4444, 65535, true);
    assert_int_equal(codec_find("htj2k")->encode(img, &o, b, NULL), ST_OK);
}

/* The file ends with 64 digits: the SHA-256 of all but its last 88 bytes. */
static void reseal(unsigned char *file, size_t len)
{
    char hex[DIGEST_HEX];
    digest_bytes(file, len - SEAL, hex);
    memcpy(file + len - 64, hex, 64);
}

/* Of a copy exactly as long, so that ASan sees the end. */
static enum status decode_copy(const struct fits_image *as, const struct buf *b, struct fault *why)
{
    struct fits_image got = {0};
    unsigned char *copy = malloc(b->len);
    memcpy(copy, b->data, b->len);
    assert_true(fits_header_copy(&got.header, &as->header));
    enum status st = codec_decode(codec_find("htj2k"), copy, b->len, &got, why);
    assert_true(st == ST_OK || (st == ST_REJECT && strlen(why->text) > 20 && !got.data));
    fits_image_free(&got);
    free(copy);
    return st;
}

static unsigned char *find_marker(const struct buf *b, unsigned char kind)
{
    const unsigned char marker[2] = {0xff, kind};
    unsigned char *at = memmem(b->data + BOXES, b->len - BOXES, marker, 2);
    assert_non_null(at);
    return at;
}

static void damage_is_found_by_the_seal(void **state)
{
    (void)state;
    uint64_t seed = 31;
    struct fits_image img;
    struct buf b = {0};
    struct fault why;
    small_picture(&img, &b);
    for (int n = 0; n < 1500; n++) {
        size_t at = n < 400 ? (size_t)n : fixture_random(&seed) % b.len;
        unsigned char bit = (unsigned char)(1 << fixture_random(&seed) % 8);
        b.data[at] ^= bit;
        assert_int_equal(decode_copy(&img, &b, &why), ST_REJECT);
        b.data[at] ^= bit;
    }
    size_t len = b.len;
    for (b.len = 1; b.len < len; b.len += 61)
        assert_int_equal(decode_copy(&img, &b, &why), ST_REJECT);
    b.len = len;
    assert_int_equal(decode_copy(&img, &b, &why), ST_OK);
    fits_image_free(&img);
    buf_free(&b);
}

/* The offset's text, with the seal made anew: a number in the range of pixels, or refused. */
static void a_forged_offset_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fine;
    } rows[] = {{"1800", true},  {"9999", true},  {"   7", true},  {"-999", true},  {"+012", true},
                {"18 0", false}, {"180x", false}, {"    ", false}, {"0x12", false}, {"1e03", false},
                {"--12", false}, {"18\0" "0", false}, {"\xff\xfe\xfd\xfc", false}};
    struct fits_image img;
    struct buf b = {0};
    struct fault why;
    small_picture(&img, &b);
    unsigned char *comment = find_marker(&b, 0x64);
    unsigned char *digits = memmem(comment, 64, J2K_OFFSET_WORDS, strlen(J2K_OFFSET_WORDS));
    assert_non_null(digits);
    digits += strlen(J2K_OFFSET_WORDS);
    assert_memory_equal(digits, "1800", 4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memcpy(digits, rows[i].text, 4);
        reseal(b.data, b.len);
        enum status st = decode_copy(&img, &b, &why);
        if (st != (rows[i].fine ? ST_OK : ST_REJECT))
            fail_msg("'%s': %d", rows[i].text, st);
    }
    memcpy(digits, "1800", 4);
    for (unsigned v = 0; v < 65536; v += v < 80 ? 1 : 251) { /* its length */
        comment[2] = (unsigned char)(v >> 8);
        comment[3] = (unsigned char)v;
        reseal(b.data, b.len);
        enum status st = decode_copy(&img, &b, &why);
        assert_true(st == ST_REJECT || v == 4 + strlen(J2K_OFFSET_WORDS) + 4);
    }
    fits_image_free(&img);
    buf_free(&b);
}

/* Offsets that no pixel has, written out in full with the comment's and the box's length. */
static void offsets_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fine;
    } rows[] = {{"-32768", true},  {"65535", true},       {"-32769", false},
                {"65536", false},  {"4294967296", false}, {"99999999999999999999", false},
                {"", false},       {"1800                                           1", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fits_image img;
        struct buf b = {0}, forged = {0};
        struct fault why;
        size_t words = strlen(J2K_OFFSET_WORDS), len = strlen(rows[i].text);
        small_picture(&img, &b);
        unsigned char *comment = find_marker(&b, 0x64);
        size_t digits = (size_t)(comment - b.data) + 6 + words;
        assert_true(buf_append(&forged, b.data, digits) &&
                    buf_append(&forged, rows[i].text, len) &&
                    buf_append(&forged, b.data + digits + 4, b.len - digits - 4));
        unsigned size = (unsigned)(4 + words + len), box = (unsigned)(forged.len - SEAL - 77);
        forged.data[digits - words - 4] = (unsigned char)(size >> 8);
        forged.data[digits - words - 3] = (unsigned char)size;
        for (int k = 0; k < 4; k++)
            forged.data[77 + k] = (unsigned char)(box >> (24 - 8 * k));
        reseal(forged.data, forged.len);
        enum status st = decode_copy(&img, &forged, &why);
        if (st != (rows[i].fine ? ST_OK : ST_REJECT))
            fail_msg("offset '%s': %d %s", rows[i].text, st, why.text);
        if (st == ST_REJECT)
            assert_non_null(strstr(why.text, "offset"));
        fits_image_free(&img);
        buf_free(&b);
        buf_free(&forged);
    }
}

/* Steps of any size give wrong pixels at worst; a wrong style or count is refused. */
static void forged_steps_do_no_harm(void **state)
{
    (void)state;
    static const unsigned char values[] = {0, 1, 7, 8, 0x55, 0x80, 0x9f, 0xaa, 0xf8, 0xff};
    struct fits_image img;
    struct buf b = {0};
    struct fault why;
    small_picture(&img, &b);
    unsigned char *qcd = find_marker(&b, 0x5c);
    size_t end = 2 + ((size_t)qcd[2] << 8 | qcd[3]);
    assert_int_equal(end, 5 + 2 * 16); /* five levels */
    for (size_t at = 2; at < end; at++)
        for (size_t v = 0; v < sizeof values; v++) {
            unsigned char was = qcd[at];
            qcd[at] = values[v];
            reseal(b.data, b.len);
            enum status st = decode_copy(&img, &b, &why);
            if (at < 4 && values[v] != was)
                assert_int_equal(st, ST_REJECT);
            qcd[at] = was;
        }
    fits_image_free(&img);
    buf_free(&b);
}

/* The tile's length, its header, the depth, the levels and the end. */
static void forged_shapes_are_refused(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf b = {0};
    struct fault why;
    small_picture(&img, &b);
    size_t siz = (size_t)(find_marker(&b, 0x51) - b.data);
    size_t cod = (size_t)(find_marker(&b, 0x52) - b.data);
    size_t sot = (size_t)(find_marker(&b, 0x90) - b.data), end = b.len - SEAL - 2;
    const size_t places[] = {58, siz + 40, siz + 7, siz + 11, cod + 9, sot + 2, sot + 3, sot + 5,
                             sot + 6, sot + 7, sot + 8, sot + 9, sot + 10, sot + 12, sot + 13, end};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.data[places[i]] ^= (unsigned char)(1 << bit);
            reseal(b.data, b.len);
            if (places[i] == cod + 9) /* fewer levels than steps, or more */
                assert_int_equal(decode_copy(&img, &b, &why), ST_REJECT);
            else if (decode_copy(&img, &b, &why) != ST_REJECT)
                fail_msg("bit %d of byte %zu was not missed", bit, places[i]);
            b.data[places[i]] ^= (unsigned char)(1 << bit);
        }
    fits_image_free(&img);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_is_found_by_the_seal),
        cmocka_unit_test(a_forged_offset_is_refused),
        cmocka_unit_test(offsets_out_of_range_are_refused),
        cmocka_unit_test(forged_steps_do_no_harm),
        cmocka_unit_test(forged_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
