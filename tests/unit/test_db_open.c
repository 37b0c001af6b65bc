/* Opening a database: schemas of other versions, missing and damaged files, each with words
 * that tell what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/db_fixture.h"

static const char *const schema_before[] = {
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER, noise REAL);"
    "CREATE TABLE part (item INTEGER NOT NULL REFERENCES item(id), n INTEGER);",
    NULL,
};

static void migrates_and_keeps_rows(void **state)
{
    (void)state;
    struct db *db;
    OK(db_open(file, schema_before, false, &db, &why));
    OK(insert(db, "old"));
    db_close(&db);
    db = open_new();
    assert_int_equal(number(db, "SELECT count(*) FROM item WHERE state = 'new'"), 1);
    db_close(&db);
    db = open_new(); /* a second time: nothing to do */
    db_close(&db);
}

static void a_failed_migration_changes_nothing(void **state)
{
    (void)state;
    static const char *const broken[] = {"CREATE TABLE one (x)", "CREATE TABLE two (x); NONSENSE",
                                         NULL};
    static const char *const mended[] = {"CREATE TABLE one (x)", "CREATE TABLE two (x)", NULL};
    struct db *db;
    assert_int_equal(db_open(file, broken, false, &db, &why), ST_FATAL);
    assert_null(db);
    assert_non_null(strstr(why.text, "schema 2: "));
    OK(db_open(file, mended, false, &db, &why));
    assert_int_equal(number(db, "PRAGMA user_version"), 2);
    db_close(&db);
}

static void other_versions_are_named(void **state)
{
    (void)state;
    struct db *db;
    OK(db_open(file, schema_before, false, &db, &why));
    db_close(&db);
    assert_int_equal(db_open(file, schema, true, &db, &why), ST_FATAL);
    assert_non_null(strstr(why.text, "earlier version"));
    assert_non_null(strstr(why.text, "schema 1, this program needs 2"));
    assert_null(db);
    db = open_new();
    db_close(&db);
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(db_open(file, schema_before, read_only, &db, &why), ST_FATAL);
        assert_non_null(strstr(why.text, "later version"));
        assert_non_null(strstr(why.text, "schema 2, this program knows 1"));
        assert_null(db);
    }
}

static void read_only_reads(void **state)
{
    (void)state;
    struct db *db, *writer = open_new();
    OK(insert(writer, "a"));
    OK(db_open(file, schema, true, &db, &why));
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 1);
    assert_int_equal(insert(db, "b"), ST_FATAL);
    assert_non_null(strstr(why.text, "readonly"));
    OK(insert(writer, "c"));
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 2);
    db_close(&writer);
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 2);
    db_close(&db);
    OK(db_open(file, schema, true, &db, &why)); /* nobody else has it open */
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 2);
    db_close(&db);
}

static void missing_files_are_named(void **state)
{
    (void)state;
    struct db *db;
    assert_int_equal(db_open(file, schema, true, &db, &why), ST_FATAL);
    assert_non_null(strstr(why.text, "has the agent run yet"));
    assert_int_equal(access(file, F_OK), -1);
    char inside[4200];
    snprintf(inside, sizeof inside, "%s.missing/x.db", file);
    assert_int_equal(db_open(inside, schema, false, &db, &why), ST_FATAL);
    assert_non_null(strstr(why.text, inside));
    assert_non_null(strstr(why.text, strerror(ENOENT)));
    assert_int_equal(db_open(dir.dir, schema, false, &db, &why), ST_FATAL);
    assert_null(db);
    assert_int_equal(fs_write_file(file, "", 0, false, &why), ST_OK);
    db = open_new(); /* an empty file: we were killed before the first write */
    OK(insert(db, "a"));
    db_close(&db);
}

static void overwrite(off_t from, size_t len)
{
    char *junk = malloc(len);
    assert_non_null(junk);
    memset(junk, 0x5a, len);
    int fd = open(file, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(fs_pwrite_all(fd, junk, len, from), 0);
    close(fd);
    free(junk);
}

static void damage_is_fatal_with_a_remedy(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(db_begin(db, &why));
    for (int i = 0; i < 3000; i++) {
        char name[64];
        snprintf(name, sizeof name, "exposure number %d of the night", i);
        OK(insert(db, name));
    }
    OK(db_commit(db, &why));
    db_close(&db);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    overwrite(16384, (size_t)st.st_size - 16384); /* the schema is whole, the rows are not */
    struct seen s = {0};
    enum status graded = db_open(file, schema, false, &db, &why);
    if (graded == ST_OK)
        graded = db_each(db, &why, see, &s, "SELECT name, noise, size FROM item", "");
    assert_int_equal(graded, ST_FATAL);
    assert_non_null(strstr(why.text, "is damaged"));
    assert_non_null(strstr(why.text, "move this file"));
    db_close(&db);
    overwrite(0, 4096);
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(db_open(file, schema, read_only, &db, &why), ST_FATAL);
        assert_non_null(strstr(why.text, "is damaged"));
        assert_non_null(strstr(why.text, file));
        assert_null(db);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(migrates_and_keeps_rows),
        TEST(a_failed_migration_changes_nothing),
        TEST(other_versions_are_named),
        TEST(read_only_reads),
        TEST(missing_files_are_named),
        TEST(damage_is_fatal_with_a_remedy),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
