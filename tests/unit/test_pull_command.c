/* [jobs] command: split without a shell, placeholders inside one argument whatever they hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "pull/command.h"
#include "tests/unit/scratch.h"

static const struct command_values values = {"/s/job dir/job.json", "/s/r.json",
                                             "x'; rm -rf \"$HOME\"", "ut160901", "/s"};

/* Makes the command and compares its arguments, given as one list that ends with NULL. */
static void assert_args(const char *text, const char *const *wanted)
{
    struct config_report r = {0};
    struct command c;
    if (!command_make(text, &values, &c, &r))
        fail_msg("%s: %.*s", text, (int)r.text.len, (const char *)r.text.data);
    int n = 0;
    for (; wanted[n]; n++) {
        assert_true(n < c.argc);
        assert_string_equal(c.argv[n], wanted[n]);
    }
    assert_int_equal(c.argc, n);
    assert_null(c.argv[n]);
    command_free(&c);
}
#define ARGS(...) (const char *const[]){__VA_ARGS__, NULL}

static void blanks_and_quotes(void **state)
{
    (void)state;
    assert_args("measure", ARGS("measure"));
    assert_args("  a\tb   c ", ARGS("a", "b", "c"));
    assert_args("a 'b c' \"d e\"", ARGS("a", "b c", "d e"));
    assert_args("a 'b'\"c\"d", ARGS("a", "bcd"));
    assert_args("a '' \"\"", ARGS("a", "", ""));
    assert_args("a 'b\\n\"c'", ARGS("a", "b\\n\"c"));
    assert_args("a \"b\\\"c\\\\d\\n\"", ARGS("a", "b\"c\\d\\n"));
    assert_args("a b\\ c \\{x", ARGS("a", "b c", "{x"));
    assert_args("a $HOME `x` ; | > &", ARGS("a", "$HOME", "`x`", ";", "|", ">", "&"));
}

static void placeholders_stay_in_their_argument(void **state)
{
    (void)state;
    assert_args("run {job} {result}", ARGS("run", "/s/job dir/job.json", "/s/r.json"));
    assert_args("run --x={exposure}", ARGS("run", "--x=x'; rm -rf \"$HOME\""));
    assert_args("run \"{night}:{store}\"", ARGS("run", "ut160901:/s"));
    assert_args("run '{night}' \"{no}\"", ARGS("run", "{night}", "{no}"));
    assert_args("{store}/bin/run", ARGS("/s/bin/run"));
}

static void problems_are_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {{"", "names no program"},          {"   ", "names no program"},
                 {"''", "names no program"},        {"a 'b", "quote is not closed"},
                 {"a \"b", "quote is not closed"},  {"a {jbo}", "'{jbo}' is no placeholder"},
                 {"a {job", "is no placeholder"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_report r = {0};
        struct command c;
        assert_false(command_make(cases[i].text, NULL, &c, &r));
        assert_int_equal(c.argc, 0);
        assert_int_equal(r.count, 1);
        assert_true(buf_append(&r.text, "", 1));
        assert_non_null(strstr((const char *)r.text.data, cases[i].words));
        buf_free(&r.text);
    }
}

static void too_many_arguments_are_refused(void **state)
{
    (void)state;
    struct buf text = {0};
    struct config_report r = {0};
    struct command c;
    for (int i = 0; i < COMMAND_ARGS; i++)
        buf_printf(&text, "x ");
    assert_true(command_make((const char *)text.data, NULL, &c, &r));
    assert_int_equal(c.argc, COMMAND_ARGS);
    command_free(&c);
    buf_printf(&text, "x");
    assert_false(command_make((const char *)text.data, NULL, &c, &r));
    assert_int_equal(r.count, 1);
    buf_free(&r.text);
    buf_free(&text);
}

static void programs_are_found(void **state)
{
    (void)state;
    struct scratch dir;
    char path[4096], out[4096];
    struct fault why;
    assert_int_equal(scratch_make(&dir), 0);
    scratch_path(&dir, "only-here", path);
    assert_int_equal(fs_write_file(path, "#!/bin/sh\n", 10, false, &why), ST_OK);
    assert_false(command_find(path, out, sizeof out)); /* not executable */
    assert_int_equal(chmod(path, 0755), 0);
    assert_true(command_find(path, out, sizeof out));
    assert_string_equal(out, path);
    assert_false(command_find(dir.dir, out, sizeof out)); /* a folder */
    assert_false(command_find("only-here", out, sizeof out));
    char *before = strdup(getenv("PATH"));
    setenv("PATH", dir.dir, 1);
    assert_true(command_find("only-here", out, sizeof out));
    assert_string_equal(out, path);
    setenv("PATH", before, 1);
    free(before);
    /* Beside this program, before PATH. */
    assert_true(command_find("test_pull_command", out, sizeof out));
    assert_true(out[0] == '/');
    scratch_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blanks_and_quotes),
        cmocka_unit_test(placeholders_stay_in_their_argument),
        cmocka_unit_test(problems_are_said),
        cmocka_unit_test(too_many_arguments_are_refused),
        cmocka_unit_test(programs_are_found),
    };
    return cmocka_run_group_tests_name("pull command", tests, NULL, NULL);
}
