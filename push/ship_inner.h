/* The inside of shipping, for ship.c (shipments, and what lanes say of them) and ship_hand.c (who
 * is given what to carry). */
#ifndef SKYFERRY_SHIP_INNER_H
#define SKYFERRY_SHIP_INNER_H

#include "push/ship.h"

enum phase {
    PHASE_FRESH,  /* the far end has never heard of it: sends at once */
    PHASE_ASK,    /* the far end may hold some of it: ask first */
    PHASE_ASKED,  /* waits for the answer, from `lane` */
    PHASE_FLOW,   /* chunks go out */
    PHASE_COMMIT, /* waits for the receipt, from `lane`; the last chunks may still be under way */
    PHASE_HALTED, /* refused: waits to be dropped */
    PHASE_DEAD    /* dropped; its descriptor is still in use by a lane */
};

struct flight {
    int lane;
    int64_t offset, length;
};

struct shipment {
    struct shipment *next;
    struct ship *ship;
    struct shipment_order o;
    struct plan plan;
    struct wire_commit commit;
    enum phase phase;
    int lane;
    int asking;      /* the lane that was asked what of the doubtful has arrived; -1: none */
    bool early;      /* committed before the last answers were there, */
    bool tried;      /* which is tried once */
    bool asked;      /* once more what the far end holds: it lacks what it had acknowledged */
    unsigned opened; /* bit i: lane i knows the bundle */
    int fd;
    struct flight *flights;
    size_t flight_count, flight_room;
    struct shipment_state state;
};

struct ship {
    struct ship_options o;
    struct lanes *lanes;
    struct shipment *first; /* most urgent first */
    struct meter meter;
    bool early;             /* the far end waits for bytes that a commit has overtaken */
    bool busy;              /* inside an event: nothing is freed before its end */
};

/* Gives the lanes what they have room for, and what waits for no room. */
void ship_hand_out(struct ship *s);

#endif
