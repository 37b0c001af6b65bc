/* Every query of the catalogue finds its rows by an index, however long the season: each
 * statement that the module really runs is put before SQLite's EXPLAIN QUERY PLAN, and a walk
 * through a whole table, or a sort of more than one exposure's rows, fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "pull/catalogue_copies.h"
#include "pull/catalogue_sums.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct catalogue *cat;
static struct fault why;

#define OK(call)                                                                                 \
    do {                                                                                         \
        if ((call) != ST_OK)                                                                     \
            fail_msg("%s: %s", #call, why.text);                                                 \
    } while (0)

/* ---- what the module runs ---- */

static char *seen[256];
static int seen_count;

static int on_statement(unsigned what, void *ctx, void *statement, void *text)
{
    const char *sql = sqlite3_sql(statement);
    (void)what;
    (void)ctx;
    (void)text;
    for (int i = 0; i < seen_count; i++)
        if (strcmp(seen[i], sql) == 0)
            return 0;
    if (seen_count < 256)
        seen[seen_count++] = strdup(sql);
    return 0;
}

/* SQLite calls this for every database that the program opens. */
static int listen(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
    (void)error;
    (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, on_statement, NULL);
}

static int setup(void **state)
{
    char path[4096];
    (void)state;
    if (scratch_make(&dir) != 0 || sqlite3_auto_extension((void (*)(void))listen) != SQLITE_OK)
        return -1;
    return catalogue_open(scratch_path(&dir, "catalogue.db", path), false, &cat, &why) == ST_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    catalogue_close(&cat);
    sqlite3_reset_auto_extension();
    scratch_remove(&dir);
    while (seen_count > 0)
        free(seen[--seen_count]);
    return 0;
}

static void forget_seen(void)
{
    while (seen_count > 0)
        free(seen[--seen_count]);
}

/* ---- all of its calls ---- */

static bool any_exposure(void *ctx, const struct exposure *x)
{
    (void)ctx;
    (void)x;
    return true;
}

static bool any_job(void *ctx, const struct job *j)
{
    (void)ctx;
    (void)j;
    return true;
}

static bool any_bundle(void *ctx, const struct other_bundle *b)
{
    (void)ctx;
    (void)b;
    return true;
}

static bool any_request(void *ctx, const struct request *r)
{
    (void)ctx;
    (void)r;
    return true;
}

static void pick(struct catalogue_pick p)
{
    OK(catalogue_each(cat, &p, any_exposure, NULL, &why));
}

static void use_exposures(struct exposure *x)
{
    struct exposure y;
    bool found;
    int64_t due;
    OK(catalogue_add(cat, x, &why));
    OK(catalogue_save(cat, x, &why));
    OK(catalogue_get(cat, x->id, &y, &found, &why));
    OK(catalogue_by_bundle(cat, x->bundle, &y, &found, &why));
    OK(catalogue_by_source(cat, x, &y, &found, &why));
    OK(catalogue_knows_source(cat, x->source_sha256, &found, &why));
    OK(catalogue_pair(cat, x->source_sha256, x->name, &y, &found, &why));
    OK(catalogue_next_due(cat, 1u << EX_STORED | 1u << EX_PLACED | 1u << EX_WORKING, 1, &due, &why));
    OK(catalogue_count(cat, x->id, &why));
    pick((struct catalogue_pick){.name = "e1"});
    pick((struct catalogue_pick){.name = "ut160901/e1.tar"});
    pick((struct catalogue_pick){.night = "ut160901"});
    pick((struct catalogue_pick){.limit = 40});
    pick((struct catalogue_pick){.states = 1u << EX_COMING});
    pick((struct catalogue_pick){.states = 1u << EX_STORED, .due_ns = 7, .oldest_first = true});
    pick((struct catalogue_pick){.states = 1u << EX_STORED, .due_ns = 7, .oldest_first = true,
                                 .rows = ROWS_ALL});
    pick((struct catalogue_pick){.night = "ut160901", .rows = ROWS_BUNDLES});
}

/* A visit of two files: its row and theirs. */
static void use_visits(void)
{
    struct exposure v = {.bundle = "visits/ut160901/v", .name = "v", .night = "ut160901",
                         .visit_ccds = 2}, y;
    struct visit_tally t;
    bool found;
    OK(catalogue_add(cat, &v, &why));
    struct exposure x = {.bundle = "bundles/ut160901/f.tar", .name = "f", .night = "ut160901",
                         .source_sha256 = "f1", .visit = v.id, .visit_ccd = 1};
    OK(catalogue_add(cat, &x, &why));
    OK(catalogue_visit(cat, "ut160901", "v", &y, &found, &why));
    assert_true(found && y.id == v.id);
    OK(catalogue_visit_tally(cat, v.id, &t, &why));
    assert_int_equal(t.files, 1);
    OK(catalogue_count(cat, x.id, &why));
    OK(catalogue_visit_wake(cat, v.id, &why));
    OK(catalogue_visit_left(cat, v.id, &why));
    pick((struct catalogue_pick){.visit = v.id});
    pick((struct catalogue_pick){.visit = v.id, .states = 1u << EX_STORED});
    OK(catalogue_remove(cat, x.id, &why));
    OK(catalogue_get(cat, v.id, &y, &found, &why));
    assert_false(found); /* it has no files left */
}

static void use_rows(struct exposure *x)
{
    struct job j = {.exposure = x->id, .number = 1}, k;
    struct ccd c = {.exposure = x->id, .hdu = 1}, *list = NULL;
    struct quality q = {.stars = 1};
    size_t count;
    int64_t owner, due;
    bool found;
    OK(catalogue_put_job(cat, &j, &why));
    OK(catalogue_put_job(cat, &j, &why));
    OK(catalogue_get_job(cat, j.id, &k, &found, &why));
    OK(catalogue_jobs_of(cat, x->id, any_job, NULL, &why));
    OK(catalogue_jobs_in(cat, JOB_WAITING, any_job, NULL, &why));
    OK(catalogue_next_job_due(cat, 1, &due, &why));
    OK(catalogue_hurry_jobs(cat, &why));
    OK(catalogue_put_ccd(cat, &c, &why));
    OK(catalogue_put_ccd(cat, &c, &why));
    OK(catalogue_ccds(cat, x->id, &list, &count, &why));
    free(list);
    OK(catalogue_path_owner(cat, "workspace/a.fits", &owner, &why));
    OK(catalogue_path_awaited(cat, "workspace/a.fits", 0, &owner, &why));
    OK(catalogue_hurry_stored(cat, &why));
    OK(catalogue_put_quality(cat, c.id, &q, &why));
    OK(catalogue_drop_ccd(cat, c.id, &why));
}

static void use_bundles_and_requests(struct exposure *x)
{
    struct other_bundle b = {.path = "bundles/ut160901/e1.exact.tar", .exposure = x->id};
    bool found;
    OK(catalogue_put_bundle(cat, &b, &why));
    OK(catalogue_get_bundle(cat, b.path, &b, &found, &why));
    OK(catalogue_bundles(cat, BUNDLE_NEXT, true, any_bundle, NULL, &why));
    OK(catalogue_drop_bundle(cat, b.path, &why));
    OK(catalogue_ask(cat, x->id, ASK_RETRY, false, &why));
    OK(catalogue_is_asked(cat, x->id, &found, &why));
    OK(catalogue_any_busy(cat, &x->id, 1, &found, &why));
    OK(catalogue_requests(cat, any_request, NULL, &why));
    OK(catalogue_answered(cat, 1, &why));
}

static bool any_holding(void *ctx, const struct holding *h)
{
    (void)ctx;
    (void)h;
    return true;
}

static bool any_sum(void *ctx, const struct copy_sum *s)
{
    (void)ctx;
    (void)s;
    return true;
}

static bool any_copy(void *ctx, const struct copy *c)
{
    (void)ctx;
    (void)c;
    return true;
}

static void use_sums_and_copies(void)
{
    struct copy c = {.path = "rawdata/ut160902/1/bias.fits", .night = "ut160902"}, d;
    int64_t count[JOB_STATES], exposures;
    char night[NIGHT_SIZE];
    bool found;
    OK(catalogue_count_jobs(cat, NULL, count, &why));
    OK(catalogue_count_jobs(cat, "ut160901", count, &why));
    OK(catalogue_count_exposures(cat, NULL, &exposures, &why));
    OK(catalogue_count_exposures(cat, "ut160901", &exposures, &why));
    OK(catalogue_jobs_newest(cat, JOB_DONE, NULL, 5, any_job, NULL, &why));
    OK(catalogue_jobs_newest(cat, JOB_DONE, "ut160901", 5, any_job, NULL, &why));
    OK(catalogue_night_before(cat, NULL, night, &why));
    OK(catalogue_holdings(cat, "ut160901", 62, any_holding, NULL, &why));
    OK(catalogue_put_copy(cat, &c, &why));
    OK(catalogue_get_copy(cat, c.path, &d, &found, &why));
    OK(catalogue_sum_copies(cat, "ut160902", any_sum, NULL, &why));
    OK(catalogue_copies(cat, any_copy, NULL, &why));
    OK(catalogue_drop_copy(cat, c.path, &why));
}

static bool any_moment(void *ctx, int64_t at_ns)
{
    (void)ctx;
    (void)at_ns;
    return true;
}

static void use_held(void)
{
    struct waiting_counts counts;
    pick((struct catalogue_pick){.states = 1u << EX_STORED, .due_ns = 7, .by_age = true});
    OK(catalogue_jobs_next(cat, any_job, NULL, &why));
    OK(catalogue_note_begun(cat, 1, 7, &why));
    OK(catalogue_begun(cat, 1, 1, 9, any_moment, NULL, &why));
    OK(catalogue_forget_begun(cat, 1, &why));
    OK(catalogue_waiting(cat, 9, &counts, &why));
}

static void use_all(void)
{
    struct exposure x = {.bundle = "bundles/ut160901/e1.tar", .name = "e1", .night = "ut160901",
                         .source_sha256 = "5e"};
    use_exposures(&x);
    use_visits();
    use_rows(&x);
    use_bundles_and_requests(&x);
    use_sums_and_copies();
    use_held();
    OK(catalogue_remove(cat, x.id, &why));
}

/* ---- the judge ---- */

/* Short by nature: what is asked of the daemon, a list that is given, and bundles of one role that wait. */
static bool bounded(const char *sql, const char *step)
{
    bool sort = strstr(step, "TEMP B-TREE") != NULL;
    /* `verify` reads every copied calibration. */
    if (strstr(step, "SCAN requests") || strstr(step, "SCAN wanted") ||
        (!sort && strstr(sql, "FROM copies ORDER BY path")))
        return true;
    /* The rows of one exposure, of one visit's files, of one source file, or of one night. */
    return sort && (strstr(sql, "AND visit > 0") || strstr(sql, "AND f.visit > 0") ||
                    strstr(sql, "FROM ccds WHERE exposure IN (SELECT ?1 UNION") ||
                    strstr(sql, "WHERE night = ?") || strstr(sql, "FROM ccds WHERE exposure = ?") ||
                    strstr(sql, "WHERE source_sha256 = ?") || strstr(sql, "FROM bundles"));
}

/* The newest first without a choice walks the table itself, and ends at its limit. */
static bool in_order_of_id(const char *sql, const char *step)
{
    return strcmp(step, "SCAN exposures") == 0 && strstr(sql, "ORDER BY id DESC LIMIT") &&
           strstr(sql, "WHERE +state IN");
}

static int judge(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    char text[8192];
    int bad = 0;
    snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", sql);
    if (sqlite3_prepare_v2(db, text, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    while (sqlite3_step(s) == SQLITE_ROW) {
        const char *step = (const char *)sqlite3_column_text(s, 3);
        bool walk = strncmp(step, "SCAN", 4) == 0 && strcmp(step, "SCAN CONSTANT ROW") != 0;
        /* All jobs of a season that are done, to find one exposure's. */
        walk = walk || (strstr(step, "(state=?)") && strstr(sql, "exposure = ?"));
        if (!walk && !strstr(step, "TEMP B-TREE"))
            continue;
        if (bounded(sql, step) || in_order_of_id(sql, step))
            continue;
        print_message("# %s: %s\n", step, sql);
        bad++;
    }
    sqlite3_finalize(s);
    return bad;
}

static int judge_all(void)
{
    char path[4096];
    sqlite3 *db = NULL;
    int bad = 0;
    assert_int_equal(sqlite3_open(scratch_path(&dir, "catalogue.db", path), &db), SQLITE_OK);
    int count = seen_count; /* ours are not to be judged */
    for (int i = 0; i < count; i++)
        if (strncmp(seen[i], "SELECT", 6) == 0 || strncmp(seen[i], "UPDATE", 6) == 0 ||
            strncmp(seen[i], "DELETE", 6) == 0)
            bad += judge(db, seen[i]);
    sqlite3_close(db);
    return bad;
}

static void test_no_query_walks_a_table(void **state)
{
    (void)state;
    forget_seen(); /* the schema's own statements */
    use_all();
    assert_true(seen_count > 40);
    assert_int_equal(judge_all(), 0);
}

/* A row that goes takes the rows that name it along: SQLite looks for them in each child table,
 * which no query plan shows. */
static void test_every_reference_has_an_index(void **state)
{
    char path[4096];
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int bad = 0;
    (void)state;
    assert_int_equal(sqlite3_open(scratch_path(&dir, "catalogue.db", path), &db), SQLITE_OK);
    static const char sql[] =
        "SELECT m.name, k.\"from\" FROM sqlite_schema m, pragma_foreign_key_list(m.name) k"
        " WHERE m.type = 'table' AND NOT EXISTS (SELECT 1 FROM pragma_index_list(m.name) i,"
        " pragma_index_info(i.name) c WHERE c.seqno = 0 AND c.name = k.\"from\" AND NOT i.partial)";
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    for (; sqlite3_step(s) == SQLITE_ROW; bad++)
        print_message("# no index on %s (%s)\n", sqlite3_column_text(s, 0),
                      sqlite3_column_text(s, 1));
    sqlite3_finalize(s);
    sqlite3_close(db);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_query_walks_a_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_reference_has_an_index, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
