#include "pull/place_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "pull/place.h"

#define PIECE 262144
#define VERSIONS 1000

enum place_conflict place_conflict_of(const char *word)
{
    return strcmp(word, "version") == 0   ? PLACE_VERSION
           : strcmp(word, "replace") == 0 ? PLACE_REPLACE
                                          : PLACE_PARK;
}

enum place_mirror place_mirror_of(const char *word)
{
    return strcmp(word, "copy") == 0   ? MIRROR_COPY
           : strcmp(word, "link") == 0 ? MIRROR_LINK
                                       : MIRROR_NONE;
}

static enum status folder_for(const char *path, struct fault *why)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path), path);
    return fs_mkdirs(folder, why);
}

/* What has the name now? */
enum taken { FREE, SAME, OTHER, NO_FILE };

static bool same_bytes(int fd, const struct buf *file)
{
    unsigned char piece[PIECE];
    for (size_t at = 0; at < file->len; at += PIECE) {
        size_t len = file->len - at < PIECE ? file->len - at : PIECE;
        if (fs_pread_all(fd, piece, len, (off_t)at) != 0 ||
            memcmp(piece, file->data + at, len) != 0)
            return false;
    }
    return true;
}

static enum status look(const char *path, const struct buf *file, enum taken *out,
                        struct fault *why)
{
    struct stat st;
    *out = FREE;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? ST_OK : fault_errno(why, ST_RETRY, "cannot look at '%s'", path);
    *out = S_ISREG(st.st_mode) ? OTHER : NO_FILE;
    if (*out != OTHER || st.st_size != (off_t)file->len)
        return ST_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && same_bytes(fd, file))
        *out = SAME;
    if (fd >= 0)
        close(fd);
    return ST_OK;
}

static enum status taken_words(const struct place_file *p, struct fault *why)
{
    return fault(why, ST_REJECT, "'%s' is there already with other bytes and is kept; look which "
                 "one is right: reprocess --force replaces it, [place] on_conflict = version keeps "
                 "both", p->rel);
}

/* Is the file of this path still what the catalogue remembers? One that cannot be read counts
 * as somebody else's: it is kept. */
static bool is_known(const char *path, const struct place_file *p)
{
    bool known = false;
    return place_is_known(path, &p->known, &known, NULL) == ST_OK && known;
}

/* The name of the file whose place this one takes, while that is still the file that was
 * placed, or is gone. *settled: it is; else the name is to be chosen as for any other. */
static enum status inherit_name(struct place_file *p, const struct buf *file, char path[4096],
                                bool *settled, struct fault *why)
{
    enum taken taken;
    *settled = false;
    if (!p->known.rel[0])
        return ST_OK;
    enum status st = fs_join(path, 4096, p->root, p->known.rel, why);
    if (st == ST_OK)
        st = look(path, file, &taken, why);
    if (st != ST_OK)
        return st;
    p->is_there = taken == SAME;
    p->takes_over = taken == OTHER && lstat(path, &p->seen) == 0 && is_known(path, p);
    *settled = taken == FREE || p->is_there || p->takes_over;
    if (*settled)
        memcpy(p->rel, p->known.rel, sizeof p->rel);
    return ST_OK;
}

/* Settles the name: p->rel and path, or is_there, or a refusal. */
static enum status choose_name(struct place_file *p, const struct buf *file, char path[4096],
                               struct fault *why)
{
    char wanted[sizeof p->rel];
    bool settled;
    enum status known = inherit_name(p, file, path, &settled, why);
    if (known != ST_OK || settled)
        return known;
    memcpy(wanted, p->rel, sizeof wanted);
    for (int version = 2; version < VERSIONS; version++) {
        enum taken taken;
        enum status st = fs_join(path, 4096, p->root, p->rel, why);
        if (st == ST_OK)
            st = look(path, file, &taken, why);
        if (st != ST_OK)
            return st;
        p->is_there = taken == SAME;
        if (taken == FREE || taken == SAME || (taken == OTHER && p->conflict == PLACE_REPLACE))
            return ST_OK;
        if (taken == NO_FILE)
            return fault(why, ST_REJECT, "'%s' is there already and is no plain file; move it away",
                         p->rel);
        if (p->conflict == PLACE_PARK)
            return taken_words(p, why);
        if (!place_version(wanted, version, p->rel, sizeof p->rel))
            return fault(why, ST_REJECT, "the name '%.200s...' is too long", wanted);
    }
    return fault(why, ST_REJECT, "'%s' has %d versions already", wanted, VERSIONS);
}

enum status place_write(struct place_file *p, const struct buf *file, struct fault *why)
{
    char path[4096];
    enum status st = choose_name(p, file, path, why);
    if (st != ST_OK || p->is_there)
        return st;
    st = folder_for(path, why);
    if (st == ST_OK)
        st = fs_draft_open(&p->draft, path, why);
    if (st != ST_OK)
        return st;
    if (fs_write_all(p->draft.fd, file->data, file->len) != 0) {
        st = fault_errno(why, fs_write_grade(errno), "cannot write '%s'", p->rel);
        place_drop(p);
        return st;
    }
    /* A hint: the disk begins now, so that the fsync to come has little left to wait for. */
    (void)sync_file_range(p->draft.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    return ST_OK;
}

static enum status mirror_copy(const char *path, const char *to, bool keep, struct fault *why)
{
    struct fs_draft d = {.fd = -1};
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    enum status st = fs_draft_open(&d, to, why);
    if (st == ST_OK)
        st = fs_draft_fill(&d, from, why);
    if (st == ST_OK)
        st = fs_draft_publish(&d, keep, why);
    fs_draft_drop(&d);
    close(from);
    return st;
}

/* Under a draft's name first, so that the old link is there until the new one is. */
static int link_over(const char *path, const char *to)
{
    char temp[4096];
    const char *base = fs_basename(to);
    int folder = (int)(base - to);
    if ((size_t)snprintf(temp, sizeof temp, "%.*s.%s.%ld.0.part", folder, to, base,
                         (long)getpid()) >= sizeof temp) {
        errno = ENAMETOOLONG;
        return -1;
    }
    unlink(temp);
    if (link(path, temp) != 0)
        return -1;
    /* Two names of one file: rename does nothing then. */
    int rc = fs_rename(temp, to, NULL) == ST_OK ? 0 : -1;
    int err = errno;
    unlink(temp);
    errno = err;
    return rc;
}

static enum status mirror(const struct place_file *p, const char *path, struct fault *why)
{
    char to[4096];
    struct stat st;
    bool keep = p->conflict != PLACE_REPLACE;
    enum status grade = fs_join(to, sizeof to, p->root, p->mirror_rel, why);
    if (grade == ST_OK)
        grade = folder_for(to, why);
    if (grade != ST_OK)
        return grade;
    if (keep && lstat(to, &st) == 0) {
        if (!p->known.rel[0] || !is_known(to, p))
            return ST_OK;
        keep = false;
    }
    if (p->mirror == MIRROR_COPY)
        return mirror_copy(path, to, keep, why);
    if ((keep ? link(path, to) : link_over(path, to)) == 0 || errno == EEXIST)
        return ST_OK;
    return fault_errno(why, fs_write_grade(errno), "cannot link '%s' into the workspace "
                       "([place] workspace = copy works on every file system)", p->rel);
}

/* Has nobody touched the file since it was found to be the known one? */
static enum status check_seen(const struct place_file *p, const char *path, struct fault *why)
{
    struct stat now;
    const struct stat *seen = &p->seen;
    if (!p->takes_over)
        return ST_OK;
    if (lstat(path, &now) == 0 && now.st_ino == seen->st_ino && now.st_size == seen->st_size &&
        now.st_mtim.tv_sec == seen->st_mtim.tv_sec && now.st_mtim.tv_nsec == seen->st_mtim.tv_nsec)
        return ST_OK;
    return fault(why, ST_RETRY, "'%s' was changed a moment ago", p->rel);
}

enum status place_publish(struct place_file *p, struct fault *why)
{
    char path[4096];
    enum status st = fs_join(path, sizeof path, p->root, p->rel, why);
    if (st == ST_OK && !p->is_there)
        st = check_seen(p, path, why);
    if (st == ST_OK && !p->is_there) {
        st = fs_draft_publish(&p->draft, p->conflict != PLACE_REPLACE && !p->takes_over, why);
        /* Somebody took the name since place_write looked; another try finds the next one. */
        if (st == ST_REJECT && p->conflict == PLACE_VERSION)
            st = why->grade = ST_RETRY;
        else if (st == ST_REJECT)
            st = taken_words(p, why);
    } else if (st == ST_OK) {
        /* The run that placed it may have died before it synced the folder. */
        char folder[4096];
        snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path), path);
        st = fs_sync_dir(folder, why);
    }
    if (st == ST_OK && p->mirror != MIRROR_NONE)
        st = mirror(p, path, why);
    return st;
}

void place_drop(struct place_file *p)
{
    fs_draft_drop(&p->draft);
}
