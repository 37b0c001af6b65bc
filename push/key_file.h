/* A private key file as OpenSSH writes it, read as far as can be told without using it: which
 * kind of key, and does it need a passphrase? Format: PROTOCOL.key of OpenSSH. For `check`;
 * the lanes leave the use of the key to libssh2. No state. */
#ifndef SKYFERRY_KEY_FILE_H
#define SKYFERRY_KEY_FILE_H

#include <stdbool.h>

#include "common/status.h"

struct key_file {
    char type[64];         /* "ssh-ed25519" */
    bool locked;           /* behind a passphrase */
    char fingerprint[64];  /* "SHA256:...", as ssh-keygen -l shows it */
};

/* REJECT: it is no such file, *why says what it seems to be; RETRY: it cannot be read. */
enum status key_file_read(const char *path, struct key_file *out, struct fault *why);

#endif
