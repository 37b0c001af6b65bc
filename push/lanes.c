#include "push/lanes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/log.h"

#define NUMBERS 1000000
#define BACKOFF_MAX_S 60
#define HUMAN_RETRY_MS 60000
#define AT_ONCE 8                      /* handshakes side by side: a server may allow fewer */
#define SECOND_KNOCK_NS (3 * NS_PER_S) /* a first connection that hangs may be the only one that does */
#define KNOCK_FIRST_MS 1000            /* between SYNs: while no round trip is known, */
#define KNOCK_MIN_MS 500               /* and while the line has been down a short time, */
#define KNOCK_MAX_MS 5000              /* and a long one */
#define KNOCK_SHARE 20                 /* of the time that it has been down */
#define SETTLED_NS (60 * NS_PER_S)     /* a connection that stood so long was none in vain */
#define PATIENT_NS (5 * NS_PER_S)      /* that many knocks were back-off enough */
#define WAIT_GAP_NS NS_PER_S           /* a longer pause in the waiting begins a sample anew */

struct slot {
    struct lane *lane; /* NULL: down */
    int number;        /* of this lane among all there ever were; modulo LANES_MAX: the slot's */
    bool up;
    bool stalled;
    int failures;       /* in a row: without one useful answer */
    int64_t begun_mono; /* its lane was started; its lane was up */
    int64_t up_mono;
    int64_t due_mono;   /* not started again before */
};

/* What the lanes carry while bytes wait for them. */
struct tally {
    bool waits;
    int64_t mark_mono;  /* counted up to here */
    int64_t span_ns, bytes;
    int64_t limited_ns; /* of all lanes, when the sample began */
};

struct lanes {
    struct lanes_options o;
    struct lane_options lane;
    struct mailbox *box;
    struct loop_timer *timer;
    struct slot slot[LANES_MAX];
    struct lanes_state state;
    struct lanes_fit fit;
    struct tally tally;
    int at_once;        /* handshakes side by side */
    int scout;          /* the slot that looks for the line; -1: none */
    int64_t lost_mono;  /* since then nothing is acknowledged; 0: all is well */
    char said[sizeof((struct fault *)0)->text]; /* the last trouble that was logged */
};

int64_t lanes_backoff_ms(int n, unsigned random)
{
    int64_t s = n > 5 ? BACKOFF_MAX_S : (int64_t)1 << (n < 0 ? 0 : n);
    int64_t ms = (s < BACKOFF_MAX_S ? s : BACKOFF_MAX_S) * 1000;
    return ms - ms / 4 * (int64_t)(random % 1001) / 1000;
}

static unsigned any_number(void)
{
    unsigned n = 0;
    if (getrandom(&n, sizeof n, GRND_NONBLOCK) != (ssize_t)sizeof n)
        n = (unsigned)clock_mono();
    return n;
}

/* ---- starting lanes ---- */

static int alive(const struct lanes *l)
{
    int n = 0;
    for (int i = 0; i < LANES_MAX; i++)
        n += l->slot[i].lane != NULL;
    return n;
}

static int connecting(const struct lanes *l, int64_t *oldest)
{
    int n = 0;
    *oldest = INT64_MAX;
    for (int i = 0; i < LANES_MAX; i++) {
        if (!l->slot[i].lane || l->slot[i].up)
            continue;
        n++;
        if (l->slot[i].begun_mono < *oldest)
            *oldest = l->slot[i].begun_mono;
    }
    return n;
}

static bool any_stalled(const struct lanes *l)
{
    for (int i = 0; i < LANES_MAX; i++)
        if (l->slot[i].stalled)
            return true;
    return false;
}

/* Beside those that carry there is one in reserve, which waits for receipts. */
static int target(const struct lanes *l)
{
    int n = l->fit.wanted + (l->o.count == 0 ? 1 : 0);
    return n < LANES_MAX ? n : LANES_MAX;
}

/* May one more be started now? */
static bool may_start(const struct lanes *l, int64_t now)
{
    int64_t oldest;
    int trying = connecting(l, &oldest), have = alive(l);
    bool down = l->state.up == 0 && l->state.trouble.grade != ST_OK;
    if (down)
        return trying == 0 || (trying == 1 && now - oldest > SECOND_KNOCK_NS);
    if (have < target(l))
        return trying < l->at_once;
    return any_stalled(l) && l->scout < 0 && have < LANES_MAX;
}

static int knock_ms(const struct lanes *l, int64_t now)
{
    int64_t rtt_ms = l->state.rtt_ns / NS_PER_MS;
    int64_t least = rtt_ms == 0 ? KNOCK_FIRST_MS : 2 * rtt_ms > KNOCK_MIN_MS ? 2 * rtt_ms : KNOCK_MIN_MS;
    int64_t since = l->lost_mono ? l->lost_mono : l->state.up == 0 ? l->state.since_mono : now;
    int64_t ms = (now - since) / NS_PER_MS / KNOCK_SHARE;
    return (int)(ms < least ? least : ms > KNOCK_MAX_MS ? KNOCK_MAX_MS : ms);
}

static void start(struct lanes *l, int i, int64_t now)
{
    struct slot *s = &l->slot[i];
    struct fault why;
    l->lane.knock_ms = knock_ms(l, now);
    s->number = (s->number / LANES_MAX + 1) % NUMBERS * LANES_MAX + i;
    if (lane_start(&l->lane, s->number, l->box, &s->lane, &why) != ST_OK) {
        log_error(AT(.stage = "ship"), "cannot start a connection: %s", why.text);
        s->due_mono = now + lanes_backoff_ms(++s->failures, any_number()) * NS_PER_MS;
        return;
    }
    s->begun_mono = now;
    if (any_stalled(l) && l->scout < 0)
        l->scout = i;
}

/* Starts what is due, and sets the timer for what is not. */
static void turn(struct lanes *l)
{
    int64_t now = clock_mono(), next = INT64_MAX;
    for (int i = 0; i < LANES_MAX && may_start(l, now); i++) {
        struct slot *s = &l->slot[i];
        if (s->lane)
            continue;
        if (s->due_mono <= now)
            start(l, i, now);
        else if (s->due_mono < next)
            next = s->due_mono;
    }
    if (l->state.up == 0 && next > now + SECOND_KNOCK_NS)
        next = now + SECOND_KNOCK_NS;
    loop_timer_set(l->timer, next == INT64_MAX ? -1 : (next - now) / NS_PER_MS + 1, 0);
}

static void on_timer(void *ctx)
{
    turn(ctx);
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
    if (!t->waits) {
        if (passed > WAIT_GAP_NS) {
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
    struct fit_sample s = {carriers(l), t->span_ns, t->bytes, limited_ns(l) - t->limited_ns};
    int before = l->fit.wanted;
    if (l->o.count == 0 && fit_learn(&l->fit, &s)) {
        log_info(AT(.stage = "ship"), "%d connections carry %.0f Mbit/s (round trip %.0f ms): "
                 "%s %d", s.up, (double)s.bytes * 8e3 / (double)s.span_ns,
                 (double)l->state.rtt_ns / NS_PER_MS,
                 l->fit.wanted > before ? "tries" : "no more than with", l->fit.wanted);
        turn(l);
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

/* The scout is up: so the line is there. What has not moved since it set out is dead. */
static void bury_the_dead(struct lanes *l, int64_t set_out)
{
    int dead = 0;
    for (int i = 0; i < LANES_MAX; i++) {
        struct lane_event e = {.mail = {.kind = LANE_DOWN}, .lane = i, .reached = true};
        struct lane_pulse p;
        if (!l->slot[i].stalled)
            continue;
        l->slot[i].stalled = false;
        lane_pulse(l->slot[i].lane, &p);
        if (p.heard_mono >= set_out)
            continue;
        fault(&e.why, ST_RETRY, "%.100s does not answer on this connection any more", l->lane.host);
        end_lane(l, i);
        l->slot[i].due_mono = 0;
        l->o.event(l->o.ctx, &e);
        dead++;
    }
    log_info(AT(.stage = "ship"), "the line to %s is back after %.1f s: %d of its connections are "
             "made anew", l->lane.host, (double)(clock_mono() - l->lost_mono) / NS_PER_S, dead);
    l->lost_mono = 0;
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

/* When a lane that went down may be started again. One whose knocks nobody answered has waited
 * long enough by that. */
static int64_t next_try(struct slot *s, const struct lane_event *e, int64_t now)
{
    if (s->up_mono && now - s->up_mono > SETTLED_NS)
        s->failures = 0;
    if (e->why.grade == ST_REJECT)
        return now + HUMAN_RETRY_MS * NS_PER_MS;
    if (!e->reached && now - s->begun_mono > PATIENT_NS)
        return now;
    return now + lanes_backoff_ms(s->failures++, any_number()) * NS_PER_MS;
}

static void took_down(struct lanes *l, const struct lane_event *e)
{
    struct slot *s = &l->slot[e->lane];
    int64_t now = clock_mono();
    bool was_up = s->up;
    end_lane(l, e->lane);
    s->due_mono = next_try(s, e, now);
    s->up_mono = 0;
    /* Refused in the middle of the greeting: perhaps too many at once. */
    if (!was_up && e->reached && l->at_once > 1)
        l->at_once /= 2;
    say_down(l, &e->why);
    /* While the line is down all lanes wait alike: the others would only knock in vain. */
    for (int i = 0; i < LANES_MAX && l->state.up == 0; i++)
        if (!l->slot[i].lane && l->slot[i].due_mono < s->due_mono)
            l->slot[i].due_mono = s->due_mono;
}

static void took_stall(struct lanes *l, const struct lane_event *e)
{
    if (!l->slot[e->lane].up)
        return;
    if (!any_stalled(l)) {
        l->lost_mono = clock_mono();
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
    if (l->lost_mono == 0 || any_stalled(l))
        return;
    log_info(AT(.stage = "ship"), "the line to %s moves again after %.1f s", l->lane.host,
             (double)(clock_mono() - l->lost_mono) / NS_PER_S);
    l->lost_mono = 0;
    if (l->scout >= 0)
        end_lane(l, l->scout);
}

static void take(struct lanes *l, const struct lane_event *e)
{
    int64_t set_out = l->slot[e->lane].begun_mono;
    bool scout = l->scout == e->lane;
    switch ((enum lane_event_kind)e->mail.kind) {
    case LANE_UP:
        took_up(l, e);
        l->o.event(l->o.ctx, e);
        if (scout)
            l->scout = -1;
        if (scout && any_stalled(l))
            bury_the_dead(l, set_out);
        break;
    case LANE_DOWN:
        took_down(l, e);
        l->o.event(l->o.ctx, e);
        break;
    case LANE_STALLED:
        took_stall(l, e);
        break;
    case LANE_ROOM:
        l->o.event(l->o.ctx, e);
        return;
    default:
        took_answer(l, e);
        l->o.event(l->o.ctx, e);
        return;
    }
    turn(l);
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

bool lanes_carries(const struct lanes *l, int i)
{
    int rank = 0;
    if (!lanes_is_up(l, i))
        return false;
    for (int k = 0; k < i; k++)
        rank += l->slot[k].up;
    return rank < l->fit.wanted;
}

int64_t lanes_room(const struct lanes *l, int i, int64_t queue)
{
    struct lane_pulse p;
    if (!lanes_is_up(l, i) || l->slot[i].stalled)
        return 0;
    lane_pulse(l->slot[i].lane, &p);
    int64_t wire = l->o.window - p.in_flight, wait = queue - p.unsent;
    int64_t room = wire < wait ? wire : wait;
    return room > 0 ? room : 0;
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
    if (lanes_is_up(l, i))
        lane_post(l->slot[i].lane, job);
}
