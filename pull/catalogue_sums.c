#include "pull/catalogue_sums.h"

#include <stdio.h>
#include <string.h>

#include "pull/catalogue_inner.h"

struct job_counts {
    int64_t *count;
};

static bool take_count(void *ctx, const struct db_row *row)
{
    struct job_counts *counts = ctx;
    for (int i = 0; i < JOB_STATES; i++)
        if (strcmp(db_col_text(row, 0), job_state_name((enum job_state)i)) == 0)
            counts->count[i] = db_col_int(row, 1);
    return true;
}

enum status catalogue_count_jobs(struct catalogue *c, const char *night, int64_t count[JOB_STATES],
                                 struct fault *why)
{
    struct job_counts counts = {count};
    enum status st = ST_OK;
    memset(count, 0, JOB_STATES * sizeof *count);
    if (night)
        return db_each(c->db, why, take_count, &counts,
                       "SELECT state, count(*) FROM jobs WHERE exposure IN"
                       " (SELECT id FROM exposures WHERE night = ?) GROUP BY state", "s", night);
    for (int i = 0; st == ST_OK && i < JOB_STATES; i++)
        st = db_int(c->db, why, &count[i], 0, "SELECT count(*) FROM jobs WHERE state = ?", "s",
                    job_state_name((enum job_state)i));
    return st;
}

enum status catalogue_count_exposures(struct catalogue *c, const char *night, int64_t *count,
                                      struct fault *why)
{
    int64_t n = 0, files = 0;
    *count = 0;
    if (night)
        return db_int(c->db, why, count, 0, "SELECT count(*) FROM exposures WHERE night = ?"
                      " AND +visit = 0", "s", night);
    enum status st = ST_OK;
    for (int i = 0; st == ST_OK && i < EX_STATES; i++) {
        st = db_int(c->db, why, &n, 0, "SELECT count(*) FROM exposures WHERE state = ?", "s",
                    exposure_state_name((enum exposure_state)i));
        *count += n;
    }
    if (st == ST_OK)
        st = db_int(c->db, why, &files, 0, "SELECT count(*) FROM exposures WHERE visit > 0", "");
    *count -= files;
    return st;
}

/* The later one stays. */
static bool take_night(void *ctx, const struct db_row *row)
{
    if (strcmp(db_col_text(row, 0), ctx) > 0)
        snprintf(ctx, NIGHT_SIZE, "%s", db_col_text(row, 0));
    return false;
}

enum status catalogue_night_before(struct catalogue *c, const char *before, char out[NIGHT_SIZE],
                                   struct fault *why)
{
    char bound[NIGHT_SIZE];
    snprintf(bound, sizeof bound, "%s", before ? before : "v"); /* past every utYYMMDD */
    out[0] = '\0';
    enum status st = db_each(c->db, why, take_night, out,
                             "SELECT night FROM exposures WHERE night < ? ORDER BY night DESC LIMIT 1",
                             "s", bound);
    if (st != ST_OK)
        return st;
    return db_each(c->db, why, take_night, out,
                   "SELECT night FROM copies WHERE night < ? ORDER BY night DESC LIMIT 1", "s", bound);
}

struct each_holding {
    holding_fn *fn;
    void *ctx;
};

static bool take_holding(void *ctx, const struct db_row *row)
{
    struct each_holding *each = ctx;
    struct holding h;
    TAKE_TEXT(h.obstype, row, 0);
    TAKE_TEXT(h.filter, row, 1);
    TAKE_TEXT(h.object, row, 2);
    h.exposures = db_col_int(row, 3);
    h.coming = db_col_int(row, 4);
    h.parked_whole = db_col_int(row, 5);
    h.placed = db_col_int(row, 6);
    h.parked = db_col_int(row, 7);
    h.missing = db_col_int(row, 8);
    h.bundle_size = db_col_int(row, 9);
    h.fits_size = db_col_int(row, 10);
    return each->fn(each->ctx, &h);
}

enum status catalogue_holdings(struct catalogue *c, const char *night, int expected,
                               holding_fn *fn, void *ctx, struct fault *why)
{
    struct each_holding each = {fn, ctx};
    return db_each(c->db, why, take_holding, &each,
                   "SELECT obstype, filter, object, count(*), sum(state = 'coming'),"
                   " sum(state = 'parked'), sum(placed), sum(parked),"
                   " sum(max(ccds, ?2) - placed - parked), sum(bundle_size), sum(fits_size)"
                   " FROM exposures WHERE night = ?1 AND visit = 0 GROUP BY obstype, filter, object",
                   "si", night, (int64_t)expected);
}
