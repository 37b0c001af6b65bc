/* `verify`: every placed file against its own checksums and the catalogue, every bundle against
 * its digest, and what lies in the tree that the catalogue does not know. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fits.h"
#include "common/fsutil.h"
#include "common/pool.h"
#include "common/watch.h"
#include "pull/catalogue.h"
#include "pull/commands.h"
#include "pull/copying.h"
#include "pull/rebuild.h"

#define FRESH_S 600 /* with a daemon at work, a newer file may not be catalogued yet */

struct verifying {
    const struct pull_settings *s;
    struct catalogue *cat;
    struct loop *loop;
    struct pool *pool;
    size_t pending;
    long files, bundles, copies, problems;
    bool daemon, broken;
    enum status st; /* of the catalogue */
    struct fault *why;
};

/* One file to be read whole, on a worker. */
struct check_job {
    struct pool_job job;
    struct verifying *v;
    char name[1024], path[PULL_PATH]; /* the exposure's, or what it is a copy of */
    const char *rel;              /* inside path */
    int ccd;                      /* 0: a bundle */
    bool copy;                    /* of a calibration, for another night */
    bool master;                  /* such a copy, of whose bytes nothing but the size is known */
    int64_t size;
    char sha256[DIGEST_HEX];      /* of a bundle */
    char datasum[24], checksum[24];
    bool ran;
    struct fault why;
};

/* ---- on a worker ---- */

static enum status check_cards(const struct buf *file, const struct check_job *j,
                               struct fault *why)
{
    struct fits_header h = {0};
    char datasum[24] = "", checksum[24] = "";
    enum status st = fits_header_parse(file->data, file->len, &h, why);
    if (st == ST_OK) {
        fits_header_text(&h, "DATASUM", datasum, sizeof datasum);
        fits_header_text(&h, "CHECKSUM", checksum, sizeof checksum);
    }
    fits_header_free(&h);
    if (st != ST_OK)
        return st;
    if (!datasum[0] || !checksum[0])
        return fault(why, ST_REJECT, "has lost its CHECKSUM or DATASUM");
    if (strcmp(datasum, j->datasum) != 0 || strcmp(checksum, j->checksum) != 0)
        return fault(why, ST_REJECT, "is sound, but not the file that was placed: somebody "
                     "changed or replaced it");
    return ST_OK;
}

static enum status read_whole(int fd, int64_t size, struct buf *out, struct fault *why)
{
    if (!buf_reserve(out, (size_t)size))
        return fault(why, ST_RETRY, "out of memory");
    if (fs_pread_all(fd, out->data, (size_t)size, 0) != 0)
        return fault_errno(why, ST_RETRY, "cannot be read");
    out->len = (size_t)size;
    return ST_OK;
}

static enum status check_fits(int fd, struct check_job *j)
{
    struct buf file = {0};
    enum status st = read_whole(fd, j->size, &file, &j->why);
    if (st == ST_OK)
        st = fits_check_sums(file.data, file.len, &j->why);
    if (st == ST_OK)
        st = check_cards(&file, j, &j->why);
    buf_free(&file);
    return st;
}

static enum status check_bundle(int fd, struct check_job *j)
{
    char sha256[DIGEST_HEX];
    enum status st = digest_fd(fd, -1, sha256, &j->why);
    if (st == ST_OK && strcmp(sha256, j->sha256) != 0)
        st = fault(&j->why, ST_REJECT, "its SHA-256 is not the one that it was received with");
    return st;
}

static void run(struct pool_job *job)
{
    struct check_job *j = (struct check_job *)job;
    struct stat st;
    int fd = open(j->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        j->why.grade = errno == ENOENT ? fault(&j->why, ST_REJECT, "is missing")
                                       : fault_errno(&j->why, ST_RETRY, "cannot be opened");
    else if (fstat(fd, &st) != 0 || st.st_size != j->size)
        j->why.grade = fault(&j->why, ST_REJECT, "has %lld bytes instead of %lld",
                             (long long)st.st_size, (long long)j->size);
    else if (!j->master)
        j->why.grade = j->ccd ? check_fits(fd, j) : check_bundle(fd, j);
    if (fd >= 0)
        close(fd);
    j->ran = true;
}

/* ---- on the main thread ---- */

static void done(struct pool_job *job)
{
    struct check_job *j = (struct check_job *)job;
    struct verifying *v = j->v;
    if (j->ran && j->why.grade != ST_OK) {
        v->problems++;
        if (j->copy)
            printf("%s: %s (a copy of %s; mend: remove it, then skyferry-pull copycals again)\n",
                   j->rel, j->why.text, j->name);
        else if (j->ccd)
            printf("%s: %s (%s ccd %d; mend: skyferry-pull reprocess --force --name %s)\n", j->rel,
                   j->why.text, j->name, j->ccd, j->name);
        else
            printf("%s: %s (%s; mend: %sskyferry-push sweep at the telescope)\n", j->rel,
                   j->why.text, j->name, access(j->path, F_OK) == 0 ? "remove it, then " : "");
    }
    v->copies += j->ran && j->copy;
    v->files += j->ran && j->ccd && !j->copy;
    v->bundles += j->ran && !j->ccd;
    free(j);
    if (--v->pending == 0)
        loop_stop(v->loop);
}

static struct check_job *new_job(struct verifying *v, const char *name, const char *rel)
{
    struct check_job *j = calloc(1, sizeof *j);
    if (!j) {
        v->broken = true;
        return NULL;
    }
    j->job.run = run;
    j->job.done = done;
    j->v = v;
    snprintf(j->name, sizeof j->name, "%s", name);
    pull_path(v->s, rel, j->path);
    j->rel = j->path + strlen(v->s->root) + 1;
    return j;
}

static void submit(struct verifying *v, struct check_job *j)
{
    v->pending++;
    pool_submit(v->pool, &j->job);
}

static void submit_bundle(struct verifying *v, const struct exposure *x)
{
    struct check_job *j = x->bundle_sha256[0] ? new_job(v, x->name, x->bundle) : NULL;
    if (!j)
        return;
    j->size = x->bundle_size;
    memcpy(j->sha256, x->bundle_sha256, sizeof j->sha256);
    submit(v, j);
}

/* The lossy bundle that was kept, or the exact one that waits for its turn. */
static bool check_other(void *ctx, const struct other_bundle *b)
{
    struct verifying *v = ctx;
    struct exposure x = {0};
    bool found = false;
    v->st = catalogue_get(v->cat, b->exposure, &x, &found, v->why);
    if (v->st != ST_OK)
        return false;
    memcpy(x.bundle, b->path, sizeof x.bundle);
    memcpy(x.bundle_sha256, b->sha256, sizeof x.bundle_sha256);
    x.bundle_size = b->size;
    submit_bundle(v, &x);
    if (v->pending > 0 && loop_run(v->loop, v->why) != ST_OK)
        v->st = ST_FATAL;
    return v->st == ST_OK && !v->broken;
}

static void submit_ccd(struct verifying *v, const struct exposure *x, const struct ccd *c)
{
    struct check_job *j = c->state == CCD_PLACED ? new_job(v, x->name, c->path) : NULL;
    if (!j)
        return;
    j->ccd = c->ccd;
    j->size = c->size;
    memcpy(j->datasum, c->datasum, sizeof j->datasum);
    memcpy(j->checksum, c->checksum, sizeof j->checksum);
    submit(v, j);
}

/* One exposure at a time, so that what waits is bounded. */
static bool check_exposure(void *ctx, const struct exposure *x)
{
    struct verifying *v = ctx;
    struct ccd *ccds = NULL;
    size_t count = 0;
    v->st = catalogue_ccds(v->cat, x->id, &ccds, &count, v->why);
    if (v->st == ST_OK)
        submit_bundle(v, x);
    for (size_t i = 0; v->st == ST_OK && i < count; i++)
        submit_ccd(v, x, &ccds[i]);
    free(ccds);
    if (v->pending > 0 && loop_run(v->loop, v->why) != ST_OK)
        v->st = ST_FATAL;
    return v->st == ST_OK && !v->broken;
}

/* ---- copies of calibrations ---- */

/* One that is gone harms nobody. */
static bool check_copy(void *ctx, const struct copy *one)
{
    struct verifying *v = ctx;
    char path[PULL_PATH];
    pull_path(v->s, one->path, path);
    if (access(path, F_OK) != 0) {
        printf("%s: is there no more, which was a copy of %s (skyferry-pull copycals makes it again)\n",
               one->path, one->origin);
        return true;
    }
    struct check_job *j = new_job(v, one->origin, one->path);
    if (!j)
        return false;
    j->copy = true;
    j->master = !one->source_sha256[0];
    j->ccd = one->ccd;
    j->size = one->size;
    memcpy(j->datasum, one->datasum, sizeof j->datasum);
    memcpy(j->checksum, one->checksum, sizeof j->checksum);
    submit(v, j);
    if (loop_run(v->loop, v->why) != ST_OK)
        v->st = ST_FATAL;
    return v->st == ST_OK && !v->broken;
}

/* Has a copy's row, or the name of a master, which others make of several exposures. */
static enum status is_calibration(struct verifying *v, const char *rel, bool *known)
{
    struct copy copy = {.ccd = 0};
    *known = copying_is_master(v->s, OBS_BIAS, rel) || copying_is_master(v->s, OBS_FLAT, rel);
    return *known ? ST_OK : catalogue_get_copy(v->cat, rel, &copy, known, v->why);
}

/* ---- what the catalogue does not know ---- */

static bool is_fresh(const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 || time(NULL) - st.st_ctime < FRESH_S;
}

/* A bundle is never said to be one too many: who calls it so has looked for no other copy. */
static const char *mend_of(const struct verifying *v, const char *rel)
{
    if (!watch_matches("*.tar", fs_basename(rel)))
        return "remove it, or skyferry-pull rebuild";
    return v->daemon ? "skyferry-pull status says what holds it up"
                     : "start skyferry-pull run, which takes it in";
}

static void on_file(void *ctx, const char *path, enum watch_hint hint)
{
    struct verifying *v = ctx;
    struct exposure x;
    struct other_bundle other;
    bool known = true;
    int64_t owner = 0;
    (void)hint;
    const char *rel = path + strlen(v->s->root) + 1;
    if (v->st != ST_OK || !tree_counts(rel) || (v->daemon && is_fresh(path)))
        return;
    if (watch_matches("*.tar", fs_basename(path))) {
        v->st = catalogue_by_bundle(v->cat, rel, &x, &known, v->why);
        if (v->st == ST_OK && !known)
            v->st = catalogue_get_bundle(v->cat, rel, &other, &known, v->why);
    } else {
        v->st = catalogue_path_owner(v->cat, rel, &owner, v->why);
        known = owner != 0;
        if (v->st == ST_OK && !known)
            v->st = is_calibration(v, rel, &known);
    }
    if (v->st == ST_OK && !known) {
        v->problems++;
        printf("%s: is not in the catalogue (mend: %s)\n", rel, mend_of(v, rel));
    }
}

static enum status walk_tree(struct verifying *v)
{
    char bundles[PULL_PATH], folders[3][PULL_PATH];
    struct stat st;
    struct watch_options o = {.directory = bundles, .recursive = true, .stage = "verify",
                              .patterns = "*.tar", .rescan_seconds = 1};
    pull_path(v->s, "bundles", bundles);
    if (watch_walk(&o, on_file, v, v->why) != ST_OK)
        return ST_RETRY;
    int count = rebuild_folders(v->s, folders);
    o.patterns = "*.fits";
    for (int i = 0; i < count && v->st == ST_OK; i++) {
        o.directory = folders[i];
        if (stat(folders[i], &st) == 0 && watch_walk(&o, on_file, v, v->why) != ST_OK)
            v->st = ST_RETRY;
    }
    return v->st;
}

static enum status verify_all(struct verifying *v)
{
    struct catalogue_pick pick = {.oldest_first = true, .rows = ROWS_BUNDLES};
    enum status st = loop_open(&v->loop, v->why);
    if (st == ST_OK)
        st = pool_start(v->s->threads, v->loop, &v->pool, v->why);
    if (st == ST_OK)
        st = catalogue_each(v->cat, &pick, check_exposure, v, v->why);
    for (int role = BUNDLE_NEXT; st == ST_OK && v->st == ST_OK && role <= BUNDLE_FORMER; role++)
        st = catalogue_bundles(v->cat, (enum bundle_role)role, false, check_other, v, v->why);
    if (st == ST_OK && v->st == ST_OK)
        st = catalogue_copies(v->cat, check_copy, v, v->why);
    if (st == ST_OK)
        st = v->st;
    if (st == ST_OK && v->broken)
        st = fault(v->why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = walk_tree(v);
    pool_stop(&v->pool);
    loop_close(&v->loop);
    return st;
}

int command_verify(struct invocation *in)
{
    struct fault why;
    struct verifying v = {.s = &in->s, .why = &why, .daemon = fs_lock_holder(in->s.lock) != 0};
    enum status st = catalogue_open(in->s.catalogue, true, &v.cat, &why);
    if (st == ST_OK)
        st = verify_all(&v);
    catalogue_close(&v.cat);
    if (st != ST_OK) {
        say_problem("%s", why.text);
        return EXIT_FAILED;
    }
    printf("%ld placed files and %ld bundles checked, ", v.files, v.bundles);
    if (v.copies)
        printf("%ld copied calibrations, ", v.copies);
    printf("%ld problem%s\n", v.problems, v.problems == 1 ? "" : "s");
    return v.problems ? EXIT_INCOMPLETE : EXIT_DONE;
}
