/* Files made into bundles on real worker threads: the same bytes each time, in HDU order, every
 * HDU aboard, broken ones refused by name, a changing file given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/bundle.h"
#include "push/encode.h"
#include "tests/unit/push_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct camera camera;
static struct fault why;

/* One encoding from its start to its end. */
struct work {
    struct loop *loop;
    struct pool *pool;
    struct encode *encode;
    struct encode_result result;
    bool ended;
    int growths;
    int64_t size;
    char sourced[DIGEST_HEX];
    bool cancel_at_first_growth;
    const char *touch;  /* this file gets a byte more at the first growth */
    const char *remove; /* and this one goes */
};

#define OK(call)                                 \
    do {                                         \
        enum status st_ = (call);                \
        if (st_ != ST_OK)                        \
            fail_msg("%s: %s", #call, why.text); \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    fixture_camera(&camera, 0);
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static void on_grown(void *ctx, int64_t size)
{
    struct work *w = ctx;
    assert_true(size > w->size);
    w->size = size;
    if (w->growths++ > 0)
        return;
    if (w->touch) {
        FILE *f = fopen(w->touch, "ab");
        assert_non_null(f);
        fputc('x', f);
        fclose(f);
    }
    if (w->remove)
        assert_int_equal(unlink(w->remove), 0);
    if (w->cancel_at_first_growth) {
        encode_cancel(&w->encode);
        loop_stop(w->loop);
    }
}

static void on_sourced(void *ctx, const char *sha256)
{
    memcpy(((struct work *)ctx)->sourced, sha256, DIGEST_HEX);
}

static void on_ended(void *ctx, const struct encode_result *r)
{
    struct work *w = ctx;
    w->result = *r;
    w->ended = true;
    w->encode = NULL;
    loop_stop(w->loop);
}

static void run(struct work *w, const char *path, const char *bundle,
                const struct fidelity *codec, int threads)
{
    struct encode_order o = {.path = path, .name = "x", .bundle_path = bundle, .camera = &camera,
                             .codec = codec, .ctx = w, .grown = on_grown, .sourced = on_sourced,
                             .ended = on_ended};
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    identity_of(&st, &o.file);
    OK(loop_open(&w->loop, &why));
    OK(pool_start(threads, w->loop, &w->pool, &why));
    o.pool = w->pool;
    OK(encode_start(&o, &w->encode, &why));
    OK(loop_run(w->loop, &why));
    pool_stop(&w->pool);
    loop_close(&w->loop);
}

static struct buf slurp(const char *path)
{
    struct buf b = {0};
    FILE *f = fopen(path, "rb");
    char bytes[65536];
    assert_non_null(f);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;)
        assert_true(buf_append(&b, bytes, n));
    fclose(f);
    return b;
}

static const struct member *by_hdu(const struct manifest *m, int hdu, enum member_role role)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].hdu == hdu && m->members[i].role == role)
            return &m->members[i];
    return NULL;
}

static void write_exposure(const char *path, int ccds, int side)
{
    struct buf b = {0};
    fixture_exposure(&b, 42, ccds, side);
    assert_true(fixture_write(path, b.data, b.len));
    buf_free(&b);
}

static void test_a_bundle_has_everything(void **state)
{
    struct fidelity codec = {.method = "htj2k", .lossless = true};
    struct work w = {0};
    struct manifest m = {0};
    struct fits_header primary = {0};
    struct buf cards = {0};
    char path[4096], bundle[4096], text[72], sha[DIGEST_HEX];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    write_exposure(path, 5, 64);
    run(&w, path, bundle, &codec, 3);
    assert_true(w.ended);
    if (w.result.grade != ST_OK)
        fail_msg("%s", w.result.why.text);
    assert_int_equal(w.result.ccds, 5);
    assert_true(w.growths > 1); /* it grew before it was finished */
    assert_string_equal(w.result.fallbacks, "");
    struct buf file = slurp(bundle), source = slurp(path);
    assert_int_equal(file.len, w.result.bundle_size);
    digest_bytes(file.data, file.len, sha);
    assert_string_equal(sha, w.result.bundle_sha256);
    digest_bytes(source.data, source.len, sha);
    assert_string_equal(sha, w.result.source_sha256);
    assert_string_equal(sha, w.sourced);
    int fd = open(bundle, O_RDONLY);
    OK(bundle_index(fd, &m, &why));
    assert_string_equal(m.name, "x");
    assert_int_equal(m.facts.expnum, 42);
    assert_string_equal(m.source_sha256, sha);
    for (int hdu = 1; hdu <= 5; hdu++) {
        const struct member *image = by_hdu(&m, hdu, MEMBER_IMAGE);
        assert_non_null(image);
        assert_int_equal(image->ccd, hdu);
        assert_string_equal(image->codec, "htj2k");
        assert_int_equal(image->raw_size, 64 * 64 * 2);
        assert_non_null(by_hdu(&m, hdu, MEMBER_HEADER));
    }
    assert_string_equal(by_hdu(&m, 1, MEMBER_IMAGE)->name, "x_1.jph");
    assert_string_equal(by_hdu(&m, 6, MEMBER_HDU)->name, "x_hdu6.hdu.zst");
    assert_string_equal(by_hdu(&m, 6, MEMBER_HDU)->extname, "GUIDER");
    for (size_t i = 1; i < m.count; i++)
        assert_true(m.members[i].hdu >= m.members[i - 1].hdu);
    const struct member *head = by_hdu(&m, 0, MEMBER_HEADER);
    assert_string_equal(head->name, "x_0.hdr.zst");
    struct buf packed = {0};
    OK(bundle_read(fd, head, &packed, &why));
    OK(bundle_expand(packed.data, packed.len, (size_t)head->raw_size, &cards, &why));
    assert_int_equal(cards.len, head->raw_size);
    assert_int_equal(cards.len % FITS_CARD, 0);
    primary.cards = (char *)cards.data;
    primary.count = cards.len / FITS_CARD;
    assert_true(fits_header_text(&primary, "OBJECT", text, sizeof text));
    assert_string_equal(text, "Field A");
    close(fd);
    manifest_free(&m);
    buf_free(&packed);
    buf_free(&cards);
    buf_free(&file);
    buf_free(&source);
}

/* One thread or many, once or again: a broken transfer must be able to go on. */
static void test_the_same_bytes_each_time(void **state)
{
    static const char *const methods[] = {"htj2k", "jp2",       "jxl",
                                          "rice",  "quantized", "original"};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    write_exposure(path, 9, 48);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct fidelity codec = {.q = 1, .pace = 1};
        snprintf(codec.method, sizeof codec.method, "%s", methods[i]);
        char first[DIGEST_HEX] = "";
        for (int threads = 1; threads <= 4; threads += 3) {
            struct work w = {0};
            scratch_path(&scratch, threads == 1 ? "1.tar" : "4.tar", bundle);
            run(&w, path, bundle, &codec, threads);
            assert_int_equal(w.result.grade, ST_OK);
            if (first[0])
                assert_string_equal(first, w.result.bundle_sha256);
            memcpy(first, w.result.bundle_sha256, DIGEST_HEX);
        }
    }
}

static void test_original_is_the_file(void **state)
{
    struct fidelity codec = {.method = "original", .qstep = 0.00003};
    struct work w = {0};
    struct manifest m = {0};
    struct buf source = {0}, whole = {0};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    fixture_exposure(&source, 1, 3, 40);
    assert_true(buf_append(&source, "bytes that trail", 16));
    assert_true(fixture_write(path, source.data, source.len));
    run(&w, path, bundle, &codec, 2);
    assert_int_equal(w.result.grade, ST_OK);
    int fd = open(bundle, O_RDONLY);
    OK(bundle_index(fd, &m, &why));
    for (int hdu = 0; hdu <= 4; hdu++) {
        bool image = hdu >= 1 && hdu <= 3;
        const struct member *one = by_hdu(&m, hdu, image ? MEMBER_IMAGE : MEMBER_HDU);
        assert_non_null(one);
        assert_string_equal(one->codec, "original");
        OK(bundle_read(fd, one, &whole, &why));
    }
    const struct member *tail = by_hdu(&m, -1, MEMBER_HDU);
    assert_string_equal(tail->name, "x_tail.hdu");
    OK(bundle_read(fd, tail, &whole, &why));
    assert_int_equal(whole.len, source.len);
    assert_memory_equal(whole.data, source.data, source.len);
    close(fd);
    manifest_free(&m);
    buf_free(&whole);
    buf_free(&source);
}

static void fixture_float(struct buf *b)
{
    fixture_card(b, "XTENSION= 'IMAGE   '");
    fixture_card(b, "BITPIX  =                  -32");
    fixture_card(b, "NAXIS   =                    2");
    fixture_card(b, "NAXIS1  =                   10");
    fixture_card(b, "NAXIS2  =                   10");
    fixture_card(b, "PCOUNT  =                    0");
    fixture_card(b, "GCOUNT  =                    1");
    fixture_card(b, "EXTNAME = 'WEIGHT'");
    fixture_card(b, "END");
    fixture_pad(b, ' ');
    for (int i = 0; i < 100; i++)
        buf_append(b, &(unsigned char[4]){0x3f, 0x80, (unsigned char)i, 7}, 4);
    fixture_pad(b, '\0');
}

static void test_what_a_codec_cannot_carry_goes_lossless(void **state)
{
    struct fidelity codec = {.method = "htj2k", .qstep = 0.0001};
    struct work w = {0};
    struct manifest m = {0};
    struct buf b = {0};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    fixture_primary(&b, 1, NULL);
    fixture_ccd(&b, 1, 64);
    fixture_float(&b);
    assert_true(fixture_write(path, b.data, b.len));
    run(&w, path, bundle, &codec, 2);
    assert_int_equal(w.result.grade, ST_OK);
    assert_string_equal(w.result.fallbacks, "HDU 2 (EXTNAME WEIGHT) as rice");
    int fd = open(bundle, O_RDONLY);
    OK(bundle_index(fd, &m, &why));
    assert_true(by_hdu(&m, 1, MEMBER_IMAGE)->qstep == 0.0001);
    assert_true(by_hdu(&m, 2, MEMBER_IMAGE)->qstep == 0);
    close(fd);
    manifest_free(&m);
    buf_free(&b);
}

static void test_a_wrong_checksum_names_its_hdu(void **state)
{
    struct fidelity codec = {.method = "rice"};
    struct work w = {0};
    struct buf b = {0};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    fixture_primary(&b, 1, NULL);
    for (int i = 1; i <= 4; i++)
        fixture_ccd(&b, i, 16);
    char *name = memmem(b.data, b.len, "EXTNAME = 'N3'", 14);
    assert_non_null(name);
    /* A DATASUM in the place of the EXTNAME card's neighbour: right for no data of ours. */
    memcpy(name + FITS_CARD, "DATASUM = '1234567890'    ", 26);
    assert_true(fixture_write(path, b.data, b.len));
    run(&w, path, bundle, &codec, 2);
    assert_int_equal(w.result.grade, ST_REJECT);
    assert_false(w.result.changed);
    assert_non_null(strstr(w.result.why.text, "HDU 3 (EXTNAME N3)"));
    assert_non_null(strstr(w.result.why.text, "DATASUM"));
    buf_free(&b);
}

static void test_a_file_that_changes_meanwhile(void **state)
{
    struct fidelity codec = {.method = "rice"};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    write_exposure(path, 6, 32);
    struct work w = {.touch = path};
    run(&w, path, bundle, &codec, 2);
    assert_int_equal(w.result.grade, ST_WAIT);
    assert_true(w.result.changed);
}

/* Removed while it is read: the open descriptor still holds all of it. */
static void test_a_file_that_is_removed_meanwhile(void **state)
{
    struct fidelity codec = {.method = "rice"};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    write_exposure(path, 6, 32);
    struct work w = {.remove = path};
    run(&w, path, bundle, &codec, 2);
    assert_int_equal(w.result.grade, ST_OK);
    assert_int_equal(w.result.ccds, 6);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_cancelled(void **state)
{
    struct fidelity codec = {.method = "rice"};
    struct work w = {.cancel_at_first_growth = true};
    char path[4096], bundle[4096];
    (void)state;
    scratch_path(&scratch, "x.fits", path);
    scratch_path(&scratch, "x.tar", bundle);
    write_exposure(path, 30, 32);
    run(&w, path, bundle, &codec, 4);
    assert_false(w.ended);
    assert_int_equal(w.growths, 1);
}

static void test_ids(void **state)
{
    struct exposure e = {.path = "/d/x.fits", .file = {1, 2, 3}};
    struct fidelity a = {.method = "htj2k", .qstep = 0.00003}, b = {.method = "htj2k",
        .qstep = 0.0001};
    char one[DIGEST_HEX], two[DIGEST_HEX];
    (void)state;
    encode_id(&e, &camera, &a, one);
    encode_id(&e, &camera, &a, two);
    assert_string_equal(one, two);
    assert_true(digest_valid(one));
    encode_id(&e, &camera, &b, two);
    assert_string_not_equal(one, two);
    b = a;
    b.q = 2;
    encode_id(&e, &camera, &b, two);
    assert_string_not_equal(one, two);
    /* What a profile says of the header is in the bundle; which ccds are waited for is not. */
    struct camera other = camera;
    other.ccd_offset = 1;
    encode_id(&e, &other, &a, two);
    assert_string_not_equal(one, two);
    other.ccd_offset = camera.ccd_offset;
    other.ccds = 9;
    other.group_wait_s = 7;
    encode_id(&e, &other, &a, two);
    assert_string_equal(one, two);
    e.file.mtime_ns++;
    encode_id(&e, &camera, &a, two);
    assert_string_not_equal(one, two);
    /* Exact data are never taken for a delivery, even of the same codec. */
    e.exact = true;
    encode_id(&e, &camera, &a, one);
    assert_string_not_equal(one, two);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_bundle_has_everything), T(test_the_same_bytes_each_time),
        T(test_original_is_the_file), T(test_what_a_codec_cannot_carry_goes_lossless),
        T(test_a_wrong_checksum_names_its_hdu), T(test_a_file_that_changes_meanwhile),
        T(test_a_file_that_is_removed_meanwhile), T(test_cancelled), T(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
