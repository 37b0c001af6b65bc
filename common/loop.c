#include "common/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"

#define BATCH 32

struct source {
    struct source *next;
    int fd;
    void (*fn)(void *ctx, int fd);
    void *ctx;
    bool dead; /* forgotten during a dispatch that may still hold its address */
};

struct loop_timer {
    struct loop_timer *next;
    struct loop *loop; /* NULL once the loop is closed */
    void (*fn)(void *ctx);
    void *ctx;
    int64_t due; /* monotonic ns; -1: disarmed */
    int64_t every;
};

struct handler {
    void (*fn)(void *ctx, int signo);
    void *ctx;
};

struct loop {
    int epoll_fd, signal_fd;
    sigset_t signals;
    struct handler handlers[NSIG];
    struct source *sources;
    struct source *dead; /* freed when no fetched event can point at them */
    struct loop_timer *timers;
    bool dispatching, stop;
};

enum status loop_open(struct loop **out, struct fault *why)
{
    *out = NULL;
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return fault(why, ST_FATAL, "out of memory for the event loop");
    l->signal_fd = -1;
    sigemptyset(&l->signals);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        fault_errno(why, ST_FATAL, "cannot make the event loop");
        loop_close(&l);
        return ST_FATAL;
    }
    *out = l;
    return ST_OK;
}

static void bury(struct loop *l)
{
    while (l->dead) {
        struct source *s = l->dead;
        l->dead = s->next;
        free(s);
    }
}

void loop_close(struct loop **l)
{
    if (!*l)
        return;
    struct loop *me = *l;
    /* A timer belongs to whoever made it, who may free it later than this. */
    for (struct loop_timer *t = me->timers; t; t = t->next)
        t->loop = NULL;
    while (me->sources) {
        struct source *s = me->sources;
        me->sources = s->next;
        free(s);
    }
    bury(me);
    if (me->signal_fd >= 0)
        close(me->signal_fd);
    if (me->epoll_fd >= 0)
        close(me->epoll_fd);
    free(me);
    *l = NULL;
}

enum status loop_read(struct loop *l, int fd, void (*fn)(void *ctx, int fd), void *ctx,
                      struct fault *why)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return fault(why, ST_FATAL, "out of memory for the event loop");
    s->fd = fd;
    s->fn = fn;
    s->ctx = ctx;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
        fault_errno(why, ST_FATAL, "cannot wait for descriptor %d", fd);
        free(s);
        return ST_FATAL;
    }
    s->next = l->sources;
    l->sources = s;
    return ST_OK;
}

void loop_forget(struct loop *l, int fd)
{
    for (struct source **at = &l->sources; *at; at = &(*at)->next) {
        struct source *s = *at;
        if (s->fd != fd)
            continue;
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        *at = s->next;
        s->dead = true;
        s->next = l->dead;
        l->dead = s;
        if (!l->dispatching)
            bury(l);
        return;
    }
}

struct loop_timer *loop_timer_new(struct loop *l, void (*fn)(void *ctx), void *ctx)
{
    struct loop_timer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->loop = l;
    t->fn = fn;
    t->ctx = ctx;
    t->due = -1;
    t->next = l->timers;
    l->timers = t;
    return t;
}

void loop_timer_set(struct loop_timer *t, int64_t first_ms, int64_t every_ms)
{
    t->due = first_ms < 0 ? -1 : clock_mono() + first_ms * NS_PER_MS;
    t->every = every_ms > 0 ? every_ms * NS_PER_MS : 0;
}

void loop_timer_free(struct loop_timer **t)
{
    if (!*t)
        return;
    struct loop *l = (*t)->loop;
    for (struct loop_timer **at = l ? &l->timers : NULL; at && *at; at = &(*at)->next) {
        if (*at == *t) {
            *at = (*t)->next;
            break;
        }
    }
    free(*t);
    *t = NULL;
}

static void take_signals(void *ctx, int fd)
{
    struct loop *l = ctx;
    struct signalfd_siginfo info;
    while (!l->stop && read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        const struct handler *h = &l->handlers[info.ssi_signo];
        if (h->fn)
            h->fn(h->ctx, (int)info.ssi_signo);
    }
}

void loop_hold_signals(void)
{
    sigset_t told;
    sigemptyset(&told);
    sigaddset(&told, SIGHUP);
    sigaddset(&told, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &told, NULL);
}

enum status loop_signal(struct loop *l, int signo, void (*fn)(void *ctx, int signo), void *ctx,
                        struct fault *why)
{
    if (signo < 1 || signo >= NSIG)
        return fault(why, ST_FATAL, "signal %d does not exist", signo);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signo);
    sigaddset(&l->signals, signo);
    int err = pthread_sigmask(SIG_BLOCK, &one, NULL);
    if (err) {
        errno = err;
        return fault_errno(why, ST_FATAL, "cannot block signal %d", signo);
    }
    l->handlers[signo] = (struct handler){fn, ctx};
    int fd = signalfd(l->signal_fd, &l->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return fault_errno(why, ST_FATAL, "cannot take signals");
    if (l->signal_fd >= 0)
        return ST_OK;
    l->signal_fd = fd;
    return loop_read(l, fd, take_signals, l, why);
}

static struct loop_timer *earliest(const struct loop *l)
{
    struct loop_timer *first = NULL;
    for (struct loop_timer *t = l->timers; t; t = t->next)
        if (t->due >= 0 && (!first || t->due < first->due))
            first = t;
    return first;
}

/* Looks for the earliest anew after each call, since a callback may free any timer. One
 * that is set to "at once" by its own callback is due after `now`: descriptors come first. */
static void run_timers(struct loop *l)
{
    int64_t now = clock_mono();
    struct loop_timer *t;
    while (!l->stop && (t = earliest(l)) != NULL && t->due <= now) {
        if (t->every > 0)
            t->due = t->due + t->every > now ? t->due + t->every : now + t->every;
        else
            t->due = -1;
        t->fn(t->ctx);
    }
}

static int wait_ms(const struct loop *l)
{
    const struct loop_timer *t = earliest(l);
    if (!t)
        return -1;
    int64_t ns = t->due - clock_mono();
    if (ns <= 0)
        return 0;
    int64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 3600000 ? 3600000 : (int)ms;
}

enum status loop_run(struct loop *l, struct fault *why)
{
    struct epoll_event got[BATCH];
    while (!l->stop) {
        int n = epoll_wait(l->epoll_fd, got, BATCH, wait_ms(l));
        if (n < 0 && errno != EINTR)
            return fault_errno(why, ST_FATAL, "the event loop failed");
        l->dispatching = true;
        for (int i = 0; i < n && !l->stop; i++) {
            struct source *s = got[i].data.ptr;
            if (!s->dead)
                s->fn(s->ctx, s->fd);
        }
        l->dispatching = false;
        bury(l);
        run_timers(l);
    }
    l->stop = false;
    return ST_OK;
}

void loop_stop(struct loop *l)
{
    l->stop = true;
}
