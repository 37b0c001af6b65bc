/* One exposure under way: its encoding and its shipment side by side, and how the two ends
 * meet. A bundle that was finished before a restart is verified and goes on instead of
 * being encoded again. Main thread only; ends by one call of `ended`. */
#ifndef SKYFERRY_TRANSIT_H
#define SKYFERRY_TRANSIT_H

#include "push/encode.h"
#include "push/ship.h"
#include "push/spool.h"

struct transit;

struct transit_order {
    const struct exposure *e;           /* copied; state SENDING, bundle_id set */
    const struct camera *camera;
    const struct fidelity *codec;
    const struct spool *spool;          /* outlives the transit, as do pool and ship */
    struct pool *pool;
    struct ship *ship;
    int urgency;
    int64_t number;                     /* of the shipment: never used twice */
    bool resume;                        /* the far end may hold some of it */
    void *ctx;
    /* Makes what is in e durable; other than OK: the transit has been dropped. */
    enum status (*save)(void *ctx, const struct exposure *e);
    /* The first of its bytes can go, or (again) all of them. */
    void (*flows)(void *ctx);
    /* The exposure is encoded: what is to be learned from it for the next. */
    void (*learned)(void *ctx, const struct exposure *e, const struct encode_result *r);
    /* OK: stored, all is in e. `changed`: the file is another version now. *t is gone after it. */
    void (*ended)(void *ctx, struct transit *t, const struct exposure *e, const struct fault *why,
                  bool changed);
};

enum status transit_start(const struct transit_order *o, struct transit **out, struct fault *why);
/* Stops it without a word; the far end keeps what it has. An unfinished bundle is removed. */
void transit_drop(struct transit **t);

/* Its ccds and its chunks are as urgent as this from now on: larger first. */
void transit_urgency(struct transit *t, int urgency);

int64_t transit_exposure(const struct transit *t); /* its id */
const char *transit_group(const struct transit *t); /* whose file it is one of; "": of none */
int transit_ccd(const struct transit *t);           /* then: which ccd; else 0 */
/* What has been sent and acknowledged so far (all 0 before the first byte). */
void transit_state(const struct transit *t, struct shipment_state *out);

int64_t transit_bundle_bytes(const struct transit *t); /* 0: is still being encoded */
bool transit_flowing(const struct transit *t); /* the first of its bytes can go */
/* All its bytes were given to the line: it waits for the receipt alone. */
bool transit_drained(const struct transit *t);

bool transit_is_exact(const struct transit *t);    /* exact data that follow a delivery */

/* Does the receipt speak of this bundle, or of the same source file stored before? Of exact
 * data only a receipt of exact data does. */
bool transit_receipt_fits(const struct exposure *e, const struct receipt *r);

#endif
