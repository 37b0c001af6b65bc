/* Bundles on their way over the lanes. Each shipment is one bundle's file in the spool, often
 * still growing; the scheduler gives its chunks to whichever lane has room, the most urgent
 * shipment first, takes back what a dead lane left unacknowledged, asks the far end what
 * it holds after a cut, commits, and hands the receipt over. Main thread only. */
#ifndef SKYFERRY_SHIP_H
#define SKYFERRY_SHIP_H

#include "push/lanes.h"
#include "push/meter.h"
#include "push/plan.h"

struct ship;
struct shipment;

struct ship_options {
    struct lanes_options lanes; /* ctx and event are ours to set */
    int64_t chunk;
    struct throttle *throttle; /* the lanes'; NULL: none */
    void *ctx;
    void (*takes)(void *ctx); /* who was not there to take what was refused with WAIT is; or NULL */
};

enum status ship_open(const struct ship_options *o, struct ship **out, struct fault *why);
void ship_close(struct ship **s); /* after all shipments were dropped; ends the lanes */
const struct lanes_state *ship_line(const struct ship *s);
/* How fast the line is, by all that went over it; times are clock_mono. */
struct meter *ship_meter(struct ship *s);

struct shipment_order {
    int64_t number;        /* > 0, never used twice */
    int urgency;           /* larger first; equal: smaller number first */
    bool background;       /* fills a quarter of a lane's window only, so that what comes next
                              finds the line free */
    const char *path;      /* the bundle's file; must exist already */
    struct wire_open open; /* resume: the far end may hold some of it */
    void *ctx;
    /* Either may drop the shipment. */
    void (*received)(void *ctx, const struct receipt *r); /* the far end holds a bundle for it */
    void (*refused)(void *ctx, const struct fault *why);  /* nothing more is sent until dropped */
};

enum status ship_add(struct ship *s, const struct shipment_order *o, struct shipment **out,
                     struct fault *why);
void ship_grow(struct shipment *p, int64_t size);
/* It is as urgent as this from now on. */
void ship_urgency(struct shipment *p, int urgency);
/* The bundle is finished at this size: commit it when all is acknowledged. */
void ship_finish(struct shipment *p, const struct wire_commit *commit);
/* Forgets it. abort: the far end forgets its bytes as well. */
void ship_drop(struct shipment **p, bool abort);

struct shipment_state {
    int64_t sent_bytes;        /* given to lanes, repeats included */
    int64_t given_bytes;       /* of the bundle: given to lanes, and not lost with one */
    int64_t acked_bytes;
    int64_t first_ns, last_ns; /* wall clock: first chunk given out, last one acknowledged; 0 */
};
void ship_state(const struct shipment *p, struct shipment_state *out);

#endif
