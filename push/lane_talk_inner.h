/* The inside of a talk, for lane_talk.c (jobs to bytes) and lane_hear.c (bytes to events). */
#ifndef SKYFERRY_LANE_TALK_INNER_H
#define SKYFERRY_LANE_TALK_INNER_H

#include "push/lane_talk.h"

/* One answer that is due. */
struct talk_due {
    enum wire_type asked;
    uint16_t stream;
    int64_t bundle;
    int64_t offset, length; /* of a CHUNK */
};

struct talk_stream {
    uint16_t number;
    int64_t bundle;
};

struct drops;

struct talk {
    struct talk_options o;
    struct drops *drops; /* NULL: the wire's words, else SFTP (lane_drop.h) */
    bool up;
    struct buf out; /* the frames of one job */
    size_t out_sent;
    int64_t out_payload; /* chunk bytes in out, counted when all are sent */
    int64_t sent_bytes;
    struct buf in;
    char first[48]; /* the first bytes that came */
    size_t first_len;
    struct talk_stream *streams;
    size_t stream_count, stream_cap;
    uint16_t last_stream;
    struct talk_due *due; /* a ring */
    size_t due_first, due_count, due_cap;
};

/* A new event of this lane; NULL when memory is out. */
struct lane_event *talk_event(const struct talk *t, enum lane_event_kind kind, int64_t bundle);

#endif
