/* One bundle as a task sees it: the store's file, whose index is read, and a copy in the scratch of
 * the members that the task needs, sparse, at the offsets that they have in the bundle, so that one
 * manifest serves both. Their SHA-256 are proven whenever they are read. Main thread; the sources
 * may be read by several. */
#ifndef SKYFERRY_PULL_TASK_BUNDLE_H
#define SKYFERRY_PULL_TASK_BUNDLE_H

#include "pull/settings.h"
#include "pull/unpack.h"

struct task_bundle {
    char path[PULL_PATH], source_sha256[DIGEST_HEX]; /* the caller's */
    int store_fd, copy_fd; /* -1: none */
    struct manifest m;
    struct fits_header primary;
    struct unpack_source store, copy;
};

/* What failed, besides the words. */
enum task_trouble { TROUBLE_BUNDLE, TROUBLE_STORE, TROUBLE_SCRATCH }; /* STORE: of this node */

/* RETRY: it cannot be opened. REJECT: it is no bundle, or of another source file. */
enum status task_bundle_open(struct task_bundle *b, enum task_trouble *trouble, struct fault *why);
/* The members of these HDUs and of the primary header into the new file `to`, in the scratch. */
enum status task_bundle_copy(struct task_bundle *b, const int *hdus, size_t count, const char *to,
                             enum task_trouble *trouble, struct fault *why);
void task_bundle_close(struct task_bundle *b);

#endif
