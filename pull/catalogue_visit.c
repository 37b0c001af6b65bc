/* The catalogue's rows of visits: which one, how far, what its files add up to. */
#include <string.h>

#include "common/clock.h"
#include "pull/catalogue_inner.h"

enum status catalogue_visit(struct catalogue *c, const char *night, const char *name,
                            struct exposure *x, bool *found, struct fault *why)
{
    int64_t id = 0;
    *found = false;
    enum status st = db_int(c->db, why, &id, 0,
                            "SELECT id FROM exposures WHERE name = ? AND +night = ? AND"
                            " visit_ccds > 0", "ss", name, night);
    return st == ST_OK && id ? catalogue_get(c, id, x, found, why) : st;
}

static bool take_tally(void *ctx, const struct db_row *row)
{
    struct visit_tally *t = ctx;
    t->files = (int)db_col_int(row, 0);
    t->rest = (int)db_col_int(row, 1);
    t->moving = (int)db_col_int(row, 2);
    t->mixed = db_col_int(row, 3) != db_col_int(row, 4);
    t->newest_ns = db_col_int(row, 5);
    return false;
}

/* A file that was parked on its way holds the others no longer than one that is placed. */
enum status catalogue_visit_tally(struct catalogue *c, int64_t visit, struct visit_tally *out,
                                  struct fault *why)
{
    memset(out, 0, sizeof *out);
    return db_each(c->db, why, take_tally, out,
                   "SELECT count(*),"
                   " count(DISTINCT CASE WHEN state NOT IN ('stored', 'coming') THEN visit_ccd END),"
                   " count(CASE WHEN state = 'stored' THEN 1 END), min(exact), max(exact),"
                   " max(max(stored_ns, renewed_ns)) FROM exposures WHERE visit = ? AND visit > 0",
                   "i", visit);
}

#define FILES "FROM exposures f WHERE f.visit = ?1 AND f.visit > 0"

static enum status count(struct catalogue *c, int64_t visit, struct fault *why)
{
    return db_run(
        c->db, why,
        "UPDATE exposures SET ccds = visit_ccds,"
        " placed = (SELECT count(DISTINCT k.ccd) FROM exposures f JOIN ccds k ON k.exposure = f.id"
        "           WHERE f.visit = ?1 AND f.visit > 0 AND k.state = 'placed'),"
        " faults = faults + (SELECT coalesce(sum(max(faults, state = 'parked')), 0) " FILES "),"
        " (closed_ns, noticed_ns, encoded_ns, first_ns, stored_ns, indexed_ns, placed_ns, renewed_ns,"
        "  source_size, raw_size, bundle_size, parked, fits_size, exact) ="
        " (SELECT coalesce(max(closed_ns), 0), coalesce(min(nullif(noticed_ns, 0)), 0),"
        "  coalesce(max(encoded_ns), 0), coalesce(min(nullif(first_ns, 0)), 0),"
        "  coalesce(max(stored_ns), 0), coalesce(max(indexed_ns), 0), coalesce(max(placed_ns), 0),"
        "  coalesce(max(renewed_ns), 0), coalesce(sum(source_size), 0), coalesce(sum(raw_size), 0),"
        "  coalesce(sum(bundle_size), 0), coalesce(sum(parked), 0), coalesce(sum(fits_size), 0),"
        "  coalesce(min(exact), 0) " FILES ")"
        " WHERE id = ?1 AND visit_ccds > 0",
        "i", visit);
}

static enum status count_jobs(struct catalogue *c, int64_t visit, struct fault *why)
{
    return db_run(c->db, why,
                  "UPDATE exposures SET faults = (SELECT count(*) FROM jobs WHERE exposure = ?1 AND"
                  " +state = 'failed') WHERE id = ?1", "i", visit);
}

enum status catalogue_visit_count(struct catalogue *c, int64_t exposure, struct fault *why)
{
    int64_t visit = 0;
    enum status st = db_int(c->db, why, &visit, 0,
                            "SELECT CASE WHEN visit_ccds > 0 THEN id ELSE visit END FROM exposures"
                            " WHERE id = ?", "i", exposure);
    if (st != ST_OK || visit == 0)
        return st;
    st = count_jobs(c, visit, why);
    return st == ST_OK ? count(c, visit, why) : st;
}

enum status catalogue_visit_left(struct catalogue *c, int64_t visit, struct fault *why)
{
    enum status st = db_run(c->db, why,
                            "DELETE FROM exposures WHERE id = ?1 AND visit_ccds > 0 AND NOT EXISTS"
                            " (SELECT 1 FROM exposures f WHERE f.visit = ?1 AND f.visit > 0)"
                            " AND NOT EXISTS (SELECT 1 FROM jobs WHERE exposure = ?1)"
                            " AND NOT EXISTS (SELECT 1 FROM requests WHERE exposure = ?1)",
                            "i", visit);
    return st == ST_OK ? catalogue_visit_count(c, visit, why) : st;
}

enum status catalogue_visit_wake(struct catalogue *c, int64_t visit, struct fault *why)
{
    return db_run(c->db, why,
                  "UPDATE exposures SET due_ns = ? WHERE visit = ? AND visit > 0 AND"
                  " +state = 'working'", "ii", clock_wall(), visit);
}
