/* HAVE over SFTP: the question is a file, written hidden and then named, and so is the answer.
 * Without a skyferry-pull that is alive there is nobody to ask, and that is said: what the far
 * end holds is not guessed from file names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "push/lane_drop_inner.h"

#define LOOK_NS (200 * NS_PER_MS)
#define HELD "{\"held\"" /* an answer; anything else is a refusal */
#define PATIENCE (60 * NS_PER_S)

void drops_free_question(struct question **q)
{
    if (*q)
        free((*q)->text);
    free(*q);
    *q = NULL;
}

static void refuse(struct talk *t, const char *what)
{
    struct fault why;
    fault(&why, ST_RETRY, "the question what is held cannot be asked over the drop folder '%.200s': "
          "%s", t->drops->directory, what);
    drops_free_question(&t->drops->question);
    drops_refuse(t, 0, &why);
}

static void ask_path(const struct talk *t, enum drop_kind kind, bool hidden, char out[DROP_PATH])
{
    char name[DROP_NAME], file[DROP_NAME + 1];
    drop_name(kind, t->drops->question->name, "", name);
    snprintf(file, sizeof file, "%s%s", hidden ? "." : "", name);
    drops_path(t, file, out);
}

static enum status on_asked(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                            struct fault *why)
{
    struct question *q = t->drops->question;
    (void)w, (void)why;
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
    struct question *q = t->drops->question;
    char from[DROP_PATH], to[DROP_PATH];
    (void)w, (void)why;
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
    DROPS_ASK(t, on_asked, 0, 0, sftp_rename, from, to, t->drops->server.posix_rename);
    return ST_OK;
}

static enum status on_made(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                           struct fault *why)
{
    struct question *q = t->drops->question;
    (void)w, (void)why;
    if (!q)
        return ST_OK;
    if (!sftp_handle_of(r, &q->handle)) {
        refuse(t, "the file cannot be made");
        return ST_OK;
    }
    size_t len = strlen(q->text);
    for (size_t at = 0; at < len; at += t->drops->piece) {
        size_t piece = len - at < t->drops->piece ? len - at : t->drops->piece;
        DROPS_ASK(t, on_written, 0, 0, sftp_write, &q->handle, (int64_t)at, q->text + at,
                  (uint32_t)piece);
        q->pending++;
    }
    q->pending++;
    DROPS_ASK(t, on_written, 0, 0, sftp_close, &q->handle);
    q->handle.len = 0;
    return ST_OK;
}

void drops_have(struct talk *t, char **text)
{
    unsigned any = 0;
    char path[DROP_PATH];
    struct drops *d = t->drops;
    struct question *q = d->question ? NULL : calloc(1, sizeof *q);
    if (!q) {
        refuse(t, d->question ? "one is being asked" : "out of memory");
        return;
    }
    if (getrandom(&any, sizeof any, GRND_NONBLOCK) != (ssize_t)sizeof any)
        any = (unsigned)clock_mono();
    snprintf(q->name, sizeof q->name, "%08x", any);
    q->text = *text;
    *text = NULL;
    d->question = q;
    if (!drops_is_alive(d, clock_mono())) {
        refuse(t, "skyferry-pull does not run there to answer it; start it (with [store] drops "
                  "set)");
        return;
    }
    ask_path(t, DROP_ASK, true, path);
    DROPS_ASK(t, on_made, 0, 0, sftp_open, path, SFTP_WRITE | SFTP_CREATE | SFTP_TRUNCATE);
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
    struct question *q = t->drops->question;
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
    drops_free_question(&t->drops->question);
    if (f->text.len > strlen(HELD) && memcmp(f->text.data, HELD, strlen(HELD)) == 0) {
        post_held(t, f);
    } else {
        wire_refused_parse(f->text.data, f->text.len, &theirs);
        drops_refuse(t, 0, &theirs);
    }
    return ST_OK;
}

int64_t drops_have_tick(struct talk *t, int64_t now)
{
    struct question *q = t->drops->question;
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
    drops_fetch(t, name, 0, on_answer);
    return NEVER;
}
