/* `status jobs`. */
#include <stdlib.h>

#include "common/buf.h"
#include "common/config.h"
#include "pull/catalogue_sums.h"
#include "pull/status_kinds.h"

#define DONE_SHOWN 5 /* of those that ended well, when nobody says how many */

/* What an observer looks for first comes first. */
static const enum job_state order[JOB_STATES] = {JOB_FAILED, JOB_RUNNING, JOB_WAITING, JOB_DRY,
                                                 JOB_DONE};

struct listing {
    struct status_picture *p;
    FILE *to;
    int left;     /* lines, or rows, that may still be drawn */
    int64_t shown;
    enum status st;
    struct fault *why;
};

static void name_of(struct listing *l, const struct job *j, struct exposure *x)
{
    bool found = false;
    l->st = catalogue_get(l->p->cat, j->exposure, x, &found, l->why);
    if (!found)
        *x = (struct exposure){0};
}

/* Where it is: its node, else what the batch system says. */
static void place_of(const struct job *j, char *out, size_t size)
{
    if (j->node[0] && j->state != JOB_WAITING)
        snprintf(out, size, "%s", j->node);
    else if (j->batch[0])
        snprintf(out, size, "%s %s", j->batch, j->batch_state);
    else
        snprintf(out, size, "-");
}

static void draw_reason(struct listing *l, const char *reason)
{
    struct buf text = {0};
    char line[80];
    if (l->p->lines > 0) { /* one line on a screen */
        status_fit(reason, 75, line, sizeof line);
        fprintf(l->to, "    %s\n", line);
    } else {
        config_wrap(&text, reason, "    ", 4);
        fprintf(l->to, "    %.*s", (int)text.len, (const char *)text.data);
        buf_free(&text);
    }
    l->left--;
}

static bool draw_job(void *ctx, const struct job *j)
{
    struct listing *l = ctx;
    struct exposure x;
    char name[24], where[96], fitted[24], began[24], took[16];
    if (l->left <= 0)
        return false;
    name_of(l, j, &x);
    status_fit(x.name, 19, name, sizeof name);
    place_of(j, where, sizeof where);
    status_fit(where, 18, fitted, sizeof fitted);
    status_when(j->started_ns, began, sizeof began);
    bool runs = j->state == JOB_RUNNING;
    status_after(j->started_ns, !runs ? j->ended_ns : l->p->steady ? 0 : l->p->now_ns, took,
                 sizeof took);
    fprintf(l->to, "%-8s %-19s q%-3d %3d %-14s %7s %s\n", job_state_name(j->state), name, j->number,
            j->attempts, began, took, fitted);
    l->left--;
    l->shown++;
    if (j->reason[0] && j->state != JOB_DONE)
        draw_reason(l, j->reason);
    return l->st == ST_OK;
}

/* Of those that are done only a few, unless more were asked for. */
static int most_of(const struct listing *l, enum job_state state)
{
    bool few = state == JOB_DONE && !l->p->night && l->p->limit == l->p->kind->limit;
    return few && l->left > DONE_SHOWN ? DONE_SHOWN : l->left;
}

static enum status each_state(struct listing *l, job_fn *fn, int64_t count[JOB_STATES])
{
    l->st = l->p->cat ? catalogue_count_jobs(l->p->cat, l->p->night, count, l->why) : ST_OK;
    for (int i = 0; l->p->cat && l->st == ST_OK && i < JOB_STATES; i++) {
        enum status st = ST_OK;
        if (count[order[i]] > 0 && l->left > 0)
            st = catalogue_jobs_newest(l->p->cat, order[i], l->p->night, most_of(l, order[i]), fn,
                                       l, l->why);
        if (st != ST_OK)
            l->st = st;
    }
    return l->st;
}

static void draw_sum(const struct listing *l, const int64_t count[JOB_STATES])
{
    int64_t all = 0;
    for (int i = 0; i < JOB_STATES; i++)
        all += count[i];
    fprintf(l->to, "%s%lld job%s%s%s", l->shown ? "\n" : "", (long long)all, all == 1 ? "" : "s",
            l->p->night ? " of " : "", l->p->night ? l->p->night : "");
    for (int i = 0, n = 0; i < JOB_STATES; i++)
        if (count[order[i]])
            fprintf(l->to, "%s %lld %s", n++ ? "," : ":", (long long)count[order[i]],
                    job_state_name(order[i]));
    if (all > l->shown)
        fprintf(l->to, "; %lld shown", (long long)l->shown);
    fputc('\n', l->to);
    if (all > l->shown && l->p->lines <= 0)
        fprintf(l->to, "--limit N or --all shows more\n");
    if (count[JOB_FAILED])
        fprintf(l->to, "When the cause is mended: skyferry-pull retry NAME\n");
    if (count[JOB_WAITING] + count[JOB_RUNNING] && !l->p->daemon && !l->p->elsewhere.pid)
        fprintf(l->to, "No daemon runs, so nothing goes on: skyferry-pull run\n");
}

enum status status_jobs(struct status_picture *p, FILE *to, struct fault *why)
{
    struct listing l = {.p = p, .to = to, .left = status_rows(p, 6), .why = why};
    int64_t count[JOB_STATES] = {0};
    char *rows = NULL;
    size_t size = 0;
    /* The rows are kept back: no heading stands above none. */
    l.to = open_memstream(&rows, &size);
    if (!l.to)
        return fault(why, ST_RETRY, "out of memory");
    enum status st = each_state(&l, draw_job, count);
    fclose(l.to);
    l.to = to;
    if (st == ST_OK && l.shown)
        fprintf(to, "%-8s %-19s %-4s %3s %-14s %7s %s\n%s", "STATE", "EXPOSURE", "JOB", "TRY",
                "BEGAN (UTC)", "TOOK", "NODE", rows);
    if (st == ST_OK)
        draw_sum(&l, count);
    free(rows);
    return st;
}

static bool add_job(void *ctx, const struct job *j)
{
    struct listing *l = ctx;
    struct exposure x;
    json_t *o = json_object();
    name_of(l, j, &x);
    json_object_set_new(o, "state", json_string(job_state_name(j->state)));
    json_object_set_new(o, "exposure", status_json_text(x.name));
    json_object_set_new(o, "night", status_json_text(x.night));
    json_object_set_new(o, "job", json_sprintf("q%d", j->number));
    json_object_set_new(o, "attempts", json_integer(j->attempts));
    json_object_set_new(o, "reason", status_json_text(j->reason));
    json_object_set_new(o, "folder", status_json_text(j->folder));
    json_object_set_new(o, "node", status_json_text(j->node));
    json_object_set_new(o, "batch", status_json_text(j->batch));
    json_object_set_new(o, "batch_state", status_json_text(j->batch_state));
    status_json_time(o, "started", j->started_ns);
    status_json_time(o, "ended", j->ended_ns);
    if (l->shown++ > 0)
        fputs(",\n", l->to);
    enum status st = status_json_member(l->to, NULL, o, l->why);
    l->st = l->st == ST_OK ? st : l->st;
    l->left--;
    return l->st == ST_OK && l->left > 0;
}

/* One by one: a season's jobs are never in memory. */
enum status status_jobs_json(struct status_picture *p, FILE *to, struct fault *why)
{
    struct listing l = {.p = p, .to = to, .left = status_rows(p, 0), .why = why};
    int64_t count[JOB_STATES] = {0};
    json_t *counts = json_object();
    fputs(",\"jobs\":[", to);
    enum status st = each_state(&l, add_job, count);
    fputs("]", to);
    for (int i = 0; i < JOB_STATES; i++)
        json_object_set_new(counts, job_state_name((enum job_state)i), json_integer(count[i]));
    enum status end = status_json_member(to, "counts", counts, why);
    return st == ST_OK ? end : st;
}
