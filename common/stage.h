/* The stage engine's one decision: given a row of the flow table, how a step ended and
 * how often it was tried, what is the item's next state and when may it be looked at
 * again? Pure: no clock, no database, so that it can be tested to the last row. */
#ifndef SKYFERRY_STAGE_H
#define SKYFERRY_STAGE_H

#include <stdint.h>

#include "common/status.h"

#define STAGE_FOREVER 0 /* attempts without end */

struct stage_row {
    int state;         /* the agent's enum */
    const char *name;  /* as stored, shown and documented */
    int on_ok;         /* next state */
    int on_reject;     /* next state when the item can never pass */
    int attempts;      /* the RETRY of this number is treated as REJECT; STAGE_FOREVER: none */
    int wait_seconds;  /* after WAIT */
    int retry_seconds; /* after the first RETRY; doubles each time, ... */
    int retry_max;     /* ... up to this, with up to 25 % of jitter taken off */
};

struct stage_verdict {
    int state;
    int attempts;     /* the new count: 0 after OK, unchanged after WAIT */
    int64_t delay_ms; /* before the item is due again */
    int gave_up;      /* RETRY turned into on_reject because attempts ran out */
};

/* random: any number, the source of the jitter. grade must not be ST_FATAL. */
struct stage_verdict stage_decide(const struct stage_row *row, enum status grade, int attempts,
                                  unsigned random);

#endif
