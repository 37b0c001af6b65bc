/* A TCP connection to the far end, made without ever blocking the calling thread for longer
 * than it wishes: name lookup included, which the C library cannot interrupt. */
#ifndef SKYFERRY_LANE_NET_H
#define SKYFERRY_LANE_NET_H

#include <stdint.h>

#include "common/status.h"

struct net_target {
    const char *host;
    int port;
    int silence_s; /* the kernel gives the connection up when nothing is acknowledged so long */
};

/* A connected non-blocking socket in *fd. RETRY when there is none by `deadline` (clock_mono);
 * WAIT as soon as stop_fd is readable. */
enum status net_connect(const struct net_target *to, int64_t deadline, int stop_fd, int *fd,
                        struct fault *why);

/* Waits for events on fd: OK, WAIT (stop_fd is readable; -1: none) or RETRY (deadline). */
enum status net_await(int fd, short events, int64_t deadline, int stop_fd);

#endif
