/* What a command could not deliver, in lines for a terminal of 80 columns: a file, what became of
 * it, and the reason below, wrapped. Files of one exposure that follow each other and have the
 * same state and reason are told as one. Used by sweep; the caller owns the struct. */
#ifndef SKYFERRY_PUSH_REST_H
#define SKYFERRY_PUSH_REST_H

#include <stdio.h>

#include "push/exposure.h"

struct rest {
    FILE *to;              /* set by the caller, the others 0 */
    struct exposure first; /* of those not told yet */
    int64_t count;
};

/* A journal_fn: one more, told with or after those before it. Always true. */
bool rest_take(void *ctx, const struct exposure *e);
/* Tells what is left to tell. */
void rest_end(struct rest *r);

/* One entry: "LEAD: PATHwhat", then the reason unless it is "". A path is never broken, so that it
 * can be copied; control characters in it become '?'. */
void rest_say(FILE *to, const char *lead, const char *path, const char *what, const char *reason);

#endif
