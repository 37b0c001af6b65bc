#include "push/deliver.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "push/agent.h"
#include "push/progress.h"
#include "push/status.h"

#define POLL_MS 200
#define NUDGE_NS (5 * NS_PER_S) /* the agent is asked again to look, should a signal be lost */

struct deliver {
    const struct config *config;
    struct journal *journal;
    int64_t request;
};

/* While it waits. */
struct waiting {
    struct deliver *d;
    struct deliver_result *result;
    struct progress progress;
    struct agent *agent; /* ours, when there was none */
    struct loop *loop;   /* without one: polls */
    struct journal *journal;
    int64_t timeout_ns, down_since, nudged;
    bool agent_gone;
};

/* ---- queueing ---- */

enum status deliver_open(const struct config *c, struct deliver **out, struct fault *why)
{
    *out = NULL;
    struct deliver *d = calloc(1, sizeof *d);
    if (!d)
        return fault(why, ST_FATAL, "out of memory");
    d->config = c;
    d->request = clock_wall();
    enum status st = fs_mkdirs(c->set.spool, why);
    if (st == ST_OK)
        st = journal_open(c->set.spool, false, &d->journal, why);
    if (st != ST_OK)
        deliver_close(&d);
    *out = d;
    return st;
}

void deliver_close(struct deliver **d)
{
    if (!*d)
        return;
    journal_close(&(*d)->journal);
    free(*d);
    *d = NULL;
}

struct journal *deliver_journal(const struct deliver *d)
{
    return d->journal;
}

bool deliver_path(const struct config *c, const char *given, char out[4096])
{
    char folder[PATH_MAX], real[PATH_MAX], watched[PATH_MAX];
    const char *base = fs_basename(given);
    int len = (int)(base - given);
    snprintf(folder, sizeof folder, "%.*s", len, len ? given : "");
    if (!realpath(len ? folder : ".", real) || !base[0])
        return false;
    size_t root = 0;
    const char *spelled = "";
    if (c->set.directory[0] && realpath(c->set.directory, watched)) {
        size_t n = strlen(watched);
        if (strncmp(real, watched, n) == 0 && (real[n] == '/' || !real[n])) {
            root = n;
            spelled = c->set.directory;
        }
    }
    int n = snprintf(out, 4096, "%s%s/%s", spelled, strcmp(real, "/") ? real + root : "", base);
    return n > 0 && n < 4096;
}

/* What is to become of a file that has a row already. */
static enum status ask_again(struct deliver *d, struct exposure *row, const struct exposure *now,
                             bool again, struct fault *why)
{
    bool same = identity_equal(&row->file, &now->file);
    bool finished = row->state == EXPOSURE_DONE || row->state == EXPOSURE_STORED;
    /* A row under way is the agent's: it finds the change by itself. */
    bool stopped = row->state == EXPOSURE_PARKED || row->state == EXPOSURE_SKIPPED;
    /* `send` does not wait for an exposure's other files; a sweep does. */
    stopped |= row->state == EXPOSURE_PARTIAL && !again;
    if (stopped || (finished && same && again)) {
        exposure_restart(row, &now->file, now->changed_ns);
        return journal_save(d->journal, row, why);
    }
    return ST_OK;
}

static enum status add_or_ask(struct deliver *d, struct exposure *now, bool again,
                              struct fault *why)
{
    struct exposure row = {0};
    bool found = false;
    enum status st = journal_by_version(d->journal, now->path, &now->file, &row, &found, why);
    if (st == ST_OK && !found) {
        st = journal_by_path(d->journal, now->path, &row, &found, why);
        /* Delivered once, in another version: this one has a row of its own. */
        found = found && row.state != EXPOSURE_DONE && row.state != EXPOSURE_STORED;
    }
    if (st == ST_OK && !found)
        return journal_add(d->journal, now, why);
    if (st == ST_OK)
        st = ask_again(d, &row, now, again, why);
    if (st == ST_OK)
        st = journal_ask(d->journal, row.id, (enum exposure_origin)now->origin, d->request, why);
    return st;
}

enum status deliver_add(struct deliver *d, const char *path, enum exposure_origin origin,
                        bool again, struct fault *why)
{
    struct exposure now;
    if (!intake_fill(&now, path, clock_wall()))
        return fault(why, ST_REJECT, "%s", strerror(errno));
    now.origin = origin;
    now.request = d->request;
    /* Together: an agent that looks at the file meanwhile is to know who asked for it. */
    enum status st = journal_begin(d->journal, why);
    if (st != ST_OK)
        return st;
    if ((st = add_or_ask(d, &now, again, why)) == ST_OK)
        return journal_commit(d->journal, why);
    journal_rollback(d->journal);
    return st;
}

/* Delivered before it was known, or by a profile that said otherwise, whose file it is. */
static enum status regroup(struct deliver *d, struct exposure *row, const struct exposure *what,
                           struct fault *why)
{
    bool same = strcmp(row->group, what->group) == 0 && row->group_ccd == what->group_ccd;
    if (row->state != EXPOSURE_DONE || same)
        return ST_OK;
    memcpy(row->group, what->group, sizeof row->group);
    row->group_ccd = what->group_ccd;
    return journal_save(d->journal, row, why);
}

enum status deliver_held(struct deliver *d, const struct exposure *what, struct fault *why)
{
    struct exposure e = *what, row;
    bool found = false;
    exposure_restart(&e, &what->file, clock_wall());
    e.state = EXPOSURE_DONE;
    e.origin = ORIGIN_SWEEP;
    e.request = 0;
    e.facts = what->facts;
    e.ccds = 1;
    memcpy(e.group, what->group, sizeof e.group);
    e.group_ccd = what->group_ccd;
    memcpy(e.source_sha256, what->source_sha256, sizeof e.source_sha256);
    e.stamp[STAMP_SETTLED] = e.stamp[STAMP_NOTICED];
    enum status st = journal_begin(d->journal, why);
    if (st != ST_OK)
        return st;
    st = journal_by_version(d->journal, e.path, &e.file, &row, &found, why);
    if (st == ST_OK)
        st = found ? regroup(d, &row, what, why) : journal_add(d->journal, &e, why);
    if (st == ST_OK)
        return journal_commit(d->journal, why);
    journal_rollback(d->journal);
    return st;
}

enum status deliver_add_exact(struct deliver *d, const struct exposure *what, bool again,
                              struct fault *why)
{
    struct exposure row, e;
    bool found = false;
    exposure_exact_of(what, clock_wall(), &e);
    e.origin = ORIGIN_SWEEP;
    e.request = d->request;
    enum status st = journal_exact_of(d->journal, what, &row, &found, why);
    if (st != ST_OK || !found)
        return st == ST_OK ? journal_add(d->journal, &e, why) : st;
    e.id = row.id;
    bool finished = row.state == EXPOSURE_DONE || row.state == EXPOSURE_STORED;
    if (row.state == EXPOSURE_PARKED || (finished && again))
        st = journal_save(d->journal, &e, why);
    return st == ST_OK ? journal_ask(d->journal, row.id, ORIGIN_SWEEP, d->request, why) : st;
}

enum status deliver_rest(struct deliver *d, journal_fn *fn, void *ctx, struct fault *why)
{
    static const int unfinished[] = {EXPOSURE_PARKED, EXPOSURE_SENDING, EXPOSURE_READY,
                                     EXPOSURE_PARTIAL, EXPOSURE_SEEN, EXPOSURE_SKIPPED};
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof unfinished / sizeof unfinished[0] && st == ST_OK; i++)
        st = journal_list(d->journal, unfinished[i], d->request, 0, fn, ctx, why);
    return st;
}

int deliver_exit(const struct deliver_result *r)
{
    if (r->delivered == r->asked)
        return EXIT_DONE;
    if (r->unreachable)
        return EXIT_UNREACHABLE;
    return r->trouble.grade == ST_FATAL ? EXIT_FAILED : EXIT_INCOMPLETE;
}

/* ---- waiting ---- */

static void stop_waiting(struct waiting *w)
{
    if (w->agent)
        agent_stop(w->agent);
    else
        loop_stop(w->loop);
}

/* True when nothing is left to wait for. */
static bool count(struct waiting *w)
{
    struct journal_counts c;
    struct fault why;
    int64_t all = 0;
    char note[64];
    if (journal_count(w->journal, w->d->request, &c, &why) != ST_OK)
        return false; /* in use by another process for a moment */
    for (int i = 0; i < EXPOSURE_STATES; i++)
        all += c.rows[i];
    w->result->asked = all;
    w->result->delivered = c.rows[EXPOSURE_DONE] + c.rows[EXPOSURE_STORED];
    w->result->parked = c.rows[EXPOSURE_PARKED] + c.rows[EXPOSURE_SKIPPED];
    snprintf(note, sizeof note, "%.1f MB", (double)c.bytes[EXPOSURE_DONE] / 1e6);
    progress_show(&w->progress, w->result->delivered + w->result->parked, all, note);
    /* Ours tidies its spool before it goes. */
    int64_t over = c.rows[EXPOSURE_DONE] + w->result->parked;
    return over + (w->agent ? 0 : c.rows[EXPOSURE_STORED]) == all;
}

static void check_line(struct waiting *w, bool up, const char *trouble)
{
    int64_t now = clock_mono();
    if (up)
        w->down_since = now;
    if (now - w->down_since < w->timeout_ns)
        return;
    w->result->unreachable = true;
    fault(&w->result->trouble, ST_RETRY, "%s",
          trouble[0] ? trouble : "no connection was made in the time allowed");
    stop_waiting(w);
}

static void on_own_tick(void *ctx)
{
    struct waiting *w = ctx;
    struct flow_state s;
    if (!w->agent)
        return;
    if (count(w)) {
        stop_waiting(w);
        return;
    }
    flow_state(agent_flow(w->agent), &s);
    check_line(w, s.line->up > 0, s.line->trouble.grade != ST_OK ? s.line->trouble.text : "");
}

static void on_poll(void *ctx)
{
    struct waiting *w = ctx;
    char lanes[16], trouble[512];
    int64_t now = clock_mono();
    if (count(w)) {
        stop_waiting(w);
        return;
    }
    long pid = spool_holder(w->d->config->set.spool);
    if (pid == 0) {
        w->agent_gone = true;
        stop_waiting(w);
        return;
    }
    if (now - w->nudged > NUDGE_NS) {
        kill((pid_t)pid, SIGUSR1);
        w->nudged = now;
    }
    journal_noted(w->journal, NOTE_LANES, lanes, sizeof lanes);
    journal_noted(w->journal, NOTE_TROUBLE, trouble, sizeof trouble);
    check_line(w, strcmp(lanes, "0") != 0, trouble);
}

static void on_signal(void *ctx, int signo)
{
    struct waiting *w = ctx;
    (void)signo;
    w->result->interrupted = true;
    stop_waiting(w);
}

/* Becomes the agent. WAIT: there is one. */
static enum status wait_as_agent(struct waiting *w, struct fault *why)
{
    struct agent_options o = {.config = w->d->config, .only_request = w->d->request, .ctx = w,
                              .tick = on_own_tick};
    enum status st = agent_open(&o, &w->agent, why);
    if (st != ST_OK)
        return st;
    w->journal = agent_journal(w->agent);
    w->down_since = clock_mono();
    st = agent_run(w->agent, why);
    w->result->interrupted = agent_interrupted(w->agent);
    agent_close(&w->agent);
    w->journal = w->d->journal;
    return st;
}

/* Polls what another process does. WAIT: it has gone, the lock is free. */
static enum status wait_beside_agent(struct waiting *w, struct fault *why)
{
    struct loop_timer *timer = NULL;
    enum status st = loop_open(&w->loop, why);
    if (st != ST_OK)
        return st;
    w->agent_gone = false;
    w->nudged = 0;
    w->down_since = clock_mono();
    if ((st = loop_signal(w->loop, SIGINT, on_signal, w, why)) != ST_OK ||
        (st = loop_signal(w->loop, SIGTERM, on_signal, w, why)) != ST_OK)
        goto out;
    timer = loop_timer_new(w->loop, on_poll, w);
    if (!timer) {
        st = fault(why, ST_FATAL, "out of memory");
        goto out;
    }
    loop_timer_set(timer, 0, POLL_MS);
    st = loop_run(w->loop, why);
    if (st == ST_OK && w->agent_gone)
        st = fault(why, ST_WAIT, "the agent has gone");
out:
    loop_timer_free(&timer);
    loop_close(&w->loop);
    return st;
}

void deliver_wait(struct deliver *d, int timeout_s, struct deliver_result *out)
{
    struct waiting w = {.d = d, .result = out, .journal = d->journal,
                        .timeout_ns = timeout_s * NS_PER_S};
    struct fault why;
    enum status st;
    memset(out, 0, sizeof *out);
    progress_start(&w.progress, "delivering");
    if (count(&w))
        goto out; /* nothing to do */
    /* An agent may come or go while we wait: then it is the other way round. */
    do {
        st = wait_as_agent(&w, &why);
        if (st == ST_WAIT)
            st = wait_beside_agent(&w, &why);
    } while (st == ST_WAIT);
    count(&w);
    if (st != ST_OK)
        out->trouble = why;
out:
    progress_end(&w.progress);
}
