/* Jobs: the local runner alone (ends in words, limits, nothing left behind, held until it is
 * known), and the engine over it (groups, files, figures, retries, taking back after a crash). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pull/job.h"
#include "pull/job_files.h"
#include "pull/job_inner.h"
#include "pull/job_process.h"
#include "pull/job_runner.h"
#include "pull/quality.h"
#include "tests/unit/pull_fixture.h"

/* ---- the runner ---- */

struct stage {
    struct loop *loop;
    struct job_runner *r;
    struct job_end end;
    bool ended;
};

static void on_wake(void *ctx)
{
    struct stage *s = ctx;
    s->ended = s->r->row->poll(s->r, &s->end);
    loop_stop(s->loop);
}

static void open_stage(struct stage *s)
{
    *s = (struct stage){0};
    TRY(loop_open(&s->loop, WHY));
    TRY(job_local.open(s->loop, on_wake, s, &s->r, WHY));
}

static void close_stage(struct stage *s)
{
    s->r->row->close(&s->r);
    assert_null(s->r);
    loop_close(&s->loop);
}

static char job_file[4096], result_file[4096];

static struct job_order shell_order(const char *script, char *const **argv)
{
    static char text[1024];
    static char *args[] = {"sh", "-c", text, NULL};
    snprintf(text, sizeof text, "%s", script);
    *argv = args;
    scratch_path(&dir, "job.json", job_file);
    scratch_path(&dir, "result.json", result_file);
    return (struct job_order){.id = 7, .folder = dir.dir, .program = "/bin/sh", .argv = args,
                              .job_file = job_file, .result_file = result_file, .timeout_s = 20,
                              .output_max = 1 << 20};
}

/* Runs one shell script as a job until it ended. */
static struct job_end run_script(const char *script, int timeout_s)
{
    struct stage s;
    char handle[JOB_HANDLE];
    char *const *argv;
    struct job_order o = shell_order(script, &argv);
    o.timeout_s = timeout_s;
    open_stage(&s);
    TRY(s.r->row->submit(s.r, &o, handle, WHY));
    assert_true(strlen(handle) > 40); /* boot id, pid, start */
    s.r->row->release(s.r, o.id);
    TRY(loop_run(s.loop, WHY));
    assert_true(s.ended);
    assert_int_equal(s.end.id, 7);
    close_stage(&s);
    return s.end;
}

static void slurp_scratch(const char *name, char *out, size_t size)
{
    char path[4096];
    struct buf text = {0};
    slurp(scratch_path(&dir, name, path), &text);
    snprintf(out, size, "%.*s", (int)text.len, (const char *)text.data);
    buf_free(&text);
}

static void ends_are_told_in_words(void **state)
{
    (void)state;
    struct job_end e = run_script("exit 0", 20);
    assert_true(e.ok && !e.cancelled);
    e = run_script("exit 3", 20);
    assert_false(e.ok);
    assert_string_equal(e.words, "exit status 3");
    e = run_script("kill -SEGV $$", 20);
    assert_false(e.ok);
    assert_string_equal(e.words, "killed by signal 11 (SIGSEGV)");
}

static void a_job_gets_its_surroundings(void **state)
{
    (void)state;
    char out[8192], wanted[4300];
    setenv("SKYFERRY_JOB", "of somebody else", 1);
    assert_true(run_script("pwd; env; echo words >&2; cat; trap; ls /proc/self/fd | wc -l", 20).ok);
    unsetenv("SKYFERRY_JOB");
    slurp_scratch("out", out, sizeof out);
    assert_true(strncmp(out, dir.dir, strlen(dir.dir)) == 0);
    snprintf(wanted, sizeof wanted, "\nSKYFERRY_JOB=%s\n", job_file);
    assert_non_null(strstr(out, wanted));
    snprintf(wanted, sizeof wanted, "\nSKYFERRY_RESULT=%s\n", result_file);
    assert_non_null(strstr(out, wanted));
    assert_null(strstr(out, "somebody"));
    assert_non_null(strstr(out, "\n4\n")); /* 0, 1, 2 and ls's own */
    slurp_scratch("err", out, sizeof out);
    assert_string_equal(out, "words\n");
}

static void a_program_that_cannot_run_is_said(void **state)
{
    (void)state;
    struct stage s;
    char handle[JOB_HANDLE], err[1024];
    char *const *argv;
    struct job_order o = shell_order("", &argv);
    o.program = "/no/such/program";
    open_stage(&s);
    TRY(s.r->row->submit(s.r, &o, handle, WHY));
    s.r->row->release(s.r, o.id);
    TRY(loop_run(s.loop, WHY));
    assert_false(s.end.ok);
    assert_string_equal(s.end.words, "exit status 127");
    close_stage(&s);
    slurp_scratch("err", err, sizeof err);
    assert_string_equal(err, "skyferry-pull: cannot run /no/such/program: No such file or "
                             "directory\n");
}

static bool nobody_carries_the_mark(void)
{
    char command[5000];
    snprintf(command, sizeof command, "! grep -lz '^SKYFERRY_JOB=%s$' /proc/[0-9]*/environ "
             "2>/dev/null | grep -q .", job_file);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int how;
    waitpid(pid, &how, 0);
    return how == 0;
}

static void nothing_is_left_behind(void **state)
{
    (void)state;
    assert_true(run_script("sleep 100 & setsid sleep 101 & sleep 0.2", 20).ok);
    assert_true(nobody_carries_the_mark());
}

static void the_time_limit_ends_the_whole_group(void **state)
{
    (void)state;
    int64_t began = clock_mono();
    struct job_end e = run_script("trap '' TERM; (trap '' TERM; sleep 102) & sleep 103; sleep 104", 1);
    assert_false(e.ok);
    assert_string_equal(e.words, "ended after 1 s, its time limit ([jobs] timeout_seconds)");
    assert_true(clock_mono() - began < 30 * NS_PER_S);
    assert_true(nobody_carries_the_mark());
}

static void output_is_bounded_to_the_byte(void **state)
{
    (void)state;
    char path[4096];
    struct stat st;
    struct job_end e = run_script("yes no end in sight", 20);
    assert_false(e.ok);
    assert_non_null(strstr(e.words, "more than 1 MiB"));
    assert_int_equal(stat(scratch_path(&dir, "out", path), &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
    assert_true(run_script("head -c 1048576 /dev/zero", 20).ok); /* just as much is fine */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
}

static void a_held_job_does_nothing(void **state)
{
    (void)state;
    struct stage s;
    char handle[JOB_HANDLE], path[4096];
    char *const *argv;
    struct job_order o = shell_order("touch began", &argv);
    open_stage(&s);
    TRY(s.r->row->submit(s.r, &o, handle, WHY));
    usleep(100000);
    assert_int_not_equal(access(scratch_path(&dir, "began", path), F_OK), 0);
    s.r->row->cancel(s.r, o.id);
    TRY(loop_run(s.loop, WHY));
    assert_true(s.ended && s.end.cancelled && !s.end.ok);
    assert_int_not_equal(access(path, F_OK), 0);
    close_stage(&s);
}

static void a_held_job_dies_with_its_agent(void **state)
{
    (void)state;
    char path[4096];
    char *const *argv;
    struct job_order o = shell_order("touch orphan", &argv);
    pid_t pid = fork();
    if (pid == 0) {
        struct stage s;
        char handle[JOB_HANDLE];
        open_stage(&s);
        s.r->row->submit(s.r, &o, handle, WHY);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 500 && !nobody_carries_the_mark(); i++)
        usleep(20000);
    assert_int_not_equal(access(scratch_path(&dir, "orphan", path), F_OK), 0);
    assert_true(nobody_carries_the_mark());
}

static void what_a_crash_left_is_buried(void **state)
{
    (void)state;
    char handle[JOB_HANDLE] = "";
    int pipe_ends[2];
    char *const *argv;
    struct job_order o = shell_order("setsid sleep 106 & sleep 105", &argv);
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct stage s;
        open_stage(&s);
        s.r->row->submit(s.r, &o, handle, WHY);
        s.r->row->release(s.r, o.id);
        usleep(200000);
        (void)!write(pipe_ends[1], handle, strlen(handle) + 1);
        kill(getpid(), SIGKILL);
    }
    close(pipe_ends[1]);
    assert_true(read(pipe_ends[0], handle, sizeof handle) > 0);
    close(pipe_ends[0]);
    waitpid(pid, NULL, 0);
    for (int i = 0; i < 500 && nobody_carries_the_mark(); i++)
        usleep(20000);
    assert_false(nobody_carries_the_mark());
    struct stage s;
    open_stage(&s);
    s.r->row->bury(s.r, handle, job_file);
    assert_true(nobody_carries_the_mark());
    s.r->row->bury(s.r, handle, job_file); /* harmless when there is nothing */
    s.r->row->bury(s.r, "", job_file);
    s.r->row->bury(s.r, "nonsense:x:y", job_file);
    close_stage(&s);
}

static void another_process_of_that_number_lives(void **state)
{
    (void)state;
    char handle[JOB_HANDLE];
    process_handle(getpid(), handle, sizeof handle);
    assert_true(strlen(handle) > 40);
    /* This program's number, but another start time, then another boot. */
    handle[strlen(handle) - 1] ^= 1;
    process_bury_handle(handle);
    handle[strlen(handle) - 1] ^= 1;
    handle[0] = handle[0] == 'a' ? 'b' : 'a';
    process_bury_handle(handle);
}

static void closing_ends_what_runs(void **state)
{
    (void)state;
    struct stage s;
    char handle[JOB_HANDLE];
    char *const *argv;
    struct job_order o = shell_order("trap '' TERM; sleep 107 & wait; sleep 108", &argv);
    open_stage(&s);
    TRY(s.r->row->submit(s.r, &o, handle, WHY));
    s.r->row->release(s.r, o.id);
    usleep(200000);
    int64_t began = clock_mono();
    close_stage(&s);
    assert_true(clock_mono() - began < 20 * NS_PER_S);
    assert_true(nobody_carries_the_mark());
}

/* ---- the engine ---- */

static void use_job(const char *script, const char *more)
{
    char path[4096], text[8000], lines[4600];
    scratch_path(&dir, "job", path);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", script);
    TRY(fs_write_file(path, text, strlen(text), false, WHY));
    assert_int_equal(chmod(path, 0755), 0);
    snprintf(lines, sizeof lines, "[jobs]\ncommand = %s {job} {exposure}\n%s", path, more);
    load_settings(lines);
}

struct wanted_job {
    struct job j;
    int number;
};

static bool take_job(void *ctx, const struct job *j)
{
    struct wanted_job *w = ctx;
    if (j->number == w->number)
        w->j = *j;
    return true;
}

static struct job job_of(const char *name, int number)
{
    struct wanted_job w = {.number = number};
    struct exposure x = exposure_named(name);
    struct catalogue *cat;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_jobs_of(cat, x.id, take_job, &w, WHY));
    catalogue_close(&cat);
    return w.j;
}

static void figures_reach_the_catalogue(void **state)
{
    (void)state;
    use_job("echo \"$#:$2\" >arguments\n"
            "printf '{\"ccds\": [{\"ccd\": 12, \"noise\": 2.5, \"stars\": 7}]}' >$SKYFERRY_RESULT",
            "ccds_per_job = 2\n");
    store_one("exp_7000");
    run_agent(1);
    struct exposure x = exposure_named("exp_7000");
    assert_true(x.state == EX_DONE && x.jobs == 1 && x.jobs_done == 1 && x.faults == 0);
    struct job j = job_of("exp_7000", 1);
    assert_int_equal(j.state, JOB_DONE);
    assert_true(j.ended_ns > j.started_ns && j.started_ns > x.stamp[STAMP_PLACED]);
    assert_string_equal(j.folder, "jobs/ut160901/exp_7000/q1");
    char words[64];
    slurp_scratch("store/jobs/ut160901/exp_7000/q1/arguments", words, sizeof words);
    assert_string_equal(words, "2:exp_7000\n");
    assert_true(exists("jobs/ut160901/exp_7000/q1/end.json"));
    struct catalogue *cat;
    struct ccd *ccds;
    size_t count;
    TRY(catalogue_open(settings.catalogue, true, &cat, WHY));
    TRY(catalogue_ccds(cat, x.id, &ccds, &count, WHY));
    assert_true(ccds[1].quality.noise == 2.5 && ccds[1].quality.stars == 7);
    assert_false(quality_known(ccds[0].quality.noise));
    free(ccds);
    catalogue_close(&cat);
}

static void the_job_file_says_all(void **state)
{
    (void)state;
    load_settings("[jobs]\nccds_per_job = 1\ndry_run = yes\n");
    struct recipe r = {.name = "exp_7001", .obstype = "dome flat"};
    store_as(&r, NIGHT, "exp_7001");
    run_agent(1);
    struct job j = {.folder = "jobs/ut160901/exp_7001/q2"};
    struct job_ccd *in;
    size_t count;
    char text[8192];
    TRY(job_read(&settings, &j, &in, &count, WHY));
    assert_int_equal(j.state, JOB_WAITING);
    assert_true(count == 1 && in[0].hdu == 2 && in[0].ccd == 12);
    free(in);
    slurp_scratch("store/jobs/ut160901/exp_7001/q2/job.json", text, sizeof text);
    static const char *const wanted[] = {
        "\"job\": \"exp_7001/q2\"", "\"type\": \"flat\"", "\"name\": \"exp_7001\"",
        "\"night\": \"ut160901\"", "\"expnum\": 7001", "\"obstype\": \"dome flat\"",
        "/store/rawdata/ut160901/12/domeflat.g.ut160901.7001_12.fits\"", "\"ccd\": 12",
        "\"codec\": \"rice\"", "/store/jobs/ut160901/exp_7001/q2/result.json\""};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!strstr(text, wanted[i]))
            fail_msg("no %s in %s", wanted[i], text);
    assert_int_equal(job_of("exp_7001", 1).state, JOB_DRY);
}

static void a_failed_job_is_tried_again_and_then_told(void **state)
{
    (void)state;
    use_job("echo x >>runs; echo 'no flat for this filter' >&2; exit 3", "retries = 1\n");
    store_one("exp_7100");
    run_agent(1);
    struct exposure x = exposure_named("exp_7100");
    assert_true(x.state == EX_DONE && x.jobs == 1 && x.jobs_done == 0 && x.faults == 1);
    struct job j = job_of("exp_7100", 1);
    assert_int_equal(j.state, JOB_FAILED);
    assert_int_equal(j.attempts, 2);
    assert_string_equal(j.reason, "exit status 3: no flat for this filter");
    char runs[16];
    slurp_scratch("store/jobs/ut160901/exp_7100/q1/runs", runs, sizeof runs);
    assert_string_equal(runs, "x\nx\n");
    /* Mended: retry runs that job again, and nothing else. */
    use_job("exit 0", "retries = 0\n");
    ask("exp_7100", ASK_RETRY, false);
    run_agent(1);
    j = job_of("exp_7100", 1);
    assert_true(j.state == JOB_DONE && j.attempts == 1);
    assert_int_equal(exposure_named("exp_7100").faults, 0);
}

static void a_bad_result_is_a_failure(void **state)
{
    (void)state;
    use_job("echo '{\"ccds\": [{\"ccd\": 77}]}' >$SKYFERRY_RESULT", "retries = 0\n");
    store_one("exp_7200");
    run_agent(1);
    struct job j = job_of("exp_7200", 1);
    assert_int_equal(j.state, JOB_FAILED);
    assert_non_null(strstr(j.reason, "ccd 77 is none of this job's"));
}

static void never_more_than_so_many_run(void **state)
{
    (void)state;
    use_job("n=$(ls -d $PWD/../../*/q*/mark 2>/dev/null | wc -l); echo $n >seen; touch mark;"
            "sleep 0.2; rm mark", "max_running = 2\nccds_per_job = 1\n");
    store_one("exp_7300");
    store_one("exp_7301");
    store_one("exp_7302");
    run_agent(3);
    assert_int_equal(count_files("jobs", "seen"), 6);
    for (int i = 0; i < 6; i++) {
        char rel[128], seen[16];
        snprintf(rel, sizeof rel, "store/jobs/ut160901/exp_730%d/q%d/seen", i / 2, i % 2 + 1);
        slurp_scratch(rel, seen, sizeof seen);
        assert_true(seen[0] == '0' || seen[0] == '1');
    }
}

static void a_killed_agents_job_runs_again(void **state)
{
    (void)state;
    use_job("echo x >>runs; [ $(wc -l <runs) -ge 2 ] || sleep 109", "ccds_per_job = 2\n");
    store_one("exp_7400");
    pid_t pid = fork();
    if (pid == 0) {
        setenv("SKYFERRY_CRASH_AT", "pull:never", 1);
        run_agent(1);
        _exit(0);
    }
    char path[PULL_PATH];
    pull_path(&settings, "jobs/ut160901/exp_7400/q1/runs", path);
    for (int i = 0; i < 3000 && access(path, F_OK) != 0; i++)
        usleep(10000);
    assert_int_equal(access(path, F_OK), 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(job_of("exp_7400", 1).state, JOB_RUNNING);
    snprintf(job_file, sizeof job_file, "%s/store/jobs/ut160901/exp_7400/q1/job.json", dir.dir);
    assert_false(nobody_carries_the_mark());
    run_agent(1);
    assert_true(nobody_carries_the_mark());
    struct job j = job_of("exp_7400", 1);
    assert_true(j.state == JOB_DONE && j.attempts == 1);
    char runs[16];
    slurp_scratch("store/jobs/ut160901/exp_7400/q1/runs", runs, sizeof runs);
    assert_string_equal(runs, "x\nx\n");
}

/* auto: cores, no job with a few, all alike; bad ccds are nobody's load. */
static void jobs_are_cut_to_the_processors(void **state)
{
    (void)state;
    static const struct {
        const char *runner;
        int cores, running, good, each;
    } shapes[] = {{"slurm", 16, 0, 60, 15}, {"slurm", 16, 0, 61, 16}, {"slurm", 15, 0, 61, 13},
                {"slurm", 1, 0, 62, 4}, {"slurm", 100, 0, 62, 62}, {"slurm", 4, 0, 1, 1},
                {"pbs", 8, 0, 104, 8}, {"local", 1, 4, 60, 15}, {"local", 1, 1, 104, 104},
                {"local", 1, 100, 60, 4}, {"local", 1, 3, 62, 21}, {"slurm", 4, 0, 0, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct pull_settings s = {.per_task = "auto", .ccds_per_job = 7,
                                  .max_running = shapes[i].running,
                                  .slurm = {.nodes = 1, .tasks_per_node = 1,
                                            .cores = shapes[i].cores}};
        snprintf(s.runner, sizeof s.runner, "%s", shapes[i].runner);
        assert_int_equal(job_ccds_each(&s, (size_t)shapes[i].good), shapes[i].each);
        snprintf(s.per_task, sizeof s.per_task, "given");
        assert_int_equal(job_ccds_each(&s, (size_t)shapes[i].good), 7);
    }
}

static void a_missing_program_waits(void **state)
{
    (void)state;
    load_settings("[jobs]\ncommand = /no/such/job {job}\n");
    store_one("exp_7500");
    struct agent *a;
    TRY(agent_open(&settings, &a, WHY));
    TRY(agent_watch(a, WHY));
    struct loop_timer *t = loop_timer_new(a->loop, (void (*)(void *))agent_stop, a);
    loop_timer_set(t, 1500, 0);
    TRY(agent_run(a, WHY));
    loop_timer_free(&t);
    agent_close(&a);
    struct job j = job_of("exp_7500", 1);
    assert_true(j.state == JOB_WAITING && j.attempts == 0);
    assert_non_null(strstr(j.reason, "/no/such/job"));
    use_job("exit 0", "");
    struct catalogue *cat; /* due now, not in half a minute */
    TRY(catalogue_open(settings.catalogue, false, &cat, WHY));
    j.due_ns = 0;
    TRY(catalogue_put_job(cat, &j, WHY));
    catalogue_close(&cat);
    run_agent(1);
    assert_int_equal(job_of("exp_7500", 1).state, JOB_DONE);
}

static void on_moment(void *ctx)
{
    struct agent *a = ctx;
    if (a->settle_s-- > 0)
        raise(SIGHUP);
    else
        agent_stop(a);
}

/* The file says "by another runner, and in earnest": not by the runner of before, then. */
static void runner_and_dry_run_change_together(void **state)
{
    (void)state;
    struct agent *a;
    char path[4096], log[4096];
    load_settings("[jobs]\nrunner = slurm\ndry_run = yes\nretries = 1\n");
    TRY(agent_open(&settings, &a, WHY));
    TRY(agent_obey(a, WHY));
    load_settings("[jobs]\nrunner = local\ndry_run = no\nretries = 2\n");
    struct log_options all = {.agent = "test", .level = LOG_INFO};
    TRY(log_open(&all, WHY));
    a->settle_s = 1;
    struct loop_timer *t = loop_timer_new(a->loop, on_moment, a);
    loop_timer_set(t, 100, 300);
    fflush(stderr);
    int errors = dup(STDERR_FILENO);
    int fd = open(scratch_path(&dir, "log", path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(fd, STDERR_FILENO);
    enum status st = agent_run(a, WHY);
    dup2(errors, STDERR_FILENO);
    close(errors);
    close(fd);
    assert_int_equal(st, ST_OK);
    slurp_scratch("log", log, sizeof log);
    if (!strstr(log, "but for what needs a restart: jobs.runner jobs.dry_run"))
        fail_msg("%s", log);
    assert_true(a->s.dry_run);
    assert_int_equal(a->s.retries, 2);
    loop_timer_free(&t);
    agent_close(&a);
}

static int scratch_setup(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

#define ALONE(test) cmocka_unit_test_setup_teardown(test, scratch_setup, store_teardown)
#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest runner[] = {
        ALONE(ends_are_told_in_words),
        ALONE(a_job_gets_its_surroundings),
        ALONE(a_program_that_cannot_run_is_said),
        ALONE(nothing_is_left_behind),
        ALONE(the_time_limit_ends_the_whole_group),
        ALONE(output_is_bounded_to_the_byte),
        ALONE(a_held_job_does_nothing),
        ALONE(a_held_job_dies_with_its_agent),
        ALONE(what_a_crash_left_is_buried),
        ALONE(another_process_of_that_number_lives),
        ALONE(closing_ends_what_runs),
    };
    const struct CMUnitTest engine[] = {
        IN_STORE(figures_reach_the_catalogue),
        IN_STORE(the_job_file_says_all),
        IN_STORE(a_failed_job_is_tried_again_and_then_told),
        IN_STORE(a_bad_result_is_a_failure),
        IN_STORE(never_more_than_so_many_run),
        IN_STORE(a_killed_agents_job_runs_again),
        cmocka_unit_test(jobs_are_cut_to_the_processors),
        IN_STORE(a_missing_program_waits),
        IN_STORE(runner_and_dry_run_change_together),
    };
    int failed = cmocka_run_group_tests_name("pull job runner", runner, NULL, NULL);
    return failed + cmocka_run_group_tests_name("pull jobs", engine, NULL, NULL);
}
