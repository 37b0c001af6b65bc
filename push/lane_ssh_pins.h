/* The host keys that our own known_hosts file pins for one host: which kinds of key they are, and
 * whether what a server shows is one of them. Of libssh2's, behind lane_ssh.c only; the lane's
 * thread. */
#ifndef SKYFERRY_LANE_SSH_PINS_H
#define SKYFERRY_LANE_SSH_PINS_H

#include <libssh2.h>

#include "push/lane.h"

struct pins;

/* Both stay the caller's, and alive. RETRY: memory is out. */
enum status pins_open(LIBSSH2_SESSION *session, const struct lane_options *o, struct pins **out,
                      struct fault *why);
/* Reads o->known_hosts. A missing file pins nothing. */
enum status pins_read(struct pins *p, struct fault *why);
/* Every kind of key that we take, "ssh-ed25519,...": the pinned ones first, so that a server with
 * several keys shows the one that we know. */
void pins_kinds(const struct pins *p, char list[256]);
/* After the handshake. REJECT, and the key in *why, when it is not pinned. */
enum status pins_check(const struct pins *p, struct fault *why);
void pins_close(struct pins **p); /* before the session is freed; NULL is harmless */

#endif
