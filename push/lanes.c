#include "push/lanes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/log.h"

#define BACKOFF_MAX_S 60
#define HUMAN_RETRY_MS 60000

struct slot {
    struct lane *lane; /* NULL: down */
    bool up;
    int failures;     /* in a row */
    int64_t due_mono; /* not started again before */
};

struct lanes {
    struct lanes_options o;
    struct lane_options lane;
    struct mailbox *box;
    struct loop_timer *timer;
    struct slot slot[LANES_MAX];
    struct lanes_state state;
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

static int connecting(const struct lanes *l)
{
    int n = 0;
    for (int i = 0; i < l->o.count; i++)
        n += l->slot[i].lane && !l->slot[i].up;
    return n;
}

/* Starts what is due, and sets the timer for what is not. */
static void turn(struct lanes *l)
{
    int64_t now = clock_mono(), next = INT64_MAX;
    for (int i = 0; i < l->o.count; i++) {
        struct slot *s = &l->slot[i];
        struct fault why;
        if (s->lane)
            continue;
        if (l->state.up == 0 && connecting(l) > 0)
            break; /* one knocks for all */
        if (s->due_mono <= now && lane_start(&l->lane, i, l->box, &s->lane, &why) != ST_OK) {
            log_error(AT(.stage = "ship"), "cannot start a connection: %s", why.text);
            s->due_mono = now + lanes_backoff_ms(++s->failures, any_number()) * NS_PER_MS;
        }
        if (!s->lane && s->due_mono < next)
            next = s->due_mono;
    }
    loop_timer_set(l->timer, next == INT64_MAX ? -1 : (next - now) / NS_PER_MS + 1, 0);
}

static void on_timer(void *ctx)
{
    turn(ctx);
}

static void took_up(struct lanes *l, const struct lane_event *e)
{
    struct slot *s = &l->slot[e->lane];
    s->up = true;
    s->failures = 0;
    l->state.hello = e->hello;
    if (l->state.up++ > 0)
        return;
    l->state.since_mono = clock_mono();
    l->state.trouble.grade = ST_OK;
    l->said[0] = '\0';
    log_info(AT(.stage = "ship"), "connected to %s (%s, %.1f GiB free)", l->lane.host,
             e->hello.software, (double)e->hello.free_bytes / (1 << 30));
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
    if (s->up && --l->state.up == 0)
        l->state.since_mono = now;
    s->up = false;
    lane_stop(&s->lane);
    int64_t delay = e->why.grade == ST_REJECT ? HUMAN_RETRY_MS
                                              : lanes_backoff_ms(s->failures, any_number());
    s->failures++;
    s->due_mono = now + delay * NS_PER_MS;
    say_down(l, &e->why);
    /* While the line is down all lanes wait alike: the others would only knock in vain. */
    for (int i = 0; i < l->o.count && l->state.up == 0; i++)
        if (!l->slot[i].lane && l->slot[i].due_mono < s->due_mono)
            l->slot[i].due_mono = s->due_mono;
}

static void on_mail(void *ctx, int fd)
{
    struct lanes *l = ctx;
    struct mail *m;
    (void)fd;
    while ((m = mailbox_take(l->box))) {
        struct lane_event *e = (struct lane_event *)m;
        if (e->mail.kind == LANE_UP)
            took_up(l, e);
        else if (e->mail.kind == LANE_DOWN)
            took_down(l, e);
        l->o.event(l->o.ctx, e);
        if (e->mail.kind == LANE_UP || e->mail.kind == LANE_DOWN)
            turn(l);
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
    l->state.count = o->count;
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
    for (int i = 0; i < me->o.count; i++)
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
    return i >= 0 && i < l->o.count && l->slot[i].up;
}

int64_t lanes_room(const struct lanes *l, int i)
{
    if (!lanes_is_up(l, i))
        return 0;
    int64_t room = l->o.window - lane_in_flight(l->slot[i].lane);
    return room > 0 ? room : 0;
}

bool lanes_idle(const struct lanes *l, int i)
{
    return lanes_is_up(l, i) && lane_in_flight(l->slot[i].lane) == 0;
}

void lanes_post(struct lanes *l, int i, const struct lane_job *job)
{
    if (lanes_is_up(l, i))
        lane_post(l->slot[i].lane, job);
}
