#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/part_map.h"
#include "pull/part_store.h"

/* Ours alone from now on? Nobody else may hold it under another name or own it: its owner
 * could change it after the digest was checked. */
static bool is_ours(const struct stat *file, const struct part *p)
{
    struct stat part;
    return S_ISREG(file->st_mode) && file->st_nlink == 1 && file->st_uid == geteuid() &&
           fstat(p->part_fd, &part) == 0 && part.st_dev == file->st_dev;
}

/* Under the lock: the file becomes the part. */
static enum status take_name(struct part *p, const char *path, struct fault *why)
{
    enum status st = fs_rename(path, p->part_path, why);
    if (st != ST_OK)
        return st;
    int fd = open(p->part_path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", p->part_path);
    close(p->part_fd);
    p->part_fd = fd;
    return ST_OK;
}

static enum status adopt_locked(struct part *p, const char *path, int64_t size, bool *adopted,
                                struct fault *why)
{
    struct stat file;
    if (!part_linked(p))
        return fault(why, ST_RETRY, "'%s' was committed or given up by another lane",
                     p->open.name);
    if (path && (lstat(path, &file) != 0 || !is_ours(&file, p)))
        return ST_OK;
    enum status st = path ? take_name(p, path, why) : ST_OK;
    /* One file system, and yet no way from here to there (a bind mount, a quota): it is copied. */
    if (st != ST_OK && access(path, F_OK) == 0)
        return ST_OK;
    if (st != ST_OK || fstat(p->part_fd, &file) != 0 || file.st_size != size || size == 0)
        return st;
    *adopted = true;
    return map_add(p->map_fd, 0, size, why);
}

enum status part_adopt(struct part *p, const char *path, int64_t size, bool *adopted,
                       struct fault *why)
{
    *adopted = false;
    enum status st = part_lock(p, LOCK_EX, why);
    if (st != ST_OK)
        return st;
    st = adopt_locked(p, path, size, adopted, why);
    part_unlock(p);
    return st;
}

bool part_waits(const struct part_store *s, const struct wire_open *o, int64_t size)
{
    char part[STORE_PATH], intent[STORE_PATH];
    struct stat st;
    if (store_path(s, part, NULL, "incoming/%s.%.8s.part", o->name, o->id) != ST_OK ||
        store_path(s, intent, NULL, "incoming/%s.%.8s.receipt", o->name, o->id) != ST_OK)
        return false;
    return lstat(intent, &st) == 0 ||
           (lstat(part, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size);
}
