/* The road from a stored bundle to placed FITS files, run by the daemon's own engine: states,
 * stamps, names; one bad ccd among good ones; what is parked and how it goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/flow.h"
#include "tests/unit/pull_fixture.h"

static void the_table_is_whole(void **state)
{
    (void)state;
    for (int i = 0; i < EX_STATES; i++) {
        const struct flow_row *row = &flow_rows[i];
        assert_int_equal(row->stage.state, i);
        assert_string_equal(row->stage.name, exposure_state_name((enum exposure_state)i));
        assert_true(row->begin || row->stage.on_ok == i);
        assert_non_null(row->doing);
        if (row->begin)
            assert_int_equal(row->stage.on_reject, EX_PARKED);
    }
    /* From the first state, success after success ends at done. */
    int s = EX_STORED, steps = 0;
    while (flow_rows[s].begin && steps++ < EX_STATES)
        s = flow_rows[s].stage.on_ok;
    assert_int_equal(s, EX_DONE);
    assert_int_equal(steps, 3);
}

static void a_bundle_becomes_files(void **state)
{
    (void)state;
    store_one("DECam_00500001");
    run_agent(1);
    struct exposure x = exposure_named("DECam_00500001");
    assert_int_equal(x.state, EX_DONE);
    assert_true(x.ccds == 2 && x.placed == 2 && x.faults == 0 && x.jobs == 2);
    assert_string_equal(x.night, NIGHT);
    assert_string_equal(x.facts.object, "Field");
    assert_true(x.facts.expnum == 500001);
    assert_true(x.raw_size == 2 * 2 * WIDE * HIGH + 2 * FITS_BLOCK);
    for (int i = 1; i < STAMP_RENEWED; i++)
        assert_true(x.stamp[i] >= x.stamp[i - 1]);
    assert_int_equal(x.stamp[STAMP_CLOSED], GOLDEN_MTIME);
    assert_true(exists("rawdata/ut160901/11/Field.g.ut160901.500001_11.fits"));
    assert_true(exists("rawdata/ut160901/12/Field.g.ut160901.500001_12.fits"));
    char source[4096], placed[PULL_PATH];
    scratch_path(&dir, "source.fits", source);
    pull_path(&settings, "rawdata/ut160901/12/Field.g.ut160901.500001_12.fits", placed);
    assert_pixels(source, 2, placed);
    verify(placed);
    assert_int_equal(count_files("", ".*.part"), 0);
    /* Dry run: the files are written, nothing was started. */
    assert_true(exists("jobs/ut160901/DECam_00500001/q2/job.json"));
    assert_int_equal(count_files("jobs", "out"), 0);
}

static void obstypes_have_their_names(void **state)
{
    (void)state;
    static const struct {
        const char *obstype, *file;
    } cases[] = {
        {"zero", "bias.ut160901.5100_11.fits"},       {"BIAS", "bias.ut160901.5101_11.fits"},
        {"dome flat", "domeflat.g.ut160901.5102_11.fits"},
        {"domeflat", "domeflat.g.ut160901.5103_11.fits"},
        {"object", "Field.g.ut160901.5104_11.fits"},  {"", "Field.g.ut160901.5105_11.fits"}};
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "exp_510%d", i);
        struct recipe r = {.name = name, .obstype = cases[i].obstype, .seed = i};
        store_as(&r, NIGHT, name);
    }
    run_agent(6);
    for (int i = 0; i < 6; i++) {
        char rel[128];
        snprintf(rel, sizeof rel, "rawdata/ut160901/11/%s", cases[i].file);
        if (!exists(rel))
            fail_msg("no %s for OBSTYPE '%s'", rel, cases[i].obstype);
    }
}

static void without_a_date_the_receipts_night_holds(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_5200", .date_obs = "last night"};
    store_as(&r, "ut991231", "exp_5200");
    run_agent(1);
    assert_string_equal(exposure_named("exp_5200").night, "ut991231");
    assert_true(exists("rawdata/ut991231/11/Field.g.ut991231.5200_11.fits"));
}

static void run_date_overrides_the_night(void **state)
{
    (void)state;
    snprintf(settings.run_date, sizeof settings.run_date, "ut010203");
    store_one("exp_5300");
    run_agent(1);
    assert_true(exists("rawdata/ut010203/11/Field.g.ut010203.5300_11.fits"));
}

/* Offset of a member's data in a stored bundle. */
static off_t member_offset(const char *rel, int hdu)
{
    struct manifest m = {0};
    off_t at = -1;
    int fd = open(in_store(rel), O_RDONLY);
    TRY(bundle_index(fd, &m, WHY));
    for (size_t i = 0; i < m.count; i++)
        if (m.members[i].role == MEMBER_IMAGE && m.members[i].hdu == hdu)
            at = (off_t)m.members[i].offset;
    manifest_free(&m);
    close(fd);
    assert_true(at > 0);
    return at;
}

static void one_bad_ccd_holds_no_other(void **state)
{
    (void)state;
    store_one("exp_5400");
    store_one("exp_5401");
    damage("bundles/ut160901/exp_5400.tar", member_offset("bundles/ut160901/exp_5400.tar", 1) + 9);
    run_agent(2);
    struct exposure x = exposure_named("exp_5400");
    assert_int_equal(x.state, EX_DONE);
    assert_true(x.ccds == 2 && x.placed == 1 && x.faults == 1 && x.jobs == 1);
    assert_false(exists("rawdata/ut160901/11/Field.g.ut160901.5400_11.fits"));
    assert_true(exists("rawdata/ut160901/12/Field.g.ut160901.5400_12.fits"));
    assert_int_equal(exposure_named("exp_5401").faults, 0);
    struct ccd *ccds;
    size_t count;
    struct catalogue *cat;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_ccds(cat, x.id, &ccds, &count, WHY));
    assert_int_equal(ccds[0].state, CCD_PARKED);
    assert_non_null(strstr(ccds[0].reason, "SHA-256"));
    assert_int_equal(ccds[1].state, CCD_PLACED);
    free(ccds);
    catalogue_close(&cat);
    /* The bundle is whole again: retry does what is missing, and makes a job for it alone. */
    damage("bundles/ut160901/exp_5400.tar", member_offset("bundles/ut160901/exp_5400.tar", 1) + 9);
    ask("exp_5400", ASK_RETRY, false);
    run_agent(2);
    x = exposure_named("exp_5400");
    assert_true(x.placed == 2 && x.faults == 0 && x.jobs == 2);
    assert_true(exists("jobs/ut160901/exp_5400/q2/job.json"));
}

static void a_broken_bundle_is_parked(void **state)
{
    (void)state;
    store_one("exp_5500");
    store_one("exp_5501");
    damage("bundles/ut160901/exp_5500.tar", 3); /* in the first member's name */
    run_agent(2);
    struct exposure x = exposure_named("exp_5500");
    assert_int_equal(x.state, EX_PARKED);
    assert_true(strlen(x.reason) > 10);
    assert_true(x.ccds == 0 && x.jobs == 0);
    assert_int_equal(exposure_named("exp_5501").state, EX_DONE);
}

static void a_bundle_that_vanished_is_parked(void **state)
{
    (void)state;
    store_one("exp_5600");
    run_agent(1);
    assert_int_equal(unlink(in_store("bundles/ut160901/exp_5600.tar")), 0);
    ask("exp_5600", ASK_REPROCESS, false);
    run_agent(1);
    struct exposure x = exposure_named("exp_5600");
    assert_int_equal(x.state, EX_PARKED);
    assert_non_null(strstr(x.reason, "exp_5600.tar"));
    assert_true(exists("rawdata/ut160901/11/Field.g.ut160901.5600_11.fits"));
}

static void the_same_source_again_is_no_second_exposure(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_5700", .seed = 3};
    store_as(&r, NIGHT, "exp_5700");
    run_agent(1);
    r.method = "original"; /* encoded anew */
    store_as(&r, NIGHT, "exp_5700~2");
    run_agent(2);
    struct exposure x = exposure_named("exp_5700~2");
    assert_int_equal(x.state, EX_PARKED);
    assert_non_null(strstr(x.reason, "bundles/ut160901/exp_5700.tar"));
    assert_non_null(strstr(x.reason, "nothing is lost"));
    assert_int_equal(count_files("rawdata", "*.fits"), 2);
}

static void another_exposure_of_that_name_is_kept_apart(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_5800", .seed = 1};
    store_as(&r, NIGHT, "exp_5800");
    r.seed = 2; /* other pixels in ccd 12, the same in ccd 11: but another source */
    store_as(&r, NIGHT, "exp_5800~2");
    run_agent(2);
    struct exposure x = exposure_named("exp_5800"), y = exposure_named("exp_5800~2");
    assert_true(x.faults + y.faults == 2 && x.placed + y.placed == 2);
    load_settings("[place]\non_conflict = version\n[jobs]\ndry_run = yes\n");
    ask(x.faults ? "exp_5800" : "exp_5800~2", ASK_RETRY, false);
    run_agent(2);
    assert_true(exists("rawdata/ut160901/12/Field.g.ut160901.5800_12~2.fits"));
    assert_int_equal(count_files("rawdata", "*.fits"), 4);
}

static void reprocess_replaces_only_when_forced(void **state)
{
    (void)state;
    static const char rel[] = "rawdata/ut160901/11/Field.g.ut160901.5900_11.fits";
    store_one("exp_5900");
    run_agent(1);
    struct exposure before = exposure_named("exp_5900");
    ask("exp_5900", ASK_REPROCESS, false);
    run_agent(1);
    struct exposure x = exposure_named("exp_5900");
    assert_true(x.faults == 0 && x.placed == 2 && x.id == before.id);
    assert_true(x.stamp[STAMP_DONE] > before.stamp[STAMP_DONE]);
    damage(rel, 4000);
    ask("exp_5900", ASK_REPROCESS, false);
    run_agent(1);
    assert_int_equal(exposure_named("exp_5900").faults, 1);
    ask("exp_5900", ASK_REPROCESS, true);
    run_agent(1);
    x = exposure_named("exp_5900");
    assert_true(x.faults == 0 && !x.force);
    char placed[PULL_PATH];
    pull_path(&settings, rel, placed);
    verify(placed);
}

static void science_goes_to_the_workspace_too(void **state)
{
    (void)state;
    load_settings("[place]\nworkspace = link\n[jobs]\ndry_run = yes\n");
    struct recipe bias = {.name = "exp_6001", .obstype = "bias", .seed = 5};
    store_one("exp_6000");
    store_as(&bias, NIGHT, "exp_6001");
    run_agent(2);
    assert_true(exists("workspace/ut160901/11/Field.g.ut160901.6000_11.fits"));
    assert_int_equal(count_files("workspace", "*.fits"), 2);
}

static void a_second_daemon_is_refused(void **state)
{
    (void)state;
    struct agent *a = NULL, *b = NULL;
    struct fault why;
    char pid[32];
    TRY(agent_open(&settings, &a, WHY));
    assert_int_equal(agent_open(&settings, &b, &why), ST_WAIT);
    assert_null(b);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    assert_non_null(strstr(why.text, pid));
    agent_close(&a);
}

static void drafts_of_a_killed_run_go(void **state)
{
    (void)state;
    store_one("exp_6100");
    /* A run that dies while placing. */
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SKYFERRY_CRASH_AT", "pull:indexed", 1);
        run_agent(1);
        _exit(0);
    }
    int how;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    TRY(fs_mkdirs(in_store("rawdata/ut160901/11"), WHY));
    char draft[PULL_PATH];
    pull_path(&settings, "rawdata/ut160901/11/.Field.g.ut160901.6100_11.fits.99999999.0.part", draft);
    TRY(fs_write_file(draft, "half", 4, false, WHY));
    run_agent(1);
    assert_int_equal(count_files("", ".*.part"), 0);
    assert_int_equal(exposure_named("exp_6100").placed, 2);
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_whole),
        IN_STORE(a_bundle_becomes_files),
        IN_STORE(obstypes_have_their_names),
        IN_STORE(without_a_date_the_receipts_night_holds),
        IN_STORE(run_date_overrides_the_night),
        IN_STORE(one_bad_ccd_holds_no_other),
        IN_STORE(a_broken_bundle_is_parked),
        IN_STORE(a_bundle_that_vanished_is_parked),
        IN_STORE(the_same_source_again_is_no_second_exposure),
        IN_STORE(another_exposure_of_that_name_is_kept_apart),
        IN_STORE(reprocess_replaces_only_when_forced),
        IN_STORE(science_goes_to_the_workspace_too),
        IN_STORE(a_second_daemon_is_refused),
        IN_STORE(drafts_of_a_killed_run_go),
    };
    return cmocka_run_group_tests_name("pull flow", tests, NULL, NULL);
}
