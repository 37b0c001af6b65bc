/* Exposures of several files, in the journal: which files count, and that all of them are given
 * free or parked together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/clock.h"
#include "push/journal.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct journal *j;
static struct fault why;

static int set_up(void **state)
{
    (void)state;
    if (scratch_make(&scratch) != 0)
        return -1;
    return journal_open(scratch.dir, false, &j, &why) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    journal_close(&j);
    scratch_remove(&scratch);
    return 0;
}

/* A file of exposure `group`, found whole at settled_ns (0: never). */
static int64_t add(const char *group, int ccd, int state, int64_t settled_ns)
{
    static int64_t version;
    struct exposure e = {.origin = ORIGIN_WATCH};
    version++;
    snprintf(e.path, sizeof e.path, "/d/%d-%s-%d.fits", (int)version, group, ccd);
    exposure_root(e.path, e.name);
    exposure_restart(&e, &(struct identity){version, version, version}, 1);
    e.state = state;
    e.stamp[STAMP_SETTLED] = settled_ns;
    snprintf(e.group, sizeof e.group, "%s", group);
    e.group_ccd = ccd;
    assert_int_equal(journal_add(j, &e, &why), ST_OK);
    return e.id;
}

static struct exposure get(int64_t id)
{
    struct exposure e;
    bool found;
    assert_int_equal(journal_get(j, id, &e, &found, &why), ST_OK);
    assert_true(found);
    return e;
}

static struct journal_group look(const char *group)
{
    static struct journal_group g;
    assert_int_equal(journal_group(j, group, &g, &why), ST_OK);
    return g;
}

static void which_files_count(void **state)
{
    (void)state;
    add("A10", 1, EXPOSURE_PARTIAL, 5);
    add("A10", 2, EXPOSURE_SEEN, 9);    /* changes: starts anew */
    add("A10", 3, EXPOSURE_PARKED, 0);  /* broken */
    add("A10", 4, EXPOSURE_PARKED, 7);  /* parked for want of the others */
    add("A10", 6, EXPOSURE_SKIPPED, 8);
    add("A12", 5, EXPOSURE_PARTIAL, 11);
    struct journal_group g = look("A10");
    assert_true(g.has[1] && g.has[4]);
    assert_false(g.has[2] || g.has[3] || g.has[5] || g.has[6]);
    assert_false(g.released);
    assert_int_equal(g.newest_ns, 7);
    add("A10", 7, EXPOSURE_DONE, 12);
    g = look("A10");
    assert_true(g.released && g.has[7]);
}

static void what_send_shipped_frees_no_others(void **state)
{
    (void)state;
    int64_t id = add("A10", 1, EXPOSURE_DONE, 5);
    assert_int_equal(journal_ask(j, id, ORIGIN_SEND, 3, &why), ST_OK);
    assert_true(look("A10").has[1]);
    assert_false(look("A10").released);
}

static void files_of_no_exposure_are_left_alone(void **state)
{
    (void)state;
    int64_t alone = add("", 0, EXPOSURE_PARKED, 5);
    assert_int_equal(journal_group_release(j, "", 3, &why), ST_OK);
    assert_int_equal(get(alone).state, EXPOSURE_PARKED);
    assert_false(look("").released);
}

/* A changed file is the same one. */
static void a_ccd_that_is_there_twice(void **state)
{
    struct journal_twice t;
    (void)state;
    add("A10", 1, EXPOSURE_PARTIAL, 5);
    add("A10", 2, EXPOSURE_PARTIAL, 6);
    add("A12", 2, EXPOSURE_PARTIAL, 6);
    add("A10", 2, EXPOSURE_SKIPPED, 6);
    struct exposure e = get(add("A10", 1, EXPOSURE_SEEN, 0));
    assert_int_equal(journal_group_twice(j, "A10", &t, &why), ST_OK);
    assert_int_equal(t.ccd, 0);
    e.state = EXPOSURE_DONE;
    assert_int_equal(journal_save(j, &e, &why), ST_OK);
    assert_int_equal(journal_group_twice(j, "A10", &t, &why), ST_OK);
    assert_int_equal(t.ccd, 1);
    assert_string_equal(t.path[1], e.path);
    assert_non_null(strstr(t.path[0], "A10-1.fits"));
}

/* What is being looked at may be the rest; what came after the time was over is not waited for. */
static void what_may_still_be_of_it(void **state)
{
    bool may;
    (void)state;
    struct exposure e = get(add("", 0, EXPOSURE_SEEN, 0));
    add("A10", 1, EXPOSURE_PARTIAL, 5);
    e.changed_ns = 100;
    assert_int_equal(journal_save(j, &e, &why), ST_OK);
    assert_int_equal(journal_group_may_grow(j, 0, 100, &may, &why), ST_OK);
    assert_true(may);
    assert_int_equal(journal_group_may_grow(j, 0, 99, &may, &why), ST_OK);
    assert_false(may);
    assert_int_equal(journal_group_may_grow(j, 7, 100, &may, &why), ST_OK);
    assert_false(may); /* somebody else's business */
}

static void all_together(void **state)
{
    (void)state;
    int64_t a = add("A10", 1, EXPOSURE_PARTIAL, 5), b = add("A10", 2, EXPOSURE_PARTIAL, 6);
    int64_t broken = add("A10", 3, EXPOSURE_PARKED, 0), other = add("A12", 1, EXPOSURE_PARTIAL, 5);
    int64_t later = clock_wall() + 60 * NS_PER_S, due;
    assert_int_equal(journal_group_wait(j, "A10", later, "2 of 3", &why), ST_OK);
    assert_true(get(a).due_ns == later && get(b).due_ns == later && get(other).due_ns == 0);
    assert_string_equal(get(b).reason, "2 of 3");
    assert_int_equal(journal_next_due(j, clock_wall(), 0, &due, &why), ST_OK);
    assert_true(due == later);
    assert_int_equal(journal_group_park(j, "A10", "too late", &why), ST_OK);
    assert_int_equal(get(a).state, EXPOSURE_PARKED);
    assert_int_equal(get(other).state, EXPOSURE_PARTIAL);
    assert_int_equal(journal_group_release(j, "A10", 2, &why), ST_OK);
    assert_int_equal(get(a).state, EXPOSURE_READY);
    assert_int_equal(get(b).state, EXPOSURE_READY);
    assert_string_equal(get(b).reason, "");
    assert_int_equal(get(b).group_ccd, 2);
    assert_int_equal(get(b).group_coming, 2);
    assert_int_equal(get(other).group_coming, 0);
    assert_int_equal(get(broken).state, EXPOSURE_PARKED);
    assert_int_equal(get(other).state, EXPOSURE_PARTIAL);
}

static void skipped_ones_are_looked_at_again(void **state)
{
    (void)state;
    int64_t a = add("A10", 1, EXPOSURE_SKIPPED, 5);
    assert_int_equal(journal_unskip(j, &why), ST_OK);
    assert_int_equal(get(a).state, EXPOSURE_SEEN);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(which_files_count), T(what_send_shipped_frees_no_others),
        T(files_of_no_exposure_are_left_alone), T(a_ccd_that_is_there_twice), T(what_may_still_be_of_it), T(all_together),
        T(skipped_ones_are_looked_at_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
