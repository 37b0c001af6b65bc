/* A table drawn again and again until SIGINT or SIGTERM: `status --watch` of both agents, and
 * `status --follow`. On a terminal what is too high for it loses lines in its middle, and says how
 * many. Runs a loop of its own on the calling thread. */
#ifndef SKYFERRY_REDRAW_H
#define SKYFERRY_REDRAW_H

#include <stdbool.h>
#include <stdio.h>

#include "common/status.h"

struct redraw {
    const char *program; /* first word of a message */
    int every_ms;
    bool plain;          /* JSON: nothing but what draw writes, and nothing of a failed one */
    bool changes;        /* where no terminal is: after the first picture only lines that the one
                          * before did not have */
    enum status (*draw)(void *ctx, FILE *to, struct fault *why);
    void *ctx;
};

/* The command's exit status: EXIT_DONE when it was told to stop, EXIT_FAILED when standard
 * output is gone. A draw that fails is said and tried again at the next turn. */
int redraw_run(const struct redraw *r);

#endif
