/* What the catalogue adds up to, for `status jobs` and `status inventory`: sums that SQLite makes
 * from the rows of one night, or from an index alone, so that a season costs no more than a night.
 * Structs are copied out. Main thread. */
#ifndef SKYFERRY_PULL_CATALOGUE_SUMS_H
#define SKYFERRY_PULL_CATALOGUE_SUMS_H

#include "pull/catalogue.h"

#define JOB_STATES (JOB_DRY + 1)

/* How many jobs are in each state; night NULL: of all nights. */
enum status catalogue_count_jobs(struct catalogue *c, const char *night, int64_t count[JOB_STATES],
                                 struct fault *why);

/* How many exposures there are, a visit's files not among them; night NULL: of all nights. */
enum status catalogue_count_exposures(struct catalogue *c, const char *night, int64_t *count,
                                      struct fault *why);

/* The last night that has exposures, or copies of calibrations, before `before` (NULL: of all); ""
 * when there is none. */
enum status catalogue_night_before(struct catalogue *c, const char *before, char out[NIGHT_SIZE],
                                   struct fault *why);

/* A night's exposures of one obstype, filter and object. */
struct holding {
    char obstype[72], filter[72], object[72]; /* as in the headers */
    int64_t exposures, coming, parked_whole;  /* of these: still arriving; parked as a whole */
    int64_t placed, missing, parked;          /* ccds */
    int64_t bundle_size, fits_size;           /* bytes */
};
typedef bool holding_fn(void *ctx, const struct holding *h); /* false: enough */
/* expected: how many ccds each exposure should have, at least; 0: as many as it has. */
enum status catalogue_holdings(struct catalogue *c, const char *night, int expected,
                               holding_fn *fn, void *ctx, struct fault *why);

#endif
