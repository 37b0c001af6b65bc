#include "pull/job_decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/defer.h"
#include "pull/job_files.h"
#include "pull/job_task.h"
#include "pull/placing.h"
#include "pull/task_files.h"
#include "pull/unpack.h"

#define WRAP_MORE_S 120 /* the task itself keeps the time; this is for one that hangs */

/* The job's ccds in this state. */
static size_t in_state(const struct decode_rows *r, int64_t job, enum ccd_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < r->count; i++)
        n += r->ccds[i].job == job && r->ccds[i].state == state;
    return n;
}

/* ---- the order ---- */

/* What is being written; a job's ccds may come from several bundles. */
struct ordering {
    struct agent *a;
    struct exposure x; /* the last ccd's */
    json_t *bundles, *ccds;
};

static void add_bundle(struct ordering *w)
{
    char path[PULL_PATH];
    json_t *o = json_object();
    pull_path(&w->a->s, w->x.bundle, path);
    task_set(o, "path", path);
    task_set(o, "source_sha256", w->x.source_sha256);
    json_array_append_new(w->bundles, o);
}

static enum status add_ccd(struct ordering *w, const struct ccd *c, struct fault *why)
{
    struct place_file f = {0};
    bool found = true;
    enum status st = ST_OK;
    if (json_array_size(w->bundles) == 0 || w->x.id != c->exposure) {
        st = catalogue_get(w->a->cat, c->exposure, &w->x, &found, why);
        if (st == ST_OK && !found)
            st = fault(why, ST_RETRY, "ccd %d is of no exposure", c->ccd);
        if (st == ST_OK)
            add_bundle(w);
    }
    if (st == ST_OK)
        st = placing_file(&w->a->s, &w->x, c, &f, why);
    if (st != ST_OK)
        return st;
    json_t *o = json_object();
    json_object_set_new(o, "ccd", json_integer(c->ccd));
    json_object_set_new(o, "hdu", json_integer(c->hdu));
    json_object_set_new(o, "bundle", json_integer((json_int_t)json_array_size(w->bundles) - 1));
    task_set(o, "rel", c->path[0] ? c->path : f.rel);
    task_set(o, "conflict", w->x.force ? "replace" : w->a->s.on_conflict);
    if (f.mirror != MIRROR_NONE)
        task_set(o, "mirror_rel", f.mirror_rel);
    json_array_append_new(w->ccds, o);
    return ST_OK;
}

static int threads(const struct agent *a)
{
    if (a->s.threads > 0)
        return a->s.threads;
    return a->jobs->row == &job_local ? 1 : a->s.slurm.cores;
}

static enum status write_order(struct agent *a, const struct job *j, const struct exposure *x,
                               const struct decode_rows *r, json_t *order, struct fault *why)
{
    struct ordering w = {.a = a, .bundles = json_array(), .ccds = json_array()};
    enum status st = ST_OK;
    task_set(order, "exposure", x->name);
    task_set(order, "root", a->s.root);
    task_set(order, "mirror", a->s.workspace);
    task_set(order, "scratch", a->s.scratch);
    json_object_set_new(order, "threads", json_integer(threads(a)));
    json_object_set_new(order, "last", json_boolean(j->attempts + 1 > a->s.retries));
    for (size_t i = 0; st == ST_OK && i < r->count; i++)
        if (r->ccds[i].job == j->id && r->ccds[i].state == CCD_WAITING)
            st = add_ccd(&w, &r->ccds[i], why);
    json_object_set_new(order, "bundles", w.bundles);
    json_object_set_new(order, "ccds", w.ccds);
    return st;
}

/* What is placed by now has its name, what is parked is nothing to work on. */
static enum status write_job_again(struct agent *a, const struct job *j, const struct exposure *x,
                                   const struct decode_rows *r, struct fault *why)
{
    struct ccd *mine = malloc((r->count + 1) * sizeof *mine);
    if (!mine)
        return fault(why, ST_RETRY, "out of memory");
    for (size_t i = 0; i < r->count; i++) {
        mine[i] = r->ccds[i];
        mine[i].job = mine[i].job == j->id && mine[i].state != CCD_PARKED ? j->number : 0;
    }
    enum status st = job_write(&a->s, x, j, mine, r->count, why);
    free(mine);
    return st;
}

/* The local runner's order becomes one for a task, which finds the job's own in task.json. */
static enum status wrap(struct making *m, struct fault *why)
{
    char key[TASK_KEY];
    enum status st = task_draw_key(key, why);
    if (st == ST_OK)
        st = task_order(&m->o, job_local.name, key, why);
    if (st == ST_OK && !command_find("skyferry-pull", m->program, sizeof m->program))
        st = fault(why, ST_WAIT, "there is no program 'skyferry-pull' beside this one, nor in PATH");
    if (st != ST_OK)
        return st;
    const char *const words[] = {"skyferry-pull", "task", m->o.folder, key};
    command_free(&m->c);
    for (int i = 0; st == ST_OK && i < 4; i++, m->c.argc++)
        if (!(m->c.argv[i] = strdup(words[i])))
            return fault(why, ST_RETRY, "out of memory");
    m->o.timeout_s += WRAP_MORE_S;
    m->o.wraps = true;
    return ST_OK;
}

void decode_avoid(const struct job *j, struct making *m)
{
    bool lost = strcmp(j->batch_state, "NODE_FAIL") == 0 || strcmp(j->batch_state, "BOOT_FAIL") == 0;
    if (j->attempts == 0 && !lost)
        return;
    json_t *end = task_load(m->o.folder, "ended.json", NULL);
    if (lost || json_is_true(json_object_get(end, "elsewhere")))
        pull_text(m->node, sizeof m->node, "%s", lost ? j->node : task_text(end, "node"));
    if (m->node[0])
        m->o.avoid = m->node;
    json_decref(end);
}

enum status decode_order(struct agent *a, const struct job *j, const struct exposure *x,
                         struct making *m, struct fault *why)
{
    struct decode_rows r = {NULL, 0};
    size_t waiting = 0;
    enum status st = catalogue_ccds(a->cat, x->id, &r.ccds, &r.count, why);
    if (st == ST_OK)
        waiting = in_state(&r, j->id, CCD_WAITING);
    if (st == ST_OK && (waiting || (a->s.on_node && j->attempts > 0)))
        st = write_job_again(a, j, x, &r, why);
    if (st == ST_OK && waiting) {
        json_t *order = json_object();
        st = write_order(a, j, x, &r, order, why);
        m->decode = st == ST_OK ? json_dumps(order, JSON_COMPACT) : NULL;
        m->o.decode = m->decode;
        json_decref(order);
        if (st == ST_OK && !m->decode)
            st = fault(why, ST_RETRY, "out of memory");
    }
    if (st == ST_OK && waiting && a->jobs->row == &job_local)
        st = wrap(m, why);
    free(r.ccds);
    return st;
}

void decode_order_free(struct making *m)
{
    free(m->decode);
    m->decode = NULL;
}

/* ---- the end ---- */

/* Is the file that was placed there, as the task says? */
static bool is_there(const struct agent *a, const char *rel, int64_t size, struct ccd *c)
{
    char path[PULL_PATH];
    struct stat st;
    struct fault why;
    if (fs_join(path, sizeof path, a->s.root, rel, &why) == ST_OK && lstat(path, &st) == 0 &&
        S_ISREG(st.st_mode) && st.st_size == size)
        return true;
    snprintf(c->reason, sizeof c->reason, "its job says that it placed '%.300s', which is not there",
             rel);
    return false;
}

static void take_placed(const struct agent *a, const json_t *from, int64_t when, struct ccd *c)
{
    const char *rel = task_text(from, "path");
    int64_t size = task_int(from, "size");
    if (!is_there(a, rel, size, c))
        return;
    c->state = CCD_PLACED;
    c->reason[0] = '\0';
    c->size = size;
    c->placed_ns = when;
    c->qstep = json_number_value(json_object_get(from, "qstep"));
    pull_text(c->path, sizeof c->path, "%s", rel);
    pull_text(c->member, sizeof c->member, "%s", task_text(from, "member"));
    pull_text(c->codec, sizeof c->codec, "%s", task_text(from, "codec"));
    pull_text(c->datasum, sizeof c->datasum, "%s", task_text(from, "datasum"));
    pull_text(c->checksum, sizeof c->checksum, "%s", task_text(from, "checksum"));
}

static void take_one(const struct agent *a, const struct exposure *x, const json_t *from,
                     int64_t when, struct ccd *c)
{
    const char *state = task_text(from, "state");
    if (strcmp(state, "placed") == 0)
        take_placed(a, from, when, c);
    else if (strcmp(state, "parked") == 0)
        defer_park(x, c, task_text(from, "reason"));
    else
        snprintf(c->reason, sizeof c->reason, "%s", task_text(from, "reason"));
}

static void take_ccds(struct agent *a, const struct exposure *x, const struct job *j,
                      const json_t *end, struct ccd *ccds, size_t count)
{
    const json_t *list = json_object_get(end, "ccds"), *one;
    size_t unproven = 0, placed = 0, at;
    int64_t when = task_int(end, "ended_ns");
    json_array_foreach((json_t *)list, at, one)
        for (size_t i = 0; i < count; i++) {
            if (ccds[i].ccd != task_int(one, "ccd") || ccds[i].hdu != task_int(one, "hdu") ||
                ccds[i].job != j->id || ccds[i].state != CCD_WAITING)
                continue;
            take_one(a, x, one, when, &ccds[i]);
            placed += ccds[i].state == CCD_PLACED;
            unproven += ccds[i].state == CCD_PLACED &&
                        json_is_true(json_object_get(one, "unproven"));
        }
    if (placed > 0)
        log_info(AT(.stage = "placed", .exposure = x->name), "%zu ccds of q%d placed by its job on "
                 "node %s", placed, j->number, task_text(end, "node"));
    if (unproven > 0)
        log_warn(AT(.stage = "placed", .exposure = x->name), "%zu ccds " UNPACK_UNPROVEN, unproven);
}

void decode_take(struct agent *a, const struct exposure *x, const struct job *j,
                 const struct decode_rows *r, struct decoded_job *out)
{
    char folder[PULL_PATH];
    *out = (struct decoded_job){0};
    out->any = in_state(r, j->id, CCD_WAITING) > 0;
    if (!out->any)
        return;
    pull_path(&a->s, j->folder, folder);
    json_t *order = task_load(folder, "task.json", NULL), *end = task_load(folder, "ended.json", NULL);
    if (order && end && strcmp(task_text(order, "key"), task_text(end, "key")) == 0) {
        const char *grade = task_text(end, "grade");
        take_ccds(a, x, j, end, r->ccds, r->count);
        out->store_full = strcmp(grade, status_name(ST_WAIT)) == 0;
        /* What stopped it says more than that it was stopped. */
        if (strcmp(grade, status_name(ST_OK)) != 0 &&
            !json_is_true(json_object_get(end, "stopped")))
            pull_text(out->words, sizeof out->words, "%s", task_text(end, "words"));
        else if (a->jobs->row == &job_local) /* it saw only its task end */
            pull_text(out->said, sizeof out->said, "%s", task_text(end, "words"));
        out->hopeless = in_state(r, j->id, CCD_WAITING) == 0 &&
                        in_state(r, j->id, CCD_PLACED) == 0;
    }
    json_decref(order);
    json_decref(end);
}

/* "ccds 1, 2 are not placed" */
static void name_waiting(const struct ccd *ccds, size_t count, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "not placed: ccds ");
    bool first = true;
    for (size_t i = 0; i < count && at + 16 < size; i++)
        if (ccds[i].state == CCD_WAITING) {
            at += (size_t)snprintf(out + at, size - at, "%s%d", first ? "" : ", ", ccds[i].ccd);
            first = false;
        }
}

enum status decode_verdict(enum status grade, const struct job *j, const struct decode_rows *r,
                           const struct decoded_job *d, struct fault *why)
{
    char list[200];
    if (d->words[0])
        return fault(why, ST_REJECT, "%s", d->words);
    if (!d->any || in_state(r, j->id, CCD_WAITING) == 0)
        return grade;
    name_waiting(r->ccds, r->count, list, sizeof list);
    if (grade == ST_OK)
        return fault(why, ST_REJECT, "its task ended without having placed all of its ccds; %s",
                     list);
    size_t len = strlen(why->text);
    snprintf(why->text + len, sizeof why->text - len, "; %s", list);
    return grade;
}

void decode_give_up(const struct exposure *x, const struct job *j, const struct decode_rows *r)
{
    char reason[sizeof r->ccds->reason];
    for (size_t i = 0; i < r->count; i++) {
        if (r->ccds[i].state != CCD_WAITING)
            continue;
        snprintf(reason, sizeof reason, "its job q%d, which was to decode it, failed: %.400s",
                 j->number, j->reason);
        defer_park(x, &r->ccds[i], reason);
    }
}

/* No ccd of it waits any more? */
static enum status stamp_placed(struct agent *a, int64_t exposure, struct fault *why)
{
    struct exposure x;
    struct decode_rows r = {NULL, 0};
    bool found = false, whole = true;
    enum status st = catalogue_ccds(a->cat, exposure, &r.ccds, &r.count, why);
    for (size_t i = 0; st == ST_OK && i < r.count; i++)
        whole = whole && r.ccds[i].state != CCD_WAITING;
    free(r.ccds);
    if (st == ST_OK && whole)
        st = catalogue_get(a->cat, exposure, &x, &found, why);
    if (st != ST_OK || !found)
        return st;
    if (!x.stamp[STAMP_PLACED])
        x.stamp[STAMP_PLACED] = clock_wall();
    st = catalogue_save(a->cat, &x, why);
    /* Another exposure may have waited for the names. */
    return st == ST_OK ? catalogue_hurry_stored(a->cat, why) : st;
}

enum status decode_record(struct agent *a, const struct decode_rows *r,
                          const struct decoded_job *d, struct fault *why)
{
    enum status st = ST_OK;
    for (size_t i = 0; d->any && st == ST_OK && i < r->count; i++)
        st = catalogue_put_ccd(a->cat, &r->ccds[i], why);
    for (size_t i = 0; d->any && st == ST_OK && i < r->count; i++)
        if (i == 0 || r->ccds[i].exposure != r->ccds[i - 1].exposure)
            st = stamp_placed(a, r->ccds[i].exposure, why) == ST_OK
                     ? catalogue_count(a->cat, r->ccds[i].exposure, why)
                     : why->grade;
    return st;
}
