#include "common/watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "common/watch_inner.h"

#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE_SELF | \
                IN_MOVE_SELF)
#define CHANGES (IN_MODIFY | IN_DELETE | IN_MOVED_FROM)
#define SLICE_NS (10 * NS_PER_MS) /* of a walk; then the loop has its turn */
#define QUICK_MS 2000 /* between rescans where events cannot be trusted */

struct dir {
    char *path;
    int wd;         /* -1: not watched */
    unsigned round; /* the last scan that met it */
    bool said;      /* that it cannot be read */
};

struct watch {
    struct loop *loop;
    struct loop_timer *timer, *slice;
    struct walk *walk; /* under way; NULL: none */
    bool whole;        /* it is a scan of all; else of what came anew */
    int64_t spent;     /* ns, in its slices */
    int fd;
    char *directory, *patterns, *stage;
    bool recursive, created, changes;
    int rescan_seconds;
    watch_fn *fn;
    void *ctx;
    struct dir *dirs;
    size_t count, room;
    unsigned round;
    bool greeted; /* the directory was there once */
    bool missing; /* and said so */
    bool limited; /* some directory has no watch because the kernel's limit is reached */
    bool refused; /* the same, in the walk that goes on */
    bool remote;  /* the file system tells nothing of what other machines write */
    bool again;   /* a whole scan is asked for */
    void (*scanned)(void *ctx);
};

/* ---- the directories known ---- */

static struct dir *dir_by_wd(const struct watch *w, int wd)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->dirs[i].wd == wd)
            return &w->dirs[i];
    return NULL;
}

static struct dir *dir_unwatched(const struct watch *w, const char *path)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->dirs[i].wd < 0 && strcmp(w->dirs[i].path, path) == 0)
            return &w->dirs[i];
    return NULL;
}

static struct dir *dir_add(struct watch *w, const char *path)
{
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 16;
        struct dir *grown = realloc(w->dirs, room * sizeof *grown);
        if (!grown)
            return NULL;
        w->dirs = grown;
        w->room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return NULL;
    w->dirs[w->count] = (struct dir){.path = copy, .wd = -1};
    return &w->dirs[w->count++];
}

/* Takes the place of the last one, so walk downwards when dropping several. */
static void dir_drop(struct watch *w, struct dir *d)
{
    if (d->wd >= 0)
        inotify_rm_watch(w->fd, d->wd);
    free(d->path);
    *d = w->dirs[--w->count];
}

/* Everything at or below path; NULL: everything not met in this round. */
static void dirs_drop(struct watch *w, const char *path)
{
    size_t len = path ? strlen(path) : 0;
    for (size_t i = w->count; i-- > 0;) {
        struct dir *d = &w->dirs[i];
        bool below = path && strncmp(d->path, path, len) == 0 &&
                     (!d->path[len] || d->path[len] == '/');
        if (path ? below : d->round != w->round)
            dir_drop(w, d);
    }
}

/* ---- what a walk does ---- */

static void say_limit(struct watch *w, const char *path)
{
    if (!w->limited)
        log_warn(AT(.stage = w->stage),
                 "cannot watch %s and perhaps others: the kernel's limit of watched directories is "
                 "used up, new files there are only found by looking every %d s; raise it with: "
                 "sysctl fs.inotify.max_user_watches=524288", path,
                 w->rescan_seconds < QUICK_MS / 1000 ? w->rescan_seconds : QUICK_MS / 1000);
    w->limited = w->refused = true;
}

/* Asking again for a directory that is watched gives the same number, also under a new name. */
static void watch_directory(void *ctx, const char *path)
{
    struct watch *w = ctx;
    int wd = inotify_add_watch(w->fd, path, EVENTS | IN_ONLYDIR | (w->changes ? CHANGES : 0));
    if (wd < 0) {
        if (errno == ENOSPC)
            say_limit(w, path);
        return; /* what else is wrong shows when it is read */
    }
    struct dir *d = dir_by_wd(w, wd);
    if (!d && (d = dir_unwatched(w, path)) != NULL)
        d->said = false;
    if (!d)
        d = dir_add(w, path);
    if (!d) {
        inotify_rm_watch(w->fd, wd);
        return;
    }
    if (strcmp(d->path, path) != 0) {
        char *copy = strdup(path);
        if (copy) {
            free(d->path);
            d->path = copy;
        }
    }
    d->wd = wd;
    d->round = w->round;
}

static void found(void *ctx, const char *path)
{
    struct watch *w = ctx;
    w->fn(w->ctx, path, WATCH_FOUND);
}

static void unreadable(void *ctx, const char *path, int err)
{
    struct watch *w = ctx;
    struct dir *d = NULL;
    for (size_t i = 0; i < w->count && !d; i++)
        if (strcmp(w->dirs[i].path, path) == 0)
            d = &w->dirs[i];
    if (!d)
        d = dir_add(w, path);
    if (!d || !d->said)
        log_warn(AT(.stage = w->stage),
                 "cannot read the directory %s: %s; files in it are not seen until its permissions "
                 "allow it", path, strerror(err));
    if (d) {
        d->said = true;
        d->round = w->round;
    }
}

/* Whether it is a double shows only where all of the tree is walked. */
static void linked(void *ctx)
{
    struct watch *w = ctx;
    w->again = true;
}

/* ---- scans ---- */

static int64_t next_scan_ms(const struct watch *w, int64_t took_ms)
{
    int64_t usual = (int64_t)w->rescan_seconds * 1000;
    int64_t quick = usual < QUICK_MS ? usual : QUICK_MS;
    if (!w->remote && !w->limited && !w->missing)
        return usual;
    /* A slow server must not spend all its time on our listings. */
    int64_t polite = 10 * took_ms;
    return polite < quick ? quick : polite > usual ? usual : polite;
}

static void say_missing(struct watch *w, int err)
{
    if (!w->missing)
        log_warn(AT(.stage = w->stage),
                 "cannot read the directory %s: %s; nothing new is found until it is there: mount "
                 "or make it, or correct the configuration (it is looked for every few seconds)",
                 w->directory, strerror(err));
    w->missing = true;
    for (size_t i = w->count; i-- > 0;)
        dir_drop(w, &w->dirs[i]);
}

static void say_there(struct watch *w)
{
    const char *kind = fs_kind(w->directory, &w->remote);
    if (w->missing || !w->greeted) {
        log_info(AT(.stage = w->stage), "watching %s (%s, %zu director%s)%s", w->directory, kind,
                 w->count, w->count == 1 ? "y" : "ies", w->greeted ? ", which is back" : "");
        if (w->remote)
            log_warn(AT(.stage = w->stage),
                     "%s is on %s, which tells nothing of files that other machines write: it is "
                     "read anew every few seconds; a directory on a local disk is noticed at once",
                     w->directory, kind);
    }
    w->missing = false;
    w->greeted = true;
}

static void scanned(struct watch *w, int err)
{
    if (err) {
        say_missing(w, err);
    } else {
        dirs_drop(w, NULL);
        w->limited = w->refused;
        say_there(w);
    }
    loop_timer_set(w->timer, next_scan_ms(w, w->spent / NS_PER_MS), 0);
    if (!err && w->scanned)
        w->scanned(w->ctx);
}

static void go_on(struct watch *w, int64_t for_ns)
{
    int64_t start = clock_mono();
    bool ended = walk_go(w->walk, for_ns == INT64_MAX ? INT64_MAX : start + for_ns);
    w->spent += clock_mono() - start;
    if (!ended) {
        loop_timer_set(w->slice, 0, 0);
        return;
    }
    int err = walk_error(w->walk);
    walk_end(&w->walk);
    if (w->whole)
        scanned(w, err);
    if (w->again)
        loop_timer_set(w->timer, 0, 0);
}

/* A walk that has no directory yet. False: out of memory, again later. */
static bool begin(struct watch *w, bool whole)
{
    struct walker walker = {.recursive = w->recursive, .topless = !whole, .patterns = w->patterns,
                            .enter = watch_directory, .file = found, .unreadable = unreadable,
                            .linked = whole ? NULL : linked, .ctx = w};
    w->walk = walk_begin(&walker);
    w->whole = whole;
    w->spent = 0;
    return w->walk != NULL;
}

static void begin_scan(struct watch *w)
{
    w->again = w->refused = false;
    w->round++;
    if (!begin(w, true) || walk_add(w->walk, w->directory) != 0) {
        walk_end(&w->walk);
        loop_timer_set(w->timer, QUICK_MS, 0);
    }
}

void watch_rescan(struct watch *w)
{
    w->again = true;
    if (!w->walk)
        loop_timer_set(w->timer, 0, 0);
}

void watch_scan(struct watch *w)
{
    walk_end(&w->walk);
    loop_timer_set(w->slice, -1, 0);
    begin_scan(w);
    if (w->walk)
        go_on(w, INT64_MAX);
}

static void scan_due(void *ctx)
{
    struct watch *w = ctx;
    w->again = true;
    if (w->walk)
        return; /* after it */
    begin_scan(w);
    if (w->walk)
        go_on(w, SLICE_NS);
}

static void slice_due(void *ctx)
{
    struct watch *w = ctx;
    if (w->walk)
        go_on(w, SLICE_NS);
}

/* A directory that came anew. */
static void visit(struct watch *w, const char *path)
{
    bool alone = !w->walk;
    if ((alone && !begin(w, false)) || walk_add(w->walk, path) != 0)
        w->again = true;
    else if (alone)
        go_on(w, SLICE_NS);
}

/* ---- events ---- */

static void file_event(struct watch *w, const char *path, uint32_t mask)
{
    bool linked = false;
    if (mask & CHANGES) {
        if (w->changes)
            w->fn(w->ctx, path, WATCH_FOUND);
        return;
    }
    if (!watch_is_file(path, &linked))
        return;
    if (mask & (IN_CLOSE_WRITE | IN_MOVED_TO))
        w->fn(w->ctx, path, WATCH_CLOSED);
    else if (linked || w->created)
        w->fn(w->ctx, path, WATCH_FOUND); /* ln: nobody will close it */
}

/* A link to one, which gives the events of a file. */
static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void directory_event(struct watch *w, const char *path, uint32_t mask)
{
    if (!w->recursive)
        return;
    if (mask & IN_MOVED_FROM) {
        dirs_drop(w, path);
        return;
    }
    visit(w, path);
}

static void named_event(struct watch *w, const struct dir *d, const struct inotify_event *e)
{
    char *path = NULL;
    if (e->name[0] == '.')
        return;
    if (asprintf(&path, "%s/%s", strcmp(d->path, "/") ? d->path : "", e->name) < 0) {
        w->again = true;
        return;
    }
    if (e->mask & IN_ISDIR)
        directory_event(w, path, e->mask);
    else if ((e->mask & (IN_CREATE | IN_MOVED_TO)) && w->recursive && is_directory(path))
        w->again = true;
    else if (watch_matches(w->patterns, e->name))
        file_event(w, path, e->mask);
    free(path);
}

static void one_event(struct watch *w, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW) {
        log_warn(AT(.stage = w->stage), "more changes below %s than the kernel remembers; reading "
                 "it all anew", w->directory);
        w->again = true;
        return;
    }
    struct dir *d = dir_by_wd(w, e->wd);
    if (!d)
        return;
    bool gone = e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED);
    if (gone && strcmp(d->path, w->directory) == 0)
        w->again = true;
    if (e->mask & IN_IGNORED) {
        d->wd = -1; /* the kernel has removed it */
        dir_drop(w, d);
    } else if (!gone && e->len) {
        named_event(w, d, e);
    }
}

static void take_events(void *ctx, int fd)
{
    struct watch *w = ctx;
    _Alignas(struct inotify_event) char bytes[32768];
    ssize_t n = read(fd, bytes, sizeof bytes);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const struct inotify_event *)(const void *)(bytes + at);
        one_event(w, e);
        at += (ssize_t)(sizeof *e + e->len);
    }
    if (w->again)
        scan_due(w);
}

/* ---- open and close ---- */

static bool copy_options(struct watch *w, const struct watch_options *o)
{
    w->directory = strdup(o->directory);
    w->patterns = strdup(o->patterns);
    w->stage = strdup(o->stage ? o->stage : "watch");
    w->recursive = o->recursive;
    w->created = o->created;
    w->changes = o->changes;
    w->scanned = o->scanned;
    w->rescan_seconds = o->rescan_seconds > 0 ? o->rescan_seconds : 1;
    if (!w->directory || !w->patterns || !w->stage)
        return false;
    size_t len = strlen(w->directory);
    while (len > 1 && w->directory[len - 1] == '/')
        w->directory[--len] = '\0';
    return true;
}

enum status watch_open(struct loop *l, const struct watch_options *o, watch_fn *fn, void *ctx,
                       struct watch **out, struct fault *why)
{
    *out = NULL;
    struct watch *w = calloc(1, sizeof *w);
    if (!w)
        return fault(why, ST_FATAL, "out of memory to watch %s", o->directory);
    w->loop = l;
    w->fn = fn;
    w->ctx = ctx;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd < 0) {
        fault_errno(why, ST_FATAL, "cannot watch %s (if too many files are open, raise sysctl "
                    "fs.inotify.max_user_instances or ulimit -n)", o->directory);
        goto out;
    }
    if (!copy_options(w, o) || !(w->timer = loop_timer_new(l, scan_due, w)) ||
        !(w->slice = loop_timer_new(l, slice_due, w))) {
        fault(why, ST_FATAL, "out of memory to watch %s", o->directory);
        goto out;
    }
    if (loop_read(l, w->fd, take_events, w, why) != ST_OK)
        goto out;
    fs_kind(w->directory, &w->remote);
    loop_timer_set(w->timer, 0, 0);
    *out = w;
    return ST_OK;
out:
    watch_close(&w);
    return ST_FATAL;
}

bool watch_has_events(const struct watch *w, int *directories)
{
    int n = 0;
    for (size_t i = 0; i < w->count; i++)
        n += w->dirs[i].wd >= 0;
    if (directories)
        *directories = n;
    return !w->remote && !w->limited;
}

void watch_close(struct watch **w)
{
    if (!*w)
        return;
    struct watch *me = *w;
    walk_end(&me->walk);
    loop_timer_free(&me->timer);
    loop_timer_free(&me->slice);
    if (me->fd >= 0) {
        loop_forget(me->loop, me->fd);
        close(me->fd);
    }
    for (size_t i = 0; i < me->count; i++)
        free(me->dirs[i].path);
    free(me->dirs);
    free(me->directory);
    free(me->patterns);
    free(me->stage);
    free(me);
    *w = NULL;
}
