/* What holds new work back in the running engine: tokens that come and go while it runs, over a
 * restart, and while a bundle is coming; ceilings of jobs and of ingest; the newest first. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/gate.h"
#include "pull/minute.h"
#include "tests/unit/command_fixture.h"

/* ---- an engine that runs beside a script ---- */

struct play {
    struct agent *a;
    struct loop_timer *timer;
    bool (*step)(struct play *p); /* false: enough */
    int64_t deadline, at;
    int n, most;
    bool late;
};

static void on_play(void *ctx)
{
    struct play *p = ctx;
    p->late = clock_mono() > p->deadline;
    if (p->late || !p->step(p))
        agent_stop(p->a);
}

static void play(struct play *p)
{
    p->deadline = clock_mono() + 30 * NS_PER_S;
    TRY(agent_open(&settings, &p->a, WHY));
    p->a->settle_s = 0;
    TRY(agent_watch(p->a, WHY));
    p->timer = loop_timer_new(p->a->loop, on_play, p);
    loop_timer_set(p->timer, 10, 10);
    TRY(agent_run(p->a, WHY));
    loop_timer_free(&p->timer);
    agent_close(&p->a);
    if (p->late)
        fail_msg("the script did not come to its end: step %d", p->n);
}

static bool count_one(void *ctx, const struct exposure *x)
{
    (void)x;
    ++*(int *)ctx;
    return true;
}

static int in_state(struct agent *a, enum exposure_state s)
{
    struct catalogue_pick pick = {.states = 1u << s};
    int n = 0;
    TRY(catalogue_each(a->cat, &pick, count_one, &n, WHY));
    return n;
}

static void pause_it(enum pausable what, const char *reason)
{
    TRY(pause_set(settings.state, what, reason, WHY));
}

static void resume(enum pausable what)
{
    TRY(pause_end(settings.state, what, WHY));
}

/* An exposure that push noticed so many seconds after a common beginning. */
static void store_noticed(const char *name, int64_t s)
{
    char path[PULL_PATH], rel[256];
    struct receipt r;
    struct buf text = {0};
    store_one(name);
    snprintf(rel, sizeof rel, "bundles/%s/%s.receipt", NIGHT, name);
    pull_path(&settings, rel, path);
    TRY(fs_read_file(path, 65536, &text, WHY));
    TRY(receipt_parse(text.data, text.len, &r, WHY));
    r.noticed_ns = (1700000000 + s) * NS_PER_S;
    text.len = 0;
    assert_true(receipt_text(&r, &text));
    TRY(fs_write_file(path, text.data, text.len, false, WHY));
    buf_free(&text);
}

/* ---- ingest ---- */

/* 0: paused at start, nothing begins for a while. 1: resumed, all of it. */
static bool paused_then_resumed(struct play *p)
{
    int stored = in_state(p->a, EX_STORED);
    if (p->n == 0 && stored == 2) {
        p->at = p->at ? p->at : clock_mono();
        assert_true(gate_paused(p->a, PAUSE_INGEST) && !gate_paused(p->a, PAUSE_JOBS));
        assert_null(p->a->flights);
        if (clock_mono() - p->at > 300 * NS_PER_MS) {
            resume(PAUSE_INGEST);
            p->at = clock_mono();
            p->n = 1;
        }
    } else if (p->n == 1 && !gate_paused(p->a, PAUSE_INGEST)) {
        assert_true(clock_mono() - p->at < 10 * NS_PER_S);
        p->n = 2;
    }
    return p->n < 2 || in_state(p->a, EX_DONE) < 2;
}

static void a_token_from_before_holds(void **state)
{
    (void)state;
    struct play p = {.step = paused_then_resumed};
    pause_it(PAUSE_INGEST, "maintenance");
    store_one("exp_1000");
    store_one("exp_1001");
    play(&p);
    assert_true(exists("rawdata/ut160901/11/Field.g.ut160901.1001_11.fits"));
}

static bool pause_is_seen(struct play *p)
{
    if (p->n == 0) {
        p->at = clock_mono();
        pause_it(PAUSE_INGEST, "");
        pause_it(PAUSE_JOBS, "");
        p->n = 1;
    } else if (p->n == 1 && gate_paused(p->a, PAUSE_INGEST) && gate_paused(p->a, PAUSE_JOBS)) {
        assert_true(clock_mono() - p->at < 10 * NS_PER_S);
        return false;
    }
    return true;
}

static void a_running_daemon_sees_it(void **state)
{
    (void)state;
    struct play p = {.step = pause_is_seen};
    play(&p);
    /* Made by hand, without a word: it holds, too. */
    resume(PAUSE_JOBS);
    TRY(fs_write_file(in_store("state/paused/jobs"), "", 0, false, WHY));
    struct pause_token t;
    pause_read(settings.state, PAUSE_JOBS, &t);
    assert_true(t.set && t.since_ns > 0 && !t.by[0] && !t.reason[0]);
}

static bool newest_goes_first(struct play *p)
{
    int64_t last = INT64_MAX;
    if (p->n == 0 && in_state(p->a, EX_STORED) == 5) {
        resume(PAUSE_INGEST);
        p->n = 1;
    }
    if (p->n == 0 || in_state(p->a, EX_DONE) < 5)
        return true;
    static const char *const order[] = {"exp_2003", "exp_2001", "exp_2004", "exp_2000", "exp_2002"};
    for (int i = 0; i < 5; i++) {
        struct exposure x = exposure_named(order[4 - i]);
        assert_true(x.stamp[STAMP_INDEXED] < last);
        last = x.stamp[STAMP_INDEXED];
    }
    return false;
}

static void after_a_pause_the_newest_first(void **state)
{
    (void)state;
    struct play p = {.step = newest_goes_first};
    load_settings("[jobs]\ndry_run = yes\n[ingest]\nmax_at_once = 1\n");
    pause_it(PAUSE_INGEST, "");
    store_noticed("exp_2000", 100);
    store_noticed("exp_2001", 300);
    store_noticed("exp_2002", 0);
    store_noticed("exp_2003", 400);
    store_noticed("exp_2004", 200);
    play(&p);
}

static bool at_most_one(struct play *p)
{
    int n = 0;
    for (const struct flight *f = p->a->flights; f; f = f->next)
        n += f->x.state == EX_STORED;
    p->most = n > p->most ? n : p->most;
    return in_state(p->a, EX_DONE) < 6;
}

static void so_many_at_once(void **state)
{
    (void)state;
    for (int most = 1; most <= 3; most += 2) {
        struct play p = {.step = at_most_one};
        char text[128], name[32];
        remove_tree(settings.root);
        snprintf(text, sizeof text, "[jobs]\ndry_run = yes\n[ingest]\nmax_at_once = %d\n", most);
        load_settings(text);
        for (int i = 0; i < 6; i++) {
            snprintf(name, sizeof name, "exp_%d", 2100 + i);
            store_one(name);
        }
        play(&p);
        assert_true(p.most <= most);
    }
}

/* Two of three begin; the third waits, and `status` says why. */
static bool two_of_three(struct play *p)
{
    if (in_state(p->a, EX_DONE) < 2)
        return true;
    p->at = p->at ? p->at : clock_mono();
    assert_int_equal(in_state(p->a, EX_STORED), 1);
    return clock_mono() - p->at < 300 * NS_PER_MS;
}

static void so_many_a_minute(void **state)
{
    (void)state;
    struct play p = {.step = two_of_three};
    load_settings("[jobs]\ndry_run = yes\n[ingest]\nper_minute = 2\n");
    store_one("exp_2200");
    store_one("exp_2201");
    store_one("exp_2202");
    play(&p);
    /* A restart does not make the minute begin anew. */
    p = (struct play){.step = two_of_three};
    play(&p);
    /* The minute is over. */
    struct catalogue *cat;
    TRY(catalogue_open(settings.catalogue, false, &cat, WHY));
    TRY(catalogue_note_begun(cat, PAUSE_INGEST, clock_wall() + MINUTE_NS + NS_PER_S, WHY));
    catalogue_close(&cat);
    run_agent(3);
}

/* ---- jobs ---- */

static void use_jobs(const char *script, const char *more)
{
    char path[4096], text[8000], lines[4600];
    scratch_path(&dir, "job", path);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    TRY(fs_write_file(path, text, strlen(text), false, WHY));
    assert_int_equal(chmod(path, 0755), 0);
    snprintf(lines, sizeof lines, "[jobs]\ncommand = %s {exposure}\nccds_per_job = 1\n%s", path,
             more);
    load_settings(lines);
}

static int lines_of(const char *name)
{
    char path[4096];
    struct buf text = {0};
    int n = 0;
    if (access(scratch_path(&dir, name, path), F_OK) != 0)
        return 0;
    slurp(path, &text);
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == '\n';
    buf_free(&text);
    return n;
}

/* The job that runs goes on, no other begins; then all. */
static bool jobs_paused(struct play *p)
{
    if (p->n == 0 && lines_of("begun") > 0) {
        pause_it(PAUSE_JOBS, "the flat is wrong");
        p->n = 1;
    } else if (p->n == 1 && gate_paused(p->a, PAUSE_JOBS)) {
        p->most = lines_of("begun");
        TRY(fs_write_file(scratch_path(&dir, "go", (char[4096]){0}), "", 0, false, WHY));
        p->n = 2;
    } else if (p->n == 2 && lines_of("ended") == p->most) {
        p->at = p->at ? p->at : clock_mono();
        assert_int_equal(lines_of("begun"), p->most);
        if (clock_mono() - p->at > 300 * NS_PER_MS) {
            assert_true(p->most < 6);
            resume(PAUSE_JOBS);
            p->n = 3;
        }
    }
    return p->n < 3 || in_state(p->a, EX_DONE) < 3;
}

static void what_runs_goes_on(void **state)
{
    (void)state;
    struct play p = {.step = jobs_paused};
    use_jobs("d=$(dirname $0); echo $1 >>$d/begun; until [ -f $d/go ]; do sleep 0.02; done; "
             "echo $1 >>$d/ended", "max_running = 1\n");
    store_one("exp_3000");
    store_one("exp_3001");
    store_one("exp_3002");
    play(&p);
    assert_int_equal(lines_of("ended"), 6);
}

static bool all_worked(struct play *p)
{
    if (p->n == 0 && in_state(p->a, EX_WORKING) == 3) {
        resume(PAUSE_JOBS);
        p->n = 1;
    }
    return in_state(p->a, EX_DONE) < 3;
}

static void newest_exposure_s_jobs_first(void **state)
{
    (void)state;
    struct play p = {.step = all_worked};
    char path[4096];
    struct buf text = {0};
    use_jobs("echo $1 >>$(dirname $0)/begun", "max_running = 1\n");
    pause_it(PAUSE_JOBS, "");
    store_noticed("exp_3100", 200);
    store_noticed("exp_3101", 100);
    store_noticed("exp_3102", 300);
    play(&p);
    slurp(scratch_path(&dir, "begun", path), &text);
    buf_printf(&text, "%s", "");
    assert_string_equal((char *)text.data, "exp_3102\nexp_3102\nexp_3100\nexp_3100\nexp_3101\n"
                                           "exp_3101\n");
    buf_free(&text);
}

static bool three_begun(struct play *p)
{
    if (lines_of("begun") < 3 || in_state(p->a, EX_WORKING) + in_state(p->a, EX_DONE) < 2)
        return true;
    p->at = p->at ? p->at : clock_mono();
    assert_int_equal(lines_of("begun"), 3);
    return clock_mono() - p->at < 300 * NS_PER_MS;
}

static void submissions_a_minute(void **state)
{
    (void)state;
    struct play p = {.step = three_begun};
    use_jobs("echo $1 >>$(dirname $0)/begun", "max_running = 8\nsubmits_per_minute = 3\n");
    store_one("exp_3200");
    store_one("exp_3201");
    play(&p);
    p = (struct play){.step = three_begun}; /* nor after a restart */
    play(&p);
}

/* What a runner asks before it calls its batch system: the call that was counted goes, one more
 * for the same jobs counts anew. */
static void repeated_calls_count(void **state)
{
    (void)state;
    struct agent *a = NULL;
    struct ceiling c;
    load_settings("[jobs]\nsubmits_per_minute = 2\n");
    TRY(agent_open(&settings, &a, WHY));
    assert_true(gate_lets_submit(NULL, 0));
    assert_true(gate_submits(a));
    assert_true(gate_lets_submit(a->gate, clock_mono()));
    assert_true(gate_lets_submit(a->gate, 0));
    assert_false(gate_lets_submit(a->gate, 0));
    assert_false(gate_submits(a));
    assert_true(gate_lets_submit(a->gate, clock_mono()));
    assert_false(gate_lets_submit(a->gate, clock_mono() - MINUTE_LATE_NS)); /* let long ago */
    gate_ceiling(a, true, &c);
    assert_true(c.submits == 2 && c.submit_most == 2);
    agent_close(&a);
    /* Paused, not even the one that was counted. */
    pause_it(PAUSE_JOBS, "");
    TRY(agent_open(&settings, &a, WHY));
    assert_false(gate_lets_submit(a->gate, clock_mono()));
    gate_ceiling(a, true, &c);
    assert_int_equal(c.submits, 2); /* remembered */
    /* Other settings hold at once, and count what was begun before. */
    a->s.submits_per_minute = 0;
    a->s.ingest_per_minute = 1;
    assert_true(gate_ingest_begins(a));
    assert_false(gate_ingest_begins(a));
    gate_reload(a);
    agent_close(&a);
    TRY(agent_open(&settings, &a, WHY));
    a->s.ingest_per_minute = 1;
    assert_false(gate_ingest_begins(a));
    agent_close(&a);
}

/* ---- the commands ---- */

static void pause_and_resume_in_words(void **state)
{
    (void)state;
    assert_int_equal(call(command_resume, NULL, NULL), EXIT_DONE);
    assert_string_equal(said, "nothing was paused\n");
    assert_int_equal(call(command_pause, NULL, OPERANDS("everything")), EXIT_USAGE);
    assert_said("'everything' is neither ingest nor jobs");
    assert_int_equal(call(command_pause, OPTIONS({OPT_REASON, "disk full", "reason"}),
                          OPERANDS("ingest")), EXIT_DONE);
    assert_said("ingest is paused since 20");
    assert_said(": disk full\n");
    assert_said("no daemon runs");
    struct pause_token first, t;
    pause_read(settings.state, PAUSE_INGEST, &first);
    assert_true(first.set && strcmp(first.reason, "disk full") == 0 && strchr(first.by, '@'));
    pause_read(settings.state, PAUSE_JOBS, &t);
    assert_false(t.set);
    /* Twice: nothing changes, but for another reason. */
    assert_int_equal(call(command_pause, NULL, NULL), EXIT_DONE);
    assert_said("ingest was already paused since 20");
    assert_said("jobs is paused since 20");
    pause_read(settings.state, PAUSE_INGEST, &t);
    assert_true(t.since_ns == first.since_ns && strcmp(t.reason, "disk full") == 0);
    assert_int_equal(call(command_pause, OPTIONS({OPT_REASON, "still \"full\"\n", "reason"}),
                          OPERANDS("ingest")), EXIT_DONE);
    pause_read(settings.state, PAUSE_INGEST, &t);
    assert_true(t.since_ns == first.since_ns);
    assert_string_equal(t.reason, "still \"full\"?");
    assert_int_equal(call(command_status, NULL, NULL), EXIT_DONE);
    assert_said("ingest PAUSED since 20");
    assert_said("jobs PAUSED since 20");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), NULL), EXIT_DONE);
    json_t *root = json_loads(said, 0, NULL), *held = json_object_get(root, "held");
    json_t *paused = json_object_get(json_object_get(held, "ingest"), "paused");
    assert_int_equal(json_integer_value(json_object_get(paused, "since_ns")), first.since_ns);
    json_decref(root);
    assert_int_equal(call(command_resume, NULL, OPERANDS("jobs")), EXIT_DONE);
    assert_int_equal(call(command_resume, NULL, NULL), EXIT_DONE);
    assert_said("ingest goes on, the newest first; it was paused since 20");
    assert_int_equal(call(command_status, NULL, NULL), EXIT_DONE);
    assert_null(strstr(said, "PAUSED"));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_from_before_holds),
        TEST(a_running_daemon_sees_it),
        TEST(after_a_pause_the_newest_first),
        TEST(so_many_at_once),
        TEST(so_many_a_minute),
        TEST(what_runs_goes_on),
        TEST(newest_exposure_s_jobs_first),
        TEST(submissions_a_minute),
        TEST(repeated_calls_count),
        TEST(pause_and_resume_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
