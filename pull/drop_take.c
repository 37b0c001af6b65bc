#include "pull/drop_take.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"

#define PATH 4096
#define LONGEST ((int64_t)64 << 30) /* a sparse file of terabytes is not to be read */
#define COPY ((size_t)4 << 20)

/* One drop being taken. */
struct take {
    const struct drop_order *o;
    char name[MEMBER_NAME], id8[9];
    char tar[PATH], side_path[PATH];
    struct drop_side side;
    int tar_fd; /* -1: there is none */
    int64_t tar_size;
};

static enum status path_of(const struct take *t, enum drop_kind kind, char out[PATH],
                           struct fault *why)
{
    char file[DROP_NAME];
    if (!drop_name(kind, t->name, t->id8, file) ||
        snprintf(out, PATH, "%s/%s", t->o->folder, file) >= PATH)
        return fault(why, ST_REJECT, "the name '%.100s' is too long", t->name);
    return ST_OK;
}

/* ---- answers ---- */

/* False: it is still there. */
static bool unlink_kind(const struct take *t, enum drop_kind kind)
{
    char path[PATH];
    struct fault why;
    if (path_of(t, kind, path, &why) != ST_OK || unlink(path) == 0 || errno == ENOENT)
        return true;
    if (errno == EISDIR && rmdir(path) == 0)
        return true;
    log_warn(AT(.stage = "drops", .exposure = t->name), "cannot remove '%s': %s; give "
             "skyferry-pull's account write access to the folder, and no sticky bit", path,
             strerror(errno));
    return false;
}

/* The side-car goes last: while it is there the drop is not done with. */
static void clear(const struct take *t)
{
    bool gone = unlink_kind(t, DROP_TAR);
    unlink_kind(t, DROP_MAP);
    crash_point("drop-cleared");
    if (gone)
        unlink_kind(t, DROP_SIDE);
}

/* A full disk must not keep the bytes that fill it. Only for what is in the store, or worthless;
 * the side-car stays until the answer is there, and brings the next try here. */
static void make_room(struct take *t)
{
    if (t->tar_fd >= 0)
        close(t->tar_fd); /* an open file keeps its blocks */
    t->tar_fd = -1;
    unlink_kind(t, DROP_TAR);
    unlink_kind(t, DROP_MAP);
    unlink_kind(t, DROP_REFUSED);
}

/* Push fills what comes free faster than we can: the bundle's own blocks become the answer. False
 * where they cannot; then the bytes may be spoilt. Killed in between, all is told again. */
static bool write_over(struct take *t, const char *path, const struct buf *text)
{
    struct stat known, st;
    struct fault why;
    int fd = open(t->tar, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool ok = fd >= 0 && t->tar_fd >= 0 && fstat(t->tar_fd, &known) == 0 && fstat(fd, &st) == 0 &&
              st.st_dev == known.st_dev && st.st_ino == known.st_ino && S_ISREG(st.st_mode) &&
              st.st_nlink == 1 && st.st_size >= (off_t)text->len &&
              fs_pwrite_all(fd, text->data, text->len, 0) == 0 &&
              ftruncate(fd, (off_t)text->len) == 0 &&
              (fchmod(fd, 0644) == 0 || errno == EPERM) && /* push's own: it can read it */
              fsync(fd) == 0 && fs_rename(t->tar, path, &why) == ST_OK;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* settled: nobody needs the bytes any more. */
static enum status put_file(struct take *t, const char *path, const struct buf *text, bool settled,
                            struct fault *why)
{
    enum status st = drop_put(path, text, why);
    if (st == ST_WAIT && settled && write_over(t, path, text))
        return ST_OK;
    if (st == ST_WAIT && settled) {
        make_room(t);
        st = drop_put(path, text, why);
    }
    /* Without a name: what is true of all drops is said once. */
    if (st == ST_WAIT)
        fault(why, ST_WAIT, "the disk of the drop folder %.300s is full: no answer can be left "
              "there; make room", t->o->folder);
    else if (st != ST_OK)
        fault_within(why, "no answer can be left in the drop folder (give skyferry-pull's account "
                     "write access to it): ");
    return st;
}

/* Leaves the refusal; `gone`: and removes the drop. */
static enum status refuse(struct take *t, bool gone, struct fault *why)
{
    struct buf text = {0};
    struct fault failed;
    char path[PATH];
    bool made = wire_refused_text(why, "commit", &text) &&
                path_of(t, DROP_REFUSED, path, &failed) == ST_OK;
    /* Of a full disk the next answer tells, and once. */
    if (made && put_file(t, path, &text, gone, &failed) != ST_OK)
        log_write(failed.grade == ST_WAIT ? LOG_DEBUG : LOG_WARN,
                  AT(.stage = "drops", .exposure = t->name), "%s", failed.text);
    buf_free(&text);
    if (gone)
        clear(t);
    return why->grade;
}

static enum status tell(struct take *t, const struct receipt *r, struct fault *why)
{
    struct buf text = {0};
    char path[PATH];
    enum status st = path_of(t, DROP_RECEIPT, path, why);
    if (st == ST_OK && (!receipt_text(r, &text) || !buf_append(&text, "\n", 1)))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = put_file(t, path, &text, true, why);
    buf_free(&text);
    crash_point("drop-receipt");
    if (st == ST_OK)
        unlink_kind(t, DROP_REFUSED);
    if (st == ST_OK)
        clear(t);
    return st;
}

/* ---- looking ---- */

static enum status read_side(struct take *t, struct fault *why)
{
    int64_t size = 0;
    char *text = NULL;
    int fd = fs_open_plain(t->side_path, &size);
    if (fd < 0 && errno == ENOENT)
        return fault(why, ST_WAIT, "%s", "");
    if (fd < 0)
        return fault_errno(why, errno == ELOOP || errno == EINVAL ? ST_REJECT : ST_WAIT,
                           "skyferry-pull cannot read the side-car '%.200s' (give its account "
                           "read access to the drop folder)", t->side_path);
    enum status st = ST_OK;
    if (size <= 0 || size > (int64_t)DROP_SIDE_MAX)
        st = fault(why, ST_RETRY, "the side-car of '%.100s' has %lld bytes", t->name,
                   (long long)size);
    else if (!(text = malloc((size_t)size)))
        st = fault(why, ST_WAIT, "out of memory");
    else if (fs_pread_all(fd, text, (size_t)size, 0) != 0)
        st = fault(why, ST_WAIT, "the side-car of '%.100s' cannot be read", t->name);
    else if ((st = drop_side_parse(text, (size_t)size, &t->side, why)) != ST_OK)
        fault_within(why, "the side-car of '%.100s': ", t->name);
    /* A machine that died may leave it empty: sent again it is sound. */
    if (st == ST_REJECT)
        st = why->grade = ST_RETRY;
    free(text);
    close(fd);
    return st;
}

/* Does the side-car speak of this file? */
static enum status check_side(const struct take *t, struct fault *why)
{
    const struct drop_side *s = &t->side;
    if (strcmp(s->open.name, t->name) != 0 || strncmp(s->open.id, t->id8, 8) != 0)
        return fault(why, ST_REJECT, "the side-car of '%.100s' is about '%.100s'", t->name,
                     s->open.name);
    if (s->commit.size <= 0 || s->commit.size > LONGEST)
        return fault(why, ST_REJECT, "'%.100s' is said to have %lld bytes", t->name,
                     (long long)s->commit.size);
    return ST_OK;
}

static enum status open_tar(struct take *t, struct fault *why)
{
    t->tar_fd = fs_open_plain(t->tar, &t->tar_size);
    if (t->tar_fd < 0 && errno == ENOENT)
        return ST_OK;
    if (t->tar_fd < 0 && errno == EACCES)
        return fault_errno(why, ST_WAIT, "the dropped '%.100s' cannot be read: let its account "
                           "share a group with skyferry-pull's, and set umask 0027 or less in its "
                           "SFTP server (internal-sftp -u 0027)", t->name);
    if (t->tar_fd < 0)
        return fault_errno(why, ST_REJECT, "the dropped '%.100s' is no plain file", t->name);
    if (t->tar_size != t->side.commit.size)
        return fault(why, ST_RETRY, "the dropped '%.100s' has %lld bytes, not the %lld of its "
                     "side-car; it is removed and must be sent again", t->name,
                     (long long)t->tar_size, (long long)t->side.commit.size);
    return ST_OK;
}

/* ---- taking ---- */

/* Another account's file, or another file system's: what is checked and kept is our copy. A file
 * that changes meanwhile is found by the digest. */
static enum status copy(struct take *t, struct part *p, struct fault *why)
{
    enum status st = ST_OK;
    unsigned char *block = malloc(COPY);
    if (!block)
        return fault(why, ST_RETRY, "out of memory");
    for (int64_t at = 0; st == ST_OK && at < t->tar_size; at += (int64_t)COPY) {
        size_t len = t->tar_size - at < (int64_t)COPY ? (size_t)(t->tar_size - at) : COPY;
        if (fs_pread_all(t->tar_fd, block, len, at) != 0)
            st = fault(why, ST_RETRY, "the dropped '%.100s' changed while it was read", t->name);
        else
            st = part_write(p, at, block, len, why);
    }
    free(block);
    return st;
}

/* The bytes into the part; *lost: they are nowhere any more. */
static enum status bring(struct take *t, struct part *p, bool *lost, struct fault *why)
{
    bool adopted = false;
    enum status st = part_adopt(p, t->tar_fd >= 0 ? t->tar : NULL, t->side.commit.size, &adopted,
                                why);
    if (st != ST_OK || adopted)
        return st;
    *lost = t->tar_fd < 0;
    return *lost ? fault(why, ST_RETRY, "the part of '%.100s' is gone", t->name) : copy(t, p, why);
}

/* *wrong: these bytes will never do; all other troubles are the store's own, and pass. */
static enum status commit(struct take *t, struct part *p, struct receipt *r, bool *wrong,
                          struct fault *why)
{
    struct fault ignored;
    bool lost = false;
    enum status st = bring(t, p, &lost, why);
    crash_point("drop-moved");
    if (st == ST_OK)
        st = part_commit(p, &t->side.commit, r, why);
    crash_point("drop-stored");
    *wrong = st == ST_REJECT || (st != ST_OK && (lost || part_dropped(p)));
    if (*wrong)
        part_abort(p, &ignored);
    return st;
}

static enum status store(struct take *t, struct receipt *r, bool *wrong, struct fault *why)
{
    struct part *p = NULL;
    bool held = false;
    /* As for a lane: what is stored below a mount point without its file system would vanish. */
    if (access(t->o->store.root, F_OK) != 0)
        return fault(why, ST_WAIT, "the store '%.300s' is not there: is its file system mounted?",
                     t->o->store.root);
    enum status st = part_open(&t->o->store, &t->side.open, &p, r, &held, why);
    if (st == ST_OK && !held)
        st = commit(t, p, r, wrong, why);
    part_close(&p);
    return st;
}

static bool is_there(const struct take *t, enum drop_kind kind)
{
    char path[PATH];
    struct stat st;
    return path_of(t, kind, path, NULL) == ST_OK && lstat(path, &st) == 0;
}

/* A side-car alone: push is about to name its bundle, an interrupted take has the bytes in the
 * store already, or they are lost. */
static enum status look_for_bytes(const struct take *t, struct fault *why)
{
    struct receipt r;
    bool held = false;
    enum status st = part_held(&t->o->store, &t->side.open, &r, &held, why);
    if (st != ST_OK || held || part_waits(&t->o->store, &t->side.open, t->side.commit.size))
        return st;
    if (is_there(t, DROP_PART) || is_there(t, DROP_TAR))
        return fault(why, ST_WAIT, "%s", "");
    return fault(why, ST_RETRY, "the bytes of '%.100s' are gone from the drop folder; it must be "
                 "sent again", t->name);
}

static enum status take_sound(struct take *t, struct receipt *r, struct fault *why)
{
    bool wrong = false;
    enum status st = open_tar(t, why);
    if (st == ST_OK && t->tar_fd < 0)
        st = look_for_bytes(t, why);
    if (st == ST_WAIT && why->text[0] == '\0')
        return st;
    if (st != ST_OK)
        return refuse(t, st != ST_WAIT, why);
    st = store(t, r, &wrong, why);
    if (st == ST_OK)
        return tell(t, r, why);
    /* The store's own trouble passes: the drop stays, or the part that it has become. */
    if (!wrong)
        why->grade = ST_WAIT;
    return refuse(t, wrong, why);
}

enum status drop_take(const struct drop_order *o, const char *file, struct receipt *r,
                      struct fault *why)
{
    struct take t = {.o = o, .tar_fd = -1};
    enum drop_kind kind = drop_name_parse(file, t.name, t.id8);
    why->text[0] = '\0';
    if (kind != DROP_TAR && kind != DROP_SIDE)
        return fault(why, ST_WAIT, "%s", "");
    enum status st = path_of(&t, DROP_TAR, t.tar, why);
    if (st == ST_OK)
        st = path_of(&t, DROP_SIDE, t.side_path, why);
    if (st == ST_OK && (st = read_side(&t, why)) == ST_OK)
        st = check_side(&t, why);
    if (st == ST_OK)
        st = take_sound(&t, r, why);
    else if (why->text[0])
        refuse(&t, st != ST_WAIT, why);
    if (t.tar_fd >= 0)
        close(t.tar_fd);
    return st;
}
