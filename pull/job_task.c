#include "pull/job_task.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "pull/command.h"
#include "pull/settings.h"

#define MAX_FILE ((size_t)1 << 20)

static void file_in(const char *folder, const char *name, char out[PULL_PATH])
{
    pull_text(out, PULL_PATH, "%s/%s", folder, name);
}

static json_t *load(const char *folder, const char *name)
{
    char path[PULL_PATH];
    struct buf text = {0};
    json_t *root = NULL;
    file_in(folder, name, path);
    if (fs_read_file(path, MAX_FILE, &text, NULL) == ST_OK)
        root = json_loadb((const char *)text.data, text.len, 0, NULL);
    buf_free(&text);
    return root;
}

static enum status save(const char *folder, const char *name, json_t *root, bool keep,
                        struct fault *why)
{
    char path[PULL_PATH];
    file_in(folder, name, path);
    char *text = json_dumps(root, JSON_INDENT(1));
    enum status st = text ? fs_write_file(path, text, strlen(text), keep, why)
                          : fault(why, ST_RETRY, "out of memory for '%s'", path);
    free(text);
    return st;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void set_text(json_t *o, const char *key, const char *text)
{
    json_object_set_new(o, key, json_string(text));
}

/* ---- the daemon's side ---- */

enum status task_order(const struct job_order *o, const char *runner, const char *key,
                       struct fault *why)
{
    static const char *const old[] = {"claim.json", "ended.json"};
    char path[PULL_PATH];
    for (int i = 0; i < 2; i++) {
        file_in(o->folder, old[i], path);
        if (unlink(path) != 0 && errno != ENOENT)
            return fault_errno(why, ST_RETRY, "cannot remove the old '%s'", path);
    }
    json_t *root = json_object(), *argv = json_array();
    for (int i = 0; o->argv[i]; i++)
        json_array_append_new(argv, json_string(o->argv[i]));
    set_text(root, "runner", runner);
    set_text(root, "key", key);
    set_text(root, "program", o->program);
    json_object_set_new(root, "argv", argv);
    set_text(root, "job", o->job_file);
    set_text(root, "result", o->result_file);
    json_object_set_new(root, "timeout_s", json_integer(o->timeout_s));
    json_object_set_new(root, "output_max", json_integer(o->output_max));
    enum status st = save(o->folder, "task.json", root, false, why);
    json_decref(root);
    return st;
}

void task_withdraw(const char *folder, const char *key)
{
    char path[PULL_PATH];
    json_t *order = load(folder, "task.json");
    file_in(folder, "task.json", path);
    if (order && strcmp(text_of(order, "key"), key) == 0)
        unlink(path);
    json_decref(order);
}

bool task_handle(const char *folder, char handle[JOB_HANDLE])
{
    json_t *order = load(folder, "task.json");
    const char *key = text_of(order, "key"), *runner = text_of(order, "runner");
    bool ok = key[0] && pull_text(handle, JOB_HANDLE, "%s %s", runner[0] ? runner : "slurm", key);
    json_decref(order);
    return ok;
}

static void read_report(const json_t *o, struct task_report *out)
{
    *out = (struct task_report){
        .started_ns = json_integer_value(json_object_get(o, "started_ns")),
        .ended_ns = json_integer_value(json_object_get(o, "ended_ns")),
        .ok = json_is_true(json_object_get(o, "ok")),
        .stopped = json_is_true(json_object_get(o, "stopped")),
        .exit_status = (int)json_integer_value(json_object_get(o, "exit_status"))};
    pull_text(out->batch, sizeof out->batch, "%s", text_of(o, "batch"));
    pull_text(out->node, sizeof out->node, "%s", text_of(o, "node"));
    pull_text(out->words, sizeof out->words, "%s", text_of(o, "words"));
}

bool task_look(const char *folder, const char *key, struct task_report *out)
{
    static const char *const files[] = {"ended.json", "claim.json"};
    bool found = false;
    for (int i = 0; i < 2 && !found; i++) {
        json_t *o = load(folder, files[i]);
        found = o && strcmp(text_of(o, "key"), key) == 0;
        if (found)
            read_report(o, out);
        json_decref(o);
    }
    return found;
}

/* ---- the node's side ---- */

struct node_task {
    const char *folder, *key;
    struct task_report report;
    struct loop *loop;
    struct job_runner *runner;
    struct job_end end;
    bool ended, told;
};

static json_t *report_json(const struct node_task *t)
{
    const struct task_report *r = &t->report;
    json_t *o = json_object();
    set_text(o, "key", t->key);
    set_text(o, "batch", r->batch);
    set_text(o, "node", r->node);
    json_object_set_new(o, "started_ns", json_integer(r->started_ns));
    if (!r->ended_ns)
        return o;
    json_object_set_new(o, "ended_ns", json_integer(r->ended_ns));
    json_object_set_new(o, "ok", json_boolean(r->ok));
    json_object_set_new(o, "stopped", json_boolean(r->stopped));
    json_object_set_new(o, "exit_status", json_integer(r->exit_status));
    set_text(o, "words", r->words);
    return o;
}

/* Who we are for the batch system: Slurm's array and task, or what PBS calls the job. */
static void introduce(struct task_report *r)
{
    const char *array = getenv("SLURM_ARRAY_JOB_ID"), *task = getenv("SLURM_ARRAY_TASK_ID");
    const char *pbs = getenv("PBS_JOBID"), *node = getenv("SLURMD_NODENAME");
    if (array && task)
        pull_text(r->batch, sizeof r->batch, "%s_%s", array, task);
    else
        pull_text(r->batch, sizeof r->batch, "%.*s", (int)(pbs ? strcspn(pbs, ".") : 0), pbs ? pbs
                                                                                        : "");
    if (node)
        pull_text(r->node, sizeof r->node, "%s", node);
    else if (gethostname(r->node, sizeof r->node) != 0)
        r->node[0] = '\0';
    r->node[sizeof r->node - 1] = '\0';
    r->started_ns = clock_wall();
}

/* OK: it is ours to run. REJECT: somebody else's, in words. */
static enum status claim(struct node_task *t, struct fault *why)
{
    json_t *mine = report_json(t), *other = NULL;
    char path[PULL_PATH];
    enum status st = save(t->folder, "claim.json", mine, true, why);
    if (st == ST_REJECT && (other = load(t->folder, "claim.json"))) {
        bool again = strcmp(text_of(other, "key"), t->key) == 0 &&
                     strcmp(text_of(other, "batch"), t->report.batch) == 0;
        file_in(t->folder, "ended.json", path);
        if (again && unlink(path) != 0 && errno != ENOENT)
            st = fault_errno(why, ST_RETRY, "cannot remove the old '%s'", path);
        else if (again)
            st = save(t->folder, "claim.json", mine, false, why);
        else
            st = fault(why, ST_REJECT, "this job was taken by %s on %s already: it is not run "
                       "twice", text_of(other, "batch"), text_of(other, "node"));
    }
    json_decref(mine);
    json_decref(other);
    return st;
}

static void on_wake(void *ctx)
{
    struct node_task *t = ctx;
    t->ended = t->runner->row->poll(t->runner, &t->end);
    if (t->ended)
        loop_stop(t->loop);
}

static void on_stop(void *ctx, int signo)
{
    struct node_task *t = ctx;
    (void)signo;
    t->told = true;
    t->runner->row->cancel(t->runner, 1);
}

static enum status run_order(struct node_task *t, json_t *order, struct fault *why)
{
    char *argv[COMMAND_ARGS + 1] = {NULL}, handle[JOB_HANDLE];
    const json_t *words = json_object_get(order, "argv");
    for (size_t i = 0; i < json_array_size(words) && i < COMMAND_ARGS; i++)
        argv[i] = (char *)json_string_value(json_array_get(words, i));
    struct job_order o = {.id = 1, .folder = t->folder, .program = text_of(order, "program"),
                          .argv = argv, .job_file = text_of(order, "job"),
                          .result_file = text_of(order, "result"),
                          .timeout_s = (int)json_integer_value(json_object_get(order, "timeout_s")),
                          .output_max = json_integer_value(json_object_get(order, "output_max"))};
    enum status st = loop_open(&t->loop, why);
    if (st == ST_OK)
        st = job_local.open(t->loop, on_wake, t, &t->runner, why);
    if (st == ST_OK)
        st = loop_signal(t->loop, SIGTERM, on_stop, t, why);
    if (st == ST_OK)
        st = t->runner->row->submit(t->runner, &o, handle, why);
    if (st != ST_OK)
        return st;
    t->runner->row->release(t->runner, 1);
    while (st == ST_OK && !t->ended)
        st = loop_run(t->loop, why);
    return st;
}

static void note_end(struct node_task *t, enum status st, const struct fault *why)
{
    struct task_report *r = &t->report;
    r->ended_ns = clock_wall();
    r->ok = st == ST_OK && t->end.ok;
    r->exit_status = st == ST_OK ? t->end.exit_status : 127;
    r->stopped = t->told || r->exit_status == 128 + SIGTERM;
    pull_text(r->words, sizeof r->words, "%s", st != ST_OK ? why->text : t->end.words);
}

int task_run(const char *folder, const char *key)
{
    struct node_task t = {.folder = folder, .key = key};
    struct fault why;
    json_t *order = load(folder, "task.json"), *end = NULL;
    enum status st = ST_OK;
    introduce(&t.report);
    if (!order || strcmp(text_of(order, "key"), key) != 0) {
        fprintf(stderr, "skyferry-pull: %s/task.json %s; nothing is run\n", folder,
                order ? "is another submission's by now" : "cannot be read on this node");
        int code = order ? 0 : 1;
        json_decref(order);
        return code;
    }
    st = claim(&t, &why);
    if (st == ST_OK) {
        st = run_order(&t, order, &why);
        note_end(&t, st, &why);
        end = report_json(&t);
        st = save(folder, "ended.json", end, false, &why);
        json_decref(end);
    }
    if (st != ST_OK)
        fprintf(stderr, "skyferry-pull: %s\n", why.text);
    if (t.runner)
        t.runner->row->close(&t.runner);
    loop_close(&t.loop);
    json_decref(order);
    if (st == ST_REJECT)
        return 0;
    return st != ST_OK ? 1 : t.report.ok ? 0 : t.report.exit_status ? t.report.exit_status : 1;
}
