/* The step from `stored` to `placed`: one pool job reads the bundle's index, then the ccds fan
 * out over the pool, one job each: decode into memory, draft on disk, and when all drafts are
 * on their way, fsync and name. A bad ccd is parked with its reason and holds no other; only
 * trouble of the disk makes the whole step wait or try again, and then placed ccds stay placed. */
#ifndef SKYFERRY_PULL_FANOUT_H
#define SKYFERRY_PULL_FANOUT_H

#include "pull/agent.h"

/* The step's begin, for the flow table. */
void fanout_begin(struct agent *a, struct flight *f);

/* An exposure's night (out may be fallback): --run-date, else by the site's rule from DATE-OBS, else `fallback` (the
 * receipt's night). */
void fanout_night(const struct pull_settings *s, const struct facts *facts, const char *fallback,
                  char out[NIGHT_SIZE]);

/* A new row for one image member. */
void fanout_ccd(struct ccd *out, const struct exposure *x, const struct member *m);

/* The path below root of one ccd of an exposure. */
enum status fanout_path(const struct pull_settings *s, const struct exposure *x,
                        const struct ccd *one, char *out, size_t size, struct fault *why);

#endif
