/* The road as a table, and the engine walking it with a real pool, journal and spool. The far
 * end is a port at which nobody listens: exposures must queue, and nothing be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>

#include "common/clock.h"
#include "push/agent.h"
#include "push/status.h"
#include "push/transit.h"
#include "tests/unit/push_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct config config;
static struct fault why;
static char spool[4096], data[4096];

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
    scratch_path(&scratch, "spool", spool);
    struct settings *s = &config.set;
    snprintf(s->spool, sizeof s->spool, "%s", spool);
    snprintf(s->directory, sizeof s->directory, "%s", data);
    snprintf(s->host, sizeof s->host, "127.0.0.1");
    s->port = 1; /* tcpmux: nobody listens */
    s->settle_s = 0.2;
    s->give_up_s = 1;
    s->threads = 2;
    s->connect_timeout_s = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

/* ---- the table ---- */

static void test_the_table(void **state)
{
    (void)state;
    for (int i = 0; i < EXPOSURE_STATES; i++) {
        const struct flow_row *r = &flow_table[i];
        assert_int_equal(r->stage.state, i);
        assert_string_equal(r->stage.name, exposure_state_names[i]);
        assert_int_equal(exposure_state_parse(r->stage.name), i);
        assert_true(r->stage.on_ok >= 0 && r->stage.on_ok < EXPOSURE_STATES);
        if (i < EXPOSURE_DONE) {
            assert_int_equal(r->stage.on_ok, i + 1); /* straight on when all is well */
            assert_true(r->stage.wait_seconds > 0 && r->stage.retry_seconds > 0);
            assert_true(r->stage.retry_max >= r->stage.retry_seconds);
        }
    }
    /* What the far end has a receipt for can no longer be parked. */
    assert_int_equal(flow_table[EXPOSURE_STORED].stage.on_reject, EXPOSURE_DONE);
    assert_int_equal(flow_table[EXPOSURE_SENDING].stage.on_reject, EXPOSURE_PARKED);
    assert_int_equal(flow_table[EXPOSURE_SENDING].on_change, EXPOSURE_SEEN);
    assert_int_equal(exposure_state_parse("nowhere"), -1);
}

static void test_sightings(void **state)
{
    static const struct {
        int state;
        bool same;
        enum watch_hint hint;
        enum intake what;
    } rows[] = {
        {EXPOSURE_SEEN, true, WATCH_FOUND, INTAKE_NONE},
        {EXPOSURE_SEEN, true, WATCH_CLOSED, INTAKE_LOOK},
        {EXPOSURE_SEEN, false, WATCH_FOUND, INTAKE_RESTART},
        {EXPOSURE_READY, true, WATCH_CLOSED, INTAKE_NONE},
        {EXPOSURE_READY, false, WATCH_FOUND, INTAKE_RESTART},
        {EXPOSURE_SENDING, false, WATCH_CLOSED, INTAKE_NONE},
        {EXPOSURE_STORED, false, WATCH_CLOSED, INTAKE_NONE},
        {EXPOSURE_DONE, true, WATCH_CLOSED, INTAKE_NONE}, /* an unchanged file is not sent twice */
        {EXPOSURE_DONE, false, WATCH_FOUND, INTAKE_ADD},
        {EXPOSURE_PARKED, true, WATCH_CLOSED, INTAKE_NONE},
        {EXPOSURE_PARKED, false, WATCH_FOUND, INTAKE_RESTART},
    };
    (void)state;
    assert_int_equal(intake_decide(false, -1, false, WATCH_FOUND), INTAKE_ADD);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(intake_decide(true, rows[i].state, rows[i].same, rows[i].hint),
                         rows[i].what);
}

static void test_receipts(void **state)
{
    struct exposure e = {.file = {.size = 100}, .bundle_size = 50};
    struct receipt r = {.size = 50, .source_size = 100};
    (void)state;
    memset(e.bundle_sha256, 'a', 64);
    memset(e.source_sha256, 'b', 64);
    memset(r.sha256, 'a', 64);
    memset(r.source_sha256, 'c', 64);
    assert_true(transit_receipt_fits(&e, &r));  /* our bundle */
    r.size = 49;
    assert_false(transit_receipt_fits(&e, &r)); /* not all of it */
    memset(r.source_sha256, 'b', 64);
    assert_true(transit_receipt_fits(&e, &r));  /* another encoding of our file */
    r.source_size = 99;
    assert_false(transit_receipt_fits(&e, &r));
    memset(&e.bundle_sha256, 0, DIGEST_HEX);
    memset(&e.source_sha256, 0, DIGEST_HEX);
    memset(&r, 0, sizeof r);
    assert_false(transit_receipt_fits(&e, &r)); /* nothing known proves nothing */
    /* The receipt of the lossy delivery is none for the exact data. */
    memset(e.source_sha256, 'b', 64);
    memset(r.source_sha256, 'b', 64);
    r.source_size = 100;
    e.exact = true;
    assert_false(transit_receipt_fits(&e, &r));
    r.exact = true;
    assert_true(transit_receipt_fits(&e, &r));
    e.exact = false;
    assert_true(transit_receipt_fits(&e, &r)); /* but the other way round */
}

/* ---- the engine ---- */

struct walk {
    struct agent *agent;
    const char *name;   /* wait until this exposure ... */
    int state;          /* ... is in this state, ... */
    bool finished;      /* ... its bundle finished when this is set, */
    bool waits;         /* ... with a reason when this is set, */
    const char *file;   /* ... and this file has this size, when one is named */
    int64_t size;
    struct exposure e;  /* as it was then */
    int64_t give_up;
    bool late;
    bool sighted;
    char path[4096];    /* what is sighted in the first tick */
};

static bool find(void *ctx, const struct exposure *e)
{
    struct walk *w = ctx;
    if (strcmp(e->name, w->name) != 0)
        return true;
    w->e = *e;
    return false;
}

static void on_tick(void *ctx)
{
    struct walk *w = ctx;
    if (!w->sighted && w->path[0])
        flow_intake(agent_flow(w->agent), w->path, WATCH_CLOSED);
    w->sighted = true;
    w->e.id = 0;
    OK(journal_list(agent_journal(w->agent), -1, 0, 0, find, w, &why));
    struct stat st;
    bool there = w->e.id && w->e.state == w->state && (!w->finished || w->e.bundle_sha256[0]) &&
                 (!w->waits || w->e.reason[0]) &&
                 (!w->file || (stat(w->file, &st) == 0 && st.st_size == w->size));
    w->late = clock_mono() > w->give_up;
    if (there || w->late)
        agent_stop(w->agent);
}

static void walk_until(struct walk *w, const char *name, int state)
{
    struct agent_options o = {.config = &config, .ctx = w, .tick = on_tick};
    w->name = name;
    w->state = state;
    w->give_up = clock_mono() + 20 * NS_PER_S;
    OK(agent_open(&o, &w->agent, &why));
    OK(agent_run(w->agent, &why));
    agent_close(&w->agent);
    if (w->late)
        fail_msg("%s is %s (%s), not %s", name, w->e.id ? exposure_state_names[w->e.state] : "unknown",
                 w->e.reason, exposure_state_names[state]);
}

static int tars_in_spool(void)
{
    DIR *d = opendir(spool);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strstr(e->d_name, ".tar") != NULL;
    closedir(d);
    return n;
}

static const char *exposure_file(const char *name, size_t missing, char path[4096])
{
    struct buf b = {0};
    snprintf(path, 4096, "%.4000s/%.60s.fits", data, name);
    fixture_exposure(&b, 7, 3, 32);
    assert_true(fixture_write(path, b.data, b.len - missing));
    buf_free(&b);
    return path;
}

static void test_an_exposure_queues_and_outlives_a_restart(void **state)
{
    struct walk w = {.finished = true}, again = {.finished = true};
    char bundle[4200], noted[16];
    struct journal *j;
    (void)state;
    exposure_file("a", 0, w.path);
    walk_until(&w, "a", EXPOSURE_SENDING);
    assert_int_equal(w.e.facts.expnum, 7);
    assert_int_equal(w.e.ccds, 3);
    assert_true(digest_valid(w.e.bundle_id) && digest_valid(w.e.source_sha256));
    assert_true(w.e.stamp[STAMP_NOTICED] <= w.e.stamp[STAMP_SETTLED]);
    assert_true(w.e.stamp[STAMP_SETTLED] <= w.e.stamp[STAMP_ENCODE]);
    assert_true(w.e.stamp[STAMP_ENCODE] <= w.e.stamp[STAMP_ENCODED]);
    assert_int_equal(w.e.stamp[STAMP_STORED], 0);
    struct spool s = {.lock = -1};
    snprintf(s.directory, sizeof s.directory, "%s", spool);
    spool_bundle(&s, &w.e, bundle);
    struct stat st;
    assert_int_equal(stat(bundle, &st), 0); /* kept for the next start */
    assert_int_equal(st.st_size, w.e.bundle_size);
    OK(journal_open(spool, true, &j, &why));
    journal_noted(j, NOTE_LANES, noted, sizeof noted);
    assert_string_equal(noted, "0");
    journal_noted(j, NOTE_MODE, noted, sizeof noted);
    assert_string_equal(noted, "adaptive");
    journal_close(&j);
    walk_until(&again, "a", EXPOSURE_SENDING);
    assert_int_equal(again.e.id, w.e.id);
    assert_int_equal(again.e.stamp[STAMP_ENCODED], w.e.stamp[STAMP_ENCODED]); /* not encoded anew */
    assert_int_equal(tars_in_spool(), 1);
}

/* Cut short by a crash, the bundle is not what the journal says: it is made again. */
static void test_a_damaged_bundle_is_made_again(void **state)
{
    struct walk w = {.finished = true};
    char bundle[4200];
    (void)state;
    exposure_file("a", 0, w.path);
    walk_until(&w, "a", EXPOSURE_SENDING);
    struct spool s = {.lock = -1};
    snprintf(s.directory, sizeof s.directory, "%s", spool);
    spool_bundle(&s, &w.e, bundle);
    assert_int_equal(truncate(bundle, w.e.bundle_size - 512), 0);
    char orphan[4096];
    snprintf(orphan, sizeof orphan, "%.4000s/01234567-nobody.tar", spool);
    assert_true(fixture_write(orphan, "x", 1));
    struct walk again = {.file = bundle, .size = w.e.bundle_size};
    walk_until(&again, "a", EXPOSURE_SENDING);
    assert_int_equal(access(orphan, F_OK), -1);
}

static void test_an_incomplete_file_is_parked_until_it_changes(void **state)
{
    struct walk w = {.state = 0}, whole = {.state = 0};
    (void)state;
    exposure_file("cut", 2880, w.path);
    walk_until(&w, "cut", EXPOSURE_PARKED);
    assert_non_null(strstr(w.e.reason, "2880 bytes"));
    exposure_file("cut", 0, whole.path);
    walk_until(&whole, "cut", EXPOSURE_SENDING);
    assert_int_equal(whole.e.id, w.e.id); /* the same row: nothing was delivered of it */
    assert_string_equal(whole.e.reason, "");
}

static void test_a_full_spool_waits(void **state)
{
    struct walk w = {.waits = true};
    (void)state;
    config.set.quota_gib = 1e-6;
    exposure_file("a", 0, w.path);
    walk_until(&w, "a", EXPOSURE_READY);
    assert_non_null(strstr(w.e.reason, "quota_gib"));
    assert_int_equal(w.e.attempts, 0);
    assert_int_equal(tars_in_spool(), 0);
}

static void test_a_second_agent_is_refused(void **state)
{
    struct spool first, second;
    (void)state;
    OK(spool_open(spool, &first, &why));
    assert_int_equal(spool_holder(spool), getpid());
    assert_int_equal(spool_open(spool, &second, &why), ST_WAIT);
    char pid[32];
    snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    assert_non_null(strstr(why.text, pid));
    spool_close(&second);
    spool_close(&first);
    OK(spool_open(spool, &second, &why));
    spool_close(&second);
}

static void test_a_wish_for_a_mode(void **state)
{
    struct spool s;
    char word[32];
    (void)state;
    OK(spool_open(spool, &s, &why));
    assert_false(spool_take(&s, "mode", word, sizeof word));
    OK(spool_wish(spool, "mode", "serial", &why));
    assert_true(spool_take(&s, "mode", word, sizeof word));
    assert_string_equal(word, "serial");
    assert_false(spool_take(&s, "mode", word, sizeof word)); /* once */
    spool_close(&s);
}

static void test_room(void **state)
{
    struct spool s;
    struct exposure e = {.name = "x"};
    char bundle[4200];
    (void)state;
    OK(spool_open(spool, &s, &why));
    memset(e.bundle_id, 'a', 64);
    spool_bundle(&s, &e, bundle);
    struct buf mib = {0};
    assert_true(buf_reserve(&mib, 1 << 20));
    memset(mib.data, 0, 1 << 20);
    assert_true(fixture_write(bundle, mib.data, 1 << 20));
    buf_free(&mib);
    double quota = 2.0 / 1024; /* 2 MiB */
    assert_int_equal(spool_room(&s, quota, 1 << 20, &why), ST_OK);
    assert_int_equal(spool_room(&s, quota, (1 << 20) + 1, &why), ST_WAIT);
    assert_int_equal(spool_room(&s, 1e9, 1LL << 50, &why), ST_WAIT); /* the disk itself */
    assert_non_null(strstr(why.text, "disk of the spool"));
    spool_close(&s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table), cmocka_unit_test(test_sightings),
        cmocka_unit_test(test_receipts), T(test_an_exposure_queues_and_outlives_a_restart),
        T(test_a_damaged_bundle_is_made_again),
        T(test_an_incomplete_file_is_parked_until_it_changes), T(test_a_full_spool_waits),
        T(test_a_second_agent_is_refused), T(test_a_wish_for_a_mode), T(test_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
