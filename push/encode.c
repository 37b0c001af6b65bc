#include "push/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bundle.h"
#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "push/encode_hdu.h"
#include "push/ledger.h"
#include "push/survey.h"

/* HDUs under way beyond one for each thread: enough that no thread waits for the writer. */
#define AHEAD 2
struct encode {
    struct encode_order o; /* its texts point at the members below */
    char path[4096], bundle_path[4200];
    struct fidelity fidelity;
    struct ledger ledger;
    struct camera camera;

    struct survey survey;
    struct manifest manifest;
    struct bundle_writer *writer;
    size_t items; /* HDUs, and one more for trailing bytes */
    size_t given, written; /* of the items: to the pool, into the bundle */
    struct encode_job **finished; /* [items]: done, not yet written */
    int jobs;      /* with the pool */
    bool digesting, checked;
    bool detached; /* cancelled: only waits for its jobs */
    bool failed;   /* result.why says it */
    int fallback_count;
    struct encode_result result;
};

/* One job of the pool; `what` tells which. */
enum job_kind { JOB_SURVEY, JOB_HDU, JOB_DIGEST, JOB_CHECK };

struct encode_job {
    struct pool_job job; /* first */
    struct encode *owner; /* main thread only */
    enum job_kind kind;
    bool ran;
    enum status grade;
    struct fault why;
    char path[4096];
    struct identity file;
    bool changed;
    struct camera camera; /* JOB_SURVEY */
    struct survey survey;
    int fd;               /* JOB_DIGEST, JOB_CHECK */
    int64_t size;
    char sha256[DIGEST_HEX];
    int64_t cpu_ns;
    size_t item;          /* JOB_HDU */
    struct encode_hdu hdu;
};

static void advance(struct encode *e);

/* ---- on worker threads ---- */

static void run_job(struct pool_job *job)
{
    struct encode_job *j = (struct encode_job *)job;
    int64_t start = clock_thread_cpu();
    j->ran = true;
    switch (j->kind) {
    case JOB_SURVEY:
        j->grade = survey_file(j->path, &j->camera, &j->survey, &j->why);
        j->changed = j->survey.fd >= 0 && !identity_equal(&j->survey.file, &j->file);
        break;
    case JOB_HDU:
        encode_hdu_run(&j->hdu);
        j->grade = j->hdu.grade;
        break;
    case JOB_DIGEST:
        j->grade = digest_fd(j->fd, j->size, j->sha256, &j->why);
        break;
    case JOB_CHECK:
        j->changed = survey_changed(j->fd, j->path, &j->file);
        break;
    }
    j->cpu_ns = clock_thread_cpu() - start;
}

/* ---- the end ---- */

static void free_job(struct encode_job *j)
{
    if (!j)
        return;
    if (j->kind == JOB_SURVEY)
        survey_free(&j->survey);
    if (j->kind == JOB_HDU)
        encode_hdu_free(&j->hdu);
    free(j);
}

static void free_encode(struct encode *e)
{
    for (size_t i = 0; e->finished && i < e->items; i++)
        free_job(e->finished[i]);
    free(e->finished);
    ledger_free(&e->ledger);
    bundle_abandon(&e->writer);
    manifest_free(&e->manifest);
    survey_free(&e->survey);
    free(e);
}

static void fail(struct encode *e, const struct fault *why, bool changed)
{
    if (e->failed)
        return;
    e->failed = true;
    e->result.grade = why->grade;
    e->result.why = *why;
    e->result.changed = changed;
}

static void fail_changed(struct encode *e)
{
    struct fault why;
    fault(&why, ST_WAIT, "the file changed while it was read");
    fail(e, &why, true);
}

/* Jobs still hold pointers and the descriptor: the last one to come back frees. */
static void end(struct encode *e)
{
    struct encode_result r = e->result;
    bool tell = !e->detached;
    if (e->jobs > 0)
        return;
    void *ctx = e->o.ctx;
    void (*ended)(void *, const struct encode_result *) = e->o.ended;
    free_encode(e);
    if (tell)
        ended(ctx, &r);
}

void encode_cancel(struct encode **e)
{
    if (!*e)
        return;
    struct encode *me = *e;
    *e = NULL;
    me->detached = me->failed = true;
    end(me);
}

void encode_urgency(struct encode *e, int urgency)
{
    e->o.urgency = urgency;
    pool_hurry(e->o.pool, e, urgency);
}

/* ---- jobs back on the main thread ---- */

static void take_survey(struct encode *e, struct encode_job *j)
{
    /* A file that vanished, or that is short now, is another version as well. */
    if (j->changed || j->grade == ST_WAIT) {
        fail_changed(e);
        return;
    }
    if (j->grade != ST_OK) {
        fail(e, &j->why, false);
        return;
    }
    e->survey = j->survey;
    memset(&j->survey, 0, sizeof j->survey);
    j->survey.fd = -1;
    bool trailing = e->survey.layout.end < e->survey.layout.size;
    e->items = e->survey.layout.count + (trailing ? 1 : 0);
    e->finished = calloc(e->items, sizeof(struct encode_job *));
    bool ledger = ledger_begin(&e->ledger, &e->fidelity, &e->survey, e->items);
    e->manifest.facts = e->survey.facts;
    e->result.ccds = e->survey.images;
    struct fault why;
    if (!e->finished || !ledger)
        fail(e, (fault(&why, ST_RETRY, "out of memory for %zu HDUs", e->items), &why), false);
    else if (bundle_create(e->bundle_path, e->o.file.mtime_ns, &e->writer, &why) != ST_OK)
        fail(e, &why, false);
}

static void take_digest(struct encode *e, struct encode_job *j)
{
    e->digesting = false;
    if (j->grade == ST_WAIT) {
        fail_changed(e);
    } else if (j->grade != ST_OK) {
        fail(e, &j->why, false);
    } else {
        memcpy(e->result.source_sha256, j->sha256, DIGEST_HEX);
        memcpy(e->manifest.source_sha256, j->sha256, DIGEST_HEX);
    }
}

static void done_job(struct pool_job *job)
{
    struct encode_job *j = (struct encode_job *)job;
    struct encode *e = j->owner;
    bool sourced = false;
    e->jobs--;
    e->result.cpu_ns += j->cpu_ns;
    if (j->kind == JOB_DIGEST)
        e->result.part_ns[PART_DIGEST] += j->cpu_ns;
    for (int i = 0; i < ENCODE_PARTS && j->kind == JOB_HDU; i++)
        e->result.part_ns[i] += j->hdu.cpu_ns[i];
    if (!j->ran && !e->failed) {
        struct fault why;
        fault(&why, ST_RETRY, "the agent stopped while encoding");
        fail(e, &why, false);
    }
    if (!e->failed) {
        switch (j->kind) {
        case JOB_SURVEY:
            take_survey(e, j);
            break;
        case JOB_HDU:
            e->finished[j->item] = j;
            j = NULL;
            break;
        case JOB_DIGEST:
            take_digest(e, j);
            sourced = !e->failed;
            break;
        case JOB_CHECK:
            e->checked = true;
            if (j->changed)
                fail_changed(e);
            break;
        }
    }
    free_job(j);
    if (sourced && e->o.sourced) {
        e->jobs++; /* the callback may cancel us */
        e->o.sourced(e->o.ctx, e->result.source_sha256);
        e->jobs--;
    }
    advance(e);
}

static struct encode_job *new_job(struct encode *e, enum job_kind kind)
{
    struct encode_job *j = calloc(1, sizeof *j);
    if (!j) {
        struct fault why;
        fault(&why, ST_RETRY, "out of memory while encoding");
        fail(e, &why, false);
        return NULL;
    }
    j->job.run = run_job;
    j->job.done = done_job;
    j->job.urgency = e->o.urgency;
    j->job.group = e;
    j->owner = e;
    j->kind = kind;
    j->fd = -1;
    j->survey.fd = -1;
    j->file = e->o.file;
    memcpy(j->path, e->path, sizeof j->path);
    return j;
}

static void submit(struct encode *e, struct encode_job *j)
{
    e->jobs++;
    pool_submit(e->o.pool, &j->job);
}

/* ---- giving HDUs out ---- */

static void give_hdu(struct encode *e)
{
    struct encode_job *j = new_job(e, JOB_HDU);
    if (!j)
        return;
    struct encode_hdu *h = &j->hdu;
    j->item = e->given++;
    h->fd = e->survey.fd;
    if (j->item < e->survey.layout.count) {
        h->hdu = e->survey.layout.hdu[j->item];
        h->ccd = e->survey.ccd[j->item];
    } else {
        h->hdu = (struct fits_hdu){.index = -1, .head = e->survey.layout.end,
                                   .data = e->survey.layout.end, .end = e->survey.layout.size};
    }
    memcpy(h->root, e->manifest.name, sizeof h->root);
    h->fidelity = e->fidelity;
    h->camera = &e->camera;
    if (j->item < e->survey.layout.count && e->survey.ccd[j->item] > 0)
        h->rung = ledger_rung(&e->ledger, j->item, &h->hdu);
    submit(e, j);
}

/* Hashing the whole file keeps one thread busy for a fraction of a second, while the others
 * encode the first ccds. It comes first: every delivered file's header names the source's digest,
 * so that nothing can be made of a bundle's front without it. */
static void give_digest(struct encode *e)
{
    struct encode_job *j = new_job(e, JOB_DIGEST);
    if (!j)
        return;
    j->fd = e->survey.fd;
    j->size = e->o.file.size;
    e->digesting = true;
    submit(e, j);
}

static void give_out(struct encode *e)
{
    size_t most = (size_t)pool_threads(e->o.pool) + AHEAD;
    most = most < LEDGER_LAG ? most : LEDGER_LAG;
    while (!e->failed && e->given < e->items && e->given - e->written < most) {
        if (e->given == 0)
            give_digest(e);
        if (!e->failed)
            give_hdu(e);
    }
}

/* ---- writing the bundle ---- */

static void note_fallback(struct encode *e, const struct encode_hdu *h)
{
    const struct member *m = &h->member[h->count - 1];
    if (!h->fell_back)
        return;
    e->result.unmet |= h->note.grade != ST_OK;
    if (e->fallback_count++ == 0 && h->note.grade != ST_OK)
        snprintf(e->result.fallbacks, sizeof e->result.fallbacks, "HDU %d: %.150s", m->hdu,
                 h->note.text);
    else if (e->fallback_count == 1)
        snprintf(e->result.fallbacks, sizeof e->result.fallbacks, "HDU %d (EXTNAME %s) as %s",
                 m->hdu, m->extname[0] ? m->extname : "missing", m->codec);
}

static void write_item(struct encode *e, struct encode_job *j)
{
    struct encode_hdu *h = &j->hdu;
    struct fault why;
    if (j->grade == ST_WAIT) {
        fail_changed(e);
        return;
    }
    if (j->grade != ST_OK) {
        /* A writer that is still at it leaves half-written HDUs behind: then it is no fault. */
        fail(e, &h->why, survey_changed(e->survey.fd, e->path, &e->o.file));
        return;
    }
    int64_t before = bundle_size(e->writer);
    note_fallback(e, h);
    for (int i = 0; i < h->count; i++) {
        const struct member *m = &h->member[i];
        if (bundle_add_member(e->writer, &e->manifest, m, h->bytes[i].data, &why) != ST_OK ||
            (!manifest_add(&e->manifest, m) &&
             fault(&why, ST_RETRY, "out of memory for the manifest") != ST_OK)) {
            fail(e, &why, false);
            return;
        }
        e->result.raw_bytes += m->role == MEMBER_EXACT ? 0 : m->raw_size;
    }
    ledger_wrote(&e->ledger, j->item, h->rung, &h->hdu, bundle_size(e->writer) - before);
}

static void write_finished(struct encode *e)
{
    size_t before = e->written;
    /* The first member tells of the source file. */
    while (!e->failed && !e->digesting && e->written < e->given && e->finished[e->written]) {
        struct encode_job *j = e->finished[e->written];
        write_item(e, j);
        e->finished[e->written] = NULL;
        free_job(j);
        e->written++;
    }
    if (e->written == before || e->failed)
        return;
    crash_point("push:encoding");
    e->jobs++; /* the callback may cancel us */
    e->o.grown(e->o.ctx, bundle_size(e->writer));
    e->jobs--;
}

static enum status write_manifest(struct encode *e, struct fault *why)
{
    struct buf text = {0};
    char sha256[DIGEST_HEX];
    enum status st = ST_OK;
    if (!manifest_write(&e->manifest, &text))
        st = fault(why, ST_RETRY, "out of memory for the manifest");
    if (st == ST_OK) {
        digest_bytes(text.data, text.len, sha256);
        st = bundle_add(e->writer, MANIFEST_NAME, text.data, text.len, sha256, why);
    }
    if (st == ST_OK)
        st = bundle_finish(&e->writer, e->result.bundle_sha256, &e->result.bundle_size, why);
    buf_free(&text);
    return st;
}

static void finish(struct encode *e)
{
    struct fault why = {.grade = ST_OK};
    if (!e->checked) {
        struct encode_job *j = new_job(e, JOB_CHECK);
        if (!j)
            return;
        j->fd = e->survey.fd;
        submit(e, j);
        return;
    }
    e->result.exact = manifest_is_exact(&e->manifest);
    if (write_manifest(e, &why) != ST_OK)
        fail(e, &why, false);
    e->result.pace = ledger_end(&e->ledger, e->items);
    size_t used = strlen(e->result.fallbacks);
    if (e->fallback_count > 1)
        snprintf(e->result.fallbacks + used, sizeof e->result.fallbacks - used, " and %d more",
                 e->fallback_count - 1);
}

static void advance(struct encode *e)
{
    bool ended = false;
    if (!e->failed && e->finished)
        write_finished(e);
    if (!e->failed && e->finished)
        give_out(e);
    if (!e->failed && e->finished && e->written == e->items && !e->digesting && e->jobs == 0) {
        finish(e);
        ended = e->jobs == 0;
    }
    if (e->failed || ended)
        end(e);
}

/* ---- the start ---- */

static void fill_manifest(struct encode *e)
{
    struct manifest *m = &e->manifest;
    m->format = MANIFEST_FORMAT;
    snprintf(m->software, sizeof m->software, "skyferry %s", SKYFERRY_VERSION);
    snprintf(m->name, sizeof m->name, "%s", e->o.name);
    snprintf(m->source_name, sizeof m->source_name, "%s", fs_basename(e->path));
    m->visit = e->o.visit;
    m->source_size = e->o.file.size;
    m->source_mtime_ns = e->o.file.mtime_ns;
}

enum status encode_start(const struct encode_order *o, struct encode **out, struct fault *why)
{
    *out = NULL;
    struct encode *e = calloc(1, sizeof *e);
    if (!e)
        return fault(why, ST_RETRY, "out of memory for an encoding");
    e->o = *o;
    e->survey.fd = -1;
    snprintf(e->path, sizeof e->path, "%s", o->path);
    snprintf(e->bundle_path, sizeof e->bundle_path, "%s", o->bundle_path);
    e->fidelity = *o->codec;
    e->camera = *o->camera;
    fill_manifest(e);
    e->o.path = e->path;
    e->o.bundle_path = e->bundle_path;
    e->o.name = e->manifest.name;
    e->o.codec = &e->fidelity;
    e->o.camera = &e->camera;
    struct encode_job *j = new_job(e, JOB_SURVEY);
    if (!j) {
        *why = e->result.why;
        free_encode(e);
        return why->grade;
    }
    j->camera = e->camera;
    submit(e, j);
    *out = e;
    return ST_OK;
}
