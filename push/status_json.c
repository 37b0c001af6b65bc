/* The JSON picture of `status`, written exposure by exposure: a season's journal is never in
 * memory at once. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "push/status.h"

static const char *const stamp_keys[STAMPS] = {
    [STAMP_NOTICED] = "noticed", [STAMP_SETTLED] = "settled", [STAMP_ENCODE] = "encode",
    [STAMP_ENCODED] = "encoded", [STAMP_FIRST] = "first",     [STAMP_LAST] = "last",
    [STAMP_STORED] = "stored",   [STAMP_DONE] = "done",
};

/* A path may hold any bytes, JSON only UTF-8. */
static json_t *text(const char *s)
{
    if (!s[0])
        return json_null();
    json_t *j = json_string(s);
    if (j)
        return j;
    char *plain = strdup(s);
    for (char *p = plain; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    j = plain ? json_string(plain) : NULL;
    free(plain);
    return j;
}

static json_t *count(int64_t n, bool known)
{
    return known ? json_integer(n) : json_null();
}

static json_t *real(double x, bool known)
{
    return known && isfinite(x) ? json_real(x) : json_null();
}

static void set_time(json_t *obj, const char *key, int64_t ns)
{
    char iso[32] = "", ns_key[32];
    if (ns)
        clock_iso(ns, iso, sizeof iso);
    snprintf(ns_key, sizeof ns_key, "%s_ns", key);
    json_object_set_new(obj, key, text(iso));
    json_object_set_new(obj, ns_key, count(ns, ns != 0));
}

static void set_facts(json_t *obj, const struct facts *f, bool settled)
{
    json_object_set_new(obj, "expnum", count(f->expnum, f->expnum >= 0));
    json_object_set_new(obj, "object", text(f->object));
    json_object_set_new(obj, "filter", text(f->filter));
    json_object_set_new(obj, "obstype", text(f->obstype));
    json_object_set_new(obj, "propid", text(f->propid));
    json_object_set_new(obj, "date_obs", text(f->date_obs));
    json_object_set_new(obj, "exptime", real(f->exptime, settled));
}

static json_t *exposure_object(const struct exposure *e, const struct order_item *place)
{
    const int64_t *t = e->stamp;
    json_t *obj = json_object();
    if (!obj)
        return NULL;
    json_object_set_new(obj, "id", json_integer(e->id));
    json_object_set_new(obj, "name", text(e->name));
    json_object_set_new(obj, "path", text(e->path));
    json_object_set_new(obj, "state",
                        text(e->state >= 0 ? exposure_state_names[e->state] : "unknown"));
    json_object_set_new(obj, "place", count(place ? place->place + 1 : 0, place != NULL));
    json_object_set_new(obj, "kind", text(place ? order_kind_words[place->kind] : ""));
    json_object_set_new(obj, "attempts", json_integer(e->attempts));
    json_object_set_new(obj, "reason", text(e->reason));
    set_time(obj, "due", e->due_ns);
    json_object_set_new(obj, "size", json_integer(e->file.size));
    json_object_set_new(obj, "bundle_size", count(e->bundle_size, e->bundle_size > 0));
    json_object_set_new(obj, "ratio", real(e->bundle_size ? (double)e->file.size /
                                           (double)e->bundle_size : 0, e->bundle_size > 0));
    json_object_set_new(obj, "sent_bytes", json_integer(e->sent_bytes));
    json_object_set_new(obj, "ccds", count(e->ccds, t[STAMP_SETTLED] != 0));
    set_facts(obj, &e->facts, t[STAMP_SETTLED] != 0);
    json_object_set_new(obj, "source_sha256", text(e->source_sha256));
    json_object_set_new(obj, "group", text(e->group));
    json_object_set_new(obj, "bundle_sha256", text(e->bundle_sha256));
    json_object_set_new(obj, "stored_as", text(e->stored_as));
    json_object_set_new(obj, "exact", text(status_exact(e)));
    json_object_set_new(obj, "seconds",
                        real((double)(t[STAMP_STORED] - t[STAMP_NOTICED]) / NS_PER_S,
                             t[STAMP_STORED] && t[STAMP_NOTICED]));
    for (int i = 0; i < STAMPS; i++)
        set_time(obj, stamp_keys[i], t[i]);
    return obj;
}

static json_t *agent_object(const struct agent_seen *a)
{
    json_t *obj = json_object();
    json_object_set_new(obj, "running", json_boolean(a->running));
    json_object_set_new(obj, "pid", count(a->pid, a->running));
    json_object_set_new(obj, "mode", text(a->mode));
    json_t *load = json_loads(a->order, 0, NULL);
    json_object_set_new(obj, "order", load ? load : json_null());
    json_object_set_new(obj, "lanes_up",
                        count(strtol(a->lanes_up, NULL, 10), a->lanes_up[0] != '\0'));
    json_object_set_new(obj, "rtt_ms", count(strtol(a->rtt_ms, NULL, 10), a->rtt_ms[0] != '\0'));
    json_object_set_new(obj, "trouble", text(a->trouble));
    json_t *rate = json_loads(a->rate_figures, 0, NULL);
    json_object_set_new(obj, "rate", rate ? rate : json_null());
    json_t *figures = json_loads(a->figures, 0, NULL);
    json_object_set_new(obj, "auto", figures ? figures : json_null());
    return obj;
}

static json_t *counts_object(const struct journal_counts *n)
{
    json_t *obj = json_object();
    for (int i = 0; i < EXPOSURE_STATES; i++)
        json_object_set_new(obj, exposure_state_names[i], json_integer(n->rows[i]));
    return obj;
}

static json_t *exactness_object(const struct journal_exactness *x)
{
    json_t *obj = json_object();
    json_object_set_new(obj, "delivered", json_integer(x->delivered));
    json_object_set_new(obj, "exact", json_integer(x->exact));
    json_object_set_new(obj, "under_way", json_integer(x->under_way));
    json_object_set_new(obj, "parked", json_integer(x->parked));
    json_object_set_new(obj, "gone", json_integer(x->gone));
    return obj;
}

/* Takes the reference. */
static bool print(FILE *to, json_t *j)
{
    bool ok = j && json_dumpf(j, to, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
    json_decref(j);
    return ok;
}

struct printing {
    const struct status_picture *picture;
    FILE *to;
    bool begun, failed;
};

static bool print_exposure(void *ctx, const struct exposure *e)
{
    struct printing *p = ctx;
    if (!status_wanted(p->picture, e))
        return true;
    if (p->begun)
        fputc(',', p->to);
    p->begun = true;
    p->failed = !print(p->to, exposure_object(e, status_place(p->picture, e)));
    return !p->failed;
}

enum status status_json(const struct status_picture *p, FILE *to, struct fault *why)
{
    struct journal_counts n = {0};
    struct journal_exactness x = {0};
    struct printing all = {.picture = p, .to = to};
    char iso[32];
    enum status st = p->journal ? journal_count(p->journal, 0, &n, why) : ST_OK;
    if (st == ST_OK && p->journal)
        st = journal_exactness(p->journal, &x, why);
    if (st != ST_OK)
        return st;
    clock_iso(p->now_ns, iso, sizeof iso);
    fprintf(to, "{\"now\":\"%s\",\"now_ns\":%" PRId64 ",\"agent\":", iso, p->now_ns);
    all.failed = !print(to, agent_object(&p->agent));
    fputs(",\"counts\":", to);
    all.failed |= !print(to, counts_object(&n));
    fputs(",\"exact\":", to);
    all.failed |= !print(to, exactness_object(&x));
    fputs(",\"exposures\":[", to);
    if (p->journal && !all.failed)
        st = journal_list(p->journal, -1, 0, 0, print_exposure, &all, why);
    fputs("]}\n", to);
    if (st == ST_OK && all.failed)
        st = fault(why, ST_RETRY, "cannot write the status: output closed, or out of memory");
    return st;
}
