/* method = auto: the model that chooses by time, over lines from thin to fast, and the meters
 * that it goes by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "push/choice.h"
#include "push/meter.h"

/* A DECam exposure, tile-compressed and not. */
static const struct freight tiled = {.pixels = 520e6, .file_bytes = 290e6, .tiled = true};
static const struct freight plain = {.pixels = 520e6, .file_bytes = 1040e6};
static const struct choice none;

static struct conditions at(double line)
{
    return (struct conditions){.line = line, .near = {1, 1, 1, 1}, .far = {1, 1, 1, 1},
                               .near_threads = 8, .far_threads = 8};
}

static struct choice make(double line, const struct freight *f, double ratio_max)
{
    struct conditions c = at(line);
    struct choice out;
    choice_make(&c, f, ratio_max, &none, &out);
    return out;
}

static void test_a_fast_line_needs_no_loss(void **state)
{
    (void)state;
    struct choice x = make(1e9, &tiled, 40);
    assert_string_equal(x.method, "original");
    assert_true(x.ratio == 0);
    /* The time is what the stages say. */
    assert_true(fabs(x.line - 0.29) < 1e-9);
    assert_true(fabs(x.whole - (fmax(x.encode, x.line) + x.decode)) < 1e-9);
    assert_string_equal(make(1e10, &plain, 40).method, "original");
    /* Less than a tenth of it: worth making it smaller, still without loss. */
    assert_string_equal(make(600e6, &plain, 40).method, "rice");
}

static void test_a_thin_line_takes_all_that_is_allowed(void **state)
{
    (void)state;
    for (double ratio = 3; ratio <= 40; ratio += 0.5) {
        struct choice x = make(1e6, &tiled, ratio);
        if (ratio > 5) {
            assert_string_equal(x.method, "htj2k");
            assert_true(fabs(x.ratio - ratio) < 1e-9 || x.whole <= 520e6 * 2 / ratio / 1e6 * 1.06);
        }
        assert_true(x.ratio <= ratio);
    }
    struct choice x = make(1e6, &tiled, 10);
    assert_string_equal(x.method, "htj2k");
    assert_true(x.ratio == 10);
    assert_true(fabs(x.line - 104) < 1e-9);
    assert_true(make(1e6, &tiled, 40).ratio == 40);
    /* None at all allowed: the smallest exact one. */
    assert_string_equal(make(1e6, &tiled, 0).method, "jxl");
}

/* From thin to fast, each choice is less lossy than the one before and then needs less CPU, and
 * is at most a twentieth from the best of all. A ratio below the limit costs more time on the line
 * and on the processors: in between are the exact methods that make files smaller. */
static void test_in_between(void **state)
{
    (void)state;
    static const struct {
        const struct freight *f;
        double limit;
        const char *road;
    } cases[] = {{&plain, 40, " htj2k rice original"}, {&tiled, 40, " htj2k original"},
                 {&plain, 0, " jxl rice original"}, {&tiled, 0, " jxl original"},
                 {&tiled, 3.3, " jxl original"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char road[200] = "";
        struct choice before = {0};
        for (double line = 1e5; line < 1e10; line *= 1.02) {
            struct conditions c = at(line);
            struct choice x = make(line, cases[i].f, cases[i].limit);
            if (strcmp(x.method, before.method) != 0)
                snprintf(road + strlen(road), sizeof road - strlen(road), " %s", x.method);
            before = x;
            for (double ratio = 3; ratio <= cases[i].limit; ratio++) {
                struct choice other = {.method = "htj2k", .ratio = ratio};
                choice_time(&c, cases[i].f, &other);
                assert_true(x.whole <= other.whole * 1.0501);
            }
        }
        assert_string_equal(road, cases[i].road);
    }
}

static void test_never_beyond_the_limit(void **state)
{
    (void)state;
    for (double limit = 0; limit <= 40; limit += 0.25)
        for (double line = 1e5; line < 1e9; line *= 2) {
            struct conditions c = at(line);
            struct choice x, y;
            /* Nor for what was chosen before the limit was lowered. */
            const struct choice before = {.method = "htj2k", .ratio = 40};
            choice_make(&c, &tiled, limit, &none, &x);
            choice_make(&c, &plain, limit, &before, &y);
            assert_true(x.ratio <= limit && y.ratio <= limit);
            assert_true(limit >= 3 || (x.ratio == 0 && strcmp(x.method, "htj2k") != 0));
            /* What is tiled already is not tiled anew. */
            assert_string_not_equal(x.method, "rice");
        }
}

static void test_what_is_not_known(void **state)
{
    (void)state;
    struct conditions c = {0};
    struct choice x;
    char text[200];
    choice_make(&c, &tiled, 40, &none, &x);
    assert_string_equal(x.method, "htj2k");
    assert_true(x.ratio == 10);
    choice_text(&x, text, sizeof text);
    assert_non_null(strstr(text, "htj2k 10:1: "));
    assert_non_null(strstr(text, "line ?, decode"));
    choice_make(&c, &tiled, 6, &none, &x);
    assert_true(x.ratio == 6);
    choice_make(&c, &tiled, 0, &none, &x);
    assert_string_equal(x.method, "original");
    choice_make(&c, &plain, 0, &none, &x);
    assert_string_equal(x.method, "rice");
    /* Figures that are none count as the reference machine with one thread. */
    c = (struct conditions){.line = 1e6, .near = {[3] = NAN}, .far = {[3] = -1}};
    choice_make(&c, &tiled, 10, &none, &x);
    assert_true(fabs(x.encode * 1e9 - choice_encode_cost(&x, &tiled)) < 1);
    assert_true(fabs(x.decode * 1e9 - choice_decode_cost(&x, &tiled)) < 1);
    /* Nothing to send. */
    const struct freight empty = {0};
    choice_make(&c, &empty, 10, &none, &x);
    assert_true(x.whole == 0 && x.ratio == 0);
}

/* A slow processor on either side weighs against what keeps it busy. */
static void test_slow_machines(void **state)
{
    (void)state;
    struct conditions c = at(20e6);
    struct choice x;
    choice_make(&c, &tiled, 10, &none, &x);
    assert_string_equal(x.method, "htj2k");
    for (int i = 0; i < CHOICE_METHODS; i++)
        c.near[i] = 30;
    choice_make(&c, &tiled, 10, &none, &x);
    assert_string_equal(x.method, "original");
    c = at(6e6);
    choice_make(&c, &tiled, 0, &none, &x);
    assert_string_equal(x.method, "jxl");
    for (int i = 0; i < CHOICE_METHODS; i++)
        c.far[i] = 20;
    choice_make(&c, &tiled, 0, &none, &x);
    assert_string_equal(x.method, "original");
}

/* A rate that wanders by a tenth changes the choice once at most; one that really falls does. */
static void test_no_flapping(void **state)
{
    (void)state;
    for (double line = 1e6; line < 1e9; line *= 1.05) {
        struct choice before = make(line, &tiled, 40);
        int changes = 0;
        for (int i = 0; i < 20; i++) {
            struct conditions c = at(line * (i % 2 ? 0.95 : 1.05));
            struct choice x;
            choice_make(&c, &tiled, 40, &before, &x);
            changes += strcmp(x.method, before.method) != 0 || x.ratio != before.ratio;
            before = x;
        }
        assert_true(changes <= 1);
    }
    struct conditions thin = at(2e6), fast = at(1e9);
    struct choice x = make(1e9, &tiled, 10), y;
    choice_make(&thin, &tiled, 10, &x, &y);
    assert_true(y.ratio == 10);
    choice_make(&fast, &tiled, 10, &y, &x);
    assert_string_equal(x.method, "original");
    /* What no longer is a candidate does not stay. */
    const struct choice odd = {.method = "jp2", .ratio = 8};
    choice_make(&thin, &tiled, 10, &odd, &x);
    assert_string_equal(x.method, "htj2k");
}

/* A machine that is much slower in one method than the model thinks: what is learned by trying
 * it is not held against the others, so that the choice comes to rest. */
static void test_what_is_learned_does_not_make_it_waver(void **state)
{
    (void)state;
    for (double odd = 0.2; odd < 6; odd *= 1.3)
        for (double line = 1e6; line < 3e9; line *= 1.3) {
            double truth[CHOICE_METHODS] = {1, odd, 1, 1 / odd};
            struct conditions c = {.line = line, .near_threads = 2, .far_threads = 2};
            struct choice before = {0}, x;
            int changes = 0;
            for (int i = 0; i < 12; i++) {
                choice_make(&c, &plain, 20, &before, &x);
                changes += i > 0 && strcmp(x.method, before.method) != 0;
                c.near[choice_method(x.method)] = truth[choice_method(x.method)];
                before = x;
            }
            assert_true(changes <= 3); /* each of the others is tried once at most */
        }
    const double by[CHOICE_METHODS] = {0, 2, 0, 4}, none_known[CHOICE_METHODS] = {0};
    assert_true(choice_factor(by, "rice") == 2 && choice_factor(by, "htj2k") == 4);
    assert_true(choice_factor(by, "jxl") == 3 && choice_factor(by, "jp2") == 3);
    assert_true(choice_factor(none_known, "rice") == 0);
    assert_int_equal(choice_method("jp2"), -1);
}

static void test_rival(void **state)
{
    (void)state;
    struct conditions c = at(5e6);
    struct choice x = make(5e6, &tiled, 10), other;
    choice_rival(&c, &tiled, 10, &x, &other);
    assert_true(x.ratio == 10 && other.ratio == 0 && other.whole > x.whole);
    c = at(1e9);
    x = make(1e9, &tiled, 10);
    choice_rival(&c, &tiled, 10, &x, &other);
    assert_string_not_equal(other.method, "original");
    assert_true(other.whole >= x.whole);
}

/* ---- the line ---- */

#define MS 1000000LL

/* Sends `bytes` in chunks over a line of `rate` with a window; the encoder makes `made` bytes a
 * second. Returns when all is acknowledged. */
static int64_t send(struct meter *m, int64_t now, double bytes, double rate, double made)
{
    const double chunk = 100e3, window = 1e6, round_trip = 0.1;
    double given = 0, got = 0, there = (double)now * 1e-9, t = there;
    double arrives[4096];
    size_t head = 0, tail = 0;
    while (got < bytes) {
        double ready = fmin(bytes, (t - (double)now * 1e-9) * made);
        while (given + chunk <= ready + 1 && given - got + chunk <= window) {
            meter_posted(m, (int64_t)(t * 1e9), (int64_t)chunk);
            there = fmax(there, t) + chunk / rate;
            arrives[tail++ % 4096] = there + round_trip;
            given += chunk;
        }
        meter_waits(m, (int64_t)(t * 1e9), given + chunk <= ready + 1);
        double next = (double)now * 1e-9 + (given + chunk) / made;
        bool made_one = given < bytes && next > t;
        if (head < tail && (!made_one || arrives[head % 4096] <= next)) {
            t = fmax(t, arrives[head++ % 4096]);
            meter_got(m, (int64_t)(t * 1e9), (int64_t)chunk);
            got += chunk;
        } else {
            t = fmax(t, next) + 1e-6;
        }
    }
    return (int64_t)(t * 1e9);
}

static void near_to(double got, double wanted, double part)
{
    if (!(fabs(got / wanted - 1) <= part))
        fail_msg("%g, wanted %g", got, wanted);
}

static void test_the_line_is_the_limit(void **state)
{
    (void)state;
    struct meter m = {0};
    assert_true(meter_rate(&m) == 0);
    int64_t t = send(&m, 5 * MS, 50e6, 2e6, 1e9);
    near_to(meter_rate(&m), 2e6, 0.05);
    /* Thinner: one exposure tells. */
    t = send(&m, t + 1000 * MS, 10e6, 0.3e6, 1e9);
    near_to(meter_rate(&m), 0.3e6, 0.2);
    assert_true(m.in_flight == 0);
}

static void test_small_exposures_on_a_thin_line(void **state)
{
    (void)state;
    /* All of it fits into the lanes' windows: no byte ever waits for room. */
    struct meter m = {0};
    int64_t t = 0;
    meter_recall(&m, 0, 100e6, 60000 * MS, true);
    for (int i = 0; i < 4; i++)
        t = send(&m, t + 20000 * MS, 1e6, 0.1e6, 1e9);
    near_to(meter_rate(&m), 0.1e6, 0.3);
}

static void test_the_encoder_is_the_limit(void **state)
{
    (void)state;
    /* What trickles in says nothing against what is known... */
    struct meter m = {0};
    int64_t t = send(&m, 0, 50e6, 8e6, 1e9);
    near_to(meter_rate(&m), 8e6, 0.1);
    t = send(&m, t, 20e6, 8e6, 0.2e6);
    near_to(meter_rate(&m), 8e6, 0.1);
    /* ... and is a lower bound where nothing is. */
    struct meter n = {0};
    send(&n, 0, 20e6, 8e6, 0.2e6);
    assert_true(meter_rate(&n) > 0 && meter_rate(&n) <= 8e6);
    /* A faster line is seen though it never is the limit again. */
    t = send(&m, t, 100e6, 500e6, 9e6);
    assert_true(meter_rate(&m) > 8.5e6);
}

static void test_a_line_that_is_fast_again(void **state)
{
    (void)state;
    /* Exposures gone in a blink, beside which the thin line's memory weighs for minutes. */
    struct meter m = {0};
    int64_t t = send(&m, 0, 20e6, 0.25e6, 1e9);
    near_to(meter_rate(&m), 0.25e6, 0.1);
    for (int i = 0; i < 2; i++)
        t = send(&m, t + 500 * MS, 5e6, 100e6, 1e9);
    assert_true(m.in_flight == 0);
    assert_true(meter_rate(&m) > 3e6);
}

static void test_the_encoder_hides_a_better_line(void **state)
{
    (void)state;
    /* 100 MB/s, but no more than 1 MB/s is made: the rate tried grows, not the rate known. */
    struct meter m = {0};
    int64_t t = 0;
    meter_raise(&m);
    assert_true(meter_hoped(&m) == 0);
    for (int i = 0; i < 3; i++) {
        t = send(&m, t + 500 * MS, 5e6, 100e6, 1e6);
        assert_false(meter_at_limit(&m));
        near_to(meter_hoped(&m), meter_rate(&m) * pow(1.5, i), 1e-9);
        meter_raise(&m);
        meter_raise(&m); /* two that begin at once learn from one */
    }
    assert_true(meter_rate(&m) <= 1.1e6);
    near_to(meter_hoped(&m), meter_rate(&m) * pow(1.5, 3), 1e-9);
    /* Tried, and met: the rate counts, now and beside an encoder that makes as little as before. */
    t = send(&m, t + 500 * MS, 20e6, 2e6, 1e9);
    double met = meter_rate(&m);
    assert_true(met > 1.2e6 && met < 2.1e6);
    for (int i = 0; i < 10; i++) {
        assert_true(meter_at_limit(&m));
        meter_raise(&m);
        assert_true(meter_hoped(&m) == met);
        t = send(&m, t + 500 * MS, 5e6, 2e6, 0.5e6);
    }
    /* Another line by now: more than twice what met its limit. Or an hour later. */
    struct meter later = m;
    t = send(&m, t + 500 * MS, 30e6, 100e6, 5e6);
    assert_false(meter_at_limit(&m));
    send(&later, t + 3601 * 1000 * MS, 5e6, 2e6, 0.5e6);
    assert_false(meter_at_limit(&later));
    /* Tried for ever, it stays a number. */
    for (int i = 0; i < 100; i++) {
        t = send(&m, t + 500 * MS, 1e6, 100e6, 5e6);
        meter_raise(&m);
    }
    near_to(meter_hoped(&m), 16 * meter_rate(&m), 1e-9);
    /* A restart knows which it was. */
    struct meter after = {0}, limit = {0};
    meter_recall(&after, t, 1e6, 1000 * MS, false);
    meter_recall(&limit, t, 1e6, 1000 * MS, true);
    assert_false(meter_at_limit(&after));
    assert_true(meter_at_limit(&limit));
}

static void test_pauses_and_losses_are_no_thin_line(void **state)
{
    (void)state;
    struct meter m = {0};
    int64_t t = send(&m, 0, 50e6, 8e6, 1e9);
    double before = meter_rate(&m);
    t += 3000000 * MS; /* nothing under way */
    meter_posted(&m, t, 500000);
    meter_posted(&m, t + 1 * MS, 500000);
    meter_got(&m, t + 200 * MS, 500000);
    meter_lost(&m, t + 60000 * MS, 500000); /* cut; silence until it was noticed */
    assert_true(m.in_flight == 0);
    assert_true(meter_rate(&m) == before);
    /* Bytes that make no sample. */
    meter_posted(&m, t + 70000 * MS, 10);
    meter_got(&m, t + 90000 * MS, 10);
    assert_true(meter_rate(&m) == before);
}

static void test_what_was_known_before(void **state)
{
    (void)state;
    struct meter young = {0}, old = {0}, bad = {0};
    int64_t t = 100000 * MS;
    meter_recall(&young, t, 1.6e6, 60 * 1000 * MS, true);
    meter_recall(&old, t, 1.6e6, 2 * 3600 * 1000 * MS, true);
    near_to(meter_rate(&young), 1.6e6, 1e-9);
    near_to(meter_rate(&old), 1.6e6, 1e-9);
    /* A few seconds: the old figure is gone, the young one is moved. */
    send(&young, t, 6e6, 1e6, 1e9);
    send(&old, t, 6e6, 1e6, 1e9);
    near_to(meter_rate(&old), 1e6, 0.1);
    assert_true(meter_rate(&young) > 1.15e6 && meter_rate(&young) < 1.4e6);
    /* Unless it is another line by now. */
    struct meter other = {0};
    meter_recall(&other, t, 100e6, 60 * 1000 * MS, true);
    send(&other, t, 6e6, 1e6, 1e9);
    near_to(meter_rate(&other), 1e6, 0.3);
    meter_recall(&bad, t, NAN, 0, true);
    meter_recall(&bad, t, -1, 0, true);
    assert_true(meter_rate(&bad) == 0);
}

static void test_effort(void **state)
{
    (void)state;
    struct effort e = {0};
    assert_true(effort_factor(&e) == 0);
    effort_add(&e, 0, 1);
    effort_add(&e, 1, 0);
    assert_true(effort_factor(&e) == 0);
    for (int i = 0; i < 20; i++)
        effort_add(&e, 3, 2);
    assert_true(fabs(effort_factor(&e) - 1.5) < 1e-9);
    /* A small piece of work with much overhead hardly counts. */
    effort_add(&e, 0.1, 0.01);
    assert_true(fabs(effort_factor(&e) - 1.5) < 0.05);
    for (int i = 0; i < 20; i++)
        effort_add(&e, 6, 2);
    assert_true(fabs(effort_factor(&e) - 3) < 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fast_line_needs_no_loss),
        cmocka_unit_test(test_a_thin_line_takes_all_that_is_allowed),
        cmocka_unit_test(test_in_between),
        cmocka_unit_test(test_never_beyond_the_limit),
        cmocka_unit_test(test_what_is_not_known),
        cmocka_unit_test(test_slow_machines),
        cmocka_unit_test(test_no_flapping),
        cmocka_unit_test(test_what_is_learned_does_not_make_it_waver),
        cmocka_unit_test(test_rival),
        cmocka_unit_test(test_the_line_is_the_limit),
        cmocka_unit_test(test_small_exposures_on_a_thin_line),
        cmocka_unit_test(test_the_encoder_is_the_limit),
        cmocka_unit_test(test_a_line_that_is_fast_again),
        cmocka_unit_test(test_the_encoder_hides_a_better_line),
        cmocka_unit_test(test_pauses_and_losses_are_no_thin_line),
        cmocka_unit_test(test_what_was_known_before),
        cmocka_unit_test(test_effort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
