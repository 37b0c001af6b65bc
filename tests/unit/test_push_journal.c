/* The journal keeps what it was told, also over a restart, and one row a version of a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "push/journal.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct journal *j;
static struct fault why;

#define OK(call)                                 \
    do {                                         \
        enum status st_ = (call);                \
        if (st_ != ST_OK)                        \
            fail_msg("%s: %s", #call, why.text); \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    if (scratch_make(&scratch) != 0)
        return -1;
    return journal_open(scratch.dir, false, &j, &why) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    journal_close(&j);
    scratch_remove(&scratch);
    return 0;
}

static struct exposure fresh(const char *path, int64_t version)
{
    struct exposure e = {.origin = ORIGIN_WATCH};
    snprintf(e.path, sizeof e.path, "%s", path);
    exposure_root(path, e.name);
    exposure_restart(&e, &(struct identity){1000 + version, 2000 + version, 3000 + version},
                     clock_wall());
    return e;
}

static void fill(struct exposure *e)
{
    e->closed = true;
    e->state = EXPOSURE_SENDING;
    e->attempts = 3;
    e->due_ns = 42;
    snprintf(e->reason, sizeof e->reason, "it's \"late\"");
    e->facts = (struct facts){.expnum = 123456, .date_ns = 1712286000500000000, .exptime = 20.5};
    snprintf(e->facts.object, sizeof e->facts.object, "NGC '253'");
    snprintf(e->facts.filter, sizeof e->facts.filter, "g DECam");
    snprintf(e->facts.obstype, sizeof e->facts.obstype, "object");
    snprintf(e->facts.propid, sizeof e->facts.propid, "2024A-0001");
    snprintf(e->facts.date_obs, sizeof e->facts.date_obs, "2024-04-05T03:00:00.5");
    e->ccds = 62;
    memset(e->source_sha256, 'a', 64);
    memset(e->bundle_id, 'b', 64);
    e->bundle_size = 4567;
    memset(e->bundle_sha256, 'c', 64);
    snprintf(e->stored_as, sizeof e->stored_as, "ut240405/x.tar");
    e->sent_bytes = 99;
    for (int i = 0; i < STAMPS; i++)
        e->stamp[i] = 1000 + i;
}

static void test_a_row_comes_back_as_it_was(void **state)
{
    struct exposure e = fresh("/data/DECam_00123456.fits.fz", 0), back;
    bool found;
    (void)state;
    OK(journal_add(j, &e, &why));
    assert_true(e.id > 0);
    fill(&e);
    OK(journal_save(j, &e, &why));
    journal_close(&j);
    OK(journal_open(scratch.dir, false, &j, &why)); /* as after a restart */
    OK(journal_get(j, e.id, &back, &found, &why));
    assert_true(found);
    assert_string_equal(back.name, "DECam_00123456");
    assert_memory_equal(&back, &e, sizeof e);
    e.facts.exptime = NAN;
    e.facts.date_ns = INT64_MIN;
    OK(journal_save(j, &e, &why));
    OK(journal_get(j, e.id, &back, &found, &why));
    assert_true(isnan(back.facts.exptime));
    assert_true(back.facts.date_ns == INT64_MIN);
    OK(journal_get(j, 999, &back, &found, &why));
    assert_false(found);
}

static void test_one_row_a_version(void **state)
{
    struct exposure a = fresh("/d/x.fits", 1), same = fresh("/d/x.fits", 1),
                    newer = fresh("/d/x.fits", 2), elsewhere = fresh("/e/x.fits", 1), got;
    bool found;
    (void)state;
    OK(journal_add(j, &a, &why));
    assert_int_equal(journal_add(j, &same, &why), ST_REJECT);
    OK(journal_add(j, &newer, &why));
    OK(journal_add(j, &elsewhere, &why));
    OK(journal_by_path(j, "/d/x.fits", &got, &found, &why));
    assert_true(found && got.id == newer.id);
    OK(journal_by_version(j, "/d/x.fits", &a.file, &got, &found, &why));
    assert_true(found && got.id == a.id);
    OK(journal_by_path(j, "/d/y.fits", &got, &found, &why));
    assert_false(found);
    newer.file = a.file;
    assert_int_equal(journal_save(j, &newer, &why), ST_REJECT);
    OK(journal_remove(j, a.id, &why));
    OK(journal_save(j, &newer, &why));
}

struct seen {
    int64_t id[16];
    int count;
};

static bool note_id(void *ctx, const struct exposure *e)
{
    struct seen *s = ctx;
    s->id[s->count++] = e->id;
    return s->count < 16;
}

static int64_t add(const char *path, int64_t version, int state, int64_t due_ns, int64_t request)
{
    struct exposure e = fresh(path, version);
    e.state = state;
    e.due_ns = due_ns;
    e.request = request;
    OK(journal_add(j, &e, &why));
    return e.id;
}

static void test_what_is_due(void **state)
{
    int64_t now = clock_wall(), next;
    int64_t old = add("/d/a.fits", 1, EXPOSURE_SEEN, 0, 0);
    int64_t young = add("/d/b.fits", 2, EXPOSURE_SEEN, now - 5, 7);
    int64_t later = add("/d/c.fits", 3, EXPOSURE_SEEN, now + 60 * NS_PER_S, 0);
    /* Written before the clock was set back by a day. */
    int64_t absurd = add("/d/d.fits", 4, EXPOSURE_SEEN, now + 86400 * NS_PER_S, 0);
    add("/d/e.fits", 5, EXPOSURE_DONE, 0, 0);
    struct seen s = {0};
    (void)state;
    OK(journal_due(j, EXPOSURE_SEEN, 0, 16, note_id, &s, &why));
    assert_int_equal(s.count, 3);
    assert_int_equal(s.id[0], absurd);
    assert_int_equal(s.id[1], young);
    assert_int_equal(s.id[2], old);
    s.count = 0;
    OK(journal_due(j, EXPOSURE_SEEN, 7, 16, note_id, &s, &why));
    assert_int_equal(s.count, 1);
    OK(journal_next_due(j, 0, &next, &why));
    assert_true(next == now + 60 * NS_PER_S);
    OK(journal_next_due(j, 7, &next, &why));
    assert_true(next == INT64_MAX);
    OK(journal_all_due(j, &why));
    s.count = 0;
    OK(journal_due(j, EXPOSURE_SEEN, 0, 16, note_id, &s, &why));
    assert_int_equal(s.count, 4);
    assert_int_equal(s.id[1], later);
}

static void test_candidates(void **state)
{
    int64_t ready = add("/d/a.fits", 1, EXPOSURE_READY, 0, 0);
    int64_t sending = add("/d/b.fits", 2, EXPOSURE_SENDING, 0, 0);
    add("/d/c.fits", 3, EXPOSURE_SEEN, 0, 0);
    add("/d/d.fits", 4, EXPOSURE_READY, clock_wall() + 10 * NS_PER_S, 0);
    OK(journal_ask(j, ready, ORIGIN_SWEEP, 5, &why));
    struct order_item *items;
    size_t n;
    (void)state;
    OK(journal_candidates(j, 0, &items, &n, &why));
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(items[i].begun, items[i].id == sending);
        assert_int_equal(items[i].backfill, items[i].id == ready);
        assert_int_equal(items[i].mtime_ns, items[i].id == ready ? 2001 : 2002);
    }
    free(items);
    OK(journal_candidates(j, 5, &items, &n, &why));
    assert_int_equal(n, 1);
    free(items);
}

static void test_counts_lists_and_retry(void **state)
{
    struct journal_counts c;
    struct seen s = {0};
    struct exposure e;
    bool found;
    int64_t n, parked = add("/d/a.fits", 1, EXPOSURE_PARKED, 0, 0);
    add("/d/b.fits", 2, EXPOSURE_PARKED, 0, 0);
    add("/d/c.fits", 3, EXPOSURE_DONE, 0, 9);
    (void)state;
    OK(journal_count(j, 0, &c, &why));
    assert_int_equal(c.rows[EXPOSURE_PARKED], 2);
    assert_int_equal(c.bytes[EXPOSURE_PARKED], 2003);
    assert_int_equal(c.rows[EXPOSURE_DONE], 1);
    OK(journal_count(j, 9, &c, &why));
    assert_int_equal(c.rows[EXPOSURE_PARKED], 0);
    OK(journal_list(j, -1, 0, 2, note_id, &s, &why));
    assert_int_equal(s.count, 2);
    s.count = 0;
    OK(journal_list(j, EXPOSURE_PARKED, 0, 0, note_id, &s, &why));
    assert_int_equal(s.count, 2);
    OK(journal_unpark(j, "nobody", &n, &why));
    assert_int_equal(n, 0);
    OK(journal_unpark(j, "a", &n, &why));
    assert_int_equal(n, 1);
    OK(journal_get(j, parked, &e, &found, &why));
    assert_int_equal(e.state, EXPOSURE_SEEN);
    OK(journal_unpark(j, "", &n, &why));
    assert_int_equal(n, 1);
}

/* What the agent saves must not undo what a command asked for meanwhile. */
static void test_save_leaves_the_request_alone(void **state)
{
    struct exposure e = fresh("/d/a.fits", 1), got;
    bool found;
    (void)state;
    OK(journal_add(j, &e, &why));
    OK(journal_ask(j, e.id, ORIGIN_SEND, 77, &why));
    e.state = EXPOSURE_READY;
    OK(journal_save(j, &e, &why));
    OK(journal_get(j, e.id, &got, &found, &why));
    assert_int_equal(got.request, 77);
    assert_int_equal(got.origin, ORIGIN_SEND);
    assert_int_equal(got.state, EXPOSURE_READY);
}

static void test_digests_and_notes(void **state)
{
    struct identity a = {1, 2, 3}, b = {1, 2, 4};
    struct exposure e = fresh("/d/row.fits", 1);
    char sha[DIGEST_HEX], text[8];
    (void)state;
    char hex[DIGEST_HEX] = "";
    memset(hex, '7', 64);
    OK(journal_digest(j, "/d/a.fits", &a, sha, &why));
    assert_string_equal(sha, "");
    OK(journal_digest_put(j, "/d/a.fits", &a, hex, &why));
    OK(journal_digest(j, "/d/a.fits", &a, sha, &why));
    assert_string_equal(sha, hex);
    OK(journal_digest(j, "/d/a.fits", &b, sha, &why)); /* another version */
    assert_string_equal(sha, "");
    OK(journal_add(j, &e, &why));
    memset(e.source_sha256, '8', 64);
    OK(journal_save(j, &e, &why));
    OK(journal_digest(j, "/d/row.fits", &e.file, sha, &why));
    assert_string_equal(sha, e.source_sha256);
    journal_noted(j, "mode", text, sizeof text);
    assert_string_equal(text, "");
    OK(journal_note(j, "mode", "serial", &why));
    OK(journal_note(j, "mode", "parallel-and-more", &why));
    journal_noted(j, "mode", text, sizeof text);
    assert_string_equal(text, "paralle");
}

static void test_roots(void **state)
{
    static const struct {
        const char *path, *root;
    } rows[] = {{"/d/DECam_00504110.fits.fz", "DECam_00504110"},
                {"/d/a.FITS", "a"},
                {"x.fit", "x"},
                {"x.fits.gz", "x"},
                {"/d/my night.fits", "my_night"},
                {"/d/$(rm -r).fits.fz", NULL}};
    char root[MEMBER_NAME];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        exposure_root(rows[i].path, root);
        if (rows[i].root)
            assert_string_equal(root, rows[i].root);
        assert_null(strpbrk(root, "/ $()"));
        assert_true(root[0]);
    }
    char path[400] = "/d/";
    memset(path + 3, 'n', 300);
    snprintf(path + 303, sizeof path - 303, ".fits");
    exposure_root(path, root);
    assert_int_equal(strlen(root), 160);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_row_comes_back_as_it_was), T(test_one_row_a_version), T(test_what_is_due),
        T(test_candidates), T(test_counts_lists_and_retry), T(test_save_leaves_the_request_alone),
        T(test_digests_and_notes), cmocka_unit_test(test_roots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
