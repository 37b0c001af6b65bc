/* A batch system in simulated time, for the runner's decisions: sbatch, squeue, scontrol, sacct,
 * scancel and their PBS counterparts as functions that answer when the model says, or hang, or
 * fail after they were heard; a controller that can be away; nodes that keep job_task.h's rules
 * with the real files. One second is one call of model_step. */
#ifndef SKYFERRY_BATCH_MODEL_H
#define SKYFERRY_BATCH_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/job_batch.h"
#include "tests/unit/scratch.h"

#define MODEL_ARRAYS 256
#define MODEL_TASKS 8
#define MODEL_CALLS 64

enum model_fault {
    FINE,
    REFUSED,      /* it says no and means it */
    TAKEN_DIED,   /* it has the job, and dies before it says so */
    TAKEN_HANGS,
    HANGS,        /* and has not got it */
    SLEEPS,       /* it waits for a place, 40 s, and only then hands it over */
    TAKEN_LATER,  /* it fails; the job arrives all the same, some time after */
    TAKEN_BABBLES /* it has the job and says something else */
};

struct model_task {
    int number;
    char state[16];
    int64_t begins, ends; /* seconds */
    int64_t heard;        /* when its end is seen by the daemon's node; 0: it is */
    bool running, over;
};

struct model_array {
    int id, count;
    char key[TASK_KEY], folder[PULL_PATH], name[320];
    int64_t arrives;
    struct model_task tasks[MODEL_TASKS];
};

struct model_call {
    bool pending, late, answered_early, submits;
    char words[12][PULL_PATH];
    int count, status;
    int64_t due;
    const char *err;
    char *out;
    void (*done)(void *ctx, const struct tool_end *end);
    void *ctx;
};

static struct model {
    int64_t now, away_until; /* s; away: no program gets an answer, nothing is begun */
    bool forgets;            /* what is over is gone from the queue at once */
    const char *reason;      /* why squeue says that tasks wait */
    const char *accounting;  /* sacct's answer; NULL: there is none */
    bool pbs;
    int task_s;              /* how long a task takes */
    int words_late;          /* ended.json is seen so many seconds after the end */
    bool nodes_die;          /* tasks end without a word, in... */
    const char *dead_state;  /* ...this state */
    enum model_fault next;   /* of the next submission */
    int submissions, queries, probes, cancels;
    int submitting, most_submitting; /* at a time */
    int array_count;
    struct model_array arrays[MODEL_ARRAYS];
    struct model_call calls[MODEL_CALLS];
    void (*began)(const char *folder); /* a node begins the job itself */
} model;

static int64_t model_now(void)
{
    return model.now * NS_PER_S;
}

static inline bool model_is_away(void)
{
    return model.now < model.away_until;
}

/* ---- the nodes ---- */

static inline void model_write(const char *folder, const char *file, const char *text)
{
    char path[PULL_PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static inline void model_task_name(const struct model_array *a, int number, char out[BATCH_ID])
{
    if (!model.pbs)
        snprintf(out, BATCH_ID, "%d_%d", a->id, number);
    else if (a->count > 1)
        snprintf(out, BATCH_ID, "%d[%d]", a->id, number);
    else
        snprintf(out, BATCH_ID, "%d", a->id);
}

/* As `skyferry-pull task` does: the order's key, then the claim. */
static inline bool model_claims(const struct model_array *a, const char *folder, const char *me)
{
    char handle[JOB_HANDLE], path[PULL_PATH + 32], text[256];
    struct task_report r;
    if (!task_handle(folder, handle) || strcmp(strchr(handle, ' ') + 1, a->key) != 0)
        return false;
    snprintf(path, sizeof path, "%s/claim.json", folder);
    if (access(path, F_OK) == 0 && (!task_look(folder, a->key, &r) || strcmp(r.batch, me) != 0))
        return false;
    snprintf(path, sizeof path, "%s/ended.json", folder);
    unlink(path);
    snprintf(text, sizeof text, "{\"key\":\"%s\",\"batch\":\"%s\",\"node\":\"node1\","
             "\"started_ns\":%lld}", a->key, me, (long long)model_now());
    model_write(folder, "claim.json", text);
    return true;
}

static inline void model_begin(struct model_array *a, struct model_task *t)
{
    char folder[PULL_PATH + 16], me[BATCH_ID];
    snprintf(folder, sizeof folder, "%s/q%d", a->folder, t->number);
    model_task_name(a, t->number, me);
    t->running = model_claims(a, folder, me);
    t->over = !t->running;
    t->ends = model.now + model.task_s;
    snprintf(t->state, sizeof t->state, "%s", t->running ? "RUNNING" : "COMPLETED");
    if (t->running && model.began)
        model.began(folder);
}

static inline void model_end(struct model_array *a, struct model_task *t, bool stopped)
{
    char folder[PULL_PATH + 16], me[BATCH_ID], text[512];
    snprintf(folder, sizeof folder, "%s/q%d", a->folder, t->number);
    model_task_name(a, t->number, me);
    t->running = false;
    t->over = true;
    snprintf(t->state, sizeof t->state, "%s", model.nodes_die ? model.dead_state : "COMPLETED");
    if (model.nodes_die)
        return;
    snprintf(text, sizeof text, "{\"key\":\"%s\",\"batch\":\"%s\",\"node\":\"node1\","
             "\"started_ns\":%lld,\"ended_ns\":%lld,\"ok\":%s,\"stopped\":%s,\"exit_status\":%d,"
             "\"words\":\"\"}", a->key, me, (long long)(t->ends - model.task_s) * NS_PER_S,
             (long long)model_now(), stopped ? "false" : "true", stopped ? "true" : "false",
             stopped ? 143 : 0);
    model_write(folder, model.words_late ? "late.json" : "ended.json", text);
    t->heard = model.words_late ? model.now + model.words_late : 0;
}

static inline void model_hear(const struct model_array *a, struct model_task *t)
{
    char late[PULL_PATH + 32], path[PULL_PATH + 32];
    snprintf(late, sizeof late, "%s/q%d/late.json", a->folder, t->number);
    snprintf(path, sizeof path, "%s/q%d/ended.json", a->folder, t->number);
    assert_int_equal(rename(late, path), 0);
    t->heard = 0;
}

/* Put back into the queue while it runs, as by scontrol requeue or a preemption. */
static inline void model_requeue(struct model_array *a, struct model_task *t)
{
    model_end(a, t, true);
    t->over = false;
    t->begins = model.now + 20;
    snprintf(t->state, sizeof t->state, "PENDING");
}

/* ---- the controller ---- */

/* sbatch's or qsub's line, read as the real one would. */
static inline struct model_array *model_take(const struct model_call *c, int64_t arrives)
{
    assert_true(model.array_count < MODEL_ARRAYS);
    struct model_array *a = &model.arrays[model.array_count];
    *a = (struct model_array){.id = 1000 + model.array_count++, .arrives = arrives};
    const char *list = "", *output = "";
    for (int i = 1; i < c->count; i++) {
        const char *w = c->words[i];
        if (strncmp(w, "--job-name=", 11) == 0)
            snprintf(a->name, sizeof a->name, "%.300s", w + 11);
        else if (strcmp(w, "-N") == 0)
            snprintf(a->name, sizeof a->name, "%.300s", c->words[i + 1]);
        else if (strncmp(w, "--array=", 8) == 0)
            list = w + 8;
        else if (strncmp(w, "-J", 2) == 0)
            list = w + 2;
        else if (strncmp(w, "--output=", 9) == 0)
            output = w + 9;
        else if (strcmp(w, "-o") == 0)
            output = c->words[i + 1];
    }
    snprintf(a->key, sizeof a->key, "%s", strrchr(a->name, '.') + 1);
    const char *q = strstr(output, "/q");
    for (const char *next; q && (next = strstr(q + 1, "/q"));)
        q = next;
    assert_non_null(q);
    snprintf(a->folder, sizeof a->folder, "%.*s", (int)(q - output), output);
    int from = 0, to = 0;
    if (!list[0])
        list = q + 2; /* PBS, one task: the folder tells */
    for (const char *p = list; *p >= '0' && *p <= '9';) {
        char *end;
        from = to = (int)strtol(p, &end, 10);
        if (*end == '-')
            to = (int)strtol(end + 1, &end, 10);
        for (; from <= to && a->count < MODEL_TASKS; from++)
            a->tasks[a->count++] = (struct model_task){.number = from, .state = "PENDING",
                                                       .begins = arrives + 3};
        p = *end == ',' ? end + 1 : end;
        if (*end != ',')
            break;
    }
    return a;
}

static inline struct model_task *model_find(const char *name, struct model_array **array)
{
    char me[BATCH_ID];
    for (int i = 0; i < model.array_count; i++)
        for (int k = 0; k < model.arrays[i].count; k++) {
            *array = &model.arrays[i];
            model_task_name(*array, (*array)->tasks[k].number, me);
            if (strcmp(me, name) == 0 && (*array)->arrives <= model.now)
                return &(*array)->tasks[k];
        }
    return NULL;
}

static inline void model_states(struct buf *out)
{
    for (int i = 0; i < model.array_count; i++)
        for (int k = 0; k < model.arrays[i].count; k++) {
            const struct model_array *a = &model.arrays[i];
            const struct model_task *t = &a->tasks[k];
            char me[BATCH_ID];
            if (a->arrives > model.now || (t->over && model.forgets))
                continue;
            model_task_name(a, t->number, me);
            if (model.pbs)
                buf_printf(out, "Job Id: %s.pbs\n    Job_Name = %s\n    job_state = %c\n%s\n", me,
                           a->name, t->over ? (a->count > 1 ? 'X' : 'F') : t->running ? 'R' : 'Q',
                           t->over ? model.nodes_die ? "    Exit_status = 265\n"
                                                     : "    Exit_status = 0\n" : "");
            else
                buf_printf(out, "%d|%d|%s|%s|%s|%s|skyferry %s\n", a->id, t->number, t->state,
                           t->running ? "node1" : "", t->running || t->over ? "None" : model.reason,
                           a->name, a->key);
        }
}

/* One program's answer now; what a fault withholds is set when it is called. */
static inline void model_answer(struct model_call *c, struct buf *out)
{
    const char *program = c->words[0];
    struct model_array *a;
    struct model_task *t;
    if (strcmp(program, "squeue") == 0 || strcmp(program, "qstat") == 0) {
        model_states(out);
    } else if (strcmp(program, "qselect") == 0) {
        for (int i = 0; i < model.array_count; i++)
            if (strcmp(model.arrays[i].name, c->words[c->count - 1]) == 0 &&
                model.arrays[i].arrives <= model.now)
                buf_printf(out, "%d%s.pbs\n", model.arrays[i].id, model.arrays[i].count > 1 ? "[]"
                                                                                             : "");
    } else if (strcmp(program, "scontrol") == 0) {
        t = model_find(c->words[4], &a);
        if (!t || (t->over && model.forgets)) {
            c->status = 1;
            c->err = "slurm_load_jobs error: Invalid job id specified";
        } else {
            buf_printf(out, "JobId=1 JobState=%s Reason=None ExitCode=0:0 NodeList=node1\n",
                       t->state);
        }
    } else if (strcmp(program, "sacct") == 0) {
        buf_printf(out, "%s", model.accounting ? model.accounting : "");
        c->status = !model.accounting;
    } else if (strcmp(program, "scancel") == 0 || strcmp(program, "qdel") == 0) {
        t = model_find(c->words[1], &a);
        if (t && t->running)
            model_end(a, t, true);
        if (t && !t->over)
            t->over = true;
        if (t)
            snprintf(t->state, sizeof t->state, "CANCELLED");
    }
}

static inline void model_submitted(struct model_call *c, const struct tool_order *o,
                                   struct buf *out)
{
    static const char id[][16] = {"%d\n", "%d[].pbs\n", "%d.pbs\n"};
    enum model_fault fault = model.next;
    model.next = FINE;
    model.submissions++;
    c->answered_early = true;
    struct model_array *a = fault == REFUSED || fault == HANGS ? NULL
                            : model_take(c, model.now + (fault == TAKEN_LATER ? 200 : fault == SLEEPS ? 40
                                                                                            : 0));
    c->late = fault == HANGS || fault == TAKEN_HANGS;
    c->due = model.now + (c->late ? o->timeout_s : fault == SLEEPS ? 41 : 1);
    c->status = c->late || fault == TAKEN_DIED ? 137 : fault == REFUSED || fault == TAKEN_LATER;
    c->err = c->status ? "Socket timed out on send/recv operation" : "";
    if (fault == FINE || fault == SLEEPS)
        buf_printf(out, model.pbs ? a->count > 1 ? id[1] : id[2] : id[0], a->id);
    else if (fault == TAKEN_BABBLES)
        buf_printf(out, "Submitted. Have a nice day\n");
}

static enum status model_call(struct loop *l, const struct tool_order *o, struct tool **result,
                              struct fault *why)
{
    (void)l;
    struct model_call *c = model.calls;
    while (c < model.calls + MODEL_CALLS && c->pending)
        c++;
    if (c == model.calls + MODEL_CALLS)
        return fault(why, ST_RETRY, "too many processes");
    *c = (struct model_call){.pending = true, .err = "", .done = o->done, .ctx = o->ctx,
                             .due = model.now + 1};
    for (; o->argv[c->count] && c->count < 12; c->count++)
        snprintf(c->words[c->count], sizeof c->words[0], "%s", o->argv[c->count]);
    struct buf out = {0};
    bool submits = strcmp(o->argv[0], "sbatch") == 0 || strcmp(o->argv[0], "qsub") == 0;
    model.queries += strcmp(o->argv[0], "squeue") == 0 || strcmp(o->argv[0], "qstat") == 0 ||
                     strcmp(o->argv[0], "qselect") == 0;
    assert_int_equal(o->timeout_s, 60); /* [jobs] slurm_call_seconds bounds them all */
    c->submits = submits;
    model.submitting += submits;
    if (model.submitting > model.most_submitting)
        model.most_submitting = model.submitting;
    model.cancels += strcmp(o->argv[0], "scancel") == 0 || strcmp(o->argv[0], "qdel") == 0;
    model.probes += strcmp(o->argv[0], "scontrol") == 0;
    if (model_is_away()) {
        model.submissions += submits;
        c->answered_early = true;
        c->due = model.now + 10;
        c->status = 1;
        c->err = "error: Unable to contact slurm controller (connect failure)";
    } else if (submits) {
        model_submitted(c, o, &out);
    }
    buf_append(&out, "", 1);
    c->out = (char *)out.data;
    *result = (struct tool *)(void *)c;
    return ST_OK;
}

static inline void model_finish(struct model_call *c)
{
    struct buf out = {0};
    if (!c->answered_early) {
        model_answer(c, &out);
        buf_append(&out, "", 1);
        free(c->out);
        c->out = (char *)out.data;
    }
    struct tool_end end = {.began = true, .late = c->late, .status = c->status, .err = c->err,
                           .out = c->out};
    void (*done)(void *ctx, const struct tool_end *end) = c->done;
    c->pending = false;
    model.submitting -= c->submits;
    char *text = c->out;
    c->out = NULL;
    if (done)
        done(c->ctx, &end);
    free(text);
}

static inline void model_step(void)
{
    model.now++;
    for (int i = 0; i < model.array_count; i++)
        for (int k = 0; k < model.arrays[i].count; k++) {
            struct model_array *a = &model.arrays[i];
            struct model_task *t = &a->tasks[k];
            if (t->heard && t->heard <= model.now)
                model_hear(a, t);
            if (t->running && t->ends <= model.now)
                model_end(a, t, false);
            else if (!t->running && !t->over && a->arrives <= model.now &&
                     t->begins <= model.now && !model_is_away())
                model_begin(a, t);
        }
    for (int i = 0; i < MODEL_CALLS; i++)
        if (model.calls[i].pending && model.calls[i].due <= model.now)
            model_finish(&model.calls[i]);
}

/* The daemon that called them is dead: they go on, and nobody hears of it. */
static inline void model_orphan(struct batch *q)
{
    for (int i = 0; i < MODEL_CALLS; i++)
        model.calls[i].done = NULL;
    q->query = q->probe = q->cancel = NULL;
    for (struct batch_array *a = q->arrays; a; a = a->next)
        a->sbatch = NULL;
}

static inline void model_reset(void)
{
    for (int i = 0; i < MODEL_CALLS; i++)
        free(model.calls[i].out);
    memset(&model, 0, sizeof model);
    model.now = 1000000;
    model.task_s = 30;
    model.dead_state = "NODE_FAIL";
    model.reason = "Priority";
}

#endif
