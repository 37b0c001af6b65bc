/* SHA-256 through libcrypto, as lower-case hexadecimal text: the identity of
 * files, bundles and members everywhere in the project. */
#ifndef SKYFERRY_DIGEST_H
#define SKYFERRY_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define DIGEST_HEX 65 /* 64 digits and NUL */

struct digest; /* a running SHA-256 */

struct digest *digest_new(void); /* NULL when memory is out */
void digest_update(struct digest *d, const void *bytes, size_t len);
/* Writes the digest and frees *d (set to NULL). */
void digest_finish(struct digest **d, char hex[DIGEST_HEX]);
void digest_free(struct digest **d);

/* Of a run of bytes. */
void digest_bytes(const void *bytes, size_t len, char hex[DIGEST_HEX]);

/* Of the first `len` bytes of an open file (-1: to its end), read with pread.
 * ST_RETRY on a read error, ST_WAIT when the file is shorter than len. */
enum status digest_fd(int fd, int64_t len, char hex[DIGEST_HEX], struct fault *why);

/* 64 lower-case hexadecimal digits? */
bool digest_valid(const char *hex);

#endif
