#include "halt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int
halt_open(struct halt *h)
{
    sigset_t set;

    *h = (struct halt){-1, -1};
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -1;
    h->signals = signalfd(-1, &set, SFD_CLOEXEC);
    h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    return h->signals < 0 || h->timer < 0 ? -1 : 0;
}

int64_t
halt_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool
halt_wait(const struct halt *h, int64_t until)
{
    /* The signal is never read from its descriptor: once asked for, a stop stays visible. */
    struct pollfd fds[2] = {{.fd = h->signals, .events = POLLIN}, {.fd = h->timer, .events = POLLIN}};
    const struct itimerspec when = {.it_value = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000}};
    const bool wait = until > halt_now();

    if (wait && timerfd_settime(h->timer, TFD_TIMER_ABSTIME, &when, NULL) != 0)
        return true;
    while (poll(fds, 2, wait ? -1 : 0) < 0 && errno == EINTR)
        continue;
    return fds[0].revents != 0;
}

void
halt_close(struct halt *h)
{
    if (h->signals >= 0)
        close(h->signals);
    if (h->timer >= 0)
        close(h->timer);
    *h = (struct halt){-1, -1};
}
