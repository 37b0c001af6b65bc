/* What `run` is, and what `send` and `sweep` become for a while when no agent is there: the
 * holder of the spool's lock, with journal, loop, flow and signals, who keeps the notes
 * that status reads (status.h). One per process, main thread only. */
#ifndef SKYFERRY_PUSH_AGENT_H
#define SKYFERRY_PUSH_AGENT_H

#include "push/flow.h"

struct agent;

struct agent_options {
    const struct config *config;
    int64_t only_request;                      /* see flow.h */
    void *ctx;
    void (*reload)(void *ctx);                 /* SIGHUP; NULL: ignored */
    void (*tick)(void *ctx);                   /* about five times a second; may be NULL */
};

/* WAIT: another process holds the lock (its pid is in *why). */
enum status agent_open(const struct agent_options *o, struct agent **out, struct fault *why);
/* Runs until agent_stop, SIGTERM or SIGINT: OK. FATAL: the journal or the disk failed. */
enum status agent_run(struct agent *a, struct fault *why);
void agent_stop(struct agent *a);
bool agent_interrupted(const struct agent *a); /* a signal ended it */
void agent_close(struct agent **a);

struct flow *agent_flow(const struct agent *a);
struct loop *agent_loop(const struct agent *a);
struct journal *agent_journal(const struct agent *a);

#endif
