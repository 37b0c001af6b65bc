/* Jobs: one calibration run over a group of an exposure's placed ccds. Rows of the catalogue
 * (waiting -> running -> done | failed, or dry) and a folder jobs/NIGHT/NAME/qN each with
 * job.json, out, err, result.json and end.json (how it ended). Started in order, bounded,
 * tried again after a failure; what runs them is a job_runner. Main thread only. */
#ifndef SKYFERRY_PULL_JOB_H
#define SKYFERRY_PULL_JOB_H

#include "pull/agent.h"
#include "pull/job_dialect.h"

/* Opens the runner and takes back the jobs that ran before: processes that a crash left are
 * ended, and the rows wait again; what a batch system has is taken up again. With another runner
 * than theirs: FATAL while a batch system has one; a submission that it never confirmed is given
 * up. */
enum status jobs_open(struct agent *a, struct fault *why);
/* Ends what runs on this machine, and these rows wait again, the attempt not counted; what a
 * batch system has is left to it until the next start. */
void jobs_close(struct agent *a);

/* Steps of the flow table: files and rows for every placed ccd without a job; then done when
 * no job of the exposure waits or runs. */
void jobs_make(struct agent *a, struct flight *f);
void jobs_settle(struct agent *a, struct flight *f);

/* Starts waiting jobs while there is room. */
enum status jobs_look(struct agent *a, struct fault *why);
/* Ends the running jobs of an exposure; true when there were any: ask again when they ended. */
bool jobs_cancel(struct agent *a, int64_t exposure);

/* The batch system that has this running job, if [jobs] runner is another one; else NULL. */
const struct batch_dialect *job_elsewhere(const struct pull_settings *s, const struct job *j);
/* Is it known to have arrived there? By its name, which goes to id ("" not known), or a claim. */
bool job_confirmed(const struct pull_settings *s, const struct job *j, char id[BATCH_ID]);

#endif
