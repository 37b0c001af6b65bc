/* result.json comes from a program that anybody may have written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "pull/quality.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct ccd ccds[2];

static enum status read_text(const char *text, size_t len, struct fault *why)
{
    char path[4096];
    struct fault no;
    bool found;
    scratch_path(&dir, "result.json", path);
    assert_int_equal(fs_write_file(path, text, len, false, &no), ST_OK);
    ccds[0] = (struct ccd){.ccd = 1, .quality = {9, 9, 9, 9, 9, ""}};
    ccds[1] = (struct ccd){.ccd = 12, .quality = {9, 9, 9, 9, 9, ""}};
    enum status st = quality_read(path, ccds, 2, &found, why);
    assert_true(found);
    return st;
}

static void figures_are_taken(void **state)
{
    (void)state;
    static const char text[] =
        "{\"format\": 1, \"ccds\": [{\"ccd\": 12, \"background\": 41.5, \"noise\": 2.5,"
        " \"saturated\": 0, \"stars\": 7, \"fwhm\": null, \"seeing\": \"good\"},"
        " {\"ccd\": 1, \"error\": \"no such file\"}]}";
    struct fault why;
    assert_int_equal(read_text(text, strlen(text), &why), ST_OK);
    assert_true(ccds[1].quality.background == 41.5 && ccds[1].quality.noise == 2.5);
    assert_true(ccds[1].quality.saturated == 0 && ccds[1].quality.stars == 7);
    assert_false(quality_known(ccds[1].quality.fwhm));
    assert_string_equal(ccds[1].quality.error, "");
    assert_false(quality_known(ccds[0].quality.background));
    assert_string_equal(ccds[0].quality.error, "no such file");
}

static void a_ccd_left_out_keeps_what_it_had(void **state)
{
    (void)state;
    struct fault why;
    assert_int_equal(read_text("{\"ccds\": []}", 12, &why), ST_OK);
    assert_true(ccds[0].quality.noise == 9);
}

static void bad_results_are_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "result.json cannot be used: line"},
        {"{\"ccds\": [{\"ccd\": 1, ", "result.json cannot be used: line"},
        {"\x01\x02", "result.json"},
        {"[]", "no array \"ccds\""},
        {"{\"ccds\": 7}", "no array \"ccds\""},
        {"{\"ccds\": [1]}", "no \"ccd\" number"},
        {"{\"ccds\": [{\"ccd\": \"1\"}]}", "no \"ccd\" number"},
        {"{\"ccds\": [{\"ccd\": 77}]}", "ccd 77 is none of this job's"},
        {"{\"ccds\": [{\"ccd\": 4294967297}]}", "ccd 4294967297 is none"},
        {"{\"ccds\": [{\"ccd\": 1, \"noise\": \"low\"}]}", "ccd 1: \"noise\" is no number"},
        {"{\"ccds\": [{\"ccd\": 1, \"fwhm\": [1]}]}", "ccd 1: \"fwhm\" is no number"},
        {"{\"ccds\": [], \"ccds\": []}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fault why = {0};
        assert_int_equal(read_text(cases[i].text, strlen(cases[i].text), &why), ST_REJECT);
        if (!strstr(why.text, cases[i].words))
            fail_msg("%s: %s", cases[i].text, why.text);
    }
}

static void a_huge_result_is_refused(void **state)
{
    (void)state;
    struct fault why = {0};
    struct buf text = {0};
    buf_printf(&text, "{\"ccds\": [], \"x\": \"");
    assert_true(buf_reserve(&text, QUALITY_MAX + 1));
    memset(text.data + text.len, 'x', QUALITY_MAX);
    text.len += QUALITY_MAX;
    buf_printf(&text, "\"}");
    assert_int_equal(read_text((const char *)text.data, text.len, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "longer than"));
    buf_free(&text);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    struct fault why = {0};
    struct buf text = {0};
    buf_printf(&text, "{\"ccds\": ");
    for (int i = 0; i < 100000; i++)
        buf_printf(&text, "[");
    assert_int_equal(read_text((const char *)text.data, text.len, &why), ST_REJECT);
    buf_free(&text);
}

static void no_result_is_no_fault(void **state)
{
    (void)state;
    struct fault why;
    char path[4096];
    bool found = true;
    assert_int_equal(quality_read(scratch_path(&dir, "none.json", path), ccds, 2, &found, &why),
                     ST_OK);
    assert_false(found);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_taken),       cmocka_unit_test(a_ccd_left_out_keeps_what_it_had),
        cmocka_unit_test(bad_results_are_said),    cmocka_unit_test(a_huge_result_is_refused),
        cmocka_unit_test(deep_nesting_is_refused), cmocka_unit_test(no_result_is_no_fault),
    };
    return cmocka_run_group_tests_name("pull quality", tests, setup, teardown);
}
