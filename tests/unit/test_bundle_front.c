/* The front of a bundle that still grows: whatever order its bytes come in, the members that are
 * met are those of the whole; nothing is read that is not there; what is no bundle of ours is
 * refused, whatever it is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/golden_exposure.h"
#include "tests/unit/raw_tar.h"
#include "tests/unit/scratch.h"

#define OLD_TAR "tests/unit/golden/bundle_without_rows.tar"

static struct scratch dir;

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

/* A file of which only some pieces hold what they should, and which they are. */
struct growing {
    int fd;
    const struct buf *whole;
    unsigned char *there; /* a flag for each byte */
};

static bool has(const void *ctx, int64_t from, int64_t to)
{
    const struct growing *g = ctx;
    if (to > (int64_t)g->whole->len)
        return false;
    return memchr(g->there + from, 0, (size_t)(to - from)) == NULL;
}

static struct growing grow_begin(const struct buf *whole)
{
    char path[4096];
    struct growing g = {.whole = whole, .there = calloc(1, whole->len)};
    unsigned char *noise = malloc(whole->len);
    memset(noise, 0xa5, whole->len);
    g.fd = open(scratch_path(&dir, "growing", path), O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_true(g.fd >= 0 && noise && g.there);
    assert_int_equal(fs_pwrite_all(g.fd, noise, whole->len, 0), 0);
    free(noise);
    return g;
}

static void grow(struct growing *g, size_t from, size_t to)
{
    assert_int_equal(fs_pwrite_all(g->fd, g->whole->data + from, to - from, (off_t)from), 0);
    memset(g->there + from, 1, to - from);
}

static void grow_end(struct growing *g)
{
    close(g->fd);
    free(g->there);
}

static void read_whole(const char *path, struct buf *out)
{
    struct fault why;
    assert_int_equal(fs_read_file(path, 64 << 20, out, &why), ST_OK);
}

/* All that can be said now. */
static enum status advance(struct growing *g, struct bundle_front *f, struct fault *why)
{
    struct bundle_reach there = {has, g};
    enum status st;
    while ((st = bundle_front_next(g->fd, &there, f, why)) == ST_OK)
        ;
    return st;
}

static void assert_same_manifest(const struct manifest *a, const struct manifest *b)
{
    struct buf one = {0}, two = {0};
    assert_true(manifest_write(a, &one) && manifest_write(b, &two));
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    for (size_t i = 0; i < a->count; i++)
        assert_int_equal(a->members[i].offset, b->members[i].offset);
    buf_free(&one);
    buf_free(&two);
}

static void any_order_gives_the_same_members(void **state)
{
    (void)state;
    struct buf whole = {0};
    struct manifest m = {0};
    struct fault why;
    read_whole(GOLDEN_TAR, &whole);
    int fd = open(GOLDEN_TAR, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    close(fd);
    for (unsigned seed = 1; seed <= 40; seed++) {
        struct growing g = grow_begin(&whole);
        struct bundle_front *f = calloc(1, sizeof *f);
        size_t piece = 100 + 37 * seed, pieces = whole.len / piece + 1, before = 0;
        srand(seed);
        for (size_t left = pieces * 8; left > 0 && !f->ended; left--) {
            size_t at = (size_t)rand() % pieces * piece;
            size_t to = at + piece < whole.len ? at + piece : whole.len;
            if (at < to)
                grow(&g, at, to);
            assert_int_equal(advance(&g, f, &why), ST_WAIT);
            assert_true(f->m.count >= before && f->m.count <= m.count);
            before = f->m.count;
        }
        grow(&g, 0, whole.len);
        assert_int_equal(advance(&g, f, &why), ST_WAIT);
        assert_true(f->ended);
        assert_same_manifest(&f->m, &m);
        bundle_front_free(f);
        free(f);
        grow_end(&g);
    }
    manifest_free(&m);
    buf_free(&whole);
}

static void a_header_is_read_when_it_is_there(void **state)
{
    (void)state;
    struct buf whole = {0};
    struct fault why;
    read_whole(GOLDEN_TAR, &whole);
    struct growing g = grow_begin(&whole);
    struct bundle_front *f = calloc(1, sizeof *f);
    int64_t first = 0;
    /* A byte at a time: the first member's header ends where its data begin. */
    for (size_t n = 1; f->m.count == 0; n++) {
        grow(&g, n - 1, n);
        assert_int_equal(advance(&g, f, &why), ST_WAIT);
        first = (int64_t)n;
    }
    assert_int_equal(f->m.members[0].offset, first);
    assert_string_equal(f->m.source_name, "c4d_171113_060340_ori.fits");
    assert_int_equal(f->m.facts.expnum, 694037);
    /* The next one needs none of the first one's data. */
    size_t next = (size_t)f->next;
    grow(&g, next, next + 2048);
    assert_int_equal(advance(&g, f, &why), ST_WAIT);
    assert_int_equal(f->m.count, 2);
    assert_int_equal(f->m.members[1].ccd, 3);
    bundle_front_free(f);
    free(f);
    grow_end(&g);
    buf_free(&whole);
}

/* Refused at once, or after these members; never more than that. */
static void assert_refused(const struct buf *tar, size_t members, const char *words)
{
    struct growing g = grow_begin(tar);
    struct bundle_front *f = calloc(1, sizeof *f);
    struct fault why = {0};
    grow(&g, 0, tar->len);
    if (advance(&g, f, &why) != ST_REJECT)
        fail_msg("not refused (%s)", words);
    if (!strstr(why.text, words))
        fail_msg("refused with other words than '%s': %s", words, why.text);
    assert_int_equal(f->m.count, members);
    bundle_front_free(f);
    free(f);
    grow_end(&g);
}

static void older_bundles_are_left_alone(void **state)
{
    (void)state;
    struct buf whole = {0};
    read_whole(OLD_TAR, &whole);
    assert_refused(&whole, 0, "does not tell of the exposure");
    whole.len = 0;
    for (int i = 0; i < 4; i++)
        buf_append(&whole, (char[512]){0}, 512);
    assert_refused(&whole, 0, "no member with pax records");
    buf_free(&whole);
}

#define HEAD                                                                                       \
    "SCHILY.xattr.user.skyferry.exposure={\"format\":1,\"software\":\"s\",\"name\":\"R\",\"source\":"  \
    "{\"name\":\"R.fits\",\"size\":1,\"mtime_ns\":1,\"sha256\":\"198a05d34bea4920a02ce42bf10671cf5"   \
    "dae1ec136913db6f3d05fb3db2dbcd2\"},\"facts\":{}}"
#define ROW(more) "SCHILY.xattr.user.skyferry.row={" more "}"
#define IMAGE(hdu, ccd)                                                                            \
    ROW("\"role\":\"image\",\"hdu\":" hdu ",\"ccd\":" ccd                                          \
        ",\"extname\":\"\",\"codec\":\"jp2\",\"qstep\":0.1,\"raw_size\":8")

/* A member whose pax header holds these records besides the digest. */
static void put(struct buf *t, const char *name, const char *const *records)
{
    char sha256[DIGEST_HEX], digest[128];
    struct buf pax = {0};
    digest_bytes("abc", 3, sha256);
    snprintf(digest, sizeof digest, "SCHILY.xattr.user.skyferry.sha256=%s", sha256);
    raw_record(&pax, digest);
    for (; *records; records++)
        raw_record(&pax, *records);
    raw_header(t, "PaxHeader/x", 'x', NULL, pax.len);
    buf_append(t, pax.data, pax.len);
    raw_pad(t);
    raw_header(t, name, '0', NULL, 3);
    buf_append(t, "abc", 3);
    raw_pad(t);
    buf_free(&pax);
}
#define PUT(name, ...) put(&t, name, (const char *const[]){__VA_ARGS__, NULL})

static void hostile_members_are_refused(void **state)
{
    (void)state;
    struct buf t = {0};
    PUT("R_1.jp2", HEAD, IMAGE("1", "1"));
    PUT("R_1.exact.zst", "comment=no row");
    assert_refused(&t, 1, "has no row");
    t.len = 0;
    PUT("R_1.jp2", HEAD, IMAGE("1", "1"));
    PUT("R_2.jp2", IMAGE("1", "2"));
    assert_refused(&t, 1, "is there twice");
    t.len = 0;
    PUT("R_1.jp2", HEAD, IMAGE("1", "1"));
    PUT("R_2.jp2", IMAGE("2", "1"));
    assert_refused(&t, 1, "is there twice");
    static const struct {
        const char *name, *head, *row, *words;
    } cases[] = {
        {"../R_1.jp2", HEAD, IMAGE("1", "1"), "\"..\""},
        {"/R_1.jp2", HEAD, IMAGE("1", "1"), "absolute"},
        {"R 1.jp2", HEAD, IMAGE("1", "1"), "no plain file name"},
        {"R_1.jp2", "comment=no head", IMAGE("1", "1"), "does not tell"},
        {"R_1.jp2", "SCHILY.xattr.user.skyferry.exposure={", IMAGE("1", "1"), "no valid JSON"},
        {"R_1.jp2", HEAD, IMAGE("5000", "1"), "row.hdu"},
        {"R_1.jp2", HEAD, IMAGE("-2", "1"), "row.hdu"},
        {"R_1.jp2", HEAD, IMAGE("1", "0"), "needs a ccd"},
        {"R_1.jp2", HEAD, ROW(""), "row.role is missing"},
        {"R_1.jp2", HEAD, "SCHILY.xattr.user.skyferry.row=[]", "no JSON object"},
        {"R_1.jp2", HEAD, "SCHILY.xattr.user.skyferry.row=", "no valid JSON"},
        /* What the row may not say itself. */
        {"R_1.jp2", HEAD, ROW("\"name\":\"../x\""), "row.role is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        t.len = 0;
        PUT(cases[i].name, cases[i].head, cases[i].row);
        assert_refused(&t, 0, cases[i].words);
    }
    t.len = 0;
    PUT("R_1.jp2", HEAD, IMAGE("1", "1"), IMAGE("1", "1"));
    assert_refused(&t, 0, "has no row");
    t.len = 0;
    struct raw_member link = {.name = "R_1.jp2", .type = '2', .link = "/etc/passwd", .bytes = ""};
    raw_add(&t, &link);
    assert_refused(&t, 0, "a link");
    t.len = 0;
    raw_header(&t, "PaxHeader/x", 'x', NULL, 1u << 30);
    assert_refused(&t, 0, "no member with pax records");
    buf_free(&t);
}

/* Any damage ends in a refusal, a wait or an end, soon and without a word too many. */
static void damage_does_no_harm(void **state)
{
    (void)state;
    struct buf whole = {0}, bent = {0};
    struct fault why;
    read_whole(GOLDEN_TAR, &whole);
    srand(7);
    for (int round = 0; round < 3000; round++) {
        bent.len = 0;
        buf_append(&bent, whole.data, whole.len);
        for (int i = rand() % 4; i >= 0; i--)
            bent.data[(size_t)rand() % (i % 2 ? bent.len : 2048)] = (unsigned char)rand();
        struct growing g = grow_begin(&bent);
        struct bundle_front *f = calloc(1, sizeof *f);
        grow(&g, 0, bent.len);
        enum status st = advance(&g, f, &why);
        assert_true(st == ST_WAIT || st == ST_REJECT || st == ST_RETRY);
        assert_true(f->m.count <= 5);
        bundle_front_free(f);
        free(f);
        grow_end(&g);
    }
    buf_free(&bent);
    buf_free(&whole);
}

static void a_digest_tells_what_a_ccd_is_made_from(void **state)
{
    (void)state;
    struct golden g;
    struct manifest a, b;
    char one[DIGEST_HEX], two[DIGEST_HEX];
    golden_make(&g);
    assert_true(manifest_of_hdu(&g.m, 1, &a) && manifest_digest(&a, one));
    assert_int_equal(a.count, 1);
    assert_int_equal(a.members[0].ccd, 3);
    g.m.members[2].raw_size++; /* the table's: not the ccd's business */
    assert_true(manifest_of_hdu(&g.m, 1, &b) && manifest_digest(&b, two));
    assert_string_equal(one, two);
    manifest_free(&b);
    g.m.facts.expnum++;
    assert_true(manifest_of_hdu(&g.m, 1, &b) && manifest_digest(&b, two));
    assert_string_not_equal(one, two);
    manifest_free(&b);
    g.m.facts.expnum--;
    g.m.members[1].measured.noise = 3;
    assert_true(manifest_of_hdu(&g.m, 1, &b) && manifest_digest(&b, two));
    assert_string_not_equal(one, two);
    manifest_free(&b);
    manifest_free(&a);
    golden_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_gives_the_same_members),
        cmocka_unit_test(a_header_is_read_when_it_is_there),
        cmocka_unit_test(older_bundles_are_left_alone),
        cmocka_unit_test(hostile_members_are_refused),
        cmocka_unit_test(damage_does_no_harm),
        cmocka_unit_test(a_digest_tells_what_a_ccd_is_made_from),
    };
    return cmocka_run_group_tests_name("bundle front", tests, set_up, tear_down);
}
