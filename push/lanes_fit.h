/* How many lanes a line needs. One lane carries at most a window in a round trip, whatever
 * the line could carry: SSH's window of a channel, or the kernel's buffer of a flow. So there
 * must be windows enough; and where bytes are lost on the way, more flows recover faster than
 * one. What is enough is measured: while bytes wait, lanes that stood before a full window ask
 * for more at once; else a few more are tried now and then, and kept if they carried more. On a
 * thin line a few are enough: of many one may lag behind, and what it carries comes late.
 * Plain values, no clocks: times are given. Main thread. */
#ifndef SKYFERRY_LANES_FIT_H
#define SKYFERRY_LANES_FIT_H

#include <stdbool.h>
#include <stdint.h>

#define LANES_MAX 16

struct lanes_fit {
    int wanted, limit;
    bool measured;   /* the round trip has had its say */
    bool trying;     /* the last increase has to prove itself, */
    bool settling;   /* in the sample after the next */
    int rest;        /* samples before the next try */
    int proven;      /* so many carried more than fewer did */
    int step;        /* how many were added by the last increase */
    double before;   /* bytes a second that fewer lanes carried */
};

/* known: how many were found to be enough in an earlier run; 0: not known. */
void fit_begin(struct lanes_fit *f, int known, int limit);
/* The first lane is up: windows enough for a line of 400 Mbit/s with this round trip. */
void fit_round_trip(struct lanes_fit *f, int64_t rtt_ns);

/* What the lanes did while bytes waited for them all the time. */
struct fit_sample {
    int up;             /* lanes, throughout */
    int64_t span_ns, bytes;
    int64_t rtt_ns;
    int64_t limited_ns; /* in which they stood before a full window, of all lanes together */
};
/* Bytes begin to wait after a pause: the flows have to find their pace first. */
void fit_warm_up(struct lanes_fit *f);
/* Long enough a time to say something. */
int64_t fit_span(int64_t rtt_ns);
/* Changes f->wanted by what was seen: more are tried, or a try is taken back. */
bool fit_learn(struct lanes_fit *f, const struct fit_sample *s);

#endif
