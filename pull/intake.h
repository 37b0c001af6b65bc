/* How bundles are noticed: inotify and a rescan over bundles/ (receive needs no socket to tell
 * us), and the store's top folder for tars that somebody dropped there by hand (S4.18). A
 * bundle with its receipt goes into the catalogue at once; one without is read whole on the
 * pool first, filed as bundles/NIGHT/NAME.tar with a receipt of our own, or parked with the
 * reason why it is none. Main thread only. */
#ifndef SKYFERRY_PULL_INTAKE_H
#define SKYFERRY_PULL_INTAKE_H

#include "common/wire.h"
#include "pull/agent.h"

enum status intake_open(struct agent *a, struct fault *why);
/* Looks at everything again, soon and in slices. */
void intake_scan(struct agent *a);
/* At tars that waited for a pause's end. */
void intake_again(struct agent *a);
/* After pool_stop. */
void intake_close(struct agent *a);

/* What a receipt says of a bundle ("bundles/NIGHT/NAME.tar"), for a new catalogue row. */
void intake_from_receipt(const char *bundle, const struct receipt *r, struct exposure *x);

#endif
