/* `status`, `reprocess`, `retry`, `check` and `unpack` as a person calls them: exit statuses,
 * words, tables that fit, JSON that programs can rely on. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/status.h"
#include "tests/unit/command_fixture.h"

static void assert_narrow(void)
{
    for (const char *line = said; *line; line += strcspn(line, "\n") + (strchr(line, '\n') != NULL))
        if (strcspn(line, "\n") > 79)
            fail_msg("wider than 79: %.*s", (int)strcspn(line, "\n"), line);
}

static json_t *json_said(void)
{
    json_error_t e;
    json_t *root = json_loads(said, 0, &e);
    if (!root)
        fail_msg("%s in %s", e.text, said);
    return root;
}

static void nothing_yet_is_no_failure(void **state)
{
    (void)state;
    assert_int_equal(call(command_status, NULL, NULL), EXIT_DONE);
    assert_string_equal(said, "0 exposures, 0.0 MB; no daemon runs\n");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), NULL), EXIT_DONE);
    json_t *root = json_said();
    assert_int_equal(json_array_size(json_object_get(root, "exposures")), 0);
    json_decref(root);
    assert_int_equal(call(command_status, NULL, OPERANDS("exp_1")), EXIT_FAILED);
    assert_said("no exposure is named 'exp_1'");
    assert_false(exists("state")); /* looking makes nothing */
}

static void the_table_shows_the_night(void **state)
{
    (void)state;
    store_one("exp_1000");
    store_one("a_very_long_name_of_an_exposure_1001");
    damage("bundles/ut160901/exp_1000.tar", 3);
    run_agent(2);
    assert_int_equal(call(command_status, NULL, NULL), EXIT_DONE);
    assert_narrow();
    assert_said("ut160901\nEXPOSURE");
    assert_said("exp_1000");
    assert_said("PARKED");
    assert_said("a_very_lo~ure_1001");
    assert_said("2/2   0   0/2");
    assert_said("skyferry-pull retry NAME");
    assert_said("2 exposures");
    assert_said("1 done, 1 parked");
    assert_int_equal(call(command_status, OPTIONS({OPT_LIMIT, "1", "limit"}), NULL), EXIT_DONE);
    assert_said("1 of 2 exposures,");
    assert_int_equal(call(command_status, OPTIONS({OPT_LIMIT, "1", "limit"},
                                                  {OPT_NIGHT, "ut160901", "night"}), NULL), EXIT_DONE);
    assert_said("1 of 2 exposures,");
    assert_int_equal(call(command_status, OPTIONS({OPT_NIGHT, "ut160902", "night"}), NULL),
                     EXIT_DONE);
    assert_said("0 exposures");
    assert_int_equal(call(command_status, OPTIONS({OPT_NIGHT, "tonight", "night"}), NULL),
                     EXIT_USAGE);
    assert_int_equal(call(command_status, OPTIONS({OPT_LIMIT, "0", "limit"}), NULL), EXIT_USAGE);
}

static void one_exposure_in_full(void **state)
{
    (void)state;
    store_one("exp_1100");
    run_agent(1);
    assert_int_equal(call(command_status, NULL, OPERANDS("exp_1100")), EXIT_DONE);
    assert_narrow();
    assert_said("exp_1100  ut160901  done");
    assert_said("  closed    2017-11-13T06:03:40.123Z");
    assert_said("BACKGROUND    NOISE SATURATED  STARS   FWHM");
    assert_said("  11 N4       placed   rice");
    assert_said("q2   dry");
    assert_int_equal(call(command_status, NULL, OPERANDS("exp_1100", "nobody")), EXIT_FAILED);
    damage("bundles/ut160901/exp_1100.tar", 3);
    ask("exp_1100", ASK_REPROCESS, false);
    run_agent(1);
    assert_int_equal(call(command_status, NULL, OPERANDS("exp_1100")), EXIT_INCOMPLETE);
}

static void json_holds_everything(void **state)
{
    (void)state;
    store_one("exp_1200");
    run_agent(1);
    struct exposure x = exposure_named("exp_1200");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), NULL), EXIT_DONE);
    json_t *root = json_said(), *one = json_array_get(json_object_get(root, "exposures"), 0);
    static const char *const integers[] = {"bytes", "raw_bytes", "source_size", "ccds",
                                           "ccds_placed", "jobs", "jobs_done", "faults", "expnum"};
    const int64_t values[] = {x.bundle_size, x.raw_size, x.source_size, 2, 2, 2, 0, 0, 1200};
    for (int i = 0; i < 9; i++)
        assert_int_equal(json_integer_value(json_object_get(one, integers[i])), values[i]);
    assert_string_equal(json_string_value(json_object_get(one, "state")), "done");
    for (int i = 0; i < STAMP_RENEWED; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_ns", stamp_names[i]);
        assert_int_equal(json_integer_value(json_object_get(one, key)), x.stamp[i]);
        assert_int_equal(strlen(json_string_value(json_object_get(one, stamp_names[i]))), 24);
    }
    double ratio = json_real_value(json_object_get(one, "ratio"));
    assert_true(ratio > 0.99 * (double)x.raw_size / (double)x.bundle_size && ratio < 1e3);
    assert_null(json_object_get(one, "ccd_list"));
    json_decref(root);
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), OPERANDS("exp_1200")),
                     EXIT_DONE);
    root = json_said();
    one = json_array_get(json_object_get(root, "exposures"), 0);
    assert_int_equal(json_array_size(json_object_get(one, "ccd_list")), 2);
    assert_int_equal(json_array_size(json_object_get(one, "job_list")), 2);
    json_decref(root);
}

static void times_are_short(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0.0s"},     {1.26, "1.3s"},  {99.94, "99.9s"}, {100, "2m"},
                 {5999, "100m"},  {6000, "2h"},    {360000, "4d"},   {-1, "?"}};
    char out[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        status_after(1000 * NS_PER_S, 1000 * NS_PER_S + (int64_t)(cases[i].seconds * 1e9), out,
                     sizeof out);
        assert_string_equal(out, cases[i].text);
    }
    status_after(0, 5, out, sizeof out);
    assert_string_equal(out, "-");
    status_fit("abc\x1b[2J", 12, out, sizeof out);
    assert_string_equal(out, "abc?[2J");
}

static void a_list_is_done_again(void **state)
{
    (void)state;
    char list[4096];
    static const char lines[] = "# tonight's\n\n  exp_1300.tar \r\nexp_nowhere\nut160901/exp_1301\n"
                                "exp_1300\n";
    store_one("exp_1300");
    store_one("exp_1301");
    store_one("exp_1302");
    run_agent(3);
    struct exposure before[3] = {exposure_named("exp_1300"), exposure_named("exp_1301"),
                                 exposure_named("exp_1302")};
    scratch_path(&dir, "list", list);
    TRY(fs_write_file(list, lines, strlen(lines), false, WHY));
    assert_int_equal(call(command_reprocess, NULL, OPERANDS(list)), EXIT_INCOMPLETE);
    assert_said("there is no exposure 'exp_nowhere'");
    assert_said("exp_1300: done, 2 of 2 ccds placed, 0 of 2 jobs done");
    assert_true(exposure_named("exp_1300").stamp[STAMP_DONE] > before[0].stamp[STAMP_DONE]);
    assert_true(exposure_named("exp_1301").stamp[STAMP_DONE] > before[1].stamp[STAMP_DONE]);
    assert_true(exposure_named("exp_1302").stamp[STAMP_DONE] == before[2].stamp[STAMP_DONE]);
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NAME, "exp_1302", "name"}), NULL),
                     EXIT_DONE);
    assert_true(exposure_named("exp_1302").stamp[STAMP_DONE] > before[2].stamp[STAMP_DONE]);
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NIGHT, NIGHT, "night"}), NULL),
                     EXIT_DONE);
    assert_said("exp_1300:");
    assert_said("exp_1302:");
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NIGHT, "160901", "night"}), NULL),
                     EXIT_USAGE);
    assert_int_equal(call(command_reprocess, NULL, NULL), EXIT_USAGE);
    assert_int_equal(call(command_reprocess, NULL, OPERANDS("/no/such/list")), EXIT_FAILED);
    assert_said("/no/such/list");
}

static void retry_does_what_failed(void **state)
{
    (void)state;
    store_one("exp_1400");
    store_one("exp_1401");
    damage("bundles/ut160901/exp_1400.tar", 3);
    run_agent(2);
    struct exposure good = exposure_named("exp_1401");
    assert_int_equal(call(command_retry, OPTIONS({OPT_ALL, NULL, "all"}), NULL), EXIT_INCOMPLETE);
    assert_said("exp_1400: parked");
    assert_null(strstr(said, "exp_1401"));
    damage("bundles/ut160901/exp_1400.tar", 3); /* whole again */
    assert_int_equal(call(command_retry, NULL, OPERANDS("exp_1400")), EXIT_DONE);
    assert_said("exp_1400: done, 2 of 2 ccds placed");
    assert_true(exposure_named("exp_1401").stamp[STAMP_DONE] == good.stamp[STAMP_DONE]);
    assert_int_equal(call(command_retry, OPTIONS({OPT_ALL, NULL, "all"}), NULL), EXIT_DONE);
    assert_said("nothing to do");
    assert_int_equal(call(command_retry, NULL, NULL), EXIT_USAGE);
}

static void a_wrong_root_makes_no_store(void **state)
{
    (void)state;
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NAME, "exp_1", "name"}), NULL),
                     EXIT_FAILED);
    assert_said("no catalogue at");
    assert_false(exists("bundles"));
}

static void a_daemon_is_asked(void **state)
{
    (void)state;
    store_one("exp_1500");
    run_agent(1);
    struct exposure before = exposure_named("exp_1500");
    pid_t pid = fork();
    if (pid == 0) {
        struct agent *a;
        TRY(agent_open(&settings, &a, WHY));
        TRY(agent_obey(a, WHY));
        TRY(agent_run(a, WHY));
        agent_close(&a);
        _exit(0);
    }
    char lock[PULL_PATH];
    snprintf(lock, sizeof lock, "%s", settings.lock);
    for (int i = 0; i < 2000 && fs_lock_holder(lock) != pid; i++)
        usleep(10000);
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NAME, "exp_1500", "name"}), NULL),
                     EXIT_DONE);
    assert_said("exp_1500: done, 2 of 2 ccds placed");
    assert_true(exposure_named("exp_1500").stamp[STAMP_DONE] > before.stamp[STAMP_DONE]);
    kill(pid, SIGTERM);
    int how;
    waitpid(pid, &how, 0);
    assert_int_equal(how, 0);
}

/* Nobody is left to wonder why it takes so long. */
static void who_waits_is_told_for_what(void **state)
{
    (void)state;
    store_one("exp_1550");
    run_agent(1);
    load_settings("[jobs]\ncommand = /no/such/job {job}\n");
    pid_t pid = fork();
    if (pid == 0) {
        struct agent *a;
        TRY(agent_open(&settings, &a, WHY));
        TRY(agent_obey(a, WHY));
        struct loop_timer *t = loop_timer_new(a->loop, (void (*)(void *))agent_stop, a);
        loop_timer_set(t, 12000, 0);
        TRY(agent_run(a, WHY));
        agent_close(&a);
        _exit(0);
    }
    for (int i = 0; i < 2000 && fs_lock_holder(settings.lock) != pid; i++)
        usleep(10000);
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NAME, "exp_1550", "name"}), NULL),
                     EXIT_FAILED);
    assert_said("exp_1550 is not done yet: q1 waiting: there is no program '/no/such/job'");
    assert_said("the daemon has ended; what was asked is kept");
    waitpid(pid, NULL, 0);
}

static void check_tells_how_to_mend(void **state)
{
    (void)state;
    load_settings("[jobs]\ncommand = /no/such/job\n");
    assert_int_equal(call(command_check, NULL, NULL), EXIT_FAILED);
    assert_said("FAIL  jobs: there is no program '/no/such/job'");
    assert_said("-> set [jobs] command");
    assert_said("warn  store: there was no ");
    assert_said("correct"); /* [store] root, wherever the line breaks */
    assert_said("night: a new one begins at 16:43:12 UTC (CTIO)");
    assert_said("restrict,command=\"");
    assert_said(" receive\" ssh-ed25519");
    load_settings("[jobs]\ncommand = /bin/true\n");
    assert_int_equal(call(command_check, NULL, NULL), EXIT_DONE);
    assert_said("ok    store: ");
    settings.min_free_gib = 1e6;
    assert_int_equal(call(command_check, NULL, NULL), EXIT_FAILED);
    assert_said("FAIL  free space");
}

/* Programs of these names, and squeue with these words. */
static void put_slurm(const char *squeue)
{
    static const char *const names[] = {"sbatch", "squeue", "scontrol", "scancel"};
    char path[4200], text[256];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir.dir, names[i]);
        snprintf(text, sizeof text, "#!/bin/sh\n%s\n", i == 1 ? squeue : "exit 0");
        TRY(fs_write_file(path, text, strlen(text), false, WHY));
        assert_int_equal(chmod(path, 0755), 0);
    }
}

static void check_asks_the_batch_system(void **state)
{
    (void)state;
    char before[8192], path[13000];
    snprintf(before, sizeof before, "%s", getenv("PATH"));
    snprintf(path, sizeof path, "%s:%s", dir.dir, before);
    load_settings("[jobs]\ncommand = /bin/true\nrunner = slurm\nslurm_call_seconds = 20\n");
    setenv("PATH", path, 1);
    put_slurm("exit 0");
    int well = call(command_check, NULL, NULL);
    bool answers = strstr(said, "ok    slurm: squeue answers") != NULL;
    put_slurm("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1");
    int away = call(command_check, NULL, NULL);
    bool told = strstr(said, "FAIL  slurm: squeue does not answer: slurm_load_jobs error: Unable to "
                       "contact\n      slurm controller\n      -> jobs wait until ") != NULL;
    load_settings("[jobs]\ncommand = /bin/true\nrunner = slurm\nslurm_call_seconds = 1\n");
    put_slurm("exec sleep 20");
    int hangs = call(command_check, NULL, NULL);
    setenv("PATH", before, 1);
    assert_true(well == EXIT_DONE && answers);
    assert_true(away == EXIT_FAILED && told);
    assert_int_equal(hangs, EXIT_FAILED);
    assert_said("squeue does not answer: it took too long");
}

static void unpack_needs_no_store(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_1600", .method = "original"}, s = {.name = "exp_1601"};
    char a[4096], b[4096], to[4096], made[4200];
    cook(&r, scratch_path(&dir, "a.tar", a));
    cook(&s, scratch_path(&dir, "b.tar", b));
    scratch_path(&dir, "out", to);
    assert_int_equal(call(command_unpack, OPTIONS({OPT_TO, to, "to"}), OPERANDS(a, b)), EXIT_DONE);
    assert_said("a.tar: exposure exp_1600");
    assert_said("3 of 3 files");
    snprintf(made, sizeof made, "%s/exp_1601_12.fits", to);
    verify(made);
    assert_int_equal(call(command_unpack, OPTIONS({OPT_TO, to, "to"}, {OPT_REBUILD, NULL, ""}),
                          OPERANDS(a)), EXIT_DONE);
    assert_int_equal(call(command_unpack, OPTIONS({OPT_TO, to, "to"}, {OPT_REBUILD, NULL, ""}),
                          OPERANDS(b)), EXIT_FAILED);
    assert_int_equal(call(command_unpack, OPTIONS({OPT_TO, to, "to"}), OPERANDS("/no/such.tar")),
                     EXIT_FAILED);
    assert_int_equal(call(command_unpack, OPTIONS({OPT_TO, to, "to"}), OPERANDS(a, "/no.tar")),
                     EXIT_INCOMPLETE);
    assert_int_equal(call(command_unpack, NULL, NULL), EXIT_USAGE);
    assert_false(exists(""));
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(nothing_yet_is_no_failure),
        IN_STORE(the_table_shows_the_night),
        IN_STORE(one_exposure_in_full),
        IN_STORE(json_holds_everything),
        cmocka_unit_test(times_are_short),
        IN_STORE(a_list_is_done_again),
        IN_STORE(retry_does_what_failed),
        IN_STORE(a_wrong_root_makes_no_store),
        IN_STORE(a_daemon_is_asked),
        IN_STORE(who_waits_is_told_for_what),
        IN_STORE(check_tells_how_to_mend),
        IN_STORE(check_asks_the_batch_system),
        IN_STORE(unpack_needs_no_store),
    };
    return cmocka_run_group_tests_name("pull commands", tests, NULL, NULL);
}
