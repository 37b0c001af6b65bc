#include "pull/job_files.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/job_task.h"
#include "pull/task_files.h"

enum status job_folder(const struct exposure *x, int number, char *out, size_t size,
                       struct fault *why)
{
    char night[MEMBER_NAME], name[MEMBER_NAME];
    fs_name_clean(night, sizeof night, x->night, "none");
    fs_name_clean(name, sizeof name, x->name, "none");
    if (!pull_text(out, size, "jobs/%s/%s/q%d", night, name, number))
        return fault(why, ST_REJECT, "the name '%.100s...' is too long for a job's folder", name);
    return ST_OK;
}

void job_path(const struct pull_settings *s, const struct job *j, const char *file,
              char out[PULL_PATH])
{
    pull_text(out, PULL_PATH, "%s/%s/%s", s->root, j->folder, file);
}

static void set_real(json_t *to, const char *key, double value)
{
    json_object_set_new(to, key, isfinite(value) ? json_real(value) : json_null());
}

static json_t *exposure_json(const struct exposure *x)
{
    json_t *o = json_object();
    task_set(o, "name", x->name);
    task_set(o, "night", x->night);
    task_set(o, "object", x->facts.object);
    task_set(o, "filter", x->facts.filter);
    task_set(o, "obstype", x->facts.obstype);
    task_set(o, "propid", x->facts.propid);
    task_set(o, "date_obs", x->facts.date_obs);
    json_object_set_new(o, "expnum",
                        x->facts.expnum >= 0 ? json_integer(x->facts.expnum) : json_null());
    set_real(o, "exptime", x->facts.exptime);
    if (x->visit_ccds) { /* each ccd has a bundle of its own */
        json_object_set_new(o, "visit_ccds", json_integer(x->visit_ccds));
        return o;
    }
    task_set(o, "source_name", x->source_name);
    task_set(o, "source_sha256", x->source_sha256);
    task_set(o, "bundle", x->bundle);
    return o;
}

static json_t *ccd_json(const struct pull_settings *s, const struct exposure *x, const struct ccd *c)
{
    char path[PULL_PATH];
    json_t *o = json_object();
    pull_path(s, c->path, path);
    json_object_set_new(o, "ccd", json_integer(c->ccd));
    json_object_set_new(o, "hdu", json_integer(c->hdu));
    task_set(o, "extname", c->extname);
    task_set(o, "fits", path);
    task_set(o, "codec", c->codec);
    set_real(o, "qstep", c->qstep);
    if (x->visit_ccds)
        task_set(o, "bundle", c->bundle);
    return o;
}

enum status job_write(const struct pull_settings *s, const struct exposure *x, const struct job *j,
                      const struct ccd *ccds, size_t count, struct fault *why)
{
    static const char *const types[] = {"science", "flat", "bias"};
    char folder[PULL_PATH], result[PULL_PATH];
    pull_path(s, j->folder, folder);
    enum status st = fs_mkdirs(folder, why);
    if (st == ST_OK)
        st = job_clean(s, j, why);
    if (st != ST_OK)
        return st;
    job_path(s, j, "result.json", result);
    json_t *root = json_object(), *list = json_array();
    json_object_set_new(root, "format", json_integer(1));
    json_object_set_new(root, "job", json_sprintf("%s/q%d", x->name, j->number));
    task_set(root, "type", types[camera_obstype(&s->camera, x->facts.obstype)]);
    task_set(root, "store", s->root);
    task_set(root, "result", result);
    json_object_set_new(root, "exposure", exposure_json(x));
    for (size_t i = 0; i < count; i++)
        if (ccds[i].job == j->number)
            json_array_append_new(list, ccd_json(s, x, &ccds[i]));
    json_object_set_new(root, "ccds", list);
    st = task_save(folder, "job.json", root, false, why);
    json_decref(root);
    return st;
}

enum status job_clean(const struct pull_settings *s, const struct job *j, struct fault *why)
{
    /* The last three are the batch system's: without them `rebuild` takes nothing up. */
    static const char *const files[] = {"result.json", "end.json", "task.json", "claim.json",
                                        "ended.json"};
    char path[PULL_PATH];
    pull_path(s, j->folder, path);
    fs_sweep_drafts(path);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        job_path(s, j, files[i], path);
        if (unlink(path) != 0 && errno != ENOENT)
            return fault_errno(why, ST_RETRY, "cannot remove the old '%s'", path);
    }
    return ST_OK;
}

void job_retire(const struct pull_settings *s, const struct exposure *x, int number)
{
    struct job j = {.number = number};
    char path[PULL_PATH];
    struct fault why;
    do {
        if (job_folder(x, j.number++, j.folder, sizeof j.folder, &why) != ST_OK)
            return;
        job_path(s, &j, "job.json", path);
    } while (unlink(path) == 0);
}

enum status job_write_end(const struct pull_settings *s, const struct job *j, struct fault *why)
{
    char folder[PULL_PATH];
    json_t *root = json_object();
    pull_path(s, j->folder, folder);
    task_set(root, "state", j->state == JOB_DONE ? "done" : "failed");
    task_set(root, "reason", j->reason);
    json_object_set_new(root, "attempts", json_integer(j->attempts));
    json_object_set_new(root, "started_ns", json_integer(j->started_ns));
    json_object_set_new(root, "ended_ns", json_integer(j->ended_ns));
    json_object_set_new(root, "exit_status", json_integer(j->exit_status));
    task_set(root, "batch", j->batch);
    task_set(root, "batch_state", j->batch_state);
    task_set(root, "node", j->node);
    enum status st = task_save(folder, "end.json", root, false, why);
    json_decref(root);
    return st;
}

/* An order that nobody says the end of may be in the queue, or running, or over. */
static void read_order(const char *folder, struct job *j)
{
    struct task_report r;
    if (!task_handle(folder, j->handle))
        return;
    j->state = JOB_RUNNING;
    j->attempts = 1;
    if (!task_look(folder, strchr(j->handle, ' ') + 1, &r))
        return;
    pull_text(j->batch, sizeof j->batch, "%s", r.batch);
    pull_text(j->node, sizeof j->node, "%s", r.node);
    j->started_ns = r.started_ns;
}

static void read_end(const char *folder, struct job *j)
{
    json_t *end = task_load(folder, "end.json", NULL);
    const char *state = task_text(end, "state");
    j->state = JOB_WAITING;
    if (strcmp(state, "done") == 0)
        j->state = JOB_DONE;
    else if (strcmp(state, "failed") == 0)
        j->state = JOB_FAILED;
    const json_t *status = json_object_get(end, "exit_status");
    j->exit_status = status ? (int)json_integer_value(status) : -1;
    pull_text(j->reason, sizeof j->reason, "%s", task_text(end, "reason"));
    pull_text(j->batch, sizeof j->batch, "%s", task_text(end, "batch"));
    pull_text(j->batch_state, sizeof j->batch_state, "%s", task_text(end, "batch_state"));
    pull_text(j->node, sizeof j->node, "%s", task_text(end, "node"));
    j->attempts = (int)task_int(end, "attempts");
    j->started_ns = task_int(end, "started_ns");
    j->ended_ns = task_int(end, "ended_ns");
    if (!end)
        read_order(folder, j);
    json_decref(end);
}

enum status job_read(const struct pull_settings *s, struct job *j, struct job_ccd **ccds,
                     size_t *count, struct fault *why)
{
    char folder[PULL_PATH];
    enum status st = ST_OK;
    *ccds = NULL;
    *count = 0;
    pull_path(s, j->folder, folder);
    json_t *root = task_load(folder, "job.json", why);
    if (!root)
        return ST_RETRY;
    const json_t *list = json_object_get(root, "ccds");
    size_t n = json_array_size(list);
    *ccds = calloc(n + 1, sizeof **ccds);
    if (!*ccds)
        st = fault(why, ST_RETRY, "out of memory for '%s/job.json'", folder);
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        const json_t *one = json_array_get(list, i);
        (*ccds)[(*count)++] =
            (struct job_ccd){(int)task_int(one, "ccd"), (int)task_int(one, "hdu")};
    }
    read_end(folder, j);
    json_decref(root);
    return st;
}
