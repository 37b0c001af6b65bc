/* The catalogue's rows about what is held back (pull/gate.h). */
#include "pull/catalogue_inner.h"
#include "pull/minute.h"

enum status catalogue_note_begun(struct catalogue *c, int what, int64_t now_ns, struct fault *why)
{
    enum status st = db_run(c->db, why, "DELETE FROM begun WHERE what = ? AND at_ns <= ?", "ii",
                            (int64_t)what, now_ns - MINUTE_NS);
    return st == ST_OK ? db_run(c->db, why, "INSERT INTO begun (what, at_ns) VALUES (?, ?)", "ii",
                                (int64_t)what, now_ns)
                       : st;
}

enum status catalogue_forget_begun(struct catalogue *c, int what, struct fault *why)
{
    return db_run(c->db, why, "DELETE FROM begun WHERE what = ?", "i", (int64_t)what);
}

struct each_moment {
    moment_fn *fn;
    void *ctx;
};

static bool take_moment(void *ctx, const struct db_row *row)
{
    struct each_moment *each = ctx;
    return each->fn(each->ctx, db_col_int(row, 0));
}

enum status catalogue_begun(struct catalogue *c, int what, int64_t since, int64_t now,
                            moment_fn *fn, void *ctx, struct fault *why)
{
    struct each_moment each = {fn, ctx};
    return db_each(c->db, why, take_moment, &each,
                   "SELECT at_ns FROM begun WHERE what = ? AND at_ns > ? AND at_ns <= ?"
                   " ORDER BY at_ns", "iii", (int64_t)what, since, now);
}

enum status catalogue_waiting(struct catalogue *c, int64_t now_ns, struct waiting_counts *out,
                              struct fault *why)
{
    enum status st = db_int(c->db, why, &out->stored, 0, "SELECT count(*) FROM exposures WHERE"
                            " state = 'stored' AND due_ns <= ?", "i", now_ns);
    if (st == ST_OK)
        st = db_int(c->db, why, &out->fresh, 0, "SELECT count(*) FROM exposures WHERE"
                    " state = 'stored' AND due_ns <= ? AND ccds = 0", "i", now_ns);
    if (st == ST_OK)
        st = db_int(c->db, why, &out->with_jobs, 0, "SELECT count(*) FROM exposures WHERE"
                    " state = 'working' AND EXISTS (SELECT 1 FROM jobs WHERE"
                    " exposure = exposures.id AND state = 'waiting' AND due_ns <= ?)", "i", now_ns);
    return st;
}
