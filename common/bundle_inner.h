/* What bundle_read.c (the whole tar) and bundle_front.c (one that still grows) share. Not for
 * other modules. */
#ifndef SKYFERRY_BUNDLE_INNER_H
#define SKYFERRY_BUNDLE_INNER_H

#include "common/bundle.h"

#define TAR_BLOCK 512
#define TAR_WINDOW 8192 /* a member's header blocks and some; its data are skipped */

struct archive;
struct archive_entry;

/* The file as libarchive sees it: pread, so that threads may share the descriptor. */
struct source {
    int fd;
    int64_t from;       /* where libarchive began */
    int64_t at, size;   /* what it reads next, and where that ends */
    int64_t limit;      /* where the bundle ends */
    int error; /* errno of a failed read */
    unsigned char window[TAR_WINDOW];
};

/* A member as the tar says it. */
struct found {
    char name[MEMBER_NAME];
    char sha256[DIGEST_HEX];
    int64_t offset, size;
    bool claimed; /* the manifest has it */
};

/* archive_read_open2 over src; libarchive's answer. */
int bundle_open_tar(struct archive *a, struct source *src);
/* Name, kind, place, digest of the entry that libarchive has read, checked. */
enum status bundle_take_member(struct archive *a, struct archive_entry *e,
                               const struct source *src, struct found *out, struct fault *why);
/* The value of one extended attribute; NULL when it is missing or there twice. */
const void *bundle_record(struct archive_entry *e, const char *wanted, size_t *len);
/* Why libarchive could not read on after so many members. */
enum status bundle_refuse_tar(struct archive *a, const struct source *src, size_t count,
                              struct fault *why);

#endif
