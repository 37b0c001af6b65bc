/* The visit's way through the flow: joined, waited for, its jobs made, summed up (pull/visit.h). */
#include "pull/visit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "pull/flow.h"

#define NOT_YET_NS (3600 * NS_PER_S) /* a visit without a placed file; the first one sets it sooner */

/* ---- a file joins ---- */

static enum status add_row(struct catalogue *cat, const struct exposure *x, const struct visit *v,
                           struct exposure *row, struct fault *why)
{
    *row = (struct exposure){.state = EX_PLACED, .facts = x->facts, .visit_ccds = v->ccds,
                             .visit_coming = v->coming, .due_ns = clock_wall() + NOT_YET_NS};
    snprintf(row->name, sizeof row->name, "%s", v->name);
    memcpy(row->night, x->night, sizeof row->night);
    pull_text(row->bundle, sizeof row->bundle, "visits/%s/%s", row->night, row->name);
    return catalogue_add(cat, row, why);
}

/* It was of another one, as of another night before; that one may have no files left. */
static enum status leave(struct catalogue *cat, const struct exposure *x, struct fault *why)
{
    struct exposure v, without = *x;
    bool found = false;
    without.visit = 0;
    enum status st = catalogue_get(cat, x->visit, &v, &found, why);
    if (st == ST_OK)
        st = catalogue_save(cat, &without, why);
    if (st != ST_OK || !found)
        return st;
    v.state = EX_PLACED;
    v.due_ns = clock_wall();
    st = catalogue_save(cat, &v, why);
    return st == ST_OK ? catalogue_count(cat, v.id, why) : st;
}

enum status visit_join(struct catalogue *cat, struct exposure *x, const struct visit *v,
                       struct fault *why)
{
    struct exposure row;
    bool found = false;
    enum status st = ST_OK;
    /* Exact data sent by an older release say nothing of it; their lossy ones did. */
    if (!v->name[0] && x->exact == EXACT_COMING)
        return ST_OK;
    if (v->name[0])
        st = catalogue_visit(cat, x->night, v->name, &row, &found, why);
    if (st == ST_OK && v->name[0] && !found)
        st = add_row(cat, x, v, &row, why);
    if (st == ST_OK && found && (row.visit_ccds < v->ccds || row.visit_coming < v->coming)) {
        row.visit_ccds = row.visit_ccds < v->ccds ? v->ccds : row.visit_ccds;
        row.visit_coming = row.visit_coming < v->coming ? v->coming : row.visit_coming;
        st = catalogue_save(cat, &row, why);
    }
    int64_t id = v->name[0] ? row.id : 0;
    if (st == ST_OK && x->visit && x->visit != id)
        st = leave(cat, x, why);
    x->visit = id;
    x->visit_ccd = v->ccd;
    return st;
}

bool visit_job_wants(const struct pull_settings *s, const struct ccd *c)
{
    bool stands = c->state == CCD_PLACED && !c->made_from[0]; /* else its bundle still comes */
    bool awaited = s->on_node && c->state == CCD_WAITING && c->path[0];
    return (stands || awaited) && c->job == 0 && camera_job_wants(&s->camera, c->ccd);
}

/* ---- a file is placed ---- */

static int64_t deadline(const struct agent *a, const struct visit_tally *t)
{
    return t->newest_ns + a->s.camera.group_wait_s * NS_PER_S;
}

/* Nothing more will come that its jobs could wait for. Exact data that take the place of lossy ones
 * come file by file, too: jobs that run again for them do so together. */
static bool complete(const struct agent *a, const struct exposure *v, const struct visit_tally *t)
{
    int wanted = v->visit_coming > 0 ? v->visit_coming : v->visit_ccds;
    if (a->s.rerun_on_exact && t->mixed)
        return false;
    return t->rest >= wanted || (v->force && t->moving == 0);
}

static enum status lacks_jobs(struct agent *a, int64_t file, bool *lacks, struct fault *why)
{
    struct ccd *ccds = NULL;
    size_t count = 0;
    enum status st = catalogue_ccds(a->cat, file, &ccds, &count, why);
    *lacks = false;
    for (size_t i = 0; i < count; i++)
        *lacks |= visit_job_wants(&a->s, &ccds[i]);
    free(ccds);
    return st;
}

/* Written together with the file's new state: its visit looks whether it is complete. */
static enum status note_placed(struct agent *a, struct flight *f, struct fault *why)
{
    struct exposure v;
    struct visit_tally t;
    bool found = false, lacks = false;
    enum status st = catalogue_get(a->cat, f->x.visit, &v, &found, why);
    if (st == ST_OK && !found)
        return fault(why, ST_RETRY, "its visit is not in the catalogue");
    if (st == ST_OK)
        st = lacks_jobs(a, f->x.id, &lacks, why);
    if (st == ST_OK)
        st = catalogue_visit_tally(a->cat, v.id, &t, why);
    if (st != ST_OK || (v.state != EX_PLACED && !lacks))
        return st;
    v.state = EX_PLACED;
    v.attempts = 0;
    v.reason[0] = '\0';
    v.stamp[STAMP_DONE] = 0;
    v.due_ns = complete(a, &v, &t) ? clock_wall() : deadline(a, &t);
    return catalogue_save(a->cat, &v, why);
}

/* ---- its jobs' turn ---- */

int visit_missing(struct catalogue *cat, const struct camera *camera, const struct exposure *visit,
                  char *words, size_t size)
{
    unsigned char has[CAMERA_CCD_MAX + 1] = {0};
    struct ccd *ccds = NULL;
    size_t count = 0;
    struct fault why;
    words[0] = '\0';
    if (!camera || catalogue_ccds(cat, visit->id, &ccds, &count, &why) != ST_OK)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (ccds[i].state == CCD_PLACED && ccds[i].ccd > 0 && ccds[i].ccd <= CAMERA_CCD_MAX)
            has[ccds[i].ccd] = 1;
    free(ccds);
    return camera_group_missing(camera, has, words, size);
}

/* "103 of 104 ccds (missing: 104)". */
static void say_so_far(struct agent *a, const struct exposure *v, char *out, size_t size)
{
    char words[160] = "";
    int lacking = v->placed >= v->visit_ccds ? 0 : visit_missing(a->cat, &a->s.camera, v, words, sizeof words);
    pull_text(out, size, "%d of %d ccds%s%s%s", v->placed, v->visit_ccds,
              lacking ? " (missing: " : "", words, lacking ? ")" : "");
}

static bool note_active(void *ctx, const struct job *j)
{
    bool *active = ctx;
    *active = j->state == JOB_WAITING || j->state == JOB_RUNNING;
    return !*active;
}

/* Together with the visit's end: its files wait for nothing any more. */
static enum status wake_files(struct agent *a, struct flight *f, struct fault *why)
{
    bool ended = f->x.state == EX_DONE || f->x.state == EX_PARKED;
    return ended ? catalogue_visit_wake(a->cat, f->x.id, why) : ST_OK;
}

/* Does a part of it get no jobs? Files that were sent one by one are wanted as they are. */
static bool is_held(const struct agent *a, const struct exposure *v)
{
    return v->visit_coming > 0 && strcmp(a->s.camera.group_partial, "park") == 0;
}

/* The rest did not come in time; false: that holds its jobs up. */
static bool give_up(struct agent *a, struct flight *f)
{
    const struct camera *c = &a->s.camera;
    struct fault why;
    char so_far[240];
    say_so_far(a, &f->x, so_far, sizeof so_far);
    if (!is_held(a, &f->x)) {
        log_warn(AT(.stage = "visit", .exposure = f->x.name), "jobs are made for %s: nothing more "
                 "came for %d s", so_far, c->group_wait_s);
        return true;
    }
    fault(&why, ST_REJECT, "%s are placed, and nothing more came for %d s; its jobs are made when "
          "the rest comes, or for what is there when it is asked for by retry", so_far, c->group_wait_s);
    f->record = wake_files;
    flow_ended(a, f, ST_REJECT, &why);
    return false;
}

/* Another file may have changed the row since f was made. */
static enum status read_anew(struct agent *a, struct flight *f, struct visit_tally *t, bool *gone,
                             struct fault *why)
{
    bool found = false;
    enum status st = catalogue_get(a->cat, f->x.id, &f->x, &found, why);
    if (st == ST_OK && found)
        st = catalogue_visit_tally(a->cat, f->x.id, t, why);
    *gone = st == ST_OK && (!found || f->x.state != EX_PLACED);
    if (st == ST_OK && !*gone && t->files == 0) {
        st = catalogue_remove(a->cat, f->x.id, why);
        *gone = true;
    }
    return st;
}

static bool hold_visit(struct agent *a, struct flight *f)
{
    struct visit_tally t;
    struct fault why;
    bool gone = false, active = false;
    int64_t now = clock_wall();
    enum status st = read_anew(a, f, &t, &gone, &why);
    if (st == ST_OK)
        st = catalogue_jobs_of(a->cat, f->x.id, note_active, &active, &why);
    if (st != ST_OK) {
        flow_ended(a, f, st, &why);
        return true;
    }
    if (gone) {
        flow_dropped(a, f);
        return true;
    }
    if (complete(a, &f->x, &t)) {
        char so_far[240];
        say_so_far(a, &f->x, so_far, sizeof so_far);
        log_info(AT(.stage = "visit", .exposure = f->x.name), "%s are placed: its jobs are made",
                 so_far);
    } else if (now < deadline(a, &t) || t.moving > 0 || (active && is_held(a, &f->x))) {
        f->due_ns = now < deadline(a, &t) ? deadline(a, &t) : 0;
        flow_ended(a, f, ST_WAIT, NULL);
        return true;
    } else if (!give_up(a, f)) {
        return true;
    }
    crash_point("pull:gathered");
    return false;
}

bool visit_holds(struct agent *a, struct flight *f)
{
    if (f->x.visit_ccds)
        return hold_visit(a, f);
    if (!f->x.visit)
        return false;
    f->record = note_placed;
    flow_ended(a, f, ST_OK, NULL);
    return true;
}

/* ---- its jobs have ended ---- */

bool visit_settles(struct agent *a, struct flight *f)
{
    struct exposure v;
    struct fault why;
    bool found = false, active = false;
    if (f->x.visit_ccds)
        f->record = wake_files;
    if (!f->x.visit)
        return false;
    enum status st = catalogue_get(a->cat, f->x.visit, &v, &found, &why);
    if (st == ST_OK && found)
        st = catalogue_jobs_of(a->cat, v.id, note_active, &active, &why);
    bool rests = !found || v.state == EX_DONE || v.state == EX_PARKED;
    if (st != ST_OK)
        flow_ended(a, f, st, &why);
    else
        flow_ended(a, f, rests && !active ? ST_OK : ST_WAIT, NULL);
    return true;
}

static void say_after(const struct exposure *v, enum stamp stamp, char *out, size_t size)
{
    if (v->stamp[stamp] && v->stamp[STAMP_CLOSED])
        pull_text(out, size, "%.1f s",
                  (double)(v->stamp[stamp] - v->stamp[STAMP_CLOSED]) / 1e9);
    else
        pull_text(out, size, "not known");
}

static void sum_up(struct agent *a, const struct exposure *v)
{
    static const enum stamp shown[] = {STAMP_NOTICED, STAMP_ENCODED, STAMP_FIRST, STAMP_STORED,
                                       STAMP_PLACED, STAMP_DONE};
    static const char *const words[] = {"noticed", "encoded", "first byte", "stored", "placed",
                                        "done"};
    char so_far[240], closed[32] = "-", after[24], times[320] = "";
    size_t used = 0;
    say_so_far(a, v, so_far, sizeof so_far);
    if (v->stamp[STAMP_CLOSED])
        clock_iso(v->stamp[STAMP_CLOSED], closed, sizeof closed);
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        say_after(v, shown[i], after, sizeof after);
        used += (size_t)snprintf(times + used, sizeof times - used, ", %s %s", words[i], after);
    }
    log_info(AT(.stage = "visit", .exposure = v->name), "%s placed, %d of %d jobs done, %d faults; "
             "its last file closed %s, after that%s; %.1f MB, %.1f:1", so_far, v->jobs_done, v->jobs,
             v->faults, closed, times + 1, (double)v->bundle_size / 1e6,
             v->bundle_size ? (double)v->raw_size / (double)v->bundle_size : 0.0);
}

bool visit_arrived(struct agent *a, const struct exposure *x)
{
    struct exposure v;
    struct fault why;
    bool found = false;
    if (!x->visit_ccds) /* a file's end is its visit's to tell */
        return x->visit && x->state == EX_DONE && x->faults == 0;
    if (x->state == EX_DONE && catalogue_get(a->cat, x->id, &v, &found, &why) == ST_OK && found)
        sum_up(a, &v);
    return true;
}

/* ---- requests ---- */

bool visit_is_flying(const struct agent *a, const struct exposure *x)
{
    for (const struct flight *f = a->flights; f && x->visit_ccds; f = f->next)
        if (f->x.visit == x->id && f->x.state != EX_COMING)
            return true;
    return false;
}
