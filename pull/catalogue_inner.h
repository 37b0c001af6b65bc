/* Shared by catalogue*.c only: the handle behind struct catalogue, and how a fixed-size
 * text member is filled from a column. */
#ifndef SKYFERRY_PULL_CATALOGUE_INNER_H
#define SKYFERRY_PULL_CATALOGUE_INNER_H

#include "common/db.h"
#include "pull/catalogue.h"

struct catalogue {
    struct db *db;
};

/* catalogue_schema.c: what each version added, for db_open. */
extern const char *const catalogue_schemas[];

/* Cuts to the member's size. */
#define TAKE_TEXT(member, row, column) \
    snprintf((member), sizeof(member), "%s", db_col_text((row), (column)))

/* How new an exposure is: when push noticed it, or, where that is not known, when it was stored.
 * Just so in the index and in every query that is to use it. */
#define CATALOGUE_AGE "coalesce(nullif(noticed_ns, 0), stored_ns)"

/* A stored word back to its number; a word that none of names[0..count) is becomes 0. */
int catalogue_word(const char *word, const char *const *names, int count);

#endif
