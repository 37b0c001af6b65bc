/* Which catalogue is the store's: ROOT/catalogue.id holds the id of the one that knows what was
 * placed and submitted. With a catalogue of another login node, empty or old, every bundle and job
 * would be new, and done a second time. Called when the store's lease is held. */
#ifndef SKYFERRY_PULL_IDENTITY_H
#define SKYFERRY_PULL_IDENTITY_H

#include "pull/catalogue.h"
#include "pull/settings.h"

/* OK when the open catalogue is the store's, or the store names none. REJECT, with the remedy, when
 * it names another. Writes nothing. */
enum status identity_check(const struct pull_settings *s, struct catalogue *cat, struct fault *why);
/* From now on the store's is the one with this id. */
enum status identity_claim(const struct pull_settings *s, const char *id, struct fault *why);
/* Check, and claim where the store names none. */
enum status identity_settle(const struct pull_settings *s, struct catalogue *cat, struct fault *why);

#endif
