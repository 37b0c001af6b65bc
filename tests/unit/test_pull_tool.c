/* A site's programs beside the loop: they do not outlive the daemon, their surroundings do not
 * change what they answer, and one that prints without end is ended like any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pull/job_tool.h"

static struct loop *loop;
static struct fault why;
static struct tool_end got;
static char said[65536];

static void take(void *ctx, const struct tool_end *end)
{
    (void)ctx;
    got = *end;
    snprintf(said, sizeof said, "%s", end->out);
    loop_stop(loop);
}

static enum status begin(const char *script, int timeout_s)
{
    char *argv[] = {"sh", "-c", (char *)script, NULL};
    struct tool_order o = {argv, timeout_s, take, NULL};
    struct tool *t;
    return tool_run(loop, &o, &t, &why);
}

static void it_dies_with_us(void **state)
{
    (void)state;
    int pipe_[2];
    char line[32] = "";
    assert_int_equal(pipe(pipe_), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        dup2(pipe_[1], 9);
        char script[64];
        snprintf(script, sizeof script, "echo $$ > /proc/%d/fd/9; exec sleep 30", (int)getpid());
        if (begin(script, 60) == ST_OK)
            (void)loop_run(loop, &why);
        _exit(1);
    }
    assert_true(read(pipe_[0], line, sizeof line - 1) > 0);
    pid_t tool = (pid_t)strtol(line, NULL, 10);
    int status;
    alarm(20);
    kill(daemon, SIGKILL);
    assert_int_equal(waitpid(daemon, &status, 0), daemon);
    assert_int_equal(waitpid(tool, &status, 0), tool); /* ours now */
    alarm(0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(pipe_[0]);
    close(pipe_[1]);
}

static void what_would_change_its_answers_is_not_handed_on(void **state)
{
    (void)state;
    setenv("SQUEUE_PARTITION", "other", 1);
    setenv("SBATCH_CLUSTERS", "other", 1);
    setenv("SLURM_CLUSTERS", "other", 1);
    setenv("SLURM_TIME_FORMAT", "relative", 1);
    setenv("SLURM_CONF", "/etc/site.conf", 1);
    assert_int_equal(begin("env", 20), ST_OK);
    assert_int_equal(loop_run(loop, &why), ST_OK);
    assert_int_equal(got.status, 0);
    assert_null(strstr(said, "other"));
    assert_null(strstr(said, "relative"));
    assert_non_null(strstr(said, "SLURM_CONF=/etc/site.conf"));
    assert_non_null(strstr(said, "PATH="));
}

static void what_prints_without_end_is_ended(void **state)
{
    (void)state;
    alarm(60);
    assert_int_equal(begin("exec yes", 1), ST_OK);
    assert_int_equal(loop_run(loop, &why), ST_OK);
    alarm(0);
    assert_true(got.late);
}

static int set_up(void **state)
{
    (void)state;
    return loop_open(&loop, &why) == ST_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    loop_close(&loop);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_dies_with_us),
        cmocka_unit_test(what_would_change_its_answers_is_not_handed_on),
        cmocka_unit_test(what_prints_without_end_is_ended),
    };
    return cmocka_run_group_tests_name("programs beside the loop", tests, set_up, tear_down);
}
