/* Members that are damaged or belong to another image are refused in words, whatever is
 * damaged; and what the codecs write is what other readers know as JPH and JP2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/digest.h"
#include "tests/unit/codec_fixture.h"
#include "tests/unit/openjpeg_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch folder;

static const struct codec_options coded[] = {{.method = "htj2k", .qstep = 3e-5},
                                             {.method = "htj2k", .reversible = true},
                                             {.method = "jp2", .qstep = 3e-5},
                                             {.method = "jp2", .reversible = true},
                                             {.method = "rice"},
                                             {.method = "jxl"}};
#define CODED 6
#define J2K 4 /* the first of them */

static void sky(struct fits_image *img, struct buf *b, const struct codec_options *o)
{
    make_image(img, 16, 100, 90, true, PIX_SKY);
    assert_int_equal(codec_find(o->method)->encode(img, o, b, NULL), ST_OK);
}

/* Decodes with the header of `as`; the grade, and no data unless it is OK. */
static enum status decode_as(const char *method, const struct fits_image *as, const void *bytes,
                             size_t len, struct fault *why)
{
    struct fits_image got = {0};
    unsigned char *copy = malloc(len + 1); /* exactly as long, so that ASan sees the end */
    memcpy(copy, bytes, len);
    assert_true(fits_header_copy(&got.header, &as->header));
    enum status st = codec_decode(codec_find(method), copy, len, &got, why);
    if (st != ST_OK)
        assert_null(got.data);
    fits_image_free(&got);
    free(copy);
    return st;
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    uint64_t seed = 21;
    for (int o = 0; o < CODED; o++) {
        struct fits_image img;
        struct buf b = {0};
        sky(&img, &b, &coded[o]);
        size_t from =
            strcmp(coded[o].method, "rice") == 0 ? FITS_BLOCK : 0; /* the stub says nothing */
        for (int n = 0; n < 1500; n++) {
            struct fault why = {0};
            size_t at = n < 400 ? from + (size_t)n : from + fixture_random(&seed) % (b.len - from);
            unsigned char bit = (unsigned char)(1 << fixture_random(&seed) % 8);
            b.data[at] ^= bit;
            if (decode_as(coded[o].method, &img, b.data, b.len, &why) != ST_REJECT)
                fail_msg("%s: bit %d of byte %zu went unseen", coded[o].method, bit, at);
            assert_true(strlen(why.text) > 20);
            b.data[at] ^= bit;
        }
        struct fault why;
        assert_int_equal(decode_as(coded[o].method, &img, b.data, b.len, &why), ST_OK);
        fits_image_free(&img);
        buf_free(&b);
    }
}

static void every_cut_is_found(void **state)
{
    (void)state;
    for (int o = 0; o < CODED; o++) {
        struct fits_image img;
        struct buf b = {0};
        struct fault why;
        sky(&img, &b, &coded[o]);
        for (size_t len = 0; len < b.len; len += len < 300 ? 1 : 97)
            assert_int_equal(decode_as(coded[o].method, &img, b.data, len, &why), ST_REJECT);
        assert_true(buf_append(&b, "more", 4));
        assert_int_equal(decode_as(coded[o].method, &img, b.data, b.len, &why), ST_REJECT);
        fits_image_free(&img);
        buf_free(&b);
    }
}

static void many_flips_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = 22;
    for (int o = 0; o < CODED; o++) {
        struct fits_image img;
        struct buf b = {0};
        sky(&img, &b, &coded[o]);
        for (int n = 0; n < 600; n++) {
            struct fault why = {0};
            size_t len = n % 3 ? b.len : fixture_random(&seed) % b.len;
            unsigned char *copy = malloc(b.len);
            memcpy(copy, b.data, b.len);
            for (int k = 0; k < 1 + n % 20 && len; k++)
                copy[fixture_random(&seed) % len] = (unsigned char)fixture_random(&seed);
            enum status st = decode_as(coded[o].method, &img, copy, len, &why);
            assert_true(st == ST_OK || st == ST_REJECT);
            free(copy);
        }
        fits_image_free(&img);
        buf_free(&b);
    }
}

static void members_of_other_images_are_refused(void **state)
{
    (void)state;
    static const struct {
        int bitpix, width, height;
        bool is_unsigned;
        const char *words;
    } rows[] = {
        {16, 101, 90, true, "100 x 90 where the header asks for 101 x 90"},
        {16, 90, 100, true, "100 x 90 where the header asks for 90 x 100"},
        {16, 100, 90, false, "16-bit unsigned samples where the header asks for 16-bit signed"},
        {8, 100, 90, false, "16-bit unsigned samples where the header asks for 8-bit"},
        {32, 100, 90, false, "cannot hold an image of BITPIX 32"},
        {16, 3000, 3000, true, "where the header asks for"}};
    for (int o = 0; o < J2K; o++) {
        struct fits_image img;
        struct buf b = {0};
        sky(&img, &b, &coded[o]);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            struct fits_image as;
            struct fault why = {0};
            make_image(&as, rows[i].bitpix, rows[i].width, rows[i].height, rows[i].is_unsigned,
                       PIX_ZERO);
            assert_int_equal(decode_as(coded[o].method, &as, b.data, b.len, &why), ST_REJECT);
            if (!strstr(why.text, rows[i].words))
                fail_msg("%s: %s", coded[o].method, why.text);
            fits_image_free(&as);
        }
        struct fits_image none = {0};
        struct fault why;
        assert_int_equal(codec_decode(codec_find(coded[o].method), b.data, b.len, &none, &why),
                         ST_REJECT);
        /* The other codec's file is not this one's. */
        const char *other = o < 2 ? "jp2" : "htj2k";
        assert_int_equal(decode_as(other, &img, b.data, b.len, &why), ST_REJECT);
        fits_image_free(&img);
        buf_free(&b);
    }
}

/* ---- behind the seal: what a forger could write ---- */

/* The file ends with 64 digits: the SHA-256 of all but its last 88 bytes. */
static void reseal(unsigned char *file, size_t len)
{
    char hex[DIGEST_HEX];
    digest_bytes(file, len - 88, hex);
    memcpy(file + len - 64, hex, 64);
}

/* Codestream headers of another shape are refused before a decoder makes room for them. */
static void forged_headers_are_refused(void **state)
{
    (void)state;
    for (int o = 0; o < J2K; o++) {
        struct fits_image img;
        struct buf b = {0};
        sky(&img, &b, &coded[o]);
        const unsigned char *sot = memmem(b.data, b.len, "\xff\x90\x00\x0a", 4);
        const unsigned char *cod = memmem(b.data, b.len, "\xff\x52\x00\x0c", 4);
        assert_non_null(sot);
        assert_non_null(cod);
        struct {
            size_t from, to;
        } runs[] = {{0, 128 + 2}, /* boxes, SOC, SIZ */
                    {(size_t)(cod - b.data), (size_t)(cod - b.data) + 8},
                    {(size_t)(cod - b.data) + 10, (size_t)(cod - b.data) + 13},
                    {(size_t)(sot - b.data), (size_t)(sot - b.data) + 14}};
        for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
            for (size_t at = runs[r].from; at < runs[r].to; at++) {
                struct fault why = {0};
                unsigned char was = b.data[at];
                size_t in_siz = at - 85 - 4; /* Rsiz, tile sides: a larger tile is the same tile */
                if ((in_siz >= 2 && in_siz < 4) || (in_siz >= 20 && in_siz < 28) ||
                    (r == 1 && at == runs[r].from + 5) || (r == 3 && at >= runs[r].to - 4))
                    continue;
                b.data[at] ^= 0x11;
                reseal(b.data, b.len);
                if (decode_as(coded[o].method, &img, b.data, b.len, &why) != ST_REJECT)
                    fail_msg("%s: byte %zu", coded[o].method, at);
                b.data[at] = was;
            }
        fits_image_free(&img);
        buf_free(&b);
    }
}

/* OpenJPEG stands damaged packets; OpenJPH 0.9 ends the process on some of them, which is
 * why no such file without its right digest reaches it. */
static void forged_packets_do_no_harm_to_openjpeg(void **state)
{
    (void)state;
    uint64_t seed = 23;
    struct fits_image img;
    struct buf b = {0};
    sky(&img, &b, &coded[3]);
    for (int n = 0; n < 1500; n++) {
        struct fault why = {0};
        unsigned char *copy = malloc(b.len);
        memcpy(copy, b.data, b.len);
        for (int k = 0; k < 1 + n % 8; k++)
            copy[85 + fixture_random(&seed) % (b.len - 85 - 88)] ^= (unsigned char)(1 << n % 8);
        reseal(copy, b.len);
        enum status st = decode_as("jp2", &img, copy, b.len, &why);
        assert_true(st == ST_OK || (st == ST_REJECT && strlen(why.text) > 20));
        free(copy);
    }
    fits_image_free(&img);
    buf_free(&b);
}

/* ---- other readers ---- */

static void openjpeg_reads_both_as_files(void **state)
{
    (void)state;
    for (int form = 0; form < 6; form++) {
        struct codec_options o = {.method = form % 2 ? "jp2" : "htj2k", .reversible = true};
        struct fits_image img;
        struct buf b = {0};
        char path[4096];
        bool wide = form < 4, is_unsigned = form < 2;
        make_image(&img, wide ? 16 : 8, 131, 97, is_unsigned, PIX_RANDOM);
        assert_int_equal(codec_find(o.method)->encode(&img, &o, &b, NULL), ST_OK);
        scratch_path(&folder, "picture", path);
        write_bytes(path, b.data, b.len);
        opj_image_t *picture = read_by_openjpeg(path);
        assert_non_null(picture);
        assert_int_equal(picture->numcomps, 1);
        assert_int_equal(picture->color_space, OPJ_CLRSPC_GRAY);
        assert_int_equal(picture->comps[0].w, 131);
        assert_int_equal(picture->comps[0].h, 97);
        assert_int_equal(picture->comps[0].prec, wide ? 16 : 8);
        assert_int_equal(picture->comps[0].sgnd, wide && !is_unsigned);
        for (size_t i = 0; i < 131 * 97; i++) {
            int stored = wide ? (int16_t)(img.data[2 * i] << 8 | img.data[2 * i + 1]) : img.data[i];
            assert_int_equal(picture->comps[0].data[i], stored + (is_unsigned ? 32768 : 0));
        }
        opj_image_destroy(picture);
        fits_image_free(&img);
        buf_free(&b);
    }
}

static void ojph_expand_reads_jph(void **state)
{
    (void)state;
    struct codec_options o = {.method = "htj2k", .reversible = true};
    struct fits_image img;
    struct buf b = {0}, pgm = {0};
    char path[4096], out[4096];
    sky(&img, &b, &o);
    scratch_path(&folder, "picture.jph", path);
    scratch_path(&folder, "picture.pgm", out);
    write_bytes(path, b.data, b.len);
    if (RUN("ojph_expand", "-i", path, "-o", out) != 0) {
        print_message("[  SKIPPED ] ojph_expand is not installed\n");
    } else {
        assert_int_equal(fs_read_file(out, 1u << 20, &pgm, NULL), ST_OK);
        assert_true(pgm.len > img.size);
        const unsigned char *samples = pgm.data + pgm.len - img.size;
        for (size_t i = 0; i < img.size; i += 2) {
            assert_int_equal(samples[i], img.data[i] ^ 0x80);
            assert_int_equal(samples[i + 1], img.data[i + 1]);
        }
    }
    fits_image_free(&img);
    buf_free(&pgm);
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
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_cut_is_found),
        cmocka_unit_test(many_flips_do_no_harm),
        cmocka_unit_test(members_of_other_images_are_refused),
        cmocka_unit_test(forged_headers_are_refused),
        cmocka_unit_test(forged_packets_do_no_harm_to_openjpeg),
        cmocka_unit_test(openjpeg_reads_both_as_files),
        cmocka_unit_test(ojph_expand_reads_jph),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
