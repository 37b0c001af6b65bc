/* What the batch system knows: the states of all arrays, again and again (squeue, qstat); an
 * array of which we are not sure, by its key; and, for a task that is over or not known any more
 * while its folder tells of no end, whatever else can be asked (scontrol, sacct). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "pull/job_batch.h"
#include "pull/task_files.h"

#define CANCEL_AGAIN 3 /* intervals of questions */
#define BATCH_ASK_MORE 1
#define LOST_MOST 3   /* times that a job may be lost with its node before that counts */
#define SILENT_S 120 /* what a folder tells may be seen late over a network */
#define DOUBTED_S 600 /* the controller is the authority */
#define TWICE 2 /* answers in a row: files may come late over a network, and so may a submission */

/* ---- the end of a task that its own folder does not tell ---- */

/* What is known in words: "Slurm's job 12_1: TIMEOUT, TimeLimit". */
static void describe(const struct batch_array *a, struct batch_task *t,
                     const struct batch_said *said, const struct task_report *told)
{
    const struct batch_dialect *d = a->owner->dialect;
    char job[BATCH_ID];
    batch_task_name(a, t, job);
    const char *state = said->state[0] ? said->state
                                       : "not known any more, and it left no word of its end";
    bool fine = said->exit_status == 0 && !told->ended_ns && said->state[0];
    pull_text(t->end.words, sizeof t->end.words, "%s's job %s: %s%s%s%s%s%s", d->system, job, state,
              said->reason[0] ? ", " : "", said->reason, told->ended_ns ? ", " : "",
              told->ended_ns ? told->words : "",
              fine ? ", but it left no word of its end: does the template end in skyferry-pull task?"
                   : "");
    if (told->started_ns)
        return;
    /* It never began: the reason is in what the script said. */
    char path[PULL_PATH], line[160];
    size_t at = strlen(t->end.words);
    pull_text(path, sizeof path, "%s/%s.out", t->folder, d->name);
    task_last_line(path, line, sizeof line);
    if (line[0])
        pull_text(t->end.words + at, sizeof t->end.words - at, ": %s", line);
}

/* It may have ended well, and its word of that only be seen late; not for ever. */
static bool may_be_late(struct batch *q, struct batch_task *t, const struct batch_said *said)
{
    bool well = strncmp(said->state, "COMPLETED", 9) == 0 || strcmp(said->state, "FINISHED") == 0;
    if (t->cancelled || (said->state[0] && !(well && said->exit_status == 0)))
        return false;
    if (!t->silent_since)
        t->silent_since = q->now();
    return q->now() - t->silent_since < SILENT_S * NS_PER_S;
}

/* Lost with its node; a job that takes its nodes down with it is not begun for ever. */
static bool was_lost(struct batch *q, const struct batch_task *t, const struct batch_said *said)
{
    if (strncmp(said->state, "NODE_FAIL", 9) != 0 && strncmp(said->state, "BOOT_FAIL", 9) != 0)
        return false;
    struct batch_lost *l = q->lost;
    while (l && l->id != t->id)
        l = l->next;
    if (!l && (l = calloc(1, sizeof *l))) {
        *l = (struct batch_lost){q->lost, t->id, 0};
        q->lost = l;
    }
    return l && ++l->count <= LOST_MOST;
}

/* Not the job's own doing: it waits again, and no attempt is counted. */
static bool is_no_fault(struct batch_array *a, struct batch_task *t, const struct batch_said *said,
                        bool told)
{
    struct log_at at = {.stage = "job", .exposure = a->name};
    if (t->cancelled)
        return false;
    if (strncmp(said->state, "PREEMPTED", 9) == 0)
        log_info(&at, "q%d was preempted: submitted again", t->number);
    else if (was_lost(a->owner, t, said))
        log_warn(&at, "q%d was lost with node %s (%s): submitted again to another, no attempt "
                 "counted", t->number, t->end.node, t->end.words);
    else if (t->avoid[0] && !told && strcmp(said->reason, "BadConstraints") == 0)
        log_info(&at, "q%d finds no other node than %s: it is run there again", t->number, t->avoid);
    else
        return false;
    return true;
}

static void judge(struct batch_array *a, struct batch_task *t, const struct batch_said *said)
{
    struct task_report r = {0};
    char asked[BATCH_ID], name[BATCH_ID];
    batch_task_name(a, t, asked);
    batch_read(a, t);
    batch_task_name(a, t, name);
    /* Another submission of this array may have it: then that one is asked after. */
    if (t->ended || strcmp(asked, name) != 0 || may_be_late(a->owner, t, said))
        return;
    bool told = task_look(t->folder, a->key, &r);
    if (!told)
        r = (struct task_report){0};
    t->end.started_ns = r.started_ns ? r.started_ns : said->started_ns;
    t->end.ended_ns = r.ended_ns ? r.ended_ns : said->ended_ns;
    t->end.exit_status = r.ended_ns ? r.exit_status : said->exit_status;
    batch_news(t, said->state[0] ? said->state : "UNKNOWN", said->node);
    describe(a, t, said, &r);
    if (is_no_fault(a, t, said, told))
        t->cancelled = true;
    batch_ended(a->owner, t);
}

/* ---- probes ---- */

static void on_probe(void *ctx, const struct tool_end *end);

/* False: there is nothing more to ask, or the program could not be begun. */
static bool begin_probe(struct batch *q)
{
    char task[BATCH_ID];
    struct command c = {0};
    struct fault why;
    batch_task_name(q->probed, q->probed_task, task);
    q->probe_with->call(task, &c);
    struct tool_order o = {c.argv, q->s->slurm.call_seconds, on_probe, q};
    bool ok = c.argc > 0 && q->call(q->loop, &o, &q->probe, &why) == ST_OK;
    command_free(&c);
    return ok;
}

static void end_probe(struct batch *q, const struct batch_said *said)
{
    struct batch_array *a = q->probed;
    struct batch_task *t = q->probed_task;
    q->probed = NULL;
    t->strange = 0;
    if (said && !t->ended)
        judge(a, t, said);
}

/* The queue does not know it; accounting, say, calls it running: for ever, perhaps, when the
 * controller has lost it. */
static bool is_lost(struct batch *q)
{
    struct batch_task *t = q->probed_task;
    if (q->probe_with == q->dialect->probes)
        return false;
    if (!t->doubted_since)
        t->doubted_since = q->now();
    return q->now() - t->doubted_since >= DOUBTED_S * NS_PER_S;
}

/* The next one answers where this one does not know; in the end the queue's last word holds. */
static void on_probe(void *ctx, const struct tool_end *end)
{
    struct batch *q = ctx;
    struct batch_said said;
    q->probe = NULL;
    enum batch_answer answer = q->probe_with->read(end->late ? -1 : end->status, end->out, end->err,
                                                   &said);
    if (answer == BATCH_UNKNOWN) {
        q->probe_with++;
        if (!q->probe_with->call || !begin_probe(q))
            end_probe(q, &q->probed_task->said);
        return;
    }
    if (answer == BATCH_SAID && !said.over && is_lost(q))
        end_probe(q, &q->probed_task->said);
    else
        end_probe(q, answer == BATCH_SAID && said.over ? &said : NULL);
}

static void probe(struct batch *q, struct batch_array *a, struct batch_task *t)
{
    q->probed = a;
    q->probed_task = t;
    q->probe_with = q->dialect->probes;
    if (!q->probe_with->call)
        end_probe(q, &t->said);
    else if (!begin_probe(q))
        q->probed = NULL;
}

/* ---- answers of the queue ---- */

/* By the id, or by the key in comment or name, for a site may rewrite either. */
static bool is_array(const struct batch_array *a, const struct batch_said *said)
{
    static const char ours[] = "skyferry ";
    const char *other = strstr(said->sign, ours);
    if (strstr(said->sign, a->key))
        return true;
    /* Numbers may begin anew: this one is another submission's. */
    if (other && strspn(other + strlen(ours), "0123456789abcdef") == TASK_KEY - 1)
        return false;
    return strcmp(a->id, said->array) == 0;
}

/* Of two submissions of this array the one counts that has the task, or that we know of. */
static bool is_task(const struct batch_array *a, const struct batch_task *t,
                    const struct batch_said *said)
{
    char ours[BATCH_ID], theirs[BATCH_ID];
    if (t->ended || (t->number != said->task && said->task != BATCH_ONLY))
        return false;
    batch_task_name(a, t, ours);
    a->owner->dialect->task_name(said->array, t->number, theirs);
    return strcmp(ours, theirs) == 0;
}

static void take_said(void *ctx, const struct batch_said *said)
{
    struct batch *q = ctx;
    for (struct batch_array *a = q->arrays; a; a = a->next) {
        if (a->phase < BATCH_DUE || !is_array(a, said))
            continue;
        if (a->phase != BATCH_QUEUED)
            batch_known(a, said->array);
        for (struct batch_task *t = a->tasks; t; t = t->next) {
            if (!is_task(a, t, said))
                continue;
            t->told = true;
            if (said->over) {
                t->said = *said;
                t->strange++;
                continue;
            }
            t->strange = 0;
            t->silent_since = t->doubted_since = 0;
            batch_waits(a, t, said);
            batch_news(t, said->state, t->claimed[0] ? "" : said->node); /* the claim knows */
        }
    }
}

/* The queue does not have it: once may be too early, twice it never came. */
static void miss(struct batch *q, struct batch_array *a)
{
    if (q->asked_at <= a->since || ++a->misses < TWICE)
        return;
    for (struct batch_task *t = a->tasks; t; t = t->next)
        if (t->cancelled && !t->ended)
            batch_withdraw(a, t);
    if (a->phase != BATCH_UNSURE || q->now() < a->due)
        return; /* it is looked for until it may be submitted again */
    a->phase = BATCH_DUE;
    log_info(AT(.stage = "job", .exposure = a->name), "%s does not have its jobs: submitted again",
             q->dialect->system);
}

/* After an answer about these arrays. */
static void weigh(struct batch *q)
{
    for (struct batch_array *a = q->arrays; a; a = a->next) {
        if (!a->asked)
            continue;
        a->asked = false;
        if (a->phase == BATCH_UNSURE)
            miss(q, a);
        for (struct batch_task *t = a->tasks; a->phase == BATCH_QUEUED && t; t = t->next) {
            t->strange += !t->told && !t->ended;
            t->told = false;
        }
    }
}

static void end_round(struct batch *q)
{
    q->asking = false;
    q->query_due = q->now() + (int64_t)q->s->slurm.query_seconds * NS_PER_S;
}

static void turn_deaf(struct batch *q, const char *name, const char *words)
{
    if (!q->deaf)
        log_warn(AT(.stage = "job"), "%s does not answer, jobs wait and what runs is still "
                 "followed by its files: %s", name, words);
    q->deaf = true;
    end_round(q);
}

static void hear(struct batch *q)
{
    if (q->deaf)
        log_info(AT(.stage = "job"), "%s answers again", q->dialect->states_name);
    q->deaf = false;
    batch_soon(q);
}

static void on_states(void *ctx, const struct tool_end *end)
{
    struct batch *q = ctx;
    q->query = NULL;
    if (end->late || !q->dialect->heard(end->status, end->err)) {
        turn_deaf(q, q->dialect->states_name, end->late ? "it took too long" : end->err);
        return;
    }
    char *text = strdup(end->out);
    if (text) {
        q->dialect->read_states(text, take_said, q);
        weigh(q);
    }
    free(text);
    hear(q);
}

static void on_find(void *ctx, const struct tool_end *end)
{
    struct batch *q = ctx;
    struct batch_array *a = q->sought;
    char id[BATCH_ID];
    q->query = NULL;
    q->sought = NULL;
    if (end->late || end->status != 0) {
        turn_deaf(q, "the search for a job", end->late ? "it took too long" : end->err);
        return;
    }
    if (a->phase == BATCH_UNSURE) {
        if (q->dialect->read_id(end->out, id))
            batch_known(a, id);
        else
            miss(q, a);
    }
    hear(q);
}

/* ---- what is to be asked ---- */

/* Not yet asked after in this round; those of which we are not sure, or those that are known. */
static struct batch_array *to_ask(struct batch *q, bool unsure)
{
    struct batch_array *a = q->arrays;
    while (a && (a->asked_at == q->asked_at ||
                 a->phase != (unsure ? BATCH_UNSURE : BATCH_QUEUED)))
        a = a->next;
    return a;
}

static bool call_find(struct batch *q, struct batch_array *a, struct command *c, struct fault *why)
{
    int first = a->tasks ? a->tasks->number : 1;
    struct batch_submission b = {a->name, a->key, a->folder, "", &first, 1, NULL};
    a->asked_at = q->asked_at;
    q->sought = a;
    return q->dialect->find(q->s, &b, c, why);
}

/* The array's id, and that of another submission of it that has a task. */
static size_t add_ids(const struct batch_array *a, char ids[][BATCH_ID], size_t count)
{
    char other[BATCH_ID];
    pull_text(ids[count++], BATCH_ID, "%s", a->id);
    for (const struct batch_task *t = a->tasks; t; t = t->next) {
        a->owner->dialect->array_name(t->claimed, other);
        if (t->ended || !other[0] || strcmp(other, a->id) == 0)
            continue;
        pull_text(ids[count++], BATCH_ID, "%s", other);
        break;
    }
    return count;
}

/* As many as one call names; one that names none is about all of them. */
static bool call_states(struct batch *q, struct command *c, struct fault *why)
{
    char ids[BATCH_ASK_MOST + BATCH_ASK_MORE][BATCH_ID];
    const char *list[BATCH_ASK_MOST + BATCH_ASK_MORE];
    size_t count = 0;
    bool all = !q->dialect->find;
    for (struct batch_array *a = q->arrays; a; a = a->next) {
        bool due = a->phase == BATCH_QUEUED && a->asked_at != q->asked_at;
        a->asked = all || (due && count < BATCH_ASK_MOST);
        if (!a->asked)
            continue;
        a->asked_at = q->asked_at;
        if (!all)
            count = add_ids(a, ids, count);
    }
    for (size_t i = 0; i < count; i++)
        list[i] = ids[i];
    return q->dialect->states(q->s, list, count, c, why);
}

/* The round's next question; its end when there is none. */
static void ask_on(struct batch *q)
{
    struct batch_array *unsure = to_ask(q, true);
    struct command c = {0};
    struct fault why;
    bool ok, find = unsure && q->dialect->find;
    if (!unsure && !to_ask(q, false)) {
        end_round(q);
        return;
    }
    ok = find ? call_find(q, unsure, &c, &why) : call_states(q, &c, &why);
    struct tool_order o = {c.argv, q->s->slurm.call_seconds, find ? on_find : on_states, q};
    ok = ok && q->call(q->loop, &o, &q->query, &why) == ST_OK;
    command_free(&c);
    if (ok)
        return;
    q->sought = NULL;
    turn_deaf(q, q->dialect->states_name, why.text);
}

static void on_cancel(void *ctx, const struct tool_end *end)
{
    struct batch *q = ctx;
    q->cancel = NULL;
    if (end->late || end->status != 0)
        log_warn(AT(.stage = "job"), "%s: %s", q->dialect->cancel_name,
                 end->late ? "no answer" : end->err);
    q->cancelling = true;
    batch_soon(q);
}

static void ask_cancel(struct batch *q, struct batch_array *a, struct batch_task *t)
{
    char task[BATCH_ID];
    struct command c = {0};
    struct fault why;
    batch_task_name(a, t, task);
    bool ok = q->dialect->cancel(q->s, task, &c, &why);
    t->cancel_due = q->now() + (int64_t)CANCEL_AGAIN * q->s->slurm.query_seconds * NS_PER_S;
    struct tool_order o = {c.argv, q->s->slurm.call_seconds, on_cancel, q};
    if (!ok || q->call(q->loop, &o, &q->cancel, &why) != ST_OK)
        log_warn(AT(.stage = "job"), "%s", why.text);
    command_free(&c);
}

void batch_ask(struct batch *q)
{
    bool any = false;
    for (struct batch_array *a = q->arrays; a; a = a->next) {
        any = any || a->phase >= BATCH_UNSURE;
        for (struct batch_task *t = a->tasks; a->phase == BATCH_QUEUED && t; t = t->next) {
            if (t->ended)
                continue;
            if (t->cancelled && !q->cancel && q->now() >= t->cancel_due)
                ask_cancel(q, a, t);
            if (t->strange >= TWICE && !q->probed)
                probe(q, a, t);
        }
    }
    /* One question after the last that was cancelled, not one after each. */
    if (q->cancelling && !q->cancel) {
        q->cancelling = false;
        q->query_due = 0;
    }
    if (any && !q->query && !q->asking && q->now() >= q->query_due) {
        q->asking = true;
        q->asked_at = q->now();
    }
    if (q->asking && !q->query)
        ask_on(q);
}
