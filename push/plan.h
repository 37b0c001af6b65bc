/* Which bytes of one bundle go on the wire next. Pure book-keeping over ranges, without
 * lanes, files or clocks: a bundle grows, ranges are taken, acknowledged, or lost with a
 * lane and taken again; at the end every byte was acknowledged exactly as often as
 * needed. Owned by the shipment, main thread only. */
#ifndef SKYFERRY_PLAN_H
#define SKYFERRY_PLAN_H

#include "common/ranges.h"

struct plan {
    int64_t size;        /* bytes of the bundle that exist and will not change */
    bool finished;       /* there will be no more */
    struct ranges taken; /* given to a lane or acknowledged */
    struct ranges acked; /* written down by the far end */
    struct ranges doubt; /* of those taken: their lane died before it answered */
};

/* The next run of bytes to send, at most `most`. Short runs at the growing end are held
 * back until there is more, unless `eager` (the lane has nothing else to do). The run
 * counts as taken. False: nothing to send now. */
bool plan_take(struct plan *p, int64_t most, bool eager, int64_t *offset, int64_t *length);
bool plan_got(struct plan *p, int64_t offset, int64_t length);  /* acknowledged */
bool plan_lost(struct plan *p, int64_t offset, int64_t length); /* never arrived: to be taken again */
/* Its lane died: it may have arrived. It is not sent again before the far end was asked. */
bool plan_doubt(struct plan *p, int64_t offset, int64_t length);
/* What the far end holds by its own account. settle: ends the doubt. resume: that is all that
 * counts from now on; what is in flight is to be noted again with plan_flies. */
bool plan_settle(struct plan *p, const struct extent *have, size_t count);
bool plan_resume(struct plan *p, const struct extent *have, size_t count);
bool plan_flies(struct plan *p, int64_t offset, int64_t length);
int64_t plan_rest(const struct plan *p);   /* bytes there are and nobody has taken */
bool plan_all_taken(const struct plan *p); /* finished, and nothing is left to send or in doubt */
bool plan_complete(const struct plan *p); /* finished, and every byte acknowledged */
void plan_free(struct plan *p);

#endif
