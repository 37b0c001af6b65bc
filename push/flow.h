/* The road an exposure takes through push, as a table, and the engine that walks it: files
 * come in by flow_intake, every other move is one row of the table applied by flow.c to
 * how a step ended. All state is in the journal; in memory are only the exposures on which
 * a step is at work. Main thread only. */
#ifndef SKYFERRY_FLOW_H
#define SKYFERRY_FLOW_H

#include "common/loop.h"
#include "common/pool.h"
#include "common/stage.h"
#include "common/watch.h"
#include "push/limit.h"
#include "push/settings.h"
#include "push/ship.h"
#include "push/spool.h"

struct flow_row {
    struct stage_row stage;
    int on_change;        /* next state when the file turns out to be another version */
    const char *step;     /* what is done in this state */
    const char *sentence; /* for docs */
};
extern const struct flow_row flow_table[EXPOSURE_STATES];

/* ---- files coming in ---- */

enum intake { INTAKE_NONE, INTAKE_ADD, INTAKE_RESTART, INTAKE_LOOK };

/* What a sighting of a file means. known: its path has a row, in `state`; same: that row is
 * of this version. ADD a row; RESTART the row as this version; LOOK at it at once. */
enum intake intake_decide(bool known, int state, bool same, enum watch_hint hint);

/* Fills a new row for the file as it is now. False with errno when it cannot be asked. */
bool intake_fill(struct exposure *e, const char *path, int64_t now_ns);

/* ---- the engine ---- */

struct flow;

struct flow_options {
    const struct config *config; /* copied */
    struct loop *loop;
    struct journal *journal;     /* outlives the flow, as does the spool */
    const struct spool *spool;
    int64_t only_request;        /* 0: everything; else what one command asked for */
    void *ctx;
    /* An exposure has changed its state (it is in the journal); may be NULL. */
    void (*moved)(void *ctx, const struct exposure *e, int from);
};

/* Starts the pool and the lanes. */
enum status flow_open(const struct flow_options *o, struct flow **out, struct fault *why);
/* Leaves the journal consistent; lets running jobs end, keeps finished bundles. */
void flow_close(struct flow **f);

/* A watch_fn: ctx is the flow. */
void flow_intake(void *ctx, const char *path, enum watch_hint hint);
/* Looks at the journal again, soon: something was added or is due. */
void flow_poke(struct flow *f);
/* Takes over what may change while running (settings_changes and camera_changes say which). */
void flow_reconfigure(struct flow *f, const struct config *c);
/* The rate limit of its lanes, for whoever changes or shows it. */
struct limit *flow_limit(const struct flow *f);
void flow_set_mode(struct flow *f, enum order_mode mode);

struct flow_state {
    const struct lanes_state *line;
    enum order_mode mode;
    bool behind;              /* adaptive mode: */
    struct order_load load;
    int under_way;            /* exposures being encoded or shipped */
    int64_t sent_bytes;       /* of these, so far */
    int64_t last_new_mono;    /* when a new version of a file last came in; 0: never */
    bool fatal;               /* the loop was stopped because of `trouble` */
    struct fault trouble;
};
void flow_state(const struct flow *f, struct flow_state *out);

#endif
