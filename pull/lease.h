/* The store's lease: daemons on several login nodes may share one store, and only one may work in
 * it. STATE/lock keeps a second one off this machine; between machines flock is not to be trusted,
 * so ROOT/daemon.lease names the one that works, and its time of change is the last sign of life.
 * All times are the file server's own: no two machines' clocks are compared. Whoever takes the
 * lease holds ROOT/daemon.lease.next meanwhile, and has it only when that one is still its own
 * afterwards. A thread of the lease's own renews it, so that a daemon that walks a slow file system
 * for minutes keeps it; the holder itself counts its lease as in doubt well before another may
 * take it. Main thread only, but for that thread, which touches nothing but the file. */
#ifndef SKYFERRY_PULL_LEASE_H
#define SKYFERRY_PULL_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

struct lease;

/* Takes the lease of the store at root; it expires `seconds` after the last sign of life, also for
 * those whose own setting is another. WAIT when another daemon has it (who, where, and when it would
 * be free are in *why). One whose holder was a process of this machine that is dead, or that has
 * expired, is taken over, and that is logged. */
enum status lease_take(const char *root, int seconds, struct lease **out, struct fault *why);
/* Readable when no sign of life could be given for 3/4 of `seconds` (a machine that stood still, a
 * file server that was away), or when another daemon has taken the lease over: nothing may be done
 * in the store before lease_sure has said that it is still ours. */
int lease_doubt_fd(const struct lease *l);
/* OK: it is ours; at once when the last sign of life is fresh, else as soon as a new one is given,
 * which is logged. FATAL: it is lost, stop. WAIT: SIGTERM or SIGINT, which the caller has blocked,
 * came while nothing was known. */
enum status lease_sure(struct lease *l, struct fault *why);
/* Gives it back, unless another one has it by now. */
void lease_release(struct lease **l);

/* Who works in this store, for people. False when nobody says so, or a process of this machine that
 * is dead. The file server's time is learned by making a file at root; `seconds` is for a lease
 * that does not say itself how long it lasts. */
struct lease_holder {
    char host[65];
    long pid;
    int64_t silent_s; /* since its last sign of life; -1: the file server's time is unknown */
    bool expired;     /* silent for so long that another may take it */
};
bool lease_read(const char *root, int seconds, struct lease_holder *out);

#endif
