/* Settings rows: defaults, files, every kind of problem with its line and remedy, all at once;
 * and the three printed forms, of which the first two load again to the same values. */
#include "common/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/unit/scratch.h"

struct sample {
    char directory[64], name[16], mode[16];
    int lanes;
    double rate, offset;
    bool deep;
};

#define AT_(m) SETTING_AT(struct sample, m)
static const struct setting rows[] = {
    {"watch", "directory", SET_PATH, AT_(directory), NULL, 0, 0, NULL, NULL, "Where files appear"},
    {"watch", "recursive", SET_BOOL, AT_(deep), "yes", 0, 0, NULL, NULL,
     "Look into sub-directories."},
    {"ship", "mode", SET_CHOICE, AT_(mode), "parallel", 0, 0, "parallel|serial|batch", NULL,
     "Order of exposures."},
    {"ship", "lanes", SET_INT, AT_(lanes), "4", 1, 16, NULL, NULL, "SSH connections."},
    {"ship", "rate_mbit", SET_REAL, AT_(rate), "0", 0, INFINITY, NULL, "Mbit/s",
     "Most that is sent; 0: no bound."},
    {"ship", "offset", SET_REAL, AT_(offset), "-1.5", 0, 0, NULL, "s", "Any number."},
    {"site", "name", SET_TEXT, AT_(name), "", 0, 0, NULL, NULL, "Name of the site."},
    {NULL, NULL, SET_TEXT, 0, 0, NULL, 0, 0, NULL, NULL, NULL}};

static struct scratch scratch;
static char file[4096];
static struct sample got;
static struct config_report report;

static int set_up(void **state)
{
    (void)state;
    memset(&report, 0, sizeof report);
    memset(&got, 0xee, sizeof got);
    if (scratch_make(&scratch) < 0)
        return -1;
    scratch_path(&scratch, "a.conf", file);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_free(&report.text);
    scratch_remove(&scratch);
    return 0;
}

static bool load_bytes(const char *bytes, size_t len)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return config_load(file, rows, &got, &report);
}

static bool load(const char *text)
{
    return load_bytes(text, strlen(text));
}

static const char *said(void)
{
    return report.text.data ? (const char *)report.text.data : "";
}

/* The report is exactly these lines, each with "FILE" in front. */
static void expect(const char *const *lines, int count)
{
    struct buf want = {0};
    for (int i = 0; i < count; i++)
        buf_printf(&want, "%s%s\n", file, lines[i]);
    assert_string_equal(said(), want.data ? (const char *)want.data : "");
    assert_int_equal(report.count, count);
    buf_free(&want);
}
#define EXPECT(...) \
    expect((const char *const[]){__VA_ARGS__}, \
           (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static void defaults_and_values(void **state)
{
    (void)state;
    assert_true(load("; comment\n# comment\n[watch]\ndirectory = /data/raw/\n"));
    assert_string_equal(said(), "");
    assert_string_equal(got.directory, "/data/raw");
    assert_true(got.deep);
    assert_string_equal(got.mode, "parallel");
    assert_int_equal(got.lanes, 4);
    assert_true(got.rate == 0 && got.offset == -1.5);
    assert_string_equal(got.name, "");
    assert_true(load("\xef\xbb\xbf[watch]\r\n  directory=/\r\n\trecursive : OFF\n"
                     "[ship]  ; see below\nmode=batch\nlanes = 16\nrate_mbit = 1e2\n"
                     "offset=-0.25\n[site]\nname = a=b; c"));
    assert_string_equal(said(), "");
    assert_string_equal(got.directory, "/");
    assert_false(got.deep);
    assert_string_equal(got.mode, "batch");
    assert_int_equal(got.lanes, 16);
    assert_true(got.rate == 100 && got.offset == -0.25);
    assert_string_equal(got.name, "a=b; c"); /* no blank before ';': part of the value */
}

static void all_problems_at_once(void **state)
{
    (void)state;
    assert_false(load("[watch]\n"
                      "recursive = perhaps\n"
                      "[ship]\n"
                      "mode = seriel\n"
                      "lanes = 99\n"
                      "rate_mbit = -1\n"
                      "lanez = 3\n"
                      "name = x\n"
                      "zebra = x\n"
                      "[shop]\n"
                      "mode = serial\n"
                      "[nonsense]\n"));
    EXPECT(":2: [watch] recursive = perhaps is neither yes nor no; give yes or no",
           ":4: [ship] mode = seriel is not known (did you mean serial?); give parallel, serial or "
           "batch",
           ":5: [ship] lanes = 99 is out of range; give a whole number from 1 to 16",
           ":6: [ship] rate_mbit = -1 is out of range; give a number of at least 0 (Mbit/s)",
           ":7: unknown key 'lanez' in [ship]; did you mean 'lanes'?",
           ":8: [ship] has no key 'name'; move it to [site]",
           ":9: unknown key 'zebra' in [ship]; remove it, or see --dump-config for all keys",
           ":10: unknown section [shop]; did you mean [ship]?",
           ":12: unknown section [nonsense]; there are [watch], [ship], [site]",
           ": [watch] directory is missing (Where files appear); add a line 'directory = ...' "
           "below [watch]");
}

static void bad_numbers(void **state)
{
    (void)state;
    assert_false(load("[watch]\ndirectory=/d\n"
                      "[ship]\nlanes = 4x\nrate_mbit = nan\noffset = 0x10\n"));
    EXPECT(":4: [ship] lanes = 4x is not a number; give a whole number from 1 to 16",
           ":5: [ship] rate_mbit = nan is not a number; give a number of at least 0 (Mbit/s)",
           ":6: [ship] offset = 0x10 is not a number; give a number (s)");
    report.text.len = 0;
    report.count = 0;
    assert_false(load("[watch]\ndirectory=/d\n[ship]\nlanes = 2.5\nrate_mbit =\noffset = 1e999\n"));
    EXPECT(":4: [ship] lanes = 2.5 is not a whole number; give a whole number from 1 to 16",
           ":5: [ship] rate_mbit =  is not a number; give a number of at least 0 (Mbit/s)",
           ":6: [ship] offset = 1e999 is not a number; give a number (s)");
}

static void a_number_without_a_range_still_fits_its_type(void **state)
{
    (void)state;
    int n = 7;
    const struct setting one[] = {
        {"a", "n", SET_INT, 0, sizeof n, "1", 0, 0, NULL, NULL, "N."},
        {NULL, NULL, SET_TEXT, 0, 0, NULL, 0, 0, NULL, NULL, NULL}};
    assert_true(config_set(one, &n, "a", "n", "-2147483648", "X", &report));
    assert_int_equal(n, INT32_MIN);
    assert_false(config_set(one, &n, "a", "n", "2147483648", "X", &report));
    assert_string_equal(said(), "X: [a] n = 2147483648 is out of range; give a whole number\n");
    assert_int_equal(n, INT32_MIN);
}

static void broken_lines(void **state)
{
    (void)state;
    assert_false(load("lanes = 2\n[watch]\ndirectory = /a\ndirectory = /b\n[ship\nlanes = 3\n"
                      "[site] name = x\nname\nname = \"Tololo\"\n"));
    EXPECT(":1: 'lanes' stands before any [section]; move it below one",
           ":4: [watch] directory was given in line 3 already; keep one of them",
           ":5: '[ship' does not end in ']'; write [name]",
           ":7: 'name = x' after the section would be ignored; put it on a line of its own",
           ":8: 'name' is not 'key = value'; complete or remove it",
           ":9: [site] name = \"Tololo\": the quotes would become part of the value; "
           "leave them out");
    assert_string_equal(got.directory, "/a");
}

static void nothing_is_cut_in_silence(void **state)
{
    (void)state;
    assert_false(load("[watch]\ndirectory = /a ; the data\n[ship]\nlanes = 2 # two\n[site]\n"
                      "name = 0123456789abcdef\n"));
    EXPECT(":2: '; the data' after the value of directory is neither value nor comment; "
           "put comments on a line of their own",
           ":4: '# two' after the value of lanes is neither value nor comment; "
           "put comments on a line of their own",
           ":6: [site] name is 16 characters long; give at most 15");
}

/* inih alone would cut a line at 200 characters, or read its end as another line. */
static void long_lines_arrive_whole(void **state)
{
    (void)state;
    static struct {
        char text[3000];
    } big;
    const struct setting one[] = {
        {"a", "text", SET_TEXT, 0, sizeof big.text, "", 0, 0, NULL, NULL, "Long."},
        {NULL, NULL, SET_TEXT, 0, 0, NULL, 0, 0, NULL, NULL, NULL}};
    struct buf line = {0};
    buf_printf(&line, "[a]\ntext = ");
    for (int i = 0; i < 240; i++)
        buf_printf(&line, "w%d = 0x%d ", i, i);
    FILE *f = fopen(file, "w");
    assert_int_equal(fwrite(line.data, 1, line.len, f), line.len);
    fclose(f);
    assert_true(config_load(file, one, &big, &report));
    assert_int_equal(strlen(big.text), line.len - strlen("[a]\ntext = ") - 1);
    assert_string_equal(big.text + strlen(big.text) - 12, "w239 = 0x239");
    buf_free(&line);
}

static void files_that_are_none(void **state)
{
    (void)state;
    assert_false(config_load(file, rows, &got, &report));
    EXPECT(": cannot be read: No such file or directory; name the right file with --config, "
           "or write one (--dump-config prints all keys)");
    assert_int_equal(got.lanes, 4); /* defaults are there all the same */
    report.text.len = 0;
    report.count = 0;
    snprintf(file, sizeof file, "%s", scratch.dir);
    assert_false(config_load(file, rows, &got, &report));
    EXPECT(": cannot be read: Is a directory; name the right file with --config, or write one "
           "(--dump-config prints all keys)");
    report.text.len = 0;
    report.count = 0;
    assert_int_equal(mkfifo(scratch_path(&scratch, "pipe", file), 0600), 0);
    assert_false(config_load(file, rows, &got, &report)); /* and does not wait for a writer */
    EXPECT(": cannot be read: it is no plain file; name the right file with --config, or write one "
           "(--dump-config prints all keys)");
    report.text.len = 0;
    report.count = 0;
    scratch_path(&scratch, "binary", file);
    assert_false(load_bytes("[watch]\ndirectory = /a\0b\n\0\0\0\n", 30));
    EXPECT(":2: holds a zero byte; this is not a text file",
           ": [watch] directory is missing (Where files appear); add a line 'directory = ...' "
           "below [watch]");
}

static void no_file_at_all(void **state)
{
    (void)state;
    assert_false(config_load(NULL, rows, &got, &report));
    assert_string_equal(said(), "no configuration file: [watch] directory is missing (Where files "
                                "appear); name a file with --config\n");
    assert_string_equal(got.directory, "");
    report.text.len = 0;
    report.count = 0;
    assert_true(config_load(NULL, rows + 1, &got, &report));
    assert_int_equal(report.count, 0);
}

static void options_set_one_key(void **state)
{
    (void)state;
    assert_true(load("[watch]\ndirectory = /a\n"));
    assert_true(config_set(rows, &got, "ship", "mode", "serial", "--mode", &report));
    assert_string_equal(got.mode, "serial");
    assert_false(config_set(rows, &got, "ship", "mode", "list", "--mode", &report));
    assert_string_equal(got.mode, "serial");
    assert_false(config_set(rows, &got, "ship", "mood", "batch", "X", &report));
    assert_false(config_set(rows, &got, "chip", "mode", "batch", "Y", &report));
    assert_false(config_set(rows, &got, "watch", "directory", "", "--data-dir", &report));
    assert_string_equal(got.directory, "/a");
    assert_string_equal(said(), "--mode: [ship] mode = list is not known; give parallel, serial or "
                                "batch\n"
                                "X: unknown key 'mood' in [ship]; did you mean 'mode'?\n"
                                "Y: unknown section [chip]; did you mean [ship]?\n"
                                "--data-dir: [watch] directory is empty; Where files appear\n");
}

static void home_in_paths(void **state)
{
    (void)state;
    setenv("HOME", "/home/observer", 1);
    assert_true(load("[watch]\ndirectory = ~/night//\n"));
    assert_string_equal(got.directory, "/home/observer/night");
    assert_true(load("[watch]\ndirectory = ~other/night\n"));
    assert_string_equal(got.directory, "~other/night");
    assert_true(load("[watch]\ndirectory = ~\n"));
    assert_string_equal(got.directory, "/home/observer");
    unsetenv("HOME");
    assert_false(load("[watch]\ndirectory = ~/night\n"));
    EXPECT(":2: [watch] directory = ~/night needs the environment variable HOME, which is not set; "
           "give the whole path");
}

static const char defaults[] = "[watch]\n"
                               "\n"
                               "# Where files appear. Required.\n"
                               "# directory =\n"
                               "\n"
                               "# Look into sub-directories. Give yes or no.\n"
                               "recursive = yes\n"
                               "\n"
                               "[ship]\n"
                               "\n"
                               "# Order of exposures. Give parallel, serial or batch.\n"
                               "mode = parallel\n"
                               "\n"
                               "# SSH connections. Give a whole number from 1 to 16.\n"
                               "lanes = 4\n"
                               "\n"
                               "# Most that is sent; 0: no bound. Give a number of at least 0 "
                               "(Mbit/s).\n"
                               "rate_mbit = 0\n"
                               "\n"
                               "# Any number. Give a number (s).\n"
                               "offset = -1.5\n"
                               "\n"
                               "[site]\n"
                               "\n"
                               "# Name of the site.\n"
                               "name =\n";

static void the_defaults_as_a_file(void **state)
{
    (void)state;
    struct buf out = {0};
    config_dump(rows, NULL, CONFIG_DEFAULTS, &out);
    assert_string_equal((char *)out.data, defaults);
    buf_free(&out);
    assert_false(load(defaults));
    EXPECT(": [watch] directory is missing (Where files appear); add a line 'directory = ...' "
           "below [watch]");
}

static void what_is_in_force_loads_again(void **state)
{
    (void)state;
    assert_true(load("[watch]\ndirectory=/a b\nrecursive=no\n[ship]\nmode=serial\nlanes=7\n"
                     "rate_mbit=0.1\noffset=-1e-9\n[site]\nname=x\n"));
    struct sample first = got;
    struct buf out = {0}, again = {0};
    config_dump(rows, &got, CONFIG_CURRENT, &out);
    assert_non_null(strstr((char *)out.data, "\ndirectory = /a b\n"));
    assert_non_null(strstr((char *)out.data, "\nrate_mbit = 0.1\n"));
    assert_non_null(strstr((char *)out.data, "\noffset = -1e-09\n"));
    assert_true(load_bytes((char *)out.data, out.len));
    assert_string_equal(said(), "");
    assert_string_equal(got.directory, first.directory);
    assert_int_equal(got.lanes, 7);
    assert_true(got.rate == first.rate && got.offset == first.offset && !got.deep);
    config_dump(rows, &got, CONFIG_CURRENT, &again);
    assert_string_equal((char *)again.data, (char *)out.data);
    buf_free(&out);
    buf_free(&again);
}

static void the_manual_items(void **state)
{
    (void)state;
    struct buf out = {0};
    const struct setting some[] = {
        rows[0], rows[2], rows[4],
        {"a", "b", SET_TEXT, 0, 8, ".x\\y", 0, 0, NULL, NULL, "'Quoted' and \\."},
        rows[7]};
    config_dump(some, NULL, CONFIG_MAN, &out);
    assert_string_equal((char *)out.data,
                        ".It Sy [watch] Cm directory No = Ar path\n"
                        "Where files appear.\n"
                        "Required.\n"
                        ".It Sy [ship] Cm mode No = Cm parallel | serial | batch\n"
                        "Order of exposures.\n"
                        "The default is\n"
                        ".Ql \"\\&parallel\" .\n"
                        ".It Sy [ship] Cm rate_mbit No = Ar number\n"
                        "Most that is sent; 0: no bound.\n"
                        "Give a number of at least 0 (Mbit/s).\n"
                        "The default is\n"
                        ".Ql \"\\&0\" .\n"
                        ".It Sy [a] Cm b No = Ar text\n"
                        "\\&'Quoted' and \\e.\n"
                        "The default is\n"
                        ".Ql \"\\&\\&.x\\ey\" .\n");
    buf_free(&out);
}

static void wrapping(void **state)
{
    (void)state;
    struct buf out = {0};
    static const char six[] =
        "1234567890 1234567890 1234567890 1234567890 1234567890 1234567890";
    char text[160], wanted[160];
    snprintf(text, sizeof text, "%s 1234567890 x", six);        /* 78 columns and 2 */
    snprintf(wanted, sizeof wanted, "%s 1234567890\n# x\n", six);
    config_wrap(&out, text, "# ", 2);
    assert_string_equal((char *)out.data, wanted);
    out.len = 0;
    snprintf(wanted, sizeof wanted, "%s 1234567890 x\n", six); /* 79 fit */
    config_wrap(&out, text, "# ", 0);
    assert_string_equal((char *)out.data, wanted);
    buf_free(&out);
}

static void the_nearest_word(void **state)
{
    (void)state;
    assert_string_equal(config_nearer("rate-mbit", "rate_mbit", NULL), "rate_mbit");
    assert_string_equal(config_nearer("moed", "mode", "moat"), "mode"); /* a swap is one edit */
    assert_null(config_nearer("host", "lanes", NULL));
    assert_null(config_nearer("", "lanes", NULL));
    assert_string_equal(config_nearer("LANES", "lanes", "lane"), "lanes");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(defaults_and_values), T(all_problems_at_once), T(bad_numbers),
        T(a_number_without_a_range_still_fits_its_type), T(broken_lines),
        T(nothing_is_cut_in_silence), T(long_lines_arrive_whole), T(files_that_are_none),
        T(no_file_at_all), T(options_set_one_key), T(home_in_paths), T(the_defaults_as_a_file),
        T(what_is_in_force_loads_again), T(the_manual_items), T(wrapping), T(the_nearest_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
