/* The journal about the queue: what could go, how fast it comes; and what status shows of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "push/status.h"
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

static const struct camera decam;

static struct exposure fresh(const char *path, int64_t version)
{
    struct exposure e = {.origin = ORIGIN_WATCH};
    snprintf(e.path, sizeof e.path, "%s", path);
    exposure_root(path, e.name);
    exposure_restart(&e, &(struct identity){1000 + version, 2000 + version, 3000 + version},
                     clock_wall());
    return e;
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

static void test_candidates(void **state)
{
    int64_t ready = add("/d/a.fits", 1, EXPOSURE_READY, 0, 0);
    int64_t sending = add("/d/b.fits", 2, EXPOSURE_SENDING, 0, 0);
    add("/d/c.fits", 3, EXPOSURE_SEEN, 0, 0);
    add("/d/d.fits", 4, EXPOSURE_READY, clock_wall() + 10 * NS_PER_S, 0);
    OK(journal_ask(j, ready, ORIGIN_SWEEP, 5, &why));
    struct camera camera = {.flat_words = "dome flat, flat", .bias_words = "zero"};
    struct order_queue q;
    struct exposure e;
    bool found;
    (void)state;
    OK(journal_get(j, sending, &e, &found, &why));
    snprintf(e.facts.obstype, sizeof e.facts.obstype, "Dome Flat");
    e.stamp[STAMP_SETTLED] = 77;
    e.bundle_size = 50;
    OK(journal_save(j, &e, &why));
    OK(journal_candidates(j, 0, &camera, &q, &why));
    assert_int_equal(q.count, 2);
    for (size_t i = 0; i < q.count; i++) {
        const struct order_item *at = &q.items[i];
        bool is_ready = at->id == ready;
        assert_int_equal(at->begun, !is_ready);
        assert_int_equal(at->kind, is_ready ? ORDER_BACKFILL : ORDER_CALIBRATION);
        assert_int_equal(at->mtime_ns, is_ready ? 2001 : 2002);
        assert_int_equal(at->file_bytes, is_ready ? 1001 : 1002);
        assert_int_equal(at->came_ns, is_ready ? 0 : 77);
        assert_int_equal(at->bundle_bytes, is_ready ? 0 : 50);
        assert_int_equal(at->open_bytes, is_ready ? 1001 : 0);
        assert_true(at->files == 1 && !at->group[0]);
    }
    free(q.items);
    OK(journal_candidates(j, 5, &camera, &q, &why));
    assert_int_equal(q.count, 1);
    free(q.items);
}

/* File number n of an exposure. */
static int64_t add_file(const char *group, int n, int state)
{
    static int64_t version;
    char path[64];
    snprintf(path, sizeof path, "/d/%s-%d.fits", group, n);
    struct exposure e = fresh(path, ++version);
    e.state = state;
    e.file = (struct identity){100, (500 + n) * NS_PER_S, version};
    e.facts.date_ns = n;
    e.bundle_size = state == EXPOSURE_SENDING || state == EXPOSURE_DONE ? 10 : 0;
    e.stamp[STAMP_SETTLED] = 50 + n;
    e.stamp[STAMP_FIRST] = state == EXPOSURE_DONE ? 70 + n : 0;
    snprintf(e.group, sizeof e.group, "%s", group);
    e.group_ccd = 40 - n;
    OK(journal_add(j, &e, &why));
    return e.id;
}

static bool take_id(void *ctx, const struct journal_file *file)
{
    int64_t *sum = ctx;
    *sum = *sum * 10 + file->id;
    return true;
}

/* One that waits in several files is one candidate, which keeps its age while they leave. */
static void test_an_exposure_of_several_files_is_one_candidate(void **state)
{
    struct order_queue q;
    struct journal_gone gone;
    int64_t first = add_file("V1", 1, EXPOSURE_DONE), ids = 0;
    (void)state;
    int64_t sending = add_file("V1", 2, EXPOSURE_SENDING), third = add_file("V1", 3, EXPOSURE_READY);
    add_file("V1", 4, EXPOSURE_PARTIAL);
    add("/d/alone.fits", 9, EXPOSURE_READY, 0, 0);
    add_file("V2", 5, EXPOSURE_PARTIAL);
    OK(journal_ask(j, third, ORIGIN_SWEEP, 5, &why));
    OK(journal_candidates(j, 0, &decam, &q, &why));
    assert_int_equal(q.count, 2);
    const struct order_item *v = &q.items[q.items[0].group[0] ? 0 : 1];
    assert_string_equal(v->group, "V1");
    assert_true(v->id == first && v->date_ns == 1 && v->mtime_ns == 501 * NS_PER_S);
    assert_true(v->files == 2 && v->begun && v->kind == ORDER_SCIENCE && v->came_ns == 53);
    assert_true(v->file_bytes == 200 && v->bundle_bytes == 10 && v->open_bytes == 100);
    free(q.items);
    OK(journal_group_files(j, "V1", 0, take_id, &ids, &why));
    assert_int_equal(ids, third * 10 + sending); /* ccd by ccd */
    OK(journal_group_gone(j, "V1", &gone, &why));
    assert_true(fabs(gone.bytes - 10) < 1e-9 && gone.first_ns == 71);
    OK(journal_group_gone(j, "V2", &gone, &why));
    assert_true(gone.bytes <= 0 && gone.first_ns == 0);
    OK(journal_candidates(j, 5, &decam, &q, &why));
    assert_true(q.count == 1 && q.items[0].kind == ORDER_BACKFILL && q.items[0].files == 1);
    free(q.items);
}

/* By their first files, whatever the number of files, and without those that nobody wants. */
static void test_cadence_of_several_files(void **state)
{
    struct camera hsc = {.key_group = "FRAMEID", .ccds = 3};
    double s;
    int64_t youngest;
    (void)state;
    for (int n = 0; n < 24; n++) {
        char group[16];
        struct exposure e = fresh("/d/x.fits", n);
        snprintf(group, sizeof group, "V%d", n / 3);
        memcpy(e.group, group, sizeof group);
        e.file.mtime_ns = (int64_t)((1000 + 60 * (n / 3) + 0.1 * (n % 3)) * NS_PER_S);
        e.facts.date_ns = e.file.mtime_ns - NS_PER_S;
        e.state = n == 17 ? EXPOSURE_SKIPPED : EXPOSURE_DONE;
        OK(journal_add(j, &e, &why));
    }
    OK(journal_cadence(j, &hsc, 1430 * NS_PER_S, &s, &why));
    assert_true(fabs(s - 60) < 0.1);
    OK(journal_youngest(j, &youngest, &why));
    assert_true(youngest == 1419 * NS_PER_S);
    for (int n = 30; n < 40; n++) {
        struct exposure e = fresh("/d/y.fits", n);
        e.file.mtime_ns = 1425 * NS_PER_S;
        e.state = n < 35 ? EXPOSURE_SEEN : EXPOSURE_SKIPPED;
        OK(journal_add(j, &e, &why));
    }
    OK(journal_cadence(j, &hsc, 1430 * NS_PER_S, &s, &why));
    assert_true(fabs(s - 60) < 0.1);
}

/* What is ready waits for room in the spool, and for nothing else. */
static void test_room_again(void **state)
{
    int64_t now = clock_wall(), next;
    (void)state;
    add("/d/a.fits", 1, EXPOSURE_READY, now + 10 * NS_PER_S, 0);
    add("/d/b.fits", 2, EXPOSURE_SENDING, now + 20 * NS_PER_S, 0);
    OK(journal_ready_due(j, &why));
    OK(journal_next_due(j, clock_wall(), 0, &next, &why));
    assert_true(next == now + 20 * NS_PER_S);
}

/* One file every so often, by their times: a pause and a burst are not the cadence. */
static void test_cadence(void **state)
{
    static const double at[] = {100, 140, 180, 1000, 1040.5, 1080, 1120, 1160};
    double s;
    (void)state;
    OK(journal_cadence(j, &decam, 0, &s, &why));
    assert_true(s == 0);
    for (int i = 0; i < 8; i++) {
        struct exposure e = fresh("/d/x.fits", i);
        e.file.mtime_ns = (int64_t)(at[i] * NS_PER_S);
        OK(journal_add(j, &e, &why));
    }
    OK(journal_cadence(j, &decam, 1170 * NS_PER_S, &s, &why));
    assert_true(fabs(s - 40) < 0.1);
    OK(journal_cadence(j, &decam, 1360 * NS_PER_S, &s, &why));
    assert_true(fabs(s - 200) < 0.1); /* none has come for so long */
}

static void test_shrink(void **state)
{
    double share;
    (void)state;
    OK(journal_shrink(j, &share, &why));
    assert_true(share == 0);
    for (int i = 0; i < 3; i++) {
        struct exposure e = fresh("/d/y.fits", i);
        e.bundle_size = i == 2 ? 0 : 100;
        OK(journal_add(j, &e, &why));
    }
    OK(journal_shrink(j, &share, &why));
    assert_true(fabs(share - 200.0 / 2001) < 1e-6);
}

/* ---- status ---- */

static void test_adaptive_is_shown(void **state)
{
    struct agent_seen a = {.running = true};
    struct order_load load = {0}, got = {0};
    bool behind = false;
    (void)state;
    assert_false(status_order(&a, &behind, &got));
    load = (struct order_load){7, 720.5, 40.2};
    status_order_note(true, &load, a.order, sizeof a.order);
    assert_true(status_order(&a, &behind, &got));
    assert_true(behind && got.exposures == 7 && got.line_s == 720.5 && got.cadence_s == 40.2);
    load = (struct order_load){2000000000, 1e12, 1e12};
    status_order_note(false, &load, a.order, sizeof a.order);
    assert_true(status_order(&a, &behind, &got));
    assert_false(behind);
}

static char *table(const struct status_picture *p)
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    assert_non_null(to);
    OK(p->options->json ? status_json(p, to, &why) : status_table(p, to, &why));
    fclose(to);
    return text;
}

static void test_places_are_shown(void **state)
{
    struct config c = {.policy = {.mode = ORDER_ADAPTIVE, .window = 2, .rank = {1, 0, 2}}};
    struct status_options plain = {0}, json = {.json = true};
    struct status_picture p = {.journal = j, .options = &plain, .now_ns = clock_wall(), .rows = 20,
                               .agent = {.running = true, .mode = "serial"}};
    (void)state;
    add("/d/old.fits", 1, EXPOSURE_READY, 0, 0);
    add("/d/new.fits", 2, EXPOSURE_READY, 0, 0);
    add("/d/done.fits", 3, EXPOSURE_DONE, 0, 0);
    add("/d/later.fits", 4, EXPOSURE_READY, clock_wall() + 60 * NS_PER_S, 0);
    OK(status_queue(&c, j, &p.agent, &p.queue, &why));
    assert_int_equal(p.queue.count, 2);
    char *text = table(&p);
    assert_non_null(strstr(text, "new ")); /* the agent's mode counts, not the configuration's */
    assert_non_null(strstr(strstr(text, "\nnew "), "#1\n"));
    assert_non_null(strstr(strstr(text, "\nold "), "#2\n"));
    free(text);
    p.options = &json;
    text = table(&p);
    assert_non_null(strstr(text, "\"place\":1,\"kind\":\"science\""));
    assert_non_null(strstr(text, "\"place\":null,\"kind\":null"));
    free(text);
    free(p.queue.items);
    p.queue = (struct order_queue){0};
    snprintf(p.agent.mode, sizeof p.agent.mode, "adaptive");
    OK(status_queue(&c, j, &p.agent, &p.queue, &why));
    assert_true(p.queue.items[0].id < p.queue.items[1].id);
    free(p.queue.items);
    status_order_note(true, &(struct order_load){9, 99, 9}, p.agent.order, sizeof p.agent.order);
    OK(status_queue(&c, j, &p.agent, &p.queue, &why));
    assert_true(p.queue.items[0].id > p.queue.items[1].id);
    free(p.queue.items);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_candidates), T(test_an_exposure_of_several_files_is_one_candidate),
        T(test_room_again), T(test_cadence), T(test_cadence_of_several_files), T(test_shrink),
        T(test_adaptive_is_shown), T(test_places_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
