/* The lease: one daemon works in a store, whatever machine the second one is started on; what a
 * dead one has left is taken over, by one only; a silent one notices that it has lost it. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "common/log.h"
#include "pull/agent.h"
#include "pull/lease.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct fault why;
static char file[4096];

#define OK(call)                                                                                 \
    do {                                                                                         \
        if ((call) != ST_OK)                                                                     \
            fail_msg("%s: %s", #call, why.text);                                                 \
    } while (0)

static int setup(void **state)
{
    struct log_options quiet = {.agent = "test", .level = LOG_ERROR};
    (void)state;
    if (scratch_make(&dir) != 0 || log_open(&quiet, &why) != ST_OK)
        return -1;
    scratch_path(&dir, "daemon.lease", file);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

static bool is_there(void)
{
    return access(file, F_OK) == 0;
}

static void make_old(int seconds)
{
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - seconds}};
    assert_int_equal(utimensat(AT_FDCWD, file, t, 0), 0);
}

/* As a daemon on another login node writes it. */
static void of_another(int seconds_ago)
{
    static const char text[] = "host login2\npid 1\nsystem another\nid 77\n";
    OK(fs_write_file(file, text, strlen(text), false, &why));
    make_old(seconds_ago);
}

static void a_lease_is_taken_and_given_back(void **state)
{
    struct lease *l = NULL;
    struct lease_holder h;
    char host[65] = "";
    (void)state;
    assert_false(lease_read(dir.dir, &h));
    OK(lease_take(dir.dir, 60, &l, &why));
    assert_true(lease_read(dir.dir, &h));
    gethostname(host, sizeof host - 1);
    assert_string_equal(h.host, host);
    assert_int_equal(h.pid, getpid());
    assert_true(h.silent_s < 10);
    lease_release(&l);
    assert_null(l);
    lease_release(&l);
    assert_false(is_there());
}

static void a_second_one_is_refused(void **state)
{
    struct lease *l = NULL, *other = NULL;
    struct fault refused;
    (void)state;
    OK(lease_take(dir.dir, 60, &l, &why));
    assert_int_equal(lease_take(dir.dir, 60, &other, &refused), ST_WAIT);
    assert_null(other);
    assert_non_null(strstr(refused.text, "works in this store"));
    assert_true(is_there());
    lease_release(&l);
    of_another(5);
    assert_int_equal(lease_take(dir.dir, 60, &other, &refused), ST_WAIT);
    assert_non_null(strstr(refused.text, "login2 (process 1)"));
    assert_non_null(strstr(refused.text, "renewed 5 s ago"));
}

static void an_expired_one_is_taken_over(void **state)
{
    struct lease *l = NULL;
    struct lease_holder h;
    (void)state;
    of_another(62);
    OK(lease_take(dir.dir, 60, &l, &why));
    assert_true(lease_read(dir.dir, &h));
    assert_int_equal(h.pid, getpid());
    lease_release(&l);
}

static void a_dead_process_of_this_machine_holds_nothing(void **state)
{
    struct lease *l = NULL;
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(lease_take(dir.dir, 60, &l, &why) == ST_OK ? 0 : 1);
    int code = -1;
    siginfo_t end;
    assert_int_equal(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT), 0);
    assert_true(is_there());
    OK(lease_take(dir.dir, 60, &l, &why)); /* ended, but not waited for */
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(code, 0);
    lease_release(&l);
}

/* Waits until fd can be read, or so long. */
static bool readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void it_is_renewed_while_it_is_held(void **state)
{
    struct lease *l = NULL;
    struct stat st;
    (void)state;
    OK(lease_take(dir.dir, 1, &l, &why));
    make_old(100);
    for (int i = 0; i < 100; i++) {
        assert_false(readable(lease_lost_fd(l), 50));
        if (stat(file, &st) == 0 && st.st_mtime > time(NULL) - 50)
            break;
    }
    assert_true(st.st_mtime > time(NULL) - 50);
    assert_int_equal(unlink(file), 0); /* by somebody who was wrong */
    for (int i = 0; i < 100 && !is_there(); i++)
        assert_false(readable(lease_lost_fd(l), 50));
    assert_true(is_there());
    lease_release(&l);
    assert_false(is_there());
}

static void a_loss_is_noticed_and_the_other_left_alone(void **state)
{
    struct lease *l = NULL;
    struct lease_holder h;
    (void)state;
    OK(lease_take(dir.dir, 1, &l, &why));
    of_another(0);
    assert_true(readable(lease_lost_fd(l), 10000));
    lease_release(&l);
    assert_true(lease_read(dir.dir, &h));
    assert_string_equal(h.host, "login2");
}

/* A crash between the two files leaves the second one. */
static void a_takeover_that_was_cut_short_is_no_end(void **state)
{
    struct lease *l = NULL;
    char next[4096];
    static const char text[] = "host login3\npid 1\nsystem third\nid 78\n";
    struct timespec old[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - 100}};
    (void)state;
    of_another(100);
    OK(fs_write_file(scratch_path(&dir, "daemon.lease.next", next), text, strlen(text), false,
                     &why));
    assert_int_equal(lease_take(dir.dir, 60, &l, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "just taking over"));
    assert_int_equal(utimensat(AT_FDCWD, next, old, 0), 0);
    assert_int_equal(lease_take(dir.dir, 60, &l, &why), ST_WAIT);
    OK(lease_take(dir.dir, 60, &l, &why));
    lease_release(&l);
}

#define RACERS 12

/* The winner holds on until the others have been told; -1: neither won nor was refused. */
static int race(int start, int hold)
{
    struct lease *l = NULL;
    char byte;
    if (read(start, &byte, 1) != 0)
        return 2;
    enum status st = lease_take(dir.dir, 60, &l, &why);
    if (st != ST_OK)
        return st == ST_WAIT ? 0 : 2;
    readable(hold, 20000);
    lease_release(&l);
    return 1;
}

static void of_many_only_one_takes_it_over(void **state)
{
    int start[2], hold[2], winners = 0, losers = 0;
    (void)state;
    of_another(100);
    assert_true(pipe2(start, O_CLOEXEC) == 0 && pipe2(hold, O_CLOEXEC) == 0);
    for (int i = 0; i < RACERS; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(start[1]);
            close(hold[1]);
            _exit(race(start[0], hold[0]));
        }
    }
    close(start[1]);
    for (int i = 0; i < RACERS; i++) {
        int code = -1;
        if (i == RACERS - 1)
            close(hold[1]);
        assert_true(wait(&code) > 0);
        winners += WIFEXITED(code) && WEXITSTATUS(code) == 1;
        losers += WIFEXITED(code) && WEXITSTATUS(code) == 0;
    }
    close(start[0]);
    close(hold[0]);
    assert_int_equal(winners, 1);
    assert_int_equal(losers, RACERS - 1);
}

/* Two daemons with a state folder each, as on two login nodes. */
static void two_agents_on_one_store(void **state)
{
    struct pull_settings *s = calloc(1, sizeof *s);
    struct config_report r = {0};
    struct agent *a = NULL, *b = NULL;
    (void)state;
    assert_non_null(s);
    pull_settings_load(&(struct pull_overrides){.config = "etc/pull.conf", .root = dir.dir}, s, &r);
    buf_free(&r.text);
    scratch_path(&dir, "node1", s->state);
    snprintf(s->catalogue, sizeof s->catalogue, "%.4000s/catalogue.db", s->state);
    snprintf(s->lock, sizeof s->lock, "%.4000s/lock", s->state);
    OK(agent_open(s, &a, &why));
    scratch_path(&dir, "node2", s->state);
    snprintf(s->catalogue, sizeof s->catalogue, "%.4000s/catalogue.db", s->state);
    snprintf(s->lock, sizeof s->lock, "%.4000s/lock", s->state);
    assert_int_equal(agent_open(s, &b, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "works in this store"));
    agent_close(&a);
    OK(agent_open(s, &b, &why));
    agent_close(&b);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lease_is_taken_and_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_one_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(an_expired_one_is_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_process_of_this_machine_holds_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_is_renewed_while_it_is_held, setup, teardown),
        cmocka_unit_test_setup_teardown(a_loss_is_noticed_and_the_other_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_takeover_that_was_cut_short_is_no_end, setup, teardown),
        cmocka_unit_test_setup_teardown(of_many_only_one_takes_it_over, setup, teardown),
        cmocka_unit_test_setup_teardown(two_agents_on_one_store, setup, teardown),
    };
    return cmocka_run_group_tests_name("pull lease", tests, NULL, NULL);
}
