/* Hostile names become safe ones or are refused, and nothing leaves the root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/fsutil.h"

static void joins_below_the_root(void **state)
{
    (void)state;
    char out[32];
    struct fault why;
    static const struct {
        const char *root, *rel, *want;
    } good[] = {
        {"/root", "a", "/root/a"},       {"/root/", "a/b.c", "/root/a/b.c"},
        {"/", "a", "/a"},                {"rel", "..a/...", "rel/..a/..."},
        {"/root", "a b", "/root/a b"},   {"/root//", "x", "/root/x"},
        {"/root", ".a/b.", "/root/.a/b."},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(fs_join(out, sizeof out, good[i].root, good[i].rel, &why), ST_OK);
        assert_string_equal(out, good[i].want);
    }
    static const char *const bad[] = {
        "", "/", "/etc/passwd", "..", ".", "../x", "a/../b", "a/..", "a//b", "a/", "./a", "a/./b",
        "a\nb", "a\x7f", "\x01", "a/b\t",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (fs_join(out, sizeof out, "/root", bad[i], &why) != ST_REJECT)
            fail_msg("accepted: '%s'", bad[i]);
        assert_non_null(strstr(why.text, "refused"));
        assert_null(strpbrk(why.text, "\n\t\x01\x7f"));
    }
    assert_int_equal(fs_join(out, sizeof out, "", "a", &why), ST_REJECT);
}

static void join_knows_its_size(void **state)
{
    (void)state;
    char out[8];
    struct fault why;
    assert_int_equal(fs_join(out, sizeof out, "/ab", "cde", &why), ST_OK);
    assert_string_equal(out, "/ab/cde");
    assert_int_equal(fs_join(out, sizeof out, "/ab", "cdef", &why), ST_REJECT);
    assert_non_null(strstr(why.text, "too long"));
}

static void accepts_good_names(void **state)
{
    (void)state;
    char name[202];
    memset(name, 'n', 201);
    name[201] = '\0';
    assert_false(fs_name_ok(name));
    name[200] = '\0';
    assert_true(fs_name_ok(name));
    assert_true(fs_name_ok("DECam_00512345.fits.fz"));
    assert_true(fs_name_ok("a+b~c-d"));
    static const char *const bad[] = {"", ".", "..", ".hidden", "-rf", "a b", "a/b", "a\n",
                                      "a;b", "\xc3\xa9", "a$b", "a*", "a%"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (fs_name_ok(bad[i]))
            fail_msg("accepted: '%s'", bad[i]);
    assert_false(fs_name_ok(NULL));
}

static void cleans_names(void **state)
{
    (void)state;
    char out[256];
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"4hr", "4hr"},
        {"DWF field 1", "DWF_field_1"},
        {"../../x;rm", "_x_rm"},
        {"x;rm -rf /", "x_rm_-rf_"},
        {"a  b", "a_b"},
        {"a_ b", "a__b"},
        {"-rf", "_rf"},
        {".hidden", "_hidden"},
        {"caf\xc3\xa9 au lait", "caf_au_lait"},
        {"a\nb\tc", "a_b_c"},
        {"NGC 5128 (Cen A)", "NGC_5128_Cen_A_"},
        {"", "none"},
        {"   ", "none"},
        {"///", "none"},
        {"..", "none"},
        {"\xff\xfe", "none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fs_name_clean(out, sizeof out, cases[i].text, "none");
        assert_string_equal(out, cases[i].want);
        assert_true(fs_name_ok(out));
    }
    char text[1000];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    fs_name_clean(out, sizeof out, text, "none");
    assert_int_equal(strlen(out), 200);
    fs_name_clean(out, 8, text, "none");
    assert_string_equal(out, "yyyyyyy");
    fs_name_clean(out, sizeof out, NULL, "none");
    assert_string_equal(out, "none");
    for (int c = 1; c < 256; c++) {
        char one[3] = {(char)c, (char)c, 0};
        fs_name_clean(out, sizeof out, one, "f");
        assert_true(fs_name_ok(out));
    }
}

static void basenames(void **state)
{
    (void)state;
    assert_string_equal(fs_basename("/a/b.fits"), "b.fits");
    assert_string_equal(fs_basename("b.fits"), "b.fits");
    assert_string_equal(fs_basename("/a/"), "");
    assert_string_equal(fs_basename(""), "");
    assert_string_equal(fs_basename(NULL), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_below_the_root),
        cmocka_unit_test(join_knows_its_size),
        cmocka_unit_test(accepts_good_names),
        cmocka_unit_test(cleans_names),
        cmocka_unit_test(basenames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
