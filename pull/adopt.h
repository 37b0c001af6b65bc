/* A tar that came without a receipt (copied by hand, carried on a disk, S4.18): read whole on
 * the pool, and when it is a valid bundle filed as bundles/NIGHT/NAME.tar (NAME~2.tar when
 * another file has that name) with a receipt of our own, so that sweep, verify and rebuild
 * treat it like any other. When it is none, a parked row of the catalogue says why, and the
 * file stays where it is until it changes. Main thread. */
#ifndef SKYFERRY_PULL_ADOPT_H
#define SKYFERRY_PULL_ADOPT_H

#include "common/wire.h"
#include "pull/agent.h"

/* done(a, path) is called when it is filed or parked, or when the agent stops. */
void adopt_begin(struct agent *a, const char *path, void (*done)(void *a, const char *path));

/* Reads the tar and makes the receipt that it would have had; the night is not set. */
enum status adopt_read(const char *path, struct manifest *m, struct receipt *out,
                       struct fault *why);

#endif
