/* One question over a connection of its own, by a lane that lives for its answer. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "push/lane.h"

/* What lane_ask is after. */
struct question {
    const char *have_json;
    struct wire_hello *hello;
    struct buf *held_json;
};

static enum status ask_held(struct lane *l, const struct question *q, struct fault *why)
{
    struct lane_job job = {.verb = LANE_HAVE, .fd = -1, .text = strdup(q->have_json)};
    if (!job.text)
        return fault(why, ST_RETRY, "out of memory");
    lane_post(l, &job);
    return ST_WAIT;
}

/* Takes one event; WAIT while the answer is still to come. */
static enum status heard(struct lane *l, const struct lane_event *e, const struct question *q,
                         struct fault *why)
{
    switch ((enum lane_event_kind)e->mail.kind) {
    case LANE_UP:
        *q->hello = e->hello;
        return q->have_json ? ask_held(l, q, why) : ST_OK;
    case LANE_HELD:
        if (!buf_append(q->held_json, e->text, strlen(e->text)))
            return fault(why, ST_RETRY, "out of memory");
        return ST_OK;
    case LANE_REFUSED:
    case LANE_DOWN:
        *why = e->why;
        if (why->grade == ST_WAIT)
            why->grade = ST_RETRY;
        return why->grade;
    default:
        return ST_WAIT;
    }
}

enum status lane_ask(const struct lane_options *o, const char *have_json, struct wire_hello *hello,
                     struct buf *held_json, struct fault *why)
{
    struct question q = {have_json, hello, held_json};
    struct lane *l = NULL;
    struct mailbox *box = mailbox_new();
    if (!box)
        return fault(why, ST_RETRY, "out of memory");
    enum status st = lane_start(o, 0, box, &l, why);
    if (st == ST_OK)
        st = ST_WAIT;
    while (st == ST_WAIT) {
        struct pollfd p = {.fd = mailbox_fd(box), .events = POLLIN};
        poll(&p, 1, -1);
        struct lane_event *e = (struct lane_event *)mailbox_take(box);
        if (e)
            st = heard(l, e, &q, why);
        lane_event_free(e);
    }
    lane_stop(&l);
    for (struct mail *m; (m = mailbox_take(box));)
        lane_event_free((struct lane_event *)m);
    mailbox_free(&box);
    return st;
}
