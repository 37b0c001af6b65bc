#include "push/transit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"

struct verify;

struct transit {
    struct transit_order o;
    struct exposure e;
    struct camera camera;
    struct fidelity codec;
    char bundle[4200];
    struct encode *encode;     /* while it runs */
    struct verify *verify;     /* likewise */
    struct shipment *shipment; /* from the bundle's first bytes on */
    bool held;                 /* a receipt came before the bundle was finished */
    struct receipt receipt;
    bool refused;              /* likewise a refusal that may pass */
    struct fault why;
    int64_t start_mono;
};

/* Is the bundle of before the restart still what the journal says? A job of the pool. */
struct verify {
    struct pool_job job; /* first */
    struct transit *owner; /* main thread only; NULL: dropped */
    char path[4200], sha256[DIGEST_HEX];
    int64_t size;
    bool ran, whole;
};

static double seconds_since(int64_t mono)
{
    return (double)(clock_mono() - mono) / NS_PER_S;
}

/* ---- the end ---- */

static void let_go(struct transit *t, bool abort)
{
    encode_cancel(&t->encode);
    if (t->verify)
        t->verify->owner = NULL;
    ship_drop(&t->shipment, abort);
    if (t->e.bundle_sha256[0] == '\0' || abort)
        unlink(t->bundle);
}

void transit_drop(struct transit **t)
{
    if (!*t)
        return;
    let_go(*t, false);
    free(*t);
    *t = NULL;
}

static void end(struct transit *t, const struct fault *why, bool changed)
{
    struct fault copy = *why;
    let_go(t, changed || why->grade == ST_REJECT);
    t->o.ended(t->o.ctx, t, &t->e, &copy, changed);
    free(t);
}

bool transit_receipt_fits(const struct exposure *e, const struct receipt *r)
{
    if (e->exact && !r->exact)
        return false;
    bool same_bundle = e->bundle_sha256[0] && strcmp(r->sha256, e->bundle_sha256) == 0 &&
                       r->size == e->bundle_size;
    bool same_source = e->source_sha256[0] && strcmp(r->source_sha256, e->source_sha256) == 0 &&
                       r->source_size == e->file.size;
    return same_bundle || same_source;
}

static void stored(struct transit *t)
{
    const struct fault ok = {.grade = ST_OK};
    struct shipment_state s = {0};
    if (t->shipment)
        ship_state(t->shipment, &s);
    t->e.sent_bytes += s.sent_bytes;
    t->e.stamp[STAMP_FIRST] = s.first_ns;
    t->e.stamp[STAMP_LAST] = s.last_ns;
    t->e.stamp[STAMP_STORED] = clock_wall();
    snprintf(t->e.stored_as, sizeof t->e.stored_as, "%s", t->receipt.stored);
    /* An answer about what was stored before tells itself how exact that is. */
    if (!t->e.bundle_sha256[0] || strcmp(t->receipt.sha256, t->e.bundle_sha256) != 0)
        t->e.fidelity = t->receipt.exact ? DELIVERED_EXACT : DELIVERED_LOSSY;
    const char *what = t->e.exact ? "exact data " : "";
    double wire_s = (double)(s.last_ns - s.first_ns) / NS_PER_S;
    if (s.sent_bytes > 0 && wire_s > 0)
        log_info(AT(.stage = "ship", .exposure = t->e.name),
                 "%sstored as %s, %.1f s after it was noticed: %.1f MB in %.1f s (%.0f Mbit/s)",
                 what, t->receipt.stored,
                 (double)(t->e.stamp[STAMP_STORED] - t->e.stamp[STAMP_NOTICED]) / NS_PER_S,
                 (double)s.sent_bytes / 1e6, wire_s, (double)s.sent_bytes * 8e-6 / wire_s);
    else
        log_info(AT(.stage = "ship", .exposure = t->e.name), "%sstored already as %s",
                 what, t->receipt.stored);
    end(t, &ok, false);
}

static void wrong_receipt(struct transit *t)
{
    struct fault why;
    if (t->e.exact && !t->receipt.exact)
        fault(&why, ST_RETRY, "the far end took the exact data for the lossy ones that it holds");
    else
        fault(&why, ST_RETRY,
              "the far end's receipt is for other bytes (its %.16s..., ours %.16s...); sends again",
              t->receipt.sha256, t->e.bundle_sha256);
    end(t, &why, false);
}

/* ---- what the shipment says ---- */

static void on_received(void *ctx, const struct receipt *r)
{
    struct transit *t = ctx;
    t->receipt = *r;
    t->held = true;
    if (transit_receipt_fits(&t->e, r))
        stored(t);
    else if (!t->encode)
        wrong_receipt(t);
}

static void on_refused(void *ctx, const struct fault *why)
{
    struct transit *t = ctx;
    struct fault graded = *why;
    /* What stops the far end's agent is no fault of this exposure. */
    if (graded.grade == ST_FATAL || graded.grade == ST_OK)
        graded.grade = ST_WAIT;
    fault_within(&graded, "far end: ");
    if (t->encode && graded.grade != ST_REJECT) {
        /* The bundle is worth finishing: it is sent when the far end can take it. */
        t->why = graded;
        t->refused = true;
        return;
    }
    end(t, &graded, false);
}

static bool add_shipment(struct transit *t)
{
    struct fault why;
    struct shipment_order o = {.number = t->o.number, .urgency = t->o.urgency,
                               .background = t->e.exact,
                               .path = t->bundle, .ctx = t, .received = on_received,
                               .refused = on_refused};
    memcpy(o.open.id, t->e.bundle_id, sizeof o.open.id);
    memcpy(o.open.name, t->e.name, sizeof o.open.name);
    snprintf(o.open.date_obs, sizeof o.open.date_obs, "%s", t->e.facts.date_obs);
    o.open.mtime_ns = t->e.file.mtime_ns;
    o.open.resume = t->o.resume;
    o.open.exact = t->e.exact;
    if (ship_add(t->o.ship, &o, &t->shipment, &why) == ST_OK) {
        t->o.flows(t->o.ctx);
        return true;
    }
    end(t, &why, false);
    return false;
}

static void finish_shipment(struct transit *t)
{
    struct wire_commit c = {.size = t->e.bundle_size, .source_size = t->e.file.size,
                            .noticed_ns = t->e.stamp[STAMP_NOTICED],
                            .encoded_ns = t->e.stamp[STAMP_ENCODED],
                            .exact = t->e.fidelity == DELIVERED_EXACT};
    memcpy(c.sha256, t->e.bundle_sha256, sizeof c.sha256);
    memcpy(c.source_sha256, t->e.source_sha256, sizeof c.source_sha256);
    snprintf(c.source_name, sizeof c.source_name, "%s", fs_basename(t->e.path));
    ship_finish(t->shipment, &c);
    t->o.flows(t->o.ctx);
}

/* ---- what the encoding says ---- */

static void on_grown(void *ctx, int64_t size)
{
    struct transit *t = ctx;
    if (t->shipment || add_shipment(t))
        ship_grow(t->shipment, size);
}

static void on_sourced(void *ctx, const char *sha256)
{
    struct transit *t = ctx;
    memcpy(t->e.source_sha256, sha256, DIGEST_HEX);
    if (t->held && transit_receipt_fits(&t->e, &t->receipt))
        stored(t);
}

static double seconds(int64_t ns)
{
    return (double)ns / NS_PER_S;
}

static void log_encoded(const struct transit *t, const struct encode_result *r)
{
    struct log_at at = {.stage = "encode", .exposure = t->e.name};
    log_info(&at, "%d ccds, %.1f MB in a file of %.1f MB, to %.1f MB (%.1f:1) with %s in %.1f s, "
             "CPU %.1f s (read %.1f, tiles %.1f, noise %.1f, codec %.1f, proof %.1f, digests %.1f)",
             r->ccds, (double)r->raw_bytes / 1e6, (double)t->e.file.size / 1e6,
             (double)r->bundle_size / 1e6, (double)r->raw_bytes / (double)r->bundle_size, t->codec.method,
             seconds_since(t->start_mono), seconds(r->cpu_ns), seconds(r->part_ns[PART_READ]),
             seconds(r->part_ns[PART_TILES]), seconds(r->part_ns[PART_NOISE]),
             seconds(r->part_ns[PART_ENCODE]), seconds(r->part_ns[PART_PROOF]),
             seconds(r->part_ns[PART_DIGEST]));
    if (r->fallbacks[0])
        log_write(r->unmet ? LOG_WARN : LOG_INFO, &at,
                 "%s cannot carry everything as asked; sent without loss: %s", t->codec.method,
                 r->fallbacks);
}

static void on_encoded(void *ctx, const struct encode_result *r)
{
    struct transit *t = ctx;
    t->encode = NULL;
    if (r->grade != ST_OK) {
        end(t, &r->why, r->changed);
        return;
    }
    if (t->e.exact && !r->exact) {
        struct fault why;
        fault(&why, ST_REJECT, "%s cannot carry all of it exactly", t->codec.method);
        end(t, &why, false);
        return;
    }
    t->e.fidelity = r->exact ? DELIVERED_EXACT : DELIVERED_LOSSY;
    t->e.ccds = r->ccds;
    t->e.bundle_size = r->bundle_size;
    memcpy(t->e.bundle_sha256, r->bundle_sha256, DIGEST_HEX);
    memcpy(t->e.source_sha256, r->source_sha256, DIGEST_HEX);
    t->e.stamp[STAMP_ENCODED] = clock_wall();
    log_encoded(t, r);
    t->o.learned(t->o.ctx, &t->e, r);
    if (t->o.save(t->o.ctx, &t->e) != ST_OK)
        return;
    crash_point("push:encoded");
    if (t->held && transit_receipt_fits(&t->e, &t->receipt))
        stored(t);
    else if (t->held)
        wrong_receipt(t);
    else if (t->refused)
        end(t, &t->why, false);
    else
        finish_shipment(t);
}

static enum status start_encoding(struct transit *t, struct fault *why)
{
    struct encode_order o = {.path = t->e.path, .name = t->e.name, .bundle_path = t->bundle,
                             .file = t->e.file, .camera = &t->camera, .codec = &t->codec,
                             .pool = t->o.pool, .urgency = t->o.urgency, .ctx = t,
                             .grown = on_grown, .sourced = on_sourced, .ended = on_encoded};
    exposure_visit(&t->e, &t->camera, &o.visit);
    t->e.bundle_size = 0;
    t->e.bundle_sha256[0] = '\0';
    t->start_mono = clock_mono();
    return encode_start(&o, &t->encode, why);
}

/* ---- a bundle of before ---- */

static void run_verify(struct pool_job *job)
{
    struct verify *v = (struct verify *)job;
    char sha256[DIGEST_HEX];
    struct stat st;
    int fd = open(v->path, O_RDONLY | O_CLOEXEC);
    v->ran = true;
    if (fd < 0)
        return;
    v->whole = fstat(fd, &st) == 0 && st.st_size == v->size &&
               digest_fd(fd, -1, sha256, NULL) == ST_OK && strcmp(sha256, v->sha256) == 0;
    close(fd);
}

static void done_verify(struct pool_job *job)
{
    struct verify *v = (struct verify *)job;
    struct transit *t = v->owner;
    bool whole = v->whole, ran = v->ran;
    struct fault why;
    free(v);
    if (!t)
        return;
    t->verify = NULL;
    if (!ran)
        return; /* the pool stops, and whoever owns us knows */
    if (!whole) {
        if (start_encoding(t, &why) != ST_OK)
            end(t, &why, false);
    } else if (add_shipment(t)) {
        finish_shipment(t);
    }
}

static enum status start_verifying(struct transit *t, struct fault *why)
{
    struct verify *v = calloc(1, sizeof *v);
    if (!v)
        return fault(why, ST_RETRY, "out of memory to look at a bundle");
    v->job.run = run_verify;
    v->job.done = done_verify;
    v->job.urgency = t->o.urgency;
    v->job.group = t;
    v->owner = t;
    memcpy(v->path, t->bundle, sizeof v->path);
    memcpy(v->sha256, t->e.bundle_sha256, sizeof v->sha256);
    v->size = t->e.bundle_size;
    t->verify = v;
    pool_submit(t->o.pool, &v->job);
    return ST_OK;
}

/* ---- the start ---- */

enum status transit_start(const struct transit_order *o, struct transit **out, struct fault *why)
{
    *out = NULL;
    struct transit *t = calloc(1, sizeof *t);
    if (!t)
        return fault(why, ST_RETRY, "out of memory for an exposure under way");
    t->o = *o;
    t->e = *o->e;
    t->camera = *o->camera;
    t->codec = *o->codec;
    spool_bundle(o->spool, &t->e, t->bundle);
    enum status st = t->e.bundle_sha256[0] ? start_verifying(t, why) : start_encoding(t, why);
    if (st != ST_OK) {
        free(t);
        return st;
    }
    *out = t;
    return ST_OK;
}

void transit_urgency(struct transit *t, int urgency)
{
    if (t->o.urgency == urgency)
        return;
    t->o.urgency = urgency;
    if (t->encode)
        encode_urgency(t->encode, urgency);
    if (t->verify)
        pool_hurry(t->o.pool, t, urgency);
    if (t->shipment)
        ship_urgency(t->shipment, urgency);
}

int64_t transit_exposure(const struct transit *t)
{
    return t->e.id;
}

const char *transit_group(const struct transit *t)
{
    return t->e.group;
}

int transit_ccd(const struct transit *t)
{
    return t->e.group_ccd;
}

int64_t transit_bundle_bytes(const struct transit *t)
{
    return t->e.bundle_sha256[0] ? t->e.bundle_size : 0;
}

bool transit_flowing(const struct transit *t)
{
    return t->shipment != NULL;
}

bool transit_drained(const struct transit *t)
{
    struct shipment_state s;
    transit_state(t, &s);
    return t->e.bundle_sha256[0] && s.given_bytes >= t->e.bundle_size;
}

bool transit_is_exact(const struct transit *t)
{
    return t->e.exact;
}

void transit_state(const struct transit *t, struct shipment_state *out)
{
    memset(out, 0, sizeof *out);
    if (t->shipment)
        ship_state(t->shipment, out);
}
