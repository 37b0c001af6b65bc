/* [decode] where = job with the local runner: jobs decode their own ccds in a scratch folder, place
 * them as the daemon would, and leave the scratch empty whatever becomes of them. Needs the program
 * skyferry-pull, which the runner begins. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/commands.h"
#include "pull/job.h"
#include "pull/job_task.h"
#include "pull/node_scratch.h"
#include "pull/task_decode.h"
#include "tests/unit/pull_fixture.h"

#define FITS_11 "rawdata/" NIGHT "/11/Field.g." NIGHT ".1_11.fits"
#define FITS_12 "rawdata/" NIGHT "/12/Field.g." NIGHT ".1_12.fits"

/* ---- the surroundings ---- */

static char scratch_base[600];

/* A job: $1 is what it does, the rest is as any job does it. */
static const char script[] =
    "#!/bin/sh\n"
    "fits=$(tr -d '\\n ' <\"$SKYFERRY_JOB\" | sed 's/.*\"fits\":\"\\([^\"]*\\)\".*/\\1/')\n"
    "echo \"$1 $fits in $PWD\" >>\"$LOG\"\n"
    "test -s \"$fits\" || exit 9\n"
    "case $1 in\n"
    "fail) exit 3 ;;\n"
    "once) [ $(wc -l <\"$LOG\") -gt 1 ] || { kill -KILL $PPID; sleep 5; } ;;\n"
    "stay) sleep 30 ;;\n"
    "esac\n"
    "mkdir -p more; echo words >more/list.txt\n"
    "n=$(tr -d '\\n ' <\"$SKYFERRY_JOB\" | sed 's/.*\"ccd\":\\([0-9]*\\).*/\\1/')\n"
    "echo \"{\\\"ccds\\\": [{\\\"ccd\\\": $n, \\\"noise\\\": 2.5}]}\" >\"$SKYFERRY_RESULT\"\n";

static const char *log_path(void)
{
    static char path[4096];
    return scratch_path(&dir, "log", path);
}

/* jobs of one ccd each with this script; `more` are further lines of [jobs] and what follows. */
static void on_node(const char *what, const char *more)
{
    char text[8192], program[4096];
    snprintf(text, sizeof text, "[decode]\nwhere = job\nscratch = %s\n[jobs]\nccds_per_job = 1\n"
             "command = %s %s {job}\n%s", scratch_base, scratch_path(&dir, "job", program), what,
             more ? more : "retries = 1\n");
    load_settings(text);
}

static int node_setup(void **state)
{
    char self[3000], path[8000], job[4096];
    if (store_setup(state) != 0)
        return -1;
    /* build/FLAVOUR holds the program, build/FLAVOUR/unit this one. */
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(self, '/') = '\0';
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", self);
    setenv("PATH", path, 1);
    snprintf(scratch_base, sizeof scratch_base, "%s/node", dir.dir);
    mkdir(scratch_base, 0755);
    setenv("LOG", log_path(), 1);
    unsetenv("TMPDIR");
    unsetenv("SLURM_TMPDIR");
    unsetenv("JOBFS");
    TRY(fs_write_file(scratch_path(&dir, "job", job), script, strlen(script), false, WHY));
    chmod(job, 0755);
    return 0;
}

static int left_in_scratch(void)
{
    int n = 0;
    DIR *d = opendir(scratch_base);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static struct ccd *ccds_of(const char *name, size_t *count)
{
    struct catalogue *cat;
    struct ccd *ccds;
    struct exposure x = exposure_named(name);
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_ccds(cat, x.id, &ccds, count, WHY));
    catalogue_close(&cat);
    return ccds;
}

/* How often the command ran. */
static int runs(void)
{
    struct buf text = {0};
    int n = 0;
    if (fs_read_file(log_path(), 1 << 20, &text, WHY) == ST_OK)
        for (size_t i = 0; i < text.len; i++)
            n += text.data[i] == '\n';
    buf_free(&text);
    return n;
}

/* ---- the scratch ---- */

static void a_scratch_is_ones_own_and_goes(void **state)
{
    (void)state;
    struct node_scratch s, t;
    char inside[5000];
    setenv("JOBFS", "/jobfs", 1);
    assert_string_equal(node_scratch_base("/tmp"), "/jobfs");
    setenv("TMPDIR", "relative", 1);
    assert_string_equal(node_scratch_base("/tmp"), "/jobfs");
    setenv("SLURM_TMPDIR", "/local", 1);
    assert_string_equal(node_scratch_base("/tmp"), "/local");
    unsetenv("JOBFS");
    unsetenv("TMPDIR");
    unsetenv("SLURM_TMPDIR");
    assert_string_equal(node_scratch_base("/tmp"), "/tmp");
    TRY(node_scratch_make(scratch_base, &s, WHY));
    TRY(node_scratch_make(scratch_base, &t, WHY)); /* sweeps nothing: the first lives */
    assert_int_equal(left_in_scratch(), 2);
    snprintf(inside, sizeof inside, "%s/shut", s.path);
    assert_int_equal(mkdir(inside, 0), 0);
    node_scratch_remove(&s);
    node_scratch_remove(&s);
    node_scratch_remove(&t);
    assert_int_equal(left_in_scratch(), 0);
    assert_int_not_equal(node_scratch_make("/no/such/folder", &s, WHY), ST_OK);
    assert_non_null(strstr(try_fault.text, "/no/such/folder"));
}

static void what_a_dead_one_left_is_swept(void **state)
{
    (void)state;
    struct node_scratch s;
    char other[5000];
    pid_t pid = fork();
    if (pid == 0)
        _exit(node_scratch_make(scratch_base, &s, WHY) == ST_OK ? 0 : 1);
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    snprintf(other, sizeof other, "%s/skyferry-other", scratch_base);
    mkdir(other, 0755);
    assert_int_equal(left_in_scratch(), 2);
    TRY(node_scratch_make(scratch_base, &s, WHY));
    assert_int_equal(left_in_scratch(), 2); /* ours, and what is not a task's */
    node_scratch_remove(&s);
    assert_int_equal(access(other, F_OK), 0);
}

/* ---- the road ---- */

static void jobs_decode_and_place_what_the_daemon_would(void **state)
{
    (void)state;
    size_t count;
    struct stat before, after;
    store_one("X_1");
    on_node("measure", NULL);
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.state, EX_DONE);
    assert_int_equal(x.placed, 2);
    assert_int_equal(x.jobs_done, 2);
    assert_int_equal(x.faults, 0);
    assert_true(x.stamp[STAMP_PLACED] >= x.stamp[STAMP_INDEXED]);
    assert_true(x.stamp[STAMP_DONE] >= x.stamp[STAMP_PLACED]);
    struct ccd *ccds = ccds_of("X_1", &count);
    assert_int_equal(count, 2);
    assert_string_equal(ccds[0].path, FITS_11);
    assert_int_equal(ccds[0].state, CCD_PLACED);
    assert_true(ccds[0].checksum[0] && ccds[0].datasum[0] && ccds[0].placed_ns > 0);
    assert_true(ccds[1].quality.noise == 2.5);
    free(ccds);
    verify(in_store(FITS_12));
    assert_int_equal(left_in_scratch(), 0);
    assert_int_equal(runs(), 2);
    assert_true(exists("jobs/" NIGHT "/X_1/q1/more/list.txt"));
    assert_false(exists("jobs/" NIGHT "/X_1/q1/job"));
    /* The daemon finds the very same bytes. */
    assert_int_equal(stat(in_store(FITS_11), &before), 0);
    load_settings("[jobs]\nccds_per_job = 1\ndry_run = yes\n");
    ask("X_1", ASK_REPROCESS, false);
    run_agent(1);
    assert_int_equal(exposure_named("X_1").placed, 2);
    assert_int_equal(exposure_named("X_1").faults, 0);
    assert_int_equal(stat(in_store(FITS_11), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(count_files("", "*.part"), 0);
}

static void a_command_that_fails_keeps_no_file_back(void **state)
{
    (void)state;
    struct buf text = {0};
    store_one("X_1");
    on_node("fail", NULL);
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.state, EX_DONE);
    assert_int_equal(x.placed, 2);
    assert_int_equal(x.jobs_done, 0);
    assert_int_equal(x.faults, 2);
    /* Twice each; the second time on what is placed. */
    assert_int_equal(runs(), 4);
    slurp(log_path(), &text);
    assert_true(buf_append(&text, "", 1));
    assert_non_null(strstr((char *)text.data, scratch_base));
    assert_non_null(strstr((char *)text.data, "store/" FITS_11 " in "));
    buf_free(&text);
    assert_int_equal(left_in_scratch(), 0);
}

static void a_damaged_ccd_holds_no_other(void **state)
{
    (void)state;
    size_t count;
    struct manifest m = {0};
    store_one("X_1");
    int fd = open(in_store("bundles/" NIGHT "/X_1.tar"), O_RDONLY);
    TRY(bundle_index(fd, &m, WHY));
    close(fd);
    damage("bundles/" NIGHT "/X_1.tar", unpack_image_of(&m, 2)->offset + 100);
    manifest_free(&m);
    on_node("measure", NULL);
    settings.ccds_per_job = 2;
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.placed, 1);
    assert_int_equal(x.jobs_done, 1);
    assert_int_equal(x.faults, 1);
    struct ccd *ccds = ccds_of("X_1", &count);
    assert_int_equal(ccds[0].state, CCD_PLACED);
    assert_true(ccds[0].quality.noise == 2.5);
    assert_int_equal(ccds[1].state, CCD_PARKED);
    assert_non_null(strstr(ccds[1].reason, "exposure X_1, ccd 12: "));
    assert_non_null(strstr(ccds[1].reason, "SHA-256 is wrong"));
    free(ccds);
    assert_false(exists(FITS_12));
}

static void a_job_without_any_sound_ccd_fails_at_once(void **state)
{
    (void)state;
    struct manifest m = {0};
    store_one("X_1");
    int fd = open(in_store("bundles/" NIGHT "/X_1.tar"), O_RDONLY);
    TRY(bundle_index(fd, &m, WHY));
    close(fd);
    damage("bundles/" NIGHT "/X_1.tar", unpack_image_of(&m, 2)->offset + 100);
    manifest_free(&m);
    on_node("measure", NULL);
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.placed, 1);
    assert_int_equal(x.jobs_done, 1);
    assert_int_equal(x.faults, 2); /* the ccd and its job */
    assert_int_equal(runs(), 1);
    assert_int_equal(left_in_scratch(), 0);
}

static void a_killed_task_is_run_again_and_swept(void **state)
{
    (void)state;
    store_one("X_1");
    on_node("once", "max_running = 1\nretries = 1\n");
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.placed, 2);
    assert_int_equal(x.jobs_done, 2);
    assert_int_equal(x.faults, 0);
    assert_int_equal(runs(), 3);
    assert_int_equal(left_in_scratch(), 0);
    assert_int_equal(count_files("", "*.part"), 0);
}

static void names_that_are_taken(void **state)
{
    (void)state;
    size_t count;
    store_one("X_1");
    TRY(fs_mkdirs(in_store("rawdata/" NIGHT "/11"), WHY));
    TRY(fs_write_file(in_store(FITS_11), "mine", 4, false, WHY));
    on_node("measure", NULL);
    run_agent(1);
    assert_int_equal(exposure_named("X_1").placed, 1);
    struct ccd *ccds = ccds_of("X_1", &count);
    assert_int_equal(ccds[0].state, CCD_PARKED);
    assert_non_null(strstr(ccds[0].reason, "is there already with other bytes and is kept"));
    free(ccds);
    on_node("measure", "[place]\non_conflict = version\n");
    ask("X_1", ASK_RETRY, false);
    run_agent(1);
    assert_int_equal(exposure_named("X_1").placed, 2);
    assert_int_equal(exposure_named("X_1").faults, 0);
    assert_true(exists("rawdata/" NIGHT "/11/Field.g." NIGHT ".1_11~2.fits"));
    on_node("measure", NULL);
    ask("X_1", ASK_REPROCESS, true);
    run_agent(1);
    ccds = ccds_of("X_1", &count);
    assert_string_equal(ccds[0].path, FITS_11);
    free(ccds);
    verify(in_store(FITS_11)); /* --force */
    assert_int_equal(exposure_named("X_1").faults, 0);
}

static void the_first_of_two_gets_the_names(void **state)
{
    (void)state;
    struct recipe one = {.name = "A_1", .seed = 1}, two = {.name = "B_1", .seed = 2};
    store_as(&one, NIGHT, "A_1");
    store_as(&two, NIGHT, "B_1");
    on_node("measure", NULL);
    run_agent(2);
    struct exposure a = exposure_named("A_1"), b = exposure_named("B_1");
    assert_int_equal(a.placed + b.placed, 2);
    assert_true(a.placed == 2 || b.placed == 2); /* not shared out between them */
}

/* Each file of a visit is a bundle of its own; a job gets ccds of several. */
static void visits_are_decoded_by_their_jobs(void **state)
{
    (void)state;
    on_node("measure", NULL);
    struct camera *c = &settings.camera;
    snprintf(c->key_group, sizeof c->key_group, "FRAMEID");
    snprintf(c->group_ccds, sizeof c->group_ccds, "1-4");
    snprintf(c->group_partial, sizeof c->group_partial, "park");
    c->group_wait_s = 600;
    settings.ccds_per_job = 2;
    for (int ccd = 1; ccd <= 4; ccd++) {
        char name[64];
        snprintf(name, sizeof name, "A0010%02d", ccd);
        struct recipe r = {.name = name, .expnum = 10, .seed = ccd,
                           .visit = {.name = "V10", .ccd = ccd, .ccds = 4, .coming = 4}};
        store_as(&r, NIGHT, name);
    }
    rows_to_rest = ROWS_ALL;
    run_agent(5);
    rows_to_rest = ROWS_EXPOSURES;
    struct exposure v = exposure_named("V10"), file = exposure_named("A001003");
    assert_true(v.state == EX_DONE && v.placed == 4 && v.jobs == 2 && v.jobs_done == 2);
    assert_int_equal(v.faults, 0);
    assert_true(file.state == EX_DONE && file.placed == 1 && file.stamp[STAMP_PLACED] > 0);
    assert_int_equal(count_files("rawdata", "*.fits"), 4);
    assert_int_equal(left_in_scratch(), 0);
}

static void ccds_without_a_job_are_left_to_the_daemon(void **state)
{
    (void)state;
    store_one("X_1");
    on_node("measure", NULL);
    snprintf(settings.camera.job_bad, sizeof settings.camera.job_bad, "12");
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_true(x.placed == 2 && x.jobs == 1 && x.jobs_done == 1 && x.faults == 0);
    assert_int_equal(runs(), 1);
    assert_true(exists(FITS_11) && exists(FITS_12));
}

/* ---- ends from outside ---- */

struct stopper {
    struct agent *a;
    int64_t deadline;
    bool ran;
};

static void stop_when_it_runs(void *ctx)
{
    struct stopper *s = ctx;
    s->ran = s->ran || runs() > 0;
    if (s->ran || clock_mono() > s->deadline)
        agent_stop(s->a);
}

/* The agent is ended while its first job's command runs. */
static void run_until_it_runs(void)
{
    struct stopper s = {.deadline = clock_mono() + 30 * NS_PER_S};
    TRY(agent_open(&settings, &s.a, WHY));
    s.a->settle_s = 0;
    TRY(agent_watch(s.a, WHY));
    struct loop_timer *t = loop_timer_new(s.a->loop, stop_when_it_runs, &s);
    loop_timer_set(t, 20, 20);
    TRY(agent_run(s.a, WHY));
    loop_timer_free(&t);
    agent_close(&s.a);
    assert_true(s.ran);
}

static void a_task_told_to_end_leaves_nothing(void **state)
{
    (void)state;
    size_t count;
    store_one("X_1");
    on_node("stay", "max_running = 1\n");
    run_until_it_runs();
    assert_int_equal(left_in_scratch(), 0);
    struct ccd *ccds = ccds_of("X_1", &count);
    assert_int_equal(ccds[0].state, CCD_WAITING); /* its file is there, and is found again */
    free(ccds);
    assert_true(exists(FITS_11));
    on_node("measure", NULL);
    run_agent(1);
    assert_int_equal(exposure_named("X_1").placed, 2);
    assert_int_equal(exposure_named("X_1").faults, 0);
}

static void a_rebuilt_catalogue_leaves_the_rest_to_its_jobs(void **state)
{
    (void)state;
    static struct invocation in;
    store_one("X_1");
    on_node("stay", "max_running = 1\n");
    run_until_it_runs();
    on_node("measure", NULL);
    in.s = settings;
    assert_int_equal(command_rebuild(&in), EXIT_DONE);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.state, EX_WORKING);
    assert_int_equal(x.placed, 1);
    run_agent(1);
    x = exposure_named("X_1");
    assert_true(x.placed == 2 && x.jobs == 2 && x.jobs_done == 2 && x.faults == 0);
    /* A file is lost, and the job that made it is done: another one makes it again. */
    assert_int_equal(unlink(in_store(FITS_12)), 0);
    assert_int_equal(command_rebuild(&in), EXIT_DONE);
    run_agent(1);
    x = exposure_named("X_1");
    assert_true(x.placed == 2 && x.jobs == 3 && x.jobs_done == 3 && x.faults == 0);
    assert_true(exists(FITS_12));
}

static bool take_job(void *ctx, const struct job *j)
{
    *(struct job *)ctx = *j;
    return true;
}

static void the_time_limit_is_the_commands_too(void **state)
{
    (void)state;
    store_one("X_1");
    on_node("stay", "timeout_seconds = 5\nretries = 0\n");
    run_agent(1);
    struct exposure x = exposure_named("X_1");
    assert_int_equal(x.placed, 2);
    assert_int_equal(x.jobs_done, 0);
    assert_int_equal(left_in_scratch(), 0);
    struct catalogue *cat;
    struct job j = {0};
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_jobs_of(cat, x.id, take_job, &j, WHY));
    catalogue_close(&cat);
    assert_non_null(strstr(j.reason, " s, its time limit ([jobs] timeout_seconds)"));
}

/* The order that lies in the folder is another one by the time that the command ends. */
static void an_end_that_came_too_late_does_not_count(void **state)
{
    (void)state;
    char job[4096];
    char *argv[] = {"sh", "-c", "sed -i s/aaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbb/ task.json", NULL};
    struct job_order o = {.folder = dir.dir, .program = "/bin/sh", .argv = argv, .timeout_s = 20,
                          .job_file = scratch_path(&dir, "job.json", job), .result_file = "none",
                          .output_max = 1000};
    TRY(task_order(&o, "slurm", "aaaaaaaaaaaaaaaa", WHY));
    pid_t pid = fork();
    if (pid == 0)
        _exit(task_run(dir.dir, "aaaaaaaaaaaaaaaa"));
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(access(scratch_path(&dir, "claim.json", job), F_OK), 0);
    assert_int_not_equal(access(scratch_path(&dir, "ended.json", job), F_OK), 0);
}

/* ---- what cannot be begun ---- */

/* Decodes by this order until it ended; the report's first ccd's state. */
static void order_fails(const json_t *order, enum status wanted, const char *words,
                        const char *state, bool elsewhere)
{
    struct task_decode *d = NULL;
    struct loop *l = NULL;
    TRY(loop_open(&l, WHY));
    enum status st = task_decode_open(order, "n1", &d, WHY);
    if (st == ST_OK) {
        TRY(task_decode_begin(d, l, WHY));
        TRY(loop_run(l, WHY));
        st = task_decode_end(d, WHY);
    }
    assert_int_equal(st, wanted);
    if (!strstr(try_fault.text, words))
        fail_msg("'%s' does not say '%s'", try_fault.text, words);
    json_t *end = json_object(), *ccds;
    task_decode_report(d, end);
    assert_int_equal(json_array_size(ccds = json_object_get(end, "ccds")), 2);
    assert_string_equal(task_text(json_array_get(ccds, 0), "state"), state);
    assert_true(json_is_true(json_object_get(end, "elsewhere")) == elsewhere);
    json_decref(end);
    task_decode_close(&d);
    assert_null(d);
    loop_close(&l);
}

static struct task_decode *decoded(const json_t *order, enum status wanted)
{
    struct task_decode *d = NULL;
    struct loop *l = NULL;
    TRY(loop_open(&l, WHY));
    TRY(task_decode_open(order, "n1", &d, WHY));
    TRY(task_decode_begin(d, l, WHY));
    TRY(loop_run(l, WHY));
    assert_int_equal(task_decode_end(d, WHY), wanted);
    loop_close(&l);
    return d;
}

/* SHA-256 of the source file that the bundle of X_1 was made from. */
static const char *source_sha256(void)
{
    static struct manifest m;
    static char hex[DIGEST_HEX];
    int fd = open(in_store("bundles/" NIGHT "/X_1.tar"), O_RDONLY);
    TRY(bundle_index(fd, &m, WHY));
    close(fd);
    memcpy(hex, m.source_sha256, sizeof hex);
    manifest_free(&m);
    return hex;
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    store_one("X_1");
    char bundle[PULL_PATH];
    pull_path(&settings, "bundles/" NIGHT "/none.tar", bundle);
    json_t *from = json_pack("{s:s, s:s}", "path", bundle, "source_sha256", "");
    json_t *order = json_pack("{s:s, s:s, s:s, s:[o], s:[{s:i, s:i, s:i, s:s}, {s:i, s:i, s:i, s:s}]}",
                              "exposure", "X_1", "root", settings.root, "scratch", scratch_base,
                              "bundles", from, "ccds", "ccd", 11, "hdu", 1, "bundle", 0, "rel",
                              "a.fits", "ccd", 12, "hdu", 2, "bundle", 0, "rel", "b.fits");
    assert_non_null(order);
    order_fails(order, ST_RETRY, "exposure X_1, ccds 11, 12: on node n1: cannot open the bundle",
                "waiting", false);
    json_object_set_new(order, "last", json_true());
    order_fails(order, ST_REJECT, "exposure X_1: not one of the job's ccds can be placed: cannot "
                "open the bundle", "parked", false);
    task_set(from, "path", "/no/such/store/bundles/x.tar");
    order_fails(order, ST_RETRY, "cannot open the bundle", "waiting", true);
    pull_path(&settings, "bundles/" NIGHT "/X_1.tar", bundle);
    task_set(from, "path", bundle);
    order_fails(order, ST_REJECT, "is of another source file by now", "parked", false);
    task_set(from, "source_sha256", source_sha256());
    task_set(order, "scratch", "/no/such/scratch");
    order_fails(order, ST_RETRY, "exposure X_1, ccds 11, 12: trouble with the scratch of node n1: "
                "cannot make a folder in the scratch '/no/such/scratch'", "waiting", true);
    task_set(json_array_get(json_object_get(order, "ccds"), 1), "rel", "../b.fits");
    task_set(order, "scratch", scratch_base);
    json_object_set_new(order, "last", json_false());
    struct task_decode *d = decoded(order, ST_OK);
    assert_true(exists("a.fits") && !exists("../b.fits"));
    assert_int_equal(access(task_decode_fits(d, 11, 1), R_OK), 0);
    assert_true(task_decode_is_parked(d, 12, 2) && !task_decode_fits(d, 12, 2));
    task_decode_close(&d);
    /* The second ccd from another bundle, which is not there. */
    json_array_append_new(json_object_get(order, "bundles"),
                          json_pack("{s:s, s:s}", "path", "/no/such/bundle.tar", "source_sha256", ""));
    json_t *second = json_array_get(json_object_get(order, "ccds"), 1);
    json_object_set_new(second, "bundle", json_integer(1));
    task_set(second, "rel", "b.fits");
    d = decoded(order, ST_RETRY);
    assert_non_null(strstr(try_fault.text, "exposure X_1, ccd 12: on node n1: cannot open the "
                                           "bundle '/no/such/bundle.tar'"));
    assert_true(task_decode_fits(d, 11, 1) && !task_decode_is_parked(d, 12, 2));
    task_decode_close(&d);
    json_decref(order);
    assert_int_equal(left_in_scratch(), 0);
}

/* Told to end while it decodes: the signal waits when the order is begun. */
static void told_to_end_while_it_decodes(void **state)
{
    (void)state;
    char bundle[PULL_PATH], folder[4096], job[4200];
    char *argv[] = {"true", NULL};
    store_one("X_1");
    on_node("measure", NULL);
    pull_path(&settings, "bundles/" NIGHT "/X_1.tar", bundle);
    json_t *order = json_pack("{s:s, s:s, s:s, s:[{s:s, s:s}], s:[{s:i, s:i, s:i, s:s}]}",
                              "exposure", "X_1", "root", settings.root, "scratch", scratch_base,
                              "bundles", "path", bundle, "source_sha256", source_sha256(), "ccds",
                              "ccd", 11, "hdu", 1, "bundle", 0, "rel", "a.fits");
    char *text = json_dumps(order, 0);
    TRY(fs_mkdirs(scratch_path(&dir, "q1", folder), WHY));
    snprintf(job, sizeof job, "%s/job.json", folder);
    struct job_order o = {.folder = folder, .program = "/bin/true", .argv = argv, .timeout_s = 20,
                          .job_file = job, .result_file = "none", .output_max = 1000,
                          .decode = text};
    TRY(task_order(&o, "slurm", "aaaaaaaaaaaaaaaa", WHY));
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, NULL);
        raise(SIGTERM);
        _exit(task_run(folder, "aaaaaaaaaaaaaaaa"));
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    json_t *end = task_load(folder, "ended.json", NULL);
    assert_non_null(end);
    assert_true(json_is_true(json_object_get(end, "stopped")));
    assert_string_equal(task_text(end, "grade"), "retry");
    assert_int_equal(json_array_size(json_object_get(end, "ccds")), 1);
    assert_int_equal(left_in_scratch(), 0);
    json_decref(end);
    json_decref(order);
    free(text);
}

#define ON_NODE(test) cmocka_unit_test_setup_teardown(test, node_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_NODE(a_scratch_is_ones_own_and_goes),
        ON_NODE(what_a_dead_one_left_is_swept),
        ON_NODE(jobs_decode_and_place_what_the_daemon_would),
        ON_NODE(a_command_that_fails_keeps_no_file_back),
        ON_NODE(a_damaged_ccd_holds_no_other),
        ON_NODE(a_job_without_any_sound_ccd_fails_at_once),
        ON_NODE(a_killed_task_is_run_again_and_swept),
        ON_NODE(names_that_are_taken),
        ON_NODE(the_first_of_two_gets_the_names),
        ON_NODE(visits_are_decoded_by_their_jobs),
        ON_NODE(ccds_without_a_job_are_left_to_the_daemon),
        ON_NODE(a_task_told_to_end_leaves_nothing),
        ON_NODE(a_rebuilt_catalogue_leaves_the_rest_to_its_jobs),
        ON_NODE(the_time_limit_is_the_commands_too),
        ON_NODE(an_end_that_came_too_late_does_not_count),
        ON_NODE(told_to_end_while_it_decodes),
        ON_NODE(what_is_missing_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
