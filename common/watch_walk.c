#include "common/watch_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/watch.h"

bool watch_matches(const char *patterns, const char *name)
{
    char one[256];
    if (name[0] == '.')
        return false;
    for (const char *p = patterns; *p;) {
        p += strspn(p, " \t");
        size_t len = strcspn(p, " \t");
        if (len && len < sizeof one) {
            memcpy(one, p, len);
            one[len] = '\0';
            if (fnmatch(one, name, FNM_PERIOD) == 0)
                return true;
        }
        p += len;
    }
    return false;
}

bool watch_is_file(const char *path, bool *linked)
{
    struct stat st, self;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return false;
    if (linked)
        *linked = st.st_nlink > 1 || (lstat(path, &self) == 0 && S_ISLNK(self.st_mode));
    return true;
}

/* Directories still to be read, first come first read. */
struct pending {
    char **path;
    size_t first, count, room;
};

static bool later(struct pending *q, char *path)
{
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 16;
        char **grown = path ? realloc(q->path, room * sizeof *grown) : NULL;
        if (!grown) {
            free(path);
            return false;
        }
        q->path = grown;
        q->room = room;
    }
    q->path[q->count++] = path;
    return path != NULL;
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static bool is_directory(const struct dirent *e, const char *path)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int read_directory(const struct walker *w, const char *directory, struct pending *q)
{
    struct dirent **list = NULL;
    int err = 0;
    if (w->enter)
        w->enter(w->ctx, directory);
    int n = scandir(directory, &list, visible, alphasort);
    if (n < 0)
        return errno;
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        if (err || asprintf(&path, "%s/%s", strcmp(directory, "/") ? directory : "",
                            list[i]->d_name) < 0) {
            err = ENOMEM;
            path = NULL;
        } else if (is_directory(list[i], path)) {
            if (w->recursive && !later(q, path))
                err = ENOMEM;
            if (w->recursive)
                path = NULL; /* the queue's now */
        } else if (watch_matches(w->patterns, list[i]->d_name) && watch_is_file(path, NULL)) {
            w->file(w->ctx, path);
        }
        free(path);
        free(list[i]);
    }
    free(list);
    return err;
}

int watch_tree(const struct walker *w, const char *top)
{
    struct pending q = {0};
    int err = read_directory(w, top, &q);
    for (; q.first < q.count; q.first++) {
        int below = read_directory(w, q.path[q.first], &q);
        /* Gone between listing and reading is no trouble: its removal is the truth. */
        if (below && below != ENOENT && w->unreadable)
            w->unreadable(w->ctx, q.path[q.first], below);
    }
    for (size_t i = 0; i < q.count; i++)
        free(q.path[i]);
    free(q.path);
    return err;
}

struct report {
    watch_fn *fn;
    void *ctx;
};

static void report_found(void *ctx, const char *path)
{
    struct report *r = ctx;
    r->fn(r->ctx, path, WATCH_FOUND);
}

enum status watch_walk(const struct watch_options *o, watch_fn *fn, void *ctx, struct fault *why)
{
    struct report r = {fn, ctx};
    struct walker w = {.recursive = o->recursive, .patterns = o->patterns, .file = report_found,
                       .ctx = &r};
    int err = watch_tree(&w, o->directory);
    if (!err)
        return ST_OK;
    errno = err;
    return fault_errno(why, ST_RETRY, "cannot read the directory %s", o->directory);
}
