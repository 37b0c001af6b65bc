/* The journal about the queue: what could go now, and what is coming. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "push/journal_inner.h"

#define GAPS 5    /* the cadence rests on the last so many, */
#define BUNDLES 8 /* the size of bundles on so many, */
#define RECENT 64 /* and the youngest is one of these */

struct candidates {
    struct order_queue *queue;
    const struct camera *camera;
    size_t room;
    bool failed;
};

static enum order_kind kind_of(const struct camera *camera, int64_t origin, const char *obstype)
{
    if (origin == ORIGIN_SWEEP)
        return ORDER_BACKFILL;
    return camera_obstype(camera, obstype) == OBS_SCIENCE ? ORDER_SCIENCE : ORDER_CALIBRATION;
}

static bool take_candidate(void *ctx, const struct db_row *row)
{
    struct candidates *c = ctx;
    struct order_queue *q = c->queue;
    if (q->count == c->room) {
        size_t room = c->room ? 2 * c->room : 64;
        struct order_item *grown = realloc(q->items, room * sizeof *grown);
        c->failed = !grown;
        if (!grown)
            return false;
        q->items = grown;
        c->room = room;
    }
    q->items[q->count++] = (struct order_item){
        .id = db_col_int(row, 0),
        .date_ns = db_col_int(row, 1),
        .mtime_ns = db_col_int(row, 2),
        .kind = kind_of(c->camera, db_col_int(row, 3), db_col_text(row, 6)),
        .begun = exposure_state_parse(db_col_text(row, 4)) == EXPOSURE_SENDING,
        .exact = db_col_int(row, 5) != 0,
        .came_ns = db_col_int(row, 7),
        .file_bytes = db_col_int(row, 8),
        .bundle_bytes = db_col_int(row, 9),
    };
    return true;
}

enum status journal_candidates(struct journal *j, int64_t request, const struct camera *camera,
                               struct order_queue *out, struct fault *why)
{
    *out = (struct order_queue){0};
    struct candidates c = {.queue = out, .camera = camera};
    int64_t now = clock_wall();
    enum status st = db_each(j->db, why, take_candidate, &c,
                             "SELECT id, date_ns, mtime_ns, origin, state, exact, obstype,"
                             " settled_ns, size, bundle_size FROM exposures"
                             " WHERE state IN ('ready', 'sending')"
                             " AND (due_ns <= ? OR due_ns > ?) AND (? = 0 OR request = ?)",
                             "iiii", now, now + JOURNAL_WAIT_NS, request, request);
    if (st == ST_OK && c.failed)
        st = fault(why, ST_RETRY, "out of memory for the queue");
    if (st != ST_OK) {
        free(out->items);
        *out = (struct order_queue){0};
    }
    return st;
}

enum status journal_ready_due(struct journal *j, struct fault *why)
{
    return db_run(j->db, why, "UPDATE exposures SET due_ns = 0 WHERE due_ns != 0"
                              " AND state = 'ready'", "");
}

/* ---- what is coming ---- */

struct moments {
    int64_t at[GAPS + 1];
    int count;
};

static bool take_moment(void *ctx, const struct db_row *row)
{
    struct moments *m = ctx;
    m->at[m->count++] = db_col_int(row, 0);
    return true;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

enum status journal_cadence(struct journal *j, int64_t now_ns, double *seconds, struct fault *why)
{
    struct moments m = {0};
    *seconds = 0;
    enum status st = db_each(j->db, why, take_moment, &m,
                             "SELECT mtime_ns FROM exposures WHERE exact = 0 AND origin != ?"
                             " ORDER BY id DESC LIMIT ?",
                             "ii", (int64_t)ORIGIN_SWEEP, (int64_t)GAPS + 1);
    if (st != ST_OK || m.count < 2)
        return st;
    qsort(m.at, (size_t)m.count, sizeof m.at[0], by_time);
    int gaps = m.count - 1;
    int64_t sum = m.at[gaps] - m.at[0], longest = 0, silence = now_ns - m.at[gaps];
    for (int i = 0; i < gaps; i++)
        longest = m.at[i + 1] - m.at[i] > longest ? m.at[i + 1] - m.at[i] : longest;
    /* One pause, while the telescope slewed or the dome was closed, says nothing. */
    if (gaps >= 3) {
        sum -= longest;
        gaps--;
    }
    sum /= gaps;
    *seconds = (double)(sum > silence ? sum : silence) / NS_PER_S;
    return ST_OK;
}

enum status journal_youngest(struct journal *j, int64_t *date_ns, struct fault *why)
{
    return db_int(j->db, why, date_ns, INT64_MIN,
                  "SELECT max(CASE date_ns WHEN ? THEN mtime_ns ELSE date_ns END) FROM"
                  " (SELECT date_ns, mtime_ns FROM exposures WHERE exact = 0 AND origin != ?"
                  " AND state IN ('stored', 'done') ORDER BY id DESC LIMIT ?)",
                  "iii", INT64_MIN, (int64_t)ORIGIN_SWEEP, (int64_t)RECENT);
}

static bool take_real(void *ctx, const struct db_row *row)
{
    *(double *)ctx = db_col_real(row, 0);
    return false;
}

enum status journal_shrink(struct journal *j, double *share, struct fault *why)
{
    *share = 0;
    enum status st = db_each(j->db, why, take_real, share,
                             "SELECT coalesce(total(bundle_size) / nullif(total(size), 0), 0) FROM"
                             " (SELECT bundle_size, size FROM exposures WHERE exact = 0"
                             " AND bundle_size > 0 ORDER BY id DESC LIMIT ?)",
                             "i", (int64_t)BUNDLES);
    return st;
}
