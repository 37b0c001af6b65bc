/* How the early way of an exposure ends (pull/early.h): one pool job compares each ccd with the
 * manifest of the stored bundle, or takes all for wrong, and removes the files that do not stand;
 * then the rows follow in one transaction. Both may be repeated after a crash. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/early_inner.h"
#include "pull/flow.h"
#include "pull/intake.h"
#include "pull/placing.h"

/* One ccd's file. */
struct file {
    char path[PULL_PATH]; /* "": there never was one */
    struct place_known known;
    struct place_file copy; /* for the workspace's copy, when one is wanted */
    char made_from[DIGEST_HEX];
    int hdu;
    bool placed; /* by its row */
    bool kept;
};

struct end_job {
    struct pool_job job;
    struct coming *c;
    char bundle[PULL_PATH]; /* "": all is withdrawn */
    struct file *files;     /* for each of c->ccds; owned */
    size_t count;
    bool ran;
    struct fault why;       /* a file that could not be removed */
};

/* ---- on a worker ---- */

static bool is_listed(const struct manifest *m, int hdu)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == MEMBER_IMAGE && m->members[i].hdu == hdu)
            return true;
    return false;
}

static bool stands(const struct manifest *m, const struct file *f)
{
    struct manifest own;
    struct stat st;
    char digest[DIGEST_HEX];
    if (!f->placed || !f->made_from[0] || !is_listed(m, f->hdu) ||
        lstat(f->path, &st) != 0 || st.st_size != f->known.size ||
        !manifest_of_hdu(m, f->hdu, &own))
        return false;
    bool same = manifest_digest(&own, digest) && strcmp(digest, f->made_from) == 0;
    manifest_free(&own);
    return same;
}

/* The workspace gets what stands, and only then. A copy that fails is the usual step's business,
 * which makes the file again. */
static bool copy_out(struct file *f)
{
    struct fault why;
    return f->copy.mirror == MIRROR_NONE || place_publish(&f->copy, &why) == ST_OK;
}

/* A bundle that cannot be read, or that its manifest contradicts, confirms nothing. */
static void compare(struct end_job *j)
{
    struct manifest m = {0};
    struct fault why;
    int fd = open(j->bundle, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && bundle_index(fd, &m, &why) == ST_OK)
        for (size_t i = 0; i < j->count; i++)
            j->files[i].kept = stands(&m, &j->files[i]) && copy_out(&j->files[i]);
    manifest_free(&m);
    if (fd >= 0)
        close(fd);
}

/* Only what still is, byte for byte, what we placed. */
static enum status remove_file(const struct file *f, struct fault *why)
{
    char folder[PULL_PATH];
    bool known = false;
    enum status st = f->path[0] ? place_is_known(f->path, &f->known, &known, why) : ST_OK;
    if (st != ST_OK || !known)
        return st;
    if (unlink(f->path) != 0 && errno != ENOENT)
        return fault_errno(why, ST_RETRY, "cannot remove '%s', which was placed early", f->path);
    crash_point("pull:earlyremoved");
    snprintf(folder, sizeof folder, "%.*s", (int)(fs_basename(f->path) - f->path), f->path);
    return fs_sync_dir(folder, why);
}

static void run(struct pool_job *job)
{
    struct end_job *j = (struct end_job *)job;
    if (j->bundle[0])
        compare(j);
    for (size_t i = 0; i < j->count && j->why.grade == ST_OK; i++)
        if (!j->files[i].kept)
            j->why.grade = remove_file(&j->files[i], &j->why);
    j->ran = true;
}

/* ---- rows ---- */

static enum status settle_ccd(struct coming *c, struct ccd *row, bool kept, struct fault *why)
{
    struct catalogue *cat = c->a->cat;
    if (!row->id)
        return ST_OK;
    if (!kept)
        return catalogue_drop_ccd(cat, row->id, why);
    row->made_from[0] = '\0';
    return catalogue_put_ccd(cat, row, why);
}

/* The exposure as intake would have made it, with the ccds that stand. */
static enum status become_stored(struct coming *c, const struct end_job *j, struct fault *why)
{
    struct exposure x;
    enum status st = ST_OK;
    intake_from_receipt(c->bundle, &c->receipt, &x);
    x.id = c->f->x.id;
    x.facts = c->f->x.facts;
    x.visit = c->f->x.visit;
    x.visit_ccd = c->f->x.visit_ccd;
    x.stamp[STAMP_CLOSED] = c->f->x.stamp[STAMP_CLOSED];
    x.due_ns = clock_wall();
    for (size_t i = 0; st == ST_OK && i < c->count; i++)
        st = settle_ccd(c, &c->ccds[i].row, j->files[i].kept, why);
    return st == ST_OK ? catalogue_save(c->a->cat, &x, why) : st;
}

static enum status write_end(struct coming *c, const struct end_job *j, struct fault *why)
{
    struct catalogue *cat = c->a->cat;
    int64_t id = c->f->x.id;
    enum status st = catalogue_begin(cat, why);
    if (st != ST_OK)
        return st;
    st = c->stored ? become_stored(c, j, why) : catalogue_remove(cat, id, why);
    if (st == ST_OK && c->stored)
        st = catalogue_count(cat, id, why);
    if (st == ST_OK)
        return catalogue_commit(cat, why);
    catalogue_rollback(cat);
    return st;
}

static void say_end(const struct coming *c, const struct end_job *j)
{
    const struct log_at *at = AT(.stage = "early", .exposure = c->name);
    int kept = 0, gone = 0;
    for (size_t i = 0; i < j->count; i++) {
        kept += j->files[i].kept;
        gone += !j->files[i].kept && j->files[i].placed;
    }
    if (c->stored)
        log_info(AT(.stage = "stored", .exposure = c->name),
                 "%.1f MB, %s; %d ccds were placed while it came, CPU %.1f s",
                 (double)c->receipt.size / 1e6, c->bundle, kept, (double)c->cpu / 1e9);
    if (gone > 0)
        log_warn(at, "%d ccds that were placed early are withdrawn: %s", gone, c->over ? c->reason
                 : "the bundle's manifest says otherwise");
    if (c->unproven > 0 && kept > 0)
        log_warn(at, "%d ccds " UNPACK_UNPROVEN, c->unproven);
}

static void done(struct pool_job *job)
{
    struct end_job *j = (struct end_job *)job;
    struct coming *c = j->c;
    struct fault why = j->why;
    c->ending = false;
    if (j->ran && why.grade == ST_OK)
        why.grade = write_end(c, j, &why);
    if (j->ran && why.grade != ST_OK)
        agent_trouble(c->a, &why); /* again at the next tick */
    if (j->ran && why.grade == ST_OK) {
        crash_point(c->stored ? "pull:earlyconfirmed" : "pull:earlywithdrawn");
        say_end(c, j);
        early_ended(c);
    }
    free(j->files);
    free(j);
}

/* ---- the beginning of the end ---- */

/* What another exposure's row claims by now is not ours to remove. */
static enum status describe(struct coming *c, const struct ccd *row, struct file *f,
                            struct fault *why)
{
    int64_t owner = 0;
    struct fault none;
    *f = (struct file){.hdu = row->hdu, .placed = row->state == CCD_PLACED,
                       .known = {.size = row->size}};
    memcpy(f->made_from, row->made_from, sizeof f->made_from);
    memcpy(f->known.datasum, row->datasum, sizeof f->known.datasum);
    memcpy(f->known.checksum, row->checksum, sizeof f->known.checksum);
    if (!row->path[0])
        return ST_OK;
    enum status st = catalogue_path_owner(c->a->cat, row->path, &owner, why);
    if (st == ST_OK && (owner == 0 || owner == c->f->x.id))
        pull_path(&c->a->s, row->path, f->path);
    /* Without a name by today's templates it is the usual step's business. */
    if (st == ST_OK && placing_file(&c->a->s, &c->f->x, row, &f->copy, &none) != ST_OK)
        f->placed = false;
    memcpy(f->copy.rel, row->path, sizeof f->copy.rel);
    f->copy.is_there = true;
    return st;
}

void early_end(struct coming *c)
{
    struct fault why;
    struct end_job *j = calloc(1, sizeof *j);
    struct file *files = calloc(c->count + 1, sizeof *files);
    enum status st = j && files ? early_save(c, &why) : fault(&why, ST_RETRY, "out of memory");
    for (size_t i = 0; st == ST_OK && files && i < c->count; i++)
        st = describe(c, &c->ccds[i].row, &files[i], &why);
    if (st != ST_OK) {
        agent_trouble(c->a, &why);
        free(files);
        free(j);
        return;
    }
    *j = (struct end_job){.job = {.run = run, .done = done, .urgency = INT_MAX}, .c = c,
                          .files = files, .count = c->count};
    if (!c->over)
        pull_path(&c->a->s, c->bundle, j->bundle);
    c->ending = true;
    pool_submit(c->a->pool, &j->job);
}
