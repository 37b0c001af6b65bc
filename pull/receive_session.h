/* What receive.c (the loop) and receive_frames.c (what each frame does) share. */
#ifndef SKYFERRY_RECEIVE_SESSION_H
#define SKYFERRY_RECEIVE_SESSION_H

#include "pull/part.h"

/* A bundle on this lane. Exactly one of part, held and a refusal is there. */
struct stream {
    uint16_t number;
    struct wire_open open;
    struct part *part;
    struct receipt *held; /* it is stored: chunks are no longer needed */
    struct fault refused; /* grade ST_OK: not refused */
};

struct session {
    const struct part_store *store;
    const char *store_name;
    int in_fd, out_fd, signal_fd;
    struct buf in, out;
    struct stream *streams;
    size_t stream_count, stream_cap;
    bool greeted;
    bool ending; /* take no more frames, say what is left, go */
    int code;
};

/* Does what a frame asks and appends the answer to s->out. */
void session_handle(struct session *s, const struct wire_frame *f);
/* Appends REFUSED; about is the kind of request in lower case. */
void session_refuse(struct session *s, uint16_t stream, const char *about,
                    const struct fault *why);
void session_end(struct session *s, int code);
void session_out_of_memory(struct session *s);
/* Closes every stream. What lies in parts stays. */
void session_release(struct session *s);

#endif
