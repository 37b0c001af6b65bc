#include "pull/part_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"

#define RECEIPT_MAX 16384
#define GAP 8      /* names without a bundle after which no further one is looked for */

enum status store_path(const struct part_store *s, char out[STORE_PATH], struct fault *why,
                       const char *fmt, ...)
{
    char rel[STORE_PATH];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(rel, sizeof rel, fmt, ap);
    va_end(ap);
    return fs_join(out, STORE_PATH, s->root, rel, why);
}

void store_night(const struct part_store *s, const struct wire_open *o, char night[NIGHT_SIZE])
{
    int64_t when;
    if (!clock_parse_date_obs(o->date_obs, &when))
        when = o->mtime_ns;
    night_of(&s->rule, when, night);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static enum status read_receipt(const char *path, struct receipt *out, struct fault *why)
{
    struct buf text = {0};
    enum status st = fs_read_file(path, RECEIPT_MAX, &text, why);
    int err = errno;
    if (st == ST_OK) {
        st = receipt_parse(text.data, text.len, out, why);
        err = EINVAL;
        if (st != ST_OK && why)
            fault_within(why, "'%s': ", path);
    }
    buf_free(&text);
    errno = err;
    return st;
}

enum status store_look(const struct part_store *s, const struct wire_open *o, struct slot_name n,
                       struct slot *out, struct fault *why)
{
    char night[NIGHT_SIZE], name[MEMBER_NAME], version[16] = "";
    struct stat file;
    memset(out, 0, sizeof *out);
    store_night(s, o, night);
    if (n.number > 1)
        snprintf(version, sizeof version, "~%d", n.number);
    if ((size_t)snprintf(name, sizeof name, "%s%s%s", o->name, version, n.exact ? ".exact" : "") >=
        sizeof name)
        return fault(why, ST_REJECT, "the name '%s' is too long", o->name);
    enum status st = store_path(s, out->tar, why, "bundles/%s/%s.tar", night, name);
    if (st == ST_OK)
        st = store_path(s, out->receipt_path, why, "bundles/%s/%s.receipt", night, name);
    if (st != ST_OK)
        return st;
    if ((size_t)snprintf(out->stored, sizeof out->stored, "%s/%s.tar", night, name) >=
        sizeof out->stored)
        return fault(why, ST_REJECT, "the name '%s' is too long", o->name);
    out->has_tar = lstat(out->tar, &file) == 0;
    out->tar_size = out->has_tar ? (int64_t)file.st_size : -1;
    out->has_receipt = exists(out->receipt_path);
    if (out->has_receipt && read_receipt(out->receipt_path, &out->receipt, NULL) != ST_OK)
        memset(&out->receipt, 0, sizeof out->receipt);
    return ST_OK;
}

static bool is_wanted(const struct slot *slot, const struct wire_open *o, const struct wanted *w)
{
    const struct receipt *r = &slot->receipt;
    if (!slot->has_receipt || strcmp(r->name, o->name) != 0 || slot->tar_size != r->size)
        return false;
    if (w->exact && !r->exact)
        return false;
    return (w->id && strcmp(w->id, r->id) == 0) ||
           (w->source_sha256 && strcmp(w->source_sha256, r->source_sha256) == 0);
}

enum status store_find(const struct part_store *s, const struct wire_open *o,
                       const struct wanted *w, struct receipt *out, bool *held)
{
    struct slot slot;
    *held = false;
    for (int n = 1, missing = 0; n <= SLOTS && missing < GAP; n++) {
        bool there = false;
        for (int exact = 1; exact >= 0; exact--) {
            struct fault why;
            enum status st = store_look(s, o, (struct slot_name){n, exact}, &slot, &why);
            if (st != ST_OK)
                return st;
            if (is_wanted(&slot, o, w)) {
                *out = slot.receipt;
                *held = true;
                return ST_OK;
            }
            there = there || slot.has_tar || slot.has_receipt;
        }
        missing = there ? 0 : missing + 1;
    }
    return ST_OK;
}

static int lock_fd(int fd, int how)
{
    int rc;
    do
        rc = flock(fd, how);
    while (rc != 0 && errno == EINTR);
    return rc;
}

enum status store_lock(const struct part_store *s, int *fd, struct fault *why)
{
    char path[STORE_PATH];
    enum status st = store_path(s, path, why, "incoming/.lock");
    if (st != ST_OK)
        return st;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0)
        return fault_errno(why, fs_write_grade(errno), "cannot open '%s'", path);
    if (lock_fd(*fd, LOCK_EX) == 0)
        return ST_OK;
    st = fault_errno(why, ST_RETRY, "cannot lock '%s' (the store needs a file system with "
                     "flock; Lustre: mount it with -o flock)", path);
    close(*fd);
    *fd = -1;
    return st;
}

enum status part_lock(struct part *p, int how, struct fault *why)
{
    if (lock_fd(p->map_fd, how) == 0)
        return ST_OK;
    return fault_errno(why, ST_RETRY, "cannot lock '%s' (the store needs a file system with "
                       "flock; Lustre: mount it with -o flock)", p->map_path);
}

void part_unlock(struct part *p)
{
    lock_fd(p->map_fd, LOCK_UN);
}

bool part_linked(const struct part *p)
{
    struct stat map, part;
    return fstat(p->map_fd, &map) == 0 && map.st_nlink > 0 &&
           (p->part_fd < 0 || (fstat(p->part_fd, &part) == 0 && part.st_nlink > 0));
}

/* "incoming/X.receipt" to "incoming/X" + suffix. */
static void beside(char out[STORE_PATH], const char *intent, const char *suffix)
{
    int stem = (int)(strlen(intent) - strlen(".receipt"));
    snprintf(out, STORE_PATH, "%.*s%s", stem, intent, suffix);
}

enum status store_name(const struct part_store *s, const char *intent, const struct receipt *r,
                       struct fault *why)
{
    char part[STORE_PATH], tar[STORE_PATH], dir[STORE_PATH], receipt[STORE_PATH];
    int stem = (int)(strlen(r->stored) - strlen(".tar"));
    beside(part, intent, ".part");
    enum status st = store_path(s, dir, why, "bundles/%s", r->night);
    if (st == ST_OK)
        st = store_path(s, tar, why, "bundles/%s", r->stored);
    if (st == ST_OK)
        st = store_path(s, receipt, why, "bundles/%.*s.receipt", stem, r->stored);
    if (st == ST_OK)
        st = fs_mkdirs(dir, why);
    if (st == ST_OK && exists(part))
        st = fs_rename(part, tar, why);
    crash_point("commit-named");
    if (st == ST_OK)
        st = fs_rename(intent, receipt, why);
    crash_point("commit-receipt");
    return st;
}

static void finish_one(const struct part_store *s, const char *intent)
{
    char part[STORE_PATH], map[STORE_PATH], tar[STORE_PATH];
    struct receipt r;
    struct fault why;
    beside(part, intent, ".part");
    beside(map, intent, ".map");
    if (read_receipt(intent, &r, &why) != ST_OK ||
        store_path(s, tar, &why, "bundles/%s", r.stored) != ST_OK) {
        log_warn(AT(.stage = "receive"), "an interrupted commit is forgotten: %s", why.text);
        unlink(intent);
        return;
    }
    bool has_part = exists(part), has_tar = exists(tar);
    if ((has_part && exists(map)) || has_part == has_tar) {
        unlink(intent);
        return;
    }
    if (store_name(s, intent, &r, &why) != ST_OK) {
        log_warn(AT(.stage = "receive", .exposure = r.name),
                 "an interrupted commit cannot be ended yet: %s", why.text);
        return;
    }
    unlink(map);
    log_info(AT(.stage = "receive", .exposure = r.name),
             "ended the interrupted commit of %s", r.stored);
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a > b && strcmp(text + a - b, end) == 0;
}

/* Calls fn for every file of incoming/ with this ending; drafts (".NAME") are none. */
static enum status each_incoming(const struct part_store *s, const char *end,
                                 void (*fn)(const struct part_store *s, const char *path,
                                            void *ctx),
                                 void *ctx, struct fault *why)
{
    char dir[STORE_PATH], path[STORE_PATH];
    enum status st = store_path(s, dir, why, "incoming");
    if (st != ST_OK)
        return st;
    DIR *d = opendir(dir);
    if (!d)
        return fault_errno(why, ST_RETRY, "cannot read the folder '%s'", dir);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && ends_with(e->d_name, end) &&
            store_path(s, path, NULL, "incoming/%s", e->d_name) == ST_OK)
            fn(s, path, ctx);
    closedir(d);
    return ST_OK;
}

static void finish_each(const struct part_store *s, const char *path, void *ctx)
{
    (void)ctx;
    finish_one(s, path);
}

enum status store_finish(const struct part_store *s, struct fault *why)
{
    return each_incoming(s, ".receipt", finish_each, NULL, why);
}

enum status part_name_lock(const struct part_store *s, int *fd, struct fault *why)
{
    enum status st = store_lock(s, fd, why);
    if (st == ST_OK && (st = store_finish(s, why)) != ST_OK) {
        close(*fd);
        *fd = -1;
    }
    return st;
}

enum status part_holds(const struct part_store *s, const struct wire_have *asked, bool *held,
                       struct fault *why)
{
    struct wire_open o = {.mtime_ns = asked->mtime_ns};
    struct receipt r;
    *held = false;
    if (!fs_name_ok(asked->name))
        return fault(why, ST_REJECT, "'%.60s' is no name of an exposure", asked->name);
    snprintf(o.name, sizeof o.name, "%s", asked->name);
    snprintf(o.date_obs, sizeof o.date_obs, "%s", asked->date_obs);
    struct wanted w = {.source_sha256 = asked->source_sha256, .exact = asked->exact};
    enum status st = store_find(s, &o, &w, &r, held);
    if (st != ST_OK)
        return fault(why, st, "cannot look for '%s' in the store", asked->name);
    *held = *held && r.source_size == asked->source_size;
    return ST_OK;
}

enum status part_receipt(const char *bundle_path, struct receipt *out, struct fault *why)
{
    char path[STORE_PATH];
    size_t len = strlen(bundle_path);
    if (!ends_with(bundle_path, ".tar") || len + 8 >= sizeof path)
        return fault(why, ST_REJECT, "'%s' is no bundle: its name does not end in .tar",
                     bundle_path);
    snprintf(path, sizeof path, "%.*s.receipt", (int)(len - 4), bundle_path);
    return read_receipt(path, out, why);
}

struct expiry {
    time_t before;
    int count;
};

static bool old(const char *path, time_t before)
{
    struct stat st;
    return lstat(path, &st) != 0 || st.st_mtime < before;
}

/* path is a part; its map goes with it. */
static void expire_one(const struct part_store *s, const char *path, void *ctx)
{
    struct expiry *e = ctx;
    char map[STORE_PATH];
    (void)s;
    snprintf(map, sizeof map, "%.*s.map", (int)(strlen(path) - strlen(".part")), path);
    int fd = open(map, O_RDWR | O_CLOEXEC);
    /* A lane at work holds the lock; without a map nobody can be at work. */
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) {
        if (old(path, e->before) && old(map, e->before)) {
            unlink(map);
            if (unlink(path) == 0)
                e->count++;
        }
    }
    if (fd >= 0)
        close(fd);
}

int part_expire(const struct part_store *s, int days)
{
    struct expiry e = {.before = time(NULL) - (time_t)days * 86400};
    char dir[STORE_PATH];
    int lock;
    if (store_path(s, dir, NULL, "incoming") != ST_OK || !exists(dir) ||
        store_lock(s, &lock, NULL) != ST_OK)
        return 0;
    store_finish(s, NULL);
    each_incoming(s, ".part", expire_one, &e, NULL);
    close(lock);
    fs_sweep_drafts(dir);
    return e.count;
}
