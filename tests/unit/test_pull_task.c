/* `skyferry-pull task` itself, with real processes: who may run a job, who may tell of its end,
 * and which ends are the job's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "pull/job_task.h"
#include "pull/task_files.h"
#include "tests/unit/scratch.h"

#define KEY "aaaaaaaaaaaaaaaa"
#define NEXT "bbbbbbbbbbbbbbbb"

static struct scratch dir;
static struct fault why;

static enum status order(const char *key, const char *text, int timeout_s)
{
    char job[4096], *argv[] = {"sh", "-c", (char *)text, NULL};
    struct job_order o = {.folder = dir.dir, .program = "/bin/sh", .argv = argv,
                          .timeout_s = timeout_s, .job_file = scratch_path(&dir, "job.json", job),
                          .result_file = "none", .output_max = 1000};
    return task_order(&o, "slurm", key, &why);
}

/* As Slurm begins it: array job 7, task 1, put back so many times. */
static pid_t begin(const char *key, const char *array, const char *restarts)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    setenv("SLURM_ARRAY_JOB_ID", array, 1);
    setenv("SLURM_ARRAY_TASK_ID", "1", 1);
    setenv("SLURMD_NODENAME", "node1", 1);
    if (restarts)
        setenv("SLURM_RESTART_COUNT", restarts, 1);
    _exit(task_run(dir.dir, key));
}

static int end_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *key, const char *array, const char *restarts)
{
    return end_of(begin(key, array, restarts));
}

/* How often the command "echo >> runs" ran. */
static int runs(void)
{
    char path[4096];
    struct stat st;
    return stat(scratch_path(&dir, "runs", path), &st) == 0 ? (int)st.st_size : 0;
}

static struct task_report told(const char *key)
{
    struct task_report r;
    assert_true(task_look(dir.dir, key, &r));
    return r;
}

static int clean(void **state)
{
    (void)state;
    static const char *const files[] = {"task.json", "claim.json", "ended.json", "runs"};
    char path[4096];
    for (int i = 0; i < 4; i++)
        unlink(scratch_path(&dir, files[i], path));
    return 0;
}

static void only_a_task_that_was_put_back_runs_again(void **state)
{
    (void)state;
    assert_int_equal(order(KEY, "echo >> runs; kill -TERM $$", 20), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 143);
    assert_int_equal(run(KEY, "7", NULL), 0); /* two of one name: srun in a site's template */
    assert_int_equal(run(KEY, "8", "1"), 0);  /* another submission's */
    assert_int_equal(runs(), 1);
    assert_int_equal(run(KEY, "7", "1"), 143);
    assert_int_equal(run(KEY, "7", "1"), 0);
    assert_int_equal(runs(), 2);
    assert_int_equal(run(KEY, "7", "2"), 143);
    assert_int_equal(runs(), 3);
}

static void what_has_ended_is_not_run_again(void **state)
{
    (void)state;
    assert_int_equal(order(KEY, "echo >> runs", 20), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 0);
    assert_int_equal(run(KEY, "7", "1"), 0);
    assert_int_equal(runs(), 1);
    assert_true(told(KEY).ok);
}

static void a_claim_of_an_older_order_holds_nobody(void **state)
{
    (void)state;
    char path[4096];
    static const char old[] = "{\"key\":\"" NEXT "\",\"batch\":\"7_1\",\"run\":\"1\"}";
    assert_int_equal(order(KEY, "echo >> runs", 20), ST_OK);
    assert_int_equal(fs_write_file(scratch_path(&dir, "claim.json", path), old, strlen(old), false,
                                   &why), ST_OK);
    assert_int_equal(run(KEY, "8", NULL), 0);
    assert_int_equal(runs(), 1);
    assert_true(told(KEY).ok);
}

/* The task reads its order; before it has claimed the job, the daemon orders it anew. */
static void a_late_task_that_finds_a_new_order_runs_nothing(void **state)
{
    (void)state;
    char path[4096], fifo[4096];
    struct buf text = {0};
    assert_int_equal(order(KEY, "echo >> runs", 20), ST_OK);
    scratch_path(&dir, "task.json", path);
    assert_int_equal(fs_read_file(path, 65536, &text, &why), ST_OK);
    unlink(path);
    assert_int_equal(mkfifo(scratch_path(&dir, "task.json", fifo), 0600), 0);
    pid_t pid = begin(KEY, "7", NULL);
    FILE *f = fopen(fifo, "w"); /* it reads */
    assert_non_null(f);
    assert_int_equal(order(NEXT, "echo >> runs", 20), ST_OK);
    fwrite(text.data, 1, text.len, f);
    fclose(f);
    buf_free(&text);
    assert_int_equal(end_of(pid), 0);
    assert_int_equal(runs(), 0);
    assert_int_equal(run(NEXT, "8", NULL), 0); /* and is in nobody's way */
    assert_int_equal(runs(), 1);
    assert_true(told(NEXT).ok);
}

static void who_lost_the_claim_tells_of_no_end(void **state)
{
    (void)state;
    char path[4096];
    assert_int_equal(order(KEY, "sed -i 's/\"run\": *\"[^\"]*\"/\"run\": \"other\"/' claim.json; "
                           "exit 3", 20), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 0);
    assert_int_not_equal(access(scratch_path(&dir, "ended.json", path), F_OK), 0);
    assert_int_equal(told(KEY).ended_ns, 0);
}

/* A node that was cut off comes back when its job runs elsewhere. */
static void who_lost_the_order_ends_its_run(void **state)
{
    (void)state;
    int64_t begun = clock_mono();
    assert_int_equal(order(KEY, "sed -i s/" KEY "/" NEXT "/ task.json; sleep 40", 60), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 0);
    assert_true(clock_mono() - begun < 30 * NS_PER_S);
    assert_int_equal(told(KEY).ended_ns, 0);
}

static void an_end_from_outside_is_told_from_the_jobs_own(void **state)
{
    (void)state;
    assert_int_equal(order(KEY, "trap 'exit 0' TERM; kill -TERM $PPID; sleep 20 & wait", 20), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 0);
    assert_true(told(KEY).ok); /* it was told to end, and was ready */
    assert_false(told(KEY).stopped);
    assert_int_equal(order(KEY, "kill -TERM $PPID; sleep 20", 20), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 143);
    assert_true(told(KEY).stopped);
    assert_int_equal(order(KEY, "sleep 20", 1), ST_OK);
    assert_int_equal(run(KEY, "7", NULL), 143);
    assert_false(told(KEY).stopped); /* our own limit: that is its end */
    assert_non_null(strstr(told(KEY).words, "its time limit"));
}

static void an_argument_that_is_no_text_is_refused(void **state)
{
    (void)state;
    assert_int_equal(order(KEY, "echo \xff", 20), ST_REJECT);
    assert_non_null(strstr(why.text, "no UTF-8"));
    assert_int_equal(run(KEY, "7", NULL), 1);
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
        cmocka_unit_test_teardown(only_a_task_that_was_put_back_runs_again, clean),
        cmocka_unit_test_teardown(what_has_ended_is_not_run_again, clean),
        cmocka_unit_test_teardown(a_claim_of_an_older_order_holds_nobody, clean),
        cmocka_unit_test_teardown(a_late_task_that_finds_a_new_order_runs_nothing, clean),
        cmocka_unit_test_teardown(who_lost_the_claim_tells_of_no_end, clean),
        cmocka_unit_test_teardown(who_lost_the_order_ends_its_run, clean),
        cmocka_unit_test_teardown(an_end_from_outside_is_told_from_the_jobs_own, clean),
        cmocka_unit_test_teardown(an_argument_that_is_no_text_is_refused, clean),
    };
    return cmocka_run_group_tests_name("a task on a node", tests, set_up, tear_down);
}
