/* One SSH connection with one channel on which `skyferry-pull receive` runs. The only files
 * that know libssh2 are lane_ssh*. Used by one thread; nothing blocks but ssh_open, and
 * that ends as soon as stop_fd is readable.
 *
 * libssh2 1.10 keeps one half-sent packet a session and answers BAD_USE, or hangs for ever,
 * when anything else is to be sent or read before it is out. So while a write is pending
 * ssh_read says WAIT, and the other way round, and ssh_poll tells what to wait for. */
#ifndef SKYFERRY_LANE_SSH_H
#define SKYFERRY_LANE_SSH_H

#include <poll.h>

#include "push/lane.h"
#include "push/lane_net.h"

struct ssh;

/* Connects, checks the host key, logs in and starts the command: connect_timeout_s for the TCP
 * connection, as long again for the rest. RETRY: the far end cannot be reached; REJECT: a human
 * must act, *why says how; WAIT: stopped. *reached: there was a TCP connection. */
enum status ssh_open(const struct lane_options *o, int stop_fd, bool *reached, struct ssh **out,
                     struct fault *why);

/* OK: *done > 0 bytes taken. WAIT: not now; offer the same bytes again. RETRY: dead. */
enum status ssh_write(struct ssh *s, const unsigned char *bytes, size_t len, size_t *done,
                      struct fault *why);
/* OK: *got bytes of the command's output, 0 at its end. WAIT, RETRY as above. */
enum status ssh_read(struct ssh *s, unsigned char *bytes, size_t size, size_t *got,
                     struct fault *why);
/* After a WAIT of ssh_write: has reading since made room, so that it should be tried again
 * at once? No byte may come that would wake a poll. */
bool ssh_room(const struct ssh *s);
/* What to poll for when ssh_write and ssh_read have said WAIT. */
void ssh_poll(const struct ssh *s, struct pollfd *out);

/* All bytes that the socket has taken, for what bounds the rate. */
int64_t ssh_sent(const struct ssh *s);

/* clock_mono of the last sign that the command itself is alive: it wrote, or it read what
 * was sent (the channel's window grew). */
int64_t ssh_heard(const struct ssh *s);

/* How the connection is by TCP; and is the far end's window what stops us, rather than the line? */
void ssh_pulse(const struct ssh *s, struct net_pulse *out);
bool ssh_window_full(const struct ssh *s);

/* How the command ended, after ssh_read said 0: waits at most until deadline. */
struct ssh_end {
    bool known;
    int status;        /* exit status */
    char signal[16];   /* "" when it was not killed */
    char words[200];   /* the last line that it wrote on standard error, printable */
};
void ssh_how_ended(struct ssh *s, int64_t deadline, struct ssh_end *out);

/* No more bytes will come from us (polite end, after BYE). */
void ssh_send_eof(struct ssh *s);
/* Closes the socket first, so that it never waits for a dead line; what it has not sent by then
 * is thrown away, unless the far end has ended as well. NULL is harmless. */
void ssh_close(struct ssh **s);

#endif
