#include "pull/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/drops.h"
#include "pull/early.h"
#include "pull/flow.h"
#include "pull/gate.h"
#include "pull/identity.h"
#include "pull/intake.h"
#include "pull/job.h"
#include "pull/lease.h"
#include "pull/part.h"

#define PAUSE_S 10
#define SETTLE_S 5
#define EXPIRE_MS (6 * 3600 * 1000LL)

void agent_poke(struct agent *a)
{
    if (a->look && !a->stopping)
        loop_timer_set(a->look, 0, 0);
}

void agent_stop(struct agent *a)
{
    a->stopping = true;
    loop_stop(a->loop);
}

void agent_trouble(struct agent *a, const struct fault *why)
{
    log_error(AT(.stage = "agent"), "%s%s", why->text,
              why->grade == ST_FATAL ? "" : " (the work goes on in a moment)");
    if (why->grade == ST_FATAL) {
        a->end = *why;
        agent_stop(a);
    } else {
        a->hold_until = clock_mono() + PAUSE_S * NS_PER_S;
        agent_poke(a);
    }
}

/* ---- chosen exposures ---- */

enum status agent_choose(struct agent *a, int64_t exposure, struct fault *why)
{
    int64_t *bigger = realloc(a->chosen, (a->chosen_count + 1) * sizeof *bigger);
    if (!bigger)
        return fault(why, ST_FATAL, "out of memory");
    a->chosen = bigger;
    a->chosen[a->chosen_count++] = exposure;
    return ST_OK;
}

bool agent_is_chosen(const struct agent *a, int64_t exposure)
{
    for (size_t i = 0; i < a->chosen_count; i++)
        if (a->chosen[i] == exposure)
            return true;
    return a->chosen == NULL;
}

enum status agent_choose_more(struct agent *a, int64_t exposure, struct fault *why)
{
    return agent_is_chosen(a, exposure) ? ST_OK : agent_choose(a, exposure, why);
}

/* Have all chosen ones come to rest? */
static bool all_finished(struct agent *a)
{
    struct exposure x;
    struct fault why;
    bool found, asked;
    for (size_t i = 0; i < a->chosen_count; i++) {
        if (catalogue_get(a->cat, a->chosen[i], &x, &found, &why) != ST_OK ||
            catalogue_is_asked(a->cat, a->chosen[i], &asked, &why) != ST_OK)
            return false;
        if (found && (asked || (x.state != EX_DONE && x.state != EX_PARKED)))
            return false;
    }
    return true;
}

static void on_look(void *ctx)
{
    struct agent *a = ctx;
    flow_look(a);
    if (a->chosen && !a->stopping && all_finished(a))
        agent_stop(a);
}

/* ---- opening ---- */

static enum status make_folders(const struct pull_settings *s, struct fault *why)
{
    static const char *const folders[] = {"incoming", "bundles", "jobs"};
    char path[PULL_PATH];
    enum status st = fs_mkdirs(s->state, why);
    for (int i = 0; st == ST_OK && i < 3; i++) {
        pull_path(s, folders[i], path);
        st = fs_mkdirs(path, why);
    }
    /* Without its folders the agent can do nothing, whatever the reason. */
    return st == ST_OK ? ST_OK : (why->grade = ST_FATAL);
}

static void warn_of_remote(const struct pull_settings *s)
{
    bool remote;
    const char *kind = fs_kind(s->state, &remote);
    if (remote)
        log_warn(AT(.stage = "agent"), "the catalogue's folder '%s' is on %s, which other machines "
                 "may write too: SQLite's locks are not to be trusted there; set [store] state to "
                 "a folder on a local disk", s->state, kind);
}

static struct agent *agent_new(const struct pull_settings *s)
{
    struct agent *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->s = *s;
    a->lock_fd = -1;
    a->settle_s = SETTLE_S;
    return a;
}

/* Blocks: while the store may be another's, nothing at all is to happen here. */
static void on_doubt(void *ctx, int fd)
{
    struct agent *a = ctx;
    struct fault why;
    enum status st = lease_sure(a->lease, &why);
    if (st == ST_FATAL)
        loop_forget(a->loop, fd);
    if (st == ST_FATAL)
        agent_trouble(a, &why);
    else if (st == ST_WAIT)
        agent_stop(a);
}

enum status agent_open(const struct pull_settings *s, struct agent **out, struct fault *why)
{
    struct agent *a = agent_new(s);
    *out = NULL;
    if (!a)
        return fault(why, ST_FATAL, "out of memory");
    loop_hold_signals();
    enum status st = make_folders(s, why);
    if (st == ST_OK)
        st = fs_lock(s->lock, &a->lock_fd, why);
    if (st == ST_OK)
        st = lease_take(s->root, s->lease_seconds, &a->lease, why);
    if (st == ST_OK)
        warn_of_remote(s);
    if (st == ST_OK)
        st = catalogue_open(s->catalogue, false, &a->cat, why);
    if (st == ST_OK)
        st = identity_settle(s, a->cat, why);
    if (st == ST_OK)
        st = loop_open(&a->loop, why);
    if (st == ST_OK)
        st = loop_read(a->loop, lease_doubt_fd(a->lease), on_doubt, a, why);
    if (st == ST_OK && !(a->look = loop_timer_new(a->loop, on_look, a)))
        st = fault(why, ST_FATAL, "out of memory");
    if (st == ST_OK)
        st = gate_open(a, why);
    if (st == ST_OK)
        st = jobs_open(a, why);
    if (st != ST_OK)
        agent_close(&a);
    *out = a;
    return st;
}

/* ---- signals ---- */

static void on_stop(void *ctx, int signo)
{
    log_info(AT(.stage = "agent"), "%s: stopping", signo == SIGINT ? "interrupt" : "told to end");
    agent_stop(ctx);
}

static void on_look_signal(void *ctx, int signo)
{
    struct agent *a = ctx;
    (void)signo;
    intake_scan(a);
    drops_scan(a);
    agent_poke(a);
}

static bool same_value(const struct setting *row, const struct pull_settings *a,
                       const struct pull_settings *b)
{
    const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
    bool number = row->type == SET_INT || row->type == SET_REAL || row->type == SET_BOOL;
    return number ? memcmp(x, y, row->size) == 0 : strcmp(x, y) == 0;
}

/* "jobs.runner jobs.dry_run": what is not in force. */
static void list_changes(const struct pull_settings *s, const struct pull_settings *now,
                         struct buf *out)
{
    for (const struct setting *row = pull_settings_rows; row->key; row++)
        if (!same_value(row, s, now))
            buf_printf(out, "%s%s.%s", out->len ? " " : "", row->section, row->key);
}

/* Takes over what may change while running; everything else needs a restart, and says so. */
static void take_over(struct agent *a, const struct pull_settings *now)
{
    struct pull_settings *s = &a->s;
    memcpy(s->place, now->place, sizeof s->place);
    memcpy(s->on_conflict, now->on_conflict, sizeof s->on_conflict);
    memcpy(s->workspace, now->workspace, sizeof s->workspace);
    memcpy(s->command, now->command, sizeof s->command);
    s->ccds_per_job = now->ccds_per_job;
    s->max_running = now->max_running;
    s->max_queued = now->max_queued;
    s->submits_per_minute = now->submits_per_minute;
    s->ingest_at_once = now->ingest_at_once;
    s->ingest_per_minute = now->ingest_per_minute;
    s->timeout_seconds = now->timeout_seconds;
    s->retries = now->retries;
    s->output_mib = now->output_mib;
    /* "From now on in earnest, by another runner" must not begin with the runner of before. */
    if (strcmp(s->runner, now->runner) == 0)
        s->dry_run = now->dry_run;
    s->slurm = now->slurm;
    s->pbs = now->pbs;
    memcpy(s->per_task, now->per_task, sizeof s->per_task);
    s->rerun_on_exact = now->rerun_on_exact;
    s->keep_lossy = now->keep_lossy;
    s->keep_parts_days = now->keep_parts_days;
    memcpy(s->log_level, now->log_level, sizeof s->log_level);
    struct buf restart = {0};
    list_changes(s, now, &restart);
    if (restart.len)
        log_warn(AT(.stage = "agent"), "settings read again: in force, but for what needs a restart: "
                 "%.*s", (int)restart.len, (const char *)restart.data);
    else
        log_info(AT(.stage = "agent"), "settings read again: in force");
    buf_free(&restart);
}

static void on_reload(void *ctx, int signo)
{
    struct agent *a = ctx;
    struct config_report r = {0};
    struct pull_settings *now = malloc(sizeof *now);
    (void)signo;
    struct pull_overrides o = {.config = a->s.config[0] ? a->s.config : NULL, .root = a->s.root,
                               .run_date = a->s.run_date[0] ? a->s.run_date : NULL,
                               .level = a->s.level_given[0] ? a->s.level_given : NULL,
                               .reservation = a->s.reservation_given[0] ? a->s.reservation_given
                                                                        : NULL};
    if (now && pull_settings_load(&o, now, &r)) {
        take_over(a, now);
        gate_reload(a);
    } else {
        log_error(AT(.stage = "agent"), "the settings are not changed, mend this first: %s",
                  r.text.len ? (const char *)r.text.data : "out of memory");
    }
    buf_free(&r.text);
    free(now);
    struct fault why;
    if (pull_log_open(&a->s, "pull", &why) != ST_OK || catalogue_hurry_jobs(a->cat, &why) != ST_OK)
        log_error(AT(.stage = "agent"), "%s", why.text);
    agent_poke(a);
}

static void on_expire(void *ctx)
{
    struct agent *a = ctx;
    struct part_store store;
    pull_part_store(&a->s, &store);
    int gone = part_expire(&store, a->s.keep_parts_days);
    if (gone > 0)
        log_info(AT(.stage = "agent"), "removed %d half-received exposure%s that nobody went on "
                 "with for %d days", gone, gone == 1 ? "" : "s", a->s.keep_parts_days);
}

enum status agent_obey(struct agent *a, struct fault *why)
{
    enum status st = loop_signal(a->loop, SIGTERM, on_stop, a, why);
    if (st == ST_OK)
        st = loop_signal(a->loop, SIGINT, on_stop, a, why);
    if (st == ST_OK)
        st = loop_signal(a->loop, SIGHUP, on_reload, a, why);
    if (st == ST_OK)
        st = loop_signal(a->loop, SIGUSR1, on_look_signal, a, why);
    return st;
}

enum status agent_watch(struct agent *a, struct fault *why)
{
    /* First: it ends commits that a crash interrupted, so that their receipts are there. */
    on_expire(a);
    a->expire = loop_timer_new(a->loop, on_expire, a);
    if (a->expire)
        loop_timer_set(a->expire, EXPIRE_MS, EXPIRE_MS);
    enum status st = intake_open(a, why);
    if (st == ST_OK)
        st = drops_open(a, why);
    return st == ST_OK ? early_open(a, why) : st;
}

enum status agent_run(struct agent *a, struct fault *why)
{
    /* Threads begin after the signals are blocked: they inherit the mask. */
    enum status st = pool_start(a->s.threads, a->loop, &a->pool, why);
    if (st != ST_OK)
        return st;
    agent_poke(a);
    st = loop_run(a->loop, why);
    a->stopping = true;
    pool_stop(&a->pool);
    if (st == ST_OK && a->end.grade != ST_OK) {
        *why = a->end;
        st = a->end.grade;
    }
    return st;
}

void agent_close(struct agent **out)
{
    struct agent *a = *out;
    if (!a)
        return;
    a->stopping = true;
    pool_stop(&a->pool);
    drops_close(a);
    early_close(a);
    intake_close(a);
    jobs_close(a);
    gate_close(a);
    while (a->flights)
        flow_dropped(a, a->flights);
    loop_timer_free(&a->look);
    loop_timer_free(&a->expire);
    loop_close(&a->loop);
    catalogue_close(&a->cat);
    lease_release(&a->lease);
    if (a->lock_fd >= 0)
        close(a->lock_fd);
    free(a->chosen);
    free(a);
    *out = NULL;
}
