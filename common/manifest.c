#include "common/manifest_inner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/fits.h"
#include "common/fsutil.h"

/* Far above what FITS_MAX_HDUS needs; keeps a hostile manifest from taking a hundred
 * times its own size in memory. */
#define JSON_DEPTH_MAX 16
#define JSON_VALUES_MAX 1000000

enum kind { TEXT, NAME, FILENAME, WORD, DIGEST, ROLE, INT, INT64, REAL };

/* One JSON key and the struct member it stands for: writer and parser read the same rows. */
struct field {
    const char *key;
    enum kind kind;
    size_t at, size;  /* where in the struct; size of a text */
    int64_t min, max; /* of numbers */
    bool optional;    /* left out when the header did not say */
};

#define TEXT_OF(s, m) offsetof(struct s, m), sizeof(((struct s *)0)->m), 0, 0
#define NUMBER_OF(s, m, lo, hi) offsetof(struct s, m), 0, lo, hi

static const struct field top_fields[] = {
    {"format", INT, NUMBER_OF(manifest, format, MANIFEST_FORMAT, MANIFEST_FORMAT), false},
    {"software", TEXT, TEXT_OF(manifest, software), false},
    {"name", NAME, TEXT_OF(manifest, name), false},
    {0},
};

static const struct field source_fields[] = {
    {"name", FILENAME, TEXT_OF(manifest, source_name), false},
    {"size", INT64, NUMBER_OF(manifest, source_size, 0, INT64_MAX), false},
    {"mtime_ns", INT64, NUMBER_OF(manifest, source_mtime_ns, INT64_MIN, INT64_MAX), false},
    {"sha256", DIGEST, TEXT_OF(manifest, source_sha256), false},
    {0},
};

static const struct field facts_fields[] = {
    {"expnum", INT64, NUMBER_OF(facts, expnum, 0, INT64_MAX), true},
    {"object", TEXT, TEXT_OF(facts, object), true},
    {"filter", TEXT, TEXT_OF(facts, filter), true},
    {"obstype", TEXT, TEXT_OF(facts, obstype), true},
    {"propid", TEXT, TEXT_OF(facts, propid), true},
    {"date_obs", TEXT, TEXT_OF(facts, date_obs), true},
    {"date_ns", INT64, NUMBER_OF(facts, date_ns, INT64_MIN + 1, INT64_MAX), true},
    {"exptime", REAL, NUMBER_OF(facts, exptime, -1000000000, 1000000000), true},
    {0},
};

static const struct field visit_fields[] = {
    {"name", NAME, TEXT_OF(visit, name), false},
    {"ccd", INT, NUMBER_OF(visit, ccd, 1, MANIFEST_CCD_MAX), false},
    {"ccds", INT, NUMBER_OF(visit, ccds, 1, MANIFEST_CCD_MAX), false},
    {"coming", INT, NUMBER_OF(visit, coming, 0, MANIFEST_CCD_MAX), false},
    {0},
};

static const struct field member_fields[] = {
    {"name", NAME, TEXT_OF(member, name), false},
    {"role", ROLE, NUMBER_OF(member, role, 0, 0), false},
    {"hdu", INT, NUMBER_OF(member, hdu, -1, FITS_MAX_HDUS - 1), false},
    {"ccd", INT, NUMBER_OF(member, ccd, 0, MANIFEST_CCD_MAX), false},
    {"extname", TEXT, TEXT_OF(member, extname), false},
    {"codec", WORD, TEXT_OF(member, codec), false},
    {"qstep", REAL, NUMBER_OF(member, qstep, 0, 1), false},
    {"size", INT64, NUMBER_OF(member, size, 0, INT64_MAX), false},
    {"raw_size", INT64, NUMBER_OF(member, raw_size, 0, INT64_MAX), false},
    {"sha256", DIGEST, TEXT_OF(member, sha256), false},
    {0},
};

#define ADU_MAX (1LL << 62)
static const struct field measured_fields[] = {
    {"sky", REAL, NUMBER_OF(measures, sky, -ADU_MAX, ADU_MAX), true},
    {"noise", REAL, NUMBER_OF(measures, noise, 0, ADU_MAX), true},
    {"read_noise", REAL, NUMBER_OF(measures, read_noise, 0, ADU_MAX), true},
    {"gain", REAL, NUMBER_OF(measures, gain, 0, ADU_MAX), true},
    {"rms_error", REAL, NUMBER_OF(measures, rms_error, 0, ADU_MAX), true},
    {"max_error", REAL, NUMBER_OF(measures, max_error, 0, ADU_MAX), true},
    {"bound", REAL, NUMBER_OF(measures, bound, 0, ADU_MAX), true},
    {"exact_pixels", INT64, NUMBER_OF(measures, exact_pixels, 1, INT64_MAX), true},
    {"datasum", INT64, NUMBER_OF(measures, datasum, 0, UINT32_MAX), true},
    {0},
};

const struct measures measures_none = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, -1};

static const char *const role_words[] = {"image", "header", "exact", "hdu"};
#define ROLES (sizeof role_words / sizeof *role_words)

bool manifest_add(struct manifest *m, const struct member *one)
{
    /* Grown at powers of two, so that the struct needs no capacity of its own. */
    if ((m->count & (m->count - 1)) == 0) {
        size_t cap = m->count ? m->count * 2 : 1;
        struct member *grown = realloc(m->members, cap * sizeof *grown);
        if (!grown)
            return false;
        m->members = grown;
    }
    m->members[m->count++] = *one;
    return true;
}

void manifest_free(struct manifest *m)
{
    free(m->members);
    *m = (struct manifest){0};
}

bool manifest_is_exact(const struct manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == MEMBER_IMAGE && m->members[i].qstep > 0)
            return false;
    return true;
}

/* ---- writing ---- */

/* JSON is UTF-8 and a file name may be any bytes: what is no UTF-8 becomes '_'. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char *plain = strdup(text);
    if (!plain)
        return NULL;
    for (char *p = plain; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '_';
    value = json_string(plain);
    free(plain);
    return value;
}

/* Floats may hold anything, and so may their sky: what a reader would refuse is not said. */
static bool is_unsaid(const struct field *f, const void *at)
{
    switch (f->kind) {
    case INT64:
        return *(const int64_t *)at < f->min;
    case REAL:
        return !(*(const double *)at >= (double)f->min && *(const double *)at <= (double)f->max);
    default:
        return *(const char *)at == '\0';
    }
}

static json_t *field_value(const struct field *f, const void *at)
{
    switch (f->kind) {
    case INT:
        return json_integer(*(const int *)at);
    case INT64:
        return json_integer(*(const int64_t *)at);
    case REAL:
        return json_real(*(const double *)at);
    case ROLE: {
        unsigned role = *(const enum member_role *)at;
        return role < ROLES ? json_string(role_words[role]) : NULL;
    }
    default:
        return text_value(at);
    }
}

static bool put_fields(json_t *to, const struct field *rows, const void *from)
{
    for (const struct field *f = rows; f->key; f++) {
        const void *at = (const char *)from + f->at;
        if (f->optional && is_unsaid(f, at))
            continue;
        if (json_object_set_new(to, f->key, field_value(f, at)) != 0)
            return false;
    }
    return true;
}

static json_t *object_of(const struct field *rows, const void *from)
{
    json_t *object = json_object();
    if (object && !put_fields(object, rows, from)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *manifest_member_object(const struct member *one)
{
    json_t *object = object_of(member_fields, one);
    json_t *measured = object_of(measured_fields, &one->measured);
    bool said = json_object_size(measured) > 0;
    if (object && measured && (!said || json_object_set(object, "measured", measured) == 0)) {
        json_decref(measured);
        return object;
    }
    json_decref(measured);
    json_decref(object);
    return NULL;
}

json_t *manifest_head_object(const struct manifest *m)
{
    json_t *root = object_of(top_fields, m);
    if (root && json_object_set_new(root, "source", object_of(source_fields, m)) == 0 &&
        json_object_set_new(root, "facts", object_of(facts_fields, &m->facts)) == 0 &&
        (!m->visit.name[0] ||
         json_object_set_new(root, "visit", object_of(visit_fields, &m->visit)) == 0))
        return root;
    json_decref(root);
    return NULL;
}

bool manifest_write(const struct manifest *m, struct buf *out)
{
    json_t *list = json_array(), *root = manifest_head_object(m);
    bool ok = json_object_set_new(root, "members", list) == 0;
    for (size_t i = 0; ok && i < m->count; i++)
        ok = json_array_append_new(list, manifest_member_object(&m->members[i])) == 0;
    ok = ok && manifest_dump(root, JSON_INDENT(1), out) && buf_append(out, "\n", 1);
    json_decref(root);
    return ok;
}

/* ---- parsing ---- */

static bool has_control(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

static bool is_word(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-")] == '\0';
}

/* A name as the observatory's file system knows it: blanks may be in it, a path may not. */
static bool is_filename(const char *text)
{
    return *text && !strchr(text, '/') && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

/* What is wrong with this text for this field, NULL: nothing. */
static const char *text_flaw(const struct field *f, const char *text)
{
    if (strlen(text) >= f->size)
        return "is too long";
    if (has_control(text))
        return "holds control characters";
    if (f->kind == NAME && !fs_name_ok(text))
        return "is no safe file name";
    if (f->kind == FILENAME && !is_filename(text))
        return "is no file name";
    if (f->kind == DIGEST && !digest_valid(text))
        return "is no SHA-256";
    if (f->kind == WORD && !is_word(text))
        return "is no word of small letters and digits";
    return NULL;
}

static enum status take_text(const struct field *f, const json_t *value, const char *where,
                             void *at, struct fault *why)
{
    if (!json_is_string(value))
        return fault(why, ST_REJECT, MANIFEST_NAME ": %s%s is no text", where, f->key);
    const char *text = json_string_value(value);
    if (f->kind == ROLE) {
        for (unsigned role = 0; role < ROLES; role++)
            if (strcmp(text, role_words[role]) == 0) {
                *(enum member_role *)at = role;
                return ST_OK;
            }
        return fault(why, ST_REJECT, MANIFEST_NAME ": %s%s is none of image, header, exact, hdu", where,
                     f->key);
    }
    const char *flaw = text_flaw(f, text);
    if (flaw)
        return fault(why, ST_REJECT, MANIFEST_NAME ": %s%s %s", where, f->key, flaw);
    memcpy(at, text, strlen(text) + 1);
    return ST_OK;
}

static enum status take_number(const struct field *f, const json_t *value, const char *where,
                               void *at, struct fault *why)
{
    bool fits;
    if (f->kind == REAL) {
        double x = json_number_value(value);
        fits = json_is_number(value) && x >= (double)f->min && x <= (double)f->max;
        if (fits)
            *(double *)at = x;
    } else {
        int64_t x = json_integer_value(value);
        fits = json_is_integer(value) && x >= f->min && x <= f->max;
        if (fits && f->kind == INT)
            *(int *)at = (int)x;
        else if (fits)
            *(int64_t *)at = x;
    }
    if (fits)
        return ST_OK;
    return fault(why, ST_REJECT, MANIFEST_NAME ": %s%s must be a %snumber from %lld to %lld", where,
                 f->key, f->kind == REAL ? "" : "whole ", (long long)f->min, (long long)f->max);
}

/* `where` is put in front of the key in messages: "source.", "members[3].". */
static enum status take_fields(const json_t *from, const struct field *rows, const char *where,
                               void *to, struct fault *why)
{
    if (!json_is_object(from) && !where[0])
        return fault(why, ST_REJECT, MANIFEST_NAME ": it is no JSON object");
    if (!json_is_object(from))
        return fault(why, ST_REJECT, MANIFEST_NAME ": %.*s is missing or no object",
                     (int)strlen(where) - 1, where);
    for (const struct field *f = rows; f->key; f++) {
        const json_t *value = json_object_get(from, f->key);
        void *at = (char *)to + f->at;
        if (!value && f->optional)
            continue;
        if (!value)
            return fault(why, ST_REJECT, MANIFEST_NAME ": %s%s is missing", where, f->key);
        bool number = f->kind == INT || f->kind == INT64 || f->kind == REAL;
        enum status s = number ? take_number(f, value, where, at, why)
                               : take_text(f, value, where, at, why);
        if (s != ST_OK)
            return s;
    }
    return ST_OK;
}

/* What one member's values must mean together. */
static enum status check_member(const struct member *one, struct fault *why)
{
    if (strcmp(one->name, MANIFEST_NAME) == 0)
        return fault(why, ST_REJECT, MANIFEST_NAME ": it lists itself");
    if (one->hdu < 0 && one->role != MEMBER_HDU)
        return fault(why, ST_REJECT, MANIFEST_NAME ": member %s: hdu -1 is for trailing bytes only",
                     one->name);
    if (one->role == MEMBER_IMAGE && one->ccd < 1)
        return fault(why, ST_REJECT, MANIFEST_NAME ": member %s: an image needs a ccd number",
                     one->name);
    return ST_OK;
}

static int by_name(const void *a, const void *b)
{
    const struct member *const *one = a, *const *other = b;
    return strcmp((*one)->name, (*other)->name);
}

static enum status check_names(const struct manifest *m, struct fault *why)
{
    enum status s = ST_OK;
    const struct member **sorted = calloc(m->count + 1, sizeof *sorted);
    if (!sorted)
        return fault(why, ST_RETRY, "out of memory for a manifest of %zu members", m->count);
    for (size_t i = 0; i < m->count; i++)
        sorted[i] = &m->members[i];
    qsort(sorted, m->count, sizeof *sorted, by_name);
    for (size_t i = 1; i < m->count && s == ST_OK; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            s = fault(why, ST_REJECT, MANIFEST_NAME ": two members of the name %s",
                      sorted[i]->name);
    free(sorted);
    return s;
}

/* An HDU travels once, its header once, and a ccd is one HDU: otherwise two members would
 * become one file on the far side. */
static enum status check_unique(const struct manifest *m, struct fault *why)
{
    unsigned char hdus[FITS_MAX_HDUS + 1] = {0}, ccds[MANIFEST_CCD_MAX + 1] = {0};
    for (size_t i = 0; i < m->count; i++) {
        const struct member *one = &m->members[i];
        unsigned char bit = one->role == MEMBER_HEADER ? 1 : one->role == MEMBER_EXACT ? 4 : 2;
        if (hdus[one->hdu + 1] & bit)
            return fault(why, ST_REJECT, MANIFEST_NAME ": member %s: HDU %d is there twice",
                         one->name, one->hdu);
        hdus[one->hdu + 1] |= bit;
        if (one->role != MEMBER_IMAGE)
            continue;
        if (ccds[one->ccd])
            return fault(why, ST_REJECT, MANIFEST_NAME ": member %s: ccd %d is there twice",
                         one->name, one->ccd);
        ccds[one->ccd] = 1;
    }
    return check_names(m, why);
}

enum status manifest_take_member(const json_t *from, const char *where, struct member *one,
                                 struct fault *why)
{
    char inner[64];
    *one = (struct member){.measured = measures_none};
    enum status s = take_fields(from, member_fields, where, one, why);
    const json_t *measured = json_object_get(from, "measured");
    snprintf(inner, sizeof inner, "%smeasured.", where);
    if (s == ST_OK && measured)
        s = take_fields(measured, measured_fields, inner, &one->measured, why);
    return s == ST_OK ? check_member(one, why) : s;
}

static enum status take_members(const json_t *list, struct manifest *out, struct fault *why)
{
    if (!json_is_array(list))
        return fault(why, ST_REJECT, MANIFEST_NAME ": members is missing or no array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        char where[48];
        struct member one;
        snprintf(where, sizeof where, "members[%zu].", i);
        enum status s = manifest_take_member(json_array_get(list, i), where, &one, why);
        if (s != ST_OK)
            return s;
        if (!manifest_add(out, &one))
            return fault(why, ST_RETRY, "out of memory for a manifest of %zu members",
                         json_array_size(list));
    }
    return check_unique(out, why);
}

/* Before anything is allocated: how deep and how many values? Rough in broken JSON, which
 * the parser refuses afterwards. */
static enum status check_extent(const char *text, size_t len, struct fault *why)
{
    size_t depth = 0, values = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '[' || c == '{'))
            depth++;
        else if (!quoted && (c == ']' || c == '}'))
            depth -= depth > 0;
        values += !quoted && (c == '[' || c == '{' || c == ',');
        if (depth > JSON_DEPTH_MAX)
            return fault(why, ST_REJECT, MANIFEST_NAME ": nested deeper than %d", JSON_DEPTH_MAX);
        if (values > JSON_VALUES_MAX)
            return fault(why, ST_REJECT, MANIFEST_NAME ": more than %d values", JSON_VALUES_MAX);
    }
    return ST_OK;
}

enum status manifest_take_head(const json_t *root, struct manifest *out, struct fault *why)
{
    *out = (struct manifest){.facts = {.expnum = -1, .date_ns = INT64_MIN, .exptime = NAN}};
    /* The number first: of another format, nothing else is known to mean the same. */
    const json_t *format = json_object_get(root, "format");
    if (json_is_integer(format) && json_integer_value(format) != MANIFEST_FORMAT)
        return fault(why, ST_REJECT,
                     MANIFEST_NAME ": bundle format %lld, this version reads format %d; "
                     "install a skyferry that is as new as the sender's",
                     (long long)json_integer_value(format), MANIFEST_FORMAT);
    enum status s = take_fields(root, top_fields, "", out, why);
    if (s == ST_OK)
        s = take_fields(json_object_get(root, "source"), source_fields, "source.", out, why);
    if (s == ST_OK)
        s = take_fields(json_object_get(root, "facts"), facts_fields, "facts.", &out->facts, why);
    const json_t *visit = json_object_get(root, "visit");
    return s == ST_OK && visit ? take_fields(visit, visit_fields, "visit.", &out->visit, why) : s;
}

enum status manifest_load(const void *json, size_t len, json_t **out, struct fault *why)
{
    json_error_t error;
    *out = NULL;
    enum status s = check_extent(json, len, why);
    if (s == ST_OK && !(*out = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error)))
        s = fault(why, ST_REJECT, MANIFEST_NAME ": no valid JSON, line %d: %s", error.line,
                  error.text);
    return s;
}

enum status manifest_parse(const void *json, size_t len, struct manifest *out, struct fault *why)
{
    json_t *root;
    *out = (struct manifest){0};
    enum status s = manifest_load(json, len, &root, why);
    if (s == ST_OK)
        s = manifest_take_head(root, out, why);
    if (s == ST_OK)
        s = take_members(json_object_get(root, "members"), out, why);
    json_decref(root);
    if (s != ST_OK)
        manifest_free(out);
    return s;
}
