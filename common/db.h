/* SQLite, wrapped thin: one place that includes sqlite3.h. The push journal and the
 * pull catalogue are typed modules on top. WAL, synchronous=FULL (a commit that
 * returned survives a power cut), foreign keys on, 10 s busy wait. A handle belongs to
 * one thread; several processes may share the file. Statements are cached by text. */
#ifndef SKYFERRY_DB_H
#define SKYFERRY_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

struct db;
struct db_row; /* valid inside a db_each callback */

/* Opens (creates with mode 0600 & ~umask) and brings the schema up to date:
 * migrations[i] is run once when user_version == i, then user_version = i+1; the list
 * ends with NULL. FATAL when it cannot be opened, is damaged, or is of a later version
 * than this program knows (said so). read_only skips migrations. */
enum status db_open(const char *path, const char *const *migrations, bool read_only,
                    struct db **out, struct fault *why);
void db_close(struct db **db);

/* How failures are graded: busy for longer than 10 s RETRY, disk full WAIT, a constraint
 * REJECT, a damaged or unusable file and wrong SQL FATAL.
 * sql is one statement. types, one letter an argument: 'i' int64_t, 'd' double,
 * 's' const char * (NULL allowed). */
enum status db_run(struct db *db, struct fault *why, const char *sql, const char *types, ...);

/* Calls fn for each row until it returns false. */
typedef bool db_fn(void *ctx, const struct db_row *row);
enum status db_each(struct db *db, struct fault *why, db_fn *fn, void *ctx, const char *sql,
                    const char *types, ...);

/* First column of the first row as integer; `missing` when there is none or it is NULL. */
enum status db_int(struct db *db, struct fault *why, int64_t *out, int64_t missing,
                   const char *sql, const char *types, ...);

int64_t db_col_int(const struct db_row *row, int column);  /* NULL is 0 */
double db_col_real(const struct db_row *row, int column);  /* NULL is NaN */
const char *db_col_text(const struct db_row *row, int column); /* NULL is "" */

int64_t db_last_id(struct db *db);
int64_t db_changes(struct db *db); /* rows changed by the last db_run */

/* IMMEDIATE transactions; nested calls join the outer one: an inner commit always succeeds,
 * after an inner rollback the outer commit is RETRY and nothing is kept. A commit that
 * fails has rolled back; db_rollback outside a transaction is harmless. */
enum status db_begin(struct db *db, struct fault *why);
enum status db_commit(struct db *db, struct fault *why);
void db_rollback(struct db *db);

#endif
