/* `status inventory`. Bias frames are one line a night, flats one a filter, science exposures one
 * a field and filter. */
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/config.h"
#include "pull/catalogue_copies.h"
#include "pull/catalogue_sums.h"
#include "pull/status_kinds.h"

struct line {
    enum obstype kind;
    char filter[72], object[72]; /* "": does not matter for the kind */
    struct holding sum;          /* its texts are not used */
    int64_t copied, masters;     /* exposures and masters from other nights */
};

struct stock {
    char night[NIGHT_SIZE];
    struct line *lines;
    size_t count, room;
    const struct camera *camera;
    bool broken; /* out of memory */
};

/* ---- one night ---- */

/* By kind, filter and field; a new one when there is none. NULL: out of memory. */
static struct line *line_of(struct stock *s, enum obstype kind, const char *filter,
                            const char *object)
{
    const char *f = kind == OBS_BIAS ? "" : filter, *o = kind == OBS_SCIENCE ? object : "";
    for (size_t i = 0; i < s->count; i++)
        if (s->lines[i].kind == kind && strcmp(s->lines[i].filter, f) == 0 &&
            strcmp(s->lines[i].object, o) == 0)
            return &s->lines[i];
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 16;
        struct line *bigger = realloc(s->lines, room * sizeof *bigger);
        s->broken = s->broken || !bigger;
        if (!bigger)
            return NULL;
        s->lines = bigger;
        s->room = room;
    }
    struct line *l = &s->lines[s->count++];
    *l = (struct line){.kind = kind};
    snprintf(l->filter, sizeof l->filter, "%s", f);
    snprintf(l->object, sizeof l->object, "%s", o);
    return l;
}

static void add(struct holding *to, const struct holding *h)
{
    to->exposures += h->exposures;
    to->coming += h->coming;
    to->parked_whole += h->parked_whole;
    to->placed += h->placed;
    to->missing += h->missing;
    to->parked += h->parked;
    to->bundle_size += h->bundle_size;
    to->fits_size += h->fits_size;
}

static bool take_holding(void *ctx, const struct holding *h)
{
    struct stock *s = ctx;
    struct line *l = line_of(s, camera_obstype(s->camera, h->obstype), h->filter, h->object);
    if (l)
        add(&l->sum, h);
    return l != NULL;
}

static bool take_copies(void *ctx, const struct copy_sum *sum)
{
    struct stock *s = ctx;
    struct line *l = line_of(s, sum->kind, sum->filter, "");
    if (l) {
        l->copied += sum->exposures;
        l->masters += sum->masters;
    }
    return l != NULL;
}

/* Bias frames, flats, then the fields by name. */
static int by_kind(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int c = (x->kind < y->kind) - (x->kind > y->kind);
    c = c ? c : strcmp(x->object, y->object);
    return c ? c : strcmp(x->filter, y->filter);
}

static enum status read_stock(const struct status_picture *p, const char *night, struct stock *s,
                              struct fault *why)
{
    /* Where each ccd is a file of its own the number is of several bundles. */
    int expected = camera_groups(p->camera) ? 0 : p->camera->ccds;
    *s = (struct stock){.camera = p->camera};
    snprintf(s->night, sizeof s->night, "%s", night);
    enum status st = catalogue_holdings(p->cat, night, expected, take_holding, s, why);
    if (st == ST_OK)
        st = catalogue_sum_copies(p->cat, night, take_copies, s, why);
    if (st == ST_OK && s->broken)
        st = fault(why, ST_RETRY, "out of memory");
    if (s->count > 1)
        qsort(s->lines, s->count, sizeof *s->lines, by_kind);
    return st;
}

/* ---- calibrations ---- */

/* Does the night have science exposures (of this filter, NULL: of any)? */
static bool observes(const struct stock *s, const char *filter)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->lines[i].kind == OBS_SCIENCE &&
            (!filter || strcmp(s->lines[i].filter, filter) == 0))
            return true;
    return false;
}

/* Calls fn for bias frames and each filter that has flats or needs them; l is NULL when
 * there is nothing of it. */
typedef void calibration_fn(void *ctx, enum obstype kind, const char *filter, const struct line *l);

static void each_calibration(const struct stock *s, calibration_fn *fn, void *ctx)
{
    const struct line *bias = NULL;
    for (size_t i = 0; i < s->count && !bias; i++)
        bias = s->lines[i].kind == OBS_BIAS ? &s->lines[i] : NULL;
    if (bias || observes(s, NULL))
        fn(ctx, OBS_BIAS, "", bias);
    for (size_t i = 0; i < s->count; i++) {
        const struct line *l = &s->lines[i];
        /* Lines go by kind: a flat stands before the fields that need it, a field's first line
         * before its others. */
        bool again = l->kind == OBS_BIAS;
        for (size_t k = 0; k < i && !again; k++)
            again = s->lines[k].kind != OBS_BIAS && strcmp(s->lines[k].filter, l->filter) == 0;
        if (!again)
            fn(ctx, OBS_FLAT, l->filter, l->kind == OBS_FLAT ? l : NULL);
    }
}

static void short_filter(const char *filter, char *out, size_t size)
{
    char word[72];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(filter, " "), filter);
    status_fit(word[0] ? word : "-", (int)size - 1, out, size);
}

struct sentence {
    struct buf text;
    int flats;
    bool lacking;
};

static void say_calibration(void *ctx, enum obstype kind, const char *filter, const struct line *l)
{
    struct sentence *s = ctx;
    char name[16];
    short_filter(filter, name, sizeof name);
    if (kind == OBS_BIAS)
        buf_printf(&s->text, "bias");
    else
        buf_printf(&s->text, "%s %s", s->flats++ ? "," : "; flats", name);
    if (l && l->sum.exposures)
        buf_printf(&s->text, " %lld", (long long)l->sum.exposures);
    if (l && l->copied)
        buf_printf(&s->text, "%s %lld copied", l->sum.exposures ? " +" : "", (long long)l->copied);
    if (l && l->masters)
        buf_printf(&s->text, "%s masters copied", l->sum.exposures || l->copied ? " +" : "");
    if (!l)
        buf_printf(&s->text, " MISSING");
    s->lacking = s->lacking || !l;
}

/* ---- the table ---- */

static void bytes_text(int64_t bytes, char *out, size_t size)
{
    if (bytes < 1000000000)
        snprintf(out, size, "%.1f MB", (double)bytes / 1e6);
    else if (bytes < 1000000000000)
        snprintf(out, size, "%.1f GB", (double)bytes / 1e9);
    else
        snprintf(out, size, "%.2f TB", (double)bytes / 1e12);
}

static void draw_line(const char *night, const char *what, const char *filter,
                      const struct holding *h, FILE *to)
{
    char bundles[24], fits[24], name[32];
    status_fit(what, 15, name, sizeof name);
    bytes_text(h->bundle_size, bundles, sizeof bundles);
    bytes_text(h->fits_size, fits, sizeof fits);
    fprintf(to, "%-8s %-15s %-6s %5lld %7lld %7lld %6lld %8s %8s\n", night, name, filter,
            (long long)h->exposures, (long long)h->placed, (long long)h->missing,
            (long long)h->parked, bundles, fits);
}

static void draw_calibrations(const struct stock *s, FILE *to)
{
    struct sentence words = {.flats = 0};
    struct buf wrapped = {0};
    each_calibration(s, say_calibration, &words);
    if (words.text.len && words.lacking)
        buf_printf(&words.text, " (skyferry-pull copycals -o %s -i utYYMMDD)", s->night);
    if (words.text.len) {
        config_wrap(&wrapped, (const char *)words.text.data, "         ", 9);
        fprintf(to, "%s %.*s", s->night, (int)wrapped.len, (const char *)wrapped.data);
    }
    buf_free(&wrapped);
    buf_free(&words.text);
}

static void draw_stock(const struct stock *s, FILE *to)
{
    fprintf(to, "%-8s %-15s %-6s %5s %7s %7s %6s %8s %8s\n", "NIGHT", "WHAT", "FILTER", "EXP",
            "PLACED", "MISSING", "PARKED", "BUNDLES", "FITS");
    struct holding all = {.exposures = 0};
    char filter[8];
    for (size_t i = 0; i < s->count; i++) {
        const struct line *l = &s->lines[i];
        add(&all, &l->sum);
        short_filter(l->filter, filter, 7);
        if (l->sum.exposures)
            draw_line(s->night, l->kind != OBS_SCIENCE ? obstype_name(l->kind)
                                : l->object[0] ? l->object : "unnamed", filter, &l->sum, to);
    }
    draw_line(s->night, "all", "", &all, to);
    if (all.coming)
        fprintf(to, "%s %lld still arriving\n", s->night, (long long)all.coming);
    if (all.parked_whole)
        fprintf(to, "%s %lld parked: skyferry-pull status --night %s\n", s->night,
                (long long)all.parked_whole, s->night);
    draw_calibrations(s, to);
}

/* ---- the newest nights ---- */

struct stocks {
    struct stock *items; /* newest first */
    size_t count;
    bool more;           /* nights before them */
};

static void stocks_free(struct stocks *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->items[i].lines);
    free(all->items);
}

static enum status add_stock(const struct status_picture *p, const char *night,
                             struct stocks *all, struct fault *why)
{
    struct stock *bigger = realloc(all->items, (all->count + 1) * sizeof *bigger);
    if (!bigger)
        return fault(why, ST_RETRY, "out of memory");
    all->items = bigger;
    return read_stock(p, night, &all->items[all->count++], why);
}

static enum status read_stocks(struct status_picture *p, struct stocks *all, struct fault *why)
{
    char night[NIGHT_SIZE] = "";
    int most = p->limit > 0 ? p->limit : 1000000;
    enum status st = ST_OK;
    if (!p->cat)
        return ST_OK;
    if (p->night)
        return add_stock(p, p->night, all, why);
    while (st == ST_OK) {
        st = catalogue_night_before(p->cat, night[0] ? night : NULL, night, why);
        all->more = night[0] != '\0';
        if (st != ST_OK || !night[0] || most-- <= 0)
            break;
        st = add_stock(p, night, all, why);
    }
    return st;
}

/* One night's part, made to fit so many lines (<= 0: any): fields give way, its sums stand. How many
 * lines it has; 0: out of memory. */
static int picture_of(const struct stock *s, int lines, char **text)
{
    size_t size = 0;
    int count = 0;
    *text = NULL;
    FILE *to = open_memstream(text, &size);
    if (!to)
        return 0;
    draw_stock(s, to);
    fclose(to);
    for (size_t i = 0; i < size; i++)
        count += (*text)[i] == '\n';
    if (lines <= 0 || count <= lines)
        return count;
    char *second = strchr(*text, '\n') + 1, *rest = second;
    for (int over = count - lines; over > 0; over--)
        rest = strchr(rest, '\n') + 1;
    memmove(second, rest, strlen(rest) + 1);
    return lines;
}

/* The newest nights that fit a screen, the last at the bottom. */
static enum status draw_stocks(struct stocks *all, int lines, FILE *to, struct fault *why)
{
    char **parts = calloc(all->count + 1, sizeof *parts);
    size_t n = 0;
    bool whole = parts != NULL;
    int left = lines;
    for (; whole && n < all->count; n++) {
        int used = picture_of(&all->items[n], n == 0 ? lines : 0, &parts[n]);
        whole = used > 0;
        left -= used + (n > 0); /* and an empty line between */
        if (lines > 0 && left < 0) {
            all->more = true;
            free(parts[n]);
            break;
        }
    }
    for (size_t i = n; i > 0; i--) {
        if (whole)
            fprintf(to, "%s%s", i < n ? "\n" : "", parts[i - 1]);
        free(parts[i - 1]);
    }
    free(parts);
    return whole ? ST_OK : fault(why, ST_RETRY, "out of memory");
}

enum status status_inventory(struct status_picture *p, FILE *to, struct fault *why)
{
    struct stocks all = {.count = 0};
    enum status st = read_stocks(p, &all, why);
    bool empty = all.count == 0 || all.items[0].count == 0;
    if (st == ST_OK && !empty)
        st = draw_stocks(&all, p->lines > 0 ? p->lines - 3 : 0, to, why);
    if (st == ST_OK && empty)
        fprintf(to, "The store holds nothing%s%s\n", p->night ? " of " : "", p->night ? p->night : "");
    if (st == ST_OK && all.more)
        fprintf(to, "\nEarlier nights: --limit N, --all, or --night utYYMMDD\n");
    stocks_free(&all);
    return st;
}

/* ---- JSON ---- */

static void list_lacking(void *ctx, enum obstype kind, const char *filter, const struct line *l)
{
    if (l)
        return;
    json_t *o = json_object();
    json_object_set_new(o, "kind", json_string(obstype_name(kind)));
    json_object_set_new(o, "filter", status_json_text(filter));
    json_array_append_new(ctx, o);
}

static json_t *line_object(const struct line *l)
{
    json_t *o = json_object();
    json_object_set_new(o, "kind", json_string(obstype_name(l->kind)));
    json_object_set_new(o, "filter", status_json_text(l->filter));
    json_object_set_new(o, "object", status_json_text(l->object));
    json_object_set_new(o, "exposures", json_integer(l->sum.exposures));
    json_object_set_new(o, "exposures_coming", json_integer(l->sum.coming));
    json_object_set_new(o, "exposures_parked", json_integer(l->sum.parked_whole));
    json_object_set_new(o, "ccds_placed", json_integer(l->sum.placed));
    json_object_set_new(o, "ccds_missing", json_integer(l->sum.missing));
    json_object_set_new(o, "ccds_parked", json_integer(l->sum.parked));
    json_object_set_new(o, "bundle_bytes", json_integer(l->sum.bundle_size));
    json_object_set_new(o, "fits_bytes", json_integer(l->sum.fits_size));
    json_object_set_new(o, "exposures_copied", json_integer(l->copied));
    json_object_set_new(o, "masters_copied", json_integer(l->masters));
    return o;
}

static json_t *stock_object(const struct stock *s)
{
    json_t *o = json_object(), *lines = json_array(), *lacking = json_array();
    for (size_t i = 0; i < s->count; i++)
        json_array_append_new(lines, line_object(&s->lines[i]));
    each_calibration(s, list_lacking, lacking);
    json_object_set_new(o, "night", json_string(s->night));
    json_object_set_new(o, "holds", lines);
    json_object_set_new(o, "lacks", lacking);
    return o;
}

enum status status_inventory_json(struct status_picture *p, FILE *to, struct fault *why)
{
    struct stocks all = {.count = 0};
    json_t *nights = json_array();
    enum status st = read_stocks(p, &all, why);
    for (size_t i = all.count; st == ST_OK && i > 0; i--)
        json_array_append_new(nights, stock_object(&all.items[i - 1]));
    stocks_free(&all);
    enum status end = status_json_member(to, "nights", nights, why);
    return st == ST_OK ? end : st;
}
