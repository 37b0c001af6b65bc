/* What Slurm knows: squeue for all arrays at once, again and again; scontrol, then sacct, for a
 * task that the queue holds for over, or does not know, while its folder tells of no end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "pull/job_slurm.h"

#define PROBE_S 20
#define TWICE 2 /* answers in a row: files may come late over a network, and so may a submission */

/* ---- words ---- */

static bool is_over(const char *state)
{
    static const char *const over[] = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL",
                                       "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED",
                                       "REVOKED"};
    for (size_t i = 0; i < sizeof over / sizeof over[0]; i++)
        if (strncmp(state, over[i], strlen(over[i])) == 0)
            return true;
    return false;
}

/* The value of KEY= in a line of scontrol's; "" when it is not there. */
static void field(const char *text, const char *key, char *out, size_t size)
{
    size_t len = strlen(key);
    out[0] = '\0';
    for (const char *p = text; (p = strstr(p, key)); p += len)
        if ((p == text || p[-1] == ' ' || p[-1] == '\n') && p[len] == '=') {
            pull_text(out, size, "%.*s", (int)strcspn(p + len + 1, " \n"), p + len + 1);
            return;
        }
}

/* ---- the end of a task that its own folder does not tell ---- */

struct verdict {
    char state[24], code[16], node[64], reason[64];
};

static void judge(struct slurm *q, struct slurm_array *a, struct slurm_task *t,
                  const struct verdict *v)
{
    struct task_report r;
    bool told = task_look(t->folder, a->key, &r);
    int status = -1, sig = 0;
    if (sscanf(v->code, "%d:%d", &status, &sig) == 2 && sig > 0)
        status = 128 + sig;
    if (told)
        t->end.started_ns = r.started_ns;
    t->end.ended_ns = told ? r.ended_ns : 0;
    t->end.exit_status = told && r.ended_ns ? r.exit_status : status;
    slurm_news(t, v->state[0] ? v->state : "UNKNOWN", v->node);
    pull_text(t->end.words, sizeof t->end.words, "Slurm's job %s_%d: %s%s%s%s%s", a->id, t->number,
              v->state[0] ? v->state : "not known any more, and it left no word of its end",
              v->reason[0] ? ", " : "", v->reason, told && r.ended_ns ? ", " : "",
              told && r.ended_ns ? r.words : "");
    slurm_ended(q, t);
}

static void on_sacct(void *ctx, const struct tool_end *end)
{
    struct slurm *q = ctx;
    struct verdict v = {0};
    struct slurm_array *a = q->probed;
    q->probe = NULL;
    q->probed = NULL;
    /* "STATE|CODE|NODE", none without accounting */
    char line[160];
    pull_text(line, sizeof line, "%.*s", (int)strcspn(end->out, "\n"), end->out);
    char *rest = line;
    const char *state = strsep(&rest, "|"), *code = strsep(&rest, "|"), *node = strsep(&rest, "|");
    if (end->status == 0 && node) {
        pull_text(v.state, sizeof v.state, "%.*s", (int)strcspn(state, " "), state);
        pull_text(v.code, sizeof v.code, "%s", code);
        pull_text(v.node, sizeof v.node, "%s", node);
    }
    if (!v.state[0] || is_over(v.state))
        judge(q, a, q->probed_task, &v);
    else
        q->probed_task->strange = 0;
}

static enum status begin_probe(struct slurm *q, char *const *argv,
                               void (*done)(void *ctx, const struct tool_end *end))
{
    struct fault why;
    struct tool_order o = {argv, PROBE_S, done, q};
    return tool_run(q->loop, &o, &q->probe, &why);
}

static void ask_sacct(struct slurm *q)
{
    char id[48];
    pull_text(id, sizeof id, "--jobs=%s_%d", q->probed->id, q->probed_task->number);
    char *argv[] = {"sacct", "--noheader", "--parsable2", "--allocations", id,
                    "--format=State,ExitCode,NodeList", NULL};
    if (begin_probe(q, argv, on_sacct) == ST_OK)
        return;
    struct slurm_array *a = q->probed;
    q->probed = NULL;
    judge(q, a, q->probed_task, &(struct verdict){0});
}

static void on_scontrol(void *ctx, const struct tool_end *end)
{
    struct slurm *q = ctx;
    struct slurm_array *a = q->probed;
    struct slurm_task *t = q->probed_task;
    struct verdict v = {0};
    q->probe = NULL;
    if (end->status != 0 && strstr(end->err, "Invalid job id")) {
        ask_sacct(q);
        return;
    }
    q->probed = NULL;
    t->strange = 0;
    field(end->out, "JobState", v.state, sizeof v.state);
    field(end->out, "ExitCode", v.code, sizeof v.code);
    field(end->out, "NodeList", v.node, sizeof v.node);
    field(end->out, "Reason", v.reason, sizeof v.reason);
    if (end->status == 0 && is_over(v.state) && !t->ended)
        judge(q, a, t, &v);
}

static void ask_scontrol(struct slurm *q, struct slurm_array *a, struct slurm_task *t)
{
    char id[48];
    pull_text(id, sizeof id, "%s_%d", a->id, t->number);
    char *argv[] = {"scontrol", "--oneliner", "show", "job", id, NULL};
    q->probed = a;
    q->probed_task = t;
    if (begin_probe(q, argv, on_scontrol) != ST_OK)
        q->probed = NULL;
}

/* ---- squeue's answer ---- */

struct queue_line {
    const char *array, *task, *state, *node, *name, *comment;
};

static bool split(char *line, struct queue_line *out)
{
    out->array = strsep(&line, "|");
    out->task = strsep(&line, "|");
    out->state = strsep(&line, "|");
    out->node = strsep(&line, "|");
    out->name = strsep(&line, "|");
    out->comment = line;
    return line != NULL;
}

/* By the comment, or, where a site rewrites comments, by the name's end. */
static bool is_array(const struct slurm_array *a, const struct queue_line *l)
{
    const char *dot = strrchr(l->name, '.');
    if (a->id[0])
        return strcmp(a->id, l->array) == 0;
    return (strncmp(l->comment, "skyferry ", 9) == 0 && strcmp(l->comment + 9, a->key) == 0) ||
           (dot && strcmp(dot + 1, a->key) == 0);
}

static void take_line(struct slurm *q, const struct queue_line *l)
{
    for (struct slurm_array *a = q->arrays; a; a = a->next) {
        if (a->phase < SLURM_UNSURE || !is_array(a, l))
            continue;
        if (a->phase == SLURM_UNSURE)
            slurm_known(a, l->array);
        for (struct slurm_task *t = a->tasks; t; t = t->next) {
            if (t->ended || t->number != strtol(l->task, NULL, 10))
                continue;
            t->told = true;
            if (is_over(l->state)) {
                t->strange++;
                continue;
            }
            t->strange = 0;
            slurm_news(t, l->state, l->node);
        }
    }
}

/* The queue does not have it: once may be too early, twice it never came. */
static void miss(struct slurm *q, struct slurm_array *a)
{
    if (q->asked_at <= a->since || ++a->misses < TWICE)
        return;
    a->phase = SLURM_DUE;
    for (struct slurm_task *t = a->tasks; t; t = t->next)
        if (t->cancelled && !t->ended)
            slurm_ended(q, t);
    log_info(AT(.stage = "job", .exposure = a->name), "Slurm does not have its jobs: submitted "
             "again");
}

static void weigh(struct slurm *q)
{
    for (struct slurm_array *a = q->arrays; a; a = a->next) {
        if (a->phase == SLURM_UNSURE)
            miss(q, a);
        for (struct slurm_task *t = a->tasks; a->phase == SLURM_QUEUED && t; t = t->next) {
            t->strange += !t->told && !t->ended;
            t->told = false;
        }
    }
}

static void on_squeue(void *ctx, const struct tool_end *end)
{
    struct slurm *q = ctx;
    struct queue_line l;
    q->query = NULL;
    q->query_due = clock_mono() + (int64_t)q->s->slurm.query_seconds * NS_PER_S;
    if (end->late || end->status != 0) {
        if (!q->deaf)
            log_warn(AT(.stage = "job"), "squeue does not answer, jobs wait and what runs is still "
                     "followed by its files: %s", end->late ? "it took too long" : end->err);
        q->deaf = true;
        return;
    }
    if (q->deaf)
        log_info(AT(.stage = "job"), "squeue answers again");
    q->deaf = false;
    char *text = strdup(end->out), *rest = text;
    for (char *line; text && (line = strsep(&rest, "\n"));)
        if (split(line, &l))
            take_line(q, &l);
    if (text)
        weigh(q);
    free(text);
    slurm_soon(q);
}

/* ---- what is to be asked ---- */

static void ask_squeue(struct slurm *q)
{
    char *argv[] = {"squeue", "--noheader", "--array", "--me", "--states=all",
                    "--format=%F|%K|%T|%N|%j|%k", NULL};
    struct tool_order o = {argv, q->s->slurm.call_seconds, on_squeue, q};
    struct fault why;
    q->asked_at = clock_mono();
    if (tool_run(q->loop, &o, &q->query, &why) != ST_OK) {
        q->query_due = q->asked_at + (int64_t)q->s->slurm.query_seconds * NS_PER_S;
        if (!q->deaf)
            log_warn(AT(.stage = "job"), "%s", why.text);
        q->deaf = true;
    }
}

static void on_scancel(void *ctx, const struct tool_end *end)
{
    struct slurm *q = ctx;
    q->cancel = NULL;
    if (end->status != 0)
        log_warn(AT(.stage = "job"), "scancel: %s", end->late ? "no answer" : end->err);
    q->query_due = 0;
}

static void ask_scancel(struct slurm *q, struct slurm_array *a, struct slurm_task *t)
{
    char id[48];
    struct fault why;
    pull_text(id, sizeof id, "%s_%d", a->id, t->number);
    char *argv[] = {"scancel", id, NULL};
    struct tool_order o = {argv, PROBE_S, on_scancel, q};
    if (tool_run(q->loop, &o, &q->cancel, &why) != ST_OK)
        log_warn(AT(.stage = "job"), "%s", why.text);
}

void slurm_ask(struct slurm *q)
{
    bool any = false;
    for (struct slurm_array *a = q->arrays; a; a = a->next) {
        any = any || a->phase >= SLURM_UNSURE;
        for (struct slurm_task *t = a->tasks; a->phase == SLURM_QUEUED && t; t = t->next) {
            if (t->ended)
                continue;
            if (t->cancelled && !t->asked && !q->cancel) {
                t->asked = true;
                ask_scancel(q, a, t);
            }
            if (t->strange >= TWICE && !q->probed)
                ask_scontrol(q, a, t);
        }
    }
    if (any && !q->query && clock_mono() >= q->query_due)
        ask_squeue(q);
}
