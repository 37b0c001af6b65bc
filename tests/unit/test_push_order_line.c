/* The modes over ten minutes of too much: a virtual line, processors and a clock, driven by
 * order_arrange alone. More comes than the line carries; the newest must arrive nearly as on
 * an empty line, the line must not rest, and in the end everything must be there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "push/order.h"

#define S 1000000000LL
#define STEP 0.01     /* s */
#define LOOK 0.25     /* s: how often the flow looks at the line without a reason */
#define MINUTES 10
#define OVERTAKEN_MAX 8 /* as in flow_order.c */
#define MOST 4000
#define ROUND_TRIP 0.16

struct shot {
    struct order_item item;
    double close_s, stored_s, encoded, given, drained_s; /* encoded, given: shares */
    bool come, stored;
};

struct scene {
    struct order_policy policy;
    struct order_line line;
    double gap, jitter; /* s between two, and how much it varies: 1: from 0 to twice */
    bool poisson;
    double line_s, encode_s; /* for one of them */
    double minutes;
    bool calibrations;  /* every fourth is one */
    unsigned seed;
    /* found out */
    struct shot shot[MOST];
    struct order_item items[MOST];
    struct shot *active[MOST]; /* under way, in order */
    size_t shots, first_open, actives;
    double busy_s, load_s; /* the line was at work, while something waited */
    int changes;           /* of adaptive's mind */
    double p50, p95;       /* latencies of the newest, by a receipt's order */
    size_t newest;
};

static double dice(struct scene *s)
{
    s->seed = s->seed * 1664525u + 1013904223u;
    return (double)(s->seed >> 8) / (1 << 24);
}

static double next_gap(struct scene *s)
{
    if (s->poisson) {
        double sum = 0; /* exponential enough: the first of many that may come any moment */
        while (dice(s) > STEP / s->gap)
            sum += STEP;
        return sum + STEP;
    }
    return s->gap * (1 + s->jitter * (2 * dice(s) - 1));
}

static void plan_arrivals(struct scene *s)
{
    double t = 1;
    for (s->shots = 0; t < 60 * s->minutes && s->shots < MOST; t += next_gap(s)) {
        struct shot *x = &s->shot[s->shots];
        *x = (struct shot){.close_s = t};
        x->item = (struct order_item){
            .id = (int64_t)++s->shots, .date_ns = (int64_t)(t * S), .mtime_ns = (int64_t)(t * S),
            .came_ns = (int64_t)(t * S), .file_bytes = 1000, .need_s = s->line_s,
            .kind = s->calibrations && s->shots % 4 == 0 ? ORDER_CALIBRATION : ORDER_SCIENCE};
    }
}

static struct shot *shot_of(struct scene *s, const struct order_item *i)
{
    return &s->shot[i->id - 1];
}

static void adapt(struct scene *s, size_t count, double now)
{
    struct order_load load = {.cadence_s = s->gap};
    double silence = now - s->shot[s->shots - 1].close_s;
    for (size_t i = 0; i < count; i++) {
        load.exposures += !s->items[i].drained;
        load.line_s += (1 - s->items[i].out) * s->line_s;
    }
    load.cadence_s = silence > s->gap ? silence : s->gap;
    bool before = s->line.behind;
    s->line.behind = order_falls_behind(before, &load);
    s->changes += before != s->line.behind;
}

/* What flow_order.c does. */
static void arrange(struct scene *s, double now)
{
    size_t n = 0;
    while (s->first_open < s->shots && s->shot[s->first_open].stored)
        s->first_open++;
    for (size_t i = s->first_open; i < s->shots && s->shot[i].come; i++) {
        struct shot *x = &s->shot[i];
        if (x->stored)
            continue;
        x->item.out = x->given;
        x->item.flowing = x->encoded > 0;
        x->item.drained = x->given >= 1;
        s->items[n++] = x->item;
    }
    if (s->policy.mode == ORDER_ADAPTIVE)
        adapt(s, n, now);
    order_arrange(&s->policy, &s->line, s->items, n, (int64_t)(now * S));
    s->actives = 0;
    for (size_t i = 0, overtaken = 0; i < n; i++) {
        const struct order_item *at = &s->items[i];
        struct shot *x = shot_of(s, at);
        bool before = x->item.under_way;
        x->item.under_way = at->turn || at->drained || (before && ++overtaken <= OVERTAKEN_MAX);
        if (x->item.under_way)
            s->active[s->actives++] = x;
        else if (before && x->encoded < 1)
            x->encoded = 0; /* half a bundle is thrown away; what the far end has of it stays */
    }
}

/* One processor and one line for a moment, each at the first in order that has work for it. How
 * many are stored in it. */
static size_t work(struct scene *s, double now)
{
    double cpu = STEP, line = STEP;
    bool waits = false;
    size_t stored = 0;
    for (size_t i = 0; i < s->actives; i++) {
        struct shot *x = s->active[i];
        double can = (1 - x->encoded) * s->encode_s, ready;
        double share = can < cpu ? can : cpu;
        x->encoded = share == can ? 1 : x->encoded + share / s->encode_s;
        cpu -= share;
        ready = x->encoded > x->given ? x->encoded : x->given;
        can = (ready - x->given) * s->line_s;
        waits |= x->given < 1;
        share = can < line ? can : line;
        if (share > 0 && !x->item.first_ns)
            x->item.first_ns = (int64_t)(now * S);
        x->given = share == can ? ready : x->given + share / s->line_s;
        line -= share;
        if (x->given >= 1 && x->drained_s <= 0)
            x->drained_s = now;
        if (x->drained_s > 0 && !x->stored && now >= x->drained_s + ROUND_TRIP) {
            x->stored = true;
            x->stored_s = now;
            stored++;
        }
    }
    if (waits && now < 60 * s->minutes) {
        s->load_s += STEP;
        s->busy_s += STEP - line;
    }
    return stored;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int by_receipt(const void *a, const void *b)
{
    double x = (*(struct shot *const *)a)->stored_s, y = (*(struct shot *const *)b)->stored_s;
    return (x > y) - (x < y);
}

/* Of those that had no younger one stored before them. */
static void judge(struct scene *s)
{
    static struct shot *order[MOST];
    static double latency[MOST];
    double youngest = -1;
    s->newest = 0;
    for (size_t i = 0; i < s->shots; i++)
        order[i] = &s->shot[i];
    qsort(order, s->shots, sizeof order[0], by_receipt);
    for (size_t i = 0; i < s->shots; i++) {
        if (order[i]->item.kind != ORDER_SCIENCE || order[i]->close_s < youngest)
            continue;
        youngest = order[i]->close_s;
        latency[s->newest++] = order[i]->stored_s - order[i]->close_s;
    }
    qsort(latency, s->newest, sizeof latency[0], by_value);
    s->p50 = latency[s->newest / 2];
    s->p95 = latency[s->newest * 95 / 100];
}

static void run(struct scene *s)
{
    size_t come = 0, stored = 0, now_stored = 0;
    double look = 0;
    bool event = true;
    s->line = ORDER_LINE_NEW;
    plan_arrivals(s);
    s->busy_s = s->load_s = 0;
    s->first_open = s->actives = 0;
    for (double now = 0; stored < s->shots; now += STEP) {
        assert_true(now < 60 * s->minutes * 10);
        for (; come < s->shots && s->shot[come].close_s <= now; come++)
            s->shot[come].come = event = true;
        if (event || now >= look) {
            arrange(s, now);
            look = now + LOOK;
        }
        now_stored = work(s, now);
        event = now_stored > 0;
        stored += now_stored;
    }
    judge(s);
}

/* ---- the goal ---- */

static struct scene scene;

static struct scene *fresh(enum order_mode mode)
{
    memset(&scene, 0, sizeof scene);
    scene.policy = (struct order_policy){.mode = mode, .batch_size = 4, .window = 2, .rank = {0, 1, 2}};
    scene.minutes = MINUTES;
    scene.gap = 0.5;
    scene.line_s = 1;
    scene.encode_s = 0.3;
    scene.seed = 4;
    return &scene;
}

/* The same exposures, one every so often that each finds the line empty. */
static double unloaded(enum order_mode mode, double encode_s)
{
    struct scene *s = fresh(mode);
    s->encode_s = encode_s;
    s->gap = 4;
    s->minutes = 2;
    run(s);
    return s->p50;
}

static const struct {
    const char *what;
    double gap, jitter;
    bool poisson;
} loads[] = {
    {"every half service time", 0.5, 0, false},
    {"a little more often", 0.49, 0, false},
    {"a little less often", 0.51, 0, false},
    {"three in two", 0.67, 0, false},
    {"five in four", 0.8, 0, false},
    {"three times as many", 0.33, 0, false},
    {"five times as many", 0.2, 0, false},
    {"twice as many, by 20 %", 0.5, 0.2, false},
    {"twice as many, by 50 %", 0.5, 0.5, false},
    {"twice as many, at any moment", 0.5, 1, false},
    {"twice as many, by chance", 0.5, 0, true},
};

static void overload(enum order_mode mode, double encode_s)
{
    double alone = unloaded(mode, encode_s);
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        struct scene *s = fresh(mode);
        s->gap = loads[i].gap;
        s->jitter = loads[i].jitter;
        s->poisson = loads[i].poisson;
        s->minutes = i == 0 || s->poisson ? MINUTES : MINUTES / 4.0;
        s->encode_s = encode_s;
        run(s);
        double busy = s->busy_s / s->load_s;
        print_message("%-8s encode %.1f, %-28s: %4zu of %4zu as the newest, p50 %.2f p95 %.2f, "
                      "line %.1f %% busy\n", order_mode_word(mode), encode_s, loads[i].what,
                      s->newest, s->shots, s->p50 / alone, s->p95 / alone, 100 * busy);
        assert_true(s->p95 <= 1.3 * alone);
        assert_true(busy >= 0.95);
        assert_true((double)s->newest > 0.25 * (double)s->shots * s->gap);
    }
}

static void test_serial(void **state)
{
    (void)state;
    overload(ORDER_SERIAL, 0.3);
    overload(ORDER_SERIAL, 0.8); /* the processors have little to spare either */
}

static void test_parallel(void **state)
{
    (void)state;
    overload(ORDER_PARALLEL, 0.3);
}

static void test_adaptive(void **state)
{
    (void)state;
    overload(ORDER_ADAPTIVE, 0.3);
}

/* While the line keeps up it all goes in order, and adaptive is of one mind. */
static void test_adaptive_with_time_in_hand(void **state)
{
    struct scene *s = fresh(ORDER_ADAPTIVE);
    (void)state;
    s->gap = 1.1;
    s->jitter = 0.3;
    run(s);
    assert_int_equal(s->changes, 0);
    for (size_t i = 1; i < s->shots; i++)
        assert_true(s->shot[i - 1].stored_s <= s->shot[i].stored_s);
}

static void test_adaptive_changes_its_mind_once(void **state)
{
    struct scene *s = fresh(ORDER_ADAPTIVE);
    (void)state;
    s->jitter = 0.5;
    run(s);
    assert_int_equal(s->changes, 2); /* behind, and in the end caught up */
}

/* What waits beside the newest goes in order of arrival there, and newest first here. */
static void test_the_backlog(void **state)
{
    struct scene *s = fresh(ORDER_PARALLEL);
    (void)state;
    for (int mode = ORDER_PARALLEL; mode <= ORDER_SERIAL; mode++) {
        double last = 0;
        int turns = 0;
        s = fresh((enum order_mode)mode);
        s->minutes = 1;
        run(s);
        /* Of those that were left when the last came: */
        for (size_t i = 0; i < s->shots; i++) {
            struct shot *x = &s->shot[mode == ORDER_PARALLEL ? i : s->shots - 1 - i];
            if (x->stored_s < 60 + 3)
                continue;
            turns += x->stored_s < last;
            last = x->stored_s;
        }
        assert_int_equal(turns, 0);
    }
}

/* The calibrations' turn comes when no science waits; the newest science is as prompt as ever. */
static void test_priorities(void **state)
{
    double alone = unloaded(ORDER_SERIAL, 0.3), last = 0;
    struct scene *s = fresh(ORDER_SERIAL);
    (void)state;
    s->calibrations = true;
    s->gap = 0.4;
    s->minutes = 2;
    run(s);
    assert_true(s->p95 <= 1.3 * alone);
    for (size_t i = 0; i < s->shots; i++)
        if (s->shot[i].item.kind == ORDER_SCIENCE && s->shot[i].stored_s > last)
            last = s->shot[i].stored_s;
    for (size_t i = 0; i < s->shots; i++)
        if (s->shot[i].item.kind == ORDER_CALIBRATION && s->shot[i].close_s > 10)
            assert_true(s->shot[i].stored_s + s->line_s > last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serial), cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_adaptive), cmocka_unit_test(test_adaptive_with_time_in_hand),
        cmocka_unit_test(test_adaptive_changes_its_mind_once), cmocka_unit_test(test_the_backlog),
        cmocka_unit_test(test_priorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
