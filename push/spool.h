/* The spool directory: the journal, the lock that makes an agent the only one, and the
 * bundles under way, each named after its id and exposure. A bundle is the journal's: it
 * goes when its exposure is stored for certain, or when no row owns it. */
#ifndef SKYFERRY_SPOOL_H
#define SKYFERRY_SPOOL_H

#include "push/journal.h"

struct spool {
    char directory[4096];
    int lock; /* -1: not held */
};

/* Makes the directory and takes the lock. WAIT: another process has it, which says its pid. */
enum status spool_open(const char *directory, struct spool *out, struct fault *why);
void spool_close(struct spool *s); /* lets the lock go */

/* The pid of the process that holds the lock, as far as its file says and that process
 * lives; 0: none. Takes no lock. */
long spool_holder(const char *directory);

/* SPOOL/ID8-NAME.tar. */
void spool_bundle(const struct spool *s, const struct exposure *e, char out[4200]);

/* Is there room for `need` more bytes, by quota and on the disk? WAIT says what is short. */
enum status spool_room(const struct spool *s, double quota_gib, int64_t need, struct fault *why);

/* Removes the bundles of which no row under way is the owner, and drafts of dead processes. */
enum status spool_clean(const struct spool *s, struct journal *j, struct fault *why);

/* A wish left for the running agent: the mode ("mode") or limit ("rate") it shall switch to.
 * Written durably, taken (removed) by the agent. */
enum status spool_wish(const char *directory, const char *what, const char *text,
                       struct fault *why);
bool spool_take(const struct spool *s, const char *what, char *out, size_t size);

#endif
