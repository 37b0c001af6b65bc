/* The exact data that follow a lossy exposure (`[sweep] lossless` of skyferry-push): their bundle
 * is no exposure of its own but the next bundle of one that is catalogued. When that exposure
 * rests, its row is given the exact bundle and goes the road of flow.c once more, from `stored`:
 * each placed file is replaced under its name, and when all are, the lossy bundle may go.
 * Files that somebody changed are kept (pull/place_file.h). Main thread only. */
#ifndef SKYFERRY_PULL_RENEW_H
#define SKYFERRY_PULL_RENEW_H

#include "common/wire.h"
#include "pull/agent.h"

/* Is this bundle the other one of a catalogued exposure? Then it is noted as that and *taken
 * is true: an exact one waits for its turn, a lossy one came after its exact one; or it is one
 * that was gone (pull/retire.h). */
enum status renew_notice(struct agent *a, const char *rel, const struct receipt *r, bool *taken,
                         struct fault *why);
/* Gives exact bundles to exposures that rest, removes lossy ones that have been replaced. */
enum status renew_look(struct agent *a, struct fault *why);

/* x gets the bundle `next`, which is exact; what it had becomes *former. For rebuild, too. */
void renew_swap(struct exposure *x, const struct other_bundle *next, struct other_bundle *former);
/* Is the receipt that of an exact (else lossy) bundle which may pair with x? Same name, same
 * source file, and x has the other kind. */
bool renew_pairs(const struct exposure *x, const struct receipt *r);
/* A bundle's row as its receipt tells it. */
void renew_bundle(const char *rel, const struct receipt *r, int64_t exposure,
                  struct other_bundle *out);

/* ---- for the step that places ---- */

/* REJECT: the bundle is of another file than x; or it shall replace x's lossy one and is not
 * exact. */
enum status renew_check(const struct exposure *x, const struct manifest *m, struct fault *why);
/* Is this ccd to be made from `m` (NULL: the bundle lacks it, the ccd is parked then)? Those
 * that wait, and with an exact bundle those whose pixels came by another encoding. */
bool renew_wants(const struct exposure *x, struct ccd *c, const struct member *m);
/* Inside the transaction that ends the step, x in its new state: marks x exact when every ccd
 * is placed, and clears its jobs when they are to run again. */
enum status renew_end(struct agent *a, struct exposure *x, struct ccd *ccds, size_t count,
                      struct fault *why);

#endif
