/* Camera profiles and the facts of an exposure: DECam's real headers, hostile and missing
 * values, spellings of OBSTYPE, numbers from file names, and the shipped profiles. */
#include "common/camera.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <string.h>

#include "common/fsutil.h"
#include "tests/unit/scratch.h"

static struct camera decam;
static struct config_report report;
static struct fault why;

static int load_decam(void **state)
{
    (void)state;
    memset(&report, 0, sizeof report);
    return camera_load("decam", "etc/cameras", &decam, &report) ? 0 : -1;
}

static int drop_report(void **state)
{
    (void)state;
    buf_free(&report.text);
    return 0;
}

/* A header from cards separated by '|'. */
static struct fits_header header(const char *cards)
{
    struct fits_header h = {0};
    struct buf b = {0};
    for (const char *c = cards; *c;) {
        int len = (int)strcspn(c, "|");
        buf_printf(&b, "%-80.*s", len, c);
        c += len + (c[len] == '|');
    }
    buf_printf(&b, "%-80s", "END");
    assert_int_equal(fits_header_parse(b.data, b.len, &h, &why), ST_OK);
    buf_free(&b);
    return h;
}

/* The shipped file is what the program prints for it, and loads without a word. */
static void check_profile(const char *name, int ccds)
{
    struct camera c;
    struct buf printed = {0}, shipped = {0};
    char path[256];
    snprintf(path, sizeof path, "etc/cameras/%s.conf", name);
    bool ok = camera_load(name, "etc/cameras", &c, &report);
    if (report.count)
        print_message("%s", (char *)report.text.data);
    assert_true(ok);
    assert_int_equal(report.count, 0);
    assert_string_equal(c.name, name);
    assert_int_equal(c.ccds, ccds);
    config_dump(camera_settings, &c, CONFIG_CURRENT, &printed);
    assert_int_equal(fs_read_file(path, 1 << 20, &shipped, &why), ST_OK);
    buf_printf(&shipped, "%s", "");
    assert_string_equal((char *)shipped.data, (char *)printed.data);
    buf_free(&printed);
    buf_free(&shipped);
}

static void shipped_profiles(void **state)
{
    (void)state;
    check_profile("decam", 62);
    check_profile("generic", 0);
    struct camera c;
    assert_true(camera_load("./etc/cameras/decam.conf", "/nowhere", &c, &report));
    assert_int_equal(c.ccds, 62);
    check_profile("hsc", 104);
    assert_false(camera_load("hsc", "/nowhere", &c, &report));
    assert_int_equal(report.count, 1);
    assert_non_null(strstr((char *)report.text.data, "/nowhere/hsc.conf: cannot be read: No such "
                           "file or directory; give [camera] profile the path of a camera's profile\n"));
    assert_false(camera_load("nocam", "etc/cameras", &c, &report));
    assert_int_equal(report.count, 2);
    assert_non_null(strstr((char *)report.text.data, "profile, or one of these names: decam, "
                           "generic, "));
}

/* A camera that differs in every key needs no code. */
static void another_camera_is_another_file(void **state)
{
    (void)state;
    struct scratch scratch;
    char path[4096];
    struct camera c;
    assert_int_equal(scratch_make(&scratch), 0);
    const char text[] = "[camera]\nname = hsc\nccds = 104\nexpnum_from_name = no\n"
                        "flat_words = DOMEFLAT\nbias_words = BIAS\npattern = HSC*\nccd_offset = 1\n"
                        "pixel_scale_arcsec = 0.168\n"
                        "[keys]\nexpnum = EXP-ID\nobject = TARGET\nfilter = FILTER01\n"
                        "obstype = DATA-TYP\ndate_obs = DATE\nexptime = TEXP\npropid = PROP-ID\n"
                        "ccd = DET-ID\ndata_section =\namplifier_section =\noverscan_section =\n"
                        "saturate =\ngain =\nread_noise =\n";
    scratch_path(&scratch, "hsc.conf", path);
    assert_int_equal(fs_write_file(path, text, strlen(text), false, &why), ST_OK);
    assert_true(camera_load("hsc", scratch.dir, &c, &report));
    assert_true(c.pixel_scale == 0.168);
    struct fits_header h = header("EXP-ID  = 'HSCA00123400'|TARGET  = 'COSMOS'|FILTER01= 'HSC-g'|"
                                  "DATA-TYP= 'DOMEFLAT'|DATE    = '2015-01-16'|TEXP    = 30|"
                                  "PROP-ID = 'o15123'|DET-ID  = 57|OBJECT  = 'wrong'");
    struct facts f;
    camera_facts(&c, &h, NULL, &f);
    assert_string_equal(f.object, "COSMOS");
    assert_string_equal(f.filter, "HSC-g");
    assert_string_equal(f.propid, "o15123");
    assert_int_equal(f.expnum, -1); /* text that is no number */
    assert_int_equal(f.date_ns, 1421366400000000000);
    assert_true(f.exptime == 30);
    snprintf(c.key_date_obs, sizeof c.key_date_obs, "DATE, UT-STR");
    assert_true(fits_header_add_text(&h, "UT-STR", "01:02:03.5", NULL));
    camera_facts(&c, &h, NULL, &f);
    assert_string_equal(f.date_obs, "2015-01-16T01:02:03.5");
    assert_int_equal(f.date_ns, 1421370123500000000);
    assert_int_equal(camera_obstype(&c, f.obstype), OBS_FLAT);
    assert_int_equal(camera_obstype(&c, "dome flat"), OBS_SCIENCE);
    assert_int_equal(camera_ccd(&c, &h), 58); /* it counts from 0 */
    assert_int_equal(camera_expnum_from_name(&c, "HSCA00123400.fits"), -1); /* switched off */
    fits_header_free(&h);
    scratch_remove(&scratch);
}

/* The shipped profile with one line changed, or dropped. */
static void load_changed(const char *from, const char *to, struct camera *c)
{
    struct scratch scratch;
    struct buf shipped = {0}, text = {0};
    char path[4096];
    assert_int_equal(scratch_make(&scratch), 0);
    assert_int_equal(fs_read_file("etc/cameras/hsc.conf", 1 << 20, &shipped, &why), ST_OK);
    buf_printf(&shipped, "%s", "");
    const char *at = strstr((char *)shipped.data, from);
    assert_non_null(at);
    buf_printf(&text, "%.*s%s%s", (int)(at - (char *)shipped.data), (char *)shipped.data, to,
               at + strlen(from));
    scratch_path(&scratch, "x.conf", path);
    assert_int_equal(fs_write_file(path, text.data, text.len, false, &why), ST_OK);
    camera_load(path, "", c, &report);
    buf_printf(&report.text, "%s", "");
    buf_free(&shipped);
    buf_free(&text);
    scratch_remove(&scratch);
}

static void a_profile_says_everything(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
    } set[] = {
        {"\nbias_words = BIAS, DARK", "", "[camera] bias_words is missing"},
        {"\nread_noise =", "", "[keys] read_noise is missing"},
        {"\ngain =", "\ngian =", "gian"},
        {"\nnumbers = 2", "\nnumbers = 0", "numbers"},
        {"\nccds = 1-104", "\nccds = 1-103", "[camera] ccds = 104, but [group] ccds names 103"},
        {"\nccds = 1-104", "\nccds = 0-103", "[group] ccds = 0-103: give numbers and ranges"},
        {"\nbad_ccds =", "\nbad_ccds = 9;10", "[group] bad_ccds = 9;10: give"},
        {"\nbad_ccds =", "\nbad_ccds = 1-104", "leaves no ccd"},
        {"\nccd = DET-ID", "\nccd =", "[keys] ccd is empty"},
        {"\npartial = park", "\npartial = drop", "partial"},
    };
    struct camera c;
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        load_changed(set[i].from, set[i].to, &c);
        if (!report.count || !strstr((char *)report.text.data, set[i].says))
            print_message("'%s': %s", set[i].says, (char *)report.text.data);
        assert_true(report.count > 0);
        assert_non_null(strstr((char *)report.text.data, set[i].says));
        buf_free(&report.text);
        report = (struct config_report){0};
    }
}

static void which_exposure_a_file_belongs_to(void **state)
{
    (void)state;
    static const struct {
        const char *cards, *name;
        int64_t number;
    } set[] = {
        {"FRAMEID = 'HSCA00123400'", "HSCA1234", 1234},
        {"FRAMEID = 'HSCA00123557'", "HSCA1234", 1234}, /* the second of its two numbers */
        {"FRAMEID = 'HSCA00123600'", "HSCA1236", 1236},
        {"FRAMEID = 'HSCB00123400 '", "HSCB1234", 1234},
        {"FRAMEID = 123457", "1234", 1234},
        {"FRAMEID = 'HSCA12'", NULL, 0},
        {"FRAMEID = 'HSCA'", NULL, 0},
        {"FRAMEID = 'HSCA1234567890123456789'", NULL, 0},
        {"EXP-ID  = 'HSCE00001234'", NULL, 0},
    };
    struct camera c;
    char name[CAMERA_GROUP];
    int64_t number;
    assert_true(camera_load("hsc", "etc/cameras", &c, &report));
    assert_true(camera_groups(&c));
    assert_false(camera_groups(&decam));
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        struct fits_header h = header(set[i].cards), none = header("SIMPLE  = T");
        assert_int_equal(camera_group(&c, &none, &h, name, &number), set[i].name != NULL);
        if (set[i].name)
            assert_string_equal(name, set[i].name);
        if (set[i].name)
            assert_int_equal(number, set[i].number);
        fits_header_free(&h);
        fits_header_free(&none);
    }
}

static void which_ccds_make_it(void **state)
{
    (void)state;
    struct camera c;
    load_changed("\nbad_ccds =", "\nbad_ccds = 9, 33-34", &c);
    assert_int_equal(report.count, 0);
    unsigned char ccds[CAMERA_CCD_MAX + 1];
    assert_int_equal(camera_group_ccds(&c, ccds), 101);
    for (int ccd = 1; ccd <= CAMERA_CCD_MAX; ccd++)
        assert_int_equal(ccds[ccd], camera_group_wants(&c, ccd));
    assert_true(camera_group_wants(&c, 1) && camera_group_wants(&c, 104));
    assert_false(camera_group_wants(&c, 0) || camera_group_wants(&c, 105));
    assert_false(camera_group_wants(&c, 9) || camera_group_wants(&c, 34));
    assert_true(camera_list_has("3,5-7 9", 6) && camera_list_has("3,5-7 9", 9));
    assert_false(camera_list_has("", 1) || camera_list_has("3,5-7", 4));
}

/* Of waiting alone, and only where there is something to wait for. */
static void what_may_change_while_an_agent_runs(void **state)
{
    struct camera a, b, one_file;
    struct buf live = {0}, restart = {0};
    char x[DIGEST_HEX], y[DIGEST_HEX];
    (void)state;
    assert_true(camera_load("hsc", "etc/cameras", &a, &report));
    load_changed("\nbad_ccds =", "\nbad_ccds = 9", &b);
    camera_changes(&a, &b, &live, &restart);
    assert_string_equal((char *)live.data, "group.bad_ccds");
    assert_int_equal(restart.len, 0);
    camera_digest(&a, CAMERA_READING, x);
    camera_digest(&b, CAMERA_READING, y);
    assert_string_equal(x, y);
    camera_digest(&a, CAMERA_ALL, x);
    camera_digest(&b, CAMERA_ALL, y);
    assert_string_not_equal(x, y);
    load_changed("\ndigits = 2", "\ndigits = 0", &b);
    camera_changes(&a, &b, &live, &restart);
    assert_string_equal((char *)restart.data, "group.digits");
    camera_take_live(&a, &b);
    assert_int_equal(a.group_digits, 2);
    one_file = decam;
    one_file.ccds++;
    buf_free(&live);
    buf_free(&restart);
    camera_changes(&decam, &one_file, &live, &restart);
    assert_int_equal(live.len, 0);
    assert_string_equal((char *)restart.data, "camera.ccds");
    buf_free(&restart);
}

static bool real_headers(const char *name, struct fits_header *primary, struct fits_header *image)
{
    char path[256];
    struct fits_file scan = {0};
    snprintf(path, sizeof path, "../shared/data/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        print_message("skipped: %s is not there\n", path);
        return false;
    }
    assert_int_equal(fits_scan(fd, &scan, &why), ST_OK);
    assert_int_equal(scan.count, 2);
    assert_int_equal(fits_read_header(fd, &scan.hdu[0], primary, &why), ST_OK);
    assert_int_equal(fits_read_header(fd, &scan.hdu[1], image, &why), ST_OK);
    fits_file_free(&scan);
    close(fd);
    return true;
}

static void facts_of_real_frames(void **state)
{
    (void)state;
    struct fits_header primary = {0}, image = {0};
    struct facts f;
    if (!real_headers("c4d_171113_060340_ooi_r_ls9.N6.fits", &primary, &image))
        skip();
    camera_facts(&decam, &primary, &image, &f);
    assert_string_equal(f.object, "DECaLS_26467_r");
    assert_string_equal(f.filter, "r DECam SDSS c0002 6415.0 1480.0");
    assert_string_equal(f.obstype, "object");
    assert_string_equal(f.propid, "2014B-0404");
    assert_string_equal(f.date_obs, "2017-11-13T06:03:40.037227");
    assert_int_equal(f.expnum, 695765);
    assert_int_equal(f.date_ns, 1510553020037227000);
    assert_true(f.exptime == 45.0);
    assert_int_equal(camera_ccd(&decam, &image), 37);
    assert_int_equal(camera_ccd(&decam, &primary), -1);
    assert_int_equal(camera_obstype(&decam, f.obstype), OBS_SCIENCE);
    fits_header_free(&primary);
    fits_header_free(&image);
}

static void primary_first_then_the_image(void **state)
{
    (void)state;
    struct fits_header primary = header("SIMPLE  = T|OBJECT  = 'field 1'|EXPNUM  = 7|"
                                        "FILTER  = '   '");
    struct fits_header image = header("OBJECT  = 'other'|EXPNUM  = 8|FILTER  = 'g'|EXPTIME = 1.5|"
                                      "OBSTYPE = 'zero'");
    struct facts f;
    camera_facts(&decam, &primary, &image, &f);
    assert_string_equal(f.object, "field 1");
    assert_int_equal(f.expnum, 7);
    assert_string_equal(f.filter, "g"); /* blank in the primary is as good as missing */
    assert_string_equal(f.obstype, "zero");
    assert_true(f.exptime == 1.5);
    camera_facts(&decam, &primary, NULL, &f);
    assert_string_equal(f.filter, "");
    fits_header_free(&primary);
    fits_header_free(&image);
}

static void what_the_header_does_not_say(void **state)
{
    (void)state;
    struct fits_header h = header("SIMPLE  = T");
    struct facts f;
    memset(&f, 0xee, sizeof f);
    camera_facts(&decam, &h, NULL, &f);
    assert_string_equal(f.object, "");
    assert_string_equal(f.filter, "");
    assert_string_equal(f.obstype, "");
    assert_string_equal(f.propid, "");
    assert_string_equal(f.date_obs, "");
    assert_int_equal(f.expnum, -1);
    assert_true(f.date_ns == INT64_MIN);
    assert_true(isnan(f.exptime));
    fits_header_free(&h);
}

static void values_of_the_wrong_kind(void **state)
{
    (void)state;
    struct fits_header h = header("EXPNUM  = '00123456'|EXPTIME = '30.0'|DATE-OBS= 'yesterday'|"
                                  "OBJECT  = 17|CCDNUM  = 10000");
    struct facts f;
    camera_facts(&decam, &h, NULL, &f);
    assert_int_equal(f.expnum, 123456);
    assert_true(f.exptime == 30.0);
    assert_string_equal(f.date_obs, "yesterday");
    assert_true(f.date_ns == INT64_MIN);
    assert_string_equal(f.object, "");
    assert_int_equal(camera_ccd(&decam, &h), -1);
    fits_header_free(&h);
    h = header("EXPNUM  = -5|EXPTIME = 'nan'|CCDNUM  = 0");
    camera_facts(&decam, &h, NULL, &f);
    assert_int_equal(f.expnum, -1);
    assert_true(isnan(f.exptime));
    assert_int_equal(camera_ccd(&decam, &h), -1);
    fits_header_free(&h);
    h = header("EXPNUM  = 12.5|CCDNUM  = 31.0");
    camera_facts(&decam, &h, NULL, &f);
    assert_int_equal(f.expnum, -1);
    assert_int_equal(camera_ccd(&decam, &h), 31);
    fits_header_free(&h);
}

static void hostile_text_is_cut_and_stripped(void **state)
{
    (void)state;
    struct buf card = {0};
    struct facts f;
    /* Not through the parser, which would refuse it. */
    buf_printf(&card, "OBJECT  = '../../x;rm \033[2J\n\x7f\xc3\xa9 end'");
    buf_printf(&card, "%*s", (int)(80 - card.len), "");
    struct fits_header h = {(char *)card.data, 1};
    camera_facts(&decam, &h, NULL, &f);
    assert_string_equal(f.object, "../../x;rm [2J end");
    buf_free(&card);
    struct fits_header longer = {0};
    char text[200];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_true(fits_header_add_text(&longer, "OBJECT", text, NULL));
    camera_facts(&decam, &longer, NULL, &f);
    assert_int_equal(strlen(f.object), sizeof f.object - 1);
    fits_header_free(&longer);
}

static void kinds_of_exposure(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        enum obstype kind;
    } set[] = {{"dome flat", OBS_FLAT},  {"domeflat", OBS_FLAT}, {"DOME FLAT ", OBS_FLAT},
               {"sky flat", OBS_FLAT},   {"Flat", OBS_FLAT},     {"zero", OBS_BIAS},
               {" Bias", OBS_BIAS},      {"object", OBS_SCIENCE}, {"", OBS_SCIENCE},
               {"dome", OBS_SCIENCE},    {"flat, flat", OBS_SCIENCE}, {",", OBS_SCIENCE},
               {"zero dark", OBS_SCIENCE}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        assert_int_equal(camera_obstype(&decam, set[i].word), set[i].kind);
}

static void numbers_from_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t expnum;
    } set[] = {{"DECam_00123456.fits.fz", 123456},
               {"/data/20170316/DECam_00630780.fits", 630780},
               {"20170316/night.fits", -1},
               {"c4d_170316_062107_ood.N2.fits", 62107},
               {"a123.fits", -1},
               {"a1234", 1234},
               {"0000.fits", 0},
               {"", -1},
               {"x999999999999999999.fits", 999999999999999999},
               {"x1000000000000000000.fits", -1}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        assert_int_equal(camera_expnum_from_name(&decam, set[i].name), set[i].expnum);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, load_decam, drop_report)
    const struct CMUnitTest tests[] = {
        T(shipped_profiles), T(another_camera_is_another_file), T(facts_of_real_frames),
        T(primary_first_then_the_image), T(what_the_header_does_not_say),
        T(values_of_the_wrong_kind), T(hostile_text_is_cut_and_stripped), T(kinds_of_exposure),
        T(numbers_from_names),          T(a_profile_says_everything),
        T(which_exposure_a_file_belongs_to), T(which_ccds_make_it),
        T(what_may_change_while_an_agent_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
