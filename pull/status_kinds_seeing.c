/* `status seeing`. The FWHM is the jobs' (result.json), in pixels; the camera's profile makes
 * arcseconds of it. Of an exposure the median over its ccds counts: one ccd with a bright
 * galaxy, or a bad one, says nothing about the sky. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pull/quality.h"
#include "pull/status_kinds.h"

#define RECENT 5 /* exposures that tell how it is now */

/* One exposure's figures. */
struct sight {
    struct exposure x;
    double fwhm, sky, noise, stars; /* pixels, ADU, ADU, of all ccds; NaN: not measured */
    int measured, errors;           /* ccds with a FWHM; that the job could not measure */
};

struct sights {
    struct status_picture *p;
    struct sight *items; /* newest first */
    size_t count, room;
    int most;
    enum status st;
    struct fault *why;
};

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts them. NaN of none. */
static double median(double *values, size_t count)
{
    if (count == 0)
        return NAN;
    qsort(values, count, sizeof *values, by_value);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static double median_of(const struct ccd *ccds, size_t count, size_t offset, double *scratch)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, (const char *)&ccds[i].quality + offset, sizeof value);
        if (quality_known(value))
            scratch[n++] = value;
    }
    return median(scratch, n);
}

static void measure(const struct ccd *ccds, size_t count, double *scratch, struct sight *s)
{
    s->fwhm = median_of(ccds, count, offsetof(struct quality, fwhm), scratch);
    s->sky = median_of(ccds, count, offsetof(struct quality, background), scratch);
    s->noise = median_of(ccds, count, offsetof(struct quality, noise), scratch);
    s->stars = NAN;
    for (size_t i = 0; i < count; i++) {
        const struct quality *q = &ccds[i].quality;
        s->measured += quality_known(q->fwhm);
        s->errors += q->error[0] != '\0';
        if (quality_known(q->stars))
            s->stars = quality_known(s->stars) ? s->stars + q->stars : q->stars;
    }
}

static enum status read_sight(struct sights *all, const struct exposure *x, struct sight *s)
{
    struct ccd *ccds = NULL;
    double *scratch = NULL;
    size_t count = 0;
    *s = (struct sight){.x = *x};
    enum status st = catalogue_ccds(all->p->cat, x->id, &ccds, &count, all->why);
    if (st == ST_OK && !(scratch = calloc(count + 1, sizeof *scratch)))
        st = fault(all->why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        measure(ccds, count, scratch, s);
    free(scratch);
    free(ccds);
    return st;
}

static bool take(void *ctx, const struct exposure *x)
{
    struct sights *all = ctx;
    if (camera_obstype(all->p->camera, x->facts.obstype) != OBS_SCIENCE)
        return true;
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        struct sight *bigger = realloc(all->items, room * sizeof *bigger);
        if (!bigger) {
            all->st = fault(all->why, ST_RETRY, "out of memory");
            return false;
        }
        all->items = bigger;
        all->room = room;
    }
    all->st = read_sight(all, x, &all->items[all->count]);
    all->count += all->st == ST_OK;
    return all->st == ST_OK && all->count < (size_t)all->most;
}

static int64_t shutter(const struct exposure *x)
{
    return x->facts.date_ns != INT64_MIN ? x->facts.date_ns : x->stamp[STAMP_CLOSED];
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = shutter(&((const struct sight *)a)->x), y = shutter(&((const struct sight *)b)->x);
    return (x < y) - (x > y);
}

/* Those that came last, by their shutter. */
static enum status read_sights(struct sights *all)
{
    struct catalogue_pick pick = {.night = all->p->night};
    enum status st = all->p->cat ? catalogue_each(all->p->cat, &pick, take, all, all->why) : ST_OK;
    if (all->count > 1)
        qsort(all->items, all->count, sizeof *all->items, newest_first);
    return st == ST_OK ? all->st : st;
}

/* ---- the table ---- */

/* Arcseconds, or pixels when the profile does not say. */
static double scaled(const struct status_picture *p, double fwhm)
{
    return p->camera->pixel_scale > 0 ? fwhm * p->camera->pixel_scale : fwhm;
}

static const char *unit(const struct status_picture *p)
{
    return p->camera->pixel_scale > 0 ? "\"" : " px";
}

/* Has its jobs' result.json told anything? */
static bool has_any(const struct sight *s)
{
    return s->measured > 0 || quality_known(s->sky) || quality_known(s->noise) ||
           quality_known(s->stars);
}

static const char *verdict(const struct sight *s, char *out, size_t size)
{
    int bad = s->x.faults + s->errors;
    if (s->x.state == EX_PARKED)
        return "PARKED";
    if (bad > 0)
        snprintf(out, size, "%d bad", bad);
    else if (s->x.state == EX_DONE)
        snprintf(out, size, "%s", s->measured ? "whole" : has_any(s) ? "no FWHM" : "no data");
    else
        snprintf(out, size, "%s", s->x.state == EX_WORKING ? "jobs" : exposure_state_name(s->x.state));
    return out;
}

static void figure(FILE *to, int width, int digits, double value)
{
    if (quality_known(value))
        fprintf(to, " %*.*f", width, digits, value);
    else
        fprintf(to, " %*s", width, "-");
}

static void draw_sight(const struct status_picture *p, const struct sight *s, FILE *to)
{
    char began[24], name[32], object[16], filter[8], ccds[24], word[24], band[72];
    const struct exposure *x = &s->x;
    status_when(shutter(x), began, sizeof began);
    status_fit(x->name, 21, name, sizeof name);
    status_fit(x->facts.object, 8, object, sizeof object);
    snprintf(band, sizeof band, "%.*s", (int)strcspn(x->facts.filter, " "), x->facts.filter);
    status_fit(band, 3, filter, sizeof filter);
    snprintf(ccds, sizeof ccds, "%d/%d", s->measured, x->ccds);
    const char *time_of_day = strchr(began, ' ');
    fprintf(to, "%-8s %-21s %-8s %-3s", time_of_day ? time_of_day + 1 : began, name, object, filter);
    figure(to, 6, 2, scaled(p, s->fwhm));
    figure(to, 7, 1, s->sky);
    figure(to, 6, 0, s->stars);
    fprintf(to, " %5s %s\n", ccds, verdict(s, word, sizeof word));
}

/* Not one has a FWHM. */
static void draw_none(const struct sights *all, FILE *to)
{
    bool any = false;
    for (size_t i = 0; i < all->count; i++)
        any = any || has_any(&all->items[i]);
    fprintf(to, "%s%s\n", all->count ? "\n" : "",
            any ? "No seeing: no job has measured a FWHM (result.json)"
                : "No figures yet: the jobs' result.json brings them");
}

/* The newest `most` of them that have a FWHM, in its unit. */
static size_t newest(const struct sights *all, size_t most, double *out)
{
    size_t n = 0;
    for (size_t i = 0; i < all->count && n < most; i++)
        if (quality_known(all->items[i].fwhm))
            out[n++] = scaled(all->p, all->items[i].fwhm);
    return n;
}

static enum status draw_sum(const struct sights *all, FILE *to, struct fault *why)
{
    const char *u = unit(all->p);
    double *values = calloc(all->count + 1, sizeof *values);
    if (!values)
        return fault(why, ST_RETRY, "out of memory");
    size_t n = newest(all, 1, values);
    if (n == 0) {
        draw_none(all, to);
        free(values);
        return ST_OK;
    }
    fprintf(to, "\nSeeing: last %.2f%s", values[0], u);
    n = newest(all, RECENT, values);
    fprintf(to, ", last %zu %.2f%s", n, median(values, n), u);
    n = newest(all, all->count, values);
    fprintf(to, ", all %zu %.2f%s", n, median(values, n), u);
    fprintf(to, " (%.2f to %.2f)\n", values[0], values[n - 1]);
    if (!(all->p->camera->pixel_scale > 0))
        fprintf(to, "In pixels: the camera's profile has no pixel_scale_arcsec\n");
    free(values);
    return ST_OK;
}

enum status status_seeing(struct status_picture *p, FILE *to, struct fault *why)
{
    struct sights all = {.p = p, .most = status_rows(p, 5), .why = why};
    enum status st = read_sights(&all);
    if (st == ST_OK && all.count > 0)
        fprintf(to, "%-8s %-21s %-8s %-3s %6s %7s %6s %5s %s\n", "UTC", "EXPOSURE", "OBJECT", "FIL",
                p->camera->pixel_scale > 0 ? "SEEING" : "PIXELS", "SKY", "STARS",
                "CCDS", "VERDICT");
    for (size_t i = all.count; st == ST_OK && i > 0; i--)
        draw_sight(p, &all.items[i - 1], to);
    if (st == ST_OK)
        st = draw_sum(&all, to, why);
    free(all.items);
    return st;
}

/* ---- JSON ---- */

static json_t *sight_object(const struct status_picture *p, const struct sight *s)
{
    char word[24];
    json_t *o = json_object();
    double scale = p->camera->pixel_scale;
    json_object_set_new(o, "name", status_json_text(s->x.name));
    json_object_set_new(o, "night", status_json_text(s->x.night));
    json_object_set_new(o, "state", json_string(exposure_state_name(s->x.state)));
    json_object_set_new(o, "object", status_json_text(s->x.facts.object));
    json_object_set_new(o, "filter", status_json_text(s->x.facts.filter));
    json_object_set_new(o, "date_obs", status_json_text(s->x.facts.date_obs));
    json_object_set_new(o, "exptime", status_json_real(s->x.facts.exptime));
    json_object_set_new(o, "fwhm_pixels", status_json_real(s->fwhm));
    json_object_set_new(o, "seeing_arcsec", status_json_real(scale > 0 ? s->fwhm * scale : NAN));
    json_object_set_new(o, "background", status_json_real(s->sky));
    json_object_set_new(o, "noise", status_json_real(s->noise));
    json_object_set_new(o, "stars", status_json_real(s->stars));
    json_object_set_new(o, "ccds", json_integer(s->x.ccds));
    json_object_set_new(o, "ccds_measured", json_integer(s->measured));
    json_object_set_new(o, "ccds_failed", json_integer(s->errors));
    json_object_set_new(o, "faults", json_integer(s->x.faults));
    json_object_set_new(o, "verdict", json_string(verdict(s, word, sizeof word)));
    return o;
}

enum status status_seeing_json(struct status_picture *p, FILE *to, struct fault *why)
{
    struct sights all = {.p = p, .most = status_rows(p, 0), .why = why};
    json_t *list = json_array();
    enum status st = read_sights(&all);
    for (size_t i = all.count; st == ST_OK && i > 0; i--)
        json_array_append_new(list, sight_object(p, &all.items[i - 1]));
    free(all.items);
    double scale = p->camera->pixel_scale;
    enum status end = status_json_member(to, "pixel_scale_arcsec",
                                         status_json_real(scale > 0 ? scale : NAN), why);
    enum status last = status_json_member(to, "exposures", list, why);
    return st != ST_OK ? st : end != ST_OK ? end : last;
}
