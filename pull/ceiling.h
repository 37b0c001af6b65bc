/* How many of an exposure's waiting jobs may go now, by the ceilings of [jobs]. Pure arithmetic
 * over what is under way: the daemon asks it before it begins anything, `status` to say why
 * something waits. A batch system takes an exposure's jobs as one array, so they go together as
 * far as the ceilings allow; processes of this machine go one by one. */
#ifndef SKYFERRY_PULL_CEILING_H
#define SKYFERRY_PULL_CEILING_H

#include <stdbool.h>

#include "pull/exposure.h"

struct pull_settings;

enum ceiling_by {
    CEILING_NONE,
    CEILING_QUEUED,  /* max_queued */
    CEILING_RUNNING, /* max_running */
    CEILING_MINUTE   /* submits_per_minute */
};

struct ceiling {
    bool arrays;     /* a batch system */
    int queued, queue_most;   /* jobs that it has; `most` 0: no ceiling */
    int running, run_most;    /* that run, or may run at any moment: see ceiling_add */
    int submits, submit_most; /* in the last minute */
    /* of the array that is being counted */
    char handle[128];
    int members;
};

/* The settings' ceilings, with nothing under way. */
void ceiling_init(struct ceiling *c, const struct pull_settings *s, bool arrays, int submits);
/* One job that is under way; those of one array (one handle) in a row. Of an array no more than
 * run_most tasks run at once, for it is submitted so; its others wait in the queue. */
void ceiling_add(struct ceiling *c, const char *handle);

/* How many of `jobs` jobs of one exposure may begin now. Fewer than all: *by says why. */
int ceiling_let(const struct ceiling *c, int jobs, enum ceiling_by *by);
/* They begin. */
void ceiling_took(struct ceiling *c, int jobs);

/* "200 of 200 tasks are in the queue"; "" for CEILING_NONE. */
void ceiling_words(const struct ceiling *c, enum ceiling_by by, char *out, size_t size);

#endif
