#include "pull/drops.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "common/watch.h"
#include "pull/decoding.h"
#include "pull/drop_take.h"

#ifndef SKYFERRY_VERSION
#define SKYFERRY_VERSION "unknown"
#endif

#define THREADS 2              /* one reads while the other waits for the disk */
#define EXPIRE_MS (600 * 1000LL)
#define SAID 64                /* so many troubles side by side are told apart */
#define SAY_AGAIN_NS (3600 * NS_PER_S)

enum task { TASK_TAKE, TASK_ANSWER, TASK_EXPIRE };

/* One file being worked on; part of the list until its job has come back. */
struct work {
    struct pool_job job; /* first */
    struct work *next;
    struct drops *drops; /* main thread only */
    struct drop_order o;
    char folder[PULL_PATH], root[PULL_PATH], state[PULL_PATH];
    char file[DROP_NAME], key[DROP_NAME]; /* key: one for a bundle and its side-car */
    enum task task;
    int days;
    bool again;          /* something changed while it was worked on */
    bool ran;
    enum status grade;
    struct receipt r;
    struct fault why;
    int gone;
};

/* A trouble's text, by its hash, and when it was logged: clock_mono; 0: none. */
struct said {
    uint64_t hash;
    int64_t at;
};

struct drops {
    struct agent *a;
    struct watch *watch;
    struct loop_timer *beat, *expire;
    struct pool *pool;
    struct work *works;
    char far_end[PULL_PATH];
    bool beats;             /* the last far-end.json could be written */
    struct said said[SAID]; /* troubles that were logged */
    size_t said_next;
};

/* ---- far-end.json ---- */

/* On a full disk the old text with a new time is a sign of life, too. */
static enum status put_beat(const struct drops *d, const struct buf *text, struct fault *why)
{
    enum status st = drop_put(d->far_end, text, why);
    return st == ST_WAIT && utimensat(AT_FDCWD, d->far_end, NULL, 0) == 0 ? ST_OK : st;
}

static void on_beat(void *ctx)
{
    struct drops *d = ctx;
    struct wire_hello h = {.protocol = WIRE_VERSION, .exact = true};
    struct buf text = {0};
    struct fault why;
    int64_t room = fs_free_bytes(d->a->s.root);
    h.free_bytes = room > 0 ? room : 0;
    snprintf(h.software, sizeof h.software, "skyferry %s", SKYFERRY_VERSION);
    gethostname(h.agent, sizeof h.agent - 1);
    decoding_read(d->a->s.state, &h.decoding);
    enum status st = wire_hello_text(&h, &text) && buf_append(&text, "\n", 1)
                         ? put_beat(d, &text, &why)
                         : fault(&why, ST_RETRY, "out of memory");
    if (st == ST_WAIT && d->beats)
        log_error(AT(.stage = "drops"), "the disk of the drop folder %s is full: push must think "
                  "that nobody runs here. Make room", d->a->s.drops);
    else if (st != ST_OK && d->beats)
        log_error(AT(.stage = "drops"), "%s; push must think that nobody runs here. Give "
                  "skyferry-pull's account write access to %s", why.text, d->a->s.drops);
    d->beats = st == ST_OK;
    buf_free(&text);
}

/* ---- work ---- */

static void run_work(struct pool_job *job)
{
    struct work *w = (struct work *)job;
    w->ran = true;
    if (w->task == TASK_TAKE)
        w->grade = drop_take(&w->o, w->file, &w->r, &w->why);
    else if (w->task == TASK_ANSWER)
        w->grade = drop_answer(&w->o, w->file, &w->why);
    else
        w->gone = drop_expire(&w->o, w->days);
}

/* What passes is tried at every rescan, and said once an hour. */
static bool is_news(struct drops *d, const char *text)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    int64_t now = clock_mono();
    size_t at = 0;
    for (const char *c = text; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    while (at < SAID && (d->said[at].hash != hash || d->said[at].at == 0))
        at++;
    if (at < SAID && now - d->said[at].at < SAY_AGAIN_NS)
        return false;
    if (at == SAID)
        at = d->said_next++ % SAID;
    d->said[at] = (struct said){hash, now};
    return true;
}

static void say(struct drops *d, const struct work *w)
{
    char name[MEMBER_NAME], id8[9];
    drop_name_parse(w->file, name, id8);
    struct log_at at = {.stage = "drops", .exposure = w->task == TASK_TAKE ? name : NULL};
    if (!w->ran || w->task == TASK_EXPIRE) {
        if (w->gone > 0)
            log_info(AT(.stage = "drops"), "removed %d half-dropped exposure%s that nobody went "
                     "on with for %d days", w->gone, w->gone == 1 ? "" : "s", w->days);
    } else if (w->grade == ST_OK && w->task == TASK_TAKE) {
        log_info(&at, "taken from the drop folder as %s, %lld bytes", w->r.stored,
                 (long long)w->r.size);
    } else if (w->grade != ST_OK && w->why.text[0]) {
        log_write(is_news(d, w->why.text) ? LOG_WARN : LOG_DEBUG, &at, "%s%s", w->why.text,
                  w->grade == ST_WAIT ? " (it is tried again)" : "");
    }
}

static void submit(struct drops *d, enum task task, const char *file, const char *key);

static void done_work(struct pool_job *job)
{
    struct work *w = (struct work *)job, **at;
    struct drops *d = w->drops;
    for (at = &d->works; *at != w; at = &(*at)->next)
        ;
    *at = w->next;
    say(d, w);
    if (!d->beats && w->ran && w->task == TASK_TAKE && !d->a->stopping)
        on_beat(d); /* what was taken may have made the room */
    if (w->again && w->ran && !d->a->stopping)
        submit(d, w->task, w->file, w->key);
    free(w);
}

/* Questions first, for somebody waits for the answer; then the newest exposures. */
static int urgency_of(const struct drops *d, enum task task, const char *file)
{
    char path[PULL_PATH];
    struct stat st;
    if (task != TASK_TAKE)
        return task == TASK_ANSWER ? INT_MAX : 0;
    if (!pull_text(path, sizeof path, "%s/%s", d->a->s.drops, file) || lstat(path, &st) != 0)
        return 1;
    return st.st_mtime > 0 && st.st_mtime < INT_MAX ? (int)st.st_mtime : 1;
}

static void submit(struct drops *d, enum task task, const char *file, const char *key)
{
    const struct pull_settings *s = &d->a->s;
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        return; /* the rescan comes again */
    w->job.run = run_work;
    w->job.done = done_work;
    w->job.urgency = urgency_of(d, task, file);
    w->drops = d;
    w->task = task;
    memcpy(w->folder, s->drops, sizeof w->folder);
    memcpy(w->root, s->root, sizeof w->root);
    memcpy(w->state, s->state, sizeof w->state);
    pull_part_store(s, &w->o.store);
    w->o.store.root = w->root;
    w->o.store.state = w->state;
    w->o.folder = w->folder;
    w->days = s->keep_parts_days;
    snprintf(w->file, sizeof w->file, "%s", file);
    snprintf(w->key, sizeof w->key, "%s", key);
    w->next = d->works;
    d->works = w;
    pool_submit(d->pool, &w->job);
}

static void notice(struct drops *d, enum task task, const char *file, const char *key)
{
    struct work *w = d->works;
    while (w && (w->task != task || strcmp(w->key, key) != 0))
        w = w->next;
    if (w)
        w->again = true;
    else
        submit(d, task, file, key);
}

static void on_path(void *ctx, const char *path, enum watch_hint hint)
{
    struct drops *d = ctx;
    char name[MEMBER_NAME], id8[9], key[DROP_NAME];
    const char *file = fs_basename(path);
    (void)hint;
    if (d->a->stopping || strlen(file) >= DROP_NAME)
        return;
    enum drop_kind kind = drop_name_parse(file, name, id8);
    if (kind == DROP_ASK) {
        notice(d, TASK_ANSWER, file, file);
    } else if ((kind == DROP_TAR || kind == DROP_SIDE) &&
               pull_text(key, sizeof key, "%s.%s", name, id8)) {
        notice(d, TASK_TAKE, file, key);
    }
}

static void on_expire(void *ctx)
{
    notice(ctx, TASK_EXPIRE, "", "");
}

/* ---- opening and closing ---- */

static enum status open_folder(struct drops *d, struct fault *why)
{
    const struct pull_settings *s = &d->a->s;
    enum status st = fs_mkdirs(s->drops, why);
    if (st != ST_OK) {
        fault_within(why, "the drop folder [store] drops: ");
        return why->grade = ST_FATAL;
    }
    if (!pull_text(d->far_end, sizeof d->far_end, "%s/%s", s->drops, DROP_FAR_END))
        return fault(why, ST_FATAL, "[store] drops is too long a path");
    struct watch_options o = {.directory = s->drops, .patterns = "*.tar *.commit ask-*.json",
                              .rescan_seconds = s->rescan_seconds, .created = true,
                              .stage = "drops"};
    return watch_open(d->a->loop, &o, on_path, d, &d->watch, why);
}

enum status drops_open(struct agent *a, struct fault *why)
{
    if (!a->s.drops[0])
        return ST_OK;
    struct drops *d = calloc(1, sizeof *d);
    if (!d)
        return fault(why, ST_FATAL, "out of memory");
    a->drops = d;
    d->a = a;
    d->beats = true;
    enum status st = pool_start(THREADS, a->loop, &d->pool, why);
    if (st == ST_OK)
        st = open_folder(d, why);
    if (st != ST_OK)
        return st;
    d->beat = loop_timer_new(a->loop, on_beat, d);
    d->expire = loop_timer_new(a->loop, on_expire, d);
    if (!d->beat || !d->expire)
        return fault(why, ST_FATAL, "out of memory");
    loop_timer_set(d->beat, 0, DROP_BEAT_S * 1000LL);
    loop_timer_set(d->expire, 1000, EXPIRE_MS);
    log_info(AT(.stage = "drops"), "drops are taken from %s", a->s.drops);
    return ST_OK;
}

void drops_scan(struct agent *a)
{
    if (a->drops)
        watch_rescan(a->drops->watch);
}

void drops_close(struct agent *a)
{
    struct drops *d = a->drops;
    if (!d)
        return;
    watch_close(&d->watch);
    pool_stop(&d->pool);
    if (d->beat)
        (void)!unlink(d->far_end);
    loop_timer_free(&d->beat);
    loop_timer_free(&d->expire);
    free(d);
    a->drops = NULL;
}
