#include "pull/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/lookup.h"

void command_free(struct command *c)
{
    for (int i = 0; i < c->argc; i++)
        free(c->argv[i]);
    *c = (struct command){0};
}

/* What is read, and with what it is filled in. */
struct source {
    const char *text, *key; /* the setting's name */
    const struct command_value *values;
    bool fill;        /* no: only checked, placeholders stay */
    bool leave_out;   /* words with an empty value */
};

/* One argument's text as it grows. */
struct word {
    struct buf text;
    bool begun, empty; /* empty: a value in it was */
};

static void put(struct word *w, char c)
{
    w->begun = true;
    buf_append(&w->text, &c, 1);
}

static const struct command_value *value_of(const char *key, size_t len, const struct source *s)
{
    for (const struct command_value *v = s->values; v->key; v++)
        if (strlen(v->key) == len && strncmp(v->key, key, len) == 0)
            return v;
    return NULL;
}

/* A placeholder at p ("{job}..."): appended, and where it ends; NULL when it is none. */
static const char *placeholder(const char *p, const struct source *s, struct word *w)
{
    size_t len = strcspn(p + 1, "}{ \t");
    if (p[1 + len] != '}')
        return NULL;
    const struct command_value *v = value_of(p + 1, len, s);
    if (!v)
        return NULL;
    w->begun = true;
    if (s->fill)
        buf_append(&w->text, v->text, strlen(v->text));
    else
        buf_append(&w->text, p, len + 2);
    w->empty = w->empty || v->text[0] == '\0';
    return p + len + 2;
}

static bool end_word(const struct source *s, struct word *w, struct command *out,
                     struct config_report *r)
{
    if (s->leave_out && w->empty) {
        buf_free(&w->text);
        *w = (struct word){0};
    }
    if (!w->begun)
        return true;
    if (out->argc == COMMAND_ARGS) {
        config_problem(r, "[jobs] %s has more than %d arguments; put it into a script", s->key,
                       COMMAND_ARGS);
        return false;
    }
    put(w, '\0');
    out->argv[out->argc++] = (char *)w->text.data;
    *w = (struct word){0};
    return true;
}

/* Reads one quoted stretch that begins at p; where it ends, NULL when it does not. */
static const char *quoted(const char *p, const struct source *s, struct word *w)
{
    char quote = *p++;
    w->begun = true;
    while (*p && *p != quote) {
        const char *next = quote == '"' && *p == '{' ? placeholder(p, s, w) : NULL;
        if (next) {
            p = next;
            continue;
        }
        if (quote == '"' && *p == '\\' && (p[1] == '"' || p[1] == '\\'))
            p++;
        put(w, *p++);
    }
    return *p ? p + 1 : NULL;
}

static void complain(const struct source *s, const char *p, struct config_report *r)
{
    char words[256] = "";
    for (const struct command_value *v = s->values; v->key; v++) {
        size_t at = strlen(words);
        snprintf(words + at, sizeof words - at, "%s{%s}", at ? " " : "", v->key);
    }
    config_problem(r, "[jobs] %s: '%.20s' is no placeholder; there are %s; write \\{ for a brace",
                   s->key, p, words);
}

static bool split(const struct source *s, struct command *out, struct word *w,
                  struct config_report *r)
{
    for (const char *p = s->text; *p;) {
        if (*p == ' ' || *p == '\t') {
            if (!end_word(s, w, out, r))
                return false;
            p++;
        } else if (*p == '\'' || *p == '"') {
            if (!(p = quoted(p, s, w))) {
                config_problem(r, "[jobs] %s: a quote is not closed: %s", s->key, s->text);
                return false;
            }
        } else if (*p == '{') {
            const char *next = placeholder(p, s, w);
            if (!next) {
                complain(s, p, r);
                return false;
            }
            p = next;
        } else {
            if (*p == '\\' && p[1])
                p++;
            put(w, *p++);
        }
    }
    return end_word(s, w, out, r);
}

static bool make(const struct source *s, struct command *out, struct config_report *r)
{
    struct word w = {0};
    *out = (struct command){0};
    bool ok = split(s, out, &w, r);
    buf_free(&w.text);
    if (ok && (out->argc == 0 || out->argv[0][0] == '\0')) {
        config_problem(r, "[jobs] %s names no program", s->key);
        ok = false;
    }
    if (!ok)
        command_free(out);
    return ok;
}

bool command_make(const char *text, const struct command_values *values, struct command *out,
                  struct config_report *r)
{
    static const struct command_values any = {"", "", "", "", ""};
    const struct command_values *v = values ? values : &any;
    const struct command_value list[] = {{"job", v->job}, {"result", v->result},
                                         {"exposure", v->exposure}, {"night", v->night},
                                         {"store", v->store}, {NULL, NULL}};
    struct source s = {text, "command", list, values != NULL, false};
    return make(&s, out, r);
}

bool command_fill(const char *text, const char *key, const struct command_value *values,
                  struct command *out, struct config_report *r)
{
    struct source s = {text, key, values, true, true};
    return make(&s, out, r);
}

static bool can_run(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool beside_us(const char *program, char *out, size_t size)
{
    char self[4096];
    if (!lookup_program(self, sizeof self))
        return false;
    int folder = (int)(fs_basename(self) - self);
    return (size_t)snprintf(out, size, "%.*s%s", folder, self, program) < size && can_run(out);
}

bool command_find(const char *program, char *out, size_t size)
{
    if (strchr(program, '/'))
        return (size_t)snprintf(out, size, "%s", program) < size && can_run(out);
    if (beside_us(program, out, size))
        return true;
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
        int len = (int)strcspn(p, ":");
        if (len > 0 && (size_t)snprintf(out, size, "%.*s/%s", len, p, program) < size &&
            can_run(out))
            return true;
        p += len;
        p += *p == ':';
    }
    return false;
}
