/* The catalogue's lesser rows: ccds, jobs, figures, requests. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "pull/catalogue_inner.h"

static const char *const ccd_states[] = {"waiting", "placed", "parked"};
static const char *const bundle_roles[] = {"next", "former"};
static const char *const job_states[] = {"waiting", "running", "done", "failed", "dry"};

const char *ccd_state_name(enum ccd_state s)
{
    return ccd_states[s];
}

const char *job_state_name(enum job_state s)
{
    return job_states[s];
}

/* ---- ccds ---- */

enum status catalogue_put_ccd(struct catalogue *c, struct ccd *one, struct fault *why)
{
    static const char insert[] =
        "INSERT INTO ccds (exposure, job, ccd, hdu, extname, member, codec, qstep, state, reason,"
        " path, size, placed_ns, datasum, checksum, made_from)"
        " VALUES (?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    static const char update[] =
        "UPDATE ccds SET (exposure, job, ccd, hdu, extname, member, codec, qstep, state, reason,"
        " path, size, placed_ns, datasum, checksum, made_from)"
        " = (?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?";
#define CCD_VALUES                                                                               \
    one->exposure, one->job, (int64_t)one->ccd, (int64_t)one->hdu, one->extname, one->member,    \
        one->codec, one->qstep, ccd_states[one->state], one->reason, one->path, one->size,       \
        one->placed_ns, one->datasum, one->checksum, one->made_from
    if (one->id)
        return db_run(c->db, why, update, "iiiisssdsssiisssi", CCD_VALUES, one->id);
    enum status st = db_run(c->db, why, insert, "iiiisssdsssiisss", CCD_VALUES);
    if (st == ST_OK)
        one->id = db_last_id(c->db);
    return st;
}

struct ccd_list {
    struct ccd *items;
    size_t count, room;
    bool full; /* out of memory */
};

static void read_ccd(const struct db_row *row, struct ccd *one)
{
    int at = 0;
    memset(one, 0, sizeof *one);
    one->id = db_col_int(row, at++);
    one->exposure = db_col_int(row, at++);
    one->job = db_col_int(row, at++);
    one->ccd = (int)db_col_int(row, at++);
    one->hdu = (int)db_col_int(row, at++);
    TAKE_TEXT(one->extname, row, at++);
    TAKE_TEXT(one->member, row, at++);
    TAKE_TEXT(one->codec, row, at++);
    one->qstep = db_col_real(row, at++);
    one->state = (enum ccd_state)catalogue_word(db_col_text(row, at++), ccd_states, 3);
    TAKE_TEXT(one->reason, row, at++);
    TAKE_TEXT(one->path, row, at++);
    one->size = db_col_int(row, at++);
    one->placed_ns = db_col_int(row, at++);
    TAKE_TEXT(one->datasum, row, at++);
    TAKE_TEXT(one->checksum, row, at++);
    one->quality.background = db_col_real(row, at++);
    one->quality.noise = db_col_real(row, at++);
    one->quality.saturated = db_col_real(row, at++);
    one->quality.stars = db_col_real(row, at++);
    one->quality.fwhm = db_col_real(row, at++);
    TAKE_TEXT(one->quality.error, row, at++);
    TAKE_TEXT(one->made_from, row, at++);
    TAKE_TEXT(one->bundle, row, at++);
}

static bool take_ccd(void *ctx, const struct db_row *row)
{
    struct ccd_list *list = ctx;
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        struct ccd *bigger = realloc(list->items, room * sizeof *bigger);
        if (!bigger) {
            list->full = true;
            return false;
        }
        list->items = bigger;
        list->room = room;
    }
    read_ccd(row, &list->items[list->count++]);
    return true;
}

enum status catalogue_ccds(struct catalogue *c, int64_t exposure, struct ccd **out, size_t *count,
                           struct fault *why)
{
    struct ccd_list list = {0};
    enum status st = db_each(c->db, why, take_ccd, &list,
                             "SELECT id, exposure, job, ccd, hdu, extname, member, codec, qstep,"
                             " state, reason, path, size, placed_ns, datasum, checksum, background,"
                             " noise, saturated, stars, fwhm, error, made_from,"
                             " (SELECT bundle FROM exposures WHERE id = exposure)"
                             " FROM ccds WHERE exposure IN (SELECT ?1 UNION ALL"
                             " SELECT id FROM exposures WHERE visit = ?1 AND visit > 0)"
                             " ORDER BY ccd, hdu, state <> 'placed', id",
                             "i", exposure);
    if (st == ST_OK && list.full)
        st = fault(why, ST_RETRY, "out of memory for the ccds of an exposure");
    if (st != ST_OK) {
        free(list.items);
        list = (struct ccd_list){0};
    }
    *out = list.items;
    *count = list.count;
    return st;
}

enum status catalogue_path_owner(struct catalogue *c, const char *path, int64_t *exposure,
                                 struct fault *why)
{
    enum status st = db_int(c->db, why, exposure, 0,
                            "SELECT exposure FROM ccds WHERE path = ? AND state = 'placed'", "s",
                            path);
    if (st != ST_OK || *exposure)
        return st;
    st = db_int(c->db, why, exposure, 0,
                "SELECT exposure FROM ccds WHERE path = ? AND exposure IN"
                " (SELECT id FROM exposures WHERE state = 'coming')", "s", path);
    return st == ST_OK && !*exposure ? catalogue_path_awaited(c, path, 0, exposure, why) : st;
}

enum status catalogue_path_awaited(struct catalogue *c, const char *path, int64_t but,
                                   int64_t *exposure, struct fault *why)
{
    return db_int(c->db, why, exposure, 0,
                  "SELECT exposure FROM ccds WHERE path = ? AND state = 'waiting' AND exposure <> ?"
                  " AND (SELECT state FROM exposures x WHERE x.id = exposure)"
                  " IN ('placed', 'working')", "si", path, but);
}

enum status catalogue_drop_ccd(struct catalogue *c, int64_t ccd_id, struct fault *why)
{
    return db_run(c->db, why, "DELETE FROM ccds WHERE id = ?", "i", ccd_id);
}

enum status catalogue_put_quality(struct catalogue *c, int64_t ccd_id, const struct quality *q,
                                  struct fault *why)
{
    return db_run(c->db, why,
                  "UPDATE ccds SET background = ?, noise = ?, saturated = ?, stars = ?, fwhm = ?,"
                  " error = ? WHERE id = ?",
                  "dddddsi", q->background, q->noise, q->saturated, q->stars, q->fwhm, q->error,
                  ccd_id);
}

/* ---- jobs ---- */

#define JOB_COLUMNS                                                                              \
    "exposure, number, state, attempts, due_ns, started_ns, ended_ns, folder, handle, reason,"       \
    " batch, batch_state, node, exit_status"

enum status catalogue_put_job(struct catalogue *c, struct job *one, struct fault *why)
{
#define JOB_VALUES                                                                               \
    one->exposure, (int64_t)one->number, job_states[one->state], (int64_t)one->attempts,         \
        one->due_ns, one->started_ns, one->ended_ns, one->folder, one->handle, one->reason,   \
        one->batch, one->batch_state, one->node, (int64_t)one->exit_status
    if (one->id)
        return db_run(c->db, why,
                      "UPDATE jobs SET (" JOB_COLUMNS ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                      " ?, ?, ?, ?) WHERE id = ?",
                      "iisiiiissssssii", JOB_VALUES, one->id);
    enum status st = db_run(c->db, why,
                            "INSERT INTO jobs (" JOB_COLUMNS ") VALUES"
                            " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            "iisiiiissssssi", JOB_VALUES);
    if (st == ST_OK)
        one->id = db_last_id(c->db);
    return st;
}

static void read_job(const struct db_row *row, struct job *j)
{
    int at = 0;
    memset(j, 0, sizeof *j);
    j->id = db_col_int(row, at++);
    j->exposure = db_col_int(row, at++);
    j->number = (int)db_col_int(row, at++);
    j->state = (enum job_state)catalogue_word(db_col_text(row, at++), job_states, 5);
    j->attempts = (int)db_col_int(row, at++);
    j->due_ns = db_col_int(row, at++);
    j->started_ns = db_col_int(row, at++);
    j->ended_ns = db_col_int(row, at++);
    TAKE_TEXT(j->folder, row, at++);
    TAKE_TEXT(j->handle, row, at++);
    TAKE_TEXT(j->reason, row, at++);
    TAKE_TEXT(j->batch, row, at++);
    TAKE_TEXT(j->batch_state, row, at++);
    TAKE_TEXT(j->node, row, at++);
    j->exit_status = (int)db_col_int(row, at++);
}

struct each_job {
    job_fn *fn;
    void *ctx;
};

static bool take_job(void *ctx, const struct db_row *row)
{
    struct each_job *each = ctx;
    struct job j;
    read_job(row, &j);
    return each->fn(each->ctx, &j);
}

struct one_job {
    struct job *out;
    bool found;
};

static bool take_one_job(void *ctx, const struct db_row *row)
{
    struct one_job *one = ctx;
    read_job(row, one->out);
    one->found = true;
    return false;
}

#define JOB_SELECT "SELECT id, " JOB_COLUMNS " FROM jobs "

enum status catalogue_get_job(struct catalogue *c, int64_t id, struct job *out, bool *found,
                              struct fault *why)
{
    struct one_job one = {out, false};
    enum status st = db_each(c->db, why, take_one_job, &one, JOB_SELECT "WHERE id = ?", "i", id);
    *found = one.found;
    return st;
}

enum status catalogue_jobs_of(struct catalogue *c, int64_t exposure, job_fn *fn, void *ctx,
                              struct fault *why)
{
    struct each_job each = {fn, ctx};
    return db_each(c->db, why, take_job, &each, JOB_SELECT "WHERE exposure = ? ORDER BY number",
                   "i", exposure);
}

enum status catalogue_jobs_in(struct catalogue *c, enum job_state state, job_fn *fn, void *ctx,
                              struct fault *why)
{
    struct each_job each = {fn, ctx};
    return db_each(c->db, why, take_job, &each, JOB_SELECT "WHERE state = ? ORDER BY id", "s",
                   job_states[state]);
}

enum status catalogue_jobs_newest(struct catalogue *c, enum job_state state, const char *night,
                                  int limit, job_fn *fn, void *ctx, struct fault *why)
{
    struct each_job each = {fn, ctx};
    int64_t most = limit > 0 ? limit : -1;
    if (!night)
        return db_each(c->db, why, take_job, &each,
                       JOB_SELECT "WHERE state = ? ORDER BY id DESC LIMIT ?", "si",
                       job_states[state], most);
    return db_each(c->db, why, take_job, &each,
                   JOB_SELECT "WHERE exposure IN (SELECT id FROM exposures WHERE night = ?)"
                   " AND +state = ? ORDER BY id DESC LIMIT ?",
                   "ssi", night, job_states[state], most);
}

enum status catalogue_jobs_next(struct catalogue *c, job_fn *fn, void *ctx, struct fault *why)
{
    struct each_job each = {fn, ctx};
    /* In this order of the tables (CROSS): the exposures' index gives the order, and the caller
     * who has enough has read no more than that. */
    return db_each(c->db, why, take_job, &each,
                   "SELECT id, " JOB_COLUMNS " FROM (SELECT id AS x_id, " CATALOGUE_AGE " AS x_age"
                   " FROM exposures WHERE state = 'working') CROSS JOIN jobs"
                   " WHERE exposure = x_id AND state = 'waiting'"
                   " ORDER BY x_age DESC, x_id DESC, number", "");
}

enum status catalogue_next_job_due(struct catalogue *c, int64_t after, int64_t *due,
                                   struct fault *why)
{
    return db_int(c->db, why, due, 0,
                  "SELECT min(due_ns) FROM jobs WHERE state = 'waiting' AND due_ns > ?", "i",
                  after);
}

enum status catalogue_move_jobs(struct catalogue *c, int64_t exposure, const char *from,
                                const char *to, struct fault *why)
{
    return db_run(c->db, why,
                  "UPDATE jobs SET folder = ?2 || substr(folder, length(?1) + 1)"
                  " WHERE exposure = ?3 AND substr(folder, 1, length(?1) + 1) = ?1 || '/'",
                  "ssi", from, to, exposure);
}

enum status catalogue_hurry_jobs(struct catalogue *c, struct fault *why)
{
    return db_run(c->db, why, "UPDATE jobs SET due_ns = 0 WHERE state = 'waiting'", "");
}

enum status catalogue_clear_jobs(struct catalogue *c, int64_t exposure, struct fault *why)
{
    enum status st = db_run(c->db, why, "UPDATE ccds SET job = NULL WHERE job IN"
                            " (SELECT id FROM jobs WHERE exposure = ?)", "i", exposure);
    return st == ST_OK ? db_run(c->db, why, "DELETE FROM jobs WHERE exposure = ?", "i", exposure)
                       : st;
}

/* ---- bundles beside the exposures' own ---- */

enum status catalogue_put_bundle(struct catalogue *c, const struct other_bundle *b,
                                 struct fault *why)
{
    return db_run(c->db, why,
                  "INSERT OR REPLACE INTO bundles (path, exposure, role, sha256, size, stored_ns)"
                  " VALUES (?, ?, ?, ?, ?, ?)",
                  "sissii", b->path, b->exposure, bundle_roles[b->role], b->sha256, b->size,
                  b->stored_ns);
}

enum status catalogue_drop_bundle(struct catalogue *c, const char *path, struct fault *why)
{
    return db_run(c->db, why, "DELETE FROM bundles WHERE path = ?", "s", path);
}

#define BUNDLE_SELECT "SELECT path, exposure, role, sha256, size, stored_ns FROM bundles "

static void read_bundle(const struct db_row *row, struct other_bundle *b)
{
    memset(b, 0, sizeof *b);
    TAKE_TEXT(b->path, row, 0);
    b->exposure = db_col_int(row, 1);
    b->role = (enum bundle_role)catalogue_word(db_col_text(row, 2), bundle_roles, 2);
    TAKE_TEXT(b->sha256, row, 3);
    b->size = db_col_int(row, 4);
    b->stored_ns = db_col_int(row, 5);
}

struct one_bundle {
    struct other_bundle *out;
    bool found;
};

static bool take_one_bundle(void *ctx, const struct db_row *row)
{
    struct one_bundle *one = ctx;
    read_bundle(row, one->out);
    one->found = true;
    return false;
}

enum status catalogue_get_bundle(struct catalogue *c, const char *path, struct other_bundle *b,
                                 bool *found, struct fault *why)
{
    struct one_bundle one = {b, false};
    enum status st = db_each(c->db, why, take_one_bundle, &one, BUNDLE_SELECT "WHERE path = ?", "s",
                             path);
    *found = one.found;
    return st;
}

struct each_bundle {
    bundle_fn *fn;
    void *ctx;
};

static bool take_bundle(void *ctx, const struct db_row *row)
{
    struct each_bundle *each = ctx;
    struct other_bundle b;
    read_bundle(row, &b);
    return each->fn(each->ctx, &b);
}

enum status catalogue_bundles(struct catalogue *c, enum bundle_role role, bool ready, bundle_fn *fn,
                              void *ctx, struct fault *why)
{
    static const char all[] = BUNDLE_SELECT "WHERE role = ? ORDER BY stored_ns, path";
    static const char those_ready[] =
        BUNDLE_SELECT "WHERE role = ? AND EXISTS (SELECT 1 FROM exposures WHERE id = exposure AND"
                      " (CASE role WHEN 'next' THEN state IN ('stored', 'done', 'parked')"
                      " ELSE exact = 2 END)) ORDER BY stored_ns, path";
    struct each_bundle each = {fn, ctx};
    return db_each(c->db, why, take_bundle, &each, ready ? those_ready : all, "s",
                   bundle_roles[role]);
}

/* ---- requests ---- */

enum status catalogue_ask(struct catalogue *c, int64_t exposure, enum request_verb verb,
                          bool force, struct fault *why)
{
    return db_run(c->db, why, "INSERT INTO requests (exposure, verb, force) VALUES (?, ?, ?)",
                  "iii", exposure, (int64_t)verb, (int64_t)force);
}

struct each_request {
    request_fn *fn;
    void *ctx;
};

static bool take_request(void *ctx, const struct db_row *row)
{
    struct each_request *each = ctx;
    struct request r = {db_col_int(row, 0), db_col_int(row, 1),
                        (enum request_verb)db_col_int(row, 2), db_col_int(row, 3) != 0};
    return each->fn(each->ctx, &r);
}

enum status catalogue_requests(struct catalogue *c, request_fn *fn, void *ctx, struct fault *why)
{
    struct each_request each = {fn, ctx};
    return db_each(c->db, why, take_request, &each,
                   "SELECT id, exposure, verb, force FROM requests ORDER BY id", "");
}

enum status catalogue_answered(struct catalogue *c, int64_t request, struct fault *why)
{
    return db_run(c->db, why, "DELETE FROM requests WHERE id = ?", "i", request);
}

enum status catalogue_is_asked(struct catalogue *c, int64_t exposure, bool *asked,
                               struct fault *why)
{
    int64_t n;
    enum status st = db_int(c->db, why, &n, 0, "SELECT count(*) FROM requests WHERE exposure = ?",
                            "i", exposure);
    *asked = n > 0;
    return st;
}

enum status catalogue_any_busy(struct catalogue *c, const int64_t *ids, size_t count, bool *busy,
                               struct fault *why)
{
    static const char sql[] =
        "SELECT 1 FROM json_each(?) AS wanted JOIN exposures AS x ON x.id = wanted.value"
        " WHERE x.state NOT IN ('done', 'parked')"
        " OR EXISTS (SELECT 1 FROM requests WHERE exposure = x.id) LIMIT 1";
    struct buf list = {0};
    int64_t one = 0;
    bool ok = buf_append(&list, "[", 1);
    for (size_t i = 0; ok && i < count; i++)
        ok = buf_printf(&list, "%s%" PRId64, i ? "," : "", ids[i]);
    enum status st = ok && buf_printf(&list, "]") ? db_int(c->db, why, &one, 0, sql, "s",
                                                           (const char *)list.data)
                                                  : fault(why, ST_RETRY, "out of memory");
    *busy = one != 0;
    buf_free(&list);
    return st;
}
