/* The pace of all lanes together, in simulated time: any 2 s carry what the rate says, whoever
 * comes late, comes or goes; the lanes share alike; a new rate holds at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "push/throttle.h"

#define LANES 16
#define HEADS 60       /* SSH's, a packet */
#define CHUNK 524288
#define SLOT_NS (10 * NS_PER_MS)
#define SLOTS 4000
#define WINDOW 200 /* slots: 2 s */

/* Lanes that always have something to send, over sockets that take all. */
struct world {
    struct throttle *t;
    struct throttle_lane lane[LANES];
    bool on[LANES];
    int64_t sent[LANES], wake[LANES], left[LANES];
    int64_t now;
    int64_t slot[SLOTS]; /* SSH bytes */
    int64_t late_ns;     /* a thread that wakes is late by up to so much */
    unsigned random;
};
static struct world w;

static int set_up(void **state)
{
    (void)state;
    w = (struct world){.t = throttle_new(), .now = 1000 * NS_PER_S, .random = 1};
    return w.t ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < LANES; i++)
        if (w.on[i])
            throttle_leave(&w.lane[i]);
    throttle_free(&w.t);
    return 0;
}

static void come(int i)
{
    throttle_join(&w.lane[i], w.t, -1);
    w.on[i] = true;
    w.wake[i] = w.now;
    w.sent[i] = w.left[i] = 0;
}

static void leave(int i)
{
    throttle_leave(&w.lane[i]);
    w.on[i] = false;
}

static int64_t any_delay(void)
{
    w.random = w.random * 1664525u + 1013904223u;
    return w.late_ns * (int64_t)(w.random >> 16) / 65536;
}

static void put(int i, int64_t bytes)
{
    int64_t at = (w.now - 1000 * NS_PER_S) / SLOT_NS;
    w.sent[i] += bytes;
    if (at < SLOTS)
        w.slot[at] += bytes;
}

/* Writes until it has to wait. */
static void turn(int i)
{
    int64_t until;
    for (;;) {
        if (w.left[i] == 0) {
            put(i, 200 + HEADS); /* an OPEN or COMMIT does not ask */
            w.left[i] = CHUNK;
        }
        size_t n = throttle_allows(&w.lane[i], w.now, w.sent[i], (size_t)w.left[i], &until);
        if (n == 0)
            break;
        if (n > 32700)
            n = 32700;
        put(i, (int64_t)n + HEADS);
        w.left[i] -= (int64_t)n;
        throttle_used(&w.lane[i], n);
    }
    /* poll counts in ms, and threads come late */
    w.wake[i] = w.now + ((until - w.now) / NS_PER_MS + 1) * NS_PER_MS + any_delay();
}

static void run_until(double seconds)
{
    int64_t end = 1000 * NS_PER_S + (int64_t)(seconds * NS_PER_S);
    for (;;) {
        int first = -1;
        for (int i = 0; i < LANES; i++)
            if (w.on[i] && (first < 0 || w.wake[i] < w.wake[first]))
                first = i;
        if (first < 0 || w.wake[first] >= end)
            break;
        w.now = w.wake[first];
        turn(first);
    }
    w.now = end;
}

/* Every 2 s between these times carry the rate, to within 3 %. */
static void holds(double from_s, double to_s, double mbit)
{
    double wanted = mbit * 1e6 / 8 * 2, least = 1e30, most = 0;
    for (int s = (int)(from_s * 100); s + WINDOW <= (int)(to_s * 100); s++) {
        double sum = 0;
        for (int k = 0; k < WINDOW; k++)
            sum += (double)w.slot[s + k];
        least = sum < least ? sum : least;
        most = sum > most ? sum : most;
    }
    if (least < 0.97 * wanted || most > 1.03 * wanted)
        fail_msg("%g Mbit/s: 2 s carry %.4f to %.4f of it", mbit, least / wanted, most / wanted);
}

static void any_two_seconds_carry_the_rate(void **state)
{
    (void)state;
    static const double rates[] = {1, 2, 5, 30, 100, 1000};
    for (size_t r = 0; r < sizeof rates / sizeof rates[0]; r++)
        for (int lanes = 1; lanes <= LANES; lanes *= 4) {
            tear_down(NULL);
            assert_int_equal(set_up(NULL), 0);
            w.late_ns = 4 * NS_PER_MS;
            throttle_set(w.t, rates[r], w.now);
            for (int i = 0; i < lanes; i++)
                come(i);
            run_until(12);
            holds(0.5, 12, rates[r]);
        }
}

static void a_late_start_frees_no_flood(void **state)
{
    (void)state;
    throttle_set(w.t, 50, w.now);
    run_until(5); /* nobody sends */
    come(0);
    come(1);
    run_until(12);
    holds(5, 12, 50);
}

static void lanes_come_and_go(void **state)
{
    (void)state;
    throttle_set(w.t, 80, w.now);
    come(0);
    for (int s = 1; s < 30; s++) {
        run_until(s);
        int i = 1 + s * 7 % (LANES - 1);
        if (w.on[i])
            leave(i);
        else
            come(i);
    }
    run_until(30);
    holds(0.5, 30, 80);
}

static void lanes_share_alike(void **state)
{
    (void)state;
    int64_t least = INT64_MAX, most = 0;
    w.late_ns = 2 * NS_PER_MS;
    throttle_set(w.t, 20, w.now);
    for (int i = 0; i < 8; i++)
        come(i);
    run_until(20);
    for (int i = 0; i < 8; i++) {
        least = w.sent[i] < least ? w.sent[i] : least;
        most = w.sent[i] > most ? w.sent[i] : most;
    }
    assert_true((double)least > 0.9 * (double)most);
}

static void a_new_rate_holds_at_once(void **state)
{
    (void)state;
    throttle_set(w.t, 100, w.now);
    assert_true(throttle_mbit(w.t) == 100);
    for (int i = 0; i < 4; i++)
        come(i);
    run_until(6);
    throttle_set(w.t, 5, w.now);
    run_until(14);
    throttle_set(w.t, 200, w.now);
    run_until(20);
    holds(0.5, 6, 100);
    holds(6.1, 14, 5);
    holds(14.1, 20, 200);
}

static void without_a_rate_nothing_waits(void **state)
{
    (void)state;
    int64_t until;
    struct throttle_lane l;
    throttle_join(&l, NULL, -1);
    assert_int_equal(throttle_allows(&l, w.now, 0, CHUNK, &until), CHUNK);
    assert_int_equal(throttle_patience(&l), 0);
    throttle_leave(&l);
    throttle_join(&l, w.t, -1);
    int64_t sent = 0;
    for (int i = 0; i < 1000; i++) {
        size_t n = throttle_allows(&l, w.now, sent, CHUNK, &until);
        assert_true(n >= 32700);
        throttle_used(&l, 32700);
        sent += 32700 + HEADS;
    }
    /* A write that is half done goes on; what went unbounded is not held against anybody. */
    assert_int_equal(throttle_allows(&l, w.now, sent, CHUNK, &until), 32700);
    throttle_set(w.t, 1, w.now);
    assert_int_equal(throttle_allows(&l, w.now, sent + 1000, CHUNK, &until), 32700);
    throttle_used(&l, 32700);
    sent += 32700 + HEADS;
    assert_true(throttle_allows(&l, w.now, sent, CHUNK, &until) > 0);
    assert_true(throttle_allows(&l, w.now, sent, CHUNK, &until) < 2000);
    throttle_used(&l, 2000);
    assert_int_equal(throttle_allows(&l, w.now, sent + 1448, CHUNK, &until), 0);
    assert_true(until > w.now && until < w.now + 20 * NS_PER_MS);
    throttle_leave(&l);
}

/* A half-written SSH packet must be offered again with the same bytes. */
static void a_partial_write_is_allowed_again(void **state)
{
    (void)state;
    int64_t until;
    struct throttle_lane l;
    throttle_set(w.t, 50, w.now);
    throttle_join(&l, w.t, -1);
    size_t n = throttle_allows(&l, w.now, 0, CHUNK, &until);
    assert_true(n > 1000 && n < CHUNK);
    assert_int_equal(throttle_allows(&l, w.now + NS_PER_S, 500, CHUNK, &until), n);
    throttle_set(w.t, 1, w.now + NS_PER_S);
    assert_int_equal(throttle_allows(&l, w.now + NS_PER_S, 500, CHUNK, &until), n);
    throttle_used(&l, 1000);
    assert_int_equal(throttle_allows(&l, w.now + NS_PER_S, 1064, CHUNK, &until), n - 1000);
    throttle_leave(&l);
}

static void less_is_handed_out_at_a_low_rate(void **state)
{
    (void)state;
    struct throttle_lane l[4];
    assert_int_equal(throttle_window(NULL, 4, 4 << 20), 4 << 20);
    assert_int_equal(throttle_window(w.t, 4, 4 << 20), 4 << 20);
    assert_int_equal(throttle_chunk(w.t, 4, CHUNK), CHUNK);
    for (int i = 0; i < 4; i++)
        throttle_join(&l[i], w.t, -1);
    assert_int_equal(throttle_patience(&l[0]), 0);
    throttle_set(w.t, 1, w.now);
    /* A second or so of the rate: the newest exposure need not wait longer for what is under way. */
    assert_true(4 * throttle_window(w.t, 4, 4 << 20) <= 2 * 125000);
    assert_true(throttle_window(w.t, 4, 4 << 20) >= 2 * throttle_chunk(w.t, 4, CHUNK));
    assert_true(throttle_chunk(w.t, 4, CHUNK) == 16384);
    assert_true(throttle_patience(&l[0]) > 4 * NS_PER_S);
    throttle_set(w.t, 1000, w.now);
    assert_int_equal(throttle_window(w.t, 4, 4 << 20), 4 << 20);
    assert_int_equal(throttle_chunk(w.t, 4, CHUNK), CHUNK);
    assert_int_equal(throttle_window(w.t, 0, 4 << 20), 4 << 20);
    for (int i = 0; i < 4; i++)
        throttle_leave(&l[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_two_seconds_carry_the_rate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_late_start_frees_no_flood, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lanes_come_and_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lanes_share_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_rate_holds_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_rate_nothing_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_partial_write_is_allowed_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(less_is_handed_out_at_a_low_rate, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
