/* Who works on a store: the process that holds its lock (fs_lock), found without touching the
 * lock, so that a look can never keep a daemon from starting. Any thread. */
#ifndef SKYFERRY_PULL_HOLDER_H
#define SKYFERRY_PULL_HOLDER_H

#include "pull/settings.h"

/* The pid, 0 when nobody holds it. */
long store_holder(const struct pull_settings *s);

#endif
