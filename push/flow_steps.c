/* The steps at work: each starts a job or a transit, and ends in one flow_move. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "push/flow_inner.h"
#include "push/settle.h"

#define SETTLING_MAX 8                 /* files looked at together */
#define SETTLE_FIRST_NS (2 * NS_PER_S) /* so long the choice of the next waits for the settling */
#define ARRANGE_LONG_NS (3 * NS_PER_MS) /* what takes less is no burden, what takes more gets ... */
#define ARRANGE_SHARE 10                /* ... one part in so many of the thread's time */

/* ---- settle ---- */

struct settling {
    struct pool_job job; /* first */
    struct flow *flow;   /* main thread only */
    struct settling *next;
    bool again;          /* the file was seen anew meanwhile */
    bool ran;
    struct exposure e;
    struct camera camera;
    struct settle_rules rules;
    struct settle_verdict verdict;
};

static void run_settling(struct pool_job *job)
{
    struct settling *s = (struct settling *)job;
    s->ran = true;
    settle_examine(&s->e, &s->camera, &s->rules, &s->verdict);
}

static void settled(struct flow *f, struct exposure *e, const struct settle_verdict *v)
{
    bool other = v->stated && !identity_equal(&e->file, &v->file);
    if (other)
        exposure_restart(e, &v->file, clock_wall());
    if (v->grade == ST_OK) {
        e->facts = v->facts;
        e->ccds = v->ccds;
        e->image_bytes = v->image_bytes;
        e->tiled = v->tiled;
        e->stamp[STAMP_SETTLED] = clock_wall();
        if (v->warning[0])
            log_warn(AT(.stage = "settle", .exposure = e->name), "%s", v->warning);
        if (gather_takes(f, e, v))
            return;
    }
    enum status st = flow_move(f, e, &v->why);
    if (st == ST_REJECT)
        flow_merge(f, e);
    else if (st == ST_OK && e->state == EXPOSURE_READY)
        crash_point("push:settled");
}

static void done_settling(struct pool_job *job)
{
    struct settling *s = (struct settling *)job;
    struct flow *f = s->flow;
    struct exposure e = {0};
    struct fault why;
    bool found = false;
    struct settling **at = &f->settling;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    f->settling_count--;
    /* Seen anew meanwhile: the row says more than the verdict does. */
    if (s->ran && !s->again && !f->closing) {
        if (journal_get(f->o.journal, s->e.id, &e, &found, &why) != ST_OK)
            flow_trouble(f, &why);
        else if (found && e.state == EXPOSURE_SEEN)
            settled(f, &e, &s->verdict);
    }
    free(s);
    if (!f->closing)
        flow_poke(f);
}

static bool is_settling(const struct flow *f, int64_t id)
{
    for (const struct settling *s = f->settling; s; s = s->next)
        if (s->e.id == id)
            return true;
    return false;
}

static bool start_settling(void *ctx, const struct exposure *e)
{
    struct flow *f = ctx;
    if (f->settling_count >= SETTLING_MAX)
        return false;
    if (is_settling(f, e->id))
        return true;
    struct settling *s = calloc(1, sizeof *s);
    if (!s)
        return false;
    s->job.run = run_settling;
    s->job.done = done_settling;
    s->job.urgency = INT_MAX;
    s->flow = f;
    s->e = *e;
    s->camera = f->config.camera;
    s->rules = (struct settle_rules){.settle_s = f->config.set.settle_s,
                                     .give_up_s = f->config.set.give_up_s};
    settings_wanted(&f->config.set, &s->rules.wanted);
    s->next = f->settling;
    f->settling = s;
    if (f->settling_count++ == 0)
        f->settling_mono = clock_mono();
    pool_submit(f->pool, &s->job);
    return true;
}

void steps_settle(struct flow *f)
{
    struct fault why;
    if (f->settling_count < SETTLING_MAX &&
        journal_due(f->o.journal, EXPOSURE_SEEN, f->o.only_request, 2 * SETTLING_MAX,
                    start_settling, f, &why) != ST_OK)
        flow_trouble(f, &why);
}

void flow_look_again(struct flow *f, int64_t id)
{
    for (struct settling *s = f->settling; s; s = s->next)
        if (id == 0 || s->e.id == id)
            s->again = true;
}

/* ---- encode and ship ---- */

static struct transit **transit_slot(struct flow *f, int64_t id)
{
    for (size_t i = 0; i < f->transit_count; i++)
        if (transit_exposure(f->transits[i]) == id)
            return &f->transits[i];
    return NULL;
}

void flow_forget_transit(struct flow *f, int64_t id)
{
    struct transit **slot = transit_slot(f, id);
    if (slot)
        *slot = f->transits[--f->transit_count];
}

static enum status on_save(void *ctx, const struct exposure *e)
{
    struct flow *f = ctx;
    enum status st = flow_save(f, e);
    if (st == ST_OK)
        return ST_OK;
    struct transit **slot = transit_slot(f, e->id), *t = slot ? *slot : NULL;
    flow_forget_transit(f, e->id);
    transit_drop(&t);
    return st;
}

/* What a receipt means for the other row of this version, if there is one. */
static void pair_up(struct flow *f, const struct exposure *e)
{
    struct fault why;
    enum status st = ST_OK;
    if (e->exact)
        st = journal_exact_came(f->o.journal, e, &why);
    else if (e->fidelity == DELIVERED_LOSSY)
        /* The far end answers with exact data where it has them: it has none any more. */
        st = journal_exact_forget(f->o.journal, e, &why);
    if (st != ST_OK)
        flow_trouble(f, &why);
}

static void on_ended(void *ctx, struct transit *t, const struct exposure *ended,
                     const struct fault *why, bool changed)
{
    struct flow *f = ctx;
    struct exposure e = *ended;
    flow_forget_transit(f, transit_exposure(t));
    if (changed) {
        flow_restart(f, &e, why);
        return;
    }
    if (flow_move(f, &e, why) != ST_OK)
        return;
    if (e.state == EXPOSURE_STORED) {
        pair_up(f, &e);
        auto_keep(f);
    }
    if (e.state == EXPOSURE_STORED)
        crash_point(e.exact ? "push:exactstored" : "push:stored");
    if (e.state == EXPOSURE_PARKED)
        flow_forget_bundle(f, &e);
}

/* ---- the codec, and what the last exposure of this filter taught ---- */

static void pace_key(const struct exposure *e, const char *method, char *out, size_t size)
{
    snprintf(out, size, "pace %s %s", method, e->facts.filter[0] ? e->facts.filter : "-");
}

void flow_codec(const struct flow *f, const struct exposure *e, struct fidelity *out)
{
    char key[128], text[32];
    if (e->exact) {
        settings_exact_codec(&f->config.set, out);
        return;
    }
    settings_codec(&f->config.set, out);
    if (settings_auto(&f->config.set))
        auto_fidelity(&f->config.set, e, out);
    if (e->pace > 0) {
        out->pace = e->pace;
        return;
    }
    pace_key(e, out->method, key, sizeof key);
    journal_noted(f->o.journal, key, text, sizeof text);
    double pace = strtod(text, NULL);
    if (pace > 0.1 && pace < 10)
        out->pace = pace;
}

/* The next may be made ready. */
static void on_flows(void *ctx)
{
    flow_poke(ctx);
}

static void on_learned(void *ctx, const struct exposure *e, const struct encode_result *r)
{
    struct flow *f = ctx;
    struct fidelity codec;
    struct fault why;
    char key[128], text[32];
    line_learned(f, e, r);
    auto_learned(f, e, r);
    if (!(r->pace > 0))
        return;
    flow_codec(f, e, &codec);
    pace_key(e, codec.method, key, sizeof key);
    snprintf(text, sizeof text, "%.4f", r->pace);
    if (journal_note(f->o.journal, key, text, &why) != ST_OK)
        flow_trouble(f, &why);
}

struct transit *flow_transit(const struct flow *f, int64_t id)
{
    for (size_t i = 0; i < f->transit_count; i++)
        if (transit_exposure(f->transits[i]) == id)
            return f->transits[i];
    return NULL;
}

void flow_forget_bundle(struct flow *f, const struct exposure *e)
{
    char bundle[4200];
    if (!e->bundle_id[0])
        return;
    spool_bundle(f->o.spool, e, bundle);
    unlink(bundle);
}

/* Held on to until it is delivered: the same choice and pace give the same bytes. */
static void choose_codec(struct flow *f, struct exposure *e, struct fidelity *out)
{
    if (!auto_keeps(f, e))
        auto_choose(f, e);
    flow_codec(f, e, out);
    e->pace = out->pace;
}

/* ready -> sending, on paper. False: not now. */
static bool take_up(struct flow *f, struct exposure *e, bool newest)
{
    struct fidelity codec;
    struct fault why = {.grade = ST_OK};
    choose_codec(f, e, &codec);
    /* What is in no hurry leaves room for an exposure that comes meanwhile. */
    bool spare = e->exact || (!newest && f->transit_count > 0), kept = e->bundle_sha256[0] != '\0';
    if (!kept)
        spool_room(f->o.spool, f->config.set.quota_gib, spare ? 2 * e->file.size : e->file.size,
                   &why);
    f->no_room |= why.grade == ST_WAIT;
    if (why.grade == ST_OK && !kept) {
        encode_id(e, &f->config.camera, &codec, e->bundle_id);
        e->stamp[STAMP_ENCODE] = clock_wall();
    }
    return flow_move(f, e, &why) == ST_OK && e->state == EXPOSURE_SENDING;
}

/* A begun exposure goes on under its id only while the codec is the same. */
static void refresh_id(struct flow *f, struct exposure *e, const struct fidelity *codec)
{
    char id[DIGEST_HEX];
    if (e->bundle_sha256[0])
        return;
    encode_id(e, &f->config.camera, codec, id);
    if (strcmp(id, e->bundle_id) == 0)
        return;
    flow_forget_bundle(f, e);
    memcpy(e->bundle_id, id, sizeof id);
}

void flow_begin(struct flow *f, const struct order_item *item)
{
    struct exposure e;
    struct transit *t = NULL;
    struct fidelity codec;
    struct fault why;
    bool found = false;
    if (journal_get(f->o.journal, item->id, &e, &found, &why) != ST_OK) {
        flow_trouble(f, &why);
        return;
    }
    /* Begun before, if it has an id: the far end may hold some of it. */
    bool resume = found && e.bundle_id[0];
    if (found && e.state == EXPOSURE_READY && !take_up(f, &e, item->newest))
        return;
    if (!found || e.state != EXPOSURE_SENDING)
        return;
    choose_codec(f, &e, &codec);
    refresh_id(f, &e, &codec);
    struct transit_order o = {
        .e = &e, .camera = &f->config.camera, .codec = &codec, .spool = f->o.spool,
        .pool = f->pool, .ship = f->ship,
        .urgency = item->exact ? INT_MIN : line_urgency(item->place, e.group_ccd),
        .number = ++f->shipments,
        .resume = resume, .ctx = f, .save = on_save,
        .flows = on_flows, .learned = on_learned, .ended = on_ended};
    if (transit_start(&o, &t, &why) == ST_OK)
        f->transits[f->transit_count++] = t;
    else
        flow_move(f, &e, &why);
}

static size_t drop_under_way(struct flow *f, struct order_item *items, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!flow_transit(f, items[i].id))
            items[kept++] = items[i];
    return kept;
}

/* Exact data are not for the policy: moved behind the exposures, whose number is returned. */
static size_t exposures_first(struct order_item *items, size_t count)
{
    size_t own = 0;
    for (size_t i = 0; i < count; i++) {
        struct order_item item = items[i];
        if (item.exact)
            continue;
        items[i] = items[own];
        items[own++] = item;
    }
    return own;
}

void steps_send(struct flow *f)
{
    struct order_queue q;
    struct fault why;
    int64_t now = clock_mono(), start = clock_thread_cpu();
    bool settling_first = f->settling_count > 0 && now - f->settling_mono < SETTLE_FIRST_NS;
    /* A queue so long that to sort it takes its time is not sorted at every turn. */
    f->arrange_waits = now < f->arrange_mono;
    if (f->arrange_waits)
        return;
    f->exact_look_ms = -1;
    if (settling_first)
        return;
    if (journal_candidates(f->o.journal, f->o.only_request, &f->config.camera, &q, &why) != ST_OK) {
        flow_trouble(f, &why);
        return;
    }
    size_t own = exposures_first(q.items, q.count);
    size_t exact = drop_under_way(f, q.items + own, q.count - own);
    line_arrange(f, q.items, own);
    int64_t took = clock_thread_cpu() - start;
    if (took > ARRANGE_LONG_NS)
        f->arrange_mono = now + ARRANGE_SHARE * took;
    for (size_t i = 0; i < own && f->transit_count < FLOW_TRANSITS; i++)
        if (q.items[i].turn)
            line_begin(f, &q.items[i], q.items, own);
    order_exact(&f->config.policy, q.items + own, exact);
    if (f->transit_count < FLOW_TRANSITS)
        exact_send(f, q.items + own, exact,
                   own > 0 || f->transit_count > (size_t)exact_under_way(f));
    free(q.items);
}

/* ---- tidy ---- */

struct tidying {
    struct pool_job job; /* first */
    struct flow *flow;
    bool ran;
    struct exposure e;
    char bundle[4200];
    struct fault why;
};

static void run_tidying(struct pool_job *job)
{
    struct tidying *t = (struct tidying *)job;
    t->ran = true;
    if (unlink(t->bundle) != 0 && access(t->bundle, F_OK) == 0)
        fault_errno(&t->why, ST_RETRY, "cannot remove %s", t->bundle);
}

/* A bundle went: what waited for room need not wait out its time. */
static void try_room_again(struct flow *f)
{
    struct fault why;
    if (!f->no_room)
        return;
    f->no_room = false;
    if (journal_ready_due(f->o.journal, &why) != ST_OK)
        flow_trouble(f, &why);
}

static void done_tidying(struct pool_job *job)
{
    struct tidying *t = (struct tidying *)job;
    struct flow *f = t->flow;
    f->tidying_id = 0;
    if (t->ran && !f->closing) {
        crash_point(t->e.exact ? "push:exacttidied" : "push:tidied");
        if (t->why.grade == ST_OK)
            t->e.stamp[STAMP_DONE] = clock_wall();
        if (flow_move(f, &t->e, &t->why) == ST_OK)
            try_room_again(f);
    }
    free(t);
}

/* One at a time: each is a moment's work, and the next follows at once. */
static bool start_tidying(void *ctx, const struct exposure *e)
{
    struct flow *f = ctx;
    struct tidying *t = calloc(1, sizeof *t);
    if (!t)
        return false;
    t->job.run = run_tidying;
    t->job.done = done_tidying;
    t->job.urgency = INT_MAX;
    t->flow = f;
    t->e = *e;
    t->why.grade = ST_OK;
    spool_bundle(f->o.spool, e, t->bundle);
    f->tidying_id = e->id;
    pool_submit(f->pool, &t->job);
    return false;
}

void steps_tidy(struct flow *f)
{
    struct fault why;
    if (f->tidying_id == 0 && journal_due(f->o.journal, EXPOSURE_STORED, f->o.only_request, 1,
                                          start_tidying, f, &why) != ST_OK)
        flow_trouble(f, &why);
}
