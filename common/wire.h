/* The words that push and pull speak over one SSH channel (skyferry-wire(5)): frames
 * of 8 bytes of head and a payload, JSON for control, raw bytes for chunks.
 *
 *      0        4      5      6         8
 *      +--------+------+------+---------+---------- ...
 *      | length | type | zero | stream  | payload (length bytes)
 *      +--------+------+------+---------+---------- ...
 *
 * Numbers are big-endian. `stream` is the sender's number for a bundle on this lane, made
 * known by OPEN; 0 for frames about no bundle. Both agents use this module; it does no I/O
 * of its own. */
#ifndef SKYFERRY_WIRE_H
#define SKYFERRY_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/digest.h"
#include "common/manifest.h"
#include "common/status.h"

#define WIRE_VERSION 1            /* a far end of another major version is refused, in words */
#define WIRE_HEAD 8
#define WIRE_MAX (4u << 20)       /* longest payload */
#define WIRE_CHUNK_HEAD 8         /* offset before a chunk's bytes */

enum wire_type {
    WIRE_HELLO = 1, /* push: struct wire_hello                                 */
    WIRE_WELCOME,   /* pull: struct wire_hello, with free_bytes                */
    WIRE_OPEN,      /* push: struct wire_open                                  */
    WIRE_OPENED,    /* pull: {have: [[offset, length], ...]} for this stream   */
    WIRE_CHUNK,     /* push: u64 offset, bytes                                 */
    WIRE_GOT,       /* pull: u64 offset, u64 length: written down, in the map  */
    WIRE_COMMIT,    /* push: {size, sha256, source_sha256, source_size}        */
    WIRE_RECEIPT,   /* pull: struct receipt; answers COMMIT, or OPEN when held */
    WIRE_REFUSED,   /* pull: {grade, reason, about: "open"|"chunk"|"commit"|"hello"|...} */
    WIRE_ABORT,     /* push: forget this bundle's bytes; no answer            */
    WIRE_HAVE,      /* push: {exposures: [{name, date_obs, source_size, source_sha256}, ...]} */
    WIRE_HELD,      /* pull: {held: [bool, ...]} in the same order             */
    WIRE_PING,      /* either: any payload                                     */
    WIRE_PONG,      /* the same payload back                                   */
    WIRE_BYE,       /* push: no more; pull ends when its work is done          */
    WIRE_CLOSE      /* push: this lane is done with the stream; no answer, bytes stay */
};

struct wire_frame {
    enum wire_type type;
    uint16_t stream;
    const unsigned char *payload; /* inside the caller's buffer */
    uint32_t length;
};

/* Appends one frame. */
bool wire_put(struct buf *out, enum wire_type type, uint16_t stream, const void *payload,
              uint32_t length);
/* Appends the head of a CHUNK frame; its `length` bytes of data follow from elsewhere. */
bool wire_put_chunk_head(struct buf *out, uint16_t stream, uint64_t offset, uint32_t length);
/* Takes the first frame of the bytes: OK and *used set; WAIT when more bytes are needed;
 * REJECT when they can be no frame (unknown type, too long, non-zero reserved byte). */
enum status wire_take(const unsigned char *bytes, size_t len, struct wire_frame *out,
                      size_t *used, struct fault *why);

/* "HELLO" ... "CLOSE", for messages; "unknown" for any other number. */
const char *wire_type_name(int type);

uint64_t wire_u64(const unsigned char *p);
void wire_put_u64(unsigned char *p, uint64_t v);

/* Opens a bundle. `id` names one encoding of one exposure: SHA-256 over source name, size,
 * mtime, codec and options. The same id means the same bytes, so a broken transfer goes on
 * where it stopped; another id under the same name is another file. */
struct wire_open {
    char id[DIGEST_HEX];
    char name[MEMBER_NAME];  /* the exposure's root, fs_name_ok */
    char date_obs[40];       /* "" when unknown: the far end takes mtime_ns */
    int64_t mtime_ns;        /* of the source file */
    bool resume;             /* wants OPENED's extents before it sends (else sends at once) */
    bool exact;              /* the exact data that follow a lossy delivery: kept beside it */
};

struct wire_commit {
    int64_t size;
    char sha256[DIGEST_HEX];
    char source_sha256[DIGEST_HEX];
    int64_t source_size;
    char source_name[MEMBER_NAME];
    int64_t noticed_ns, encoded_ns; /* push's clock: file seen; bundle finished. 0: unknown */
    bool exact;                     /* manifest_is_exact */
};

/* The far end's durable answer: these bytes are whole, fsynced and named. Kept beside
 * the bundle as NAME.receipt (the same JSON) and in push's journal. */
struct receipt {
    char id[DIGEST_HEX];
    char name[MEMBER_NAME];   /* as asked */
    char stored[MEMBER_NAME]; /* "NIGHT/NAME.tar"; "NIGHT/NAME~2.tar" when that name is taken */
    char night[16];
    int64_t size;
    char sha256[DIGEST_HEX];
    char source_name[MEMBER_NAME], source_sha256[DIGEST_HEX];
    int64_t source_size;
    int64_t noticed_ns, encoded_ns; /* push's clock, from COMMIT */
    int64_t first_ns, stored_ns;    /* pull's clock: first byte received; durable */
    bool exact;                     /* from COMMIT */
};

struct extent {
    int64_t offset, length;
};

/* JSON bodies: *_text appends, *_parse answers REJECT with the key named. */
bool wire_open_text(const struct wire_open *o, struct buf *out);
enum status wire_open_parse(const void *json, size_t len, struct wire_open *out, struct fault *why);
bool wire_commit_text(const struct wire_commit *c, struct buf *out);
enum status wire_commit_parse(const void *json, size_t len, struct wire_commit *out,
                              struct fault *why);
bool receipt_text(const struct receipt *r, struct buf *out);
enum status receipt_parse(const void *json, size_t len, struct receipt *out, struct fault *why);

/* What unpacking cost over there, lately: CPU, by codec. */
#define WIRE_DECODERS 8
struct wire_decoder {
    char codec[16];
    double ns;    /* CPU ns a pixel of 16 bits, with reading the bundle and writing the files */
    double ratio; /* 16-bit bytes over bytes received */
};
struct wire_decoding {
    int threads;  /* 0: nothing is known */
    int count;
    struct wire_decoder by[WIRE_DECODERS];
};
/* {"threads": 8, "by": [{"codec", "ns", "ratio"}, ...]}: part of WELCOME, and a file of the far
 * agent's. parse: REJECT, *out as it was, when it is no such object; entries that make no sense
 * and those beyond the eighth are left out. */
bool wire_decoding_text(const struct wire_decoding *d, struct buf *out);
enum status wire_decoding_parse(const void *json, size_t len, struct wire_decoding *out,
                                struct fault *why);

struct wire_hello { /* HELLO and WELCOME */
    int protocol;
    char software[64];
    char agent[128];    /* push: its host name and pid; pull: the store's name */
    int64_t free_bytes; /* pull only */
    bool exact;         /* pull only: it knows what `exact` means in OPEN and HAVE */
    struct wire_decoding decoding; /* pull only; one that makes no sense is as none */
    /* of a drop folder, never on the wire: */
    int quiet_s;        /* how long skyferry-pull has given no sign of life; 0: it runs, -1: none */
    char server[64];    /* what the SFTP server can do: "posix-rename fsync " */
};
bool wire_hello_text(const struct wire_hello *h, struct buf *out);
enum status wire_hello_parse(const void *json, size_t len, struct wire_hello *out,
                             struct fault *why);

bool wire_refused_text(const struct fault *f, const char *about, struct buf *out);
/* Fills *why with the far end's own grade and words; returns the grade. "fatal" over there
 * is RETRY here: the far end must stop, we must not. A body that is none is REJECT. */
enum status wire_refused_parse(const void *json, size_t len, struct fault *why);

/* OPENED: count extents, sorted, disjoint. The parsed array is malloc'ed. */
bool wire_opened_text(const struct extent *have, size_t count, struct buf *out);
enum status wire_opened_parse(const void *json, size_t len, struct extent **have, size_t *count,
                              struct fault *why);

struct wire_have {
    char name[MEMBER_NAME];
    char date_obs[40];
    int64_t mtime_ns, source_size;
    char source_sha256[DIGEST_HEX];
    bool exact; /* only an exact bundle of it counts as held */
};
bool wire_have_text(const struct wire_have *asked, size_t count, struct buf *out);
enum status wire_have_parse(const void *json, size_t len, struct wire_have **asked, size_t *count,
                            struct fault *why);
bool wire_held_text(const bool *held, size_t count, struct buf *out);
enum status wire_held_parse(const void *json, size_t len, bool *held, size_t count,
                            struct fault *why);

#endif
