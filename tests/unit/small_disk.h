/* A disk of so little room that it can be filled, seen only by a child that a test has forked. */
#ifndef SKYFERRY_SMALL_DISK_H
#define SKYFERRY_SMALL_DISK_H

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/fsutil.h"

static inline bool small_disk_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && fs_write_all(fd, text, strlen(text)) == 0;
    close(fd);
    return ok;
}

/* Mounts one ("size=4096") over the folder `at`, in a mount table of the caller's own: with root's
 * rights, else in a user namespace of its own. False: not allowed here. */
static inline bool small_disk(const char *at, const char *size)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    if (unshare(CLONE_NEWNS) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
         !small_disk_map("/proc/self/uid_map", users) ||
         !small_disk_map("/proc/self/setgroups", "deny") ||
         !small_disk_map("/proc/self/gid_map", groups)))
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", at, "tmpfs", 0, size) == 0;
}

#endif
