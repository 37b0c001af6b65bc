#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/random.h"
#include "push/lanes_inner.h"

#define NUMBERS 1000000
#define BACKOFF_MAX_S 60
#define HUMAN_RETRY_MS 60000
#define SECOND_KNOCK_NS (3 * NS_PER_S) /* a first connection that hangs may be the only one that does */
#define KNOCK_FIRST_MS 1000            /* between SYNs: while no round trip is known, */
#define KNOCK_MIN_MS 500               /* and while the line has been down a short time, */
#define KNOCK_MAX_MS 5000              /* and a long one */
#define KNOCK_SHARE 20                 /* of the time that it has been down */
#define SETTLED_NS (60 * NS_PER_S)     /* a connection that stood so long was none in vain */
#define SPARE_NS (60 * NS_PER_S)
#define PATIENT_NS (5 * NS_PER_S)      /* that many knocks were back-off enough */

int64_t lanes_backoff_ms(int n, unsigned random)
{
    int64_t s = n > 5 ? BACKOFF_MAX_S : (int64_t)1 << (n < 0 ? 0 : n);
    int64_t ms = (s < BACKOFF_MAX_S ? s : BACKOFF_MAX_S) * 1000;
    return ms - ms / 4 * (int64_t)(random % 1001) / 1000;
}

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

bool lanes_any_stalled(const struct lanes *l)
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

static int64_t spare_ns(const struct lanes *l)
{
    return l->o.spare_ns > 0 ? l->o.spare_ns : SPARE_NS;
}

/* Are there more than are needed? While something is amiss nobody knows. */
static int spare(const struct lanes *l)
{
    bool amiss = lanes_any_stalled(l) || l->state.lost_mono != 0 || l->scout >= 0;
    return amiss ? 0 : alive(l) - target(l);
}

static void note_spare(struct lanes *l, int64_t now)
{
    if (spare(l) <= 0)
        l->spare_mono = 0;
    else if (l->spare_mono == 0)
        l->spare_mono = now;
}

static bool is_spare(const struct lanes *l, int i, int64_t now)
{
    return lanes_idle(l, i) && !lanes_carries(l, i) && now - l->slot[i].posted_mono >= spare_ns(l);
}

void lanes_end_spare(struct lanes *l)
{
    struct fault why;
    int64_t now = clock_mono();
    note_spare(l, now);
    if (l->spare_mono == 0 || now - l->spare_mono < spare_ns(l))
        return;
    l->spare_mono = now; /* those at work: next time */
    fault(&why, ST_RETRY, "the line does not need this connection any more");
    for (int i = LANES_MAX - 1; i >= 0 && spare(l) > 0; i--) {
        if (!is_spare(l, i, now))
            continue;
        lanes_give_up(l, i, &why);
        log_info(AT(.stage = "ship"), "a connection that was not needed for %.0f s is ended: %d are "
                 "left", (double)spare_ns(l) / NS_PER_S, l->state.up);
    }
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
    return lanes_any_stalled(l) && l->scout < 0 && l->judge_mono == 0 && have < LANES_MAX;
}

static int knock_ms(const struct lanes *l, int64_t now)
{
    int64_t rtt_ms = l->state.rtt_ns / NS_PER_MS;
    int64_t least = rtt_ms == 0 ? KNOCK_FIRST_MS : 2 * rtt_ms > KNOCK_MIN_MS ? 2 * rtt_ms : KNOCK_MIN_MS;
    int64_t since = l->state.lost_mono ? l->state.lost_mono : l->state.up == 0 ? l->state.since_mono : now;
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
        s->due_mono = now + lanes_backoff_ms(++s->failures, random_number()) * NS_PER_MS;
        return;
    }
    s->begun_mono = now;
    if (lanes_any_stalled(l) && l->scout < 0) {
        l->scout = i;
        l->set_out = now;
    }
}

void lanes_start(struct lanes *l)
{
    int64_t now = clock_mono(), next = INT64_MAX;
    for (int i = 0; i < LANES_MAX && may_start(l, now); i++) {
        struct slot *s = &l->slot[i];
        if (s->lane)
            continue;
        if (s->due_mono <= now)
            start(l, i, now);
        if (!s->lane && s->due_mono < next)
            next = s->due_mono;
    }
    if (l->state.up == 0 && next > now + SECOND_KNOCK_NS)
        next = now + SECOND_KNOCK_NS;
    if (l->judge_mono != 0 && l->judge_mono < next)
        next = l->judge_mono > now ? l->judge_mono : now;
    note_spare(l, now);
    if (l->spare_mono != 0 && l->spare_mono + spare_ns(l) < next)
        next = l->spare_mono + spare_ns(l) > now ? l->spare_mono + spare_ns(l) : now;
    loop_timer_set(l->timer, next == INT64_MAX ? -1 : (next - now) / NS_PER_MS + 1, 0);
}

/* While the line is down a knock at a closed port costs two packets: the next one is due when it
 * would be had nobody answered, which has taken long enough by itself. Who was let in and sent away,
 * or finds the port closed though others are inside, backs off. */
int64_t lanes_next_try(const struct lanes *l, struct slot *s, const struct lane_event *e, int64_t now)
{
    int64_t knock = knock_ms(l, now);
    if (s->up_mono && now - s->up_mono > SETTLED_NS)
        s->failures = 0;
    if (e->why.grade == ST_REJECT)
        return now + HUMAN_RETRY_MS * NS_PER_MS;
    if (!e->reached && now - s->begun_mono > PATIENT_NS)
        return now;
    if (!e->reached && l->state.up == 0)
        return now + (knock + knock / 4 * (random_number() % 1001) / 1000) * NS_PER_MS;
    return now + lanes_backoff_ms(s->failures++, random_number()) * NS_PER_MS;
}
