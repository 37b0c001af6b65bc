/* A visit: the exposure of a camera that writes one file a ccd. Each file has a bundle, a receipt and
 * a row of its own, is placed by itself, and then waits (`working`) for the visit's jobs. The visit is
 * a row, too, without a bundle: its state is `placed` while its files come, its jobs are an exposure's
 * jobs, made once from the ccds of all its files. Files that come later get further ones. All that is
 * known of a visit is in these rows, so a restart forgets nothing. Main thread only. */
#ifndef SKYFERRY_PULL_VISIT_H
#define SKYFERRY_PULL_VISIT_H

#include "pull/agent.h"

/* The row of the visit that this file belongs to is found or made, and named in x, which the caller
 * saves in the same transaction. Nothing but x->visit = 0 when it belongs to none. */
enum status visit_join(struct catalogue *cat, struct exposure *x, const struct visit *v,
                       struct fault *why);

/* Begin of the step that makes jobs. True: it was a file of a visit, or a visit that waits, and the
 * step has ended; false: the jobs of f->x (read anew, if it is a visit) are to be made now. */
bool visit_holds(struct agent *a, struct flight *f);
/* Likewise of the step that waits for jobs: true for the files of a visit. */
bool visit_settles(struct agent *a, struct flight *f);
/* After a row came into a new state: what is to be said and done of visits. True: that was all. */
bool visit_arrived(struct agent *a, const struct exposure *x);

/* Is this ccd, placed or left to its job, to be put into a new one? */
bool visit_job_wants(const struct pull_settings *s, const struct ccd *c);

/* ---- for requests ---- */

bool visit_is_flying(const struct agent *a, const struct exposure *x);
/* As requests_set_back, of a visit with its files. */
enum status visit_set_back(struct agent *a, struct exposure *x, const struct request *r,
                           struct fault *why);
/* In a run over chosen exposures: a file's visit, a visit's files. */
enum status visit_choose(struct agent *a, const struct exposure *x, struct fault *why);

/* ---- for rebuild ---- */

/* After all bundles have their rows: the visits' jobs and states. */
enum status visit_rebuild(const struct pull_settings *s, struct catalogue *cat, long *jobs,
                          struct fault *why);

/* ---- for status ---- */

/* "3, 7 and 60 more": the ccds that none of its placed files holds; how many. */
int visit_missing(struct catalogue *cat, const struct camera *camera, const struct exposure *visit,
                  char *words, size_t size);

#endif
