#include "pull/job_process.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/fsutil.h"

#define GONE_MS 2000
#define MAX_ENVIRONMENT ((size_t)4 << 20)

extern char **environ;

static bool read_text(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return n > 0;
}

/* Field 22 of /proc/PID/stat (proc(5)): clock ticks after boot. The name in field 2 may hold
 * anything, so fields are counted from its last parenthesis. */
static unsigned long long start_time(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    const char *p = read_text(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

void process_handle(pid_t pid, char *out, size_t size)
{
    char boot[64];
    unsigned long long start = start_time(pid);
    if (start && read_text("/proc/sys/kernel/random/boot_id", boot, sizeof boot))
        snprintf(out, size, "%s:%ld:%llu", boot, (long)pid, start);
    else
        out[0] = '\0';
}

static void kill_and_wait(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0u);
    poll(&p, 1, GONE_MS);
}

void process_bury_handle(const char *handle)
{
    char now[256];
    const char *colon = strchr(handle, ':');
    pid_t pid = colon ? (pid_t)strtol(colon + 1, NULL, 10) : 0;
    if (pid <= 1)
        return;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
    if (pidfd < 0)
        return;
    /* Asked after the pidfd is there: the number cannot change hands any more. */
    process_handle(pid, now, sizeof now);
    if (strcmp(now, handle) == 0) {
        kill(-pid, SIGKILL);
        kill_and_wait(pidfd);
    }
    close(pidfd);
}

/* Does the block of NUL-ended variables hold this one? */
static bool holds(const struct buf *block, const char *variable)
{
    size_t len = strlen(variable) + 1;
    for (size_t at = 0; at + len <= block->len;) {
        if (memcmp(block->data + at, variable, len) == 0)
            return true;
        const void *end = memchr(block->data + at, '\0', block->len - at);
        if (!end)
            return false;
        at = (size_t)((const unsigned char *)end - block->data) + 1;
    }
    return false;
}

static bool marked(pid_t pid, const char *variable)
{
    char path[64];
    struct buf block = {0};
    snprintf(path, sizeof path, "/proc/%ld/environ", (long)pid);
    bool is = fs_read_file(path, MAX_ENVIRONMENT, &block, NULL) == ST_OK && holds(&block, variable);
    buf_free(&block);
    return is;
}

/* True when one was found: it may have had children since the scan went past them. */
static bool bury_once(const char *variable)
{
    bool any = false;
    DIR *proc = opendir("/proc");
    for (const struct dirent *e; proc && (e = readdir(proc));) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)strtol(e->d_name, NULL, 10) : 0;
        if (pid <= 1 || pid == getpid() || !marked(pid, variable))
            continue;
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0u);
        if (pidfd < 0)
            continue;
        if (marked(pid, variable)) {
            kill_and_wait(pidfd);
            any = true;
        }
        close(pidfd);
    }
    if (proc)
        closedir(proc);
    return any;
}

void process_bury_marked(const char *job_file)
{
    static const char *const names[] = {"SKYFERRY_JOB", "SKYFERRY_ORDER"};
    for (int k = 0; k < 2; k++) {
        struct buf variable = {0};
        if (buf_printf(&variable, "%s=%s", names[k], job_file))
            for (int i = 0; i < 10 && bury_once((const char *)variable.data); i++)
                ;
        buf_free(&variable);
    }
}

/* ---- environment ---- */

static bool ours(const char *variable)
{
    return strncmp(variable, "SKYFERRY_JOB=", 13) == 0 ||
           strncmp(variable, "SKYFERRY_RESULT=", 16) == 0 ||
           strncmp(variable, "SKYFERRY_CRASH_AT=", 18) == 0;
}

static char *variable(const char *name, const char *value)
{
    struct buf text = {0};
    if (buf_printf(&text, "%s=%s", name, value))
        return (char *)text.data;
    buf_free(&text);
    return NULL;
}

char **process_environment(const char *job_file, const char *result_file)
{
    size_t count = 0, n = 0;
    while (environ && environ[count])
        count++;
    char **env = calloc(count + 3, sizeof *env);
    for (size_t i = 0; env && i < count; i++)
        if (!ours(environ[i]) && (env[n] = strdup(environ[i])))
            n++;
    if (!env)
        return NULL;
    env[n] = variable("SKYFERRY_JOB", job_file);
    env[n + 1] = env[n] ? variable("SKYFERRY_RESULT", result_file) : NULL;
    if (env[n + 1])
        return env;
    process_environment_free(env);
    return NULL;
}

void process_environment_free(char **env)
{
    for (char **p = env; p && *p; p++)
        free(*p);
    free(env);
}

void process_plain_signals(void)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
