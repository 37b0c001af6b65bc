#include "pull/job_tool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/buf.h"
#include "pull/command.h"
#include "pull/job_process.h"

#define ERR_MOST ((size_t)64 << 10)
#define AT_ONCE ((size_t)1 << 20) /* of output that is read before the loop has its turn */

struct tool {
    struct loop *loop;
    struct loop_timer *limit;
    pid_t pid;
    int pidfd, out_fd, err_fd;
    struct buf out, err;
    bool late;
    void (*done)(void *ctx, const struct tool_end *end);
    void *ctx;
};

static void drop_fd(struct tool *t, int *fd)
{
    if (*fd < 0)
        return;
    loop_forget(t->loop, *fd);
    close(*fd);
    *fd = -1;
}

static void free_tool(struct tool *t)
{
    drop_fd(t, &t->out_fd);
    drop_fd(t, &t->err_fd);
    drop_fd(t, &t->pidfd);
    loop_timer_free(&t->limit);
    buf_free(&t->out);
    buf_free(&t->err);
    free(t);
}

/* What is in the pipe now, up to a bound; what does not fit is read and thrown away. */
static bool drain(int fd, struct buf *to, size_t most)
{
    char bytes[16384];
    for (size_t done = 0; done < AT_ONCE;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        size_t room = to->len < most ? most - to->len : 0;
        buf_append(to, bytes, (size_t)n < room ? (size_t)n : room);
        done += (size_t)n;
    }
    return true;
}

static void on_output(void *ctx, int fd)
{
    struct tool *t = ctx;
    bool is_out = fd == t->out_fd;
    if (!drain(fd, is_out ? &t->out : &t->err, is_out ? TOOL_OUT : ERR_MOST))
        drop_fd(t, is_out ? &t->out_fd : &t->err_fd);
}

static const char *last_line(struct buf *text)
{
    while (text->len > 0 && text->data[text->len - 1] <= ' ')
        text->len--;
    if (!buf_append(text, "", 1))
        return "";
    char *line = strrchr((char *)text->data, '\n');
    return line ? line + 1 : (char *)text->data;
}

static void on_end(void *ctx, int fd)
{
    struct tool *t = ctx;
    siginfo_t how = {0};
    if (waitid(P_PIDFD, (id_t)fd, &how, WEXITED | WNOHANG) != 0 || how.si_pid == 0)
        return;
    if (t->out_fd >= 0)
        drain(t->out_fd, &t->out, TOOL_OUT);
    if (t->err_fd >= 0)
        drain(t->err_fd, &t->err, ERR_MOST);
    struct tool_end end = {.began = true, .late = t->late,
                           .status = how.si_code == CLD_EXITED ? how.si_status
                                                               : 128 + how.si_status};
    end.err = last_line(&t->err);
    end.out = buf_append(&t->out, "", 1) ? (const char *)t->out.data : "";
    t->done(t->ctx, &end);
    free_tool(t);
}

static void on_limit(void *ctx)
{
    struct tool *t = ctx;
    t->late = true;
    kill(-t->pid, SIGKILL);
}

extern char **environ;

/* Variables by which a batch system's programs change what they do or print (another cluster, a
 * filter, another form of times); what applies stands in the template and in our calls. */
static bool is_unwanted(const char *variable)
{
    static const char *const names[] = {"SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_",
                                        "SLURM_CLUSTERS=", "SLURM_TIME_FORMAT="};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Pointers into ours; NULL without memory. */
static char **environment(void)
{
    size_t count = 0, kept = 0;
    while (environ[count])
        count++;
    char **env = calloc(count + 1, sizeof *env);
    for (size_t i = 0; env && i < count; i++)
        if (!is_unwanted(environ[i]))
            env[kept++] = environ[i];
    return env;
}

struct birth {
    const char *program;
    char *const *argv, **env;
    int out, err;
    pid_t parent;
};

/* The child's side: async-signal-safe only. It does not outlive us: who comes after us has to
 * know that nothing is submitted any more. */
static _Noreturn void live(const struct birth *b)
{
    setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != b->parent)
        _exit(127);
    process_plain_signals();
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(b->err, 2) < 0 || dup2(b->out, 1) < 0 || dup2(null, 0) < 0)
        _exit(127);
    syscall(SYS_close_range, 3u, ~0u, 0u);
    execve(b->program, b->argv, b->env);
    _exit(127);
}

static enum status watch(struct tool *t, int timeout_s, struct fault *why)
{
    enum status st = ST_OK;
    t->limit = loop_timer_new(t->loop, on_limit, t);
    t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0u);
    if (!t->limit || t->pidfd < 0)
        return fault_errno(why, ST_RETRY, "cannot watch a process");
    loop_timer_set(t->limit, (int64_t)timeout_s * 1000, 0);
    st = loop_read(t->loop, t->out_fd, on_output, t, why);
    if (st == ST_OK)
        st = loop_read(t->loop, t->err_fd, on_output, t, why);
    if (st == ST_OK)
        st = loop_read(t->loop, t->pidfd, on_end, t, why);
    return st;
}

enum status tool_run(struct loop *l, const struct tool_order *o, struct tool **result,
                     struct fault *why)
{
    char program[4096];
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    struct birth b = {.program = program, .argv = o->argv, .parent = getpid()};
    *result = NULL;
    if (!command_find(o->argv[0], program, sizeof program))
        return fault(why, ST_RETRY, "there is no program '%s' in PATH", o->argv[0]);
    struct tool *t = calloc(1, sizeof *t);
    b.env = environment();
    if (!t || !b.env) {
        free(t);
        free(b.env);
        return fault(why, ST_RETRY, "out of memory");
    }
    *t = (struct tool){.loop = l, .pidfd = -1, .out_fd = -1, .err_fd = -1, .done = o->done,
                       .ctx = o->ctx};
    enum status st = ST_OK;
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 ||
        fcntl(out[0], F_SETFL, O_NONBLOCK) != 0 || fcntl(err[0], F_SETFL, O_NONBLOCK) != 0)
        st = fault_errno(why, ST_RETRY, "cannot make a pipe for '%s'", o->argv[0]);
    t->out_fd = out[0];
    t->err_fd = err[0];
    b.out = out[1];
    b.err = err[1];
    t->pid = st == ST_OK ? fork() : -1;
    if (t->pid == 0)
        live(&b);
    free(b.env);
    if (st == ST_OK && t->pid < 0)
        st = fault_errno(why, ST_RETRY, "cannot begin '%s'", o->argv[0]);
    if (out[1] >= 0)
        close(out[1]);
    if (err[1] >= 0)
        close(err[1]);
    if (st == ST_OK) {
        setpgid(t->pid, t->pid);
        st = watch(t, o->timeout_s, why);
    }
    if (st == ST_OK)
        *result = t;
    else if (t->pid > 0)
        tool_drop(&t);
    else
        free_tool(t);
    return st;
}

void tool_drop(struct tool **t)
{
    if (!*t)
        return;
    kill(-(*t)->pid, SIGKILL);
    waitpid((*t)->pid, NULL, 0);
    free_tool(*t);
    *t = NULL;
}
