/* Decoding while the bundle still grows. `receive` fills incoming/NAME.ID8.part; as soon as a ccd's
 * members lie there, each proven by the SHA-256 and described by the row that travel with it, it
 * is decoded and placed as a FITS file, and the exposure stands in the catalogue as `coming`.
 *
 *     a part grows ----> coming ----> receipt: does the manifest say of each ccd what its row did?
 *                          |              yes: it is kept, no: withdrawn; then `stored`, and the
 *                          |              flow's table (pull/flow.h) does what is left
 *                          '--> dropped (wrong digest), given up, expired, its names or its source
 *                               claimed by a stored bundle: all of it is withdrawn
 *
 * Withdrawn: the files that are still the bytes we placed are removed, then the rows. A row is
 * durable before its file gets its name, so that a crash leaves no file behind. Whatever is out of
 * the ordinary (no rows, another name, a name that is taken, no DATE-OBS, a full disk, a source that
 * is catalogued) waits for the whole bundle, as does what fails here; and so does the workspace's
 * copy. Main thread. */
#ifndef SKYFERRY_PULL_EARLY_H
#define SKYFERRY_PULL_EARLY_H

#include "common/wire.h"
#include "pull/agent.h"

/* Watches incoming/ and goes on with what was coming when the agent ended. After intake_open. */
enum status early_open(struct agent *a, struct fault *why);
/* After pool_stop. What is coming stays in the catalogue. */
void early_close(struct agent *a);

/* A receipt stands for the bundle `rel`. *taken: it is that of an exposure that is coming, which
 * becomes `stored` by itself. */
void early_stored(struct agent *a, const char *rel, const struct receipt *r, bool *taken);
/* Intake has seen every bundle in the store, and told of those that were coming. */
void early_intake_looked(struct agent *a);
/* What waited for a pause's end, or for its minute, is looked at again. */
void early_again(struct agent *a);
/* Another exposure than x that is coming has the claim (placing_claim) or the source file of x,
 * which is stored and so goes first: what was placed of it is withdrawn, and fanout_next told when
 * that is done. */
bool early_blocks(struct agent *a, const struct exposure *x, const char *claim);

#endif
