/* A site's own program (sbatch, squeue, ...) run beside the loop: no shell, an argument vector,
 * bounded time, bounded output, no variables SBATCH_*, SQUEUE_* and the like; killed when we die.
 * One call, one end, given back from the loop. Main thread only. */
#ifndef SKYFERRY_PULL_JOB_TOOL_H
#define SKYFERRY_PULL_JOB_TOOL_H

#include <stdbool.h>

#include "common/loop.h"

struct tool;

struct tool_end {
    bool began;      /* false: there is no such program, or no process could be made */
    bool late;       /* killed at its time limit: what it did is not known */
    int status;      /* exit status; 128 and the signal's number when it died of one */
    const char *out; /* what it printed, NUL-ended, at most TOOL_OUT bytes */
    const char *err; /* the last line of what it complained of; "" when nothing */
};

#define TOOL_OUT ((size_t)32 << 20)

struct tool_order {
    char *const *argv; /* argv[0] is looked for in PATH; copied by the call */
    int timeout_s;
    void (*done)(void *ctx, const struct tool_end *end); /* the texts are gone when it returns */
    void *ctx;
};

/* Begins it; done is called once, later, from the loop. RETRY when nothing was begun: then done
 * is never called. The tool frees itself after done. */
enum status tool_run(struct loop *l, const struct tool_order *o, struct tool **out,
                     struct fault *why);
/* Kills it and forgets it: done is not called any more. NULL is harmless. */
void tool_drop(struct tool **t);

#endif
