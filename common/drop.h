/* The files of a drop folder (skyferry-drop(5)): how exposures travel to a far end that allows
 * SFTP and nothing else. push writes bundles there and asks by files, skyferry-pull run takes
 * them and answers by files; this module knows their names and their JSON, and does no I/O.
 *
 *   .NAME.ID8.bytes   arriving, at their offsets    .NAME.ID8.map   a line a chunk
 *   .NAME.ID8.commit  the side-car being written
 *   NAME.ID8.commit   the side-car: what OPEN and COMMIT say on the wire
 *   NAME.ID8.tar      the bundle, whole; gets its name last, after its side-car
 *   NAME.ID8.receipt  the answer: durable and named in the store
 *   NAME.ID8.refused  the answer: not taken, with grade and reason
 *   ask-X.json, answer-X.json   HAVE and HELD         far-end.json   WELCOME, kept fresh */
#ifndef SKYFERRY_DROP_H
#define SKYFERRY_DROP_H

#include "common/wire.h"

#define DROP_FAR_END "far-end.json"
#define DROP_BEAT_S 15   /* how often skyferry-pull touches far-end.json */
#define DROP_STALE_S 60  /* older than this: it does not run */
#define DROP_SIDE_MAX ((size_t)64 << 10)  /* longest side-car, receipt, refusal, far-end.json */
#define DROP_NAME 256    /* longest file name here, with its NUL */

enum drop_kind {
    DROP_PART, DROP_MAP, DROP_DRAFT, /* hidden: push's until the names are given */
    DROP_SIDE, DROP_TAR, DROP_RECEIPT, DROP_REFUSED,
    DROP_ASK, DROP_ANSWER,           /* `name` is X then */
    DROP_NONE                        /* no file of ours */
};

/* The name of a file about one bundle; name is fs_name_ok, id at least 8 digits. False when it
 * is too long for a file name. */
bool drop_name(enum drop_kind kind, const char *name, const char *id, char out[DROP_NAME]);
/* What a file name says. The id's first 8 digits go to id8. */
enum drop_kind drop_name_parse(const char *file, char name[MEMBER_NAME], char id8[9]);

struct drop_side {
    struct wire_open open;
    struct wire_commit commit;
};
bool drop_side_text(const struct drop_side *s, struct buf *out);
/* REJECT names what is wrong. */
enum status drop_side_parse(const void *json, size_t len, struct drop_side *out,
                            struct fault *why);

/* A line of the map: "OFFSET LENGTH CHECK\n". */
bool drop_map_add(struct buf *out, int64_t offset, int64_t length);
/* Every sound line below limit, in the order of the file; the others are left out. The array is
 * malloc'ed; false when memory is out. */
bool drop_map_read(const char *text, size_t len, int64_t limit, struct extent **have,
                   size_t *count);

#endif
