/* A TCP connection to the far end, made without ever blocking the calling thread for longer
 * than it wishes: name lookup included, which the C library cannot interrupt. A line that is
 * cut answers no SYN, and the kernel asks ever more seldom: so we knock anew, with a further
 * socket each time, and take the first that is let in. */
#ifndef SKYFERRY_LANE_NET_H
#define SKYFERRY_LANE_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/status.h"

struct net_target {
    const char *host;
    int port;
    int silence_s;          /* the kernel gives the connection up when nothing is acknowledged so long */
    int64_t knock_ns;       /* between two knocks */
    const char *congestion; /* of the kernel's names; "system" or NULL: as it is. One that the
                               kernel has not, or does not give to us, is left as it is */
};

/* A connected non-blocking socket in *fd. RETRY when there is none by `deadline` (clock_mono), or
 * all addresses refuse; WAIT as soon as stop_fd is readable. */
enum status net_connect(const struct net_target *to, int64_t deadline, int stop_fd, int *fd,
                        struct fault *why);

/* Waits for events on fd: OK, WAIT (stop_fd is readable; -1: none) or RETRY (deadline). */
enum status net_await(int fd, short events, int64_t deadline, int stop_fd);

/* How the connection is, by TCP. */
struct net_pulse {
    int64_t rtt_ns;        /* smoothed; 0: not known */
    int64_t least_rtt_ns;
    int64_t unheard_ns;    /* since the far end's machine last acknowledged anything, while bytes
                              are under way to it; 0: none are */
    int64_t window;        /* bytes that the congestion control lets be under way; 0: not known */
};
void net_pulse(int fd, struct net_pulse *out);

/* The congestion control in force ("" when the kernel does not tell). */
void net_congestion(int fd, char out[16]);

/* What is still in the socket's buffer is thrown away at close, rather than sent when the line
 * is back: somebody else has sent it by then. */
void net_drop_unsent(int fd);

#endif
