/* The daemon's part of jobs that decode ([decode] where = job; defer.h says which ccds): what a job
 * is told to decode before its command runs (task_decode.h says what a task makes of it), and
 * the catalogue's rows when its end tells what it placed. Main thread. */
#ifndef SKYFERRY_PULL_JOB_DECODE_H
#define SKYFERRY_PULL_JOB_DECODE_H

#include "pull/job_inner.h"

/* Before an order goes to its runner: when ccds of the job wait, the order for its task. With the
 * local runner the order becomes one for `skyferry-pull task` itself. */
enum status decode_order(struct agent *a, const struct job *j, const struct exposure *x,
                         struct making *m, struct fault *why);
/* Before the files of the attempt before are removed: the node whose fault it was that it failed is
 * one to avoid. */
void decode_avoid(const struct job *j, struct making *m);
/* Frees what decode_order added. */
void decode_order_free(struct making *m);

/* What the task told of the ccds when its job ended. */
struct decoded_job {
    bool any;         /* it had ccds to decode: their rows are to be written */
    bool store_full;  /* it waits for room in the store: no attempt is counted */
    bool hopeless;    /* not one of its ccds can be decoded: another attempt is no use */
    char words[512];  /* what was in the way; "" when nothing was, or the command failed */
    char said[256];   /* how the command ended; "" when the runner knows it better */
};

struct decode_rows {
    struct ccd *ccds;
    size_t count;
};

/* Takes over what ended.json tells into the rows of the job's ccds (among all of the exposure's). */
void decode_take(struct agent *a, const struct exposure *x, const struct job *j,
                 const struct decode_rows *r, struct decoded_job *out);

/* The three below get the job's own ccds. The grade and words of its end, with what became of them:
 * OK is no end of a job whose ccds wait. */
enum status decode_verdict(enum status grade, const struct job *j, const struct decode_rows *r,
                           const struct decoded_job *d, struct fault *why);
/* The job will not be run again: what still waits is parked. */
void decode_give_up(const struct exposure *x, const struct job *j, const struct decode_rows *r);
/* Inside the transaction that writes the job's end. */
enum status decode_record(struct agent *a, const struct decode_rows *r,
                          const struct decoded_job *d, struct fault *why);

#endif
