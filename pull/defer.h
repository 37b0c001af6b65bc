/* Ccds that are left to their jobs, [decode] where = job: instead of placing them, the step from
 * `stored` to `placed` gives each row that waits the path that it is to get; its job's task decodes
 * and places it (job_decode.h). Main thread. */
#ifndef SKYFERRY_PULL_DEFER_H
#define SKYFERRY_PULL_DEFER_H

#include "pull/agent.h"

/* Are this exposure's ccds left to its jobs? Exact data that follow lossy ones are not: no job runs
 * over them. */
bool defer_is_due(const struct agent *a, const struct exposure *x);
/* Is this ccd? One that waits and is to have a job: the others are left to the daemon. */
bool defer_takes(const struct agent *a, const struct exposure *x, const struct ccd *c);
/* Gives these their paths; one that the bundle lacks, or that can have no path, is parked.
 * WAIT: another exposure's jobs are about to use such a name, and the first comes first. */
enum status defer_ccds(struct agent *a, const struct exposure *x, const struct manifest *m,
                       struct ccd *ccds, size_t count, struct fault *why);
/* While any of them waits the exposure is not placed. */
void defer_stamp(struct exposure *x, const struct ccd *ccds, size_t count);
void defer_park(const struct exposure *x, struct ccd *c, const char *reason);

#endif
