/* What a job says on standard output or error: a pipe that the loop empties into a file, so
 * that the file's size is bounded to the byte however fast the job writes. Past the bound the
 * rest is thrown away and the runner is told once. Main thread only. */
#ifndef SKYFERRY_PULL_JOB_OUTPUT_H
#define SKYFERRY_PULL_JOB_OUTPUT_H

#include "common/loop.h"

struct job_output;

struct job_output_options {
    const char *folder, *name; /* the file, made anew */
    int64_t most;              /* bytes */
    void (*full)(void *ctx);   /* called once, from the loop */
    void *ctx;
};

/* *write_end is for the job; the caller closes it when the job has its copy. */
enum status job_output_open(struct loop *l, const struct job_output_options *o,
                            struct job_output **out, int *write_end, struct fault *why);
/* Takes what is still in the pipe, without waiting for more. */
void job_output_close(struct job_output **o);

#endif
