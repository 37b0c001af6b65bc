#include "pull/fanout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/copying.h"
#include "pull/decoding.h"
#include "pull/defer.h"
#include "pull/early.h"
#include "pull/flow.h"
#include "pull/making.h"
#include "pull/placing.h"
#include "pull/renew.h"
#include "pull/retire.h"
#include "pull/visit.h"

/* Named only after so many drafts: it bounds the descriptors, and the disk works meanwhile. */
#define DRAFTS 96

/* One exposure's step. Main thread; while pool jobs are out, they read `source`. */
struct fanout {
    struct agent *a;
    struct flight *f;
    char bundle[PULL_PATH];
    char claim[1024];    /* its ccds' names, but for the ccd: see is_claimed */
    bool waiting;        /* for another exposure that claims the same */
    int fd;
    struct manifest m;
    struct fits_header primary;
    struct unpack_source source;
    struct ccd *ccds;
    size_t count;
    int pending;         /* pool jobs out */
    int drafts;          /* of these: written, not named */
    int unproven;        /* ccds, see struct unpack_ccd */
    bool cut;            /* the pool is stopping, or its row is gone: nothing more is begun */
    struct fault worst;  /* of what concerns the whole exposure */
    int64_t began, cpu;  /* ns */
    int64_t part[UNPACK_PARTS]; /* of cpu */
    struct decoding_tally tally;
};

/* The bundle's index. */
struct index_job {
    struct pool_job job;
    struct fanout *w;
    bool ran;
    struct fault why;
};

/* One ccd's way through both halves. */
struct ccd_job {
    struct pool_job job;
    struct fanout *w;
    size_t index; /* in w->ccds */
    struct making m;
    bool ran, named;
};

static void finish(struct fanout *w);

/* ---- the end ---- */

static enum status record(struct agent *a, struct flight *f, struct fault *why)
{
    struct fanout *w = f->work;
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < w->count; i++) {
        st = catalogue_put_ccd(a->cat, &w->ccds[i], why);
        if (st == ST_OK)
            st = copying_gave_way(&a->s, a->cat, &f->x, &w->ccds[i], why);
    }
    return st;
}

/* Together with the exposure's new state. */
static enum status record_end(struct agent *a, struct flight *f, struct fault *why)
{
    struct fanout *w = f->work;
    defer_stamp(&f->x, w->ccds, w->count);
    return renew_end(a, &f->x, w->ccds, w->count, why) == ST_OK ? record(a, f, why) : why->grade;
}

static void fanout_free(struct fanout *w)
{
    if (w->fd >= 0)
        close(w->fd);
    manifest_free(&w->m);
    fits_header_free(&w->primary);
    free(w->ccds);
    free(w);
}

static void say_placed(const struct fanout *w)
{
    size_t parked = 0, placed = 0;
    for (size_t i = 0; i < w->count; i++) {
        parked += w->ccds[i].state == CCD_PARKED;
        placed += w->ccds[i].state == CCD_PLACED;
    }
    int64_t writing = w->cpu - w->part[PART_READ] - w->part[PART_DECODE] - w->part[PART_FILE];
    log_info(AT(.stage = "placed", .exposure = w->f->x.name),
             "%zu of %zu ccds %s%s in %.1f s, CPU %.1f s (read %.1f, codec %.1f, files %.1f, "
             "writing %.1f)", placed, w->count,
             w->f->x.exact == EXACT_COMING ? "exact" : "placed",
             parked ? " (the others are parked)" : "", (clock_mono() - w->began) / 1e9,
             w->cpu / 1e9, w->part[PART_READ] / 1e9, w->part[PART_DECODE] / 1e9,
             w->part[PART_FILE] / 1e9, writing / 1e9);
    if (w->unproven > 0)
        log_warn(AT(.stage = "placed", .exposure = w->f->x.name), "%d ccds " UNPACK_UNPROVEN,
                 w->unproven);
}

/* What is placed is kept also when the agent stops before the rest is. */
static void keep_part(struct fanout *w)
{
    struct agent *a = w->a;
    struct fault why;
    bool ok = w->count == 0 || catalogue_begin(a->cat, &why) == ST_OK;
    if (w->count > 0 && ok && record(a, w->f, &why) == ST_OK)
        catalogue_commit(a->cat, &why);
    else if (w->count > 0 && ok)
        catalogue_rollback(a->cat);
    flow_dropped(a, w->f);
}

static bool is_claimed(const struct fanout *w);
static void go_on(struct fanout *w);

bool fanout_claims(const struct agent *a, const char *claim)
{
    for (const struct flight *f = a->flights; f; f = f->next) {
        const struct fanout *w = f->work;
        if (f->x.state == EX_STORED && w && strcmp(w->claim, claim) == 0)
            return true;
    }
    return false;
}

void fanout_next(struct agent *a)
{
    for (struct flight *f = a->flights; f; f = f->next) {
        struct fanout *w = f->work;
        if (f->x.state != EX_STORED || !w || !w->waiting || is_claimed(w))
            continue;
        w->waiting = false;
        w->cut = a->stopping;
        (w->cut ? finish : go_on)(w);
        return; /* it calls here again when it ends */
    }
}

static void finish(struct fanout *w)
{
    if (w->cut) {
        keep_part(w);
    } else {
        if (w->worst.grade == ST_OK && !defer_is_due(w->a, &w->f->x))
            say_placed(w);
        decoding_note(w->a->s.state, pool_threads(w->a->pool), &w->tally);
        w->f->record = record_end;
        flow_ended(w->a, w->f, w->worst.grade, &w->worst);
    }
    struct agent *a = w->a;
    fanout_free(w);
    fanout_next(a);
}

/* Nothing of it is placed, or can be. */
static void give_up(struct fanout *w, const struct fault *why)
{
    w->count = 0;
    w->worst = *why;
    finish(w);
}

static void note_fault(struct fanout *w, const struct fault *why)
{
    static const int weight[] = {[ST_OK] = 0, [ST_REJECT] = 1, [ST_RETRY] = 2, [ST_WAIT] = 3,
                                 [ST_FATAL] = 4};
    if (weight[why->grade] > weight[w->worst.grade])
        w->worst = *why;
}

/* ---- one ccd ---- */

static void run_draft(struct pool_job *job)
{
    struct ccd_job *j = (struct ccd_job *)job;
    making_draft(&j->m);
    j->ran = true;
}

static void run_name(struct pool_job *job)
{
    struct ccd_job *j = (struct ccd_job *)job;
    making_name(&j->m);
    j->named = j->ran = true;
}

static void settle_ccd(struct ccd_job *j)
{
    struct fanout *w = j->w;
    struct ccd *c = &w->ccds[j->index];
    enum status grade = j->m.why.grade;
    c->reason[0] = '\0';
    if (grade == ST_OK) {
        c->state = CCD_PLACED;
        w->unproven += j->m.unproven;
        c->size = j->m.size;
        placing_member(c, j->m.member);
        decoding_count(&w->tally, j->m.member->codec, j->m.cpu, j->m.size, j->m.member->size);
        c->placed_ns = clock_wall();
        snprintf(c->path, sizeof c->path, "%s", j->m.file.rel);
        memcpy(c->datasum, j->m.datasum, sizeof c->datasum);
        memcpy(c->checksum, j->m.checksum, sizeof c->checksum);
        return;
    }
    snprintf(c->reason, sizeof c->reason, "%s", j->m.why.text);
    if (grade == ST_REJECT || (grade == ST_RETRY && flow_last_attempt(&w->f->x))) {
        c->state = CCD_PARKED;
        log_error(AT(.stage = "unpack", .exposure = w->f->x.name, .ccd = c->ccd),
                  "parked: %s", c->reason);
        return;
    }
    fault_within(&j->m.why, "ccd %d: ", c->ccd);
    note_fault(w, &j->m.why);
}

static void ccd_done(struct pool_job *job)
{
    struct ccd_job *j = (struct ccd_job *)job;
    struct fanout *w = j->w;
    bool drafted = j->ran && !j->named && j->m.why.grade == ST_OK;
    if (drafted && !w->cut) {
        j->ran = false;
        job->run = run_name;
        job->urgency = ++w->drafts > DRAFTS ? URGE_NAME_NOW : URGE_NAME_LATER;
        pool_submit(w->a->pool, job);
        return;
    }
    if (job->run == run_name)
        w->drafts--;
    if (!j->ran || drafted)
        w->cut = true;
    else
        settle_ccd(j);
    w->cpu += j->m.cpu;
    for (int i = 0; i < UNPACK_PARTS; i++)
        w->part[i] += j->m.part[i];
    if (j->named && j->m.why.grade == ST_OK)
        crash_point(w->f->x.exact == EXACT_COMING ? "pull:exactplacing" : "pull:placing");
    place_drop(&j->m.file);
    free(j);
    if (--w->pending == 0)
        finish(w);
}

static enum status submit_ccd(struct fanout *w, size_t index, struct fault *why)
{
    struct ccd_job *j = calloc(1, sizeof *j);
    if (!j)
        return fault(why, ST_RETRY, "out of memory");
    j->job = (struct pool_job){.run = run_draft, .done = ccd_done, .urgency = URGE_DRAFT};
    j->w = w;
    j->index = index;
    j->m.source = &w->source;
    j->m.member = unpack_image_of(&w->m, w->ccds[index].hdu);
    w->pending++;
    const struct exposure *x = &w->f->x;
    if (placing_file(&w->a->s, x, &w->ccds[index], &j->m.file, &j->m.why) != ST_OK ||
        copying_give_way(&w->a->s, w->a->cat, x, &j->m.file, &j->m.why) != ST_OK) {
        j->ran = j->named = true;
        ccd_done(&j->job);
        return ST_OK;
    }
    pool_submit(w->a->pool, &j->job);
    return ST_OK;
}

/* ---- the index ---- */

/* One bundle that is gone will not come back by waiting; a disk that is not mounted will. */
static enum status missing_grade(int err, const struct fanout *w)
{
    char bundles[PULL_PATH];
    pull_path(&w->a->s, "bundles", bundles);
    if (err == ENOENT)
        return access(bundles, R_OK | X_OK) == 0 ? ST_REJECT : ST_WAIT;
    return ST_RETRY;
}

static void run_index(struct pool_job *job)
{
    struct index_job *j = (struct index_job *)job;
    struct fanout *w = j->w;
    enum status st;
    w->fd = open(w->bundle, O_RDONLY | O_CLOEXEC);
    if (w->fd < 0)
        st = fault_errno(&j->why, missing_grade(errno, w),
                         "cannot open the bundle '%s'", w->bundle);
    else
        st = bundle_index(w->fd, &w->m, &j->why);
    if (st == ST_OK)
        st = unpack_primary(w->fd, &w->m, &w->primary, &j->why);
    j->why.grade = st;
    j->ran = true;
}

static bool has_ccd(const struct ccd *ccds, size_t count, int hdu)
{
    for (size_t i = 0; i < count; i++)
        if (ccds[i].hdu == hdu)
            return true;
    return false;
}

/* Rows that an earlier attempt wrote are kept; the manifest's other images get theirs. */
static enum status join_ccds(struct fanout *w, struct fault *why)
{
    struct ccd *old = NULL;
    size_t known = 0;
    enum status st = catalogue_ccds(w->a->cat, w->f->x.id, &old, &known, why);
    if (st != ST_OK)
        return st;
    struct ccd *all = realloc(old, (known + w->m.count + 1) * sizeof *all);
    if (!all) {
        free(old);
        return fault(why, ST_RETRY, "out of memory for %zu ccds", known + w->m.count);
    }
    w->ccds = all;
    w->count = known;
    for (size_t i = 0; i < w->m.count; i++) {
        const struct member *m = &w->m.members[i];
        if (m->role == MEMBER_IMAGE && !has_ccd(all, known, m->hdu))
            placing_ccd(&all[w->count++], &w->f->x, m);
    }
    return ST_OK;
}

static void take_facts(struct fanout *w)
{
    struct exposure *x = &w->f->x;
    x->facts = w->m.facts;
    x->visit_ccd = w->m.visit.ccd;
    char night[NIGHT_SIZE];
    placing_night(&w->a->s, &x->facts, x->night, night);
    memcpy(x->night, night, sizeof night);
    if (x->facts.date_ns == INT64_MIN && !w->a->s.run_date[0])
        log_warn(AT(.stage = "place", .exposure = x->name),
                 "DATE-OBS is missing or unreadable ('%s'): the night %s is taken from the file's "
                 "time", x->facts.date_obs, x->night);
    if (x->facts.expnum < 0)
        log_warn(AT(.stage = "place", .exposure = x->name), "the exposure number is missing: the "
                 "file's name stands in for it");
    snprintf(x->source_name, sizeof x->source_name, "%s", w->m.source_name);
    memcpy(x->source_sha256, w->m.source_sha256, sizeof x->source_sha256);
    x->source_size = w->m.source_size;
    x->raw_size = unpack_raw_size(&w->m);
    x->stamp[STAMP_CLOSED] = w->m.source_mtime_ns;
    if (x->exact != EXACT_COMING)
        x->exact = manifest_is_exact(&w->m) ? EXACT_YES : EXACT_NO;
}

/* Two exposures that claim the same names (the same EXPNUM, or none) must not share them out
 * between them: the second waits until the first has all of its own. */
static bool is_claimed(const struct fanout *w)
{
    for (const struct flight *f = w->a->flights; f; f = f->next) {
        const struct fanout *other = f->work;
        if (f != w->f && f->x.state == EX_STORED && other && !other->waiting &&
            strcmp(other->claim, w->claim) == 0)
            return true;
    }
    return early_blocks(w->a, &w->f->x, w->claim);
}

static enum status write_index(struct fanout *w, struct fault *why)
{
    enum status st = catalogue_begin(w->a->cat, why);
    if (st != ST_OK)
        return st;
    st = visit_join(w->a->cat, &w->f->x, &w->m.visit, why);
    if (st == ST_OK)
        st = catalogue_save(w->a->cat, &w->f->x, why);
    if (st == ST_OK)
        st = record(w->a, w->f, why);
    if (st == ST_OK)
        st = catalogue_count(w->a->cat, w->f->x.id, why);
    if (st == ST_OK)
        return catalogue_commit(w->a->cat, why);
    catalogue_rollback(w->a->cat);
    return st;
}

static void begin_ccds(struct fanout *w)
{
    struct fault why;
    w->source = (struct unpack_source){w->fd, &w->m, &w->primary};
    w->pending++; /* so that the end cannot come before the last one is submitted */
    for (size_t i = 0; i < w->count; i++) {
        struct ccd *c = &w->ccds[i];
        if (!defer_takes(w->a, &w->f->x, c) &&
            renew_wants(&w->f->x, c, unpack_image_of(&w->m, c->hdu)) &&
            submit_ccd(w, i, &why) != ST_OK)
            note_fault(w, &why);
    }
    if (--w->pending == 0)
        finish(w);
}

/* The index is read and nobody else claims these names: rows, then the ccds. */
static void go_on(struct fanout *w)
{
    struct fault why = {0};
    bool again = w->f->x.stamp[STAMP_INDEXED] != 0;
    if (w->f->x.exact != EXACT_COMING || !again)
        w->f->x.stamp[STAMP_INDEXED] = clock_wall();
    if ((why.grade = join_ccds(w, &why)) == ST_OK)
        why.grade = defer_ccds(w->a, &w->f->x, &w->m, w->ccds, w->count, &why);
    if (why.grade == ST_OK)
        why.grade = write_index(w, &why);
    if (why.grade != ST_OK) {
        give_up(w, &why);
        return;
    }
    crash_point("pull:indexed");
    if (again)
        placing_sweep(&w->a->s, &w->f->x, w->ccds, w->count);
    begin_ccds(w);
}

static void index_done(struct pool_job *job)
{
    struct index_job *j = (struct index_job *)job;
    struct fanout *w = j->w;
    struct fault why = j->why;
    bool given = false;
    w->cut = !j->ran;
    free(j);
    if (!w->cut && why.grade == ST_OK) {
        why.grade = renew_check(&w->f->x, &w->m, &why);
        if (why.grade == ST_OK) {
            take_facts(w);
            /* The same source file under another name, or encoded anew, is no second exposure. */
            why.grade = retire_twin(w->a, &w->f->x, &given, &why);
            w->cut = given;
        }
        if (!w->cut && why.grade == ST_OK)
            why.grade = placing_claim(&w->a->s, &w->f->x, w->claim, sizeof w->claim, &why);
    }
    if (w->cut || why.grade != ST_OK)
        give_up(w, &why);
    else if (!(w->waiting = is_claimed(w)))
        go_on(w);
}

void fanout_begin(struct agent *a, struct flight *f)
{
    static const struct fault memory = {ST_RETRY, "out of memory"};
    struct fanout *w = calloc(1, sizeof *w);
    struct index_job *j = calloc(1, sizeof *j);
    if (!w || !j) {
        free(w);
        free(j);
        flow_ended(a, f, ST_RETRY, &memory);
        return;
    }
    w->a = a;
    w->f = f;
    w->fd = -1;
    w->began = clock_mono();
    pull_path(&a->s, f->x.bundle, w->bundle);
    f->work = w;
    j->job.run = run_index;
    j->job.done = index_done;
    j->job.urgency = URGE_INDEX;
    j->w = w;
    pool_submit(a->pool, &j->job);
}
