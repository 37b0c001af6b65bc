/* Files coming in: what a sighting means for the journal. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/log.h"
#include "push/flow_inner.h"

enum intake intake_decide(bool known, int state, bool same, enum watch_hint hint)
{
    if (!known)
        return INTAKE_ADD;
    switch (state) {
    case EXPOSURE_SEEN:
        if (!same)
            return INTAKE_RESTART;
        return hint == WATCH_CLOSED ? INTAKE_LOOK : INTAKE_NONE;
    case EXPOSURE_READY:
    case EXPOSURE_PARKED:
    case EXPOSURE_PARTIAL:
    case EXPOSURE_SKIPPED:
        return same ? INTAKE_NONE : INTAKE_RESTART;
    case EXPOSURE_DONE:
        return same ? INTAKE_NONE : INTAKE_ADD;
    default:
        /* Under way: encoding finds the change itself, or the version that settled is
         * delivered first and a later sighting adds the new one. */
        return INTAKE_NONE;
    }
}

bool intake_fill(struct exposure *e, const char *path, int64_t now_ns)
{
    struct stat st;
    struct identity file;
    if (stat(path, &st) != 0)
        return false;
    memset(e, 0, sizeof *e);
    snprintf(e->path, sizeof e->path, "%s", path);
    exposure_root(path, e->name);
    identity_of(&st, &file);
    exposure_restart(e, &file, now_ns);
    return true;
}

/* ---- sightings ---- */

static enum status open_intake(struct flow *f, struct fault *why)
{
    enum status st = f->intake_open ? ST_OK : journal_begin(f->o.journal, why);
    if (st == ST_OK) {
        f->intake_open = true;
        flow_poke(f);
    }
    return st;
}

static enum status write_sighting(struct flow *f, enum intake what, struct exposure *row,
                                  struct exposure *seen, struct fault *why)
{
    struct exposure old;
    bool found = false;
    enum status st = open_intake(f, why);
    if (st != ST_OK)
        return st;
    /* A file put back as it was before: the row of that version stands for it. */
    if (what != INTAKE_LOOK) {
        f->last_new_mono = clock_mono();
        st = journal_by_version(f->o.journal, seen->path, &seen->file, &old, &found, why);
        if (st != ST_OK)
            return st;
        if (what == INTAKE_RESTART)
            flow_forget_bundle(f, row);
        if (found)
            return what == INTAKE_RESTART ? journal_remove(f->o.journal, row->id, why) : ST_OK;
    }
    if (what == INTAKE_ADD) {
        log_debug(AT(.stage = "watch", .exposure = seen->name), "seen: %s", seen->path);
        return journal_add(f->o.journal, seen, why);
    }
    if (what == INTAKE_RESTART)
        exposure_restart(row, &seen->file, seen->changed_ns);
    row->closed = seen->closed;
    row->due_ns = 0;
    flow_look_again(f, row->id);
    return journal_save(f->o.journal, row, why);
}

void flow_intake(void *ctx, const char *path, enum watch_hint hint)
{
    struct flow *f = ctx;
    struct exposure row = {0}, seen;
    struct fault why;
    bool known = false;
    if (!intake_fill(&seen, path, clock_wall()))
        return; /* gone again */
    seen.closed = hint == WATCH_CLOSED;
    if (!seen.closed && known_is(f->known, path, &seen.file))
        return;
    enum status st = journal_by_path(f->o.journal, path, &row, &known, &why);
    if (st == ST_OK) {
        bool same = known && identity_equal(&row.file, &seen.file);
        enum intake what = intake_decide(known, known ? row.state : -1, same, hint);
        /* Of a version that the journal has nothing is to be done at a mere sighting, in whatever
         * state it is. */
        known_set(f->known, path, same ? &seen.file : NULL);
        if (what == INTAKE_NONE)
            return;
        st = write_sighting(f, what, &row, &seen, &why);
    }
    if (st != ST_OK)
        flow_trouble(f, &why);
}
