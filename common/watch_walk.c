#include "common/watch_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
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

/* ---- directories still to be read, first come first read ---- */

struct pending {
    char **path;
    size_t first, count, room;
};

static int later(struct pending *q, const char *directory)
{
    char *copy = strdup(directory);
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 16;
        char **grown = copy ? realloc(q->path, room * sizeof *grown) : NULL;
        if (!grown) {
            free(copy);
            return ENOMEM;
        }
        q->path = grown;
        q->room = room;
    }
    if (copy)
        q->path[q->count++] = copy;
    return copy ? 0 : ENOMEM;
}

/* ---- the names of one directory ---- */

#define RUN 4096 /* names that are sorted at once: about a millisecond */

struct name {
    unsigned char type;
    char text[];
};

/* Sorted runs, from which the least name of all is taken again and again. */
struct run {
    struct name *of[RUN];
    size_t at, count;
};

struct walk {
    struct walker w;
    struct pending q;
    int error;
    DIR *dir;           /* being read */
    struct run **runs;
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    const struct name *const *x = a, *const *y = b;
    return strcmp((*x)->text, (*y)->text);
}

static void sort_last(struct walk *k)
{
    if (k->count > 0)
        qsort(k->runs[k->count - 1]->of, k->runs[k->count - 1]->count, sizeof(struct name *),
              by_name);
}

static int keep(struct walk *k, const struct dirent *e)
{
    struct run *last = k->count ? k->runs[k->count - 1] : NULL;
    if (!last || last->count == RUN) {
        sort_last(k);
        struct run **grown = realloc(k->runs, (k->count + 1) * sizeof *grown);
        if (!grown)
            return ENOMEM;
        k->runs = grown;
        last = malloc(sizeof *last);
        if (!last)
            return ENOMEM;
        last->at = last->count = 0;
        k->runs[k->count++] = last;
    }
    size_t len = strlen(e->d_name) + 1;
    struct name *n = malloc(sizeof *n + len);
    if (!n)
        return ENOMEM;
    n->type = e->d_type;
    memcpy(n->text, e->d_name, len);
    last->of[last->count++] = n;
    return 0;
}

/* The least name left, which the caller frees; NULL: none. */
static struct name *take(struct walk *k)
{
    struct run *from = NULL;
    for (size_t i = 0; i < k->count; i++) {
        struct run *r = k->runs[i];
        if (r->at < r->count && (!from || by_name(&r->of[r->at], &from->of[from->at]) < 0))
            from = r;
    }
    return from ? from->of[from->at++] : NULL;
}

static void forget_names(struct walk *k)
{
    for (struct name *n; (n = take(k)) != NULL;)
        free(n);
    for (size_t i = 0; i < k->count; i++)
        free(k->runs[i]);
    free(k->runs);
    k->runs = NULL;
    k->count = 0;
}

/* ---- the walk ---- */

static bool is_directory(unsigned char type, const char *path)
{
    struct stat st;
    if (type != DT_UNKNOWN)
        return type == DT_DIR;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Trouble with the directory that is first in the queue. */
static void say(struct walk *k, int err)
{
    if (k->q.first == 0 && !k->w.topless)
        k->error = err;
    /* Gone between listing and reading is no trouble: its removal is the truth. */
    else if (err != ENOENT && err != ENOTDIR && k->w.unreadable)
        k->w.unreadable(k->w.ctx, k->q.path[k->q.first], err);
}

static int one_name(struct walk *k, const struct name *n)
{
    const char *folder = k->q.path[k->q.first];
    char *path = NULL;
    int err = 0;
    if (asprintf(&path, "%s/%s", strcmp(folder, "/") ? folder : "", n->text) < 0)
        return ENOMEM;
    if (is_directory(n->type, path))
        err = k->w.recursive ? later(&k->q, path) : 0;
    else if (watch_matches(k->w.patterns, n->text) && watch_is_file(path, NULL))
        k->w.file(k->w.ctx, path);
    free(path);
    return err;
}

static void next_directory(struct walk *k)
{
    forget_names(k);
    free(k->q.path[k->q.first]);
    k->q.path[k->q.first++] = NULL;
}

static void open_directory(struct walk *k)
{
    const char *folder = k->q.path[k->q.first];
    if (k->w.enter)
        k->w.enter(k->w.ctx, folder);
    k->dir = opendir(folder);
    if (k->dir)
        return;
    say(k, errno);
    next_directory(k);
}

/* One of them: the directory is opened, a name is read, a name is dealt with. */
static void step(struct walk *k)
{
    if (!k->dir && k->count == 0) {
        open_directory(k);
    } else if (k->dir) {
        errno = 0;
        const struct dirent *e = readdir(k->dir);
        int err = e ? 0 : errno;
        if (e && e->d_name[0] != '.')
            err = keep(k, e);
        if (e && !err)
            return;
        closedir(k->dir);
        k->dir = NULL;
        sort_last(k);
        if (err)
            say(k, err);
        if (k->count == 0)
            next_directory(k);
    } else {
        struct name *n = take(k);
        int err = n ? one_name(k, n) : 0;
        if (err)
            say(k, err);
        if (!n || err)
            next_directory(k);
        free(n);
    }
}

bool walk_go(struct walk *k, int64_t until_ns)
{
    while (k->q.first < k->q.count) {
        step(k);
        if (clock_mono() >= until_ns)
            break;
    }
    return k->q.first == k->q.count;
}

struct walk *walk_begin(const struct walker *w)
{
    struct walk *k = calloc(1, sizeof *k);
    if (k)
        k->w = *w;
    return k;
}

int walk_add(struct walk *k, const char *directory)
{
    return later(&k->q, directory);
}

int walk_error(const struct walk *k)
{
    return k->error;
}

void walk_end(struct walk **k)
{
    struct walk *me = *k;
    if (!me)
        return;
    if (me->dir)
        closedir(me->dir);
    forget_names(me);
    for (size_t i = me->q.first; i < me->q.count; i++)
        free(me->q.path[i]);
    free(me->q.path);
    free(me);
    *k = NULL;
}

int watch_tree(const struct walker *w, const char *top)
{
    struct walk *k = walk_begin(w);
    int err = k ? walk_add(k, top) : ENOMEM;
    if (!err) {
        walk_go(k, INT64_MAX);
        err = walk_error(k);
    }
    walk_end(&k);
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
