/* `rebuild`: the catalogue made again from the tree alone: bundles with their receipts and
 * manifests, placed FITS files by the SFSHA and SFHDU cards that say where they came from, job
 * folders. The new catalogue is complete before it takes the old one's name. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/fsutil.h"
#include "common/loop.h"
#include "pull/commands.h"
#include "pull/copying.h"
#include "pull/identity.h"
#include "pull/lease.h"
#include "pull/part.h"
#include "pull/rebuild.h"
#include "pull/renew.h"
#include "pull/unpack.h"
#include "pull/visit.h"

struct rebuilding {
    const struct pull_settings *s;
    struct catalogue *cat;
    struct tree tree;
    struct catalogue_identity is;
    long exposures, ccds, placed, jobs, copies, skipped;
};

/* ---- one exposure ---- */

static enum status read_manifest(const char *path, struct manifest *m, struct fault *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_errno(why, ST_RETRY, "cannot open '%s'", path);
    enum status st = bundle_index(fd, m, why);
    close(fd);
    return st;
}

static void take_manifest(const struct rebuilding *r, const struct manifest *m, struct exposure *x)
{
    x->facts = m->facts;
    placing_night(r->s, &x->facts, x->night, x->night);
    x->stamp[STAMP_CLOSED] = m->source_mtime_ns;
    x->raw_size = unpack_raw_size(m);
}

/* Of the files made from this ccd the one that has its name, else the first that is no copy of a
 * calibration for another night: that one does not stand for what is lost, which is made anew. */
static const struct tree_file *own_file(const struct rebuilding *r, const struct exposure *x,
                                        const struct ccd *c, const struct tree_file *files,
                                        size_t count)
{
    char path[sizeof c->path], night[NIGHT_SIZE];
    struct fault none;
    bool named = placing_path(r->s, x, c, path, sizeof path, &none) == ST_OK;
    for (size_t i = 0; named && i < count; i++)
        if (strcmp(files[i].rel, path) == 0)
            return &files[i];
    for (size_t i = 0; i < count; i++)
        if (!copying_is_copy(r->s, x, c, files[i].rel, night))
            return &files[i];
    return NULL;
}

/* The others: a calibration copied for another night. */
static enum status add_copies(struct rebuilding *r, const struct exposure *x, const struct ccd *c,
                              const struct tree_file *files, size_t count, struct fault *why)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < count; i++) {
        struct copy row;
        char night[NIGHT_SIZE];
        if (strcmp(files[i].rel, c->path) == 0 ||
            !copying_is_copy(r->s, x, c, files[i].rel, night))
            continue;
        st = copying_of(r->s, x, c, night, &row, why);
        row.size = files[i].size;
        row.copied_ns = files[i].mtime_ns;
        memcpy(row.datasum, files[i].datasum, sizeof row.datasum);
        memcpy(row.checksum, files[i].checksum, sizeof row.checksum);
        if (st == ST_OK)
            st = catalogue_put_copy(r->cat, &row, why);
        r->copies++;
    }
    return st;
}

/* A ccd whose file is there is placed; any other waits to be. */
static enum status add_ccd(struct rebuilding *r, struct exposure *x, const struct member *m,
                           struct fault *why)
{
    struct ccd c;
    size_t count = 0;
    placing_ccd(&c, x, m);
    const struct tree_file *files = tree_find(&r->tree, x->source_sha256, m->hdu, &count);
    const struct tree_file *file = own_file(r, x, &c, files, count);
    if (file) {
        c.state = CCD_PLACED;
        /* Placed from another bundle than this one. */
        if (strcmp(file->codec, c.codec) != 0 || (file->qstep > 0) != (c.qstep > 0)) {
            if (x->exact == EXACT_YES && file->qstep > 0)
                x->exact = EXACT_COMING;
            snprintf(c.codec, sizeof c.codec, "%s", file->codec);
            c.qstep = file->qstep;
        }
        snprintf(c.path, sizeof c.path, "%s", file->rel);
        c.size = file->size;
        c.placed_ns = file->mtime_ns;
        memcpy(c.datasum, file->datasum, sizeof c.datasum);
        memcpy(c.checksum, file->checksum, sizeof c.checksum);
        if (file->mtime_ns > x->stamp[STAMP_PLACED])
            x->stamp[STAMP_PLACED] = file->mtime_ns;
    }
    r->ccds++;
    r->placed += file != NULL;
    enum status st = catalogue_put_ccd(r->cat, &c, why);
    return st == ST_OK && count > (file != NULL) ? add_copies(r, x, &c, files, count, why) : st;
}

static enum status fill(struct rebuilding *r, struct exposure *x, const struct manifest *m,
                        struct fault *why)
{
    struct rebuilt_jobs jobs = {0};
    enum status st = ST_OK;
    x->exact = manifest_is_exact(m) ? EXACT_YES : EXACT_NO;
    for (size_t i = 0; st == ST_OK && i < m->count; i++)
        if (m->members[i].role == MEMBER_IMAGE)
            st = add_ccd(r, x, &m->members[i], why);
    if (st == ST_OK)
        st = visit_join(r->cat, x, &m->visit, why);
    if (st == ST_OK)
        st = rebuild_jobs(r->s, r->cat, x, &jobs, why);
    x->stamp[STAMP_INDEXED] = x->stamp[STAMP_STORED];
    if (x->stamp[STAMP_RENEWED])
        x->stamp[STAMP_RENEWED] = x->exact == EXACT_YES ? x->stamp[STAMP_PLACED] : 0;
    x->state = jobs.ccds_waiting || x->exact == EXACT_COMING ? EX_STORED
               : jobs.ccds_without > 0   ? EX_PLACED
               : jobs.active > 0         ? EX_WORKING
                                         : EX_DONE;
    if (x->state == EX_STORED)
        x->stamp[STAMP_PLACED] = 0;
    if (x->state == EX_DONE)
        x->stamp[STAMP_DONE] = jobs.ended_ns ? jobs.ended_ns : x->stamp[STAMP_PLACED];
    r->jobs += jobs.count;
    if (st == ST_OK)
        st = catalogue_save(r->cat, x, why);
    if (st == ST_OK)
        st = catalogue_count(r->cat, x->id, why);
    return st;
}

/* An unreadable bundle is a row all the same: the daemon parks it with its reason. */
static enum status add_exposure(struct rebuilding *r, struct exposure *x, struct fault *why)
{
    char path[PULL_PATH];
    struct manifest m = {0};
    struct exposure twin;
    struct fault reason;
    bool has_twin = false;
    pull_path(r->s, x->bundle, path);
    bool readable = read_manifest(path, &m, &reason) == ST_OK;
    if (readable)
        take_manifest(r, &m, x);
    else
        printf("%s: %s\n", x->bundle, reason.text);
    enum status st = catalogue_begin(r->cat, why);
    if (st != ST_OK)
        goto out;
    st = catalogue_add(r->cat, x, why);
    if (st == ST_OK)
        st = catalogue_by_source(r->cat, x, &twin, &has_twin, why);
    if (st == ST_OK && readable && !has_twin)
        st = fill(r, x, &m, why);
    if (st == ST_OK)
        st = catalogue_commit(r->cat, why);
    else
        catalogue_rollback(r->cat);
    r->exposures += st == ST_OK;
out:
    manifest_free(&m);
    return st;
}

/* ---- exact data that followed ---- */

/* The exposure came when its lossy bundle did, which may be gone itself. */
static void take_first_stamps(const struct rebuilding *r, struct exposure *x,
                              const struct receipt *exact)
{
    char path[PULL_PATH];
    struct receipt lossy;
    pull_path(r->s, x->bundle, path);
    if (!rebuild_lossy_receipt(path, exact, &lossy))
        return;
    x->stamp[STAMP_NOTICED] = lossy.noticed_ns;
    x->stamp[STAMP_ENCODED] = lossy.encoded_ns;
    x->stamp[STAMP_FIRST] = lossy.first_ns;
    x->stamp[STAMP_STORED] = lossy.stored_ns;
    x->stamp[STAMP_RENEWED] = exact->stored_ns;
}

/* The other bundle of an exposure that is there already is no exposure of its own. */
static enum status add_bundle(struct rebuilding *r, const char *rel, const struct receipt *receipt,
                              struct fault *why)
{
    struct exposure x;
    struct other_bundle b;
    bool found = false;
    enum status st = catalogue_pair(r->cat, receipt->source_sha256, receipt->name, &x, &found, why);
    if (st == ST_OK && found && renew_pairs(&x, receipt)) {
        renew_bundle(rel, receipt, x.id, &b);
        return catalogue_put_bundle(r->cat, &b, why);
    }
    intake_from_receipt(rel, receipt, &x);
    take_first_stamps(r, &x, receipt);
    return st == ST_OK ? add_exposure(r, &x, why) : st;
}

static enum status add_all(struct rebuilding *r, struct fault *why)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < r->tree.bundle_count; i++) {
        struct receipt receipt;
        struct fault reason;
        char path[PULL_PATH];
        pull_path(r->s, r->tree.bundles[i].rel, path);
        if (part_receipt(path, &receipt, &reason) != ST_OK) {
            printf("%s: has no receipt: the daemon looks through it\n", r->tree.bundles[i].rel);
            r->skipped++;
            continue;
        }
        st = add_bundle(r, r->tree.bundles[i].rel, &receipt, why);
    }
    return st;
}

/* ---- the catalogue's file ---- */

static void remove_database(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[PULL_PATH];
    for (int i = 0; i < 3; i++)
        if (pull_text(name, sizeof name, "%s%s", path, suffixes[i]))
            unlink(name);
}

/* With its -wal and -shm: a left-over -wal would be played into the new catalogue. */
static enum status put_aside(const char *path, const char *aside, struct fault *why)
{
    static const char *const suffixes[] = {"-wal", "-shm", ""};
    char from[PULL_PATH], to[PULL_PATH];
    remove_database(aside);
    for (int i = 0; i < 3; i++) {
        pull_text(from, sizeof from, "%s%s", path, suffixes[i]);
        pull_text(to, sizeof to, "%s%s", aside, suffixes[i]);
        if (access(from, F_OK) != 0)
            continue;
        enum status st = fs_rename(from, to, why);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status build(struct rebuilding *r, const char *path, struct fault *why)
{
    remove_database(path);
    enum status st = tree_scan(r->s, &r->tree, why);
    if (st == ST_OK)
        st = catalogue_open(path, false, &r->cat, why);
    if (st == ST_OK)
        st = add_all(r, why);
    if (st == ST_OK)
        st = visit_rebuild(r->s, r->cat, &r->jobs, why);
    if (st == ST_OK)
        st = catalogue_identity(r->cat, &r->is, why);
    catalogue_close(&r->cat);
    tree_free(&r->tree);
    return st;
}

static bool count_one(void *ctx, const struct exposure *x)
{
    *(long *)ctx += x->state != EX_COMING;
    return true;
}

/* A catalogue that knows something is not given up for one of nothing: more likely the bundles are
 * out of reach. One that cannot be read is no loss. */
static enum status refuse_empty(const struct rebuilding *r, const char *fresh, struct fault *why)
{
    struct catalogue_pick all = {.rows = ROWS_BUNDLES};
    struct catalogue *known = NULL;
    struct fault none;
    long count = 0;
    if (r->exposures > 0 || access(r->s->catalogue, F_OK) != 0)
        return ST_OK;
    if (catalogue_open(r->s->catalogue, true, &known, &none) == ST_OK)
        catalogue_each(known, &all, count_one, &count, &none);
    catalogue_close(&known);
    if (count == 0)
        return ST_OK;
    remove_database(fresh);
    return fault(why, ST_REJECT, "below '%s/bundles' there is no bundle with a receipt, but '%s' knows "
                 "%ld exposure%s: it is kept; mount or move back what holds the bundles, or, if they "
                 "are gone for good, remove that file and call rebuild again", r->s->root,
                 r->s->catalogue, count, count == 1 ? "" : "s");
}

/* In this order: cut short, the store still names a catalogue that is not there, and a daemon asks
 * for another rebuild. */
static enum status put_in_place(struct rebuilding *r, const char *fresh, const char *old,
                                struct fault *why)
{
    enum status st = put_aside(r->s->catalogue, old, why);
    if (st == ST_OK)
        st = fs_rename(fresh, r->s->catalogue, why);
    return st == ST_OK ? identity_claim(r->s, &r->is, why) : st;
}

static enum status rebuild(struct rebuilding *r, struct fault *why)
{
    char fresh[PULL_PATH], old[PULL_PATH];
    struct lease *lease = NULL;
    int lock = -1;
    pull_text(fresh, sizeof fresh, "%s/rebuild.db", r->s->state);
    pull_text(old, sizeof old, "%s/catalogue.db.old", r->s->state);
    loop_hold_signals(); /* retry and reprocess signal whoever has the lock */
    enum status st = fs_mkdirs(r->s->state, why);
    if (st == ST_OK)
        st = fs_lock(r->s->lock, &lock, why);
    if (st == ST_OK)
        st = lease_take(r->s->root, r->s->lease_seconds, &lease, why);
    if (st == ST_OK)
        st = build(r, fresh, why);
    if (st == ST_OK)
        st = refuse_empty(r, fresh, why);
    if (st == ST_OK)
        st = lease_sure(lease, why);
    if (st == ST_OK)
        st = put_in_place(r, fresh, old, why);
    lease_release(&lease);
    if (lock >= 0)
        close(lock);
    return st;
}

int command_rebuild(struct invocation *in)
{
    struct rebuilding r = {.s = &in->s};
    struct fault why;
    char bundles[PULL_PATH];
    pull_path(&in->s, "bundles", bundles);
    /* An empty catalogue over a store that is not mounted would look like success. */
    enum status st = access(bundles, R_OK | X_OK) == 0
                         ? rebuild(&r, &why)
                         : fault_errno(&why, ST_RETRY, "no store at '%s'", in->s.root);
    if (st != ST_OK) {
        fprintf(stderr, "skyferry-pull: %s%s\n", why.text,
                fs_lock_holder(in->s.lock) ? "; stop it first (systemctl stop skyferry-pull)" : "");
        return EXIT_FAILED;
    }
    printf("%ld exposures, %ld of %ld ccds placed, %ld jobs; %s holds them now, the one before is "
           "%s.old\n", r.exposures, r.placed, r.ccds, r.jobs, in->s.catalogue, in->s.catalogue);
    if (r.copies)
        printf("%ld copied calibrations of other nights\n", r.copies);
    if (r.placed < r.ccds || r.skipped)
        printf("what is not placed yet is done when the daemon runs\n");
    return EXIT_DONE;
}
