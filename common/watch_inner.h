/* What watch.c and watch_walk.c share: one walk over a directory tree, breadth first, a
 * directory read and closed before the next is opened, names in order. Whoever walks says
 * what to do with directories (set a watch before it is read, so that nothing slips
 * through between) and with files. Main thread only; nothing is kept between calls. */
#ifndef SKYFERRY_WATCH_INNER_H
#define SKYFERRY_WATCH_INNER_H

#include <stdbool.h>

struct walker {
    bool recursive;
    const char *patterns;
    void (*enter)(void *ctx, const char *directory);            /* about to read it; may be NULL */
    void (*file)(void *ctx, const char *path);                  /* matches, regular */
    void (*unreadable)(void *ctx, const char *directory, int err); /* below the top */
    void *ctx;
};

/* 0, or the errno that kept the top directory itself from being read. */
int watch_tree(const struct walker *w, const char *top);

/* Is path a regular file (or a link to one)? *linked: it has come by ln, not by writing. */
bool watch_is_file(const char *path, bool *linked);

#endif
