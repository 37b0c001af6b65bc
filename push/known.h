/* Which version of a path the journal is known to have: a table in memory that spares a walk over
 * a night of 30,000 files as many questions to the journal, every few seconds. It may forget, and
 * then the journal is asked. Main thread. */
#ifndef SKYFERRY_PUSH_KNOWN_H
#define SKYFERRY_PUSH_KNOWN_H

#include "push/exposure.h"

struct known;

struct known *known_new(void); /* NULL: out of memory */
void known_free(struct known **k);

/* Was it this version that was set last? */
bool known_is(const struct known *k, const char *path, const struct identity *file);
/* file NULL: it is not known any more. */
void known_set(struct known *k, const char *path, const struct identity *file);

#endif
