#include "push/lane_net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <linux/tcp.h>
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

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* Linux 6.15 */
#endif
#define RTO_MAX_MS 1000
#define UNSENT_MAX 32768
#define PATIENCE_NS (5 * NS_PER_S / 2) /* after the last knock; each unanswered socket sends a SYN a
                                       * second, which in an hour would be a storm */
#define KNOCKS 4

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

/* Before the connection is made. */
static void tune(int fd, const struct net_target *to)
{
    set_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, to->silence_s * 1000);
    set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, to->silence_s);
    set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, to->silence_s / 3 + 1);
    set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    /* What waits in the kernel can neither be overtaken nor given to another lane. */
    set_number(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX);
    if (to->congestion && strcmp(to->congestion, "system") != 0)
        (void)!setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, to->congestion,
                          (socklen_t)strlen(to->congestion));
}

/* Once it is made. After a cut TCP tries again at ever longer intervals; newer kernels let us
 * bound them. */
static void keep_trying(int fd)
{
    set_number(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS);
}

/* The sockets on which an answer is awaited, the oldest first. */
struct knocks {
    int fd[KNOCKS];
    int count;
    int addresses, refused; /* of the name; since the last one that was not */
    struct fault why;       /* of the last refusal */
};

static void knock_end(struct knocks *k, int i)
{
    close(k->fd[i]);
    k->count--;
    memmove(&k->fd[i], &k->fd[i + 1], (size_t)(k->count - i) * sizeof k->fd[0]);
}

static void knock(struct knocks *k, const struct addrinfo *a, const struct net_target *to)
{
    if (k->count == KNOCKS)
        knock_end(k, 0);
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (fd >= 0)
        tune(fd, to);
    if (fd >= 0 && (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS)) {
        k->fd[k->count++] = fd;
        return;
    }
    fault_errno(&k->why, ST_RETRY, fd < 0 ? "no socket" : "no connection");
    k->refused++;
    if (fd >= 0)
        close(fd);
}

/* Looks at the sockets that poll found ready: the first that is connected, or -1. */
static int let_in(struct knocks *k, const struct pollfd *fds)
{
    int winner = -1;
    for (int i = k->count - 1; i >= 0; i--) {
        int err = 0;
        socklen_t size = sizeof err;
        if (!fds[i].revents)
            continue;
        if (getsockopt(k->fd[i], SOL_SOCKET, SO_ERROR, &err, &size) == 0 && err == 0) {
            winner = i;
            continue;
        }
        errno = err ? err : errno;
        fault_errno(&k->why, ST_RETRY, "no connection");
        k->refused++;
        knock_end(k, i);
        winner -= winner > i;
    }
    return winner;
}

/* Until the next knock or the deadline: OK, *fd >= 0 when somebody let us in; WAIT: stop. */
static enum status listen_at(struct knocks *k, int64_t until, int stop_fd, int *fd)
{
    struct pollfd fds[KNOCKS + 1];
    int64_t left = until - clock_mono();
    for (int i = 0; i < k->count; i++)
        fds[i] = (struct pollfd){.fd = k->fd[i], .events = POLLOUT};
    fds[k->count] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
    int n = poll(fds, (nfds_t)k->count + 1, left <= 0 ? 0 : (int)(left / NS_PER_MS) + 1);
    if (n > 0 && fds[k->count].revents)
        return ST_WAIT;
    int winner = n > 0 ? let_in(k, fds) : -1;
    if (winner >= 0) {
        *fd = k->fd[winner];
        k->fd[winner] = k->fd[--k->count];
        keep_trying(*fd);
    }
    return ST_OK;
}

/* One address after the other, again and again; refused by all of them is an answer. */
static enum status connect_any(const struct addrinfo *all, const struct net_target *to,
                               int64_t deadline, int stop_fd, int *fd, struct fault *why)
{
    struct knocks k = {.addresses = 0};
    const struct addrinfo *next = all;
    enum status st = ST_OK;
    int64_t due = 0, patience = 0;
    for (const struct addrinfo *a = all; a; a = a->ai_next)
        k.addresses++;
    *fd = -1;
    while (st == ST_OK && *fd < 0) {
        int64_t now = clock_mono();
        if (k.refused >= k.addresses && k.count == 0) {
            *why = k.why;
            st = ST_RETRY;
        } else if (now >= deadline) {
            st = fault(why, ST_RETRY, "no connection: no answer in time");
        } else if (now >= due || (k.count == 0 && k.refused > 0)) {
            knock(&k, next, to);
            next = next->ai_next ? next->ai_next : all;
            due = now + to->knock_ns;
            patience = now + PATIENCE_NS;
        } else if (now >= patience && k.count > 0) {
            while (k.count > 0)
                knock_end(&k, 0);
        } else {
            int64_t until = k.count > 0 && patience < due ? patience : due;
            st = listen_at(&k, until < deadline ? until : deadline, stop_fd, fd);
        }
    }
    while (k.count > 0)
        knock_end(&k, 0);
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
        st = connect_any(l->found, to, deadline, stop_fd, fd, why);
    lookup_release(l);
    if (st == ST_RETRY && why)
        fault_within(why, "%s port %d: ", to->host, to->port);
    return st;
}

void net_pulse(int fd, struct net_pulse *out)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    *out = (struct net_pulse){0};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return;
    out->rtt_ns = (int64_t)info.tcpi_rtt * 1000;
    out->least_rtt_ns = (int64_t)info.tcpi_min_rtt * 1000;
    out->window = (int64_t)info.tcpi_snd_cwnd * info.tcpi_snd_mss;
    if (info.tcpi_unacked > 0)
        out->unheard_ns = (int64_t)info.tcpi_last_ack_recv * NS_PER_MS;
}

void net_congestion(int fd, char out[16])
{
    socklen_t size = 15;
    memset(out, 0, 16);
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, out, &size) != 0)
        out[0] = '\0';
}

void net_drop_unsent(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}
