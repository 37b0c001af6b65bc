/* The part of fsutil that makes a second file of one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

#define PIECE 262144

enum status fs_draft_fill(struct fs_draft *d, int from, struct fault *why)
{
    unsigned char piece[PIECE];
    for (;;) {
        ssize_t n = read(from, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fault_errno(why, ST_RETRY, "cannot read what is to become '%s'", d->path);
        if (n == 0)
            return ST_OK;
        if (fs_write_all(d->fd, piece, (size_t)n) != 0)
            return fault_errno(why, fs_write_grade(errno), "cannot write '%s'", d->path);
    }
}

/* OK, or WAIT where there can be no links: another file system, or one that has none. */
static enum status link_file(const struct fs_copy *c, struct fault *why)
{
    char folder[4096];
    int dir = (int)(fs_basename(c->to) - c->to);
    if (link(c->from, c->to) != 0) {
        if (errno == EEXIST)
            return fault(why, ST_REJECT, "'%s' is there already and is kept as it is", c->to);
        /* EPERM also where the system lets nobody link another account's files. */
        if (errno == EXDEV || errno == EPERM || errno == EMLINK || errno == EOPNOTSUPP ||
            errno == ENOSYS)
            return ST_WAIT;
        return fault_errno(why, fs_write_grade(errno), "cannot link '%s'", c->to);
    }
    snprintf(folder, sizeof folder, "%.*s", dir > 0 ? dir : 1, dir > 0 ? c->to : ".");
    return fs_sync_dir(folder, why);
}

static enum status give_name(struct fs_copy *c, const struct stat *was, struct fs_draft *d,
                             struct fault *why)
{
    struct timespec times[2] = {was->st_atim, was->st_mtim};
    (void)!futimens(d->fd, times); /* the name counts, not the time */
    return fs_draft_publish(d, !c->replace, why);
}

enum status fs_copy_file(struct fs_copy *c, struct fault *why)
{
    struct fs_draft d = {.fd = -1};
    struct stat was;
    enum status st = ST_OK;
    int from = open(c->from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0 || fstat(from, &was) != 0) {
        st = fault_errno(why, ST_RETRY, "cannot open '%s'", c->from);
        goto out;
    }
    st = fs_draft_open(&d, c->to, why);
    if (st != ST_OK)
        goto out;
    c->way = FS_CLONED;
    if (ioctl(d.fd, FICLONE, from) != 0) {
        c->way = FS_LINKED;
        st = c->may_link && !c->replace ? link_file(c, why) : ST_WAIT;
        if (st != ST_WAIT)
            goto out;
        c->way = FS_COPIED;
        st = fs_draft_fill(&d, from, why);
    }
    if (st == ST_OK)
        st = give_name(c, &was, &d, why);
out:
    fs_draft_drop(&d);
    if (from >= 0)
        close(from);
    return st;
}
