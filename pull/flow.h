/* The far side's flow: what an exposure's state is waiting for, what comes after it, how
 * often it is tried. The table in flow.c is the newcomer's way in; below it the engine that
 * begins due steps and writes down how they ended. A step gets its exposure as a flight and
 * must call flow_ended exactly once, now or later from the loop. Main thread only. */
#ifndef SKYFERRY_PULL_FLOW_H
#define SKYFERRY_PULL_FLOW_H

#include "common/stage.h"
#include "pull/agent.h"

struct flow_row {
    struct stage_row stage;
    void (*begin)(struct agent *a, struct flight *f); /* NULL: rests here */
    enum stamp reached; /* set when an exposure comes into this state */
    const char *reached_point; /* crash_point after that was written; STORED is never reached
                                * by a step */
    const char *doing;  /* "unpacking and placing" */
};
extern const struct flow_row flow_rows[EX_STATES];

/* Takes up requests and begins every step that is due and has room. */
void flow_look(struct agent *a);

/* The step's end: what f->record writes and the new state become durable together, then f is
 * gone. `why` may be NULL when the grade is OK. */
void flow_ended(struct agent *a, struct flight *f, enum status grade, const struct fault *why);
/* The step was broken off (the agent stops, or the catalogue fails): nothing is written. */
void flow_dropped(struct agent *a, struct flight *f);

/* Makes an exposure due at once when it waits in `state`. */
enum status flow_wake(struct agent *a, int64_t exposure, enum exposure_state state,
                      struct fault *why);

/* The number of this step's attempt is the last one that the table allows. */
bool flow_last_attempt(const struct exposure *x);

/* Is one of its steps under way? */
bool flow_is_flying(const struct agent *a, int64_t exposure);

#endif
