/* The inside of the line, for lanes.c (what lanes say) and lanes_start.c (when they are started). */
#ifndef SKYFERRY_LANES_INNER_H
#define SKYFERRY_LANES_INNER_H

#include "push/lanes.h"

struct slot {
    struct lane *lane; /* NULL: down */
    int number;        /* of this lane among all there ever were; modulo LANES_MAX: the slot's */
    bool up;
    bool stalled;
    int failures;       /* in a row: without one useful answer */
    int64_t begun_mono; /* its lane was started; its lane was up */
    int64_t up_mono;
    int64_t due_mono;   /* not started again before */
    int64_t posted_mono; /* when it was last given something to do */
};

/* What the lanes carry while bytes wait for them. */
struct tally {
    bool waits;
    int64_t mark_mono;  /* counted up to here */
    int64_t span_ns, bytes;
    int64_t limited_ns; /* of all lanes, when the sample began */
};

struct lanes {
    struct lanes_options o;
    struct lane_options lane;
    struct mailbox *box;
    struct loop_timer *timer;
    struct slot slot[LANES_MAX];
    struct lanes_state state;
    struct lanes_fit fit;
    struct tally tally;
    int at_once;        /* handshakes side by side */
    int scout;          /* the slot that looks for the line; -1: none */
    int64_t set_out;    /* when the last one did, */
    int64_t judge_mono; /* and when those that have not moved since are given up; 0: not yet */
    int64_t spare_mono; /* since when there are more lanes than are needed; 0: there are not */
    char said[sizeof((struct fault *)0)->text]; /* the last trouble that was logged */
};

/* Ends a lane that is up, and tells why as if it had gone down by itself. */
void lanes_give_up(struct lanes *l, int i, const struct fault *why);
/* Starts what is due, and sets the timer for what is not (lanes_start.c). */
void lanes_start(struct lanes *l);
/* Ends lanes that were not needed for a while (lanes_start.c); only from the loop: those who are
 * told may be in the middle of something else. */
void lanes_end_spare(struct lanes *l);
/* When a lane that has gone down may be started again (clock_mono). */
int64_t lanes_next_try(const struct lanes *l, struct slot *s, const struct lane_event *e, int64_t now);
bool lanes_any_stalled(const struct lanes *l);

#endif
