/* What a lane says and hears, without any I/O: jobs go in and bytes come out, bytes go in
 * and events come out. The thread of lane.c owns it and moves the bytes; a unit test can
 * move them by hand. Answers come in the order of the requests (skyferry-wire(5)), so one
 * queue of what is awaited tells what each answer belongs to. */
#ifndef SKYFERRY_LANE_TALK_H
#define SKYFERRY_LANE_TALK_H

#include <stdatomic.h>

#include "push/lane.h"

struct talk;

/* Chunk bytes that were posted: not acknowledged, and not given to the kernel. */
struct lane_load {
    atomic_llong in_flight, unsent;
};

/* Who speaks, and where what is heard goes. */
struct talk_options {
    int number;               /* in every event */
    struct mailbox *events;
    const char *agent;
    struct lane_load *load;   /* lowered before the event that tells of it */
    const char *directory;    /* the drop folder: speaks SFTP; NULL: the wire */
};
/* The first bytes to send are HELLO, or INIT. */
struct talk *talk_new(const struct talk_options *o);
void talk_free(struct talk **t);

/* Bytes to send next; 0 when nothing is left of the last job. What they are stays the same
 * until talk_sent has been told of them; where they are may change with any other call. */
size_t talk_output(const struct talk *t, const unsigned char **bytes);
void talk_sent(struct talk *t, size_t count);
/* Bytes of a chunk in what is to be sent; 0: it is none. */
int64_t talk_payload(const struct talk *t);

/* Turns a job into bytes; only when talk_output says 0. Takes job->text. A job that cannot
 * be sent (its file cannot be read, its bundle was never opened) is answered by an event. */
void talk_job(struct talk *t, struct lane_job *job);
void talk_ping(struct talk *t);
void talk_bye(struct talk *t);

/* Bytes from the far end. Anything but OK ends the lane: RETRY, or REJECT where a human must
 * act (other version, refused greeting, something that is no skyferry-pull). */
enum status talk_input(struct talk *t, const unsigned char *bytes, size_t count,
                       struct fault *why);
/* WELCOME has come. */
bool talk_up(const struct talk *t);
/* Has the far end said anything at all, and what were its first bytes, as printable text? */
bool talk_heard(const struct talk *t, char shown[128]);
/* Does what time asks for (an answer over SFTP has to be looked for); clock_mono of the next
 * time, INT64_MAX when there is none. */
int64_t talk_tick(struct talk *t, int64_t now);
/* Answers that are due. */
size_t talk_due(const struct talk *t);

/* Fill in what every event has, and post it; false when memory is out. line: what the lane itself
 * sees of its line, LANE_STALLED or LANE_MOVES; all other kinds are made here from what is heard. */
bool talk_post_down(struct talk *t, bool reached, const struct fault *why);
bool talk_post_line(struct talk *t, enum lane_event_kind kind);

#endif
