/* The JSON objects of the wire's frames and receipts as tables: a row says a key, what its
 * value may be and where it lives in a struct, so that what is written and what is checked
 * cannot drift apart. Used by common/wire_json.c only; json_t references are the caller's. */
#ifndef SKYFERRY_WIRE_BODY_H
#define SKYFERRY_WIRE_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/status.h"

enum body_kind {
    BODY_TEXT,   /* any text that fits */
    BODY_NAME,   /* fs_name_ok: it becomes part of a path */
    BODY_SOURCE, /* a file's name as the camera gave it: shown and kept, never opened */
    BODY_STORED, /* NIGHT/NAME.tar */
    BODY_NIGHT,
    BODY_DIGEST,
    BODY_NUMBER, /* any int64 */
    BODY_SIZE,   /* int64 >= 0 */
    BODY_SMALL,  /* int > 0 */
    BODY_FLAG
};

struct body_row {
    const char *key;
    enum body_kind kind;
    size_t at, room;
    bool optional; /* absent: zero; a flag that is false is left out */
};

/* A row for a member of a struct, of the member's own name. */
#define BODY_ROW(type, member, kind, optional) \
    {#member, kind, offsetof(struct type, member), sizeof(((struct type *)0)->member), optional}

/* NULL when memory is out. */
json_t *body_make(const struct body_row *rows, size_t count, const void *from);
/* REJECT names the key. Keys without a row are ignored. */
enum status body_read(const struct body_row *rows, size_t count, const json_t *obj, void *to,
                      struct fault *why);

/* JSON as a text value, also of bytes that are no UTF-8. */
json_t *body_text(const char *text);
/* Appends the compact text; takes the reference, also of NULL (false). */
bool body_put(json_t *j, struct buf *out);
/* NULL and *why when the bytes are no JSON. */
json_t *body_load(const void *json, size_t len, struct fault *why);

#endif
