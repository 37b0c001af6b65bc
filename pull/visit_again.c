/* A visit again: what is asked of it concerns its files, too; and its rows made from the tree. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "pull/rebuild.h"
#include "pull/request.h"
#include "pull/visit.h"

struct files {
    struct exposure *items;
    size_t count, room;
    bool full; /* out of memory */
};

static bool take_file(void *ctx, const struct exposure *x)
{
    struct files *files = ctx;
    if (files->count == files->room) {
        size_t room = files->room ? 2 * files->room : 128;
        struct exposure *bigger = realloc(files->items, room * sizeof *bigger);
        files->full = bigger == NULL;
        if (!bigger)
            return false;
        files->items = bigger;
        files->room = room;
    }
    files->items[files->count++] = *x;
    return true;
}

/* Collected first, as a row may not be written while the query walks. */
static enum status files_of(struct catalogue *cat, const struct catalogue_pick *pick,
                            struct files *out, struct fault *why)
{
    *out = (struct files){0};
    enum status st = catalogue_each(cat, pick, take_file, out, why);
    return st == ST_OK && out->full ? fault(why, ST_RETRY, "out of memory for a visit's files") : st;
}

static bool concerns(const struct exposure *file, const struct request *r)
{
    if (file->state == EX_COMING)
        return false;
    return r->verb == ASK_REPROCESS || file->state == EX_PARKED || file->faults > 0;
}

enum status visit_set_back(struct agent *a, struct exposure *x, const struct request *r,
                           struct fault *why)
{
    struct catalogue_pick pick = {.visit = x->id, .oldest_first = true};
    struct files files;
    enum status st = files_of(a->cat, &pick, &files, why);
    for (size_t i = 0; st == ST_OK && i < files.count; i++)
        if (concerns(&files.items[i], r))
            st = requests_set_back(a, &files.items[i], r, why);
    if (st == ST_OK && r->verb == ASK_REPROCESS)
        st = catalogue_clear_jobs(a->cat, x->id, why);
    else if (st == ST_OK)
        st = requests_retry_jobs(a, x->id, why);
    free(files.items);
    x->state = EX_PLACED;
    x->attempts = 0;
    x->due_ns = clock_wall();
    x->reason[0] = '\0';
    x->force = r->verb == ASK_RETRY; /* its jobs no longer wait for files that are missing */
    x->stamp[STAMP_DONE] = 0;
    if (st == ST_OK)
        st = catalogue_save(a->cat, x, why);
    return st == ST_OK ? catalogue_count(a->cat, x->id, why) : st;
}

enum status visit_choose(struct agent *a, const struct exposure *x, struct fault *why)
{
    struct catalogue_pick pick = {.visit = x->id};
    struct files files = {0};
    if (!a->chosen)
        return ST_OK;
    enum status st = x->visit ? agent_choose_more(a, x->visit, why) : ST_OK;
    if (st == ST_OK && x->visit_ccds)
        st = files_of(a->cat, &pick, &files, why);
    for (size_t i = 0; st == ST_OK && i < files.count; i++)
        if (files.items[i].state != EX_COMING)
            st = agent_choose_more(a, files.items[i].id, why);
    free(files.items);
    return st;
}

/* ---- rebuild ---- */

static enum status end_file(struct catalogue *cat, struct exposure *x, int64_t done_ns,
                            struct fault *why)
{
    if (x->state != EX_PLACED)
        return ST_OK;
    x->state = EX_DONE;
    x->stamp[STAMP_DONE] = done_ns;
    return catalogue_save(cat, x, why);
}

static enum status rebuild_one(const struct pull_settings *s, struct catalogue *cat,
                               struct exposure *v, struct rebuilt_jobs *jobs, struct fault *why)
{
    struct catalogue_pick pick = {.visit = v->id};
    struct files files;
    enum status st = files_of(cat, &pick, &files, why);
    if (st == ST_OK)
        st = rebuild_jobs(s, cat, v, jobs, why);
    v->state = jobs->ccds_waiting || jobs->ccds_without > 0 ? EX_PLACED
               : jobs->active > 0                           ? EX_WORKING
                                                            : EX_DONE;
    v->due_ns = clock_wall();
    if (v->state == EX_DONE)
        v->stamp[STAMP_DONE] = jobs->ended_ns ? jobs->ended_ns : v->stamp[STAMP_PLACED];
    for (size_t i = 0; st == ST_OK && v->state == EX_DONE && i < files.count; i++)
        st = end_file(cat, &files.items[i], v->stamp[STAMP_DONE], why);
    free(files.items);
    if (st == ST_OK)
        st = catalogue_save(cat, v, why);
    return st == ST_OK ? catalogue_count(cat, v->id, why) : st;
}

enum status visit_rebuild(const struct pull_settings *s, struct catalogue *cat, long *jobs,
                          struct fault *why)
{
    struct catalogue_pick pick = {.states = 1u << EX_PLACED, .oldest_first = true};
    struct files rows;
    enum status st = files_of(cat, &pick, &rows, why);
    for (size_t i = 0; st == ST_OK && i < rows.count; i++) {
        struct rebuilt_jobs found = {0};
        if (!rows.items[i].visit_ccds)
            continue;
        st = rebuild_one(s, cat, &rows.items[i], &found, why);
        *jobs += found.count;
    }
    free(rows.items);
    return st;
}
