#include "pull/node_scratch.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

#define LOCK "lock"
#define TRIES 5      /* a sweeper may take a folder that is not locked yet */
#define DESCRIPTORS 16

const char *node_scratch_base(const char *fallback)
{
    static const char *const names[] = {"SLURM_TMPDIR", "TMPDIR", "JOBFS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *path = getenv(names[i]);
        if (path && path[0] == '/')
            return path;
    }
    return fallback;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st, (void)kind, (void)f;
    (void)!remove(path);
    return 0;
}

/* A job may have taken its own rights away. */
static int open_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)f;
    if (kind == FTW_DNR || (kind == FTW_D && (st->st_mode & S_IRWXU) != S_IRWXU))
        (void)!chmod(path, S_IRWXU);
    return 0;
}

/* Its lock last, so that a removal which is cut off is taken up again. */
static void remove_tree(const char *path)
{
    struct stat st;
    nftw(path, open_one, DESCRIPTORS, FTW_PHYS);
    nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
    if (lstat(path, &st) == 0)
        fprintf(stderr, "skyferry-pull: the scratch folder %s cannot be removed: look what is in "
                "it\n", path);
}

/* ---- what dead ones left ---- */

static void sweep_one(const char *base, const char *name)
{
    char path[PULL_PATH], lock[PULL_PATH];
    struct stat st;
    int fd = -1;
    if (!pull_text(path, sizeof path, "%s/%s", base, name) ||
        !pull_text(lock, sizeof lock, "%s/%s", path, LOCK) || lstat(path, &st) != 0 ||
        !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return;
    if (fs_lock(lock, &fd, NULL) != ST_OK)
        return; /* its task lives */
    remove_tree(path);
    close(fd);
}

/* With the machine's name: where a scratch is shared, locks need not reach from one to another. */
static size_t prefix(char out[128])
{
    char host[72] = "", clean[72];
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    host[strcspn(host, ".")] = '\0';
    fs_name_clean(clean, sizeof clean, host, "node");
    return (size_t)snprintf(out, 128, "skyferry-%ld-%s-", (long)geteuid(), clean);
}

static void sweep(const char *base)
{
    char mine[128];
    size_t len = prefix(mine);
    DIR *d = opendir(base);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (strncmp(e->d_name, mine, len) == 0)
            sweep_one(base, e->d_name);
    if (d)
        closedir(d);
}

/* ---- one's own ---- */

/* Locked, and still the one that lies under the name? */
static enum status lock_it(struct node_scratch *s, struct fault *why)
{
    char lock[PULL_PATH];
    struct stat st;
    if (!pull_text(lock, sizeof lock, "%s/%s", s->path, LOCK))
        return fault(why, ST_REJECT, "the scratch folder's name is too long: '%s'", s->path);
    enum status grade = fs_lock(lock, &s->lock, why);
    if (grade == ST_OK && (fstat(s->lock, &st) != 0 || st.st_nlink == 0))
        grade = fault(why, ST_RETRY, "the scratch folder '%s' was removed by somebody", s->path);
    return grade;
}

static enum status make_one(const char *base, struct node_scratch *out, struct fault *why)
{
    char mine[128];
    prefix(mine);
    if (!pull_text(out->path, sizeof out->path, "%s/%sXXXXXX", base, mine))
        return fault(why, ST_REJECT, "the scratch folder's name is too long: '%s'", base);
    if (!mkdtemp(out->path)) {
        out->path[0] = '\0';
        return fault_errno(why, fs_write_grade(errno), "cannot make a folder in the scratch '%s'",
                           base);
    }
    return lock_it(out, why);
}

enum status node_scratch_make(const char *base, struct node_scratch *out, struct fault *why)
{
    enum status st = ST_RETRY;
    sweep(base);
    for (int i = 0; i < TRIES && st != ST_OK; i++) {
        *out = (struct node_scratch){.lock = -1};
        st = make_one(base, out, why);
        if (st != ST_OK)
            node_scratch_remove(out);
    }
    return st;
}

void node_scratch_remove(struct node_scratch *s)
{
    if (s->path[0])
        remove_tree(s->path);
    if (s->lock >= 0)
        close(s->lock);
    *s = (struct node_scratch){.lock = -1};
}
