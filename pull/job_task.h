/* One job where a batch system put it: `skyferry-pull task FOLDER KEY`, which the batch script
 * runs, and the files in the job's folder by which it and the daemon know of each other:
 *   task.json   the daemon's order: program, arguments, limits, and the submission's KEY
 *   claim.json  who runs it, made exclusively: a second submission finds it and goes away
 *   ended.json  how it ended, written last
 * With [decode] where = job the order lists the ccds that the task decodes and places first
 * (pull/task_decode.h), and ended.json what became of them.
 * A task that was requeued has the name it had and, with Slurm, a higher count of restarts: it
 * takes its claim over. Who does not have the claim any more ends its command and writes no
 * end. Nothing else is shared between node and daemon. */
#ifndef SKYFERRY_PULL_JOB_TASK_H
#define SKYFERRY_PULL_JOB_TASK_H

#include "pull/job_runner.h"

#define TASK_KEY 17

struct task_report {
    char batch[32], node[64]; /* "1234_2" */
    int64_t started_ns, ended_ns; /* ended_ns 0: it runs */
    bool ok, stopped; /* stopped: failed, from outside: it may be put in the queue again */
    int exit_status;
    char words[256];
};

enum status task_draw_key(char key[TASK_KEY], struct fault *why);
/* runner: whose submission it is. */
enum status task_order(const struct job_order *o, const char *runner, const char *key,
                       struct fault *why);
/* Takes the order with this key back: a task that comes for it all the same runs nothing. */
void task_withdraw(const char *folder, const char *key);
/* The handle of the submission that the folder's order belongs to; false: it has no order. */
bool task_handle(const char *folder, char handle[JOB_HANDLE]);
/* The newest that the folder tells of the submission with this key; false: nothing yet. */
bool task_look(const char *folder, const char *key, struct task_report *out);

/* The wrapper; gives back the process's exit status. */
int task_run(const char *folder, const char *key);

#endif
