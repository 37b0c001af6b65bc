#include "pull/task_decode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/crashpoint.h"
#include "common/pool.h"
#include "pull/node_scratch.h"
#include "pull/place_file.h"
#include "pull/task_bundle.h"

/* One ccd. Its worker's while it is in the pool, else the main thread's. */
struct one {
    struct pool_job job;
    struct task_decode *d;
    int ccd, hdu;
    size_t bundle;         /* in d->bundles */
    const struct member *member;
    struct place_file file;
    char fits[PULL_PATH];  /* in the scratch */
    bool ran, placed, unproven;
    enum task_trouble trouble;
    int64_t size;
    char datasum[24], checksum[24];
    struct fault why;
};

struct task_decode {
    char exposure[MEMBER_NAME], node[64], root[PULL_PATH], base[PULL_PATH];
    int threads;
    bool last;      /* the job's last attempt: what fails once more is parked */
    struct node_scratch scratch;
    struct task_bundle *bundles;
    size_t bundle_count;
    struct one *ones;
    size_t count;
    int pending;
    struct pool *pool;
    struct loop *loop;
    bool elsewhere; /* another node may do better */
};

/* ---- words ---- */

static bool is_parked(const struct one *o)
{
    return o->ran && !o->placed &&
           (o->why.grade == ST_REJECT || (o->d->last && o->why.grade == ST_RETRY &&
                                              o->trouble == TROUBLE_BUNDLE));
}

/* "exposure X, ccds 1, 2: " in front, of those that may still be placed. */
static enum status name_them(const struct task_decode *d, enum status grade, struct fault *why)
{
    char list[256] = "";
    int named = 0;
    for (size_t i = 0; i < d->count; i++) {
        size_t at = strlen(list);
        if (d->ones[i].placed || is_parked(&d->ones[i]))
            continue;
        if (at + 16 < sizeof list)
            snprintf(list + at, sizeof list - at, "%s%d", named ? ", " : "", d->ones[i].ccd);
        else if (list[at - 1] != '.')
            snprintf(list + at, sizeof list - at, " ...");
        named++;
    }
    fault_within(why, "exposure %s, ccd%s %s: ", d->exposure, named == 1 ? "" : "s", list);
    return why->grade = grade;
}

/* Whose fault it is. */
static enum status blame(struct task_decode *d, enum task_trouble trouble, struct fault *why)
{
    d->elsewhere = d->elsewhere || trouble != TROUBLE_BUNDLE;
    if (trouble == TROUBLE_SCRATCH)
        fault_within(why, "%s of node %s: ", why->grade == ST_WAIT ? "no room in the scratch"
                     : "trouble with the scratch", d->node);
    else
        fault_within(why, "on node %s: ", d->node);
    /* Only of the store's disk is it worth to wait for room. */
    return trouble == TROUBLE_SCRATCH ? (why->grade = ST_RETRY) : why->grade;
}

/* ---- the order ---- */

static void read_one(struct task_decode *d, const json_t *from, const json_t *order)
{
    struct one *o = &d->ones[d->count++];
    *o = (struct one){.d = d, .ccd = (int)task_int(from, "ccd"), .hdu = (int)task_int(from, "hdu"),
                      .bundle = (size_t)task_int(from, "bundle")};
    o->file.draft.fd = -1;
    o->file.root = d->root;
    o->file.conflict = place_conflict_of(task_text(from, "conflict"));
    pull_text(o->file.rel, sizeof o->file.rel, "%s", task_text(from, "rel"));
    if (task_text(from, "mirror_rel")[0])
        o->file.mirror = place_mirror_of(task_text(order, "mirror"));
    pull_text(o->file.mirror_rel, sizeof o->file.mirror_rel, "%s", task_text(from, "mirror_rel"));
}

static void read_bundle(struct task_decode *d, const json_t *from)
{
    struct task_bundle *b = &d->bundles[d->bundle_count++];
    b->store_fd = b->copy_fd = -1;
    pull_text(b->path, sizeof b->path, "%s", task_text(from, "path"));
    pull_text(b->source_sha256, sizeof b->source_sha256, "%s", task_text(from, "source_sha256"));
}

static enum status read_order(struct task_decode *d, const json_t *order, struct fault *why)
{
    const json_t *ccds = json_object_get(order, "ccds"), *list = json_object_get(order, "bundles");
    pull_text(d->exposure, sizeof d->exposure, "%s", task_text(order, "exposure"));
    pull_text(d->root, sizeof d->root, "%s", task_text(order, "root"));
    pull_text(d->base, sizeof d->base, "%s", node_scratch_base(task_text(order, "scratch")));
    d->threads = (int)task_int(order, "threads");
    d->last = json_is_true(json_object_get(order, "last"));
    d->ones = calloc(json_array_size(ccds) + 1, sizeof *d->ones);
    d->bundles = calloc(json_array_size(list) + 1, sizeof *d->bundles);
    if (!d->ones || !d->bundles)
        return fault(why, ST_RETRY, "out of memory for %zu ccds", json_array_size(ccds));
    for (size_t i = 0; i < json_array_size(list); i++)
        read_bundle(d, json_array_get(list, i));
    for (size_t i = 0; i < json_array_size(ccds); i++) {
        read_one(d, json_array_get(ccds, i), order);
        if (d->ones[i].bundle >= d->bundle_count)
            return fault(why, ST_REJECT, "the order for ccd %d names no bundle", d->ones[i].ccd);
    }
    return ST_OK;
}

/* ---- the members ---- */

static enum status fetch(struct task_decode *d, size_t index, enum task_trouble *trouble,
                         struct fault *why)
{
    struct task_bundle *b = &d->bundles[index];
    char path[PULL_PATH];
    int *hdus = calloc(d->count + 1, sizeof *hdus);
    size_t count = 0;
    *trouble = TROUBLE_BUNDLE;
    if (!hdus || !pull_text(path, sizeof path, "%s/members.%zu", d->scratch.path, index)) {
        free(hdus);
        return fault(why, ST_RETRY, "out of memory for the members");
    }
    for (size_t i = 0; i < d->count; i++)
        if (d->ones[i].bundle == index)
            hdus[count++] = d->ones[i].hdu;
    enum status st = task_bundle_open(b, trouble, why);
    if (st == ST_OK)
        st = task_bundle_copy(b, hdus, count, path, trouble, why);
    free(hdus);
    return st;
}

/* A bundle that cannot be had is the end for its own ccds only. */
static void fetch_all(struct task_decode *d)
{
    for (size_t k = 0; k < d->bundle_count; k++) {
        struct fault why;
        enum task_trouble trouble;
        enum status st = fetch(d, k, &trouble, &why);
        for (size_t i = 0; st != ST_OK && i < d->count; i++) {
            struct one *o = &d->ones[i];
            if (o->bundle != k)
                continue;
            o->why = why;
            o->why.grade = st;
            o->trouble = trouble;
            o->ran = true;
        }
    }
}

/* ---- one ccd, on a worker ---- */

/* Wrong bytes in the copy are not yet wrong bytes in the bundle. */
static enum status decode(struct one *o, struct buf *file)
{
    struct unpack_ccd done;
    enum status st = unpack_image(&o->d->bundles[o->bundle].copy, o->member, file, &done, &o->why);
    if (st == ST_REJECT)
        st = unpack_image(&o->d->bundles[o->bundle].store, o->member, file, &done, &o->why);
    if (st != ST_OK)
        return st;
    o->unproven = done.unproven;
    o->size = (int64_t)file->len;
    memcpy(o->datasum, done.datasum, sizeof o->datasum);
    memcpy(o->checksum, done.checksum, sizeof o->checksum);
    return ST_OK;
}

/* SCRATCH/fits/CCD-HDU/NAME: two ccds may have one name, two bundles the same HDU. Not synced: it is gone in a moment. */
static enum status write_scratch(struct one *o, const struct buf *file)
{
    char folder[PULL_PATH];
    struct fault *why = &o->why;
    int fd = -1;
    enum status st = ST_OK;
    if (!pull_text(folder, sizeof folder, "%s/fits/%d-%d", o->d->scratch.path, o->ccd,
                   o->hdu) ||
        !pull_text(o->fits, sizeof o->fits, "%s/%s", folder, fs_basename(o->file.rel)))
        return fault(why, ST_REJECT, "its path in the scratch is too long");
    if ((mkdir(folder, 0700) != 0 && errno != EEXIST) ||
        (fd = open(o->fits, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0 ||
        fs_write_all(fd, file->data, file->len) != 0)
        st = fault_errno(why, fs_write_grade(errno), "cannot write '%s'", o->fits);
    if (fd >= 0 && close(fd) != 0 && st == ST_OK)
        st = fault_errno(why, fs_write_grade(errno), "cannot write '%s'", o->fits);
    if (st != ST_OK)
        o->trouble = TROUBLE_SCRATCH;
    return st;
}

static void run_one(struct pool_job *job)
{
    struct one *o = (struct one *)job;
    struct buf file = {0};
    enum status st = decode(o, &file);
    if (st == ST_OK)
        st = write_scratch(o, &file);
    if (st == ST_OK) {
        crash_point("task:decoded");
        st = place_write(&o->file, &file, &o->why);
    }
    buf_free(&file);
    if (st == ST_OK)
        st = place_publish(&o->file, &o->why);
    place_drop(&o->file);
    o->placed = st == ST_OK;
    o->why.grade = st;
    o->ran = true;
    if (o->placed)
        crash_point("task:placed");
}

static void one_done(struct pool_job *job)
{
    struct task_decode *d = ((struct one *)job)->d;
    if (--d->pending == 0)
        loop_stop(d->loop);
}

/* ---- the whole ---- */

static void sweep_drafts(const struct task_decode *d, const struct one *o)
{
    char path[PULL_PATH];
    int len = (int)(fs_basename(o->file.rel) - o->file.rel);
    if (pull_text(path, sizeof path, "%s/%.*s", d->root, len, o->file.rel) &&
        access(path, F_OK) == 0)
        fs_sweep_drafts(path);
}

static enum status make_folders(struct task_decode *d, struct fault *why)
{
    static const char *const names[] = {"fits", "work"};
    char path[PULL_PATH];
    enum status st = node_scratch_make(d->base, &d->scratch, why);
    for (int i = 0; st == ST_OK && i < 2; i++)
        if (!pull_text(path, sizeof path, "%s/%s", d->scratch.path, names[i]) ||
            mkdir(path, 0700) != 0)
            st = fault_errno(why, fs_write_grade(errno), "cannot make '%s'", path);
    return st == ST_OK ? ST_OK : blame(d, TROUBLE_SCRATCH, why);
}

enum status task_decode_open(const json_t *order, const char *node, struct task_decode **out,
                             struct fault *why)
{
    struct task_decode *d = calloc(1, sizeof *d);
    *out = d;
    if (!d)
        return fault(why, ST_RETRY, "out of memory");
    d->scratch.lock = -1;
    pull_text(d->node, sizeof d->node, "%s", node);
    enum status st = read_order(d, order, why);
    if (st == ST_OK)
        st = make_folders(d, why);
    if (st != ST_OK)
        return name_them(d, st, why);
    fetch_all(d);
    for (size_t i = 0; i < d->count; i++)
        sweep_drafts(d, &d->ones[i]);
    return ST_OK;
}

enum status task_decode_begin(struct task_decode *d, struct loop *l, struct fault *why)
{
    d->loop = l;
    enum status st = pool_start(d->threads, l, &d->pool, why);
    if (st != ST_OK)
        return name_them(d, st, why);
    d->pending = 1; /* so that the end cannot come before the last one is submitted */
    for (size_t i = 0; i < d->count; i++) {
        struct one *o = &d->ones[i];
        if (o->ran)
            continue;
        o->member = unpack_image_of(&d->bundles[o->bundle].m, o->hdu);
        if (!o->member) {
            fault(&o->why, ST_REJECT, "the bundle '%s' lacks its HDU %d",
                  d->bundles[o->bundle].path, o->hdu);
            o->ran = true;
            continue;
        }
        o->job.run = run_one;
        o->job.done = one_done;
        d->pending++;
        pool_submit(d->pool, &o->job);
    }
    if (--d->pending == 0)
        loop_stop(l);
    return ST_OK;
}

/* The first ccd whose trouble counts most. */
static const struct one *worst(const struct task_decode *d)
{
    static const int weight[] = {[ST_OK] = 0, [ST_REJECT] = 1, [ST_RETRY] = 2, [ST_WAIT] = 3,
                                 [ST_FATAL] = 3};
    const struct one *found = NULL;
    for (size_t i = 0; i < d->count; i++) {
        const struct one *o = &d->ones[i];
        if (o->placed || is_parked(o))
            continue;
        if (!found || weight[o->why.grade] > weight[found->why.grade])
            found = o;
    }
    return found;
}

/* Words of one ccd may begin with the exposure's name, which is put in front of all. */
static const char *without_name(const struct task_decode *d, const char *words)
{
    char name[MEMBER_NAME + 16];
    size_t len = (size_t)snprintf(name, sizeof name, "exposure %s, ", d->exposure);
    return strncmp(words, name, len) == 0 ? words + len : words;
}

enum status task_decode_end(struct task_decode *d, struct fault *why)
{
    bool any = false;
    pool_stop(&d->pool);
    const struct one *bad = worst(d);
    for (size_t i = 0; i < d->count; i++)
        any = any || d->ones[i].placed;
    if (!bad && any)
        return ST_OK;
    if (!bad)
        return fault(why, ST_REJECT, "exposure %s: not one of the job's ccds can be placed: %s",
                     d->exposure, d->count ? d->ones[0].why.text : "it has none");
    if (!bad->ran)
        fault(why, ST_RETRY, "broken off");
    else
        fault(why, bad->why.grade, "%s", without_name(d, bad->why.text));
    blame(d, bad->trouble, why);
    return name_them(d, why->grade, why);
}

static json_t *report_one(const struct one *o)
{
    json_t *to = json_object();
    json_object_set_new(to, "ccd", json_integer(o->ccd));
    json_object_set_new(to, "hdu", json_integer(o->hdu));
    task_set(to, "state", o->placed ? "placed" : is_parked(o) ? "parked" : "waiting");
    if (!o->placed) {
        task_set(to, "reason", o->why.text);
        return to;
    }
    task_set(to, "path", o->file.rel);
    json_object_set_new(to, "size", json_integer(o->size));
    task_set(to, "datasum", o->datasum);
    task_set(to, "checksum", o->checksum);
    task_set(to, "member", o->member->name);
    task_set(to, "codec", o->member->codec);
    json_object_set_new(to, "qstep", json_real(o->member->qstep));
    json_object_set_new(to, "unproven", json_boolean(o->unproven));
    return to;
}

void task_decode_report(const struct task_decode *d, json_t *to)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->count; i++)
        json_array_append_new(list, report_one(&d->ones[i]));
    json_object_set_new(to, "ccds", list);
    json_object_set_new(to, "elsewhere", json_boolean(d->elsewhere));
}

const char *task_decode_scratch(const struct task_decode *d)
{
    return d->scratch.path;
}

static const struct one *find(const struct task_decode *d, int ccd, int hdu)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->ones[i].ccd == ccd && d->ones[i].hdu == hdu)
            return &d->ones[i];
    return NULL;
}

const char *task_decode_fits(const struct task_decode *d, int ccd, int hdu)
{
    const struct one *o = find(d, ccd, hdu);
    return o && o->placed ? o->fits : NULL;
}

bool task_decode_is_parked(const struct task_decode *d, int ccd, int hdu)
{
    const struct one *o = find(d, ccd, hdu);
    return o && is_parked(o);
}

void task_decode_close(struct task_decode **out)
{
    struct task_decode *d = *out;
    if (!d)
        return;
    pool_stop(&d->pool);
    for (size_t i = 0; i < d->bundle_count; i++)
        task_bundle_close(&d->bundles[i]);
    free(d->bundles);
    node_scratch_remove(&d->scratch);
    free(d->ones);
    free(d);
    *out = NULL;
}
