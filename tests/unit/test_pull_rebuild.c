/* `verify` finds what is wrong with the tree; `rebuild` makes the catalogue again from the tree
 * alone, and what it makes says the same as the one that was lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/command_fixture.h"

#define FILE_11 "rawdata/ut160901/11/Field.g.ut160901.%d_11.fits"

static void make_night(void)
{
    char path[4096];
    static const char job[] = "#!/bin/sh\necho '{\"ccds\": []}' >$SKYFERRY_RESULT\n";
    scratch_path(&dir, "job", path);
    TRY(fs_write_file(path, job, strlen(job), false, WHY));
    assert_int_equal(chmod(path, 0755), 0);
    char lines[4200];
    snprintf(lines, sizeof lines, "[jobs]\ncommand = %s\nccds_per_job = 1\n", path);
    load_settings(lines);
    store_one("exp_9000");
    store_one("exp_9001");
    run_agent(2);
}

static int night_setup(void **state)
{
    if (store_setup(state) != 0)
        return -1;
    make_night();
    return 0;
}

static void a_sound_tree_is_sound(void **state)
{
    (void)state;
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_string_equal(said, "4 placed files and 2 bundles checked, 0 problems\n");
}

static void everything_wrong_is_found(void **state)
{
    (void)state;
    char lost[PULL_PATH], stray[PULL_PATH];
    pull_path(&settings, "rawdata/ut160901/12/Field.g.ut160901.9000_12.fits", lost);
    pull_path(&settings, "rawdata/ut160901/11/stray.fits", stray);
    assert_int_equal(unlink(lost), 0);
    TRY(fs_write_file(stray, "x", 1, false, WHY));
    damage("rawdata/ut160901/11/Field.g.ut160901.9000_11.fits", 6000); /* a pixel */
    damage("bundles/ut160901/exp_9001.tar", 5000);
    TRY(fs_write_file(in_store("bundles/ut160901/unknown.tar"), "x", 1, false, WHY));
    TRY(fs_mkdirs(in_store("workspace/ut160901/1"), WHY));
    TRY(fs_write_file(in_store("workspace/ut160901/1/mine.fits"), "x", 1, false, WHY));
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_INCOMPLETE);
    assert_said("rawdata/ut160901/12/Field.g.ut160901.9000_12.fits: is missing (exp_9000 ccd 12;");
    assert_said("rawdata/ut160901/11/Field.g.ut160901.9000_11.fits: ");
    assert_said("SUM");
    assert_said("bundles/ut160901/exp_9001.tar: its SHA-256 is not");
    assert_said("rawdata/ut160901/11/stray.fits: is not in the catalogue (mend: remove it,");
    assert_said("bundles/ut160901/unknown.tar: is not in the catalogue (mend: start skyferry-pull run");
    assert_said("4 placed files and 2 bundles checked, 5 problems");
    assert_null(strstr(said, "mine.fits"));
}

static void a_sound_but_swapped_file_is_found(void **state)
{
    (void)state;
    char a[PULL_PATH], b[PULL_PATH];
    struct buf other = {0};
    pull_path(&settings, "rawdata/ut160901/12/Field.g.ut160901.9000_12.fits", a);
    pull_path(&settings, "rawdata/ut160901/12/Field.g.ut160901.9001_12.fits", b);
    slurp(b, &other);
    TRY(fs_write_file(a, other.data, other.len, false, WHY));
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_INCOMPLETE);
    assert_said("is sound, but not the file that was placed");
    buf_free(&other);
}

static void assert_same_ccds(const struct catalogue *before, const struct catalogue *after,
                             int64_t one, int64_t two)
{
    struct ccd *a, *b;
    size_t n, m;
    TRY(catalogue_ccds((struct catalogue *)before, one, &a, &n, WHY));
    TRY(catalogue_ccds((struct catalogue *)after, two, &b, &m, WHY));
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(a[i].ccd, b[i].ccd);
        assert_int_equal(a[i].hdu, b[i].hdu);
        assert_int_equal(a[i].state, b[i].state);
        assert_int_equal(a[i].size, b[i].size);
        assert_int_equal(a[i].job != 0, b[i].job != 0);
        assert_string_equal(a[i].path, b[i].path);
        assert_string_equal(a[i].member, b[i].member);
        assert_string_equal(a[i].extname, b[i].extname);
        assert_string_equal(a[i].codec, b[i].codec);
        assert_string_equal(a[i].datasum, b[i].datasum);
        assert_string_equal(a[i].checksum, b[i].checksum);
    }
    free(a);
    free(b);
}

static void what_is_rebuilt_says_the_same(void **state)
{
    (void)state;
    struct exposure before[2] = {exposure_named("exp_9000"), exposure_named("exp_9001")};
    char aside[PULL_PATH];
    snprintf(aside, sizeof aside, "%.4000s/aside.db", dir.dir);
    assert_int_equal(rename(settings.catalogue, aside), 0);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("2 exposures, 4 of 4 ccds placed, 4 jobs");
    struct catalogue *old, *new;
    TRY(catalogue_open(aside, true, &old, WHY));
    TRY(catalogue_open(settings.catalogue, true, &new, WHY));
    for (int i = 0; i < 2; i++) {
        struct exposure x = exposure_named(before[i].name);
        assert_string_equal(x.bundle, before[i].bundle);
        assert_string_equal(x.night, before[i].night);
        assert_int_equal(x.state, EX_DONE);
        assert_string_equal(x.source_sha256, before[i].source_sha256);
        assert_string_equal(x.bundle_sha256, before[i].bundle_sha256);
        assert_true(x.raw_size == before[i].raw_size && x.bundle_size == before[i].bundle_size);
        assert_true(x.facts.expnum == before[i].facts.expnum);
        assert_true(x.placed == 2 && x.jobs == 2 && x.jobs_done == 2 && x.faults == 0);
        for (int k = STAMP_CLOSED; k <= STAMP_STORED; k++)
            assert_int_equal(x.stamp[k], before[i].stamp[k]);
        assert_true(x.stamp[STAMP_DONE] >= x.stamp[STAMP_PLACED]);
        assert_same_ccds(old, new, before[i].id, x.id);
    }
    catalogue_close(&old);
    catalogue_close(&new);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    run_agent(2); /* the daemon finds nothing left to do */
    assert_int_equal(count_files("jobs", "end.json"), 4);
}

/* A night on another disk is the store's; while that is not mounted, its catalogue is kept. */
static void bundles_behind_a_link(void **state)
{
    (void)state;
    char night[PULL_PATH], away[PULL_PATH], gone[PULL_PATH];
    pull_path(&settings, "bundles/ut160901", night);
    snprintf(away, sizeof away, "%.4000s/away", dir.dir);
    snprintf(gone, sizeof gone, "%.4000s/gone", dir.dir);
    assert_int_equal(rename(night, away), 0);
    assert_int_equal(symlink(away, night), 0);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("2 exposures, 4 of 4 ccds placed, 4 jobs");
    assert_int_equal(rename(away, gone), 0);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_FAILED);
    assert_int_equal(exposure_named("exp_9001").state, EX_DONE);
    assert_int_equal(unlink(settings.catalogue), 0); /* what its message says */
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("0 exposures");
    assert_int_equal(rename(gone, away), 0);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("2 exposures, 4 of 4 ccds placed, 4 jobs");
}

static void the_rest_is_done_by_the_daemon(void **state)
{
    (void)state;
    char lost[PULL_PATH], end[PULL_PATH];
    pull_path(&settings, "rawdata/ut160901/12/Field.g.ut160901.9000_12.fits", lost);
    pull_path(&settings, "jobs/ut160901/exp_9001/q2/end.json", end);
    assert_int_equal(unlink(lost), 0);
    assert_int_equal(unlink(end), 0);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("3 of 4 ccds placed");
    assert_int_equal(exposure_named("exp_9000").state, EX_STORED);
    assert_int_equal(exposure_named("exp_9001").state, EX_WORKING);
    run_agent(2);
    for (int i = 0; i < 2; i++) {
        struct exposure x = exposure_named(i ? "exp_9001" : "exp_9000");
        assert_true(x.state == EX_DONE && x.placed == 2 && x.jobs == 2 && x.jobs_done == 2);
    }
    assert_int_equal(access(lost, F_OK), 0);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
}

struct found_job {
    struct job j[3];
};

static bool take_found(void *ctx, const struct job *j)
{
    struct found_job *f = ctx;
    if (j->number < 3)
        f->j[j->number] = *j;
    return true;
}

/* One is in the queue, of the other a task runs: the daemon takes both up by their submission's
 * key; what has ended stays ended, whatever else lies in its folder. */
static void what_a_batch_system_has_is_taken_up(void **state)
{
    (void)state;
    static const char order[] = "{\"runner\": \"pbs\", \"key\": \"00112233445566aa\"}";
    static const char claim[] = "{\"key\": \"00112233445566aa\", \"batch\": \"12[2]\", "
                                "\"node\": \"n7\", \"started_ns\": 1700000000000000000}";
    struct found_job f = {0};
    struct catalogue *cat;
    for (int q = 1; q <= 2; q++) {
        char rel[128];
        for (int x = 0; x < 2; x++) {
            snprintf(rel, sizeof rel, "jobs/ut160901/exp_900%d/q%d/task.json", x, q);
            TRY(fs_write_file(in_store(rel), order, strlen(order), false, WHY));
        }
        snprintf(rel, sizeof rel, "jobs/ut160901/exp_9001/q%d/end.json", q);
        assert_int_equal(unlink(in_store(rel)), 0);
    }
    TRY(fs_write_file(in_store("jobs/ut160901/exp_9001/q2/claim.json"), claim, strlen(claim), false,
                      WHY));
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_int_equal(exposure_named("exp_9000").state, EX_DONE);
    struct exposure x = exposure_named("exp_9001");
    assert_int_equal(x.state, EX_WORKING);
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_jobs_of(cat, x.id, take_found, &f, WHY));
    catalogue_close(&cat);
    for (int q = 1; q <= 2; q++) {
        assert_int_equal(f.j[q].state, JOB_RUNNING);
        assert_int_equal(f.j[q].attempts, 1);
        assert_string_equal(f.j[q].handle, "pbs 00112233445566aa");
    }
    assert_string_equal(f.j[1].batch, "");
    assert_string_equal(f.j[2].batch, "12[2]");
    assert_string_equal(f.j[2].node, "n7");
    struct agent *a = NULL; /* it is not begun anew by another runner */
    enum status st = agent_open(&settings, &a, WHY);
    agent_close(&a);
    assert_int_equal(st, ST_FATAL);
    assert_non_null(strstr(try_fault.text, "in PBS's queue (12[2])"));
    assert_true(exists("jobs/ut160901/exp_9001/q1/task.json"));
    assert_int_equal(call(command_check, NULL, NULL), EXIT_FAILED);
    assert_said("FAIL  jobs: 1 in PBS's queue, the first jobs/ut160901/exp_9001/q2 (12[2])");
    assert_said("-> set [jobs] runner = pbs until");
    assert_said("warn  jobs: 1 that PBS never confirmed, the first jobs/ut160901/exp_9001/q1");
}

/* The call was refused, or its answer lost: another runner may have the jobs. A submission that
 * arrives after that finds no order. */
static void what_no_batch_system_confirmed_is_given_up(void **state)
{
    (void)state;
    static const char order[] = "{\"runner\": \"slurm\", \"key\": \"00112233445566aa\"}";
    struct found_job f = {0};
    struct catalogue *cat;
    for (int q = 1; q <= 2; q++) {
        char rel[128];
        snprintf(rel, sizeof rel, "jobs/ut160901/exp_9001/q%d/task.json", q);
        TRY(fs_write_file(in_store(rel), order, strlen(order), false, WHY));
        snprintf(rel, sizeof rel, "jobs/ut160901/exp_9001/q%d/end.json", q);
        assert_int_equal(unlink(in_store(rel)), 0);
    }
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_int_equal(exposure_named("exp_9001").state, EX_WORKING);
    assert_int_equal(call(command_check, NULL, NULL), EXIT_DONE);
    assert_said("warn  jobs: 2 that Slurm never confirmed, the first jobs/ut160901/exp_9001/q");
    assert_int_equal(call(command_retry, NULL, OPERANDS("exp_9001")), EXIT_DONE);
    struct exposure x = exposure_named("exp_9001");
    assert_int_equal(x.state, EX_DONE);
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_jobs_of(cat, x.id, take_found, &f, WHY));
    catalogue_close(&cat);
    for (int q = 1; q <= 2; q++)
        assert_true(f.j[q].state == JOB_DONE && f.j[q].attempts == 1);
    assert_false(exists("jobs/ut160901/exp_9001/q1/task.json"));
    assert_false(exists("jobs/ut160901/exp_9001/q2/task.json"));
}

static void other_templates_find_the_files_all_the_same(void **state)
{
    (void)state;
    snprintf(settings.place[OBS_SCIENCE], sizeof settings.place[OBS_SCIENCE],
             "rawdata/elsewhere/{name}_{ccd}.fits");
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("4 of 4 ccds placed");
}

static void a_running_daemon_is_not_pulled_from_under(void **state)
{
    (void)state;
    struct agent *a;
    TRY(agent_open(&settings, &a, WHY));
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_FAILED);
    assert_said("stop it first");
    agent_close(&a);
    assert_int_equal(exposure_named("exp_9000").state, EX_DONE);
}

/* Its flock is not seen here, its lease is. */
static void nor_is_one_on_another_machine(void **state)
{
    static const char lease[] = "host login2\npid 1\nsystem another\nid 77\nseconds 3600\n";
    (void)state;
    struct catalogue_identity before, after;
    struct catalogue *c;
    TRY(catalogue_open(settings.catalogue, true, &c, WHY));
    TRY(catalogue_identity(c, &before, WHY));
    catalogue_close(&c);
    TRY(fs_write_file(in_store("daemon.lease"), lease, strlen(lease), false, WHY));
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_FAILED);
    assert_said("login2 (process 1) works in this store");
    TRY(catalogue_open(settings.catalogue, true, &c, WHY));
    TRY(catalogue_identity(c, &after, WHY));
    catalogue_close(&c);
    assert_string_equal(before.id, after.id);
    /* Nor is it asked by way of a catalogue that is not its own. */
    assert_int_equal(call(command_reprocess, OPTIONS({OPT_NAME, "exp_9000", "name"}), NULL),
                     EXIT_FAILED);
    assert_said("login2 (process 1) works in this store");
}

static void set_node(const char *name)
{
    snprintf(settings.state, sizeof settings.state, "%.400s/%s", dir.dir, name);
    snprintf(settings.catalogue, sizeof settings.catalogue, "%.4000s/catalogue.db", settings.state);
    snprintf(settings.lock, sizeof settings.lock, "%.4000s/lock", settings.state);
}

static void assert_not_the_stores(void)
{
    struct agent *a = NULL;
    assert_int_equal(agent_open(&settings, &a, WHY), ST_REJECT);
    assert_null(a);
    assert_non_null(strstr((WHY)->text, "is not this store's"));
    assert_non_null(strstr((WHY)->text, "skyferry-pull rebuild"));
    assert_false(exists("daemon.lease"));
    assert_int_equal(call(command_run, NULL, NULL), EXIT_USAGE);
}

static void only_the_stores_own_catalogue_works(void **state)
{
    (void)state;
    struct agent *a = NULL;
    set_node("node2");
    assert_not_the_stores(); /* to an empty one everything would be new */
    call(command_check, NULL, NULL);
    assert_said("FAIL  the catalogue");
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("2 exposures, 4 of 4 ccds placed, 4 jobs");
    TRY(agent_open(&settings, &a, WHY));
    agent_close(&a);
    set_node("node3");
    assert_not_the_stores();
    set_node("node2");
    TRY(agent_open(&settings, &a, WHY));
    agent_close(&a);
    assert_int_equal(exposure_named("exp_9000").state, EX_DONE);
}

/* Put back from a backup, or brought from another node, after the original went on. */
static void an_old_copy_of_it_does_not(void **state)
{
    (void)state;
    struct agent *a = NULL;
    struct buf old = {0};
    struct catalogue *c;
    struct catalogue_identity is;
    slurp(settings.catalogue, &old);
    TRY(agent_open(&settings, &a, WHY));
    agent_close(&a);
    TRY(fs_write_file(settings.catalogue, old.data, old.len, false, WHY));
    assert_int_equal(agent_open(&settings, &a, WHY), ST_REJECT);
    assert_non_null(strstr((WHY)->text, "is an old copy of this store's"));
    /* A start that was cut short when only the catalogue had its term is no other copy. */
    TRY(catalogue_open(settings.catalogue, false, &c, WHY));
    TRY(catalogue_identity(c, &is, WHY));
    TRY(catalogue_set_term(c, is.term + 2, WHY));
    catalogue_close(&c);
    for (int i = 0; i < 2; i++) {
        TRY(agent_open(&settings, &a, WHY));
        agent_close(&a);
    }
    TRY(fs_write_file(settings.catalogue, old.data, old.len, false, WHY));
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    TRY(agent_open(&settings, &a, WHY));
    agent_close(&a);
    buf_free(&old);
}

static void a_store_that_is_not_there_is_no_empty_store(void **state)
{
    (void)state;
    snprintf(settings.root, sizeof settings.root, "%s/not-mounted", dir.dir);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_FAILED);
    assert_said("no store at");
}

static void a_damaged_catalogue_can_be_rebuilt(void **state)
{
    (void)state;
    int fd = open(settings.catalogue, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "this is no database, and it is long enough to tell", 50), 50);
    close(fd);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_FAILED);
    assert_said("rebuild");
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    char old[PULL_PATH + 8];
    snprintf(old, sizeof old, "%s.old", settings.catalogue);
    assert_int_equal(access(old, F_OK), 0);
}

static void folders_of_an_earlier_round_are_no_jobs(void **state)
{
    (void)state;
    settings.ccds_per_job = 2; /* so that reprocessing makes one job where there were two */
    ask("exp_9000", ASK_REPROCESS, false);
    run_agent(2);
    assert_int_equal(exposure_named("exp_9000").jobs, 1);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("4 of 4 ccds placed, 3 jobs");
    assert_int_equal(exposure_named("exp_9000").jobs, 1);
    assert_true(exists("jobs/ut160901/exp_9000/q2/out")); /* what it wrote is kept */
}

static void a_foreign_fits_file_is_no_ccd(void **state)
{
    (void)state;
    struct buf whole = {0};
    char path[PULL_PATH];
    /* A cut copy of a placed file must not count as that ccd. */
    pull_path(&settings, "rawdata/ut160901/12/Field.g.ut160901.9000_12.fits", path);
    slurp(path, &whole);
    assert_int_equal(unlink(path), 0);
    TRY(fs_write_file(in_store("rawdata/ut160901/12/cut.fits"), whole.data, whole.len - 2880,
                      false, WHY));
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("3 of 4 ccds placed");
    buf_free(&whole);
}

#define NIGHT_OF(test) cmocka_unit_test_setup_teardown(test, night_setup, store_teardown)

/* The pair of a lossy bundle and the exact one that followed, found with every state of the
 * files: all lossy, one exact already, all exact; with both bundles and with the exact alone. */
static void exact_data_that_followed_are_one_exposure(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char lines[200];
        snprintf(lines, sizeof lines, "[jobs]\nccds_per_job = 1\ndry_run = yes\n[store]\n"
                 "keep_lossy = %s\n", i == 2 ? "no" : "yes");
        load_settings(lines);
        remove_tree(settings.root);
        store_lossy("exp_7");
        run_agent(1);
        struct exposure lossy = exposure_named("exp_7"), x;
        struct buf file = {0};
        slurp(in_store("rawdata/ut160901/11/Field.g.ut160901.7_11.fits"), &file);
        store_exact("exp_7");
        if (i > 0)
            for (int n = 0; n < 50 && exposure_named("exp_7").stamp[STAMP_RENEWED] == 0; n++)
                run_agent(1);
        if (i == 1) /* as a crash left it */
            TRY(fs_write_file(in_store("rawdata/ut160901/11/Field.g.ut160901.7_11.fits"), file.data,
                              file.len, false, WHY));
        buf_free(&file);
        if (i == 2)
            run_agent(1);
        assert_int_equal(exists("bundles/ut160901/exp_7.tar"), i < 2);
        assert_int_equal(unlink(settings.catalogue), 0);
        assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
        x = exposure_named("exp_7");
        assert_string_equal(x.bundle, "bundles/ut160901/exp_7.exact.tar");
        assert_int_equal(x.exact, i == 2 ? EXACT_YES : EXACT_COMING);
        assert_int_equal(x.state == EX_STORED, i < 2);
        assert_true(x.stamp[STAMP_STORED] == lossy.stamp[STAMP_STORED]);
        assert_true(x.placed == 2 && x.jobs == 2);
        run_agent(1);
        x = exposure_named("exp_7");
        assert_int_equal(x.exact, EXACT_YES);
        assert_int_equal(x.state, EX_DONE);
        assert_true(x.placed == 2 && x.faults == 0 && x.jobs == 2);
        assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
        assert_said(i < 2 ? "2 placed files and 2 bundles checked, 0 problems"
                          : "2 placed files and 1 bundles checked, 0 problems");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NIGHT_OF(a_sound_tree_is_sound),
        NIGHT_OF(everything_wrong_is_found),
        NIGHT_OF(a_sound_but_swapped_file_is_found),
        NIGHT_OF(what_is_rebuilt_says_the_same), NIGHT_OF(bundles_behind_a_link),
        NIGHT_OF(the_rest_is_done_by_the_daemon),
        NIGHT_OF(what_a_batch_system_has_is_taken_up),
        NIGHT_OF(what_no_batch_system_confirmed_is_given_up),
        NIGHT_OF(other_templates_find_the_files_all_the_same),
        NIGHT_OF(a_running_daemon_is_not_pulled_from_under),
        NIGHT_OF(nor_is_one_on_another_machine),
        NIGHT_OF(only_the_stores_own_catalogue_works),
        NIGHT_OF(an_old_copy_of_it_does_not),
        NIGHT_OF(a_store_that_is_not_there_is_no_empty_store),
        NIGHT_OF(a_damaged_catalogue_can_be_rebuilt),
        NIGHT_OF(folders_of_an_earlier_round_are_no_jobs),
        NIGHT_OF(a_foreign_fits_file_is_no_ccd),
        NIGHT_OF(exact_data_that_followed_are_one_exposure),
    };
    return cmocka_run_group_tests_name("pull rebuild and verify", tests, NULL, NULL);
}
