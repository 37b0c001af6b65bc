/* Orders in, ends out: the tasks of every array, what their folders tell, and the clock. */
#include "pull/job_batch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/gate.h"

#define TICK_MS 1000
#define LOOKS 512       /* with more jobs than that their folders have their turns */
#define SUBMITTING_MOST 2
#define SOON_MS 50
#define MARGIN_S 5 /* a call of the daemon before us may live as long as its time limit, and be heard */

/* ---- what is told of a task ---- */

void batch_task_name(const struct batch_array *a, const struct batch_task *t, char out[BATCH_ID])
{
    if (t->claimed[0])
        pull_text(out, BATCH_ID, "%s", t->claimed);
    else
        a->owner->dialect->task_name(a->id, t->number, out);
}

void batch_news(struct batch_task *t, const char *state, const char *node)
{
    if (strcmp(t->end.state, state) == 0 && (!node[0] || strcmp(t->end.node, node) == 0))
        return;
    pull_text(t->end.state, sizeof t->end.state, "%s", state);
    if (node[0])
        pull_text(t->end.node, sizeof t->end.node, "%s", node);
    t->news = true;
}

void batch_waits(struct batch_array *a, struct batch_task *t, const struct batch_said *said)
{
    const char *why = said->turn || t->claimed[0] ? "" : said->reason;
    if (strcmp(t->waits, why) == 0)
        return;
    pull_text(t->waits, sizeof t->waits, "%s", why);
    t->news = true;
    if (said->held)
        log_warn(AT(.stage = "job", .exposure = a->name), "q%d is held in %s's queue (%s): it waits "
                 "until somebody releases it or cancels it there", t->number,
                 a->owner->dialect->system, why);
}

void batch_ended(struct batch *q, struct batch_task *t)
{
    t->ended = true;
    t->end.cancelled = t->cancelled;
    t->end.news = false;
    q->wake(q->ctx);
}

void batch_withdraw(struct batch_array *a, struct batch_task *t)
{
    task_withdraw(t->folder, a->key);
    batch_read(a, t);
    if (!t->ended && !t->claimed[0])
        batch_ended(a->owner, t);
}

void batch_soon(struct batch *q)
{
    loop_timer_set(q->tick, SOON_MS, TICK_MS);
}

/* A claim tells that Slurm took the array, and an end that was not forced from outside is one. */
void batch_read(struct batch_array *a, struct batch_task *t)
{
    struct task_report r;
    char id[BATCH_ID];
    if (t->ended || !t->released || !task_look(t->folder, a->key, &r))
        return;
    pull_text(t->claimed, sizeof t->claimed, "%s", r.batch);
    if (a->phase != BATCH_GATHERING && a->phase != BATCH_QUEUED && r.batch[0]) {
        a->owner->dialect->array_name(r.batch, id);
        batch_known(a, id);
    }
    /* Told once: after that the queue may know better (suspended, put back). */
    if (r.ended_ns == 0 && t->end.started_ns != r.started_ns)
        batch_news(t, "RUNNING", r.node);
    t->end.started_ns = r.started_ns;
    if (r.ended_ns == 0 || (r.stopped && !r.ok))
        return;
    t->end.ok = r.ok;
    t->end.exit_status = r.exit_status;
    t->end.ended_ns = r.ended_ns;
    pull_text(t->end.words, sizeof t->end.words, "%s", r.words);
    batch_news(t, r.ok ? "COMPLETED" : "FAILED", r.node);
    batch_ended(a->owner, t);
}

/* ---- the clock ---- */

static void free_array(struct batch_array *a)
{
    tool_drop(&a->sbatch);
    while (a->tasks) {
        struct batch_task *gone = a->tasks;
        a->tasks = gone->next;
        free(gone);
    }
    free(a);
}

static bool all_taken(const struct batch_array *a)
{
    for (const struct batch_task *t = a->tasks; t; t = t->next)
        if (!t->taken)
            return false;
    return true;
}

static void forget_finished(struct batch *q)
{
    for (struct batch_array **p = &q->arrays; *p;) {
        struct batch_array *a = *p;
        if (a->phase == BATCH_GATHERING || a->sbatch || q->probed == a ||
            q->sought == a || !all_taken(a)) {
            p = &a->next;
            continue;
        }
        *p = a->next;
        free_array(a);
    }
}

static bool has_news(const struct batch *q)
{
    for (const struct batch_array *a = q->arrays; a; a = a->next)
        for (const struct batch_task *t = a->tasks; t; t = t->next)
            if (t->news || (t->ended && !t->taken))
                return true;
    return false;
}

/* The folders of one array in so many are looked at in this tick. */
static int64_t turns(const struct batch *q)
{
    int64_t tasks = 1;
    for (const struct batch_array *a = q->arrays; a; a = a->next)
        for (const struct batch_task *t = a->tasks; t; t = t->next)
            tasks += !t->ended;
    return 1 + tasks / q->looks;
}

static void read_folders(struct batch_array *a)
{
    for (struct batch_task *t = a->tasks; t; t = t->next) {
        a->owner->looked += !t->ended;
        batch_read(a, t);
    }
}

/* A few at a time; while it does not go, one tries for all. */
static bool may_submit(const struct batch *q)
{
    int count = 0;
    for (const struct batch_array *a = q->arrays; a; a = a->next)
        count += a->sbatch != NULL;
    return count < (q->refused ? 1 : SUBMITTING_MOST);
}

/* The newest exposure's array is the first of the list. */
void batch_tick(struct batch *q)
{
    int64_t now = q->now(), of = turns(q);
    q->ticks++;
    for (struct batch_array *a = q->arrays; a; a = a->next) {
        if (a->phase == BATCH_GATHERING)
            a->phase = BATCH_DUE;
        bool submits = a->phase == BATCH_DUE && now >= a->due && may_submit(q);
        if (submits || (q->ticks + a->serial) % of == 0)
            read_folders(a);
        if (submits && a->phase == BATCH_DUE && gate_lets_submit(q->gate, a->let)) {
            a->let = 0;
            batch_submit(a);
        }
    }
    forget_finished(q);
    batch_ask(q);
    if (has_news(q))
        q->wake(q->ctx);
    if (!q->arrays)
        loop_timer_set(q->tick, -1, 0);
}

static void on_tick(void *ctx)
{
    batch_tick(ctx);
}

/* ---- the row's functions ---- */

static struct batch_array *new_array(struct batch *q, const struct job_order *o)
{
    struct batch_array *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->owner = q;
    a->serial = q->count++;
    a->group = o->group;
    pull_text(a->folder, sizeof a->folder, "%.*s",
              (int)(fs_basename(o->folder) - o->folder) - 1, o->folder);
    pull_text(a->name, sizeof a->name, "%s", fs_basename(a->folder));
    a->next = q->arrays;
    q->arrays = a;
    return a;
}

static struct batch_task *add_task(struct batch_array *a, const struct job_order *o)
{
    struct batch_task *t = calloc(1, sizeof *t), **last = &a->tasks;
    if (!t)
        return NULL;
    t->id = o->id;
    t->number = o->number;
    t->end = (struct job_end){.id = o->id, .exit_status = -1};
    t->said.exit_status = -1;
    pull_text(t->avoid, sizeof t->avoid, "%s", o->avoid ? o->avoid : "");
    pull_text(t->folder, sizeof t->folder, "%s", o->folder);
    while (*last)
        last = &(*last)->next;
    *last = t;
    return t;
}

static struct batch_array *by_key(struct batch *q, const char *key)
{
    struct batch_array *a = q->arrays;
    while (a && strcmp(a->key, key) != 0)
        a = a->next;
    return a;
}

static enum status batch_order(struct job_runner *r, const struct job_order *o,
                               char handle[JOB_HANDLE], struct fault *why)
{
    struct batch *q = (struct batch *)r;
    enum status st = ST_OK;
    q->s = o->settings;
    q->gate = o->gate;
    struct batch_array *a = q->arrays;
    while (a && (a->phase != BATCH_GATHERING || a->group != o->group))
        a = a->next;
    if (!a && !(a = new_array(q, o)))
        return fault(why, ST_RETRY, "out of memory");
    a->let = clock_mono();
    if (!a->key[0])
        st = task_draw_key(a->key, why);
    if (st == ST_OK)
        st = task_order(o, q->dialect->name, a->key, why);
    if (st == ST_OK && !add_task(a, o))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        pull_text(handle, JOB_HANDLE, "%s %s", q->dialect->name, a->key);
    batch_soon(q); /* also to forget an array that nothing joined */
    return st;
}

static struct batch_task *find(struct batch *q, int64_t id, struct batch_array **array)
{
    for (struct batch_array *a = q->arrays; a; a = a->next)
        for (struct batch_task *t = a->tasks; t; t = t->next)
            if (t->id == id && !t->taken) {
                *array = a;
                return t;
            }
    return NULL;
}

static void batch_release(struct job_runner *r, int64_t id)
{
    struct batch *q = (struct batch *)r;
    struct batch_array *a;
    struct batch_task *t = find(q, id, &a);
    if (t)
        t->released = true;
}

static bool batch_poll(struct job_runner *r, struct job_end *out)
{
    struct batch *q = (struct batch *)r;
    for (struct batch_array *a = q->arrays; a; a = a->next)
        for (struct batch_task *t = a->tasks; t; t = t->next) {
            if (t->taken || !(t->ended || t->news))
                continue;
            if (a->id[0])
                batch_task_name(a, t, t->end.batch);
            if (!t->ended)
                pull_text(t->end.words, sizeof t->end.words, "%s",
                          a->trouble[0] ? a->trouble : t->waits);
            t->end.news = !t->ended;
            t->taken = t->ended;
            t->news = false;
            *out = t->end;
            return true;
        }
    return false;
}

static void batch_cancel(struct job_runner *r, int64_t id)
{
    struct batch *q = (struct batch *)r;
    struct batch_array *a;
    struct batch_task *t = find(q, id, &a);
    if (!t || t->ended)
        return;
    t->cancelled = true;
    if (a->phase <= BATCH_DUE)
        batch_withdraw(a, t); /* it was not submitted */
    batch_soon(q);
}

/* Only what another runner left may come here: ours is adopted. */
static void batch_bury(struct job_runner *r, const char *handle, const char *job_file)
{
    job_local.bury(r, handle, job_file);
}

static enum status batch_adopt(struct job_runner *r, const struct job_order *o,
                               const char *handle, const char *batch, struct fault *why)
{
    struct batch *q = (struct batch *)r;
    const char *key = handle + strlen(q->dialect->name) + 1;
    q->s = o->settings;
    q->gate = o->gate;
    struct batch_array *a = by_key(q, key);
    if (!a && !(a = new_array(q, o)))
        return fault(why, ST_FATAL, "out of memory");
    struct batch_task *t = add_task(a, o);
    if (!t)
        return fault(why, ST_FATAL, "out of memory");
    t->released = true;
    pull_text(a->key, sizeof a->key, "%s", key);
    a->phase = a->id[0] ? BATCH_QUEUED : BATCH_UNSURE;
    a->since = q->now() + (q->s->slurm.call_seconds + MARGIN_S) * NS_PER_S;
    if (batch[0] && !a->id[0]) {
        q->dialect->array_name(batch, a->id);
        a->phase = BATCH_QUEUED;
    }
    batch_soon(q);
    return ST_OK;
}

static void batch_close(struct job_runner **r)
{
    struct batch *q = (struct batch *)*r;
    if (!q)
        return;
    tool_drop(&q->query);
    tool_drop(&q->probe);
    tool_drop(&q->cancel);
    while (q->arrays) {
        struct batch_array *gone = q->arrays;
        q->arrays = gone->next;
        free_array(gone);
    }
    while (q->lost) {
        struct batch_lost *gone = q->lost;
        q->lost = gone->next;
        free(gone);
    }
    loop_timer_free(&q->tick);
    free(q);
    *r = NULL;
}

static enum status batch_open(const struct job_runner_row *row, const struct batch_dialect *dialect,
                              struct loop *loop, void (*wake)(void *ctx), void *ctx,
                              struct job_runner **out, struct fault *why)
{
    struct batch *q = calloc(1, sizeof *q);
    if (q)
        q->tick = loop_timer_new(loop, on_tick, q);
    if (!q || !q->tick) {
        free(q);
        return fault(why, ST_FATAL, "out of memory");
    }
    q->base.row = row;
    q->dialect = dialect;
    q->loop = loop;
    q->wake = wake;
    q->ctx = ctx;
    q->now = clock_mono;
    q->call = tool_run;
    q->looks = LOOKS;
    *out = &q->base;
    return ST_OK;
}

static enum status slurm_open(struct loop *loop, void (*wake)(void *ctx), void *ctx,
                              struct job_runner **out, struct fault *why)
{
    return batch_open(&job_slurm, &dialect_slurm, loop, wake, ctx, out, why);
}

static enum status pbs_open(struct loop *loop, void (*wake)(void *ctx), void *ctx,
                            struct job_runner **out, struct fault *why)
{
    return batch_open(&job_pbs, &dialect_pbs, loop, wake, ctx, out, why);
}

const struct job_runner_row job_slurm = {"slurm",    slurm_open,   batch_order, batch_release,
                                         batch_poll, batch_cancel, batch_bury,  batch_close,
                                         batch_adopt};
const struct job_runner_row job_pbs = {"pbs",      pbs_open,     batch_order, batch_release,
                                       batch_poll, batch_cancel, batch_bury,  batch_close,
                                       batch_adopt};
