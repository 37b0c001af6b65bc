/* Lossy pictures with exact pixels beside them: the bound holds at the far end, what was measured
 * stands in the header, and pixels other than those that the sender proved are refused when
 * exact or bounded ones were promised, else delivered and marked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>

#include <cmocka.h>

#include "common/exact.h"
#include "tests/unit/unpack_fixture.h"

#define BOUND 8
#define FIRST ROOT "_11.fits"

/* How a bundle of two ccds (11 and 12) differs from a good lossy one, in ccd 11 only. */
struct told {
    bool lossless;        /* the picture is */
    bool bounded;         /* exact pixels beside it, bound BOUND */
    bool no_member;       /* they are promised and not there */
    int datasum_off;      /* the stated DATASUM is off by this */
    bool no_datasum;
    size_t cut;           /* bytes off the end of the exact member's contents */
    size_t grow;          /* or zeros behind them */
    bool other_pixel;     /* an exact pixel has another value */
    int64_t count_off;    /* the stated number of exact pixels is off by this */
};

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

static int adu(const struct fits_image *img, size_t i)
{
    return (int16_t)(img->data[2 * i] << 8 | img->data[2 * i + 1]) + 32768;
}

/* The checksum convention in its own words: end-around carry over big-endian 32-bit words. */
static int64_t datasum_of(const struct fits_image *img)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < img->size; i += 4) {
        for (size_t k = 0; k < 4; k++)
            sum += (uint64_t)(i + k < img->size ? img->data[i + k] : 0) << (24 - 8 * k);
        sum = (sum & 0xffffffff) + (sum >> 32);
    }
    return (int64_t)sum;
}

static const struct measures sky = {.sky = 1766.123456, .noise = 2.7801234, .read_noise = 1.75,
                                    .gain = 4.04999999, .rms_error = 1.23456789,
                                    .max_error = 11, .bound = NAN, .datasum = -1};

/* Patches `got` as the far end will and gathers what must travel for it. */
static void gather(const struct fits_image *raw, struct fits_image *got, struct exact *e)
{
    *e = (struct exact){.size = 2};
    for (size_t i = 0; i < raw->size / 2; i++)
        if (abs(adu(raw, i) - adu(got, i)) > BOUND) {
            assert_true(exact_add(e, (int64_t)i, 1, raw->data + 2 * i));
            memcpy(got->data + 2 * i, raw->data + 2 * i, 2);
        }
}

static void add_exact_member(struct bundle_writer *w, struct manifest *m, int hdu, struct exact *e,
                             const struct told *t)
{
    struct buf plain = {0}, packed = {0};
    struct member one = {.role = MEMBER_EXACT, .hdu = hdu, .ccd = hdu + 10, .codec = "zstd",
                         .measured = measures_none};
    assert_true(exact_write(e, &plain));
    plain.len -= t->cut;
    for (size_t i = 0; i < t->grow; i++)
        assert_true(buf_append(&plain, "", 1));
    if (t->other_pixel)
        plain.data[plain.len - 1] ^= 1;
    one.raw_size = (int64_t)plain.len;
    assert_int_equal(bundle_squeeze(plain.data, plain.len, &packed, NULL), ST_OK);
    add(w, m, &one, &packed, ".exact.zst");
    buf_free(&packed);
    buf_free(&plain);
}

static void add_ccd(struct bundle_writer *w, struct manifest *m, const struct fits_hdu *hdu,
                    const struct buf *whole, const struct told *t)
{
    const struct codec *codec = codec_find("htj2k");
    struct codec_options o = {.method = "htj2k", .qstep = 0.0005, .reversible = t->lossless};
    struct fits_image raw = {0}, got = {0};
    struct buf packed = {0};
    struct exact e;
    struct member one = {.role = MEMBER_IMAGE, .hdu = hdu->index, .ccd = hdu->index + 10,
                         .codec = "htj2k", .qstep = t->lossless ? 0 : o.qstep, .measured = sky};
    assert_int_equal(fits_image_load(whole->data, whole->len, &raw, NULL), ST_OK);
    assert_int_equal(codec->encode(&raw, &o, &packed, NULL), ST_OK);
    assert_true(fits_header_copy(&got.header, &raw.header));
    assert_int_equal(codec_decode(codec, packed.data, packed.len, &got, NULL), ST_OK);
    add_header(w, m, hdu, one.ccd, whole);
    if (t->bounded) {
        gather(&raw, &got, &e);
        assert_true(e.pixels > 10);
        one.measured.bound = one.measured.max_error = BOUND;
        one.measured.exact_pixels = e.pixels + t->count_off;
        if (!t->no_member)
            add_exact_member(w, m, hdu->index, &e, t);
        exact_free(&e);
    }
    if (t->lossless)
        one.measured.rms_error = one.measured.max_error = 0;
    if (!t->no_datasum)
        one.measured.datasum = datasum_of(&got) + t->datasum_off;
    one.raw_size = (int64_t)raw.size;
    add(w, m, &one, &packed, codec->suffix);
    buf_free(&packed);
    fits_image_free(&got);
    fits_image_free(&raw);
}

static void bundle_told(const char *source, const char *to, const struct told *t)
{
    struct told good = {.lossless = t->lossless, .bounded = t->bounded};
    struct bundle_writer *w = NULL;
    struct fits_file f = {0};
    struct manifest m = {0};
    struct buf whole = {0};
    char sha256[DIGEST_HEX];
    int64_t size;
    int fd = open(source, O_RDONLY);
    assert_int_equal(fits_scan(fd, &f, NULL), ST_OK);
    golden_facts(&m);
    assert_int_equal(digest_fd(fd, -1, m.source_sha256, NULL), ST_OK);
    assert_int_equal(bundle_create(to, GOLDEN_MTIME, &w, NULL), ST_OK);
    for (int i = 0; i < 3; i++) {
        whole.len = 0;
        assert_int_equal(fits_read_hdu(fd, &f.hdu[i], &whole, NULL), ST_OK);
        if (i == 0)
            add_header(w, &m, &f.hdu[i], 0, &whole);
        else
            add_ccd(w, &m, &f.hdu[i], &whole, i == 1 ? t : &good);
    }
    assert_int_equal(golden_add_manifest(w, &m, NULL), ST_OK);
    assert_int_equal(bundle_finish(&w, sha256, &size, NULL), ST_OK);
    buf_free(&whole);
    manifest_free(&m);
    fits_file_free(&f);
    close(fd);
}

/* One bundle so told, unpacked below `name`. */
static enum status deliver_told(const char *name, const struct told *t, struct unpack_report *r,
                                struct fault *why)
{
    char source[4096], bundle[4096], to[4096];
    make_source(scratch_path(&dir, "source.fits", source));
    snprintf(bundle, sizeof bundle, "%.4000s.tar", scratch_path(&dir, name, to));
    bundle_told(source, bundle, t);
    return unpack_to(bundle, to, r, why);
}

static void load_first(const char *name, struct fits_image *img)
{
    char path[4096], file[128];
    snprintf(file, sizeof file, "%s/" FIRST, name);
    load(scratch_path(&dir, file, path), img);
    verify(path);
}

static double worst_error(const struct fits_image *got)
{
    char source[4096];
    struct fits_file f = {0};
    struct buf whole = {0};
    struct fits_image raw = {0};
    double worst = 0;
    int fd = open(scratch_path(&dir, "source.fits", source), O_RDONLY);
    assert_int_equal(fits_scan(fd, &f, NULL), ST_OK);
    assert_int_equal(fits_read_hdu(fd, &f.hdu[1], &whole, NULL), ST_OK);
    assert_int_equal(fits_image_load(whole.data, whole.len, &raw, NULL), ST_OK);
    for (size_t i = 0; i < raw.size / 2; i++)
        worst = fmax(worst, abs(adu(&raw, i) - adu(got, i)));
    fits_image_free(&raw);
    buf_free(&whole);
    fits_file_free(&f);
    close(fd);
    return worst;
}

static bool has(const struct fits_image *img, const char *key)
{
    return fits_header_find(&img->header, key) >= 0;
}

static void assert_proof(const struct fits_image *img, bool wanted)
{
    bool proof;
    assert_true(fits_header_logical(&img->header, "SFPROOF", &proof));
    assert_int_equal(proof, wanted);
}

static void what_was_measured_stands_in_the_header(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct fits_image img = {0};
    if (deliver_told("measured", &(struct told){0}, &r, &why) != ST_OK)
        fail_msg("%s", why.text);
    load_first("measured", &img);
    assert_true(worst_error(&img) > BOUND);
    assert_number(&img.header, "SFSKY", 1766.1); /* five digits */
    assert_number(&img.header, "SFNOISE", 2.7801);
    assert_number(&img.header, "SFRDN", 1.75);
    assert_number(&img.header, "SFGAIN", 4.05);
    assert_number(&img.header, "SFRMS", 1.2346);
    assert_number(&img.header, "SFMAXERR", 11);
    assert_false(has(&img, "SFBOUND"));
    assert_false(has(&img, "SFEXACT"));
    assert_proof(&img, true);
    assert_int_equal(r.unproven, 0);
    assert_false(r.ccds[0].unproven);
    char datasum[24];
    assert_true(fits_header_text(&img.header, "DATASUM", datasum, sizeof datasum));
    assert_string_equal(datasum, r.ccds[0].datasum);
    assert_int_equal(strlen(r.ccds[0].checksum), 16);
    fits_image_free(&img);
    unpack_report_free(&r);
}

static void the_bound_holds(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct fits_image img = {0};
    double exact, ratio;
    if (deliver_told("bound", &(struct told){.bounded = true}, &r, &why) != ST_OK)
        fail_msg("%s", why.text);
    load_first("bound", &img);
    double worst = worst_error(&img);
    assert_true(worst > 0 && worst <= BOUND);
    assert_number(&img.header, "SFBOUND", BOUND);
    assert_true(fits_header_real(&img.header, "SFEXACT", &exact) && exact > 10);
    assert_proof(&img, true);
    /* The exact pixels' bytes travelled, too. */
    struct manifest m;
    char bundle[4096];
    int fd = open(scratch_path(&dir, "bound.tar", bundle), O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    int64_t sent = 0;
    for (size_t i = 0; i < m.count; i++)
        if (m.members[i].hdu == 1 && m.members[i].role != MEMBER_HEADER)
            sent += m.members[i].size;
    assert_true(fits_header_real(&img.header, "SFRATIO", &ratio));
    assert_true(fabs(ratio - WIDE * HIGH * 2 / (double)sent) < 0.006);
    close(fd);
    manifest_free(&m);
    fits_image_free(&img);
    unpack_report_free(&r);
}

static void what_is_not_as_promised_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct told t;
        const char *words;
    } rows[] = {
        {{.bounded = true, .other_pixel = true}, "decodes to other pixels than the sender proved"},
        {{.bounded = true, .datasum_off = 1}, "decodes to other pixels than the sender proved"},
        {{.lossless = true, .datasum_off = 1}, "is the library behind codec htj2k here of another"},
        {{.bounded = true, .cut = 1}, "_11.exact.zst: the pixels to be carried exactly are"},
        {{.bounded = true, .grow = 3}, "_11.exact.zst: the pixels to be carried exactly are"},
        {{.bounded = true, .grow = 40000}, "are more than can be unpacked"},
        {{.bounded = true, .count_off = 1}, "pixels, the manifest says"},
        {{.bounded = true, .no_member = true}, "the bundle lacks the "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct unpack_report r;
        struct fault why = {0};
        char name[32];
        snprintf(name, sizeof name, "refused%zu", i);
        assert_int_equal(deliver_told(name, &rows[i].t, &r, &why), ST_REJECT);
        if (!strstr(why.text, rows[i].words) || !strstr(why.text, "exposure " ROOT ", ccd 11: "))
            fail_msg("case %zu: %s", i, why.text);
        assert_int_equal(r.done, 1); /* its sibling */
        assert_int_equal(r.failed, 1);
        assert_int_equal(r.ccds[0].bytes, 0);
        assert_int_equal(r.ccds[1].why.grade, ST_OK);
        unpack_report_free(&r);
    }
}

static void lossy_pixels_other_than_proven_are_marked(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct fits_image img = {0};
    if (deliver_told("other", &(struct told){.datasum_off = -1}, &r, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_int_equal(r.done, 2);
    assert_int_equal(r.unproven, 1);
    assert_true(r.ccds[0].unproven);
    assert_false(r.ccds[1].unproven);
    load_first("other", &img);
    assert_proof(&img, false);
    assert_false(has(&img, "SFRMS"));
    assert_false(has(&img, "SFMAXERR"));
    assert_number(&img.header, "SFNOISE", 2.7801); /* of the raw frame: still true */
    fits_image_free(&img);
    unpack_report_free(&r);
}

static void without_a_datasum_nothing_is_claimed(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct fits_image img = {0};
    assert_int_equal(deliver_told("silent", &(struct told){.no_datasum = true}, &r, &why), ST_OK);
    assert_int_equal(r.unproven, 0);
    load_first("silent", &img);
    assert_false(has(&img, "SFPROOF"));
    assert_true(has(&img, "SFRMS"));
    fits_image_free(&img);
    unpack_report_free(&r);
}

static void a_lossless_picture_is_proven(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct fits_image img = {0};
    assert_int_equal(deliver_told("same", &(struct told){.lossless = true}, &r, &why), ST_OK);
    load_first("same", &img);
    assert_true(worst_error(&img) == 0);
    assert_number(&img.header, "SFRMS", 0);
    assert_number(&img.header, "SFMAXERR", 0);
    assert_proof(&img, true);
    fits_image_free(&img);
    unpack_report_free(&r);
}

/* What an earlier passage measured does not pass for this one's. */
static void an_earlier_passages_cards_are_dropped(void **state)
{
    (void)state;
    static const char *const dropped[] = {"SFSKY", "SFNOISE",  "SFRDN",   "SFGAIN",  "SFRMS",
                                          "SFMAXERR", "SFBOUND", "SFEXACT", "SFPROOF", NULL};
    struct unpack_report r;
    struct fault why = {0};
    struct fits_image img = {0};
    char first[4096], bundle[4096], to[4096];
    assert_int_equal(deliver_told("before", &(struct told){.bounded = true}, &r, &why), ST_OK);
    memcpy(first, r.ccds[0].path, sizeof first);
    unpack_report_free(&r);
    make_bundle(first, "rice", scratch_path(&dir, "again.tar", bundle));
    assert_int_equal(unpack_to(bundle, scratch_path(&dir, "again", to), &r, &why), ST_OK);
    load(r.ccds[0].path, &img);
    for (const char *const *key = dropped; *key; key++)
        if (has(&img, *key))
            fail_msg("%s is still there", *key);
    assert_text(&img.header, "SFCODEC", "rice");
    fits_image_free(&img);
    unpack_report_free(&r);
}

static void exact_pixels_do_not_count_as_raw_bytes(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct manifest m;
    char bundle[4096];
    assert_int_equal(deliver_told("raw", &(struct told){.bounded = true}, &r, &why), ST_OK);
    unpack_report_free(&r);
    int fd = open(scratch_path(&dir, "raw.tar", bundle), O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    assert_int_equal(unpack_raw_size(&m), 2 * WIDE * HIGH * 2);
    close(fd);
    manifest_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_measured_stands_in_the_header),
        cmocka_unit_test(the_bound_holds),
        cmocka_unit_test(what_is_not_as_promised_is_refused),
        cmocka_unit_test(lossy_pixels_other_than_proven_are_marked),
        cmocka_unit_test(without_a_datasum_nothing_is_claimed),
        cmocka_unit_test(a_lossless_picture_is_proven),
        cmocka_unit_test(an_earlier_passages_cards_are_dropped),
        cmocka_unit_test(exact_pixels_do_not_count_as_raw_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
