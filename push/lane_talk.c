#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fsutil.h"
#include "push/lane_drop.h"
#include "push/lane_talk_inner.h"

#ifndef SKYFERRY_VERSION
#define SKYFERRY_VERSION "unknown"
#endif

static void say_hello(struct talk *t)
{
    struct wire_hello h = {.protocol = WIRE_VERSION};
    struct buf body = {0};
    snprintf(h.software, sizeof h.software, "skyferry %s", SKYFERRY_VERSION);
    snprintf(h.agent, sizeof h.agent, "%s", t->o.agent);
    if (wire_hello_text(&h, &body))
        wire_put(&t->out, WIRE_HELLO, 0, body.data, (uint32_t)body.len);
    buf_free(&body);
}

static bool expect(struct talk *t, const struct talk_due *d)
{
    if (t->due_count == t->due_cap) {
        size_t cap = t->due_cap ? 2 * t->due_cap : 64;
        struct talk_due *ring = malloc(cap * sizeof *ring);
        if (!ring)
            return false;
        for (size_t i = 0; i < t->due_count; i++)
            ring[i] = t->due[(t->due_first + i) % t->due_cap];
        free(t->due);
        t->due = ring;
        t->due_first = 0;
        t->due_cap = cap;
    }
    t->due[(t->due_first + t->due_count++) % t->due_cap] = *d;
    return true;
}

struct talk *talk_new(const struct talk_options *o)
{
    struct talk *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->o = *o;
    if (o->directory) {
        if (!drops_new(t, o->directory))
            talk_free(&t);
        return t;
    }
    say_hello(t);
    if (t->out.len == 0 || !expect(t, &(struct talk_due){.asked = WIRE_HELLO}))
        talk_free(&t);
    return t;
}

void talk_free(struct talk **t)
{
    if (!*t)
        return;
    drops_free(&(*t)->drops);
    free((*t)->due);
    free((*t)->streams);
    buf_free(&(*t)->in);
    buf_free(&(*t)->out);
    free(*t);
    *t = NULL;
}

struct lane_event *talk_event(const struct talk *t, enum lane_event_kind kind, int64_t bundle)
{
    struct lane_event *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->mail.kind = kind;
    e->lane = t->o.number;
    e->bundle = bundle;
    e->sent_bytes = t->sent_bytes;
    return e;
}

static bool post_plain(const struct talk *t, enum lane_event_kind kind)
{
    struct lane_event *e = talk_event(t, kind, 0);
    if (e)
        mailbox_post(t->o.events, &e->mail);
    return e != NULL;
}

size_t talk_output(const struct talk *t, const unsigned char **bytes)
{
    *bytes = t->out.len > t->out_sent ? t->out.data + t->out_sent : NULL;
    return t->out.len - t->out_sent;
}

void talk_sent(struct talk *t, size_t count)
{
    t->out_sent += count;
    if (t->out_sent < t->out.len)
        return;
    t->sent_bytes += t->out_payload;
    t->out.len = t->out_sent = 0;
    if (t->out_payload > 0) {
        atomic_fetch_sub(&t->o.load->unsent, t->out_payload);
        post_plain(t, LANE_ROOM);
    }
    t->out_payload = 0;
    if (t->drops)
        drops_fill(t);
}

int64_t talk_payload(const struct talk *t)
{
    return t->out_payload;
}

bool talk_up(const struct talk *t)
{
    return t->up;
}

bool talk_heard(const struct talk *t, char shown[128])
{
    size_t len = t->first_len;
    while (len > 0 && isspace((unsigned char)t->first[len - 1]))
        len--;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)t->first[i];
        shown[i] = isprint(c) ? (char)c : isspace(c) ? ' ' : '.';
    }
    shown[len] = '\0';
    return t->first_len > 0;
}

size_t talk_due(const struct talk *t)
{
    return t->drops ? drops_due(t) : t->due_count;
}

int64_t talk_tick(struct talk *t, int64_t now)
{
    return t->drops ? drops_tick(t, now) : INT64_MAX;
}

void lane_event_free(struct lane_event *e)
{
    if (!e)
        return;
    free(e->have);
    free(e->text);
    free(e);
}

bool talk_post_line(struct talk *t, enum lane_event_kind kind)
{
    return post_plain(t, kind);
}

bool talk_post_down(struct talk *t, bool reached, const struct fault *why)
{
    struct lane_event *e = talk_event(t, LANE_DOWN, 0);
    if (!e)
        return false;
    e->why = *why;
    e->reached = reached;
    mailbox_post(t->o.events, &e->mail);
    return true;
}

/* A job that never went out. Losing the event for lack of memory only costs a repeat: the
 * main thread gives the bundle to another lane when this one goes down. */
static void refuse_job(struct talk *t, const struct lane_job *job, const struct fault *why)
{
    struct lane_event *e = talk_event(t, LANE_REFUSED, job->bundle);
    if (job->verb == LANE_CHUNK) {
        atomic_fetch_sub(&t->o.load->in_flight, job->length);
        atomic_fetch_sub(&t->o.load->unsent, job->length);
    }
    if (!e)
        return;
    e->why = *why;
    e->asked = job->verb;
    if (job->verb == LANE_CHUNK) {
        e->offset = job->offset;
        e->length = job->length;
    }
    mailbox_post(t->o.events, &e->mail);
}

static struct talk_stream *stream_of(const struct talk *t, int64_t bundle)
{
    for (size_t i = 0; i < t->stream_count; i++)
        if (t->streams[i].bundle == bundle)
            return &t->streams[i];
    return NULL;
}

static bool number_taken(const struct talk *t, uint16_t number)
{
    for (size_t i = 0; i < t->stream_count; i++)
        if (t->streams[i].number == number)
            return true;
    return number == 0;
}

/* A number for a bundle; the same bundle opened again keeps its own. */
static struct talk_stream *give_stream(struct talk *t, int64_t bundle)
{
    struct talk_stream *s = stream_of(t, bundle);
    if (s)
        return s;
    if (t->stream_count == UINT16_MAX)
        return NULL;
    if (t->stream_count == t->stream_cap) {
        size_t cap = t->stream_cap ? 2 * t->stream_cap : 16;
        struct talk_stream *more = realloc(t->streams, cap * sizeof *more);
        if (!more)
            return NULL;
        t->streams = more;
        t->stream_cap = cap;
    }
    do
        t->last_stream++;
    while (number_taken(t, t->last_stream));
    s = &t->streams[t->stream_count++];
    *s = (struct talk_stream){t->last_stream, bundle};
    return s;
}

/* A frame with a JSON body, and the answer that it is owed. */
static enum status put_asked(struct talk *t, const struct lane_job *job, enum wire_type type,
                             uint16_t stream, const struct buf *body, struct fault *why)
{
    if (body->len > WIRE_MAX)
        return fault(why, ST_REJECT, "a request of %zu bytes is longer than a frame may be: "
                     "ask about fewer exposures at once", body->len);
    if (!wire_put(&t->out, type, stream, body->data, (uint32_t)body->len) ||
        !expect(t, &(struct talk_due){.asked = type, .stream = stream, .bundle = job->bundle}))
        return fault(why, ST_RETRY, "out of memory");
    return ST_OK;
}

static enum status put_open(struct talk *t, struct lane_job *job, struct fault *why)
{
    struct buf body = {0};
    struct talk_stream *s = give_stream(t, job->bundle);
    enum status st = ST_OK;
    if (!s || !wire_open_text(&job->open, &body))
        st = fault(why, ST_RETRY, "out of memory, or too many bundles open on one lane");
    if (st == ST_OK)
        st = put_asked(t, job, WIRE_OPEN, s->number, &body, why);
    buf_free(&body);
    return st;
}

static enum status put_commit(struct talk *t, struct lane_job *job, uint16_t stream,
                              struct fault *why)
{
    struct buf body = {0};
    enum status st = ST_OK;
    if (!wire_commit_text(&job->commit, &body))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = put_asked(t, job, WIRE_COMMIT, stream, &body, why);
    buf_free(&body);
    return st;
}

static enum status put_chunk(struct talk *t, struct lane_job *job, uint16_t stream,
                             struct fault *why)
{
    struct talk_due d = {WIRE_CHUNK, stream, job->bundle, job->offset, job->length};
    if (job->length == 0 || job->length > WIRE_MAX - WIRE_CHUNK_HEAD || job->offset < 0)
        return fault(why, ST_REJECT, "a chunk of %u bytes at %lld cannot be sent", job->length,
                     (long long)job->offset);
    if (!wire_put_chunk_head(&t->out, stream, (uint64_t)job->offset, job->length) ||
        !buf_reserve(&t->out, job->length))
        return fault(why, ST_RETRY, "out of memory");
    int rc = fs_pread_all(job->fd, t->out.data + t->out.len, job->length, job->offset);
    if (rc < 0)
        return fault_errno(why, ST_RETRY, "cannot read the spool file at %lld",
                           (long long)job->offset);
    if (rc > 0)
        return fault(why, ST_RETRY, "the spool file ends before byte %lld",
                     (long long)job->offset + job->length);
    t->out.len += job->length;
    t->out_payload = job->length;
    return expect(t, &d) ? ST_OK : fault(why, ST_RETRY, "out of memory");
}

/* ABORT and CLOSE: no answer is due, and a bundle that was never opened here is no matter. */
static void put_end(struct talk *t, enum wire_type type, int64_t bundle)
{
    struct talk_stream *s = stream_of(t, bundle);
    if (!s)
        return;
    wire_put(&t->out, type, s->number, NULL, 0);
    *s = t->streams[--t->stream_count];
}

static enum status put_have(struct talk *t, struct lane_job *job, struct fault *why)
{
    struct buf body = {.data = (unsigned char *)job->text, .len = strlen(job->text)};
    return put_asked(t, job, WIRE_HAVE, 0, &body, why);
}

static enum status put_job(struct talk *t, struct lane_job *job, struct fault *why)
{
    const struct talk_stream *s = stream_of(t, job->bundle);
    switch (job->verb) {
    case LANE_OPEN:
        return put_open(t, job, why);
    case LANE_HAVE:
        return put_have(t, job, why);
    case LANE_ABORT:
        put_end(t, WIRE_ABORT, job->bundle);
        return ST_OK;
    case LANE_CLOSE:
        put_end(t, WIRE_CLOSE, job->bundle);
        return ST_OK;
    case LANE_CHUNK:
        if (s)
            return put_chunk(t, job, s->number, why);
        break;
    case LANE_COMMIT:
        if (s)
            return put_commit(t, job, s->number, why);
        break;
    }
    return fault(why, ST_RETRY, "bundle %lld was not opened on this lane", (long long)job->bundle);
}

void talk_job(struct talk *t, struct lane_job *job)
{
    struct fault why;
    if (t->drops) {
        drops_job(t, job);
        return;
    }
    if (put_job(t, job, &why) != ST_OK) {
        t->out.len = t->out_sent = 0;
        t->out_payload = 0;
        refuse_job(t, job, &why);
    }
    free(job->text);
    job->text = NULL;
}

void talk_ping(struct talk *t)
{
    if (t->drops)
        drops_ping(t);
    else if (wire_put(&t->out, WIRE_PING, 0, NULL, 0) &&
             !expect(t, &(struct talk_due){.asked = WIRE_PING}))
        t->out.len -= WIRE_HEAD;
}

void talk_bye(struct talk *t)
{
    if (t->drops)
        drops_bye(t);
    else
        wire_put(&t->out, WIRE_BYE, 0, NULL, 0);
}
