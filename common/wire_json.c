/* The JSON bodies of the wire's frames, skyferry-wire(5). */
#include <stdlib.h>
#include <string.h>

#include "common/wire.h"
#include "common/wire_body.h"

static const struct body_row hello_rows[] = {
    BODY_ROW(wire_hello, protocol, BODY_SMALL, false),
    BODY_ROW(wire_hello, software, BODY_TEXT, false),
    BODY_ROW(wire_hello, agent, BODY_TEXT, false),
    BODY_ROW(wire_hello, free_bytes, BODY_SIZE, true),
    BODY_ROW(wire_hello, exact, BODY_FLAG, true),
};
static const struct body_row open_rows[] = {
    BODY_ROW(wire_open, id, BODY_DIGEST, false),
    BODY_ROW(wire_open, name, BODY_NAME, false),
    BODY_ROW(wire_open, date_obs, BODY_TEXT, false),
    BODY_ROW(wire_open, mtime_ns, BODY_NUMBER, false),
    BODY_ROW(wire_open, resume, BODY_FLAG, false),
    BODY_ROW(wire_open, exact, BODY_FLAG, true),
};
static const struct body_row commit_rows[] = {
    BODY_ROW(wire_commit, size, BODY_SIZE, false),
    BODY_ROW(wire_commit, sha256, BODY_DIGEST, false),
    BODY_ROW(wire_commit, source_name, BODY_SOURCE, false),
    BODY_ROW(wire_commit, source_size, BODY_SIZE, false),
    BODY_ROW(wire_commit, source_sha256, BODY_DIGEST, false),
    BODY_ROW(wire_commit, noticed_ns, BODY_NUMBER, true),
    BODY_ROW(wire_commit, encoded_ns, BODY_NUMBER, true),
    BODY_ROW(wire_commit, exact, BODY_FLAG, true),
};
static const struct body_row receipt_rows[] = {
    BODY_ROW(receipt, id, BODY_DIGEST, false),
    BODY_ROW(receipt, name, BODY_NAME, false),
    BODY_ROW(receipt, stored, BODY_STORED, false),
    BODY_ROW(receipt, night, BODY_NIGHT, false),
    BODY_ROW(receipt, size, BODY_SIZE, false),
    BODY_ROW(receipt, sha256, BODY_DIGEST, false),
    BODY_ROW(receipt, source_name, BODY_SOURCE, false),
    BODY_ROW(receipt, source_size, BODY_SIZE, false),
    BODY_ROW(receipt, source_sha256, BODY_DIGEST, false),
    BODY_ROW(receipt, noticed_ns, BODY_NUMBER, true),
    BODY_ROW(receipt, encoded_ns, BODY_NUMBER, true),
    BODY_ROW(receipt, first_ns, BODY_NUMBER, false),
    BODY_ROW(receipt, stored_ns, BODY_NUMBER, false),
    BODY_ROW(receipt, exact, BODY_FLAG, true),
};
static const struct body_row have_rows[] = {
    BODY_ROW(wire_have, name, BODY_NAME, false),
    BODY_ROW(wire_have, date_obs, BODY_TEXT, false),
    BODY_ROW(wire_have, mtime_ns, BODY_NUMBER, false),
    BODY_ROW(wire_have, source_size, BODY_SIZE, false),
    BODY_ROW(wire_have, source_sha256, BODY_DIGEST, false),
    BODY_ROW(wire_have, exact, BODY_FLAG, true),
};

/* A body that is one object. */
struct object_kind {
    const char *what; /* in messages */
    const struct body_row *rows;
    size_t count, size;
};
#define OBJECT(what, type, rows) {what, rows, sizeof(rows) / sizeof(rows)[0], sizeof(struct type)}

static const struct object_kind hello_object = OBJECT("greeting", wire_hello, hello_rows);
static const struct object_kind open_object = OBJECT("OPEN", wire_open, open_rows);
static const struct object_kind commit_object = OBJECT("COMMIT", wire_commit, commit_rows);
static const struct object_kind receipt_object = OBJECT("receipt", receipt, receipt_rows);
static const struct object_kind have_object = OBJECT("HAVE", wire_have, have_rows);

static bool object_text(const struct object_kind *k, const void *from, struct buf *out)
{
    return body_put(body_make(k->rows, k->count, from), out);
}

/* Whole or not at all: *to keeps its old content on REJECT. */
static enum status object_parse(const struct object_kind *k, json_t *loaded, void *to,
                                struct fault *why)
{
    void *fresh = calloc(1, k->size);
    enum status st = ST_REJECT;
    if (!fresh)
        st = fault(why, ST_RETRY, "out of memory");
    else if (loaded)
        st = body_read(k->rows, k->count, loaded, fresh, why);
    if (st == ST_OK)
        memcpy(to, fresh, k->size);
    else if (why)
        fault_within(why, "%s: ", k->what);
    free(fresh);
    json_decref(loaded);
    return st;
}

/* ---- what decoding costs ---- */

static json_t *decoding_make(const struct wire_decoding *d)
{
    json_t *j = json_object(), *by = json_array();
    for (int i = 0; i < d->count; i++)
        json_array_append_new(by, json_pack("{s:s,s:f,s:f}", "codec", d->by[i].codec, "ns",
                                            d->by[i].ns, "ratio", d->by[i].ratio));
    json_object_set_new(j, "threads", json_integer(d->threads));
    json_object_set_new(j, "by", by);
    return j;
}

static bool decoder_read(const json_t *j, struct wire_decoder *d)
{
    const char *codec = json_string_value(json_object_get(j, "codec"));
    double ns = json_number_value(json_object_get(j, "ns"));
    double ratio = json_number_value(json_object_get(j, "ratio"));
    if (!codec || !codec[0] || strlen(codec) >= sizeof d->codec || !(ns > 0 && ns < 1e6) ||
        !(ratio > 0 && ratio < 1e6))
        return false;
    *d = (struct wire_decoder){.ns = ns, .ratio = ratio};
    memcpy(d->codec, codec, strlen(codec));
    return true;
}

static bool decoding_read(const json_t *j, struct wire_decoding *out)
{
    const json_t *by = json_object_get(j, "by"), *one;
    json_int_t threads = json_integer_value(json_object_get(j, "threads"));
    size_t i;
    if (threads < 1 || threads > 65536 || !json_is_array(by))
        return false;
    *out = (struct wire_decoding){.threads = (int)threads};
    json_array_foreach(by, i, one)
        if (out->count < WIRE_DECODERS && decoder_read(one, &out->by[out->count]))
            out->count++;
    return true;
}

bool wire_decoding_text(const struct wire_decoding *d, struct buf *out)
{
    return body_put(decoding_make(d), out);
}

enum status wire_decoding_parse(const void *json, size_t len, struct wire_decoding *out,
                                struct fault *why)
{
    json_t *j = body_load(json, len, why);
    enum status st = j ? ST_OK : ST_REJECT;
    if (j && !decoding_read(j, out))
        st = fault(why, ST_REJECT, "threads or by is missing, or makes no sense");
    json_decref(j);
    return st;
}

bool wire_hello_text(const struct wire_hello *h, struct buf *out)
{
    json_t *j = body_make(hello_object.rows, hello_object.count, h);
    if (j && h->decoding.threads > 0)
        json_object_set_new(j, "decoding", decoding_make(&h->decoding));
    return body_put(j, out);
}

enum status wire_hello_parse(const void *json, size_t len, struct wire_hello *out,
                             struct fault *why)
{
    json_t *j = body_load(json, len, why);
    struct wire_decoding d = {0};
    if (j)
        decoding_read(json_object_get(j, "decoding"), &d);
    enum status st = object_parse(&hello_object, j, out, why);
    if (st == ST_OK)
        out->decoding = d;
    return st;
}

bool wire_open_text(const struct wire_open *o, struct buf *out)
{
    return object_text(&open_object, o, out);
}

enum status wire_open_parse(const void *json, size_t len, struct wire_open *out, struct fault *why)
{
    return object_parse(&open_object, body_load(json, len, why), out, why);
}

bool wire_commit_text(const struct wire_commit *c, struct buf *out)
{
    return object_text(&commit_object, c, out);
}

enum status wire_commit_parse(const void *json, size_t len, struct wire_commit *out,
                              struct fault *why)
{
    return object_parse(&commit_object, body_load(json, len, why), out, why);
}

bool receipt_text(const struct receipt *r, struct buf *out)
{
    return object_text(&receipt_object, r, out);
}

enum status receipt_parse(const void *json, size_t len, struct receipt *out, struct fault *why)
{
    return object_parse(&receipt_object, body_load(json, len, why), out, why);
}

bool wire_refused_text(const struct fault *f, const char *about, struct buf *out)
{
    json_t *j = json_object();
    if (json_object_set_new(j, "grade", json_string(status_name(f->grade))) != 0 ||
        json_object_set_new(j, "reason", body_text(f->text)) != 0 ||
        json_object_set_new(j, "about", json_string(about)) != 0) {
        json_decref(j);
        j = NULL;
    }
    return body_put(j, out);
}

static enum status grade_of(const char *word)
{
    if (strcmp(word, "wait") == 0)
        return ST_WAIT;
    if (strcmp(word, "retry") == 0 || strcmp(word, "fatal") == 0)
        return ST_RETRY;
    return strcmp(word, "reject") == 0 ? ST_REJECT : ST_OK;
}

enum status wire_refused_parse(const void *json, size_t len, struct fault *why)
{
    json_t *j = body_load(json, len, why);
    const char *reason = json_string_value(json_object_get(j, "reason"));
    const char *word = json_string_value(json_object_get(j, "grade"));
    enum status st = word ? grade_of(word) : ST_OK;
    if (!reason || st == ST_OK)
        st = fault(why, ST_REJECT, "REFUSED: the far end's reason cannot be read");
    else
        fault(why, st, "%s", reason);
    json_decref(j);
    return st;
}

/* A body that is one list, {key: [...]}: how one entry is made and read. */
struct list_kind {
    const char *what, *key;
    size_t size; /* of an entry in memory */
    json_t *(*make)(const void *entry);
    /* before: the entry read last, NULL at the first. */
    enum status (*read)(const json_t *j, void *entry, const void *before, struct fault *why);
};

static bool list_text(const struct list_kind *k, const void *entries, size_t count, struct buf *out)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, k->make((const char *)entries + i * k->size)) != 0) {
            json_decref(list);
            list = NULL;
        }
    json_t *j = json_object();
    if (json_object_set_new(j, k->key, list) != 0) {
        json_decref(j);
        j = NULL;
    }
    return body_put(j, out);
}

static enum status read_list(const struct list_kind *k, const json_t *list, char *entries,
                             struct fault *why)
{
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        char *entry = entries + i * k->size;
        if (k->read(one, entry, i > 0 ? entry - k->size : NULL, why) != ST_OK)
            return fault_within(why, "entry %zu of '%s': ", i, k->key);
    }
    return ST_OK;
}

static enum status list_parse(const struct list_kind *k, json_t *loaded, void **entries,
                              size_t *count, struct fault *why)
{
    struct fault own;
    struct fault *say = why ? why : &own;
    json_t *list = json_object_get(loaded, k->key);
    size_t n = json_array_size(list);
    char *all = calloc(n + 1, k->size);
    enum status st = ST_REJECT;
    if (!loaded)
        ; /* load has said why */
    else if (!json_is_array(list))
        fault(say, st, "the key '%s' is missing or no list", k->key);
    else if (!all)
        st = fault(say, ST_RETRY, "out of memory");
    else
        st = read_list(k, list, all, say);
    json_decref(loaded);
    if (st != ST_OK) {
        free(all);
        return fault_within(say, "%s: ", k->what);
    }
    *entries = all;
    *count = n;
    return ST_OK;
}

static json_t *extent_make(const void *entry)
{
    const struct extent *e = entry;
    return json_pack("[I,I]", (json_int_t)e->offset, (json_int_t)e->length);
}

static enum status extent_read(const json_t *j, void *entry, const void *before, struct fault *why)
{
    const struct extent *last = before;
    struct extent *e = entry;
    const json_t *a = json_array_get(j, 0), *b = json_array_get(j, 1);
    if (json_array_size(j) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return fault(why, ST_REJECT, "it is no pair of numbers");
    *e = (struct extent){json_integer_value(a), json_integer_value(b)};
    if (e->offset < (last ? last->offset + last->length : 0) || e->length < 1 ||
        e->length > INT64_MAX - e->offset)
        return fault(why, ST_REJECT, "it is no range behind the one before it");
    return ST_OK;
}

static json_t *have_make(const void *entry)
{
    return body_make(have_object.rows, have_object.count, entry);
}

static enum status have_read(const json_t *j, void *entry, const void *before, struct fault *why)
{
    (void)before;
    return body_read(have_object.rows, have_object.count, j, entry, why);
}

static json_t *held_make(const void *entry)
{
    return json_boolean(*(const bool *)entry);
}

static enum status held_read(const json_t *j, void *entry, const void *before, struct fault *why)
{
    (void)before;
    *(bool *)entry = json_is_true(j);
    return json_is_boolean(j) ? ST_OK : fault(why, ST_REJECT, "it is neither true nor false");
}

static const struct list_kind opened_list = {
    "OPENED", "have", sizeof(struct extent), extent_make, extent_read};
static const struct list_kind have_list = {
    "HAVE", "exposures", sizeof(struct wire_have), have_make, have_read};
static const struct list_kind held_list = {"HELD", "held", sizeof(bool), held_make, held_read};

bool wire_opened_text(const struct extent *have, size_t count, struct buf *out)
{
    return list_text(&opened_list, have, count, out);
}

enum status wire_opened_parse(const void *json, size_t len, struct extent **have, size_t *count,
                              struct fault *why)
{
    void *entries;
    enum status st = list_parse(&opened_list, body_load(json, len, why), &entries, count, why);
    if (st == ST_OK)
        *have = entries;
    return st;
}

bool wire_have_text(const struct wire_have *asked, size_t count, struct buf *out)
{
    return list_text(&have_list, asked, count, out);
}

enum status wire_have_parse(const void *json, size_t len, struct wire_have **asked, size_t *count,
                            struct fault *why)
{
    void *entries;
    enum status st = list_parse(&have_list, body_load(json, len, why), &entries, count, why);
    if (st == ST_OK)
        *asked = entries;
    return st;
}

bool wire_held_text(const bool *held, size_t count, struct buf *out)
{
    return list_text(&held_list, held, count, out);
}

enum status wire_held_parse(const void *json, size_t len, bool *held, size_t count,
                            struct fault *why)
{
    void *entries;
    size_t n;
    enum status st = list_parse(&held_list, body_load(json, len, why), &entries, &n, why);
    if (st != ST_OK)
        return st;
    if (n != count)
        st = fault(why, ST_REJECT, "HELD: %zu answers to %zu questions", n, count);
    else
        memcpy(held, entries, n * sizeof *held);
    free(entries);
    return st;
}
