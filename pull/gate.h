/* What holds new work back: the pause tokens (pull/pause.h) and the ceilings of [ingest] and
 * [jobs]. The steps ask here before they begin anything; what may not begin yet stays where it is,
 * in the catalogue, and is looked at again when there is room. A token is noticed by inotify; on
 * a file system that tells nothing it is looked for every second. What was begun in the last
 * minute is noted in the catalogue while a setting counts it, so that a restart forgets none. Main
 * thread only. */
#ifndef SKYFERRY_PULL_GATE_H
#define SKYFERRY_PULL_GATE_H

#include "pull/agent.h"
#include "pull/ceiling.h"
#include "pull/pause.h"

/* Before anything that asks. FATAL when it cannot. */
enum status gate_open(struct agent *a, struct fault *why);
void gate_close(struct agent *a);
/* The settings were read again. */
void gate_reload(struct agent *a);

bool gate_paused(const struct agent *a, enum pausable what);

/* How many stored exposures may begin to be unpacked, besides `at_work`; and how many of these
 * may be such as nobody has looked into yet. */
int gate_ingest_room(struct agent *a, int at_work, int *fresh);
/* One begins that nobody has looked into yet. False: not now. */
bool gate_ingest_begins(struct agent *a);

/* The ceilings of [jobs]; `submits` is filled in. */
void gate_ceiling(struct agent *a, bool arrays, struct ceiling *out);
/* A submission is made. False: not now. */
bool gate_submits(struct agent *a);
/* The same for a runner, just before it calls the batch system. let_ns: when gate_submits let this
 * very call (clock_mono); 0, or too long ago: it counts as another one. g may be NULL. */
bool gate_lets_submit(struct gate *g, int64_t let_ns);

/* A look at what waits ended so: told when it is news, and a moment is set when it can go on. */
void gate_held(struct agent *a, enum pausable what, const char *words);

#endif
