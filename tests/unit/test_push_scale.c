/* A night of 300 visits of 104 files behind a line that is down: what the agent does at every turn
 * must not grow with all that waits. Judged by the CPU time of the same calls over a short and a
 * long queue, so that a busy machine makes no difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "push/journal.h"
#include "push/known.h"
#include "tests/unit/scratch.h"

#define FILES 104
#define SHORT 10
#define LONG 300

static struct scratch scratch;
static struct journal *j;
static struct fault why;
static const struct camera camera = {.key_group = "FRAMEID", .ccds = FILES};

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

/* Visits from..to-1, all of their files in this state. */
static void add(int from, int to, int state)
{
    OK(journal_begin(j, &why));
    for (int n = from * FILES; n < to * FILES; n++) {
        struct exposure e = {.origin = ORIGIN_WATCH};
        snprintf(e.path, sizeof e.path, "/data/night/HSCA%08d.fits", n);
        exposure_root(e.path, e.name);
        exposure_restart(&e, &(struct identity){18000000, 1000 + n, n + 1}, 1);
        e.state = state;
        e.stamp[STAMP_SETTLED] = n;
        if (state != EXPOSURE_SEEN)
            snprintf(e.group, sizeof e.group, "HSCA%d", n / FILES);
        e.group_ccd = n % FILES + 1;
        OK(journal_add(j, &e, &why));
    }
    OK(journal_commit(j, &why));
}

static bool ten(void *ctx, const struct exposure *e)
{
    (void)e;
    return ++*(int *)ctx < 10;
}

static void look_for_due(int state)
{
    int n = 0;
    OK(journal_due(j, (enum exposure_state)state, 0, 16, ten, &n, &why));
    assert_int_equal(n, 10);
}

static void look_at_seen(void)
{
    look_for_due(EXPOSURE_SEEN);
}

static void look_at_candidates(void)
{
    struct order_queue q;
    double s;
    OK(journal_candidates(j, 0, &camera, &q, &why));
    OK(journal_cadence(j, &camera, 0, &s, &why));
    free(q.items);
}

/* ms of CPU, the least of a few times. */
static double cost(void (*call)(void))
{
    double least = 1e9;
    for (int i = 0; i < 7; i++) {
        int64_t start = clock_thread_cpu();
        call();
        double ms = (double)(clock_thread_cpu() - start) / NS_PER_MS;
        least = ms < least ? ms : least;
    }
    return least;
}

static void grows_by_at_most(double factor, int state, void (*call)(void))
{
    add(0, SHORT, state);
    double few = cost(call);
    add(SHORT, LONG, state);
    double many = cost(call);
    print_message("%s: %.2f ms with %d visits, %.2f ms with %d\n", exposure_state_names[state], few,
                  SHORT, many, LONG);
    assert_true(many < factor * few + 1);
}

static void what_is_seen(void **state)
{
    (void)state;
    grows_by_at_most(3, EXPOSURE_SEEN, look_at_seen);
}

static void what_could_go(void **state)
{
    (void)state;
    grows_by_at_most(30, EXPOSURE_READY, look_at_candidates);
}

static void what_was_delivered(void **state)
{
    (void)state;
    grows_by_at_most(3, EXPOSURE_DONE, look_at_candidates);
}

/* What a walk need not ask about: each path's last version, and no other. */
static void what_is_known(void **state)
{
    struct known *k = known_new();
    struct identity a = {1, 2, 3}, b = {1, 2, 4};
    char path[64];
    (void)state;
    assert_non_null(k);
    for (int round = 0; round < 3; round++) {
        for (int n = 0; n < LONG * FILES; n++) {
            snprintf(path, sizeof path, "/d/%d", n);
            assert_int_equal(known_is(k, path, &a), round == 1);
            known_set(k, path, round == 1 && n % 2 ? NULL : round == 1 ? &b : &a);
            assert_int_equal(known_is(k, path, &a), round != 1);
            assert_int_equal(known_is(k, path, &b), round == 1 && n % 2 == 0);
        }
    }
    known_set(k, "/e", NULL);
    assert_false(known_is(k, "/e", &a));
    known_free(&k);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_is_seen), T(what_could_go), T(what_was_delivered),
        cmocka_unit_test(what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
