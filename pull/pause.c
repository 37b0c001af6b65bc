#include "pull/pause.h"

#include <errno.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"

#define FILE_MAX 4096

const char *const pause_names[PAUSABLES] = {"ingest", "jobs"};

static enum status token_path(const char *state, enum pausable what, char *out, size_t size,
                              struct fault *why)
{
    int n = snprintf(out, size, "%s/" PAUSE_FOLDER "/%s", state, pause_names[what]);
    if (n < 0 || (size_t)n >= size)
        return fault(why, ST_REJECT, "[store] state is too long a path");
    return ST_OK;
}

static void take_text(const json_t *o, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(o, key));
    snprintf(out, size, "%s", text ? text : "");
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

/* What cannot be understood was made by hand: it pauses all the same. */
static void parse(const struct buf *text, struct pause_token *out)
{
    json_t *o = json_loadb((const char *)text->data, text->len, 0, NULL);
    if (!json_is_object(o)) {
        json_decref(o);
        return;
    }
    if (json_is_integer(json_object_get(o, "since_ns")))
        out->since_ns = json_integer_value(json_object_get(o, "since_ns"));
    take_text(o, "by", out->by, sizeof out->by);
    take_text(o, "reason", out->reason, sizeof out->reason);
    json_decref(o);
}

void pause_read(const char *state, enum pausable what, struct pause_token *out)
{
    char path[4096];
    struct stat st;
    struct buf text = {0};
    struct fault why;
    *out = (struct pause_token){.set = false};
    if (token_path(state, what, path, sizeof path, &why) != ST_OK || lstat(path, &st) != 0)
        return;
    out->set = true;
    out->since_ns = clock_ns(st.st_mtim);
    errno = 0;
    if (fs_read_file(path, FILE_MAX, &text, &why) == ST_OK)
        parse(&text, out);
    else if (errno == ENOENT) /* removed between the two */
        *out = (struct pause_token){.set = false};
    buf_free(&text);
}

static void who(char *out, size_t size)
{
    char host[65] = "";
    const struct passwd *p = getpwuid(geteuid());
    gethostname(host, sizeof host - 1);
    if (p)
        snprintf(out, size, "%s@%s", p->pw_name, host);
    else
        snprintf(out, size, "user %ld@%s", (long)geteuid(), host);
}

enum status pause_set(const char *state, enum pausable what, const char *reason,
                      struct fault *why)
{
    struct pause_token before;
    char path[4096], folder[4096], by[160];
    pause_read(state, what, &before);
    who(by, sizeof by);
    enum status st = token_path(state, what, path, sizeof path, why);
    if (st != ST_OK)
        return st;
    snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path) - 1, path);
    json_t *o = json_object();
    json_object_set_new(o, "since_ns", json_integer(before.set ? before.since_ns : clock_wall()));
    json_object_set_new(o, "by", json_string(by));
    if (json_object_set_new(o, "reason", json_string(reason)) != 0)
        st = fault(why, ST_REJECT, "--reason: the text is not UTF-8");
    char *text = st == ST_OK ? json_dumps(o, JSON_INDENT(1)) : NULL;
    if (st == ST_OK && !text)
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = fs_mkdirs(folder, why);
    if (st == ST_OK)
        st = fs_write_file(path, text, strlen(text), false, why);
    free(text);
    json_decref(o);
    return st;
}

enum status pause_end(const char *state, enum pausable what, struct fault *why)
{
    char path[4096], folder[4096];
    enum status st = token_path(state, what, path, sizeof path, why);
    if (st != ST_OK)
        return st;
    if (unlink(path) != 0)
        return errno == ENOENT ? ST_OK
                               : fault_errno(why, ST_RETRY, "cannot remove '%s'", path);
    snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path) - 1, path);
    return fs_sync_dir(folder, why);
}

void pause_words(const struct pause_token *t, char *out, size_t size)
{
    char iso[32];
    clock_iso(t->since_ns, iso, sizeof iso);
    snprintf(out, size, "since %.19sZ by %s%s%s", iso, t->by[0] ? t->by : "somebody",
             t->reason[0] ? ": " : "", t->reason);
}
