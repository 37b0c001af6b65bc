#include "common/wire_body.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/digest.h"
#include "common/fsutil.h"
#include "common/manifest.h"
#include "common/night.h"

/* JSON is UTF-8, a file's name need not be: there every foreign byte becomes '?'. */
json_t *body_text(const char *text)
{
    json_t *j = json_string(text);
    if (j)
        return j;
    char *plain = strdup(text);
    if (!plain)
        return NULL;
    for (char *p = plain; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    j = json_string(plain);
    free(plain);
    return j;
}

static json_t *value_json(const struct body_row *row, const void *field)
{
    switch (row->kind) {
    case BODY_NUMBER:
    case BODY_SIZE:
        return json_integer(*(const int64_t *)field);
    case BODY_SMALL:
        return json_integer(*(const int *)field);
    case BODY_FLAG:
        return json_boolean(*(const bool *)field);
    default:
        return body_text(field);
    }
}

static bool is_left_out(const struct body_row *row, const void *field)
{
    return row->optional && row->kind == BODY_FLAG && !*(const bool *)field;
}

json_t *body_make(const struct body_row *rows, size_t count, const void *from)
{
    json_t *obj = json_object();
    for (size_t i = 0; obj && i < count; i++) {
        const void *field = (const char *)from + rows[i].at;
        if (is_left_out(&rows[i], field))
            continue;
        if (json_object_set_new(obj, rows[i].key, value_json(&rows[i], field)) != 0) {
            json_decref(obj);
            obj = NULL;
        }
    }
    return obj;
}

bool body_put(json_t *j, struct buf *out)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    bool ok = text && buf_append(out, text, strlen(text));
    free(text);
    json_decref(j);
    return ok;
}

static bool source_ok(const char *text)
{
    if (text[0] == '\0' || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return false;
    for (const char *p = text; *p; p++)
        if (*p == '/' || iscntrl((unsigned char)*p))
            return false;
    return true;
}

static bool stored_ok(const char *text)
{
    char part[MEMBER_NAME];
    const char *slash = strchr(text, '/');
    size_t len = strlen(text);
    if (!slash || len < 4 || strcmp(text + len - 4, ".tar") != 0)
        return false;
    snprintf(part, sizeof part, "%.*s", (int)(slash - text), text);
    if (!night_valid(part))
        return false;
    /* The number that tells bundles of one name apart may make it longer than a name. */
    for (const char *p = slash + 1; *p; p++)
        if (*p == '/' || iscntrl((unsigned char)*p))
            return false;
    return slash[1] != '.' && slash[1] != '-';
}

static bool text_ok(enum body_kind kind, const char *text)
{
    switch (kind) {
    case BODY_NAME:
        return fs_name_ok(text);
    case BODY_SOURCE:
        return source_ok(text);
    case BODY_STORED:
        return stored_ok(text);
    case BODY_NIGHT:
        return night_valid(text);
    case BODY_DIGEST:
        return digest_valid(text);
    default:
        return true;
    }
}

static bool read_number(const struct body_row *row, const json_t *v, void *field)
{
    if (!json_is_integer(v))
        return false;
    json_int_t n = json_integer_value(v);
    if (row->kind == BODY_SMALL) {
        if (n < 1 || n > INT32_MAX)
            return false;
        *(int *)field = (int)n;
        return true;
    }
    if (row->kind == BODY_SIZE && n < 0)
        return false;
    *(int64_t *)field = n;
    return true;
}

static bool read_value(const struct body_row *row, const json_t *v, void *field)
{
    switch (row->kind) {
    case BODY_NUMBER:
    case BODY_SIZE:
    case BODY_SMALL:
        return read_number(row, v, field);
    case BODY_FLAG:
        *(bool *)field = json_is_true(v);
        return json_is_boolean(v);
    default:
        if (!json_is_string(v) || json_string_length(v) >= row->room ||
            !text_ok(row->kind, json_string_value(v)))
            return false;
        snprintf(field, row->room, "%s", json_string_value(v));
        return true;
    }
}

/* A value in a message: printable, cut short. */
static void show(char out[60], const json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    snprintf(out, 60, "%s", text ? text : "?");
    if (text && strlen(text) >= 60)
        memcpy(out + 56, "...", 4);
    free(text);
}

enum status body_read(const struct body_row *rows, size_t count, const json_t *obj, void *to,
                      struct fault *why)
{
    if (!json_is_object(obj))
        return fault(why, ST_REJECT, "it is no JSON object");
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_object_get(obj, rows[i].key);
        if (!v && rows[i].optional)
            continue;
        if (!v)
            return fault(why, ST_REJECT, "the key '%s' is missing", rows[i].key);
        if (!read_value(&rows[i], v, (char *)to + rows[i].at)) {
            char shown[60];
            show(shown, v);
            return fault(why, ST_REJECT, "the key '%s' may not be %s", rows[i].key, shown);
        }
    }
    return ST_OK;
}

json_t *body_load(const void *json, size_t len, struct fault *why)
{
    json_error_t err;
    json_t *j = json_loadb(json ? json : "", len, JSON_REJECT_DUPLICATES, &err);
    if (!j)
        fault(why, ST_REJECT, "it is no JSON: %s", err.text);
    return j;
}
