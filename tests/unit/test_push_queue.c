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
    }
    free(q.items);
    OK(journal_candidates(j, 5, &camera, &q, &why));
    assert_int_equal(q.count, 1);
    free(q.items);
}

/* What is ready waits for room in the spool, and for nothing else. */
static void test_room_again(void **state)
{
    int64_t now = clock_wall(), next;
    (void)state;
    add("/d/a.fits", 1, EXPOSURE_READY, now + 10 * NS_PER_S, 0);
    add("/d/b.fits", 2, EXPOSURE_SENDING, now + 20 * NS_PER_S, 0);
    OK(journal_ready_due(j, &why));
    OK(journal_next_due(j, 0, &next, &why));
    assert_true(next == now + 20 * NS_PER_S);
}

/* One file every so often, by their times: a pause and a burst are not the cadence. */
static void test_cadence(void **state)
{
    static const double at[] = {100, 140, 180, 1000, 1040.5, 1080, 1120, 1160};
    double s;
    (void)state;
    OK(journal_cadence(j, 0, &s, &why));
    assert_true(s == 0);
    for (int i = 0; i < 8; i++) {
        struct exposure e = fresh("/d/x.fits", i);
        e.file.mtime_ns = (int64_t)(at[i] * NS_PER_S);
        OK(journal_add(j, &e, &why));
    }
    OK(journal_cadence(j, 1170 * NS_PER_S, &s, &why));
    assert_true(fabs(s - 40) < 0.1);
    OK(journal_cadence(j, 1360 * NS_PER_S, &s, &why));
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
        T(test_candidates), T(test_room_again), T(test_cadence), T(test_shrink),
        T(test_adaptive_is_shown), T(test_places_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
