/* Is this file whole and quiet? A file that still grows is WAIT, never a failure; one that
 * will not become whole is REJECT with the reason to show. Runs as a pool job: the verdict
 * is a value that the flow turns into the exposure's next state. */
#ifndef SKYFERRY_SETTLE_H
#define SKYFERRY_SETTLE_H

#include "push/wanted.h"

struct settle_rules {
    double settle_s; /* quiet for so long counts as finished, when no close was seen */
    int give_up_s;   /* incomplete and unchanged for so long: parked */
    struct wanted wanted;
};

struct settle_verdict {
    enum status grade;
    struct fault why;
    bool stated;          /* `file` is set: what the file is now */
    struct identity file;
    bool skip;            /* OK, but not to be shipped: why says so */
    char group[CAMERA_GROUP]; /* "": an exposure of its own */
    int group_ccd;
    struct facts facts;   /* these only with OK */
    int ccds;
    int64_t image_bytes;
    bool tiled;
    char warning[200];    /* goes on all the same, but say this; "" when all is well */
};

/* Examines e->path. Uses of e: path, file, closed, changed_ns. Any thread. */
void settle_examine(const struct exposure *e, const struct camera *camera,
                    const struct settle_rules *rules, struct settle_verdict *out);

/* The decision alone, on what was found; now_ns is the wall clock. `found` and `why` come
 * from survey_file. */
enum status settle_decide(const struct exposure *e, const struct survey *s, enum status found,
                          const struct settle_rules *rules, int64_t now_ns,
                          const struct camera *camera,
                          struct settle_verdict *out);

#endif
