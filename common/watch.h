/* Watches a directory for files: inotify as the hint, a periodic rescan as the
 * truth. Finds files present at start, in sub-directories made later, after a
 * queue overflow, and on file systems that give no events (NFS, Lustre, FUSE:
 * rescan only, and faster). A directory that vanishes is said once and looked for
 * again at every rescan. Main thread only. */
#ifndef SKYFERRY_WATCH_H
#define SKYFERRY_WATCH_H

#include <stdbool.h>

#include "common/loop.h"

enum watch_hint {
    WATCH_CLOSED, /* a writer closed it, or it was renamed into place: look now */
    WATCH_FOUND   /* seen by a scan: somebody may still be writing */
};

struct watch_options {
    const char *directory;
    const char *patterns; /* shell globs on the base name, blank-separated: "*.fits *.fits.fz" */
    bool recursive;
    int rescan_seconds;   /* > 0 */
    bool created;         /* tell of new files at once, before they are closed (WATCH_FOUND): where
                             names are given by link and unlink, as SFTP servers do it */
    const char *stage;    /* for log lines: "watch" */
    bool changes;         /* WATCH_FOUND also when a file is written to, or is no longer there */
    void (*scanned)(void *ctx); /* after each scan of a directory that was there; may be NULL */
};

/* Called for every matching regular file, again at each rescan and each event: the
 * receiver remembers what it knows. path is absolute or as the directory was given,
 * valid during the call. Names starting with '.' are not followed or reported. A symbolic link to
 * a directory is a directory, unless that is met under another name, too, or holds the tree. */
typedef void watch_fn(void *ctx, const char *path, enum watch_hint hint);

struct watch;

/* Starts watching and scans once from the loop. The directory may be missing: that
 * is logged (WARN), not an error. ST_FATAL when inotify cannot be had at all. */
enum status watch_open(struct loop *l, const struct watch_options *o, watch_fn *fn, void *ctx,
                       struct watch **out, struct fault *why);
/* Scans of its own go in slices of 10 ms, between which the loop has its turn. This asks for one. */
void watch_rescan(struct watch *w);
/* Rescans now, inside the call. */
void watch_scan(struct watch *w);
/* Does the file system give events, and how many directories are watched? */
bool watch_has_events(const struct watch *w, int *directories);
void watch_close(struct watch **w);

/* One walk without watching: calls fn for each match below the directory. RETRY
 * when the directory itself cannot be read. */
enum status watch_walk(const struct watch_options *o, watch_fn *fn, void *ctx, struct fault *why);

/* Does a base name match the blank-separated globs? */
bool watch_matches(const char *patterns, const char *name);

#endif
