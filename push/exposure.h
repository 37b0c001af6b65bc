/* One exposure on its way: a file of the watched directory (or one that was named to
 * `send`), what is known about it, and how far it has come. A plain value without
 * pointers: the journal keeps it, the main thread changes it, workers get copies.
 * All times are nanoseconds since 1970 UTC, 0 = not yet. */
#ifndef SKYFERRY_EXPOSURE_H
#define SKYFERRY_EXPOSURE_H

#include "common/camera.h"
#include "common/digest.h"
#include "common/manifest.h"

enum exposure_state {
    EXPOSURE_SEEN,    /* a file is there; is it whole? */
    EXPOSURE_READY,   /* whole and quiet: waits for its turn */
    EXPOSURE_SENDING, /* its bundle is being encoded and shipped */
    EXPOSURE_STORED,  /* the far end's receipt is in the journal */
    EXPOSURE_DONE,    /* nothing of it is left in the spool */
    EXPOSURE_PARKED,  /* needs a human; the reason says why */
    EXPOSURE_PARTIAL, /* whole, but one file of several: waits for the rest of its exposure */
    EXPOSURE_SKIPPED, /* not to be shipped by the settings; the reason says why */
    EXPOSURE_STATES
};

/* As stored and shown. */
extern const char *const exposure_state_names[EXPOSURE_STATES];
/* -1 when the word names no state. */
int exposure_state_parse(const char *word);

enum exposure_origin {
    ORIGIN_WATCH, /* found in the watched directory */
    ORIGIN_SEND,  /* named to `send` */
    ORIGIN_SWEEP  /* missing at the end of the night */
};

enum exposure_stamp {
    STAMP_NOTICED, /* its present version was first seen */
    STAMP_SETTLED, /* found whole */
    STAMP_ENCODE,  /* encoding began */
    STAMP_ENCODED, /* the bundle's last byte was written */
    STAMP_FIRST,   /* first chunk given to a lane */
    STAMP_LAST,    /* last chunk acknowledged */
    STAMP_STORED,  /* receipt in hand */
    STAMP_DONE,    /* spool cleaned */
    STAMPS
};

/* What the far end was given: the pixels bit for bit, or less? */
enum delivered {
    DELIVERED_UNKNOWN, /* not delivered, or by a release that did not note it */
    DELIVERED_LOSSY,   /* 1: in the journal's index */
    DELIVERED_EXACT,
    DELIVERED_GONE     /* lossy, and the file is no longer there for the exact data to follow */
};

/* Two files with the same path and identity are the same version of it. */
struct identity {
    int64_t size, mtime_ns, inode;
};

struct exposure {
    int64_t id;             /* journal row; also the order of arrival */
    char path[4096];        /* absolute */
    char name[MEMBER_NAME]; /* its root, fit for file names */
    struct identity file;
    bool closed;        /* this version's writer was seen to close it */
    int64_t changed_ns; /* when this version was first seen */
    int origin;         /* enum exposure_origin */
    int64_t request;    /* of the command that asked for it; 0: none */
    bool exact;         /* the exact data of a version that is delivered lossy, on their way after
                           it; the delivery has a row of its own */
    int fidelity;       /* enum delivered: of what was encoded last, or of what is stored */
    int follow;         /* of a delivery: the state of its exact data's row, -1: none; as read */

    int state, attempts;
    int64_t due_ns;   /* not looked at before */
    char reason[512]; /* of the last WAIT, RETRY or REJECT; "" when all is well */

    struct facts facts;
    char group[CAMERA_GROUP]; /* the exposure that it is one file of; "": of none */
    int group_ccd;            /* which ccd of it this file holds */
    int group_coming;         /* how many of its ccds were there when it was given free; 0: unknown */
    int ccds;
    int64_t image_bytes;    /* of all images, uncompressed; 0: not known */
    bool tiled;             /* they are tile-compressed in the file */
    /* As in struct fidelity, of when it was first begun; 0 before. It is sent so again. */
    double pace;
    /* method = auto: what was chosen for it when it was begun; "" and 0 before. */
    char method[16];
    double ratio;
    char source_sha256[DIGEST_HEX]; /* "" until known; likewise below */
    char bundle_id[DIGEST_HEX];
    int64_t bundle_size; /* set together with bundle_sha256: the bundle is finished */
    char bundle_sha256[DIGEST_HEX];
    char stored_as[MEMBER_NAME]; /* where the far end keeps it */
    int64_t sent_bytes;          /* payload put on the wire, repeats included */
    int64_t stamp[STAMPS];
};

/* An exposure's root: the path's last component without .fits.fz, .fits.gz, .fits, .fit
 * or .fz, made safe and short enough for member names to follow. */
void exposure_root(const char *path, char out[MEMBER_NAME]);

bool identity_equal(const struct identity *a, const struct identity *b);

struct stat;
void identity_of(const struct stat *st, struct identity *out);

/* Back to the start of the road: forgets everything that was found out or done for the
 * version before (facts, digests, stamps, reason), keeps id, path, name and request. */
void exposure_restart(struct exposure *e, const struct identity *file, int64_t now_ns);

/* The row of the exact data that follow this delivery, ready to be sent; origin and request are
 * still the delivery's. */
void exposure_exact_of(const struct exposure *delivery, int64_t now_ns, struct exposure *out);

/* What its bundle says of the exposure that it is one file of. */
void exposure_visit(const struct exposure *e, const struct camera *camera, struct visit *out);

#endif
