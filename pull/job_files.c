#include "pull/job_files.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/job_task.h"

#define MAX_JSON ((size_t)16 << 20)

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

static void set_text(json_t *to, const char *key, const char *value)
{
    json_object_set_new(to, key, json_string(value));
}

static void set_real(json_t *to, const char *key, double value)
{
    json_object_set_new(to, key, isfinite(value) ? json_real(value) : json_null());
}

static json_t *exposure_json(const struct exposure *x)
{
    json_t *o = json_object();
    set_text(o, "name", x->name);
    set_text(o, "night", x->night);
    set_text(o, "object", x->facts.object);
    set_text(o, "filter", x->facts.filter);
    set_text(o, "obstype", x->facts.obstype);
    set_text(o, "propid", x->facts.propid);
    set_text(o, "date_obs", x->facts.date_obs);
    json_object_set_new(o, "expnum",
                        x->facts.expnum >= 0 ? json_integer(x->facts.expnum) : json_null());
    set_real(o, "exptime", x->facts.exptime);
    if (x->visit_ccds) { /* each ccd has a bundle of its own */
        json_object_set_new(o, "visit_ccds", json_integer(x->visit_ccds));
        return o;
    }
    set_text(o, "source_name", x->source_name);
    set_text(o, "source_sha256", x->source_sha256);
    set_text(o, "bundle", x->bundle);
    return o;
}

static json_t *ccd_json(const struct pull_settings *s, const struct exposure *x, const struct ccd *c)
{
    char path[PULL_PATH];
    json_t *o = json_object();
    pull_path(s, c->path, path);
    json_object_set_new(o, "ccd", json_integer(c->ccd));
    json_object_set_new(o, "hdu", json_integer(c->hdu));
    set_text(o, "extname", c->extname);
    set_text(o, "fits", path);
    set_text(o, "codec", c->codec);
    set_real(o, "qstep", c->qstep);
    if (x->visit_ccds)
        set_text(o, "bundle", c->bundle);
    return o;
}

static enum status write_json(const char *path, json_t *root, struct fault *why)
{
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    enum status st = text ? fs_write_file(path, text, strlen(text), false, why)
                          : fault(why, ST_RETRY, "out of memory for '%s'", path);
    free(text);
    return st;
}

enum status job_write(const struct pull_settings *s, const struct exposure *x, const struct job *j,
                      const struct ccd *ccds, size_t count, struct fault *why)
{
    static const char *const types[] = {"science", "flat", "bias"};
    char path[PULL_PATH], result[PULL_PATH];
    pull_path(s, j->folder, path);
    enum status st = fs_mkdirs(path, why);
    if (st == ST_OK)
        st = job_clean(s, j, why);
    if (st != ST_OK)
        return st;
    job_path(s, j, "result.json", result);
    json_t *root = json_object(), *list = json_array();
    json_object_set_new(root, "format", json_integer(1));
    json_object_set_new(root, "job", json_sprintf("%s/q%d", x->name, j->number));
    set_text(root, "type", types[camera_obstype(&s->camera, x->facts.obstype)]);
    set_text(root, "store", s->root);
    set_text(root, "result", result);
    json_object_set_new(root, "exposure", exposure_json(x));
    for (size_t i = 0; i < count; i++)
        if (ccds[i].job == j->number)
            json_array_append_new(list, ccd_json(s, x, &ccds[i]));
    json_object_set_new(root, "ccds", list);
    job_path(s, j, "job.json", path);
    st = write_json(path, root, why);
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
    char path[PULL_PATH];
    json_t *root = json_object();
    set_text(root, "state", j->state == JOB_DONE ? "done" : "failed");
    set_text(root, "reason", j->reason);
    json_object_set_new(root, "attempts", json_integer(j->attempts));
    json_object_set_new(root, "started_ns", json_integer(j->started_ns));
    json_object_set_new(root, "ended_ns", json_integer(j->ended_ns));
    json_object_set_new(root, "exit_status", json_integer(j->exit_status));
    set_text(root, "batch", j->batch);
    set_text(root, "batch_state", j->batch_state);
    set_text(root, "node", j->node);
    job_path(s, j, "end.json", path);
    enum status st = write_json(path, root, why);
    json_decref(root);
    return st;
}

static json_t *load(const char *path, struct fault *why)
{
    struct buf text = {0};
    json_error_t error;
    json_t *root = NULL;
    if (fs_read_file(path, MAX_JSON, &text, why) == ST_OK) {
        root = json_loadb((const char *)text.data, text.len, 0, &error);
        if (!root)
            fault(why, ST_RETRY, "'%s' is no JSON: line %d: %s", path, error.line, error.text);
    }
    buf_free(&text);
    return root;
}

/* An order that nobody says the end of may be in the queue, or running, or over. */
static void read_order(const struct pull_settings *s, struct job *j)
{
    char path[PULL_PATH];
    struct task_report r;
    pull_path(s, j->folder, path);
    if (!task_handle(path, j->handle))
        return;
    j->state = JOB_RUNNING;
    j->attempts = 1;
    if (!task_look(path, strchr(j->handle, ' ') + 1, &r))
        return;
    pull_text(j->batch, sizeof j->batch, "%s", r.batch);
    pull_text(j->node, sizeof j->node, "%s", r.node);
    j->started_ns = r.started_ns;
}

static void read_text(const json_t *root, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(root, key));
    pull_text(out, size, "%s", text ? text : "");
}

static void read_end(const struct pull_settings *s, struct job *j)
{
    char path[PULL_PATH];
    struct fault why;
    job_path(s, j, "end.json", path);
    json_t *end = load(path, &why);
    const char *state = json_string_value(json_object_get(end, "state"));
    j->state = JOB_WAITING;
    if (state && strcmp(state, "done") == 0)
        j->state = JOB_DONE;
    else if (state && strcmp(state, "failed") == 0)
        j->state = JOB_FAILED;
    const json_t *status = json_object_get(end, "exit_status");
    j->exit_status = status ? (int)json_integer_value(status) : -1;
    read_text(end, "reason", j->reason, sizeof j->reason);
    read_text(end, "batch", j->batch, sizeof j->batch);
    read_text(end, "batch_state", j->batch_state, sizeof j->batch_state);
    read_text(end, "node", j->node, sizeof j->node);
    j->attempts = (int)json_integer_value(json_object_get(end, "attempts"));
    j->started_ns = json_integer_value(json_object_get(end, "started_ns"));
    j->ended_ns = json_integer_value(json_object_get(end, "ended_ns"));
    if (!end)
        read_order(s, j);
    json_decref(end);
}

enum status job_read(const struct pull_settings *s, struct job *j, struct job_ccd **ccds,
                     size_t *count, struct fault *why)
{
    char path[PULL_PATH];
    enum status st = ST_OK;
    *ccds = NULL;
    *count = 0;
    job_path(s, j, "job.json", path);
    json_t *root = load(path, why);
    if (!root)
        return ST_RETRY;
    const json_t *list = json_object_get(root, "ccds");
    size_t n = json_array_size(list);
    *ccds = calloc(n + 1, sizeof **ccds);
    if (!*ccds)
        st = fault(why, ST_RETRY, "out of memory for '%s'", path);
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        const json_t *one = json_array_get(list, i);
        (*ccds)[(*count)++] =
            (struct job_ccd){(int)json_integer_value(json_object_get(one, "ccd")),
                             (int)json_integer_value(json_object_get(one, "hdu"))};
    }
    read_end(s, j);
    json_decref(root);
    return st;
}
