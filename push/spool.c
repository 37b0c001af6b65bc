#include "push/spool.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/log.h"

#define LOCK_NAME "lock"
#define WANTED "%s-wanted"
#define WISH_MAX 512
/* Left free on the disk whatever the quota says: the journal has to grow, too. */
#define DISK_RESERVE (64LL << 20)
#define GIB (1024.0 * 1024 * 1024)

static void path_in(const char *directory, const char *name, char out[4400])
{
    snprintf(out, 4400, "%s/%s", directory, name);
}

enum status spool_open(const char *directory, struct spool *out, struct fault *why)
{
    char path[4400];
    snprintf(out->directory, sizeof out->directory, "%s", directory);
    out->lock = -1;
    if (fs_mkdirs(directory, why) != ST_OK) {
        fault_within(why, "[spool] directory: ");
        return why->grade = ST_FATAL;
    }
    path_in(directory, LOCK_NAME, path);
    enum status st = fs_lock(path, &out->lock, why);
    /* WAIT shall only mean that another process is there. */
    if (st == ST_WAIT && fs_write_grade(errno) == ST_WAIT)
        st = why->grade = ST_FATAL;
    return st;
}

void spool_close(struct spool *s)
{
    if (s->lock >= 0)
        close(s->lock);
    s->lock = -1;
}

long spool_holder(const char *directory)
{
    char path[4400];
    path_in(directory, LOCK_NAME, path);
    return fs_lock_holder(path);
}

void spool_bundle(const struct spool *s, const struct exposure *e, char out[4200])
{
    /* A name has at most 160 characters (exposure_root). */
    snprintf(out, 4200, "%.4000s/%.8s-%.160s.tar", s->directory, e->bundle_id, e->name);
}

static bool is_bundle(const char *name)
{
    size_t len = strlen(name);
    return len > 13 && name[8] == '-' && strspn(name, "0123456789abcdef") == 8 &&
           strcmp(name + len - 4, ".tar") == 0;
}

/* Calls fn for each bundle's file; errno's text in why when the directory cannot be read. */
static enum status each_bundle(const char *directory,
                               void (*fn)(void *ctx, const char *path, const char *name), void *ctx,
                               struct fault *why)
{
    DIR *d = opendir(directory);
    char path[4400];
    if (!d)
        return fault_errno(why, ST_RETRY, "cannot read the spool %s", directory);
    for (struct dirent *e; (e = readdir(d));) {
        if (!is_bundle(e->d_name))
            continue;
        path_in(directory, e->d_name, path);
        fn(ctx, path, e->d_name);
    }
    closedir(d);
    return ST_OK;
}

static void add_size(void *ctx, const char *path, const char *name)
{
    struct stat st;
    (void)name;
    if (stat(path, &st) == 0)
        *(int64_t *)ctx += (int64_t)st.st_size;
}

enum status spool_room(const struct spool *s, double quota_gib, int64_t need, struct fault *why)
{
    int64_t used = 0;
    enum status st = each_bundle(s->directory, add_size, &used, why);
    if (st != ST_OK)
        return st;
    if ((double)(used + need) > quota_gib * GIB)
        return fault(why, ST_WAIT,
                     "the spool is full: %.2f GiB used, %.2f GiB more needed, [spool] quota_gib is "
                     "%g; waits until bundles are delivered, or raise the quota",
                     (double)used / GIB, (double)need / GIB, quota_gib);
    int64_t room = fs_free_bytes(s->directory);
    if (room >= 0 && room < need + DISK_RESERVE)
        return fault(why, ST_WAIT,
                     "the disk of the spool %s is full: %.2f GiB free, %.2f GiB needed; free some "
                     "space", s->directory, (double)room / GIB, (double)need / GIB);
    return ST_OK;
}

/* ---- leftovers ---- */

struct owned {
    const struct spool *spool;
    char **names;
    size_t count;
    bool failed;
};

static bool note_owner(void *ctx, const struct exposure *e)
{
    struct owned *o = ctx;
    char path[4200];
    char **grown = realloc(o->names, (o->count + 1) * sizeof *grown);
    if (!grown) {
        o->failed = true;
        return false;
    }
    o->names = grown;
    spool_bundle(o->spool, e, path);
    o->names[o->count] = strdup(fs_basename(path));
    o->failed = !o->names[o->count];
    o->count += !o->failed;
    return !o->failed;
}

static void remove_orphan(void *ctx, const char *path, const char *name)
{
    struct owned *o = ctx;
    for (size_t i = 0; i < o->count; i++)
        if (strcmp(o->names[i], name) == 0)
            return;
    if (unlink(path) == 0)
        log_info(AT(.stage = "tidy"), "removed %s, which belongs to no exposure under way", name);
}

enum status spool_clean(const struct spool *s, struct journal *j, struct fault *why)
{
    struct owned o = {.spool = s};
    fs_sweep_drafts(s->directory);
    enum status st = journal_list(j, EXPOSURE_SENDING, 0, 0, note_owner, &o, why);
    if (st == ST_OK)
        st = journal_list(j, EXPOSURE_READY, 0, 0, note_owner, &o, why); /* let go of for a while */
    if (st == ST_OK)
        st = journal_list(j, EXPOSURE_STORED, 0, 0, note_owner, &o, why);
    if (st == ST_OK && o.failed)
        st = fault(why, ST_RETRY, "out of memory for the list of bundles");
    if (st == ST_OK)
        st = each_bundle(s->directory, remove_orphan, &o, why);
    for (size_t i = 0; i < o.count; i++)
        free(o.names[i]);
    free(o.names);
    return st;
}

/* ---- a wish for the agent ---- */

static void wish_path(const char *directory, const char *what, char out[4400])
{
    char name[64];
    snprintf(name, sizeof name, WANTED, what);
    path_in(directory, name, out);
}

enum status spool_wish(const char *directory, const char *what, const char *text,
                       struct fault *why)
{
    char path[4400];
    wish_path(directory, what, path);
    return fs_write_file(path, text, strlen(text), false, why);
}

bool spool_take(const struct spool *s, const char *what, char *out, size_t size)
{
    struct buf text = {0};
    char path[4400];
    wish_path(s->directory, what, path);
    bool ok = fs_read_file(path, WISH_MAX, &text, NULL) == ST_OK && text.len > 0 && text.len < size;
    if (ok) {
        memcpy(out, text.data, text.len);
        out[text.len] = '\0';
    }
    unlink(path);
    buf_free(&text);
    return ok;
}
