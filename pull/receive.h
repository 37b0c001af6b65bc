/* `skyferry-pull receive`: the far end of one lane. sshd starts it as a forced command; it
 * speaks skyferry-wire(5) on two descriptors and writes into the store. It needs no daemon
 * and no database, keeps no state but open parts, and may be killed at any time. Several
 * run side by side on one store. Nothing but frames is ever written to out_fd: words for
 * people go to the log. */
#ifndef SKYFERRY_RECEIVE_H
#define SKYFERRY_RECEIVE_H

#include "pull/part.h"

/* Serves until the far end hangs up (EOF, BYE), SIGTERM, SIGINT or SIGHUP comes, or nothing
 * at all came for RECEIVE_IDLE_S. EXIT_DONE after an orderly end; EXIT_FAILED when the line
 * was cut inside a frame, the far end spoke something else, or out_fd cannot be written.
 * Takes over these signals and SIGPIPE meanwhile. The descriptors stay the caller's. */
int receive_run(const struct part_store *store, const char *store_name, int in_fd, int out_fd);

/* A lane that is alive sends at least a PING far more often than this. */
#define RECEIVE_IDLE_S 900

#endif
