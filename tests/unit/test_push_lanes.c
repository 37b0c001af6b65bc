/* How many lanes a line is given: enough windows for its round trip from the start, more where
 * windows are what holds it back or where more carry more, no more where they do not. The line is
 * a model: it carries what its lanes can, at most what it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "push/lanes_fit.h"

#define MS 1000000LL
#define S 1000000000LL

struct line {
    double rate;     /* bytes a second, all that it carries */
    double lane;     /* at most on one lane */
    bool window;     /* what limits a lane is its window */
};

static struct fit_sample carry(const struct line *l, int up)
{
    double lanes = l->lane * up;
    bool held = lanes < l->rate;
    struct fit_sample s = {.up = up, .span_ns = 2 * S, .rtt_ns = 160 * MS, .bytes = (int64_t)(2 * (held ? lanes : l->rate))};
    s.limited_ns = held && l->window ? s.span_ns * up / 2 : 0;
    return s;
}

/* So many samples on this line; all lanes that are wanted come up. Returns the most ever wanted. */
static int learn(struct lanes_fit *f, const struct line *l, int samples)
{
    int most = f->wanted;
    for (int i = 0; i < samples; i++) {
        struct fit_sample s = carry(l, f->wanted);
        fit_learn(f, &s);
        most = f->wanted > most ? f->wanted : most;
    }
    return most;
}

static void the_round_trip_says_how_many_windows(void **state)
{
    (void)state;
    static const struct { int64_t ms; int lanes; } rows[] = {{1, 2}, {20, 2}, {160, 4}, {300, 8}, {900, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lanes_fit f;
        fit_begin(&f, 0, 16);
        fit_round_trip(&f, rows[i].ms * MS);
        assert_int_equal(f.wanted, rows[i].lanes);
        fit_round_trip(&f, 2000 * MS); /* only the first has a say */
        assert_int_equal(f.wanted, rows[i].lanes);
    }
}

static void what_was_known_stands(void **state)
{
    (void)state;
    struct lanes_fit f;
    fit_begin(&f, 7, 16);
    fit_round_trip(&f, 300 * MS);
    assert_int_equal(f.wanted, 7);
    fit_begin(&f, 12, 3); /* never beyond the limit */
    assert_int_equal(f.wanted, 3);
    fit_begin(&f, 0, 1);
    fit_round_trip(&f, 300 * MS);
    assert_int_equal(f.wanted, 1);
}

static void full_windows_ask_for_more_until_the_line_is_full(void **state)
{
    (void)state;
    struct line fat = {.rate = 125e6, .lane = 13e6, .window = true};
    struct lanes_fit f;
    fit_begin(&f, 4, 16);
    learn(&f, &fat, 12);
    assert_true(f.wanted >= 10 && f.wanted <= 16);
    int settled = f.wanted;
    learn(&f, &fat, 30);
    assert_int_equal(f.wanted, settled);
}

static void lanes_that_bring_nothing_are_taken_back(void **state)
{
    (void)state;
    struct line thin = {.rate = 5e6, .lane = 5e6};
    struct lanes_fit f;
    fit_begin(&f, 4, 16);
    assert_int_equal(learn(&f, &thin, 1), 4);
    assert_int_equal(f.wanted, 2); /* its windows are enough */
    assert_int_equal(learn(&f, &thin, 6), 3); /* one more is tried */
    assert_int_equal(f.wanted, 2);
    assert_int_equal(learn(&f, &thin, 30), 2); /* and not again for long */
}

static void a_lossy_line_gains_by_more_flows(void **state)
{
    (void)state;
    struct line lossy = {.rate = 37e6, .lane = 4e6};
    struct lanes_fit f;
    fit_begin(&f, 4, 16);
    learn(&f, &lossy, 40);
    assert_true(f.wanted >= 9 && f.wanted <= 13);
}

static void nothing_is_learned_while_lanes_are_missing_or_warm_up(void **state)
{
    (void)state;
    struct line lossy = {.rate = 37e6, .lane = 4e6};
    struct lanes_fit f;
    fit_begin(&f, 4, 16);
    struct fit_sample s = carry(&lossy, 3);
    for (int i = 0; i < 10; i++)
        assert_false(fit_learn(&f, &s));
    assert_int_equal(f.wanted, 4);
    s = carry(&lossy, 4);
    fit_warm_up(&f);
    assert_false(fit_learn(&f, &s));
    assert_true(fit_learn(&f, &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_round_trip_says_how_many_windows),
        cmocka_unit_test(what_was_known_stands),
        cmocka_unit_test(full_windows_ask_for_more_until_the_line_is_full),
        cmocka_unit_test(lanes_that_bring_nothing_are_taken_back),
        cmocka_unit_test(a_lossy_line_gains_by_more_flows),
        cmocka_unit_test(nothing_is_learned_while_lanes_are_missing_or_warm_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
