#include "push/lane_drop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "push/lane_drop_inner.h"

#define PIECE ((uint32_t)32 << 10) /* what every server takes in one WRITE */
#define FETCH_PIECE ((uint32_t)32 << 10)
#define LITTER_NS (15 * NS_PER_S)

/* ---- requests and their answers ---- */

static bool more_room(struct drops *d)
{
    size_t room = d->awaited_room ? 2 * d->awaited_room : 64;
    struct awaited *grown = realloc(d->awaited, room * sizeof *grown);
    if (!grown)
        return false;
    d->awaited = grown;
    d->awaited_room = room;
    return true;
}

uint32_t drops_await(struct talk *t, answer_fn *fn, int64_t bundle, int64_t value)
{
    struct drops *d = t->drops;
    if (d->awaited_count == d->awaited_room && !more_room(d))
        d->starved = true;
    else
        d->awaited[d->awaited_count++] = (struct awaited){d->last_id + 1, fn, bundle, value};
    return ++d->last_id;
}

void drops_note(struct talk *t, bool appended)
{
    t->drops->starved = t->drops->starved || !appended;
}

enum status drops_ignore(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                         struct fault *why)
{
    (void)t, (void)w, (void)why;
    (void)r;
    return ST_OK;
}

/* Answers come in any order, by far most often in that of the requests. */
static bool take_awaited(struct drops *d, uint32_t id, struct awaited *out)
{
    for (size_t i = 0; i < d->awaited_count; i++) {
        if (d->awaited[i].id != id)
            continue;
        *out = d->awaited[i];
        memmove(&d->awaited[i], &d->awaited[i + 1],
                (--d->awaited_count - i) * sizeof *d->awaited);
        return true;
    }
    return false;
}

void drops_path(const struct talk *t, const char *file, char out[DROP_PATH])
{
    snprintf(out, DROP_PATH, "%s/%s", t->drops->directory, file);
}

void drops_file(const struct talk *t, enum drop_kind kind, const struct wire_open *o,
                char out[DROP_PATH])
{
    char name[DROP_NAME];
    drop_name(kind, o->name, o->id, name); /* its length was checked at OPEN */
    drops_path(t, name, out);
}

void drops_remove(struct talk *t, enum drop_kind kind, const struct wire_open *o)
{
    char path[DROP_PATH];
    drops_file(t, kind, o, path);
    DROPS_ASK(t, drops_ignore, 0, 0, sftp_remove, path);
}

void drops_close_handle(struct talk *t, struct sftp_handle *h)
{
    if (h->len > 0)
        DROPS_ASK(t, drops_ignore, 0, 0, sftp_close, h);
    h->len = 0;
}

/* ---- small files ---- */

static struct fetch **fetch_at(struct drops *d, int64_t number)
{
    struct fetch **at = &d->fetches;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

static enum status end_fetch(struct talk *t, struct fetch **at, struct fault *why)
{
    struct fetch *f = *at;
    *at = f->next;
    drops_close_handle(t, &f->handle);
    enum status st = f->done(t, f, why);
    buf_free(&f->text);
    free(f);
    return st;
}

static enum status on_fetch_data(struct talk *t, const struct awaited *w,
                                 const struct sftp_reply *r, struct fault *why)
{
    struct fetch **at = fetch_at(t->drops, w->value), *f = *at;
    if (!f)
        return ST_OK;
    if (r->kind == SFTP_SAYS_DATA)
        drops_note(t, buf_append(&f->text, r->bytes, r->len));
    else if (r->code != SFTP_EOF)
        f->found = false;
    /* A file that has its name does not grow: less than asked for is its end. */
    if (r->kind != SFTP_SAYS_DATA || r->len != FETCH_PIECE || f->text.len >= WIRE_MAX)
        return end_fetch(t, at, why);
    DROPS_ASK(t, on_fetch_data, 0, f->number, sftp_read, &f->handle, (int64_t)f->text.len,
             FETCH_PIECE);
    return ST_OK;
}

static enum status on_fetch_open(struct talk *t, const struct awaited *w,
                                 const struct sftp_reply *r, struct fault *why)
{
    struct fetch **at = fetch_at(t->drops, w->value), *f = *at;
    if (!f)
        return ST_OK;
    f->found = sftp_handle_of(r, &f->handle);
    if (!f->found)
        return end_fetch(t, at, why);
    DROPS_ASK(t, on_fetch_data, 0, f->number, sftp_read, &f->handle, 0, FETCH_PIECE);
    return ST_OK;
}

void drops_fetch(struct talk *t, const char *file, int64_t bundle, fetched_fn *done)
{
    char path[DROP_PATH];
    struct drops *d = t->drops;
    struct fetch *f = calloc(1, sizeof *f);
    if (!f) {
        d->starved = true;
        return;
    }
    f->number = ++d->last_number;
    f->bundle = bundle;
    f->done = done;
    f->next = d->fetches;
    d->fetches = f;
    drops_path(t, file, path);
    DROPS_ASK(t, on_fetch_open, 0, f->number, sftp_open, path, SFTP_READ);
}

/* ---- events ---- */

struct lane_event *drops_event(struct talk *t, enum lane_event_kind kind, int64_t bundle)
{
    struct lane_event *e = talk_event(t, kind, bundle);
    t->drops->starved = t->drops->starved || !e;
    return e;
}

void drops_post(struct talk *t, struct lane_event *e)
{
    if (e)
        mailbox_post(t->o.events, &e->mail);
}

void drops_refuse(struct talk *t, int64_t bundle, const struct fault *why)
{
    struct lane_event *e = drops_event(t, LANE_REFUSED, bundle);
    if (e)
        e->why = *why;
    drops_post(t, e);
}

/* ---- jobs ---- */

static void not_open(struct talk *t, const struct lane_job *job)
{
    struct fault why;
    fault(&why, ST_RETRY, "bundle %lld was not opened on this lane", (long long)job->bundle);
    drops_refuse(t, job->bundle, &why);
}

void drops_job(struct talk *t, struct lane_job *job)
{
    struct stream *s = drops_stream(t, job->bundle);
    switch (job->verb) {
    case LANE_OPEN:
        drops_open_stream(t, job);
        break;
    case LANE_CHUNK:
        drops_chunk(t, job);
        break;
    case LANE_COMMIT:
        if (s)
            drops_commit(t, s, &job->commit);
        else
            not_open(t, job);
        break;
    case LANE_ABORT:
    case LANE_CLOSE:
        drops_end_stream(t, job->bundle, job->verb == LANE_ABORT);
        break;
    case LANE_HAVE:
        drops_have(t, &job->text);
        break;
    }
    free(job->text);
    job->text = NULL;
    drops_fill(t);
}

/* ---- what comes, and what time brings ---- */

static enum status hear(struct talk *t, const struct sftp_reply *r, struct fault *why)
{
    struct awaited w;
    if (t->drops->server.version == 0)
        return drops_greet(t, r, why);
    if (!take_awaited(t->drops, r->id, &w))
        return fault(why, ST_RETRY, "the SFTP server answers what was not asked");
    return w.fn(t, &w, r, why);
}

enum status drops_input(struct talk *t, const unsigned char *bytes, size_t count,
                        struct fault *why)
{
    size_t pos = 0;
    enum status st = ST_OK;
    if (!buf_append(&t->in, bytes, count))
        return fault(why, ST_RETRY, "out of memory");
    while (st == ST_OK) {
        struct sftp_reply r;
        size_t used;
        st = sftp_take(t->in.data + pos, t->in.len - pos, &r, &used, why);
        if (st != ST_OK)
            break;
        st = hear(t, &r, why);
        pos += used;
    }
    buf_consume(&t->in, pos);
    drops_fill(t);
    if (st == ST_REJECT && t->up)
        why->grade = st = ST_RETRY;
    if (t->drops->starved && (st == ST_OK || st == ST_WAIT))
        return fault(why, ST_RETRY, "out of memory");
    return st == ST_WAIT ? ST_OK : st;
}

/* Their receipts are in the journal by now. */
static int64_t sweep_litter(struct talk *t, int64_t now)
{
    struct drops *d = t->drops;
    while (d->litter && d->litter->due <= now) {
        char path[DROP_PATH];
        struct litter *l = d->litter;
        d->litter = l->next;
        drops_path(t, l->receipt, path);
        DROPS_ASK(t, drops_ignore, 0, 0, sftp_remove, path);
        free(l);
    }
    return d->litter ? d->litter->due : NEVER;
}

static void leave_litter(struct drops *d, const struct stream *s)
{
    struct litter *l = calloc(1, sizeof *l), **at = &d->litter;
    if (!l)
        return; /* skyferry-pull removes it some day */
    l->due = clock_mono() + LITTER_NS;
    drop_name(DROP_RECEIPT, s->open.name, s->open.id, l->receipt);
    while (*at)
        at = &(*at)->next;
    *at = l;
}

void drops_keep_receipt(struct talk *t, const struct wire_open *o)
{
    char name[DROP_NAME];
    struct litter **at = &t->drops->litter;
    drop_name(DROP_RECEIPT, o->name, o->id, name);
    while (*at) {
        struct litter *l = *at;
        bool same = strcmp(l->receipt, name) == 0;
        if (same)
            *at = l->next;
        else
            at = &l->next;
        if (same)
            free(l);
    }
}

void drops_end_stream(struct talk *t, int64_t bundle, bool abort)
{
    static const enum drop_kind all[] = {DROP_TAR, DROP_SIDE, DROP_DRAFT, DROP_MAP, DROP_PART};
    struct stream **at = &t->drops->streams;
    while (*at && (*at)->bundle != bundle)
        at = &(*at)->next;
    struct stream *s = *at;
    if (!s)
        return;
    *at = s->next;
    drops_close_handle(t, &s->part);
    drops_close_handle(t, &s->map);
    drops_close_handle(t, &s->side);
    for (size_t i = 0; abort && i < sizeof all / sizeof all[0]; i++)
        drops_remove(t, all[i], &s->open);
    if (!abort && s->has_receipt)
        leave_litter(t->drops, s);
    drops_free_stream(s);
}

int64_t drops_tick(struct talk *t, int64_t now)
{
    struct drops *d = t->drops;
    int64_t next = NEVER, at;
    bool waits = false;
    if (!t->up)
        return NEVER;
    for (struct stream *s = d->streams; s; s = s->next) {
        if (s->stage != STREAM_ANSWER)
            continue;
        waits = true;
        at = drops_answer_tick(t, s, now);
        next = at < next ? at : next;
    }
    at = drops_have_tick(t, now);
    next = at < next ? at : next;
    at = sweep_litter(t, now);
    next = at < next ? at : next;
    if (waits || d->nobody)
        drops_beat(t, now);
    if (d->nobody && !d->beat_asked && d->beat_look < next)
        next = d->beat_look;
    return next;
}

void drops_bye(struct talk *t)
{
    t->drops->ending = true;
}

void drops_ping(struct talk *t)
{
    DROPS_ASK(t, drops_ignore, 0, 0, sftp_stat, t->drops->directory);
}

size_t drops_due(const struct talk *t)
{
    /* INIT has no number. */
    return t->drops->awaited_count + (t->drops->server.version == 0);
}

/* ---- making and freeing ---- */

bool drops_new(struct talk *t, const char *directory)
{
    struct drops *d = calloc(1, sizeof *d);
    if (!d)
        return false;
    t->drops = d;
    d->piece = PIECE;
    snprintf(d->directory, sizeof d->directory, "%s", directory[0] ? directory : ".");
    return sftp_init(&t->out);
}

void drops_free(struct drops **out)
{
    struct drops *d = *out;
    if (!d)
        return;
    for (struct fetch *f; (f = d->fetches);) {
        d->fetches = f->next;
        buf_free(&f->text);
        free(f);
    }
    for (struct stream *s; (s = d->streams);) {
        d->streams = s->next;
        drops_free_stream(s);
    }
    for (struct chunk *c; (c = d->chunks);) {
        d->chunks = c->next;
        free(c);
    }
    for (struct litter *l; (l = d->litter);) {
        d->litter = l->next;
        free(l);
    }
    while (d->questions)
        drops_free_question(&d->questions);
    buf_free(&d->far_text);
    free(d->awaited);
    free(d->block);
    free(d);
    *out = NULL;
}
