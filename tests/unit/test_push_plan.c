/* Which bytes go next: every byte is acknowledged in the end, whatever is lost on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "push/lanes_inner.h"
#include "push/plan.h"

static void expect_take(struct plan *p, int64_t most, bool eager, int64_t offset, int64_t length)
{
    int64_t o = -1, n = -1;
    assert_true(plan_take(p, most, eager, &o, &n));
    assert_int_equal(o, offset);
    assert_int_equal(n, length);
}

static void expect_nothing(struct plan *p, int64_t most, bool eager)
{
    int64_t o, n;
    assert_false(plan_take(p, most, eager, &o, &n));
}

static void test_growing_bundle(void **state)
{
    struct plan p = {0};
    (void)state;
    expect_nothing(&p, 100, true);
    p.size = 250;
    expect_take(&p, 100, false, 0, 100);
    expect_take(&p, 100, false, 100, 100);
    expect_nothing(&p, 100, false);         /* 50 bytes: more will follow */
    expect_take(&p, 100, true, 200, 50);    /* a lane without work takes them all the same */
    p.size = 300;
    p.finished = true;
    expect_take(&p, 100, false, 250, 50);   /* nothing follows any more */
    expect_nothing(&p, 100, true);
    assert_false(plan_complete(&p));
    assert_true(plan_got(&p, 0, 100) && plan_got(&p, 200, 50) && plan_got(&p, 250, 50));
    assert_false(plan_complete(&p));
    assert_true(plan_got(&p, 100, 100));
    assert_true(plan_complete(&p));
    plan_free(&p);
}

static void test_lost_chunks_are_taken_again(void **state)
{
    struct plan p = {.size = 400, .finished = true};
    (void)state;
    for (int i = 0; i < 4; i++)
        expect_take(&p, 100, false, 100 * i, 100);
    assert_true(plan_got(&p, 100, 100));
    assert_true(plan_lost(&p, 0, 100));
    assert_true(plan_lost(&p, 200, 100));
    expect_take(&p, 1000, false, 0, 100); /* only what is missing, not what lies between */
    expect_take(&p, 1000, false, 200, 100);
    expect_nothing(&p, 1000, true);
    /* Acknowledged through another lane meanwhile: losing the copy loses nothing. */
    assert_true(plan_got(&p, 0, 100));
    assert_true(plan_lost(&p, 0, 100));
    expect_nothing(&p, 1000, true);
    plan_free(&p);
}

static void test_resume_believes_the_far_end(void **state)
{
    struct plan p = {.size = 1000, .finished = true};
    const struct extent have[] = {{0, 300}, {500, 100}};
    (void)state;
    expect_take(&p, 1000, false, 0, 1000);
    assert_true(plan_got(&p, 900, 100)); /* it said so, but no longer holds it */
    assert_true(plan_resume(&p, have, 2));
    expect_take(&p, 1000, false, 300, 200);
    expect_take(&p, 1000, false, 600, 400);
    expect_nothing(&p, 1000, true);
    assert_true(plan_resume(&p, NULL, 0));
    expect_take(&p, 1000, false, 0, 1000);
    plan_free(&p);
    struct plan whole = {.size = 10, .finished = true};
    assert_true(plan_resume(&whole, &(struct extent){0, 10}, 1));
    assert_true(plan_complete(&whole));
    plan_free(&whole);
}

static void test_what_is_in_doubt_is_asked_for_not_sent_again(void **state)
{
    struct plan p = {.size = 400, .finished = true};
    const struct extent have[] = {{0, 150}, {300, 50}};
    (void)state;
    for (int i = 0; i < 4; i++)
        expect_take(&p, 100, false, 100 * i, 100);
    assert_true(plan_all_taken(&p));
    assert_true(plan_doubt(&p, 0, 100)); /* their lane died; 200 to 300 is under way on another */
    assert_true(plan_doubt(&p, 100, 100));
    assert_true(plan_doubt(&p, 300, 100));
    assert_false(plan_all_taken(&p));
    expect_nothing(&p, 1000, true);
    assert_true(plan_settle(&p, have, 2));
    expect_take(&p, 1000, false, 150, 50);
    expect_take(&p, 1000, false, 350, 50);
    expect_nothing(&p, 1000, true);
    assert_true(plan_got(&p, 150, 50) && plan_got(&p, 350, 50) && !plan_complete(&p));
    assert_true(plan_got(&p, 200, 100));
    assert_true(plan_complete(&p));
    /* The far end's account is all that counts, but what is on its way stays there. */
    assert_true(plan_resume(&p, have, 2) && plan_flies(&p, 350, 50));
    expect_take(&p, 1000, false, 150, 150);
    expect_nothing(&p, 1000, true);
    plan_free(&p);
}

static void test_back_off(void **state)
{
    static const int64_t s[] = {1, 2, 4, 8, 16, 32, 60, 60};
    (void)state;
    for (int n = 0; n < 8; n++) {
        assert_int_equal(lanes_backoff_ms(n, 0), 1000 * s[n]);
        for (unsigned random = 0; random < 3000; random += 7) {
            int64_t ms = lanes_backoff_ms(n, random);
            assert_true(ms <= 1000 * s[n] && ms >= 750 * s[n]);
        }
    }
    assert_int_equal(lanes_backoff_ms(100000, 0), 60000);
}

/* ms until a lane that went down so is tried again. */
static int64_t next_try(struct lanes *l, struct slot *s, bool reached, enum status grade)
{
    struct lane_event e = {.reached = reached, .why.grade = grade};
    return (lanes_next_try(l, s, &e, 1000 * NS_PER_S) - 1000 * NS_PER_S) / NS_PER_MS;
}

static void test_the_next_try(void **state)
{
    (void)state;
    struct lanes l = {.state.since_mono = 1000 * NS_PER_S, .state.rtt_ns = 160 * NS_PER_MS};
    struct slot s = {.begun_mono = 1000 * NS_PER_S - NS_PER_MS};
    for (int n = 0; n < 40; n++) {
        /* A closed port, down since now: every half second. */
        int64_t ms = next_try(&l, &s, false, ST_RETRY);
        assert_true(ms >= 500 && ms <= 625);
    }
    /* The longer it is down, the more patiently; never more so than every five seconds. */
    l.state.since_mono = 960 * NS_PER_S;
    int64_t ms = next_try(&l, &s, false, ST_RETRY);
    assert_true(ms >= 2000 && ms <= 2500);
    l.state.since_mono = -100000 * NS_PER_S;
    ms = next_try(&l, &s, false, ST_RETRY);
    assert_true(ms >= 5000 && ms <= 6250);
    /* A knock that nobody answered for long: at once. */
    s.begun_mono = 990 * NS_PER_S;
    assert_int_equal(next_try(&l, &s, false, ST_RETRY), 0);
    s.begun_mono = 1000 * NS_PER_S - NS_PER_MS;
    /* Others are inside, or it was let in and sent away: backs off further each time. */
    for (int n = 0; n < 8; n++) {
        l.state.up = n % 2;
        ms = next_try(&l, &s, n % 2 == 0, ST_RETRY);
        assert_true(ms <= (n > 5 ? 60000 : 1000 << n) && ms >= (n > 5 ? 45000 : 750 << n));
    }
    /* One that stood for long was none in vain. A human's matter: once a minute. */
    s.up_mono = 900 * NS_PER_S;
    ms = next_try(&l, &s, true, ST_RETRY);
    assert_true(ms >= 750 && ms <= 1000);
    assert_int_equal(next_try(&l, &s, true, ST_REJECT), 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growing_bundle),
        cmocka_unit_test(test_lost_chunks_are_taken_again),
        cmocka_unit_test(test_resume_believes_the_far_end),
        cmocka_unit_test(test_what_is_in_doubt_is_asked_for_not_sent_again),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_the_next_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
