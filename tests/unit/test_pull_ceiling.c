/* The arithmetic of what may begin: so many in any minute, whatever the moments, and the ceilings
 * of [jobs] over a simulated night of arrays that come and go. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pull/ceiling.h"
#include "pull/minute.h"
#include "pull/settings.h"

#define S 1000000000LL

/* ---- so many a minute ---- */

#define MOMENTS 20000

static int by_time(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* No 60 s hold more than `most`, neither of what was let nor of what was done of it, each as late
 * as it may be: enough to look at those that end at one. */
static void assert_any_minute(int64_t *at, int count, int most)
{
    for (int late = 0; late < 2; late++) {
        for (int i = most; i < count; i++)
            if (at[i] - at[i - most] < 60 * S)
                fail_msg("%d within %.3f s", most + 1, (double)(at[i] - at[i - most]) / 1e9);
        for (int i = 0; i < count; i++)
            at[i] += rand() % MINUTE_LATE_NS;
        qsort(at, (size_t)count, sizeof *at, by_time);
    }
}

/* An hour and more: idle stretches, bursts, asked every so often. How many began. */
static int simulate(int most, unsigned seed, int64_t *at)
{
    struct minute m = {0};
    int64_t now = 5 * S;
    int count = 0;
    srand(seed);
    for (int i = 0; i < MOMENTS / 2 && count < MOMENTS - 100; i++) {
        now += rand() % 7 == 0 ? rand() % 90 * S : rand() % 1000 * 1000000LL;
        int room = minute_room(&m, most, now);
        assert_in_range(room, 0, most);
        assert_true((room > 0) == (minute_next(&m, most, now) <= now));
        for (int wanted = rand() % 5; wanted > 0 && room > 0; wanted--, room--) {
            assert_true(minute_take(&m, now));
            at[count++] = now;
        }
    }
    minute_free(&m);
    return count;
}

static void never_more_in_any_minute(void **state)
{
    (void)state;
    int64_t *at = calloc(MOMENTS, sizeof *at);
    assert_non_null(at);
    for (int most = 1; most <= 60; most = most * 2 + 1) {
        int count = simulate(most, (unsigned)most, at);
        assert_true(count > 50);
        assert_any_minute(at, count, most);
    }
    free(at);
}

/* Somebody who always wants more gets all that is allowed, at the moments that minute_next says. */
static void all_that_is_allowed(void **state)
{
    (void)state;
    struct minute m = {0};
    int64_t now = 0, at[200];
    int count = 0;
    while (now < 10 * MINUTE_NS) {
        for (int room = minute_room(&m, 20, now); room > 0; room--) {
            assert_true(minute_take(&m, now));
            at[count++] = now;
        }
        int64_t next = minute_next(&m, 20, now);
        assert_true(next > now && next <= now + MINUTE_NS);
        now = next;
    }
    assert_int_equal(count, 200);
    assert_any_minute(at, count, 20);
    assert_int_equal(minute_room(&m, 0, now), INT_MAX); /* no limit */
    /* A smaller number holds at once. */
    assert_true(minute_take(&m, now) && minute_take(&m, now + S) && minute_take(&m, now + 2 * S));
    assert_int_equal(minute_room(&m, 2, now + 3 * S), 0);
    assert_int_equal(minute_next(&m, 2, now + 3 * S), now + S + MINUTE_NS);
    minute_free(&m);
}

/* ---- ceilings ---- */

static struct pull_settings settings;

static struct ceiling with(bool arrays, int queued, int running, int submits)
{
    struct ceiling c;
    settings.max_queued = queued;
    settings.max_running = running;
    settings.submits_per_minute = submits;
    ceiling_init(&c, &settings, arrays, 0);
    return c;
}

static int let(struct ceiling *c, int jobs, enum ceiling_by *by)
{
    int n = ceiling_let(c, jobs, by);
    ceiling_took(c, n);
    return n;
}

static void an_array_goes_whole(void **state)
{
    (void)state;
    enum ceiling_by by;
    char words[200];
    struct ceiling c = with(true, 10, 0, 0);
    assert_int_equal(let(&c, 4, &by), 4);
    assert_int_equal(by, CEILING_NONE);
    assert_int_equal(let(&c, 4, &by), 4);
    assert_int_equal(let(&c, 4, &by), 0); /* two places are left: not for a part of it */
    assert_int_equal(by, CEILING_QUEUED);
    ceiling_words(&c, by, words, sizeof words);
    assert_string_equal(words, "8 of 10 tasks are in the queue ([jobs] max_queued)");
    /* What never fits goes in parts, when there is nothing else. */
    c = with(true, 10, 0, 0);
    assert_int_equal(let(&c, 62, &by), 10);
    assert_int_equal(by, CEILING_QUEUED);
    c = with(true, 0, 0, 0);
    assert_int_equal(let(&c, 62, &by), 62);
}

static void running_ones_are_counted_by_array(void **state)
{
    (void)state;
    enum ceiling_by by;
    struct ceiling c = with(true, 0, 8, 0);
    /* An array of 62 that runs 8 at a time: nothing fits beside it. */
    assert_int_equal(let(&c, 62, &by), 62);
    assert_int_equal(c.running, 8);
    assert_int_equal(let(&c, 1, &by), 0);
    assert_int_equal(by, CEILING_RUNNING);
    /* Five of it are left: three more may run. */
    c = with(true, 0, 8, 0);
    for (int i = 0; i < 5; i++)
        ceiling_add(&c, "slurm a");
    ceiling_add(&c, "slurm b");
    assert_true(c.queued == 6 && c.running == 6);
    assert_int_equal(let(&c, 3, &by), 0);
    assert_int_equal(let(&c, 2, &by), 2);
    c = with(true, 0, 3, 0);
    for (int i = 0; i < 5; i++)
        ceiling_add(&c, "slurm a");
    assert_true(c.queued == 5 && c.running == 3);
}

static void processes_go_one_by_one(void **state)
{
    (void)state;
    enum ceiling_by by;
    struct ceiling c = with(false, 0, 3, 0);
    ceiling_add(&c, "boot:1:1");
    assert_int_equal(let(&c, 4, &by), 2);
    assert_int_equal(by, CEILING_RUNNING);
    assert_int_equal(let(&c, 1, &by), 0);
    c = with(false, 1, 0, 0); /* no batch system: no queue; as many as processors */
    assert_true(c.queue_most == 0 && c.run_most >= 1);
}

static void submissions_are_counted(void **state)
{
    (void)state;
    enum ceiling_by by;
    struct ceiling c = with(true, 0, 0, 2);
    assert_int_equal(let(&c, 4, &by), 4);
    assert_int_equal(let(&c, 4, &by), 4);
    assert_int_equal(let(&c, 4, &by), 0);
    assert_int_equal(by, CEILING_MINUTE);
    c = with(false, 0, 10, 3);
    assert_int_equal(let(&c, 4, &by), 3);
    assert_int_equal(by, CEILING_MINUTE);
    c.submit_most = 1; /* lowered meanwhile */
    assert_int_equal(let(&c, 4, &by), 0);
}

/* A night of exposures of 1 to 20 jobs, whose arrays end task by task. */
static void never_above_a_ceiling(void **state)
{
    (void)state;
    enum { ARRAYS = 64 };
    int left[ARRAYS] = {0}, waiting = 0, done = 0;
    enum ceiling_by by;
    srand(7);
    for (int turn = 0; turn < 20000; turn++) {
        struct ceiling c = with(true, 40, 12, 0);
        int free_slot = -1, may_run = 0, queued = 0;
        for (int i = 0; i < ARRAYS; i++) {
            char handle[16];
            snprintf(handle, sizeof handle, "slurm %d", i);
            if (left[i] > 0 && rand() % 4 == 0)
                left[i]--;
            for (int t = 0; t < left[i]; t++)
                ceiling_add(&c, handle);
            queued += left[i];
            may_run += left[i] < 12 ? left[i] : 12;
            free_slot = left[i] == 0 ? i : free_slot;
        }
        assert_true(c.queued == queued && queued <= 40);
        assert_true(c.running == may_run && may_run <= 12);
        if (waiting == 0)
            waiting = 1 + rand() % 60;
        int n = ceiling_let(&c, waiting, &by);
        assert_true((n < waiting) == (by != CEILING_NONE));
        if (free_slot < 0 || n == 0)
            continue;
        left[free_slot] = n;
        waiting -= n;
        done += n;
    }
    assert_true(done > 2000); /* nobody waits for ever */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_more_in_any_minute),
        cmocka_unit_test(all_that_is_allowed),
        cmocka_unit_test(an_array_goes_whole),
        cmocka_unit_test(running_ones_are_counted_by_array),
        cmocka_unit_test(processes_go_one_by_one),
        cmocka_unit_test(submissions_are_counted),
        cmocka_unit_test(never_above_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
