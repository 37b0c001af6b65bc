/* A throw-away folder for a unit program: scratch_make in the set-up, scratch_remove in
 * the tear-down, scratch_path for names inside. Each program has its own folder, so that
 * tests may run at the same time. */
#ifndef SKYFERRY_SCRATCH_H
#define SKYFERRY_SCRATCH_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct scratch {
    char dir[512];
};

static inline int scratch_make(struct scratch *s)
{
    const char *top = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%s/skyferry-unit.XXXXXX", top && top[0] ? top : "/tmp");
    return mkdtemp(s->dir) ? 0 : -1;
}

static inline int scratch_unlink(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    (void)st, (void)kind, (void)f;
    return remove(path);
}

static inline void scratch_remove(const struct scratch *s)
{
    nftw(s->dir, scratch_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* dir/name in out, which it returns. */
static inline const char *scratch_path(const struct scratch *s, const char *name, char out[4096])
{
    snprintf(out, 4096, "%s/%s", s->dir, name);
    return out;
}

#endif
