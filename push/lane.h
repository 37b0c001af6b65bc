/* A lane: one SSH connection with one channel to `skyferry-pull receive`, driven by a
 * thread of its own (one libssh2 session a thread). The main thread posts jobs, the lane
 * posts events into one mailbox. Whatever was posted and not answered when a LANE_DOWN
 * comes is the main thread's to give to another lane: a lane keeps no promise over its
 * connection's end. libssh2 is included by lane_ssh* only.
 * Over plain SFTP (lane_drop.h) the same jobs and events go through files in a drop folder. */
#ifndef SKYFERRY_LANE_H
#define SKYFERRY_LANE_H

#include "common/mailbox.h"
#include "common/wire.h"
#include "push/throttle.h"

struct lane_options {
    char host[256], user[64];
    char identity[4096];    /* private key file; Ed25519 */
    char known_hosts[4096]; /* our own file: the far end's key is pinned here */
    int port;
    int connect_timeout_s;  /* for the TCP connection; again for the login; again for WELCOME */
    int silence_s;          /* no byte from the far end while answers are due: the line is dead */
    int knock_ms;           /* between two tries of the TCP connection */
    char congestion[16];    /* "system", or the kernel's name of one */
    char agent[128];        /* who we are, for HELLO */
    struct throttle *throttle; /* that of all lanes; NULL: none */
    bool sftp;              /* over plain SFTP instead of our own command: */
    char sftp_directory[1024]; /* the drop folder there */
};

enum lane_verb { LANE_OPEN, LANE_CHUNK, LANE_COMMIT, LANE_ABORT, LANE_HAVE, LANE_CLOSE };

/* OPEN, CHUNK, COMMIT and HAVE are each answered by one event, in the order of posting (OPENED or
 * RECEIPT, GOT, RECEIPT, HELD; or REFUSED); over SFTP in that of each bundle. ABORT and CLOSE are
 * not answered; both end the bundle's stream here: ABORT removes its bytes at the far end, CLOSE
 * (it was committed on another lane) leaves them. */

/* One thing to send. Posted by value (copied); `fd` stays the caller's and must stay open
 * until the answer or LANE_DOWN. `bundle` is the caller's number for a bundle; the lane
 * gives it a stream of its own and must have seen LANE_OPEN for it on this connection. */
struct lane_job {
    enum lane_verb verb;
    int64_t bundle;
    struct wire_open open;      /* LANE_OPEN */
    struct wire_commit commit;  /* LANE_COMMIT */
    int fd;                     /* LANE_CHUNK: bytes offset..offset+length of this file */
    int64_t offset;
    uint32_t length;
    char *text;                 /* LANE_HAVE: JSON body, malloc'ed, handed over */
};

enum lane_event_kind {
    LANE_UP,       /* connected, WELCOME received: hello is set */
    LANE_OPENED,   /* extents are set (malloc'ed with the event's own memory owner: free_event) */
    LANE_GOT,      /* offset, length acknowledged */
    LANE_RECEIPT,  /* receipt is set: COMMIT answered, or the bundle was held at OPEN */
    LANE_HELD,     /* text: the far end's HELD body */
    LANE_REFUSED,  /* why: this bundle (or request `asked`) was refused with its grade */
    LANE_ROOM,     /* the bytes of one more chunk are out: there is room for others */
    LANE_TAKES,    /* SFTP: skyferry-pull runs again, which did not when a bundle was to be taken */
    LANE_STALLED,  /* bytes are under way, and the far end's machine has not acknowledged any
                      for a while: perhaps the line is cut. Said once a stall, */
    LANE_MOVES,    /* and this at its end, if the lane lives to see it */
    LANE_DOWN      /* the connection is gone or never came up; why says it. ST_RETRY: try again
                      later; ST_REJECT: trying again is useless until a human acts (host key
                      unknown or changed, login refused, other protocol version); last event */
};

struct lane_event {
    struct mail mail; /* first: kind is an enum lane_event_kind */
    int lane;         /* number given at start */
    int64_t bundle;
    enum lane_verb asked;  /* LANE_REFUSED */
    bool reached;          /* LANE_DOWN: there had been a TCP connection */
    int64_t offset, length;
    struct extent *have;
    size_t have_count;
    struct receipt receipt;
    struct wire_hello hello;
    char *text;
    struct fault why;
    int64_t sent_bytes;    /* on the wire since LANE_UP, payload only */
};
void lane_event_free(struct lane_event *e);

struct lane;

/* Starts the thread, which connects at once. */
enum status lane_start(const struct lane_options *o, int number, struct mailbox *events,
                       struct lane **out, struct fault *why);
/* Never blocks. After the lane is down the job is dropped. */
void lane_post(struct lane *l, const struct lane_job *job);
/* How it is with the lane (any thread). */
struct lane_pulse {
    int64_t in_flight;  /* bytes of chunks posted and not yet acknowledged */
    int64_t unsent;     /* of these: not yet given to the kernel */
    int64_t heard_mono; /* the last sign of life of the command over there; 0: none yet */
    int64_t rtt_ns;     /* round trip, the least seen; 0: not known */
    int64_t window;     /* bytes that go in one round trip, as TCP sees the line; 0: not known */
    int64_t limited_ns; /* how long bytes have waited for the far end's window, in all */
};
void lane_pulse(const struct lane *l, struct lane_pulse *out);
/* Ends the thread (sends BYE when up; within a second even on a dead line), frees it. No event
 * after it returns, and no LANE_DOWN for it. */
void lane_stop(struct lane **l);
/* Only asks it to end, so that several end side by side; NULL is harmless. */
void lane_bid_end(struct lane *l);
/* lane_stop without a word and at once. */
void lane_abandon(struct lane **l);

/* For sweep and check: connects, says HELLO, sends one HAVE body (NULL: none), fetches the
 * answer, closes. RETRY when the far end is unreachable, REJECT as for LANE_DOWN. */
enum status lane_ask(const struct lane_options *o, const char *have_json, struct wire_hello *hello,
                     struct buf *held_json, struct fault *why);

#endif
