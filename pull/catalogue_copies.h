/* Calibrations of one night that `copycals` made available for another: one row a file, beside the
 * ccds' own, which stay what they are. A copy is nobody's data: it is always a file that lies in
 * the store once more, so a ccd of its own night takes its place (pull/fanout.c), and `rebuild`
 * finds it again by the cards that say what it was made from. Structs are copied in and out. */
#ifndef SKYFERRY_PULL_CATALOGUE_COPIES_H
#define SKYFERRY_PULL_CATALOGUE_COPIES_H

#include "pull/catalogue.h"

struct copy {
    char path[1024], origin[1024]; /* below root */
    char night[NIGHT_SIZE];        /* that it was copied to */
    enum obstype kind;
    char filter[72];               /* as in the header; a bias frame's is "" */
    int ccd;
    char source_sha256[DIGEST_HEX]; /* of the exposure; "": a master, made of several */
    int64_t size, copied_ns;
    char datasum[24], checksum[24]; /* "": the file has none */
};

/* Adds it, or replaces the row of this path. */
enum status catalogue_put_copy(struct catalogue *c, const struct copy *one, struct fault *why);
enum status catalogue_get_copy(struct catalogue *c, const char *path, struct copy *out, bool *found,
                               struct fault *why);
enum status catalogue_drop_copy(struct catalogue *c, const char *path, struct fault *why);

typedef bool copy_fn(void *ctx, const struct copy *one); /* false: enough */
enum status catalogue_copies(struct catalogue *c, copy_fn *fn, void *ctx, struct fault *why);

/* What a night got from others, of one kind and filter. */
struct copy_sum {
    enum obstype kind;
    char filter[72];
    int64_t exposures, masters, files, bytes; /* masters: files */
};
typedef bool copy_sum_fn(void *ctx, const struct copy_sum *sum);
enum status catalogue_sum_copies(struct catalogue *c, const char *night, copy_sum_fn *fn, void *ctx,
                                 struct fault *why);

/* "science", "flat", "bias": as [place] says it. */
const char *obstype_name(enum obstype kind);

#endif
