/* `status jobs|seeing|inventory`: what they say of a night that the catalogue holds. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/catalogue_copies.h"
#include "pull/status_kinds.h"
#include "tests/unit/command_fixture.h"

#define CCDS 3
#define SHUTTER 1472688000000000000LL /* 2016-09-01T00:00:00 */

static struct catalogue *cat;

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

static int status(const char *kind, const struct option_found *found)
{
    int code = call(command_status, found, OPERANDS(kind));
    assert_narrow();
    return code;
}

/* ---- a night ---- */

/* fwhm: of ccds 1, 2, 3; a negative one was not measured, with words why, 0 without. */
static int64_t put_exposure(const char *night, int n, const char *obstype, const char *object,
                   const char *filter, const double *fwhm)
{
    struct exposure x = {.state = EX_DONE, .bundle_size = 2000000, .facts = {.expnum = n}};
    snprintf(x.name, sizeof x.name, "exp_%d", n);
    snprintf(x.night, sizeof x.night, "%s", night);
    snprintf(x.bundle, sizeof x.bundle, "bundles/%s/%s.tar", night, x.name);
    snprintf(x.source_sha256, sizeof x.source_sha256, "%d", n);
    snprintf(x.facts.obstype, sizeof x.facts.obstype, "%s", obstype);
    snprintf(x.facts.object, sizeof x.facts.object, "%s", object);
    snprintf(x.facts.filter, sizeof x.facts.filter, "%s", filter);
    x.facts.date_ns = SHUTTER + n * 60 * NS_PER_S;
    TRY(catalogue_add(cat, &x, WHY));
    for (int i = 1; i <= CCDS; i++) {
        struct ccd c = {.exposure = x.id, .ccd = i, .hdu = i, .state = CCD_PLACED, .size = 1000000};
        struct quality q = {.background = 300 + i, .noise = 8, .stars = 10, .fwhm = NAN};
        snprintf(c.path, sizeof c.path, "rawdata/%s/%d/%s.fits", night, i, x.name);
        TRY(catalogue_put_ccd(cat, &c, WHY));
        if (fwhm && fwhm[i - 1] > 0)
            q.fwhm = fwhm[i - 1];
        else if (fwhm && fwhm[i - 1] < 0)
            snprintf(q.error, sizeof q.error, "no stars");
        if (fwhm)
            TRY(catalogue_put_quality(cat, c.id, &q, WHY));
    }
    TRY(catalogue_count(cat, x.id, WHY));
    return x.id;
}

static void add_job(int64_t exposure, int number, enum job_state state)
{
    struct job j = {.exposure = exposure, .number = number, .state = state, .attempts = 1,
                    .exit_status = -1};
    if (state != JOB_WAITING)
        j.started_ns = SHUTTER;
    if (state == JOB_FAILED || state == JOB_DONE)
        j.ended_ns = SHUTTER + 12500 * NS_PER_MS;
    if (state == JOB_FAILED)
        snprintf(j.reason, sizeof j.reason, "exit status 7: cannot read the bias frame of this night, "
                 "which is a long story that goes on");
    if (state == JOB_RUNNING)
        snprintf(j.node, sizeof j.node, "john104");
    if (state == JOB_WAITING) {
        snprintf(j.batch, sizeof j.batch, "4711_3");
        snprintf(j.batch_state, sizeof j.batch_state, "PENDING");
    }
    TRY(catalogue_put_job(cat, &j, WHY));
    TRY(catalogue_count(cat, exposure, WHY));
}

static int setup(void **state)
{
    if (store_setup(state) != 0)
        return -1;
    TRY(fs_mkdirs(settings.state, WHY));
    TRY(catalogue_open(settings.catalogue, false, &cat, WHY));
    return 0;
}

static int teardown(void **state)
{
    catalogue_close(&cat);
    return store_teardown(state);
}

/* ---- all of them ---- */

static void an_empty_store_is_no_failure(void **state)
{
    (void)state;
    static const char *const words[] = {"jobs", "seeing", "inventory"};
    static const char *const says[] = {"0 jobs\n", "No figures yet", "The store holds nothing\n"};
    for (int made = 0; made < 2; made++) {
        for (int i = 0; i < 3; i++) {
            assert_int_equal(status(words[i], NULL), EXIT_DONE);
            assert_said(says[i]);
            assert_int_equal(status(words[i], OPTIONS({OPT_NIGHT, NIGHT, "night"})), EXIT_DONE);
        }
        catalogue_close(&cat); /* and without any catalogue */
        assert_int_equal(unlink(settings.catalogue) == 0 || made, 1);
    }
    assert_int_equal(call(command_status, NULL, OPERANDS("jobs", "exp_1")), EXIT_USAGE);
    assert_said("status jobs takes no name ('exp_1')");
}

static void jobs_by_state(void **state)
{
    (void)state;
    int64_t x = put_exposure(NIGHT, 1, "object", "Field", "g", NULL);
    int64_t y = put_exposure("ut160902", 2, "object", "Field", "g", NULL);
    add_job(x, 1, JOB_DONE);
    add_job(x, 2, JOB_FAILED);
    add_job(y, 1, JOB_RUNNING);
    add_job(y, 2, JOB_WAITING);
    assert_int_equal(status("jobs", NULL), EXIT_DONE);
    assert_said("failed   exp_1               q2     1 09-01 00:00:00   12.5s -\n"
                "    exit status 7: cannot read the bias frame");
    assert_said("running  exp_2               q1     1 09-01 00:00:00");
    assert_said(" john104\n");
    assert_said("waiting  exp_2               q2     1 -                    - 4711_3 PENDING\n");
    assert_said("done     exp_1               q1     1 09-01 00:00:00   12.5s -\n");
    assert_said("4 jobs: 1 failed, 1 running, 1 waiting, 1 done\n");
    assert_said("skyferry-pull retry NAME");
    assert_said("No daemon runs");
    assert_int_equal(status("jobs", OPTIONS({OPT_NIGHT, NIGHT, "night"})), EXIT_DONE);
    assert_said("2 jobs of ut160901: 1 failed, 1 done\n");
    assert_null(strstr(said, "exp_2"));
    assert_int_equal(status("jobs", OPTIONS({OPT_LIMIT, "1", "limit"})), EXIT_DONE);
    assert_said("1 shown");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), OPERANDS("jobs")),
                     EXIT_DONE);
    json_t *root = json_said(), *first = json_array_get(json_object_get(root, "jobs"), 0);
    assert_int_equal(json_array_size(json_object_get(root, "jobs")), 4);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "counts"), "done")), 1);
    assert_string_equal(json_string_value(json_object_get(first, "state")), "failed");
    assert_string_equal(json_string_value(json_object_get(first, "exposure")), "exp_1");
    json_decref(root);
}

/* Of those that ended well a few tell enough. */
static void many_done_jobs_are_counted(void **state)
{
    (void)state;
    int64_t x = put_exposure(NIGHT, 1, "object", "Field", "g", NULL);
    for (int i = 1; i <= 9; i++)
        add_job(x, i, JOB_DONE);
    assert_int_equal(status("jobs", NULL), EXIT_DONE);
    assert_said(" q9 ");
    assert_said(" q5 ");
    assert_null(strstr(said, " q4 "));
    assert_said("9 jobs: 9 done; 5 shown\n"
                "--limit N or --all shows more\n");
    assert_int_equal(status("jobs", OPTIONS({OPT_ALL, NULL, "all"})), EXIT_DONE);
    assert_said(" q1 ");
    assert_said("9 jobs: 9 done\n");
}

static void seeing_of_the_last_exposures(void **state)
{
    (void)state;
    static const double good[] = {4, 9, 5}, one[] = {6, -1, -1};
    put_exposure(NIGHT, 1, "object", "Field", "g DECam SDSS", good);
    put_exposure(NIGHT, 3, "object", "Field", "r", one);
    put_exposure(NIGHT, 2, "object", "Field", "g DECam SDSS", good); /* came late */
    put_exposure(NIGHT, 4, "dome flat", "flat", "g", good);
    int64_t last = put_exposure(NIGHT, 5, "object", "Field", "r", NULL);
    add_job(last, 1, JOB_FAILED);
    settings.camera.pixel_scale = 0.25;
    assert_int_equal(status("seeing", NULL), EXIT_DONE);
    /* The median of the ccds, in arcseconds. */
    assert_said("00:01:00 exp_1                 Field    g     1.25   302.0     30   3/3 whole\n"
                "00:02:00 exp_2                 Field    g     1.25   302.0     30   3/3 whole\n"
                "00:03:00 exp_3                 Field    r     1.50   302.0     30   1/3 2 bad\n"
                "00:05:00 exp_5                 Field    r        -       -      -   0/3 1 bad\n");
    assert_said("Seeing: last 1.50\", last 3 1.25\", all 3 1.25\" (1.25 to 1.50)\n");
    assert_null(strstr(said, "exp_4"));
    settings.camera.pixel_scale = 0;
    assert_int_equal(status("seeing", OPTIONS({OPT_LIMIT, "2", "limit"})), EXIT_DONE);
    assert_said("PIXELS");
    assert_said("Seeing: last 5.00 px, last 1 5.00 px, all 1 5.00 px (5.00 to 5.00)\n");
    assert_said("pixel_scale_arcsec");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), OPERANDS("seeing")),
                     EXIT_DONE);
    json_t *root = json_said(), *list = json_object_get(root, "exposures");
    assert_int_equal(json_array_size(list), 4);
    assert_true(json_number_value(json_object_get(json_array_get(list, 2), "fwhm_pixels")) == 6);
    assert_true(json_is_null(json_object_get(json_array_get(list, 2), "seeing_arcsec")));
    assert_true(json_is_null(json_object_get(json_array_get(list, 3), "fwhm_pixels")));
    json_decref(root);
}

/* Without source-extractor the jobs tell the sky, and that is no "no data". */
static void sky_without_seeing(void **state)
{
    (void)state;
    static const double none[] = {0, 0, 0};
    put_exposure(NIGHT, 1, "object", "Field", "g", none);
    assert_int_equal(status("seeing", NULL), EXIT_DONE);
    assert_said("    -   302.0     30   0/3 no FWHM\n");
    assert_said("No seeing: no job has measured a FWHM (result.json)\n");
    assert_null(strstr(said, "No figures yet"));
}

static void what_a_night_holds_and_lacks(void **state)
{
    (void)state;
    struct copy from = {.night = "ut160902", .kind = OBS_FLAT, .filter = "r", .path = "a",
                        .source_sha256 = "77"};
    struct exposure x;
    bool found;
    put_exposure(NIGHT, 1, "zero", "", "solid", NULL);
    put_exposure(NIGHT, 2, "bias", "b", "none", NULL);
    put_exposure(NIGHT, 3, "dome flat", "", "g DECam SDSS", NULL);
    put_exposure(NIGHT, 4, "object", "Field", "g DECam SDSS", NULL);
    int64_t id = put_exposure(NIGHT, 5, "object", "Field", "r", NULL);
    put_exposure("ut160902", 6, "object", "Field", "r", NULL);
    TRY(catalogue_put_copy(cat, &from, WHY));
    struct ccd c = {.exposure = id, .ccd = 4, .hdu = 4, .state = CCD_PARKED}, *ccds;
    TRY(catalogue_put_ccd(cat, &c, WHY));
    size_t count;
    TRY(catalogue_ccds(cat, id, &ccds, &count, WHY));
    ccds[0].state = CCD_WAITING;
    TRY(catalogue_put_ccd(cat, &ccds[0], WHY));
    free(ccds);
    TRY(catalogue_count(cat, id, WHY));
    TRY(catalogue_get(cat, id, &x, &found, WHY));
    x.state = EX_PARKED;
    TRY(catalogue_save(cat, &x, WHY));
    assert_int_equal(status("inventory", NULL), EXIT_DONE);
    assert_said("ut160901 bias            -          2       6       0      0   4.0 MB   6.0 MB\n"
                "ut160901 flat            g          1       3       0      0   2.0 MB   3.0 MB\n"
                "ut160901 Field           g          1       3       0      0   2.0 MB   3.0 MB\n"
                "ut160901 Field           r          1       2       1      1   2.0 MB   2.0 MB\n"
                "ut160901 all                        5      14       1      1  10.0 MB  14.0 MB\n"
                "ut160901 1 parked: skyferry-pull status --night ut160901\n"
                "ut160901 bias 2; flats g 1, r MISSING (skyferry-pull copycals -o ut160901 -i\n");
    assert_said("ut160902 bias MISSING; flats r 1 copied (skyferry-pull");
    /* A night that is yet to come. */
    struct copy ahead = {.night = "ut160903", .kind = OBS_BIAS, .path = "b", .source_sha256 = "78"};
    TRY(catalogue_put_copy(cat, &ahead, WHY));
    assert_int_equal(status("inventory", NULL), EXIT_DONE);
    assert_said("ut160903 all                        0       0       0      0   0.0 MB   0.0 MB\n"
                "ut160903 bias 1 copied\n");
    TRY(catalogue_drop_copy(cat, ahead.path, WHY));
    assert_int_equal(status("inventory", NULL), EXIT_DONE);
    assert_null(strstr(said, "Earlier nights"));
    assert_int_equal(status("inventory", OPTIONS({OPT_LIMIT, "1", "limit"})), EXIT_DONE);
    assert_null(strstr(said, "ut160901"));
    assert_said("Earlier nights: ");
    settings.camera.ccds = 6; /* of 4 and 5 each lacks some */
    assert_int_equal(status("inventory", OPTIONS({OPT_NIGHT, NIGHT, "night"})), EXIT_DONE);
    assert_said("ut160901 all                        5      14      15      1 ");
    assert_int_equal(call(command_status, OPTIONS({OPT_JSON, NULL, "json"}), OPERANDS("inventory")),
                     EXIT_DONE);
    json_t *root = json_said(), *nights = json_object_get(root, "nights");
    json_t *lacks = json_object_get(json_array_get(nights, 0), "lacks");
    assert_int_equal(json_array_size(nights), 2);
    assert_int_equal(json_array_size(lacks), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(lacks, 0), "filter")), "r");
    json_decref(root);
}

/* Whatever there is to show, a screen of 24 lines holds it. */
static void a_screen_holds_the_picture(void **state)
{
    (void)state;
    static const char *const words[] = {"jobs", "seeing", "inventory"};
    static const double fwhm[] = {4, 4, 4};
    int64_t id = 0;
    char object[16], night[NIGHT_SIZE];
    for (int n = 1; n <= 60; n++) {
        snprintf(object, sizeof object, "Field %d", n % 4);
        snprintf(night, sizeof night, "ut1609%02d", 1 + n / 12);
        id = put_exposure(night, n, "object", object, "g", fwhm);
        add_job(id, 1, n % 3 ? JOB_FAILED : JOB_RUNNING);
    }
    for (int i = 0; i < 4; i++) {
        for (int n = 100; i == 3 && n < 140; n++) { /* fields of one night alone */
            snprintf(object, sizeof object, "Field %d", n);
            put_exposure("ut160909", n, "object", object, "g", NULL);
        }
        struct status_picture p = {.cat = cat, .now_ns = SHUTTER, .camera = &settings.camera,
                                   .kind = status_kind_of(words[i < 3 ? i : 2]), .lines = 24};
        char *text = NULL;
        size_t len = 0;
        int lines = 0;
        p.limit = p.kind->limit;
        FILE *to = open_memstream(&text, &len);
        TRY(status_kind_draw(&p, false, to, WHY));
        fclose(to);
        for (size_t k = 0; k < len; k++)
            lines += text[k] == '\n';
        if (lines >= 24 || lines < 16)
            fail_msg("%d lines: %s", lines, text);
        assert_true(i != 3 || strstr(text, "ut160909 all                       40 "));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_store_is_no_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(jobs_by_state, setup, teardown),
        cmocka_unit_test_setup_teardown(many_done_jobs_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(seeing_of_the_last_exposures, setup, teardown),
        cmocka_unit_test_setup_teardown(sky_without_seeing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_night_holds_and_lacks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_screen_holds_the_picture, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
