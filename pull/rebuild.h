/* What `rebuild` reads from the tree: the bundles in order of arrival, the placed FITS files
 * found by where their cards say they came from, and the folders of an exposure's jobs. Holds
 * a few hundred bytes a file. Main thread. */
#ifndef SKYFERRY_PULL_REBUILD_H
#define SKYFERRY_PULL_REBUILD_H

#include "pull/catalogue.h"
#include "pull/intake.h"
#include "pull/placing.h"
#include "pull/settings.h"

struct tree_bundle {
    char *rel; /* below root */
    int64_t stored_ns;
};

struct tree_file {
    char *rel;
    char sha256[DIGEST_HEX]; /* SFSHA: of the source file */
    int hdu;                 /* SFHDU */
    int64_t size, mtime_ns;
    char codec[16]; /* SFCODEC */
    double qstep;   /* SFQSTEP */
    char datasum[24], checksum[24];
};

struct tree {
    struct tree_bundle *bundles; /* by stored_ns, then name */
    size_t bundle_count, bundle_room;
    struct tree_file *files;     /* by sha256, hdu */
    size_t file_count, file_room;
    bool broken;                 /* out of memory */
    const struct pull_settings *s;
};

/* The receipt of the lossy bundle that the one of this path and receipt followed; the bundle
 * itself may be gone. False: it followed none. */
bool rebuild_lossy_receipt(const char *exact_path, const struct receipt *exact,
                           struct receipt *lossy);

enum status tree_scan(const struct pull_settings *s, struct tree *t, struct fault *why);
void tree_free(struct tree *t);
/* The first by name of *count files that were made from this; NULL when no such lies in the tree. */
const struct tree_file *tree_find(const struct tree *t, const char *sha256, int hdu, size_t *count);

/* What the jobs' folders and the ccds' rows add up to. */
struct rebuilt_jobs {
    int count, active;              /* active: neither done nor failed */
    int ccds_waiting, ccds_without; /* not placed, nor to be by a job; placed but in no job */
    int64_t ended_ns;               /* of the last one */
};
/* Adds the job rows of an exposure whose ccds are in the catalogue already. */
enum status rebuild_jobs(const struct pull_settings *s, struct catalogue *cat,
                         const struct exposure *x, struct rebuilt_jobs *out, struct fault *why);

/* Can a placed file be called this? Not what lies in workspace/, jobs/, ... */
bool tree_counts(const char *rel);

/* The folders that placed files can lie in: above the first placeholder of each template. */
int rebuild_folders(const struct pull_settings *s, char out[3][PULL_PATH]);

#endif
