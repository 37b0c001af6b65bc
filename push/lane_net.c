#include "push/lane_net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"

/* A name lookup in a thread of its own. getaddrinfo may take half a minute when the name
 * server is gone, and a lane must stop within a second: then the lookup is left to itself,
 * and whoever lets go last frees it. */
struct lookup {
    atomic_int holders;
    atomic_bool done; /* the two last are set; done_fd tells it to poll */
    int done_fd;
    char host[256], port[16];
    struct addrinfo *found;
    int rc;
};

static void lookup_release(struct lookup *l)
{
    if (atomic_fetch_sub(&l->holders, 1) > 1)
        return;
    if (l->found)
        freeaddrinfo(l->found);
    close(l->done_fd);
    free(l);
}

static void *lookup_main(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    uint64_t one = 1;
    l->rc = getaddrinfo(l->host, l->port, &hints, &l->found);
    atomic_store(&l->done, true);
    (void)!write(l->done_fd, &one, sizeof one);
    lookup_release(l);
    return NULL;
}

static struct lookup *lookup_start(const char *host, int port)
{
    pthread_t thread;
    struct lookup *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&l->holders, 2);
    snprintf(l->host, sizeof l->host, "%s", host);
    snprintf(l->port, sizeof l->port, "%d", port);
    if (l->done_fd >= 0 && pthread_create(&thread, NULL, lookup_main, l) == 0) {
        pthread_detach(thread);
        return l;
    }
    if (l->done_fd >= 0)
        close(l->done_fd);
    free(l);
    return NULL;
}

enum status net_await(int fd, short events, int64_t deadline, int stop_fd)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
        int64_t left = deadline - clock_mono();
        if (left <= 0)
            return ST_RETRY;
        int n = poll(fds, 2, (int)(left / NS_PER_MS) + 1);
        if (n > 0)
            return fds[1].revents ? ST_WAIT : ST_OK;
        if (n < 0 && errno != EINTR)
            return ST_RETRY;
    }
}

static void set_number(int fd, int level, int option, int value)
{
    /* A refused option only means a slower or a later answer. */
    (void)!setsockopt(fd, level, option, &value, sizeof value);
}

static void tune(int fd, int silence_s)
{
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, silence_s * 1000);
    set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, silence_s);
    set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, silence_s / 3 + 1);
    set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

static enum status connect_one(const struct addrinfo *a, int64_t deadline, int stop_fd, int *out,
                               struct fault *why)
{
    int err = 0;
    socklen_t size = sizeof err;
    enum status st = ST_OK;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "no socket");
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS)
        st = fault_errno(why, ST_RETRY, "no connection");
    else if ((st = net_await(fd, POLLOUT, deadline, stop_fd)) == ST_RETRY)
        fault(why, st, "no connection: no answer in time");
    if (st == ST_OK && (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0 || err != 0)) {
        errno = err ? err : errno;
        st = fault_errno(why, ST_RETRY, "no connection");
    }
    if (st == ST_OK)
        *out = fd;
    else
        close(fd);
    return st;
}

/* One address after the other, each with its share of the time that is left. */
static enum status connect_any(const struct addrinfo *all, int64_t deadline, int stop_fd, int *fd,
                               struct fault *why)
{
    int left = 0;
    enum status st = fault(why, ST_RETRY, "no connection: the name has no address");
    for (const struct addrinfo *a = all; a; a = a->ai_next)
        left++;
    for (const struct addrinfo *a = all; a && st == ST_RETRY; a = a->ai_next, left--) {
        int64_t now = clock_mono();
        st = connect_one(a, now + (deadline - now) / left, stop_fd, fd, why);
    }
    return st;
}

enum status net_connect(const struct net_target *to, int64_t deadline, int stop_fd, int *fd,
                        struct fault *why)
{
    struct lookup *l = lookup_start(to->host, to->port);
    if (!l)
        return fault_errno(why, ST_RETRY, "cannot look up '%s'", to->host);
    enum status st = net_await(l->done_fd, POLLIN, deadline, stop_fd);
    if (st == ST_RETRY)
        fault(why, st, "the name '%s' was not found in time: is the name server up?", to->host);
    if (st == ST_OK && atomic_load(&l->done) && l->rc != 0)
        st = fault(why, ST_RETRY, "the name '%s' cannot be found: %s", to->host,
                   gai_strerror(l->rc));
    else if (st == ST_OK)
        st = connect_any(l->found, deadline, stop_fd, fd, why);
    lookup_release(l);
    if (st == ST_OK)
        tune(*fd, to->silence_s);
    else if (st == ST_RETRY && why)
        fault_within(why, "%s port %d: ", to->host, to->port);
    return st;
}
