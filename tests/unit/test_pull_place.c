/* Names and folders from the header (S4.27, S4.28): exact names from given headers, hostile
 * values, templates that cannot work, and what happens when a name is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "pull/place.h"
#include "pull/place_file.h"
#include "tests/unit/scratch.h"

#define SCIENCE "rawdata/{night}/{ccd}/{object}.{filter1}.{night}.{expnum}_{ccd}.fits"
#define FLAT "rawdata/{night}/{ccd}/domeflat.{filter1}.{night}.{expnum}_{ccd}.fits"
#define BIAS "rawdata/{night}/{ccd}/bias.{night}.{expnum}_{ccd}.fits"

static struct camera camera = {.expnum_from_name = true};
static struct facts facts;
static struct place_values v;

static int setup(void **state)
{
    (void)state;
    facts = (struct facts){.object = "FieldA", .filter = "g DECam SDSS c0001 4720.0 1520.0",
                           .obstype = "object", .propid = "2017B-0904", .expnum = 694037};
    v = (struct place_values){"ut160901", "DECam_00694037", "DECam_00694037.fits.fz", "S29", &facts,
                              &camera, 7};
    return 0;
}

static void assert_path(const char *template, const char *wanted)
{
    char out[1024];
    struct fault why;
    if (place_path(template, &v, out, sizeof out, &why) != ST_OK)
        fail_msg("%s: %s", template, why.text);
    assert_string_equal(out, wanted);
}

static void the_forerunners_names(void **state)
{
    (void)state;
    assert_path(SCIENCE, "rawdata/ut160901/7/FieldA.g.ut160901.694037_7.fits");
    assert_path(FLAT, "rawdata/ut160901/7/domeflat.g.ut160901.694037_7.fits");
    assert_path(BIAS, "rawdata/ut160901/7/bias.ut160901.694037_7.fits");
}

static void every_placeholder(void **state)
{
    (void)state;
    assert_path("{night} {ccd} {ccd2} {expnum} {obstype} {propid} {extname} {name}",
                "ut160901 7 07 694037 object 2017B-0904 S29 DECam_00694037");
    assert_path("{filter}/{filter1}", "g_DECam_SDSS_c0001_4720.0_1520.0/g");
    assert_path("{object}", "FieldA");
}

static void hostile_values_become_harmless(void **state)
{
    (void)state;
    static const struct {
        const char *object, *path;
    } cases[] = {{"../../x;rm", "d/_x_rm_7"},   {"..", "d/unnamed_7"}, {"a/b", "d/a_b_7"},
                 {"-rf *", "d/_rf__7"},         {" NGC 1365 ", "d/NGC_1365_7"},
                 {"$(reboot)", "d/_reboot__7"}, {"", "d/unnamed_7"},   {"{night}", "d/_night__7"},
                 {".hidden", "d/_hidden_7"},    {"\n\x1b[2J", "d/_2J_7"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(facts.object, sizeof facts.object, "%s", cases[i].object);
        assert_path("d/{object}_{ccd}", cases[i].path);
    }
    snprintf(facts.filter, sizeof facts.filter, "../..");
    assert_path("{filter}/{ccd}/{filter1}", "none/7/none");
}

static void what_is_missing_has_a_stand_in(void **state)
{
    (void)state;
    facts = (struct facts){.expnum = -1};
    assert_path(SCIENCE, "rawdata/ut160901/7/unnamed.none.ut160901.694037_7.fits");
    v.source_name = "tonight.fits";
    assert_path("{expnum}_{ccd}", "DECam_00694037_7");
    camera.expnum_from_name = false;
    v.source_name = "DECam_00694037.fits.fz";
    v.name = "weird name";
    assert_path("{expnum}_{ccd}", "weird_name_7");
    camera.expnum_from_name = true;
    v.extname = "";
    assert_path("{extname}.{obstype}.{propid}", "none.none.none");
}

static void too_long_names_are_refused(void **state)
{
    (void)state;
    char template[512], out[1024];
    struct fault why;
    memset(template, 'x', 300);
    snprintf(template + 300, sizeof template - 300, "{ccd}");
    assert_int_equal(place_path(template, &v, out, sizeof out, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "shorten the template"));
    assert_int_equal(place_path(SCIENCE, &v, out, 20, &why), ST_REJECT);
    assert_int_equal(place_path(".{ccd}", &v, out, sizeof out, &why), ST_REJECT);
}

static void assert_problem(const char *template, const char *words)
{
    struct config_report r = {0};
    assert_false(place_check(template, "science", &r));
    assert_true(buf_append(&r.text, "", 1));
    if (!strstr((const char *)r.text.data, words))
        fail_msg("%s: %s", template, (const char *)r.text.data);
    buf_free(&r.text);
}

static void templates_that_cannot_work_are_said(void **state)
{
    (void)state;
    struct config_report r = {0};
    assert_true(place_check(SCIENCE, "science", &r));
    assert_true(place_check(BIAS, "bias", &r));
    assert_true(place_check("{name}_{extname}.fits", "science", &r));
    assert_int_equal(r.count, 0);
    assert_problem("{nihgt}/{ccd}_{expnum}.fits", "'{nihgt}' is no placeholder; there are {night}");
    assert_problem("{ccd_{expnum}.fits", "is no placeholder");
    assert_problem("{ccd", "is no placeholder");
    assert_problem("ccd}_{ccd}{expnum}", "'}' without its '{'");
    assert_problem("{night}/{expnum}.fits", "all ccds would get one name");
    assert_problem("{night}/{ccd}.fits", "all exposures would get one name");
    assert_problem("/{ccd}_{expnum}.fits", "absolute");
    assert_problem("a/../{ccd}_{expnum}.fits", "'..'");
    assert_problem("a//{ccd}_{expnum}.fits", "empty component");
    assert_problem("", "empty");
}

static void versions(void **state)
{
    (void)state;
    char out[32];
    assert_true(place_version("a.b/c.fits", 2, out, sizeof out));
    assert_string_equal(out, "a.b/c~2.fits");
    assert_true(place_version("a.b/c", 12, out, sizeof out));
    assert_string_equal(out, "a.b/c~12");
    assert_false(place_version("a/very/long/name/that/does/not.fits", 2, out, sizeof out));
}

/* ---- files ---- */

static struct scratch dir;

static struct place_file a_file(const char *rel, enum place_conflict conflict)
{
    struct place_file p = {.root = dir.dir, .conflict = conflict};
    p.draft.fd = -1;
    snprintf(p.rel, sizeof p.rel, "%s", rel);
    return p;
}

static enum status put(struct place_file *p, const char *bytes, struct fault *why)
{
    struct buf file = {0};
    assert_true(buf_append(&file, bytes, strlen(bytes)));
    enum status st = place_write(p, &file, why);
    if (st == ST_OK)
        st = place_publish(p, why);
    place_drop(p);
    buf_free(&file);
    return st;
}

static void assert_holds(const char *rel, const char *bytes)
{
    char path[4096];
    struct buf text = {0};
    struct fault why;
    if (fs_read_file(scratch_path(&dir, rel, path), 1000, &text, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_int_equal(text.len, strlen(bytes));
    assert_memory_equal(text.data, bytes, text.len);
    buf_free(&text);
}

static void a_file_gets_its_name(void **state)
{
    (void)state;
    struct fault why;
    struct place_file p = a_file("raw/1/a.fits", PLACE_PARK);
    assert_int_equal(put(&p, "one", &why), ST_OK);
    assert_false(p.is_there);
    assert_holds("raw/1/a.fits", "one");
    p = a_file("raw/1/a.fits", PLACE_PARK); /* the very same bytes again */
    assert_int_equal(put(&p, "one", &why), ST_OK);
    assert_true(p.is_there);
}

static void another_file_is_not_overwritten(void **state)
{
    (void)state;
    struct fault why;
    struct place_file p = a_file("raw/2/a.fits", PLACE_PARK);
    assert_int_equal(put(&p, "one", &why), ST_OK);
    p = a_file("raw/2/a.fits", PLACE_PARK);
    assert_int_equal(put(&p, "two", &why), ST_REJECT);
    assert_non_null(strstr(why.text, "raw/2/a.fits"));
    assert_non_null(strstr(why.text, "reprocess --force"));
    assert_holds("raw/2/a.fits", "one");
    p = a_file("raw/2/a.fits", PLACE_VERSION);
    assert_int_equal(put(&p, "two", &why), ST_OK);
    assert_string_equal(p.rel, "raw/2/a~2.fits");
    p = a_file("raw/2/a.fits", PLACE_VERSION);
    assert_int_equal(put(&p, "three", &why), ST_OK);
    assert_string_equal(p.rel, "raw/2/a~3.fits");
    p = a_file("raw/2/a.fits", PLACE_VERSION); /* there already, as the second */
    assert_int_equal(put(&p, "two", &why), ST_OK);
    assert_true(p.is_there);
    assert_string_equal(p.rel, "raw/2/a~2.fits");
    assert_holds("raw/2/a.fits", "one");
    p = a_file("raw/2/a.fits", PLACE_REPLACE);
    assert_int_equal(put(&p, "four", &why), ST_OK);
    assert_holds("raw/2/a.fits", "four");
    assert_holds("raw/2/a~2.fits", "two");
}

static void the_name_taken_in_between_is_kept(void **state)
{
    (void)state;
    struct fault why;
    struct buf file = {0};
    char path[4096];
    struct place_file p = a_file("raw/3/a.fits", PLACE_PARK);
    assert_true(buf_append(&file, "late", 4));
    assert_int_equal(place_write(&p, &file, &why), ST_OK);
    assert_int_equal(fs_write_file(scratch_path(&dir, "raw/3/a.fits", path), "early", 5, false,
                                   &why), ST_OK);
    assert_int_equal(place_publish(&p, &why), ST_REJECT);
    place_drop(&p);
    assert_holds("raw/3/a.fits", "early");
    p = a_file("raw/3/b.fits", PLACE_VERSION);
    assert_int_equal(place_write(&p, &file, &why), ST_OK);
    assert_int_equal(fs_write_file(scratch_path(&dir, "raw/3/b.fits", path), "early", 5, false,
                                   &why), ST_OK);
    assert_int_equal(place_publish(&p, &why), ST_RETRY); /* the next try finds b~2 */
    place_drop(&p);
    buf_free(&file);
}

static void what_is_no_file_is_left_alone(void **state)
{
    (void)state;
    struct fault why;
    char path[4096];
    assert_int_equal(fs_mkdirs(scratch_path(&dir, "raw/4/a.fits", path), &why), ST_OK);
    struct place_file p = a_file("raw/4/a.fits", PLACE_REPLACE);
    assert_int_equal(put(&p, "x", &why), ST_REJECT);
    assert_non_null(strstr(why.text, "no plain file"));
    assert_int_equal(symlink("/etc/passwd", scratch_path(&dir, "raw/4/l.fits", path)), 0);
    p = a_file("raw/4/l.fits", PLACE_REPLACE);
    assert_int_equal(put(&p, "x", &why), ST_REJECT);
    p = a_file("../out.fits", PLACE_REPLACE);
    assert_int_equal(put(&p, "x", &why), ST_REJECT);
}

static void the_workspace_mirrors(void **state)
{
    (void)state;
    struct fault why;
    struct stat raw, work;
    char path[4096];
    static const enum place_mirror kinds[] = {MIRROR_COPY, MIRROR_LINK};
    for (int i = 0; i < 2; i++) {
        char rel[64], mirror[64];
        snprintf(rel, sizeof rel, "raw/5/a%d.fits", i);
        snprintf(mirror, sizeof mirror, "workspace/5/a%d.fits", i);
        struct place_file p = a_file(rel, PLACE_PARK);
        p.mirror = kinds[i];
        snprintf(p.mirror_rel, sizeof p.mirror_rel, "%s", mirror);
        assert_int_equal(put(&p, "one", &why), ST_OK);
        assert_holds(mirror, "one");
        assert_int_equal(stat(scratch_path(&dir, rel, path), &raw), 0);
        assert_int_equal(stat(scratch_path(&dir, mirror, path), &work), 0);
        assert_int_equal(raw.st_ino == work.st_ino, kinds[i] == MIRROR_LINK);
        /* Somebody works on the copy: placing the same file again leaves it alone. */
        assert_int_equal(fs_write_file(path, "worked on", 9, false, &why), ST_OK);
        p.is_there = false;
        assert_int_equal(put(&p, "one", &why), ST_OK);
        assert_holds(mirror, "worked on");
        p.conflict = PLACE_REPLACE;
        assert_int_equal(put(&p, "one", &why), ST_OK);
        assert_holds(mirror, "one");
    }
}

static int files_setup(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static int files_teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest names[] = {
        cmocka_unit_test_setup(the_forerunners_names, setup),
        cmocka_unit_test_setup(every_placeholder, setup),
        cmocka_unit_test_setup(hostile_values_become_harmless, setup),
        cmocka_unit_test_setup(what_is_missing_has_a_stand_in, setup),
        cmocka_unit_test_setup(too_long_names_are_refused, setup),
        cmocka_unit_test(templates_that_cannot_work_are_said),
        cmocka_unit_test(versions),
    };
    const struct CMUnitTest files[] = {
        cmocka_unit_test(a_file_gets_its_name),
        cmocka_unit_test(another_file_is_not_overwritten),
        cmocka_unit_test(the_name_taken_in_between_is_kept),
        cmocka_unit_test(what_is_no_file_is_left_alone),
        cmocka_unit_test(the_workspace_mirrors),
    };
    int failed = cmocka_run_group_tests_name("pull place", names, NULL, NULL);
    return failed + cmocka_run_group_tests_name("pull place files", files, files_setup,
                                                files_teardown);
}
