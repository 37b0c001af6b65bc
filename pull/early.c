#include "pull/early.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/early_inner.h"
#include "pull/fanout.h"
#include "pull/flow.h"
#include "pull/gate.h"
#include "pull/intake.h"

#define PARTS 64       /* looked into at the same time; any others wait for the whole */
#define STALE_S 3600   /* a part that nothing was added to for so long is not kept open */
#define MEMBERS 64     /* taken up in one look */
#define LOOK_MS 2      /* events of one moment are one look */
#define AGAIN_MS 1000  /* after trouble */

/* ---- the list ---- */

/* "NAME" of "incoming/NAME.ID8.part". */
static void name_of(const char *part, char name[MEMBER_NAME])
{
    const char *base = fs_basename(part);
    size_t len = strlen(base), end = strlen(".01234567.part");
    snprintf(name, MEMBER_NAME, "%.*s", len > end ? (int)(len - end) : 0, base);
}

void early_part_map(const struct coming *c, char out[PULL_PATH])
{
    pull_text(out, PULL_PATH, "%s/%.*smap", c->a->s.root,
              (int)(strlen(c->part) - strlen("part")), c->part);
}

struct coming *early_add(struct agent *a, const char *part)
{
    struct coming *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->a = a;
    c->dirty = true;
    snprintf(c->part, sizeof c->part, "%s", part);
    name_of(part, c->name);
    c->next = a->early->first;
    a->early->first = c;
    return c;
}

static struct coming *find(const struct early *e, const char *part)
{
    struct coming *c = e->first;
    while (c && (c->remove || strcmp(c->part, part) != 0))
        c = c->next;
    return c;
}

static void free_coming(struct coming *c)
{
    early_drop_drafts(c);
    part_view_close(&c->view);
    bundle_front_free(&c->front);
    fits_header_free(&c->primary);
    free(c->ccds);
    free(c);
}

static void sweep(struct early *e)
{
    for (struct coming **p = &e->first; *p;) {
        struct coming *c = *p;
        if (!c->remove) {
            p = &c->next;
            continue;
        }
        *p = c->next;
        free_coming(c);
    }
}

/* ---- looking ---- */

/* The part may still grow, perhaps again from nothing: this time all of it is waited for. */
static void watch_whole(struct coming *c)
{
    char map[PULL_PATH];
    struct fault why;
    early_part_map(c, map);
    part_view_close(&c->view);
    c->remove = part_view_open(map, &c->view, &why) != ST_OK;
    c->whole = true;
    c->distrusted = c->over = false;
    c->count = 0;
}

/* The members whose headers came since the last look. False: there may be more. */
static bool take_members(struct coming *c)
{
    struct bundle_reach there = part_view_reach(c->view);
    struct fault why;
    for (int i = 0; i < MEMBERS; i++) {
        enum status st = bundle_front_next(part_view_fd(c->view), &there, &c->front, &why);
        if (st == ST_REJECT) {
            c->whole = true;
            log_debug(AT(.stage = "early", .exposure = c->name), "waits for the whole bundle: %s",
                      why.text);
        }
        if (st != ST_OK || c->front.ended)
            return true;
    }
    return false;
}

/* The primary's header comes first; nothing can be made without it. */
static bool has_primary(const struct coming *c)
{
    const struct member *m = c->front.m.count > 0 ? &c->front.m.members[0] : NULL;
    return m && m->role == MEMBER_HEADER && m->hdu == 0 &&
           part_view_has(c->view, m->offset, m->offset + m->size);
}

static void go_on(struct coming *c)
{
    struct fault why;
    enum status st = ST_OK;
    if (!take_members(c)) {
        c->dirty = true;
        loop_timer_set(c->a->early->look, 0, 0);
    }
    if (c->front.m.count > 0 && c->front.m.members[0].role != MEMBER_HEADER)
        c->whole = true;
    if (c->whole || !has_primary(c))
        return;
    if (!c->f && !gate_ingest_begins(c->a)) {
        if (!gate_paused(c->a, PAUSE_INGEST))
            gate_held(c->a, PAUSE_INGEST, "what arrives is not placed yet ([ingest] per_minute)");
        return; /* early_again */
    }
    if (!c->f)
        st = early_begin(c, &why);
    else if (c->primary.count == 0)
        st = unpack_primary(part_view_fd(c->view), &c->front.m, &c->primary, &why);
    if (st != ST_OK) {
        c->whole = true;
        log_warn(AT(.stage = "early", .exposure = c->name), "waits for the whole bundle: %s",
                 why.text);
    }
    if (c->f && !c->whole && !gate_paused(c->a, PAUSE_INGEST))
        early_ccds(c);
}

static void look_at(struct coming *c)
{
    c->dirty = false;
    if (!c->view || c->over)
        return;
    enum view_state state = part_view_look(c->view);
    bool anew = state == VIEW_ANEW;
    c->distrusted = c->distrusted || anew;
    if (anew || (state == VIEW_GONE && !c->stored)) {
        early_withdraw(c, anew ? "what had come of the bundle was wrong"
                                  : "the transfer was given up");
        return;
    }
    if (!c->whole)
        go_on(c);
    /* Nothing of it was placed, and it is intake's by now. */
    c->remove = c->remove || (state == VIEW_SEALED && !c->f && c->whole);
}

static void look_at_dirty(void *ctx)
{
    struct agent *a = ctx;
    if (a->stopping)
        return;
    for (struct coming *c = a->early->first; c; c = c->next) {
        if (c->dirty && !c->remove)
            look_at(c);
        early_turn(c);
    }
    sweep(a->early);
}

/* A part that nobody holds is withdrawn only after intake has looked for its receipt. */
static void look_at_orphans(struct agent *a)
{
    for (struct coming *c = a->early->first; c && a->early->store_seen; c = c->next)
        if (!c->view && !c->stored && !c->over)
            early_withdraw(c, "its part is gone");
}

void early_intake_looked(struct agent *a)
{
    if (!a->early || a->early->store_seen || a->stopping)
        return;
    a->early->store_seen = true;
    loop_timer_set(a->early->tick, 0, (int64_t)a->s.rescan_seconds * 1000);
}

static bool is_stale(const char *map)
{
    struct stat st;
    return lstat(map, &st) == 0 && clock_wall() / NS_PER_S - st.st_mtime > STALE_S;
}

static void look_at_stale(struct agent *a)
{
    char map[PULL_PATH];
    for (struct coming *c = a->early->first; c; c = c->next) {
        early_part_map(c, map);
        c->remove = c->remove || (!c->f && is_stale(map));
    }
}

static void on_tick(void *ctx)
{
    struct agent *a = ctx;
    if (a->stopping)
        return;
    look_at_orphans(a);
    look_at_stale(a);
    for (struct coming *c = a->early->first; c; c = c->next)
        c->dirty = true;
    look_at_dirty(a);
    early_hurry(a, 0);
}

void early_again(struct agent *a)
{
    for (struct coming *c = a->early ? a->early->first : NULL; c; c = c->next)
        c->dirty = true;
    if (a->early)
        loop_timer_set(a->early->look, 0, 0);
}

/* ---- what the watch tells ---- */

static void open_part(struct agent *a, const char *map, const char *part)
{
    struct fault why;
    struct part_view *view = NULL;
    int count = 0;
    for (const struct coming *c = a->early->first; c; c = c->next)
        count++;
    if (!a->s.early || count >= PARTS || is_stale(map) ||
        part_view_open(map, &view, &why) != ST_OK)
        return;
    struct coming *c = early_add(a, part);
    if (c)
        c->view = view;
    else
        part_view_close(&view);
}

/* path is a part or its map. */
static void on_path(void *ctx, const char *path, enum watch_hint hint)
{
    struct agent *a = ctx;
    char map[PULL_PATH], part[512];
    size_t root = strlen(a->s.root) + 1;
    (void)hint;
    const char *dot = strrchr(path, '.');
    if (a->stopping || !dot || strlen(path) <= root ||
        !pull_text(map, sizeof map, "%.*s.map", (int)(dot - path), path) ||
        !pull_text(part, sizeof part, "%.*s.part", (int)(dot - path - (ptrdiff_t)root),
                   path + root))
        return;
    struct coming *c = find(a->early, part);
    if (c)
        c->dirty = true;
    else
        open_part(a, map, part);
    loop_timer_set(a->early->look, LOOK_MS, 0);
}

/* ---- saving, and what follows ---- */

void early_hurry(struct agent *a, int64_t ms)
{
    struct early *e = a->early;
    int64_t at = clock_mono() + ms * NS_PER_MS;
    if (a->stopping || (e->save_at && e->save_at <= at))
        return;
    e->save_at = at;
    loop_timer_set(e->save, ms, 0);
}

static void on_save(void *ctx)
{
    struct agent *a = ctx;
    struct fault why;
    a->early->save_at = 0;
    if (a->stopping)
        return;
    for (struct coming *c = a->early->first; c; c = c->next) {
        if (!c->f || c->ending || c->remove)
            continue;
        if (early_save(c, &why) != ST_OK) {
            agent_trouble(a, &why);
            early_hurry(a, AGAIN_MS);
            return;
        }
        if (!c->over)
            early_name(c);
        early_turn(c);
    }
}

/* ---- the end ---- */

void early_withdraw(struct coming *c, const char *reason)
{
    if (c->over)
        return;
    c->over = true;
    atomic_store(&c->stop, true);
    snprintf(c->reason, sizeof c->reason, "%s", reason);
    early_turn(c);
}

void early_turn(struct coming *c)
{
    if (c->a->stopping || c->ending || c->remove)
        return;
    if (c->over)
        early_drop_drafts(c);
    if (c->over && !c->f && c->distrusted)
        watch_whole(c);
    else if (c->over && !c->f)
        c->remove = true;
    else if (c->f && c->pending == 0 && c->drafts == 0 && (c->over || (c->stored && !c->dirty)))
        early_end(c);
}

void early_ended(struct coming *c)
{
    struct agent *a = c->a;
    decoding_note(a->s.state, pool_threads(a->pool), &c->tally);
    flow_dropped(a, c->f);
    c->f = NULL;
    c->over = c->remove = true;
    if (c->distrusted && !c->stored)
        watch_whole(c);
    loop_timer_set(a->early->look, 0, 0);
    agent_poke(a);
    fanout_next(a);
}

/* ---- for intake and fanout ---- */

static bool is_of(const struct coming *c, const struct receipt *r)
{
    const char *id = c->part + strlen(c->part) - strlen("01234567.part");
    return !c->remove && strcmp(c->name, r->name) == 0 && strncmp(id, r->id, 8) == 0;
}

void early_stored(struct agent *a, const char *rel, const struct receipt *r, bool *taken)
{
    struct exposure x;
    *taken = false;
    for (struct coming *c = a->early ? a->early->first : NULL; c && !*taken; c = c->next) {
        if (!is_of(c, r))
            continue;
        c->whole = c->whole || !c->f;
        *taken = c->f != NULL;
        if (!*taken || c->stored)
            continue;
        c->stored = true;
        c->receipt = *r;
        snprintf(c->bundle, sizeof c->bundle, "%s", rel);
        intake_from_receipt(rel, r, &x);
        if (strcmp(x.name, c->name) != 0)
            early_withdraw(c, "it is stored under another name");
        look_at(c); /* all of it is there now */
        early_turn(c);
    }
}

bool early_blocks(struct agent *a, const struct exposure *x, const char *claim)
{
    bool blocks = false;
    for (struct coming *c = a->early ? a->early->first : NULL; c; c = c->next) {
        if (!c->f || c->f->x.id == x->id ||
            (strcmp(c->claim, claim) != 0 && strcmp(c->f->x.source_sha256, x->source_sha256) != 0))
            continue;
        blocks = c->distrusted = true;
        early_withdraw(c, "a stored bundle claims the same names or source file");
    }
    return blocks;
}

/* ---- opening and closing ---- */

enum status early_open(struct agent *a, struct fault *why)
{
    char incoming[PULL_PATH];
    struct early *e = calloc(1, sizeof *e);
    if (!e)
        return fault(why, ST_FATAL, "out of memory");
    a->early = e;
    e->look = loop_timer_new(a->loop, look_at_dirty, a);
    e->save = loop_timer_new(a->loop, on_save, a);
    e->tick = loop_timer_new(a->loop, on_tick, a);
    if (!e->look || !e->save || !e->tick)
        return fault(why, ST_FATAL, "out of memory");
    enum status st = early_resume(a, why);
    pull_path(&a->s, "incoming", incoming);
    struct watch_options o = {.directory = incoming, .patterns = "*.map *.part", .changes = true,
                              .rescan_seconds = a->s.rescan_seconds, .stage = "early"};
    if (st == ST_OK)
        st = watch_open(a->loop, &o, on_path, a, &e->watch, why);
    if (st == ST_OK)
        loop_timer_set(e->tick, 0, (int64_t)a->s.rescan_seconds * 1000);
    return st == ST_OK ? ST_OK : (why->grade = ST_FATAL);
}

void early_close(struct agent *a)
{
    struct early *e = a->early;
    struct fault why;
    if (!e)
        return;
    for (struct coming *c = e->first; c; c = c->next) {
        if (c->f && early_save(c, &why) != ST_OK)
            log_error(AT(.stage = "early", .exposure = c->name), "%s", why.text);
        if (c->f)
            flow_dropped(a, c->f);
        c->f = NULL;
        c->remove = true;
    }
    sweep(e);
    watch_close(&e->watch);
    loop_timer_free(&e->look);
    loop_timer_free(&e->save);
    loop_timer_free(&e->tick);
    free(e);
    a->early = NULL;
    fanout_next(a);
}
