/* method = auto: for each delivery that begins the codec by which it is whole at the far end
 * soonest (choice.h), from what was measured: the line by the shipments, our processors by the
 * encodings, the far end's by what its daemon says in WELCOME. The choice is in the exposure's
 * row: it goes on with it after a restart. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "push/flow_inner.h"
#include "push/status.h"

#define NOTE_LINE "auto_line" /* bytes a second, the wall clock when that was known, 1: its limit */
#define NOTE_NEAR "auto_near"
#define NOTE_FAR "auto_far"   /* the last WELCOME's `decoding`, until the next one comes */

static void note(struct flow *f, const char *key, const char *value)
{
    struct fault why;
    if (journal_note(f->o.journal, key, value, &why) != ST_OK)
        flow_trouble(f, &why);
}

/* ---- what is known ---- */

static void freight_of(const struct exposure *e, struct freight *out)
{
    size_t len = strlen(e->path);
    *out = (struct freight){.pixels = (double)e->image_bytes / 2,
                            .file_bytes = (double)e->file.size, .tiled = e->tiled};
    if (e->image_bytes > 0)
        return;
    /* Found whole by an older release. */
    out->tiled = len > 3 && strcmp(e->path + len - 3, ".fz") == 0;
    out->pixels = out->file_bytes / (out->tiled ? 0.55 : 2);
}

/* CPU time spent over there over that of the model, by method. */
static void far_factors(const struct wire_decoding *d, double out[CHOICE_METHODS])
{
    for (int i = 0; i < d->count; i++) {
        struct choice x = {.ratio = d->by[i].ratio};
        struct freight one = {.pixels = 1, .tiled = d->by[i].ratio > 1.2};
        memcpy(x.method, d->by[i].codec, sizeof x.method);
        int method = choice_method(x.method);
        if (method >= 0)
            out[method] = d->by[i].ns / choice_decode_cost(&x, &one);
    }
}

/* A limit that was set just now holds before it is measured. */
static double line_rate(const struct flow *f)
{
    double rate = meter_hoped(ship_meter(f->ship));
    double most = throttle_mbit(limit_throttle(f->limit)) * 1e6 / 8 * THROTTLE_AIM;
    return most > 0 && (rate <= 0 || rate > most) ? most : rate;
}

static void conditions_of(const struct flow *f, struct conditions *out)
{
    const struct wire_decoding *d = &ship_line(f->ship)->hello.decoding;
    if (d->threads == 0)
        d = &f->far;
    *out = (struct conditions){.line = line_rate(f),
                               .near_threads = pool_threads(f->pool), .far_threads = d->threads};
    for (int i = 0; i < CHOICE_METHODS; i++)
        out->near[i] = effort_factor(&f->near[i]);
    far_factors(d, out->far);
}

/* ---- before and after ---- */

/* "htj2k 8:1: 9.1 s ..." as noted by an agent before us: it holds on to that. */
static void recall_choice(const char *text, struct choice *out)
{
    if (sscanf(text, "%15[a-z0-9] %lf:1", out->method, &out->ratio) < 2)
        out->ratio = 0;
    if (choice_method(out->method) < 0)
        out->method[0] = '\0';
}

/* One factor for each method, 0: not known. */
static void recall_near(struct flow *f)
{
    char text[200], *at = text;
    journal_noted(f->o.journal, NOTE_NEAR, text, sizeof text);
    for (int i = 0; i < CHOICE_METHODS; i++) {
        double factor = strtod(at, &at);
        if (factor < 1e4)
            effort_add(&f->near[i], factor * NS_PER_S, NS_PER_S);
    }
}

static void keep_near(struct flow *f)
{
    struct buf text = {0};
    bool ok = true;
    for (int i = 0; i < CHOICE_METHODS; i++)
        ok = buf_printf(&text, "%s%.4f", i ? " " : "", effort_factor(&f->near[i])) && ok;
    if (ok)
        note(f, NOTE_NEAR, (const char *)text.data);
    buf_free(&text);
}

void auto_open(struct flow *f)
{
    char text[400], far[1000];
    long long then;
    double rate;
    int at_limit = 0;
    journal_noted(f->o.journal, NOTE_AUTO, text, sizeof text);
    if (!settings_auto(&f->config.set)) {
        f->chosen.method[0] = '\0';
        f->chosen_said = false;
        if (text[0]) {
            note(f, NOTE_AUTO, "");
            note(f, NOTE_FIGURES, "");
        }
        return;
    }
    if (f->chosen.method[0])
        return; /* it was auto before */
    recall_choice(text, &f->chosen);
    journal_noted(f->o.journal, NOTE_LINE, text, sizeof text);
    if (meter_rate(ship_meter(f->ship)) <= 0 &&
        sscanf(text, "%lf %lld %d", &rate, &then, &at_limit) >= 2)
        meter_recall(ship_meter(f->ship), clock_mono(), rate, clock_wall() - then, at_limit == 1);
    recall_near(f);
    journal_noted(f->o.journal, NOTE_FAR, far, sizeof far);
    wire_decoding_parse(far, strlen(far), &f->far, NULL);
}

static void keep_far(struct flow *f)
{
    const struct wire_decoding *d = &ship_line(f->ship)->hello.decoding;
    struct buf text = {0};
    if (d->threads == 0 || memcmp(d, &f->far, sizeof *d) == 0)
        return;
    f->far = *d;
    if (wire_decoding_text(d, &text) && buf_append(&text, "", 1))
        note(f, NOTE_FAR, (const char *)text.data);
    buf_free(&text);
}

void auto_keep(struct flow *f)
{
    const struct meter *m = ship_meter(f->ship);
    char text[64];
    if (!settings_auto(&f->config.set))
        return;
    keep_far(f);
    if (meter_rate(m) <= 0 || m->known_ns == f->line_kept_ns)
        return;
    f->line_kept_ns = m->known_ns;
    snprintf(text, sizeof text, "%.0f %lld %d", meter_rate(m),
             (long long)(clock_wall() - (clock_mono() - m->known_ns)), meter_at_limit(m));
    note(f, NOTE_LINE, text);
}

void auto_learned(struct flow *f, const struct exposure *e, const struct encode_result *r)
{
    struct choice x = {.ratio = e->ratio};
    struct freight freight;
    int method = choice_method(e->method);
    if (!settings_auto(&f->config.set) || e->exact || method < 0)
        return;
    memcpy(x.method, e->method, sizeof x.method);
    freight_of(e, &freight);
    effort_add(&f->near[method], (double)r->cpu_ns, choice_encode_cost(&x, &freight));
    keep_near(f);
}

/* ---- the choice ---- */

static void put_machine(struct buf *out, const char *where, double factor, int threads)
{
    if (factor > 0)
        buf_printf(out, ", %s %.2g x the model's on %d thread%s", where, factor, threads,
                   threads == 1 ? "" : "s");
    else
        buf_printf(out, ", %s not known yet", where);
}

/* The rate that was seen, where more than that is tried. */
static double line_seen(const struct flow *f, double line)
{
    double seen = meter_rate(ship_meter(f->ship));
    return seen > 0 && seen < line ? seen : line;
}

static void put_line(struct buf *out, double seen, double tried)
{
    if (tried <= 0)
        buf_printf(out, "; line not known yet");
    else if (seen < tried)
        buf_printf(out, "; line at least %.4g Mbit/s, %.4g is tried", seen * 8e-6, tried * 8e-6);
    else
        buf_printf(out, "; line %.4g Mbit/s", seen * 8e-6);
}

static void put_reasons(struct buf *out, const struct conditions *c, double seen,
                        const struct choice *x, const struct choice *rival)
{
    char text[160], other[48];
    choice_text(x, text, sizeof text);
    choice_name(rival, other, sizeof other);
    buf_printf(out, "%s", text);
    if (c->line > 0 && rival->method[0])
        buf_printf(out, "; %s would take %.1f s", other, rival->whole);
    put_line(out, seen, c->line);
    put_machine(out, "CPU here", choice_factor(c->near, x->method), c->near_threads);
    put_machine(out, "there", choice_factor(c->far, x->method), c->far_threads);
}

static void put_figures(struct buf *out, const struct conditions *c, double seen,
                        const struct choice *x)
{
    buf_printf(out, "{\"method\":\"%s\",\"ratio\":%.4g,\"seconds\":%.4g,\"encode\":%.4g,"
               "\"line\":%.4g,\"decode\":%.4g,\"line_mbit_s\":%.4g,\"near\":%.4g,"
               "\"near_threads\":%d,\"far\":%.4g,\"far_threads\":%d}",
               x->method, x->ratio, x->whole, x->encode, x->line, x->decode, seen * 8e-6,
               choice_factor(c->near, x->method), c->near_threads,
               choice_factor(c->far, x->method), c->far_threads);
}

static void tell(struct flow *f, const struct exposure *e, const struct conditions *c,
                 const struct choice *x, const struct choice *rival)
{
    struct log_at at = {.stage = "codec", .exposure = e->name};
    struct buf words = {0}, figures = {0};
    double seen = line_seen(f, c->line);
    bool news = !f->chosen_said || strcmp(x->method, f->chosen.method) != 0 ||
                x->ratio != f->chosen.ratio;
    put_reasons(&words, c, seen, x, rival);
    put_figures(&figures, c, seen, x);
    if (words.data && figures.data) {
        if (news)
            log_info(&at, "auto: %s", (const char *)words.data);
        else
            log_debug(&at, "auto: %s", (const char *)words.data);
        note(f, NOTE_AUTO, (const char *)words.data);
        note(f, NOTE_FIGURES, (const char *)figures.data);
    }
    f->chosen_said = true;
    buf_free(&words);
    buf_free(&figures);
}

void auto_choose(struct flow *f, struct exposure *e)
{
    struct conditions c;
    struct freight freight;
    struct choice x, rival;
    double ratio_max = settings_ratio_max(&f->config.set);
    e->method[0] = '\0';
    e->ratio = e->pace = 0;
    meter_raise(ship_meter(f->ship));
    conditions_of(f, &c);
    freight_of(e, &freight);
    choice_make(&c, &freight, ratio_max, &f->chosen, &x);
    choice_rival(&c, &freight, ratio_max, &x, &rival);
    tell(f, e, &c, &x, &rival);
    f->chosen = x;
    memcpy(e->method, x.method, sizeof e->method);
    e->ratio = x.ratio;
}

bool auto_keeps(const struct flow *f, const struct exposure *e)
{
    const struct settings *s = &f->config.set;
    return e->exact || !settings_auto(s) ||
           (choice_method(e->method) >= 0 && e->ratio <= settings_ratio_max(s) * 1.001);
}

void auto_fidelity(const struct settings *s, const struct exposure *e, struct fidelity *out)
{
    memset(out->method, 0, sizeof out->method);
    snprintf(out->method, sizeof out->method, "%s", e->method);
    /* An error that was asked for is kept whatever ratio that comes to. */
    if (e->ratio <= 0)
        out->noise = 0;
    else if (s->noise > 0)
        out->noise = fmin(s->noise, fidelity_error(e->method, e->ratio));
    else
        out->ratio = e->ratio;
}
