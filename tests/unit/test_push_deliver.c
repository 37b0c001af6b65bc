/* What `send` and `sweep` end in: files queued under the path that the agent would write, asked
 * for once, and an honest answer when nobody listens at the far end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "push/commands.h"
#include "push/deliver.h"
#include "push/progress.h"
#include "push/rest.h"
#include "tests/unit/push_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct config config;
static struct deliver *d;
static struct fault why;
static char data[4096];

#define OK(call)                                 \
    do {                                         \
        enum status st_ = (call);                \
        if (st_ != ST_OK)                        \
            fail_msg("%s: %s", #call, why.text); \
    } while (0)

static int set_up(void **state)
{
    struct config_report report = {0};
    struct settings_source none = {0};
    (void)state;
    if (scratch_make(&scratch) != 0)
        return -1;
    memset(&config, 0, sizeof config);
    setenv("HOME", scratch.dir, 1);
    settings_load(&none, 0, &config, &report);
    buf_free(&report.text);
    fixture_camera(&config.camera, 0);
    mkdir(scratch_path(&scratch, "data", data), 0755);
    struct settings *s = &config.set;
    snprintf(s->spool, sizeof s->spool, "%s/spool", scratch.dir);
    snprintf(s->directory, sizeof s->directory, "%s", data);
    snprintf(s->host, sizeof s->host, "127.0.0.1");
    s->port = 1;
    s->settle_s = 0.1;
    s->give_up_s = 1;
    s->threads = 2;
    return deliver_open(&config, &d, &why) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    deliver_close(&d);
    scratch_remove(&scratch);
    return 0;
}

static const char *make_file(const char *name, size_t missing, char path[4096])
{
    struct buf b = {0};
    snprintf(path, 4096, "%.4000s/%.60s", data, name);
    fixture_exposure(&b, 7, 1, 16);
    assert_true(fixture_write(path, b.data, b.len - missing));
    buf_free(&b);
    return path;
}

static void test_paths(void **state)
{
    char path[4096], want[4096], link[4096], via[4096], deep[4096];
    (void)state;
    snprintf(want, sizeof want, "%.4000s/x.fits", data);
    assert_true(deliver_path(&config, want, path));
    assert_string_equal(path, want);
    /* Named through a link, or by a longer road: the same row. */
    assert_int_equal(symlink(data, scratch_path(&scratch, "link", link)), 0);
    snprintf(via, sizeof via, "%.4000s/x.fits", link);
    assert_true(deliver_path(&config, via, path));
    assert_string_equal(path, want);
    snprintf(via, sizeof via, "%.3000s/../data/./x.fits", data);
    assert_true(deliver_path(&config, via, path));
    assert_string_equal(path, want);
    /* The watched directory is itself a link: spelled as configured. */
    snprintf(config.set.directory, sizeof config.set.directory, "%s", link);
    mkdir(scratch_path(&scratch, "data/n1", deep), 0755);
    snprintf(via, sizeof via, "%.4000s/x.fits", deep);
    snprintf(want, sizeof want, "%.4000s/n1/x.fits", link);
    assert_true(deliver_path(&config, via, path));
    assert_string_equal(path, want);
    /* Elsewhere, with a name that begins like the directory's. */
    mkdir(scratch_path(&scratch, "data2", deep), 0755);
    snprintf(via, sizeof via, "%.4000s/x.fits", deep);
    assert_true(deliver_path(&config, via, path));
    assert_string_equal(path, via);
    snprintf(via, sizeof via, "%.4000s/nowhere/x.fits", data);
    assert_false(deliver_path(&config, via, path));
    assert_false(deliver_path(&config, "/", path));
    assert_true(deliver_path(&config, "x.fits", path));
    assert_int_equal(path[0], '/');
}

static struct exposure row_of(const char *path)
{
    struct exposure e;
    bool found;
    OK(journal_by_path(deliver_journal(d), path, &e, &found, &why));
    assert_true(found);
    return e;
}

/* Whether the journal did not know of it, or by a profile that said otherwise. */
static void test_what_the_far_end_holds(void **state)
{
    char path[4096];
    struct exposure e;
    struct journal_group g;
    (void)state;
    make_file("a.fits", 0, path);
    assert_true(intake_fill(&e, path, 0));
    snprintf(e.group, sizeof e.group, "V12");
    memset(e.source_sha256, 'a', 64);
    e.group_ccd = 3;
    OK(deliver_held(d, &e, &why));
    assert_int_equal(row_of(path).state, EXPOSURE_DONE);
    assert_string_equal(row_of(path).source_sha256, e.source_sha256);
    OK(journal_group(deliver_journal(d), "V12", &g, &why));
    assert_true(g.has[3] && g.released);
    snprintf(e.group, sizeof e.group, "V14");
    OK(deliver_held(d, &e, &why));
    OK(journal_group(deliver_journal(d), "V14", &g, &why));
    assert_true(g.has[3] && g.released);
    OK(journal_group(deliver_journal(d), "V12", &g, &why));
    assert_false(g.has[3]);
    struct exposure waits = row_of(path);
    waits.state = EXPOSURE_PARTIAL;
    OK(journal_save(deliver_journal(d), &waits, &why));
    e.group_ccd = 4;
    OK(deliver_held(d, &e, &why));
    assert_int_equal(row_of(path).group_ccd, 3); /* the agent's business */
}

static void test_rows(void **state)
{
    char path[4096];
    (void)state;
    make_file("a.fits", 0, path);
    OK(deliver_add(d, path, ORIGIN_SEND, false, &why));
    struct exposure e = row_of(path), again;
    assert_int_equal(e.state, EXPOSURE_SEEN);
    assert_int_equal(e.origin, ORIGIN_SEND);
    assert_true(e.request != 0);
    /* Delivered, unchanged: stays delivered, unless the far end has lost it. */
    e.state = EXPOSURE_DONE;
    OK(journal_save(deliver_journal(d), &e, &why));
    OK(deliver_add(d, path, ORIGIN_SWEEP, false, &why));
    assert_int_equal(row_of(path).state, EXPOSURE_DONE);
    OK(deliver_add(d, path, ORIGIN_SWEEP, true, &why));
    again = row_of(path);
    assert_int_equal(again.id, e.id);
    assert_int_equal(again.state, EXPOSURE_SEEN);
    assert_int_equal(again.origin, ORIGIN_SWEEP);
    /* Parked: named by hand, it is tried again. */
    again.state = EXPOSURE_PARKED;
    OK(journal_save(deliver_journal(d), &again, &why));
    OK(deliver_add(d, path, ORIGIN_SEND, false, &why));
    assert_int_equal(row_of(path).state, EXPOSURE_SEEN);
    /* Under way: left to the agent. */
    again.state = EXPOSURE_SENDING;
    OK(journal_save(deliver_journal(d), &again, &why));
    OK(deliver_add(d, path, ORIGIN_SEND, true, &why));
    assert_int_equal(row_of(path).state, EXPOSURE_SENDING);
    /* Delivered once, then changed: another row. */
    again.state = EXPOSURE_DONE;
    OK(journal_save(deliver_journal(d), &again, &why));
    assert_true(fixture_age(path, 1000));
    OK(deliver_add(d, path, ORIGIN_SEND, false, &why));
    assert_true(row_of(path).id > e.id);
    assert_int_equal(deliver_add(d, "/no/such.fits", ORIGIN_SEND, false, &why), ST_REJECT);
    assert_string_equal(why.text, "No such file or directory");
}

static bool note_rest(void *ctx, const struct exposure *e)
{
    snprintf(ctx, 800, "%s %s %s", e->name, exposure_state_names[e->state], e->reason);
    return true;
}

static void test_nobody_listens(void **state)
{
    struct deliver_result r;
    char path[4096], rest[800] = "";
    (void)state;
    OK(deliver_add(d, make_file("a.fits", 0, path), ORIGIN_SEND, false, &why));
    deliver_wait(d, 1, &r);
    assert_true(r.unreachable);
    assert_int_equal(r.asked, 1);
    assert_int_equal(r.delivered, 0);
    assert_true(r.trouble.text[0]);
    assert_int_equal(deliver_exit(&r), EXIT_UNREACHABLE);
    OK(deliver_rest(d, note_rest, rest, &why));
    assert_int_equal(strncmp(rest, "a s", 3), 0); /* still queued: seen or sending */
}

static void test_what_cannot_be_sent_is_told(void **state)
{
    struct deliver_result r;
    char path[4096], rest[800] = "";
    (void)state;
    OK(deliver_add(d, make_file("cut.fits", 2880, path), ORIGIN_SEND, false, &why));
    deliver_wait(d, 20, &r);
    assert_false(r.unreachable);
    assert_int_equal(r.parked, 1);
    assert_int_equal(deliver_exit(&r), EXIT_INCOMPLETE);
    OK(deliver_rest(d, note_rest, rest, &why));
    assert_non_null(strstr(rest, "cut parked incomplete"));
}

static void test_retry_when_nothing_is_parked(void **state)
{
    char path[4096];
    (void)state;
    assert_int_equal(retry_command(&config, (const char *const[]){"all"}, 1), EXIT_DONE);
    assert_int_equal(retry_command(&config, (const char *const[]){"a"}, 1), EXIT_FAILED);
    OK(deliver_add(d, make_file("a.fits", 0, path), ORIGIN_SEND, false, &why));
    struct exposure e = row_of(path);
    e.state = EXPOSURE_PARKED;
    OK(journal_save(deliver_journal(d), &e, &why));
    assert_int_equal(retry_command(&config, (const char *const[]){"all"}, 1), EXIT_DONE);
    assert_int_equal(row_of(path).state, EXPOSURE_SEEN);
}

/* One file's row of the rest: of V12, parked for the reason, unless said otherwise. */
static void take(struct rest *r, const char *path, const char *group, int state, const char *reason)
{
    struct exposure e = {.state = state};
    snprintf(e.path, sizeof e.path, "%s", path);
    snprintf(e.group, sizeof e.group, "%s", group);
    snprintf(e.reason, sizeof e.reason, "%s", reason);
    assert_true(rest_take(r, &e));
}

static void test_the_rest_in_words(void **state)
{
    static const char why_not[] = "exposure V12 has 3 of 5 ccds (missing: 4, 5), and nothing more "
                                  "came for 20 s; it goes when the rest comes";
    char *text = NULL;
    size_t size;
    struct rest r = {.to = open_memstream(&text, &size)};
    (void)state;
    assert_non_null(r.to);
    take(&r, "/d/a.fits", "V12", EXPOSURE_PARKED, why_not);
    take(&r, "/d/b.fits", "V12", EXPOSURE_PARKED, why_not);
    take(&r, "/d/c.fits", "V12", EXPOSURE_PARKED, why_not);
    take(&r, "/d/d.fits", "V12", EXPOSURE_PARKED, "broken");
    take(&r, "/d/e\nf.fits", "", EXPOSURE_PARKED, "broken");
    take(&r, "/d/g.fits", "", EXPOSURE_PARKED, "broken");
    take(&r, "/d/h.fits", "", EXPOSURE_SEEN, "");
    rest_end(&r);
    rest_end(&r);
    fclose(r.to);
    assert_string_equal(text, "not delivered: /d/a.fits and 2 more of V12: parked\n"
                              "    exposure V12 has 3 of 5 ccds (missing: 4, 5), and nothing more "
                              "came for 20\n"
                              "    s; it goes when the rest comes\n"
                              "not delivered: /d/d.fits: parked\n    broken\n"
                              "not delivered: /d/e?f.fits: parked\n    broken\n"
                              "not delivered: /d/g.fits: parked\n    broken\n"
                              "not delivered: /d/h.fits: seen\n");
    free(text);
}

static void test_nothing_to_do(void **state)
{
    struct deliver_result r;
    int64_t start = clock_mono();
    (void)state;
    deliver_wait(d, 60, &r);
    assert_int_equal(deliver_exit(&r), EXIT_DONE);
    assert_true(clock_mono() - start < 20 * NS_PER_S);
}

static void test_the_bar(void **state)
{
    char bar[16];
    (void)state;
    progress_bar(0, 4, 8, bar, sizeof bar);
    assert_string_equal(bar, "[........]");
    progress_bar(3, 4, 8, bar, sizeof bar);
    assert_string_equal(bar, "[######..]");
    progress_bar(4, 4, 8, bar, sizeof bar);
    assert_string_equal(bar, "[########]");
    progress_bar(0, 0, 8, bar, sizeof bar);
    assert_string_equal(bar, "[########]");
    snprintf(bar, sizeof bar, "short");
    progress_bar(1, 2, 8, bar, 10);
    assert_string_equal(bar, "short");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_paths), T(test_what_the_far_end_holds), T(test_rows), T(test_nobody_listens),
        T(test_what_cannot_be_sent_is_told), T(test_retry_when_nothing_is_parked),
        T(test_nothing_to_do), cmocka_unit_test(test_the_rest_in_words), cmocka_unit_test(test_the_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
