/* Who is given what to carry: the most urgent bundle's next chunk goes to the lane with the most
 * room, until no lane has any; then commits. */
#include <stdlib.h>

#include "common/clock.h"
#include "push/ship_inner.h"

#define CHUNK_S 0.03               /* of a lane's rate in one chunk */
#define CHUNK_LEAST ((int64_t)16384)
#define CHUNK_UNKNOWN 65536        /* while the line's rate is not known */
#define QUEUE_CHUNKS 2             /* that wait in a lane before they are on the wire */

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

static bool flows(const struct shipment *p)
{
    return p->phase == PHASE_FRESH || p->phase == PHASE_FLOW;
}

/* Lanes that have not found their pace yet, or have much before them, would carry a chunk for
 * several round trips. What the others but those in `but` carry in one, *room bytes, is not for
 * these. */
static unsigned slow_lanes(const struct ship *s, unsigned but, int64_t *room)
{
    int64_t chunk = grain(s);
    unsigned slow = 0;
    *room = 0;
    for (int i = 0; i < LANES_MAX; i++) {
        int64_t more = but & 1u << i ? 0 : lanes_free(s->lanes, i);
        if (more < chunk)
            slow |= 1u << i;
        else
            *room += more;
    }
    return *room > 0 ? slow : 0;
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
        if (!flows(p))
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
        if (flows(p) && !p->o.background &&
            ranges_gap(&p->plan.taken, 0, p->plan.size, &offset, &length) &&
            (length >= grain(s) || p->plan.finished))
            return true;
    return false;
}

/* Gives lane the most urgent that there is for it; false: nothing. */
static bool serve(struct ship *s, int lane, bool slow, int64_t room)
{
    int64_t rest = 0;
    for (struct shipment *p = s->first; p; p = p->next) {
        rest += flows(p) ? plan_rest(&p->plan) : 0;
        bool waits = slow && flows(p) && rest <= room;
        if (waits || (p->o.background && !is_quiet(s, lane)))
            continue;
        if (offer(p, lane))
            return true;
    }
    return false;
}

void ship_hand_out(struct ship *s)
{
    int64_t room;
    unsigned tried = shunned(s), slow = slow_lanes(s, tried, &room);
    int lane;
    while ((lane = roomiest(s, tried)) >= 0)
        if (!serve(s, lane, slow & 1u << lane, room))
            tried |= 1u << lane;
    commit_ready(s);
    bool waits = is_full(s);
    meter_waits(&s->meter, clock_mono(), waits);
    lanes_waits(s->lanes, waits);
}
