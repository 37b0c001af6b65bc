#include "pull/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/settings.h"

#define TEXT 512
#define RENEWALS 4 /* while it lasts: three may fail */

struct lease {
    char path[PULL_PATH], next[PULL_PATH]; /* next: held while it changes hands */
    char text[TEXT];
    int seconds, stop_fd, lost_fd;
    bool held, running;
    pthread_t thread;
};

/* What the file says; `system` is the boot and the process numbers' space in which pid means
 * something. */
struct words {
    char text[TEXT], host[65], system[128];
    long pid;
    int64_t time_ns;
};

/* ---- the file ---- */

static void this_system(char out[128])
{
    struct buf boot = {0};
    char space[64] = "";
    if (readlink("/proc/self/ns/pid", space, sizeof space - 1) < 0)
        space[0] = '\0';
    fs_read_file("/proc/sys/kernel/random/boot_id", 64, &boot, NULL);
    snprintf(out, 128, "%.*s/%s", (int)(boot.len > 36 ? 36 : boot.len),
             boot.len ? (const char *)boot.data : "", space);
    buf_free(&boot);
}

static bool make_text(char out[TEXT])
{
    char host[65] = "", system[128];
    uint64_t id = 0;
    gethostname(host, sizeof host - 1);
    this_system(system);
    return getrandom(&id, sizeof id, 0) == sizeof id &&
           snprintf(out, TEXT, "host %s\npid %ld\nsystem %s\nid %016llx\n", host, (long)getpid(),
                    system, (unsigned long long)id) < TEXT;
}

/* Opened, not only looked at: that is when a network file system asks its server. */
static bool read_words(const char *path, struct words *w)
{
    struct stat st;
    memset(w, 0, sizeof *w);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, w->text, sizeof w->text - 1);
    bool fine = n >= 0 && fstat(fd, &st) == 0;
    close(fd);
    if (!fine)
        return false;
    w->time_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    if (sscanf(w->text, "host %64s pid %ld system %127s", w->host, &w->pid, w->system) < 2)
        snprintf(w->host, sizeof w->host, "unknown");
    return true;
}

/* The file server's clock: what it gives to a file made now. 0 when none can be made. */
static int64_t server_now(const char *path, struct fault *why)
{
    struct fs_draft d;
    struct stat st;
    int64_t now = 0;
    if (fs_draft_open(&d, path, why) != ST_OK)
        return 0;
    if (fstat(d.fd, &st) == 0)
        now = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec;
    else
        fault_errno(why, ST_RETRY, "cannot read '%s'", d.temp);
    fs_draft_drop(&d);
    return now;
}

static bool same_system(const struct words *w)
{
    char system[128];
    this_system(system);
    return w->system[0] && strcmp(w->system, system) == 0;
}

/* Ended, and nobody has asked yet how: proc_pid_stat(5), "4711 (name) Z ...". */
static bool is_zombie(long pid)
{
    char path[64];
    struct buf text = {0};
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    bool read = fs_read_file(path, 4096, &text, NULL) == ST_OK && buf_append(&text, "", 1);
    const char *end = read ? strrchr((const char *)text.data, ')') : NULL;
    bool zombie = end && strncmp(end, ") Z", 3) == 0;
    buf_free(&text);
    return zombie;
}

static bool is_dead(const struct words *w)
{
    if (w->pid <= 0 || !same_system(w))
        return false;
    return (kill((pid_t)w->pid, 0) != 0 && errno == ESRCH) || is_zombie(w->pid);
}

/* ---- taking it ---- */

static enum status refuse(const struct lease *l, const struct words *w, int64_t age_s,
                          struct fault *why)
{
    return fault(why, ST_WAIT, "a skyferry-pull on %s (process %ld) works in this store: its "
                 "lease '%s' was renewed %lld s ago. Stop that one first; when it is dead, its "
                 "lease can be taken over in %lld s", w->host, w->pid, l->path, (long long)age_s,
                 (long long)(l->seconds - age_s + 1));
}

/* WAIT: it is another's, and good. OK: *old is expired or its holder dead. */
static enum status judge(const struct lease *l, struct words *old, struct fault *why)
{
    int64_t now = server_now(l->path, why);
    if (now == 0)
        return why->grade;
    if (!read_words(l->path, old) || is_dead(old))
        return ST_OK;
    int64_t age_s = (now - old->time_ns) / NS_PER_S;
    return age_s > l->seconds ? ST_OK : refuse(l, old, age_s < 0 ? 0 : age_s, why);
}

/* Only one may replace an old lease: the one that made `next`. */
static enum status lock_next(const struct lease *l, struct fault *why)
{
    struct words w;
    enum status st = fs_write_file(l->next, l->text, strlen(l->text), true, why);
    if (st != ST_REJECT)
        return st;
    int64_t now = server_now(l->next, why);
    if (now == 0)
        return why->grade;
    /* A crash in the middle of it leaves this one, too. */
    if (read_words(l->next, &w) && (is_dead(&w) || now - w.time_ns > l->seconds * NS_PER_S))
        unlink(l->next);
    return fault(why, ST_WAIT, "another skyferry-pull is just taking over the lease '%s': start "
                 "this one again in a moment, if it is still wanted", l->path);
}

static enum status take_over(struct lease *l, struct fault *why)
{
    struct words old;
    enum status st = lock_next(l, why);
    if (st != ST_OK)
        return st;
    st = judge(l, &old, why); /* again: somebody may have been faster */
    if (st == ST_OK)
        st = fs_write_file(l->path, l->text, strlen(l->text), false, why);
    unlink(l->next);
    if (st == ST_OK)
        log_warn(AT(.stage = "agent"), "took over the store's lease from %s (process %ld), which "
                 "%s", old.host, old.pid, is_dead(&old) ? "is dead" : "gave no sign of life");
    return st;
}

static enum status take(struct lease *l, struct fault *why)
{
    struct words w;
    enum status st = fs_write_file(l->path, l->text, strlen(l->text), true, why);
    if (st != ST_REJECT)
        return st;
    st = judge(l, &w, why);
    return st == ST_OK ? take_over(l, why) : st;
}

/* ---- keeping it ---- */

static bool is_ours(const struct lease *l)
{
    struct words w;
    return read_words(l->path, &w) && strcmp(w.text, l->text) == 0;
}

/* False: it is another's. What else fails is tried again; needs no room on the disk. */
static bool renew(const struct lease *l)
{
    struct words w;
    int fd = open(l->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return fs_write_file(l->path, l->text, strlen(l->text), true, NULL) != ST_REJECT;
    if (fd < 0)
        return true;
    bool ours = !read_words(l->path, &w) || strcmp(w.text, l->text) == 0;
    if (ours)
        futimens(fd, NULL);
    close(fd);
    return ours;
}

static void *keep(void *arg)
{
    struct lease *l = arg;
    struct pollfd p = {.fd = l->stop_fd, .events = POLLIN};
    while (poll(&p, 1, l->seconds * 1000 / RENEWALS) <= 0) {
        if (renew(l))
            continue;
        eventfd_write(l->lost_fd, 1);
        break;
    }
    return NULL;
}

/* Its thread takes no signal: those are the loop's. */
static enum status start(struct lease *l, struct fault *why)
{
    sigset_t all, before;
    sigfillset(&all);
    l->stop_fd = eventfd(0, EFD_CLOEXEC);
    l->lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->stop_fd < 0 || l->lost_fd < 0)
        return fault_errno(why, ST_RETRY, "cannot keep the lease '%s'", l->path);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&l->thread, NULL, keep, l);
    l->running = errno == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return l->running ? ST_OK
                      : fault_errno(why, ST_RETRY, "cannot keep the lease '%s'", l->path);
}

enum status lease_take(const char *root, int seconds, struct lease **out, struct fault *why)
{
    *out = NULL;
    struct lease *l = calloc(1, sizeof *l);
    if (!l)
        return fault(why, ST_FATAL, "out of memory");
    l->seconds = seconds;
    l->stop_fd = l->lost_fd = -1;
    enum status st = ST_OK;
    if (!pull_text(l->path, sizeof l->path, "%s/daemon.lease", root) ||
        !pull_text(l->next, sizeof l->next, "%s/daemon.lease.next", root) || !make_text(l->text))
        st = fault(why, ST_FATAL, "no lease can be written in '%s'", root);
    if (st == ST_OK)
        st = take(l, why);
    l->held = st == ST_OK;
    if (st == ST_OK)
        st = start(l, why);
    if (st != ST_OK)
        lease_release(&l);
    *out = l;
    return st;
}

int lease_lost_fd(const struct lease *l)
{
    return l->lost_fd;
}

void lease_release(struct lease **out)
{
    struct lease *l = *out;
    if (!l)
        return;
    if (l->running) {
        eventfd_write(l->stop_fd, 1);
        pthread_join(l->thread, NULL);
    }
    if (l->held && is_ours(l))
        unlink(l->path);
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    if (l->lost_fd >= 0)
        close(l->lost_fd);
    free(l);
    *out = NULL;
}

bool lease_read(const char *root, struct lease_holder *out)
{
    struct words w;
    char path[PULL_PATH];
    if (!pull_text(path, sizeof path, "%s/daemon.lease", root) || !read_words(path, &w) ||
        is_dead(&w))
        return false;
    *out = (struct lease_holder){.pid = w.pid};
    memcpy(out->host, w.host, sizeof out->host);
    out->silent_s = (clock_wall() - w.time_ns) / NS_PER_S;
    return true;
}
