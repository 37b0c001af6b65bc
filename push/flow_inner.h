/* What the files of the flow share among themselves. Not for others. */
#ifndef SKYFERRY_FLOW_INNER_H
#define SKYFERRY_FLOW_INNER_H

#include "push/choice.h"
#include "push/flow.h"
#include "push/known.h"
#include "push/settle.h"
#include "push/transit.h"

#define FLOW_TRANSITS 64 /* more exposures are never under way together */

struct settling;

struct flow {
    struct flow_options o;
    struct config config;
    struct pool *pool;
    struct ship *ship;
    struct limit *limit;
    struct loop_timer *timer;
    struct settling *settling; /* files that a worker looks at */
    int settling_count;
    int64_t settling_mono;     /* when the first of them began */
    struct transit *transits[FLOW_TRANSITS];
    size_t transit_count;
    int64_t shipments;         /* how many there have been: numbers them */
    int64_t tidying_id;        /* 0: none */
    int64_t hold_mono;         /* nothing new before: the journal failed */
    int64_t last_new_mono;
    int64_t start_ns;          /* what it has not seen before, it has not waited for */
    int64_t busy_mono;         /* when the line was last known not to be idle */
    int64_t exact_look_ms;     /* exact data are to be thought of again so soon; -1: not by time */
    struct order_line line;
    struct order_load load;    /* adaptive mode: as it was weighed last */
    double shrink;             /* a bundle's bytes over its file's; 0: not known */
    double encode_pace;        /* s to encode a byte of a file; 0: not known */
    bool no_room;              /* something waits for room in the spool */
    struct choice chosen;      /* method = auto: of the exposure begun last; method "": none yet */
    bool chosen_said;          /* by this process */
    struct effort near[CHOICE_METHODS]; /* CPU spent here over that of the model */
    struct wire_decoding far;  /* as heard last, also before a restart */
    int64_t line_kept_ns;      /* what the journal says of the line is so old */
    bool exact_refused;        /* the far end does not know them; said once */
    struct known *known;       /* what a walk need not ask the journal about */
    int64_t arrange_mono;      /* the order is not found out anew before: it takes long */
    bool arrange_waits;        /* but is to be, then */
    bool intake_open;          /* sightings not yet committed */
    bool poked, closing, fatal;
    struct fault trouble;
};

/* The journal failed: stop (FATAL) or hold on for a while. Returns the grade. */
enum status flow_trouble(struct flow *f, const struct fault *why);
/* Writes e. REJECT: another row is of this version; other failures are dealt with. */
enum status flow_save(struct flow *f, const struct exposure *e);
/* Applies the row of e->state to how its step ended, in the journal first. */
enum status flow_move(struct flow *f, struct exposure *e, const struct fault *why);
/* The file is another version than the one in e: back to where the table says. */
void flow_restart(struct flow *f, struct exposure *e, const struct fault *why);
/* The version in e is another row's already: this row has no file any more. */
void flow_merge(struct flow *f, const struct exposure *e);
/* Sightings written so far become durable. */
enum status flow_flush(struct flow *f);
/* This exposure's file was seen anew (0: other settings hold for all): what a settling under way
 * finds out is void. */
void flow_look_again(struct flow *f, int64_t id);

/* The codec of this row: of its delivery, or of its exact data. */
void flow_codec(const struct flow *f, const struct exposure *e, struct fidelity *out);
/* Its bundle is encoded and shipped from now on, if there is room for it. item: one file's. */
void flow_begin(struct flow *f, const struct order_item *item);
/* NULL: it is not under way. */
struct transit *flow_transit(const struct flow *f, int64_t id);
void flow_forget_transit(struct flow *f, int64_t id); /* it has ended or is about to be dropped */
/* What the spool has of it goes. */
void flow_forget_bundle(struct flow *f, const struct exposure *e);

/* method = auto (flow_auto.c): nothing happens with any other. What was learned before the
 * restart; again after the settings changed. */
void auto_open(struct flow *f);
/* Chooses the codec of a delivery that begins: e->method and e->ratio. */
void auto_choose(struct flow *f, struct exposure *e);
/* Can it go on with what was chosen for it? */
bool auto_keeps(const struct flow *f, const struct exposure *e);
/* What was chosen for it, as the codec is asked. */
void auto_fidelity(const struct settings *s, const struct exposure *e, struct fidelity *out);
void auto_learned(struct flow *f, const struct exposure *e, const struct encode_result *r);
/* What the line and the far end were found to be, for after a restart. */
void auto_keep(struct flow *f);

/* The order (flow_order.c). What was learned before the restart. */
enum status line_open(struct flow *f, struct fault *why);
/* Of the last exposure encoded: for guesses about the next. */
void line_learned(struct flow *f, const struct exposure *e, const struct encode_result *r);
/* Sorts the exposures that wait and are under way, tells those under way, and starts no new ones. */
void line_arrange(struct flow *f, struct order_item *items, size_t count);
/* Begins what is not yet under way of the exposure whose turn it is, as far as there are slots. The
 * bundles of what was overtaken, among the `items`, do not keep the newest out of the spool. */
void line_begin(struct flow *f, const struct order_item *item, const struct order_item *items,
                size_t count);
/* How urgent a file of the exposure at this place in the order is, for pool and line. */
int line_urgency(int place, int ccd);

/* Exact data that follow (flow_exact.c): those of `items` that may go now, and, when there is
 * nothing else to do, the next delivery that lacks them. busy: exposures wait or are sent. */
void exact_send(struct flow *f, struct order_item *items, size_t count, bool busy);
/* The file is another version now, or gone: its exact data will never follow. */
void exact_drop(struct flow *f, const struct exposure *e, const struct fault *why);
int exact_under_way(const struct flow *f);

/* Exposures of several files (flow_gather.c). What was skipped, and what waits for an exposure's
 * other files, is looked at again when the settings or the profile by which it does are others now. */
enum status gather_open(struct flow *f, struct fault *why);
/* A file found whole that is not to be shipped, or not before others: saved as that. False: it
 * goes the usual way. */
bool gather_takes(struct flow *f, struct exposure *e, const struct settle_verdict *v);

/* Start what is due and has room (flow_steps.c). */
void steps_settle(struct flow *f);
void steps_gather(struct flow *f);
void steps_send(struct flow *f);
void steps_tidy(struct flow *f);

#endif
