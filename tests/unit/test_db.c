/* The database wrapper over real files: what was committed survives SIGKILL, what was not
 * is gone; several processes share it; every kind of failure has its grade. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/unit/db_fixture.h"

static void values_come_back(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(db_run(db, &why, "INSERT INTO item (name, size, noise) VALUES (?, ?, ?)", "sid",
              "DECam \xc3\xa9 'quoted'", INT64_C(-9007199254740993), 2.5));
    assert_int_equal(db_last_id(db), 1);
    assert_int_equal(db_changes(db), 1);
    OK(db_run(db, &why, "INSERT INTO item (name, size, noise) VALUES (?, NULL, ?)", "sd",
              (const char *)NULL, (double)NAN));
    assert_int_equal(db_last_id(db), 2);
    assert_int_equal(number(db, "SELECT size FROM item WHERE id = 1"), -9007199254740993);
    assert_int_equal(number(db, "SELECT size FROM item WHERE id = 77"), -1);
    assert_int_equal(number(db, "SELECT max(size) FROM item WHERE id = 77"), -1);
    assert_int_equal(number(db, "SELECT count(*) FROM item WHERE name IS NULL"), 1);
    OK(db_run(db, &why, "UPDATE item SET state = ? -- all\n;", "s", "done"));
    assert_int_equal(db_changes(db), 2);
    OK(db_run(db, &why, "DELETE FROM item WHERE id = ?", "i", INT64_C(9)));
    assert_int_equal(db_changes(db), 0);
    db_close(&db);
    assert_null(db);
    db_close(&db);
}

static void rows_are_shown_until_enough(void **state)
{
    (void)state;
    struct db *db = open_new();
    struct seen s = {0};
    static const char *const sql = "SELECT name, noise, size FROM item WHERE id <= ? ORDER BY id";
    OK(insert(db, "a"));
    OK(insert(db, "bb"));
    OK(insert(db, "ccc"));
    OK(db_each(db, &why, see, &s, sql, "i", INT64_C(2)));
    assert_int_equal(s.rows, 2);
    assert_string_equal(s.text, "bb");
    assert_true(isnan(s.real));
    assert_int_equal(s.size, 2);
    s = (struct seen){.stop_after = 1};
    OK(db_each(db, &why, see, &s, sql, "i", INT64_C(99)));
    assert_int_equal(s.rows, 1);
    assert_string_equal(s.text, "a");
    OK(db_each(db, &why, see, &s, "SELECT NULL, 1.5, NULL", ""));
    assert_string_equal(s.text, "");
    assert_true(s.real == 1.5);
    assert_int_equal(s.size, 0);
    db_close(&db);
}

struct nest {
    struct db *db;
    int depth, visits;
};

static bool go_deeper(void *ctx, const struct db_row *row)
{
    struct nest *n = ctx;
    n->visits++;
    if (n->depth == 0)
        return true;
    struct nest inner = {n->db, n->depth - 1, 0};
    OK(db_each(n->db, &why, go_deeper, &inner, "SELECT id FROM item WHERE id > 0", ""));
    n->visits += inner.visits;
    return db_col_int(row, 0) > 0;
}

/* The same text inside its own callback, and more texts than the cache holds. */
static void statements_nest_and_are_forgotten(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(insert(db, "a"));
    OK(insert(db, "b"));
    struct nest n = {db, 3, 0};
    OK(db_each(db, &why, go_deeper, &n, "SELECT id FROM item WHERE id > 0", ""));
    assert_int_equal(n.visits, 2 + 4 + 8 + 16);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 200; i++) {
            char sql[64];
            snprintf(sql, sizeof sql, "SELECT %d + count(*) FROM item", i);
            assert_int_equal(number(db, sql), i + 2);
        }
    db_close(&db);
}

static void wrong_sql_is_fatal(void **state)
{
    (void)state;
    struct db *db = open_new();
    assert_int_equal(db_run(db, &why, "SELEKT 1", ""), ST_FATAL);
    assert_non_null(strstr(why.text, "SELEKT"));
    assert_int_equal(db_run(db, &why, "DELETE FROM item; DELETE FROM part", ""), ST_FATAL);
    assert_int_equal(db_run(db, &why, "", ""), ST_FATAL);
    assert_int_equal(db_run(db, &why, "DELETE FROM item WHERE id = ?", ""), ST_FATAL);
    assert_int_equal(db_run(db, &why, "DELETE FROM item WHERE id = ?", "ii", INT64_C(1),
                            INT64_C(2)), ST_FATAL);
    assert_int_equal(db_run(db, &why, "DELETE FROM item WHERE id = ?", "x", 1), ST_FATAL);
    OK(insert(db, "still works"));
    db_close(&db);
}

static void constraints_reject(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(insert(db, "same"));
    assert_int_equal(insert(db, "same"), ST_REJECT);
    assert_non_null(strstr(why.text, "item.name"));
    assert_int_equal(db_run(db, &why, "INSERT INTO part VALUES (7, 1)", ""), ST_REJECT);
    assert_non_null(strstr(why.text, "FOREIGN KEY"));
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 1);
    db_close(&db);
}

static void settings_are_in_force(void **state)
{
    (void)state;
    struct db *db = open_new();
    struct seen s = {0};
    struct stat st;
    OK(db_each(db, &why, see, &s, "PRAGMA journal_mode", ""));
    assert_string_equal(s.text, "wal");
    assert_int_equal(number(db, "PRAGMA synchronous"), 2);
    assert_int_equal(number(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(number(db, "PRAGMA busy_timeout"), 10000);
    assert_int_equal(number(db, "PRAGMA user_version"), 2);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    OK(insert(db, "x"));
    char wal[4200];
    snprintf(wal, sizeof wal, "%s-wal", file);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    db_close(&db);
}

/* ---- transactions ---- */

static void transactions(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(db_begin(db, &why));
    OK(insert(db, "a"));
    db_rollback(db);
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 0);
    OK(db_begin(db, &why));
    OK(db_begin(db, &why));
    OK(insert(db, "b"));
    OK(db_commit(db, &why));
    OK(insert(db, "c"));
    OK(db_commit(db, &why));
    db_rollback(db);
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 2);
    assert_int_equal(db_commit(db, &why), ST_FATAL);
    db_close(&db);
}

static void inner_rollback_dooms_the_outer(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(db_begin(db, &why));
    OK(insert(db, "a"));
    OK(db_begin(db, &why));
    OK(insert(db, "b"));
    db_rollback(db);
    OK(insert(db, "c"));
    assert_int_equal(db_commit(db, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "inner"));
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 0);
    OK(db_begin(db, &why)); /* the doom does not outlive its transaction */
    OK(insert(db, "d"));
    OK(db_commit(db, &why));
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 1);
    db_close(&db);
}

/* SQLite may end a transaction by itself; what follows must not be kept piecemeal. */
static void a_lost_transaction_is_noticed(void **state)
{
    (void)state;
    struct db *db = open_new();
    OK(db_begin(db, &why));
    OK(insert(db, "a"));
    OK(db_run(db, &why, "ROLLBACK", ""));
    assert_int_equal(insert(db, "b"), ST_RETRY);
    assert_non_null(strstr(why.text, "lost"));
    assert_int_equal(db_commit(db, &why), ST_RETRY);
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 0);
    OK(insert(db, "c"));
    db_close(&db);
}

static void full_disk_waits(void **state)
{
    (void)state;
    struct db *db = open_new();
    char *big = malloc(1 << 20);
    assert_non_null(big);
    memset(big, 'b', (1 << 20) - 1);
    big[(1 << 20) - 1] = '\0';
    OK(insert(db, "before"));
    assert_true(number(db, "PRAGMA max_page_count = 50") > 0);
    OK(db_begin(db, &why));
    OK(insert(db, "inside"));
    assert_int_equal(insert(db, big), ST_WAIT);
    assert_non_null(strstr(why.text, "disk is full"));
    db_rollback(db);
    assert_int_equal(number(db, "SELECT count(*) FROM item"), 1);
    number(db, "PRAGMA max_page_count = 100000");
    OK(insert(db, big));
    free(big);
    db_close(&db);
}

/* ---- several handles ---- */

struct snapshot {
    struct db *reader, *writer;
    enum status graded;
};

static bool write_behind_the_reader(void *ctx, const struct db_row *row)
{
    struct snapshot *s = ctx;
    (void)row;
    OK(insert(s->writer, "other"));
    s->graded = insert(s->reader, "mine");
    return false;
}

/* The one busy answer that comes at once: writing from a snapshot that has aged. */
static void busy_is_retry(void **state)
{
    (void)state;
    struct db *a = open_new(), *b = open_new();
    struct snapshot s = {a, b, ST_OK};
    OK(insert(a, "first"));
    OK(db_each(a, &why, write_behind_the_reader, &s, "SELECT id FROM item", ""));
    assert_int_equal(s.graded, ST_RETRY);
    assert_non_null(strstr(why.text, "in use by another process"));
    OK(insert(a, "mine"));
    assert_int_equal(number(b, "SELECT count(*) FROM item"), 3);
    db_close(&a);
    db_close(&b);
}

static void waits_for_another_process(void **state)
{
    (void)state;
    struct db *db = open_new();
    db_close(&db); /* no handle crosses the fork */
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct timespec hold = {.tv_nsec = 400 * NS_PER_MS};
        bool ok = db_open(file, schema, false, &db, &why) == ST_OK && !db_begin(db, &why) &&
                  insert(db, "child") == ST_OK && write(ready[1], "x", 1) == 1;
        nanosleep(&hold, NULL);
        int64_t free_ns = clock_mono();
        ok = ok && db_commit(db, &why) == ST_OK &&
             write(ready[1], &free_ns, sizeof free_ns) == sizeof free_ns;
        db_close(&db);
        _exit(ok ? 0 : 1);
    }
    db = open_new();
    assert_int_equal(read(ready[0], &byte, 1), 1);
    OK(insert(db, "parent"));
    int64_t now_ns = clock_mono(), free_ns = 0;
    assert_int_equal(read(ready[0], &free_ns, sizeof free_ns), sizeof free_ns);
    assert_true(now_ns > free_ns);
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    assert_int_equal(number(db, "SELECT id FROM item WHERE name = 'child'"), 1);
    assert_int_equal(number(db, "SELECT id FROM item WHERE name = 'parent'"), 2);
    close(ready[0]);
    close(ready[1]);
    db_close(&db);
}

/* Several agents start at once on a new file: the schema is made once, nobody fails. */
static void many_may_open_a_new_file(void **state)
{
    (void)state;
    enum { OPENERS = 6 };
    int go[2];
    char byte;
    assert_int_equal(pipe(go), 0);
    for (int i = 0; i < OPENERS; i++)
        if (fork() == 0) {
            struct db *db;
            char name[32];
            snprintf(name, sizeof name, "child %d", i);
            close(go[1]);
            (void)!read(go[0], &byte, 1); /* ends when the parent closes */
            bool ok = db_open(file, schema, false, &db, &why) == ST_OK && insert(db, name) == ST_OK;
            if (!ok)
                fprintf(stderr, "%s\n", why.text);
            db_close(&db);
            _exit(ok ? 0 : 1);
        }
    close(go[0]);
    close(go[1]);
    for (int i = 0; i < OPENERS; i++) {
        int how;
        assert_true(wait(&how) > 0);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    }
    struct db *db = open_new();
    assert_int_equal(number(db, "SELECT count(*) FROM item"), OPENERS);
    db_close(&db);
}

static void committed_survives_a_kill(void **state)
{
    (void)state;
    int told[2];
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct db *db;
        if (db_open(file, schema, false, &db, &why) != ST_OK)
            _exit(1);
        for (int64_t n = 1;; n++) {
            db_begin(db, &why);
            db_run(db, &why, "INSERT INTO item (id, size) VALUES (?, 1)", "i", n);
            db_run(db, &why, "INSERT INTO part VALUES (?, 1)", "i", n);
            if (db_commit(db, &why) != ST_OK || write(told[1], &n, sizeof n) != sizeof n)
                _exit(1);
        }
    }
    int64_t n = 0, last = 0;
    close(told[1]);
    while (last < 20 && read(told[0], &n, sizeof n) == sizeof n)
        last = n;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(told[0], &n, sizeof n) == sizeof n)
        last = n;
    close(told[0]);
    assert_true(last >= 20);
    struct db *db = open_new();
    int64_t items = number(db, "SELECT count(*) FROM item");
    assert_true(items == last || items == last + 1);
    assert_int_equal(number(db, "SELECT count(*) FROM part"), items);
    assert_int_equal(number(db, "SELECT max(id) FROM item"), items);
    db_close(&db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_come_back),
        TEST(rows_are_shown_until_enough),
        TEST(statements_nest_and_are_forgotten),
        TEST(wrong_sql_is_fatal),
        TEST(constraints_reject),
        TEST(settings_are_in_force),
        TEST(transactions),
        TEST(inner_rollback_dooms_the_outer),
        TEST(a_lost_transaction_is_noticed),
        TEST(full_disk_waits),
        TEST(busy_is_retry),
        TEST(waits_for_another_process),
        TEST(many_may_open_a_new_file),
        TEST(committed_survives_a_kill),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
