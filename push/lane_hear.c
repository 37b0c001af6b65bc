#include <stdlib.h>
#include <string.h>

#include "push/lane_drop.h"
#include "push/lane_talk_inner.h"
#include "push/lane_words.h"

#define PONGS_MAX ((size_t)8 << 20) /* unsent bytes beyond which no PING is answered */

#ifndef SKYFERRY_VERSION
#define SKYFERRY_VERSION "unknown"
#endif

static enum status no_event(struct fault *why)
{
    return fault(why, ST_RETRY, "out of memory");
}

static enum status post(struct talk *t, struct lane_event *e)
{
    mailbox_post(t->o.events, &e->mail);
    return ST_OK;
}

static enum status hear_welcome(struct talk *t, const struct wire_frame *f, struct fault *why)
{
    struct wire_hello h;
    enum status st = wire_hello_parse(f->payload, f->length, &h, why);
    if (st != ST_OK)
        return st;
    if (h.protocol != WIRE_VERSION)
        return fault(why, ST_REJECT,
                     "skyferry-pull (%s) speaks wire protocol %d, skyferry-push (%s) here speaks "
                     "%d: install the same release on both sides",
                     h.software, h.protocol, SKYFERRY_VERSION, WIRE_VERSION);
    struct lane_event *e = talk_event(t, LANE_UP, 0);
    if (!e)
        return no_event(why);
    e->hello = h;
    t->up = true;
    return post(t, e);
}

static enum status hear_opened(struct talk *t, const struct wire_frame *f, const struct talk_due *d,
                               struct fault *why)
{
    struct lane_event *e = talk_event(t, LANE_OPENED, d->bundle);
    if (!e)
        return no_event(why);
    enum status st = wire_opened_parse(f->payload, f->length, &e->have, &e->have_count, why);
    if (st == ST_OK)
        return post(t, e);
    lane_event_free(e);
    return st;
}

static enum status hear_receipt(struct talk *t, const struct wire_frame *f,
                                const struct talk_due *d, struct fault *why)
{
    struct lane_event *e = talk_event(t, LANE_RECEIPT, d->bundle);
    if (!e)
        return no_event(why);
    enum status st = receipt_parse(f->payload, f->length, &e->receipt, why);
    if (st == ST_OK)
        return post(t, e);
    lane_event_free(e);
    return st;
}

static enum status hear_got(struct talk *t, const struct wire_frame *f, const struct talk_due *d,
                            struct fault *why)
{
    if (f->length != 16 || wire_u64(f->payload) != (uint64_t)d->offset ||
        wire_u64(f->payload + 8) != (uint64_t)d->length)
        return fault(why, ST_RETRY, "the far end acknowledged bytes that were not sent next");
    struct lane_event *e = talk_event(t, LANE_GOT, d->bundle);
    if (!e)
        return no_event(why);
    e->offset = d->offset;
    e->length = d->length;
    atomic_fetch_sub(&t->o.load->in_flight, d->length);
    return post(t, e);
}

static enum status hear_held(struct talk *t, const struct wire_frame *f, const struct talk_due *d,
                             struct fault *why)
{
    struct lane_event *e = talk_event(t, LANE_HELD, d->bundle);
    if (e)
        e->text = strndup((const char *)f->payload, f->length);
    if (!e || !e->text) {
        lane_event_free(e);
        return no_event(why);
    }
    return post(t, e);
}

static enum lane_verb verb_of(enum wire_type asked)
{
    switch (asked) {
    case WIRE_OPEN:
        return LANE_OPEN;
    case WIRE_COMMIT:
        return LANE_COMMIT;
    case WIRE_HAVE:
        return LANE_HAVE;
    default:
        return LANE_CHUNK;
    }
}

/* A refusal that belongs to no request of ours is about the connection: the far end did not
 * understand a frame, and hangs up. */
static enum status hear_refused(struct talk *t, const struct wire_frame *f,
                                const struct talk_due *d, struct fault *why)
{
    struct fault theirs;
    wire_refused_parse(f->payload, f->length, &theirs);
    if (d->asked == 0 || d->asked == WIRE_HELLO || d->asked == WIRE_PING ||
        d->stream != f->stream) {
        *why = theirs;
        if (why->grade == ST_WAIT)
            why->grade = ST_RETRY;
        return why->grade;
    }
    struct lane_event *e = talk_event(t, LANE_REFUSED, d->bundle);
    if (!e)
        return no_event(why);
    e->why = theirs;
    e->asked = verb_of(d->asked);
    e->offset = d->offset;
    e->length = d->length;
    if (d->asked == WIRE_CHUNK)
        atomic_fetch_sub(&t->o.load->in_flight, d->length);
    return post(t, e);
}

/* Which answers a request may get; REFUSED is always one. */
static bool answers(enum wire_type asked, enum wire_type came)
{
    switch (asked) {
    case WIRE_HELLO:
        return came == WIRE_WELCOME;
    case WIRE_OPEN:
        return came == WIRE_OPENED || came == WIRE_RECEIPT;
    case WIRE_CHUNK:
        return came == WIRE_GOT;
    case WIRE_COMMIT:
        return came == WIRE_RECEIPT;
    case WIRE_HAVE:
        return came == WIRE_HELD;
    case WIRE_PING:
        return came == WIRE_PONG;
    default:
        return false;
    }
}

static enum status hear_answer(struct talk *t, const struct wire_frame *f, const struct talk_due *d,
                               struct fault *why)
{
    switch (f->type) {
    case WIRE_WELCOME:
        return hear_welcome(t, f, why);
    case WIRE_OPENED:
        return hear_opened(t, f, d, why);
    case WIRE_RECEIPT:
        return hear_receipt(t, f, d, why);
    case WIRE_GOT:
        return hear_got(t, f, d, why);
    case WIRE_HELD:
        return hear_held(t, f, d, why);
    case WIRE_REFUSED:
        return hear_refused(t, f, d, why);
    default:
        return ST_OK;
    }
}

static enum status hear(struct talk *t, const struct wire_frame *f, struct fault *why)
{
    /* A far end that asks and does not read must not fill our memory. */
    if (f->type == WIRE_PING && t->out.len + f->length > PONGS_MAX)
        return fault(why, ST_RETRY, "the far end sends PING after PING and reads no answer");
    if (f->type == WIRE_PING)
        return wire_put(&t->out, WIRE_PONG, f->stream, f->payload, f->length) ? ST_OK
                                                                             : no_event(why);
    struct talk_due d = {0};
    if (t->due_count > 0)
        d = t->due[t->due_first];
    if (f->type != WIRE_REFUSED && !answers(d.asked, f->type))
        return fault(why, t->up ? ST_RETRY : ST_REJECT, "the far end said %s where %s",
                     wire_type_name(f->type),
                     t->due_count ? "another answer was due" : "no answer was due");
    if (t->due_count > 0) {
        t->due_first = (t->due_first + 1) % t->due_cap;
        t->due_count--;
    }
    return hear_answer(t, f, &d, why);
}

enum status talk_input(struct talk *t, const unsigned char *bytes, size_t count, struct fault *why)
{
    char shown[128];
    size_t pos = 0;
    enum status st = ST_OK;
    for (size_t i = 0; i < count && t->first_len < sizeof t->first; i++)
        t->first[t->first_len++] = (char)bytes[i];
    if (t->drops)
        return drops_input(t, bytes, count, why);
    if (!buf_append(&t->in, bytes, count))
        return no_event(why);
    while (st == ST_OK) {
        struct wire_frame f;
        size_t used;
        st = wire_take(t->in.data + pos, t->in.len - pos, &f, &used, why);
        if (st == ST_REJECT && !t->up && talk_heard(t, shown))
            words_stranger(shown, NULL, why);
        if (st != ST_OK)
            break;
        st = hear(t, &f, why);
        pos += used;
    }
    buf_consume(&t->in, pos);
    if (st == ST_WAIT)
        return ST_OK;
    /* Behind a WELCOME sits a skyferry-pull: connecting again may help. */
    if (st == ST_REJECT && t->up)
        why->grade = st = ST_RETRY;
    return st;
}
