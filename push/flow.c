#include "push/flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/random.h"
#include "push/flow_inner.h"

/* The whole road. A step that says OK moves the exposure to `ok`, REJECT to `reject`; WAIT
 * asks again after `wait` seconds, RETRY after `retry` seconds, doubled each time up to
 * `max`, and counts as REJECT when `tries` are used up (0: never). */
const struct flow_row flow_table[EXPOSURE_STATES] = {
    /* state             name       ok                reject           tries wait retry  max     changed */
    {{EXPOSURE_SEEN,    "seen",    EXPOSURE_READY,   EXPOSURE_PARKED,  20,   1,    5,   60}, EXPOSURE_SEEN,
     "settle",  "A file is there; is it whole, and has it stopped changing?"},
    {{EXPOSURE_READY,   "ready",   EXPOSURE_SENDING, EXPOSURE_PARKED,   0,  15,    5,   60}, EXPOSURE_SEEN,
     "order",   "It waits for its turn, and for room in the spool."},
    {{EXPOSURE_SENDING, "sending", EXPOSURE_STORED,  EXPOSURE_PARKED,   8,  30,    5,  300}, EXPOSURE_SEEN,
     "encode, ship", "Its bundle is written, and leaves while it is being written."},
    {{EXPOSURE_STORED,  "stored",  EXPOSURE_DONE,    EXPOSURE_DONE,     0,  30,    5,  300}, EXPOSURE_STORED,
     "tidy",    "The receipt is in the journal: the spool's copy may go."},
    {{EXPOSURE_DONE,    "done",    EXPOSURE_DONE,    EXPOSURE_DONE,     0,   0,    0,    0}, EXPOSURE_DONE,
     "-",       "Delivered; a changed file starts anew."},
    {{EXPOSURE_PARKED,  "parked",  EXPOSURE_PARKED,  EXPOSURE_PARKED,   0,   0,    0,    0}, EXPOSURE_PARKED,
     "-",       "Needs a human; starts anew when the file changes or on skyferry-push retry."},
    {{EXPOSURE_PARTIAL, "partial", EXPOSURE_READY,   EXPOSURE_PARKED,   0,  30,    5,   60}, EXPOSURE_SEEN,
     "gather",  "It is one file of several: are all of its exposure's files whole?"},
    {{EXPOSURE_SKIPPED, "skipped", EXPOSURE_SKIPPED, EXPOSURE_SKIPPED,  0,   0,    0,    0}, EXPOSURE_SKIPPED,
     "-",       "Not to be shipped by the settings; looked at again when these or the file change."},
};

#define HOLD_NS (10 * NS_PER_S) /* nothing new is begun after the journal failed */

#define LINE_LOOK_MS 250

/* ---- the journal, and what to do when it cannot be written ---- */

enum status flow_trouble(struct flow *f, const struct fault *why)
{
    f->trouble = *why;
    if (why->grade == ST_FATAL) {
        log_error(AT(.stage = "journal"), "%s", why->text);
        f->fatal = true;
        loop_stop(f->o.loop);
    } else {
        log_warn(AT(.stage = "journal"), "%s; trying again in %d s", why->text,
                 (int)(HOLD_NS / NS_PER_S));
        f->hold_mono = clock_mono() + HOLD_NS;
        flow_poke(f);
    }
    return why->grade;
}

/* Sightings are written together; what others rely on comes after them. */
enum status flow_flush(struct flow *f)
{
    struct fault why;
    if (!f->intake_open)
        return ST_OK;
    f->intake_open = false;
    return journal_commit(f->o.journal, &why) == ST_OK ? ST_OK : flow_trouble(f, &why);
}

enum status flow_save(struct flow *f, const struct exposure *e)
{
    struct fault why;
    enum status st = flow_flush(f);
    if (st == ST_OK && (st = journal_save(f->o.journal, e, &why)) != ST_OK && st != ST_REJECT)
        st = flow_trouble(f, &why);
    return st;
}

/* ---- one move ---- */

static void say(const struct exposure *e, int from, enum status grade, const struct fault *why,
                const char *before)
{
    struct log_at at = {.stage = flow_table[from].step, .exposure = e->name};
    bool news = strcmp(why->text, before) != 0;
    if (e->state == EXPOSURE_PARKED)
        log_error(&at, "parked: %s", e->reason);
    else if (grade == ST_RETRY)
        log_warn(&at, "%s; attempt %d, tries again", why->text, e->attempts);
    else if (from == EXPOSURE_SEEN || !news)
        log_debug(&at, "waits: %s", why->text);
    else
        log_warn(&at, "waits: %s", why->text);
}

enum status flow_move(struct flow *f, struct exposure *e, const struct fault *why)
{
    const struct flow_row *row = &flow_table[e->state];
    char before[sizeof e->reason];
    int from = e->state;
    enum status grade = why->grade == ST_FATAL ? ST_RETRY : why->grade;
    struct stage_verdict v = stage_decide(&row->stage, grade, e->attempts, random_number());
    memcpy(before, e->reason, sizeof before);
    e->state = v.state;
    e->attempts = v.attempts;
    e->due_ns = v.delay_ms > 0 ? clock_wall() + v.delay_ms * NS_PER_MS : 0;
    e->reason[0] = '\0';
    if (grade != ST_OK)
        snprintf(e->reason, sizeof e->reason, "%.480s%s", why->text,
                 v.gave_up ? " (attempts used up)" : "");
    enum status st = flow_save(f, e);
    if (st != ST_OK)
        return st;
    if (grade != ST_OK)
        say(e, from, grade, why, before);
    if (e->state != from && f->o.moved)
        f->o.moved(f->o.ctx, e, from);
    flow_poke(f);
    return ST_OK;
}

void flow_merge(struct flow *f, const struct exposure *e)
{
    struct fault why;
    log_info(AT(.stage = "settle", .exposure = e->name),
             "is the version again that is in the journal already; nothing to send");
    if (journal_remove(f->o.journal, e->id, &why) != ST_OK)
        flow_trouble(f, &why);
    flow_poke(f);
}

void flow_restart(struct flow *f, struct exposure *e, const struct fault *why)
{
    struct exposure now;
    int from = e->state;
    if (e->exact) {
        exact_drop(f, e, why);
        return;
    }
    if (!intake_fill(&now, e->path, clock_wall()))
        now.file = e->file; /* gone: settle will say so */
    exposure_restart(e, &now.file, clock_wall());
    e->state = flow_table[from].on_change;
    log_info(AT(.stage = flow_table[from].step, .exposure = e->name),
             "%s; it starts anew when it is quiet", why->text);
    enum status st = flow_save(f, e);
    if (st == ST_REJECT)
        flow_merge(f, e);
    else if (st == ST_OK && f->o.moved)
        f->o.moved(f->o.ctx, e, from);
    flow_poke(f);
}

/* ---- the engine ---- */

/* A row that became due while the turn went on was seen by none of its steps. */
static void set_timer(struct flow *f, int64_t turn_ns)
{
    struct fault why;
    int64_t due = INT64_MAX, ms = -1, held_ms = (f->hold_mono - clock_mono()) / NS_PER_MS;
    if (held_ms >= 0) {
        loop_timer_set(f->timer, held_ms + 1, 0);
        return;
    }
    if (journal_next_due(f->o.journal, turn_ns, f->o.only_request, &due, &why) != ST_OK) {
        flow_trouble(f, &why);
        return;
    }
    if (due != INT64_MAX) {
        int64_t wait = (due - clock_wall()) / NS_PER_MS + 1;
        ms = wait < 0 ? 0 : wait;
    }
    /* How far the line has come decides who may be overtaken, and when the next is made ready. */
    if (f->transit_count > 0 && (ms < 0 || ms > LINE_LOOK_MS))
        ms = LINE_LOOK_MS;
    int64_t arrange_ms = (f->arrange_mono - clock_mono()) / NS_PER_MS + 1;
    if (f->arrange_waits && (ms < 0 || ms > arrange_ms))
        ms = arrange_ms < 0 ? 0 : arrange_ms;
    if (f->exact_look_ms >= 0 && (ms < 0 || ms > f->exact_look_ms))
        ms = f->exact_look_ms;
    if (f->settling_count > 0 && (ms < 0 || ms > 1000))
        ms = 1000; /* a file server may keep a reader waiting for ever */
    loop_timer_set(f->timer, ms, 0);
}

static void turn(void *ctx)
{
    struct flow *f = ctx;
    int64_t began = clock_wall();
    f->poked = false;
    if (f->closing || f->fatal || flow_flush(f) != ST_OK)
        return;
    if (clock_mono() >= f->hold_mono) {
        steps_settle(f);
        steps_gather(f);
        steps_send(f);
        steps_tidy(f);
    }
    if (!f->fatal && !f->poked)
        set_timer(f, began);
}

void flow_poke(struct flow *f)
{
    f->poked = true;
    loop_timer_set(f->timer, 0, 0);
}

/* What another run found to be enough for this far end. */
#define NOTE_FIT "lanes %s %d"

static int flow_lanes_known(const struct flow *f)
{
    char key[300], text[16];
    snprintf(key, sizeof key, NOTE_FIT, f->config.set.host, f->config.set.port);
    journal_noted(f->o.journal, key, text, sizeof text);
    return (int)strtol(text, NULL, 10);
}

static void flow_keep_lanes(struct flow *f)
{
    const struct lanes_state *line = ship_line(f->ship);
    struct fault why;
    char key[300], text[16];
    if (!line->fitted || line->rtt_ns == 0 || line->wanted == flow_lanes_known(f))
        return;
    snprintf(key, sizeof key, NOTE_FIT, f->config.set.host, f->config.set.port);
    snprintf(text, sizeof text, "%d", line->wanted);
    if (journal_note(f->o.journal, key, text, &why) != ST_OK)
        log_debug(AT(.stage = "journal"), "%s", why.text);
}

/* skyferry-pull runs again behind its drop folder: what waits for it need not wait on. */
static void on_takes(void *ctx)
{
    struct flow *f = ctx;
    struct fault why;
    if (!f->closing && flow_flush(f) == ST_OK && journal_all_due(f->o.journal, &why) != ST_OK)
        flow_trouble(f, &why);
    flow_poke(f);
}

enum status flow_open(const struct flow_options *o, struct flow **out, struct fault *why)
{
    *out = NULL;
    struct lane_options lane;
    struct flow *f = calloc(1, sizeof *f);
    if (!f)
        return fault(why, ST_FATAL, "out of memory");
    f->o = *o;
    f->exact_look_ms = -1;
    f->start_ns = clock_wall();
    f->config = *o->config;
    settings_lane(&f->config.set, &lane);
    f->known = known_new();
    f->limit = limit_new(f->config.set.rate);
    if (!f->known || !f->limit) {
        flow_close(&f);
        return fault(why, ST_FATAL, "out of memory");
    }
    limit_tick(f->limit, clock_wall(), clock_mono());
    lane.throttle = limit_throttle(f->limit);
    struct ship_options ship = {
        .lanes = {.lane = &lane, .count = settings_lanes(&f->config.set),
                  .limit = f->config.set.lanes_max, .known = flow_lanes_known(f),
                  .window = (int64_t)f->config.set.lane_window_kib << 10, .loop = o->loop},
        .chunk = (int64_t)f->config.set.chunk_kib << 10,
        .throttle = lane.throttle, .ctx = f, .takes = on_takes};
    enum status st = gather_open(f, why);
    if (st == ST_OK)
        st = journal_all_due(o->journal, why);
    if (st != ST_OK)
        goto out;
    if (!(f->timer = loop_timer_new(o->loop, turn, f))) {
        st = fault(why, ST_FATAL, "out of memory");
        goto out;
    }
    if ((st = pool_start(f->config.set.threads, o->loop, &f->pool, why)) != ST_OK)
        goto out;
    if ((st = ship_open(&ship, &f->ship, why)) != ST_OK)
        goto out;
    if ((st = line_open(f, why)) != ST_OK)
        goto out;
    auto_open(f);
    flow_poke(f);
    *out = f;
    return ST_OK;
out:
    flow_close(&f);
    return st;
}

void flow_close(struct flow **flow)
{
    if (!*flow)
        return;
    struct flow *f = *flow;
    flow_flush(f);
    f->closing = true;
    while (f->transit_count > 0)
        transit_drop(&f->transits[--f->transit_count]);
    pool_stop(&f->pool);
    if (f->ship)
        flow_keep_lanes(f);
    ship_close(&f->ship);
    limit_free(&f->limit);
    known_free(&f->known);
    loop_timer_free(&f->timer);
    free(f);
    *flow = NULL;
}

void flow_reconfigure(struct flow *f, const struct config *c)
{
    f->line.behind = f->line.behind && c->policy.mode == ORDER_ADAPTIVE;
    f->config.policy = c->policy;
    settings_take_live(&f->config.set, &c->set);
    if (strcmp(f->config.set.profile, c->set.profile) == 0)
        camera_take_live(&f->config.camera, &c->camera);
    flow_look_again(f, 0);
    limit_configure(f->limit, c->set.rate);
    limit_tick(f->limit, clock_wall(), clock_mono());
    auto_open(f);
    /* What waited may pass by the new settings, a larger quota for instance. */
    struct fault why;
    if (flow_flush(f) == ST_OK && (gather_open(f, &why) != ST_OK ||
                                   journal_all_due(f->o.journal, &why) != ST_OK))
        flow_trouble(f, &why);
    flow_poke(f);
}

struct limit *flow_limit(const struct flow *f)
{
    return f->limit;
}

void flow_set_mode(struct flow *f, enum order_mode mode)
{
    f->line.behind = false;
    f->config.policy.mode = mode;
    flow_poke(f);
}

void flow_state(const struct flow *f, struct flow_state *out)
{
    *out = (struct flow_state){.line = ship_line(f->ship), .mode = f->config.policy.mode,
                               .behind = f->line.behind, .load = f->load,
                               .under_way = (int)f->transit_count,
                               .last_new_mono = f->last_new_mono, .fatal = f->fatal,
                               .trouble = f->trouble};
    for (size_t i = 0; i < f->transit_count; i++) {
        struct shipment_state s;
        transit_state(f->transits[i], &s);
        out->sent_bytes += s.sent_bytes;
    }
}
