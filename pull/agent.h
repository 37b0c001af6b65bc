/* The running far side: one loop, one pool of decoders, one catalogue, one set of jobs.
 * `run` keeps it going until it is told to stop; `reprocess`, `retry` and the tests run the
 * same engine over a few chosen exposures until these are finished. Everything here belongs
 * to the main thread; pool threads see only the jobs that they were given. */
#ifndef SKYFERRY_PULL_AGENT_H
#define SKYFERRY_PULL_AGENT_H

#include "common/loop.h"
#include "common/pool.h"
#include "pull/catalogue.h"
#include "pull/settings.h"

struct agent;
struct early;
struct gate;
struct intake;
struct lease;
struct drops;
struct jobs;

/* An exposure whose step is under way. */
struct flight {
    struct flight *next;
    struct exposure x;
    void *work; /* the step's own */
    int64_t due_ns; /* of a step that waits: when again; 0: as the table says */
    /* Writes the step's own rows; called inside the transaction that writes its end. */
    enum status (*record)(struct agent *a, struct flight *f, struct fault *why);
};

struct agent {
    struct pull_settings s;
    struct loop *loop;
    struct pool *pool;
    struct catalogue *cat;
    struct intake *intake;   /* NULL: nothing new is looked for */
    struct drops *drops;     /* NULL: no drop folder */
    struct early *early;     /* NULL: no part is looked into */
    struct jobs *jobs;
    struct gate *gate;         /* what holds new work back */
    struct loop_timer *look;   /* fires when something may be due */
    struct loop_timer *expire; /* old parts */
    struct flight *flights;
    int64_t hold_until;      /* clock_mono: nothing begins before (the catalogue had trouble) */
    int64_t *chosen;         /* exposures to work on; NULL: all */
    size_t chosen_count;
    int lock_fd;
    struct lease *lease;     /* on the store, against daemons on other machines */
    int settle_s;            /* a tar without a receipt is not looked at before it is this old */
    bool stopping;
    struct fault end;        /* grade ST_OK unless the agent had to stop */
};

/* Locks the store (WAIT: another process, here or on another machine, has it), makes its folders,
 * opens the catalogue, starts the pool, takes back jobs that a crash left behind. */
enum status agent_open(const struct pull_settings *s, struct agent **out, struct fault *why);
/* TERM and INT end it, HUP reads the settings again, USR1 makes it look. Before agent_run. */
enum status agent_obey(struct agent *a, struct fault *why);
/* Also watches for bundles and expires old parts. */
enum status agent_watch(struct agent *a, struct fault *why);
/* Restricts the engine to this exposure too; the run ends when all chosen ones are finished. */
enum status agent_choose(struct agent *a, int64_t exposure, struct fault *why);
/* Until agent_stop, a signal, FATAL, or the end of all chosen exposures. */
enum status agent_run(struct agent *a, struct fault *why);
void agent_stop(struct agent *a);
void agent_close(struct agent **a);

/* Something may be due now: look, from the loop. */
void agent_poke(struct agent *a);
/* The agent's own disk or catalogue fails: FATAL stops it, anything else makes it pause a
 * few seconds and try again; the words are logged. */
void agent_trouble(struct agent *a, const struct fault *why);
/* In a run over chosen exposures, one more that somebody asked for meanwhile. */
enum status agent_choose_more(struct agent *a, int64_t exposure, struct fault *why);
bool agent_is_chosen(const struct agent *a, int64_t exposure);

#endif
