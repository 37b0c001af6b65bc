/* The modes: who goes next, and how many together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "push/order.h"

#define S 1000000000LL

static void expect_ids(const struct order_item *items, size_t n, const int64_t *ids)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(items[i].id, ids[i]);
}

static void test_words(void **state)
{
    static const struct {
        const char *word;
        enum order_mode mode;
    } good[] = {{"p", ORDER_PARALLEL}, {"parallel", ORDER_PARALLEL}, {"S", ORDER_SERIAL},
                {"serial", ORDER_SERIAL}, {"b", ORDER_BATCH}, {"batch", ORDER_BATCH},
                {"Bundle", ORDER_BATCH}, {"l", ORDER_LIST}, {"list", ORDER_LIST},
                {"a", ORDER_ADAPTIVE}, {"Adaptive", ORDER_ADAPTIVE},
                {"e", ORDER_SWEEP}, {"sweep", ORDER_SWEEP}, {"end of night", ORDER_SWEEP}};
    static const char *const bad[] = {"", "x", "par", "parallels", "serial ", "c"};
    enum order_mode m;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(order_mode_parse(good[i].word, &m));
        assert_int_equal(m, good[i].mode);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(order_mode_parse(bad[i], &m));
}

/* Modes by their words, and back. */
static void test_policies(void **state)
{
    (void)state;
    for (int m = ORDER_PARALLEL; m <= ORDER_SWEEP; m++) {
        enum order_mode back;
        assert_true(order_mode_parse(order_mode_word((enum order_mode)m), &back));
        assert_int_equal(back, m);
        assert_int_equal(order_is_policy((enum order_mode)m), m != ORDER_LIST && m != ORDER_SWEEP);
    }
}

static void test_priority_words(void **state)
{
    static const char *const bad[] = {"", "science", "science calibration", "science science backfill",
                                      "science calibration backfill flats", "sci cal back"};
    int rank[ORDER_KINDS];
    (void)state;
    assert_true(order_priority_parse("calibration, Science  backfill", rank));
    assert_int_equal(rank[ORDER_CALIBRATION], 0);
    assert_int_equal(rank[ORDER_SCIENCE], 1);
    assert_int_equal(rank[ORDER_BACKFILL], 2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(order_priority_parse(bad[i], rank));
}

/* ---- who goes ---- */

static struct order_policy policy(enum order_mode mode, int batch_size, int window)
{
    return (struct order_policy){mode, batch_size, window, {0, 1, 2}};
}

static void expect_turns(const struct order_item *items, size_t count, size_t turns)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].turn, i < turns);
        assert_int_equal(items[i].place, i);
    }
}

static void test_serial_takes_the_newest_and_makes_the_next_ready(void **state)
{
    struct order_policy p = policy(ORDER_SERIAL, 4, 2);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 1, .date_ns = 100 * S},
                                 {.id = 2, .date_ns = 300 * S},
                                 {.id = 3, .date_ns = INT64_MIN, .mtime_ns = 200 * S},
                                 {.id = 4, .date_ns = 300 * S, .mtime_ns = 5}};
    (void)state;
    order_arrange(&p, &line, items, 4, 0);
    expect_ids(items, 4, (int64_t[]){4, 2, 3, 1}); /* a tie goes to the younger mtime */
    expect_turns(items, 4, 1);
    items[0].under_way = items[0].flowing = true;
    order_arrange(&p, &line, items, 4, 0);
    expect_turns(items, 4, 2);
    assert_true(items[0].newest);
    assert_int_equal(line.id, 4);
    order_arrange(&p, &line, items, 0, 0);
}

/* Waiting for its receipt it needs no line: the next one has it, and one more is made ready. */
static void test_a_drained_one_does_not_count(void **state)
{
    struct order_policy p = policy(ORDER_SERIAL, 4, 2);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 1, .date_ns = 1 * S}, {.id = 2, .date_ns = 2 * S},
                                 {.id = 3, .date_ns = 3 * S, .under_way = true, .drained = true}};
    (void)state;
    order_arrange(&p, &line, items, 3, 0);
    expect_ids(items, 3, (int64_t[]){3, 2, 1}); /* its commit goes before all chunks */
    assert_true(items[1].turn && !items[2].turn);
    items[1].under_way = items[1].flowing = true;
    order_arrange(&p, &line, items, 3, 0);
    assert_true(items[1].turn && items[2].turn);
}

static void test_batch_waits_for_the_whole_round(void **state)
{
    struct order_policy p = policy(ORDER_BATCH, 3, 2);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 1, .date_ns = 1 * S}, {.id = 2, .date_ns = 2 * S},
                                 {.id = 3, .date_ns = 3 * S}, {.id = 4, .date_ns = 4 * S}};
    (void)state;
    order_arrange(&p, &line, items, 4, 0);
    expect_ids(items, 3, (int64_t[]){4, 3, 2});
    expect_turns(items, 4, 3);
    items[1].under_way = true;
    order_arrange(&p, &line, items, 4, 0);
    for (int i = 0; i < 4; i++)
        assert_false(items[i].turn);
    order_arrange(&p, &line, items, 1, 0);
    expect_turns(items, 1, 1);
}

/* A round that was begun before a restart is finished first. */
static void test_batch_goes_on_with_what_was_begun(void **state)
{
    struct order_policy p = policy(ORDER_BATCH, 1, 1);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 1, .date_ns = 5 * S},
                                 {.id = 2, .date_ns = 4 * S, .begun = true},
                                 {.id = 3, .date_ns = 9 * S}};
    (void)state;
    order_arrange(&p, &line, items, 3, 0);
    expect_ids(items, 3, (int64_t[]){2, 3, 1});
    expect_turns(items, 3, 1);
}

static void test_parallel_takes_the_newest_beside_those_in_order(void **state)
{
    struct order_policy p = policy(ORDER_PARALLEL, 4, 2);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 9, .date_ns = 9 * S}, {.id = 2, .date_ns = 1 * S},
                                 {.id = 5, .date_ns = 99 * S}, {.id = 3, .date_ns = 5 * S},
                                 {.id = 1, .kind = ORDER_BACKFILL}};
    (void)state;
    order_arrange(&p, &line, items, 5, 0);
    expect_ids(items, 5, (int64_t[]){5, 2, 3, 9, 1});
    expect_turns(items, 5, 3);
    /* It is away: the youngest of those left behind is in no hurry. */
    order_arrange(&p, &line, items + 1, 4, 0);
    expect_ids(items + 1, 4, (int64_t[]){2, 3, 9, 1});
    assert_true(items[1].turn && items[2].turn && !items[3].turn && !items[1].newest);
}

static void test_adaptive_is_the_one_or_the_other(void **state)
{
    struct order_policy p = policy(ORDER_ADAPTIVE, 4, 2);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 2, .date_ns = 3 * S}, {.id = 3, .date_ns = 9 * S},
                                 {.id = 1, .date_ns = 5 * S}};
    (void)state;
    order_arrange(&p, &line, items, 3, 0);
    expect_ids(items, 3, (int64_t[]){1, 2, 3});
    expect_turns(items, 3, 2);
    line.behind = true;
    order_arrange(&p, &line, items, 3, 0);
    expect_ids(items, 3, (int64_t[]){3, 1, 2});
}

static void test_kinds(void **state)
{
    struct order_policy p = policy(ORDER_SERIAL, 1, 1);
    struct order_line line = ORDER_LINE_NEW;
    struct order_item items[] = {{.id = 1, .date_ns = 9 * S, .kind = ORDER_BACKFILL},
                                 {.id = 2, .date_ns = 5 * S, .kind = ORDER_CALIBRATION},
                                 {.id = 3, .date_ns = 7 * S, .kind = ORDER_CALIBRATION},
                                 {.id = 4, .date_ns = 1 * S, .kind = ORDER_SCIENCE}};
    (void)state;
    order_arrange(&p, &line, items, 4, 0);
    expect_ids(items, 4, (int64_t[]){4, 3, 2, 1});
    assert_true(order_priority_parse("calibration backfill science", p.rank));
    order_arrange(&p, &line, items, 4, 0);
    expect_ids(items, 4, (int64_t[]){3, 2, 1, 4}); /* a guard holds within its kind only */
}

static void test_exact_data(void **state)
{
    struct order_policy p = policy(ORDER_SERIAL, 4, 4);
    struct order_item items[] = {{.id = 2, .date_ns = 800 * S, .exact = true},
                                 {.id = 1, .date_ns = 900 * S, .exact = true},
                                 {.id = 3, .date_ns = 300 * S, .exact = true, .begun = true}};
    (void)state;
    order_exact(&p, items, 3);
    expect_ids(items, 3, (int64_t[]){3, 1, 2});
}

/* ---- who may be overtaken ---- */

struct meeting {
    double out, waited_s;
    int overtakings;
    bool overtaken;
};

static void test_overtaking(void **state)
{
    static const struct meeting meetings[] = {
        {0.1, 0.1, 0, true},  {0.39, 0.1, 1, true}, {0.41, 0.1, 0, false}, {0.99, 0.1, 0, false},
        {0.1, 0.1, ORDER_IN_A_ROW, false},                  /* else none would ever arrive */
        {0.5, 1.1, 0, true},  {0.99, 9, 0, true},           /* it came too late itself */
    };
    (void)state;
    for (size_t i = 0; i < sizeof meetings / sizeof meetings[0]; i++) {
        struct order_policy p = policy(ORDER_SERIAL, 1, 1);
        struct order_line line = ORDER_LINE_NEW;
        struct order_item items[2] = {{.id = 1, .date_ns = 1 * S, .came_ns = 1 * S, .need_s = 10}};
        line.overtakings = 0;
        order_arrange(&p, &line, items, 1, S + (int64_t)(meetings[i].waited_s * (double)S));
        assert_int_equal(line.id, 1);
        line.overtakings = meetings[i].overtakings;
        items[0].under_way = items[0].flowing = true;
        items[0].out = meetings[i].out;
        items[1] = (struct order_item){.id = 2, .date_ns = 9 * S, .came_ns = 9 * S, .need_s = 10};
        order_arrange(&p, &line, items, 2, 9 * S);
        assert_int_equal(items[0].id, meetings[i].overtaken ? 2 : 1);
        assert_int_equal(line.id, items[0].id);
        assert_true(items[0].turn);
        assert_int_equal(items[1].turn, !meetings[i].overtaken); /* made ready meanwhile */
    }
}

/* ---- adaptive's mind ---- */

static void test_falling_behind(void **state)
{
    static const struct {
        bool behind, after;
        struct order_load load;
    } rows[] = {
        {false, false, {0, 0, 20}},    {false, false, {2, 30, 20}}, {false, true, {3, 45, 20}},
        {false, false, {1, 100, 20}},  {true, true, {2, 30, 20}},   {true, true, {1, 11, 20}},
        {true, false, {1, 9, 20}},     {true, false, {0, 0, 20}},   {false, false, {9, 0, 20}},
        {true, true, {9, 0, 20}},      {false, false, {9, 99, 0}},
    };
    char text[200];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(order_falls_behind(rows[i].behind, &rows[i].load), rows[i].after);
    order_load_text(true, &(struct order_load){7, 720, 40}, text, sizeof text);
    assert_string_equal(text, "falling behind: 7 exposures, 12 min of line, a new one every 40 s; "
                              "newest first");
    order_load_text(false, &(struct order_load){1, 4.21, 0}, text, sizeof text);
    assert_string_equal(text, "time in hand: 1 exposure, 4.2 s of line; in order of arrival");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_policies),
        cmocka_unit_test(test_priority_words),
        cmocka_unit_test(test_serial_takes_the_newest_and_makes_the_next_ready),
        cmocka_unit_test(test_a_drained_one_does_not_count),
        cmocka_unit_test(test_batch_waits_for_the_whole_round),
        cmocka_unit_test(test_batch_goes_on_with_what_was_begun),
        cmocka_unit_test(test_parallel_takes_the_newest_beside_those_in_order),
        cmocka_unit_test(test_adaptive_is_the_one_or_the_other), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_exact_data), cmocka_unit_test(test_overtaking),
        cmocka_unit_test(test_falling_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
