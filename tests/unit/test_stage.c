/* The stage engine's decision, to the last row: grade and attempts in, next state out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>

#include <cmocka.h>

#include "common/stage.h"

static const struct stage_row row = {
    .state = 3, .name = "encode", .on_ok = 4, .on_reject = 9, .attempts = 3,
    .wait_seconds = 7, .retry_seconds = 10, .retry_max = 25,
};

static void check(const struct stage_row *r, enum status grade, int attempts, unsigned random,
                  struct stage_verdict want)
{
    struct stage_verdict v = stage_decide(r, grade, attempts, random);
    assert_int_equal(v.state, want.state);
    assert_int_equal(v.attempts, want.attempts);
    assert_int_equal(v.delay_ms, want.delay_ms);
    assert_int_equal(v.gave_up, want.gave_up);
}

static void each_grade(void **state)
{
    (void)state;
    check(&row, ST_OK, 2, 0, (struct stage_verdict){.state = 4, .attempts = 0});
    check(&row, ST_WAIT, 2, 5, (struct stage_verdict){.state = 3, .attempts = 2, .delay_ms = 7000});
    check(&row, ST_REJECT, 2, 0, (struct stage_verdict){.state = 9, .attempts = 2});
    check(&row, ST_RETRY, 0, 0,
          (struct stage_verdict){.state = 3, .attempts = 1, .delay_ms = 10000});
    check(&row, ST_RETRY, 1, 0,
          (struct stage_verdict){.state = 3, .attempts = 2, .delay_ms = 20000});
    check(&row, ST_RETRY, 2, 0, (struct stage_verdict){.state = 9, .attempts = 3, .gave_up = 1});
}

static void waiting_never_gives_up(void **state)
{
    (void)state;
    int attempts = 2;
    for (int i = 0; i < 1000; i++) {
        struct stage_verdict v = stage_decide(&row, ST_WAIT, attempts, (unsigned)i);
        assert_int_equal(v.state, 3);
        assert_int_equal(v.gave_up, 0);
        attempts = v.attempts;
    }
    assert_int_equal(attempts, 2);
}

static void back_off_is_capped(void **state)
{
    (void)state;
    struct stage_row forever = row;
    forever.attempts = STAGE_FOREVER;
    static const int64_t want[] = {10000, 20000, 25000, 25000, 25000};
    for (int i = 0; i < 5; i++)
        check(&forever, ST_RETRY, i, 0,
              (struct stage_verdict){.state = 3, .attempts = i + 1, .delay_ms = want[i]});
    check(&forever, ST_RETRY, INT_MAX - 1, 0,
          (struct stage_verdict){.state = 3, .attempts = INT_MAX, .delay_ms = 25000});
    forever.retry_max = 0; /* no cap given: the first delay is also the longest */
    check(&forever, ST_RETRY, 6, 0,
          (struct stage_verdict){.state = 3, .attempts = 7, .delay_ms = 10000});
    forever.retry_seconds = 0;
    check(&forever, ST_RETRY, 6, 3, (struct stage_verdict){.state = 3, .attempts = 7});
}

static void jitter_takes_off_up_to_a_quarter(void **state)
{
    (void)state;
    int64_t least = INT64_MAX, most = 0;
    for (unsigned r = 0; r < 5000; r++) {
        int64_t ms = stage_decide(&row, ST_RETRY, 0, r * 2654435761u).delay_ms;
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    assert_true(least >= 7500 && least < 7550);
    assert_true(most <= 10000 && most > 9950);
}

static void one_attempt_only(void **state)
{
    (void)state;
    struct stage_row once = row;
    once.attempts = 1;
    check(&once, ST_RETRY, 0, 0, (struct stage_verdict){.state = 9, .attempts = 1, .gave_up = 1});
}

static void fatal_leaves_the_item(void **state)
{
    (void)state;
    check(&row, ST_FATAL, 2, 0,
          (struct stage_verdict){.state = 3, .attempts = 2, .delay_ms = 7000});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_grade),         cmocka_unit_test(waiting_never_gives_up),
        cmocka_unit_test(back_off_is_capped), cmocka_unit_test(jitter_takes_off_up_to_a_quarter),
        cmocka_unit_test(one_attempt_only),   cmocka_unit_test(fatal_leaves_the_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
