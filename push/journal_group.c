/* The journal about exposures that come as several files. A file of one counts from when it was
 * found whole; a file that changes starts anew and no longer counts. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "push/journal_inner.h"

/* Parked because others were missing, not for something of its own. */
#define PARKED_WHOLE "(state = 'parked' AND settled_ns > 0 AND bundle_id = '')"

/* Wait for the others, and are given free with them. */
#define WAITS "exact = 0 AND (state = 'partial' OR " PARKED_WHOLE ")"

/* They count: are whole, and wait for others or go. */
#define COUNTS(row)                                                                               \
    row "exact = 0 AND (" row "state NOT IN ('seen', 'skipped', 'parked') OR (" row               \
        "state = 'parked' AND " row "settled_ns > 0 AND " row "bundle_id = ''))"

static bool take_file(void *ctx, const struct db_row *row)
{
    struct journal_group *g = ctx;
    int64_t ccd = db_col_int(row, 0), settled = db_col_int(row, 2);
    if (ccd >= 1 && ccd <= CAMERA_CCD_MAX)
        g->has[ccd] = 1;
    g->released |= db_col_int(row, 1) != 0;
    if (settled > g->newest_ns)
        g->newest_ns = settled;
    return true;
}

enum status journal_group(struct journal *j, const char *group, struct journal_group *out,
                          struct fault *why)
{
    memset(out, 0, sizeof *out);
    return db_each(j->db, why, take_file, out,
                   "SELECT group_ccd, state NOT IN ('partial', 'parked') AND origin != ?,"
                   " settled_ns FROM exposures"
                   " WHERE grp != '' AND grp = ? AND " COUNTS(""),
                   "is", (int64_t)ORIGIN_SEND, group);
}

static bool take_twice(void *ctx, const struct db_row *row)
{
    struct journal_twice *t = ctx;
    t->ccd = (int)db_col_int(row, 0);
    for (int i = 0; i < 2; i++)
        snprintf(t->path[i], sizeof t->path[i], "%s", db_col_text(row, 1 + i));
    return false;
}

enum status journal_group_twice(struct journal *j, const char *group, struct journal_twice *out,
                                struct fault *why)
{
    memset(out, 0, sizeof *out);
    return db_each(j->db, why, take_twice, out,
                   "SELECT a.group_ccd, a.path, b.path FROM exposures AS a JOIN exposures AS b"
                   " ON b.grp = a.grp AND b.group_ccd = a.group_ccd AND b.path != a.path AND b.id > a.id"
                   " WHERE a.grp != '' AND b.grp != '' AND a.grp = ? AND " COUNTS("a.") " AND "
                   COUNTS("b.") " ORDER BY a.group_ccd LIMIT 1",
                   "s", group);
}

enum status journal_group_release(struct journal *j, const char *group, int coming,
                                  struct fault *why)
{
    return db_run(j->db, why,
                  "UPDATE exposures SET state = 'ready', attempts = 0, due_ns = 0, reason = '',"
                  " group_coming = ? WHERE grp != '' AND grp = ? AND " WAITS,
                  "is", (int64_t)coming, group);
}

struct visitor {
    journal_fn *fn;
    void *ctx;
};

static bool take_waiting(void *ctx, const struct db_row *row)
{
    const struct visitor *v = ctx;
    struct exposure e;
    journal_read(&e, row);
    return v->fn(v->ctx, &e);
}

enum status journal_group_waiting(struct journal *j, const char *group, journal_fn *fn, void *ctx,
                                  struct fault *why)
{
    struct visitor v = {fn, ctx};
    return db_each(j->db, why, take_waiting, &v,
                   "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE grp != '' AND grp = ? AND "
                   WAITS, "s", group);
}

enum status journal_group_wait(struct journal *j, const char *group, int64_t due_ns,
                               const char *reason, struct fault *why)
{
    return db_run(j->db, why,
                  "UPDATE exposures SET due_ns = ?, reason = ? WHERE grp != '' AND grp = ?"
                  " AND state = 'partial' AND origin != ?",
                  "issi", due_ns, reason, group, (int64_t)ORIGIN_SEND);
}

enum status journal_group_park(struct journal *j, const char *group, const char *reason,
                               struct fault *why)
{
    return db_run(j->db, why,
                  "UPDATE exposures SET state = 'parked', due_ns = 0, reason = ? WHERE grp != ''"
                  " AND grp = ? AND state = 'partial' AND origin != ?",
                  "ssi", reason, group, (int64_t)ORIGIN_SEND);
}

enum status journal_group_may_grow(struct journal *j, int64_t request, int64_t before_ns, bool *may,
                                   struct fault *why)
{
    int64_t any = 0;
    enum status st = db_int(j->db, why, &any, 0,
                            "SELECT EXISTS (SELECT 1 FROM exposures WHERE state = 'seen'"
                            " AND changed_ns <= ? AND (? = 0 OR request = ?))",
                            "iii", before_ns, request, request);
    *may = any != 0;
    return st;
}

enum status journal_unskip(struct journal *j, struct fault *why)
{
    return db_run(j->db, why,
                  "UPDATE exposures SET state = 'seen', attempts = 0, due_ns = 0, reason = '',"
                  " changed_ns = ? WHERE state = 'skipped'",
                  "i", clock_wall());
}

enum status journal_regroup(struct journal *j, bool unread, struct fault *why)
{
    return db_run(j->db, why,
                  "UPDATE exposures SET state = 'seen', attempts = 0, due_ns = 0, reason = '',"
                  " changed_ns = ?, settled_ns = 0, grp = '', group_ccd = 0 WHERE exact = 0 AND"
                  " (state IN ('skipped', 'partial') OR (grp != '' AND " PARKED_WHOLE ")"
                  " OR (? AND state = 'parked' AND settled_ns = 0))",
                  "ii", clock_wall(), (int64_t)unread);
}

struct tell {
    journal_told_fn *fn;
    void *ctx;
};

static bool take_told(void *ctx, const struct db_row *row)
{
    const struct tell *t = ctx;
    struct exposure e;
    journal_read(&e, row);
    return t->fn(t->ctx, &e, db_col_int(row, JOURNAL_COLUMN_COUNT));
}

/* max(id) has SQLite take the other columns from that row. */
enum status journal_tell(struct journal *j, int state, int limit, journal_told_fn *fn, void *ctx,
                         struct fault *why)
{
    struct tell t = {fn, ctx};
    return db_each(j->db, why, take_told, &t,
                   "SELECT " JOURNAL_COLUMNS ", count(*), max(id) FROM exposures WHERE state = ?"
                   " AND (reason != '' OR state = 'parked') GROUP BY CASE grp WHEN '' THEN id ELSE grp END, reason"
                   " ORDER BY max(id) DESC LIMIT ?",
                   "si", exposure_state_names[state], limit ? (int64_t)limit : INT64_MAX);
}
