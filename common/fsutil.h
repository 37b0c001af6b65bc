/* Files done durably, and names from outside made safe. Whatever must outlive a
 * power cut is written through here: temp, fsync, rename, fsync the directory. */
#ifndef SKYFERRY_FSUTIL_H
#define SKYFERRY_FSUTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/status.h"

/* mkdir -p with mode 0777 & ~umask; every directory made is fsynced into its parent. */
enum status fs_mkdirs(const char *path, struct fault *why);

/* Joins below a root: "root/rel". REJECT when rel is empty, absolute, holds an
 * empty, "." or ".." component or a control character, or the result is longer
 * than size. The check is on text: nothing below root is a link we did not make. */
enum status fs_join(char *out, size_t size, const char *root, const char *rel, struct fault *why);

/* Is name usable as one path component as it stands: 1-200 characters of
 * [A-Za-z0-9._+~-], not starting with '.' or '-'? */
bool fs_name_ok(const char *name);

/* Makes any text (a header's OBJECT, a file's root) into such a component: every
 * run of other characters becomes one '_' (a leading '.' or '-' is one of these: "../../x;rm"
 * is "_x_rm"), cut at 200; when nothing of the text is left the result is `fallback`. */
void fs_name_clean(char *out, size_t size, const char *text, const char *fallback);

/* Writes all of it, going on after short writes and EINTR. -1 with errno set on failure. */
int fs_write_all(int fd, const void *bytes, size_t len);
int fs_pwrite_all(int fd, const void *bytes, size_t len, off_t offset);
/* Reads exactly len bytes at offset; 0 done, 1 the file ends before, -1 errno. */
int fs_pread_all(int fd, void *bytes, size_t len, off_t offset);

/* The whole of a small file (at most `max` bytes, else REJECT) appended to out.
 * RETRY when it cannot be read; errno says why (ENOENT for "not there"). */
enum status fs_read_file(const char *path, size_t max, struct buf *out, struct fault *why);

/* For folders that others write into: opens for reading what is a regular file under this very
 * name. No link is followed, no fifo waited for. -1: errno says why, EINVAL or ELOOP for what is no
 * file. */
int fs_open_plain(const char *path, int64_t *size);
/* fs_read_file of such a file; REJECT also when it is none. */
enum status fs_read_plain(const char *path, size_t max, struct buf *out, struct fault *why);

/* A file that appears whole or not at all under its name:
 *   fs_draft_open(&d, path) ; write to d.fd ; fs_draft_publish(&d) or fs_draft_drop(&d).
 * The draft is ".NAME.PID.N.part" in the same directory. publish: fsync, rename
 * (replacing; with keep = true REJECT and errno EEXIST when the name is taken), fsync
 * the directory. After a failed publish the draft is still there: drop it. ENOSPC and
 * EDQUOT are ST_WAIT: the disk is full, the item is sound. */
struct fs_draft {
    int fd; /* -1 when closed */
    char path[4096], temp[4096];
};
enum status fs_draft_open(struct fs_draft *d, const char *path, struct fault *why);
enum status fs_draft_publish(struct fs_draft *d, bool keep, struct fault *why);
/* Writes all that can be read from this descriptor, from where it stands. RETRY when it cannot be read. */
enum status fs_draft_fill(struct fs_draft *d, int from, struct fault *why);
void fs_draft_drop(struct fs_draft *d); /* removes the draft; harmless after publish */

/* draft + write + publish in one. */
enum status fs_write_file(const char *path, const void *bytes, size_t len, bool keep,
                          struct fault *why);
/* The same, replacing, with this mode whatever the umask: for those who are other accounts. */
enum status fs_write_shared(const char *path, const struct buf *text, mode_t mode,
                            struct fault *why);

/* Another file of the same bytes and time of change, whole under its name or not there at all,
 * durable (common/fs_copy.c): sharing the blocks where the file system can, else, if may_link, as
 * another name of the same file, else copied. REJECT and errno EEXIST when the name is taken,
 * unless replace: then the file that has it gives way, and no link is made. */
enum fs_copy_way { FS_CLONED, FS_LINKED, FS_COPIED };
struct fs_copy {
    const char *from, *to;
    bool may_link, replace;
    enum fs_copy_way way; /* out */
};
enum status fs_copy_file(struct fs_copy *c, struct fault *why);

/* rename, then fsync both directories. */
enum status fs_rename(const char *from, const char *to, struct fault *why);
enum status fs_sync_dir(const char *dir, struct fault *why);

/* Removes drafts (".*.part") left below dir by a crash, of processes no longer alive. */
void fs_sweep_drafts(const char *dir);

/* Takes an exclusive lock on path (made if missing; holds "pid\n"). The lock dies
 * with the process. WAIT when another process holds it, its pid in *why. The fd
 * is returned in *fd and released by close. */
enum status fs_lock(const char *path, int *fd, struct fault *why);
/* Who holds it: the pid, 0 when nobody does. Looks without touching the lock, so that a look
 * can never keep an agent from starting. */
long fs_lock_holder(const char *path);
/* The pid written into a lock file, alive or not; 0 when there is none. */
long fs_lock_pid(const char *path);

/* Bytes an unprivileged writer may still use, -1 on error. */
int64_t fs_free_bytes(const char *path);

/* What kind of file system: name such as "ext4", "nfs", "lustre"; *remote is true
 * where other machines may write, so that inotify misses events and SQLite's
 * locks are not to be trusted (NFS, Lustre, GPFS, CIFS, FUSE, CephFS, ...). */
const char *fs_kind(const char *path, bool *remote);

/* The last component of a path; never NULL. */
const char *fs_basename(const char *path);

/* A failed write's grade: WAIT for ENOSPC and EDQUOT, RETRY for all else. */
enum status fs_write_grade(int err);

#endif
