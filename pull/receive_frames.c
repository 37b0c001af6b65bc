#include "pull/receive_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/decoding.h"

#ifndef SKYFERRY_VERSION
#define SKYFERRY_VERSION "unknown"
#endif

#define COMMIT_WAIT_NS (2 * NS_PER_S) /* for the last chunks, over other lanes */

static struct stream *find_stream(const struct session *s, uint16_t number)
{
    for (size_t i = 0; i < s->stream_count; i++)
        if (s->streams[i].number == number)
            return &s->streams[i];
    return NULL;
}

static void release_stream(struct stream *st)
{
    part_close(&st->part);
    free(st->held);
    st->held = NULL;
}

static void drop_stream(struct session *s, uint16_t number)
{
    struct stream *st = find_stream(s, number);
    if (!st)
        return;
    release_stream(st);
    *st = s->streams[--s->stream_count];
}

static struct stream *add_stream(struct session *s, uint16_t number)
{
    drop_stream(s, number);
    if (s->stream_count == s->stream_cap) {
        size_t cap = s->stream_cap ? 2 * s->stream_cap : 8;
        struct stream *more = realloc(s->streams, cap * sizeof *more);
        if (!more)
            return NULL;
        s->streams = more;
        s->stream_cap = cap;
    }
    struct stream *st = &s->streams[s->stream_count++];
    *st = (struct stream){.number = number};
    return st;
}

void session_end(struct session *s, int code)
{
    s->ending = true;
    s->code = code;
}

void session_out_of_memory(struct session *s)
{
    log_error(AT(.stage = "receive"), "out of memory: this lane ends, push will connect again");
    session_end(s, EXIT_FAILED);
}

static void answer(struct session *s, enum wire_type type, uint16_t stream, const struct buf *body,
                   bool made)
{
    if (!made || !wire_put(&s->out, type, stream, body->data, (uint32_t)body->len))
        session_out_of_memory(s);
}

static void tell_refused(struct session *s, uint16_t stream, const char *about,
                         const struct fault *why)
{
    struct fault told = *why;
    struct buf body = {0};
    /* What stops us need not stop push. */
    if (told.grade == ST_FATAL || told.grade == ST_OK)
        told.grade = ST_RETRY;
    bool made = wire_refused_text(&told, about, &body);
    answer(s, WIRE_REFUSED, stream, &body, made);
    buf_free(&body);
}

void session_refuse(struct session *s, uint16_t stream, const char *about, const struct fault *why)
{
    const struct stream *st = find_stream(s, stream);
    log_warn(AT(.stage = "receive", .exposure = st && st->open.name[0] ? st->open.name : NULL),
             "refused %s (%s): %s", about, status_name(why->grade), why->text);
    tell_refused(s, stream, about, why);
}

static void answer_receipt(struct session *s, const struct stream *st)
{
    struct buf body = {0};
    bool made = receipt_text(st->held, &body);
    answer(s, WIRE_RECEIPT, st->number, &body, made);
    buf_free(&body);
}

static void answer_got(struct session *s, const struct wire_frame *f)
{
    unsigned char body[16];
    memcpy(body, f->payload, 8);
    wire_put_u64(body + 8, f->length - WIRE_CHUNK_HEAD);
    if (!wire_put(&s->out, WIRE_GOT, f->stream, body, sizeof body))
        session_out_of_memory(s);
}

static bool become_held(struct stream *st, const struct receipt *r)
{
    struct receipt *copy = malloc(sizeof *copy);
    if (!copy)
        return false;
    *copy = *r;
    part_close(&st->part);
    free(st->held);
    st->held = copy;
    st->refused.grade = ST_OK;
    return true;
}

/* The part was committed or given up under us by another lane. What is stored needs no more
 * bytes; all else has to be opened again. */
static void settle_gone(struct session *s, struct stream *st)
{
    struct receipt r;
    bool held = false;
    if (part_held(s->store, &st->open, &r, &held, NULL) == ST_OK && held && become_held(st, &r))
        return;
    part_close(&st->part);
    fault(&st->refused, ST_RETRY, "'%s' was given up by another lane: open it again",
          st->open.name);
}

/* A bundle that another lane has stored, and whose CLOSE never came, would keep its files
 * open for the length of this connection. */
static void settle_all_gone(struct session *s)
{
    for (size_t i = 0; i < s->stream_count; i++)
        if (s->streams[i].part && part_gone(s->streams[i].part))
            settle_gone(s, &s->streams[i]);
}

static void on_hello(struct session *s, const struct wire_frame *f)
{
    struct wire_hello hello, ours = {.protocol = WIRE_VERSION, .exact = true};
    struct fault why;
    struct buf body = {0};
    char incoming[4096];
    enum status st = wire_hello_parse(f->payload, f->length, &hello, &why);
    if (st == ST_OK && hello.protocol != WIRE_VERSION)
        st = fault(&why, ST_REJECT,
                   "skyferry-push (%s) speaks wire protocol %d, skyferry-pull (%s) here speaks "
                   "%d: install the same release on both sides",
                   hello.software, hello.protocol, SKYFERRY_VERSION, WIRE_VERSION);
    if (st == ST_OK)
        st = fs_join(incoming, sizeof incoming, s->store->root, "incoming", &why);
    /* A root that is gone may be a file system that is not mounted: making it anew below the
     * mount point would give receipts for what vanishes when it is back. */
    if (st == ST_OK && access(s->store->root, F_OK) != 0)
        st = fault(&why, ST_RETRY, "the store '%.300s' is not there: is its file system mounted?",
                   s->store->root);
    if (st == ST_OK && (st = fs_mkdirs(incoming, &why)) != ST_OK) {
        fault_within(&why, "the store cannot be used: ");
        why.grade = ST_RETRY;
    }
    if (st != ST_OK) {
        session_refuse(s, 0, "hello", &why);
        session_end(s, EXIT_FAILED);
        return;
    }
    s->greeted = true;
    log_info(AT(.stage = "receive"), "lane of %s, %s", hello.agent, hello.software);
    int64_t room = fs_free_bytes(s->store->root);
    ours.free_bytes = room > 0 ? room : 0;
    snprintf(ours.software, sizeof ours.software, "skyferry %s", SKYFERRY_VERSION);
    snprintf(ours.agent, sizeof ours.agent, "%s", s->store_name);
    if (s->store->state)
        decoding_read(s->store->state, &ours.decoding);
    bool made = wire_hello_text(&ours, &body);
    answer(s, WIRE_WELCOME, 0, &body, made);
    buf_free(&body);
}

static void answer_opened(struct session *s, struct stream *st)
{
    struct extent *have = NULL;
    size_t count;
    struct buf body = {0};
    if (part_extents(st->part, &have, &count, &st->refused) != ST_OK) {
        part_close(&st->part);
        session_refuse(s, st->number, "open", &st->refused);
        return;
    }
    st->refused.grade = ST_OK;
    bool made = wire_opened_text(have, count, &body);
    answer(s, WIRE_OPENED, st->number, &body, made);
    buf_free(&body);
    free(have);
}

static void on_open(struct session *s, const struct wire_frame *f)
{
    struct receipt r;
    bool held = false;
    settle_all_gone(s);
    struct stream *st = add_stream(s, f->stream);
    if (!st) {
        session_out_of_memory(s);
        return;
    }
    enum status rc = wire_open_parse(f->payload, f->length, &st->open, &st->refused);
    if (rc == ST_OK)
        rc = part_open(s->store, &st->open, &st->part, &r, &held, &st->refused);
    if (rc != ST_OK)
        session_refuse(s, f->stream, "open", &st->refused);
    else if (!held)
        answer_opened(s, st);
    else if (become_held(st, &r))
        answer_receipt(s, st);
    else
        session_out_of_memory(s);
}

/* The stream of a frame, or NULL when the frame was refused: unknown stream, or a bundle
 * whose OPEN was refused (every later frame then gets the same reason). */
static struct stream *stream_of(struct session *s, const struct wire_frame *f, const char *about)
{
    struct fault why;
    struct stream *st = find_stream(s, f->stream);
    if (st && st->refused.grade == ST_OK)
        return st;
    if (st)
        tell_refused(s, f->stream, about, &st->refused);
    else {
        fault(&why, ST_RETRY, "stream %u is not open on this lane", f->stream);
        session_refuse(s, f->stream, about, &why);
    }
    return NULL;
}

static enum status write_chunk(struct session *s, struct stream *st, const struct wire_frame *f,
                               struct fault *why)
{
    if (f->length <= WIRE_CHUNK_HEAD)
        return fault(why, ST_REJECT, "a chunk without bytes");
    if (st->held)
        return ST_OK;
    uint64_t offset = wire_u64(f->payload);
    enum status rc = part_write(st->part, offset > INT64_MAX ? -1 : (int64_t)offset,
                                f->payload + WIRE_CHUNK_HEAD, f->length - WIRE_CHUNK_HEAD, why);
    if (rc != ST_REJECT || !part_gone(st->part))
        return rc;
    settle_gone(s, st);
    *why = st->refused;
    return st->held ? ST_OK : why->grade;
}

static void on_chunk(struct session *s, const struct wire_frame *f)
{
    struct fault why;
    struct stream *st = stream_of(s, f, "chunk");
    if (!st)
        return;
    if (write_chunk(s, st, f, &why) == ST_OK)
        answer_got(s, f);
    else
        session_refuse(s, f->stream, "chunk", &why);
}

static void on_commit(struct session *s, const struct wire_frame *f)
{
    struct wire_commit c;
    struct receipt r;
    struct fault why;
    struct stream *st = stream_of(s, f, "commit");
    if (!st)
        return;
    if (st->held) {
        answer_receipt(s, st);
        return;
    }
    enum status rc = wire_commit_parse(f->payload, f->length, &c, &why);
    if (rc == ST_OK)
        part_await(st->part, c.size, clock_mono() + COMMIT_WAIT_NS, s->signal_fd);
    if (rc == ST_OK)
        rc = part_commit(st->part, &c, &r, &why);
    if (rc != ST_OK) {
        session_refuse(s, f->stream, "commit", &why);
        return;
    }
    log_info(AT(.stage = "receive", .exposure = r.name), "stored %s, %lld bytes in %.1f s",
             r.stored, (long long)r.size, (double)(r.stored_ns - r.first_ns) / NS_PER_S);
    if (become_held(st, &r))
        answer_receipt(s, st);
    else
        session_out_of_memory(s);
}

static void on_abort(struct session *s, const struct wire_frame *f)
{
    struct fault why;
    struct stream *st = find_stream(s, f->stream);
    if (st && st->part && part_abort(st->part, &why) != ST_OK)
        log_warn(AT(.stage = "receive", .exposure = st->open.name), "not forgotten: %s", why.text);
    drop_stream(s, f->stream);
}

static void on_close(struct session *s, const struct wire_frame *f)
{
    drop_stream(s, f->stream);
}

static void on_have(struct session *s, const struct wire_frame *f)
{
    struct wire_have *asked = NULL;
    bool *held = NULL;
    size_t count = 0;
    struct fault why;
    struct buf body = {0};
    enum status st = wire_have_parse(f->payload, f->length, &asked, &count, &why);
    if (st == ST_OK && !(held = calloc(count + 1, sizeof *held)))
        st = fault(&why, ST_RETRY, "out of memory");
    for (size_t i = 0; st == ST_OK && i < count; i++)
        st = part_holds(s->store, &asked[i], &held[i], &why);
    if (st != ST_OK)
        session_refuse(s, f->stream, "have", &why);
    else {
        bool made = wire_held_text(held, count, &body);
        answer(s, WIRE_HELD, f->stream, &body, made);
    }
    buf_free(&body);
    free(held);
    free(asked);
}

static void on_ping(struct session *s, const struct wire_frame *f)
{
    if (!wire_put(&s->out, WIRE_PONG, f->stream, f->payload, f->length))
        session_out_of_memory(s);
}

static void on_bye(struct session *s, const struct wire_frame *f)
{
    (void)f;
    session_end(s, EXIT_DONE);
}

typedef void frame_handler(struct session *s, const struct wire_frame *f);

static frame_handler *const handlers[] = {
    [WIRE_HELLO] = on_hello,   [WIRE_OPEN] = on_open, [WIRE_CHUNK] = on_chunk,
    [WIRE_COMMIT] = on_commit, [WIRE_ABORT] = on_abort, [WIRE_HAVE] = on_have,
    [WIRE_PING] = on_ping,     [WIRE_BYE] = on_bye, [WIRE_CLOSE] = on_close,
};

void session_handle(struct session *s, const struct wire_frame *f)
{
    struct fault why;
    frame_handler *fn = handlers[f->type];
    if (fn && (s->greeted || f->type == WIRE_HELLO || f->type == WIRE_BYE)) {
        fn(s, f);
        return;
    }
    fault(&why, ST_REJECT, fn ? "the first frame must be HELLO, not %s"
                              : "%s is a word of the far end's, not of push's",
          wire_type_name(f->type));
    session_refuse(s, 0, "frame", &why);
    session_end(s, EXIT_FAILED);
}

void session_release(struct session *s)
{
    for (size_t i = 0; i < s->stream_count; i++)
        release_stream(&s->streams[i]);
    free(s->streams);
    s->streams = NULL;
    s->stream_count = s->stream_cap = 0;
}
