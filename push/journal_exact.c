/* The journal about exact data that follow a lossy delivery: a second row of the same version. */
#include <string.h>

#include "push/journal_inner.h"

#define SAME_VERSION "path = ? AND size = ? AND mtime_ns = ? AND inode = ?"
#define VERSION_OF(e) (e)->path, (e)->file.size, (e)->file.mtime_ns, (e)->file.inode

struct one {
    struct exposure *out;
    bool found;
};

static bool take_one(void *ctx, const struct db_row *row)
{
    struct one *o = ctx;
    journal_read(o->out, row);
    o->found = true;
    return false;
}

enum status journal_exact_of(struct journal *j, const struct exposure *e, struct exposure *out,
                             bool *found, struct fault *why)
{
    struct one o = {out, false};
    enum status st = db_each(j->db, why, take_one, &o,
                             "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE " SAME_VERSION
                             " AND exact = 1", "siii", VERSION_OF(e));
    *found = o.found;
    return st;
}

enum status journal_owed(struct journal *j, struct exposure *out, bool *found, struct fault *why)
{
    struct one o = {out, false};
    enum status st = db_each(
        j->db, why, take_one, &o,
        "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE state IN ('stored', 'done') AND exact = 0"
        " AND fidelity = 1 AND NOT EXISTS (SELECT 1 FROM exposures AS x WHERE"
        " x.path = exposures.path AND x.size = exposures.size AND x.mtime_ns = exposures.mtime_ns"
        " AND x.inode = exposures.inode AND x.exact = 1) ORDER BY mtime_ns DESC LIMIT 1",
        "");
    *found = o.found;
    return st;
}

enum status journal_exact_came(struct journal *j, const struct exposure *e, struct fault *why)
{
    return db_run(j->db, why,
                  "UPDATE exposures SET fidelity = ? WHERE " SAME_VERSION " AND exact = 0"
                  " AND state IN ('stored', 'done')",
                  "isiii", (int64_t)DELIVERED_EXACT, VERSION_OF(e));
}

enum status journal_exact_waits(struct journal *j, bool *waits, struct fault *why)
{
    int64_t n = 0;
    enum status st = db_int(j->db, why, &n, 0,
                            "SELECT EXISTS (SELECT 1 FROM exposures WHERE exact = 1"
                            " AND state IN ('ready', 'sending'))", "");
    *waits = n != 0;
    return st;
}

enum status journal_exact_forget(struct journal *j, const struct exposure *e, struct fault *why)
{
    return db_run(j->db, why,
                  "DELETE FROM exposures WHERE " SAME_VERSION " AND exact = 1"
                  " AND state IN ('done', 'parked')",
                  "siii", VERSION_OF(e));
}

enum status journal_exact_drop(struct journal *j, struct fault *why)
{
    return db_run(j->db, why,
                  "DELETE FROM exposures WHERE exact = 1 AND origin = ?"
                  " AND state IN ('ready', 'sending')",
                  "i", (int64_t)ORIGIN_WATCH);
}

enum status journal_busy(struct journal *j, bool *busy, struct fault *why)
{
    int64_t n = 0;
    enum status st = db_int(j->db, why, &n, 0,
                            "SELECT EXISTS (SELECT 1 FROM exposures WHERE exact = 0"
                            " AND state IN ('seen', 'partial', 'ready', 'sending'))", "");
    *busy = n != 0;
    return st;
}

static bool take_exactness(void *ctx, const struct db_row *row)
{
    struct journal_exactness *x = ctx;
    x->delivered = db_col_int(row, 0);
    x->exact = db_col_int(row, 1);
    x->under_way = db_col_int(row, 2);
    x->parked = db_col_int(row, 3);
    x->gone = db_col_int(row, 4);
    x->followed = db_col_int(row, 5);
    return false;
}

enum status journal_exactness(struct journal *j, struct journal_exactness *out, struct fault *why)
{
    memset(out, 0, sizeof *out);
    return db_each(j->db, why, take_exactness, out,
                   "WITH d AS (SELECT fidelity, (SELECT state FROM exposures AS x WHERE"
                   " x.path = e.path AND x.size = e.size AND x.mtime_ns = e.mtime_ns"
                   " AND x.inode = e.inode AND x.exact = 1) AS follow FROM exposures AS e"
                   " WHERE exact = 0 AND state IN ('stored', 'done'))"
                   " SELECT count(*), total(fidelity = ?1 OR coalesce(follow, '') IN"
                   " ('stored', 'done')), total(coalesce(follow, '') IN ('ready', 'sending')),"
                   " total(coalesce(follow, '') = 'parked'),"
                   " total(fidelity = ?2 AND follow IS NULL), count(follow) FROM d",
                   "ii", (int64_t)DELIVERED_EXACT, (int64_t)DELIVERED_GONE);
}
