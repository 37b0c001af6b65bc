/* What people ask of exposures that are here already: `reprocess` (unpack, place and run the
 * jobs again, all of it) and `retry` (only what is parked or failed). A request is a row of
 * the catalogue until it is granted, so that it outlives both processes. Main thread only. */
#ifndef SKYFERRY_PULL_REQUEST_H
#define SKYFERRY_PULL_REQUEST_H

#include "pull/agent.h"

/* Grants every request whose exposure is at rest; cancels the running jobs of the others. */
enum status requests_take(struct agent *a, struct fault *why);

/* An exposure's parked ccds wait to be decoded again. */
enum status requests_retry_ccds(struct agent *a, int64_t exposure, struct fault *why);
/* Its failed (and dry) jobs wait to be run again. */
enum status requests_retry_jobs(struct agent *a, int64_t exposure, struct fault *why);

/* Makes of one exposure's rows what was asked, inside the caller's transaction. */
enum status requests_set_back(struct agent *a, struct exposure *x, const struct request *r,
                              struct fault *why);

#endif
