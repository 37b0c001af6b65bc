#include "common/db.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/log.h"

#define BUSY_MS 10000
#define CACHE_SIZE 64
#define SWITCH_TRIES 100

struct cached {
    char *sql;
    sqlite3_stmt *statement;
    bool in_use; /* inside a db_each callback: the same text needs a second statement */
};

struct db {
    sqlite3 *handle;
    char *path;
    struct cached cache[CACHE_SIZE];
    int next;    /* the slot to be used (again) next */
    int depth;   /* of db_begin */
    bool doomed; /* an inner level rolled back: the outer commit must not succeed */
};

struct db_row {
    sqlite3_stmt *statement;
};

#define REMEDY                                                                                    \
    "stop the agent and move this file with its -wal and -shm aside; 'skyferry-pull rebuild' "   \
    "makes the catalogue again from the tree, skyferry-push finds its exposures again by itself"

/* Failures of SQLite, graded. */
static enum status refuse(const struct db *db, int code, struct fault *why)
{
    const char *words = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code);
    int err = db->handle ? sqlite3_system_errno(db->handle) : 0;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fault(why, ST_RETRY, "database '%s' is in use by another process: %s", db->path,
                     words);
    case SQLITE_NOMEM:
        return fault(why, ST_RETRY, "database '%s': out of memory", db->path);
    case SQLITE_FULL:
        return fault(why, ST_WAIT, "database '%s' cannot grow: the disk is full; free some space",
                     db->path);
    case SQLITE_IOERR:
        if (fs_write_grade(err) == ST_WAIT)
            return fault(why, ST_WAIT, "database '%s' cannot grow: %s; free some space", db->path,
                         strerror(err));
        return fault(why, ST_FATAL, "database '%s': %s (%s); look at this disk", db->path, words,
                     strerror(err));
    case SQLITE_CONSTRAINT:
        return fault(why, ST_REJECT, "database '%s': %s", db->path, words);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return fault(why, ST_FATAL, "database '%s' is damaged (%s): " REMEDY, db->path, words);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return fault(why, ST_FATAL,
                     "database '%s' cannot be used: %s%s%s; give this user access to the file "
                     "and its folder", db->path, words, err ? ": " : "", err ? strerror(err) : "");
    default:
        return fault(why, ST_FATAL, "database '%s': %s", db->path, words);
    }
}

/* ---- statements ---- */

static void forget(struct cached *c)
{
    sqlite3_finalize(c->statement);
    free(c->sql);
    *c = (struct cached){0};
}

/* Prepares sql into a free slot; the slots are used again in turn. */
static int prepare(struct db *db, const char *sql, struct cached **out)
{
    struct cached *c = NULL;
    for (int i = 0; i < CACHE_SIZE && !c; i++) {
        struct cached *slot = &db->cache[db->next];
        db->next = (db->next + 1) % CACHE_SIZE;
        if (!slot->in_use)
            c = slot;
    }
    if (!c)
        return SQLITE_MISUSE; /* 64 nested db_each: a loop in the program */
    forget(c);
    const char *tail = "";
    int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->statement,
                                  &tail);
    if (code == SQLITE_OK && (!c->statement || tail[strspn(tail, " \t\r\n;")] != '\0'))
        code = SQLITE_MISUSE; /* none or several statements */
    if (code == SQLITE_OK && !(c->sql = strdup(sql)))
        code = SQLITE_NOMEM;
    if (code != SQLITE_OK)
        forget(c);
    *out = c;
    return code;
}

static int find_or_prepare(struct db *db, const char *sql, struct cached **out)
{
    for (int i = 0; i < CACHE_SIZE; i++) {
        struct cached *c = &db->cache[i];
        if (c->sql && !c->in_use && strcmp(c->sql, sql) == 0) {
            *out = c;
            return SQLITE_OK;
        }
    }
    return prepare(db, sql, out);
}

static int bind(sqlite3_stmt *s, const char *types, va_list ap)
{
    if ((int)strlen(types) != sqlite3_bind_parameter_count(s))
        return SQLITE_RANGE;
    int code = SQLITE_OK;
    for (int i = 0; types[i] && code == SQLITE_OK; i++) {
        if (types[i] == 'i')
            code = sqlite3_bind_int64(s, i + 1, va_arg(ap, int64_t));
        else if (types[i] == 'd')
            code = sqlite3_bind_double(s, i + 1, va_arg(ap, double));
        else if (types[i] == 's')
            code = sqlite3_bind_text(s, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        else
            code = SQLITE_MISUSE;
    }
    return code;
}

/* Runs one statement; fn (may be NULL) sees the rows. */
static enum status perform(struct db *db, struct fault *why, db_fn *fn, void *ctx, const char *sql,
                           const char *types, va_list ap)
{
    /* SQLite ends a transaction by itself after some failures (full disk): what follows must
     * not be committed line by line. */
    if (db->depth > 0 && sqlite3_get_autocommit(db->handle))
        return fault(why, ST_RETRY, "database '%s': the transaction was lost", db->path);
    struct cached *c = NULL;
    int code = find_or_prepare(db, sql, &c);
    if (code == SQLITE_MISUSE)
        return fault(why, ST_FATAL, "database '%s': not one statement: %.200s", db->path, sql);
    if (code != SQLITE_OK)
        return refuse(db, code, why);
    c->in_use = true;
    enum status st = ST_OK;
    code = bind(c->statement, types, ap);
    if (code == SQLITE_MISUSE || code == SQLITE_RANGE) {
        st = fault(why, ST_FATAL, "database '%s': arguments '%s' do not fit: %.200s", db->path,
                   types, sql);
    } else if (code == SQLITE_OK) {
        struct db_row row = {c->statement};
        while ((code = sqlite3_step(c->statement)) == SQLITE_ROW)
            if (fn && !fn(ctx, &row))
                break;
    }
    if (st == ST_OK && code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE)
        st = refuse(db, code, why);
    sqlite3_reset(c->statement);
    sqlite3_clear_bindings(c->statement);
    c->in_use = false;
    return st;
}

enum status db_run(struct db *db, struct fault *why, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    enum status st = perform(db, why, NULL, NULL, sql, types, ap);
    va_end(ap);
    return st;
}

enum status db_each(struct db *db, struct fault *why, db_fn *fn, void *ctx, const char *sql,
                    const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    enum status st = perform(db, why, fn, ctx, sql, types, ap);
    va_end(ap);
    return st;
}

static bool first_int(void *ctx, const struct db_row *row)
{
    if (sqlite3_column_type(row->statement, 0) != SQLITE_NULL)
        *(int64_t *)ctx = sqlite3_column_int64(row->statement, 0);
    return false;
}

enum status db_int(struct db *db, struct fault *why, int64_t *out, int64_t missing,
                   const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    *out = missing;
    enum status st = perform(db, why, first_int, out, sql, types, ap);
    va_end(ap);
    return st;
}

int64_t db_col_int(const struct db_row *row, int column)
{
    return sqlite3_column_int64(row->statement, column);
}

double db_col_real(const struct db_row *row, int column)
{
    if (sqlite3_column_type(row->statement, column) == SQLITE_NULL)
        return NAN;
    return sqlite3_column_double(row->statement, column);
}

const char *db_col_text(const struct db_row *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row->statement, column);
    return text ? text : "";
}

int64_t db_last_id(struct db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes64(db->handle);
}

/* ---- transactions ---- */

enum status db_begin(struct db *db, struct fault *why)
{
    if (db->depth == 0) {
        enum status st = db_run(db, why, "BEGIN IMMEDIATE", "");
        if (st != ST_OK)
            return st;
        db->doomed = false;
    }
    db->depth++;
    return ST_OK;
}

enum status db_commit(struct db *db, struct fault *why)
{
    if (db->depth == 0)
        return fault(why, ST_FATAL, "database '%s': commit without begin", db->path);
    /* An inner level cannot fail, so that its caller never rolls back a level too much. */
    if (db->depth > 1) {
        db->depth--;
        return ST_OK;
    }
    enum status st = ST_OK;
    if (db->doomed)
        st = fault(why, ST_RETRY, "database '%s': an inner step undid the transaction", db->path);
    else
        st = db_run(db, why, "COMMIT", "");
    if (st != ST_OK)
        db_rollback(db);
    else
        db->depth = 0;
    return st;
}

void db_rollback(struct db *db)
{
    if (db->depth == 0)
        return;
    if (--db->depth > 0) {
        db->doomed = true;
        return;
    }
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- opening ---- */

static int count_migrations(const char *const *migrations)
{
    int n = 0;
    while (migrations[n])
        n++;
    return n;
}

static enum status schema_version(struct db *db, int known, int64_t *version, struct fault *why)
{
    enum status st = db_int(db, why, version, 0, "PRAGMA user_version", "");
    if (st == ST_OK && *version > known)
        st = fault(why, ST_FATAL,
                   "database '%s' was made by a later version of skyferry (schema %lld, this "
                   "program knows %d): install that version here", db->path, (long long)*version,
                   known);
    return st;
}

static enum status migrate_one(struct db *db, const char *sql, int64_t version, struct fault *why)
{
    char set[64];
    snprintf(set, sizeof set, "PRAGMA user_version = %lld", (long long)version + 1);
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, set, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return ST_OK;
    refuse(db, code, why);
    return why ? fault_within(why, "schema %lld: ", (long long)version + 1) : ST_FATAL;
}

static enum status migrate(struct db *db, const char *const *migrations, struct fault *why)
{
    int known = count_migrations(migrations);
    int64_t version;
    enum status st = schema_version(db, known, &version, why);
    if (st != ST_OK || version == known)
        return st;
    st = db_begin(db, why);
    if (st != ST_OK)
        return st;
    /* Another process may have been faster: ask again, now that nobody else can write. */
    st = schema_version(db, known, &version, why);
    for (; st == ST_OK && version < known; version++)
        st = migrate_one(db, migrations[version], version, why);
    if (st == ST_OK)
        return db_commit(db, why);
    db_rollback(db);
    return st;
}

static enum status check_schema(struct db *db, int known, struct fault *why)
{
    int64_t version;
    enum status st = schema_version(db, known, &version, why);
    if (st == ST_OK && version < known)
        st = fault(why, ST_FATAL,
                   "database '%s' is of an earlier version of skyferry (schema %lld, this program "
                   "needs %d): start the agent once, it brings it up to date", db->path,
                   (long long)version, known);
    return st;
}

static bool note_text(void *ctx, const struct db_row *row)
{
    snprintf(ctx, 16, "%s", db_col_text(row, 0));
    return false;
}

/* Of two processes that switch a new file to WAL at once, SQLite tells one BUSY without the
 * busy wait. BEGIN waits as it should, until the other is done. */
static enum status switch_to_wal(struct db *db, char mode[16], struct fault *why)
{
    enum status st = ST_RETRY;
    for (int tries = 0; st == ST_RETRY && tries < SWITCH_TRIES; tries++) {
        if (tries > 0 && db_begin(db, why) != ST_OK)
            return ST_RETRY;
        db_rollback(db);
        st = db_each(db, why, note_text, mode, "PRAGMA journal_mode = WAL", "");
    }
    return st;
}

static enum status settle_writer(struct db *db, struct fault *why)
{
    char mode[16] = "";
    enum status st = switch_to_wal(db, mode, why);
    if (st == ST_OK && strcmp(mode, "wal") != 0)
        log_warn(NULL, "database '%s' uses journal mode '%s', as its file system has no shared "
                 "memory: correct, but slower; a local disk is better", db->path, mode);
    if (st == ST_OK)
        st = db_run(db, why, "PRAGMA synchronous = FULL", "");
    if (st == ST_OK)
        st = db_run(db, why, "PRAGMA foreign_keys = ON", "");
    return st;
}

/* SQLite would make the file readable for all; -wal and -shm take the file's mode. O_EXCL:
 * closing a descriptor of a database that is open elsewhere in this process drops its locks. */
static enum status make_private(const char *path, struct fault *why)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return fault_errno(why, ST_FATAL, "cannot make the database '%s'", path);
    if (fd >= 0)
        close(fd);
    return ST_OK;
}

static enum status open_handle(struct db *db, bool read_only, struct fault *why)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
    if (read_only && access(db->path, F_OK) != 0)
        return fault_errno(why, ST_FATAL, "no database at '%s': has the agent run yet?", db->path);
    if (!read_only && make_private(db->path, why) != ST_OK)
        return ST_FATAL;
    int code = sqlite3_open_v2(db->path, &db->handle, flags, NULL);
    if (code != SQLITE_OK)
        return refuse(db, code, why);
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    return ST_OK;
}

enum status db_open(const char *path, const char *const *migrations, bool read_only,
                    struct db **out, struct fault *why)
{
    *out = NULL;
    struct db *db = calloc(1, sizeof *db);
    if (!db || !(db->path = strdup(path))) {
        free(db);
        return fault(why, ST_FATAL, "out of memory for the database '%s'", path);
    }
    int64_t tables;
    enum status st = open_handle(db, read_only, why);
    /* Reads the whole schema, so that a damaged file is seen now and not in the night. */
    if (st == ST_OK)
        st = db_int(db, why, &tables, 0, "SELECT count(*) FROM sqlite_master", "");
    if (st == ST_OK && !read_only)
        st = settle_writer(db, why);
    if (st == ST_OK)
        st = read_only ? check_schema(db, count_migrations(migrations), why)
                       : migrate(db, migrations, why);
    if (st != ST_OK)
        db_close(&db);
    *out = db;
    return st;
}

void db_close(struct db **db)
{
    if (!*db)
        return;
    for (int i = 0; i < CACHE_SIZE; i++)
        forget(&(*db)->cache[i]);
    sqlite3_close((*db)->handle);
    free((*db)->path);
    free(*db);
    *db = NULL;
}
