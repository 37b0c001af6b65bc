/* A bundle's bytes over SFTP. Every lane that carries some of it opens the same hidden part and
 * writes at offsets; right behind a chunk's WRITEs goes a line for the map beside the part, which
 * the server appends. OpenSSH's carries out one request after the other and drops the rest when
 * the connection ends, so after a cut the map tells of what is there and of nothing else. Where
 * that does not hold (another server, a far machine that loses its memory) the digest finds it,
 * skyferry-pull drops both, and all is sent again. A write that fails takes the map with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fsutil.h"
#include "push/lane_drop_inner.h"

#define FULL ((int64_t)16 << 20) /* less free space: a failed WRITE is the full disk's */

struct stream *drops_stream(const struct talk *t, int64_t bundle)
{
    struct stream *s = t->drops->streams;
    while (s && s->bundle != bundle)
        s = s->next;
    return s;
}

void drops_free_stream(struct stream *s)
{
    free(s->have);
    free(s);
}

void drops_fail_stream(struct talk *t, struct stream *s, const struct fault *why)
{
    s->stage = STREAM_ENDED;
    s->why = *why;
    drops_refuse(t, s->bundle, why);
}

/* "Failure" says nothing: is the disk full? Where statvfs is not known it is not said. */
static bool is_full(int64_t room, int64_t needs, struct fault *why)
{
    if (room < 0 || room >= FULL + needs)
        return false;
    fault(why, ST_WAIT, "the disk of the drop folder is full (%lld MiB free): what "
          "skyferry-pull has taken leaves it; make room there", (long long)(room >> 20));
    return true;
}

static enum status on_room_of_failed(struct talk *t, const struct awaited *w,
                                     const struct sftp_reply *r, struct fault *why)
{
    struct stream *s = drops_stream(t, w->bundle);
    (void)why;
    if (!s || s->stage != STREAM_ENDED)
        return ST_OK;
    is_full(sftp_free_bytes(r), 0, &s->why);
    drops_refuse(t, s->bundle, &s->why);
    return ST_OK;
}

void drops_fail_for(struct talk *t, struct stream *s, const struct sftp_reply *r,
                    const struct fault *why)
{
    s->stage = STREAM_ENDED;
    s->why = *why;
    if (r->kind == SFTP_SAYS_STATUS && r->code == SFTP_FAILURE)
        DROPS_ASK(t, on_room_of_failed, s->bundle, 0, sftp_statvfs, t->drops->directory);
    else
        drops_refuse(t, s->bundle, why);
}

static void fail_words(struct talk *t, struct stream *s, const char *what,
                       const struct sftp_reply *r)
{
    struct fault why;
    char words[160];
    sftp_words(r, words);
    fault(&why, ST_RETRY, "%s '%.200s' in the drop folder: %s", what, s->open.name, words);
    drops_fail_for(t, s, r, &why);
}

/* ---- opening ---- */

static void post_opened(struct talk *t, struct stream *s)
{
    struct lane_event *e = drops_event(t, LANE_OPENED, s->bundle);
    if (e) {
        e->have = s->have;
        e->have_count = s->have_count;
        s->have = NULL;
        s->have_count = 0;
    }
    drops_post(t, e);
    if (s->committing)
        drops_commit(t, s, &s->commit);
}

static enum status on_part_open(struct talk *t, const struct awaited *w,
                                const struct sftp_reply *r, struct fault *why)
{
    struct stream *s = drops_stream(t, w->bundle);
    struct sftp_handle h;
    (void)why;
    bool ok = sftp_handle_of(r, &h);
    if (!s || s->stage != STREAM_OPENING) {
        drops_close_handle(t, &h);
        return ST_OK;
    }
    if (!ok) {
        fail_words(t, s, w->value ? "cannot make the map of" : "cannot make the part of", r);
        return ST_OK;
    }
    *(w->value ? &s->map : &s->part) = h;
    if (--s->pending > 0)
        return ST_OK;
    s->stage = STREAM_OPEN;
    post_opened(t, s);
    return ST_OK;
}

static void open_files(struct talk *t, struct stream *s)
{
    char path[DROP_PATH];
    s->stage = STREAM_OPENING;
    s->pending = 2;
    drops_file(t, DROP_PART, &s->open, path);
    DROPS_ASK(t, on_part_open, s->bundle, 0, sftp_open, path, SFTP_WRITE | SFTP_CREATE);
    drops_file(t, DROP_MAP, &s->open, path);
    DROPS_ASK(t, on_part_open, s->bundle, 1, sftp_open, path,
             SFTP_WRITE | SFTP_CREATE | SFTP_APPEND);
}

/* What skyferry-pull is sure to answer for: a bundle beside its side-car, or a side-car alone,
 * when it has the bytes and is at work on them. It waits for the side-car of a bundle that has
 * none, and refuses one of another size: those are sent again. */
static int64_t dropped_size(const struct stream *s)
{
    if (s->tar_size >= 0)
        return s->tar_size == s->side_size ? s->tar_size : -1;
    return s->part_size < 0 ? s->side_size : -1;
}

/* The side-car first: without it skyferry-pull takes no notice of the rest. */
static void remove_named(struct talk *t, const struct wire_open *o)
{
    drops_remove(t, DROP_SIDE, o);
    drops_remove(t, DROP_TAR, o);
}

/* All that could be there has been looked for. */
static void looked(struct talk *t, struct stream *s)
{
    if (--s->pending > 0)
        return;
    if (s->has_receipt) {
        drops_post_receipt(t, s);
        return;
    }
    int64_t dropped = dropped_size(s);
    if (dropped < 0) {
        if (s->tar_size >= 0)
            remove_named(t, &s->open);
        for (size_t i = 0; i < s->have_count; i++)
            if (s->have[i].offset + s->have[i].length > s->part_size)
                s->have[i].length = 0; /* the map says more than there is */
        open_files(t, s);
        return;
    }
    free(s->have);
    s->have = malloc(sizeof *s->have);
    s->have_count = s->have ? 1 : 0;
    if (s->have)
        s->have[0] = (struct extent){0, dropped};
    drops_note(t, s->have != NULL);
    s->stage = STREAM_DROPPED;
    post_opened(t, s);
}

static enum status on_looked_at(struct talk *t, const struct awaited *w,
                                const struct sftp_reply *r, struct fault *why)
{
    struct stream *s = drops_stream(t, w->bundle);
    (void)why;
    if (!s || s->stage != STREAM_LOOK)
        return ST_OK;
    *(w->value ? &s->tar_size : &s->part_size) =
        r->kind == SFTP_SAYS_ATTRS && r->has_size ? r->size : -1;
    looked(t, s);
    return ST_OK;
}

static enum status on_old_receipt(struct talk *t, const struct fetch *f, struct fault *why)
{
    struct stream *s = drops_stream(t, f->bundle);
    (void)why;
    if (!s || s->stage != STREAM_LOOK)
        return ST_OK;
    drops_take_receipt(s, f);
    looked(t, s);
    return ST_OK;
}

static enum status on_old_map(struct talk *t, const struct fetch *f, struct fault *why)
{
    struct stream *s = drops_stream(t, f->bundle);
    (void)why;
    if (!s || s->stage != STREAM_LOOK)
        return ST_OK;
    if (f->found && f->text.len > 0)
        drops_note(t, drop_map_read((const char *)f->text.data, f->text.len, INT64_MAX, &s->have,
                                    &s->have_count));
    looked(t, s);
    return ST_OK;
}

static enum status on_old_side(struct talk *t, const struct fetch *f, struct fault *why)
{
    struct stream *s = drops_stream(t, f->bundle);
    struct drop_side side;
    (void)why;
    if (!s || s->stage != STREAM_LOOK)
        return ST_OK;
    s->side_size = -1;
    if (f->found && drop_side_parse(f->text.data, f->text.len, &side, NULL) == ST_OK)
        s->side_size = side.commit.size;
    looked(t, s);
    return ST_OK;
}

/* What an earlier connection, or an earlier life of ours, has left there. */
static void look(struct talk *t, struct stream *s)
{
    char path[DROP_PATH], file[DROP_NAME];
    s->stage = STREAM_LOOK;
    s->pending = 5;
    drops_remove(t, DROP_REFUSED, &s->open);
    drop_name(DROP_RECEIPT, s->open.name, s->open.id, file);
    drops_fetch(t, file, s->bundle, on_old_receipt);
    drop_name(DROP_MAP, s->open.name, s->open.id, file);
    drops_fetch(t, file, s->bundle, on_old_map);
    drop_name(DROP_SIDE, s->open.name, s->open.id, file);
    drops_fetch(t, file, s->bundle, on_old_side);
    drops_file(t, DROP_PART, &s->open, path);
    DROPS_ASK(t, on_looked_at, s->bundle, 0, sftp_lstat, path);
    drops_file(t, DROP_TAR, &s->open, path);
    DROPS_ASK(t, on_looked_at, s->bundle, 1, sftp_lstat, path);
}

void drops_open_stream(struct talk *t, const struct lane_job *job)
{
    struct fault why;
    char name[DROP_NAME];
    drops_end_stream(t, job->bundle, false); /* opened again: from the start */
    if (!drop_name(DROP_DRAFT, job->open.name, job->open.id, name) ||
        !fs_name_ok(job->open.name)) {
        fault(&why, ST_REJECT, "'%.200s' is no name for a drop", job->open.name);
        drops_refuse(t, job->bundle, &why);
        return;
    }
    drops_keep_receipt(t, &job->open);
    struct stream *s = calloc(1, sizeof *s);
    drops_note(t, s != NULL);
    if (!s)
        return;
    s->bundle = job->bundle;
    s->open = job->open;
    s->next = t->drops->streams;
    t->drops->streams = s;
    if (s->open.resume)
        look(t, s);
    else
        open_files(t, s);
}

/* ---- chunks ---- */

static void end_chunk(struct talk *t, struct chunk *c, const struct fault *refused)
{
    struct lane_event *e = drops_event(t, refused ? LANE_REFUSED : LANE_GOT, c->bundle);
    struct chunk **at = &t->drops->chunks;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    atomic_fetch_sub(&t->o.load->in_flight, c->length);
    if (c->left < 0) /* it never went out */
        atomic_fetch_sub(&t->o.load->unsent, c->length);
    if (e) {
        e->offset = c->offset;
        e->length = c->length;
    }
    if (e && refused)
        e->why = *refused;
    drops_post(t, e);
    free(c);
}

void drops_chunk(struct talk *t, const struct lane_job *job)
{
    struct chunk *c = calloc(1, sizeof *c), **at = &t->drops->chunks;
    drops_note(t, c != NULL);
    if (!c)
        return;
    *c = (struct chunk){.number = ++t->drops->last_number, .bundle = job->bundle,
                        .offset = job->offset, .length = job->length, .fd = job->fd, .left = -1};
    while (*at)
        at = &(*at)->next;
    *at = c;
}

/* The map's own place does not matter: the server appends. */
static void note_in_map(struct talk *t, struct stream *s, const struct chunk *c)
{
    struct buf line = {0};
    if (drop_map_add(&line, c->offset, c->length) && s->map.len > 0)
        DROPS_ASK(t, drops_ignore, 0, 0, sftp_write, &s->map, 0, line.data, (uint32_t)line.len);
    drops_note(t, line.len > 0);
    buf_free(&line);
}

static struct chunk *chunk_of(const struct talk *t, int64_t number)
{
    struct chunk *c = t->drops->chunks;
    while (c && c->number != number)
        c = c->next;
    return c;
}

static enum status on_room_left(struct talk *t, const struct awaited *w,
                                const struct sftp_reply *r, struct fault *why)
{
    struct fault said;
    struct chunk *c = chunk_of(t, w->value);
    (void)why;
    if (!c)
        return ST_OK;
    if (!is_full(sftp_free_bytes(r), c->length, &said))
        fault(&said, ST_RETRY, "a write into the drop folder failed: %s", c->words);
    end_chunk(t, c, &said);
    return ST_OK;
}

static enum status on_written(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                              struct fault *why)
{
    struct chunk *c = chunk_of(t, w->value);
    struct stream *s = c ? drops_stream(t, c->bundle) : NULL;
    (void)why;
    if (!c)
        return ST_OK;
    if ((r->kind != SFTP_SAYS_STATUS || r->code != SFTP_OK) && !c->failed) {
        c->failed = true;
        sftp_words(r, c->words);
        if (s)
            drops_remove(t, DROP_MAP, &s->open); /* it tells of this chunk, too */
    }
    if (--c->left > 0)
        return ST_OK;
    if (c->failed) {
        DROPS_ASK(t, on_room_left, 0, c->number, sftp_statvfs, t->drops->directory);
        return ST_OK;
    }
    end_chunk(t, c, NULL);
    return ST_OK;
}

static enum status read_block(struct drops *d, const struct chunk *c, struct fault *why)
{
    if (d->block_size < c->length) {
        unsigned char *grown = realloc(d->block, c->length);
        if (!grown)
            return fault(why, ST_RETRY, "out of memory");
        d->block = grown;
        d->block_size = c->length;
    }
    int rc = fs_pread_all(c->fd, d->block, c->length, c->offset);
    if (rc < 0)
        return fault_errno(why, ST_RETRY, "cannot read the spool file at %lld",
                           (long long)c->offset);
    return rc == 0 ? ST_OK : fault(why, ST_RETRY, "the spool file ends before byte %lld",
                                   (long long)c->offset + c->length);
}

static void put_chunk(struct talk *t, struct stream *s, struct chunk *c)
{
    struct drops *d = t->drops;
    struct fault why;
    if (read_block(d, c, &why) != ST_OK) {
        end_chunk(t, c, &why);
        return;
    }
    c->left = 0;
    for (uint32_t at = 0; at < c->length; at += d->piece) {
        uint32_t len = c->length - at < d->piece ? c->length - at : d->piece;
        DROPS_ASK(t, on_written, 0, c->number, sftp_write, &s->part, c->offset + at, d->block + at,
                 len);
        c->left++;
    }
    note_in_map(t, s, c);
    t->out_payload += c->length;
}

/* A chunk that can never go. True when the list has changed. */
static bool is_hopeless(struct talk *t, const struct stream *s, struct chunk *c)
{
    struct fault why;
    if (s && s->stage < STREAM_DROPPED)
        return false;
    if (!s)
        fault(&why, ST_RETRY, "bundle %lld was not opened on this lane", (long long)c->bundle);
    else if (s->why.grade != ST_OK)
        why = s->why;
    else
        fault(&why, ST_RETRY, "'%s' has its name in the drop folder already, at another size: it "
              "is sent anew", s->open.name);
    /* What was named there is not this bundle. */
    if (s && s->stage == STREAM_DROPPED)
        remove_named(t, &s->open);
    end_chunk(t, c, &why);
    return true;
}

void drops_fill(struct talk *t)
{
    struct chunk *c = t->drops->ending ? NULL : t->drops->chunks;
    while (c && t->out.len == t->out_sent) {
        struct stream *s = drops_stream(t, c->bundle);
        if (c->left < 0 && is_hopeless(t, s, c)) {
            c = t->drops->chunks;
            continue;
        }
        if (c->left < 0 && s->stage == STREAM_OPEN) {
            put_chunk(t, s, c);
            c = t->drops->chunks; /* it may be gone */
            continue;
        }
        c = c->next;
    }
}
