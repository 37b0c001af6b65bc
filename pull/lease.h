/* The store's lease: daemons on several login nodes may share one store, and only one may work in
 * it. STATE/lock keeps a second one off this machine; between machines flock is not to be trusted,
 * so ROOT/daemon.lease names the one that works, and its time of change is the last sign of life.
 * All times are the file server's own: no two machines' clocks are compared. A thread of the
 * lease's own renews it, so that a daemon that walks a slow file system for minutes keeps it.
 * Main thread only, but for that thread, which touches nothing but the file. */
#ifndef SKYFERRY_PULL_LEASE_H
#define SKYFERRY_PULL_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

struct lease;

/* Takes the lease of the store at root; it expires `seconds` after the last sign of life. WAIT when
 * another daemon has it (who, where, and when it would be free are in *why). One whose holder was
 * a process of this machine that is dead, or that has expired, is taken over, and that is logged. */
enum status lease_take(const char *root, int seconds, struct lease **out, struct fault *why);
/* Readable when another daemon has taken the lease over, because this one was silent (a machine
 * that stood still, a file server that was away): stop at once. */
int lease_lost_fd(const struct lease *l);
/* Gives it back, unless another one has it by now. */
void lease_release(struct lease **l);

/* Who works in this store, for people. False when nobody says so, or a
 * process of this machine that is dead. */
struct lease_holder {
    char host[65];
    long pid;
    int64_t silent_s; /* since its last sign of life */
};
bool lease_read(const char *root, struct lease_holder *out);

#endif
