#include "pull/request.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "pull/flow.h"
#include "pull/job.h"
#include "pull/visit.h"

#define AT_A_TIME 64

struct batch {
    struct request r[AT_A_TIME];
    size_t count;
};

static bool note(void *ctx, const struct request *r)
{
    struct batch *b = ctx;
    b->r[b->count++] = *r;
    return b->count < AT_A_TIME;
}

struct job_batch {
    struct job *items;
    size_t count, room;
    bool dry_run; /* then dry jobs stay dry */
};

static bool note_failed(void *ctx, const struct job *j)
{
    struct job_batch *b = ctx;
    if (j->state != JOB_FAILED && (j->state != JOB_DRY || b->dry_run))
        return true;
    if (b->count == b->room) {
        size_t room = b->room ? 2 * b->room : 16;
        struct job *bigger = realloc(b->items, room * sizeof *bigger);
        if (!bigger)
            return false;
        b->items = bigger;
        b->room = room;
    }
    b->items[b->count++] = *j;
    return true;
}

enum status requests_retry_jobs(struct agent *a, int64_t exposure, struct fault *why)
{
    struct job_batch b = {.dry_run = a->s.dry_run};
    enum status st = catalogue_jobs_of(a->cat, exposure, note_failed, &b, why);
    for (size_t i = 0; st == ST_OK && i < b.count; i++) {
        b.items[i].state = JOB_WAITING;
        b.items[i].attempts = 0;
        b.items[i].due_ns = 0;
        b.items[i].reason[0] = '\0';
        st = catalogue_put_job(a->cat, &b.items[i], why);
    }
    free(b.items);
    return st;
}

enum status requests_retry_ccds(struct agent *a, int64_t exposure, struct fault *why)
{
    struct ccd *ccds = NULL;
    size_t count = 0;
    enum status st = catalogue_ccds(a->cat, exposure, &ccds, &count, why);
    for (size_t i = 0; st == ST_OK && i < count; i++) {
        if (ccds[i].state != CCD_PARKED)
            continue;
        ccds[i].state = CCD_WAITING;
        ccds[i].reason[0] = '\0';
        st = catalogue_put_ccd(a->cat, &ccds[i], why);
    }
    free(ccds);
    return st;
}

/* While exact data take the place of lossy ones, the rows tell which files are ours: they are
 * kept, so that those may still be replaced. Those of a visit's file tell what its jobs may name. */
static enum status start_anew(struct agent *a, const struct exposure *x, struct fault *why)
{
    if (x->exact != EXACT_COMING && !x->visit)
        return catalogue_clear(a->cat, x->id, why);
    struct ccd *ccds = NULL;
    size_t count = 0;
    enum status st = catalogue_clear_jobs(a->cat, x->id, why);
    if (st == ST_OK)
        st = catalogue_ccds(a->cat, x->id, &ccds, &count, why);
    for (size_t i = 0; st == ST_OK && i < count; i++) {
        ccds[i].state = CCD_WAITING;
        ccds[i].reason[0] = '\0';
        ccds[i].job = 0;
        st = catalogue_put_ccd(a->cat, &ccds[i], why);
    }
    free(ccds);
    return st;
}

enum status requests_set_back(struct agent *a, struct exposure *x, const struct request *r,
                              struct fault *why)
{
    enum status st;
    if (x->visit_ccds)
        return visit_set_back(a, x, r, why);
    if (r->verb == ASK_REPROCESS)
        st = start_anew(a, x, why);
    else if ((st = requests_retry_ccds(a, x->id, why)) == ST_OK)
        st = requests_retry_jobs(a, x->id, why);
    x->state = EX_STORED;
    x->attempts = 0;
    x->due_ns = clock_wall();
    x->reason[0] = '\0';
    x->force = r->force;
    x->stamp[STAMP_PLACED] = x->stamp[STAMP_DONE] = 0;
    if (st == ST_OK)
        st = catalogue_save(a->cat, x, why);
    if (st == ST_OK)
        st = catalogue_count(a->cat, x->id, why);
    return st;
}

/* OK also when the exposure is not at rest yet: the request stays. */
static enum status grant(struct agent *a, const struct request *r, struct fault *why)
{
    struct exposure x;
    bool found;
    enum status st = catalogue_get(a->cat, r->exposure, &x, &found, why);
    if (st != ST_OK)
        return st;
    /* There is nothing to do again before it is stored. */
    if (found && x.state == EX_COMING) {
        log_warn(AT(.stage = "request", .exposure = x.name), "is still arriving: what was asked of "
                 "it is dropped; ask again when it is stored");
        return catalogue_answered(a->cat, r->id, why);
    }
    if (found && (flow_is_flying(a, x.id) || visit_is_flying(a, &x) || jobs_cancel(a, x.id)))
        return ST_OK;
    st = catalogue_begin(a->cat, why);
    if (st != ST_OK)
        return st;
    if (found)
        st = requests_set_back(a, &x, r, why);
    if (st == ST_OK)
        st = catalogue_answered(a->cat, r->id, why);
    if (st != ST_OK) {
        catalogue_rollback(a->cat);
        return st;
    }
    st = catalogue_commit(a->cat, why);
    if (st == ST_OK && found)
        log_info(AT(.stage = "request", .exposure = x.name), "%s asked for%s",
                 r->verb == ASK_REPROCESS ? "reprocessing" : "another try of what failed",
                 r->force ? ", replacing placed files" : "");
    if (st == ST_OK && found)
        st = visit_choose(a, &x, why);
    return st == ST_OK ? agent_choose_more(a, r->exposure, why) : st;
}

enum status requests_take(struct agent *a, struct fault *why)
{
    struct batch b = {.count = 0};
    enum status st = catalogue_requests(a->cat, note, &b, why);
    for (size_t i = 0; st == ST_OK && i < b.count; i++)
        st = grant(a, &b.r[i], why);
    return st;
}
