/* A bounded pool of worker threads. The main thread submits jobs; a worker calls
 * run(job) and the finished job comes back through a mailbox that the loop reads, so
 * done(job) runs on the main thread. Workers touch only the job. */
#ifndef SKYFERRY_POOL_H
#define SKYFERRY_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/loop.h"
#include "common/mailbox.h"
#include "common/status.h"

struct pool;

/* Embed as first member; one malloc a job, freed by whoever done() says. */
struct pool_job {
    struct mail mail;                   /* the pool's own */
    void (*run)(struct pool_job *job);  /* on a worker thread */
    void (*done)(struct pool_job *job); /* on the main thread, from the loop; owns the job */
    int urgency;                        /* larger first; equal: in order of submission */
    const void *group;                  /* for pool_hurry; may be NULL */
};

/* threads <= 0: one for each processor of the affinity mask. Results are delivered by `loop`. */
enum status pool_start(int threads, struct loop *loop, struct pool **out, struct fault *why);
int pool_threads(const struct pool *p);
void pool_submit(struct pool *p, struct pool_job *job);
/* The jobs of this group that wait are as urgent as this from now on. */
void pool_hurry(struct pool *p, const void *group, int urgency);
size_t pool_waiting(const struct pool *p); /* submitted and not yet taken by a worker */
/* Lets running jobs end, calls done() for these and for those never begun (with
 * run() not called: done must cope), joins the threads. NULL is harmless. Not to be
 * called from inside done(). What done() submits meanwhile is also given back unrun. */
void pool_stop(struct pool **p);

#endif
