#include "push/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/redraw.h"
#include "push/spool.h"

#define ROWS 20     /* of the table, where the screen does not say */
#define ROWS_LEAST 5
#define ROWS_OTHER 16 /* lines of the screen left for what is not the table */
#define PERIOD_MS 1000

/* ---- what both pictures need ---- */

void status_agent(const char *spool, struct journal *j, struct agent_seen *out)
{
    memset(out, 0, sizeof *out);
    out->pid = spool_holder(spool);
    out->running = out->pid != 0;
    if (!out->running || !j)
        return;
    journal_noted(j, NOTE_MODE, out->mode, sizeof out->mode);
    journal_noted(j, NOTE_LANES, out->lanes_up, sizeof out->lanes_up);
    journal_noted(j, NOTE_RTT, out->rtt_ms, sizeof out->rtt_ms);
    journal_noted(j, NOTE_AUTO, out->choice, sizeof out->choice);
    journal_noted(j, NOTE_FIGURES, out->figures, sizeof out->figures);
    journal_noted(j, NOTE_RATE, out->rate, sizeof out->rate);
    journal_noted(j, NOTE_RATE_FIGURES, out->rate_figures, sizeof out->rate_figures);
    journal_noted(j, NOTE_ORDER, out->order, sizeof out->order);
    journal_noted(j, NOTE_TROUBLE, out->trouble, sizeof out->trouble);
}

#define ORDER_NOTE "{\"behind\":%s,\"exposures\":%d,\"line_s\":%.1f,\"cadence_s\":%.1f}"
#define ORDER_NOTED "{\"behind\":%5[a-z],\"exposures\":%d,\"line_s\":%lf,\"cadence_s\":%lf"

void status_order_note(bool behind, const struct order_load *l, char *out, size_t size)
{
    snprintf(out, size, ORDER_NOTE, behind ? "true" : "false", l->exposures, l->line_s,
             l->cadence_s);
}

bool status_order(const struct agent_seen *agent, bool *behind, struct order_load *out)
{
    char word[8];
    if (sscanf(agent->order, ORDER_NOTED, word, &out->exposures, &out->line_s, &out->cadence_s) != 4)
        return false;
    *behind = strcmp(word, "true") == 0;
    return true;
}

enum status status_queue(const struct config *c, struct journal *j, const struct agent_seen *agent,
                         struct order_queue *out, struct fault *why)
{
    struct order_policy policy = c->policy;
    struct order_line line = ORDER_LINE_NEW;
    struct order_load load;
    size_t kept = 0;
    if (agent->mode[0])
        order_mode_parse(agent->mode, &policy.mode);
    if (!status_order(agent, &line.behind, &load))
        line.behind = false;
    enum status st = journal_youngest(j, &line.youngest[ORDER_SCIENCE], why);
    if (st == ST_OK)
        st = journal_candidates(j, 0, &c->camera, out, why);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < out->count; i++) {
        out->items[i].under_way = out->items[i].begun;
        if (!out->items[i].exact)
            out->items[kept++] = out->items[i];
    }
    out->count = kept;
    order_arrange(&policy, &line, out->items, out->count, clock_wall());
    return ST_OK;
}

const struct order_item *status_place(const struct status_picture *p, const struct exposure *e)
{
    for (size_t i = 0; i < p->queue.count; i++) {
        const struct order_item *at = &p->queue.items[i];
        if (e->state != EXPOSURE_READY && e->state != EXPOSURE_SENDING)
            return NULL;
        if (at->group[0] ? strcmp(at->group, e->group) == 0 : at->id == e->id)
            return at;
    }
    return NULL;
}

/* Observers name an exposure as they see it: its name, its file, or the whole path; of several files
 * also all of them by the exposure's name. */
static bool is_named(const struct exposure *e, const char *word)
{
    char root[MEMBER_NAME];
    if (strcmp(word, e->name) == 0 || strcmp(word, e->path) == 0 ||
        (e->group[0] && strcmp(word, e->group) == 0))
        return true;
    if (strchr(word, '/'))
        return false;
    exposure_root(word, root);
    return strcmp(root, e->name) == 0;
}

bool status_wanted(const struct status_picture *p, const struct exposure *e)
{
    const struct status_options *o = p->options;
    bool wanted = o->name_count == 0;
    for (int i = 0; i < o->name_count; i++)
        if (is_named(e, o->names[i]))
            wanted = p->matched[i] = true;
    return wanted;
}

const char *status_exact(const struct exposure *e)
{
    static const char *const words[] = {[DELIVERED_UNKNOWN] = "", [DELIVERED_LOSSY] = "lossy",
                                        [DELIVERED_EXACT] = "exact", [DELIVERED_GONE] = "gone"};
    if (e->state != EXPOSURE_STORED && e->state != EXPOSURE_DONE)
        return "";
    if (e->follow == EXPOSURE_STORED || e->follow == EXPOSURE_DONE)
        return words[DELIVERED_EXACT];
    return e->follow >= 0 ? exposure_state_names[e->follow] : words[e->fidelity];
}

void status_shorten(const char *name, int width, char *out, size_t size)
{
    int len = (int)strlen(name), tail = (width - 1) / 2;
    if (len <= width)
        snprintf(out, size, "%s", name);
    else
        snprintf(out, size, "%.*s~%s", width - 1 - tail, name, name + len - tail);
}

/* ---- one picture ---- */

/* *out stays NULL when there is no journal yet. */
static enum status open_journal(const char *spool, struct journal **out, struct fault *why)
{
    char path[4200];
    *out = NULL;
    snprintf(path, sizeof path, "%.4095s/" JOURNAL_NAME, spool);
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return ST_OK;
    return journal_open(spool, true, out, why);
}

static enum status draw(const struct config *c, const struct status_options *o, int rows,
                        bool *matched, FILE *to, struct fault *why)
{
    struct status_picture p = {
        .options = o, .now_ns = clock_wall(), .rows = rows, .matched = matched};
    enum status st = open_journal(c->set.spool, &p.journal, why);
    if (st == ST_OK) {
        status_agent(c->set.spool, p.journal, &p.agent);
        if (p.journal)
            st = status_queue(c, p.journal, &p.agent, &p.queue, why);
    }
    if (st == ST_OK) {
        st = o->json ? status_json(&p, to, why) : status_table(&p, to, why);
    }
    free(p.queue.items);
    journal_close(&p.journal);
    return st;
}

static int say_unmatched(const struct status_options *o, const bool *matched)
{
    int code = EXIT_DONE;
    for (int i = 0; i < o->name_count; i++)
        if (!matched[i]) {
            fprintf(stderr, "skyferry-push: no exposure is named '%s'; skyferry-push status --json "
                            "lists all of them\n", o->names[i]);
            code = EXIT_FAILED;
        }
    return code;
}

static bool flushed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    fprintf(stderr, "skyferry-push: cannot write to standard output: %s\n", strerror(errno));
    return false;
}

static int once(const struct config *c, const struct status_options *o, bool *matched)
{
    struct fault why;
    enum status st = draw(c, o, ROWS, matched, stdout, &why);
    if (!flushed())
        return EXIT_FAILED;
    if (st == ST_OK)
        return say_unmatched(o, matched);
    fprintf(stderr, "skyferry-push: %s\n", why.text);
    return EXIT_FAILED;
}

/* ---- again and again ---- */

struct watching {
    const struct config *config;
    const struct status_options *options;
    bool *matched;
};

static int rows_that_fit(void)
{
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_row == 0)
        return ROWS;
    int rows = w.ws_row - ROWS_OTHER;
    return rows < ROWS_LEAST ? ROWS_LEAST : rows > ROWS ? ROWS : rows;
}

static enum status again(void *ctx, FILE *to, struct fault *why)
{
    struct watching *w = ctx;
    return draw(w->config, w->options, rows_that_fit(), w->matched, to, why);
}

static int watch(const struct config *c, const struct status_options *o, bool *matched)
{
    struct watching w = {c, o, matched};
    struct redraw r = {.program = "skyferry-push", .every_ms = PERIOD_MS, .plain = o->json,
                       .draw = again, .ctx = &w};
    return redraw_run(&r);
}

int status_command(const struct config *c, const struct status_options *o)
{
    bool *matched = calloc((size_t)o->name_count + 1, sizeof *matched);
    if (!matched) {
        fprintf(stderr, "skyferry-push: out of memory\n");
        return EXIT_FAILED;
    }
    int code = o->watch ? watch(c, o, matched) : once(c, o, matched);
    free(matched);
    return code;
}
