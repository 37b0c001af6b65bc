/* Exact data that follow a lossy exposure: every placed file becomes exact under its name, the
 * catalogue says so, what somebody changed is kept, and only then the lossy bundle goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pull/part.h"
#include "pull/renew.h"
#include "tests/unit/pull_fixture.h"

#define CCD11 "rawdata/ut160901/11/Field.g.ut160901.7_11.fits"
#define CCD12 "rawdata/ut160901/12/Field.g.ut160901.7_12.fits"
#define LOSSY "bundles/ut160901/exp_7.tar"
#define EXACT "bundles/ut160901/exp_7.exact.tar"
#define SETTLED "[jobs]\nccds_per_job = 1\ndry_run = yes\n"

/* Is the placed file's image that of the source (which recipe_source wrote last)? */
static bool is_exact(const char *rel, int hdu)
{
    struct fits_file f = {0};
    struct fits_image want = {0}, got = {0};
    struct buf whole = {0};
    char source[4096], placed[PULL_PATH];
    pull_path(&settings, rel, placed);
    int fd = open(scratch_path(&dir, "source.fits", source), O_RDONLY);
    TRY(fits_scan(fd, &f, WHY));
    TRY(fits_read_hdu(fd, &f.hdu[hdu], &whole, WHY));
    TRY(fits_image_load(whole.data, whole.len, &want, WHY));
    load(placed, &got); /* its sums are right, too */
    assert_int_equal(got.size, want.size);
    bool same = memcmp(got.data, want.data, want.size) == 0;
    fits_image_free(&want);
    fits_image_free(&got);
    fits_file_free(&f);
    buf_free(&whole);
    close(fd);
    return same;
}

static void ccds_of(const char *name, struct ccd out[2])
{
    struct exposure x = exposure_named(name);
    struct catalogue *cat;
    struct ccd *ccds = NULL;
    size_t count;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_ccds(cat, x.id, &ccds, &count, WHY));
    assert_int_equal(count, 2);
    memcpy(out, ccds, 2 * sizeof *out);
    free(ccds);
    catalogue_close(&cat);
}

static int64_t exposures(void)
{
    struct catalogue *cat;
    struct wanted_exposure w = {.found = 0};
    struct catalogue_pick all = {0};
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_each(cat, &all, take_exposure, &w, WHY));
    catalogue_close(&cat);
    return w.found;
}

static bool note_role(void *ctx, const struct other_bundle *b)
{
    snprintf(ctx, 600, "%d %s", (int)b->role, b->path);
    return false;
}

/* The one bundle of this role, "" when there is none. */
static const char *beside(enum bundle_role role)
{
    static char said[600];
    struct catalogue *cat;
    said[0] = '\0';
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_bundles(cat, role, false, note_role, said, WHY));
    catalogue_close(&cat);
    return said[0] ? said + 2 : said;
}

static void lossy_first(void)
{
    store_lossy("exp_7");
    run_agent(1);
    struct exposure x = exposure_named("exp_7");
    assert_int_equal(x.exact, EXACT_NO);
    assert_int_equal(x.state, EX_DONE);
    assert_false(is_exact(CCD11, 1));
    assert_false(is_exact(CCD12, 2));
}

/* Until the exact data are taken up and the exposure rests; the run before the last may end
 * before they were noticed. */
static void run_renewal(void)
{
    for (int i = 0; i < 50 && (exposure_named("exp_7").exact == EXACT_NO || beside(BUNDLE_NEXT)[0]);
         i++)
        run_agent(1);
    run_agent(1);
}

static void lossy_files_become_exact(void **state)
{
    (void)state;
    struct ccd before[2], after[2];
    lossy_first();
    struct exposure x, was = exposure_named("exp_7");
    ccds_of("exp_7", before);
    store_exact("exp_7");
    run_renewal();
    x = exposure_named("exp_7");
    ccds_of("exp_7", after);
    assert_int_equal(exposures(), 1);
    assert_int_equal(x.exact, EXACT_YES);
    assert_int_equal(x.state, EX_DONE);
    assert_true(x.placed == 2 && x.faults == 0 && x.jobs == 2);
    assert_string_equal(x.bundle, EXACT);
    assert_string_equal(x.name, "exp_7");
    /* When it came first and how long that took is not rewritten. */
    assert_memory_equal(x.stamp, was.stamp, STAMP_RENEWED * sizeof *x.stamp);
    assert_true(x.stamp[STAMP_RENEWED] > was.stamp[STAMP_DONE]);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(after[i].path, before[i].path);
        assert_string_equal(before[i].codec, "htj2k");
        assert_string_equal(after[i].codec, "rice");
        assert_true(after[i].qstep == 0 && before[i].qstep > 0);
        assert_int_equal(after[i].job, before[i].job);
        assert_string_not_equal(after[i].datasum, before[i].datasum);
    }
    assert_true(is_exact(CCD11, 1) && is_exact(CCD12, 2));
    verify(in_store(CCD11));
    assert_false(exists(LOSSY));
    assert_true(exists("bundles/ut160901/exp_7.receipt") && exists(EXACT));
    assert_string_equal(beside(BUNDLE_FORMER), "");
    assert_int_equal(count_files("rawdata", "*"), 2);
    run_agent(1); /* nothing is left to do */
    assert_memory_equal(exposure_named("exp_7").stamp, x.stamp, sizeof x.stamp);
}

static void a_file_that_somebody_changed_is_kept(void **state)
{
    (void)state;
    struct ccd ccds[2];
    lossy_first();
    damage(CCD11, 8000);
    store_exact("exp_7");
    run_renewal();
    struct exposure x = exposure_named("exp_7");
    ccds_of("exp_7", ccds);
    assert_int_equal(x.state, EX_DONE);
    assert_int_equal(x.exact, EXACT_COMING); /* not all of it */
    assert_int_equal(x.faults, 1);
    assert_int_equal(ccds[0].state, CCD_PARKED);
    assert_non_null(strstr(ccds[0].reason, "is there already with other bytes and is kept"));
    assert_true(is_exact(CCD12, 2));
    assert_true(exists(LOSSY));
    assert_string_equal(beside(BUNDLE_FORMER), LOSSY);
    /* Kept beside it, when that is asked for. */
    load_settings(SETTLED "[place]\non_conflict = version\n");
    ask("exp_7", ASK_RETRY, false);
    run_agent(1);
    ccds_of("exp_7", ccds);
    assert_string_equal(ccds[0].path, "rawdata/ut160901/11/Field.g.ut160901.7_11~2.fits");
    assert_true(is_exact(ccds[0].path, 1));
    assert_int_equal(exposure_named("exp_7").exact, EXACT_YES);
    assert_true(exists(CCD11));
    assert_false(exists(LOSSY));
}

/* The rule for two exposures of one name is none for what a person did. */
static void replace_does_not_mean_that(void **state)
{
    (void)state;
    struct ccd ccds[2];
    load_settings(SETTLED "[place]\non_conflict = replace\n");
    lossy_first();
    damage(CCD11, 8000);
    store_exact("exp_7");
    run_renewal();
    ccds_of("exp_7", ccds);
    assert_int_equal(ccds[0].state, CCD_PARKED);
    assert_true(is_exact(CCD12, 2));
}

static void force_replaces_even_that(void **state)
{
    (void)state;
    lossy_first();
    damage(CCD11, 8000);
    store_exact("exp_7");
    run_renewal();
    ask("exp_7", ASK_REPROCESS, true);
    run_agent(1);
    assert_int_equal(exposure_named("exp_7").exact, EXACT_YES);
    assert_true(is_exact(CCD11, 1) && is_exact(CCD12, 2));
    assert_int_equal(count_files("rawdata", "*"), 2);
}

/* The daemon was down all night: it finds both at once. The lossy one is never decoded. */
static void the_exact_data_win(void **state)
{
    (void)state;
    store_lossy("exp_7");
    store_exact("exp_7");
    run_agent(1);
    run_renewal();
    struct exposure x = exposure_named("exp_7");
    assert_int_equal(exposures(), 1);
    assert_int_equal(x.exact, EXACT_YES);
    assert_int_equal(x.state, EX_DONE);
    assert_true(is_exact(CCD11, 1) && is_exact(CCD12, 2));
    assert_false(exists(LOSSY));
}

static void they_mend_what_lossy_data_could_not_give(void **state)
{
    (void)state;
    struct manifest m = {0};
    struct receipt r;
    store_lossy("exp_7");
    TRY(adopt_read(in_store(LOSSY), &m, &r, WHY));
    for (size_t i = 0; i < m.count; i++)
        if (m.members[i].role == MEMBER_IMAGE && m.members[i].ccd == 11)
            damage(LOSSY, m.members[i].offset + m.members[i].size / 2);
    manifest_free(&m);
    run_agent(1);
    assert_int_equal(exposure_named("exp_7").faults, 1);
    store_exact("exp_7");
    run_renewal();
    assert_int_equal(exposure_named("exp_7").faults, 0);
    assert_int_equal(exposure_named("exp_7").exact, EXACT_YES);
    assert_true(is_exact(CCD11, 1) && is_exact(CCD12, 2));
}

static void a_damaged_exact_bundle_harms_nothing(void **state)
{
    (void)state;
    struct manifest m = {0};
    struct receipt r;
    struct ccd ccds[2];
    lossy_first();
    store_exact("exp_7");
    TRY(adopt_read(in_store(EXACT), &m, &r, WHY));
    for (size_t i = 0; i < m.count; i++)
        if (m.members[i].role == MEMBER_IMAGE && m.members[i].ccd == 12)
            damage(EXACT, m.members[i].offset + m.members[i].size / 2);
    manifest_free(&m);
    run_renewal();
    ccds_of("exp_7", ccds);
    assert_int_equal(ccds[1].state, CCD_PARKED);
    assert_true(exists(CCD12)); /* the lossy pixels */
    assert_false(is_exact(CCD12, 2));
    assert_true(is_exact(CCD11, 1));
    assert_true(exists(LOSSY));
    /* The whole bundle is there: what failed takes its place. */
    store_exact("exp_7");
    ask("exp_7", ASK_RETRY, false);
    run_agent(1);
    assert_int_equal(exposure_named("exp_7").exact, EXACT_YES);
    assert_true(is_exact(CCD12, 2));
    assert_int_equal(count_files("rawdata", "*"), 2);
    assert_false(exists(LOSSY));
}

static void what_only_says_exact_is_refused(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_7", .seed = 7, .method = "htj2k"};
    char text[8192];
    struct buf receipt = {0};
    lossy_first();
    lossy_qstep = 0.002;
    store_as(&r, NIGHT, "exp_7.exact");
    lossy_qstep = 0;
    TRY(fs_read_file(in_store("bundles/ut160901/exp_7.exact.receipt"), 8000, &receipt, WHY));
    snprintf(text, sizeof text, "%.*s,\"exact\":true}", (int)receipt.len - 1, receipt.data);
    TRY(fs_write_file(in_store("bundles/ut160901/exp_7.exact.receipt"), text, strlen(text), false,
                      WHY));
    buf_free(&receipt);
    run_renewal();
    struct exposure x = exposure_named("exp_7");
    assert_int_equal(x.state, EX_PARKED);
    assert_non_null(strstr(x.reason, "should hold exact data and is lossy"));
    assert_true(exists(LOSSY) && exists(CCD11));
}

static void both_are_kept_when_asked_for(void **state)
{
    (void)state;
    load_settings(SETTLED "[store]\nkeep_lossy = yes\n");
    lossy_first();
    store_exact("exp_7");
    run_renewal();
    assert_true(exists(LOSSY) && exists(EXACT));
    assert_string_equal(beside(BUNDLE_FORMER), LOSSY);
    assert_int_equal(exposures(), 1);
    load_settings(SETTLED);
    run_agent(1);
    for (int i = 0; i < 50 && exists(LOSSY); i++)
        run_agent(1);
    assert_false(exists(LOSSY));
}

static void jobs_run_again_only_when_asked(void **state)
{
    (void)state;
    struct ccd before[2], after[2];
    lossy_first();
    ccds_of("exp_7", before);
    load_settings(SETTLED "rerun_on_exact = yes\n");
    store_exact("exp_7");
    run_renewal();
    ccds_of("exp_7", after);
    struct exposure x = exposure_named("exp_7");
    assert_int_equal(x.exact, EXACT_YES);
    assert_int_equal(x.jobs, 2);
    assert_true(x.stamp[STAMP_DONE] >= x.stamp[STAMP_RENEWED]);
    for (int i = 0; i < 2; i++)
        assert_true(after[i].job > before[i].job); /* another row */
}

static void the_workspace_follows(void **state)
{
    (void)state;
    static const char *const ways[] = {"copy", "link"};
    for (int i = 0; i < 2; i++) {
        char more[200];
        struct stat a, b;
        snprintf(more, sizeof more, SETTLED "[place]\nworkspace = %s\n", ways[i]);
        load_settings(more);
        remove_tree(settings.root);
        lossy_first();
        TRY(fs_write_file(in_store("workspace/ut160901/12/Field.g.ut160901.7_12.fits"), "mine", 4,
                          false, WHY));
        store_exact("exp_7");
        run_renewal();
        assert_int_equal(exposure_named("exp_7").exact, EXACT_YES);
        assert_true(is_exact("workspace/ut160901/11/Field.g.ut160901.7_11.fits", 1));
        assert_int_equal(stat(in_store("workspace/ut160901/11/Field.g.ut160901.7_11.fits"), &a), 0);
        assert_int_equal(stat(in_store(CCD11), &b), 0);
        assert_int_equal(a.st_ino == b.st_ino, i);
        assert_int_equal(stat(in_store("workspace/ut160901/12/Field.g.ut160901.7_12.fits"), &a), 0);
        assert_int_equal(a.st_size, 4); /* somebody's work */
        assert_int_equal(count_files("", ".*.part"), 0);
    }
}

/* Carried over on a disk, without a receipt. */
static void they_may_come_by_hand(void **state)
{
    (void)state;
    lossy_first();
    struct recipe r = {.name = "exp_7", .seed = 7};
    cook(&r, in_store("exp_7.tar"));
    run_renewal();
    struct exposure x = exposure_named("exp_7");
    assert_int_equal(exposures(), 1);
    assert_int_equal(x.exact, EXACT_YES);
    assert_string_equal(x.bundle, "bundles/ut160901/exp_7~2.tar");
    assert_true(is_exact(CCD11, 1) && is_exact(CCD12, 2));
    assert_false(exists(LOSSY));
}

/* What was delivered exactly at once is not replaced by anything; a second copy is a twin. */
static void what_is_exact_needs_nothing(void **state)
{
    (void)state;
    struct recipe r = {.name = "exp_7", .seed = 7};
    store_as(&r, NIGHT, "exp_7");
    run_agent(1);
    assert_int_equal(exposure_named("exp_7").exact, EXACT_YES);
    assert_true(exposure_named("exp_7").stamp[STAMP_RENEWED] == 0);
    store_exact("exp_7");
    run_agent(2);
    assert_int_equal(exposures(), 2);
    assert_true(exists(LOSSY) && exists(EXACT));
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_STORE(lossy_files_become_exact),
        IN_STORE(a_file_that_somebody_changed_is_kept),
        IN_STORE(replace_does_not_mean_that),
        IN_STORE(force_replaces_even_that),
        IN_STORE(the_exact_data_win),
        IN_STORE(they_mend_what_lossy_data_could_not_give),
        IN_STORE(a_damaged_exact_bundle_harms_nothing),
        IN_STORE(what_only_says_exact_is_refused),
        IN_STORE(both_are_kept_when_asked_for),
        IN_STORE(jobs_run_again_only_when_asked),
        IN_STORE(the_workspace_follows),
        IN_STORE(they_may_come_by_hand),
        IN_STORE(what_is_exact_needs_nothing),
    };
    return cmocka_run_group_tests_name("exact data that follow", tests, NULL, NULL);
}
