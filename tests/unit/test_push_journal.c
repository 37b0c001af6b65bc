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
#include "common/db.h"
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
    e->image_bytes = 1040187392;
    e->tiled = true;
    snprintf(e->method, sizeof e->method, "htj2k");
    e->ratio = 8.5;
    e->pace = 0.97;
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
    OK(journal_next_due(j, clock_wall(), 0, &next, &why));
    assert_true(next == now + 60 * NS_PER_S);
    OK(journal_next_due(j, clock_wall(), 7, &next, &why));
    assert_true(next == INT64_MAX);
    /* Not yet when it was last looked: not to be missed, though its time has passed. */
    OK(journal_next_due(j, now - 10, 0, &next, &why));
    assert_true(next == now - 5);
    OK(journal_all_due(j, &why));
    s.count = 0;
    OK(journal_due(j, EXPOSURE_SEEN, 0, 16, note_id, &s, &why));
    assert_int_equal(s.count, 4);
    assert_int_equal(s.id[1], later);
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

/* ---- exact data that follow ---- */

static struct exposure delivered(const char *path, int64_t version, int fidelity)
{
    struct exposure e = fresh(path, version);
    OK(journal_add(j, &e, &why));
    e.state = EXPOSURE_DONE;
    e.fidelity = fidelity;
    OK(journal_save(j, &e, &why));
    return e;
}

static bool busy(void)
{
    bool is = false;
    OK(journal_busy(j, &is, &why));
    return is;
}

static void exactness(int64_t delivered, int64_t exact, int64_t under_way, int64_t parked,
                      int64_t gone)
{
    struct journal_exactness x;
    OK(journal_exactness(j, &x, &why));
    assert_int_equal(x.delivered, delivered);
    assert_int_equal(x.exact, exact);
    assert_int_equal(x.under_way, under_way);
    assert_int_equal(x.parked, parked);
    assert_int_equal(x.gone, gone);
}

static bool count_rows(void *ctx, const struct exposure *e)
{
    (void)e;
    ++*(int *)ctx;
    return true;
}

static void test_exact_data_have_a_row_of_their_own(void **state)
{
    struct exposure old = delivered("/d/old.fits", 1, DELIVERED_LOSSY),
                    lossy = delivered("/d/x.fits", 2, DELIVERED_LOSSY), got, row;
    bool found, waits;
    int64_t n;
    int rows = 0;
    struct journal_counts counts;
    (void)state;
    delivered("/d/e.fits", 3, DELIVERED_EXACT);
    delivered("/d/g.fits", 4, DELIVERED_GONE);
    delivered("/d/u.fits", 5, DELIVERED_UNKNOWN);
    exactness(5, 1, 0, 0, 1);
    assert_false(busy());
    OK(journal_owed(j, &got, &found, &why));
    assert_true(found && got.id == lossy.id && got.follow == -1); /* the newest file */
    row = lossy;
    exposure_restart(&row, &lossy.file, 9);
    row.exact = true;
    row.state = EXPOSURE_READY;
    OK(journal_add(j, &row, &why));
    assert_int_not_equal(row.id, lossy.id);
    assert_int_equal(journal_add(j, &row, &why), ST_REJECT);
    exactness(5, 1, 1, 0, 1);
    OK(journal_exact_waits(j, &waits, &why));
    assert_true(waits && !busy()); /* they are no reason to wait with anything */
    OK(journal_owed(j, &got, &found, &why));
    assert_true(found && got.id == old.id);
    /* It is seen where it must be and stands in nobody's way elsewhere. */
    OK(journal_exact_of(j, &lossy, &got, &found, &why));
    assert_true(found && got.id == row.id && got.exact);
    OK(journal_by_version(j, lossy.path, &lossy.file, &got, &found, &why));
    assert_true(found && got.id == lossy.id && got.follow == EXPOSURE_READY);
    OK(journal_by_path(j, lossy.path, &got, &found, &why));
    assert_int_equal(got.id, lossy.id);
    OK(journal_list(j, -1, 0, 0, count_rows, &rows, &why));
    assert_int_equal(rows, 5);
    OK(journal_list(j, EXPOSURE_READY, 0, 0, count_rows, &rows, &why));
    assert_int_equal(rows, 6);
    OK(journal_count(j, 0, &counts, &why));
    assert_true(counts.rows[EXPOSURE_READY] == 0 && counts.rows[EXPOSURE_DONE] == 5);
    OK(journal_ask(j, row.id, ORIGIN_SWEEP, 77, &why));
    OK(journal_count(j, 77, &counts, &why));
    assert_int_equal(counts.rows[EXPOSURE_READY], 1);
    /* Parked, and tried again: it need not be found whole once more. */
    row.state = EXPOSURE_PARKED;
    OK(journal_save(j, &row, &why));
    exactness(5, 1, 0, 1, 1);
    OK(journal_unpark(j, lossy.name, &n, &why));
    assert_int_equal(n, 1);
    OK(journal_get(j, row.id, &row, &found, &why));
    assert_int_equal(row.state, EXPOSURE_READY);
    /* There, and lost again. */
    row.state = EXPOSURE_STORED;
    OK(journal_save(j, &row, &why));
    OK(journal_exact_came(j, &row, &why));
    exactness(5, 2, 0, 0, 1);
    OK(journal_get(j, lossy.id, &got, &found, &why));
    assert_true(got.fidelity == DELIVERED_EXACT && got.follow == EXPOSURE_STORED);
    row.state = EXPOSURE_DONE;
    OK(journal_save(j, &row, &why));
    lossy.fidelity = DELIVERED_LOSSY;
    OK(journal_save(j, &lossy, &why));
    OK(journal_exact_forget(j, &lossy, &why));
    OK(journal_owed(j, &got, &found, &why));
    assert_int_equal(got.id, lossy.id);
    exactness(5, 1, 0, 0, 1);
}

static void test_what_nobody_asked_for_is_dropped(void **state)
{
    struct exposure a = delivered("/d/a.fits", 1, DELIVERED_LOSSY), row = a, asked;
    bool found;
    (void)state;
    row.exact = true;
    row.state = EXPOSURE_READY;
    OK(journal_add(j, &row, &why));
    asked = delivered("/d/b.fits", 2, DELIVERED_LOSSY);
    asked.exact = true;
    asked.state = EXPOSURE_READY;
    asked.origin = ORIGIN_SWEEP;
    OK(journal_add(j, &asked, &why));
    OK(journal_exact_drop(j, &why));
    OK(journal_exact_of(j, &a, &row, &found, &why));
    assert_false(found);
    OK(journal_exact_of(j, &asked, &row, &found, &why));
    assert_true(found);
}

/* A journal as the release before exact data left it: nothing of it is lost or numbered anew. */
static void test_a_journal_of_before_is_taken_over(void **state)
{
    static const char *const one_schema[] = {
        "CREATE TABLE exposures ("
        " id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, name TEXT NOT NULL,"
        " size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,"
        " closed INTEGER NOT NULL, changed_ns INTEGER NOT NULL,"
        " origin INTEGER NOT NULL, request INTEGER NOT NULL,"
        " state TEXT NOT NULL, attempts INTEGER NOT NULL, due_ns INTEGER NOT NULL,"
        " reason TEXT NOT NULL,"
        " expnum INTEGER, object TEXT, filter TEXT, obstype TEXT, propid TEXT, date_obs TEXT,"
        " date_ns INTEGER, exptime REAL, ccds INTEGER, source_sha256 TEXT,"
        " bundle_id TEXT, bundle_size INTEGER, bundle_sha256 TEXT, stored_as TEXT,"
        " sent_bytes INTEGER,"
        " noticed_ns INTEGER, settled_ns INTEGER, encode_ns INTEGER, encoded_ns INTEGER,"
        " first_ns INTEGER, last_ns INTEGER, stored_ns INTEGER, done_ns INTEGER,"
        " UNIQUE (path, size, mtime_ns, inode));"
        "CREATE INDEX exposures_state ON exposures (state, due_ns);"
        "CREATE INDEX exposures_request ON exposures (request) WHERE request != 0;"
        "CREATE TABLE digests (path TEXT PRIMARY KEY, size INTEGER NOT NULL,"
        " mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "INSERT INTO exposures (id, path, name, size, mtime_ns, inode, closed, changed_ns, origin,"
        " request, state, attempts, due_ns, reason, object, stored_as, done_ns) VALUES"
        " (41, '/d/a.fits', 'a', 1, 2, 3, 0, 4, 0, 0, 'done', 0, 0, '', 'M 31', 'ut/a.tar', 99),"
        " (44, '/d/z.fits', 'z', 1, 2, 3, 0, 4, 0, 0, 'seen', 0, 0, '', '', '', 0);"
        "DELETE FROM exposures WHERE id = 44;",
        NULL};
    struct exposure e, next = fresh("/d/new.fits", 9);
    struct db *db;
    char path[4096];
    bool found;
    (void)state;
    journal_close(&j);
    scratch_path(&scratch, JOURNAL_NAME, path);
    scratch_remove(&scratch);
    assert_int_equal(scratch_make(&scratch), 0);
    OK(db_open(scratch_path(&scratch, JOURNAL_NAME, path), one_schema, false, &db, &why));
    db_close(&db);
    OK(journal_open(scratch.dir, false, &j, &why));
    OK(journal_by_path(j, "/d/a.fits", &e, &found, &why));
    assert_true(found && e.id == 41 && e.state == EXPOSURE_DONE && e.stamp[STAMP_DONE] == 99);
    assert_string_equal(e.facts.object, "M 31");
    assert_string_equal(e.stored_as, "ut/a.tar");
    assert_true(!e.exact && e.fidelity == DELIVERED_UNKNOWN);
    OK(journal_add(j, &next, &why));
    assert_int_equal(next.id, 45);
    exactness(1, 0, 0, 0, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_a_row_comes_back_as_it_was), T(test_one_row_a_version), T(test_what_is_due),
        T(test_exact_data_have_a_row_of_their_own), T(test_what_nobody_asked_for_is_dropped),
        T(test_a_journal_of_before_is_taken_over),
        T(test_counts_lists_and_retry), T(test_save_leaves_the_request_alone),
        T(test_digests_and_notes), cmocka_unit_test(test_roots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
