/* The flow's two steps about jobs: making them from placed ccds, and settling when all ended. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/flow.h"
#include "pull/job_files.h"
#include "pull/job_inner.h"
#include "pull/job_batch.h"
#include "pull/visit.h"

#define AUTO_LEAST 4 /* ccds: a second to begin a job on a node, a few to work on a ccd */

/* What jobs_make hands to its record; between the two, a ccd's `job` is a job's number. */
struct plan {
    struct ccd *ccds;
    size_t count;
    int first, last; /* numbers of the new jobs; last < first: none */
};

struct tally {
    int highest, active;
    struct plan *plan; /* NULL: none */
};

static bool tally_job(void *ctx, const struct job *j)
{
    struct tally *t = ctx;
    if (j->number > t->highest)
        t->highest = j->number;
    t->active += j->state == JOB_WAITING || j->state == JOB_RUNNING;
    /* A ccd whose file is gone by now, though its job has ended: it takes another one to place it. */
    bool over = j->state == JOB_DONE || j->state == JOB_FAILED;
    for (size_t i = 0; over && t->plan && i < t->plan->count; i++)
        if (t->plan->ccds[i].job == j->id && t->plan->ccds[i].state == CCD_WAITING)
            t->plan->ccds[i].job = 0;
    return true;
}

static enum status new_job(struct agent *a, const struct exposure *x, int number, struct job *out,
                           struct fault *why)
{
    *out = (struct job){.exposure = x->id, .number = number, .exit_status = -1,
                        .state = a->s.dry_run ? JOB_DRY : JOB_WAITING};
    return job_folder(x, number, out->folder, sizeof out->folder, why);
}

static enum status record(struct agent *a, struct flight *f, struct fault *why)
{
    struct plan *p = f->work;
    enum status st = ST_OK;
    for (int number = p->first; st == ST_OK && number <= p->last; number++) {
        struct job j;
        st = new_job(a, &f->x, number, &j, why);
        if (st == ST_OK)
            st = catalogue_put_job(a->cat, &j, why);
        for (size_t i = 0; st == ST_OK && i < p->count; i++) {
            if (p->ccds[i].job != number)
                continue;
            struct ccd c = p->ccds[i];
            c.job = j.id;
            st = catalogue_put_ccd(a->cat, &c, why);
        }
    }
    return st;
}

/* A job's processors have a ccd each, yet its beginning has to be worth it; and no job is left
 * with a few. On this machine, whose processors the jobs share, each is a job's. */
int job_ccds_each(const struct pull_settings *s, size_t good)
{
    const struct slurm_settings *m = &s->slurm;
    if (strcmp(s->per_task, "auto") != 0)
        return s->ccds_per_job;
    if (good == 0)
        return 1;
    long each = (long)m->nodes * m->tasks_per_node * m->cores;
    if (!dialect_find(s->runner)) {
        long slots = s->max_running > 0 ? s->max_running : sysconf(_SC_NPROCESSORS_ONLN);
        slots = slots > 0 ? slots : 1;
        each = ((long)good + slots - 1) / slots;
    }
    each = each < AUTO_LEAST ? AUTO_LEAST : each;
    long jobs = ((long)good + each - 1) / each;
    return (int)(((long)good + jobs - 1) / jobs);
}

/* Groups the ccds that are to have a job and have none, placed or left to it, in order; the others
 * are dropped from the list. */
static void group(struct plan *p, const struct pull_settings *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++)
        if (visit_job_wants(s, &p->ccds[i]))
            p->ccds[kept++] = p->ccds[i];
    p->count = kept;
    int each = job_ccds_each(s, kept);
    for (size_t i = 0; i < kept; i++)
        p->ccds[i].job = p->first + (int)i / each;
    p->last = kept ? (int)p->ccds[kept - 1].job : p->first - 1;
}

/* What sbatch would get; the key is drawn when it is submitted. */
static void write_script(struct agent *a, const struct exposure *x, int first)
{
    struct job j;
    struct fault why;
    char folder[PULL_PATH], path[PULL_PATH];
    enum status st = new_job(a, x, first, &j, &why);
    if (st == ST_OK) {
        pull_text(folder, sizeof folder, "%s/%.*s", a->s.root,
                  (int)(fs_basename(j.folder) - j.folder) - 1, j.folder);
        st = batch_script(&a->s, folder, first, "dry-run", path, &why);
    }
    if (st == ST_OK)
        log_info(AT(.stage = "job", .exposure = x->name), "the batch script is %s", path);
    else
        log_error(AT(.stage = "job", .exposure = x->name), "no batch script: %s", why.text);
}

void jobs_make(struct agent *a, struct flight *f)
{
    if (visit_holds(a, f))
        return;
    struct plan p = {0};
    struct tally t = {.plan = &p};
    struct fault why = {0};
    enum status st = catalogue_ccds(a->cat, f->x.id, &p.ccds, &p.count, &why);
    if (st == ST_OK)
        st = catalogue_jobs_of(a->cat, f->x.id, tally_job, &t, &why);
    p.first = t.highest + 1;
    group(&p, &a->s);
    for (int number = p.first; st == ST_OK && number <= p.last; number++) {
        struct job j;
        st = new_job(a, &f->x, number, &j, &why);
        if (st == ST_OK)
            st = job_write(&a->s, &f->x, &j, p.ccds, p.count, &why);
    }
    if (st == ST_OK) {
        job_retire(&a->s, &f->x, p.last + 1);
        crash_point("pull:jobfiles");
        f->work = &p;
        f->record = record;
        if (a->s.dry_run && p.count > 0 && dialect_find(a->s.runner))
            write_script(a, &f->x, p.first);
        if (a->s.dry_run && p.count > 0)
            log_info(AT(.stage = "job", .exposure = f->x.name), "%d job files written, none is "
                     "started ([jobs] dry_run)", p.last - p.first + 1);
    }
    flow_ended(a, f, st, &why);
    free(p.ccds);
}

void jobs_settle(struct agent *a, struct flight *f)
{
    if (visit_settles(a, f))
        return;
    struct tally t = {0};
    struct fault why;
    enum status st = catalogue_jobs_of(a->cat, f->x.id, tally_job, &t, &why);
    if (st != ST_OK)
        flow_ended(a, f, st, &why);
    else
        flow_ended(a, f, t.active ? ST_WAIT : ST_OK, NULL);
}
