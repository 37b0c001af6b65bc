/* The journal about the queue: what could go now, and what is coming. */
#include <stdio.h>
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

static enum order_kind kind_of(const struct camera *camera, bool backfill, const char *obstype)
{
    if (backfill)
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
    struct order_item *item = &q->items[q->count++];
    *item = (struct order_item){
        .id = db_col_int(row, 0),
        .date_ns = db_col_int(row, 1),
        .mtime_ns = db_col_int(row, 2),
        .kind = kind_of(c->camera, db_col_int(row, 3) != 0, db_col_text(row, 6)),
        .begun = db_col_int(row, 4) != 0,
        .exact = db_col_int(row, 5) != 0,
        .came_ns = db_col_int(row, 7),
        .file_bytes = db_col_int(row, 8),
        .bundle_bytes = db_col_int(row, 9),
        .open_bytes = db_col_int(row, 10),
        .files = (int)db_col_int(row, 11),
    };
    snprintf(item->group, sizeof item->group, "%s", db_col_text(row, 12));
    return true;
}

#define WAITS                                                                                   \
    "state IN ('ready', 'sending') AND (due_ns <= ? OR due_ns > ?) AND (? = 0 OR request = ?)"
/* The first file that was seen of it, for what must not change while its files are sent. */
#define FIRST_OF "(SELECT min(id) FROM exposures WHERE grp != '' AND grp = "

static enum status candidates_alone(struct journal *j, int64_t request, struct candidates *c,
                                    struct fault *why)
{
    int64_t now = clock_wall();
    return db_each(j->db, why, take_candidate, c,
                   "SELECT id, date_ns, mtime_ns, origin = ?, state = 'sending', exact, obstype,"
                   " settled_ns, size, bundle_size, CASE bundle_size WHEN 0 THEN size ELSE 0 END,"
                   " 1, '' FROM exposures INDEXED BY exposures_alone WHERE grp = '' AND " WAITS,
                   "iiiii", (int64_t)ORIGIN_SWEEP, now, now + JOURNAL_WAIT_NS, request, request);
}

/* Backfill is only what nobody but a sweep asked for. */
static enum status candidates_in_files(struct journal *j, int64_t request, struct candidates *c,
                                       struct fault *why)
{
    int64_t now = clock_wall();
    return db_each(j->db, why, take_candidate, c,
                   "SELECT id, date_ns, mtime_ns, backfill, begun, 0, obstype, came, bytes, bundles,"
                   " open, files, g FROM (SELECT grp AS g, min(origin = ?) AS backfill,"
                   " max(state = 'sending') AS begun, max(settled_ns) AS came, sum(size) AS bytes,"
                   " sum(bundle_size) AS bundles,"
                   " sum(CASE bundle_size WHEN 0 THEN size ELSE 0 END) AS open, count(*) AS files"
                   " FROM exposures INDEXED BY exposures_queue WHERE grp != '' AND " WAITS
                   " GROUP BY grp)"
                   " JOIN exposures ON id = " FIRST_OF "g)",
                   "iiiii", (int64_t)ORIGIN_SWEEP, now, now + JOURNAL_WAIT_NS, request, request);
}

enum status journal_candidates(struct journal *j, int64_t request, const struct camera *camera,
                               struct order_queue *out, struct fault *why)
{
    *out = (struct order_queue){0};
    struct candidates c = {.queue = out, .camera = camera};
    enum status st = candidates_alone(j, request, &c, why);
    if (st == ST_OK && !c.failed)
        st = candidates_in_files(j, request, &c, why);
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

/* Of a camera that writes several files: of those that are known to belong to one. The walk goes
 * no further back than it takes. */
static enum status last_moments(struct journal *j, const struct camera *camera, struct moments *m,
                                struct fault *why)
{
    if (!camera_groups(camera))
        return db_each(j->db, why, take_moment, m,
                       "SELECT mtime_ns FROM exposures WHERE exact = 0 AND origin != ?"
                       " ORDER BY id DESC LIMIT ?",
                       "ii", (int64_t)ORIGIN_SWEEP, (int64_t)GAPS + 1);
    return db_each(j->db, why, take_moment, m,
                   "SELECT min(mtime_ns) FROM (SELECT id, mtime_ns, grp FROM exposures"
                   " WHERE grp != '' AND exact = 0 AND origin != ? AND state != 'skipped'"
                   " ORDER BY id DESC LIMIT ?) GROUP BY grp ORDER BY max(id) DESC LIMIT ?",
                   "iii", (int64_t)ORIGIN_SWEEP, (GAPS + 1) * (int64_t)camera->ccds,
                   (int64_t)GAPS + 1);
}

enum status journal_cadence(struct journal *j, const struct camera *camera, int64_t now_ns,
                            double *seconds, struct fault *why)
{
    struct moments m = {0};
    *seconds = 0;
    enum status st = last_moments(j, camera, &m, why);
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
                  " (SELECT id AS i, grp AS g FROM exposures WHERE exact = 0 AND origin != ?"
                  " AND state IN ('stored', 'done') ORDER BY id DESC LIMIT ?) JOIN exposures"
                  " ON id = CASE g WHEN '' THEN i ELSE " FIRST_OF "g) END",
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

/* ---- the files of one exposure ---- */

static bool take_gone(void *ctx, const struct db_row *row)
{
    struct journal_gone *g = ctx;
    g->bytes = db_col_real(row, 0);
    g->first_ns = db_col_int(row, 1);
    return false;
}

enum status journal_group_gone(struct journal *j, const char *group, struct journal_gone *out,
                               struct fault *why)
{
    memset(out, 0, sizeof *out);
    return db_each(j->db, why, take_gone, out,
                   "SELECT total(bundle_size), min(nullif(first_ns, 0)) FROM exposures"
                   " WHERE grp != '' AND grp = ? AND state IN ('stored', 'done')",
                   "s", group);
}

struct files {
    journal_file_fn *fn;
    void *ctx;
};

static bool take_queued(void *ctx, const struct db_row *row)
{
    const struct files *f = ctx;
    return f->fn(f->ctx, &(struct journal_file){db_col_int(row, 0), db_col_int(row, 1),
                                                db_col_int(row, 2)});
}

enum status journal_group_files(struct journal *j, const char *group, int64_t request,
                                journal_file_fn *fn, void *ctx, struct fault *why)
{
    struct files f = {fn, ctx};
    int64_t now = clock_wall();
    return db_each(j->db, why, take_queued, &f,
                   "SELECT id, size, bundle_size FROM exposures WHERE grp != '' AND grp = ? AND "
                   WAITS " ORDER BY group_ccd, id",
                   "siiii", group, now, now + JOURNAL_WAIT_NS, request, request);
}
