/* HAVE over SFTP: the question is a file, written hidden and then named, and so is the answer.
 * Without a skyferry-pull that is alive there is nobody to ask, and that is said: what the far
 * end holds is not guessed from file names. Questions are asked one after the other, so that the
 * answers come in their order: an event does not say which one it answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/random.h"
#include "push/lane_drop_inner.h"

#define LOOK_NS (200 * NS_PER_MS)
#define HELD "{\"held\"" /* an answer; anything else is a refusal */
#define PATIENCE (60 * NS_PER_S)

void drops_free_question(struct question **q)
{
    struct question *gone = *q;
    if (!gone)
        return;
    *q = gone->next;
    free(gone->text);
    free(gone);
}

/* The one that is being asked, if it is this one. */
static struct question *asking(const struct talk *t, int64_t number)
{
    struct question *q = t->drops->questions;
    return q && q->number == number ? q : NULL;
}

static void begin(struct talk *t);

/* The first question has its answer, the next one's turn has come. */
static void end_question(struct talk *t)
{
    drops_free_question(&t->drops->questions);
    begin(t);
}

static void refuse(struct talk *t, const char *what)
{
    struct fault why;
    fault(&why, ST_RETRY, "the question what is held cannot be asked over the drop folder '%.200s': "
          "%s", t->drops->directory, what);
    drops_refuse(t, 0, &why);
    end_question(t);
}

static void ask_path(const struct talk *t, enum drop_kind kind, bool hidden, char out[DROP_PATH])
{
    char name[DROP_NAME], file[DROP_NAME + 1];
    drop_name(kind, t->drops->questions->name, "", name);
    snprintf(file, sizeof file, "%s%s", hidden ? "." : "", name);
    drops_path(t, file, out);
}

static enum status on_asked(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                            struct fault *why)
{
    struct question *q = asking(t, w->value);
    (void)why;
    if (!q)
        return ST_OK;
    if (r->kind != SFTP_SAYS_STATUS || r->code != SFTP_OK) {
        refuse(t, "the file cannot be renamed");
        return ST_OK;
    }
    q->asked = true;
    q->since = q->look_at = clock_mono();
    return ST_OK;
}

static enum status on_written(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                              struct fault *why)
{
    struct question *q = asking(t, w->value);
    char from[DROP_PATH], to[DROP_PATH];
    (void)why;
    if (!q)
        return ST_OK;
    if (r->kind != SFTP_SAYS_STATUS || r->code != SFTP_OK) {
        refuse(t, "the file cannot be written");
        return ST_OK;
    }
    if (--q->pending > 0)
        return ST_OK;
    ask_path(t, DROP_ASK, true, from);
    ask_path(t, DROP_ASK, false, to);
    DROPS_ASK(t, on_asked, 0, q->number, sftp_rename, from, to, t->drops->server.posix_rename);
    return ST_OK;
}

static enum status on_made(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                           struct fault *why)
{
    struct question *q = asking(t, w->value);
    (void)why;
    if (!q)
        return ST_OK;
    if (!sftp_handle_of(r, &q->handle)) {
        refuse(t, "the file cannot be made");
        return ST_OK;
    }
    size_t len = strlen(q->text);
    for (size_t at = 0; at < len; at += t->drops->piece) {
        size_t piece = len - at < t->drops->piece ? len - at : t->drops->piece;
        DROPS_ASK(t, on_written, 0, q->number, sftp_write, &q->handle, (int64_t)at, q->text + at,
                  (uint32_t)piece);
        q->pending++;
    }
    q->pending++;
    DROPS_ASK(t, on_written, 0, q->number, sftp_close, &q->handle);
    q->handle.len = 0;
    return ST_OK;
}

/* Asks the first question, if there is one. */
static void begin(struct talk *t)
{
    char path[DROP_PATH];
    struct question *q = t->drops->questions;
    if (!q)
        return;
    if (!drops_is_alive(t->drops, clock_mono())) {
        refuse(t, "skyferry-pull does not run there to answer it; start it (with [store] drops "
                  "set)");
        return;
    }
    ask_path(t, DROP_ASK, true, path);
    DROPS_ASK(t, on_made, 0, q->number, sftp_open, path, SFTP_WRITE | SFTP_CREATE | SFTP_TRUNCATE);
}

void drops_have(struct talk *t, char **text)
{
    struct drops *d = t->drops;
    struct question *q = calloc(1, sizeof *q), **at = &d->questions;
    drops_note(t, q != NULL);
    if (!q)
        return; /* the lane ends, and with it the question */
    snprintf(q->name, sizeof q->name, "%08x", random_number());
    q->number = ++d->last_number;
    q->text = *text;
    *text = NULL;
    while (*at)
        at = &(*at)->next;
    *at = q;
    if (q == d->questions)
        begin(t);
}

static void post_held(struct talk *t, const struct fetch *f)
{
    struct lane_event *e = drops_event(t, LANE_HELD, 0);
    if (e)
        e->text = strndup((const char *)f->text.data, f->text.len);
    drops_note(t, e && e->text);
    if (e && e->text)
        drops_post(t, e);
    else
        lane_event_free(e);
}

static enum status on_answer(struct talk *t, const struct fetch *f, struct fault *why)
{
    struct question *q = asking(t, f->bundle);
    char path[DROP_PATH];
    struct fault theirs;
    (void)why;
    if (!q)
        return ST_OK;
    q->pending = 0;
    q->look_at = clock_mono() + LOOK_NS;
    if (!f->found)
        return ST_OK;
    ask_path(t, DROP_ANSWER, false, path);
    DROPS_ASK(t, drops_ignore, 0, 0, sftp_remove, path);
    if (f->text.len > strlen(HELD) && memcmp(f->text.data, HELD, strlen(HELD)) == 0) {
        post_held(t, f);
    } else {
        wire_refused_parse(f->text.data, f->text.len, &theirs);
        drops_refuse(t, 0, &theirs);
    }
    end_question(t);
    return ST_OK;
}

int64_t drops_have_tick(struct talk *t, int64_t now)
{
    struct question *q = t->drops->questions;
    char name[DROP_NAME], path[DROP_PATH];
    if (!q || !q->asked || q->pending > 0)
        return NEVER;
    if (now - q->since > PATIENCE) {
        ask_path(t, DROP_ASK, false, path);
        DROPS_ASK(t, drops_ignore, 0, 0, sftp_remove, path);
        refuse(t, "skyferry-pull has not answered in a minute: does it run there?");
        return NEVER;
    }
    if (now < q->look_at)
        return q->look_at;
    q->pending = 1;
    drop_name(DROP_ANSWER, q->name, "", name);
    drops_fetch(t, name, q->number, on_answer);
    return NEVER;
}
