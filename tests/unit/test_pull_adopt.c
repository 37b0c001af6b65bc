/* Tars that nobody sent: copied by hand into the store's top folder or bundles/ (S4.18). A valid
 * one is filed with a receipt of its own; a broken one is parked and left alone until it changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/part.h"
#include "tests/unit/pull_fixture.h"

static void drop(const struct recipe *r, const char *rel)
{
    char path[PULL_PATH], folder[PULL_PATH];
    pull_path(&settings, rel, path);
    snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path), path);
    TRY(fs_mkdirs(folder, WHY));
    cook(r, path);
}

static void a_dropped_tar_is_filed_and_unpacked(void **state)
{
    (void)state;
    struct recipe top = {.name = "exp_8000", .seed = 1}, below = {.name = "exp_8001", .seed = 2},
                  filed = {.name = "exp_8002", .seed = 3};
    drop(&top, "anything.tar");
    drop(&below, "bundles/exp_8001.tar");
    drop(&filed, "bundles/ut991231/exp_8002.tar");
    run_agent(3);
    assert_true(exists("bundles/ut160901/exp_8000.tar"));
    assert_true(exists("bundles/ut160901/exp_8001.tar"));
    assert_true(exists("bundles/ut991231/exp_8002.tar")); /* it has a night: it stays */
    assert_false(exists("anything.tar"));
    assert_false(exists("bundles/exp_8001.tar"));
    for (int i = 0; i < 3; i++) {
        char name[16];
        struct receipt r;
        snprintf(name, sizeof name, "exp_800%d", i);
        struct exposure x = exposure_named(name);
        assert_true(x.state == EX_DONE && x.placed == 2);
        assert_string_equal(x.night, NIGHT); /* from DATE-OBS */
        TRY(part_receipt(in_store(x.bundle), &r, WHY));
        assert_string_equal(r.name, name);
        assert_string_equal(r.stored, x.bundle + strlen("bundles/"));
        assert_string_equal(r.sha256, x.bundle_sha256);
        assert_true(r.size == x.bundle_size && r.source_size == x.source_size);
    }
}

/* So that a sweep at the telescope does not send again what came on a disk. */
static void push_may_ask_for_it(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_8100"};
    struct part_store store;
    struct receipt receipt;
    bool held;
    drop(&r, "exp_8100.tar");
    run_agent(1);
    TRY(part_receipt(in_store("bundles/ut160901/exp_8100.tar"), &receipt, WHY));
    struct wire_have have = {.name = "exp_8100", .date_obs = "2016-08-31T23:10:00",
                             .source_size = receipt.source_size};
    memcpy(have.source_sha256, receipt.source_sha256, sizeof have.source_sha256);
    pull_part_store(&settings, &store);
    TRY(part_holds(&store, &have, &held, WHY));
    assert_true(held);
}

static void a_taken_name_is_not_overwritten(void **state)
{
    (void)state;
    struct recipe a = {.name = "exp_8200", .seed = 1}, b = {.name = "exp_8200", .seed = 2};
    store_as(&a, NIGHT, "exp_8200");
    drop(&b, "exp_8200.tar");
    run_agent(2);
    assert_true(exists("bundles/ut160901/exp_8200.tar"));
    assert_true(exists("bundles/ut160901/exp_8200~2.tar"));
    assert_string_not_equal(exposure_named("exp_8200").source_sha256,
                            exposure_named("exp_8200~2").source_sha256);
}

static void a_broken_tar_is_parked_until_it_changes(void **state)
{
    (void)state;
    struct recipe good = {.name = "exp_8300"};
    drop(&good, "late.tar");
    struct stat st;
    assert_int_equal(stat(in_store("late.tar"), &st), 0);
    struct buf whole = {0};
    char path[PULL_PATH];
    pull_path(&settings, "late.tar", path);
    slurp(path, &whole);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    TRY(fs_write_file(in_store("notes.tar"), "no tar at all\n", 14, false, WHY));
    store_one("exp_8301");
    run_agent(3);
    struct exposure x = exposure_named("late");
    assert_int_equal(x.state, EX_PARKED);
    assert_non_null(strstr(x.reason, "truncated"));
    assert_int_equal(exposure_named("notes").state, EX_PARKED);
    assert_int_equal(exposure_named("exp_8301").state, EX_DONE);
    assert_true(exists("late.tar") && exists("notes.tar")); /* left where they are */
    assert_int_equal(count_files("jobs", "job.json"), 2);
    /* Copied again: taken up under its right name, and the parked row is it. */
    TRY(fs_write_file(path, whole.data, whole.len, false, WHY));
    for (int i = 0; i < 50 && exists("late.tar"); i++)
        run_agent(3);
    run_agent(3);
    struct exposure y = exposure_named("exp_8300");
    assert_true(y.id == x.id && y.placed == 2 && y.reason[0] == '\0');
    buf_free(&whole);
}

/* The crash between the new name and its receipt. */
static void a_tar_filed_without_its_receipt_gets_one(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_8400"};
    drop(&r, "exp_8400.tar");
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SKYFERRY_CRASH_AT", "pull:adopt-filed", 1);
        run_agent(1);
        _exit(0);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    assert_true(exists("bundles/ut160901/exp_8400.tar"));
    assert_false(exists("bundles/ut160901/exp_8400.receipt"));
    run_agent(1);
    assert_true(exists("bundles/ut160901/exp_8400.receipt"));
    assert_int_equal(exposure_named("exp_8400").placed, 2);
}

/* Somebody removed it: the telescope would send the exposure again at each sweep. */
static void a_lost_receipt_is_written_again(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_8450", .seed = 3};
    struct receipt was, now;
    struct part_store store;
    bool held = false;
    store_as(&r, NIGHT, "exp_8450~2");
    run_agent(1);
    struct exposure x = exposure_named("exp_8450~2");
    TRY(part_receipt(in_store("bundles/ut160901/exp_8450~2.tar"), &was, WHY));
    assert_int_equal(unlink(in_store("bundles/ut160901/exp_8450~2.receipt")), 0);
    for (int i = 0; i < 50 && !exists("bundles/ut160901/exp_8450~2.receipt"); i++)
        run_agent(1);
    TRY(part_receipt(in_store("bundles/ut160901/exp_8450~2.tar"), &now, WHY));
    assert_memory_equal(was.sha256, now.sha256, sizeof was.sha256);
    assert_string_equal(was.stored, now.stored);
    assert_string_equal(was.night, now.night);
    assert_true(was.size == now.size && was.exact == now.exact && was.stored_ns == now.stored_ns);
    struct wire_have have = {.name = "exp_8450", .date_obs = "2016-08-31T23:10:00",
                             .source_size = was.source_size};
    memcpy(have.source_sha256, was.source_sha256, sizeof have.source_sha256);
    pull_part_store(&settings, &store);
    TRY(part_holds(&store, &have, &held, WHY));
    assert_true(held);
    assert_true(exposure_named("exp_8450~2").stamp[STAMP_DONE] == x.stamp[STAMP_DONE]);
}

/* The crash between the new name and the end of the old one. */
static void one_file_of_two_names_is_one_exposure(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_8500"};
    char from[PULL_PATH];
    drop(&r, "exp_8500.tar");
    pull_path(&settings, "exp_8500.tar", from);
    TRY(fs_mkdirs(in_store("bundles/ut160901"), WHY));
    assert_int_equal(link(from, in_store("bundles/ut160901/exp_8500.tar")), 0);
    for (int i = 0; i < 50 && exists("exp_8500.tar"); i++)
        run_agent(1);
    assert_false(exists("exp_8500.tar"));
    assert_int_equal(exposure_named("exp_8500").placed, 2);
    assert_int_equal(count_files("bundles", "*.tar"), 1);
}

/* Does the process wait for a lock that another one holds? */
static bool waits_for_lock(pid_t pid)
{
    char line[256];
    int waiting = 0;
    bool found = false;
    FILE *f = fopen("/proc/locks", "r");
    assert_non_null(f);
    while (!found && fgets(line, sizeof line, f))
        found = sscanf(line, "%*d: -> FLOCK %*s %*s %d", &waiting) == 1 && waiting == (int)pid;
    fclose(f);
    return found;
}

/* A lane gives its bundle this name in the same moment. */
static void a_lane_that_commits_comes_first(void **state)
{
    (void)state;
    struct recipe a = {.name = "exp_8600", .seed = 1, .expnum = 8601},
                  b = {.name = "exp_8600", .seed = 2};
    struct part_store store;
    char cooked[4096];
    int lock, how;
    cook(&b, scratch_path(&dir, "cooked", cooked));
    store_one("exp_8610");
    pid_t pid = fork();
    if (pid == 0) {
        run_agent(3);
        kill(getpid(), SIGKILL); /* and no exit handlers of the test's */
    }
    while (!exists("jobs/ut160901/exp_8610/q2/job.json")) /* the agent is past its beginnings */
        assert_int_equal(waitpid(pid, &how, WNOHANG), 0);
    pull_part_store(&settings, &store);
    TRY(part_name_lock(&store, &lock, WHY));
    assert_int_equal(rename(cooked, in_store("exp_8600.tar")), 0);
    while (!waits_for_lock(pid))
        assert_true(exists("exp_8600.tar") && waitpid(pid, &how, WNOHANG) == 0);
    store_as(&a, NIGHT, "exp_8600");
    close(lock);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(exposure_named("exp_8600").facts.expnum, 8601);
    assert_int_equal(exposure_named("exp_8600~2").facts.expnum, 8600);
    assert_int_equal(count_files("bundles", "*.receipt"), 3);
}

/* Its receipt keeps the name for the file that was taken away, as it does when a lane commits. */
static void a_kept_name_is_not_taken(void **state)
{
    (void)state;
    struct recipe a = {.name = "exp_8700", .seed = 1}, b = {.name = "exp_8700", .seed = 2};
    store_as(&a, NIGHT, "exp_8700");
    assert_int_equal(unlink(in_store("bundles/ut160901/exp_8700.tar")), 0);
    drop(&b, "exp_8700.tar");
    run_agent(1);
    assert_false(exists("bundles/ut160901/exp_8700.tar"));
    assert_int_equal(exposure_named("exp_8700~2").placed, 2);
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(a_dropped_tar_is_filed_and_unpacked),
        IN_STORE(push_may_ask_for_it),
        IN_STORE(a_taken_name_is_not_overwritten),
        IN_STORE(a_broken_tar_is_parked_until_it_changes),
        IN_STORE(one_file_of_two_names_is_one_exposure),
        IN_STORE(a_lane_that_commits_comes_first),
        IN_STORE(a_kept_name_is_not_taken),
        IN_STORE(a_tar_filed_without_its_receipt_gets_one),
        IN_STORE(a_lost_receipt_is_written_again),
    };
    return cmocka_run_group_tests_name("pull adopt", tests, NULL, NULL);
}
