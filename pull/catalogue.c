#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pull/catalogue.h"
#include "pull/catalogue_inner.h"

const char *const stamp_names[STAMPS] = {"closed", "noticed", "encoded", "first", "stored",
                                         "indexed", "placed", "done", "renewed"};
static const char *const exposure_states[EX_STATES] = {"stored", "placed", "working", "done",
                                                       "parked", "coming"};

const char *exposure_state_name(enum exposure_state s)
{
    return exposure_states[s];
}

int catalogue_word(const char *word, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return 0;
}

enum status catalogue_open(const char *path, bool read_only, struct catalogue **out,
                           struct fault *why)
{
    *out = NULL;
    struct catalogue *c = calloc(1, sizeof *c);
    if (!c)
        return fault(why, ST_FATAL, "out of memory for the catalogue '%s'", path);
    enum status st = db_open(path, catalogue_schemas, read_only, &c->db, why);
    if (st != ST_OK)
        free(c);
    else
        *out = c;
    return st;
}

void catalogue_close(struct catalogue **c)
{
    if (!*c)
        return;
    db_close(&(*c)->db);
    free(*c);
    *c = NULL;
}

static bool take_identity(void *ctx, const struct db_row *row)
{
    struct catalogue_identity *out = ctx;
    TAKE_TEXT(out->id, row, 0);
    out->term = db_col_int(row, 1);
    return false;
}

enum status catalogue_identity(struct catalogue *c, struct catalogue_identity *out,
                               struct fault *why)
{
    out->id[0] = '\0';
    enum status st = db_each(c->db, why, take_identity, out, "SELECT id, term FROM identity", "");
    return st == ST_OK && !out->id[0] ? fault(why, ST_FATAL, "the catalogue has no id: skyferry-pull "
                                              "rebuild makes it anew") : st;
}

enum status catalogue_set_term(struct catalogue *c, int64_t term, struct fault *why)
{
    return db_run(c->db, why, "UPDATE identity SET term = ?", "i", term);
}

enum status catalogue_begin(struct catalogue *c, struct fault *why)
{
    return db_begin(c->db, why);
}

enum status catalogue_commit(struct catalogue *c, struct fault *why)
{
    return db_commit(c->db, why);
}

void catalogue_rollback(struct catalogue *c)
{
    db_rollback(c->db);
}

/* ---- exposures ---- */

/* One order of columns for reading and writing. */
#define EXPOSURE_TYPES "ssssiisiiiiiiiiissiisiisssssiidiiiiii"
#define EXPOSURE_COLUMNS                                                                         \
    "bundle, name, night, state, attempts, due_ns, reason, force, closed_ns, noticed_ns,"        \
    " encoded_ns, first_ns, stored_ns, indexed_ns, placed_ns, done_ns, source_name,"             \
    " source_sha256, source_size, raw_size, bundle_sha256, bundle_size, bundle_mtime_ns,"        \
    " object, filter, obstype, propid, date_obs, expnum, date_ns, exptime, exact, renewed_ns,"     \
    " visit, visit_ccd, visit_ccds, visit_coming"
#define EXPOSURE_VALUES(x)                                                                       \
    (x)->bundle, (x)->name, (x)->night, exposure_states[(x)->state], (int64_t)(x)->attempts,     \
        (x)->due_ns, (x)->reason, (int64_t)(x)->force, (x)->stamp[0], (x)->stamp[1],             \
        (x)->stamp[2], (x)->stamp[3], (x)->stamp[4], (x)->stamp[5], (x)->stamp[6],               \
        (x)->stamp[7], (x)->source_name, (x)->source_sha256, (x)->source_size, (x)->raw_size,    \
        (x)->bundle_sha256, (x)->bundle_size, (x)->bundle_mtime_ns, (x)->facts.object,           \
        (x)->facts.filter, (x)->facts.obstype, (x)->facts.propid, (x)->facts.date_obs,           \
        (x)->facts.expnum, (x)->facts.date_ns, (x)->facts.exptime, (int64_t)(x)->exact,          \
        (x)->stamp[STAMP_RENEWED], (x)->visit, (int64_t)(x)->visit_ccd,                          \
        (int64_t)(x)->visit_ccds, (int64_t)(x)->visit_coming

enum status catalogue_add(struct catalogue *c, struct exposure *x, struct fault *why)
{
    int64_t known;
    enum status st = db_begin(c->db, why);
    if (st != ST_OK)
        return st;
    st = db_int(c->db, why, &known, 0, "SELECT id FROM exposures WHERE bundle = ?", "s",
                x->bundle);
    if (st == ST_OK && known)
        st = fault(why, ST_REJECT, "bundle '%s' is in the catalogue already", x->bundle);
    if (st == ST_OK)
        st = db_run(c->db, why,
                    "INSERT INTO exposures (" EXPOSURE_COLUMNS ") VALUES (?,?,?,?,?,?,?,?,?,?,"
                    "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                    EXPOSURE_TYPES, EXPOSURE_VALUES(x));
    if (st == ST_OK)
        x->id = db_last_id(c->db);
    if (st == ST_OK)
        return db_commit(c->db, why);
    db_rollback(c->db);
    return st;
}

enum status catalogue_save(struct catalogue *c, const struct exposure *x, struct fault *why)
{
    return db_run(c->db, why,
                  "UPDATE exposures SET (" EXPOSURE_COLUMNS ") = (?,?,?,?,?,?,?,?,?,?,"
                  "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ?",
                  EXPOSURE_TYPES "i", EXPOSURE_VALUES(x), x->id);
}

#define EXPOSURE_SELECT                                                                          \
    "SELECT id, " EXPOSURE_COLUMNS ", ccds, placed, jobs, jobs_done, faults FROM exposures "

static void read_exposure(const struct db_row *row, struct exposure *x)
{
    int at = 0;
    memset(x, 0, sizeof *x);
    x->id = db_col_int(row, at++);
    TAKE_TEXT(x->bundle, row, at++);
    TAKE_TEXT(x->name, row, at++);
    TAKE_TEXT(x->night, row, at++);
    x->state = (enum exposure_state)catalogue_word(db_col_text(row, at++), exposure_states,
                                                   EX_STATES);
    x->attempts = (int)db_col_int(row, at++);
    x->due_ns = db_col_int(row, at++);
    TAKE_TEXT(x->reason, row, at++);
    x->force = db_col_int(row, at++) != 0;
    for (int i = 0; i < STAMP_RENEWED; i++)
        x->stamp[i] = db_col_int(row, at++);
    TAKE_TEXT(x->source_name, row, at++);
    TAKE_TEXT(x->source_sha256, row, at++);
    x->source_size = db_col_int(row, at++);
    x->raw_size = db_col_int(row, at++);
    TAKE_TEXT(x->bundle_sha256, row, at++);
    x->bundle_size = db_col_int(row, at++);
    x->bundle_mtime_ns = db_col_int(row, at++);
    TAKE_TEXT(x->facts.object, row, at++);
    TAKE_TEXT(x->facts.filter, row, at++);
    TAKE_TEXT(x->facts.obstype, row, at++);
    TAKE_TEXT(x->facts.propid, row, at++);
    TAKE_TEXT(x->facts.date_obs, row, at++);
    x->facts.expnum = db_col_int(row, at++);
    x->facts.date_ns = db_col_int(row, at++);
    x->facts.exptime = db_col_real(row, at++);
    x->exact = (enum exactness)db_col_int(row, at++);
    x->stamp[STAMP_RENEWED] = db_col_int(row, at++);
    x->visit = db_col_int(row, at++);
    x->visit_ccd = (int)db_col_int(row, at++);
    x->visit_ccds = (int)db_col_int(row, at++);
    x->visit_coming = (int)db_col_int(row, at++);
    x->ccds = (int)db_col_int(row, at++);
    x->placed = (int)db_col_int(row, at++);
    x->jobs = (int)db_col_int(row, at++);
    x->jobs_done = (int)db_col_int(row, at++);
    x->faults = (int)db_col_int(row, at++);
}

struct one_exposure {
    struct exposure *x;
    bool found;
};

static bool take_one(void *ctx, const struct db_row *row)
{
    struct one_exposure *one = ctx;
    read_exposure(row, one->x);
    one->found = true;
    return false;
}

enum status catalogue_get(struct catalogue *c, int64_t id, struct exposure *x, bool *found,
                          struct fault *why)
{
    struct one_exposure one = {x, false};
    enum status st = db_each(c->db, why, take_one, &one, EXPOSURE_SELECT "WHERE id = ?", "i", id);
    *found = one.found;
    return st;
}

enum status catalogue_by_bundle(struct catalogue *c, const char *bundle, struct exposure *x,
                                bool *found, struct fault *why)
{
    struct one_exposure one = {x, false};
    enum status st = db_each(c->db, why, take_one, &one, EXPOSURE_SELECT "WHERE bundle = ?", "s",
                             bundle);
    *found = one.found;
    return st;
}

enum status catalogue_by_source(struct catalogue *c, const struct exposure *like,
                                struct exposure *x, bool *found, struct fault *why)
{
    struct one_exposure one = {x, false};
    enum status st = db_each(c->db, why, take_one, &one,
                             EXPOSURE_SELECT "WHERE source_sha256 = ? AND id <> ? AND state NOT IN "
                             "('parked', 'coming') ORDER BY id",
                             "si", like->source_sha256, like->id);
    *found = one.found;
    return st;
}

enum status catalogue_knows_source(struct catalogue *c, const char *source_sha256, bool *known,
                                   struct fault *why)
{
    int64_t id = 0;
    enum status st = db_int(c->db, why, &id, 0,
                            "SELECT id FROM exposures WHERE source_sha256 = ? LIMIT 1", "s",
                            source_sha256);
    *known = id != 0;
    return st;
}

enum status catalogue_pair(struct catalogue *c, const char *source_sha256, const char *root,
                           struct exposure *x, bool *found, struct fault *why)
{
    struct one_exposure one = {x, false};
    enum status st = db_each(c->db, why, take_one, &one,
                             EXPOSURE_SELECT "WHERE source_sha256 = ?1 AND state <> 'coming' AND"
                             " (name = ?2 OR"
                             " substr(name, 1, length(?2) + 1) = ?2 || '~')"
                             " ORDER BY state = 'parked', id",
                             "ss", source_sha256, root);
    *found = one.found;
    return st;
}

/* "NIGHT/NAME.tar" into its parts; night is "" when the text names none. */
static void split_name(const char *text, char night[NIGHT_SIZE], char name[MEMBER_NAME])
{
    const char *slash = strrchr(text, '/');
    const char *base = slash ? slash + 1 : text;
    size_t len = strlen(base);
    night[0] = '\0';
    if (slash) {
        const char *from = slash;
        while (from > text && from[-1] != '/')
            from--;
        snprintf(night, NIGHT_SIZE, "%.*s", (int)(slash - from), from);
    }
    if (len > 4 && strcmp(base + len - 4, ".tar") == 0)
        len -= 4;
    snprintf(name, MEMBER_NAME, "%.*s", (int)len, base);
}

struct each_exposure {
    exposure_fn *fn;
    void *ctx;
};

static bool take_each(void *ctx, const struct db_row *row)
{
    struct each_exposure *each = ctx;
    struct exposure x;
    read_exposure(row, &x);
    return each->fn(each->ctx, &x);
}

/* The words of a mask of states (0: all) for SQL's IN: "'stored','placed'". */
static void state_list(unsigned states, char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < EX_STATES; i++)
        if ((!states || (states & (1u << i))) && at < size)
            at += (size_t)snprintf(out + at, size - at, "%s'%s'", at ? "," : "",
                                   exposure_states[i]);
}

enum status catalogue_each(struct catalogue *c, const struct catalogue_pick *p, exposure_fn *fn,
                           void *ctx, struct fault *why)
{
    char night[NIGHT_SIZE] = "", name[MEMBER_NAME] = "", states[128], sql[2048];
    bool one = p->states && !(p->states & (p->states - 1));
    struct each_exposure each = {fn, ctx};
    if (p->name)
        split_name(p->name, night, name);
    if (p->night)
        snprintf(night, sizeof night, "%s", p->night);
    state_list(p->states, states, sizeof states);
    const char *rows = p->visit > 0              ? "visit = ?5 AND visit > 0"
                       : p->name                 ? "?5 IS NOT NULL"
                       : p->rows == ROWS_BUNDLES ? "visit_ccds = 0 AND ?5 IS NOT NULL"
                       : p->rows == ROWS_ALL     ? "?5 IS NOT NULL"
                                                 : "+visit = 0 AND ?5 IS NOT NULL";
    /* Conditions that are not asked for keep their argument but not their index. Every index holds
     * its rows in order of id: what is due is filtered (+) on the way, so that the caller who has
     * enough has read no more than that; a list of states would make it sort them all. */
    snprintf(sql, sizeof sql, EXPOSURE_SELECT "WHERE %sstate %s (%s) AND %s AND %s AND %s AND %s"
             " ORDER BY %s LIMIT ?4",
             one && !p->name && !night[0] && !p->visit ? "" : "+", one ? "=" : "IN", states,
             p->name ? "name = ?1" : "?1 IS NOT NULL", night[0] ? "night = ?2" : "?2 IS NOT NULL",
             p->due_ns > 0 ? "+due_ns <= ?3" : "?3 IS NOT NULL", rows,
             p->by_age ? CATALOGUE_AGE " DESC, id DESC" : p->oldest_first ? "id ASC" : "id DESC");
    return db_each(c->db, why, take_each, &each, sql, "ssiii", name, night, p->due_ns,
                   (int64_t)(p->limit > 0 ? p->limit : -1), p->visit);
}

enum status catalogue_hurry_stored(struct catalogue *c, struct fault *why)
{
    return db_run(c->db, why, "UPDATE exposures SET due_ns = 0 WHERE state = 'stored' AND"
                  " attempts = 0 AND due_ns > 0", "");
}

enum status catalogue_next_due(struct catalogue *c, unsigned states, int64_t after, int64_t *due,
                               struct fault *why)
{
    char list[128], sql[256];
    state_list(states, list, sizeof list);
    snprintf(sql, sizeof sql,
             "SELECT min(due_ns) FROM exposures WHERE state IN (%s) AND due_ns > ?", list);
    return db_int(c->db, why, due, 0, sql, "i", after);
}

enum status catalogue_count(struct catalogue *c, int64_t exposure, struct fault *why)
{
    enum status st = db_run(
        c->db, why,
        "UPDATE exposures SET (ccds, placed, parked, fits_size) ="
        " (SELECT count(*), count(*) FILTER (WHERE state = 'placed'),"
        " count(*) FILTER (WHERE state = 'parked'),"
        " coalesce(sum(size) FILTER (WHERE state = 'placed'), 0)"
        " FROM ccds WHERE exposure = ?1),"
        " jobs = (SELECT count(*) FROM jobs WHERE exposure = ?1),"
        " jobs_done = (SELECT count(*) FROM jobs WHERE exposure = ?1 AND +state = 'done'),"
        " faults = (SELECT count(*) FROM ccds WHERE exposure = ?1 AND state = 'parked')"
        "        + (SELECT count(*) FROM jobs WHERE exposure = ?1 AND +state = 'failed')"
        " WHERE id = ?1",
        "i", exposure);
    return st == ST_OK ? catalogue_visit_count(c, exposure, why) : st;
}

enum status catalogue_remove(struct catalogue *c, int64_t exposure, struct fault *why)
{
    int64_t visit = 0;
    enum status st = db_begin(c->db, why);
    if (st != ST_OK)
        return st;
    st = db_int(c->db, why, &visit, 0, "SELECT visit FROM exposures WHERE id = ?", "i", exposure);
    if (st == ST_OK)
        st = catalogue_clear(c, exposure, why);
    if (st == ST_OK)
        st = db_run(c->db, why, "DELETE FROM requests WHERE exposure = ?", "i", exposure);
    if (st == ST_OK)
        st = db_run(c->db, why, "DELETE FROM exposures WHERE id = ?", "i", exposure);
    if (st == ST_OK && visit)
        st = catalogue_visit_left(c, visit, why);
    if (st == ST_OK)
        return db_commit(c->db, why);
    db_rollback(c->db);
    return st;
}

enum status catalogue_clear(struct catalogue *c, int64_t exposure, struct fault *why)
{
    enum status st = db_begin(c->db, why);
    if (st != ST_OK)
        return st;
    st = db_run(c->db, why, "DELETE FROM ccds WHERE exposure = ?", "i", exposure);
    if (st == ST_OK)
        st = catalogue_clear_jobs(c, exposure, why);
    if (st == ST_OK)
        st = catalogue_count(c, exposure, why);
    if (st == ST_OK)
        return db_commit(c->db, why);
    db_rollback(c->db);
    return st;
}
