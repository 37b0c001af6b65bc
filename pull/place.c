#include "pull/place.h"

#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/fsutil.h"

#define LONGEST 200 /* of one component, so that a draft's longer name fits in 255 too */

enum word { NIGHT, CCD, CCD2, OBJECT, FILTER, FILTER1, EXPNUM, OBSTYPE, PROPID, EXTNAME, NAME };

static const char *const words[] = {"night",  "ccd",     "ccd2",   "object",  "filter", "filter1",
                                    "expnum", "obstype", "propid", "extname", "name"};
#define WORDS (int)(sizeof words / sizeof words[0])

/* The placeholder at p (just past '{'): its number and length, or -1. */
static int find_word(const char *p, size_t *len)
{
    *len = strcspn(p, "{}");
    if (p[*len] != '}')
        return -1;
    for (int i = 0; i < WORDS; i++)
        if (strlen(words[i]) == *len && strncmp(words[i], p, *len) == 0)
            return i;
    return -1;
}

static void known_words(char *out, size_t size)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < WORDS && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s{%s}", i ? " " : "", words[i]);
}

/* Reports every bad brace; the mask of the placeholders used. */
static unsigned check_words(const char *template, const char *key, struct config_report *r)
{
    unsigned used = 0;
    char all[256];
    known_words(all, sizeof all);
    for (const char *p = template; *p; p++) {
        if (*p == '}')
            config_problem(r, "[place] %s = '%s': a '}' without its '{'", key, template);
        if (*p != '{')
            continue;
        size_t len;
        int word = find_word(p + 1, &len);
        if (word < 0)
            config_problem(r, "[place] %s = '%s': '{%.*s' is no placeholder; there are %s", key,
                           template, (int)len + 1, p + 1, all);
        else
            used |= 1u << word;
        p += p[1 + len] ? len + 1 : len;
    }
    return used;
}

bool place_check(const char *template, const char *key, struct config_report *r)
{
    int before = r->count;
    unsigned used = check_words(template, key, r);
    char out[4096];
    struct fault why;
    if (r->count == before && !(used & (1u << CCD | 1u << CCD2 | 1u << EXTNAME)))
        config_problem(r, "[place] %s = '%s': all ccds would get one name; use {ccd}", key,
                       template);
    if (r->count == before && !(used & (1u << EXPNUM | 1u << NAME)))
        config_problem(r, "[place] %s = '%s': all exposures would get one name; use {expnum} or "
                          "{name}", key, template);
    if (fs_join(out, sizeof out, "/", template, &why) != ST_OK)
        config_problem(r, "[place] %s: %s; give a path below root", key, why.text);
    return r->count == before;
}

static void clean(const char *text, const char *fallback, char out[LONGEST + 1])
{
    char trimmed[LONGEST * 2];
    snprintf(trimmed, sizeof trimmed, "%s", text ? text : "");
    for (size_t n = strlen(trimmed); n > 0 && trimmed[n - 1] == ' ';)
        trimmed[--n] = '\0';
    fs_name_clean(out, LONGEST + 1, trimmed + strspn(trimmed, " "), fallback);
}

/* S4.27's {EXPNUM}, and what stands in for it. */
static void expnum_text(const struct place_values *v, char out[LONGEST + 1])
{
    int64_t n = v->facts->expnum;
    if (n < 0)
        n = camera_expnum_from_name(v->camera, v->source_name);
    if (n >= 0)
        snprintf(out, LONGEST + 1, "%lld", (long long)n);
    else
        clean(v->name, "none", out);
}

static void fill(enum word w, const struct place_values *v, char out[LONGEST + 1])
{
    const struct facts *f = v->facts;
    char one[2] = {f->filter[strspn(f->filter, " ")], '\0'};
    switch (w) {
    case NIGHT: clean(v->night, "none", out); return;
    case CCD: snprintf(out, LONGEST + 1, "%d", v->ccd); return;
    case CCD2: snprintf(out, LONGEST + 1, "%02d", v->ccd); return;
    case OBJECT: clean(f->object, "unnamed", out); return;
    case FILTER: clean(f->filter, "none", out); return;
    case FILTER1: clean(one, "none", out); return;
    case EXPNUM: expnum_text(v, out); return;
    case OBSTYPE: clean(f->obstype, "none", out); return;
    case PROPID: clean(f->propid, "none", out); return;
    case EXTNAME: clean(v->extname, "none", out); return;
    case NAME: clean(v->name, "none", out); return;
    }
}

/* Every component must leave room for a draft's name, and not be hidden. */
static enum status check_components(const char *template, const char *path, struct fault *why)
{
    char scratch[4096];
    for (const char *p = path; *p; p += strspn(p, "/")) {
        size_t len = strcspn(p, "/");
        if (len > LONGEST)
            return fault(why, ST_REJECT, "[place] template '%s' gives a name of %zu characters, "
                         "more than %d: '%.60s...'; shorten the template", template, len, LONGEST,
                         p);
        if (*p == '.')
            return fault(why, ST_REJECT, "[place] template '%s' gives a name that begins with a "
                         "dot: '%.60s'", template, p);
        p += len;
    }
    return fs_join(scratch, sizeof scratch, "/", path, why);
}

enum status place_path(const char *template, const struct place_values *v, char *out, size_t size,
                       struct fault *why)
{
    char value[LONGEST + 1];
    size_t at = 0;
    for (const char *p = template; *p;) {
        size_t len = strcspn(p, "{");
        int word = len ? -1 : find_word(p + 1, &len);
        const char *from = p;
        if (word >= 0) {
            fill((enum word)word, v, value);
            from = value;
            p += len + 2;
            len = strlen(value);
        } else if (len > 0 && *p != '{') {
            p += len;
        } else {
            return fault(why, ST_REJECT, "[place] template '%s' has an unknown placeholder",
                         template);
        }
        if (at + len + 1 > size)
            return fault(why, ST_REJECT, "[place] template '%s' gives too long a path", template);
        memcpy(out + at, from, len);
        at += len;
    }
    out[at] = '\0';
    return check_components(template, out, why);
}

bool place_version(const char *path, int version, char *out, size_t size)
{
    const char *base = fs_basename(path), *dot = strrchr(base, '.');
    int stem = (int)(dot && dot > base ? dot - path : (long)strlen(path));
    return (size_t)snprintf(out, size, "%.*s~%d%s", stem, path, version, path + stem) < size;
}
