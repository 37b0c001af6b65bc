/* The line: N lanes kept connected. A lane that goes down is started again after a back-off;
 * while the whole line is down one lane at a time knocks, and a refusal that only a human
 * can mend (host key, login, version) is said once and tried again once a minute. Main
 * thread only: events come from the loop, after this module has noted them. */
#ifndef SKYFERRY_LANES_H
#define SKYFERRY_LANES_H

#include "common/loop.h"
#include "push/lane.h"

#define LANES_MAX 16

struct lanes;

struct lanes_options {
    const struct lane_options *lane; /* copied */
    int count;
    int64_t window; /* bytes in flight on one lane */
    struct loop *loop;
    void *ctx;
    void (*event)(void *ctx, const struct lane_event *e); /* e is freed by us */
};

/* What the line is like, for status and for those who give up waiting. */
struct lanes_state {
    int up, count;
    int64_t since_mono;      /* when the line last came up or went down */
    struct fault trouble;    /* why it is down; grade ST_OK: no trouble so far */
    struct wire_hello hello; /* of the far end, as last heard */
};

enum status lanes_open(const struct lanes_options *o, struct lanes **out, struct fault *why);
void lanes_close(struct lanes **l); /* the fds of posted chunks may be closed afterwards */

const struct lanes_state *lanes_state(const struct lanes *l);
/* Bytes that lane i takes now; 0 when it is full or not up. */
int64_t lanes_room(const struct lanes *l, int i);
bool lanes_idle(const struct lanes *l, int i); /* up, and nothing in flight */
bool lanes_is_up(const struct lanes *l, int i);
void lanes_post(struct lanes *l, int i, const struct lane_job *job);

/* The delay before attempt n (from 0): doubles from 1 s to 60 s, up to a quarter taken off. */
int64_t lanes_backoff_ms(int n, unsigned random);

#endif
