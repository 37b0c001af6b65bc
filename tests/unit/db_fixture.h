/* What the database tests share: a fresh file for each test, a small schema of two
 * versions, and short words for statements that must succeed. */
#ifndef SKYFERRY_DB_FIXTURE_H
#define SKYFERRY_DB_FIXTURE_H

#include "common/db.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static char file[4096]; /* each test's own database */
static struct fault why;

static const char *const schema[] = {
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER, noise REAL);"
    "CREATE TABLE part (item INTEGER NOT NULL REFERENCES item(id), n INTEGER);",
    "ALTER TABLE item ADD COLUMN state TEXT NOT NULL DEFAULT 'new'",
    NULL,
};

#define OK(call)                                                                                  \
    do {                                                                                          \
        if ((call) != ST_OK)                                                                      \
            fail_msg("%s: %s", #call, why.text);                                                  \
    } while (0)

static inline struct db *open_new(void)
{
    struct db *db = NULL;
    OK(db_open(file, schema, false, &db, &why));
    assert_non_null(db);
    return db;
}

static inline int64_t number(struct db *db, const char *sql)
{
    int64_t n = -99;
    OK(db_int(db, &why, &n, -1, sql, ""));
    return n;
}

static inline enum status insert(struct db *db, const char *name)
{
    return db_run(db, &why, "INSERT INTO item (name, size) VALUES (?, ?)", "si", name,
                  (int64_t)strlen(name));
}

struct seen {
    int rows, stop_after;
    char text[64];
    double real;
    int64_t size;
};

static inline bool see(void *ctx, const struct db_row *row)
{
    struct seen *s = ctx;
    s->rows++;
    snprintf(s->text, sizeof s->text, "%s", db_col_text(row, 0));
    s->real = db_col_real(row, 1);
    s->size = db_col_int(row, 2);
    return s->rows != s->stop_after;
}

static inline int name_file(void **state)
{
    static int count;
    char name[32];
    (void)state;
    snprintf(name, sizeof name, "t%d.db", count++);
    scratch_path(&dir, name, file);
    why = (struct fault){0};
    return 0;
}

static inline int set_up(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static inline int tear_down(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, name_file)

#endif
