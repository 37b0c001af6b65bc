/* The lease: one daemon works in a store, whatever machine the second one is started on; what a
 * dead one has left is taken over, by one only; a silent one knows before the others that it may
 * have lost it, and does nothing until it knows that it has not. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
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

/* As a daemon on another login node writes it; lasts 0: one of a release that did not say. */
static void of_another_lasting(int seconds_ago, int lasts)
{
    char text[200];
    int n = snprintf(text, sizeof text, "host login2\npid 1\nsystem another\nid 77\n");
    if (lasts)
        n += snprintf(text + n, sizeof text - (size_t)n, "seconds %d\n", lasts);
    OK(fs_write_file(file, text, (size_t)n, false, &why));
    make_old(seconds_ago);
}

static void of_another(int seconds_ago)
{
    of_another_lasting(seconds_ago, 0);
}

/* ---- what the lease is told (linked with --wrap) ---- */

/* Somebody removes daemon.lease.next right before the lease is written, or as soon as it is made. */
static bool next_is_removed;
static atomic_bool no_next_stays;
static atomic_int nexts;
enum status __real_fs_write_file(const char *path, const void *bytes, size_t len, bool keep,
                                 struct fault *f);
enum status __wrap_fs_write_file(const char *path, const void *bytes, size_t len, bool keep,
                                 struct fault *f);
enum status __wrap_fs_write_file(const char *path, const void *bytes, size_t len, bool keep,
                                 struct fault *f)
{
    char next[4096];
    if (next_is_removed && strcmp(path, file) == 0) {
        next_is_removed = false;
        assert_int_equal(unlink(scratch_path(&dir, "daemon.lease.next", next)), 0);
    }
    enum status st = __real_fs_write_file(path, bytes, len, keep, f);
    if (st == ST_OK && no_next_stays && strstr(path, ".next")) {
        unlink(path);
        nexts++;
    }
    return st;
}

/* This machine's clock is wrong by so much */
static int64_t clock_is_off_ns;
int64_t __real_clock_wall(void);
int64_t __wrap_clock_wall(void);
int64_t __wrap_clock_wall(void)
{
    return __real_clock_wall() + clock_is_off_ns;
}

static void a_lease_is_taken_and_given_back(void **state)
{
    struct lease *l = NULL;
    struct lease_holder h;
    char host[65] = "";
    (void)state;
    assert_false(lease_read(dir.dir, 60, &h));
    OK(lease_take(dir.dir, 60, &l, &why));
    assert_true(lease_read(dir.dir, 60, &h));
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
    const char *ago = strstr(refused.text, "renewed ");
    assert_non_null(ago);
    assert_in_range(strtol(ago + strlen("renewed "), NULL, 10), 5, 20);
}

static void an_expired_one_is_taken_over(void **state)
{
    struct lease *l = NULL;
    struct lease_holder h;
    (void)state;
    of_another(62);
    OK(lease_take(dir.dir, 60, &l, &why));
    assert_true(lease_read(dir.dir, 60, &h));
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
    OK(lease_take(dir.dir, 12, &l, &why));
    make_old(100);
    for (int i = 0; i < 100; i++) {
        assert_false(readable(lease_doubt_fd(l), 50));
        if (stat(file, &st) == 0 && st.st_mtime > time(NULL) - 50)
            break;
    }
    assert_true(st.st_mtime > time(NULL) - 50);
    assert_int_equal(unlink(file), 0); /* by somebody who was wrong */
    for (int i = 0; i < 100 && !is_there(); i++)
        assert_false(readable(lease_doubt_fd(l), 50));
    assert_true(is_there());
    OK(lease_sure(l, &why));
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
    assert_true(readable(lease_doubt_fd(l), 10000));
    assert_int_equal(lease_sure(l, &why), ST_FATAL);
    assert_non_null(strstr(why.text, "another has taken it over"));
    lease_release(&l);
    assert_true(lease_read(dir.dir, 60, &h));
    assert_string_equal(h.host, "login2");
}

/* ---- the holder's own doubt ---- */

/* The store is away, as with a file server that does not answer, and comes back. */
static void out_of_reach(bool away)
{
    char aside[600];
    snprintf(aside, sizeof aside, "%s.away", dir.dir);
    assert_int_equal(away ? rename(dir.dir, aside) : rename(aside, dir.dir), 0);
}

static void who_cannot_renew_it_does_nothing_until_it_is_known(void **state)
{
    struct lease *l = NULL;
    sigset_t ends;
    int signo;
    (void)state;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &ends, NULL), 0);
    OK(lease_take(dir.dir, 1, &l, &why));
    out_of_reach(true);
    assert_true(readable(lease_doubt_fd(l), 10000));
    raise(SIGTERM);
    assert_int_equal(lease_sure(l, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "no sign of life could be given"));
    assert_int_equal(sigwait(&ends, &signo), 0);
    out_of_reach(false);
    OK(lease_sure(l, &why)); /* nobody had it meanwhile */
    assert_true(is_there());
    lease_release(&l);
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &ends, NULL), 0);
}

/* Who removed it may be taking the lease over. */
static void a_late_renewal_that_was_interfered_with_does_not_count(void **state)
{
    struct lease *l = NULL;
    (void)state;
    OK(lease_take(dir.dir, 1, &l, &why));
    out_of_reach(true);
    assert_true(readable(lease_doubt_fd(l), 10000));
    nexts = 0;
    no_next_stays = true;
    out_of_reach(false);
    for (int i = 0; i < 200 && nexts < 3; i++)
        readable(-1, 50);
    no_next_stays = false;
    assert_true(nexts >= 3);
    OK(lease_sure(l, &why));
    lease_release(&l);
}

static void one_gone_in_that_time_is_lost(void **state)
{
    struct lease *l = NULL;
    char path[700];
    (void)state;
    OK(lease_take(dir.dir, 1, &l, &why));
    out_of_reach(true);
    assert_true(readable(lease_doubt_fd(l), 10000));
    snprintf(path, sizeof path, "%s.away/daemon.lease", dir.dir);
    assert_int_equal(unlink(path), 0); /* another had it, and gave it back */
    out_of_reach(false);
    assert_int_equal(lease_sure(l, &why), ST_FATAL);
    assert_false(is_there());
    lease_release(&l);
}

/* Takes it, says so, and exits with 0 when it finds that it has lost it. */
static void stand_still(int say)
{
    struct lease *l = NULL;
    if (lease_take(dir.dir, 1, &l, &why) != ST_OK || write(say, "x", 1) != 1)
        _exit(1);
    _exit(readable(lease_doubt_fd(l), 10000) && lease_sure(l, &why) == ST_FATAL ? 0 : 2);
}

static void a_machine_that_stood_still_does_not_take_up_its_lease_again(void **state)
{
    struct lease *l = NULL;
    int said[2], code = -1;
    char byte;
    (void)state;
    assert_int_equal(pipe2(said, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0)
        stand_still(said[1]);
    close(said[1]);
    assert_int_equal(read(said[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &code, WUNTRACED), pid);
    assert_true(WIFSTOPPED(code));
    make_old(100);
    OK(lease_take(dir.dir, 60, &l, &why));
    lease_release(&l);
    assert_true(readable(said[0], 1500) == false); /* longer than it may trust its lease */
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(waitpid(pid, &code, 0), pid);
    close(said[0]);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
    assert_false(is_there());
}

/* ---- whose time holds ---- */

static void the_holders_own_seconds_hold(void **state)
{
    struct lease *l = NULL;
    (void)state;
    of_another_lasting(100, 600);
    assert_int_equal(lease_take(dir.dir, 60, &l, &why), ST_WAIT);
    const char *in = strstr(why.text, "taken over in ");
    assert_non_null(in);
    assert_in_range(strtol(in + strlen("taken over in "), NULL, 10), 480, 501);
    of_another_lasting(20, 5);
    OK(lease_take(dir.dir, 60, &l, &why));
    lease_release(&l);
}

static void a_wrong_clock_makes_nobody_dead(void **state)
{
    struct lease_holder h;
    (void)state;
    of_another_lasting(5, 60);
    clock_is_off_ns = 7200 * NS_PER_S;
    assert_true(lease_read(dir.dir, 60, &h));
    assert_false(h.expired);
    assert_in_range(h.silent_s, 5, 60);
    clock_is_off_ns = -7200 * NS_PER_S;
    of_another_lasting(500, 60);
    assert_true(lease_read(dir.dir, 60, &h));
    assert_true(h.expired);
    assert_in_range(h.silent_s, 500, 600);
    clock_is_off_ns = 0;
}

/* ---- who takes it over ---- */

static void old_next(int seconds)
{
    static const char text[] = "host login3\npid 1\nsystem third\nid 78\n";
    struct timespec old[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    char next[4096];
    OK(fs_write_file(scratch_path(&dir, "daemon.lease.next", next), text, strlen(text), false,
                     &why));
    assert_int_equal(utimensat(AT_FDCWD, next, old, 0), 0);
}

/* A crash between the two files leaves the second one. */
static void a_takeover_that_was_cut_short_is_no_end(void **state)
{
    struct lease *l = NULL;
    (void)state;
    of_another(100);
    old_next(0);
    assert_int_equal(lease_take(dir.dir, 60, &l, &why), ST_WAIT);
    assert_non_null(strstr(why.text, "just taking over"));
    old_next(100);
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

/* A third one, too, has seen the takeover that a crash left, and removes the fresh one of the
 * first, who is just about to write the lease. */
static void whose_takeover_was_taken_away_has_nothing(void **state)
{
    struct lease *l = NULL;
    (void)state;
    of_another(100);
    old_next(100);
    next_is_removed = true;
    assert_int_equal(lease_take(dir.dir, 60, &l, &why), ST_WAIT);
    assert_false(next_is_removed);
    assert_non_null(strstr(why.text, "at the same time"));
    assert_false(is_there());
    OK(lease_take(dir.dir, 60, &l, &why));
    lease_release(&l);
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
    assert_int_equal(agent_open(s, &b, &why), ST_REJECT); /* it knows nothing of what is there */
    assert_non_null(strstr(why.text, "is not this store's"));
    assert_false(is_there());
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
        cmocka_unit_test_setup_teardown(who_cannot_renew_it_does_nothing_until_it_is_known, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_late_renewal_that_was_interfered_with_does_not_count,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(one_gone_in_that_time_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(a_machine_that_stood_still_does_not_take_up_its_lease_again,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_holders_own_seconds_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_clock_makes_nobody_dead, setup, teardown),
        cmocka_unit_test_setup_teardown(a_takeover_that_was_cut_short_is_no_end, setup, teardown),
        cmocka_unit_test_setup_teardown(of_many_only_one_takes_it_over, setup, teardown),
        cmocka_unit_test_setup_teardown(whose_takeover_was_taken_away_has_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(two_agents_on_one_store, setup, teardown),
    };
    return cmocka_run_group_tests_name("pull lease", tests, NULL, NULL);
}
