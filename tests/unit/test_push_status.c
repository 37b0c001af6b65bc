/* What `status` tells an observer and a program, from real journals: every line fits the
 * screen, nothing in a reason steers the terminal, and the JSON holds what was written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "push/spool.h"
#include "push/status.h"
#include "tests/unit/scratch.h"

/* 2026-11-21T03:38:33.250Z */
#define NOW 1795232313250000000LL

static struct scratch scratch;
static struct fault why;

#define OK(call)                                    \
    do {                                            \
        enum status st_ = (call);                   \
        if (st_ != ST_OK)                           \
            fail_msg("%s: %s", #call, why.text);    \
    } while (0)

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

/* A new row, noticed `ago` seconds before NOW; the rest is the caller's to set. */
static struct exposure fresh(const char *path, int64_t ago)
{
    static int64_t inode = 1;
    struct exposure e = {.origin = ORIGIN_WATCH};
    snprintf(e.path, sizeof e.path, "%s", path);
    exposure_root(path, e.name);
    exposure_restart(&e, &(struct identity){312400000, NOW - ago * NS_PER_S, inode++},
                     NOW - ago * NS_PER_S);
    return e;
}

static struct exposure delivered(const char *path, int64_t ago)
{
    struct exposure e = fresh(path, ago);
    e.state = EXPOSURE_DONE;
    e.bundle_size = 38100000;
    for (int i = 0; i < STAMPS; i++)
        e.stamp[i] = e.stamp[STAMP_NOTICED] + i * 700 * NS_PER_MS;
    return e;
}

static struct journal *open_journal(void)
{
    struct journal *j;
    OK(journal_open(scratch.dir, false, &j, &why));
    return j;
}

static char *picture(struct journal *j, const struct status_options *o, bool running)
{
    char *text = NULL;
    size_t len = 0;
    bool matched[8] = {false};
    struct status_picture p = {.journal = j, .options = o, .now_ns = NOW, .rows = 20,
                               .matched = matched};
    if (running)
        p.agent = (struct agent_seen){true, 4711, "serial", "3", ""};
    FILE *to = open_memstream(&text, &len);
    assert_non_null(to);
    OK(o->json ? status_json(&p, to, &why) : status_table(&p, to, &why));
    fclose(to);
    return text;
}

static void shows(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

static void fits_the_screen(const char *text)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        if (len > 79)
            fail_msg("%zu columns: %.*s", len, (int)len, line);
        line += len + (line[len] == '\n');
    }
}

/* ---- the table ---- */

static void a_long_name_loses_its_middle(void **state)
{
    char out[64];
    (void)state;
    status_shorten("DECam_00123456", 14, out, sizeof out);
    assert_string_equal(out, "DECam_00123456");
    status_shorten("DECam_001234567", 14, out, sizeof out);
    assert_string_equal(out, "DECam_0~234567");
    status_shorten("abcdefghijklmnop", 7, out, sizeof out);
    assert_string_equal(out, "abc~nop");
}

static void nothing_seen_yet(void **state)
{
    (void)state;
    char *text = picture(NULL, &(struct status_options){0}, false);
    shows(text, ", 2026-11-21 03:38:33 UTC\n"
                "agent: not running; start it with: skyferry-push run\n");
    shows(text, "  parked        0      0.0 MB  none needs you\n");
    shows(text, "Not yet at the far end: 0 exposures, 0.0 MB.\n");
    shows(text, "\nNothing has been seen yet.\n");
    fits_the_screen(text);
    free(text);
}

static void the_table_tells_states_and_sums(void **state)
{
    (void)state;
    struct journal *j = open_journal();
    struct exposure a = delivered("/data/DECam_00500001.fits.fz", 100);
    struct exposure b = fresh("/data/c4d_171113_060340_ori_with_a_long_tail.fits", 50);
    struct exposure c = fresh("/data/DECam_00500003.fits.fz", 10);
    b.state = EXPOSURE_SENDING;
    b.file.size = 1270000000;
    OK(journal_add(j, &a, &why));
    OK(journal_add(j, &b, &why));
    OK(journal_add(j, &c, &why));
    char *text = picture(j, &(struct status_options){0}, true);
    shows(text, "agent: running (pid 4711), mode serial, 3 connections up\n");
    shows(text, "  seen          1    312.4 MB  found");
    shows(text, "  sending       1      1.3 GB  being");
    shows(text, "  done          1    312.4 MB  safe at the far end\n");
    shows(text, "Not yet at the far end: 2 exposures, 1.6 GB.\n");
    shows(text,
          "\nEXPOSURE                   STATE     MB IN  MB OUT RATIO    NOTICED UTC SECONDS\n"
          "DECam_00500003             seen      312.4       -     - 11-21 03:38:23       -\n"
          "c4d_171113_06~_a_long_tail sending  1270.0       -     - 11-21 03:37:43       -\n"
          "DECam_00500001             done      312.4    38.1   8.2 11-21 03:36:53     4.2\n");
    fits_the_screen(text);
    free(text);
    journal_close(&j);
}

static void only_the_newest_are_listed(void **state)
{
    (void)state;
    char path[64];
    struct journal *j = open_journal();
    for (int i = 1; i <= 23; i++) {
        snprintf(path, sizeof path, "/data/x_%04d.fits", i);
        struct exposure e = delivered(path, 1000 - i);
        OK(journal_add(j, &e, &why));
    }
    char *text = picture(j, &(struct status_options){0}, true);
    shows(text, "\nx_0023 ");
    shows(text, "\nx_0004 ");
    assert_null(strstr(text, "\nx_0003 "));
    shows(text, "\n... the newest 20 of 23\n");
    assert_null(strstr(text, "Parked"));
    assert_null(strstr(text, "Waiting"));
    fits_the_screen(text);
    free(text);
    journal_close(&j);
}

static void parked_ones_come_with_a_remedy(void **state)
{
    (void)state;
    char path[64];
    struct journal *j = open_journal();
    for (int i = 1; i <= 12; i++) {
        snprintf(path, sizeof path, "/data/bad_%02d.fits", i);
        struct exposure e = fresh(path, 1000 - i);
        e.state = EXPOSURE_PARKED;
        snprintf(e.reason, sizeof e.reason, "HDU %d: CHECKSUM is wrong", i);
        OK(journal_add(j, &e, &why));
    }
    char *text = picture(j, &(struct status_options){0}, true);
    shows(text, "  parked       12      3.7 GB  need you: see below\n");
    shows(text, "\n  bad_12: HDU 12: CHECKSUM is wrong\n      then: skyferry-push retry bad_12\n");
    shows(text, "\n  bad_03: ");
    assert_null(strstr(text, "\n  bad_02: "));
    shows(text, "\n  ... and 2 more: skyferry-push status --json\n");
    fits_the_screen(text);
    free(text);
    journal_close(&j);
}

static void a_visits_files_are_told_as_one(void **state)
{
    (void)state;
    char path[64];
    int64_t count;
    struct journal *j = open_journal();
    struct exposure alone = fresh("/data/bad.fits", 2000);
    alone.state = EXPOSURE_PARKED;
    snprintf(alone.reason, sizeof alone.reason, "CHECKSUM is wrong");
    OK(journal_add(j, &alone, &why));
    for (int i = 0; i < 200; i++) {
        bool late = i >= 103;
        snprintf(path, sizeof path, "/data/HSCA001%s%02d.fits", late ? "300" : "234", i);
        struct exposure e = fresh(path, 1000 - i);
        e.state = late ? EXPOSURE_PARTIAL : EXPOSURE_PARKED;
        e.due_ns = late ? NOW + 60 * NS_PER_S : 0;
        snprintf(e.group, sizeof e.group, late ? "HSCA1300" : "HSCA1234");
        snprintf(e.reason, sizeof e.reason, late ? "97 of 104 ccds" : "103 of 104 ccds, too late");
        OK(journal_add(j, &e, &why));
    }
    char *text = picture(j, &(struct status_options){0}, true);
    shows(text, "\n  HSCA1234 (103 files): 103 of 104 ccds, too late\n"
                "      then: skyferry-push retry HSCA1234\n"
                "  bad: CHECKSUM is wrong\n");
    shows(text, "\nWaiting, with a reason:\n"
                "  HSCA1300 (97 files): 97 of 104 ccds [next try in 60 s, at 03:39:33 UTC]\n\n");
    assert_null(strstr(text, "more: skyferry-push"));
    fits_the_screen(text);
    free(text);
    OK(journal_unpark(j, "HSCA1234", &count, &why));
    assert_int_equal(count, 103);
    journal_close(&j);
}

static void a_reason_cannot_steer_the_terminal(void **state)
{
    (void)state;
    char deep[300];
    struct journal *j = open_journal();
    struct exposure e = fresh("/data/evil.fits", 5);
    e.state = EXPOSURE_PARKED;
    memset(deep, 'd', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    snprintf(e.reason, sizeof e.reason,
             "cannot\nopen\033[2J \xc2\x9b" "31m '/%s': \xc3\xa9t\xc3\xa9", deep);
    OK(journal_add(j, &e, &why));
    char *text = picture(j, &(struct status_options){0}, true);
    assert_null(strchr(text, '\033'));
    assert_null(strstr(text, "\xc2\x9b"));
    shows(text, "  evil: cannot?open?[2J ");
    shows(text, "\xc3\xa9t\xc3\xa9\n");
    fits_the_screen(text);
    free(text);
    journal_close(&j);
}

static void waiting_ones_tell_the_next_try(void **state)
{
    (void)state;
    struct journal *j = open_journal();
    struct exposure a = fresh("/data/a.fits", 30), b = fresh("/data/b.fits", 20),
                    c = fresh("/data/c.fits", 10);
    a.state = EXPOSURE_SENDING;
    a.attempts = 2;
    a.due_ns = NOW + 12 * NS_PER_S - 1;
    snprintf(a.reason, sizeof a.reason, "the far end refuses it: disk full");
    b.due_ns = NOW - 1;
    snprintf(b.reason, sizeof b.reason, "still grows");
    OK(journal_add(j, &a, &why));
    OK(journal_add(j, &b, &why));
    OK(journal_add(j, &c, &why));
    char *text = picture(j, &(struct status_options){0}, true);
    shows(text, "\nWaiting, with a reason:\n"
                "  a: the far end refuses it: disk full [2 attempts failed; next try in 12 s, at\n"
                "      03:38:45 UTC]\n"
                "  b: still grows [next try now]\n");
    assert_null(strstr(text, "\n  c: "));
    free(text);
    text = picture(j, &(struct status_options){0}, false);
    shows(text, "  b: still grows [next try when the agent runs]\n");
    free(text);
    journal_close(&j);
}

static void one_asked_for_by_name_is_told_in_full(void **state)
{
    (void)state;
    struct journal *j = open_journal();
    struct exposure e = delivered("/data/DECam_00500001.fits.fz", 100);
    struct exposure other = delivered("/data/DECam_00500002.fits.fz", 90);
    e.facts.expnum = 500001;
    snprintf(e.facts.object, sizeof e.facts.object, "DWF field\033");
    e.ccds = 62;
    memset(e.source_sha256, 'a', DIGEST_HEX - 1);
    snprintf(e.stored_as, sizeof e.stored_as, "ut261121/DECam_00500001.tar");
    OK(journal_add(j, &e, &why));
    OK(journal_add(j, &other, &why));
    static const char *const words[] = {"DECam_00500001", "DECam_00500001.fits.fz",
                                        "/data/DECam_00500001.fits.fz"};
    for (int i = 0; i < 3; i++) {
        struct status_options o = {.names = &words[i], .name_count = 1};
        char *text = picture(j, &o, true);
        shows(text, "\nDECam_00500001\n  state       done\n");
        shows(text, "  size        312.4 MB (312400000 bytes)\n");
        shows(text, "  exposure    number 500001, DWF field?, no filter, no type, no date, "
                    "62 ccds\n");
        shows(text, "  bundle      38.1 MB (38100000 bytes), ratio 8.20\n");
        shows(text, "  stored as   ut261121/DECam_00500001.tar\n");
        shows(text, "  noticed     2026-11-21 03:36:53.250 UTC\n"
                    "  found whole 2026-11-21 03:36:53.950 UTC       +0.700 s\n");
        shows(text, "  stored      2026-11-21 03:36:57.450 UTC       +4.200 s\n");
        assert_null(strstr(text, "00500002"));
        fits_the_screen(text);
        free(text);
    }
    journal_close(&j);
}

/* ---- JSON ---- */

static json_t *parsed(struct journal *j, const struct status_options *o, bool running)
{
    json_error_t error;
    char *text = picture(j, o, running);
    assert_int_equal(strcspn(text, "\n"), strlen(text) - 1);
    json_t *root = json_loads(text, 0, &error);
    if (!root)
        fail_msg("%s in %s", error.text, text);
    free(text);
    return root;
}

static int64_t integer(const json_t *obj, const char *key)
{
    const json_t *j = json_object_get(obj, key);
    assert_true(json_is_integer(j));
    return json_integer_value(j);
}

static void is_text(const json_t *obj, const char *key, const char *wanted)
{
    const json_t *j = json_object_get(obj, key);
    assert_true(json_is_string(j));
    assert_string_equal(json_string_value(j), wanted);
}

static void is_null(const json_t *obj, const char *key)
{
    const json_t *j = json_object_get(obj, key);
    if (!j || !json_is_null(j))
        fail_msg("%s is %s", key, j ? "not null" : "missing");
}

static void json_holds_what_the_journal_holds(void **state)
{
    (void)state;
    struct journal *j = open_journal();
    struct exposure a = delivered("/data/caf\xe9/DECam_00500001.fits.fz", 100);
    struct exposure b = fresh("/data/b.fits", 10);
    a.facts.expnum = 500001;
    a.facts.exptime = 0; /* a bias */
    snprintf(a.facts.filter, sizeof a.facts.filter, "g DECam");
    snprintf(a.facts.date_obs, sizeof a.facts.date_obs, "2026-11-21T03:36:00");
    a.ccds = 62;
    b.attempts = 3;
    b.due_ns = NOW;
    snprintf(b.reason, sizeof b.reason, "quoted \"%c\"", 1);
    OK(journal_add(j, &a, &why));
    OK(journal_add(j, &b, &why));
    json_t *root = parsed(j, &(struct status_options){.json = true}, true);
    is_text(root, "now", "2026-11-21T03:38:33.250Z");
    const json_t *agent = json_object_get(root, "agent"), *all = json_object_get(root, "exposures");
    assert_true(json_is_true(json_object_get(agent, "running")));
    assert_int_equal(integer(agent, "pid"), 4711);
    is_text(agent, "mode", "serial");
    assert_int_equal(integer(agent, "lanes_up"), 3);
    is_null(agent, "trouble");
    is_null(agent, "auto");
    const json_t *counts = json_object_get(root, "counts");
    assert_int_equal(json_object_size(counts), EXPOSURE_STATES);
    assert_int_equal(integer(counts, "seen"), 1);
    assert_int_equal(integer(counts, "done"), 1);
    assert_int_equal(integer(counts, "parked"), 0);
    assert_int_equal(json_array_size(all), 2);

    const json_t *e = json_array_get(all, 0);
    is_text(e, "name", "b");
    is_text(e, "state", "seen");
    is_text(e, "reason", "quoted \"\x01\"");
    assert_int_equal(integer(e, "attempts"), 3);
    assert_int_equal(integer(e, "due_ns"), NOW);
    is_null(e, "bundle_size");
    is_null(e, "ratio");
    is_null(e, "expnum");
    is_null(e, "exptime");
    is_null(e, "ccds");
    is_null(e, "stored");
    is_null(e, "stored_ns");
    is_null(e, "seconds");

    e = json_array_get(all, 1);
    is_text(e, "path", "/data/caf?/DECam_00500001.fits.fz");
    assert_int_equal(integer(e, "size"), 312400000);
    assert_int_equal(integer(e, "bundle_size"), 38100000);
    assert_int_equal(integer(e, "expnum"), 500001);
    assert_int_equal(integer(e, "ccds"), 62);
    is_text(e, "filter", "g DECam");
    is_text(e, "date_obs", "2026-11-21T03:36:00");
    is_null(e, "object");
    assert_true(json_real_value(json_object_get(e, "exptime")) == 0 &&
                json_is_real(json_object_get(e, "exptime")));
    assert_true(fabs(json_real_value(json_object_get(e, "ratio")) - 8.199475) < 1e-4);
    assert_true(fabs(json_real_value(json_object_get(e, "seconds")) - 4.2) < 1e-6);
    is_text(e, "noticed", "2026-11-21T03:36:53.250Z");
    assert_int_equal(integer(e, "noticed_ns"), NOW - 100 * NS_PER_S);
    static const char *const keys[] = {"settled", "encode", "encoded", "first", "last", "stored",
                                       "done"};
    for (int i = 0; i < 7; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_ns", keys[i]);
        assert_int_equal(integer(e, key), NOW - 100 * NS_PER_S + (i + 1) * 700 * NS_PER_MS);
        assert_true(json_is_string(json_object_get(e, keys[i])));
    }
    json_decref(root);
    journal_close(&j);
}

static void json_of_the_named_ones_only(void **state)
{
    (void)state;
    struct journal *j = open_journal();
    struct exposure a = delivered("/data/a.fits", 100), b = delivered("/data/b.fits", 90);
    OK(journal_add(j, &a, &why));
    OK(journal_add(j, &b, &why));
    static const char *const names[] = {"a", "zzz"};
    struct status_options o = {.names = names, .name_count = 2, .json = true};
    json_t *root = parsed(j, &o, false);
    const json_t *all = json_object_get(root, "exposures");
    assert_int_equal(json_array_size(all), 1);
    is_text(json_array_get(all, 0), "name", "a");
    assert_int_equal(integer(json_object_get(root, "counts"), "done"), 2);
    assert_true(json_is_false(json_object_get(json_object_get(root, "agent"), "running")));
    is_null(json_object_get(root, "agent"), "pid");
    json_decref(root);
    root = parsed(NULL, &(struct status_options){.json = true}, false);
    assert_int_equal(json_array_size(json_object_get(root, "exposures")), 0);
    assert_int_equal(integer(json_object_get(root, "counts"), "seen"), 0);
    json_decref(root);
    journal_close(&j);
}

/* ---- the command ---- */

static void agent_is_seen_by_its_lock(void **state)
{
    (void)state;
    struct agent_seen a;
    struct spool s;
    char path[4096];
    struct journal *j = open_journal();
    OK(journal_note(j, NOTE_MODE, "batch", &why));
    OK(journal_note(j, NOTE_LANES, "2", &why));
    OK(journal_note(j, NOTE_TROUBLE, "the line is down", &why));
    OK(journal_note(j, NOTE_AUTO, "jxl: 2.0 s", &why));
    OK(journal_note(j, NOTE_FIGURES, "{\"method\":\"jxl\"}", &why));
    status_agent(scratch.dir, j, &a);
    assert_false(a.running);
    assert_string_equal(a.mode, "");
    assert_string_equal(a.trouble, "");
    OK(spool_open(scratch.dir, &s, &why));
    status_agent(scratch.dir, j, &a);
    assert_true(a.running);
    assert_int_equal(a.pid, getpid());
    assert_string_equal(a.mode, "batch");
    assert_string_equal(a.lanes_up, "2");
    assert_string_equal(a.trouble, "the line is down");
    assert_string_equal(a.choice, "jxl: 2.0 s");
    struct status_options json = {.json = true};
    struct status_picture p = {.journal = j, .agent = a, .options = &json, .now_ns = 1};
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    OK(status_json(&p, to, &why));
    fclose(to);
    assert_non_null(strstr(text, "\"auto\":{\"method\":\"jxl\"}"));
    free(text);
    spool_close(&s);
    OK(fs_write_file(scratch_path(&scratch, "lock", path), "2147483600\n", 11, false, &why));
    status_agent(scratch.dir, j, &a);
    assert_false(a.running);
    assert_int_equal(a.pid, 0);
    journal_close(&j);
}

/* Runs the command in a child, its output in a file: exit status, and the text. */
static int run(const struct status_options *o, char **text)
{
    char path[4096];
    struct config *c = calloc(1, sizeof *c);
    struct buf b = {0};
    int end = 0;
    snprintf(c->set.spool, sizeof c->set.spool, "%s", scratch.dir);
    scratch_path(&scratch, "out.txt", path);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen(path, "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(99);
        int code = status_command(c, o);
        fflush(NULL);
        _exit(code);
    }
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFEXITED(end));
    OK(fs_read_file(path, 1 << 20, &b, &why));
    assert_true(buf_append(&b, "", 1));
    *text = (char *)b.data;
    free(c);
    return WEXITSTATUS(end);
}

static void exit_status_tells(void **state)
{
    (void)state;
    char *text, path[4096];
    static const char *const names[] = {"a"}, *const wrong[] = {"a", "nobody"};
    assert_int_equal(run(&(struct status_options){0}, &text), EXIT_DONE);
    shows(text, "Nothing has been seen yet.");
    free(text);
    assert_int_equal(access(scratch_path(&scratch, JOURNAL_NAME, path), F_OK), -1);
    assert_int_equal(run(&(struct status_options){.names = names, .name_count = 1}, &text),
                     EXIT_FAILED);
    free(text);
    struct journal *j = open_journal();
    struct exposure a = delivered("/data/a.fits", 10);
    OK(journal_add(j, &a, &why));
    journal_close(&j);
    assert_int_equal(run(&(struct status_options){.names = names, .name_count = 1}, &text),
                     EXIT_DONE);
    shows(text, "\na\n  state       done\n");
    free(text);
    assert_int_equal(run(&(struct status_options){.names = wrong, .name_count = 2}, &text),
                     EXIT_FAILED);
    shows(text, "\na\n  state       done\n");
    free(text);
    OK(fs_write_file(path, "this is no database at all, is it?", 34, false, &why));
    assert_int_equal(run(&(struct status_options){0}, &text), EXIT_FAILED);
    free(text);
}

/* Reads from fd until `times` times `part` was there, or 10 s have passed. */
static void await(int fd, const char *part, int times, char *all, size_t size)
{
    size_t len = 0;
    for (int found = 0; found < times;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 10000) != 1 || len + 1 >= size)
            fail_msg("only %d times \"%s\" in: %.*s", found, part, (int)len, all);
        ssize_t n = read(fd, all + len, size - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        all[len] = '\0';
        found = 0;
        for (const char *at = all; (at = strstr(at, part)); at++)
            found++;
    }
}

static pid_t start_watch(int to, bool json)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    struct config *c = calloc(1, sizeof *c);
    snprintf(c->set.spool, sizeof c->set.spool, "%s", scratch.dir);
    dup2(to, STDOUT_FILENO);
    _exit(status_command(c, &(struct status_options){.watch = true, .json = json}));
}

static void ends_with(pid_t pid, int signo, int code)
{
    int end = 0;
    kill(pid, signo);
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFEXITED(end));
    assert_int_equal(WEXITSTATUS(end), code);
}

static void watch_draws_again_until_interrupted(void **state)
{
    (void)state;
    static char all[65536];
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = start_watch(fds[1], false);
    await(fds[0], "Nothing has been seen yet.\n\n", 1, all, sizeof all);
    struct journal *j = open_journal();
    struct exposure a = delivered("/data/a.fits", 10);
    OK(journal_add(j, &a, &why));
    journal_close(&j);
    await(fds[0], "\na   ", 1, all, sizeof all);
    assert_null(strchr(all, '\033'));
    ends_with(pid, SIGINT, EXIT_DONE);
    pid = start_watch(fds[1], true);
    await(fds[0], "}\n", 2, all, sizeof all);
    ends_with(pid, SIGTERM, EXIT_DONE);
    close(fds[0]);
    close(fds[1]);
}

static void watch_clears_a_terminal(void **state)
{
    (void)state;
    static char all[65536];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    pid_t pid = start_watch(slave, false);
    await(master, "\033[H\033[J", 2, all, sizeof all);
    assert_memory_equal(all, "\033[H\033[Jskyferry-push on ", 23);
    ends_with(pid, SIGINT, EXIT_DONE);
    close(slave);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_long_name_loses_its_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_seen_yet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_table_tells_states_and_sums, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_newest_are_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parked_ones_come_with_a_remedy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_visits_files_are_told_as_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reason_cannot_steer_the_terminal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_ones_tell_the_next_try, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_asked_for_by_name_is_told_in_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_holds_what_the_journal_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_of_the_named_ones_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(agent_is_seen_by_its_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(exit_status_tells, set_up, tear_down),
        cmocka_unit_test_setup_teardown(watch_draws_again_until_interrupted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(watch_clears_a_terminal, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
