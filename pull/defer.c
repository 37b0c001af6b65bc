#include "pull/defer.h"

#include <stdio.h>

#include "common/log.h"
#include "pull/placing.h"
#include "pull/unpack.h"

bool defer_is_due(const struct agent *a, const struct exposure *x)
{
    return a->s.on_node && x->exact != EXACT_COMING;
}

bool defer_takes(const struct agent *a, const struct exposure *x, const struct ccd *c)
{
    return defer_is_due(a, x) && c->state == CCD_WAITING && camera_job_wants(&a->s.camera, c->ccd);
}

void defer_park(const struct exposure *x, struct ccd *c, const char *reason)
{
    c->state = CCD_PARKED;
    snprintf(c->reason, sizeof c->reason, "%s", reason);
    log_error(AT(.stage = "unpack", .exposure = x->name, .ccd = c->ccd), "parked: %s", c->reason);
}

static enum status defer_one(struct agent *a, const struct exposure *x, const struct manifest *m,
                             struct ccd *c, struct fault *why)
{
    struct fault reason;
    int64_t other = 0;
    if (!unpack_image_of(m, c->hdu))
        fault(&reason, ST_REJECT, "the bundle '%.200s' lacks its HDU %d", x->bundle, c->hdu);
    else
        reason.grade = placing_path(&a->s, x, c, c->path, sizeof c->path, &reason);
    if (reason.grade != ST_OK) {
        c->path[0] = '\0';
        defer_park(x, c, reason.text);
        return ST_OK;
    }
    c->reason[0] = '\0';
    enum status st = catalogue_path_awaited(a->cat, c->path, x->id, &other, why);
    if (st == ST_OK && other)
        st = fault(why, ST_WAIT, "the jobs of another exposure are about to place '%s': this one "
                   "waits until they have", c->path);
    return st;
}

enum status defer_ccds(struct agent *a, const struct exposure *x, const struct manifest *m,
                       struct ccd *ccds, size_t count, struct fault *why)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < count; i++)
        if (defer_takes(a, x, &ccds[i]))
            st = defer_one(a, x, m, &ccds[i], why);
    return st;
}

void defer_stamp(struct exposure *x, const struct ccd *ccds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ccds[i].state == CCD_WAITING)
            x->stamp[STAMP_PLACED] = 0;
}
