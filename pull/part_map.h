/* The map beside a part: which byte ranges of it have been written. A head that says which
 * encoding of which exposure this is, then one checked record a chunk, appended with one
 * write(2) each so that several lanes' processes can share the file. Called by part.c under
 * the lock on the map. Numbers are big-endian.
 *
 *   head    "SKYFERRY MAP 1\n\0"  id (64 hex digits)  first_ns u64  check u64
 *   record  "SFRECORD"  offset u64  length u64  check u64
 *
 * check is 64-bit FNV-1a (Fowler, Noll, Vo; RFC draft-eastlake-fnv) of the bytes before it. */
#ifndef SKYFERRY_PART_MAP_H
#define SKYFERRY_PART_MAP_H

#include "common/ranges.h"

#define MAP_HEAD 96
#define MAP_RECORD 32

struct map_head {
    char id[DIGEST_HEX];
    int64_t first_ns; /* when the first lane opened the part */
};

/* Empties the file and writes the head. */
enum status map_begin(int fd, const struct map_head *head, struct fault *why);
/* False when the file has no sound head. */
bool map_head_read(int fd, struct map_head *out);
enum status map_add(int fd, int64_t offset, int64_t length, struct fault *why);

/* Everything noted below `limit`: sorted, merged, malloc'ed. A damaged record ends the map. */
enum status map_read(int fd, int64_t limit, struct extent **have, size_t *count,
                     struct fault *why);
/* The same bit by bit, while others append: what has been noted since the last call joins `have`,
 * which stays sorted and merged. Start with {0}; ranges_free(have). *anew: the map was emptied
 * and begun again since, so nothing of `have` holds any more. Needs no lock. */
struct map_reader {
    int64_t read;   /* bytes of the map so far; 0: nothing yet */
    struct map_head head;
    struct ranges have;
};
bool map_record_read(const unsigned char *record, struct extent *out); /* false: not sound */
enum status map_follow(int fd, struct map_reader *r, bool *anew, struct fault *why);

/* Cuts a damaged record and what follows, so that records appended later can be found. */
enum status map_mend(int fd, struct fault *why);

#endif
