/* What the two halves of sweep share: looking at the local files (sweep_look.c), and asking,
 * sending and reporting (sweep.c). */
#ifndef SKYFERRY_SWEEP_INNER_H
#define SKYFERRY_SWEEP_INNER_H

#include "push/commands.h"
#include "push/deliver.h"

struct sweep_item {
    char *path; /* owned; as the watching agent would write it */
    char name[MEMBER_NAME];
    struct identity file;
    struct facts facts;
    char sha256[DIGEST_HEX];
    bool of_night;    /* of the night asked for, or of any */
    bool held, exact; /* at the far end; exact: bit for bit */
    char group[CAMERA_GROUP]; /* the exposure that it is one file of; "": of none */
    int ccd;          /* which one of it */
    char broken[512]; /* why it cannot be sent; "" when it can */
};

struct sweep {
    const struct config *config;
    const struct sweep_options *o;
    struct deliver *deliver;
    struct sweep_item *items;
    size_t count, room;
    struct wire_hello hello;
};

/* Walks the watched directory and finds out facts, night and digest of every file, with
 * all processors; digests known from before are not computed again. */
enum status sweep_look(struct sweep *s, struct fault *why);
void sweep_free(struct sweep *s);

#endif
