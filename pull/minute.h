/* So many a minute: the moments at which something was begun, and whether another one may follow.
 * However they fall, no 60 s hold more than were allowed. Pure: times are given, and never go
 * backwards (clock_mono). Owned by whoever declares it; main thread. */
#ifndef SKYFERRY_PULL_MINUTE_H
#define SKYFERRY_PULL_MINUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Between being let and being done so much may pass at most; then it has to be asked again. So the
 * things done, too, are no more than allowed in any 60 s. */
#define MINUTE_LATE_NS (2 * 1000000000LL)
#define MINUTE_NS (60 * 1000000000LL + MINUTE_LATE_NS)

struct minute {
    int64_t *at; /* oldest first */
    size_t count, room;
};

/* How many may begin now; most <= 0: any number (INT_MAX). */
int minute_room(struct minute *m, int most, int64_t now);
/* One begins. False: out of memory, then it must not. */
bool minute_take(struct minute *m, int64_t now);
/* When there will be room for one; `now` when there is. */
int64_t minute_next(const struct minute *m, int most, int64_t now);
void minute_free(struct minute *m);

#endif
