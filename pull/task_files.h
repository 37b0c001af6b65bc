/* The files of a job's folder as JSON, shared by job_files.c, which makes and reads them at the
 * daemon, job_task.c, which runs a task, and what decodes (task_decode.c), brings results back
 * (task_results.c) and gives the order for it (job_decode.c). Pure, but for the files. */
#ifndef SKYFERRY_PULL_TASK_FILES_H
#define SKYFERRY_PULL_TASK_FILES_H

#include <jansson.h>

#include "common/status.h"
#include "pull/settings.h"

/* NULL when there is none, or it is no JSON; why may be NULL. */
json_t *task_load(const char *folder, const char *name, struct fault *why);
/* keep: REJECT when the name is taken. */
enum status task_save(const char *folder, const char *name, json_t *root, bool keep,
                      struct fault *why);
/* "" when there is no such text. */
const char *task_text(const json_t *o, const char *key);
void task_set(json_t *o, const char *key, const char *text);
int64_t task_int(const json_t *o, const char *key);
/* The last line of a file that may be of any size, as text; "" when there is none. */
void task_last_line(const char *path, char *out, size_t size);

#endif
