#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/config.h"
#include "pull/catalogue_sums.h"
#include "pull/held.h"
#include "pull/quality.h"
#include "pull/status.h"

#define SHOWN_REASONS 12 /* parked and faulty exposures that are spelled out below the table */

void status_after(int64_t from, int64_t to, char *out, size_t size)
{
    double s = (double)(to - from) / 1e9;
    if (from <= 0 || to <= 0)
        snprintf(out, size, "-");
    else if (s < 0)
        snprintf(out, size, "?");
    else if (s < 99.95)
        snprintf(out, size, "%.1fs", s);
    else if (s < 100 * 60)
        snprintf(out, size, "%.0fm", s / 60);
    else if (s < 100 * 3600)
        snprintf(out, size, "%.0fh", s / 3600);
    else
        snprintf(out, size, "%.0fd", s / 86400);
}

void status_fit(const char *text, int width, char *out, size_t size)
{
    int len = (int)strlen(text), tail = (width - 1) / 2;
    if (len <= width)
        snprintf(out, size, "%s", text);
    else
        snprintf(out, size, "%.*s~%s", width - 1 - tail, text, text + len - tail);
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

/* ---- the table ---- */

struct table {
    FILE *to;
    char night[NIGHT_SIZE];
    int rows, exact, states[EX_STATES];
    int64_t all, bytes, raw; /* all: how many there are, drawn or not */
};

static void last_column(const struct exposure *x, char *out, size_t size)
{
    static const char *const words[EX_STATES] = {"stored", "placed", "jobs", "done", "PARKED",
                                                "coming"};
    if (x->visit_ccds && x->state == EX_PLACED)
        snprintf(out, size, "coming");
    else if (x->state == EX_DONE)
        status_after(x->stamp[STAMP_CLOSED], x->stamp[STAMP_DONE], out, size);
    else
        snprintf(out, size, "%s", words[x->state]);
}

static bool draw_row(void *ctx, const struct exposure *x)
{
    struct table *t = ctx;
    char name[24], object[16], ccds[24], jobs[24];
    char ratio[16] = "-", stored[16], placed[16], last[16];
    const int64_t *s = x->stamp;
    if (strcmp(t->night, x->night) != 0) {
        snprintf(t->night, sizeof t->night, "%s", x->night);
        fprintf(t->to, "%s%s\n%-18s %-8s %7s %3s %5s %6s %5s %6s %6s %6s\n", t->rows ? "\n" : "",
                x->night, "EXPOSURE", "OBJECT", "CCDS", "BAD", "JOBS", "MiB", "RATIO", "STORED",
                "PLACED", "DONE");
    }
    status_fit(x->name, 18, name, sizeof name);
    status_fit(x->facts.object, 8, object, sizeof object);
    snprintf(ccds, sizeof ccds, "%d/%d", x->placed, x->ccds);
    snprintf(jobs, sizeof jobs, "%d/%d", x->jobs_done, x->jobs);
    if (x->raw_size > 0 && x->bundle_size > 0)
        snprintf(ratio, sizeof ratio, "%.1f", (double)x->raw_size / (double)x->bundle_size);
    status_after(s[STAMP_CLOSED], s[STAMP_STORED], stored, sizeof stored);
    status_after(s[STAMP_CLOSED], s[STAMP_PLACED], placed, sizeof placed);
    last_column(x, last, sizeof last);
    fprintf(t->to, "%-18s %-8s %7s %3d %5s %6.1f %5s %6s %6s %6s\n", name, object, ccds, x->faults,
            jobs, (double)x->bundle_size / 1048576, ratio, stored, placed, last);
    t->rows++;
    t->exact += x->exact == EXACT_YES;
    t->states[x->state]++;
    t->bytes += x->bundle_size;
    t->raw += x->raw_size;
    return true;
}

struct newest {
    struct exposure *items;
    size_t count, room;
    bool full;
};

static bool keep(void *ctx, const struct exposure *x)
{
    struct newest *n = ctx;
    if (n->count == n->room) {
        size_t room = n->room ? 2 * n->room : 64;
        struct exposure *bigger = realloc(n->items, room * sizeof *bigger);
        n->full = bigger == NULL;
        if (!bigger)
            return false;
        n->items = bigger;
        n->room = room;
    }
    n->items[n->count++] = *x;
    return true;
}

static int by_night(const void *a, const void *b)
{
    const struct exposure *x = a, *y = b;
    int c = strcmp(x->night, y->night);
    return c ? c : (x->id > y->id) - (x->id < y->id);
}

static void wrapped(FILE *to, const char *text)
{
    struct buf line = {0};
    config_wrap(&line, text, "    ", 4);
    fprintf(to, "    %.*s", (int)line.len, (const char *)line.data);
    buf_free(&line);
}

struct reasons {
    struct status_picture *p;
    FILE *to;
    int shown;
};

static bool job_reason(void *ctx, const struct job *j)
{
    struct reasons *r = ctx;
    char text[1200];
    if (j->state == JOB_FAILED) {
        snprintf(text, sizeof text, "job q%d: %s (%s/err)", j->number, j->reason, j->folder);
        wrapped(r->to, text);
    }
    return true;
}

static void ccd_reasons(struct reasons *r, int64_t exposure)
{
    struct ccd *ccds = NULL;
    size_t count = 0;
    int shown = 0, bad = 0;
    struct fault why;
    char text[1200];
    if (catalogue_ccds(r->p->cat, exposure, &ccds, &count, &why) != ST_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        if (ccds[i].state != CCD_PARKED)
            continue;
        snprintf(text, sizeof text, "ccd %d: %s", ccds[i].ccd, ccds[i].reason);
        if (++bad <= 3) {
            wrapped(r->to, text);
            shown++;
        }
    }
    if (bad > shown)
        fprintf(r->to, "    and %d ccds more\n", bad - shown);
    free(ccds);
}

static bool draw_reason(void *ctx, const struct exposure *x)
{
    struct reasons *r = ctx;
    struct fault why;
    if (x->state != EX_PARKED && x->faults == 0)
        return true;
    if (r->shown++ == 0)
        fprintf(r->to, "\nWhat needs a look (mend the cause, then: skyferry-pull retry NAME):\n");
    fprintf(r->to, "  %s%s\n", x->name, x->state == EX_PARKED ? " is parked" : "");
    if (x->state == EX_PARKED)
        wrapped(r->to, x->reason);
    ccd_reasons(r, x->id);
    catalogue_jobs_of(r->p->cat, x->id, job_reason, r, &why);
    return r->shown < SHOWN_REASONS;
}

static void draw_sum(const struct status_picture *p, const struct table *t, FILE *to)
{
    fprintf(to, "%s%d", t->rows ? "\n" : "", t->rows);
    if (t->all > t->rows)
        fprintf(to, " of %lld", (long long)t->all);
    fprintf(to, " exposure%s, %.1f MB", (t->all > t->rows ? t->all : t->rows) == 1 ? "" : "s",
            (double)t->bytes / 1e6);
    if (t->bytes > 0 && t->raw > 0)
        fprintf(to, " (%.1f:1)", (double)t->raw / (double)t->bytes);
    for (int i = 0; i < EX_STATES; i++)
        if (t->states[i])
            fprintf(to, ", %d %s", t->states[i], exposure_state_name((enum exposure_state)i));
    if (t->exact)
        fprintf(to, ", %d exact", t->exact);
    if (p->daemon)
        fprintf(to, "; the daemon runs (process %ld)\n", p->daemon);
    else if (p->elsewhere.pid && p->elsewhere.silent_s < 0)
        fprintf(to, "; the daemon runs on %s (process %ld)\n", p->elsewhere.host, p->elsewhere.pid);
    else if (p->elsewhere.pid)
        fprintf(to, "; the daemon runs on %s (process %ld, last sign of life %lld s ago)\n",
                p->elsewhere.host, p->elsewhere.pid, (long long)p->elsewhere.silent_s);
    else
        fprintf(to, "; no daemon runs\n");
}

static enum status draw_held(const struct status_picture *p, FILE *to, struct fault *why)
{
    struct held h;
    enum status st = p->settings ? held_read(p->cat, p->settings, p->now_ns,
                                             p->daemon || p->elsewhere.pid, &h, why)
                                 : ST_OK;
    if (st == ST_OK && p->settings)
        held_draw(&h, to);
    return st;
}

enum status status_table(struct status_picture *p, FILE *to, struct fault *why)
{
    struct catalogue_pick pick = {.night = p->night, .limit = p->limit};
    struct newest n = {0};
    struct table t = {.to = to};
    struct reasons r = {p, to, 0};
    enum status st = p->cat ? catalogue_each(p->cat, &pick, keep, &n, why) : ST_OK;
    if (st == ST_OK && n.full)
        st = fault(why, ST_RETRY, "out of memory");
    if (n.count > 1)
        qsort(n.items, n.count, sizeof *n.items, by_night);
    for (size_t i = 0; st == ST_OK && i < n.count; i++)
        draw_row(&t, &n.items[i]);
    if (st == ST_OK && p->cat && p->limit > 0 && n.count >= (size_t)p->limit)
        st = catalogue_count_exposures(p->cat, p->night, &t.all, why);
    if (st == ST_OK)
        draw_sum(p, &t, to);
    if (st == ST_OK)
        st = draw_held(p, to, why);
    for (size_t i = 0; st == ST_OK && i < n.count; i++)
        status_visit_line(p, &n.items[i], to);
    for (size_t i = 0; st == ST_OK && i < n.count && draw_reason(&r, &n.items[i]); i++)
        ;
    free(n.items);
    return st;
}

/* ---- one exposure in full ---- */

struct detail {
    struct status_picture *p;
    FILE *to;
    int count;
    enum status st;
    struct fault *why;
};

static void figure(FILE *to, const char *fmt, int width, double value)
{
    if (quality_known(value))
        fprintf(to, fmt, width, value);
    else
        fprintf(to, " %*s", width, "-");
}

static void draw_ccds(struct detail *d, const struct ccd *ccds, size_t count)
{
    char name[16];
    if (count > 0)
        fprintf(d->to, "\n%4s %-8s %-8s %-9s %10s %8s %9s %6s %6s\n", "CCD", "EXTNAME", "STATE",
                "CODEC", "BACKGROUND", "NOISE", "SATURATED", "STARS", "FWHM");
    for (size_t i = 0; i < count; i++) {
        const struct ccd *c = &ccds[i];
        const struct quality *q = &c->quality;
        status_fit(c->extname, 8, name, sizeof name);
        fprintf(d->to, "%4d %-8s %-8s %-9s", c->ccd, name, ccd_state_name(c->state), c->codec);
        figure(d->to, " %*.1f", 10, q->background);
        figure(d->to, " %*.2f", 8, q->noise);
        figure(d->to, " %*.5f", 9, q->saturated);
        figure(d->to, " %*.0f", 6, q->stars);
        figure(d->to, " %*.2f", 6, q->fwhm);
        fputc('\n', d->to);
        if (c->reason[0])
            wrapped(d->to, c->reason);
        if (q->error[0])
            wrapped(d->to, q->error);
    }
}

static bool draw_job(void *ctx, const struct job *j)
{
    struct detail *d = ctx;
    char took[16];
    status_after(j->started_ns, j->ended_ns, took, sizeof took);
    fprintf(d->to, "q%-3d %-8s %7s  attempt %d  %s\n", j->number, job_state_name(j->state), took,
            j->attempts, j->folder);
    if (j->batch[0])
        fprintf(d->to, "     %s %s %s%s%s\n", strchr(j->batch, '_') ? "Slurm" : "PBS", j->batch,
                j->batch_state, j->node[0] ? " on " : "", j->node);
    if (j->reason[0])
        wrapped(d->to, j->reason);
    return true;
}

static void draw_stamps(struct detail *d, const struct exposure *x)
{
    char iso[32], after[16];
    for (int i = 0; i < STAMPS; i++) {
        if (x->stamp[i] <= 0)
            continue;
        clock_iso(x->stamp[i], iso, sizeof iso);
        status_after(x->stamp[STAMP_CLOSED], x->stamp[i], after, sizeof after);
        fprintf(d->to, "  %-9s %s  %7s\n", stamp_names[i], iso, after);
    }
}

static void draw_facts(struct detail *d, const struct exposure *x)
{
    char object[48], filter[48], obstype[24];
    status_fit(x->facts.object, 24, object, sizeof object);
    status_fit(x->facts.filter, 30, filter, sizeof filter);
    status_fit(x->facts.obstype, 12, obstype, sizeof obstype);
    fprintf(d->to, "%s%s  %s  %s\n", d->count ? "\n" : "", x->name, x->night,
            exposure_state_name(x->state));
    if (x->reason[0])
        wrapped(d->to, x->reason);
    fprintf(d->to, "  %s  %s  %s", obstype, object, filter);
    if (isfinite(x->facts.exptime))
        fprintf(d->to, "  %g s", x->facts.exptime);
    static const char *const exact[] = {"", ", exact data are being placed", ", exact"};
    fprintf(d->to, "\n  %s, %.1f MB%s\n  %d of %d ccds placed, %d of %d jobs done, %d faults\n",
            x->bundle, (double)x->bundle_size / 1e6, exact[x->exact], x->placed, x->ccds,
            x->jobs_done, x->jobs, x->faults);
}

static bool draw_exposure(void *ctx, const struct exposure *x)
{
    struct detail *d = ctx;
    struct ccd *ccds = NULL;
    size_t count = 0;
    d->st = catalogue_ccds(d->p->cat, x->id, &ccds, &count, d->why);
    if (d->st == ST_OK) {
        draw_facts(d, x);
        status_visit_line(d->p, x, d->to);
        draw_stamps(d, x);
        draw_ccds(d, ccds, count);
        if (x->jobs > 0)
            fputc('\n', d->to);
        d->st = catalogue_jobs_of(d->p->cat, x->id, draw_job, d, d->why);
    }
    free(ccds);
    d->count++;
    d->p->faulty += x->state == EX_PARKED || x->faults > 0;
    return d->st == ST_OK;
}

enum status status_detail(struct status_picture *p, FILE *to, struct fault *why)
{
    struct detail d = {p, to, 0, ST_OK, why};
    for (int i = 0; i < p->name_count && d.st == ST_OK; i++) {
        struct catalogue_pick pick = {.name = p->names[i], .night = p->night};
        int before = d.count;
        enum status st = p->cat ? catalogue_each(p->cat, &pick, draw_exposure, &d, why) : ST_OK;
        if (st != ST_OK)
            return st;
        if (d.count == before) {
            fprintf(stderr, "skyferry-pull: no exposure is named '%s'; skyferry-pull status --all "
                            "lists them\n", p->names[i]);
            p->unknown++;
        }
    }
    return d.st;
}
