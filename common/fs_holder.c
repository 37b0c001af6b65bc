/* The part of fsutil that finds who holds a lock. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fsutil.h"

#define MAX_LOCKS ((size_t)16 << 20)

/* /proc/locks (proc(5)): "1: FLOCK  ADVISORY  WRITE 4711 fd:01:131077 0 EOF". The device is not
 * compared, as some file systems show another one there than stat does. */
static bool has_flock(char *locks, unsigned long long inode, long *pid)
{
    char *rest = locks;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char kind[16];
        unsigned long long found;
        if (sscanf(line, "%*s %15s %*s %*s %ld %*[^:]:%*[^:]:%llu", kind, pid, &found) == 3 &&
            strcmp(kind, "FLOCK") == 0 && found == inode)
            return true;
    }
    return false;
}

long fs_lock_pid(const char *path)
{
    struct buf text = {0};
    long pid = 0;
    if (fs_read_file(path, 64, &text, NULL) == ST_OK && buf_append(&text, "", 1))
        pid = strtol((const char *)text.data, NULL, 10);
    buf_free(&text);
    return pid > 0 ? pid : 0;
}

long fs_lock_holder(const char *path)
{
    struct stat st;
    struct buf locks = {0};
    long pid = fs_lock_pid(path), holder = 0;
    bool alive = pid && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
    if (!alive || stat(path, &st) != 0)
        return 0;
    /* The number may have been given to another process since; the kernel knows better. */
    if (fs_read_file("/proc/locks", MAX_LOCKS, &locks, NULL) == ST_OK && buf_append(&locks, "", 1) &&
        !has_flock((char *)locks.data, (unsigned long long)st.st_ino, &holder))
        pid = 0;
    buf_free(&locks);
    return pid;
}
