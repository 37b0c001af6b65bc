/* What skyferry-pull run does with one file of the drop folder (common/drop.h): takes a bundle
 * into the store by the same custody as a lane's (pull/part.h) and leaves the receipt or the
 * refusal, or answers a question. Everything in the folder is hostile until proven otherwise.
 * Called on a worker thread, one file at a time for each name; touches no agent.
 *
 * A drop goes through these states on disk; drop_take leads each of them to its end:
 *   1 side-car, bundle            as push has named it
 *   2 side-car, part in incoming/ the bundle's file is the part (or was copied into it)
 *   3 side-car, bundle in store   committed
 *   4 side-car, receipt           told; what is left of the drop is removed, the side-car last */
#ifndef SKYFERRY_DROP_TAKE_H
#define SKYFERRY_DROP_TAKE_H

#include "common/drop.h"
#include "pull/part.h"

struct drop_order {
    struct part_store store;
    const char *folder;
};

/* file: the base name of a DROP_TAR or DROP_SIDE. OK: stored, *r is its receipt. WAIT: nothing to
 * do (no side-car yet, or no bundle yet), or the store is full. RETRY: the drop was
 * refused and removed, or the disk failed. REJECT: refused for good, removed. In each case but
 * "nothing to do" (*why is "") push finds the answer in the folder. */
enum status drop_take(const struct drop_order *o, const char *file, struct receipt *r,
                      struct fault *why);

/* Writes a file that push, which may be another account, can read. */
enum status drop_put(const char *path, const struct buf *text, struct fault *why);

/* file: the base name of a DROP_ASK. Leaves DROP_ANSWER and removes the question. */
enum status drop_answer(const struct drop_order *o, const char *file, struct fault *why);

/* Removes receipts whose bundle is gone from the store at once, and whatever of push's and ours
 * nobody touched for so many days (answers: one). Returns how many bundles' bytes went. */
int drop_expire(const struct drop_order *o, int days);

#endif
