/* Jobs as processes of this machine. Each one is a process group of its own, held at a pipe
 * until the catalogue knows its handle ("BOOT:PID:START", so that a process number used again
 * is never mistaken for it), watched through a pidfd, and buried with everything it left
 * behind: its group, and whatever else carries its SKYFERRY_JOB in the environment. A job
 * writes into pipes, so it ends of itself (SIGPIPE) soon after the agent was killed. */
#include "pull/job_runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/job_output.h"
#include "pull/job_process.h"
#include "pull/settings.h"

#define GRACE_S 3    /* between TERM and KILL */
#define CLOSE_MS 2000 /* the same when the agent itself ends */
#define WRAP_S 3     /* more for a task that ends its command, and cleans up */
#define TICK_MS 500

struct local_job {
    struct local_job *next;
    int64_t id;
    pid_t pid;
    int pidfd, gate;
    struct job_output *out, *err;
    int timeout_s, more_s; /* more_s: of grace */
    int64_t deadline, term_at; /* clock_mono; term_at 0: not asked to end */
    int64_t output_max;
    char job_file[PULL_PATH];
    char ending[160];          /* why we end it; "" when we do not */
    bool cancelled, ended;
    siginfo_t how;
};

struct local {
    struct job_runner base;
    struct loop *loop;
    void (*wake)(void *ctx);
    void *ctx;
    struct local_job *jobs;
    struct loop_timer *tick;
};

/* ---- the child's side: async-signal-safe only ---- */

struct birth {
    int gate, null, out, err;
    const char *folder, *program;
    char *const *argv, **env;
};

static _Noreturn void die_saying(const char *what, const char *program)
{
    const char *words = strerrordesc_np(errno);
    const char *parts[] = {"skyferry-pull: cannot ", what, program, ": ", words ? words : "?",
                           "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        (void)!write(STDERR_FILENO, parts[i], strlen(parts[i]));
    _exit(127);
}

static _Noreturn void live(const struct birth *b)
{
    char go;
    ssize_t n;
    setpgid(0, 0);
    while ((n = read(b->gate, &go, 1)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        _exit(126); /* the agent died or thought better of it: nobody knows of us */
    process_plain_signals();
    if (dup2(b->err, 2) < 0 || dup2(b->out, 1) < 0 || dup2(b->null, 0) < 0)
        _exit(127);
    if (chdir(b->folder) != 0)
        die_saying("enter ", b->folder);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    execve(b->program, b->argv, b->env);
    die_saying("run ", b->program);
}

/* ---- beginning ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void free_job(struct local_job *j)
{
    if (!j)
        return;
    close_fd(&j->gate);
    close_fd(&j->pidfd);
    job_output_close(&j->out);
    job_output_close(&j->err);
    free(j);
}

static void on_end(void *ctx, int fd);
static void on_full(void *ctx);

/* fork, held at the gate. On failure no process is left. */
static enum status give_birth(struct local *l, struct local_job *j, struct birth *b,
                              struct fault *why)
{
    int gate[2] = {-1, -1};
    enum status st = ST_OK;
    if (pipe2(gate, O_CLOEXEC) != 0)
        return fault_errno(why, ST_RETRY, "cannot make a pipe for a job");
    j->gate = gate[1];
    b->gate = gate[0];
    j->pid = fork();
    if (j->pid == 0) {
        close(gate[1]);
        live(b);
    }
    close(gate[0]);
    if (j->pid < 0)
        return fault_errno(why, ST_RETRY, "cannot begin a process for a job");
    setpgid(j->pid, j->pid); /* the child does it too: whoever is first */
    j->pidfd = (int)syscall(SYS_pidfd_open, j->pid, 0u);
    if (j->pidfd < 0)
        st = fault_errno(why, ST_RETRY, "cannot watch a job's process (Linux 5.3 or later can)");
    else
        st = loop_read(l->loop, j->pidfd, on_end, l, why);
    if (st != ST_OK) {
        close_fd(&j->gate);
        waitpid(j->pid, NULL, 0);
    }
    return st;
}

static enum status local_submit(struct job_runner *r, const struct job_order *o,
                                char handle[JOB_HANDLE], struct fault *why)
{
    struct local *l = (struct local *)r;
    struct birth b = {.null = -1, .out = -1, .err = -1, .folder = o->work ? o->work : o->folder,
                      .program = o->program, .argv = o->argv};
    struct job_output_options output = {o->folder, o->wraps ? "task.out" : "out", o->output_max,
                                        on_full, NULL};
    struct local_job *j = calloc(1, sizeof *j);
    enum status st = ST_RETRY;
    if (!j)
        return fault(why, ST_RETRY, "out of memory");
    *j = (struct local_job){.id = o->id, .pidfd = -1, .gate = -1, .timeout_s = o->timeout_s,
                            .output_max = o->output_max, .more_s = o->wraps ? WRAP_S : 0};
    pull_text(j->job_file, sizeof j->job_file, "%s", o->job_file);
    b.env = process_environment(o->job_file, o->result_file);
    b.null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    output.ctx = j;
    st = job_output_open(l->loop, &output, &j->out, &b.out, why);
    output.name = o->wraps ? "task.err" : "err";
    if (st == ST_OK)
        st = job_output_open(l->loop, &output, &j->err, &b.err, why);
    if (st != ST_OK)
        goto out;
    if (b.null < 0 || !b.env) {
        st = fault(why, ST_RETRY, "out of memory or descriptors for a job");
        goto out;
    }
    st = give_birth(l, j, &b, why);
    if (st != ST_OK)
        goto out;
    process_handle(j->pid, handle, JOB_HANDLE);
    j->next = l->jobs;
    l->jobs = j;
    j = NULL;
out:
    free_job(j);
    process_environment_free(b.env);
    close_fd(&b.null);
    close_fd(&b.out);
    close_fd(&b.err);
    return st;
}

static struct local_job *find(struct local *l, int64_t id)
{
    struct local_job *j = l->jobs;
    while (j && j->id != id)
        j = j->next;
    return j;
}

static void local_release(struct job_runner *r, int64_t id)
{
    struct local *l = (struct local *)r;
    struct local_job *j = find(l, id);
    if (!j)
        return;
    j->deadline = clock_mono() + (int64_t)j->timeout_s * NS_PER_S;
    (void)!write(j->gate, "g", 1);
    close_fd(&j->gate);
    loop_timer_set(l->tick, TICK_MS, TICK_MS);
}

/* ---- ending ---- */

static void ask_to_end(struct local_job *j)
{
    if (j->term_at || j->ended)
        return;
    j->term_at = clock_mono();
    close_fd(&j->gate); /* still held: it goes by itself */
    kill(-j->pid, SIGTERM);
}

static void check_limits(struct local_job *j, int64_t now)
{
    if (j->ended)
        return;
    if (j->term_at && now - j->term_at > (GRACE_S + j->more_s) * NS_PER_S)
        kill(-j->pid, SIGKILL);
    if (j->term_at || j->deadline == 0)
        return;
    if (now > j->deadline) {
        snprintf(j->ending, sizeof j->ending, "ended after %d s, its time limit ([jobs] "
                 "timeout_seconds)", j->timeout_s);
        ask_to_end(j);
    }
}

static void on_full(void *ctx)
{
    struct local_job *j = ctx;
    if (!j->ending[0])
        snprintf(j->ending, sizeof j->ending, "ended because it wrote more than %lld MiB to its "
                 "standard output or error ([jobs] output_mib)",
                 (long long)(j->output_max >> 20));
    ask_to_end(j);
}

static void on_tick(void *ctx)
{
    struct local *l = ctx;
    int64_t now = clock_mono();
    for (struct local_job *j = l->jobs; j; j = j->next)
        check_limits(j, now);
    if (!l->jobs)
        loop_timer_set(l->tick, -1, 0);
}

/* Looks without reaping first: while the dead leader is there, nobody can get its number. */
static bool reap(struct local_job *j)
{
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)j->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0)
        return false;
    kill(-j->pid, SIGKILL);
    process_bury_marked(j->job_file);
    waitid(P_PIDFD, (id_t)j->pidfd, &j->how, WEXITED);
    j->ended = true;
    return true;
}

static void on_end(void *ctx, int fd)
{
    struct local *l = ctx;
    for (struct local_job *j = l->jobs; j; j = j->next) {
        if (j->pidfd != fd || j->ended || !reap(j))
            continue;
        loop_forget(l->loop, fd);
        l->wake(l->ctx);
        return;
    }
}

static void words_for(const struct local_job *j, char *out, size_t size)
{
    if (j->ending[0]) {
        snprintf(out, size, "%s", j->ending);
    } else if (j->how.si_code == CLD_EXITED) {
        snprintf(out, size, "exit status %d", j->how.si_status);
    } else {
        const char *name = sigabbrev_np(j->how.si_status);
        snprintf(out, size, "killed by signal %d (SIG%s)", j->how.si_status, name ? name : "?");
    }
}

static bool local_poll(struct job_runner *r, struct job_end *out)
{
    struct local *l = (struct local *)r;
    for (struct local_job **p = &l->jobs; *p; p = &(*p)->next) {
        struct local_job *j = *p;
        if (!j->ended)
            continue;
        *out = (struct job_end){.id = j->id, .cancelled = j->cancelled};
        out->ok = !j->ending[0] && j->how.si_code == CLD_EXITED && j->how.si_status == 0;
        out->limited = j->ending[0] != '\0';
        out->exit_status =
            j->how.si_code == CLD_EXITED ? j->how.si_status : 128 + j->how.si_status;
        words_for(j, out->words, sizeof out->words);
        *p = j->next;
        free_job(j);
        return true;
    }
    return false;
}

static void local_cancel(struct job_runner *r, int64_t id)
{
    struct local_job *j = find((struct local *)r, id);
    if (!j)
        return;
    j->cancelled = true;
    ask_to_end(j);
}

static void local_bury(struct job_runner *r, const char *handle, const char *job_file)
{
    (void)r;
    process_bury_handle(handle);
    process_bury_marked(job_file);
}

static void local_close(struct job_runner **r)
{
    struct local *l = (struct local *)*r;
    int64_t until = clock_mono() + CLOSE_MS * NS_PER_MS;
    if (!l)
        return;
    for (struct local_job *j = l->jobs; j; j = j->next)
        ask_to_end(j);
    while (l->jobs) {
        struct local_job *j = l->jobs;
        int64_t left = (until - clock_mono()) / NS_PER_MS + j->more_s * 1000;
        struct pollfd p = {.fd = j->pidfd, .events = POLLIN};
        if (!j->ended && poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
            kill(-j->pid, SIGKILL);
        if (!j->ended) {
            loop_forget(l->loop, j->pidfd);
            poll(&p, 1, -1);
            reap(j);
        }
        l->jobs = j->next;
        free_job(j);
    }
    loop_timer_free(&l->tick);
    free(l);
    *r = NULL;
}

static enum status local_open(struct loop *loop, void (*wake)(void *ctx), void *ctx,
                              struct job_runner **out, struct fault *why)
{
    struct local *l = calloc(1, sizeof *l);
    if (l)
        l->tick = loop_timer_new(loop, on_tick, l);
    if (!l || !l->tick) {
        free(l);
        return fault(why, ST_FATAL, "out of memory");
    }
    l->base.row = &job_local;
    l->loop = loop;
    l->wake = wake;
    l->ctx = ctx;
    *out = &l->base;
    return ST_OK;
}

const struct job_runner_row job_local = {"local",    local_open,   local_submit, local_release,
                                         local_poll, local_cancel, local_bury,   local_close, NULL};
