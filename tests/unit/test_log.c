/* A log line is whole, one a line whatever it is told, in both forms; levels, the file's
 * name and what goes to the terminal follow the options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/buf.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static int kept_stderr = -1;

/* Standard error goes to a file between these two. */
static void capture(void)
{
    char path[4096];
    int fd = open(scratch_path(&dir, "stderr", path), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fflush(stderr);
    kept_stderr = dup(STDERR_FILENO);
    assert_true(fd >= 0 && kept_stderr >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    close(fd);
}

/* A file's text; the caller frees the buffer. */
static struct buf slurp(const char *path)
{
    struct buf b = {0};
    struct fault why;
    assert_int_equal(fs_read_file(path, 1 << 24, &b, &why), ST_OK);
    assert_true(buf_append(&b, "", 1));
    return b;
}

static struct buf release(void)
{
    char path[4096];
    assert_true(dup2(kept_stderr, STDERR_FILENO) >= 0);
    close(kept_stderr);
    return slurp(scratch_path(&dir, "stderr", path));
}

static void matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int miss = regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    if (miss)
        fail_msg("'%s' does not match '%s'", text, pattern);
}

#define WHEN "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z "

static void without_log_open(void **state)
{
    (void)state;
    capture();
    errno = ENOTTY;
    log_debug(NULL, "not seen");
    log_info(NULL, "hello %d", 7);
    int err = errno;
    struct buf out = release();
    assert_int_equal(err, ENOTTY);
    matches((char *)out.data, WHEN "INFO  hello 7\n$");
    buf_free(&out);
}

static void fields_and_levels(void **state)
{
    (void)state;
    struct fault why;
    capture();
    log_open(&(struct log_options){.agent = "push", .level = LOG_DEBUG}, &why);
    log_debug(AT(.stage = "settle", .exposure = "DECam_1", .ccd = 7), "words");
    log_warn(AT(.stage = "ship"), "slow");
    log_error(NULL, "bare");
    log_open(&(struct log_options){.agent = "pull", .level = LOG_ERROR}, &why);
    log_warn(NULL, "dropped");
    log_error(AT(.ccd = 62), "kept");
    log_close();
    struct buf out = release();
    char *save = NULL, *line = strtok_r((char *)out.data, "\n", &save);
    matches(line, WHEN "DEBUG push settle exposure=DECam_1 ccd=7: words$");
    matches(strtok_r(NULL, "\n", &save), WHEN "WARN  push ship: slow$");
    matches(strtok_r(NULL, "\n", &save), WHEN "ERROR push: bare$");
    matches(strtok_r(NULL, "\n", &save), WHEN "ERROR pull ccd=62: kept$");
    assert_null(strtok_r(NULL, "\n", &save));
    buf_free(&out);
}

static void hostile_words_stay_on_their_line(void **state)
{
    (void)state;
    capture();
    log_info(AT(.exposure = "x\n2026 ERROR forged\r"),
             "esc \033[2J bell \a tab \t del \x7f c1 \xc2\x9b "
             "bad \xff\xfe cut \xe2\x82 good \xc3\xa9\n");
    struct buf out = release();
    matches((char *)out.data,
            "exposure=x\\\\n2026 ERROR forged\\\\x0d: esc \\\\x1b\\[2J bell \\\\x07 tab \\\\x09 "
            "del \\\\x7f c1 \\\\xc2\\\\x9b bad \\\\xff\\\\xfe "
            "cut \\\\xe2\\\\x82 good \xc3\xa9\\\\n\n$");
    assert_ptr_equal(strchr((char *)out.data, '\n'), (char *)out.data + out.len - 2);
    buf_free(&out);
}

static void json_is_json(void **state)
{
    (void)state;
    struct fault why;
    capture();
    log_open(&(struct log_options){.agent = "receive", .json = 1}, &why);
    log_warn(AT(.stage = "place", .exposure = "a\"b\\c", .ccd = 3),
             "line\nquote\" back\\ tab\t bad \xff good \xc3\xa9 \xf0\x9f\x94\xad");
    log_info(NULL, "short");
    log_close();
    struct buf out = release();
    char *save = NULL;
    json_t *j = json_loads(strtok_r((char *)out.data, "\n", &save), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(j, "agent")), "receive");
    assert_string_equal(json_string_value(json_object_get(j, "stage")), "place");
    assert_string_equal(json_string_value(json_object_get(j, "exposure")), "a\"b\\c");
    assert_int_equal(json_integer_value(json_object_get(j, "ccd")), 3);
    assert_string_equal(json_string_value(json_object_get(j, "message")),
                        "line\nquote\" back\\ tab\t bad \xc3\xbf good \xc3\xa9 \xf0\x9f\x94\xad");
    assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), 24);
    json_decref(j);
    j = json_loads(strtok_r(NULL, "\n", &save), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    assert_int_equal(json_object_size(j), 4);
    json_decref(j);
    buf_free(&out);
}

static void forerunner_file_name(void **state)
{
    (void)state;
    struct fault why;
    char pattern[4096], path[4096], name[64];
    scratch_path(&dir, "logs/night/prepipe_push_%Y%m%d_%H:%M:%S.log", pattern);
    time_t before = time(NULL);
    assert_int_equal(log_open(&(struct log_options){.agent = "push", .file = pattern}, &why),
                     ST_OK);
    time_t after = time(NULL);
    log_close();
    bool found = false;
    for (time_t t = before; t <= after; t++) {
        struct tm utc;
        strftime(name, sizeof name, "logs/night/prepipe_push_%Y%m%d_%H:%M:%S.log",
                 gmtime_r(&t, &utc));
        found = found || access(scratch_path(&dir, name, path), F_OK) == 0;
    }
    assert_true(found);
}

static void file_and_terminal(void **state)
{
    (void)state;
    struct fault why;
    char path[4096];
    scratch_path(&dir, "both.log", path);
    assert_int_equal(fs_write_file(path, "old\n", 4, false, &why), ST_OK);
    capture();
    assert_int_equal(log_open(&(struct log_options){.agent = "push", .file = path,
                                                    .level = LOG_INFO, .quiet_terminal = 1}, &why),
                     ST_OK);
    log_info(NULL, "for the file");
    log_warn(NULL, "for both");
    log_close();
    log_info(NULL, "after");
    struct buf term = release(), file = slurp(path);
    matches((char *)file.data, "^old\n[^\n]*for the file\n[^\n]*for both\n$");
    matches((char *)term.data, "^[^\n]*WARN  push: for both\n[^\n]*INFO  after\n$");
    buf_free(&term);
    buf_free(&file);
}

static void full_disk_falls_back_to_the_terminal(void **state)
{
    (void)state;
    struct fault why;
    if (access("/dev/full", W_OK) != 0)
        skip();
    capture();
    assert_int_equal(log_open(&(struct log_options){.agent = "push", .file = "/dev/full",
                                                    .quiet_terminal = 1}, &why), ST_OK);
    log_info(NULL, "not lost");
    log_close();
    struct buf out = release();
    matches((char *)out.data, "INFO  push: not lost\n$");
    buf_free(&out);
}

static void cannot_open(void **state)
{
    (void)state;
    struct fault why;
    char path[4096];
    assert_int_equal(fs_write_file(scratch_path(&dir, "plain", path), "x", 1, false, &why), ST_OK);
    assert_int_not_equal(
        log_open(&(struct log_options){.file = scratch_path(&dir, "plain/x.log", path)}, &why),
        ST_OK);
    assert_non_null(strstr(why.text, "plain"));
    assert_int_equal(log_open(&(struct log_options){.file = dir.dir}, &why), ST_FATAL);
    assert_non_null(strstr(why.text, dir.dir));
}

#define WRITERS 8
#define LINES 400

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info(AT(.stage = "t", .ccd = *(int *)arg), "%0200d", i);
    return NULL;
}

/* Two processes of four threads each, one file. */
static void lines_stay_whole(void **state)
{
    (void)state;
    struct fault why;
    char path[4096];
    scratch_path(&dir, "many.log", path);
    pid_t child = fork();
    assert_true(child >= 0);
    int first = child == 0 ? 1 : 1 + WRITERS / 2, number[WRITERS / 2];
    pthread_t threads[WRITERS / 2];
    log_open(&(struct log_options){.agent = "p", .file = path, .quiet_terminal = 1}, &why);
    for (int i = 0; i < WRITERS / 2; i++) {
        number[i] = first + i;
        pthread_create(&threads[i], NULL, write_lines, &number[i]);
    }
    for (int i = 0; i < WRITERS / 2; i++)
        pthread_join(threads[i], NULL);
    log_close();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct buf file = slurp(path);
    int next[WRITERS + 1] = {0}, lines = 0;
    char *save = NULL;
    for (char *l = strtok_r((char *)file.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
        int ccd, value, end = 0;
        assert_int_equal(sscanf(l, "%*s INFO p t ccd=%d: %d%n", &ccd, &value, &end), 2);
        assert_int_equal(end, strlen(l));
        assert_in_range(ccd, 1, WRITERS);
        assert_int_equal(value, next[ccd]++);
        lines++;
    }
    assert_int_equal(lines, WRITERS * LINES);
    buf_free(&file);
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    capture();
    log_info(NULL, "%020000d", 1);
    struct buf out = release();
    assert_true(out.len > 8000 && out.len < 8300);
    assert_int_equal(out.data[out.len - 2], '\n');
    buf_free(&out);
}

static void level_words(void **state)
{
    (void)state;
    assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("info"), LOG_INFO);
    assert_int_equal(log_level_parse("warn"), LOG_WARN);
    assert_int_equal(log_level_parse("error"), LOG_ERROR);
    assert_int_equal(log_level_parse("loud"), -1);
    assert_int_equal(log_level_parse(""), -1);
    assert_int_equal(log_level_parse(NULL), -1);
}

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_log_open),
        cmocka_unit_test(fields_and_levels),
        cmocka_unit_test(hostile_words_stay_on_their_line),
        cmocka_unit_test(json_is_json),
        cmocka_unit_test(forerunner_file_name),
        cmocka_unit_test(file_and_terminal),
        cmocka_unit_test(full_disk_falls_back_to_the_terminal),
        cmocka_unit_test(cannot_open),
        cmocka_unit_test(lines_stay_whole),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(level_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
