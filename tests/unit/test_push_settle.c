/* Whole and quiet, still growing, or hopeless: told apart on real files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "push/settle.h"
#include "tests/unit/push_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct camera camera;
static struct settle_verdict v;
static const struct settle_rules rules = {.settle_s = 2.0, .give_up_s = 150};

static int set_up(void **state)
{
    (void)state;
    fixture_camera(&camera, 3);
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

/* Writes the file and makes the row that push would have of it. */
static struct exposure sighting(const char *name, const void *bytes, size_t len, double age_s,
                                bool closed)
{
    struct exposure e = {.closed = closed};
    struct stat st;
    struct identity file;
    scratch_path(&scratch, name, e.path);
    assert_true(fixture_write(e.path, bytes, len) && fixture_age(e.path, age_s));
    assert_int_equal(stat(e.path, &st), 0);
    identity_of(&st, &file);
    exposure_root(e.path, e.name);
    exposure_restart(&e, &file, clock_wall() - (int64_t)(age_s * 1e9));
    e.closed = closed;
    return e;
}

static void test_files_that_nobody_wants(void **state)
{
    struct settle_rules few = rules;
    struct buf b = {0};
    (void)state;
    camera.expnum_from_name = false;
    few.wanted.last = 99;
    fixture_exposure(&b, 123456, 3, 32);
    struct exposure e = sighting("a.fits", b.data, b.len, 10, true);
    settle_examine(&e, &camera, &few, &v);
    assert_true(v.grade == ST_OK && v.skip);
    assert_string_equal(v.why.text, "exposure 123456 is outside of [watch] first_exposure and "
                                    "last_exposure");
    b.len = 0;
    fixture_exposure(&b, -1, 3, 32);
    e = sighting("b.fits", b.data, b.len, 10, true);
    settle_examine(&e, &camera, &few, &v);
    assert_true(v.grade == ST_OK && v.skip);
    assert_non_null(strstr(v.why.text, "has no exposure number"));
    buf_free(&b);
}

static void test_whole_files(void **state)
{
    struct buf b = {0};
    (void)state;
    fixture_exposure(&b, 123456, 3, 32);
    struct exposure e = sighting("a.fits", b.data, b.len, 0.1, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_OK);
    assert_int_equal(v.ccds, 3);
    assert_int_equal(v.image_bytes, 3 * 32 * 32 * 2);
    assert_false(v.tiled);
    assert_int_equal(v.facts.expnum, 123456);
    assert_string_equal(v.facts.object, "Field A");
    assert_string_equal(v.facts.date_obs, "2024-04-05T03:00:00.5");
    assert_string_equal(v.warning, "");
    /* Nobody was seen to close it: first it has to be quiet. */
    e = sighting("a.fits", b.data, b.len, 1.0, false);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_WAIT);
    e = sighting("a.fits", b.data, b.len, 2.5, false);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_OK);
    buf_free(&b);
}

static void test_growing_then_given_up(void **state)
{
    struct buf b = {0};
    (void)state;
    fixture_exposure(&b, 1, 3, 32);
    size_t before_table = b.len - 2 * FITS_BLOCK;
    for (size_t cut = 0; cut < b.len; cut += 1440) {
        struct exposure e = sighting("g.fits", b.data, cut, 1.0, true);
        settle_examine(&e, &camera, &rules, &v);
        /* At the end of an HDU a file looks whole: then the missing ccds tell. A table that is
         * still to come after the last ccd nobody can foresee. */
        assert_int_equal(v.grade, cut == before_table ? ST_OK : ST_WAIT);
    }
    struct exposure e = sighting("g.fits", b.data, b.len - 2880, 151.0, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_REJECT);
    assert_non_null(strstr(v.why.text, "unchanged for 150 s"));
    assert_non_null(strstr(v.why.text, "HDU 4"));
    assert_non_null(strstr(v.why.text, "2880 bytes"));
    /* Old by its own clock, but this version was only seen now: it may be a slow copy. */
    e.changed_ns = clock_wall();
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_WAIT);
    e = sighting("empty.fits", "", 0, 151.0, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_REJECT);
    buf_free(&b);
}

static void test_too_few_ccds(void **state)
{
    struct buf b = {0};
    (void)state;
    fixture_exposure(&b, 1, 2, 32);
    struct exposure e = sighting("few.fits", b.data, b.len, 9.0, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_WAIT);
    assert_non_null(strstr(v.why.text, "2 of 3 ccds"));
    e = sighting("few.fits", b.data, b.len, 11.0, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_OK);
    assert_non_null(strstr(v.warning, "2 ccds, where 3"));
    buf_free(&b);
}

static void test_not_fits(void **state)
{
    static const char text[] = "these are notes\n";
    (void)state;
    struct exposure e = sighting("notes.fits", text, sizeof text, 0.5, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_WAIT); /* its first block may only be half written */
    e = sighting("notes.fits", text, sizeof text, 3.0, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_REJECT);
    assert_non_null(strstr(v.why.text, "not FITS"));
}

static void test_gone_and_special(void **state)
{
    (void)state;
    struct exposure e = sighting("x.fits", "", 0, 10, true);
    unlink(e.path);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_REJECT);
    assert_non_null(strstr(v.why.text, "vanished before it was read"));
    assert_false(v.stated);
    assert_true(mkfifo(e.path, 0600) == 0 && fixture_age(e.path, 10));
    settle_examine(&e, &camera, &rules, &v); /* must not block */
    assert_int_equal(v.grade, ST_REJECT);
    assert_non_null(strstr(v.why.text, "not a regular file"));
}

static void test_unreadable(void **state)
{
    (void)state;
    struct exposure e = sighting("u.fits", "x", 1, 10, true);
    assert_int_equal(chmod(e.path, 0), 0);
    if (geteuid() == 0)
        skip(); /* root may read everything */
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_RETRY);
    assert_non_null(strstr(v.why.text, "read permission"));
}

/* The file server's clock runs an hour ahead: our own memory of the version counts. */
static void test_mtime_in_the_future(void **state)
{
    struct buf b = {0};
    (void)state;
    fixture_exposure(&b, 1, 3, 32);
    struct exposure e = sighting("f.fits", b.data, b.len, -3600, false);
    e.changed_ns = clock_wall() - NS_PER_S;
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_WAIT);
    e.changed_ns = clock_wall() - 3 * NS_PER_S;
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_OK);
    buf_free(&b);
}

static void test_facts_missing(void **state)
{
    struct buf b = {0};
    (void)state;
    fixture_primary(&b, -1, NULL);
    fixture_ccd(&b, 7, 8);
    camera.ccds = 0;
    struct exposure e = sighting("night_00504110.fits", b.data, b.len, 5, false);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_OK);
    assert_int_equal(v.facts.expnum, 504110); /* from the name */
    assert_true(v.facts.date_ns == INT64_MIN);
    buf_free(&b);
}

/* The far end would refuse it when all of it is there. */
static void test_names_that_cannot_be_sent(void **state)
{
    struct settle_rules few = rules;
    struct buf b = {0};
    (void)state;
    fixture_exposure(&b, 123456, 3, 32);
    struct exposure e = sighting("a\nb.fits", b.data, b.len, 5, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_REJECT);
    assert_non_null(strstr(v.why.text, "a line break or another control character"));
    assert_non_null(strstr(v.why.text, "rename it"));
    few.wanted.last = 99; /* nobody wants it: nothing is wrong */
    settle_examine(&e, &camera, &few, &v);
    assert_true(v.grade == ST_OK && v.skip);
    e = sighting("\xc3\xa9 b~2.fits", b.data, b.len, 5, true);
    settle_examine(&e, &camera, &rules, &v);
    assert_int_equal(v.grade, ST_OK);
    buf_free(&b);
}

static void test_ccd_numbers(void **state)
{
    int ccd[6];
    (void)state;
    survey_number((const int[]){0, 5, 3, 5, -1, 0}, ccd, 6);
    assert_memory_equal(ccd, ((int[]){0, 5, 3, 1, 4, 0}), sizeof ccd); /* HDU 3 is no free number */
    survey_number((const int[]){-1, -1, 1, 2}, ccd, 4);
    assert_memory_equal(ccd, ((int[]){3, 4, 1, 2}), 4 * sizeof *ccd);
    survey_number((const int[]){-1}, ccd, 1);
    assert_int_equal(ccd[0], 1); /* a single image in the primary HDU */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_whole_files), T(test_files_that_nobody_wants), T(test_growing_then_given_up), T(test_too_few_ccds), T(test_not_fits),
        T(test_gone_and_special), T(test_unreadable), T(test_mtime_in_the_future),
        T(test_facts_missing), T(test_names_that_cannot_be_sent), T(test_ccd_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
