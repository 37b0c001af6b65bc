#include "push/ship.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "push/ship_inner.h"

/* ---- the end of a shipment ---- */

static void release(struct shipment *p)
{
    if (p->fd >= 0)
        close(p->fd);
    plan_free(&p->plan);
    free(p->flights);
    free(p);
}

/* A lane may still read from the descriptor of what it was given. */
static void reap(struct ship *s)
{
    for (struct shipment **at = &s->first; *at;) {
        struct shipment *p = *at;
        if (p->phase == PHASE_DEAD && p->flight_count == 0) {
            *at = p->next;
            release(p);
        } else {
            at = &p->next;
        }
    }
}

static void tell_lanes(struct shipment *p, enum lane_verb verb)
{
    struct lane_job job = {.verb = verb, .bundle = p->o.number};
    for (int i = 0; i < LANES_MAX; i++)
        if (p->opened & 1u << i)
            lanes_post(p->ship->lanes, i, &job);
    p->opened = 0;
}

void ship_drop(struct shipment **p, bool abort)
{
    if (!*p)
        return;
    struct shipment *me = *p;
    *p = NULL;
    tell_lanes(me, abort ? LANE_ABORT : LANE_CLOSE);
    me->phase = PHASE_DEAD;
    if (!me->ship->busy)
        reap(me->ship);
}

/* ---- events ---- */

static struct shipment *find(const struct ship *s, int64_t number)
{
    struct shipment *p = s->first;
    while (p && p->o.number != number)
        p = p->next;
    return p;
}

static void out_of_memory(struct shipment *p)
{
    struct fault why;
    fault(&why, ST_RETRY, "out of memory for the list of chunks");
    p->phase = PHASE_HALTED;
    p->o.refused(p->o.ctx, &why);
}

/* An answer about no range is about no chunk. */
static void land(struct shipment *p, const struct lane_event *e,
                 void (*meter)(struct meter *m, int64_t now_ns, int64_t bytes))
{
    for (size_t i = 0; i < p->flight_count && e->length > 0; i++) {
        struct flight *f = &p->flights[i];
        if (f->lane != e->lane || f->offset != e->offset)
            continue;
        meter(&p->ship->meter, clock_mono(), f->length);
        p->flight_count--;
        memmove(f, f + 1, (p->flight_count - i) * sizeof *f);
        return;
    }
}

static void on_got(struct shipment *p, const struct lane_event *e)
{
    land(p, e, meter_got);
    if (p->phase == PHASE_DEAD || p->phase == PHASE_HALTED)
        return;
    crash_point("push:shipping");
    if (!plan_got(&p->plan, e->offset, e->length))
        out_of_memory(p);
    else if (plan_complete(&p->plan))
        p->state.last_ns = clock_wall();
}

/* All that the far end holds, by its own account; what is under way on other lanes stays so. */
static bool resume(struct shipment *p, const struct lane_event *e)
{
    bool ok = plan_resume(&p->plan, e->have, e->have_count);
    for (size_t i = 0; ok && i < p->flight_count; i++)
        ok = plan_flies(&p->plan, p->flights[i].offset, p->flights[i].length);
    p->phase = PHASE_FLOW;
    return ok;
}

static void on_opened(struct shipment *p, const struct lane_event *e)
{
    bool ok = true;
    if (p->phase == PHASE_ASKED && p->lane == e->lane)
        ok = resume(p, e);
    else if (p->asking == e->lane && p->phase < PHASE_HALTED)
        ok = plan_settle(&p->plan, e->have, e->have_count);
    else
        return;
    p->asking = -1;
    if (!ok)
        out_of_memory(p);
    else if (e->have_count > 0)
        log_info(AT(.stage = "ship", .exposure = p->o.open.name),
                 "goes on where it stopped: the far end holds %.1f MB of it",
                 (double)ranges_total(&p->plan.acked) / 1e6);
}

static void on_refused(struct shipment *p, const struct lane_event *e)
{
    land(p, e, meter_lost);
    if (p->phase == PHASE_DEAD || p->phase == PHASE_HALTED)
        return;
    if (e->asked == LANE_COMMIT && p->early && e->why.grade == ST_WAIT) {
        p->phase = PHASE_FLOW; /* too early: again when all has been acknowledged */
        return;
    }
    if (e->asked == LANE_COMMIT && e->why.grade == ST_WAIT && !p->asked) {
        p->phase = PHASE_ASK;
        p->asked = true;
        return;
    }
    p->phase = PHASE_HALTED;
    p->o.refused(p->o.ctx, &e->why);
}

/* What this lane left unanswered may have arrived or not. */
static void lane_lost(struct shipment *p, int lane)
{
    bool ok = true;
    size_t kept = 0;
    for (size_t i = 0; i < p->flight_count; i++) {
        struct flight f = p->flights[i];
        if (f.lane != lane) {
            p->flights[kept++] = f;
            continue;
        }
        meter_lost(&p->ship->meter, clock_mono(), f.length);
        ok = plan_doubt(&p->plan, f.offset, f.length) && ok;
    }
    p->flight_count = kept;
    p->opened &= ~(1u << lane);
    if (p->asking == lane)
        p->asking = -1;
    /* A commit without answer may have been carried out. */
    if ((p->phase == PHASE_ASKED || p->phase == PHASE_COMMIT) && p->lane == lane)
        p->phase = PHASE_ASK;
    if (!ok && p->phase < PHASE_HALTED)
        out_of_memory(p);
}

static void on_lane_down(struct ship *s, int lane)
{
    for (struct shipment *p = s->first; p; p = p->next)
        lane_lost(p, lane);
}

static void on_bundle_event(struct shipment *p, const struct lane_event *e)
{
    switch (e->mail.kind) {
    case LANE_GOT:
        on_got(p, e);
        break;
    case LANE_OPENED:
        on_opened(p, e);
        break;
    case LANE_REFUSED:
        on_refused(p, e);
        break;
    case LANE_RECEIPT:
        if (p->phase != PHASE_DEAD && p->phase != PHASE_HALTED) {
            crash_point("push:receipt");
            p->phase = PHASE_HALTED;
            if (p->state.first_ns != 0 && p->state.last_ns == 0)
                p->state.last_ns = clock_wall(); /* before the last chunks' own answers */
            p->o.received(p->o.ctx, &e->receipt);
        }
        break;
    default:
        break;
    }
}

static void on_event(void *ctx, const struct lane_event *e)
{
    struct ship *s = ctx;
    struct shipment *p = find(s, e->bundle);
    s->busy = true;
    if (e->mail.kind == LANE_DOWN)
        on_lane_down(s, e->lane);
    else if (p)
        on_bundle_event(p, e);
    s->busy = false;
    reap(s);
    ship_hand_out(s);
    if (e->mail.kind == LANE_TAKES && s->o.takes)
        s->o.takes(s->o.ctx);
}

/* ---- the calls from above ---- */

enum status ship_open(const struct ship_options *o, struct ship **out, struct fault *why)
{
    *out = NULL;
    struct ship *s = calloc(1, sizeof *s);
    if (!s)
        return fault(why, ST_FATAL, "out of memory for shipping");
    s->o = *o;
    s->early = !o->lanes.lane->sftp;
    s->o.lanes.ctx = s;
    s->o.lanes.event = on_event;
    enum status st = lanes_open(&s->o.lanes, &s->lanes, why);
    if (st != ST_OK)
        free(s);
    else
        *out = s;
    return st;
}

void ship_close(struct ship **s)
{
    if (!*s)
        return;
    struct ship *me = *s;
    lanes_close(&me->lanes);
    for (struct shipment *p; (p = me->first);) {
        me->first = p->next;
        release(p);
    }
    free(me);
    *s = NULL;
}

const struct lanes_state *ship_line(const struct ship *s)
{
    return lanes_state(s->lanes);
}

struct meter *ship_meter(struct ship *s)
{
    return &s->meter;
}

static bool goes_before(const struct shipment *a, const struct shipment *b)
{
    if (a->o.urgency != b->o.urgency)
        return a->o.urgency > b->o.urgency;
    return a->o.number < b->o.number;
}

static void line_up(struct shipment *p)
{
    struct shipment **at = &p->ship->first;
    while (*at && !goes_before(p, *at))
        at = &(*at)->next;
    p->next = *at;
    *at = p;
}

enum status ship_add(struct ship *s, const struct shipment_order *o, struct shipment **out,
                     struct fault *why)
{
    *out = NULL;
    struct shipment *p = calloc(1, sizeof *p);
    if (!p)
        return fault(why, ST_RETRY, "out of memory for a shipment");
    p->fd = open(o->path, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0) {
        free(p);
        return fault_errno(why, ST_RETRY, "cannot read the bundle %s", o->path);
    }
    p->ship = s;
    p->o = *o;
    p->o.path = NULL;
    p->phase = o->open.resume ? PHASE_ASK : PHASE_FRESH;
    p->lane = p->asking = -1;
    line_up(p);
    *out = p;
    ship_hand_out(s);
    return ST_OK;
}

/* The lanes ask for the next chunk later: what is under way is not called back. */
void ship_urgency(struct shipment *p, int urgency)
{
    struct shipment **at = &p->ship->first;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->o.urgency = urgency;
    line_up(p);
}

void ship_grow(struct shipment *p, int64_t size)
{
    p->plan.size = size;
    ship_hand_out(p->ship);
}

void ship_finish(struct shipment *p, const struct wire_commit *commit)
{
    p->commit = *commit;
    p->plan.size = commit->size;
    p->plan.finished = true;
    if (plan_complete(&p->plan))
        p->state.last_ns = clock_wall();
    ship_hand_out(p->ship);
}

void ship_state(const struct shipment *p, struct shipment_state *out)
{
    *out = p->state;
    out->given_bytes = ranges_total(&p->plan.taken);
    out->acked_bytes = ranges_total(&p->plan.acked);
}
