/* Command-line options: every spelling, every mistake answered, the help in 79 columns. */
#include "common/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

enum { CONFIG = 1, QSTEP, DATA, VERBOSE, JSON, NIGHT, EXPMIN };
static const struct option_row rows[] = {
    {"config", NULL, 'c', "FILE", CONFIG, NULL, "The configuration file."},
    {"qstep", "Qs q_step", 'Q', "STEP", QSTEP, NULL, "Quantisation step; larger is smaller."},
    {"data-dir", "data_dir", 'd', "DIR", DATA, "run send", "Watch this directory."},
    {"verbose", NULL, 'v', NULL, VERBOSE, NULL, "Say more."},
    {"json", NULL, 0, NULL, JSON, "status", "Print JSON."},
    {"night", NULL, 0, "utYYMMDD", NIGHT, "sweep", "Only this night."},
    {"exp-min", NULL, 0, "SECONDS", EXPMIN, "sweep",
     "Only exposures longer than this, so that the calibrations of the afternoon stay where they "
     "are until they are asked for."},
    {NULL, NULL, 0, NULL, 0, NULL, NULL}};

static struct option_found found[32];
static const char *operands[32];
static int found_count, operand_count;
static struct config_report report;

/* Arguments are given in one text, separated by blanks. */
static void parse(const char *line)
{
    static char copy[512];
    static char *argv[32];
    int argc = 0;
    buf_free(&report.text);
    report.count = 0;
    snprintf(copy, sizeof copy, "%s", line);
    char *save = NULL;
    argv[argc++] = (char *)"skyferry-push";
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    memset(found, 0, sizeof found);
    options_parse(rows, argc, argv, found, &found_count, operands, &operand_count, &report);
}

static void expect_said(const char *text)
{
    assert_string_equal(report.text.data ? (char *)report.text.data : "", text);
}

static void expect_found(int i, int id, const char *value)
{
    assert_true(i < found_count);
    assert_int_equal(found[i].id, id);
    if (value)
        assert_string_equal(found[i].value, value);
    else
        assert_null(found[i].value);
}

static void every_spelling(void **state)
{
    (void)state;
    parse("--config=a run --config b -c c -cd --Qs=0.1 --q-step 0.2 --data_dir=/x --data-dir= "
          "f.fits");
    expect_said("");
    assert_int_equal(found_count, 8);
    expect_found(0, CONFIG, "a");
    expect_found(1, CONFIG, "b");
    expect_found(2, CONFIG, "c");
    expect_found(3, CONFIG, "d");
    expect_found(4, QSTEP, "0.1");
    expect_found(5, QSTEP, "0.2");
    assert_string_equal(found[5].spelling, "qstep");
    expect_found(6, DATA, "/x");
    expect_found(7, DATA, "");
    assert_int_equal(operand_count, 2);
    assert_string_equal(operands[0], "run");
    assert_string_equal(operands[1], "f.fits");
}

static void letters_together(void **state)
{
    (void)state;
    parse("run -vQ 0.5 -vc=x");
    expect_said("");
    assert_int_equal(found_count, 4);
    expect_found(0, VERBOSE, NULL);
    expect_found(1, QSTEP, "0.5");
    expect_found(2, VERBOSE, NULL);
    expect_found(3, CONFIG, "=x");
    parse("-vvv");
    assert_int_equal(found_count, 2);
    expect_said("-vvv: too many letters in one word; write them apart\n");
}

static void ends_and_dashes(void **state)
{
    (void)state;
    parse("sweep --exp_min -1 - -- --json -v");
    expect_said("");
    assert_int_equal(found_count, 1);
    expect_found(0, EXPMIN, "-1");
    assert_int_equal(operand_count, 4);
    assert_string_equal(operands[1], "-");
    assert_string_equal(operands[2], "--json");
    assert_string_equal(operands[3], "-v");
    parse("");
    assert_int_equal(found_count + operand_count, 0);
}

static void mistakes_are_all_said(void **state)
{
    (void)state;
    parse("run --confg=x --frobnicate -z --json=1 --night --data-dir --verbose -c");
    expect_said("--confg: no such option; did you mean --config?\n"
                "--frobnicate: no such option; --help lists them\n"
                "-z: no such option; --help lists them\n"
                "--json: takes no value; leave out '=1'\n"
                "--night: needs a value; write --night=utYYMMDD\n"
                "--data-dir: needs a value; write --data-dir=DIR\n"
                "-c: needs a value; write -c FILE\n");
    assert_int_equal(report.count, 7);
    assert_int_equal(found_count, 1);
    expect_found(0, VERBOSE, NULL);
}

static void commands_have_their_options(void **state)
{
    (void)state;
    parse("--json run --data-dir=x --night=ut160101");
    expect_said("--json: 'run' does not take this option; it goes with: status\n"
                "--night: 'run' does not take this option; it goes with: sweep\n");
    parse("send --data-dir=x -v");
    expect_said("");
    parse("sen --data-dir=x"); /* a part of a command's name is not the command */
    assert_int_equal(report.count, 1);
    parse("sends --data-dir=x");
    assert_int_equal(report.count, 1);
    parse("--json --data-dir=x"); /* no command, nothing to hold them against */
    expect_said("");
}

static void help_fits_the_screen(void **state)
{
    (void)state;
    struct buf out = {0};
    options_help(rows, false, &out);
    assert_string_equal(
        (char *)out.data,
        "  -c, --config FILE       The configuration file.\n"
        "  -Q, --qstep STEP        Quantisation step; larger is smaller (also --Qs,\n"
        "                          --q_step).\n"
        "  -d, --data-dir DIR      Watch this directory.\n"
        "  -v, --verbose           Say more.\n"
        "      --json              Print JSON.\n"
        "      --night utYYMMDD    Only this night.\n"
        "      --exp-min SECONDS   Only exposures longer than this, so that the\n"
        "                          calibrations of the afternoon stay where they are\n"
        "                          until they are asked for.\n");
    buf_free(&out);
}

static void help_as_mdoc(void **state)
{
    (void)state;
    struct buf out = {0};
    struct option_row two[] = {rows[1], rows[4], rows[7]};
    options_help(two, true, &out);
    assert_string_equal((char *)out.data,
                        ".It Fl Q , Fl -qstep Ar STEP\n"
                        "Quantisation step; larger is smaller (also --Qs, --q_step).\n"
                        ".It Fl -json\n"
                        "Print JSON.\n"
                        "For: status.\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling),
        cmocka_unit_test(letters_together),
        cmocka_unit_test(ends_and_dashes),
        cmocka_unit_test(mistakes_are_all_said),
        cmocka_unit_test(commands_have_their_options),
        cmocka_unit_test(help_fits_the_screen),
        cmocka_unit_test(help_as_mdoc),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_free(&report.text);
    return failed;
}
