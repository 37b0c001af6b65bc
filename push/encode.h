/* An exposure made into a bundle, ccd by ccd: HDUs are jobs of the pool, and their members
 * are written in HDU order by the main thread, so that the same file always gives the
 * same bytes and the front of the bundle can leave while the rest is being encoded. A
 * bounded number of HDUs is in memory at a time. All callbacks run on the main thread. */
#ifndef SKYFERRY_ENCODE_H
#define SKYFERRY_ENCODE_H

#include "common/codec.h"
#include "common/pool.h"
#include "push/encode_hdu.h"
#include "push/exposure.h"

struct encode;

struct encode_result {
    enum status grade;
    struct fault why;       /* when it is not OK */
    bool changed;           /* the file is not the one that settled: why says so */
    int ccds;
    bool exact;             /* every image comes back bit for bit */
    int64_t raw_bytes;      /* of all that the members stand for, uncompressed as far as known */
    int64_t bundle_size;
    char bundle_sha256[DIGEST_HEX], source_sha256[DIGEST_HEX];
    int64_t cpu_ns;         /* of all threads */
    int64_t part_ns[ENCODE_PARTS]; /* of it, where it went */
    double pace;            /* of this exposure, for fidelity.pace of the filter's next; 0: none */
    bool unmet;             /* of fallbacks one was for want of something: a mask */
    char fallbacks[200];    /* "rice for 3 HDUs (first: HDU 2, EXTNAME DQ)", or "" */
};

struct encode_order {
    const char *path, *name, *bundle_path; /* copied, as is all else */
    struct identity file;
    struct visit visit;
    const struct camera *camera;
    const struct fidelity *codec;
    struct pool *pool;
    int urgency;
    void *ctx;
    void (*grown)(void *ctx, int64_t size);            /* so many bytes are final */
    void (*sourced)(void *ctx, const char *sha256);    /* the source file's digest is known */
    void (*ended)(void *ctx, const struct encode_result *r); /* the last call; *e is gone after it */
};

enum status encode_start(const struct encode_order *o, struct encode **out, struct fault *why);
/* What is still to be encoded of it is as urgent as this from now on. */
void encode_urgency(struct encode *e, int urgency);
/* No callback comes any more; jobs under way end by themselves. The bundle file stays. */
void encode_cancel(struct encode **e);

/* Names one encoding of one version of one file: SHA-256 over all that decides the bytes. */
void encode_id(const struct exposure *e, const struct camera *camera,
               const struct fidelity *codec, char id[DIGEST_HEX]);

#endif
