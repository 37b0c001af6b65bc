/* What waits and why, in words: from the catalogue, the pause tokens and the settings, so that
 * `status` can tell without asking the daemon. Reads only. */
#ifndef SKYFERRY_PULL_HELD_H
#define SKYFERRY_PULL_HELD_H

#include <stdio.h>

#include "pull/catalogue.h"
#include "pull/pause.h"
#include "pull/settings.h"

struct held {
    struct pause_token token[PAUSABLES];
    int64_t waiting[PAUSABLES]; /* exposures */
    char words[PAUSABLES][200]; /* the ceiling that holds them; "" when none does */
};

/* cat may be NULL: there is none yet. working: a daemon runs, and so its ceilings hold. */
enum status held_read(struct catalogue *cat, const struct pull_settings *s, int64_t now_ns,
                      bool working, struct held *out, struct fault *why);

/* One line for each that waits or is paused; nothing when there is none. */
void held_draw(const struct held *h, FILE *to);
/* "held":{"ingest":{"paused":...,"waiting":7,"why":"..."},"jobs":{...}} */
enum status held_json(const struct held *h, FILE *to, struct fault *why);

/* Which ceiling of [ingest] holds: per_minute if there is room otherwise. */
void held_ingest_words(const struct pull_settings *s, bool room, char *out, size_t size);

#endif
