/* `copycals`: one night's calibrations for another; what `verify`, `rebuild` and the daemon make
 * of the copies, and that nothing of anybody else is ever touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/copying.h"
#include "tests/unit/command_fixture.h"

#define NEXT "ut160902"
#define BIAS "rawdata/%s/%d/bias.%s.7001_%d.fits"
#define FLAT "rawdata/%s/%d/domeflat.g.%s.7002_%d.fits"

static const struct option_found nights[] = {{OPT_IN_NIGHT, NIGHT, "input"},
                                             {OPT_OUT_NIGHT, NEXT, "output"},
                                             {0}};

static const char *at(const char *format, const char *night, int ccd)
{
    static char rel[1024];
    snprintf(rel, sizeof rel, format, night, ccd, night, ccd);
    return rel;
}

static ino_t inode(const char *rel)
{
    struct stat st;
    if (stat(in_store(rel), &st) != 0)
        fail_msg("%s is not there", rel);
    return st.st_ino;
}

static void assert_same_bytes(const char *a, const char *b)
{
    struct buf x = {0}, y = {0};
    slurp(in_store(a), &x);
    slurp(in_store(b), &y);
    assert_int_equal(x.len, y.len);
    assert_memory_equal(x.data, y.data, x.len);
    buf_free(&x);
    buf_free(&y);
}

/* A bias frame, a flat and a field of one night; nothing yet of the next. */
static int night_setup(void **state)
{
    static const struct recipe bias = {.name = "bias_7001", .obstype = "zero", .seed = 1},
                               flat = {.name = "flat_7002", .obstype = "dome flat", .seed = 2},
                               field = {.name = "exp_7003", .seed = 3};
    if (store_setup(state) != 0)
        return -1;
    store_as(&bias, NIGHT, bias.name);
    store_as(&flat, NIGHT, flat.name);
    store_as(&field, NIGHT, field.name);
    run_agent(3);
    return 0;
}

static void a_night_gets_anothers_calibrations(void **state)
{
    (void)state;
    char from[1024];
    const struct option_found dry[] = {nights[0], nights[1], {OPT_DRY_RUN, NULL, "dry-run"}, {0}};
    assert_int_equal(call(command_copycals, dry, NULL), EXIT_DONE);
    assert_said("bias bias_7001: 2 ccds to be copied\nflat flat_7002: 2 ccds to be copied\n"
                "ut160901 to ut160902: 4 files would be copied, 0 there already");
    assert_false(exists("rawdata/" NEXT));
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("bias bias_7001: 2 ccds copied\nflat flat_7002: 2 ccds copied\n"
                "ut160901 to ut160902: 4 files copied, ");
    for (int ccd = 11; ccd <= 12; ccd++) {
        snprintf(from, sizeof from, "%s", at(BIAS, NIGHT, ccd));
        assert_same_bytes(from, at(BIAS, NEXT, ccd));
        snprintf(from, sizeof from, "%s", at(FLAT, NIGHT, ccd));
        assert_same_bytes(from, at(FLAT, NEXT, ccd));
    }
    assert_int_equal(count_files("rawdata/" NEXT, "*"), 4); /* no science, no draft */
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("0 files copied, 4 there already, 0 of that night's own, 0 refused\n");
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_said("6 placed files and 3 bundles checked, 4 copied calibrations, 0 problems\n");
    assert_int_equal(call(command_status, OPTIONS({OPT_NIGHT, NEXT, "night"}), OPERANDS("inventory")),
                     EXIT_DONE);
    assert_said("ut160902 bias 1 copied; flats g 1 copied\n");
}

static void what_is_chosen_is_copied(void **state)
{
    (void)state;
    const struct option_found some[] = {nights[0], nights[1], {OPT_KIND, "flat", "kind"},
                                        {OPT_CCD, "12-14", "ccd"}, {0}};
    assert_int_equal(call(command_copycals, some, NULL), EXIT_INCOMPLETE);
    assert_said("--ccd 12-14: ut160901 has no ccd 13; the others are done");
    assert_said("flat flat_7002: 1 ccd copied");
    assert_int_equal(count_files("rawdata/" NEXT, "*"), 1);
    assert_true(exists(at(FLAT, NEXT, 12)));
}

static void what_cannot_be_is_said(void **state)
{
    (void)state;
    static const struct {
        struct option_found found[5];
        int code;
        const char *words;
    } set[] = {
        {{{OPT_IN_NIGHT, NIGHT, ""}}, EXIT_USAGE, "copycals -i utYYMMDD -o utYYMMDD"},
        {{{OPT_IN_NIGHT, NIGHT, ""}, {OPT_OUT_NIGHT, "160902", ""}}, EXIT_USAGE, "'160902' is no night"},
        {{{OPT_IN_NIGHT, NIGHT, ""}, {OPT_OUT_NIGHT, NIGHT, ""}}, EXIT_USAGE, "to itself"},
        {{{OPT_IN_NIGHT, NIGHT, ""}, {OPT_OUT_NIGHT, NEXT, ""}, {OPT_CCD, "1;2", ""}}, EXIT_USAGE,
         "give numbers and ranges"},
        {{{OPT_IN_NIGHT, NIGHT, ""}, {OPT_OUT_NIGHT, NEXT, ""}, {OPT_KIND, "dark", ""}}, EXIT_USAGE,
         "there are bias and flat"},
        {{{OPT_IN_NIGHT, "ut170101", ""}, {OPT_OUT_NIGHT, NEXT, ""}}, EXIT_FAILED,
         "no exposure of ut170101"},
        {{{OPT_IN_NIGHT, NIGHT, ""}, {OPT_OUT_NIGHT, NEXT, ""}, {OPT_CCD, "5", ""}}, EXIT_INCOMPLETE,
         "ut160901 has no ccd 5"},
    };
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        int code = call(command_copycals, set[i].found, NULL);
        if (code != set[i].code)
            fail_msg("%d instead of %d: %s", code, set[i].code, said);
        assert_said(set[i].words);
    }
    assert_false(exists("rawdata/" NEXT));
    /* One name for all nights. */
    snprintf(settings.place[OBS_BIAS], sizeof settings.place[0],
             "rawdata/ut160901/{ccd}/bias.ut160901.{expnum}_{ccd}.fits");
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("bias bias_7001: [place] bias has no {night}: its files are there for every night");
    assert_false(exists("rawdata/" NEXT "/11/bias.ut160902.7001_11.fits"));
    assert_true(exists("rawdata/" NEXT "/11/domeflat.g.ut160902.7002_11.fits"));
}

static void another_file_is_kept(void **state)
{
    (void)state;
    TRY(fs_mkdirs(in_store("rawdata/" NEXT "/11"), WHY));
    TRY(fs_write_file(in_store(at(BIAS, NEXT, 11)), "mine", 4, false, WHY));
    damage(at(FLAT, NIGHT, 12), 400); /* its header */
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_INCOMPLETE);
    assert_said("bias bias_7001, ccd 11: 'rawdata/ut160902/11/bias.ut160902.7001_11.fits' is there "
                "already with other bytes and is kept; the rest goes on");
    assert_said("flat flat_7002, ccd 12: 'rawdata/ut160901/12/domeflat.g.ut160901.7002_12.fits' is not "
                "the file that was placed");
    assert_said("bias bias_7001: 1 ccd copied, 1 refused\nflat flat_7002: 1 ccd copied, 1 refused\n");
    struct buf b = {0};
    slurp(in_store(at(BIAS, NEXT, 11)), &b);
    assert_int_equal(b.len, 4);
    buf_free(&b);
    /* Not recorded as ours either. */
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_INCOMPLETE);
    assert_said("bias.ut160902.7001_11.fits: is not in the catalogue");
}

static void verify_knows_what_became_of_copies(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_int_equal(unlink(in_store(at(BIAS, NEXT, 11))), 0);
    /* One that is a file of its own, damaged. */
    slurp(in_store(at(FLAT, NEXT, 12)), &b);
    assert_int_equal(unlink(in_store(at(FLAT, NEXT, 12))), 0);
    b.data[b.len - FITS_BLOCK] ^= 1;
    TRY(fs_write_file(in_store(at(FLAT, NEXT, 12)), b.data, b.len, false, WHY));
    buf_free(&b);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_INCOMPLETE);
    assert_said("rawdata/ut160902/11/bias.ut160902.7001_11.fits: is there no more, which was a copy of "
                "rawdata/ut160901/11/bias.ut160901.7001_11.fits");
    assert_said("rawdata/ut160902/12/domeflat.g.ut160902.7002_12.fits: ");
    assert_said("a copy of rawdata/ut160901/12/domeflat");
    assert_said(" 1 problem\n");
}

/* The night's own calibration comes later, with a number that the copy has, too. */
static void a_copy_gives_way_to_the_nights_own(void **state)
{
    (void)state;
    static const struct recipe own = {.name = "own_7001", .obstype = "zero", .seed = 9,
                                      .date_obs = "2016-09-01T23:10:00"};
    char copy[1024];
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    ino_t before = inode(at(BIAS, NIGHT, 11));
    snprintf(copy, sizeof copy, "%s", at(BIAS, NEXT, 11));
    store_as(&own, NEXT, own.name);
    run_agent(4);
    struct exposure x = exposure_named("own_7001");
    assert_int_equal(x.state, EX_DONE);
    assert_int_equal(x.faults, 0);
    assert_int_equal(x.placed, 2);
    /* The original is what it was, under a name of its own. */
    assert_true(inode(at(BIAS, NIGHT, 11)) == before && inode(copy) != before);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_said("8 placed files and 4 bundles checked, 2 copied calibrations, 0 problems\n");
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("bias bias_7001: 2 ccds of that night's own there\n");
    assert_said("0 files copied, 2 there already, 2 of that night's own, 0 refused\n");
}

/* But not when it is somebody's by now. */
static void a_changed_copy_does_not(void **state)
{
    (void)state;
    static const struct recipe own = {.name = "own_7001", .obstype = "zero", .seed = 9,
                                      .date_obs = "2016-09-01T23:10:00"};
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_int_equal(unlink(in_store(at(BIAS, NEXT, 11))), 0);
    TRY(fs_write_file(in_store(at(BIAS, NEXT, 11)), "mine", 4, false, WHY));
    store_as(&own, NEXT, own.name);
    run_agent(4);
    struct exposure x = exposure_named("own_7001");
    assert_int_equal(x.faults, 1);
    assert_int_equal(x.placed, 1);
}

static void rebuild_finds_copies_again(void **state)
{
    (void)state;
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("3 exposures, 6 of 6 ccds placed");
    assert_said("4 copied calibrations of other nights\n");
    /* The originals are the exposures' own. */
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_said("6 placed files and 3 bundles checked, 4 copied calibrations, 0 problems\n");
    struct catalogue *cat;
    int64_t owner;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_path_owner(cat, at(BIAS, NIGHT, 11), &owner, WHY));
    assert_true(owner > 0);
    TRY(catalogue_path_owner(cat, at(BIAS, NEXT, 11), &owner, WHY));
    assert_true(owner == 0);
    catalogue_close(&cat);
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("0 files copied, 4 there already");
}

/* A copy does not stand for an original that is lost: that is made anew. */
static void rebuild_takes_no_copy_for_the_original(void **state)
{
    (void)state;
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_int_equal(unlink(in_store(at(BIAS, NIGHT, 11))), 0);
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_said("3 exposures, 5 of 6 ccds placed");
    assert_said("4 copied calibrations of other nights\n");
    run_agent(3);
    assert_true(exists(at(BIAS, NIGHT, 11)));
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
    assert_said("6 placed files and 3 bundles checked, 4 copied calibrations, 0 problems\n");
}

/* An original that was made anew, as exact data do, is copied anew; the link holds the old bytes. */
static void a_renewed_original_renews_its_copy(void **state)
{
    (void)state;
    struct catalogue *cat;
    struct buf b = {0};
    char from[1024], to[1024];
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    snprintf(from, sizeof from, "%s", at(FLAT, NIGHT, 11));
    snprintf(to, sizeof to, "%s", at(FLAT, NEXT, 11));
    /* As if the original, another ccd's pixels now, had just been placed. */
    slurp(in_store(at(FLAT, NIGHT, 12)), &b);
    TRY(fs_write_file(in_store(from), b.data, b.len, false, WHY));
    struct exposure x = exposure_named("flat_7002");
    struct ccd *ccds;
    size_t count;
    TRY(catalogue_open(settings.catalogue, false, &cat, WHY));
    TRY(catalogue_ccds(cat, x.id, &ccds, &count, WHY));
    ccds[0].size = (int64_t)b.len;
    memcpy(ccds[0].datasum, ccds[1].datasum, sizeof ccds[0].datasum);
    memcpy(ccds[0].checksum, ccds[1].checksum, sizeof ccds[0].checksum);
    TRY(catalogue_put_ccd(cat, &ccds[0], WHY));
    free(ccds);
    buf_free(&b);
    catalogue_close(&cat);
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("flat flat_7002: 1 ccd renewed, 1 there already\n");
    assert_same_bytes(from, to);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_DONE);
}

/* Made of several frames by somebody else, who may write into them. */
static void masters_are_copied_not_linked(void **state)
{
    (void)state;
    struct buf b = {0};
    slurp(in_store(at(BIAS, NIGHT, 11)), &b);
    TRY(fs_write_file(in_store("rawdata/" NIGHT "/11/bias.master.fits"), b.data, b.len, false, WHY));
    TRY(fs_write_file(in_store("rawdata/" NIGHT "/11/domeflat.g.master.fits"), "SIMPLE", 6, false, WHY));
    TRY(fs_write_file(in_store("rawdata/" NIGHT "/11/other.master.fits"), "SIMPLE", 6, false, WHY));
    buf_free(&b);
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("bias masters: 1 ccd copied\n");
    assert_said("flat masters: 1 ccd copied\n");
    assert_true(inode("rawdata/" NIGHT "/11/bias.master.fits") !=
                inode("rawdata/" NEXT "/11/bias.master.fits"));
    assert_same_bytes("rawdata/" NIGHT "/11/domeflat.g.master.fits",
                      "rawdata/" NEXT "/11/domeflat.g.master.fits");
    assert_false(exists("rawdata/" NEXT "/11/other.master.fits"));
    assert_int_equal(call(command_copycals, nights, NULL), EXIT_DONE);
    assert_said("0 files copied, 6 there already");
    assert_int_equal(call(command_status, OPTIONS({OPT_NIGHT, NEXT, "night"}), OPERANDS("inventory")),
                     EXIT_DONE);
    assert_said("bias 1 copied + masters copied; flats g 1 copied + masters copied\n");
    /* Strangers are none of them but the other one; a master never stands for a frame. */
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_INCOMPLETE);
    assert_said("rawdata/ut160901/11/other.master.fits: is not in the catalogue");
    assert_said(" 1 problem\n");
    assert_int_equal(call(command_rebuild, NULL, NULL), EXIT_DONE);
    assert_int_equal(call(command_verify, NULL, NULL), EXIT_INCOMPLETE);
    assert_said(" 1 problem\n");
}

int main(void)
{
#define NIGHT_TEST(name) cmocka_unit_test_setup_teardown(name, night_setup, store_teardown)
    const struct CMUnitTest tests[] = {
        NIGHT_TEST(a_night_gets_anothers_calibrations),
        NIGHT_TEST(what_is_chosen_is_copied),
        NIGHT_TEST(what_cannot_be_is_said),
        NIGHT_TEST(another_file_is_kept),
        NIGHT_TEST(verify_knows_what_became_of_copies),
        NIGHT_TEST(a_copy_gives_way_to_the_nights_own),
        NIGHT_TEST(a_changed_copy_does_not),
        NIGHT_TEST(rebuild_finds_copies_again),
        NIGHT_TEST(rebuild_takes_no_copy_for_the_original),
        NIGHT_TEST(a_renewed_original_renews_its_copy),
        NIGHT_TEST(masters_are_copied_not_linked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
