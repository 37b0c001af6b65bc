/* The step from `stored` to `placed`: one pool job reads the bundle's index, then the ccds fan
 * out over the pool, one job each: decode into memory, draft on disk, and when all drafts are
 * on their way, fsync and name. A bad ccd is parked with its reason and holds no other; only
 * trouble of the disk makes the whole step wait or try again, and then placed ccds stay placed. */
#ifndef SKYFERRY_PULL_FANOUT_H
#define SKYFERRY_PULL_FANOUT_H

#include "pull/agent.h"

/* The step's begin, for the flow table. */
void fanout_begin(struct agent *a, struct flight *f);

#endif
