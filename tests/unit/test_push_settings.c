/* push.conf: all problems at once, overrides on top, and what a reload may change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fsutil.h"
#include "push/settings.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct config config;
static struct config_report report;

static int set_up(void **state)
{
    (void)state;
    report = (struct config_report){0};
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    buf_free(&report.text);
    scratch_remove(&scratch);
    return 0;
}

static bool reported(const char *words)
{
    return report.text.data && memmem(report.text.data, report.text.len, words, strlen(words));
}

/* Writes push.conf and loads it. */
static bool load(const char *text, unsigned needs, struct settings_source *source)
{
    char path[4096];
    struct settings_source plain = {0};
    if (!source)
        source = &plain;
    scratch_path(&scratch, "push.conf", path);
    assert_int_equal(fs_write_file(path, text, strlen(text), false, NULL), ST_OK);
    source->file = path;
    bool ok = settings_load(source, needs, &config, &report);
    source->file = NULL;
    return ok;
}

static void test_defaults(void **state)
{
    struct fidelity codec;
    struct lane_options lane;
    (void)state;
    if (!load("", 0, NULL))
        fail_msg("%.*s", (int)report.text.len, (char *)report.text.data);
    const struct settings *s = &config.set;
    assert_string_equal(s->pattern, "");
    assert_string_equal(settings_pattern(&config), "*.fits *.fits.fz");
    assert_true(s->recursive);
    assert_int_equal(s->rescan_s, 10);
    assert_true(s->settle_s == 2.0);
    assert_int_equal(s->give_up_s, 150);
    assert_int_equal(s->watch_silence_s, 60);
    assert_true(s->qstep == 0 && s->ratio == 0 && s->noise == 0);
    assert_true(s->q == 1);
    assert_int_equal(s->port, 22);
    assert_string_equal(s->lanes, "auto");
    assert_int_equal(settings_lanes(s), 0);
    assert_string_equal(s->congestion, "bbr");
    assert_int_equal(config.policy.mode, ORDER_ADAPTIVE);
    for (int i = 0; i < ORDER_KINDS; i++)
        assert_int_equal(config.policy.rank[i], i);
    assert_int_equal(config.policy.batch_size, 4);
    assert_int_equal(config.camera.ccds, 62); /* decam, from etc/cameras */
    assert_int_equal(config.night.rollover_s, 60192); /* CTIO's noon, 16:43:12 UTC */
    settings_codec(s, &codec);
    assert_string_equal(codec.method, "htj2k");
    assert_true(codec.q == 1);
    assert_false(codec.lossless);
    assert_true(fidelity_rung(&codec) == 10);
    assert_false(settings_exact_idle(s) || settings_exact_sweep(s));
    settings_exact_codec(s, &codec);
    assert_string_equal(codec.method, "jxl");
    settings_lane(s, &lane);
    assert_true(lane.user[0]); /* our own account */
    assert_true(strstr(lane.agent, " pid "));
    assert_false(lane.sftp);
}

static void test_sftp(void **state)
{
    struct lane_options lane;
    (void)state;
    assert_true(load("[ship]\ntransport = sftp\n", 0, NULL));
    settings_lane(&config.set, &lane);
    assert_true(lane.sftp);
    assert_string_equal(lane.sftp_directory, "skyferry-drops");
    assert_true(load("[ship]\ntransport = sftp\nsftp_directory = /drops\n", 0, NULL));
    settings_lane(&config.set, &lane);
    assert_string_equal(lane.sftp_directory, "/drops");
    assert_false(load("[ship]\ntransport = ftp\n", 0, NULL));
}

static void test_exact_data_are_never_lossy(void **state)
{
    (void)state;
    static const struct {
        const char *when;
        bool idle, sweep;
    } cases[] = {{"idle", true, false}, {"sweep", false, true}, {"both", true, true}};
    struct fidelity codec;
    for (size_t i = 0; i < 3; i++) {
        char text[200];
        snprintf(text, sizeof text, "[codec]\nqstep = 0.001\n[sweep]\nlossless = yes\n"
                 "lossless_method = htj2k\nlossless_when = %s\n", cases[i].when);
        if (!load(text, 0, NULL))
            fail_msg("%.*s", (int)report.text.len, (char *)report.text.data);
        assert_int_equal(settings_exact_idle(&config.set), cases[i].idle);
        assert_int_equal(settings_exact_sweep(&config.set), cases[i].sweep);
        settings_exact_codec(&config.set, &codec);
        assert_string_equal(codec.method, "htj2k");
        assert_true(codec.lossless);
    }
}

static void test_every_problem_at_once(void **state)
{
    (void)state;
    assert_false(load("[watch]\ndirectory = /no/such/place\npattern =\n[ship]\nlanes = 17\n"
                      "mode = zigzag\nrate_mbit = 50 6-18\n[site]\nnight_rollover = 25:00\n[camera]\n"
                      "profile = nikon\n[sky]\nclear = yes\n",
                      NEED_SPOOL | NEED_WATCH | NEED_FAR_END, NULL));
    assert_true(reported("push.conf:5: "));
    assert_true(reported("lanes = 17"));
    assert_true(reported("zigzag"));
    assert_true(reported("[ship] rate_mbit = '50 6-18': '6-18' is no window"));
    assert_true(reported("/no/such/place: No such file"));
    assert_true(reported("pattern is empty"));
    assert_true(reported("25:00"));
    assert_true(reported("nikon"));
    assert_true(reported("[sky]"));
    assert_true(reported("no far end"));
    assert_true(reported("ssh-keygen"));
    assert_true(reported("ssh-keyscan"));
    assert_true(report.count >= 10);
}

static void test_needs(void **state)
{
    (void)state;
    assert_true(load("", NEED_SPOOL, NULL)); /* status needs neither watch nor far end */
    assert_false(load("", NEED_WATCH, NULL));
    assert_true(reported("no directory to watch"));
}

static void test_spool_inside_the_watched_directory(void **state)
{
    char text[4096];
    (void)state;
    snprintf(text, sizeof text, "[watch]\ndirectory = %s\n[spool]\ndirectory = %s/spool\n",
             scratch.dir, scratch.dir);
    assert_false(load(text, NEED_WATCH | NEED_SPOOL, NULL));
    assert_true(reported("lies in the watched directory"));
    assert_int_equal(report.count, 1);
    snprintf(text, sizeof text, "[watch]\ndirectory = %s/\n[spool]\ndirectory = %s-spool\n",
             scratch.dir, scratch.dir);
    report.count = 0;
    assert_true(load(text, NEED_WATCH | NEED_SPOOL, NULL));
    assert_string_equal(config.set.directory, scratch.dir); /* a trailing slash is irrelevant */
}

static void test_overrides_lie_on_top(void **state)
{
    struct settings_source s = {.count = 3,
                                .over = {{"codec", "qstep", "0.0001", "environment variable QS"},
                                         {"codec", "qstep", "0.0002", "--Qs"},
                                         {"ship", "mode", "serial", "--mode"}}};
    (void)state;
    assert_true(load("[codec]\nqstep = 0.00005\n[ship]\nmode = batch\n", 0, &s));
    assert_true(config.set.qstep == 0.0002);
    assert_int_equal(config.policy.mode, ORDER_SERIAL);
    assert_false(load("[ship]\npriority = science flats\n", 0, NULL));
    assert_true(reported("priority = 'science flats'"));
    s.over[1].value = "lots";
    assert_false(load("", 0, &s));
    assert_true(reported("--Qs"));
    assert_true(reported("lots"));
}

static void test_lossless(void **state)
{
    struct fidelity codec;
    (void)state;
    assert_true(load("[codec]\nlossless = yes\nqstep = 0.001\n", 0, NULL));
    settings_codec(&config.set, &codec);
    assert_true(codec.lossless);
    assert_true(fidelity_rung(&codec) == 0);
}

static void test_how_lossy_is_said_once(void **state)
{
    struct override over = {"codec", "qstep", "0.00005", "--Qs"};
    struct settings_source s = {.over = {over}, .count = 1};
    struct fidelity codec;
    (void)state;
    static const char *const twice[] = {
        "[codec]\nratio = 10\nqstep = 0.00003\n", "[codec]\nnoise = 0.3\nqstep = 0.00003\n",
        "[codec]\nratio = 10\nnoise = 0.3\n"};
    for (int i = 0; i < 3; i++) {
        assert_false(load(twice[i], 0, NULL));
        assert_true(reported("exclude one another"));
    }
    assert_true(load(twice[0], 0, &s)); /* the command line's word holds */
    assert_true(config.set.qstep == 0.00005 && config.set.ratio == 0);
    assert_false(load("[codec]\nratio = 2\n", 0, NULL));
    assert_true(reported("from 3 to 40"));
    assert_false(load("[codec]\nratio = 41\n", 0, NULL));
    assert_true(load("[codec]\nmax_error = 4s\nexact = saturated, overscan\n", 0, NULL));
    settings_codec(&config.set, &codec);
    assert_true(codec.max_error == 4 && codec.max_in_noise);
    assert_int_equal(codec.exact, EXACT_SATURATED | EXACT_OVERSCAN);
    static const char *const wrong[] = {"max_error = 4x", "max_error = -1", "max_error = s",
                                        "max_error = inf", "exact = stars",
                                        "exact = saturated,stars"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[64];
        snprintf(text, sizeof text, "[codec]\n%s\n", wrong[i]);
        assert_false(load(text, 0, NULL));
    }
    assert_false(load("[codec]\nexact = masked\n", 0, NULL));
    assert_true(reported("needs masks"));
    assert_false(load("[codec]\nexact = masked\nmasks = /dev/null\n", 0, NULL));
    assert_true(reported("'/dev/null'") && reported("Not a directory"));
    assert_true(load("[codec]\nexact = masked\nmasks = /\n", 0, NULL));
}

static void test_auto_has_a_limit(void **state)
{
    struct fidelity codec;
    (void)state;
    assert_true(load("[codec]\nmethod = auto\n", 0, NULL));
    assert_true(settings_auto(&config.set));
    assert_true(settings_ratio_max(&config.set) == 10);
    assert_true(load("[codec]\nmethod = auto\nratio_max = 20\nmax_error = 4s\n", 0, NULL));
    assert_true(settings_ratio_max(&config.set) == 20);
    settings_codec(&config.set, &codec);
    assert_true(codec.max_error == 4 && codec.ratio == 0);
    assert_true(load("[codec]\nmethod = auto\nlossless = yes\n", 0, NULL));
    assert_true(settings_ratio_max(&config.set) == 0);
    /* The error that is allowed decides, on the ladder of htj2k; and back. */
    assert_true(load("[codec]\nmethod = auto\nnoise = 0.428\n", 0, NULL));
    double most = settings_ratio_max(&config.set);
    assert_true(most > 6.6 && most < 6.8);
    assert_true(fabs(fidelity_error("htj2k", most) - 0.428) < 1e-6);
    assert_true(fidelity_error("htj2k", 5) < 0.428 && fidelity_error("rice", 5) == 0);
    assert_true(load("[codec]\nmethod = auto\nnoise = 1\n", 0, NULL));
    assert_true(settings_ratio_max(&config.set) <= FIDELITY_RATIO_MAX);
    /* Each contradiction, beside other problems. */
    assert_false(load("[codec]\nmethod = auto\nratio = 8\n[ship]\nport = 0\n", 0, NULL));
    assert_true(reported("remove ratio") && reported("port"));
    assert_false(load("[codec]\nmethod = auto\nqstep = 0.00003\n", 0, NULL));
    assert_true(reported("remove qstep"));
    assert_false(load("[codec]\nmethod = auto\nratio_max = 2\n", 0, NULL));
}

static void test_what_a_reload_changes(void **state)
{
    struct settings before;
    struct fidelity codec;
    struct buf live = {0}, restart = {0};
    (void)state;
    assert_true(load("[watch]\npattern = a-long-pattern*.fits\n", 0, NULL));
    before = config.set;
    settings_changes(&before, &config.set, &live, &restart);
    assert_int_equal(live.len + restart.len, 0);
    assert_true(load("[watch]\npattern = b*.fits\n[ship]\nmode = batch\nwindow = 3\nlanes = 2\n"
                     "rate_mbit = 50 06:00-18:00\npriority = calibration science backfill\n"
                     "[log]\nlevel = debug\n[codec]\nmethod = quantized\nq = 0.5\n", 0, NULL));
    settings_changes(&before, &config.set, &live, &restart);
    assert_string_equal((char *)live.data, "codec.method codec.q ship.mode ship.priority ship.window "
                                           "ship.rate_mbit log.level");
    assert_string_equal((char *)restart.data, "watch.pattern ship.lanes");
    settings_codec(&config.set, &codec);
    assert_string_equal(codec.method, "quantized");
    assert_true(codec.q == 0.5 && codec.noise == 0);
    assert_false(load("[codec]\nq = 0\n", 0, NULL));
    assert_true(reported("0.1"));
    buf_free(&live);
    buf_free(&restart);
}

/* Turns are given to exposures, of however many files. */
static void test_a_camera_of_many_files_has_the_same_policy(void **state)
{
    (void)state;
    assert_true(load("[camera]\nprofile = etc/cameras/hsc.conf\n[ship]\nwindow = 3\n", 0, NULL));
    assert_int_equal(config.camera.ccds, 104);
    assert_int_equal(config.policy.window, 3);
    assert_int_equal(config.policy.batch_size, 4);
}

/* The settings as they are shipped let the profile say it. */
static void test_whose_pattern_holds(void **state)
{
    struct settings_source shipped = {.file = "etc/push.conf"};
    (void)state;
    assert_true(settings_load(&shipped, 0, &config, &report));
    assert_string_equal(config.set.pattern, "");
    assert_true(load("[camera]\nprofile = etc/cameras/hsc.conf\n", 0, NULL));
    assert_string_equal(settings_pattern(&config), "HSC*.fits HSC*.fits.fz");
    assert_true(load("[camera]\nprofile = etc/cameras/hsc.conf\n[watch]\npattern = x*\n", 0, NULL));
    assert_string_equal(settings_pattern(&config), "x*");
}

/* Each row has a sentence, a default and, for numbers, a range that holds the default. */
static void test_rows_are_complete(void **state)
{
    (void)state;
    for (const struct setting *r = settings_rows; r->key; r++) {
        assert_non_null(r->fallback);
        assert_non_null(r->sentence);
        assert_true(r->offset + r->size <= sizeof(struct settings));
        if (r->type == SET_INT || r->type == SET_REAL)
            assert_true(r->min < r->max);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_defaults), T(test_sftp), T(test_exact_data_are_never_lossy),
        T(test_every_problem_at_once),
        T(test_needs),
        T(test_spool_inside_the_watched_directory), T(test_overrides_lie_on_top),
        T(test_lossless), T(test_how_lossy_is_said_once), T(test_auto_has_a_limit),
        T(test_what_a_reload_changes), T(test_a_camera_of_many_files_has_the_same_policy),
        T(test_whose_pattern_holds), T(test_rows_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
