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

static void test_serial_takes_the_newest_alone(void **state)
{
    struct order_policy p = {ORDER_SERIAL, 4, 2};
    struct order_item items[] = {{.id = 1, .date_ns = 100 * S},
                                 {.id = 2, .date_ns = 300 * S},
                                 {.id = 3, .date_ns = INT64_MIN, .mtime_ns = 200 * S},
                                 {.id = 4, .date_ns = 300 * S, .mtime_ns = 5}};
    (void)state;
    assert_int_equal(order_pick(&p, items, 4, 0), 1);
    expect_ids(items, 4, (int64_t[]){4, 2, 3, 1}); /* a tie goes to the younger mtime */
    assert_int_equal(order_pick(&p, items, 4, 1), 0);
    assert_int_equal(order_pick(&p, items, 0, 0), 0);
}

/* In every mode, however new they are and even when they were begun before. */
static void test_exact_data_go_last(void **state)
{
    (void)state;
    for (int mode = ORDER_PARALLEL; mode <= ORDER_BATCH; mode++) {
        struct order_policy p = {(enum order_mode)mode, 4, 4};
        struct order_item items[] = {{.id = 1, .date_ns = 900 * S, .exact = true, .begun = true},
                                     {.id = 3, .date_ns = 300 * S, .backfill = true},
                                     {.id = 2, .date_ns = 800 * S, .exact = true}};
        order_pick(&p, items, 3, 0);
        assert_int_equal(items[0].id, 3);
        assert_int_equal(items[1].id, 1);
        for (int i = 1; i < 3; i++)
            assert_true(order_urgency(&p, &items[0]) > order_urgency(&p, &items[i]));
    }
}

static void test_batch_waits_for_the_whole_round(void **state)
{
    struct order_policy p = {ORDER_BATCH, 3, 2};
    struct order_item items[] = {{.id = 1, .date_ns = 1 * S}, {.id = 2, .date_ns = 2 * S},
                                 {.id = 3, .date_ns = 3 * S}, {.id = 4, .date_ns = 4 * S}};
    (void)state;
    assert_int_equal(order_pick(&p, items, 4, 0), 3);
    expect_ids(items, 3, (int64_t[]){4, 3, 2});
    assert_int_equal(order_pick(&p, items, 4, 1), 0);
    assert_int_equal(order_pick(&p, items, 2, 0), 2);
}

static void test_parallel_fills_its_window_in_order_of_arrival(void **state)
{
    struct order_policy p = {ORDER_PARALLEL, 4, 3};
    struct order_item items[] = {{.id = 9, .date_ns = 9 * S}, {.id = 2, .date_ns = 1 * S},
                                 {.id = 5, .date_ns = 99 * S}, {.id = 1, .backfill = true}};
    (void)state;
    assert_int_equal(order_pick(&p, items, 4, 0), 3);
    expect_ids(items, 4, (int64_t[]){2, 5, 9, 1}); /* the sweep's own comes last */
    assert_int_equal(order_pick(&p, items, 4, 2), 1);
    assert_int_equal(order_pick(&p, items, 4, 3), 0);
    assert_int_equal(order_pick(&p, items, 4, 7), 0);
}

static void test_begun_goes_first_in_every_mode(void **state)
{
    (void)state;
    for (int mode = ORDER_PARALLEL; mode <= ORDER_BATCH; mode++) {
        struct order_policy p = {(enum order_mode)mode, 1, 1};
        struct order_item items[] = {{.id = 1, .date_ns = 5 * S},
                                     {.id = 2, .date_ns = 4 * S, .begun = true},
                                     {.id = 3, .date_ns = 9 * S}};
        assert_int_equal(order_pick(&p, items, 3, 0), 1);
        assert_int_equal(items[0].id, 2);
    }
}

/* Sorting needs a strict total order; the pool and the lanes must agree with it. */
static void test_order_is_total_and_urgency_agrees(void **state)
{
    struct order_item items[24];
    (void)state;
    srand(7);
    for (int i = 0; i < 24; i++)
        items[i] = (struct order_item){.id = i + 1, .date_ns = (1700000000LL + rand() % 5) * S,
                                       .mtime_ns = rand() % 3, .backfill = rand() % 2};
    for (int mode = ORDER_PARALLEL; mode <= ORDER_BATCH; mode++) {
        struct order_policy p = {(enum order_mode)mode, 1, 1};
        for (int a = 0; a < 24; a++)
            for (int b = 0; b < 24; b++) {
                bool before = order_before(&p, &items[a], &items[b]);
                assert_int_equal(before || order_before(&p, &items[b], &items[a]), a != b);
                if (before)
                    assert_true(order_urgency(&p, &items[a]) >= order_urgency(&p, &items[b]));
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_serial_takes_the_newest_alone), cmocka_unit_test(test_exact_data_go_last),
        cmocka_unit_test(test_batch_waits_for_the_whole_round),
        cmocka_unit_test(test_parallel_fills_its_window_in_order_of_arrival),
        cmocka_unit_test(test_begun_goes_first_in_every_mode),
        cmocka_unit_test(test_order_is_total_and_urgency_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
