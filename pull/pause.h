/* The pause token: a file STATE/paused/ingest or STATE/paused/jobs that says since when, by whom
 * and why nothing new of its kind begins. It is there or not, survives restarts of everything,
 * and is written by `skyferry-pull pause`, removed by `resume`, read by the daemon (pull/gate.h)
 * and `status`. One that somebody made by hand (touch) pauses too. No state of its own. */
#ifndef SKYFERRY_PULL_PAUSE_H
#define SKYFERRY_PULL_PAUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define PAUSE_FOLDER "paused" /* below [store] state */

enum pausable { PAUSE_INGEST, PAUSE_JOBS, PAUSABLES };
extern const char *const pause_names[PAUSABLES];

struct pause_token {
    bool set;
    int64_t since_ns;     /* clock_wall; 0: not known */
    char by[160];         /* "kate@login1" */
    char reason[400];     /* "" when none was given */
};

/* No file, or none that can be read because the folder is not there: not set. */
void pause_read(const char *state, enum pausable what, struct pause_token *out);

/* Pauses, durably. Paused already: `since` stays, the rest becomes what is said now. */
enum status pause_set(const char *state, enum pausable what, const char *reason,
                      struct fault *why);
/* Resumes, durably; OK also when it was not paused. */
enum status pause_end(const char *state, enum pausable what, struct fault *why);

/* "since 2026-11-21T16:02:11Z by kate@login1: the disk is full" */
void pause_words(const struct pause_token *t, char *out, size_t size);

#endif
