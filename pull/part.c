#include "pull/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/part_map.h"
#include "pull/part_store.h"

#define LARGEST ((int64_t)1 << 42) /* no bundle is longer: an offset beyond is nonsense */
#define OPEN_TRIES 100

static enum status check_open(const struct wire_open *o, struct fault *why)
{
    if (!fs_name_ok(o->name))
        return fault(why, ST_REJECT, "'%.60s' is no name of an exposure", o->name);
    if (!digest_valid(o->id))
        return fault(why, ST_REJECT, "the id of '%s' is no SHA-256", o->name);
    return ST_OK;
}

enum status part_held(const struct part_store *s, const struct wire_open *o, struct receipt *held,
                      bool *is_held, struct fault *why)
{
    *is_held = false;
    enum status st = check_open(o, why);
    if (st != ST_OK)
        return st;
    struct wanted w = {.id = o->id, .exact = o->exact};
    if (store_find(s, o, &w, held, is_held) != ST_OK)
        return fault(why, ST_REJECT, "'%s' has no place in the store", o->name);
    return ST_OK;
}

static enum status part_new(const struct part_store *s, const struct wire_open *o,
                            struct part **out, struct fault *why)
{
    struct part *p = calloc(1, sizeof *p);
    if (!p)
        return fault(why, ST_RETRY, "out of memory");
    p->store = *s;
    p->open = *o;
    p->part_fd = p->map_fd = -1;
    enum status st = store_path(s, p->part_path, why, "incoming/%s.%.8s.part", o->name, o->id);
    if (st == ST_OK)
        st = store_path(s, p->map_path, why, "incoming/%s.%.8s.map", o->name, o->id);
    if (st == ST_OK)
        st = store_path(s, p->intent_path, why, "incoming/%s.%.8s.receipt", o->name, o->id);
    if (st == ST_OK)
        *out = p;
    else
        free(p);
    return st;
}

void part_close(struct part **p)
{
    if (!*p)
        return;
    if ((*p)->part_fd >= 0)
        close((*p)->part_fd);
    if ((*p)->map_fd >= 0)
        close((*p)->map_fd);
    free(*p);
    *p = NULL;
}

static bool has_intent(const struct part *p)
{
    return access(p->intent_path, F_OK) == 0;
}

/* A commit of this very part that a crash cut short is ended first; one that another process is
 * at is waited for. */
static enum status end_interrupted(struct part *p, struct fault *why)
{
    int lock;
    if (!has_intent(p))
        return ST_OK;
    enum status st = store_lock(&p->store, &lock, why);
    if (st != ST_OK)
        return st;
    st = store_finish(&p->store, why);
    close(lock);
    if (st == ST_OK && has_intent(p))
        st = fault(why, ST_RETRY, "'%s' is whole but cannot get its name in the store yet",
                   p->open.name);
    return st;
}

/* The map under its name, locked: another process may commit, and so unlink it, between
 * our open and our lock. */
static enum status open_map(struct part *p, struct fault *why)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        struct stat st;
        p->map_fd = open(p->map_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (p->map_fd < 0)
            return fault_errno(why, fs_write_grade(errno), "cannot make '%s'", p->map_path);
        enum status locked = part_lock(p, LOCK_EX, why);
        if (locked != ST_OK)
            return locked;
        if (fstat(p->map_fd, &st) == 0 && st.st_nlink > 0)
            return ST_OK;
        close(p->map_fd);
        p->map_fd = -1;
    }
    return fault(why, ST_RETRY, "'%s' is made and removed all the time", p->map_path);
}

static enum status fresh_map(struct part *p, struct fault *why)
{
    struct map_head head = {.first_ns = clock_wall()};
    memcpy(head.id, p->open.id, sizeof head.id);
    p->first_ns = head.first_ns;
    return map_begin(p->map_fd, &head, why);
}

/* Opens the part below a locked map and makes the two agree. A map without its part tells
 * of bytes that are gone: it is unlinked rather than emptied, so that a process that still
 * holds both stops writing. *again asks the caller to start over. */
static enum status open_part(struct part *p, bool *again, struct fault *why)
{
    struct map_head head;
    bool sound = map_head_read(p->map_fd, &head);
    *again = false;
    p->part_fd = open(p->part_path, O_RDWR | O_CLOEXEC);
    if (p->part_fd < 0 && errno == ENOENT && sound) {
        *again = true;
        unlink(p->map_path);
        return ST_OK;
    }
    if (p->part_fd < 0 && errno == ENOENT)
        p->part_fd = open(p->part_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (p->part_fd < 0)
        return fault_errno(why, fs_write_grade(errno), "cannot open '%s'", p->part_path);
    if (!sound)
        return fresh_map(p, why);
    if (strcmp(head.id, p->open.id) != 0)
        return fault(why, ST_WAIT, "another file '%s' is arriving under the same short id",
                     p->open.name);
    p->first_ns = head.first_ns;
    return map_mend(p->map_fd, why);
}

/* Sealed since the first look: the part is as good as a bundle, nobody may write into it. The
 * map is another one then, which we made. */
static enum status leave_sealed(struct part *p, struct fault *why)
{
    struct map_head head;
    if (!map_head_read(p->map_fd, &head))
        unlink(p->map_path);
    close(p->map_fd);
    p->map_fd = -1;
    return end_interrupted(p, why);
}

static enum status open_files(struct part *p, struct receipt *held, bool *is_held,
                              struct fault *why)
{
    bool again = true;
    enum status st = ST_OK;
    for (int i = 0; again && st == ST_OK && i < OPEN_TRIES; i++) {
        if (p->map_fd >= 0)
            close(p->map_fd);
        st = open_map(p, why);
        if (st == ST_OK && has_intent(p)) {
            st = leave_sealed(p, why);
            continue;
        }
        /* Once more under the lock: a commit may have ended since the first look. */
        if (st == ST_OK)
            st = part_held(&p->store, &p->open, held, is_held, why);
        if (st == ST_OK && *is_held) {
            unlink(p->map_path);
            unlink(p->part_path);
            return ST_OK;
        }
        if (st == ST_OK)
            st = open_part(p, &again, why);
    }
    if (st == ST_OK && again)
        st = fault(why, ST_RETRY, "'%s' is removed all the time", p->part_path);
    if (p->map_fd >= 0)
        part_unlock(p);
    return st;
}

enum status part_open(const struct part_store *s, const struct wire_open *o, struct part **out,
                      struct receipt *held, bool *is_held, struct fault *why)
{
    struct part *p = NULL;
    char dir[STORE_PATH];
    *out = NULL;
    *is_held = false;
    enum status st = check_open(o, why);
    if (st == ST_OK)
        st = store_path(s, dir, why, "incoming");
    if (st == ST_OK)
        st = fs_mkdirs(dir, why);
    if (st == ST_OK)
        st = part_new(s, o, &p, why);
    if (st == ST_OK)
        st = end_interrupted(p, why);
    if (st == ST_OK)
        st = part_held(s, o, held, is_held, why);
    if (st == ST_OK && !*is_held)
        st = open_files(p, held, is_held, why);
    if (st == ST_OK && !*is_held) {
        *out = p;
        p = NULL;
    }
    part_close(&p);
    return st;
}

bool part_gone(const struct part *p)
{
    return !part_linked(p);
}

static enum status gone(const struct part *p, struct fault *why)
{
    return fault(why, ST_REJECT, "'%s' was committed or given up by another lane", p->open.name);
}

enum status part_extents(struct part *p, struct extent **have, size_t *count, struct fault *why)
{
    struct stat file;
    *have = NULL;
    *count = 0;
    enum status st = part_lock(p, LOCK_SH, why);
    if (st != ST_OK)
        return st;
    if (!part_linked(p))
        st = gone(p, why);
    else if (fstat(p->part_fd, &file) != 0)
        st = fault_errno(why, ST_RETRY, "cannot read '%s'", p->part_path);
    else
        st = map_read(p->map_fd, file.st_size, have, count, why);
    part_unlock(p);
    return st;
}

/* A look at the free space costs a round trip on a network file system: once a second. */
static enum status check_room(struct part *p, struct fault *why)
{
    int64_t now = clock_mono();
    if (p->room_checked && now - p->room_checked < NS_PER_S)
        return ST_OK;
    int64_t room = fs_free_bytes(p->store.root);
    if (room >= 0 && room < p->store.min_free_bytes)
        return fault(why, ST_WAIT,
                     "the store is full: %lld MiB are free below '%s' and %lld MiB must stay "
                     "free; move old bundles away",
                     (long long)(room >> 20), p->store.root,
                     (long long)(p->store.min_free_bytes >> 20));
    p->room_checked = now;
    return ST_OK;
}

static enum status write_locked(struct part *p, int64_t offset, const void *bytes, size_t len,
                                struct fault *why)
{
    if (!part_linked(p))
        return gone(p, why);
    if (fs_pwrite_all(p->part_fd, bytes, len, offset) != 0) {
        enum status st = fs_write_grade(errno);
        return fault_errno(why, st, "%s'%s'", st == ST_WAIT ? "the store is full: cannot write "
                                                            : "cannot write ", p->part_path);
    }
    return map_add(p->map_fd, offset, (int64_t)len, why);
}

enum status part_write(struct part *p, int64_t offset, const void *bytes, size_t len,
                       struct fault *why)
{
    if (offset < 0 || len == 0 || offset > LARGEST || (int64_t)len > LARGEST - offset)
        return fault(why, ST_REJECT, "a chunk of %zu bytes at %lld is no part of a bundle", len,
                     (long long)offset);
    enum status st = check_room(p, why);
    if (st == ST_OK)
        st = part_lock(p, LOCK_SH, why);
    if (st != ST_OK)
        return st;
    st = write_locked(p, offset, bytes, len, why);
    part_unlock(p);
    /* Begins the writing to disk now, so that the fsync at commit has little left to do.
     * Only a hint: where it is not supported nothing is lost. */
    if (st == ST_OK)
        (void)!sync_file_range(p->part_fd, offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
    return st;
}

enum status part_abort(struct part *p, struct fault *why)
{
    enum status st = part_lock(p, LOCK_EX, why);
    if (st != ST_OK)
        return st;
    /* The map first: a part without a map is only bytes that will be written again. */
    if (part_linked(p) && (unlink(p->map_path) != 0 || unlink(p->part_path) != 0))
        st = fault_errno(why, ST_RETRY, "cannot remove '%s'", p->part_path);
    part_unlock(p);
    return st;
}
