/* pull.conf becomes settings: defaults, what follows from them, and every problem at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "pull/part.h"
#include "pull/settings.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct pull_settings s;

static int setup(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

/* Loads these lines as pull.conf; the report is the caller's to free. */
static bool load(const char *lines, const struct pull_overrides *more, struct config_report *r)
{
    char path[4096];
    struct fault why;
    struct pull_overrides o = more ? *more : (struct pull_overrides){0};
    scratch_path(&dir, "pull.conf", path);
    assert_int_equal(fs_write_file(path, lines, strlen(lines), false, &why), ST_OK);
    o.config = path;
    *r = (struct config_report){0};
    bool ok = pull_settings_load(&o, &s, r);
    buf_append(&r->text, "", 1);
    return ok;
}

#define CAMERA "[camera]\nprofile = etc/cameras/generic.conf\n"

static void assert_says(const struct config_report *r, const char *words)
{
    if (!strstr((const char *)r->text.data, words))
        fail_msg("no '%s' in: %s", words, (const char *)r->text.data);
}

static void defaults_hold(void **state)
{
    (void)state;
    struct config_report r;
    struct part_store store;
    assert_true(load(CAMERA "[store]\nroot = /data/sky//\n", NULL, &r));
    assert_string_equal(s.root, "/data/sky");
    assert_string_equal(s.state, "/data/sky/state");
    assert_string_equal(s.catalogue, "/data/sky/state/catalogue.db");
    assert_string_equal(s.lock, "/data/sky/state/lock");
    assert_string_equal(s.log_file, "/data/sky/log/skyferry-pull_%Y%m%d_%H:%M:%S.log");
    assert_string_equal(s.place[OBS_SCIENCE],
                        "rawdata/{night}/{ccd}/{object}.{filter1}.{night}.{expnum}_{ccd}.fits");
    assert_string_equal(s.on_conflict, "park");
    assert_string_equal(s.workspace, "none");
    assert_int_equal(s.ccds_per_job, 15);
    assert_false(s.dry_run);
    /* CTIO's local noon: 12 h + 70.8 / 15 h */
    assert_int_equal(s.rule.rollover_s, 16 * 3600 + 43 * 60 + 12);
    pull_part_store(&s, &store);
    assert_string_equal(store.root, "/data/sky");
    assert_true(store.min_free_bytes == 5LL << 30);
    buf_free(&r.text);
}

static void paths_can_be_elsewhere(void **state)
{
    (void)state;
    struct config_report r;
    assert_true(load(CAMERA "[store]\nroot = /data\nstate = /var/lib/sky\n[log]\nfile = none\n",
                     NULL, &r));
    assert_string_equal(s.catalogue, "/var/lib/sky/catalogue.db");
    assert_string_equal(s.log_file, "");
    buf_free(&r.text);
    assert_true(load(CAMERA "[store]\nroot = /data\nstate = db\n[log]\nfile = /log/x\n", NULL, &r));
    assert_string_equal(s.catalogue, "/data/db/catalogue.db");
    assert_string_equal(s.log_file, "/log/x");
    assert_string_equal(s.drops, "");
    buf_free(&r.text);
    assert_true(load(CAMERA "[store]\nroot = /data\ndrops = in\n", NULL, &r));
    assert_string_equal(s.drops, "/data/in");
    buf_free(&r.text);
    assert_true(load(CAMERA "[store]\nroot = /data\ndrops = /srv/in\n", NULL, &r));
    assert_string_equal(s.drops, "/srv/in");
    buf_free(&r.text);
    static const char *const taken[] = {"/data", "/data//", "bundles", "/data/incoming/x/", "jobs"};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, CAMERA "[store]\nroot = /data\ndrops = %s\n", taken[i]);
        assert_false(load(text, NULL, &r));
        assert_non_null(strstr((char *)r.text.data, "store's own folder"));
        buf_free(&r.text);
    }
    assert_false(load(CAMERA "[store]\nroot = /data\ndrops = //\n", NULL, &r));
    assert_non_null(strstr((char *)r.text.data, "[store] drops = / is the whole machine"));
    buf_free(&r.text);
    assert_true(load(CAMERA "[store]\nroot = /data\ndrops = jobs2/\n", NULL, &r));
    assert_string_equal(s.drops, "/data/jobs2");
    buf_free(&r.text);
}

static void a_relative_root_is_made_absolute(void **state)
{
    (void)state;
    struct config_report r;
    char here[4096], wanted[4200];
    assert_true(load(CAMERA "[store]\nroot = store/\n", NULL, &r));
    assert_non_null(getcwd(here, sizeof here));
    snprintf(wanted, sizeof wanted, "%s/store", here);
    assert_string_equal(s.root, wanted);
    buf_free(&r.text);
}

static void overrides_win(void **state)
{
    (void)state;
    struct config_report r;
    struct pull_overrides o = {.root = "/other/", .run_date = "ut160901", .level = "debug"};
    assert_true(load(CAMERA "[store]\nroot = /data\n", &o, &r));
    assert_string_equal(s.root, "/other");
    assert_string_equal(s.run_date, "ut160901");
    assert_string_equal(s.log_level, "debug");
    buf_free(&r.text);
}

static void a_missing_root_is_said(void **state)
{
    (void)state;
    struct config_report r;
    assert_false(load(CAMERA, NULL, &r));
    assert_int_equal(r.count, 1);
    assert_says(&r, "[store] root is not set");
    assert_says(&r, "--push-dir");
    buf_free(&r.text);
}

static void a_malformed_run_date_is_said(void **state)
{
    (void)state;
    static const char *const bad[] = {"160901", "ut1609", "ut161332", "UT160901", "ut20160901", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config_report r;
        struct pull_overrides o = {.root = "/data", .run_date = bad[i]};
        assert_false(load(CAMERA, &o, &r));
        assert_int_equal(r.count, 1);
        assert_says(&r, "utYYMMDD");
        buf_free(&r.text);
    }
}

static void all_problems_come_at_once(void **state)
{
    (void)state;
    struct config_report r;
    assert_false(load("[store]\nrooot = /x\n[place]\nscience = a/{nihgt}/{ccd}_{expnum}.fits\n"
                      "flat = /{ccd}{name}\nbias = {night}/{name}.fits\non_conflict = shrug\n"
                      "[site]\nnight_rollover = 25:00\n[camera]\nprofile = no/such.conf\n"
                      "[jobs]\nccds_per_job = 0\ncommand = run {jbo}\n", NULL, &r));
    assert_says(&r, "rooot");
    assert_says(&r, "did you mean 'root'");
    assert_says(&r, "root is not set");
    assert_says(&r, "'{nihgt}' is no placeholder");
    assert_says(&r, "[place] flat");
    assert_says(&r, "all ccds would get one name");
    assert_says(&r, "give park, version or replace");
    assert_says(&r, "pull.conf: [site] night_rollover = '25:00'");
    assert_says(&r, "no/such.conf");
    assert_says(&r, "ccds_per_job");
    assert_says(&r, "'{jbo}' is no placeholder");
    assert_int_equal(r.count, 10);
    buf_free(&r.text);
}

static void what_is_dumped_can_be_loaded(void **state)
{
    (void)state;
    struct config_report r;
    struct buf text = {0};
    struct pull_overrides o = {.root = "/data"};
    config_dump(pull_settings_rows, NULL, CONFIG_DEFAULTS, &text);
    assert_true(buf_append(&text, "", 1));
    bool ok = load((const char *)text.data, &o, &r);
    /* decam is looked for beside the file: that alone may fail here. */
    for (int i = 0; !ok && i < r.count; i++)
        assert_says(&r, "[camera] profile");
    assert_true(r.count <= 1);
    assert_int_equal(s.rescan_seconds, 30);
    assert_string_equal(s.command, "skyferry-measure");
    buf_free(&text);
    buf_free(&r.text);
}

static void every_key_says_what_it_does(void **state)
{
    (void)state;
    for (const struct setting *row = pull_settings_rows; row->key; row++) {
        assert_non_null(row->sentence);
        assert_true(strlen(row->sentence) > 20);
        assert_non_null(row->fallback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
        cmocka_unit_test(paths_can_be_elsewhere),
        cmocka_unit_test(a_relative_root_is_made_absolute),
        cmocka_unit_test(overrides_win),
        cmocka_unit_test(a_missing_root_is_said),
        cmocka_unit_test(a_malformed_run_date_is_said),
        cmocka_unit_test(all_problems_come_at_once),
        cmocka_unit_test(what_is_dumped_can_be_loaded),
        cmocka_unit_test(every_key_says_what_it_does),
    };
    return cmocka_run_group_tests_name("pull settings", tests, setup, teardown);
}
