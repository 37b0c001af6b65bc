#include "pull/gate.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "common/watch.h"
#include "pull/early.h"
#include "pull/intake.h"
#include "pull/minute.h"

#define TICK_MS 1000       /* between looks for a token where no event tells */
#define RESCAN_S 30
#define AGAIN_NS (600 * NS_PER_S) /* the same is said again */

struct gate {
    struct agent *a;
    struct pause_token token[PAUSABLES];
    struct minute begun[PAUSABLES]; /* by clock_mono */
    struct watch *watch;
    struct loop_timer *tick; /* remote file systems only */
    struct loop_timer *room; /* when a minute has room again */
    bool told[PAUSABLES];
    int64_t told_ns[PAUSABLES];
};

/* ---- the tokens ---- */

static const char *const goes_on[PAUSABLES] = {
    "what is being unpacked goes on, bundles are still received",
    "jobs that run go on, exposures are still unpacked"};

static void say_change(enum pausable what, const struct pause_token *was,
                       const struct pause_token *now)
{
    const struct log_at *at = AT(.stage = "gate");
    char words[700];
    pause_words(now->set ? now : was, words, sizeof words);
    if (now->set)
        log_warn(at, "%s: paused %s (%s; skyferry-pull resume ends it)", pause_names[what], words,
                 goes_on[what]);
    else
        log_info(at, "%s: resumed after %.0f s, newest first; paused %s", pause_names[what],
                 (double)(clock_wall() - was->since_ns) / 1e9, words);
}

static void read_tokens(struct agent *a)
{
    struct gate *g = a->gate;
    for (int i = 0; i < PAUSABLES; i++) {
        struct pause_token now, was = g->token[i];
        pause_read(a->s.state, (enum pausable)i, &now);
        g->token[i] = now;
        if (now.set != was.set || strcmp(now.by, was.by) != 0 || strcmp(now.reason, was.reason) != 0)
            say_change((enum pausable)i, &was, &now);
        if (!was.set || now.set)
            continue;
        agent_poke(a);
        if (i == PAUSE_INGEST) {
            early_again(a);
            intake_again(a);
        }
    }
}

static void on_token(void *ctx, const char *path, enum watch_hint hint)
{
    (void)path;
    (void)hint;
    read_tokens(ctx);
}

static void on_tick(void *ctx)
{
    read_tokens(ctx);
}

bool gate_paused(const struct agent *a, enum pausable what)
{
    return a->gate && a->gate->token[what].set;
}

/* ---- so many a minute ---- */

static int most(const struct agent *a, enum pausable what)
{
    return what == PAUSE_INGEST ? a->s.ingest_per_minute : a->s.submits_per_minute;
}

static int room(struct agent *a, enum pausable what)
{
    return gate_paused(a, what) ? 0
                                : minute_room(&a->gate->begun[what], most(a, what), clock_mono());
}

static bool begins(struct agent *a, enum pausable what)
{
    struct fault why;
    if (room(a, what) == 0 || !minute_take(&a->gate->begun[what], clock_mono()))
        return false;
    if (most(a, what) > 0 && catalogue_note_begun(a->cat, what, clock_wall(), &why) != ST_OK)
        log_warn(AT(.stage = "gate"), "%s", why.text);
    return true;
}

static void on_room(void *ctx)
{
    struct agent *a = ctx;
    early_again(a); /* first: what is arriving is the newest */
    agent_poke(a);
}

int gate_ingest_room(struct agent *a, int at_work, int *fresh)
{
    int left = pull_ingest_at_once(&a->s) - at_work;
    *fresh = room(a, PAUSE_INGEST);
    return gate_paused(a, PAUSE_INGEST) || left < 0 ? 0 : left;
}

bool gate_ingest_begins(struct agent *a)
{
    return begins(a, PAUSE_INGEST);
}

void gate_ceiling(struct agent *a, bool arrays, struct ceiling *out)
{
    struct minute *m = &a->gate->begun[PAUSE_JOBS];
    minute_room(m, 0, clock_mono());
    ceiling_init(out, &a->s, arrays, (int)m->count);
}

bool gate_submits(struct agent *a)
{
    return begins(a, PAUSE_JOBS);
}

bool gate_lets_submit(struct gate *g, int64_t let_ns)
{
    if (!g)
        return true;
    if (let_ns && clock_mono() - let_ns < MINUTE_LATE_NS)
        return !gate_paused(g->a, PAUSE_JOBS);
    return begins(g->a, PAUSE_JOBS);
}

/* ---- what is held ---- */

void gate_held(struct agent *a, enum pausable what, const char *words)
{
    struct gate *g = a->gate;
    int64_t now = clock_mono(), at = now;
    for (int i = 0; i < PAUSABLES; i++) {
        int64_t next = minute_next(&g->begun[i], most(a, (enum pausable)i), now);
        at = next > now && (at == now || next < at) ? next : at;
    }
    if (at > now)
        loop_timer_set(g->room, (at - now) / NS_PER_MS + 1, 0);
    if (g->told[what] && now - g->told_ns[what] < AGAIN_NS)
        return;
    g->told[what] = true;
    g->told_ns[what] = now;
    log_info(AT(.stage = "gate"), "%s: some wait: %s", pause_names[what], words);
}

/* ---- opening and closing ---- */

struct since {
    struct minute *m;
    int64_t wall, mono;
};

static bool note_begun(void *ctx, int64_t at_ns)
{
    struct since *s = ctx;
    return minute_take(s->m, s->mono - (s->wall - at_ns));
}

/* What was begun before a restart. minute_take forgets by the time that it is given: in order. */
static enum status remember(struct agent *a, struct fault *why)
{
    struct since s = {.wall = clock_wall(), .mono = clock_mono()};
    enum status st = ST_OK;
    for (int i = 0; st == ST_OK && i < PAUSABLES; i++) {
        s.m = &a->gate->begun[i];
        st = catalogue_begun(a->cat, i, s.wall - MINUTE_NS, s.wall, note_begun, &s, why);
    }
    return st;
}

enum status gate_open(struct agent *a, struct fault *why)
{
    char folder[PULL_PATH];
    bool remote;
    struct gate *g = calloc(1, sizeof *g);
    if (!g)
        return fault(why, ST_FATAL, "out of memory");
    a->gate = g;
    g->a = a;
    g->tick = loop_timer_new(a->loop, on_tick, a);
    g->room = loop_timer_new(a->loop, on_room, a);
    if (!g->tick || !g->room)
        return fault(why, ST_FATAL, "out of memory");
    if (!pull_text(folder, sizeof folder, "%s/" PAUSE_FOLDER, a->s.state))
        return fault(why, ST_FATAL, "[store] state is too long a path");
    enum status st = fs_mkdirs(folder, why);
    struct watch_options o = {.directory = folder, .patterns = "ingest jobs", .changes = true,
                              .rescan_seconds = RESCAN_S, .stage = "gate"};
    if (st == ST_OK)
        st = watch_open(a->loop, &o, on_token, a, &g->watch, why);
    if (st == ST_OK)
        st = remember(a, why);
    if (st != ST_OK)
        return why->grade = ST_FATAL;
    fs_kind(folder, &remote);
    if (remote)
        loop_timer_set(g->tick, TICK_MS, TICK_MS);
    read_tokens(a);
    return ST_OK;
}

/* What is counted only now was not noted before. */
static enum status note_all(struct agent *a, enum pausable what, struct fault *why)
{
    const struct minute *m = &a->gate->begun[what];
    int64_t wall = clock_wall(), mono = clock_mono();
    enum status st = catalogue_begin(a->cat, why);
    if (st != ST_OK)
        return st;
    st = catalogue_forget_begun(a->cat, what, why);
    for (size_t i = 0; st == ST_OK && i < m->count; i++)
        st = catalogue_note_begun(a->cat, what, wall - (mono - m->at[i]), why);
    if (st == ST_OK)
        return catalogue_commit(a->cat, why);
    catalogue_rollback(a->cat);
    return st;
}

void gate_reload(struct agent *a)
{
    struct fault why;
    for (int i = 0; i < PAUSABLES; i++)
        if (most(a, (enum pausable)i) > 0 && note_all(a, (enum pausable)i, &why) != ST_OK)
            log_warn(AT(.stage = "gate"), "%s", why.text);
    early_again(a);
}

void gate_close(struct agent *a)
{
    struct gate *g = a->gate;
    if (!g)
        return;
    watch_close(&g->watch);
    loop_timer_free(&g->tick);
    loop_timer_free(&g->room);
    for (int i = 0; i < PAUSABLES; i++)
        minute_free(&g->begun[i]);
    free(g);
    a->gate = NULL;
}
