/* What the files of part*.c share: the names in a store, the look at what it holds, and the
 * end of a commit that a crash interrupted. Not for other modules: they use pull/part.h.
 *
 * A commit goes through these states on disk, in this order and under the store's lock
 * (incoming/.lock); store_finish leads each of them to its end, whoever finds it:
 *   1 part, map                  bytes arriving, or whole but not yet committed
 *   2 part, map, intent          verified and fsynced; the receipt is written as
 *                                incoming/NAME.ID8.receipt: dropped, the commit is done again
 *   3 part, intent               sealed: no process can write any more: goes on with 4
 *   4 intent, bundle             the part has its final name: goes on with 5
 *   5 bundle, receipt            done */
#ifndef SKYFERRY_PART_STORE_H
#define SKYFERRY_PART_STORE_H

#include "pull/part.h"

#define STORE_PATH 4096
#define SLOTS 9999 /* bundles of one name in one night */

/* One of the names that a bundle of an exposure may have: NAME.tar, NAME~2.tar, ..., and for
 * the exact data that follow a lossy delivery NAME.exact.tar, NAME~2.exact.tar, ... */
struct slot {
    char stored[MEMBER_NAME]; /* NIGHT/NAME~2.tar */
    char tar[STORE_PATH], receipt_path[STORE_PATH];
    bool has_tar, has_receipt;
    int64_t tar_size;
    struct receipt receipt; /* name "" when it cannot be read */
};
struct slot_name {
    int number; /* from 1 */
    bool exact; /* the .exact.tar */
};
enum status store_look(const struct part_store *s, const struct wire_open *o, struct slot_name n,
                       struct slot *out, struct fault *why);

/* A whole bundle of this exposure: of this id, or made from this source file (either may be
 * NULL) and with `exact` holding its exact data. *held says whether there is one; an exact
 * one goes before a lossy one. */
struct wanted {
    const char *id, *source_sha256;
    bool exact;
};
enum status store_find(const struct part_store *s, const struct wire_open *o,
                       const struct wanted *w, struct receipt *out, bool *held);

void store_night(const struct part_store *s, const struct wire_open *o, char night[NIGHT_SIZE]);
enum status store_path(const struct part_store *s, char out[STORE_PATH], struct fault *why,
                       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Waits for the store's lock; released by close(*fd). */
enum status store_lock(const struct part_store *s, int *fd, struct fault *why);
/* Under the lock: ends every interrupted commit. */
enum status store_finish(const struct part_store *s, struct fault *why);
/* Steps 4 and 5: from the intent's file to a bundle with its receipt. */
enum status store_name(const struct part_store *s, const char *intent, const struct receipt *r,
                       struct fault *why);

struct part {
    struct part_store store;
    struct wire_open open;
    char part_path[STORE_PATH], map_path[STORE_PATH], intent_path[STORE_PATH];
    int part_fd, map_fd;
    int64_t first_ns;
    bool dropped;         /* by the last part_commit: emptied */
    int64_t room_checked; /* clock_mono of the last look at the free space */
};

/* The lock on the map: LOCK_SH to write a chunk, LOCK_EX to change what the part is. */
enum status part_lock(struct part *p, int how, struct fault *why);
void part_unlock(struct part *p);
/* Does the map still have its name? Under the lock: not after a commit or an abort. */
bool part_linked(const struct part *p);

#endif
