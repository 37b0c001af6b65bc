/* What a lane tells a human who has to act: the host key's fingerprint, what answers in
 * skyferry-pull's place, the end of what the far end's command wrote on its standard error.
 * No libssh2, no I/O; used by the lane's thread. */
#ifndef SKYFERRY_LANE_WORDS_H
#define SKYFERRY_LANE_WORDS_H

#include "push/lane.h"

/* "SHA256:..." as `ssh-keygen -l` shows it, of 32 bytes (NULL: "SHA256:?"). */
void words_fingerprint(const char *sha, char out[64]);

struct shown_key {
    const char *type; /* "ssh-ed25519" */
    bool changed;     /* the file pins another key of this type */
    char fingerprint[64];
};
/* REJECT with the reason and the remedy. */
enum status words_host_key(const struct lane_options *o, const struct shown_key *k,
                           struct fault *why);

/* REJECT: the identity file has a passphrase, or is not there. */
enum status words_identity(const struct lane_options *o, bool locked, struct fault *why);

/* REJECT: what runs as our command is not skyferry-pull. said: its first bytes; state: how
 * it ended, or NULL while it runs. */
enum status words_stranger(const char *said, const char *state, struct fault *why);

/* Where an SFTP server should answer none does. said: how what ran there ended; NULL: it runs and
 * is silent (RETRY then, else REJECT). */
enum status words_no_sftp(const struct lane_options *o, const char *said, struct fault *why);

/* The last bytes of a stream of text. */
struct tail {
    char text[400];
    size_t len;
};
void tail_add(struct tail *t, const char *bytes, size_t count);
/* Its last line that is not blank, printable. */
void tail_line(const struct tail *t, char out[200]);

#endif
