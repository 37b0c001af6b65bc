/* Visits of a camera that writes one file a ccd: one exposure for jobs and status, whose jobs are
 * made once, when all its files that will come are placed; what is missing, late, asked for again,
 * twice there, or cut short by a kill. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/rebuild.h"
#include "tests/unit/command_fixture.h"

#define JOBS "jobs/" NIGHT "/V10/"

/* A camera of four ccds; `more` are further lines of [jobs]. */
static void settle_on(const char *partial, int wait_s, const char *more)
{
    char lines[8192];
    snprintf(lines, sizeof lines, "[jobs]\nccds_per_job = 2\n%s", more);
    load_settings(lines);
    struct camera *c = &settings.camera;
    snprintf(c->key_group, sizeof c->key_group, "FRAMEID");
    snprintf(c->group_ccds, sizeof c->group_ccds, "1-4");
    snprintf(c->group_partial, sizeof c->group_partial, "%s", partial);
    c->group_wait_s = wait_s;
}

/* A command that measures whatever it is told to. */
static void settle_on_jobs(const char *partial, int wait_s)
{
    static const char job[] =
        "#!/bin/sh\nprintf '{\"ccds\": [' >$SKYFERRY_RESULT\n"
        "grep -o '\"ccd\": [0-9]*' $SKYFERRY_JOB | sed 's/.*/{&, \"stars\": 7}/' | paste -sd, "
        ">>$SKYFERRY_RESULT\necho ']}' >>$SKYFERRY_RESULT\n";
    char path[4096], lines[4200];
    scratch_path(&dir, "job", path);
    TRY(fs_write_file(path, job, strlen(job), false, WHY));
    assert_int_equal(chmod(path, 0755), 0);
    snprintf(lines, sizeof lines, "command = %s\n", path);
    settle_on(partial, wait_s, lines);
}

static void store_ccd(int ccd, int coming)
{
    char name[64];
    snprintf(name, sizeof name, "A0010%02d", ccd);
    struct recipe r = {.name = name, .expnum = 10, .seed = ccd,
                       .visit = {.name = "V10", .ccd = ccd, .ccds = 4, .coming = coming}};
    store_as(&r, NIGHT, name);
}

static void store_ccds(int first, int last, int coming)
{
    for (int ccd = first; ccd <= last; ccd++)
        store_ccd(ccd, coming);
}

static void assert_visit(enum exposure_state state, int placed, int jobs, int done)
{
    struct exposure v = exposure_named("V10");
    if (v.state != state || v.placed != placed || v.jobs != jobs || v.jobs_done != done)
        fail_msg("V10: %s, %d placed, %d of %d jobs (%s)", exposure_state_name(v.state), v.placed,
                 v.jobs_done, v.jobs, v.reason);
    assert_int_equal(v.ccds, 4);
}

static bool holds(const char *job, int ccd)
{
    char rel[256], word[32];
    struct buf text = {0};
    snprintf(rel, sizeof rel, JOBS "%s/job.json", job);
    slurp(in_store(rel), &text);
    snprintf(word, sizeof word, "\"ccd\": %d,", ccd);
    bool found = memmem(text.data, text.len, word, strlen(word)) != NULL;
    buf_free(&text);
    return found;
}

/* Until so many files, and the visit, rest. */
static void run(int files)
{
    rows_to_rest = ROWS_ALL;
    run_agent(1 + files);
    rows_to_rest = ROWS_EXPOSURES;
}

/* ---- whole ones ---- */

static void a_visit_is_one_exposure(void **state)
{
    (void)state;
    settle_on_jobs("park", 600);
    store_ccds(1, 4, 4);
    store_one("exp_7");
    run(5);
    assert_visit(EX_DONE, 4, 2, 2);
    assert_true(holds("q1", 1) && holds("q1", 2) && holds("q2", 3) && holds("q2", 4));
    assert_int_equal(count_files("jobs", "job.json"), 3);
    struct exposure v = exposure_named("V10"), f = exposure_named("A001003");
    assert_int_equal(v.facts.expnum, 10);
    assert_true(v.stamp[STAMP_STORED] && v.stamp[STAMP_DONE] && v.bundle_size > 4 * 512);
    assert_true(f.state == EX_DONE && f.jobs == 0 && f.visit == v.id && f.visit_ccd == 3);
    struct exposure plain = exposure_named("exp_7");
    assert_true(plain.jobs == 1 && plain.visit == 0 && plain.ccds == 2);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_said("6 placed files and 5 bundles checked, 0 problems");
}

static void a_visit_is_one_row(void **state)
{
    (void)state;
    settle_on("park", 600, "dry_run = yes\n");
    store_ccds(1, 4, 4);
    run(4);
    assert_int_equal(call(command_status, NULL, NULL), EXIT_DONE);
    assert_said("V10 ");
    assert_said(" 4/4 ");
    assert_said("1 exposure,");
    assert_null(strstr(said, "A0010"));
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, ""}), OPERANDS("V10")), EXIT_DONE);
    assert_said("\"visit\":{\"ccds\":4,\"coming\":4,\"placed\":4,\"files\":4,\"missing\":[]}");
    assert_said("\"name\":\"A001004\",\"state\":\"done\"");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, ""}), OPERANDS("A001002")), EXIT_DONE);
    assert_said("\"file_of\":\"V10\",\"visit_ccd\":2");
}

static void bad_ccds_get_no_job(void **state)
{
    (void)state;
    settle_on("park", 600, "dry_run = yes\n");
    snprintf(settings.camera.job_ccds, sizeof settings.camera.job_ccds, "1-3, 11");
    snprintf(settings.camera.job_bad, sizeof settings.camera.job_bad, "2");
    store_ccds(1, 4, 4);
    store_one("exp_7"); /* ccds 11 and 12 */
    run(5);
    assert_visit(EX_DONE, 4, 1, 0);
    assert_true(holds("q1", 1) && holds("q1", 3) && !holds("q1", 2) && !holds("q1", 4));
    assert_int_equal(exposure_named("exp_7").jobs, 1);
}

/* ---- parts ---- */

static void a_part_waits_for_the_rest(void **state)
{
    (void)state;
    settle_on("park", 1, "dry_run = yes\n");
    store_ccds(1, 2, 4);
    store_ccd(4, 4);
    run(3);
    assert_visit(EX_PARKED, 3, 0, 0);
    assert_non_null(strstr(exposure_named("V10").reason, "3 of 4 ccds (missing: 3) are placed"));
    assert_int_equal(exposure_named("A001001").state, EX_DONE); /* nothing of it is open */
    assert_int_equal(count_files("jobs", "job.json"), 0);
    assert_int_equal(call(command_status, NULL, NULL), EXIT_DONE);
    assert_said("V10: 3 of 4 ccds (missing: 3)");
    store_ccd(3, 4);
    run(4);
    assert_visit(EX_DONE, 4, 2, 0);
    assert_true(holds("q1", 1) && holds("q1", 2) && holds("q2", 3) && holds("q2", 4));
}

static void a_parked_part_gets_jobs_when_asked(void **state)
{
    (void)state;
    settle_on("park", 1, "dry_run = yes\n");
    store_ccds(1, 3, 4);
    run(3);
    assert_visit(EX_PARKED, 3, 0, 0);
    ask("V10", ASK_RETRY, false);
    run(3);
    assert_visit(EX_DONE, 3, 2, 0);
    store_ccd(4, 4);
    run(4);
    assert_visit(EX_DONE, 4, 3, 0);
    assert_true(holds("q3", 4) && !holds("q3", 3));
}

static void late_ccds_get_jobs_of_their_own(void **state)
{
    (void)state;
    settle_on_jobs("ship", 1);
    store_ccds(1, 3, 4);
    run(3);
    assert_visit(EX_DONE, 3, 2, 2);
    store_ccd(4, 4);
    run(4);
    assert_visit(EX_DONE, 4, 3, 3);
    assert_true(holds("q2", 3) && !holds("q2", 4) && holds("q3", 4));
}

/* The sender knew that no more would come, and nobody waits. */
static void what_comes_is_known(void **state)
{
    (void)state;
    settle_on("park", 86400, "dry_run = yes\n");
    store_ccds(2, 4, 3);
    run(3);
    assert_visit(EX_DONE, 3, 2, 0);
}

/* Sent one by one by hand: how many will come is not known, and none of them is held for good. */
static void sent_by_hand(void **state)
{
    (void)state;
    settle_on("park", 1, "dry_run = yes\n");
    store_ccd(2, 0);
    run(1);
    assert_visit(EX_DONE, 1, 1, 0);
}

static void a_damaged_file_holds_no_other(void **state)
{
    (void)state;
    settle_on("park", 86400, "dry_run = yes\n");
    store_ccds(1, 4, 4);
    struct buf whole = {0};
    slurp(in_store("bundles/" NIGHT "/A001002.tar"), &whole);
    damage("bundles/" NIGHT "/A001002.tar", (off_t)whole.len / 4); /* a member's data */
    buf_free(&whole);
    run(4);
    struct exposure v = exposure_named("V10"), bad = exposure_named("A001002");
    assert_true(bad.visit == v.id && bad.faults == 1 && v.faults == 1);
    assert_visit(EX_DONE, 3, 2, 0);
}

/* ---- again ---- */

static void reprocessed_whole(void **state)
{
    (void)state;
    settle_on_jobs("park", 600);
    store_ccds(1, 4, 4);
    run(4);
    int64_t before = exposure_named("V10").id;
    ask("V10", ASK_REPROCESS, false);
    run(4);
    assert_visit(EX_DONE, 4, 2, 2);
    assert_int_equal(exposure_named("V10").id, before);
    assert_int_equal(count_files("rawdata", "*"), 4);
    assert_int_equal(count_files("jobs", "job.json"), 2);
}

/* A file of a visit that is parked is no longer worked on, and a command that waits for it ends. */
static void a_file_of_a_parked_part(void **state)
{
    (void)state;
    settle_on("park", 1, "dry_run = yes\n");
    store_ccds(1, 2, 4);
    run(2);
    const struct option_found name[] = {{OPT_NAME, "A001001"}, {0}};
    assert_int_equal(call(command_reprocess, name, NULL), EXIT_DONE);
    assert_said("A001001: done, 1 of 1 ccds placed");
    assert_visit(EX_PARKED, 2, 0, 0);
}

/* Only its ccd's figures are measured anew. */
static void one_file_reprocessed(void **state)
{
    (void)state;
    settle_on_jobs("park", 600);
    store_ccds(1, 4, 4);
    run(4);
    assert_int_equal(unlink(in_store("rawdata/" NIGHT "/3/Field.g." NIGHT ".10_3.fits")), 0);
    const struct option_found name[] = {{OPT_NAME, "A001003"}, {0}};
    assert_int_equal(call(command_reprocess, name, NULL), EXIT_DONE); /* without a daemon */
    assert_said("A001003: done, 1 of 1 ccds placed");
    assert_visit(EX_DONE, 4, 3, 3);
    assert_true(holds("q3", 3) && !holds("q3", 4));
    assert_int_equal(count_files("rawdata", "*"), 4);
}

static void chosen_by_its_number(void **state)
{
    (void)state;
    settle_on_jobs("park", 600);
    store_ccds(1, 4, 4);
    run(4);
    const struct option_found visit[] = {{OPT_VISIT, "10"}, {0}};
    assert_int_equal(call(command_reprocess, visit, NULL), EXIT_DONE);
    assert_string_equal(said, "V10: done, 4 of 4 ccds placed, 2 of 2 jobs done\n");
}

static void a_twin_changes_nothing(void **state)
{
    (void)state;
    settle_on("park", 600, "dry_run = yes\n");
    store_ccds(1, 4, 4);
    run(4);
    struct recipe same = {.name = "copy_1", .expnum = 10, .seed = 1,
                          .visit = {.name = "V10", .ccd = 1, .ccds = 4, .coming = 4}};
    store_as(&same, NIGHT, "copy_1");
    struct recipe other = {.name = "A001002~2", .expnum = 10, .seed = 99,
                           .visit = {.name = "V10", .ccd = 2, .ccds = 4, .coming = 4}};
    store_as(&other, NIGHT, "A001002~2");
    run(6);
    assert_int_equal(exposure_named("copy_1").state, EX_PARKED);
    assert_int_equal(exposure_named("copy_1").visit, 0);
    assert_int_equal(count_files("rawdata", "*"), 4);
    assert_visit(EX_DONE, 4, 2, 0);
}

/* ---- exact data that follow ---- */

static void store_for_renewal(const char *stem_end, const char *method, double qstep)
{
    for (int ccd = 1; ccd <= 4; ccd++) {
        char name[64], stem[64];
        snprintf(name, sizeof name, "A0010%02d", ccd);
        snprintf(stem, sizeof stem, "%s%s", name, stem_end);
        struct recipe r = {.name = name, .expnum = 10, .seed = ccd, .method = method,
                           .visit = {.name = "V10", .ccd = ccd, .ccds = 4, .coming = 4}};
        lossy_qstep = qstep;
        store_as(&r, NIGHT, stem);
        lossy_qstep = 0;
    }
}

/* Until all of it is exact: the agent may rest before it has seen what follows. */
static void renew(bool rerun)
{
    store_for_renewal("", "htj2k", 0.001);
    settings.rerun_on_exact = rerun;
    run(4);
    assert_visit(EX_DONE, 4, 2, 2);
    assert_int_equal(exposure_named("V10").exact, EXACT_NO);
    store_for_renewal(".exact", "rice", 0);
    for (int i = 0; i < 200 && exposure_named("V10").exact != EXACT_YES; i++)
        run(4);
    run(4);
    struct exposure v = exposure_named("V10");
    assert_int_equal(v.exact, EXACT_YES);
    assert_true(v.stamp[STAMP_RENEWED] > 0);
    assert_int_equal(count_files("rawdata", "*"), 4);
}

static void exact_data_need_no_new_jobs(void **state)
{
    (void)state;
    settle_on_jobs("park", 600);
    renew(false);
    assert_visit(EX_DONE, 4, 2, 2);
}

/* Asked for, they run again together, not file by file. */
static void jobs_of_exact_data(void **state)
{
    (void)state;
    settle_on_jobs("park", 600);
    renew(true);
    assert_visit(EX_DONE, 4, 4, 4);
    assert_true(holds("q3", 1) && holds("q3", 2) && holds("q4", 3) && holds("q4", 4));
}

/* ---- rebuild ---- */

static void compare_rebuilt(void)
{
    struct exposure was = exposure_named("V10"), file = exposure_named("A001003");
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    struct exposure is = exposure_named("V10"), now = exposure_named("A001003");
    assert_int_equal(is.state, was.state);
    assert_true(is.placed == was.placed && is.jobs == was.jobs && is.jobs_done == was.jobs_done);
    assert_true(is.bundle_size == was.bundle_size && is.visit_coming == was.visit_coming);
    assert_true(now.state == file.state && now.visit == is.id);
}

static void rebuilt(void **state)
{
    (void)state;
    settle_on_jobs("ship", 1);
    store_ccds(1, 3, 4);
    run(3);
    compare_rebuilt();
    run(3);
    assert_visit(EX_DONE, 3, 2, 2);
    store_ccd(4, 4);
    run(4);
    compare_rebuilt();
    assert_visit(EX_DONE, 4, 3, 3);
    run(4);
    assert_visit(EX_DONE, 4, 3, 3);
    assert_int_equal(count_files("jobs", "job.json"), 3);
}

/* ---- kill ---- */

static void dies_at(const char *point)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SKYFERRY_CRASH_AT", point, 1);
        run(4);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("it did not die at %s", point);
}

static void killed_anywhere(void **state)
{
    (void)state;
    static const char *const points[] = {"pull:indexed:3", "pull:placed:2", "pull:jobs:1",
                                         "pull:jobs:3", "pull:jobs:4", "pull:gathered",
                                         "pull:jobfiles", "pull:jobs:5", "pull:jobstarted",
                                         "pull:jobrecorded", "pull:done"};
    settle_on_jobs("park", 600);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        remove_tree(settings.root);
        store_ccds(1, 4, 4);
        dies_at(points[i]);
        run(4);
        assert_visit(EX_DONE, 4, 2, 2);
        assert_int_equal(count_files("jobs", "job.json"), 2);
        assert_int_equal(count_files("rawdata", "*"), 4);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        T(a_visit_is_one_exposure), T(a_visit_is_one_row), T(bad_ccds_get_no_job),
        T(a_part_waits_for_the_rest), T(a_parked_part_gets_jobs_when_asked),
        T(late_ccds_get_jobs_of_their_own), T(what_comes_is_known), T(sent_by_hand),
        T(a_damaged_file_holds_no_other), T(reprocessed_whole), T(a_file_of_a_parked_part), T(one_file_reprocessed),
       
        T(chosen_by_its_number), T(a_twin_changes_nothing), T(exact_data_need_no_new_jobs),
        T(jobs_of_exact_data), T(rebuilt), T(killed_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
