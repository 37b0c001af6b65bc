/* The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) as a client sends and hears
 * them, with OpenSSH's extensions (its file PROTOCOL, section 4). Pure: requests are appended to a
 * buffer, replies are taken from bytes. libssh2's own SFTP calls are not used: 1.10 knows no
 * posix-rename, keeps a pipeline only within one buffer of one file, and hides what waits for
 * what; over a channel of our own every request of a lane shares one pipeline.
 * Nothing is allocated but by the buffers; texts of a reply point into its bytes. */
#ifndef SKYFERRY_SFTP_H
#define SKYFERRY_SFTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/status.h"

#define SFTP_VERSION 3
#define SFTP_HANDLE_MAX 256  /* by the draft */
#define SFTP_PACKET_MAX ((uint32_t)256 << 10) /* that we take; no server sends longer ones */
#define SFTP_WRITE_HEAD(handle) (25 + (handle)->len)

enum sftp_flag {
    SFTP_READ = 1, SFTP_WRITE = 2, SFTP_APPEND = 4, SFTP_CREATE = 8, SFTP_TRUNCATE = 16
};

enum sftp_code { /* of a STATUS */
    SFTP_OK, SFTP_EOF, SFTP_NO_SUCH_FILE, SFTP_DENIED, SFTP_FAILURE, SFTP_BAD_MESSAGE,
    SFTP_NO_CONNECTION, SFTP_CONNECTION_LOST, SFTP_UNSUPPORTED
};

enum sftp_reply_kind {
    SFTP_SAYS_VERSION = 2, SFTP_SAYS_STATUS = 101, SFTP_SAYS_HANDLE, SFTP_SAYS_DATA,
    SFTP_SAYS_NAME, SFTP_SAYS_ATTRS, SFTP_SAYS_EXTENDED = 201
};

struct sftp_handle {
    uint32_t len; /* 0: none */
    unsigned char bytes[SFTP_HANDLE_MAX];
};

/* What the server says that it can do beyond the draft. */
struct sftp_server {
    uint32_t version;
    bool posix_rename, fsync, statvfs, limits;
};

struct sftp_reply {
    enum sftp_reply_kind kind;
    uint32_t id;                  /* of the request; 0 for VERSION */
    enum sftp_code code;          /* STATUS; SFTP_OK for the others */
    const unsigned char *bytes;   /* STATUS: the server's words; HANDLE, DATA: what came;
                                     EXTENDED: the numbers */
    uint32_t len;
    bool has_size, has_time;      /* ATTRS */
    int64_t size, mtime;
    uint32_t mode;                /* 0: not told */
};

/* Requests. False when memory is out (out unchanged). */
bool sftp_init(struct buf *out);
bool sftp_open(struct buf *out, uint32_t id, const char *path, unsigned flags);
bool sftp_close(struct buf *out, uint32_t id, const struct sftp_handle *h);
bool sftp_read(struct buf *out, uint32_t id, const struct sftp_handle *h, int64_t offset,
               uint32_t length);
/* The head alone: `length` bytes follow from elsewhere. */
bool sftp_write_head(struct buf *out, uint32_t id, const struct sftp_handle *h, int64_t offset,
                     uint32_t length);
bool sftp_write(struct buf *out, uint32_t id, const struct sftp_handle *h, int64_t offset,
                const void *bytes, uint32_t length);
bool sftp_fstat(struct buf *out, uint32_t id, const struct sftp_handle *h);
bool sftp_lstat(struct buf *out, uint32_t id, const char *path);
bool sftp_stat(struct buf *out, uint32_t id, const char *path);
bool sftp_remove(struct buf *out, uint32_t id, const char *path);
/* posix: replaces its target; without, version 3 fails when that exists. */
bool sftp_rename(struct buf *out, uint32_t id, const char *from, const char *to, bool posix);
bool sftp_fsync(struct buf *out, uint32_t id, const struct sftp_handle *h);
bool sftp_statvfs(struct buf *out, uint32_t id, const char *path);
bool sftp_limits(struct buf *out, uint32_t id);

/* Takes the first packet of the bytes: OK and *used; WAIT: more bytes are needed; REJECT: it
 * can be none of a server's. */
enum status sftp_take(const unsigned char *bytes, size_t len, struct sftp_reply *out, size_t *used,
                      struct fault *why);
/* A VERSION's extensions. */
void sftp_version(const struct sftp_reply *r, struct sftp_server *out);
/* False when the reply is no handle of a sane length. */
bool sftp_handle_of(const struct sftp_reply *r, struct sftp_handle *out);
/* Of the answer to statvfs: bytes that we may still write; -1 when it is none. */
int64_t sftp_free_bytes(const struct sftp_reply *r);
/* Of the answer to limits: the longest data of a WRITE; 0 when it says none. */
int64_t sftp_write_limit(const struct sftp_reply *r);
/* "Permission denied" and so on, and the server's own words when they say more; printable. */
void sftp_words(const struct sftp_reply *r, char out[160]);

#endif
