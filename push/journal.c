#include "push/journal_inner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

static const char *const migrations[] = {
    "CREATE TABLE exposures ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, name TEXT NOT NULL,"
    " size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " closed INTEGER NOT NULL, changed_ns INTEGER NOT NULL,"
    " origin INTEGER NOT NULL, request INTEGER NOT NULL,"
    " state TEXT NOT NULL, attempts INTEGER NOT NULL, due_ns INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " expnum INTEGER, object TEXT, filter TEXT, obstype TEXT, propid TEXT, date_obs TEXT,"
    " date_ns INTEGER, exptime REAL, ccds INTEGER, source_sha256 TEXT,"
    " bundle_id TEXT, bundle_size INTEGER, bundle_sha256 TEXT, stored_as TEXT,"
    " sent_bytes INTEGER,"
    " noticed_ns INTEGER, settled_ns INTEGER, encode_ns INTEGER, encoded_ns INTEGER,"
    " first_ns INTEGER, last_ns INTEGER, stored_ns INTEGER, done_ns INTEGER,"
    " UNIQUE (path, size, mtime_ns, inode));"
    "CREATE INDEX exposures_state ON exposures (state, due_ns);"
    "CREATE INDEX exposures_request ON exposures (request) WHERE request != 0;"
    "CREATE TABLE digests (path TEXT PRIMARY KEY, size INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
    /* A version may have a second row, for its exact data; a UNIQUE cannot be altered. */
    "CREATE TABLE new ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, name TEXT NOT NULL,"
    " size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,"
    " closed INTEGER NOT NULL, changed_ns INTEGER NOT NULL,"
    " origin INTEGER NOT NULL, request INTEGER NOT NULL,"
    " state TEXT NOT NULL, attempts INTEGER NOT NULL, due_ns INTEGER NOT NULL,"
    " reason TEXT NOT NULL,"
    " expnum INTEGER, object TEXT, filter TEXT, obstype TEXT, propid TEXT, date_obs TEXT,"
    " date_ns INTEGER, exptime REAL, ccds INTEGER, source_sha256 TEXT,"
    " bundle_id TEXT, bundle_size INTEGER, bundle_sha256 TEXT, stored_as TEXT,"
    " sent_bytes INTEGER,"
    " noticed_ns INTEGER, settled_ns INTEGER, encode_ns INTEGER, encoded_ns INTEGER,"
    " first_ns INTEGER, last_ns INTEGER, stored_ns INTEGER, done_ns INTEGER,"
    " exact INTEGER NOT NULL DEFAULT 0, fidelity INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE (path, size, mtime_ns, inode, exact));"
    "INSERT INTO new SELECT *, 0, 0 FROM exposures;"
    "UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'exposures')"
    " WHERE name = 'new';"
    "DROP TABLE exposures;"
    "ALTER TABLE new RENAME TO exposures;"
    "CREATE INDEX exposures_state ON exposures (state, due_ns);"
    "CREATE INDEX exposures_request ON exposures (request) WHERE request != 0;"
    "CREATE INDEX exposures_lossy ON exposures (mtime_ns) WHERE exact = 0 AND fidelity = 1;",
    /* What method = auto goes by, and what it chose. */
    "ALTER TABLE exposures ADD COLUMN image_bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN tiled INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN method TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE exposures ADD COLUMN ratio REAL NOT NULL DEFAULT 0;"
    "ALTER TABLE exposures ADD COLUMN pace REAL NOT NULL DEFAULT 0;",
    /* Cameras that write one file a ccd. */
    "ALTER TABLE exposures ADD COLUMN grp TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE exposures ADD COLUMN group_ccd INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX exposures_group ON exposures (grp) WHERE grp != '';",
    "ALTER TABLE exposures ADD COLUMN group_coming INTEGER NOT NULL DEFAULT 0;",
    /* 104 rows a visit: what is asked at every turn, newest file first, and the queue by its
     * exposures, without a look at any row. */
    "CREATE INDEX exposures_newest ON exposures (state, mtime_ns);"
    "CREATE INDEX exposures_queue ON exposures (grp, state, due_ns, request, origin, settled_ns,"
    " size, bundle_size) WHERE grp != '' AND state IN ('ready', 'sending');"
    "CREATE INDEX exposures_alone ON exposures (due_ns)"
    " WHERE grp = '' AND state IN ('ready', 'sending');",
    NULL};

enum status journal_open(const char *spool, bool read_only, struct journal **out,
                         struct fault *why)
{
    char path[4200];
    *out = NULL;
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return fault(why, ST_FATAL, "out of memory for the journal");
    snprintf(path, sizeof path, "%s/" JOURNAL_NAME, spool);
    enum status st = db_open(path, migrations, read_only, &j->db, why);
    if (st != ST_OK)
        journal_close(&j);
    *out = j;
    return st;
}

void journal_close(struct journal **j)
{
    if (!*j)
        return;
    db_close(&(*j)->db);
    free(*j);
    *j = NULL;
}

enum status journal_begin(struct journal *j, struct fault *why)
{
    return db_begin(j->db, why);
}

enum status journal_commit(struct journal *j, struct fault *why)
{
    return db_commit(j->db, why);
}

void journal_rollback(struct journal *j)
{
    db_rollback(j->db);
}

/* ---- rows in and out ---- */

static void text(char *out, size_t size, const struct db_row *row, int column)
{
    snprintf(out, size, "%s", db_col_text(row, column));
}
#define TEXT(member, column) text(e->member, sizeof e->member, row, column)

static void read_facts(struct exposure *e, const struct db_row *row)
{
    e->facts.expnum = db_col_int(row, 14);
    TEXT(facts.object, 15);
    TEXT(facts.filter, 16);
    TEXT(facts.obstype, 17);
    TEXT(facts.propid, 18);
    TEXT(facts.date_obs, 19);
    e->facts.date_ns = db_col_int(row, 20);
    e->facts.exptime = db_col_real(row, 21);
}

void journal_read(struct exposure *e, const struct db_row *row)
{
    memset(e, 0, sizeof *e);
    e->id = db_col_int(row, 0);
    TEXT(path, 1);
    TEXT(name, 2);
    e->file = (struct identity){db_col_int(row, 3), db_col_int(row, 4), db_col_int(row, 5)};
    e->closed = db_col_int(row, 6) != 0;
    e->changed_ns = db_col_int(row, 7);
    e->origin = (int)db_col_int(row, 8);
    e->request = db_col_int(row, 9);
    e->state = exposure_state_parse(db_col_text(row, 10));
    e->attempts = (int)db_col_int(row, 11);
    e->due_ns = db_col_int(row, 12);
    TEXT(reason, 13);
    read_facts(e, row);
    e->ccds = (int)db_col_int(row, 22);
    TEXT(source_sha256, 23);
    TEXT(bundle_id, 24);
    e->bundle_size = db_col_int(row, 25);
    TEXT(bundle_sha256, 26);
    TEXT(stored_as, 27);
    e->sent_bytes = db_col_int(row, 28);
    for (int i = 0; i < STAMPS; i++)
        e->stamp[i] = db_col_int(row, 29 + i);
    e->exact = db_col_int(row, 37) != 0;
    e->fidelity = (int)db_col_int(row, 38);
    e->follow = exposure_state_parse(db_col_text(row, 39));
    e->image_bytes = db_col_int(row, 40);
    e->tiled = db_col_int(row, 41) != 0;
    TEXT(method, 42);
    e->ratio = db_col_real(row, 43);
    e->pace = db_col_real(row, 44);
    TEXT(group, 45);
    e->group_ccd = (int)db_col_int(row, 46);
    e->group_coming = (int)db_col_int(row, 47);
}

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

enum status journal_get(struct journal *j, int64_t id, struct exposure *out, bool *found,
                        struct fault *why)
{
    struct one o = {out, false};
    enum status st = db_each(j->db, why, take_one, &o,
                             "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE id = ?", "i", id);
    *found = o.found;
    return st;
}

enum status journal_by_path(struct journal *j, const char *path, struct exposure *out,
                            bool *found, struct fault *why)
{
    struct one o = {out, false};
    enum status st = db_each(j->db, why, take_one, &o,
                             "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE path = ?"
                             " AND exact = 0 ORDER BY id DESC LIMIT 1",
                             "s", path);
    *found = o.found;
    return st;
}

enum status journal_by_version(struct journal *j, const char *path, const struct identity *file,
                               struct exposure *out, bool *found, struct fault *why)
{
    struct one o = {out, false};
    enum status st = db_each(j->db, why, take_one, &o,
                             "SELECT " JOURNAL_COLUMNS " FROM exposures"
                             " WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?"
                             " AND exact = 0",
                             "siii", path, file->size, file->mtime_ns, file->inode);
    *found = o.found;
    return st;
}

enum status journal_save(struct journal *j, const struct exposure *e, struct fault *why)
{
    const struct facts *f = &e->facts;
    const int64_t *t = e->stamp;
    return db_run(
        j->db, why,
        "UPDATE exposures SET size=?, mtime_ns=?, inode=?, closed=?, changed_ns=?, state=?,"
        " attempts=?, due_ns=?, reason=?, expnum=?, object=?, filter=?, obstype=?, propid=?,"
        " date_obs=?, date_ns=?, exptime=?, ccds=?, source_sha256=?, bundle_id=?,"
        " bundle_size=?, bundle_sha256=?, stored_as=?, sent_bytes=?,"
        " noticed_ns=?, settled_ns=?, encode_ns=?, encoded_ns=?, first_ns=?, last_ns=?,"
        " stored_ns=?, done_ns=?, fidelity=?, image_bytes=?, tiled=?, method=?, ratio=?, pace=?,"
        " grp=?, group_ccd=?, group_coming=?"
        " WHERE id=?",
        "iiiiisiisisssssidississiiiiiiiiiiiisddsiii", e->file.size, e->file.mtime_ns, e->file.inode,
        (int64_t)e->closed, e->changed_ns, exposure_state_names[e->state], (int64_t)e->attempts,
        e->due_ns, e->reason, f->expnum, f->object, f->filter, f->obstype, f->propid, f->date_obs,
        f->date_ns, f->exptime, (int64_t)e->ccds, e->source_sha256, e->bundle_id, e->bundle_size,
        e->bundle_sha256, e->stored_as, e->sent_bytes, t[0], t[1], t[2], t[3], t[4], t[5], t[6],
        t[7], (int64_t)e->fidelity, e->image_bytes, (int64_t)e->tiled, e->method, e->ratio, e->pace,
        e->group, (int64_t)e->group_ccd, (int64_t)e->group_coming, e->id);
}

enum status journal_add(struct journal *j, struct exposure *e, struct fault *why)
{
    enum status st = db_begin(j->db, why);
    if (st != ST_OK)
        return st;
    st = db_run(j->db, why,
                "INSERT INTO exposures (path, name, size, mtime_ns, inode, closed, changed_ns,"
                " origin, request, state, exact, attempts, due_ns, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, '')",
                "ssiiiiiiisi", e->path, e->name, e->file.size, e->file.mtime_ns, e->file.inode,
                (int64_t)e->closed, e->changed_ns, (int64_t)e->origin, e->request,
                exposure_state_names[e->state], (int64_t)e->exact);
    if (st == ST_OK) {
        e->id = db_last_id(j->db);
        st = journal_save(j, e, why);
    }
    if (st != ST_OK) {
        db_rollback(j->db);
        return st;
    }
    return db_commit(j->db, why);
}

enum status journal_remove(struct journal *j, int64_t id, struct fault *why)
{
    return db_run(j->db, why, "DELETE FROM exposures WHERE id = ?", "i", id);
}

enum status journal_ask(struct journal *j, int64_t id, enum exposure_origin origin,
                        int64_t request, struct fault *why)
{
    return db_run(j->db, why, "UPDATE exposures SET origin = ?, request = ? WHERE id = ?", "iii",
                  (int64_t)origin, request, id);
}

/* ---- lists ---- */

struct each {
    journal_fn *fn;
    void *ctx;
    struct exposure *e;
};

static bool take_each(void *ctx, const struct db_row *row)
{
    struct each *a = ctx;
    journal_read(a->e, row);
    return a->fn(a->ctx, a->e);
}

enum status journal_due(struct journal *j, enum exposure_state state, int64_t request, int limit,
                        journal_fn *fn, void *ctx, struct fault *why)
{
    struct exposure e;
    struct each a = {fn, ctx, &e};
    int64_t now = clock_wall();
    return db_each(j->db, why, take_each, &a,
                   "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE state = ?"
                   " AND (due_ns <= ? OR due_ns > ?) AND (? = 0 OR request = ?)"
                   " ORDER BY mtime_ns DESC, id DESC LIMIT ?",
                   "siiiii", exposure_state_names[state], now, now + JOURNAL_WAIT_NS, request,
                   request, (int64_t)limit);
}

enum status journal_next_due(struct journal *j, int64_t after_ns, int64_t request, int64_t *due_ns,
                             struct fault *why)
{
    return db_int(j->db, why, due_ns, INT64_MAX,
                  "SELECT min(due_ns) FROM exposures"
                  " WHERE state IN ('seen', 'partial', 'ready', 'sending', 'stored')"
                  " AND due_ns > ? AND (? = 0 OR request = ?)",
                  "iii", after_ns, request, request);
}

enum status journal_all_due(struct journal *j, struct fault *why)
{
    return db_run(j->db, why, "UPDATE exposures SET due_ns = 0 WHERE due_ns != 0"
                              " AND state NOT IN ('done', 'parked', 'skipped')", "");
}

enum status journal_list(struct journal *j, int state, int64_t request, int limit, journal_fn *fn,
                         void *ctx, struct fault *why)
{
    struct exposure e;
    struct each a = {fn, ctx, &e};
    return db_each(j->db, why, take_each, &a,
                   "SELECT " JOURNAL_COLUMNS " FROM exposures WHERE (? = '' OR state = ?)"
                   " AND (? = 0 OR request = ?) AND (exact = 0 OR ?) ORDER BY id DESC LIMIT ?",
                   "ssiiii", state < 0 ? "" : exposure_state_names[state],
                   state < 0 ? "" : exposure_state_names[state], request, request,
                   (int64_t)(state >= 0 || request != 0),
                   limit ? (int64_t)limit : INT64_MAX);
}

static bool take_count(void *ctx, const struct db_row *row)
{
    struct journal_counts *c = ctx;
    int state = exposure_state_parse(db_col_text(row, 0));
    if (state >= 0) {
        c->rows[state] = db_col_int(row, 1);
        c->bytes[state] = db_col_int(row, 2);
    }
    return true;
}

enum status journal_count(struct journal *j, int64_t request, struct journal_counts *out,
                          struct fault *why)
{
    memset(out, 0, sizeof *out);
    return db_each(j->db, why, take_count, out,
                   "SELECT state, count(*), sum(size) FROM exposures"
                   " WHERE request = ? OR (? = 0 AND exact = 0) GROUP BY state",
                   "ii", request ? request : -1, request);
}

enum status journal_unpark(struct journal *j, const char *name, int64_t *count,
                           struct fault *why)
{
    enum status st = db_run(j->db, why,
                            "UPDATE exposures SET state = CASE exact WHEN 0 THEN 'seen'"
                            " ELSE 'ready' END, attempts = 0, due_ns = 0,"
                            " reason = '', changed_ns = ? WHERE state = 'parked'"
                            " AND (? = '' OR name = ? OR path = ? OR grp = ?)",
                            "issss", clock_wall(), name, name, name, name);
    *count = st == ST_OK ? db_changes(j->db) : 0;
    return st;
}

/* ---- digests and notes ---- */

static bool take_digest(void *ctx, const struct db_row *row)
{
    snprintf(ctx, DIGEST_HEX, "%s", db_col_text(row, 0));
    return false;
}

enum status journal_digest(struct journal *j, const char *path, const struct identity *file,
                           char sha256[DIGEST_HEX], struct fault *why)
{
    sha256[0] = '\0';
    return db_each(j->db, why, take_digest, sha256,
                   "SELECT source_sha256 FROM exposures WHERE path = ? AND size = ?"
                   " AND mtime_ns = ? AND inode = ? AND source_sha256 != ''"
                   " UNION ALL SELECT sha256 FROM digests WHERE path = ? AND size = ?"
                   " AND mtime_ns = ? AND inode = ? LIMIT 1",
                   "siiisiii", path, file->size, file->mtime_ns, file->inode, path, file->size,
                   file->mtime_ns, file->inode);
}

enum status journal_digest_put(struct journal *j, const char *path, const struct identity *file,
                               const char *sha256, struct fault *why)
{
    return db_run(j->db, why, "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)", "siiis",
                  path, file->size, file->mtime_ns, file->inode, sha256);
}

enum status journal_note(struct journal *j, const char *key, const char *value, struct fault *why)
{
    return db_run(j->db, why, "INSERT OR REPLACE INTO notes VALUES (?, ?)", "ss", key, value);
}

struct note {
    char *out;
    size_t size;
};

static bool take_note(void *ctx, const struct db_row *row)
{
    struct note *n = ctx;
    snprintf(n->out, n->size, "%s", db_col_text(row, 0));
    return false;
}

void journal_noted(struct journal *j, const char *key, char *out, size_t size)
{
    struct note n = {out, size};
    out[0] = '\0';
    if (db_each(j->db, NULL, take_note, &n, "SELECT value FROM notes WHERE key = ?", "s", key) !=
        ST_OK)
        out[0] = '\0';
}
