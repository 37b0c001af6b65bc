/* The end of a bundle over SFTP: the side-car is written under a hidden name, the part reaches
 * the far disk where the server can fsync; then the side-car gets its name and after it the
 * bundle, so that whoever sees a bundle finds what it must be. From then on the answer is looked
 * for. Each step waits for the one before: a server may do what it is asked side by side. Only
 * the two renames go together, as a bundle whose side-car comes later harms nobody.
 *
 * Renames replace their target by OpenSSH's posix-rename. Without it version 3 refuses when the
 * target is there: it is removed and the rename made again. A side-car without its bundle is
 * nothing to skyferry-pull, so nobody sees the moment between. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "push/lane_drop_inner.h"

#define LOOK_FIRST (40 * NS_PER_MS)
#define LOOK_LAST (2 * NS_PER_S)
#define PATIENCE (600 * NS_PER_S) /* with a skyferry-pull that shows signs of life */

static void fail(struct talk *t, struct stream *s, const char *what, const struct sftp_reply *r)
{
    struct fault why;
    char words[160];
    sftp_words(r, words);
    fault(&why, ST_RETRY, "'%.200s' is whole in the drop folder, but %s: %s", s->open.name, what,
          words);
    drops_fail_for(t, s, r, &why);
}

static bool went_well(const struct sftp_reply *r)
{
    return r->kind == SFTP_SAYS_STATUS && r->code == SFTP_OK;
}

/* ---- names ---- */

static void wait_for_answer(struct stream *s)
{
    s->stage = STREAM_ANSWER;
    s->pending = 0;
    s->looked = false;
    s->since = clock_mono();
    s->look_at = s->since;
}

static answer_fn on_named;

/* The target stays in the way without posix-rename: then it is removed first. */
static void give_name(struct talk *t, struct stream *s, enum drop_kind from)
{
    enum drop_kind to = from == DROP_DRAFT ? DROP_SIDE : DROP_TAR;
    char old[DROP_PATH], new[DROP_PATH];
    drops_file(t, from, &s->open, old);
    drops_file(t, to, &s->open, new);
    if (s->replaced & 1u << from)
        drops_remove(t, to, &s->open);
    DROPS_ASK(t, on_named, s->bundle, from, sftp_rename, old, new, t->drops->server.posix_rename);
}

static enum status on_named(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                            struct fault *why)
{
    struct stream *s = drops_stream(t, w->bundle);
    (void)why;
    if (!s || s->stage != STREAM_NAME)
        return ST_OK;
    /* An earlier connection's rename may have been carried out after all. */
    bool named = went_well(r) || (w->value == DROP_PART && r->code == SFTP_NO_SUCH_FILE);
    if (named && --s->pending == 0) {
        wait_for_answer(s);
    } else if (!named && !(s->replaced & 1u << w->value)) {
        s->replaced |= 1u << w->value;
        t->drops->server.posix_rename = false;
        give_name(t, s, (enum drop_kind)w->value);
    } else if (!named) {
        fail(t, s, "cannot be renamed", r);
    }
    return ST_OK;
}

/* ---- the side-car ---- */

static enum status on_side_done(struct talk *t, const struct awaited *w,
                                const struct sftp_reply *r, struct fault *why)
{
    struct stream *s = drops_stream(t, w->bundle);
    (void)why;
    if (!s || s->stage != STREAM_WRITE)
        return ST_OK;
    if (!went_well(r)) {
        fail(t, s, "its side-car cannot be written", r);
        return ST_OK;
    }
    if (--s->pending > 0)
        return ST_OK;
    s->stage = STREAM_NAME;
    s->replaced = 0;
    s->pending = 2;
    give_name(t, s, DROP_DRAFT);
    give_name(t, s, DROP_PART);
    return ST_OK;
}

static void write_side(struct talk *t, struct stream *s)
{
    struct drop_side side = {s->open, s->commit};
    struct buf text = {0};
    drops_note(t, drop_side_text(&side, &text));
    s->stage = STREAM_WRITE;
    s->pending = 2;
    DROPS_ASK(t, on_side_done, s->bundle, 0, sftp_write, &s->side, 0, text.data,
             (uint32_t)text.len);
    if (t->drops->server.fsync) {
        s->pending++;
        DROPS_ASK(t, on_side_done, s->bundle, 0, sftp_fsync, &s->side);
    }
    DROPS_ASK(t, on_side_done, s->bundle, 0, sftp_close, &s->side);
    s->side.len = 0;
    drops_close_handle(t, &s->part);
    drops_close_handle(t, &s->map);
    buf_free(&text);
}

static enum status on_ready(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                            struct fault *why)
{
    struct stream *s = drops_stream(t, w->bundle);
    struct sftp_handle h = {0};
    (void)why;
    bool is_side = w->value != 0, ok = is_side ? sftp_handle_of(r, &h) : went_well(r);
    if (!s || s->stage != STREAM_SIDE) {
        drops_close_handle(t, &h);
        return ST_OK;
    }
    if (is_side)
        s->side = h;
    if (!ok)
        fail(t, s, is_side ? "its side-car cannot be made" : "does not reach the disk", r);
    else if (--s->pending == 0)
        write_side(t, s);
    return ST_OK;
}

void drops_commit(struct talk *t, struct stream *s, const struct wire_commit *c)
{
    char path[DROP_PATH];
    s->commit = *c;
    s->committing = s->stage <= STREAM_OPENING;
    if (s->committing)
        return;
    if (s->stage == STREAM_ENDED && s->why.grade != ST_OK) {
        drops_refuse(t, s->bundle, &s->why);
        return;
    }
    if (s->stage == STREAM_DROPPED) {
        wait_for_answer(s);
        return;
    }
    if (s->stage != STREAM_OPEN)
        return; /* a receipt has been posted, or is on its way */
    /* What an earlier try was told is no answer to this one. */
    drops_remove(t, DROP_RECEIPT, &s->open);
    drops_remove(t, DROP_REFUSED, &s->open);
    s->stage = STREAM_SIDE;
    s->pending = 1;
    if (t->drops->server.fsync) {
        s->pending++;
        DROPS_ASK(t, on_ready, s->bundle, 0, sftp_fsync, &s->part);
    }
    drops_file(t, DROP_DRAFT, &s->open, path);
    DROPS_ASK(t, on_ready, s->bundle, 1, sftp_open, path,
             SFTP_WRITE | SFTP_CREATE | SFTP_TRUNCATE);
}

/* ---- the answer ---- */

bool drops_take_receipt(struct stream *s, const struct fetch *f)
{
    s->has_receipt = s->has_receipt ||
                     (f->found && receipt_parse(f->text.data, f->text.len, &s->receipt, NULL) ==
                                      ST_OK);
    return s->has_receipt;
}

void drops_post_receipt(struct talk *t, struct stream *s)
{
    struct lane_event *e = drops_event(t, LANE_RECEIPT, s->bundle);
    s->stage = STREAM_ENDED;
    if (e)
        e->receipt = s->receipt;
    drops_post(t, e);
}

static void looked(struct stream *s)
{
    int64_t now = clock_mono(), pause = (now - s->since) / 4;
    /* Each pause is a part of the time waited so far: an answer is found at most so much late. */
    pause = pause < LOOK_FIRST ? LOOK_FIRST : pause > LOOK_LAST ? LOOK_LAST : pause;
    if (--s->pending > 0)
        return;
    s->looked = true;
    s->look_at = now + pause;
}

static enum status on_receipt(struct talk *t, const struct fetch *f, struct fault *why)
{
    struct stream *s = drops_stream(t, f->bundle);
    (void)why;
    if (!s || s->stage != STREAM_ANSWER)
        return ST_OK;
    looked(s);
    if (drops_take_receipt(s, f))
        drops_post_receipt(t, s);
    return ST_OK;
}

static enum status on_refusal(struct talk *t, const struct fetch *f, struct fault *why)
{
    struct stream *s = drops_stream(t, f->bundle);
    struct fault theirs;
    (void)why;
    if (!s || s->stage != STREAM_ANSWER)
        return ST_OK;
    looked(s);
    if (!f->found)
        return ST_OK;
    wire_refused_parse(f->text.data, f->text.len, &theirs);
    drops_remove(t, DROP_REFUSED, &s->open);
    drops_fail_stream(t, s, &theirs);
    return ST_OK;
}

static void give_up(struct talk *t, struct stream *s, bool alive)
{
    struct fault why;
    if (alive)
        fault(&why, ST_WAIT, "it lies whole in the drop folder; skyferry-pull runs there and has "
              "not answered for %lld s: is it overloaded?", (long long)(PATIENCE / NS_PER_S));
    else
        fault(&why, ST_WAIT, "it lies whole in the drop folder '%.200s', and skyferry-pull does "
              "not run there to take it: start it (with [store] drops set)", t->drops->directory);
    t->drops->nobody = !alive;
    drops_fail_stream(t, s, &why);
}

int64_t drops_answer_tick(struct talk *t, struct stream *s, int64_t now)
{
    char file[DROP_NAME];
    bool alive = drops_is_alive(t->drops, now);
    /* Nobody there, by an answer that came since: others need this one's place on the line. */
    bool nobody = !alive && s->looked && t->drops->beat_told > s->since;
    if (s->pending > 0)
        return NEVER; /* the answers wake us */
    if (nobody || now >= s->since + PATIENCE) {
        give_up(t, s, alive);
        return NEVER;
    }
    if (now < s->look_at)
        return s->look_at;
    s->pending = 2;
    drop_name(DROP_RECEIPT, s->open.name, s->open.id, file);
    drops_fetch(t, file, s->bundle, on_receipt);
    drop_name(DROP_REFUSED, s->open.name, s->open.id, file);
    drops_fetch(t, file, s->bundle, on_refusal);
    return NEVER;
}
