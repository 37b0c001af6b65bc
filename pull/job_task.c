#include "pull/job_task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "pull/command.h"
#include "pull/settings.h"
#include "pull/task_files.h"
#include "pull/task_results.h"

static void file_in(const char *folder, const char *name, char out[PULL_PATH])
{
    pull_text(out, PULL_PATH, "%s/%s", folder, name);
}

/* ---- the daemon's side ---- */

enum status task_draw_key(char key[TASK_KEY], struct fault *why)
{
    unsigned char bytes[(TASK_KEY - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return fault_errno(why, ST_RETRY, "cannot draw a job's key");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(key + 2 * i, 3, "%02x", bytes[i]);
    return ST_OK;
}

enum status task_order(const struct job_order *o, const char *runner, const char *key,
                       struct fault *why)
{
    char path[PULL_PATH], output[PULL_PATH];
    pull_text(output, sizeof output, "%s.out", runner); /* what its last script said */
    const char *const old[] = {"claim.json", "ended.json", output};
    for (int i = 0; i < 3; i++) {
        file_in(o->folder, old[i], path);
        if (unlink(path) != 0 && errno != ENOENT)
            return fault_errno(why, ST_RETRY, "cannot remove the old '%s'", path);
    }
    json_t *root = json_object(), *argv = json_array();
    bool whole = true;
    for (int i = 0; o->argv[i]; i++)
        whole = json_array_append_new(argv, json_string(o->argv[i])) == 0 && whole;
    task_set(root, "runner", runner);
    task_set(root, "key", key);
    task_set(root, "program", o->program);
    json_object_set_new(root, "argv", argv);
    task_set(root, "job", o->job_file);
    task_set(root, "result", o->result_file);
    json_object_set_new(root, "timeout_s", json_integer(o->timeout_s));
    json_object_set_new(root, "output_max", json_integer(o->output_max));
    if (o->decode)
        json_object_set_new(root, "decode", json_loads(o->decode, 0, NULL));
    enum status st = whole ? task_save(o->folder, "task.json", root, false, why)
                           : fault(why, ST_REJECT, "the job's command cannot be written down: an "
                                   "argument is no UTF-8 ([jobs] command)");
    json_decref(root);
    return st;
}

void task_withdraw(const char *folder, const char *key)
{
    char path[PULL_PATH];
    json_t *order = task_load(folder, "task.json", NULL);
    file_in(folder, "task.json", path);
    if (order && strcmp(task_text(order, "key"), key) == 0)
        unlink(path);
    json_decref(order);
}

bool task_handle(const char *folder, char handle[JOB_HANDLE])
{
    json_t *order = task_load(folder, "task.json", NULL);
    const char *key = task_text(order, "key"), *runner = task_text(order, "runner");
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
    pull_text(out->batch, sizeof out->batch, "%s", task_text(o, "batch"));
    pull_text(out->node, sizeof out->node, "%s", task_text(o, "node"));
    pull_text(out->words, sizeof out->words, "%s", task_text(o, "words"));
}

bool task_look(const char *folder, const char *key, struct task_report *out)
{
    static const char *const files[] = {"ended.json", "claim.json"};
    bool found = false;
    /* Over NFS, opening the folder asks the server whether what was not there is there now. */
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    for (int i = 0; i < 2 && !found; i++) {
        json_t *o = task_load(folder, files[i], NULL);
        found = o && strcmp(task_text(o, "key"), key) == 0;
        if (found)
            read_report(o, out);
        json_decref(o);
    }
    return found;
}

/* ---- the node's side ---- */

/* When a task looks whether its order still stands, and how often then. */
#define LOOK_FIRST_MS 5000
#define LOOK_MS 15000

struct node_task {
    const char *folder, *key;
    char run[TASK_KEY]; /* this process among all that ever came for the job */
    int restart;        /* how often Slurm put the task back; -1: it is not told */
    struct task_report report;
    struct loop *loop;
    struct loop_timer *look;
    struct job_runner *runner;
    struct job_end end;
    struct task_decode *decode; /* NULL: the ccds are placed already */
    struct task_place place;
    bool ended, told, decoding, late;
};

static json_t *report_json(const struct node_task *t)
{
    const struct task_report *r = &t->report;
    json_t *o = json_object();
    task_set(o, "key", t->key);
    task_set(o, "run", t->run);
    json_object_set_new(o, "restart", json_integer(t->restart));
    task_set(o, "batch", r->batch);
    task_set(o, "node", r->node);
    json_object_set_new(o, "started_ns", json_integer(r->started_ns));
    if (!r->ended_ns)
        return o;
    json_object_set_new(o, "ended_ns", json_integer(r->ended_ns));
    json_object_set_new(o, "ok", json_boolean(r->ok));
    json_object_set_new(o, "stopped", json_boolean(r->stopped));
    json_object_set_new(o, "exit_status", json_integer(r->exit_status));
    task_set(o, "words", r->words);
    return o;
}

/* Who we are for the batch system: Slurm's array and task, or what PBS calls the job. */
static void introduce(struct node_task *t)
{
    struct task_report *r = &t->report;
    const char *restart = getenv("SLURM_RESTART_COUNT"); /* not set: never */
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
    t->restart = !array || !task ? -1 : restart ? (int)strtol(restart, NULL, 10) : 0;
}

/* Does a file of the folder name this? -1: it cannot be read. */
static int names(const struct node_task *t, const char *file, const char *key, const char *value)
{
    json_t *o = task_load(t->folder, file, NULL);
    int same = o ? strcmp(task_text(o, key), value) == 0 : -1;
    json_decref(o);
    return same;
}

static bool is_ours(const struct node_task *t)
{
    return names(t, "task.json", "key", t->key) == 1 && names(t, "claim.json", "run", t->run) == 1;
}

/* Surely another's, by order or claim: a node that was given up may have come back. A store that
 * does not answer just now proves nothing. */
static bool is_anothers(const struct node_task *t)
{
    return names(t, "task.json", "key", t->key) == 0 || names(t, "claim.json", "run", t->run) == 0;
}

/* May this claim be taken over? That of another submission may: the order is ours. One of this
 * submission only when the batch system put the same task back, and that has no end yet. */
static bool is_over(const struct node_task *t, const json_t *other, struct fault *why)
{
    if (strcmp(task_text(other, "key"), t->key) != 0)
        return true;
    if (strcmp(task_text(other, "batch"), t->report.batch) != 0 ||
        (t->restart >= 0 && t->restart <= task_int(other, "restart"))) {
        fault(why, ST_REJECT, "this job was taken by %s on %s already: it is not run twice",
              task_text(other, "batch"), task_text(other, "node"));
        return false;
    }
    json_t *end = task_load(t->folder, "ended.json", NULL);
    bool ended = end && strcmp(task_text(end, "key"), t->key) == 0 &&
                 !json_is_true(json_object_get(end, "stopped"));
    json_decref(end);
    if (ended)
        fault(why, ST_REJECT, "this job has ended already: it is not run again");
    return !ended;
}

/* OK: it is ours to run. REJECT: somebody else's, in words. */
static enum status claim(struct node_task *t, struct fault *why)
{
    enum status st = task_draw_key(t->run, why);
    json_t *mine = report_json(t), *other = NULL;
    char path[PULL_PATH];
    if (st == ST_OK)
        st = task_save(t->folder, "claim.json", mine, true, why);
    if (st == ST_REJECT && (other = task_load(t->folder, "claim.json", NULL)) &&
        is_over(t, other, why)) {
        file_in(t->folder, "ended.json", path);
        st = task_save(t->folder, "claim.json", mine, false, why);
        if (st == ST_OK && unlink(path) != 0 && errno != ENOENT)
            st = fault_errno(why, ST_RETRY, "cannot remove the old '%s'", path);
    }
    crash_point("task:claimed");
    /* The order that was read may have given way to another before there was a claim. */
    if (st == ST_OK && !is_ours(t))
        st = fault(why, ST_REJECT, "this job was submitted again meanwhile: nothing is run");
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
    if (t->decoding)
        loop_stop(t->loop);
}

/* Another one works in the same folder by now: two would spoil each other's results. */
static void on_look(void *ctx)
{
    struct node_task *t = ctx;
    if (t->told || !is_anothers(t))
        return;
    fprintf(stderr, "skyferry-pull: this job was submitted again meanwhile: its run here is ended\n");
    on_stop(t, SIGTERM);
}

static void on_late(void *ctx)
{
    struct node_task *t = ctx;
    t->late = true;
    loop_stop(t->loop);
}

/* ---- decode, run, bring back ---- */

/* What was placed before it was broken off is reported all the same. */
static enum status decode_within(struct node_task *t, int timeout_s, struct fault *why)
{
    struct loop_timer *limit = loop_timer_new(t->loop, on_late, t);
    if (!limit)
        return fault(why, ST_RETRY, "out of memory");
    loop_timer_set(limit, (int64_t)timeout_s * 1000, 0);
    t->decoding = true;
    enum status st = task_decode_begin(t->decode, t->loop, why);
    if (st == ST_OK)
        st = loop_run(t->loop, why);
    t->decoding = false;
    loop_timer_free(&limit);
    struct fault rest;
    enum status end = task_decode_end(t->decode, &rest);
    if (st != ST_OK || end == ST_OK)
        return st;
    *why = rest;
    return t->late ? fault_within(why, "ended after %d s, its time limit ([jobs] timeout_seconds): ",
                                  timeout_s)
                   : end;
}

/* The command's surroundings become those of the scratch, and its time what is left. */
static enum status decode(struct node_task *t, const json_t *order, struct job_order *o,
                          struct fault *why)
{
    int64_t began = clock_mono();
    enum status st = task_decode_open(order, t->report.node, &t->decode, why);
    if (st == ST_OK)
        st = decode_within(t, o->timeout_s, why);
    if (st == ST_OK && t->told)
        st = fault(why, ST_RETRY, "told to end");
    if (st == ST_OK)
        st = task_place_make(t->decode, o, &t->place, why);
    if (st != ST_OK)
        return st;
    setenv("SKYFERRY_ORDER", o->job_file, 1);
    int spent = (int)((clock_mono() - began) / NS_PER_S);
    o->timeout_s = spent < o->timeout_s ? o->timeout_s - spent : 1;
    o->argv = t->place.argv;
    o->work = t->place.work;
    o->job_file = t->place.job_file;
    o->result_file = t->place.result_file;
    return ST_OK;
}

static enum status run_command(struct node_task *t, const struct job_order *o, struct fault *why)
{
    char handle[JOB_HANDLE];
    enum status st = t->runner->row->submit(t->runner, o, handle, why);
    if (st != ST_OK)
        return st;
    t->runner->row->release(t->runner, 1);
    while (st == ST_OK && !t->ended)
        st = loop_run(t->loop, why);
    crash_point("task:ran");
    if (st == ST_OK && t->decode && !t->told && !is_anothers(t))
        st = task_bring_back(t->place.work, t->folder, why);
    return st;
}

static enum status run_order(struct node_task *t, json_t *order, struct fault *why)
{
    char *argv[COMMAND_ARGS + 1] = {NULL};
    const json_t *words = json_object_get(order, "argv"), *ccds = json_object_get(order, "decode");
    for (size_t i = 0; i < json_array_size(words) && i < COMMAND_ARGS; i++)
        argv[i] = (char *)json_string_value(json_array_get(words, i));
    struct job_order o = {.id = 1, .folder = t->folder, .program = task_text(order, "program"),
                          .argv = argv, .job_file = task_text(order, "job"),
                          .result_file = task_text(order, "result"),
                          .timeout_s = (int)json_integer_value(json_object_get(order, "timeout_s")),
                          .output_max = json_integer_value(json_object_get(order, "output_max"))};
    enum status st = loop_open(&t->loop, why);
    if (st == ST_OK)
        st = job_local.open(t->loop, on_wake, t, &t->runner, why);
    if (st == ST_OK)
        st = loop_signal(t->loop, SIGTERM, on_stop, t, why);
    if (st == ST_OK && !(t->look = loop_timer_new(t->loop, on_look, t)))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        loop_timer_set(t->look, LOOK_FIRST_MS, LOOK_MS);
    if (st == ST_OK && ccds)
        st = decode(t, ccds, &o, why);
    return st == ST_OK ? run_command(t, &o, why) : st;
}

/* ---- the end ---- */

static void note_end(struct node_task *t, enum status st, const struct fault *why)
{
    struct task_report *r = &t->report;
    r->ended_ns = clock_wall();
    r->ok = st == ST_OK && t->end.ok;
    r->exit_status = st == ST_OK ? t->end.exit_status : t->decode ? 1 : 127;
    r->stopped = !r->ok && (t->told || (r->exit_status == 128 + SIGTERM && !t->end.limited));
    pull_text(r->words, sizeof r->words, "%s", st != ST_OK ? why->text : t->end.words);
}

/* The scratch is gone when the end is known. */
static enum status write_end(struct node_task *t, enum status st, struct fault *why)
{
    note_end(t, st, why);
    json_t *end = report_json(t);
    task_set(end, "grade", status_name(st));
    task_set(end, "words", st != ST_OK ? why->text : t->end.words);
    if (t->decode)
        task_decode_report(t->decode, end);
    task_place_free(&t->place);
    task_decode_close(&t->decode);
    if (is_anothers(t))
        st = fault(why, ST_REJECT, "this job was submitted again meanwhile: its end here does not "
                   "count");
    else
        st = task_save(t->folder, "ended.json", end, false, why);
    json_decref(end);
    return st;
}

int task_run(const char *folder, const char *key)
{
    struct node_task t = {.folder = folder, .key = key};
    struct fault why = {0};
    json_t *order = task_load(folder, "task.json", NULL);
    enum status st = ST_OK;
    introduce(&t);
    if (!order || strcmp(task_text(order, "key"), key) != 0) {
        fprintf(stderr, "skyferry-pull: %s/task.json %s; nothing is run\n", folder,
                order ? "is another submission's by now" : "cannot be read on this node");
        int code = order ? 0 : 1;
        json_decref(order);
        return code;
    }
    st = claim(&t, &why);
    if (st == ST_OK) {
        st = run_order(&t, order, &why);
        if (st != ST_OK)
            fprintf(stderr, "skyferry-pull: %s\n", why.text);
        st = write_end(&t, st, &why);
    }
    if (st != ST_OK)
        fprintf(stderr, "skyferry-pull: %s\n", why.text);
    loop_timer_free(&t.look);
    if (t.runner)
        t.runner->row->close(&t.runner);
    loop_close(&t.loop);
    json_decref(order);
    if (st == ST_REJECT)
        return 0;
    return st != ST_OK ? 1 : t.report.ok ? 0 : t.report.exit_status ? t.report.exit_status : 1;
}
