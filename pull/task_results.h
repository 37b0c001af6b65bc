/* The second half of a task with [decode] where = job: the command runs in SCRATCH/work with the
 * job.json that names the FITS files in the scratch, and what it leaves there is brought back into
 * the job's folder. Main thread. */
#ifndef SKYFERRY_PULL_TASK_RESULTS_H
#define SKYFERRY_PULL_TASK_RESULTS_H

#include "pull/job_runner.h"
#include "pull/task_decode.h"

/* Where the command runs, and what it is given. */
struct task_place {
    char work[PULL_PATH], job_file[PULL_PATH], result_file[PULL_PATH];
    char *argv[65]; /* COMMAND_ARGS and NULL; malloc'ed */
};

/* Writes SCRATCH/job.json from the folder's: the decoded ccds' files are those of the scratch, ccds
 * that can never be decoded are left out. The command's arguments get the new paths, too. */
enum status task_place_make(const struct task_decode *d, const struct job_order *o,
                            struct task_place *out, struct fault *why);
void task_place_free(struct task_place *p);

/* Every file below `work` into `folder`, each whole or not at all, in place of what an earlier
 * attempt left, result.json last. The task's own files there are not touched; links and special
 * files stay behind. */
enum status task_bring_back(const char *work, const char *folder, struct fault *why);

#endif
