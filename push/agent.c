#include "push/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "push/status.h"

#define TICK_MS 200
#define ORDER_NOTE_NS (5 * NS_PER_S)

struct agent {
    struct agent_options o;
    struct config config;
    struct spool spool;
    struct journal *journal;
    struct loop *loop;
    struct flow *flow;
    struct loop_timer *timer;
    bool interrupted;
    char lanes[16], rtt[16], trouble[512], mode[16]; /* as noted */
    char rate[200], figures[300];
    char order[160];
    bool behind;        /* likewise */
    int64_t order_mono; /* when that was */
};

static void note(struct agent *a, const char *key, const char *value, char *noted, size_t size)
{
    struct fault why;
    if (strcmp(noted, value) == 0)
        return;
    snprintf(noted, size, "%s", value);
    if (journal_note(a->journal, key, value, &why) != ST_OK)
        log_debug(AT(.stage = "journal"), "%s", why.text);
}

/* Figures change all the time: a change of mind is noted at once, they are now and then. */
static void note_order(struct agent *a, const struct flow_state *s)
{
    char text[sizeof a->order] = "";
    int64_t now = clock_mono();
    bool adaptive = s->mode == ORDER_ADAPTIVE;
    if (adaptive && a->order_mono && a->behind == s->behind && now - a->order_mono < ORDER_NOTE_NS)
        return;
    if (adaptive)
        status_order_note(s->behind, &s->load, text, sizeof text);
    a->behind = s->behind;
    a->order_mono = now;
    note(a, NOTE_ORDER, text, a->order, sizeof a->order);
}

static void note_all(struct agent *a)
{
    struct flow_state s;
    char lanes[16], rtt[16] = "";
    const char *trouble = "";
    flow_state(a->flow, &s);
    snprintf(lanes, sizeof lanes, "%d", s.line->up);
    note(a, NOTE_LANES, lanes, a->lanes, sizeof a->lanes);
    note(a, NOTE_MODE, order_mode_word(s.mode), a->mode, sizeof a->mode);
    note_order(a, &s);
    if (s.line->rtt_ns > 0)
        snprintf(rtt, sizeof rtt, "%.0f", (double)s.line->rtt_ns / NS_PER_MS);
    note(a, NOTE_RTT, rtt, a->rtt, sizeof a->rtt);
    if (s.line->up == 0 && s.line->trouble.grade != ST_OK)
        trouble = s.line->trouble.text;
    else if (s.line->lost_mono != 0)
        trouble = "the far end acknowledges nothing any more: is the line cut?";
    note(a, NOTE_TROUBLE, trouble, a->trouble, sizeof a->trouble);
}

static void note_rate(struct agent *a)
{
    char words[sizeof a->rate], figures[sizeof a->figures];
    struct limit *l = flow_limit(a->flow);
    limit_tick(l, clock_wall(), clock_mono());
    limit_words(l, words, sizeof words);
    limit_figures(l, figures, sizeof figures);
    note(a, NOTE_RATE, words, a->rate, sizeof a->rate);
    note(a, NOTE_RATE_FIGURES, figures, a->figures, sizeof a->figures);
}

static void on_tick(void *ctx)
{
    struct agent *a = ctx;
    note_rate(a);
    note_all(a);
    if (a->o.tick)
        a->o.tick(a->o.ctx);
}

static void take_mode(struct agent *a)
{
    char word[32];
    enum order_mode mode;
    if (!spool_take(&a->spool, "mode", word, sizeof word))
        return;
    if (!order_mode_parse(word, &mode) || !order_is_policy(mode)) {
        log_warn(AT(.stage = "order"), "a mode '%s' was asked for, which is none", word);
        return;
    }
    struct flow_state s;
    flow_state(a->flow, &s);
    log_info(AT(.stage = "order"), "mode %s from now on (it was %s)", order_mode_word(mode),
             order_mode_word(s.mode));
    flow_set_mode(a->flow, mode);
    note_all(a);
}

static void take_rate(struct agent *a)
{
    char text[TIMETABLE_TEXT];
    struct fault why;
    if (!spool_take(&a->spool, "rate", text, sizeof text))
        return;
    if (limit_ask(flow_limit(a->flow), text, &why) != ST_OK) {
        log_warn(AT(.stage = "ship"), "a rate '%s' was asked for: %s", text, why.text);
        return;
    }
    note_rate(a);
    if (journal_note(a->journal, NOTE_RATE_SAID, text, &why) != ST_OK)
        log_debug(AT(.stage = "journal"), "%s", why.text);
}

static void on_signal(void *ctx, int signo)
{
    struct agent *a = ctx;
    switch (signo) {
    case SIGUSR1:
        take_mode(a);
        take_rate(a);
        flow_poke(a->flow);
        break;
    case SIGHUP:
        if (a->o.reload)
            a->o.reload(a->o.ctx);
        break;
    default:
        log_info(NULL, "stopping on signal %d (%s)", signo, strsignal(signo));
        a->interrupted = true;
        loop_stop(a->loop);
    }
}

/* Before any thread starts, so that all of them inherit the blocked signals. */
static enum status take_signals(struct agent *a, struct fault *why)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    enum status st = ST_OK;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0] && st == ST_OK; i++)
        st = loop_signal(a->loop, signals[i], on_signal, a, why);
    return st;
}

static enum status open_parts(struct agent *a, struct fault *why)
{
    char word[32];
    enum status st;
    if ((st = journal_open(a->config.set.spool, false, &a->journal, why)) != ST_OK)
        return st;
    if (!settings_exact_idle(&a->config.set) && (st = journal_exact_drop(a->journal, why)) != ST_OK)
        return st;
    if ((st = spool_clean(&a->spool, a->journal, why)) != ST_OK)
        return st;
    spool_take(&a->spool, "mode", word, sizeof word); /* meant for an agent before us */
    spool_take(&a->spool, "rate", word, sizeof word);
    if ((st = loop_open(&a->loop, why)) != ST_OK)
        return st;
    if ((st = take_signals(a, why)) != ST_OK)
        return st;
    if (!(a->timer = loop_timer_new(a->loop, on_tick, a)))
        return fault(why, ST_FATAL, "out of memory");
    struct flow_options flow = {.config = &a->config, .loop = a->loop, .journal = a->journal,
                                .spool = &a->spool, .only_request = a->o.only_request};
    return flow_open(&flow, &a->flow, why);
}

enum status agent_open(const struct agent_options *o, struct agent **out, struct fault *why)
{
    *out = NULL;
    struct agent *a = calloc(1, sizeof *a);
    if (!a)
        return fault(why, ST_FATAL, "out of memory");
    a->o = *o;
    a->config = *o->config;
    a->spool.lock = -1;
    snprintf(a->rtt, sizeof a->rtt, "?");
    snprintf(a->lanes, sizeof a->lanes, "?"); /* what an agent before us noted is void */
    snprintf(a->mode, sizeof a->mode, "?");
    snprintf(a->order, sizeof a->order, "?");
    snprintf(a->trouble, sizeof a->trouble, "?");
    snprintf(a->rate, sizeof a->rate, "?");
    loop_hold_signals();
    enum status st = spool_open(a->config.set.spool, &a->spool, why);
    if (st == ST_OK && (st = open_parts(a, why)) == ST_WAIT)
        st = ST_RETRY; /* WAIT means the lock alone */
    if (st != ST_OK) {
        agent_close(&a);
        return st;
    }
    loop_timer_set(a->timer, 0, TICK_MS);
    *out = a;
    return ST_OK;
}

enum status agent_run(struct agent *a, struct fault *why)
{
    struct flow_state s;
    enum status st = loop_run(a->loop, why);
    flow_state(a->flow, &s);
    if (st == ST_OK && s.fatal) {
        *why = s.trouble;
        st = ST_FATAL;
    }
    return st;
}

void agent_stop(struct agent *a)
{
    loop_stop(a->loop);
}

bool agent_interrupted(const struct agent *a)
{
    return a->interrupted;
}

void agent_close(struct agent **a)
{
    if (!*a)
        return;
    struct agent *me = *a;
    flow_close(&me->flow);
    loop_timer_free(&me->timer);
    loop_close(&me->loop);
    journal_close(&me->journal);
    spool_close(&me->spool);
    free(me);
    *a = NULL;
}

struct flow *agent_flow(const struct agent *a)
{
    return a->flow;
}

struct loop *agent_loop(const struct agent *a)
{
    return a->loop;
}

struct journal *agent_journal(const struct agent *a)
{
    return a->journal;
}
