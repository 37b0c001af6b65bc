/* Which catalogue is the store's: ROOT/catalogue.id holds the id of the one that knows what was
 * placed and submitted, and how often an agent was started with it. With a catalogue of another
 * login node, an empty one or an old copy, bundles and jobs would be new, and done a second time.
 * Called when the store's lease is held. */
#ifndef SKYFERRY_PULL_IDENTITY_H
#define SKYFERRY_PULL_IDENTITY_H

#include "pull/catalogue.h"
#include "pull/settings.h"

/* OK when the open catalogue is the store's, or the store names none. REJECT, with the remedy, when
 * it names another, or a later state of this one. Writes nothing. */
enum status identity_check(const struct pull_settings *s, struct catalogue *cat, struct fault *why);
/* From now on the store's is this one. */
enum status identity_claim(const struct pull_settings *s, const struct catalogue_identity *is,
                           struct fault *why);
/* Check, and a new term in both. */
enum status identity_settle(const struct pull_settings *s, struct catalogue *cat, struct fault *why);

#endif
