/* The step from `stored` to `placed`: one pool job reads the bundle's index, then the ccds fan
 * out over the pool, one job each: decode into memory, draft on disk, and when all drafts are
 * on their way, fsync and name. A bad ccd is parked with its reason and holds no other; only
 * trouble of the disk makes the whole step wait or try again, and then placed ccds stay placed. */
#ifndef SKYFERRY_PULL_FANOUT_H
#define SKYFERRY_PULL_FANOUT_H

#include "pull/agent.h"

/* In the pool: names before drafts when too many drafts are waiting, drafts before names else. */
enum fanout_urgency { URGE_NAME_LATER, URGE_DRAFT, URGE_INDEX, URGE_NAME_NOW };

/* The step's begin, for the flow table. */
void fanout_begin(struct agent *a, struct flight *f);

/* Does one of these steps give the names of this claim (placing_claim), or wait for them? */
bool fanout_claims(const struct agent *a, const char *claim);
/* Goes on with one that waited for names, when they are free by now. */
void fanout_next(struct agent *a);

#endif
