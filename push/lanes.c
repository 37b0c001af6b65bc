#include "push/lanes.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "push/lanes_inner.h"

#define AT_ONCE 8                      /* handshakes side by side: a server may allow fewer */
#define GRACE_MIN_NS (500 * NS_PER_MS)
#define GRACE_TRIPS 3
#define WAIT_GAP_NS NS_PER_S           /* a longer pause in the waiting begins a sample anew */

static void judge(struct lanes *l);

static void on_timer(void *ctx)
{
    struct lanes *l = ctx;
    if (l->judge_mono != 0 && clock_mono() >= l->judge_mono)
        judge(l);
    lanes_end_spare(l);
    lanes_start(l);
}

/* ---- how many ---- */

static int carriers(const struct lanes *l)
{
    int n = 0;
    for (int i = 0; i < LANES_MAX; i++)
        n += lanes_carries(l, i);
    return n;
}

static int64_t limited_ns(const struct lanes *l)
{
    struct lane_pulse p;
    int64_t sum = 0;
    for (int i = 0; i < LANES_MAX; i++) {
        if (!lanes_carries(l, i))
            continue;
        lane_pulse(l->slot[i].lane, &p);
        sum += p.limited_ns;
    }
    return sum;
}

static void begin_sample(struct lanes *l)
{
    l->tally = (struct tally){.waits = l->tally.waits, .mark_mono = clock_mono(),
                              .limited_ns = limited_ns(l)};
}

/* Time has passed in which bytes waited, or did not. */
static void pass(struct lanes *l, int64_t bytes)
{
    struct tally *t = &l->tally;
    int64_t now = clock_mono(), passed = now - t->mark_mono;
    if (!t->waits || l->state.lost_mono != 0) {
        if (l->state.lost_mono != 0 || passed > WAIT_GAP_NS) {
            begin_sample(l);
            fit_warm_up(&l->fit);
        }
        return;
    }
    t->mark_mono = now;
    t->span_ns += passed;
    t->bytes += bytes;
    if (t->span_ns < fit_span(l->state.rtt_ns))
        return;
    struct fit_sample s = {.up = carriers(l), .span_ns = t->span_ns, .bytes = t->bytes,
                           .rtt_ns = l->state.rtt_ns,
                           .limited_ns = limited_ns(l) - t->limited_ns};
    int before = l->fit.wanted;
    if (l->o.count == 0 && fit_learn(&l->fit, &s)) {
        log_info(AT(.stage = "ship"), "%d connections carry %.0f Mbit/s (round trip %.0f ms): "
                 "%s %d", s.up, (double)s.bytes * 8e3 / (double)s.span_ns,
                 (double)l->state.rtt_ns / NS_PER_MS,
                 l->fit.wanted > before ? "tries" : "needs no more than", l->fit.wanted);
        lanes_start(l);
    }
    l->state.wanted = l->fit.wanted;
    begin_sample(l);
}

void lanes_waits(struct lanes *l, bool waits)
{
    if (l->tally.waits == waits)
        return;
    pass(l, 0);
    l->tally.waits = waits;
    l->tally.mark_mono = clock_mono();
}

/* ---- up and down ---- */

static void end_lane(struct lanes *l, int i)
{
    struct slot *s = &l->slot[i];
    if (s->up && --l->state.up == 0)
        l->state.since_mono = clock_mono();
    s->up = s->stalled = false;
    lane_abandon(&s->lane);
    if (l->scout == i)
        l->scout = -1;
    begin_sample(l);
}

void lanes_give_up(struct lanes *l, int i, const struct fault *why)
{
    struct lane_event e = {.mail = {.kind = LANE_DOWN}, .lane = i, .reached = true, .why = *why};
    end_lane(l, i);
    l->slot[i].due_mono = 0;
    l->o.event(l->o.ctx, &e);
}

/* The scout is up: so the line is there. What has not moved since it set out, and does not soon,
 * is dead: its TCP may be waiting for minutes. */
static void judge(struct lanes *l)
{
    int dead = 0;
    l->judge_mono = 0;
    for (int i = 0; i < LANES_MAX; i++) {
        struct fault why;
        struct lane_pulse p;
        if (!l->slot[i].stalled)
            continue;
        l->slot[i].stalled = false;
        lane_pulse(l->slot[i].lane, &p);
        if (p.heard_mono >= l->set_out)
            continue;
        fault(&why, ST_RETRY, "%.100s does not answer on this connection any more", l->lane.host);
        lanes_give_up(l, i, &why);
        dead++;
    }
    if (l->state.lost_mono == 0)
        return;
    log_info(AT(.stage = "ship"), "the line to %s is back after %.1f s; connections made anew: %d",
             l->lane.host, (double)(clock_mono() - l->state.lost_mono) / NS_PER_S, dead);
    l->state.lost_mono = 0;
}

static void took_up(struct lanes *l, const struct lane_event *e)
{
    struct slot *s = &l->slot[e->lane];
    struct lane_pulse p;
    lane_pulse(s->lane, &p);
    s->up = true;
    s->up_mono = clock_mono();
    l->state.hello = e->hello;
    if (p.rtt_ns > 0 && (l->state.rtt_ns == 0 || p.rtt_ns < l->state.rtt_ns))
        l->state.rtt_ns = p.rtt_ns;
    if (l->at_once < AT_ONCE)
        l->at_once++;
    if (!lanes_any_stalled(l))
        l->state.lost_mono = 0;
    if (l->o.count == 0)
        fit_round_trip(&l->fit, l->state.rtt_ns);
    l->state.wanted = l->fit.wanted;
    begin_sample(l);
    if (l->state.up++ > 0)
        return;
    l->state.since_mono = clock_mono();
    l->state.trouble.grade = ST_OK;
    l->said[0] = '\0';
    log_info(AT(.stage = "ship"), "connected to %s (%s, %.1f GiB free, round trip %.0f ms)",
             l->lane.host, e->hello.software, (double)e->hello.free_bytes / (1 << 30),
             (double)l->state.rtt_ns / NS_PER_MS);
}

/* Each trouble is logged once, not once a lane and attempt. */
static void say_down(struct lanes *l, const struct fault *why)
{
    bool human = why->grade == ST_REJECT;
    if (l->state.up > 0) {
        log_debug(AT(.stage = "ship"), "a connection ended: %s", why->text);
        return;
    }
    l->state.trouble = *why;
    if (strcmp(l->said, why->text) == 0)
        return;
    memcpy(l->said, why->text, sizeof l->said);
    if (human)
        log_error(AT(.stage = "ship"), "%s; exposures are kept, the far end is tried once a minute",
                  why->text);
    else
        log_warn(AT(.stage = "ship"), "no connection to %s: %s; exposures are kept, trying again",
                 l->lane.host, why->text);
}

static void took_down(struct lanes *l, const struct lane_event *e)
{
    struct slot *s = &l->slot[e->lane];
    int64_t now = clock_mono();
    bool was_up = s->up;
    end_lane(l, e->lane);
    s->due_mono = lanes_next_try(l, s, e, now);
    s->up_mono = 0;
    /* Refused in the middle of the greeting: perhaps too many at once. */
    if (!was_up && e->reached && l->at_once > 1)
        l->at_once /= 2;
    say_down(l, &e->why);
    /* All lanes wait alike: another in its place would only knock in vain. */
    for (int i = 0; i < LANES_MAX; i++)
        if (!l->slot[i].lane && l->slot[i].due_mono < s->due_mono)
            l->slot[i].due_mono = s->due_mono;
}

static void took_stall(struct lanes *l, const struct lane_event *e)
{
    if (!l->slot[e->lane].up)
        return;
    if (!lanes_any_stalled(l)) {
        l->state.lost_mono = clock_mono();
        log_info(AT(.stage = "ship"), "%s acknowledges nothing any more: is the line cut? Another "
                 "connection is tried", l->lane.host);
    }
    l->slot[e->lane].stalled = true;
}

/* A useful answer: what came before was no string of failures; and a stall is over. */
static void took_answer(struct lanes *l, const struct lane_event *e)
{
    struct slot *s = &l->slot[e->lane];
    s->failures = 0;
    s->stalled = false;
    if (e->mail.kind == LANE_GOT)
        pass(l, e->length);
    if (l->state.lost_mono == 0 || lanes_any_stalled(l))
        return;
    log_info(AT(.stage = "ship"), "the line to %s moves again after %.1f s", l->lane.host,
             (double)(clock_mono() - l->state.lost_mono) / NS_PER_S);
    l->state.lost_mono = 0;
    if (l->scout >= 0)
        end_lane(l, l->scout);
}

/* Answers to what TCP sends again now need so long. */
static int64_t grace(const struct lanes *l)
{
    int64_t trips = GRACE_TRIPS * l->state.rtt_ns;
    return trips > GRACE_MIN_NS ? trips : GRACE_MIN_NS;
}

static void take(struct lanes *l, const struct lane_event *e)
{
    bool scout = l->scout == e->lane;
    switch ((enum lane_event_kind)e->mail.kind) {
    case LANE_UP:
        took_up(l, e);
        l->o.event(l->o.ctx, e);
        if (scout)
            l->scout = -1;
        if (scout && lanes_any_stalled(l))
            l->judge_mono = clock_mono() + grace(l);
        break;
    case LANE_DOWN:
        took_down(l, e);
        l->o.event(l->o.ctx, e);
        break;
    case LANE_STALLED:
        took_stall(l, e);
        l->o.event(l->o.ctx, e); /* others may carry what was to be this lane's */
        break;
    case LANE_ROOM:
    case LANE_TAKES:
        l->o.event(l->o.ctx, e);
        return;
    default:
        took_answer(l, e);
        l->o.event(l->o.ctx, e);
        return;
    }
    lanes_start(l);
}

static void on_mail(void *ctx, int fd)
{
    struct lanes *l = ctx;
    struct mail *m;
    (void)fd;
    while ((m = mailbox_take(l->box))) {
        struct lane_event *e = (struct lane_event *)m;
        int number = e->lane;
        e->lane = number % LANES_MAX;
        /* Its lane may have been given up after it spoke. */
        if (l->slot[e->lane].lane && l->slot[e->lane].number == number)
            take(l, e);
        lane_event_free(e);
    }
}

enum status lanes_open(const struct lanes_options *o, struct lanes **out, struct fault *why)
{
    *out = NULL;
    struct lanes *l = calloc(1, sizeof *l);
    if (!l)
        return fault(why, ST_FATAL, "out of memory for the connections");
    l->o = *o;
    l->lane = *o->lane;
    l->o.lane = &l->lane;
    l->at_once = AT_ONCE;
    l->scout = -1;
    fit_begin(&l->fit, o->count ? o->count : o->known, o->count ? o->count : o->limit);
    l->state.wanted = l->fit.wanted;
    l->state.fitted = o->count == 0;
    l->state.since_mono = clock_mono();
    l->box = mailbox_new();
    l->timer = loop_timer_new(o->loop, on_timer, l);
    if (!l->box || !l->timer) {
        fault(why, ST_FATAL, "out of memory or descriptors for the connections");
        goto out;
    }
    if (loop_read(o->loop, mailbox_fd(l->box), on_mail, l, why) != ST_OK)
        goto out;
    loop_timer_set(l->timer, 0, 0);
    *out = l;
    return ST_OK;
out:
    loop_timer_free(&l->timer);
    mailbox_free(&l->box);
    free(l);
    return ST_FATAL;
}

void lanes_close(struct lanes **l)
{
    struct mail *m;
    if (!*l)
        return;
    struct lanes *me = *l;
    for (int i = 0; i < LANES_MAX; i++)
        lane_bid_end(me->slot[i].lane);
    for (int i = 0; i < LANES_MAX; i++)
        lane_stop(&me->slot[i].lane);
    loop_forget(me->o.loop, mailbox_fd(me->box));
    while ((m = mailbox_take(me->box)))
        lane_event_free((struct lane_event *)m);
    mailbox_free(&me->box);
    loop_timer_free(&me->timer);
    free(me);
    *l = NULL;
}

const struct lanes_state *lanes_state(const struct lanes *l)
{
    return &l->state;
}

bool lanes_is_up(const struct lanes *l, int i)
{
    return i >= 0 && i < LANES_MAX && l->slot[i].up;
}

int64_t lanes_window(const struct lanes *l)
{
    return throttle_window(l->lane.throttle, l->state.up, l->o.window);
}

bool lanes_carries(const struct lanes *l, int i)
{
    int rank = 0;
    if (!lanes_is_up(l, i))
        return false;
    for (int k = 0; k < i; k++)
        rank += l->slot[k].up;
    return rank < l->fit.wanted;
}

/* False: it can be given nothing now. */
static bool moves(const struct lanes *l, int i, struct lane_pulse *p)
{
    if (!lanes_is_up(l, i) || l->slot[i].stalled)
        return false;
    lane_pulse(l->slot[i].lane, p);
    return true;
}

int64_t lanes_room(const struct lanes *l, int i, int64_t queue)
{
    struct lane_pulse p;
    if (!moves(l, i, &p))
        return 0;
    int64_t wire = lanes_window(l) - p.in_flight, wait = queue - p.unsent;
    int64_t room = wire < wait ? wire : wait;
    return room > 0 ? room : 0;
}

int64_t lanes_free(const struct lanes *l, int i)
{
    struct lane_pulse p;
    if (!moves(l, i, &p))
        return 0;
    int64_t window = lanes_window(l);
    if (p.window > 0 && p.window < window)
        window = p.window;
    return window > p.in_flight ? window - p.in_flight : 0;
}

bool lanes_idle(const struct lanes *l, int i)
{
    struct lane_pulse p;
    if (!lanes_is_up(l, i))
        return false;
    lane_pulse(l->slot[i].lane, &p);
    return p.in_flight == 0;
}

void lanes_post(struct lanes *l, int i, const struct lane_job *job)
{
    if (!lanes_is_up(l, i))
        return;
    l->slot[i].posted_mono = clock_mono();
    lane_post(l->slot[i].lane, job);
}
