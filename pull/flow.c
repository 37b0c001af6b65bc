#include "pull/flow.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "pull/fanout.h"
#include "pull/gate.h"
#include "pull/held.h"
#include "pull/job.h"
#include "pull/renew.h"
#include "pull/request.h"
#include "pull/visit.h"

/* A state is the last thing that was done; `begin` does the next. A bad ccd or a failed job
 * never holds its siblings: the exposure goes on to `done` with its faults counted. What waits for
 * its jobs is woken by their ends; thousands may, so the look in between is rare. */
const struct flow_row flow_rows[EX_STATES] = {
    /*  state      name       ok          reject   tries wait retry max */
    {{EX_STORED,  "stored",  EX_PLACED,  EX_PARKED,    5,  15,    2, 60}, fanout_begin,
     STAMP_STORED,  NULL,           "unpacking and placing"},
    {{EX_PLACED,  "placed",  EX_WORKING, EX_PARKED,    5,  15,    2, 60}, jobs_make,
     STAMP_PLACED,  "pull:placed",  "making jobs"},
    {{EX_WORKING, "working", EX_DONE,    EX_PARKED,    0,1800,    5, 60}, jobs_settle,
     STAMPS,        "pull:jobs",    "waiting for its jobs"},
    {{EX_DONE,    "done",    EX_DONE,    EX_DONE,      0,   0,    0,  0}, NULL,
     STAMP_DONE,    "pull:done",    "finished"},
    {{EX_PARKED,  "parked",  EX_PARKED,  EX_PARKED,    0,   0,    0,  0}, NULL,
     STAMPS,        "pull:parked",  "parked"},
    /* Left for `stored`, or for nothing, by pull/early.c alone. */
    {{EX_COMING,  "coming",  EX_COMING,  EX_COMING,    0,   0,    0,  0}, NULL,
     STAMPS,        NULL,           "coming"},
};

#define ACTIVE (1u << EX_STORED | 1u << EX_PLACED | 1u << EX_WORKING)
#define AT_A_TIME 64  /* exposures of one state in one look */
#define LOOK_MS 60000 /* the longest time without a look */

/* ---- what happened ---- */

static void unlink_flight(struct agent *a, struct flight *f)
{
    struct flight **p = &a->flights;
    while (*p && *p != f)
        p = &(*p)->next;
    if (*p)
        *p = f->next;
    free(f);
}

void flow_dropped(struct agent *a, struct flight *f)
{
    unlink_flight(a, f);
}

bool flow_last_attempt(const struct exposure *x)
{
    int attempts = flow_rows[x->state].stage.attempts;
    return attempts != STAGE_FOREVER && x->attempts + 1 >= attempts;
}

static void say(const struct exposure *x, enum status grade, const struct stage_verdict *v,
                const struct fault *why)
{
    const struct flow_row *row = &flow_rows[x->state];
    const struct log_at *at = AT(.stage = row->stage.name, .exposure = x->name);
    if (v->state == EX_PARKED)
        log_error(at, "parked: %s%s; when the cause is mended: skyferry-pull retry %s", why->text,
                  v->gave_up ? " (given up after several attempts)" : "", x->name);
    else if (grade == ST_RETRY)
        log_warn(at, "%s failed, again in %lld s: %s", row->doing, (long long)v->delay_ms / 1000,
                 why->text);
    else if (grade == ST_WAIT && why && why->text[0])
        log_warn(at, "%s waits, again in %lld s: %s", row->doing, (long long)v->delay_ms / 1000,
                 why->text);
}

/* What the verdict makes of the exposure's row. */
static void apply(struct exposure *x, enum status grade, const struct stage_verdict *v,
                  const struct fault *why)
{
    int64_t now = clock_wall();
    bool moved = v->state != (int)x->state;
    x->state = (enum exposure_state)v->state;
    x->attempts = v->attempts;
    x->due_ns = now + v->delay_ms * NS_PER_MS;
    if (grade == ST_OK)
        x->reason[0] = '\0';
    else if (why)
        snprintf(x->reason, sizeof x->reason, "%s", why->text);
    /* A second passage, with exact data, does not change when the files were there first. */
    if (moved && flow_rows[x->state].reached < STAMPS && !x->stamp[flow_rows[x->state].reached])
        x->stamp[flow_rows[x->state].reached] = now;
    if (moved && x->state == EX_DONE)
        x->force = false;
}

static enum status write_down(struct agent *a, struct flight *f, struct fault *why)
{
    enum status st = catalogue_begin(a->cat, why);
    if (st != ST_OK)
        return st;
    if (f->record)
        st = f->record(a, f, why);
    if (st == ST_OK)
        st = catalogue_save(a->cat, &f->x, why);
    if (st == ST_OK)
        st = catalogue_count(a->cat, f->x.id, why);
    if (st == ST_OK)
        return catalogue_commit(a->cat, why);
    catalogue_rollback(a->cat);
    return st;
}

/* The new state is durable. */
static void arrived(struct agent *a, const struct exposure *before)
{
    struct exposure x;
    struct fault why;
    bool found;
    crash_point(flow_rows[before->state].reached_point);
    if (visit_arrived(a, before))
        return;
    if (before->state != EX_DONE || catalogue_get(a->cat, before->id, &x, &found, &why) != ST_OK)
        return;
    const struct log_at *at = AT(.stage = "done", .exposure = x.name);
    double seconds = (double)(x.stamp[STAMP_DONE] - x.stamp[STAMP_CLOSED]) / 1e9;
    bool renewed = x.stamp[STAMP_RENEWED] > x.stamp[STAMP_DONE];
    if (x.faults > 0)
        log_warn(at, "%d of %d ccds placed, %d of %d jobs done, %d faults: skyferry-pull status "
                 "%s", x.placed, x.ccds, x.jobs_done, x.jobs, x.faults, x.name);
    else if (renewed)
        log_info(at, "%d ccds exact, %.1f s after the file was closed", x.placed,
                 (double)(x.stamp[STAMP_RENEWED] - x.stamp[STAMP_CLOSED]) / 1e9);
    else
        log_info(at, "%d ccds placed, %d jobs done, %.1f s after the file was closed", x.placed,
                 x.jobs_done, seconds);
}

void flow_ended(struct agent *a, struct flight *f, enum status grade, const struct fault *why)
{
    static const struct fault fine = {0};
    struct fault trouble;
    why = why ? why : &fine;
    if (grade == ST_FATAL) {
        agent_trouble(a, why);
        unlink_flight(a, f);
        return;
    }
    enum exposure_state before = f->x.state;
    struct stage_verdict v = stage_decide(&flow_rows[before].stage, grade, f->x.attempts,
                                          (unsigned)rand());
    say(&f->x, grade, &v, why);
    apply(&f->x, grade, &v, why);
    if (grade == ST_WAIT && f->due_ns)
        f->x.due_ns = f->due_ns;
    if (write_down(a, f, &trouble) != ST_OK)
        agent_trouble(a, &trouble);
    else if (f->x.state != before)
        arrived(a, &f->x);
    unlink_flight(a, f);
    agent_poke(a);
}

/* ---- what is due ---- */

bool flow_is_flying(const struct agent *a, int64_t exposure)
{
    const struct flight *f = a->flights;
    while (f && f->x.id != exposure)
        f = f->next;
    return f != NULL;
}

static int flying(const struct agent *a, enum exposure_state state)
{
    int n = 0;
    for (const struct flight *f = a->flights; f; f = f->next)
        n += f->x.state == state;
    return n;
}

/* The due exposures of one state that there is room for. */
struct due {
    struct agent *a;
    struct flight *first, **last;
    int room;
    int fresh;    /* of these: nobody has looked into it yet */
    bool held;    /* there are more */
};

static bool collect(void *ctx, const struct exposure *x)
{
    struct due *d = ctx;
    if (flow_is_flying(d->a, x->id) || !agent_is_chosen(d->a, x->id))
        return true;
    bool is_fresh = x->state == EX_STORED && x->ccds == 0;
    d->held = d->room == 0 || (is_fresh && d->fresh == 0);
    struct flight *f = d->held ? NULL : calloc(1, sizeof *f);
    if (!f)
        return false;
    f->x = *x;
    *d->last = f;
    d->last = &f->next;
    d->room--;
    d->fresh -= is_fresh;
    return true;
}

static void say_held(struct agent *a)
{
    char words[200];
    int fresh, room = gate_ingest_room(a, flying(a, EX_STORED), &fresh);
    held_ingest_words(&a->s, room > 0, words, sizeof words);
    gate_held(a, PAUSE_INGEST, words);
}

/* Collected first: a step may write to the table that the query walks. */
static enum status begin_due(struct agent *a, enum exposure_state state, struct fault *why)
{
    bool ingest = state == EX_STORED;
    struct catalogue_pick pick = {.states = 1u << state, .due_ns = clock_wall(),
                                  .oldest_first = !ingest, .by_age = ingest, .rows = ROWS_ALL};
    struct due d = {.a = a, .last = &d.first, .room = AT_A_TIME};
    if (ingest && gate_paused(a, PAUSE_INGEST))
        return ST_OK;
    if (ingest)
        d.room = gate_ingest_room(a, flying(a, state), &d.fresh);
    enum status st = catalogue_each(a->cat, &pick, collect, &d, why);
    while (d.first) {
        struct flight *f = d.first;
        d.first = f->next;
        if (ingest && f->x.ccds == 0 && !gate_ingest_begins(a)) {
            free(f);
            continue;
        }
        f->next = a->flights;
        a->flights = f;
        flow_rows[state].begin(a, f);
    }
    if (st == ST_OK && ingest && d.held)
        say_held(a);
    return st;
}

static void set_next_look(struct agent *a)
{
    struct fault why;
    int64_t now = clock_wall(), due = 0, job_due = 0, ms = LOOK_MS;
    if (catalogue_next_due(a->cat, ACTIVE, now, &due, &why) != ST_OK ||
        catalogue_next_job_due(a->cat, now, &job_due, &why) != ST_OK) {
        agent_trouble(a, &why);
        return;
    }
    if (job_due && (!due || job_due < due))
        due = job_due;
    if (due && (due - now) / NS_PER_MS + 1 < ms)
        ms = (due - now) / NS_PER_MS + 1;
    loop_timer_set(a->look, ms, 0);
}

void flow_look(struct agent *a)
{
    static const enum exposure_state order[] = {EX_WORKING, EX_PLACED, EX_STORED};
    struct fault why;
    enum status st = ST_OK;
    int64_t wait = (a->hold_until - clock_mono()) / NS_PER_MS;
    if (a->stopping)
        return;
    if (wait > 0) {
        loop_timer_set(a->look, wait + 1, 0);
        return;
    }
    set_next_look(a); /* first: a step that ends at once sets it nearer */
    st = requests_take(a, &why);
    if (st == ST_OK)
        st = renew_look(a, &why);
    for (size_t i = 0; st == ST_OK && i < sizeof order / sizeof order[0]; i++)
        st = begin_due(a, order[i], &why);
    if (st == ST_OK)
        st = jobs_look(a, &why);
    if (st != ST_OK)
        agent_trouble(a, &why);
}

enum status flow_wake(struct agent *a, int64_t exposure, enum exposure_state state,
                      struct fault *why)
{
    struct exposure x;
    bool found;
    enum status st = catalogue_get(a->cat, exposure, &x, &found, why);
    if (st != ST_OK || !found || x.state != state)
        return st;
    x.due_ns = clock_wall();
    agent_poke(a);
    return catalogue_save(a->cat, &x, why);
}
