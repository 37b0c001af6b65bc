/* A task's folder on its node's own disk: made for it alone, locked while it lives, removed with
 * all that is in it when it ends. What a task left that was killed is swept by the next one on that
 * node: its lock is free. One thread. */
#ifndef SKYFERRY_PULL_NODE_SCRATCH_H
#define SKYFERRY_PULL_NODE_SCRATCH_H

#include "common/status.h"
#include "pull/settings.h"

struct node_scratch {
    char path[PULL_PATH]; /* BASE/skyferry-UID-HOST-XXXXXX; "" when there is none */
    int lock;             /* -1: none */
};

/* The folder to make it in: that of SLURM_TMPDIR, TMPDIR or JOBFS (whichever is set first, to an
 * absolute path), else `fallback`. */
const char *node_scratch_base(const char *fallback);

/* Sweeps, then makes. WAIT: it is full. RETRY: it cannot be made; in either case *out is empty, and
 * the words name the folder. */
enum status node_scratch_make(const char *base, struct node_scratch *out, struct fault *why);
/* Removes it with all that is in it; harmless when there is none. */
void node_scratch_remove(struct node_scratch *s);

#endif
