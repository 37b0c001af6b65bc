/* What does the far end hold? Asked by digest over a connection of its own, as often as it
 * takes for long lists. Used by sweep, and by send for files that the journal says are
 * delivered. Blocks; for commands only. */
#ifndef SKYFERRY_HELD_H
#define SKYFERRY_HELD_H

#include "push/lane.h"

/* held[i] answers asked[i]; *hello is who answered. RETRY: unreachable, REJECT: unreachable
 * until a human acts; then nothing is known. */
enum status held_ask(const struct lane_options *lane, const struct wire_have *asked, bool *held,
                     size_t count, struct wire_hello *hello, struct fault *why);

#endif
