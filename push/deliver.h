/* Has the far end get these files, and waits: through the queue of the agent that runs, or
 * by becoming the agent for a while, for just these. Both `send` and `sweep` end in it. */
#ifndef SKYFERRY_DELIVER_H
#define SKYFERRY_DELIVER_H

#include "push/flow.h"
#include "push/journal.h"

struct deliver;

struct deliver_result {
    int64_t asked, delivered, parked; /* the rest is still on its way */
    bool unreachable;                 /* no connection for the whole time allowed */
    bool interrupted;
    struct fault trouble;             /* of the line or the agent, when it ended early */
};

/* Opens the journal (and the spool, when it is new). */
enum status deliver_open(const struct config *c, struct deliver **out, struct fault *why);
void deliver_close(struct deliver **d);
struct journal *deliver_journal(const struct deliver *d);

/* The path as the watching agent would write it: absolute, and below the watched directory
 * spelled as configured. False when its directory does not exist or the path is too long. */
bool deliver_path(const struct config *c, const char *given, char out[4096]);

/* Queues one file (a path from deliver_path). again: also when it was delivered before.
 * REJECT: it cannot be read (why says it), nothing is queued. */
enum status deliver_add(struct deliver *d, const char *path, enum exposure_origin origin,
                        bool again, struct fault *why);

/* The far end holds this file of an exposure of several, though the journal may not know: noted as
 * done, and as that exposure's, so that the others are not taken for all there is. path, name,
 * file, facts, group, group_ccd and source_sha256 of `what` are taken. */
enum status deliver_held(struct deliver *d, const struct exposure *what, struct fault *why);

/* Queues the exact data of what was delivered lossy: path, name, file, facts and digest of `what`
 * are taken. again: also when they were delivered before. */
enum status deliver_add_exact(struct deliver *d, const struct exposure *what, bool again,
                              struct fault *why);

/* Waits until all are delivered or parked, or it has to give up. */
void deliver_wait(struct deliver *d, int timeout_s, struct deliver_result *out);

/* Calls fn for each file that was queued and is not delivered. */
enum status deliver_rest(struct deliver *d, journal_fn *fn, void *ctx, struct fault *why);

/* The exit status that a result means. */
int deliver_exit(const struct deliver_result *r);

#endif
