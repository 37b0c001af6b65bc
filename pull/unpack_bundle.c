/* The stand-alone half of pull/unpack.h: a whole bundle into a directory. */
#include "pull/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "pull/weight.h"

#define THREADS_MAX 64

/* ---- files that may be there already ---- */

/* Is path a file of exactly these bytes? *there: is anything there at all? */
static bool holds_digest(const char *path, int64_t size, const char *sha256, bool *there)
{
    char found[DIGEST_HEX];
    struct stat st;
    *there = lstat(path, &st) == 0;
    if (!*there || !S_ISREG(st.st_mode) || st.st_size != size)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool same = digest_fd(fd, -1, found, NULL) == ST_OK && strcmp(found, sha256) == 0;
    close(fd);
    return same;
}

static enum status refuse_taken(const char *path, struct fault *why)
{
    return fault(why, ST_REJECT, "%s is there already with other content; remove it, or replace it "
                 "with --force", path);
}

static enum status write_once(const char *path, const struct buf *file, bool force,
                              struct fault *why)
{
    char sha256[DIGEST_HEX];
    bool there;
    digest_bytes(file->data, file->len, sha256);
    if (holds_digest(path, (int64_t)file->len, sha256, &there))
        return ST_OK;
    if (there && !force)
        return refuse_taken(path, why);
    return fs_write_file(path, file->data, file->len, !force, why);
}

/* ---- the source file back ---- */

/* Do the member's bytes give the HDU's bytes? */
static bool is_exact(const struct member *one)
{
    return strcmp(one->codec, "original") == 0 ||
           (one->role == MEMBER_HDU && strcmp(one->codec, "zstd") == 0);
}

/* The members in the order of the source file, malloc'ed; *count of them. */
static enum status in_order(const struct manifest *m, const struct member ***out, size_t *count,
                            struct fault *why)
{
    const struct member *tail = NULL;
    const struct member **list = calloc(m->count + 1, sizeof *list);
    size_t hdus = 0, found = 0;
    *out = list;
    if (!list)
        return fault(why, ST_RETRY, "out of memory");
    for (size_t i = 0; i < m->count; i++) {
        const struct member *one = &m->members[i];
        if (one->role == MEMBER_HEADER || one->role == MEMBER_EXACT)
            continue;
        if (!is_exact(one))
            return fault(why, ST_REJECT,
                         "ccd %d was sent with codec %s; a source file can be rebuilt only when "
                         "all of it was sent with method original", one->ccd, one->codec);
        hdus += one->hdu >= 0;
        if (one->hdu < 0)
            tail = one;
        else if ((size_t)one->hdu < m->count)
            list[one->hdu] = one;
    }
    while (found < hdus && list[found])
        found++;
    if (hdus == 0 || found < hdus)
        return fault(why, ST_REJECT,
                     "the bundle does not hold HDU %zu as it stood; a source file can be rebuilt "
                     "only when all of it was sent with method original", found);
    list[hdus] = tail;
    *count = hdus + (tail != NULL);
    return ST_OK;
}

static enum status copy_member(int fd, const struct member *one, int to, struct digest *hash,
                               struct fault *why)
{
    struct buf packed = {0}, whole = {0}, *bytes = &packed;
    if (one->raw_size > UNPACK_HDU_MAX || one->size > UNPACK_HDU_MAX)
        return fault(why, ST_REJECT, "member %s is too long to be unpacked", one->name);
    enum status s = bundle_read(fd, one, &packed, why);
    if (s == ST_OK && strcmp(one->codec, "zstd") == 0) {
        s = bundle_expand(packed.data, packed.len, (size_t)one->raw_size, &whole, why);
        bytes = &whole;
    }
    if (s == ST_OK && fs_write_all(to, bytes->data, bytes->len) != 0)
        s = fault_errno(why, fs_write_grade(errno), "cannot write");
    if (s == ST_OK)
        digest_update(hash, bytes->data, bytes->len);
    buf_free(&whole);
    buf_free(&packed);
    return s;
}

static enum status rebuild(int fd, const struct manifest *m, struct fs_draft *d,
                           struct fault *why)
{
    char sha256[DIGEST_HEX];
    const struct member **list = NULL;
    size_t count = 0;
    struct digest *hash = digest_new();
    enum status s = hash ? in_order(m, &list, &count, why) : fault(why, ST_RETRY, "out of memory");
    for (size_t i = 0; i < count && s == ST_OK; i++)
        s = copy_member(fd, list[i], d->fd, hash, why);
    if (s != ST_OK)
        goto out;
    digest_finish(&hash, sha256);
    if (strcmp(sha256, m->source_sha256) != 0)
        s = fault(why, ST_REJECT, "the rebuilt bytes are not the source file's: SHA-256 %s, the "
                  "manifest says %s", sha256, m->source_sha256);
out:
    digest_free(&hash);
    free(list);
    return s;
}

enum status unpack_rebuild(int fd, const struct manifest *m, const char *out_path, bool force,
                           struct fault *why)
{
    bool there;
    struct fs_draft d = {.fd = -1};
    struct fault own;
    if (!why)
        why = &own;
    if (holds_digest(out_path, m->source_size, m->source_sha256, &there))
        return ST_OK;
    enum status s = there && !force ? refuse_taken(out_path, why)
                                    : fs_draft_open(&d, out_path, why);
    if (s == ST_OK) {
        s = rebuild(fd, m, &d, why);
        if (s == ST_OK)
            s = fs_draft_publish(&d, !force, why);
        fs_draft_drop(&d);
    }
    return s == ST_OK ? s : fault_within(why, "exposure %s: ", m->name);
}

/* ---- a directory of files ---- */

struct work {
    struct unpack_source src;
    const struct unpack_options *o;
    const char *to;
    const struct member **items; /* parallel to report->ccds */
    struct unpack_report *report;
    atomic_size_t next;
    atomic_bool full; /* the disk: nothing more is begun */
};

struct files { /* one thread's, used again for each ccd */
    struct buf ccd, weight;
};

/* path is "" when it could not be written. */
static enum status write_named(const struct work *w, const char *name, const struct buf *file,
                               char path[4096], struct fault *why)
{
    enum status s = fs_join(path, 4096, w->to, name, why);
    if (s == ST_OK)
        s = write_once(path, file, w->o->force, why);
    if (s != ST_OK)
        path[0] = '\0';
    return s;
}

static enum status deliver_weight(const struct work *w, struct unpack_ccd *ccd, struct files *f)
{
    char name[MEMBER_NAME + 32];
    f->weight.len = 0;
    enum status s = weight_make(&f->ccd, w->o->weights, &f->weight, &ccd->weightless);
    snprintf(name, sizeof name, "%s_%d.weight.fits", w->src.m->name, ccd->ccd);
    if (s == ST_OK)
        s = write_named(w, name, &f->weight, ccd->weight, &ccd->weightless);
    return s;
}

static enum status deliver(const struct work *w, const struct member *one, struct unpack_ccd *ccd,
                           struct files *f)
{
    char name[MEMBER_NAME + 32];
    bool image = one->role == MEMBER_IMAGE;
    f->ccd.len = 0;
    enum status s = image ? unpack_image(&w->src, one, &f->ccd, ccd, NULL)
                          : unpack_other(&w->src, one, &f->ccd, ccd, NULL);
    if (s != ST_OK)
        return s;
    int64_t started = clock_mono();
    snprintf(name, sizeof name, image ? "%s_%d.fits" : "%s_hdu%d.fits", w->src.m->name,
             image ? one->ccd : one->hdu);
    s = write_named(w, name, &f->ccd, ccd->path, &ccd->why);
    if (s != ST_OK) {
        ccd->bytes = 0;
        fault_within(&ccd->why, image ? "exposure %s, ccd %d: " : "exposure %s, HDU %d: ",
                     w->src.m->name, image ? one->ccd : one->hdu);
    } else if (image && w->o->weights) {
        s = deliver_weight(w, ccd, f);
    }
    ccd->seconds += (double)(clock_mono() - started) / NS_PER_S;
    return s;
}

static void *worker(void *arg)
{
    struct work *w = arg;
    struct files files = {0};
    size_t i;
    while ((i = atomic_fetch_add(&w->next, 1)) < w->report->count) {
        struct unpack_ccd *ccd = &w->report->ccds[i];
        const struct member *one = w->items[i];
        *ccd = (struct unpack_ccd){.ccd = one->ccd, .hdu = one->hdu};
        if (atomic_load(&w->full))
            fault(&ccd->why, ST_WAIT, "exposure %s, HDU %d: not begun, the disk is full",
                  w->src.m->name, one->hdu);
        else if (deliver(w, one, ccd, &files) == ST_WAIT)
            atomic_store(&w->full, true);
    }
    buf_free(&files.ccd);
    buf_free(&files.weight);
    return NULL;
}

static size_t thread_count(const struct work *w)
{
    cpu_set_t set;
    size_t n = w->o->threads > 0 ? (size_t)w->o->threads : 1;
    if (w->o->threads <= 0 && sched_getaffinity(0, sizeof set, &set) == 0)
        n = (size_t)CPU_COUNT(&set);
    n = n < THREADS_MAX ? n : THREADS_MAX;
    return n < w->report->count ? n : w->report->count;
}

/* The calling thread works too, so that no thread at all can be had and it still goes on. */
static void run(struct work *w)
{
    pthread_t threads[THREADS_MAX];
    size_t begun = 0, more = thread_count(w);
    while (begun + 1 < more && pthread_create(&threads[begun], NULL, worker, w) == 0)
        begun++;
    worker(w);
    for (size_t i = 0; i < begun; i++)
        pthread_join(threads[i], NULL);
}

static int by_hdu(const void *a, const void *b)
{
    return (*(const struct member *const *)a)->hdu - (*(const struct member *const *)b)->hdu;
}

static enum status choose(struct work *w, struct fault *why)
{
    const struct manifest *m = w->src.m;
    size_t count = 0;
    w->items = calloc(m->count + 1, sizeof *w->items);
    w->report->ccds = calloc(m->count + 1, sizeof *w->report->ccds);
    if (!w->items || !w->report->ccds)
        return fault(why, ST_RETRY, "out of memory");
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == MEMBER_IMAGE || unpack_is_other(&w->src, &m->members[i]))
            w->items[count++] = &m->members[i];
    qsort(w->items, count, sizeof *w->items, by_hdu);
    w->report->count = count;
    return ST_OK;
}

static enum status deliver_all(struct work *w, struct fault *why)
{
    struct fits_header primary = {0};
    enum status s = unpack_primary(w->src.fd, w->src.m, &primary, why);
    w->src.primary = &primary;
    if (s == ST_OK)
        s = choose(w, why);
    if (s == ST_OK)
        run(w);
    for (size_t i = 0; i < w->report->count; i++) {
        const struct unpack_ccd *ccd = &w->report->ccds[i];
        bool good = ccd->why.grade == ST_OK;
        w->report->done += good;
        w->report->failed += !good;
        w->report->unproven += good && ccd->unproven;
        w->report->weightless += good && ccd->weightless.grade != ST_OK;
        if (!good && s == ST_OK) {
            s = ccd->why.grade;
            *why = ccd->why;
        }
    }
    fits_header_free(&primary);
    return s;
}

static enum status deliver_source(struct work *w, struct fault *why)
{
    char name[MEMBER_NAME];
    const struct manifest *m = w->src.m;
    struct unpack_report *r = w->report;
    r->ccds = calloc(1, sizeof *r->ccds);
    if (!r->ccds)
        return fault(why, ST_RETRY, "out of memory");
    r->count = 1;
    int64_t started = clock_mono();
    fs_name_clean(name, sizeof name, m->source_name, m->name);
    enum status s = fs_join(r->ccds->path, sizeof r->ccds->path, w->to, name, why);
    if (s == ST_OK)
        s = unpack_rebuild(w->src.fd, m, r->ccds->path, w->o->force, why);
    r->ccds->seconds = (double)(clock_mono() - started) / NS_PER_S;
    snprintf(r->ccds->codec, sizeof r->ccds->codec, "original");
    if (s == ST_OK) {
        r->ccds->bytes = m->source_size;
        r->done = 1;
    } else {
        r->ccds->path[0] = '\0';
        r->ccds->why = *why;
        r->failed = 1;
    }
    return s;
}

enum status unpack_bundle(const char *path, const struct unpack_options *o,
                          struct unpack_report *out, struct fault *why)
{
    int64_t started = clock_mono();
    struct fault own;
    struct manifest m = {0};
    struct work w = {.o = o, .to = o->to ? o->to : ".", .report = out};
    enum status s;
    *out = (struct unpack_report){0};
    if (!why)
        why = &own;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        s = fault_errno(why, ST_RETRY, "cannot open the bundle %s", path);
        goto out;
    }
    s = bundle_index(fd, &m, why);
    if (s != ST_OK) {
        fault_within(why, "bundle %s: ", path);
        goto out;
    }
    snprintf(out->name, sizeof out->name, "%s", m.name);
    s = fs_mkdirs(w.to, why);
    if (s != ST_OK)
        goto out;
    w.src = (struct unpack_source){.fd = fd, .m = &m};
    s = o->rebuild ? deliver_source(&w, why) : deliver_all(&w, why);
out:
    free(w.items);
    manifest_free(&m);
    if (fd >= 0)
        close(fd);
    out->seconds = (double)(clock_mono() - started) / NS_PER_S;
    return s;
}

void unpack_report_free(struct unpack_report *r)
{
    free(r->ccds);
    *r = (struct unpack_report){0};
}
