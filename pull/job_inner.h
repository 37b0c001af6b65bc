/* What job.c (starting and ending) and job_open.c (opening, taking up again, closing) share. */
#ifndef SKYFERRY_PULL_JOB_INNER_H
#define SKYFERRY_PULL_JOB_INNER_H

#include "pull/command.h"
#include "pull/job.h"
#include "pull/job_runner.h"

struct running {
    struct running *next;
    int64_t id, exposure;
    char handle[JOB_HANDLE]; /* the same for all of an array */
};

/* An end that the catalogue could not take yet. */
struct unrecorded {
    struct unrecorded *next;
    struct job_end end;
};

struct jobs {
    const struct job_runner_row *row;
    struct job_runner *runner;
    struct running *running;
    int count;
    struct unrecorded *ends, **last_end;
};

/* What the runner gets, with room for the texts that the order points to; begin alone fills in
 * the program and its arguments. */
struct making {
    char program[PULL_PATH], folder[PULL_PATH], job_file[PULL_PATH], result[PULL_PATH];
    struct command c;
    struct job_order o;
    char *decode, node[64]; /* job_decode.c's */
};

void job_prepare(struct agent *a, const struct job *j, struct making *m);

/* The list of what runs. */
enum status job_note_running(struct jobs *jobs, const struct job *j, struct fault *why);
void job_forget_running(struct jobs *jobs, int64_t id);

/* How many ccds one job of an exposure gets that has so many good ones ([jobs] per_task). */
int job_ccds_each(const struct pull_settings *s, size_t good);

/* ---- job.c ---- */
/* Writes ends down, oldest first, until the catalogue fails; the rest is kept. */
enum status job_record_ends(struct agent *a, struct fault *why);
/* Hands a waiting job to the runner. OK also when that cannot be now: it waits on. */
enum status job_start(struct agent *a, struct job *j, struct fault *why);

/* The runner's wake. */
void jobs_on_wake(void *ctx);

#endif
