#include "push/ship.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"

#define CHUNK_S 0.05               /* of a lane's rate in one chunk */
#define CHUNK_LEAST ((int64_t)16384)
#define CHUNK_UNKNOWN 65536        /* while the line's rate is not known */
#define QUEUE_CHUNKS 2             /* that wait in a lane before they are on the wire */

enum phase {
    PHASE_FRESH,  /* the far end has never heard of it: sends at once */
    PHASE_ASK,    /* the far end may hold some of it: ask first */
    PHASE_ASKED,  /* waits for the answer, from `lane` */
    PHASE_FLOW,   /* chunks go out */
    PHASE_COMMIT, /* waits for the receipt, from `lane`; the last chunks may still be under way */
    PHASE_HALTED, /* refused: waits to be dropped */
    PHASE_DEAD    /* dropped; its descriptor is still in use by a lane */
};

struct flight {
    int lane;
    int64_t offset, length;
};

struct shipment {
    struct shipment *next;
    struct ship *ship;
    struct shipment_order o;
    struct plan plan;
    struct wire_commit commit;
    enum phase phase;
    int lane;
    int asking;      /* the lane that was asked what of the doubtful has arrived; -1: none */
    bool early;      /* committed before the last answers were there, */
    bool tried;      /* which is tried once */
    unsigned opened; /* bit i: lane i knows the bundle */
    int fd;
    struct flight *flights;
    size_t flight_count, flight_room;
    struct shipment_state state;
};

struct ship {
    struct ship_options o;
    struct lanes *lanes;
    struct shipment *first; /* most urgent first */
    struct meter meter;
    bool early;             /* the far end waits for bytes that a commit has overtaken */
    bool busy;              /* inside an event: nothing is freed before its end */
};

/* ---- jobs for the lanes ---- */

static void post_open(struct shipment *p, int lane, bool resume)
{
    struct lane_job job = {.verb = LANE_OPEN, .bundle = p->o.number, .open = p->o.open};
    job.open.resume = resume;
    lanes_post(p->ship->lanes, lane, &job);
    p->opened |= 1u << lane;
}

static void post_commit(struct shipment *p, int lane)
{
    struct lane_job job = {.verb = LANE_COMMIT, .bundle = p->o.number, .commit = p->commit};
    if (!(p->opened & 1u << lane))
        post_open(p, lane, false);
    lanes_post(p->ship->lanes, lane, &job);
    p->phase = PHASE_COMMIT;
    p->lane = lane;
}

static bool note_flight(struct shipment *p, int lane, int64_t offset, int64_t length)
{
    if (p->flight_count == p->flight_room) {
        size_t room = p->flight_room ? 2 * p->flight_room : 32;
        struct flight *grown = realloc(p->flights, room * sizeof *grown);
        if (!grown)
            return false;
        p->flights = grown;
        p->flight_room = room;
    }
    p->flights[p->flight_count++] = (struct flight){lane, offset, length};
    return true;
}

/* A chunk is what one lane carries in a moment, so that on a thin line too what is urgent soon
 * has its turn, and no lane ends long after the others. */
static int64_t grain(const struct ship *s)
{
    int up = lanes_state(s->lanes)->up;
    double rate = meter_rate(&s->meter) / (up > 0 ? up : 1);
    int64_t bytes = rate > 0 ? (int64_t)(rate * CHUNK_S) : CHUNK_UNKNOWN;
    int64_t most = throttle_chunk(s->o.throttle, up, s->o.chunk);
    int64_t least = most < CHUNK_LEAST ? most : CHUNK_LEAST;
    return bytes < least ? least : bytes > most ? most : bytes;
}

static bool post_chunk(struct shipment *p, int lane)
{
    struct ship *s = p->ship;
    struct lane_job job = {.verb = LANE_CHUNK, .bundle = p->o.number, .fd = p->fd};
    int64_t length;
    if (!plan_take(&p->plan, grain(s), lanes_idle(s->lanes, lane), &job.offset, &length))
        return false;
    if (!note_flight(p, lane, job.offset, length)) {
        plan_lost(&p->plan, job.offset, length);
        return false;
    }
    job.length = (uint32_t)length;
    if (!(p->opened & 1u << lane))
        post_open(p, lane, false);
    if (p->state.first_ns == 0)
        p->state.first_ns = clock_wall();
    p->state.sent_bytes += length;
    meter_posted(&s->meter, clock_mono(), length);
    lanes_post(s->lanes, lane, &job);
    return true;
}

/* Gives lane something of p to do; false: p has nothing for it. */
static bool offer(struct shipment *p, int lane)
{
    switch (p->phase) {
    case PHASE_ASK:
        post_open(p, lane, true);
        p->phase = PHASE_ASKED;
        p->lane = lane;
        return true;
    case PHASE_FRESH:
    case PHASE_FLOW:
        if (p->plan.doubt.count > 0 && p->asking < 0) {
            post_open(p, lane, true);
            p->asking = lane;
            return true;
        }
        if (!post_chunk(p, lane))
            return false;
        p->phase = PHASE_FLOW;
        return true;
    default:
        return false;
    }
}

/* Behind a commit a lane answers nothing until the far end has read and synced the bundle. */
static unsigned committing(const struct ship *s)
{
    unsigned lanes = 0;
    for (const struct shipment *p = s->first; p; p = p->next)
        if (p->phase == PHASE_COMMIT)
            lanes |= 1u << p->lane;
    return lanes;
}

/* The lanes that are not to be given chunks now. */
static unsigned shunned(const struct ship *s)
{
    unsigned busy = committing(s), reserve = 0;
    bool free = false;
    for (int i = 0; i < LANES_MAX; i++) {
        if (!lanes_carries(s->lanes, i))
            reserve |= 1u << i;
        else
            free = free || !(busy & 1u << i);
    }
    return reserve | (free ? busy : 0);
}

/* The lane with the most room is served first, so that the load spreads. */
static int roomiest(const struct ship *s, unsigned tried)
{
    int best = -1;
    int64_t most = 0, queue = QUEUE_CHUNKS * grain(s);
    for (int i = 0; i < LANES_MAX; i++) {
        int64_t room = tried & 1u << i ? 0 : lanes_room(s->lanes, i, queue);
        if (room > most) {
            most = room;
            best = i;
        }
    }
    return best;
}

/* The lane that a commit keeps busy with the least harm: one in reserve, one with little to do. */
static int idlest(const struct ship *s)
{
    unsigned busy = committing(s);
    int best = -1;
    int64_t most = -1, window = s->o.lanes.window;
    for (int i = 0; i < LANES_MAX; i++) {
        if (!lanes_is_up(s->lanes, i))
            continue;
        int64_t worth = lanes_room(s->lanes, i, window) + (lanes_carries(s->lanes, i) ? 0 : window);
        if (busy & 1u << i)
            worth /= 4;
        if (worth > most) {
            most = worth;
            best = i;
        }
    }
    return best;
}

/* A commit may follow the last chunk at once: the far end waits a moment for what comes over
 * other lanes, which saves the round trip of their answers. */
static void commit_ready(struct ship *s)
{
    for (struct shipment *p = s->first; p; p = p->next) {
        int lane = -1;
        if (p->phase != PHASE_FRESH && p->phase != PHASE_FLOW)
            continue;
        p->early = !plan_complete(&p->plan);
        if (!p->early || (s->early && !p->tried && plan_all_taken(&p->plan)))
            lane = idlest(s);
        if (lane < 0)
            continue;
        p->tried = p->tried || p->early;
        post_commit(p, lane);
    }
}

/* May what nobody waits for go on this lane now? */
static bool is_quiet(const struct ship *s, int lane)
{
    int64_t window = lanes_window(s->lanes);
    return lanes_room(s->lanes, lane, window) >= window - window / 4;
}

/* Does anything wait for room on the lanes? What is held back on purpose does not. */
static bool is_full(const struct ship *s)
{
    int64_t offset, length;
    for (const struct shipment *p = s->first; p && lanes_state(s->lanes)->up > 0; p = p->next)
        if ((p->phase == PHASE_FRESH || p->phase == PHASE_FLOW) && !p->o.background &&
            ranges_gap(&p->plan.taken, 0, p->plan.size, &offset, &length) &&
            (length >= grain(s) || p->plan.finished))
            return true;
    return false;
}

static void turn(struct ship *s)
{
    unsigned tried = shunned(s);
    int lane;
    while ((lane = roomiest(s, tried)) >= 0) {
        struct shipment *p = s->first;
        while (p && !((!p->o.background || is_quiet(s, lane)) && offer(p, lane)))
            p = p->next;
        if (!p)
            tried |= 1u << lane;
    }
    commit_ready(s);
    bool waits = is_full(s);
    meter_waits(&s->meter, clock_mono(), waits);
    lanes_waits(s->lanes, waits);
}

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
    turn(s);
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
    turn(s);
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
    turn(p->ship);
}

void ship_finish(struct shipment *p, const struct wire_commit *commit)
{
    p->commit = *commit;
    p->plan.size = commit->size;
    p->plan.finished = true;
    if (plan_complete(&p->plan))
        p->state.last_ns = clock_wall();
    turn(p->ship);
}

void ship_state(const struct shipment *p, struct shipment_state *out)
{
    *out = p->state;
    out->given_bytes = ranges_total(&p->plan.taken);
    out->acked_bytes = ranges_total(&p->plan.acked);
}
