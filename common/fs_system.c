/* The part of fsutil that asks the system: locks, leftovers, space, kind. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "common/fsutil.h"

#define DRAFT_OLD_S 3600
#define INHERITED_WAIT_NS 20000000 /* 20 ms, */
#define INHERITED_WAITS 150        /* 3 s in all */

/* The pid in ".NAME.PID.N.part"; 0 when the name is not of that form. */
static pid_t draft_pid(const char *name)
{
    static const char tail[] = ".part";
    size_t len = strlen(name);
    if (name[0] != '.' || len <= strlen(tail) || strcmp(name + len - strlen(tail), tail) != 0)
        return 0;
    const char *p = name + len - strlen(tail);
    long field[2]; /* N, then PID, from the right */
    for (int i = 0; i < 2; i++) {
        const char *end = p;
        while (p > name && p[-1] >= '0' && p[-1] <= '9')
            p--;
        if (p == end || end - p > 9 || p - 1 <= name || p[-1] != '.')
            return 0;
        field[i] = strtol(p, NULL, 10);
        p--;
    }
    return p > name + 1 ? (pid_t)field[1] : 0;
}

/* A writer on another machine has no process here, and after a restart in a container our
 * own pid may be that of the process that died. So the young drafts of a shared file
 * system stay, and an old draft goes when nobody holds the lock that its writer took. */
static bool draft_abandoned(const FTSENT *e, pid_t pid, bool remote)
{
    bool dead = kill(pid, 0) != 0 && errno == ESRCH;
    if (time(NULL) - e->fts_statp->st_mtime < DRAFT_OLD_S)
        return dead && !remote;
    int fd = open(e->fts_accpath, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return dead && !remote;
    bool free_now = flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && dead);
    close(fd);
    return free_now;
}

void fs_sweep_drafts(const char *dir)
{
    char *const roots[] = {(char *)dir, NULL};
    bool remote = false;
    fs_kind(dir, &remote);
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    if (!walk)
        return;
    FTSENT *e;
    while ((e = fts_read(walk))) {
        pid_t pid = e->fts_info == FTS_F ? draft_pid(e->fts_name) : 0;
        if (pid > 0 && draft_abandoned(e, pid, remote))
            unlink(e->fts_accpath);
    }
    fts_close(walk);
}

/* Who holds the lock, as far as its file says. */
static enum status lock_held(int fd, const char *path, struct fault *why)
{
    char text[24] = "";
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    text[got > 0 ? strspn(text, "0123456789") : 0] = '\0';
    return fault(why, ST_WAIT, "another process (pid %s) is already running here: it holds '%s'",
                 text[0] ? text : "unknown", path);
}

/* The lock's holder is dead, but a child that it had just forked keeps the descriptor until
 * it executes its program or ends: no reason to refuse, only to wait a moment. */
static bool lock_inherited(const char *path)
{
    long pid = fs_lock_pid(path);
    return pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static int take_lock(int fd, const char *path)
{
    const struct timespec moment = {0, INHERITED_WAIT_NS};
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK)
            return -1;
        if (i == INHERITED_WAITS || !lock_inherited(path)) {
            errno = EWOULDBLOCK;
            return -1;
        }
        nanosleep(&moment, NULL);
    }
    return 0;
}

enum status fs_lock(const char *path, int *fd, struct fault *why)
{
    enum status st = ST_OK;
    *fd = -1;
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (f < 0)
        return fault_errno(why, fs_write_grade(errno), "cannot open the lock file '%s'", path);
    if (take_lock(f, path) != 0) {
        st = errno == EWOULDBLOCK ? lock_held(f, path, why)
                                  : fault_errno(why, ST_RETRY, "cannot lock '%s'", path);
        goto out;
    }
    char text[24];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(f, 0) != 0 || fs_pwrite_all(f, text, (size_t)len, 0) != 0) {
        st = fault_errno(why, fs_write_grade(errno), "cannot write the lock file '%s'", path);
        goto out;
    }
    *fd = f;
    f = -1;
out:
    if (f >= 0)
        close(f);
    return st;
}

int64_t fs_free_bytes(const char *path)
{
    struct statvfs s;
    if (statvfs(path, &s) != 0)
        return -1;
    return (int64_t)s.f_bavail * (int64_t)s.f_frsize;
}

const char *fs_kind(const char *path, bool *remote)
{
    /* statfs(2), linux/magic.h; those below the blank line are shared between machines,
     * or served by a process that need not tell inotify. */
    static const struct {
        uint32_t magic;
        const char *name;
        bool remote;
    } kinds[] = {
        {0xEF53, "ext4", false},       {0x58465342, "xfs", false},
        {0x9123683E, "btrfs", false},  {0x01021994, "tmpfs", false},
        {0x794C7630, "overlay", false},{0x2FC12FC1, "zfs", false},
        {0xF2F52010, "f2fs", false},   {0x858458F6, "ramfs", false},
        {0x4D44, "vfat", false},       {0x2011BAB0, "exfat", false},
        {0x7366746E, "ntfs3", false},  {0xCA451A4E, "bcachefs", false},
        {0x3153464A, "jfs", false},    {0x52654973, "reiserfs", false},
        {0xF15F, "ecryptfs", false},   {0x73717368, "squashfs", false},

        {0x6969, "nfs", true},         {0x0BD00BD0, "lustre", true},
        {0x47504653, "gpfs", true},    {0x65735546, "fuse", true},
        {0x00C36400, "ceph", true},    {0x19830326, "beegfs", true},
        {0xFF534D42, "cifs", true},    {0xFE534D42, "smb2", true},
        {0x517B, "smb", true},         {0x01021997, "9p", true},
        {0xAAD7AAEA, "panfs", true},   {0x01161970, "gfs2", true},
        {0x7461636F, "ocfs2", true},   {0x5346414F, "afs", true},
        {0x6B414653, "afs", true},     {0x73757245, "coda", true},
        {0x786F4256, "vboxsf", true},
    };
    struct statfs s;
    *remote = false;
    if (statfs(path, &s) != 0)
        return "unknown";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].magic == (uint32_t)s.f_type) {
            *remote = kinds[i].remote;
            return kinds[i].name;
        }
    return "unknown";
}
