/* The ccds of a part (pull/early.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/early_inner.h"
#include "pull/fanout.h"
#include "pull/part.h"
#include "pull/placing.h"

#define DRAFTS 8     /* more of them that have no name go before other drafts */
#define SAVE_MS 20   /* rows that nothing waits for */
#define ROOM ((int64_t)256 << 20) /* bytes that stay free besides what the settings ask for */

/* One ccd's way through both halves. */
struct early_job {
    struct pool_job job;
    struct coming *c;
    size_t index;        /* in c->ccds */
    struct manifest m;   /* of its HDU; owned */
    struct unpack_source source;
    struct making making;
    bool ran, named;
};

/* ---- rows ---- */

enum status early_save(struct coming *c, struct fault *why)
{
    struct catalogue *cat = c->a->cat;
    bool any = false;
    for (size_t i = 0; i < c->count; i++)
        any = any || c->ccds[i].dirty;
    if (!any)
        return ST_OK;
    enum status st = catalogue_begin(cat, why);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; st == ST_OK && i < c->count; i++)
        if (c->ccds[i].dirty)
            st = catalogue_put_ccd(cat, &c->ccds[i].row, why);
    if (st == ST_OK)
        st = catalogue_count(cat, c->f->x.id, why);
    if (st == ST_OK)
        st = catalogue_commit(cat, why);
    else
        catalogue_rollback(cat);
    for (size_t i = 0; st == ST_OK && i < c->count; i++)
        c->ccds[i].dirty = false;
    return st;
}

static void touch(struct coming *c, struct early_ccd *one, int64_t ms)
{
    one->dirty = true;
    early_hurry(c->a, ms);
}

/* ---- jobs ---- */

static void free_job(struct early_job *j)
{
    place_drop(&j->making.file);
    manifest_free(&j->m);
    free(j);
}

static void run_draft(struct pool_job *job)
{
    struct early_job *j = (struct early_job *)job;
    if (atomic_load(&j->c->stop))
        return;
    making_draft(&j->making);
    j->ran = true;
}

static void run_name(struct pool_job *job)
{
    struct early_job *j = (struct early_job *)job;
    if (atomic_load(&j->c->stop))
        return;
    making_name(&j->making);
    j->named = j->ran = true;
}

/* Nothing is lost: the whole bundle is tried as if nobody had been here before. */
static void leave(struct coming *c, struct early_ccd *one, const struct fault *why)
{
    one->step = EARLY_LEFT;
    log_debug(AT(.stage = "early", .exposure = c->name, .ccd = one->row.ccd),
              "waits for the whole bundle: %s", why->text);
    if (why->grade != ST_WAIT || c->whole)
        return;
    c->whole = true;
    log_warn(AT(.stage = "early", .exposure = c->name), "the rest waits for the whole bundle: %s",
             why->text);
}

static bool same_sums(const struct ccd *row, const struct making *m)
{
    return strcmp(row->datasum, m->datasum) == 0 && strcmp(row->checksum, m->checksum) == 0 &&
           row->size == m->size && strcmp(row->path, m->file.rel) == 0;
}

/* The draft is there. Its row first: who finds the file after a crash must know whose it is. */
static void drafted(struct coming *c, struct early_ccd *one, struct early_job *j)
{
    const struct making *m = &j->making;
    struct fault why;
    if (m->file.is_there && !same_sums(&one->row, m)) {
        fault(&why, ST_REJECT, "'%s' is there already", m->file.rel);
        leave(c, one, &why);
        free_job(j);
        return;
    }
    snprintf(one->row.path, sizeof one->row.path, "%s", m->file.rel);
    one->row.size = m->size;
    memcpy(one->row.datasum, m->datasum, sizeof one->row.datasum);
    memcpy(one->row.checksum, m->checksum, sizeof one->row.checksum);
    one->step = EARLY_DRAFTED;
    one->job = j;
    c->drafts++;
    touch(c, one, 0);
}

static void say_first(const struct coming *c)
{
    int placed = 0;
    for (size_t i = 0; i < c->count; i++)
        placed += c->ccds[i].step == EARLY_PLACED;
    if (placed == 1)
        log_info(AT(.stage = "early", .exposure = c->name), "first ccd placed while the others are "
                 "coming, %.2f s after the file was closed",
                 (double)(clock_wall() - c->f->x.stamp[STAMP_CLOSED]) / 1e9);
}

static void placed(struct coming *c, struct early_ccd *one, const struct making *m)
{
    one->row.state = CCD_PLACED;
    one->row.placed_ns = clock_wall();
    one->step = EARLY_PLACED;
    c->unproven += m->unproven;
    decoding_count(&c->tally, m->member->codec, m->cpu, m->size, m->member->size);
    touch(c, one, SAVE_MS);
    say_first(c);
    crash_point("pull:placing");
}

static void job_done(struct pool_job *job)
{
    struct early_job *j = (struct early_job *)job;
    struct coming *c = j->c;
    struct early_ccd *one = &c->ccds[j->index];
    const struct fault *why = &j->making.why;
    bool naming = one->step == EARLY_NAMING;
    c->pending--;
    if (!j->ran) {
        one->step = EARLY_LEFT;
    } else if (!naming && why->grade == ST_OK && !c->over) {
        drafted(c, one, j);
        j = NULL;
    } else if (naming && why->grade == ST_OK) {
        placed(c, one, &j->making);
    } else if (why->grade != ST_OK) {
        if (naming && why->grade == ST_REJECT) { /* somebody else has the name */
            one->row.path[0] = '\0';
            touch(c, one, SAVE_MS);
        }
        leave(c, one, why);
    }
    if (j) {
        c->cpu += j->making.cpu;
        free_job(j);
    }
    early_turn(c);
}

void early_name(struct coming *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct early_ccd *one = &c->ccds[i];
        struct early_job *j = one->job;
        if (one->step != EARLY_DRAFTED || one->dirty)
            continue;
        one->step = EARLY_NAMING;
        one->job = NULL;
        j->ran = false;
        j->job.run = run_name;
        /* The first one shows that it flows. */
        j->job.urgency = c->drafts > DRAFTS || i == 0 ? URGE_NAME_NOW : URGE_NAME_LATER;
        c->drafts--;
        c->pending++;
        pool_submit(c->a->pool, &j->job);
    }
}

void early_drop_drafts(struct coming *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->ccds[i].step != EARLY_DRAFTED)
            continue;
        free_job(c->ccds[i].job);
        c->ccds[i].job = NULL;
        c->ccds[i].step = EARLY_LEFT;
        c->drafts--;
    }
}

/* ---- beginning ---- */

static bool are_there(const struct coming *c, const struct manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (!part_view_has(c->view, m->members[i].offset,
                           m->members[i].offset + m->members[i].size))
            return false;
    return true;
}

/* A name that is free, or that this very row was to give before a crash. */
static enum status choose_name(struct coming *c, struct early_ccd *one, struct place_file *file,
                               struct fault *why)
{
    char path[PULL_PATH];
    struct stat st;
    struct part_store store;
    pull_part_store(&c->a->s, &store);
    int64_t room = fs_free_bytes(c->a->s.root);
    if (room >= 0 && room < store.min_free_bytes + ROOM)
        return fault(why, ST_WAIT, "little room is left below '%s'", c->a->s.root);
    enum status grade = placing_file(&c->a->s, &c->f->x, &one->row, file, why);
    if (grade != ST_OK)
        return grade;
    file->conflict = PLACE_PARK;
    file->mirror = MIRROR_NONE;
    pull_path(&c->a->s, file->rel, path);
    if (lstat(path, &st) == 0 && strcmp(one->row.path, file->rel) != 0)
        return fault(why, ST_REJECT, "'%s' is there already", file->rel);
    /* Another exposure's, though its file is missing: what is placed there could not be withdrawn. */
    int64_t owner = 0;
    grade = catalogue_path_owner(c->a->cat, file->rel, &owner, why);
    if (grade == ST_OK && owner && owner != c->f->x.id)
        return fault(why, ST_REJECT, "'%s' is another exposure's", file->rel);
    return grade;
}

static const struct member *image_of(const struct manifest *m, int hdu)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == MEMBER_IMAGE && m->members[i].hdu == hdu)
            return &m->members[i];
    return NULL;
}

/* Makes the job of a ccd whose members are all there; NULL: it cannot be begun (yet). */
static struct early_job *prepare(struct coming *c, size_t index)
{
    struct early_ccd *one = &c->ccds[index];
    struct early_job *j = calloc(1, sizeof *j);
    struct fault why = {.grade = ST_RETRY, .text = "out of memory"};
    if (!j)
        return NULL;
    j->c = c;
    j->index = index;
    j->making.file.draft.fd = -1;
    if (!manifest_of_hdu(&c->front.m, one->row.hdu, &j->m) || !are_there(c, &j->m)) {
        free_job(j);
        return NULL;
    }
    j->job.run = run_draft;
    j->job.done = job_done;
    j->job.urgency = URGE_DRAFT;
    j->source = (struct unpack_source){part_view_fd(c->view), &j->m, &c->primary};
    j->making.source = &j->source;
    j->making.member = image_of(&j->m, one->row.hdu);
    placing_member(&one->row, j->making.member);
    if (manifest_digest(&j->m, one->row.made_from) &&
        choose_name(c, one, &j->making.file, &why) == ST_OK)
        return j;
    leave(c, one, &why);
    free_job(j);
    return NULL;
}

static struct early_ccd *ccd_for(struct coming *c, const struct member *m)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->ccds[i].row.hdu == m->hdu)
            return &c->ccds[i];
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 64;
        struct early_ccd *bigger = realloc(c->ccds, room * sizeof *bigger);
        if (!bigger)
            return NULL;
        c->ccds = bigger;
        c->room = room;
    }
    struct early_ccd *one = &c->ccds[c->count++];
    *one = (struct early_ccd){.dirty = true};
    placing_ccd(&one->row, &c->f->x, m);
    return one;
}

static void list(struct coming *c)
{
    for (; c->listed < c->front.m.count; c->listed++) {
        const struct member *m = &c->front.m.members[c->listed];
        if (m->role != MEMBER_IMAGE)
            continue;
        struct early_ccd *one = ccd_for(c, m);
        if (!one)
            return; /* out of memory: at the next look */
        one->listed = true;
    }
}

void early_ccds(struct coming *c)
{
    struct fault why;
    list(c);
    /* Rows before drafts: a crash leaves none whose folder nobody knows. */
    if (early_save(c, &why) != ST_OK) {
        agent_trouble(c->a, &why);
        return;
    }
    crash_point("pull:earlylisted");
    for (size_t i = 0; i < c->count && !c->whole; i++) {
        struct early_ccd *one = &c->ccds[i];
        struct early_job *j = one->listed && one->step == EARLY_SEEN ? prepare(c, i) : NULL;
        if (!j)
            continue;
        one->step = EARLY_DRAFT;
        c->pending++;
        pool_submit(c->a->pool, &j->job);
    }
}
