/* Which exposure goes next: the modes as policies over one durable queue. They change
 * order and concurrency only; every exposure has its turn in the end. Pure functions
 * over an array of values: the flow calls them whenever something is ready or done. */
#ifndef SKYFERRY_ORDER_H
#define SKYFERRY_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum order_mode {
    ORDER_PARALLEL, /* in order of arrival, at most `window` under way */
    ORDER_SERIAL,   /* newest first, one at a time */
    ORDER_BATCH,    /* the newest `batch_size` together; the next round when all are done */
    ORDER_LIST,     /* not a policy: the forerunner's word for `send --list` */
    ORDER_SWEEP     /* not a policy: the forerunner's word for `sweep` */
};

/* A whole word or its letter, case ignored: p parallel, s serial, b batch bundle, l list,
 * e sweep endofnight end-of-night "end of night". False for all else. */
bool order_mode_parse(const char *word, enum order_mode *out);
extern const char order_mode_words[]; /* for messages: "parallel (p), serial (s), ..." */

struct order_policy {
    enum order_mode mode; /* one of the first three */
    int batch_size, window;
};

struct order_item {
    int64_t id;       /* order of arrival */
    int64_t date_ns;  /* DATE-OBS; INT64_MIN: unknown, then mtime_ns counts */
    int64_t mtime_ns;
    bool begun;       /* was under way already: goes before those that were not */
    bool backfill;    /* of a sweep: in parallel mode after the night's own */
    bool exact;       /* exact data that follow a delivery: behind every exposure */
};

/* Sorts items into the order in which they go and returns how many of them start now. */
size_t order_pick(const struct order_policy *p, struct order_item *items, size_t count,
                  size_t under_way);

/* Does a go before b (also on the pool and on the lanes)? A strict total order. */
bool order_before(const struct order_policy *p, const struct order_item *a,
                  const struct order_item *b);

/* The same as one number for the pool and the lanes, larger first. */
int order_urgency(const struct order_policy *p, const struct order_item *i);

#endif
