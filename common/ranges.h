/* A set of byte ranges: what was taken, acknowledged or written of a file. Owned by one thread. */
#ifndef SKYFERRY_RANGES_H
#define SKYFERRY_RANGES_H

#include "common/wire.h"

/* Sorted, disjoint, never touching each other. Start with {0}. */
struct ranges {
    struct extent *at;
    size_t count, room;
};
/* False when memory is out (r unchanged). Lengths <= 0 do nothing. */
bool ranges_add(struct ranges *r, int64_t offset, int64_t length);
bool ranges_cut(struct ranges *r, int64_t offset, int64_t length);
/* The first byte at or after `from` that is not in r; *length: up to the next range or `end`.
 * False when there is none before `end`. */
bool ranges_gap(const struct ranges *r, int64_t from, int64_t end, int64_t *offset,
                int64_t *length);
/* Is all of from..to in r? True for nothing. */
bool ranges_cover(const struct ranges *r, int64_t from, int64_t to);
int64_t ranges_total(const struct ranges *r);
void ranges_free(struct ranges *r);

#endif
