/* The pace that all lanes keep together when a rate is set. Counted is what SSH puts on its
 * sockets, of all lanes that have joined: handshakes, packets' heads and checksums included,
 * TCP's and IP's heads and repeats not. The lanes take turns: each asks for a few ms of the rate,
 * gets a time at which its turn comes, and waits for it in its own poll; nobody is woken for
 * nothing. What was missed because a thread came late is made up for within THROTTLE_LATE_NS
 * only, so that no 2 s carry more. One per process; any thread but where it says main thread. */
#ifndef SKYFERRY_THROTTLE_H
#define SKYFERRY_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THROTTLE_LATE_NS (20 * 1000000LL)
/* Of the rate that is set so much is aimed at: heads of TCP and IP add 3.6 %, SSH's and our own
 * take 0.2 to 1 % of it. So packets on the line and bytes delivered are both within 3 % of it. */
#define THROTTLE_AIM 0.982

struct throttle;

struct throttle *throttle_new(void); /* NULL: out of memory; at first there is no limit */
void throttle_free(struct throttle **t); /* after all lanes have left */

/* The rate from now (clock_mono) on; 0: no limit. */
void throttle_set(struct throttle *t, double mbit, int64_t now_ns);
/* 0 for NULL, too. */
double throttle_mbit(struct throttle *t);

/* A lane's part in it; belongs to the lane's thread. */
struct throttle_lane {
    struct throttle *of; /* NULL: joined none, nothing is held back */
    int fd;
    int64_t due;         /* when the turn comes */
    size_t grant;        /* bytes that are left of the turn; 0: none was given */
    bool begun;          /* it has come, and a write may be half done */
    int64_t paid;        /* bytes on the socket that turns were given for */
    uint64_t epoch;      /* of the rate that the turn was given by */
};
/* t may be NULL; fd: the lane's socket, -1: none. */
void throttle_join(struct throttle_lane *l, struct throttle *t, int fd);
void throttle_leave(struct throttle_lane *l);

/* How many of the next `wanted` bytes may be written now; 0: none before *until. sent: all that
 * this lane's socket has taken so far. What is written without asking (an OPEN, a PING: it
 * must not wait behind a chunk) is paid for by the next turn. After a partial write the same
 * bytes are allowed again. */
size_t throttle_allows(struct throttle_lane *l, int64_t now_ns, int64_t sent, size_t wanted,
                       int64_t *until);
void throttle_used(struct throttle_lane *l, size_t bytes);

/* For so long a healthy lane may seem silent for the rate's sake alone. */
int64_t throttle_patience(const struct throttle_lane *l);

/* What `lanes` lanes should be given at once, each, so that the rate is used and what is more
 * urgent need not wait long for what is under way: bytes in flight, and bytes in one chunk. At
 * most `most`, which is what holds without a limit. t may be NULL. */
int64_t throttle_window(struct throttle *t, int lanes, int64_t most);
int64_t throttle_chunk(struct throttle *t, int lanes, int64_t most);

#endif
