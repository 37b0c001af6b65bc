/* Exposures of 104 files over a line that carries two thirds of what comes, or twice as much: a
 * real journal, a virtual line and clock, and order_arrange as the flow calls it. What counts is
 * the whole exposure: one of which a third is missing is worth nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "push/journal.h"
#include "tests/unit/scratch.h"

#define FILES 104
#define VISITS 10
#define SLOTS 64      /* as FLOW_TRANSITS */
#define OVERTAKEN 8   /* as OVERTAKEN_MAX */
#define GAP 60.0      /* s between two visits */
#define STEP 0.25     /* s */
#define ROUND_TRIP 0.5
#define START 1700000000.0 /* s, of the virtual clock */
#define BYTES 1000.0  /* of a bundle */

struct file {
    struct exposure e;
    int visit;
    bool on, stored;
    double given, drained_s;
    int place;
};

static struct scratch scratch;
static struct journal *j;
static struct fault why;
static struct file files[VISITS * FILES];
static struct order_policy policy;
static struct order_line line;
static struct order_load load;
static struct camera camera = {.key_group = "FRAMEID", .ccds = FILES};
static int slots, most_on, changes;
static double visit_s; /* that the line needs for one */

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
    memset(files, 0, sizeof files);
    line = ORDER_LINE_NEW;
    slots = most_on = changes = 0;
    return journal_open(scratch.dir, false, &j, &why) == ST_OK && journal_begin(j, &why) == ST_OK
               ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    journal_commit(j, &why);
    journal_close(&j);
    scratch_remove(&scratch);
    return 0;
}

static int64_t at(double now)
{
    return (int64_t)((START + now) * NS_PER_S);
}

/* Its files are whole, and given free together; each was written a tenth of a second after the
 * one before. */
static void arrives(int visit, double now)
{
    for (int n = 0; n < FILES; n++) {
        struct file *x = &files[visit * FILES + n];
        struct exposure *e = &x->e;
        *x = (struct file){.visit = visit};
        snprintf(e->path, sizeof e->path, "/d/v%d-%d.fits", visit, n);
        exposure_root(e->path, e->name);
        exposure_restart(e, &(struct identity){10 * (int64_t)BYTES, at(now - 10 + 0.1 * n), n + 1},
                         at(now));
        e->facts.date_ns = at(now - 20);
        e->state = EXPOSURE_READY;
        e->stamp[STAMP_SETTLED] = at(now);
        snprintf(e->group, sizeof e->group, "V%d", visit);
        e->group_ccd = n + 1;
        OK(journal_add(j, e, &why));
    }
}

static bool is_of(const struct file *x, const struct order_item *i)
{
    return i->group[0] ? strcmp(x->e.group, i->group) == 0 : x->e.id == i->id;
}

/* As flow_order.c has it. */
static void look_at(struct order_item *i)
{
    struct journal_gone gone = {0};
    double given = 0;
    int drained = 0;
    for (struct file *x = files; x < files + VISITS * FILES; x++) {
        if (!x->on || !is_of(x, i))
            continue;
        i->carried++;
        given += x->given * BYTES;
        drained += x->given >= 1;
        i->flowing = true;
        i->first_ns = i->first_ns ? i->first_ns : at(0);
    }
    i->under_way = i->carried > 0;
    i->drained = i->under_way && drained >= i->files;
    if (i->group[0])
        OK(journal_group_gone(j, i->group, &gone, &why));
    i->wire_bytes = i->files * BYTES + gone.bytes;
    i->out = fmin(1, (given + gone.bytes) / i->wire_bytes);
    i->need_s = i->wire_bytes / BYTES * visit_s / FILES;
    if (!i->under_way && gone.bytes <= 0)
        i->first_ns = 0;
}

static void adapt(const struct order_queue *q, double now)
{
    bool before = line.behind;
    load = (struct order_load){0};
    for (size_t i = 0; i < q->count; i++) {
        load.exposures += !q->items[i].drained;
        load.line_s += (1 - q->items[i].out) * q->items[i].need_s;
    }
    OK(journal_cadence(j, &camera, at(now), &load.cadence_s, &why));
    line.behind = order_falls_behind(before, &load);
    changes += line.behind != before;
}

static void save(struct file *x, int state)
{
    x->e.state = state;
    OK(journal_save(j, &x->e, &why));
}

static void begin(const struct order_item *i)
{
    for (struct file *x = files; x < files + VISITS * FILES && slots < SLOTS; x++) {
        if (!x->e.id || x->on || x->stored || !is_of(x, i))
            continue;
        x->on = true;
        slots++;
        save(x, EXPOSURE_SENDING);
    }
}

static void arrange(double now)
{
    struct order_queue q;
    int overtaken = 0;
    OK(journal_candidates(j, 0, &camera, &q, &why));
    for (size_t i = 0; i < q.count; i++)
        look_at(&q.items[i]);
    if (policy.mode == ORDER_ADAPTIVE)
        adapt(&q, now);
    order_arrange(&policy, &line, q.items, q.count, at(now));
    for (size_t i = 0; i < q.count; i++) {
        for (struct file *x = files; x < files + VISITS * FILES; x++) {
            if (!x->on || !is_of(x, &q.items[i]))
                continue;
            x->place = q.items[i].place;
            if (q.items[i].turn || x->given >= 1 || ++overtaken <= OVERTAKEN)
                continue;
            x->on = false;
            slots--;
            save(x, EXPOSURE_READY);
        }
    }
    for (size_t i = 0; i < q.count; i++)
        if (q.items[i].turn)
            begin(&q.items[i]);
    most_on = slots > most_on ? slots : most_on;
    free(q.items);
}

static struct file *first_in_order(void)
{
    struct file *first = NULL;
    for (struct file *x = files; x < files + VISITS * FILES; x++)
        if (x->on && x->given < 1 && (!first || x->place < first->place))
            first = x;
    return first;
}

/* The line for a moment. */
static bool work(double now)
{
    bool any = false;
    double room = STEP / (visit_s / FILES); /* files */
    for (struct file *x; room > 1e-9 && (x = first_in_order());) {
        double share = fmin(room, 1 - x->given);
        x->given = share < 1 - x->given ? x->given + share : 1;
        room -= share;
        if (x->given >= 1)
            x->drained_s = now;
    }
    for (struct file *x = files; x < files + VISITS * FILES; x++) {
        if (!x->on || x->given < 1 || now < x->drained_s + ROUND_TRIP)
            continue;
        x->on = false;
        x->stored = any = true;
        slots--;
        x->e.bundle_size = (int64_t)BYTES;
        x->e.stamp[STAMP_FIRST] = at(now);
        save(x, EXPOSURE_DONE);
    }
    return any;
}

static int whole_visits(void)
{
    int whole = 0;
    for (int v = 0, n; v < VISITS; v++) {
        for (n = 0; n < FILES && files[v * FILES + n].stored; n++)
            ;
        whole += n == FILES;
    }
    return whole;
}

/* How many are whole when the last one comes. */
static int night(enum order_mode mode, double line_s)
{
    int come = 0;
    bool event = true;
    policy = (struct order_policy){.mode = mode, .batch_size = 2, .window = 2, .rank = {0, 1, 2}};
    visit_s = line_s;
    for (double now = 0; now < VISITS * GAP; now += STEP) {
        if (come < VISITS && now >= come * GAP) {
            arrives(come++, now);
            event = true;
        }
        if (event || fmod(now, 1) < STEP / 2)
            arrange(now);
        event = work(now);
    }
    return whole_visits();
}

/* 600 s of line, 90 s a visit: six can be whole, and a seventh nearly. */
static void newest_first_under_overload(void **state)
{
    (void)state;
    int whole = night(ORDER_SERIAL, 1.5 * GAP);
    print_message("serial: %d whole, %d files at a time\n", whole, most_on);
    assert_true(whole >= 5);
}

static void all_other_modes_under_overload(void **state)
{
    (void)state;
    int whole = night(ORDER_PARALLEL, 1.5 * GAP);
    print_message("parallel: %d whole\n", whole);
    assert_true(whole >= 5);
}

static void a_batch_is_finished(void **state)
{
    (void)state;
    int whole = night(ORDER_BATCH, 1.5 * GAP);
    print_message("batch: %d whole\n", whole);
    assert_true(whole >= 5);
}

static void adaptive_falls_behind_once(void **state)
{
    (void)state;
    int whole = night(ORDER_ADAPTIVE, 1.5 * GAP);
    print_message("adaptive: %d whole, changed its mind %d times\n", whole, changes);
    assert_true(whole >= 5);
    assert_int_equal(changes, 1);
    assert_true(line.behind && load.exposures <= VISITS);
}

/* A visit is one exposure, not a heap of 104. */
static void adaptive_with_time_in_hand(void **state)
{
    (void)state;
    int whole = night(ORDER_ADAPTIVE, 0.5 * GAP);
    assert_int_equal(whole, VISITS);
    assert_int_equal(changes, 0);
    assert_int_equal(most_on, SLOTS);
    assert_true(fabs(load.cadence_s - GAP) < 10);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(newest_first_under_overload), T(all_other_modes_under_overload), T(a_batch_is_finished),
        T(adaptive_falls_behind_once), T(adaptive_with_time_in_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
