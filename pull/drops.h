/* The drop folder ([store] drops), for a telescope that may use SFTP and nothing else: noticed by
 * inotify and rescan, each bundle is taken into the store on a thread of its own pool
 * (pull/drop_take.h), from where intake picks it up like any other; questions are answered; and
 * far-end.json, touched every few seconds, tells push that we run. Main thread only. */
#ifndef SKYFERRY_DROPS_H
#define SKYFERRY_DROPS_H

#include "pull/agent.h"

/* Makes the folder. Nothing is done when none is set. */
enum status drops_open(struct agent *a, struct fault *why);
/* Looks at everything again, now. */
void drops_scan(struct agent *a);
/* Takes far-end.json away, so that push knows at once. */
void drops_close(struct agent *a);

#endif
