/* Somebody moves a bundle away, another exposure's takes its name: it is processed like any other,
 * and what is known of the first one stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/renew.h"
#include "pull/retire.h"
#include "tests/unit/pull_fixture.h"

#define TAR "bundles/ut160901/exp_9000.tar"
#define RECEIPT "bundles/ut160901/exp_9000.receipt"

/* exp_9000 as the file numbered `expnum`. Codec `original`: bundles of one camera are of one size. */
static struct recipe other_file(int64_t expnum)
{
    return (struct recipe){.name = "exp_9000", .expnum = expnum, .seed = (int)expnum,
                           .method = "original"};
}

static void move(const char *from, const char *to)
{
    char old[PULL_PATH];
    pull_path(&settings, from, old);
    assert_int_equal(rename(old, in_store(to)), 0);
}

static void take_away(void)
{
    TRY(fs_mkdirs(in_store("archive"), WHY));
    move(TAR, "archive/a.tar");
    move(RECEIPT, "archive/a.receipt");
}

/* The first exposure by the id that it had. */
static struct exposure first_by(int64_t id, size_t *placed)
{
    struct catalogue *cat;
    struct exposure x;
    struct ccd *ccds = NULL;
    size_t count = 0;
    bool found;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_get(cat, id, &x, &found, WHY));
    assert_true(found);
    TRY(catalogue_ccds(cat, id, &ccds, &count, WHY));
    *placed = 0;
    for (size_t i = 0; i < count; i++)
        *placed += ccds[i].state == CCD_PLACED && exists(ccds[i].path);
    free(ccds);
    catalogue_close(&cat);
    return x;
}

static void the_name_is_the_newcomers(void **state)
{
    (void)state;
    struct recipe a = other_file(9000), b = other_file(9001);
    size_t placed;
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    struct exposure was = exposure_named(a.name);
    take_away();
    store_as(&b, NIGHT, b.name);
    run_agent(2);
    struct exposure x = exposure_named(b.name), old = first_by(was.id, &placed);
    assert_true(x.id != was.id && x.bundle_size == was.bundle_size);
    assert_true(x.state == EX_DONE && x.placed == 2 && x.facts.expnum == 9001);
    assert_string_equal(x.bundle, TAR);
    assert_true(old.state == EX_DONE && old.placed == 2 && placed == 2);
    assert_string_equal(old.source_sha256, was.source_sha256);
    assert_string_not_equal(old.source_sha256, x.source_sha256);
    assert_true(retire_is_gone(&old) && !retire_is_gone(&x));
    assert_non_null(strstr(old.reason, TAR));
    assert_int_equal(count_files("rawdata", "*.fits"), 4);
    assert_int_equal(count_files("jobs", "job.json"), 4); /* none wrote over the other's */
    assert_true(exists("jobs/ut160901/exp_9000/q2/job.json"));
}

static void what_waited_for_its_turn_is_not_mixed_up(void **state)
{
    (void)state;
    struct recipe a = other_file(9000), b = other_file(9001);
    size_t placed;
    store_as(&a, NIGHT, a.name);
    damage(TAR, 3); /* parked; a retry later would read the newcomer's */
    run_agent(1);
    struct exposure was = exposure_named(a.name);
    assert_int_equal(was.state, EX_PARKED);
    take_away();
    store_as(&b, NIGHT, b.name);
    run_agent(2);
    assert_int_equal(exposure_named(b.name).placed, 2);
    assert_int_equal(first_by(was.id, &placed).state, EX_PARKED);
}

/* The old one's retry comes before the newcomer was noticed. */
static void a_retry_does_not_take_the_newcomers_bundle(void **state)
{
    (void)state;
    struct recipe a = other_file(9000), b = other_file(9001);
    struct manifest m = {0};
    size_t placed;
    store_as(&a, NIGHT, a.name);
    damage(TAR, 3);
    run_agent(1);
    struct exposure was = exposure_named(a.name);
    ask(a.name, ASK_RETRY, false);
    take_away();
    store_as(&b, NIGHT, b.name);
    golden_facts(&m);
    assert_int_equal(renew_check(&was, &m, WHY), ST_REJECT);
    assert_non_null(strstr(WHY->text, "another exposure's"));
    memcpy(m.source_sha256, was.source_sha256, sizeof m.source_sha256);
    assert_int_equal(renew_check(&was, &m, WHY), ST_OK);
    run_agent(2);
    assert_int_equal(exposure_named(b.name).placed, 2);
    assert_string_equal(first_by(was.id, &placed).source_sha256, was.source_sha256);
}

static void a_crash_between_the_steps_is_mended(void **state)
{
    (void)state;
    struct recipe a = other_file(9000), b = other_file(9001);
    size_t placed;
    int how;
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    int64_t id = exposure_named(a.name).id;
    take_away();
    store_as(&b, NIGHT, b.name);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SKYFERRY_CRASH_AT", "pull:jobs-moved", 1);
        run_agent(2);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    run_agent(2);
    assert_true(exposure_named(b.name).placed == 2 && first_by(id, &placed).placed == 2);
    assert_int_equal(count_files("jobs", "job.json"), 4);
}

static void it_comes_back_under_another_name(void **state)
{
    (void)state;
    struct recipe a = other_file(9000), b = other_file(9001);
    size_t placed;
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    int64_t id = exposure_named(a.name).id;
    take_away();
    store_as(&b, NIGHT, b.name);
    run_agent(2);
    store_as(&a, NIGHT, "exp_9000~2"); /* sent again */
    struct exposure x = first_by(id, &placed);
    for (int i = 0; i < 50 && retire_is_gone(&x); i++) {
        run_agent(2);
        x = first_by(id, &placed);
    }
    assert_string_equal(x.bundle, "bundles/ut160901/exp_9000~2.tar");
    assert_string_equal(x.name, "exp_9000~2");
    assert_true(x.state == EX_DONE && placed == 2 && x.reason[0] == '\0');
    assert_int_equal(count_files("rawdata", "*.fits"), 4);
}

/* Copied back from an archive it has another time, and is no other file. */
static void another_time_is_no_other_file(void **state)
{
    (void)state;
    struct recipe a = other_file(9000);
    struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    struct exposure was = exposure_named(a.name);
    assert_int_equal(utimensat(AT_FDCWD, in_store(TAR), now, 0), 0);
    struct exposure x = was;
    for (int i = 0; i < 50 && x.bundle_mtime_ns == 0; i++) {
        run_agent(1);
        x = exposure_named(a.name);
    }
    assert_true(x.id == was.id && x.state == EX_DONE && x.bundle_mtime_ns > was.stamp[STAMP_STORED]);
    assert_string_equal(x.bundle, TAR);
}

/* ---- a bundle that is missing, and the same source file in another place ---- */

static bool count_one(void *ctx, const struct exposure *x)
{
    (void)x;
    ++*(int *)ctx;
    return true;
}

static int exposures(void)
{
    struct catalogue *cat;
    struct catalogue_pick all = {.rows = ROWS_ALL};
    int count = 0;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_each(cat, &all, count_one, &count, WHY));
    catalogue_close(&cat);
    return count;
}

/* It has rested before already: looked at until its row says so. */
static struct exposure wait_for_bundle(int64_t id, const char *rel)
{
    size_t placed;
    struct exposure x = first_by(id, &placed);
    for (int i = 0; i < 50 && strcmp(x.bundle, rel) != 0; i++) {
        run_agent(1);
        x = first_by(id, &placed);
    }
    assert_string_equal(x.bundle, rel);
    assert_int_equal(placed, 2);
    assert_true(x.state == EX_DONE && x.reason[0] == '\0' && !retire_is_gone(&x));
    assert_int_equal(count_files("rawdata", "*.fits"), 2);
    assert_int_equal(count_files("jobs", "job.json"), 2);
    return x;
}

static void a_night_that_was_renamed_is_followed(void **state)
{
    (void)state;
    struct recipe a = other_file(9000);
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    struct exposure was = exposure_named(a.name);
    move("bundles/ut160901", "bundles/ut990101");
    struct exposure x = wait_for_bundle(was.id, "bundles/ut990101/exp_9000.tar");
    assert_string_equal(x.name, was.name);
    assert_true(x.stamp[STAMP_DONE] == was.stamp[STAMP_DONE]);
    assert_int_equal(exposures(), 1);
    assert_true(exists("jobs/ut160901/exp_9000/q2/job.json"));
}

static void what_is_sent_for_a_truncated_one_takes_its_place(void **state)
{
    (void)state;
    struct recipe a = other_file(9000);
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    int64_t id = exposure_named(a.name).id;
    assert_int_equal(truncate(in_store(TAR), 3000), 0);
    store_as(&a, NIGHT, "exp_9000~2");
    struct exposure x = wait_for_bundle(id, "bundles/ut160901/exp_9000~2.tar");
    assert_string_equal(x.name, "exp_9000~2");
    assert_true(exists("jobs/ut160901/exp_9000~2/q2/job.json"));
    for (int i = 0; i < 50 && exposures() < 2; i++)
        run_agent(1);
    assert_int_equal(exposure_named(a.name).state, EX_PARKED); /* as no bundle, until it is removed */
    assert_int_equal(unlink(in_store(TAR)), 0);
    for (int i = 0; i < 50 && exposures() > 1; i++)
        run_agent(1);
    assert_int_equal(exposures(), 1);
}

/* Its receipt names another exposure, so only its index tells. */
static void another_name_is_no_hindrance(void **state)
{
    (void)state;
    struct recipe a = other_file(9000), b = a;
    b.name = "copy_9000";
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    int64_t id = exposure_named(a.name).id;
    take_away();
    store_as(&b, NIGHT, b.name);
    wait_for_bundle(id, "bundles/ut160901/copy_9000.tar");
    assert_int_equal(exposures(), 1);
}

static void a_parked_twin_helps_out_later(void **state)
{
    (void)state;
    struct recipe a = other_file(9000);
    store_as(&a, NIGHT, a.name);
    run_agent(1);
    int64_t id = exposure_named(a.name).id;
    store_as(&a, NIGHT, "exp_9000~2");
    run_agent(2);
    struct exposure twin = exposure_named("exp_9000~2");
    assert_true(twin.id != id && twin.state == EX_PARKED);
    assert_non_null(strstr(twin.reason, "nothing is lost, remove 'bundles/ut160901/exp_9000~2.tar'"));
    take_away();
    wait_for_bundle(id, "bundles/ut160901/exp_9000~2.tar");
    assert_int_equal(exposures(), 1);
}

/* Removed, or damaged, before it was placed, and sent again with the bytes it had. */
static void the_same_bytes_again_end_the_parking(void **state)
{
    (void)state;
    struct recipe a = other_file(9000);
    store_as(&a, NIGHT, a.name);
    damage(TAR, 3);
    run_agent(1);
    struct exposure x = exposure_named(a.name), was = x;
    assert_int_equal(x.state, EX_PARKED);
    char tar[PULL_PATH];
    pull_path(&settings, TAR, tar);
    cook(&a, tar);
    for (int i = 0; i < 50 && x.state == EX_PARKED; i++) {
        run_agent(1);
        x = exposure_named(a.name);
    }
    run_agent(1);
    x = exposure_named(a.name);
    assert_string_equal(x.bundle_sha256, was.bundle_sha256);
    assert_true(x.id == was.id && x.state == EX_DONE && x.placed == 2 && x.reason[0] == '\0');
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(the_name_is_the_newcomers),
        IN_STORE(what_waited_for_its_turn_is_not_mixed_up),
        IN_STORE(a_retry_does_not_take_the_newcomers_bundle),
        IN_STORE(a_crash_between_the_steps_is_mended),
        IN_STORE(it_comes_back_under_another_name),
        IN_STORE(another_time_is_no_other_file),
        IN_STORE(a_night_that_was_renamed_is_followed),
        IN_STORE(what_is_sent_for_a_truncated_one_takes_its_place),
        IN_STORE(another_name_is_no_hindrance),
        IN_STORE(a_parked_twin_helps_out_later),
        IN_STORE(the_same_bytes_again_end_the_parking),
    };
    return cmocka_run_group_tests_name("pull retire", tests, NULL, NULL);
}
