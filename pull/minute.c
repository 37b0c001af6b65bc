#include "pull/minute.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What began 60 s ago counts no longer. */
static void forget(struct minute *m, int64_t now)
{
    size_t old = 0;
    while (old < m->count && m->at[old] <= now - MINUTE_NS)
        old++;
    if (old > 0)
        memmove(m->at, m->at + old, (m->count - old) * sizeof *m->at);
    m->count -= old;
}

int minute_room(struct minute *m, int most, int64_t now)
{
    forget(m, now);
    if (most <= 0)
        return INT_MAX;
    return m->count < (size_t)most ? most - (int)m->count : 0;
}

bool minute_take(struct minute *m, int64_t now)
{
    forget(m, now);
    if (m->count == m->room) {
        size_t room = m->room ? 2 * m->room : 16;
        int64_t *bigger = realloc(m->at, room * sizeof *bigger);
        if (!bigger)
            return false;
        m->at = bigger;
        m->room = room;
    }
    m->at[m->count++] = now;
    return true;
}

int64_t minute_next(const struct minute *m, int most, int64_t now)
{
    if (most <= 0 || m->count < (size_t)most)
        return now;
    int64_t free_at = m->at[m->count - (size_t)most] + MINUTE_NS;
    return free_at > now ? free_at : now;
}

void minute_free(struct minute *m)
{
    free(m->at);
    *m = (struct minute){0};
}
