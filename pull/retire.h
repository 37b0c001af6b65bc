/* The end of an exposure's bundle while the exposure stays in the catalogue: somebody moved the
 * bundle away, and another exposure's took the name. The row keeps all that is known (its placed
 * ccds, their figures, the digests) as NAME~goneID, whose bundle is gone; path, name and the
 * jobs' folder are the newcomer's. Should the bundle come back (sent again, copied in), under
 * whatever name, the row is given it; so is one whose bundle is missing or cut short, with its
 * name free or not. Main thread only. */
#ifndef SKYFERRY_PULL_RETIRE_H
#define SKYFERRY_PULL_RETIRE_H

#include "common/wire.h"
#include "pull/agent.h"

/* Does x rest, so that nobody works by its old path and name any more? */
bool retire_can(const struct agent *a, const struct exposure *x);
/* Frees x's path, name and jobs' folder. Done again after a crash it ends what was begun. */
enum status retire_exposure(struct agent *a, struct exposure *x, struct fault *why);
/* Was its bundle's name given to another? */
bool retire_is_gone(const struct exposure *x);
/* Is there nothing of its bundle's size by its bundle's name? A disk that fails proves nothing. */
bool retire_is_lost(const struct agent *a, const struct exposure *x);
/* x, whose index is read, may be a second bundle of an exposure's source file. REJECT while that
 * one has its bundle; WAIT when it lost it and is being worked on. *given: it lost it, got x's
 * with its name, and x's row is no more. */
enum status retire_twin(struct agent *a, const struct exposure *x, bool *given, struct fault *why);
/* The same for x parked as such, whose twin may have lost its bundle since. */
enum status retire_parked_twin(struct agent *a, const struct exposure *x, struct fault *why);
/* x's bundle is here again, as `rel`. */
enum status retire_return(struct agent *a, struct exposure *x, const char *rel,
                          const struct receipt *r, struct fault *why);

#endif
