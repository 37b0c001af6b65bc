/* How far a command has come: a bar on a terminal, a line now and then elsewhere. Standard
 * error only; results go to standard output. */
#ifndef SKYFERRY_PROGRESS_H
#define SKYFERRY_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "looking at", "delivering" */
    bool terminal;
    int64_t said_mono;
    int64_t said_done;
    bool open;        /* a bar stands on the current line */
};

void progress_start(struct progress *p, const char *what);
/* note: a few words after the figures, may be "". */
void progress_show(struct progress *p, int64_t done, int64_t total, const char *note);
void progress_end(struct progress *p); /* leaves the line */

/* The bar alone: "[####......]", `width` characters between the brackets. */
void progress_bar(int64_t done, int64_t total, int width, char *out, int size);

#endif
