/* The JSON picture, written exposure by exposure: a season's catalogue is never in memory. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "pull/held.h"
#include "pull/status_kinds.h"

struct printing {
    struct status_picture *p;
    FILE *to;
    int count;
    enum status st;
    struct fault *why;
};

/* A path may hold any bytes, JSON only UTF-8. */
static json_t *text(const char *s)
{
    json_t *j = json_string(s);
    char *plain = j ? NULL : strdup(s);
    if (j || !plain)
        return j ? j : json_null();
    for (char *c = plain; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    j = json_string(plain);
    free(plain);
    return j;
}

static json_t *real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void set_time(json_t *o, const char *key, int64_t ns)
{
    char iso[32] = "", key_ns[32];
    if (ns > 0)
        clock_iso(ns, iso, sizeof iso);
    snprintf(key_ns, sizeof key_ns, "%s_ns", key);
    json_object_set_new(o, key, ns > 0 ? json_string(iso) : json_null());
    json_object_set_new(o, key_ns, ns > 0 ? json_integer(ns) : json_null());
}

static void set_facts(json_t *o, const struct facts *f)
{
    json_object_set_new(o, "object", text(f->object));
    json_object_set_new(o, "filter", text(f->filter));
    json_object_set_new(o, "obstype", text(f->obstype));
    json_object_set_new(o, "propid", text(f->propid));
    json_object_set_new(o, "date_obs", text(f->date_obs));
    json_object_set_new(o, "expnum", f->expnum >= 0 ? json_integer(f->expnum) : json_null());
    json_object_set_new(o, "exptime", real(f->exptime));
}

static json_t *exposure_object(const struct exposure *x)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", text(x->name));
    json_object_set_new(o, "night", text(x->night));
    json_object_set_new(o, "state", text(exposure_state_name(x->state)));
    json_object_set_new(o, "reason", text(x->reason));
    json_object_set_new(o, "attempts", json_integer(x->attempts));
    json_object_set_new(o, "bundle", text(x->bundle));
    json_object_set_new(o, "bytes", json_integer(x->bundle_size));
    json_object_set_new(o, "raw_bytes", json_integer(x->raw_size));
    json_object_set_new(o, "ratio", x->bundle_size > 0
                        ? json_real((double)x->raw_size / (double)x->bundle_size) : json_null());
    json_object_set_new(o, "source_name", text(x->source_name));
    json_object_set_new(o, "source_size", json_integer(x->source_size));
    json_object_set_new(o, "source_sha256", text(x->source_sha256));
    json_object_set_new(o, "bundle_sha256", text(x->bundle_sha256));
    json_object_set_new(o, "exact", json_boolean(x->exact == EXACT_YES));
    set_facts(o, &x->facts);
    json_object_set_new(o, "ccds", json_integer(x->ccds));
    json_object_set_new(o, "ccds_placed", json_integer(x->placed));
    json_object_set_new(o, "jobs", json_integer(x->jobs));
    json_object_set_new(o, "jobs_done", json_integer(x->jobs_done));
    json_object_set_new(o, "faults", json_integer(x->faults));
    for (int i = 0; i < STAMPS; i++)
        set_time(o, stamp_names[i], x->stamp[i]);
    return o;
}

static json_t *ccd_object(const struct ccd *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "ccd", json_integer(c->ccd));
    json_object_set_new(o, "hdu", json_integer(c->hdu));
    json_object_set_new(o, "extname", text(c->extname));
    json_object_set_new(o, "state", text(ccd_state_name(c->state)));
    json_object_set_new(o, "reason", text(c->reason));
    json_object_set_new(o, "path", text(c->path));
    json_object_set_new(o, "bytes", json_integer(c->size));
    json_object_set_new(o, "codec", text(c->codec));
    json_object_set_new(o, "qstep", real(c->qstep));
    json_object_set_new(o, "datasum", text(c->datasum));
    json_object_set_new(o, "checksum", text(c->checksum));
    set_time(o, "placed", c->placed_ns);
    json_object_set_new(o, "background", real(c->quality.background));
    json_object_set_new(o, "noise", real(c->quality.noise));
    json_object_set_new(o, "saturated", real(c->quality.saturated));
    json_object_set_new(o, "stars", real(c->quality.stars));
    json_object_set_new(o, "fwhm", real(c->quality.fwhm));
    json_object_set_new(o, "error", text(c->quality.error));
    return o;
}

static bool add_job(void *ctx, const struct job *j)
{
    json_t *o = json_object();
    json_object_set_new(o, "job", json_sprintf("q%d", j->number));
    json_object_set_new(o, "state", text(job_state_name(j->state)));
    json_object_set_new(o, "reason", text(j->reason));
    json_object_set_new(o, "attempts", json_integer(j->attempts));
    json_object_set_new(o, "folder", text(j->folder));
    json_object_set_new(o, "batch", text(j->batch));
    json_object_set_new(o, "batch_state", text(j->batch_state));
    json_object_set_new(o, "node", text(j->node));
    json_object_set_new(o, "exit_status",
                        j->exit_status >= 0 ? json_integer(j->exit_status) : json_null());
    set_time(o, "started", j->started_ns);
    set_time(o, "ended", j->ended_ns);
    json_array_append_new(ctx, o);
    return true;
}

static enum status add_lists(struct printing *out, int64_t exposure, json_t *o)
{
    struct ccd *ccds = NULL;
    size_t count = 0;
    json_t *list = json_array(), *jobs = json_array();
    enum status st = catalogue_ccds(out->p->cat, exposure, &ccds, &count, out->why);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, ccd_object(&ccds[i]));
    if (st == ST_OK)
        st = catalogue_jobs_of(out->p->cat, exposure, add_job, jobs, out->why);
    json_object_set_new(o, "ccd_list", list);
    json_object_set_new(o, "job_list", jobs);
    free(ccds);
    return st;
}

static bool print_exposure(void *ctx, const struct exposure *x)
{
    struct printing *out = ctx;
    json_t *o = exposure_object(x);
    out->st = status_visit_json(out->p, x, out->p->name_count > 0, o, out->why);
    if (out->st == ST_OK && out->p->name_count > 0)
        out->st = add_lists(out, x->id, o);
    if (out->count++ > 0)
        fputs(",\n", out->to);
    if (out->st == ST_OK && json_dumpf(o, out->to, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0)
        out->st = fault(out->why, ST_RETRY, "cannot write the status: output closed, or out of "
                        "memory");
    json_decref(o);
    out->p->faulty += out->p->name_count > 0 && (x->state == EX_PARKED || x->faults > 0);
    return out->st == ST_OK;
}

static enum status print_picked(struct printing *out, const char *name)
{
    struct catalogue_pick pick = {.name = name, .night = out->p->night, .oldest_first = true};
    int before = out->count;
    enum status st = out->p->cat ? catalogue_each(out->p->cat, &pick, print_exposure, out, out->why)
                                 : ST_OK;
    if (name && out->count == before)
        out->p->unknown++;
    return st == ST_OK ? out->st : st;
}

static enum status print_held(const struct status_picture *p, FILE *to, struct fault *why)
{
    struct held h;
    if (!p->settings)
        return ST_OK;
    enum status st = held_read(p->cat, p->settings, p->now_ns, p->daemon || p->elsewhere.pid, &h,
                               why);
    if (st == ST_OK && (st = held_json(&h, to, why)) == ST_OK)
        fputs(",\n", to);
    return st;
}

enum status status_json(struct status_picture *p, FILE *to, struct fault *why)
{
    struct printing out = {p, to, 0, ST_OK, why};
    char iso[32];
    clock_iso(p->now_ns, iso, sizeof iso);
    fprintf(to, "{\"now\":\"%s\",\"now_ns\":%" PRId64 ",\"daemon\":%ld,", iso, p->now_ns,
            p->daemon);
    enum status st = print_held(p, to, why);
    fputs("\"exposures\":[\n", to);
    if (st == ST_OK && p->name_count == 0)
        st = print_picked(&out, NULL);
    for (int i = 0; st == ST_OK && i < p->name_count; i++)
        st = print_picked(&out, p->names[i]);
    fputs("]}\n", to);
    return st;
}

json_t *status_json_text(const char *s)
{
    return text(s);
}

json_t *status_json_real(double x)
{
    return real(x);
}

void status_json_time(json_t *o, const char *key, int64_t ns)
{
    set_time(o, key, ns);
}
