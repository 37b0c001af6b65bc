/* What runs a job, behind a row of functions: `local` (processes of this machine), `slurm` or
 * `pbs` (tasks of a job array). A runner knows nothing of exposures or the catalogue:
 * it gets an order (program, arguments, folder, limits), gives back a handle that is written
 * into the catalogue before the job may begin, and says how it ended. Main thread only. */
#ifndef SKYFERRY_PULL_JOB_RUNNER_H
#define SKYFERRY_PULL_JOB_RUNNER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/loop.h"

#define JOB_HANDLE 128

struct gate;
struct pull_settings;

struct job_order {
    int64_t id;
    const char *folder;       /* absolute: the working folder; gets the files out and err */
    const char *work;         /* another working folder; NULL: none */
    const char *program;      /* path of the executable file */
    char *const *argv;
    const char *job_file;     /* SKYFERRY_JOB, which also marks the job's processes */
    const char *result_file;  /* SKYFERRY_RESULT */
    int timeout_s;
    int64_t output_max;       /* bytes of out and of err */
    int64_t group;            /* orders of one group may go out together: the exposure */
    int number;               /* within the group */
    const char *decode;       /* JSON: what the task decodes first (task_decode.h); NULL: nothing */
    const char *avoid;        /* batch systems: a node that it must not go to; NULL: none */
    bool wraps;               /* local: it is `skyferry-pull task`, which writes out and err itself
                               * and needs a moment to clean up when it is told to end */
    const struct pull_settings *settings; /* stays while the runner is open; local needs none */
    struct gate *gate;        /* the same; a batch system's runner asks gate_lets_submit */
};

struct job_end {
    int64_t id;
    bool ok;         /* exit status 0 */
    bool cancelled;  /* ended because jobs_cancel asked */
    bool limited;    /* local: ended for its time or its output, by us */
    char words[256]; /* "exit status 3", "ended after 300 s, its time limit", ... */
    int exit_status; /* 128 and the signal's number after a signal; -1 not known */
    /* Batch systems only. */
    bool news;       /* no end yet: the four below (and words: what is in the way) changed */
    char batch[32], state[24], node[64];
    int64_t started_ns, ended_ns; /* by the node's clock; 0 not known */
};

struct job_runner {
    const struct job_runner_row *row; /* runners embed this as first member */
};

struct job_runner_row {
    const char *name; /* [jobs] runner */
    /* wake(ctx) is called from the loop when poll may have something. */
    enum status (*open)(struct loop *loop, void (*wake)(void *ctx), void *ctx,
                        struct job_runner **out, struct fault *why);
    /* Prepares the job; nothing of it runs before release. RETRY: not now. REJECT: never. */
    enum status (*submit)(struct job_runner *r, const struct job_order *o,
                          char handle[JOB_HANDLE], struct fault *why);
    void (*release)(struct job_runner *r, int64_t id);
    /* The next job that ended; false when there is none. */
    bool (*poll)(struct job_runner *r, struct job_end *out);
    /* Ends it with all its processes; its end still comes through poll. */
    void (*cancel)(struct job_runner *r, int64_t id);
    /* After a crash: ends whatever is left of a run known by its handle and its job file. */
    void (*bury)(struct job_runner *r, const char *handle, const char *job_file);
    /* Ends all jobs at once, without polls; one that has adopt leaves them to the next start. */
    void (*close)(struct job_runner **r);
    /* After a restart: takes up a released job again by its handle (and its batch name, if that
     * is known), instead of burying it. The same job is never begun twice. NULL: cannot. */
    enum status (*adopt)(struct job_runner *r, const struct job_order *o, const char *handle,
                         const char *batch, struct fault *why);
};

/* By name; NULL when unknown. */
const struct job_runner_row *job_runner_find(const char *name);
extern const struct job_runner_row job_local, job_slurm, job_pbs;

#endif
