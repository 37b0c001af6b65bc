#include "common/fsutil.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRAFT_TRIES 1000

enum status fs_write_grade(int err)
{
    return err == ENOSPC || err == EDQUOT ? ST_WAIT : ST_RETRY;
}

int fs_write_all(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int fs_pwrite_all(int fd, const void *bytes, size_t len, off_t offset)
{
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

int fs_pread_all(int fd, void *bytes, size_t len, off_t offset)
{
    char *p = bytes;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            return 1;
        p += n;
        offset += n;
        len -= (size_t)n;
    }
    return 0;
}

static enum status read_to_end(int fd, const char *path, size_t max, struct buf *out,
                               struct fault *why)
{
    size_t start = out->len;
    for (;;) {
        if (!buf_reserve(out, 16384))
            return fault(why, ST_RETRY, "out of memory while reading '%s'", path);
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fault_errno(why, ST_RETRY, "cannot read '%s'", path);
        if (n == 0)
            return ST_OK;
        out->len += (size_t)n;
        if (out->len - start > max) {
            errno = EFBIG;
            return fault(why, ST_REJECT, "'%s' is longer than the %zu bytes it may have", path,
                         max);
        }
    }
}

/* Closes fd. */
static enum status read_and_close(int fd, const char *path, size_t max, struct buf *out,
                                  struct fault *why)
{
    size_t start = out->len;
    enum status st = read_to_end(fd, path, max, out, why);
    int err = errno;
    close(fd);
    if (st != ST_OK)
        out->len = start;
    errno = err;
    return st;
}

enum status fs_read_file(const char *path, size_t max, struct buf *out, struct fault *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    return read_and_close(fd, path, max, out, why);
}

int fs_open_plain(const char *path, int64_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *size = st.st_size;
        return fd;
    }
    close(fd);
    errno = EINVAL;
    return -1;
}

enum status fs_read_plain(const char *path, size_t max, struct buf *out, struct fault *why)
{
    int64_t size;
    int fd = fs_open_plain(path, &size);
    if (fd < 0)
        return fault_errno(why, errno == ELOOP || errno == EINVAL ? ST_REJECT : ST_RETRY,
                           "cannot open '%s'", path);
    return read_and_close(fd, path, max, out, why);
}

enum status fs_sync_dir(const char *dir, struct fault *why)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open the folder '%s'", dir);
    enum status st = ST_OK;
    /* EINVAL: a file system that cannot sync a folder (some FUSE, CIFS); nothing more to do. */
    if (fsync(fd) != 0 && errno != EINVAL)
        st = fault_errno(why, fs_write_grade(errno), "cannot fsync the folder '%s'", dir);
    int err = errno;
    close(fd);
    errno = err;
    return st;
}

/* The folder that holds path: "." when it names none. */
static void parent_of(const char *path, char out[4096])
{
    size_t len = (size_t)(fs_basename(path) - path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0)
        snprintf(out, 4096, ".");
    else
        snprintf(out, 4096, "%.*s", (int)len, path);
}

static enum status make_one(const char *dir, struct fault *why)
{
    struct stat s;
    char parent[4096];
    if (mkdir(dir, 0777) == 0) {
        parent_of(dir, parent);
        return fs_sync_dir(parent, why);
    }
    int err = errno;
    /* An existing folder may answer EEXIST, or EROFS or EACCES on the way to a deeper one. */
    if (stat(dir, &s) == 0) {
        if (S_ISDIR(s.st_mode))
            return ST_OK;
        err = ENOTDIR;
    }
    errno = err;
    return fault_errno(why, fs_write_grade(err), "cannot make the folder '%s'", dir);
}

enum status fs_mkdirs(const char *path, struct fault *why)
{
    char part[4096];
    struct stat s;
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part)
        return fault(why, ST_REJECT, "folder name of %zu characters: it must have 1 to %zu", len,
                     sizeof part - 1);
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
        return ST_OK;
    memcpy(part, path, len + 1);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        enum status st = make_one(part, why);
        if (st != ST_OK)
            return st;
        *p = '/';
    }
    /* make_one needs the last component's own name: no slashes after it. */
    while (len > 1 && part[len - 1] == '/')
        part[--len] = '\0';
    return make_one(part, why);
}

enum status fs_draft_open(struct fs_draft *d, const char *path, struct fault *why)
{
    char dir[4096];
    d->fd = -1;
    d->path[0] = d->temp[0] = '\0';
    if ((size_t)snprintf(d->path, sizeof d->path, "%s", path) >= sizeof d->path)
        return fault(why, ST_REJECT, "path too long: '%.80s...'", path);
    parent_of(path, dir);
    /* The numbers tell apart the threads of a process that write the same name. */
    for (int n = 0; d->fd < 0 && n < DRAFT_TRIES; n++) {
        if ((size_t)snprintf(d->temp, sizeof d->temp, "%s/.%s.%ld.%d.part", dir, fs_basename(path),
                             (long)getpid(), n) >= sizeof d->temp) {
            d->temp[0] = '\0';
            return fault(why, ST_REJECT, "path too long: '%.80s...'", path);
        }
        d->fd = open(d->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (d->fd < 0 && errno != EEXIST)
            break;
    }
    if (d->fd < 0) {
        int err = errno;
        d->temp[0] = '\0';
        errno = err;
        return fault_errno(why, fs_write_grade(err), "cannot make a file in '%s'", dir);
    }
    /* For fs_sweep_drafts only; a file system without locks does without. */
    (void)!flock(d->fd, LOCK_EX | LOCK_NB);
    return ST_OK;
}

/* rename that fails with EEXIST instead of replacing. Not every file system knows how (NFS,
 * Lustre): there a hard link says the same, and where links are unknown too only a look. */
static int rename_new(const char *from, const char *to)
{
    struct stat s;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(from, to) == 0) {
        unlink(from);
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    if (lstat(to, &s) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

enum status fs_draft_publish(struct fs_draft *d, bool keep, struct fault *why)
{
    char dir[4096];
    if (fsync(d->fd) != 0)
        return fault_errno(why, fs_write_grade(errno), "cannot fsync '%s'", d->temp);
    int failed = keep ? rename_new(d->temp, d->path) : rename(d->temp, d->path);
    if (failed && keep && errno == EEXIST)
        return fault(why, ST_REJECT, "'%s' is there already and is kept as it is", d->path);
    if (failed)
        return fault_errno(why, fs_write_grade(errno), "cannot give '%s' its name", d->path);
    d->temp[0] = '\0';
    close(d->fd);
    d->fd = -1;
    parent_of(d->path, dir);
    return fs_sync_dir(dir, why);
}

void fs_draft_drop(struct fs_draft *d)
{
    int err = errno;
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
    if (d->temp[0])
        unlink(d->temp);
    d->temp[0] = '\0';
    errno = err;
}

struct how {
    bool keep;
    mode_t mode; /* 0: as the umask has it */
};

/* The mode by the draft's own descriptor: in a folder of many others may put links under any
 * name. */
static enum status write_file(const char *path, const void *bytes, size_t len, struct how how,
                              struct fault *why)
{
    struct fs_draft d;
    enum status st = fs_draft_open(&d, path, why);
    if (st != ST_OK)
        return st;
    if (fs_write_all(d.fd, bytes, len) != 0 || (how.mode && fchmod(d.fd, how.mode) != 0))
        st = fault_errno(why, fs_write_grade(errno), "cannot write '%s'", path);
    else
        st = fs_draft_publish(&d, how.keep, why);
    fs_draft_drop(&d);
    return st;
}

enum status fs_write_file(const char *path, const void *bytes, size_t len, bool keep,
                          struct fault *why)
{
    return write_file(path, bytes, len, (struct how){.keep = keep}, why);
}

enum status fs_write_shared(const char *path, const struct buf *text, mode_t mode,
                            struct fault *why)
{
    return write_file(path, text->data, text->len, (struct how){.mode = mode}, why);
}

enum status fs_rename(const char *from, const char *to, struct fault *why)
{
    char old_dir[4096], new_dir[4096];
    if (rename(from, to) != 0)
        return fault_errno(why, fs_write_grade(errno), "cannot rename '%s' to '%s'", from, to);
    parent_of(from, old_dir);
    parent_of(to, new_dir);
    enum status st = fs_sync_dir(new_dir, why);
    if (st == ST_OK && strcmp(old_dir, new_dir) != 0)
        st = fs_sync_dir(old_dir, why);
    return st;
}
