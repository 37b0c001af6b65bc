#include "pull/held.h"

#include <jansson.h>
#include <string.h>

#include "common/config.h"
#include "pull/ceiling.h"
#include "pull/job_runner.h"
#include "pull/minute.h"

/* ---- what the ceilings say ---- */

struct survey {
    struct ceiling c;
    int64_t now, exposure; /* of the newest jobs that wait */
    int jobs;
};

static bool add_running(void *ctx, const struct job *j)
{
    struct survey *v = ctx;
    ceiling_add(&v->c, j->handle);
    return true;
}

static bool count_first(void *ctx, const struct job *j)
{
    struct survey *v = ctx;
    if (j->due_ns > v->now)
        return true;
    if (v->jobs == 0)
        v->exposure = j->exposure;
    if (j->exposure != v->exposure)
        return false;
    v->jobs++;
    return true;
}

static bool count_moment(void *ctx, int64_t at_ns)
{
    (void)at_ns;
    ++*(int *)ctx;
    return true;
}

static enum status begun_of(struct catalogue *cat, enum pausable what, int64_t now, int *out,
                            struct fault *why)
{
    *out = 0;
    return catalogue_begun(cat, what, now - MINUTE_NS, now, count_moment, out, why);
}

static enum status read_jobs(struct catalogue *cat, const struct pull_settings *s, struct held *h,
                             int64_t now, struct fault *why)
{
    const struct job_runner_row *runner = job_runner_find(s->runner);
    struct survey v = {.now = now};
    enum ceiling_by by;
    int submits;
    enum status st = begun_of(cat, PAUSE_JOBS, now, &submits, why);
    ceiling_init(&v.c, s, runner && runner->adopt, submits);
    if (st == ST_OK)
        st = catalogue_jobs_in(cat, JOB_RUNNING, add_running, &v, why);
    if (st == ST_OK)
        st = catalogue_jobs_next(cat, count_first, &v, why);
    ceiling_let(&v.c, v.jobs, &by);
    ceiling_words(&v.c, by, h->words[PAUSE_JOBS], sizeof h->words[PAUSE_JOBS]);
    return st;
}

void held_ingest_words(const struct pull_settings *s, bool room, char *out, size_t size)
{
    if (room)
        snprintf(out, size, "%d of %d have begun in this minute ([ingest] per_minute)",
                 s->ingest_per_minute, s->ingest_per_minute);
    else
        snprintf(out, size, "%d of %d are being unpacked ([ingest] max_at_once)",
                 pull_ingest_at_once(s), pull_ingest_at_once(s));
}

static enum status read_ingest(struct catalogue *cat, const struct pull_settings *s,
                               const struct waiting_counts *n, int64_t now, struct held *h,
                               struct fault *why)
{
    int begun;
    enum status st = begun_of(cat, PAUSE_INGEST, now, &begun, why);
    int64_t *waiting = &h->waiting[PAUSE_INGEST];
    char *words = h->words[PAUSE_INGEST];
    if (st == ST_OK && s->ingest_per_minute > 0 && begun >= s->ingest_per_minute && n->fresh > 0) {
        *waiting = n->fresh;
        held_ingest_words(s, true, words, sizeof h->words[PAUSE_INGEST]);
    } else if (n->stored > pull_ingest_at_once(s)) {
        *waiting = n->stored - pull_ingest_at_once(s);
        held_ingest_words(s, false, words, sizeof h->words[PAUSE_INGEST]);
    }
    return st;
}

enum status held_read(struct catalogue *cat, const struct pull_settings *s, int64_t now_ns,
                      bool working, struct held *out, struct fault *why)
{
    struct waiting_counts n = {0};
    memset(out, 0, sizeof *out);
    for (int i = 0; i < PAUSABLES; i++)
        pause_read(s->state, (enum pausable)i, &out->token[i]);
    enum status st = cat ? catalogue_waiting(cat, now_ns, &n, why) : ST_OK;
    out->waiting[PAUSE_JOBS] = n.with_jobs;
    if (out->token[PAUSE_INGEST].set)
        out->waiting[PAUSE_INGEST] = n.stored;
    else if (st == ST_OK && cat && working)
        st = read_ingest(cat, s, &n, now_ns, out, why);
    if (st == ST_OK && cat && working && n.with_jobs > 0 && !out->token[PAUSE_JOBS].set)
        st = read_jobs(cat, s, out, now_ns, why);
    return st;
}

/* ---- in words ---- */

static const char *const waits_for[PAUSABLES] = {" to be unpacked", " for their jobs"};

static void draw_one(const struct held *h, enum pausable what, FILE *to)
{
    const struct pause_token *t = &h->token[what];
    char since[700], line[1200], count[64] = "";
    struct buf text = {0};
    long long n = h->waiting[what];
    if (n > 0)
        snprintf(count, sizeof count, "%lld exposure%s wait%s%s", n, n == 1 ? "" : "s",
                 n == 1 ? "s" : "", waits_for[what]);
    pause_words(t, since, sizeof since);
    if (t->set)
        snprintf(line, sizeof line, "%s PAUSED %s%s%s", pause_names[what], since, n ? "; " : "",
                 count);
    else if (n > 0 && h->words[what][0])
        snprintf(line, sizeof line, "%s: %s", count, h->words[what]);
    else
        return;
    config_wrap(&text, line, "    ", 0);
    fprintf(to, "%.*s", (int)text.len, (const char *)text.data);
    buf_free(&text);
}

void held_draw(const struct held *h, FILE *to)
{
    for (int i = 0; i < PAUSABLES; i++)
        draw_one(h, (enum pausable)i, to);
}

static json_t *one_json(const struct held *h, enum pausable what)
{
    const struct pause_token *t = &h->token[what];
    json_t *o = json_object(), *p = json_null();
    if (t->set) {
        p = json_object();
        json_object_set_new(p, "since_ns", json_integer(t->since_ns));
        json_object_set_new(p, "by", json_string(t->by));
        json_object_set_new(p, "reason", json_string(t->reason));
    }
    json_object_set_new(o, "paused", p);
    json_object_set_new(o, "waiting", json_integer(h->waiting[what]));
    json_object_set_new(o, "why", json_string(h->words[what]));
    return o;
}

enum status held_json(const struct held *h, FILE *to, struct fault *why)
{
    json_t *o = json_object();
    for (int i = 0; i < PAUSABLES; i++)
        json_object_set_new(o, pause_names[i], one_json(h, (enum pausable)i));
    fputs("\"held\":", to);
    int bad = json_dumpf(o, to, JSON_COMPACT);
    json_decref(o);
    return bad ? fault(why, ST_RETRY, "cannot write the status: output closed, or out of memory")
               : ST_OK;
}
