#include "common/watch_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* What has a name of its own first: whatever a link to it is called, that is known for a double.
 * A link to a link ("latest") last, as the other is the folder's name. */
enum road { ROAD_OWN, ROAD_LINK, ROAD_LINK_TO_LINK, ROADS };

struct folder {
    char *path;
    bool linked; /* a link leads to it: read only if nothing else did */
};

struct pending {
    struct folder *of;
    size_t first, count, room;
};

static int later(struct pending *q, const char *directory, bool linked)
{
    char *copy = strdup(directory);
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 16;
        struct folder *grown = copy ? realloc(q->of, room * sizeof *grown) : NULL;
        if (!grown) {
            free(copy);
            return ENOMEM;
        }
        q->of = grown;
        q->room = room;
    }
    if (copy)
        q->of[q->count++] = (struct folder){copy, linked};
    return copy ? 0 : ENOMEM;
}

/* The next one, whose path is the caller's; NULL: none. */
static char *next_of(struct pending q[ROADS], bool *linked)
{
    for (int i = 0; i < ROADS; i++) {
        if (q[i].first == q[i].count)
            continue;
        struct folder f = q[i].of[q[i].first++];
        *linked = f.linked;
        return f.path;
    }
    return NULL;
}

static void forget_pending(struct pending *q)
{
    for (size_t i = q->first; i < q->count; i++)
        free(q->of[i].path);
    free(q->of);
}

/* ---- directories met, under whatever name ---- */

struct identity {
    dev_t device;
    ino_t inode;
};

struct met {
    struct identity *of;
    size_t count, room;
};

static bool is_met(const struct met *m, const struct stat *st)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->of[i].inode == st->st_ino && m->of[i].device == st->st_dev)
            return true;
    return false;
}

static int meet(struct met *m, const struct stat *st)
{
    if (m->count == m->room) {
        size_t room = m->room ? 2 * m->room : 64;
        struct identity *grown = realloc(m->of, room * sizeof *grown);
        if (!grown)
            return ENOMEM;
        m->of = grown;
        m->room = room;
    }
    m->of[m->count++] = (struct identity){st->st_dev, st->st_ino};
    return 0;
}

/* What holds the top is no part of it, though a link below may lead there. */
static void meet_above(struct met *m, const char *top)
{
    char path[PATH_MAX];
    struct stat st;
    struct identity last = {0};
    int n = snprintf(path, sizeof path, "%s", top);
    for (size_t len = n > 0 ? (size_t)n : sizeof path; len + 4 < sizeof path; len += 3) {
        memcpy(path + len, "/..", 4);
        if (stat(path, &st) != 0 || (st.st_ino == last.inode && st.st_dev == last.device) ||
            meet(m, &st) != 0)
            return;
        last = (struct identity){st.st_dev, st.st_ino};
    }
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
    struct pending q[ROADS];
    struct met met;
    char *folder; /* that is dealt with; NULL: the next one's turn */
    bool linked;
    bool began;
    bool at_top;
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

/* What a name leads to: a directory (*road: how), or anything else. */
static bool is_directory(unsigned char type, const char *path, enum road *road)
{
    struct stat st;
    char target[PATH_MAX], beside[2 * PATH_MAX];
    *road = ROAD_OWN;
    if (type != DT_UNKNOWN && type != DT_LNK)
        return type == DT_DIR;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return false;
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return true;
    target[n] = '\0';
    int folder = target[0] == '/' ? 0 : (int)(strrchr(path, '/') - path) + 1;
    snprintf(beside, sizeof beside, "%.*s%s", folder, path, target);
    *road = lstat(beside, &st) == 0 && S_ISLNK(st.st_mode) ? ROAD_LINK_TO_LINK : ROAD_LINK;
    return true;
}

/* Trouble with the directory whose turn it is. */
static void say(struct walk *k, int err)
{
    if (k->at_top)
        k->error = err;
    /* Gone between listing and reading is no trouble: its removal is the truth. */
    else if (err != ENOENT && err != ENOTDIR && k->w.unreadable)
        k->w.unreadable(k->w.ctx, k->folder, err);
}

static int one_name(struct walk *k, const struct name *n)
{
    enum road road;
    char *path = NULL;
    int err = 0;
    if (asprintf(&path, "%s/%s", strcmp(k->folder, "/") ? k->folder : "", n->text) < 0)
        return ENOMEM;
    if (!is_directory(n->type, path, &road)) {
        if (watch_matches(k->w.patterns, n->text) && watch_is_file(path, NULL))
            k->w.file(k->w.ctx, path);
    } else if (k->w.recursive && road != ROAD_OWN && k->w.linked) {
        k->w.linked(k->w.ctx);
    } else if (k->w.recursive) {
        err = later(&k->q[road], path, k->linked || road != ROAD_OWN);
    }
    free(path);
    return err;
}

static void next_directory(struct walk *k)
{
    forget_names(k);
    free(k->folder);
    k->folder = NULL;
}

static void open_directory(struct walk *k)
{
    struct stat st;
    int err = 0;
    k->folder = next_of(k->q, &k->linked);
    k->at_top = !k->began && !k->w.topless;
    k->began = true;
    if (k->at_top && k->w.recursive)
        meet_above(&k->met, k->folder);
    if (k->w.recursive && stat(k->folder, &st) == 0) {
        if (k->linked && is_met(&k->met, &st)) {
            next_directory(k);
            return;
        }
        err = meet(&k->met, &st);
    }
    if (!err && k->w.enter)
        k->w.enter(k->w.ctx, k->folder);
    k->dir = err ? NULL : opendir(k->folder);
    if (k->dir)
        return;
    say(k, err ? err : errno);
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

static bool is_over(const struct walk *k)
{
    bool over = !k->folder;
    for (int i = 0; i < ROADS; i++)
        over = over && k->q[i].first == k->q[i].count;
    return over;
}

bool walk_go(struct walk *k, int64_t until_ns)
{
    while (!is_over(k)) {
        step(k);
        if (clock_mono() >= until_ns)
            break;
    }
    return is_over(k);
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
    return later(&k->q[ROAD_OWN], directory, false);
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
    free(me->folder);
    for (int i = 0; i < ROADS; i++)
        forget_pending(&me->q[i]);
    free(me->met.of);
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
