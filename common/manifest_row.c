/* The manifest in pieces: the row that travels with its member, and what one ccd follows from. */
#include <stdlib.h>
#include <string.h>

#include "common/manifest_inner.h"

/* The tar itself says these. */
static const char *const in_tar[] = {"name", "size", "sha256", NULL};

static int append_json(const char *text, size_t len, void *out)
{
    return buf_append(out, text, len) ? 0 : -1;
}

bool manifest_dump(const json_t *root, size_t flags, struct buf *out)
{
    size_t before = out->len;
    if (root && json_dump_callback(root, append_json, out, flags) == 0)
        return true;
    out->len = before;
    return false;
}

bool manifest_head_write(const struct manifest *m, struct buf *out)
{
    json_t *root = manifest_head_object(m);
    bool ok = manifest_dump(root, JSON_COMPACT, out);
    json_decref(root);
    return ok;
}

enum status manifest_head_parse(const void *json, size_t len, struct manifest *out,
                                struct fault *why)
{
    json_t *root;
    *out = (struct manifest){0};
    enum status s = manifest_load(json, len, &root, why);
    if (s == ST_OK)
        s = manifest_take_head(root, out, why);
    json_decref(root);
    return s;
}

bool manifest_row_write(const struct member *one, struct buf *out)
{
    json_t *row = manifest_member_object(one);
    for (const char *const *key = in_tar; row && *key; key++)
        json_object_del(row, *key);
    bool ok = manifest_dump(row, JSON_COMPACT, out);
    json_decref(row);
    return ok;
}

enum status manifest_row_parse(const void *json, size_t len, struct member *one,
                               struct fault *why)
{
    json_t *row;
    struct member read;
    enum status s = manifest_load(json, len, &row, why);
    if (s == ST_OK && (json_object_set_new(row, "name", json_string(one->name)) != 0 ||
                       json_object_set_new(row, "size", json_integer(one->size)) != 0 ||
                       json_object_set_new(row, "sha256", json_string(one->sha256)) != 0))
        s = fault(why, ST_REJECT, "member %s: its row is no JSON object", one->name);
    if (s == ST_OK)
        s = manifest_take_member(row, "row.", &read, why);
    if (s == ST_OK) {
        read.offset = one->offset;
        *one = read;
    }
    json_decref(row);
    return s;
}

bool manifest_of_hdu(const struct manifest *m, int hdu, struct manifest *out)
{
    *out = *m;
    out->members = NULL;
    out->count = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct member *one = &m->members[i];
        bool wanted = one->hdu == hdu || (one->hdu == 0 && one->role == MEMBER_HEADER);
        if (wanted && !manifest_add(out, one)) {
            manifest_free(out);
            return false;
        }
    }
    return true;
}

bool manifest_digest(const struct manifest *m, char hex[DIGEST_HEX])
{
    struct buf text = {0};
    bool ok = manifest_write(m, &text);
    if (ok)
        digest_bytes(text.data, text.len, hex);
    buf_free(&text);
    return ok;
}
