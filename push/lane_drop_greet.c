/* The greeting over SFTP: what the server can do, whether the drop folder is there and can be
 * written, and whether skyferry-pull is at work behind it. Two round trips after VERSION. The
 * age of far-end.json is taken against a file that the server makes for us in this moment: the
 * clocks of the two sites need not agree. */
#include <stdio.h>
#include <string.h>

#include "common/random.h"
#include "push/lane_drop_inner.h"

#define PIECE_MAX ((int64_t)128 << 10)
#define BEAT_LOOK_NS (3 * NS_PER_S)

#ifndef SKYFERRY_VERSION
#define SKYFERRY_VERSION "unknown"
#endif

/* ---- the end of it ---- */

static int quiet_seconds(const struct drops *d)
{
    int64_t age = d->here_mtime - d->far_mtime;
    if (d->far_text.len == 0 || d->far_mtime == 0)
        return -1;
    return age <= DROP_STALE_S ? 0 : age > INT32_MAX ? INT32_MAX : (int)age;
}

static enum status check_far_end(struct drops *d, struct fault *why)
{
    struct wire_hello h = {.protocol = WIRE_VERSION};
    bool sound = d->far_text.len > 0 &&
                 wire_hello_parse(d->far_text.data, d->far_text.len, &h, NULL) == ST_OK;
    if (!sound)
        d->far_text.len = 0;
    h.quiet_s = quiet_seconds(d);
    if (h.quiet_s == 0 && h.protocol != WIRE_VERSION)
        return fault(why, ST_REJECT,
                     "skyferry-pull (%s) speaks protocol %d, skyferry-push (%s) here speaks %d: "
                     "install the same release on both sides",
                     h.software, h.protocol, SKYFERRY_VERSION, WIRE_VERSION);
    if (h.quiet_s != 0) {
        /* What lands now is taken when it runs again. */
        snprintf(h.software, sizeof h.software, "skyferry-pull does not run there, drops wait");
        h.protocol = WIRE_VERSION;
        h.exact = true;
        h.free_bytes = d->free_bytes;
    }
    snprintf(h.server, sizeof h.server, "%s%s%s", d->server.posix_rename ? "posix-rename " : "",
             d->server.fsync ? "fsync " : "", d->server.statvfs ? "statvfs " : "");
    d->beat_mono = h.quiet_s == 0 ? clock_mono() : 0;
    d->hello = h;
    return ST_OK;
}

static enum status greeted(struct talk *t, struct fault *why)
{
    struct drops *d = t->drops;
    char path[DROP_PATH];
    if (--d->greeting > 0)
        return ST_OK;
    enum status st = check_far_end(d, why);
    drops_close_handle(t, &d->probe_handle);
    drops_path(t, d->probe, path);
    DROPS_ASK(t, drops_ignore, 0, 0, sftp_remove, path);
    if (d->server.posix_rename) {
        strncat(path, "b", sizeof path - strlen(path) - 1);
        DROPS_ASK(t, drops_ignore, 0, 0, sftp_remove, path);
    }
    struct lane_event *e = st == ST_OK ? drops_event(t, LANE_UP, 0) : NULL;
    if (e) {
        e->hello = d->hello;
        t->up = true;
    }
    drops_post(t, e);
    return st;
}

/* ---- the answers ---- */

static enum status on_far_end(struct talk *t, const struct fetch *f, struct fault *why)
{
    if (f->found && f->text.len <= DROP_SIDE_MAX)
        drops_note(t, buf_append(&t->drops->far_text, f->text.data, f->text.len));
    return greeted(t, why);
}

static enum status on_far_time(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                               struct fault *why)
{
    (void)w;
    if (r->kind == SFTP_SAYS_ATTRS && r->has_time)
        t->drops->far_mtime = r->mtime;
    return greeted(t, why);
}

static enum status on_here_time(struct talk *t, const struct awaited *w,
                                const struct sftp_reply *r, struct fault *why)
{
    (void)w;
    if (r->kind == SFTP_SAYS_ATTRS && r->has_time)
        t->drops->here_mtime = r->mtime;
    return greeted(t, why);
}

/* Some servers name an extension and then refuse it. */
static enum status on_fsync(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                            struct fault *why)
{
    (void)w;
    t->drops->server.fsync = r->kind == SFTP_SAYS_STATUS && r->code == SFTP_OK;
    return greeted(t, why);
}

static enum status on_rename(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                             struct fault *why)
{
    (void)w;
    t->drops->server.posix_rename = r->kind == SFTP_SAYS_STATUS && r->code == SFTP_OK;
    return greeted(t, why);
}

static enum status on_room(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                           struct fault *why)
{
    (void)w;
    int64_t room = sftp_free_bytes(r);
    t->drops->server.statvfs = room >= 0;
    t->drops->free_bytes = room >= 0 ? room : 0;
    return greeted(t, why);
}

static enum status on_limits(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                             struct fault *why)
{
    int64_t most = sftp_write_limit(r);
    (void)w;
    if (most > t->drops->piece)
        t->drops->piece = (uint32_t)(most < PIECE_MAX ? most : PIECE_MAX);
    return greeted(t, why);
}

static enum status no_folder(const struct talk *t, const struct sftp_reply *r, struct fault *why)
{
    const char *folder = t->drops->directory;
    char words[160];
    sftp_words(r, words);
    if (r->kind == SFTP_SAYS_STATUS && r->code == SFTP_NO_SUCH_FILE)
        return fault(why, ST_REJECT,
                     "the drop folder '%.200s' is not there: set [store] drops in pull.conf and "
                     "start skyferry-pull, which makes it, or correct [ship] sftp_directory (the "
                     "path as SFTP shows it, after a chroot)", folder);
    if (r->kind == SFTP_SAYS_STATUS && r->code == SFTP_DENIED)
        return fault(why, ST_REJECT,
                     "the drop folder '%.200s' cannot be written (%s): let the account of [ship] "
                     "user own it, or share a group with skyferry-pull's: chgrp GROUP, chmod 2770",
                     folder, words);
    return fault(why, ST_RETRY, "the drop folder '%.200s' cannot be written: %s", folder, words);
}

static enum status on_probe(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                            struct fault *why)
{
    struct drops *d = t->drops;
    char from[DROP_PATH], to[DROP_PATH];
    (void)w;
    if (!sftp_handle_of(r, &d->probe_handle))
        return no_folder(t, r, why);
    d->greeting += 1 + d->server.fsync + d->server.posix_rename;
    DROPS_ASK(t, on_here_time, 0, 0, sftp_fstat, &d->probe_handle);
    if (d->server.fsync)
        DROPS_ASK(t, on_fsync, 0, 0, sftp_fsync, &d->probe_handle);
    if (d->server.posix_rename) {
        drops_path(t, d->probe, from);
        snprintf(to, sizeof to, "%.*sb", DROP_PATH - 2, from);
        DROPS_ASK(t, on_rename, 0, 0, sftp_rename, from, to, true);
    }
    return greeted(t, why);
}

/* ---- the questions ---- */

enum status drops_greet(struct talk *t, const struct sftp_reply *r, struct fault *why)
{
    struct drops *d = t->drops;
    char path[DROP_PATH];
    if (r->kind != SFTP_SAYS_VERSION)
        return fault(why, ST_REJECT, "no SFTP server answers: its first word is not VERSION");
    sftp_version(r, &d->server);
    if (d->server.version != SFTP_VERSION)
        return fault(why, ST_REJECT, "the SFTP server speaks version %u, not %d",
                     d->server.version, SFTP_VERSION);
    snprintf(d->probe, sizeof d->probe, ".probe-%08x", random_number());
    d->greeting = 3 + d->server.statvfs + d->server.limits;
    drops_path(t, d->probe, path);
    DROPS_ASK(t, on_probe, 0, 0, sftp_open, path, SFTP_WRITE | SFTP_CREATE | SFTP_TRUNCATE);
    drops_fetch(t, DROP_FAR_END, 0, on_far_end);
    drops_path(t, DROP_FAR_END, path);
    DROPS_ASK(t, on_far_time, 0, 0, sftp_stat, path);
    if (d->server.statvfs)
        DROPS_ASK(t, on_room, 0, 0, sftp_statvfs, d->directory);
    if (d->server.limits)
        drops_note(t, sftp_limits(&t->out, drops_await(t, on_limits, 0, 0)));
    return ST_OK;
}

/* ---- signs of life, later ---- */

bool drops_is_alive(const struct drops *d, int64_t now)
{
    return d->beat_mono != 0 && now - d->beat_mono < DROP_STALE_S * NS_PER_S;
}

static enum status on_beat(struct talk *t, const struct awaited *w, const struct sftp_reply *r,
                           struct fault *why)
{
    struct drops *d = t->drops;
    (void)w, (void)why;
    d->beat_asked = false;
    d->beat_told = clock_mono();
    if (r->kind != SFTP_SAYS_ATTRS)
        d->beat_mono = d->far_mtime = 0; /* it ended, and took the file away */
    if (r->kind != SFTP_SAYS_ATTRS || !r->has_time || r->mtime == d->far_mtime)
        return ST_OK;
    d->far_mtime = r->mtime;
    d->beat_mono = clock_mono();
    if (d->nobody)
        drops_post(t, drops_event(t, LANE_TAKES, 0));
    d->nobody = false;
    return ST_OK;
}

void drops_beat(struct talk *t, int64_t now)
{
    struct drops *d = t->drops;
    char path[DROP_PATH];
    if (d->beat_asked || now < d->beat_look)
        return;
    d->beat_look = now + (drops_is_alive(d, now) ? BEAT_LOOK_NS : NS_PER_S);
    d->beat_asked = true;
    drops_path(t, DROP_FAR_END, path);
    DROPS_ASK(t, on_beat, 0, 0, sftp_stat, path);
}
