#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pool.h"
#include "common/watch.h"
#include "push/progress.h"
#include "push/survey.h"
#include "push/sweep_inner.h"

/* ---- finding files ---- */

struct walk {
    struct sweep *sweep;
    bool failed;
};

static void on_file(void *ctx, const char *path, enum watch_hint hint)
{
    struct walk *w = ctx;
    struct sweep *s = w->sweep;
    struct exposure e;
    (void)hint;
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        struct sweep_item *grown = realloc(s->items, room * sizeof *grown);
        if (!grown) {
            w->failed = true;
            return;
        }
        s->items = grown;
        s->room = room;
    }
    if (!intake_fill(&e, path, 0))
        return; /* gone again */
    struct sweep_item *item = &s->items[s->count];
    memset(item, 0, sizeof *item);
    item->path = strdup(path);
    w->failed = w->failed || !item->path;
    if (!item->path)
        return;
    memcpy(item->name, e.name, sizeof item->name);
    item->file = e.file;
    s->count++;
}

/* ---- looking at one, on a worker thread ---- */

struct look;

struct look_job {
    struct pool_job job; /* first */
    struct look *look;   /* main thread only */
    size_t item;
    char path[4096], night[NIGHT_SIZE]; /* "" : any night */
    struct camera camera;
    struct night_rule rule;
    struct wanted wanted;
    bool ran;
    enum status grade;
    struct fault why;
    struct identity file;
    struct facts facts;
    char group[CAMERA_GROUP];
    int ccd;
    bool of_night, hashed;
    char sha256[DIGEST_HEX]; /* known before when not "" */
};

struct look {
    struct sweep *sweep;
    struct pool *pool;
    struct loop *loop;
    struct progress progress;
    size_t next, done;
    bool failed;
};

static bool in_night(const struct look_job *j)
{
    char night[NIGHT_SIZE];
    if (!j->night[0])
        return true;
    night_of(&j->rule, j->facts.date_ns == INT64_MIN ? j->file.mtime_ns : j->facts.date_ns, night);
    return strcmp(night, j->night) == 0;
}

static void run_look(struct pool_job *job)
{
    struct look_job *j = (struct look_job *)job;
    struct survey s;
    j->ran = true;
    j->grade = survey_file(j->path, &j->camera, &s, &j->why);
    bool changed = s.fd >= 0 && !identity_equal(&s.file, &j->file);
    j->facts = s.facts;
    memcpy(j->group, s.group, sizeof j->group);
    for (size_t i = 0; i < s.layout.count && j->grade == ST_OK && !s.ccd_fault[0]; i++)
        j->ccd = s.ccd[i] > 0 ? s.ccd[i] : j->ccd;
    if (s.fd >= 0)
        j->file = s.file;
    /* What cannot be read tells no night: it counts, so that no night passes for complete. */
    j->of_night = j->grade != ST_OK ||
                  (in_night(j) && wanted_file(&j->wanted, &j->camera, &s, &j->why));
    if (j->grade == ST_OK && j->of_night && (changed || !j->sha256[0])) {
        j->grade = digest_fd(s.fd, s.file.size, j->sha256, &j->why);
        j->hashed = j->grade == ST_OK;
    }
    survey_free(&s);
}

/* ---- all of them ---- */

static void give_out(struct look *l);

static void done_look(struct pool_job *job)
{
    struct look_job *j = (struct look_job *)job;
    struct look *l = j->look;
    struct sweep_item *item = &l->sweep->items[j->item];
    struct fault why;
    item->file = j->file;
    item->facts = j->facts;
    item->of_night = j->of_night;
    memcpy(item->group, j->group, sizeof item->group);
    item->ccd = j->ccd;
    memcpy(item->sha256, j->sha256, sizeof item->sha256);
    if (j->grade != ST_OK || !j->ran)
        snprintf(item->broken, sizeof item->broken, "%s", j->ran ? j->why.text : "not looked at");
    if (j->hashed && journal_digest_put(deliver_journal(l->sweep->deliver), item->path,
                                        &item->file, item->sha256, &why) != ST_OK)
        log_debug(AT(.stage = "sweep"), "%s", why.text);
    free(j);
    l->done++;
    progress_show(&l->progress, (int64_t)l->done, (int64_t)l->sweep->count, "");
    give_out(l);
}

static bool give_one(struct look *l)
{
    struct sweep *s = l->sweep;
    const struct sweep_item *item = &s->items[l->next];
    struct look_job *j = calloc(1, sizeof *j);
    if (!j)
        return false;
    j->job.run = run_look;
    j->job.done = done_look;
    j->look = l;
    j->item = l->next++;
    snprintf(j->path, sizeof j->path, "%s", item->path);
    snprintf(j->night, sizeof j->night, "%s", s->o->night ? s->o->night : "");
    j->camera = s->config->camera;
    j->rule = s->config->night;
    settings_wanted(&s->config->set, &j->wanted);
    j->file = item->file;
    if (journal_digest(deliver_journal(s->deliver), item->path, &item->file, j->sha256, NULL) !=
        ST_OK)
        j->sha256[0] = '\0';
    pool_submit(l->pool, &j->job);
    return true;
}

static void give_out(struct look *l)
{
    size_t ahead = 2 * (size_t)pool_threads(l->pool);
    while (!l->failed && l->next < l->sweep->count && l->next - l->done < ahead)
        l->failed = !give_one(l);
    if (l->done == l->next && (l->failed || l->next == l->sweep->count))
        loop_stop(l->loop);
}

static enum status look_at_all(struct sweep *s, struct fault *why)
{
    struct look l = {.sweep = s};
    enum status st = loop_open(&l.loop, why);
    if (st == ST_OK)
        st = pool_start(s->config->set.threads, l.loop, &l.pool, why);
    if (st == ST_OK) {
        progress_start(&l.progress, "looking at");
        give_out(&l);
        st = loop_run(l.loop, why);
        progress_end(&l.progress);
    }
    if (st == ST_OK && l.failed)
        st = fault(why, ST_RETRY, "out of memory");
    pool_stop(&l.pool);
    loop_close(&l.loop);
    return st;
}

enum status sweep_look(struct sweep *s, struct fault *why)
{
    const struct settings *set = &s->config->set;
    struct watch_options o = {.directory = set->directory, .patterns = settings_pattern(s->config),
                              .recursive = set->recursive, .rescan_seconds = 1,
                              .stage = "sweep"};
    struct walk w = {.sweep = s};
    enum status st = watch_walk(&o, on_file, &w, why);
    if (st == ST_OK && w.failed)
        st = fault(why, ST_RETRY, "out of memory for the list of files");
    if (st == ST_OK && s->count > 0)
        st = look_at_all(s, why);
    return st;
}

void sweep_free(struct sweep *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i].path);
    free(s->items);
}
