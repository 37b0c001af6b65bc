/* What manifest.c (the whole text) and manifest_row.c (its parts, which travel with each member)
 * share. Not for other modules. */
#ifndef SKYFERRY_MANIFEST_INNER_H
#define SKYFERRY_MANIFEST_INNER_H

#include <jansson.h>

#include "common/manifest.h"

/* New references, NULL when memory is out: all but the members; one object of "members". */
json_t *manifest_head_object(const struct manifest *m);
json_t *manifest_member_object(const struct member *one);
/* False, and out as it was, when root is NULL or memory is out. */
bool manifest_dump(const json_t *root, size_t flags, struct buf *out);

/* Text of the size and depth that a manifest may have; the caller drops *out. */
enum status manifest_load(const void *json, size_t len, json_t **out, struct fault *why);
enum status manifest_take_head(const json_t *root, struct manifest *out, struct fault *why);
/* `where` is put in front of keys in messages. */
enum status manifest_take_member(const json_t *from, const char *where, struct member *one,
                                 struct fault *why);

#endif
