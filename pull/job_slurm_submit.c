/* The array's script, and sbatch. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/job_slurm.h"
#include "pull/job_template.h"

enum status slurm_script(const struct pull_settings *s, const char *folder, int first,
                         const char *key, char path[PULL_PATH], struct fault *why)
{
    char self[PULL_PATH];
    struct buf text = {0};
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len <= 0)
        return fault_errno(why, ST_RETRY, "cannot tell where skyferry-pull lies");
    self[len] = '\0';
    struct script_values v = {fs_basename(folder), folder, key, self};
    enum status st = template_fill(s, &v, &text, why);
    if (st == ST_OK && !pull_text(path, PULL_PATH, "%s/%s_q%d.sbatch", folder, v.name, first))
        st = fault(why, ST_REJECT, "the folder's name is too long: '%s'", folder);
    if (st == ST_OK)
        st = fs_write_file(path, text.data, text.len, false, why);
    buf_free(&text);
    return st;
}

/* It did not go, for now; said when it is news. */
static void put_off(struct slurm_array *a, const char *words)
{
    int64_t s = a->owner->s->slurm.query_seconds;
    a->due = clock_mono() + s * (a->refused < 5 ? 1 + a->refused : 6) * NS_PER_S;
    a->refused++;
    if (strcmp(a->trouble, words) == 0)
        return;
    pull_text(a->trouble, sizeof a->trouble, "%s", words);
    log_error(AT(.stage = "job", .exposure = a->name), "sbatch did not confirm its jobs; what Slurm "
              "does not have is submitted again: %s", words);
    for (struct slurm_task *t = a->tasks; t; t = t->next)
        t->news = !t->ended;
}

void slurm_known(struct slurm_array *a, const char *id)
{
    pull_text(a->id, sizeof a->id, "%s", id);
    a->phase = SLURM_QUEUED;
    a->misses = 0;
    a->trouble[0] = '\0';
    for (struct slurm_task *t = a->tasks; t; t = t->next) {
        t->strange = 0;
        if (!t->ended && !t->end.state[0])
            slurm_news(t, "PENDING", "");
        t->news = !t->ended;
    }
    log_info(AT(.stage = "job", .exposure = a->name), "in Slurm's queue as %s", id);
    slurm_soon(a->owner);
}

/* "1234" or "1234;cluster" alone on the last line. */
static bool read_id(const char *out, char *id, size_t size)
{
    const char *line = out;
    for (const char *p = out; (p = strchr(p, '\n')) && p[1]; p++)
        line = p + 1;
    size_t n = strspn(line, "0123456789");
    if (n == 0 || (line[n] && line[n] != ';' && line[n] != '\n'))
        return false;
    return pull_text(id, size, "%.*s", (int)n, line);
}

/* Whatever else it says than an id, the queue has the last word. */
static void on_sbatch(void *ctx, const struct tool_end *end)
{
    struct slurm_array *a = ctx;
    char id[16], words[256];
    a->sbatch = NULL;
    crash_point("slurm:submitted");
    if (a->phase == SLURM_QUEUED)
        return; /* a task's claim told sooner */
    if (!end->late && end->status == 0 && read_id(end->out, id, sizeof id)) {
        slurm_known(a, id);
        return;
    }
    if (end->late)
        pull_text(words, sizeof words, "no answer within %d s ([jobs] slurm_call_seconds)",
                  a->owner->s->slurm.call_seconds);
    else
        pull_text(words, sizeof words, "exit status %d: %.200s", end->status, end->err);
    a->phase = SLURM_UNSURE;
    a->since = clock_mono();
    a->misses = 0;
    put_off(a, words);
    slurm_soon(a->owner);
}

/* "1-5" would do for most; after failures it is what is left. */
static bool list_tasks(const struct slurm_array *a, struct buf *out)
{
    for (const struct slurm_task *t = a->tasks; t; t = t->next)
        if (!t->ended && t->released)
            buf_printf(out, "%s%d", out->len ? "," : "", t->number);
    return out->len > 0;
}

static enum status call(struct slurm_array *a, const char *script, const char *tasks,
                        struct fault *why)
{
    char name[320], comment[64], array[32 + 4096], output[PULL_PATH + 32];
    pull_text(name, sizeof name, "--job-name=%s.%s", a->name, a->key);
    pull_text(comment, sizeof comment, "--comment=skyferry %s", a->key);
    pull_text(output, sizeof output, "--output=%s/q%%a/slurm.out", a->folder);
    if (!pull_text(array, sizeof array, "--array=%s", tasks))
        return fault(why, ST_REJECT, "too many jobs in one array");
    char *argv[] = {"sbatch", "--parsable", name, comment, array, output, (char *)script, NULL};
    struct tool_order o = {argv, a->owner->s->slurm.call_seconds, on_sbatch, a};
    return tool_run(a->owner->loop, &o, &a->sbatch, why);
}

void slurm_submit(struct slurm_array *a)
{
    struct fault why;
    struct buf tasks = {0};
    char script[PULL_PATH];
    if (!list_tasks(a, &tasks))
        goto out;
    enum status st = slurm_script(a->owner->s, a->folder, a->tasks->number, a->key, script, &why);
    if (st == ST_OK) {
        crash_point("slurm:before");
        st = call(a, script, (const char *)tasks.data, &why);
    }
    if (st == ST_OK)
        a->phase = SLURM_SUBMITTING;
    else
        put_off(a, why.text);
out:
    buf_free(&tasks);
}
