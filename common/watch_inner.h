/* What watch.c and watch_walk.c share: one walk over a directory tree, breadth first, a
 * directory read and closed before the next is opened, names in order. Whoever walks says
 * what to do with directories (set a watch before it is read, so that nothing slips
 * through between) and with files. Symbolic links to directories are followed, after all that
 * has a name of its own, and each directory once, so that no loop and no second name of one
 * counts. It goes in slices, so that a tree of any size, or one flat
 * folder, keeps nobody waiting. Main thread only. */
#ifndef SKYFERRY_WATCH_INNER_H
#define SKYFERRY_WATCH_INNER_H

#include <stdbool.h>
#include <stdint.h>

struct walker {
    bool recursive;
    bool topless;                                               /* see walk_add */
    const char *patterns;                                       /* outlives the walk */
    void (*enter)(void *ctx, const char *directory);            /* about to read it; may be NULL */
    void (*file)(void *ctx, const char *path);                  /* matches, regular */
    void (*unreadable)(void *ctx, const char *directory, int err); /* below the top */
    void (*linked)(void *ctx); /* a link to a directory, not followed; NULL: they are */
    void *ctx;
};

struct walk;
struct walk *walk_begin(const struct walker *w); /* NULL: out of memory */
/* One more directory to walk, also while it goes on. The first one is the top, unless the walk is
 * topless: then `unreadable` is told of it as of any other. ENOMEM or 0. */
int walk_add(struct walk *k, const char *directory);
/* Goes on until clock_mono is past `until_ns`, at least one name further. True: all is walked. */
bool walk_go(struct walk *k, int64_t until_ns);
/* 0, or the errno that kept the top directory itself from being read. */
int walk_error(const struct walk *k);
/* Also in the middle, but not from inside a callback. */
void walk_end(struct walk **k);

/* All of it in one go: 0, or walk_error. */
int watch_tree(const struct walker *w, const char *top);

/* Is path a regular file (or a link to one)? *linked: it has come by ln, not by writing. */
bool watch_is_file(const char *path, bool *linked);

#endif
