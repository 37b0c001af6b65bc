/* Opening the runner, taking back or taking up what ran before, and closing. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "pull/job_dialect.h"
#include "pull/job_files.h"
#include "pull/job_inner.h"
#include "pull/job_task.h"

struct rows {
    struct job *items;
    size_t count, room;
};

static bool note_row(void *ctx, const struct job *j)
{
    struct rows *rows = ctx;
    if (rows->count == rows->room) {
        size_t room = rows->room ? 2 * rows->room : 16;
        struct job *bigger = realloc(rows->items, room * sizeof *bigger);
        if (!bigger)
            return false;
        rows->items = bigger;
        rows->room = room;
    }
    rows->items[rows->count++] = *j;
    return true;
}

const struct batch_dialect *job_elsewhere(const struct pull_settings *s, const struct job *j)
{
    const struct batch_dialect *d = dialect_of_handle(j->handle);
    return d && strcmp(d->name, s->runner) != 0 ? d : NULL;
}

bool job_confirmed(const struct pull_settings *s, const struct job *j, char id[BATCH_ID])
{
    struct task_report r = {0};
    const char *key = strchr(j->handle, ' ');
    char folder[PULL_PATH];
    pull_path(s, j->folder, folder);
    bool claimed = key && task_look(folder, key + 1, &r);
    pull_text(id, BATCH_ID, "%s", j->batch[0] ? j->batch : claimed ? r.batch : "");
    return claimed || j->batch[0];
}

static bool is_ours_to_adopt(const struct agent *a, const struct job *j)
{
    const struct job_runner_row *row = a->jobs->row;
    size_t len = strlen(row->name);
    return row->adopt && strncmp(j->handle, row->name, len) == 0 && j->handle[len] == ' ';
}

static enum status adopt(struct agent *a, const struct job *j, struct fault *why)
{
    struct making m;
    job_prepare(a, j, &m);
    enum status st = a->jobs->runner->row->adopt(a->jobs->runner, &m.o, j->handle, j->batch, why);
    return st == ST_OK ? job_note_running(a->jobs, j, why) : st;
}

static enum status wait_again(struct agent *a, struct job *j, bool bury, struct fault *why)
{
    char job_file[PULL_PATH];
    job_path(&a->s, j, "job.json", job_file);
    if (bury)
        a->jobs->runner->row->bury(a->jobs->runner, j->handle, job_file);
    j->state = JOB_WAITING;
    j->attempts--;
    j->due_ns = 0;
    j->handle[0] = '\0';
    enum status st = catalogue_put_job(a->cat, j, why);
    if (st == ST_OK && bury)
        log_info(AT(.stage = "job"), "%s was running when the agent ended: run again", j->folder);
    return st;
}

/* It is in a queue that only the other runner can ask. */
static enum status refuse(const struct job *j, const struct batch_dialect *d, const char *id,
                          struct fault *why)
{
    return fault(why, ST_FATAL, "%s is in %s's queue (%s): start with [jobs] runner = %s until its "
                 "jobs have ended", j->folder, d->system, id[0] ? id : "a task of it began", d->name);
}

/* The batch system never said that it has it. Without its order a submission that comes all the
 * same runs nothing; a task that was faster has claimed it, and goes on. */
static enum status give_up(struct agent *a, struct job *j, const struct batch_dialect *d,
                           struct fault *why)
{
    char folder[PULL_PATH], id[BATCH_ID];
    pull_path(&a->s, j->folder, folder);
    task_withdraw(folder, strchr(j->handle, ' ') + 1);
    if (job_confirmed(&a->s, j, id))
        return refuse(j, d, id, why);
    log_warn(AT(.stage = "job"), "%s was never confirmed by %s: this submission is given up, and "
             "[jobs] runner = %s runs it; what %s may have of it all the same runs nothing",
             j->folder, d->system, a->s.runner, d->system);
    j->reason[0] = '\0';
    return wait_again(a, j, false, why);
}

/* All or none: while one of them is in the other's queue nothing is changed. */
static enum status refuse_any(struct agent *a, const struct rows *rows, struct fault *why)
{
    char id[BATCH_ID];
    for (size_t i = 0; i < rows->count; i++) {
        const struct batch_dialect *d = job_elsewhere(&a->s, &rows->items[i]);
        if (d && job_confirmed(&a->s, &rows->items[i], id))
            return refuse(&rows->items[i], d, id, why);
    }
    return ST_OK;
}

/* Every row that says "running" waits again, or is taken up again where it goes on without us;
 * `bury` ends what may be left of it. */
static enum status take_back(struct agent *a, bool bury, struct fault *why)
{
    struct rows rows = {0};
    enum status st = catalogue_jobs_in(a->cat, JOB_RUNNING, note_row, &rows, why);
    if (st == ST_OK && bury)
        st = refuse_any(a, &rows, why);
    for (size_t i = 0; st == ST_OK && i < rows.count; i++) {
        struct job *j = &rows.items[i];
        const struct batch_dialect *other = job_elsewhere(&a->s, j);
        if (other && !bury)
            continue;
        if (other)
            st = give_up(a, j, other, why);
        else if (!is_ours_to_adopt(a, j))
            st = wait_again(a, j, bury, why);
        else if (bury)
            st = adopt(a, j, why);
    }
    free(rows.items);
    return st;
}

enum status jobs_open(struct agent *a, struct fault *why)
{
    const struct job_runner_row *row = job_runner_find(a->s.runner);
    if (!row)
        return fault(why, ST_FATAL, "[jobs] runner '%s' is unknown", a->s.runner);
    a->jobs = calloc(1, sizeof *a->jobs);
    if (!a->jobs)
        return fault(why, ST_FATAL, "out of memory");
    a->jobs->row = row;
    a->jobs->last_end = &a->jobs->ends;
    enum status st = row->open(a->loop, jobs_on_wake, a, &a->jobs->runner, why);
    if (st == ST_OK)
        st = take_back(a, true, why);
    return st;
}

void jobs_close(struct agent *a)
{
    struct fault why;
    if (!a->jobs)
        return;
    if (a->jobs->runner) {
        a->jobs->runner->row->close(&a->jobs->runner);
        if (take_back(a, false, &why) != ST_OK)
            log_error(AT(.stage = "job"), "%s", why.text);
    }
    while (a->jobs->running)
        job_forget_running(a->jobs, a->jobs->running->id);
    while (a->jobs->ends) {
        struct unrecorded *gone = a->jobs->ends;
        a->jobs->ends = gone->next;
        free(gone);
    }
    free(a->jobs);
    a->jobs = NULL;
}
