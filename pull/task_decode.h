/* The first half of a task with [decode] where = job: on the node, the job's own ccds out of their
 * exposure's bundle. Their members are copied into the scratch folder, their SHA-256 proven, each
 * decoded; the FITS file is put into the scratch, for the job, and placed in the store under the
 * name that the daemon would have given it, by the same rules (pull/place_file.h). A bad ccd holds
 * no other. The order is the object "decode" of task.json, written by job_decode.c:
 *   exposure, root, mirror, scratch, threads, last, bundles [{path, source_sha256}],
 *   ccds [{ccd, hdu, bundle, rel, conflict, mirror_rel}]
 * One at a time; the thread that owns the loop. */
#ifndef SKYFERRY_PULL_TASK_DECODE_H
#define SKYFERRY_PULL_TASK_DECODE_H

#include "common/loop.h"
#include "pull/task_files.h"

struct task_decode;

/* Makes the scratch, and in it fits/, work/ and a copy of the members (task_bundle.h). Also after a
 * failure *out is there, for task_decode_report, unless memory is out. */
enum status task_decode_open(const json_t *order, const char *node, struct task_decode **out,
                             struct fault *why);
/* Begins in the background; calls loop_stop when all are done. After the signals that stop the task
 * have been given to the loop. */
enum status task_decode_begin(struct task_decode *d, struct loop *l, struct fault *why);
/* Ends it: nothing more is begun. OK: every ccd is placed, or can never be. RETRY, WAIT (the store
 * is full): the words name the exposure and the ccds that are not placed. REJECT: not one can be. */
enum status task_decode_end(struct task_decode *d, struct fault *why);

/* What became of each ccd, and whether another node may do better: into ended.json's object. */
void task_decode_report(const struct task_decode *d, json_t *to);

/* SCRATCH, and the FITS file there of a ccd; NULL: none. */
const char *task_decode_scratch(const struct task_decode *d);
const char *task_decode_fits(const struct task_decode *d, int ccd, int hdu);
/* Was it among those that the order names, and can never be decoded? */
bool task_decode_is_parked(const struct task_decode *d, int ccd, int hdu);

/* Removes the scratch. NULL is harmless. */
void task_decode_close(struct task_decode **d);

#endif
