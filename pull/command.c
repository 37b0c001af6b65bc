#include "pull/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

void command_free(struct command *c)
{
    for (int i = 0; i < c->argc; i++)
        free(c->argv[i]);
    *c = (struct command){0};
}

/* One argument's text as it grows. */
struct word {
    struct buf text;
    bool begun;
};

static void put(struct word *w, char c)
{
    w->begun = true;
    buf_append(&w->text, &c, 1);
}

static const char *value_of(const char *key, size_t len, const struct command_values *v)
{
    static const char *const keys[] = {"job", "result", "exposure", "night", "store"};
    const char *const values[] = {v->job, v->result, v->exposure, v->night, v->store};
    for (int i = 0; i < 5; i++)
        if (strlen(keys[i]) == len && strncmp(keys[i], key, len) == 0)
            return values[i];
    return NULL;
}

/* A placeholder at p ("{job}..."): appended, and where it ends; NULL when it is none. */
static const char *placeholder(const char *p, const struct command_values *values, struct word *w)
{
    static const struct command_values any = {"", "", "", "", ""};
    size_t len = strcspn(p + 1, "}{ \t");
    if (p[1 + len] != '}')
        return NULL;
    const char *value = value_of(p + 1, len, values ? values : &any);
    if (!value)
        return NULL;
    w->begun = true;
    if (values)
        buf_append(&w->text, value, strlen(value));
    else
        buf_append(&w->text, p, len + 2);
    return p + len + 2;
}

static bool end_word(struct word *w, struct command *out, struct config_report *r)
{
    if (!w->begun)
        return true;
    if (out->argc == COMMAND_ARGS) {
        config_problem(r, "[jobs] command has more than %d arguments; put it into a script",
                       COMMAND_ARGS);
        return false;
    }
    put(w, '\0');
    out->argv[out->argc++] = (char *)w->text.data;
    *w = (struct word){0};
    return true;
}

/* Reads one quoted stretch that begins at p; where it ends, NULL when it does not. */
static const char *quoted(const char *p, const struct command_values *values, struct word *w)
{
    char quote = *p++;
    w->begun = true;
    while (*p && *p != quote) {
        const char *next = quote == '"' && *p == '{' ? placeholder(p, values, w) : NULL;
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

static bool split(const char *text, const struct command_values *values, struct command *out,
                  struct word *w, struct config_report *r)
{
    for (const char *p = text; *p;) {
        if (*p == ' ' || *p == '\t') {
            if (!end_word(w, out, r))
                return false;
            p++;
        } else if (*p == '\'' || *p == '"') {
            if (!(p = quoted(p, values, w))) {
                config_problem(r, "[jobs] command: a quote is not closed: %s", text);
                return false;
            }
        } else if (*p == '{') {
            const char *next = placeholder(p, values, w);
            if (!next) {
                config_problem(r, "[jobs] command: '%.20s' is no placeholder; there are {job} "
                               "{result} {exposure} {night} {store}; write \\{ for a brace", p);
                return false;
            }
            p = next;
        } else {
            if (*p == '\\' && p[1])
                p++;
            put(w, *p++);
        }
    }
    return end_word(w, out, r);
}

bool command_make(const char *text, const struct command_values *values, struct command *out,
                  struct config_report *r)
{
    struct word w = {0};
    *out = (struct command){0};
    bool ok = split(text, values, out, &w, r);
    buf_free(&w.text);
    if (ok && (out->argc == 0 || out->argv[0][0] == '\0')) {
        config_problem(r, "[jobs] command names no program");
        ok = false;
    }
    if (!ok)
        command_free(out);
    return ok;
}

static bool can_run(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static bool beside_us(const char *program, char *out, size_t size)
{
    char self[4096];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0)
        return false;
    self[len] = '\0';
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
