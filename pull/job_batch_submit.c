/* The array's script, and sbatch. */
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "common/lookup.h"
#include "pull/job_batch.h"
#include "pull/job_template.h"

#define AVOIDED 480 /* characters of names of nodes */
#define MOST_TASKS CAMERA_CCD_MAX

enum status batch_script(const struct pull_settings *s, const char *folder, int first,
                         const char *key, char path[PULL_PATH], struct fault *why)
{
    char self[PULL_PATH];
    struct buf text = {0};
    if (!lookup_program(self, sizeof self))
        return fault_errno(why, ST_RETRY, "cannot tell where skyferry-pull lies");
    struct script_values v = {fs_basename(folder), folder, key, self, first};
    const struct batch_dialect *d = dialect_find(s->runner);
    enum status st = template_fill(s, &v, &text, why);
    if (st == ST_OK && !pull_text(path, PULL_PATH, "%s/%s_q%d%s", folder, v.name, first,
                                 d ? d->ending : ""))
        st = fault(why, ST_REJECT, "the folder's name is too long: '%s'", folder);
    if (st == ST_OK)
        st = fs_write_file(path, text.data, text.len, false, why);
    buf_free(&text);
    return st;
}

/* It did not go, for now; said when it is news. sent: whether it was is for the queue to say. */
static void put_off(struct batch_array *a, bool sent, const char *words)
{
    int64_t s = a->owner->s->slurm.query_seconds;
    a->due = a->owner->now() + s * (a->refused < 5 ? 1 + a->refused : 6) * NS_PER_S;
    a->refused++;
    a->owner->refused = true;
    if (strcmp(a->trouble, words) == 0)
        return;
    pull_text(a->trouble, sizeof a->trouble, "%s", words);
    if (sent)
        log_error(AT(.stage = "job", .exposure = a->name), "%s did not confirm its jobs; what %s "
                  "does not have is submitted again: %s", a->owner->dialect->submit_name,
                  a->owner->dialect->system, words);
    else
        log_error(AT(.stage = "job", .exposure = a->name), "its jobs wait, for %s cannot be called; "
                  "tried again until it can: %s", a->owner->dialect->submit_name, words);
    for (struct batch_task *t = a->tasks; t; t = t->next)
        t->news = !t->ended;
}

void batch_known(struct batch_array *a, const char *id)
{
    pull_text(a->id, sizeof a->id, "%s", id);
    a->phase = BATCH_QUEUED;
    a->misses = 0;
    a->owner->refused = false;
    a->trouble[0] = '\0';
    for (struct batch_task *t = a->tasks; t; t = t->next) {
        t->strange = 0;
        if (!t->ended && !t->end.state[0])
            batch_news(t, "PENDING", "");
        t->news = !t->ended;
    }
    log_info(AT(.stage = "job", .exposure = a->name), "in %s's queue as %s",
             a->owner->dialect->system, id);
    batch_soon(a->owner);
}

/* Whatever else it says than an id, the queue has the last word. */
static void on_sbatch(void *ctx, const struct tool_end *end)
{
    struct batch_array *a = ctx;
    char id[BATCH_ID], words[256];
    a->sbatch = NULL;
    crash_point("slurm:submitted");
    if (a->phase == BATCH_QUEUED)
        return; /* a task's claim told sooner */
    if (!end->late && end->status == 0 &&
        a->owner->dialect->read_id(end->out, id)) {
        batch_known(a, id);
        return;
    }
    if (end->late)
        pull_text(words, sizeof words, "no answer within %d s ([jobs] slurm_call_seconds)",
                  a->owner->s->slurm.call_seconds);
    else if (end->status == 0)
        pull_text(words, sizeof words, "it printed no job's id but '%.*s'",
                  (int)strcspn(end->out, "\n") < 150 ? (int)strcspn(end->out, "\n") : 150, end->out);
    else
        pull_text(words, sizeof words, "exit status %d: %.200s", end->status, end->err);
    a->phase = BATCH_UNSURE;
    a->since = a->owner->now();
    a->misses = 0;
    put_off(a, true, words);
    batch_soon(a->owner);
}

/* Those that are to run, ascending; the orders came in that order. */
static size_t list_tasks(const struct batch_array *a, int *numbers)
{
    size_t count = 0;
    for (const struct batch_task *t = a->tasks; t && count < MOST_TASKS; t = t->next)
        if (!t->ended && t->released) {
            size_t at = count++;
            for (; at > 0 && numbers[at - 1] > t->number; at--)
                numbers[at] = numbers[at - 1];
            numbers[at] = t->number;
        }
    return count;
}

/* "a,b": nodes where an attempt failed by the node's fault. */
static void list_avoided(const struct batch_array *a, char out[AVOIDED])
{
    out[0] = '\0';
    for (const struct batch_task *t = a->tasks; t; t = t->next) {
        size_t at = strlen(out);
        if (t->avoid[0] && !t->ended && !strstr(out, t->avoid))
            pull_text(out + at, AVOIDED - at, "%s%s", at ? "," : "", t->avoid);
    }
}

static enum status call(struct batch_array *a, const struct batch_submission *b, struct fault *why)
{
    struct batch *q = a->owner;
    struct command c = {0};
    enum status st = ST_REJECT;
    if (q->dialect->submit(q->s, b, &c, why)) {
        struct tool_order o = {c.argv, q->s->slurm.call_seconds, on_sbatch, a};
        st = q->call(q->loop, &o, &a->sbatch, why);
    }
    command_free(&c);
    return st;
}

void batch_submit(struct batch_array *a)
{
    struct fault why;
    char script[PULL_PATH];
    int numbers[MOST_TASKS];
    char avoided[AVOIDED];
    struct batch_submission b = {a->name, a->key, a->folder, script, numbers, 0, avoided};
    list_avoided(a, avoided);
    b.count = list_tasks(a, numbers);
    if (b.count == 0)
        return;
    enum status st = batch_script(a->owner->s, a->folder, numbers[0], a->key, script, &why);
    if (st == ST_OK) {
        crash_point("slurm:before");
        st = call(a, &b, &why);
    }
    if (st == ST_OK)
        a->phase = BATCH_SUBMITTING;
    else
        put_off(a, false, why.text);
}
