/* How an exposure begins to come, and how it goes on after a restart (pull/early.h). */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "pull/early_inner.h"
#include "pull/fanout.h"
#include "pull/placing.h"
#include "pull/visit.h"

/* NULL, or why it waits for the whole bundle. */
static const char *unusual(const struct coming *c)
{
    const struct manifest *m = &c->front.m;
    const struct pull_settings *s = &c->a->s;
    if (strcmp(m->name, c->name) != 0)
        return "the part has another name than the exposure in it";
    if (m->facts.date_ns == INT64_MIN && !s->run_date[0])
        return "its night is not known";
    if (fanout_claims(c->a, c->claim))
        return "another bundle claims the same names";
    for (const struct coming *o = c->a->early->first; o; o = o->next)
        if (o != c && o->f && strcmp(o->claim, c->claim) == 0)
            return "another exposure that is coming claims the same names";
    return NULL;
}

static void fill(const struct coming *c, struct exposure *x)
{
    const struct manifest *m = &c->front.m;
    *x = (struct exposure){.state = EX_COMING, .facts = m->facts, .source_size = m->source_size,
                           .visit_ccd = m->visit.ccd};
    pull_text(x->bundle, sizeof x->bundle, "%s", c->part);
    pull_text(x->name, sizeof x->name, "%s", c->name);
    memcpy(x->source_name, m->source_name, sizeof x->source_name);
    memcpy(x->source_sha256, m->source_sha256, sizeof x->source_sha256);
    placing_night(&c->a->s, &m->facts, "", x->night);
    x->stamp[STAMP_CLOSED] = m->source_mtime_ns;
    x->stamp[STAMP_FIRST] = part_view_head(c->view)->first_ns;
}

static enum status fly(struct coming *c, const struct exposure *x, struct fault *why)
{
    struct flight *f = calloc(1, sizeof *f);
    if (!f)
        return fault(why, ST_RETRY, "out of memory");
    f->x = *x;
    f->next = c->a->flights;
    c->a->flights = f;
    c->f = f;
    return ST_OK;
}

static enum status add_row(struct coming *c, struct exposure *x, struct fault *why)
{
    struct catalogue *cat = c->a->cat;
    enum status st = catalogue_begin(cat, why);
    if (st != ST_OK)
        return st;
    st = catalogue_add(cat, x, why);
    if (st == ST_OK)
        st = visit_join(cat, x, &c->front.m.visit, why);
    if (st == ST_OK && x->visit)
        st = catalogue_save(cat, x, why);
    if (st == ST_OK && x->visit)
        st = catalogue_count(cat, x->visit, why);
    if (st == ST_OK)
        return catalogue_commit(cat, why);
    catalogue_rollback(cat);
    return st;
}

/* OK also when it is to wait for the whole: c->whole says so. */
enum status early_begin(struct coming *c, struct fault *why)
{
    struct exposure x;
    bool known = false;
    const char *reason;
    struct fault none;
    fill(c, &x);
    enum status st = placing_claim(&c->a->s, &x, c->claim, sizeof c->claim, why);
    if (st == ST_OK)
        st = catalogue_knows_source(c->a->cat, x.source_sha256, &known, why);
    if (st != ST_OK)
        return st;
    reason = known ? "its source file is in the catalogue" : unusual(c);
    if (!reason && unpack_primary(part_view_fd(c->view), &c->front.m, &c->primary, &none) != ST_OK)
        reason = "its primary header cannot be read";
    if (reason) {
        c->whole = true;
        log_debug(AT(.stage = "early", .exposure = c->name), "waits for the whole bundle: %s",
                  reason);
        return ST_OK;
    }
    st = add_row(c, &x, why);
    if (st == ST_OK)
        st = fly(c, &x, why);
    if (st == ST_OK)
        crash_point("pull:earlybegun");
    return st;
}

/* Takes up again what was coming when the agent ended. */
static enum status resume(struct coming *c, struct fault *why)
{
    struct ccd *rows = NULL;
    size_t count = 0;
    char path[PULL_PATH];
    struct stat st;
    enum status grade = catalogue_ccds(c->a->cat, c->f->x.id, &rows, &count, why);
    if (grade == ST_OK && !(c->ccds = calloc(count + 1, sizeof *c->ccds)))
        grade = fault(why, ST_RETRY, "out of memory");
    for (size_t i = 0; grade == ST_OK && c->ccds && i < count; i++) {
        struct early_ccd *one = &c->ccds[c->count++];
        *one = (struct early_ccd){.row = rows[i]};
        pull_path(&c->a->s, rows[i].path, path);
        if (rows[i].state == CCD_PLACED && lstat(path, &st) == 0 && st.st_size == rows[i].size)
            one->step = EARLY_PLACED;
        else
            one->row.state = CCD_WAITING;
        one->dirty = one->row.state != rows[i].state;
    }
    c->room = count + 1;
    if (grade == ST_OK) {
        placing_sweep(&c->a->s, &c->f->x, rows, count);
        grade = placing_claim(&c->a->s, &c->f->x, c->claim, sizeof c->claim, why);
    }
    free(rows);
    return grade;
}

static bool load(void *ctx, const struct exposure *x)
{
    struct agent *a = ctx;
    struct fault why;
    struct coming *c = early_add(a, x->bundle);
    if (!c || fly(c, x, &why) != ST_OK)
        return false;
    return true;
}

/* The same part as before? Else it is as good as gone. */
static void reopen(struct coming *c)
{
    char map[PULL_PATH];
    struct fault why;
    c->whole = !c->a->s.early;
    early_part_map(c, map);
    if (part_view_open(map, &c->view, &why) == ST_OK &&
        part_view_head(c->view)->first_ns != c->f->x.stamp[STAMP_FIRST])
        part_view_close(&c->view);
}

enum status early_resume(struct agent *a, struct fault *why)
{
    struct catalogue_pick pick = {.states = 1u << EX_COMING, .rows = ROWS_ALL};
    enum status st = catalogue_each(a->cat, &pick, load, a, why);
    for (struct coming *c = a->early->first; st == ST_OK && c; c = c->next) {
        st = resume(c, why);
        if (st == ST_OK)
            reopen(c);
    }
    return st;
}
