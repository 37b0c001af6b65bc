#include "common/drop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fsutil.h"
#include "common/wire_body.h"

#define FORMAT "skyferry-drop"
#define VERSION 1

static const struct kind_row {
    const char *before, *after;
    bool has_id;
} kinds[] = {
    [DROP_PART] = {".", ".bytes", true},        [DROP_MAP] = {".", ".map", true},
    [DROP_DRAFT] = {".", ".commit", true},     [DROP_SIDE] = {"", ".commit", true},
    [DROP_TAR] = {"", ".tar", true},           [DROP_RECEIPT] = {"", ".receipt", true},
    [DROP_REFUSED] = {"", ".refused", true},   [DROP_ASK] = {"ask-", ".json", false},
    [DROP_ANSWER] = {"answer-", ".json", false},
};

bool drop_name(enum drop_kind kind, const char *name, const char *id, char out[DROP_NAME])
{
    const struct kind_row *k = &kinds[kind];
    int n = k->has_id ? snprintf(out, DROP_NAME, "%s%s.%.8s%s", k->before, name, id, k->after)
                      : snprintf(out, DROP_NAME, "%s%s%s", k->before, name, k->after);
    return n > 0 && n < DROP_NAME;
}

static bool is_id8(const char *text)
{
    return strspn(text, "0123456789abcdef") == 8;
}

/* The row's own name, and nothing else that looks like it. */
static bool fits(const struct kind_row *k, const char *file, char name[MEMBER_NAME], char id8[9])
{
    size_t len = strlen(file), before = strlen(k->before), after = strlen(k->after);
    size_t id = k->has_id ? 9 : 0; /* with its dot */
    if (len <= before + after + id || len - before - after - id >= MEMBER_NAME ||
        strncmp(file, k->before, before) != 0 || strcmp(file + len - after, k->after) != 0)
        return false;
    size_t stem = len - before - after - id;
    id8[0] = '\0';
    if (k->has_id) {
        const char *at = file + before + stem;
        if (at[0] != '.' || !is_id8(at + 1))
            return false;
        snprintf(id8, 9, "%.8s", at + 1);
    }
    snprintf(name, MEMBER_NAME, "%.*s", (int)stem, file + before);
    return fs_name_ok(name);
}

enum drop_kind drop_name_parse(const char *file, char name[MEMBER_NAME], char id8[9])
{
    for (int k = 0; k < DROP_NONE; k++)
        if (fits(&kinds[k], file, name, id8))
            return (enum drop_kind)k;
    return DROP_NONE;
}

/* ---- the side-car ---- */

static json_t *part_of(bool (*text)(const void *from, struct buf *out), const void *from)
{
    struct buf b = {0};
    json_t *j = text(from, &b) ? json_loadb((const char *)b.data, b.len, 0, NULL) : NULL;
    buf_free(&b);
    return j;
}

static bool open_text(const void *from, struct buf *out)
{
    return wire_open_text(from, out);
}

static bool commit_text(const void *from, struct buf *out)
{
    return wire_commit_text(from, out);
}

bool drop_side_text(const struct drop_side *s, struct buf *out)
{
    json_t *open = part_of(open_text, &s->open), *commit = part_of(commit_text, &s->commit);
    json_t *all = open && commit ? json_pack("{s:s,s:i,s:O,s:O}", "format", FORMAT, "version",
                                             VERSION, "open", open, "commit", commit) : NULL;
    json_decref(open);
    json_decref(commit);
    return body_put(all, out) && buf_append(out, "\n", 1);
}

static enum status side_read(const json_t *all, struct drop_side *out, struct fault *why)
{
    struct buf open = {0}, commit = {0};
    const char *format = json_string_value(json_object_get(all, "format"));
    json_t *o = json_object_get(all, "open"), *c = json_object_get(all, "commit");
    enum status st;
    if (!format || strcmp(format, FORMAT) != 0 || !json_is_object(o) || !json_is_object(c))
        return fault(why, ST_REJECT, "it is no side-car of a drop");
    if (json_integer_value(json_object_get(all, "version")) != VERSION)
        return fault(why, ST_REJECT, "its version is not %d: install the same release on both "
                     "sides", VERSION);
    if (!body_put(json_incref(o), &open) || !body_put(json_incref(c), &commit))
        st = fault(why, ST_RETRY, "out of memory");
    else if ((st = wire_open_parse(open.data, open.len, &out->open, why)) == ST_OK)
        st = wire_commit_parse(commit.data, commit.len, &out->commit, why);
    buf_free(&open);
    buf_free(&commit);
    return st;
}

enum status drop_side_parse(const void *json, size_t len, struct drop_side *out, struct fault *why)
{
    struct drop_side fresh;
    json_t *all = body_load(json, len, why);
    if (!all)
        return ST_REJECT;
    memset(&fresh, 0, sizeof fresh);
    enum status st = side_read(all, &fresh, why);
    if (st == ST_OK)
        *out = fresh;
    json_decref(all);
    return st;
}

/* ---- the map ---- */

/* 32-bit FNV-1a (Fowler, Noll, Vo) of the line's two numbers as written. */
static uint32_t check_of(const char *text, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h;
}

bool drop_map_add(struct buf *out, int64_t offset, int64_t length)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%" PRId64 " %" PRId64, offset, length);
    return buf_printf(out, "%s %08" PRIx32 "\n", line, check_of(line, (size_t)n));
}

static bool read_line(const char *line, size_t len, struct extent *out)
{
    char copy[64], numbers[64];
    uint32_t check;
    int used = 0;
    if (len >= sizeof copy)
        return false;
    memcpy(copy, line, len);
    copy[len] = '\0';
    if (sscanf(copy, "%" SCNd64 " %" SCNd64 " %8" SCNx32 "%n", &out->offset, &out->length, &check,
               &used) != 3 || (size_t)used != len)
        return false;
    int n = snprintf(numbers, sizeof numbers, "%" PRId64 " %" PRId64, out->offset, out->length);
    return check == check_of(numbers, (size_t)n) && out->offset >= 0 && out->length > 0;
}

bool drop_map_read(const char *text, size_t len, int64_t limit, struct extent **have,
                   size_t *count)
{
    const char *end = text + len;
    size_t lines = 1;
    for (const char *p = text; p < end; p++)
        lines += *p == '\n';
    *count = 0;
    *have = malloc(lines * sizeof **have);
    if (!*have)
        return false;
    for (const char *p = text, *stop; p < end; p = stop + 1) {
        struct extent e;
        stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            break; /* torn: its chunk is sent again */
        if (read_line(p, (size_t)(stop - p), &e) && e.offset < limit &&
            e.length <= limit - e.offset)
            (*have)[(*count)++] = e;
    }
    return true;
}
