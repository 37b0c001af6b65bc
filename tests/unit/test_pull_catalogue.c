/* The catalogue: what is written comes back whole, every row once, and choices choose. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/db.h"
#include "pull/catalogue.h"
#include "pull/quality.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct catalogue *cat;
static struct fault why;

#define OK(call)                                                                                 \
    do {                                                                                         \
        if ((call) != ST_OK)                                                                     \
            fail_msg("%s: %s", #call, why.text);                                                 \
    } while (0)

static int setup(void **state)
{
    char path[4096];
    (void)state;
    if (scratch_make(&dir) != 0)
        return -1;
    return catalogue_open(scratch_path(&dir, "catalogue.db", path), false, &cat, &why) == ST_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    catalogue_close(&cat);
    assert_null(cat);
    catalogue_close(&cat);
    scratch_remove(&dir);
    return 0;
}

static struct exposure sample(const char *name, const char *night)
{
    struct exposure x = {.state = EX_STORED, .due_ns = 12, .attempts = 3, .force = true,
                         .source_size = 1LL << 40, .raw_size = 1234567890123, .bundle_size = 77,
                         .bundle_mtime_ns = -5};
    snprintf(x.bundle, sizeof x.bundle, "bundles/%s/%s.tar", night, name);
    snprintf(x.name, sizeof x.name, "%s", name);
    snprintf(x.night, sizeof x.night, "%s", night);
    snprintf(x.reason, sizeof x.reason, "it's \"quoted\"; DROP TABLE exposures");
    for (int i = 0; i < STAMPS; i++)
        x.stamp[i] = 1480000000000000000LL + i;
    snprintf(x.source_name, sizeof x.source_name, "%s.fits.fz", name);
    digest_bytes(name, strlen(name), x.source_sha256);
    digest_bytes(night, strlen(night), x.bundle_sha256);
    x.facts = (struct facts){"Field A", "g DECam", "object", "2016B-1", "2016-08-31T23:10:00",
                             628321, 1472685000000000000LL, 20.5};
    return x;
}

static struct exposure *add(const char *name, const char *night)
{
    static struct exposure x;
    x = sample(name, night);
    OK(catalogue_add(cat, &x, &why));
    return &x;
}

static void an_exposure_comes_back_whole(void **state)
{
    (void)state;
    struct exposure *x = add("A", "ut160901"), y;
    bool found;
    assert_true(x->id > 0);
    OK(catalogue_get(cat, x->id, &y, &found, &why));
    assert_true(found);
    assert_memory_equal(x->stamp, y.stamp, sizeof y.stamp);
    assert_string_equal(x->bundle, y.bundle);
    assert_string_equal(x->reason, y.reason);
    assert_string_equal(x->source_name, y.source_name);
    assert_string_equal(x->source_sha256, y.source_sha256);
    assert_string_equal(x->bundle_sha256, y.bundle_sha256);
    assert_true(y.source_size == 1LL << 40 && y.raw_size == 1234567890123 && y.bundle_size == 77);
    assert_true(y.bundle_mtime_ns == -5 && y.due_ns == 12 && y.attempts == 3 && y.force);
    assert_string_equal(y.facts.object, "Field A");
    assert_string_equal(y.facts.filter, "g DECam");
    assert_string_equal(y.facts.obstype, "object");
    assert_string_equal(y.facts.propid, "2016B-1");
    assert_string_equal(y.facts.date_obs, "2016-08-31T23:10:00");
    assert_true(y.facts.expnum == 628321 && y.facts.date_ns == 1472685000000000000LL);
    assert_true(y.facts.exptime == 20.5);
    /* Saving changes what it should, and facts that the header lacks stay lacking. */
    y.state = EX_DONE;
    y.facts.exptime = NAN;
    y.facts.expnum = -1;
    y.facts.date_ns = INT64_MIN;
    y.force = false;
    OK(catalogue_save(cat, &y, &why));
    struct exposure z;
    OK(catalogue_by_bundle(cat, "bundles/ut160901/A.tar", &z, &found, &why));
    assert_true(found && z.id == y.id && z.state == EX_DONE && !z.force);
    assert_true(isnan(z.facts.exptime) && z.facts.expnum == -1 && z.facts.date_ns == INT64_MIN);
    OK(catalogue_get(cat, 4711, &z, &found, &why));
    assert_false(found);
}

static void a_bundle_is_catalogued_once(void **state)
{
    (void)state;
    struct exposure x = sample("A", "ut160901");
    add("A", "ut160901");
    assert_int_equal(catalogue_add(cat, &x, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "bundles/ut160901/A.tar"));
    add("A", "ut160902"); /* the same name another night is another bundle */
}

struct names {
    char text[256];
    int count, most;
};

static bool note_name(void *ctx, const struct exposure *x)
{
    struct names *n = ctx;
    size_t at = strlen(n->text);
    snprintf(n->text + at, sizeof n->text - at, "%s%s", at ? " " : "", x->name);
    return ++n->count != n->most;
}

static void assert_pick(struct catalogue_pick p, const char *wanted)
{
    struct names n = {0};
    OK(catalogue_each(cat, &p, note_name, &n, &why));
    assert_string_equal(n.text, wanted);
}

static void choices_choose(void **state)
{
    (void)state;
    struct exposure *x;
    add("A", "ut160901");
    x = add("B", "ut160901");
    x->state = EX_PLACED;
    x->due_ns = 100;
    OK(catalogue_save(cat, x, &why));
    x = add("C", "ut160902");
    x->state = EX_PARKED;
    OK(catalogue_save(cat, x, &why));
    add("A", "ut160902");
    assert_pick((struct catalogue_pick){0}, "A C B A");
    assert_pick((struct catalogue_pick){.oldest_first = true}, "A B C A");
    assert_pick((struct catalogue_pick){.limit = 2}, "A C");
    assert_pick((struct catalogue_pick){.night = "ut160901"}, "B A");
    assert_pick((struct catalogue_pick){.name = "B"}, "B");
    assert_pick((struct catalogue_pick){.name = "B.tar"}, "B");
    assert_pick((struct catalogue_pick){.name = "A"}, "A A");
    assert_pick((struct catalogue_pick){.name = "ut160902/A"}, "A");
    assert_pick((struct catalogue_pick){.name = "bundles/ut160901/B.tar"}, "B");
    assert_pick((struct catalogue_pick){.name = "ut160902/B"}, "");
    assert_pick((struct catalogue_pick){.name = "' OR 1=1 --"}, "");
    assert_pick((struct catalogue_pick){.states = 1u << EX_PARKED | 1u << EX_PLACED}, "C B");
    assert_pick((struct catalogue_pick){.due_ns = 99}, "A C A");
    assert_pick((struct catalogue_pick){.due_ns = 100, .states = 1u << EX_PLACED}, "B");
    int64_t due;
    OK(catalogue_next_due(cat, 1u << EX_PLACED, 50, &due, &why));
    assert_int_equal(due, 100);
    OK(catalogue_next_due(cat, 1u << EX_PLACED, 100, &due, &why));
    assert_int_equal(due, 0);
}

static void twins_are_found(void **state)
{
    (void)state;
    struct exposure a = *add("A", "ut160901"), b = sample("B", "ut160902"), twin;
    bool found;
    memcpy(b.source_sha256, a.source_sha256, sizeof b.source_sha256);
    OK(catalogue_add(cat, &b, &why));
    OK(catalogue_by_source(cat, &b, &twin, &found, &why));
    assert_true(found && twin.id == a.id);
    a.state = EX_PARKED; /* a parked one is no reason to refuse the other */
    OK(catalogue_save(cat, &a, &why));
    OK(catalogue_by_source(cat, &b, &twin, &found, &why));
    assert_false(found);
}

static struct ccd ccd_of(int64_t exposure, int number, enum ccd_state state)
{
    struct ccd c = {.exposure = exposure, .ccd = number, .hdu = 100 - number, .qstep = 3e-5,
                    .state = state, .size = 17909440, .placed_ns = 99};
    snprintf(c.extname, sizeof c.extname, "S%d", number);
    snprintf(c.member, sizeof c.member, "A_%d.jph", number);
    snprintf(c.codec, sizeof c.codec, "htj2k");
    snprintf(c.path, sizeof c.path, "rawdata/ut160901/%d/A_%d.fits", number, number);
    snprintf(c.datasum, sizeof c.datasum, "4294967295");
    snprintf(c.checksum, sizeof c.checksum, "0123456789abcdef");
    return c;
}

static void ccds_come_back_in_order(void **state)
{
    (void)state;
    struct exposure *x = add("A", "ut160901");
    struct ccd c = ccd_of(x->id, 2, CCD_PLACED), *all;
    size_t count;
    int64_t owner;
    OK(catalogue_put_ccd(cat, &c, &why));
    int64_t second = c.id;
    c = ccd_of(x->id, 1, CCD_PARKED);
    snprintf(c.reason, sizeof c.reason, "damaged");
    OK(catalogue_put_ccd(cat, &c, &why));
    struct quality q = {41.5, 2.5, 0.001, 7, NAN, "no stars"};
    OK(catalogue_put_quality(cat, second, &q, &why));
    OK(catalogue_ccds(cat, x->id, &all, &count, &why));
    assert_int_equal(count, 2);
    assert_int_equal(all[0].ccd, 1);
    assert_int_equal(all[0].state, CCD_PARKED);
    assert_string_equal(all[0].reason, "damaged");
    assert_false(quality_known(all[0].quality.noise));
    assert_int_equal(all[1].id, second);
    assert_int_equal(all[1].hdu, 98);
    assert_string_equal(all[1].extname, "S2");
    assert_string_equal(all[1].member, "A_2.jph");
    assert_string_equal(all[1].datasum, "4294967295");
    assert_string_equal(all[1].checksum, "0123456789abcdef");
    assert_true(all[1].size == 17909440 && all[1].placed_ns == 99 && all[1].qstep == 3e-5);
    assert_true(all[1].quality.background == 41.5 && all[1].quality.stars == 7);
    assert_false(quality_known(all[1].quality.fwhm));
    assert_string_equal(all[1].quality.error, "no stars");
    OK(catalogue_path_owner(cat, all[1].path, &owner, &why));
    assert_int_equal(owner, x->id);
    OK(catalogue_path_owner(cat, all[0].path, &owner, &why)); /* parked: it owns nothing */
    assert_int_equal(owner, 0);
    c = ccd_of(x->id, 2, CCD_WAITING); /* the same HDU twice */
    assert_int_equal(catalogue_put_ccd(cat, &c, &why), ST_REJECT);
    free(all);
}

struct seen {
    int count;
    struct job last;
};

static bool note_job(void *ctx, const struct job *j)
{
    struct seen *s = ctx;
    s->count++;
    s->last = *j;
    return true;
}

static void jobs_and_counts(void **state)
{
    (void)state;
    struct exposure *x = add("A", "ut160901"), y;
    struct job j = {.exposure = x->id, .number = 1, .state = JOB_RUNNING, .attempts = 2,
                    .due_ns = 5, .started_ns = 6, .ended_ns = 7, .folder = "jobs/ut160901/A/q1",
                    .handle = "boot:1:2", .reason = "exit status 3"}, back;
    bool found;
    int64_t due;
    OK(catalogue_put_job(cat, &j, &why));
    OK(catalogue_get_job(cat, j.id, &back, &found, &why));
    assert_true(found);
    assert_int_equal(back.state, JOB_RUNNING);
    assert_true(back.attempts == 2 && back.due_ns == 5 && back.started_ns == 6 &&
                back.ended_ns == 7 && back.number == 1);
    assert_string_equal(back.handle, "boot:1:2");
    assert_string_equal(back.reason, "exit status 3");
    struct job twice = {.exposure = x->id, .number = 1};
    assert_int_equal(catalogue_put_job(cat, &twice, &why), ST_REJECT);
    struct job k = {.exposure = x->id, .number = 2, .state = JOB_WAITING, .due_ns = 50};
    OK(catalogue_put_job(cat, &k, &why));
    OK(catalogue_next_job_due(cat, 10, &due, &why));
    assert_int_equal(due, 50);
    struct seen s = {0};
    OK(catalogue_jobs_in(cat, JOB_WAITING, note_job, &s, &why));
    assert_true(s.count == 1 && s.last.id == k.id);
    s.count = 0;
    OK(catalogue_jobs_of(cat, x->id, note_job, &s, &why));
    assert_true(s.count == 2 && s.last.number == 2);
    struct ccd c = ccd_of(x->id, 1, CCD_PLACED);
    c.job = j.id;
    OK(catalogue_put_ccd(cat, &c, &why));
    c = ccd_of(x->id, 2, CCD_PARKED);
    OK(catalogue_put_ccd(cat, &c, &why));
    j.state = JOB_DONE;
    k.state = JOB_FAILED;
    OK(catalogue_put_job(cat, &j, &why));
    OK(catalogue_put_job(cat, &k, &why));
    OK(catalogue_count(cat, x->id, &why));
    OK(catalogue_get(cat, x->id, &y, &found, &why));
    assert_true(y.ccds == 2 && y.placed == 1 && y.jobs == 2 && y.jobs_done == 1 && y.faults == 2);
    OK(catalogue_clear(cat, x->id, &why));
    OK(catalogue_get(cat, x->id, &y, &found, &why));
    assert_true(found && y.ccds == 0 && y.jobs == 0 && y.faults == 0);
    /* A number is never given twice: a late answer about a forgotten job finds nothing. */
    struct job next = {.exposure = x->id, .number = 1};
    OK(catalogue_put_job(cat, &next, &why));
    assert_true(next.id > k.id);
}

static bool note_request(void *ctx, const struct request *r)
{
    *(struct request *)ctx = *r;
    return true;
}

static void requests_wait_to_be_answered(void **state)
{
    (void)state;
    struct exposure *x = add("A", "ut160901");
    struct request r = {0};
    bool asked;
    OK(catalogue_is_asked(cat, x->id, &asked, &why));
    assert_false(asked);
    OK(catalogue_ask(cat, x->id, ASK_RETRY, true, &why));
    OK(catalogue_is_asked(cat, x->id, &asked, &why));
    assert_true(asked);
    OK(catalogue_requests(cat, note_request, &r, &why));
    assert_true(r.exposure == x->id && r.verb == ASK_RETRY && r.force);
    OK(catalogue_answered(cat, r.id, &why));
    OK(catalogue_is_asked(cat, x->id, &asked, &why));
    assert_false(asked);
}

static void many_are_waited_for_at_once(void **state)
{
    (void)state;
    struct exposure x[3];
    int64_t ids[4] = {0, 0, 0, 4711}; /* the last is forgotten by now */
    struct request r = {0};
    bool busy;
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('A' + i)};
        x[i] = *add(name, "ut160901");
        ids[i] = x[i].id;
        x[i].state = i == 1 ? EX_PARKED : EX_DONE;
        OK(catalogue_save(cat, &x[i], &why));
    }
    OK(catalogue_any_busy(cat, ids, 4, &busy, &why));
    assert_false(busy);
    OK(catalogue_ask(cat, ids[1], ASK_RETRY, false, &why));
    OK(catalogue_any_busy(cat, ids, 4, &busy, &why));
    assert_true(busy);
    OK(catalogue_any_busy(cat, ids, 1, &busy, &why)); /* of others no matter what */
    assert_false(busy);
    OK(catalogue_requests(cat, note_request, &r, &why));
    OK(catalogue_answered(cat, r.id, &why));
    for (int state_of = 0; state_of < EX_STATES; state_of++) {
        x[2].state = (enum exposure_state)state_of;
        OK(catalogue_save(cat, &x[2], &why));
        OK(catalogue_any_busy(cat, ids, 4, &busy, &why));
        assert_int_equal(busy, state_of != EX_DONE && state_of != EX_PARKED);
    }
    OK(catalogue_any_busy(cat, ids, 0, &busy, &why));
    assert_false(busy);
}

static void what_is_rolled_back_never_was(void **state)
{
    (void)state;
    struct exposure x = sample("A", "ut160901"), y;
    bool found;
    OK(catalogue_begin(cat, &why));
    OK(catalogue_add(cat, &x, &why));
    catalogue_rollback(cat);
    OK(catalogue_by_bundle(cat, x.bundle, &y, &found, &why));
    assert_false(found);
}

static void readers_read_while_it_is_open(void **state)
{
    (void)state;
    struct catalogue *reader;
    struct exposure y;
    char path[4096];
    bool found;
    OK(catalogue_open(scratch_path(&dir, "catalogue.db", path), true, &reader, &why));
    add("A", "ut160901");
    OK(catalogue_by_bundle(reader, "bundles/ut160901/A.tar", &y, &found, &why));
    assert_true(found);
    assert_int_equal(catalogue_save(reader, &y, &why), ST_FATAL);
    catalogue_close(&reader);
}

static bool note_path(void *ctx, const struct other_bundle *b)
{
    snprintf(ctx, 512, "%s", b->path);
    return true;
}

static const char *ready(enum bundle_role role)
{
    static char path[512];
    path[0] = '\0';
    OK(catalogue_bundles(cat, role, true, note_path, path, &why));
    return path;
}

static void an_exposure_may_have_two_bundles(void **state)
{
    (void)state;
    struct exposure a = sample("A", "ut160901"), b = sample("A~2", "ut160901"), got;
    struct other_bundle next = {.path = "bundles/ut160901/A.exact.tar", .size = 7, .stored_ns = 9},
                        back;
    bool found;
    memset(a.source_sha256, 'a', 64);
    memset(b.source_sha256, 'b', 64);
    a.state = EX_WORKING;
    OK(catalogue_add(cat, &a, &why));
    OK(catalogue_add(cat, &b, &why));
    OK(catalogue_pair(cat, b.source_sha256, "A", &got, &found, &why));
    assert_true(found && got.id == b.id);
    OK(catalogue_pair(cat, b.source_sha256, "B", &got, &found, &why));
    assert_false(found);
    next.exposure = a.id;
    memset(next.sha256, 'c', 64);
    OK(catalogue_put_bundle(cat, &next, &why));
    OK(catalogue_get_bundle(cat, next.path, &back, &found, &why));
    assert_true(found);
    assert_memory_equal(&back, &next, sizeof next);
    assert_string_equal(ready(BUNDLE_NEXT), ""); /* its jobs are at work */
    a.state = EX_DONE;
    OK(catalogue_save(cat, &a, &why));
    assert_string_equal(ready(BUNDLE_NEXT), next.path);
    next.role = BUNDLE_FORMER;
    OK(catalogue_put_bundle(cat, &next, &why));
    assert_string_equal(ready(BUNDLE_NEXT), "");
    assert_string_equal(ready(BUNDLE_FORMER), ""); /* not replaced yet */
    a.exact = EXACT_YES;
    a.stamp[STAMP_RENEWED] = 99;
    OK(catalogue_save(cat, &a, &why));
    OK(catalogue_get(cat, a.id, &got, &found, &why));
    assert_true(got.exact == EXACT_YES && got.stamp[STAMP_RENEWED] == 99);
    assert_string_equal(ready(BUNDLE_FORMER), next.path);
    OK(catalogue_drop_bundle(cat, next.path, &why));
    OK(catalogue_get_bundle(cat, next.path, &back, &found, &why));
    assert_false(found);
}

/* It has the names, and is nobody's twin or pair, until it is stored or gone. */
static void what_is_coming_may_go_again(void **state)
{
    (void)state;
    struct exposure x = sample("A", "ut160901"), like = sample("B", "ut160901"), got;
    bool found, known;
    int64_t owner;
    struct ccd *ccds;
    size_t count;
    x.state = EX_COMING;
    snprintf(x.source_sha256, sizeof x.source_sha256, "cafe");
    memcpy(like.source_sha256, x.source_sha256, sizeof x.source_sha256);
    OK(catalogue_knows_source(cat, "cafe", &known, &why));
    assert_false(known);
    OK(catalogue_add(cat, &x, &why));
    OK(catalogue_knows_source(cat, "cafe", &known, &why));
    assert_true(known);
    OK(catalogue_by_source(cat, &like, &got, &found, &why));
    assert_false(found);
    OK(catalogue_pair(cat, "cafe", "A", &got, &found, &why));
    assert_false(found);
    struct ccd one = {.exposure = x.id, .ccd = 1, .hdu = 1, .path = "rawdata/a.fits",
                      .made_from = "beef"};
    OK(catalogue_put_ccd(cat, &one, &why));
    OK(catalogue_path_owner(cat, "rawdata/a.fits", &owner, &why));
    assert_int_equal(owner, x.id); /* about to be placed */
    /* Its jobs are to place it: the same for everybody else. */
    OK(catalogue_path_awaited(cat, "rawdata/a.fits", 0, &owner, &why));
    assert_int_equal(owner, 0);
    x.state = EX_WORKING;
    OK(catalogue_save(cat, &x, &why));
    OK(catalogue_path_awaited(cat, "rawdata/a.fits", 0, &owner, &why));
    assert_int_equal(owner, x.id);
    OK(catalogue_path_awaited(cat, "rawdata/a.fits", x.id, &owner, &why));
    assert_int_equal(owner, 0);
    OK(catalogue_path_owner(cat, "rawdata/a.fits", &owner, &why));
    assert_int_equal(owner, x.id);
    OK(catalogue_ccds(cat, x.id, &ccds, &count, &why));
    assert_int_equal(count, 1);
    assert_string_equal(ccds[0].made_from, "beef");
    free(ccds);
    OK(catalogue_ask(cat, x.id, ASK_RETRY, false, &why));
    OK(catalogue_drop_ccd(cat, one.id, &why));
    OK(catalogue_remove(cat, x.id, &why));
    OK(catalogue_get(cat, x.id, &got, &found, &why));
    assert_false(found);
    OK(catalogue_is_asked(cat, x.id, &found, &why));
    assert_false(found);
}

/* As a release without exact data left it. */
static void a_catalogue_of_before_is_taken_over(void **state)
{
    (void)state;
    static const char *const back[] = {
        "DROP TABLE identity",
        "DROP TABLE bundles", "ALTER TABLE exposures DROP COLUMN exact",
        "ALTER TABLE exposures DROP COLUMN renewed_ns", "ALTER TABLE ccds DROP COLUMN made_from",
        "ALTER TABLE jobs DROP COLUMN batch", "ALTER TABLE jobs DROP COLUMN batch_state",
        "ALTER TABLE jobs DROP COLUMN node", "ALTER TABLE jobs DROP COLUMN exit_status",
        "DROP INDEX exposures_waiting", "DROP INDEX jobs_waiting", "DROP INDEX requests_exposure",
        "DROP INDEX exposures_visit", "ALTER TABLE exposures DROP COLUMN visit",
        "ALTER TABLE exposures DROP COLUMN visit_ccd", "ALTER TABLE exposures DROP COLUMN visit_ccds",
        "ALTER TABLE exposures DROP COLUMN visit_coming",
        "ALTER TABLE exposures DROP COLUMN parked", "ALTER TABLE exposures DROP COLUMN fits_size",
        "DROP TABLE copies", "DROP INDEX ccds_awaited", "DROP INDEX exposures_newest", "DROP TABLE begun",
        "PRAGMA user_version = 1"};
    struct exposure lossy = sample("A", "ut160901"), exact = sample("B", "ut160901"),
                    none = sample("C", "ut160901"), got;
    /* At least as many as there are: the database is opened as it is. */
    static const char *const schemas[] = {"SELECT 1", "SELECT 1", "SELECT 1", "SELECT 1",
                                          "SELECT 1", "SELECT 1", "SELECT 1", "SELECT 1",
                                          "SELECT 1", "SELECT 1", "SELECT 1", "SELECT 1", NULL};
    struct db *db;
    char path[4096];
    bool found;
    OK(catalogue_add(cat, &lossy, &why));
    OK(catalogue_add(cat, &exact, &why));
    OK(catalogue_add(cat, &none, &why));
    struct ccd one = {.exposure = lossy.id, .ccd = 1, .hdu = 1, .qstep = 3e-5}, two = one;
    OK(catalogue_put_ccd(cat, &one, &why));
    two.exposure = exact.id;
    two.qstep = 0;
    OK(catalogue_put_ccd(cat, &two, &why));
    catalogue_close(&cat);
    OK(db_open(scratch_path(&dir, "catalogue.db", path), schemas, false, &db, &why));
    for (size_t i = 0; i < sizeof back / sizeof *back; i++)
        OK(db_run(db, &why, back[i], ""));
    db_close(&db);
    OK(catalogue_open(path, false, &cat, &why));
    OK(catalogue_get(cat, lossy.id, &got, &found, &why));
    assert_int_equal(got.exact, EXACT_NO);
    OK(catalogue_get(cat, exact.id, &got, &found, &why));
    assert_int_equal(got.exact, EXACT_YES);
    OK(catalogue_get(cat, none.id, &got, &found, &why));
    assert_true(got.exact == EXACT_NO && got.stamp[STAMP_RENEWED] == 0);
    OK(catalogue_save(cat, &got, &why));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_exposure_comes_back_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(an_exposure_may_have_two_bundles, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_coming_may_go_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_catalogue_of_before_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bundle_is_catalogued_once, setup, teardown),
        cmocka_unit_test_setup_teardown(choices_choose, setup, teardown),
        cmocka_unit_test_setup_teardown(twins_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(ccds_come_back_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(jobs_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_wait_to_be_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(many_are_waited_for_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_rolled_back_never_was, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_read_while_it_is_open, setup, teardown),
    };
    return cmocka_run_group_tests_name("pull catalogue", tests, NULL, NULL);
}
