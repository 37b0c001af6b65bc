/* How fast the line is, from what it acknowledges, and how fast a machine is, from what it
 * spends. The line's rate is known only from moments in which the line was the limit: bytes
 * waited that no lane had room for, what had filled the lanes then is still under way, or what
 * was given to them has been under way for long although nothing was added. At all other times
 * (the encoder was the limit) the rate is a lower bound, and only ever raises what is known.
 * Plain values, no clocks: times are given, in ns of one clock that does not jump. Main thread. */
#ifndef SKYFERRY_METER_H
#define SKYFERRY_METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
    double pace;          /* s a byte; 0: not known */
    double trust;         /* s of the line being the limit that `pace` rests on */
    int64_t known_ns;     /* when it was learned */
    double ceiling;       /* s a byte, when the line was the limit last; 0: not within an hour */
    int64_t ceiling_ns;   /* and when that was */
    double hope;          /* so many times the rate is tried; below 1: as it is known */
    bool carried;         /* since hope was raised */
    int64_t in_flight;    /* bytes given to lanes and not acknowledged */
    bool waits;
    int64_t backlog;      /* of in_flight: what had filled the lanes when bytes waited last, */
    int64_t drain_ns;     /* which ended then */
    int64_t posted_ns, mark_ns;
    int64_t began_ns;     /* something was given to empty lanes, */
    int64_t trip_ns;      /* and the first answer took so long; 0: it has not come */
    /* since the last sample: while anything was in flight */
    int64_t bytes, span_ns, limited_ns;
    int64_t met_ns;       /* of limited_ns: without the round trip that full lanes need on any line */
};

/* So many bytes were given to a lane, acknowledged, or taken back (it died, or refused them). */
void meter_posted(struct meter *m, int64_t now_ns, int64_t bytes);
void meter_got(struct meter *m, int64_t now_ns, int64_t bytes);
void meter_lost(struct meter *m, int64_t now_ns, int64_t bytes);
/* From now on: do bytes wait that no lane has room for? */
void meter_waits(struct meter *m, int64_t now_ns, bool waits);

/* Bytes a second; 0: not known. Smoothed over about 10 s in which the line was the limit, 2 s
 * while it is more than twice as fast or as slow as before; of a line that fast the seconds are
 * those that the bytes would have taken before. */
double meter_rate(const struct meter *m);
/* Is that what the line carries? Otherwise it carries at least that: the line has not been the
 * limit within an hour, or it has carried a quarter more since. */
bool meter_at_limit(const struct meter *m);
/* The rate to plan with. Not at its limit the line may be much better than what the encoder makes,
 * and would never show it: so it is taken to be half as fast again with each call of meter_raise
 * that follows on a measurement, until it does meet its limit. */
double meter_hoped(const struct meter *m);
void meter_raise(struct meter *m);
/* What was known age_ns ago, at_limit or not, counts until something is measured that says more.
 * After an hour it is a first guess only: the first measurement takes its place. */
void meter_recall(struct meter *m, int64_t now_ns, double rate, int64_t age_ns, bool at_limit);

/* CPU time spent over that of a reference machine; larger pieces of work count for more, later
 * ones too. Start with {0}. */
struct effort {
    double spent, due;
};
void effort_add(struct effort *e, double spent, double due);
/* 0: not known. */
double effort_factor(const struct effort *e);

#endif
