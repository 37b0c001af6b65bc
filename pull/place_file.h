/* One placed FITS file, in two halves so that the disk works while the processors decode:
 * place_write makes the draft and starts its way to the disk, place_publish makes it durable
 * and gives it its name. A name that another file has is treated as [place] on_conflict says,
 * never overwritten in silence; the very same bytes there count as placed. Worker threads. */
#ifndef SKYFERRY_PULL_PLACE_FILE_H
#define SKYFERRY_PULL_PLACE_FILE_H

#include <sys/stat.h>

#include "common/buf.h"
#include "common/fsutil.h"

enum place_conflict { PLACE_PARK, PLACE_VERSION, PLACE_REPLACE };
enum place_mirror { MIRROR_NONE, MIRROR_COPY, MIRROR_LINK };

/* A file that was placed before, as the catalogue remembers it. */
struct place_known {
    char rel[1024]; /* "": none */
    int64_t size;
    char datasum[24], checksum[24];
};
/* DATASUM and CHECKSUM of a file's first header; "" when there are none. */
void place_sums(const struct buf *file, char datasum[24], char checksum[24]);
/* *known: is the file of this path still those bytes (size, sums, the cards that hold them)? Reads
 * it. RETRY (*known false): it cannot be told now. */
enum status place_is_known(const char *path, const struct place_known *k, bool *known,
                           struct fault *why);

struct place_file {
    /* the caller's */
    const char *root;
    char rel[1024];    /* wanted; then the one it got */
    enum place_conflict conflict;
    enum place_mirror mirror;
    char mirror_rel[1024];
    struct place_known known; /* whose place it takes, under the same name, while it is unchanged;
                                 the same for its copy in the workspace */
    /* its own; start with {0} and draft.fd = -1 */
    struct fs_draft draft;
    bool is_there;     /* the same bytes had the name already */
    bool takes_over;   /* from `known`, which was `seen` */
    struct stat seen;
};

/* Words to settings: "park|version|replace", "none|copy|link". */
enum place_conflict place_conflict_of(const char *word);
enum place_mirror place_mirror_of(const char *word);

/* REJECT: another file has the name (and conflict is park), or the name is no file. */
enum status place_write(struct place_file *p, const struct buf *file, struct fault *why);
/* Nothing to do when is_there; then and otherwise also the workspace's copy. An existing file
 * in the workspace is somebody's work and stays, unless conflict is replace. */
enum status place_publish(struct place_file *p, struct fault *why);
/* Removes the draft; harmless after publish. */
void place_drop(struct place_file *p);

#endif
