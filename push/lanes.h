/* The line: lanes kept connected, as many as it takes to fill it (lanes_fit). A lane that goes
 * down is started again after a back-off; while the whole line is down one lane at a time knocks,
 * and a refusal that only a human can mend (host key, login, version) is said once and tried
 * again once a minute. When a lane stalls, a further one is sent to look: once it is up, the line
 * is there, and lanes that have not moved since it set out are given up for dead. When all live
 * on, there are more than are needed: the idle ones of these are ended after a while. Main thread
 * only: events come from the loop, after this module has noted them. */
#ifndef SKYFERRY_LANES_H
#define SKYFERRY_LANES_H

#include "common/loop.h"
#include "push/lane.h"
#include "push/lanes_fit.h"

struct lanes;

struct lanes_options {
    const struct lane_options *lane; /* copied */
    int count;      /* of lanes; 0: by measurement, */
    int limit;      /* at most so many, */
    int known;      /* of which so many were enough before (0: not known) */
    int64_t window; /* bytes in flight on one lane */
    int64_t spare_ns; /* one that is not needed is ended after so long; 0: after a minute */
    struct loop *loop;
    void *ctx;
    void (*event)(void *ctx, const struct lane_event *e); /* e is freed by us */
};

/* What the line is like, for status and for those who give up waiting. */
struct lanes_state {
    int up, wanted;
    bool fitted;             /* `wanted` was found by measurement */
    int64_t rtt_ns;          /* the least round trip seen; 0: not known */
    int64_t since_mono;      /* when the line last came up or went down */
    int64_t lost_mono;       /* connections are up, but since then nothing is acknowledged; 0: all
                                is well */
    struct fault trouble;    /* why it is down; grade ST_OK: no trouble so far */
    struct wire_hello hello; /* of the far end, as last heard */
};

enum status lanes_open(const struct lanes_options *o, struct lanes **out, struct fault *why);
void lanes_close(struct lanes **l); /* the fds of posted chunks may be closed afterwards */

const struct lanes_state *lanes_state(const struct lanes *l);
/* Do bytes wait that no lane has room for? What is carried meanwhile tells what the lanes can. */
void lanes_waits(struct lanes *l, bool waits);
/* Is lane i one of those that fill the line? Those beyond are kept in reserve: for receipts, and
 * should more be needed. */
bool lanes_carries(const struct lanes *l, int i);
/* Bytes that lane i takes now; 0 when it is full or not up. queue: bytes that may wait in it
 * before they are on the wire: the more, the later what is urgent comes after them. */
int64_t lanes_room(const struct lanes *l, int i, int64_t queue);
/* Bytes beyond those in flight that lane i carries in one round trip. */
int64_t lanes_free(const struct lanes *l, int i);
/* Bytes that may be in flight on one lane: less where a limit is set. */
int64_t lanes_window(const struct lanes *l);
bool lanes_idle(const struct lanes *l, int i); /* up, and nothing in flight */
bool lanes_is_up(const struct lanes *l, int i);
void lanes_post(struct lanes *l, int i, const struct lane_job *job);

/* The delay before attempt n (from 0): doubles from 1 s to 60 s, up to a quarter taken off. */
int64_t lanes_backoff_ms(int n, unsigned random);

#endif
