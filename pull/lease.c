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
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/settings.h"

#define TEXT 512
#define RENEWALS 8 /* while it lasts: five may fail before it is in doubt */

struct lease {
    char path[PULL_PATH], next[PULL_PATH]; /* next: held while it changes hands */
    char text[TEXT];
    int seconds, stop_fd, doubt_fd, known_fd; /* known: written at every answer */
    bool held, running;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    int64_t good_ns;      /* when the last renewal that went through was begun (clock_boot) */
    bool lost;
    struct fault last;    /* why the last one did not go through */
};

/* What the file says; `system` is the boot and the process numbers' space in which pid means
 * something. */
struct words {
    char text[TEXT], host[65], system[128];
    long pid;
    int seconds; /* 0: of a release that did not write it */
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

static bool make_text(char out[TEXT], int seconds)
{
    char host[65] = "", system[128];
    uint64_t id = 0;
    gethostname(host, sizeof host - 1);
    this_system(system);
    return getrandom(&id, sizeof id, 0) == sizeof id &&
           snprintf(out, TEXT, "host %s\npid %ld\nsystem %s\nid %016llx\nseconds %d\n", host,
                    (long)getpid(), system, (unsigned long long)id, seconds) < TEXT;
}

static bool read_open(int fd, struct words *w)
{
    struct stat st;
    memset(w, 0, sizeof *w);
    if (pread(fd, w->text, sizeof w->text - 1, 0) < 0 || fstat(fd, &st) != 0)
        return false;
    w->time_ns = clock_ns(st.st_mtim);
    if (sscanf(w->text, "host %64s pid %ld system %127s id %*s seconds %d", w->host, &w->pid,
               w->system, &w->seconds) < 2)
        snprintf(w->host, sizeof w->host, "unknown");
    return true;
}

/* Opened, not only looked at: that is when a network file system asks its server. */
static bool read_words(const char *path, struct words *w)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool fine = read_open(fd, w);
    close(fd);
    return fine;
}

static bool says(const char *path, const char *text)
{
    struct words w;
    return read_words(path, &w) && strcmp(w.text, text) == 0;
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
        now = clock_ns(st.st_mtim);
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

/* Its holder's own time holds: the settings of two machines may differ. */
static int64_t lasts_s(const struct words *w, int otherwise)
{
    return w->seconds > 0 ? w->seconds : otherwise;
}

/* ---- taking it ---- */

static enum status refuse(const struct lease *l, const struct words *w, int64_t age_s,
                          struct fault *why)
{
    return fault(why, ST_WAIT, "a skyferry-pull on %s (process %ld) works in this store: its "
                 "lease '%s' was renewed %lld s ago. Stop that one first; when it is dead, its "
                 "lease can be taken over in %lld s", w->host, w->pid, l->path, (long long)age_s,
                 (long long)(lasts_s(w, l->seconds) - age_s + 1));
}

/* WAIT: it is another's, and good. OK: there is none (*old is empty), or *old is expired or its
 * holder dead. */
static enum status judge(const struct lease *l, struct words *old, struct fault *why)
{
    int64_t now = server_now(l->path, why);
    if (now == 0)
        return why->grade;
    errno = 0;
    if (!read_words(l->path, old)) {
        if (errno != ENOENT)
            return fault_errno(why, ST_RETRY, "cannot read the lease '%s'", l->path);
        memset(old, 0, sizeof *old);
        return ST_OK;
    }
    if (is_dead(old))
        return ST_OK;
    int64_t age_s = (now - old->time_ns) / NS_PER_S;
    return age_s > lasts_s(old, l->seconds) ? ST_OK : refuse(l, old, age_s < 0 ? 0 : age_s, why);
}

/* Only who made `next` may write the lease. */
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
    if (read_words(l->next, &w) &&
        (is_dead(&w) || now - w.time_ns > lasts_s(&w, l->seconds) * NS_PER_S)) {
        unlink(l->next);
        st = fs_write_file(l->next, l->text, strlen(l->text), true, why);
    }
    return st != ST_REJECT ? st : fault(why, ST_WAIT, "another skyferry-pull is just taking over the "
                                        "lease '%s': start this one again in a moment, if it is "
                                        "still wanted", l->path);
}

static void unlock_next(const struct lease *l)
{
    if (says(l->next, l->text))
        unlink(l->next);
}

/* `next` may have been taken for a dead one's, and removed under a slow holder. Found ours after
 * the lease was written, whoever makes the following one sees that lease; not found ours, another
 * may have judged before it: it must go again. */
static enum status write_lease(const struct lease *l, bool fresh, struct fault *why)
{
    enum status st = says(l->next, l->text)
                         ? fs_write_file(l->path, l->text, strlen(l->text), fresh, why)
                         : ST_REJECT;
    if (st == ST_OK && !(says(l->next, l->text) && says(l->path, l->text)))
        st = ST_REJECT;
    if (st != ST_REJECT)
        return st;
    if (says(l->path, l->text))
        unlink(l->path);
    return fault(why, ST_WAIT, "another skyferry-pull took the lease '%s' at the same time: start "
                 "this one again in a moment, if it is still wanted", l->path);
}

static enum status take(struct lease *l, struct fault *why)
{
    struct words old;
    enum status st = judge(l, &old, why);
    if (st != ST_OK)
        return st;
    l->good_ns = clock_boot();
    st = lock_next(l, why);
    if (st != ST_OK)
        return st;
    st = judge(l, &old, why); /* again: somebody may have been faster */
    if (st == ST_OK)
        st = write_lease(l, !old.text[0], why);
    unlock_next(l);
    if (st == ST_OK && old.text[0])
        log_warn(AT(.stage = "agent"), "took over the store's lease from %s (process %ld), which "
                 "%s", old.host, old.pid, is_dead(&old) ? "is dead" : "gave no sign of life");
    return st;
}

/* ---- keeping it ---- */

/* Before another may take it over. */
static int64_t trusted_ns(const struct lease *l)
{
    return l->seconds * NS_PER_S / 4 * 3;
}

enum renewal { RENEWED, UNKNOWN, LOST };

/* Needs no room on the disk. */
static enum renewal touch(const struct lease *l, struct fault *why)
{
    struct words w;
    int fd = open(l->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    bool fine = fd >= 0 && read_open(fd, &w), ours = fine && strcmp(w.text, l->text) == 0;
    bool touched = ours && futimens(fd, NULL) == 0;
    if (!touched && (!fine || ours))
        fault_errno(why, ST_RETRY, "cannot renew the lease '%s'", l->path);
    int problem = errno;
    if (fd >= 0)
        close(fd);
    errno = problem;
    return touched ? RENEWED : fine && !ours ? LOST : UNKNOWN;
}

/* Nobody can have had it since the last renewal: one that is gone was removed by mistake. */
static enum renewal renew_early(const struct lease *l, struct fault *why)
{
    enum renewal r = touch(l, why);
    if (r != UNKNOWN || errno != ENOENT)
        return r;
    enum status st = fs_write_file(l->path, l->text, strlen(l->text), true, why);
    return st == ST_OK ? RENEWED : st == ST_REJECT ? LOST : UNKNOWN;
}

/* Another may be taking it over just now, or have had it and given it back. */
static enum renewal renew_late(const struct lease *l, struct fault *why)
{
    if (lock_next(l, why) != ST_OK)
        return UNKNOWN;
    enum renewal r = touch(l, why);
    if (r == UNKNOWN && errno == ENOENT)
        r = LOST;
    if (r == RENEWED && !says(l->next, l->text)) {
        fault(why, ST_RETRY, "'%s' was removed by another", l->next);
        r = UNKNOWN; /* who may have judged before it was renewed */
    }
    unlock_next(l);
    return r;
}

/* However long a step of it took: what counts is what had not expired at its end. */
static enum renewal renew(const struct lease *l, int64_t good_ns, int64_t began, struct fault *why)
{
    bool late = began - good_ns > trusted_ns(l);
    enum renewal r = late ? renew_late(l, why) : renew_early(l, why);
    if (r != RENEWED || clock_boot() - (late ? began : good_ns) <= trusted_ns(l))
        return r;
    fault(why, ST_RETRY, "renewing the lease '%s' took too long", l->path);
    return UNKNOWN;
}

static void set_doubt(const struct lease *l, int64_t at_ns)
{
    struct itimerspec when = {.it_value = {at_ns / NS_PER_S, at_ns % NS_PER_S}};
    timerfd_settime(l->doubt_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* The doubt begins by the clock, not by this thread: it may itself be held by the file server. */
static void note(struct lease *l, enum renewal r, int64_t began, const struct fault *why)
{
    pthread_mutex_lock(&l->lock);
    if (r == RENEWED)
        l->good_ns = began;
    else
        l->last = *why;
    l->lost = r == LOST;
    pthread_mutex_unlock(&l->lock);
    if (r != UNKNOWN)
        set_doubt(l, r == LOST ? 1 : began + trusted_ns(l));
    eventfd_write(l->known_fd, 1);
}

static void *keep(void *arg)
{
    struct lease *l = arg;
    struct pollfd p = {.fd = l->stop_fd, .events = POLLIN};
    enum renewal r = RENEWED;
    int pause = l->seconds * 1000 / RENEWALS;
    while (r != LOST && poll(&p, 1, pause) <= 0) {
        struct fault why = {0};
        int64_t began = clock_boot();
        r = renew(l, l->good_ns, began, &why);
        note(l, r, began, &why);
    }
    return NULL;
}

/* Its thread takes no signal: those are the loop's. */
static enum status start(struct lease *l, struct fault *why)
{
    sigset_t all, before;
    sigfillset(&all);
    l->stop_fd = eventfd(0, EFD_CLOEXEC);
    l->known_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->doubt_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (l->stop_fd < 0 || l->known_fd < 0 || l->doubt_fd < 0)
        return fault_errno(why, ST_RETRY, "cannot keep the lease '%s'", l->path);
    set_doubt(l, l->good_ns + trusted_ns(l));
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
    l->stop_fd = l->doubt_fd = l->known_fd = -1;
    pthread_mutex_init(&l->lock, NULL);
    enum status st = ST_OK;
    if (!pull_text(l->path, sizeof l->path, "%s/daemon.lease", root) ||
        !pull_text(l->next, sizeof l->next, "%s/daemon.lease.next", root) || !make_text(l->text, seconds))
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

int lease_doubt_fd(const struct lease *l)
{
    return l->doubt_fd;
}

/* ---- is it still ours? ---- */

/* WAIT: not known. */
static enum status look(struct lease *l, struct fault *why)
{
    pthread_mutex_lock(&l->lock);
    int64_t silent = clock_boot() - l->good_ns;
    enum status st = l->lost ? ST_FATAL : silent > trusted_ns(l) ? ST_WAIT : ST_OK;
    if (st == ST_FATAL)
        fault(why, st, "the lease '%s' is not this skyferry-pull's any more: another has taken it "
              "over, as this one gave no sign of life for %d s, or it was removed", l->path,
              l->seconds);
    else if (st == ST_WAIT)
        fault(why, st, "no sign of life could be given in the store for %lld s: %s",
              (long long)(silent / NS_PER_S),
              l->last.text[0] ? l->last.text : "this machine, or the file server, stood still");
    pthread_mutex_unlock(&l->lock);
    return st;
}

enum status lease_sure(struct lease *l, struct fault *why)
{
    sigset_t ends;
    eventfd_t n;
    enum status st = look(l, why);
    if (st != ST_WAIT)
        return st;
    log_warn(AT(.stage = "agent"), "%s; nothing is done before the lease is known to be ours still",
             why->text);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    struct pollfd p[] = {{.fd = l->known_fd, .events = POLLIN},
                         {.fd = signalfd(-1, &ends, SFD_CLOEXEC), .events = POLLIN}};
    while ((st = look(l, why)) == ST_WAIT && p[1].revents == 0)
        if (poll(p, 2, -1) > 0 && p[0].revents)
            eventfd_read(l->known_fd, &n);
    if (p[1].fd >= 0)
        close(p[1].fd);
    if (st == ST_OK)
        log_info(AT(.stage = "agent"), "the store's lease is still ours: the work goes on");
    return st;
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
    /* In doubt it may be another's between two looks: it expires by itself. */
    if (l->held && look(l, NULL) == ST_OK && says(l->path, l->text))
        unlink(l->path);
    int fds[] = {l->stop_fd, l->doubt_fd, l->known_fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&l->lock);
    free(l);
    *out = NULL;
}

bool lease_read(const char *root, int seconds, struct lease_holder *out)
{
    struct words w;
    char path[PULL_PATH];
    if (!pull_text(path, sizeof path, "%s/daemon.lease", root) || !read_words(path, &w) ||
        is_dead(&w))
        return false;
    int64_t now = server_now(path, NULL);
    *out = (struct lease_holder){.pid = w.pid, .silent_s = -1};
    memcpy(out->host, w.host, sizeof out->host);
    if (now == 0)
        return true;
    out->silent_s = now > w.time_ns ? (now - w.time_ns) / NS_PER_S : 0;
    out->expired = out->silent_s > lasts_s(&w, seconds);
    return true;
}
