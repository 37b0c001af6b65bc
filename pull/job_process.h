/* Processes told apart beyond doubt, for the local runner: by boot, number and start time,
 * and by the SKYFERRY_JOB in their environment, which every child of a job inherits. Linux's
 * /proc and pidfds; nothing is signalled that was not identified through the same pidfd. */
#ifndef SKYFERRY_PULL_JOB_PROCESS_H
#define SKYFERRY_PULL_JOB_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

/* "BOOT:PID:START" of a living process; "" when it cannot be told. */
void process_handle(pid_t pid, char *out, size_t size);

/* Kills the process of this handle and its group, if it lives; waits until it is gone (at
 * most 2 s). */
void process_bury_handle(const char *handle);

/* Kills every process of this user whose environment holds SKYFERRY_JOB=job_file, or SKYFERRY_ORDER,
 * which marks what a task runs in a node's scratch. */
void process_bury_marked(const char *job_file);

/* In a child, before its program: no signal is caught, ignored or blocked. Async-signal-safe. */
void process_plain_signals(void);

/* Our environment and SKYFERRY_JOB, SKYFERRY_RESULT; NULL when memory is out. */
char **process_environment(const char *job_file, const char *result_file);
void process_environment_free(char **env);

#endif
