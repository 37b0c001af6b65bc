/* The order at work: what is known of the queue, of the line and of the processors is put
 * before order.c, and what it says is told to those under way. In adaptive mode also how much
 * waits, against how fast it comes. */
#include <math.h>

#include "common/clock.h"
#include "common/log.h"
#include "push/flow_inner.h"

#define OVERTAKEN_MAX 8   /* under way without its turn: more of them are let go of */
#define SHRINK_GUESS 0.5  /* before any bundle was made */
#define SMOOTH 0.3

/* ---- what is known ---- */

enum status line_open(struct flow *f, struct fault *why)
{
    f->line = ORDER_LINE_NEW;
    if (journal_youngest(f->o.journal, &f->line.youngest[ORDER_SCIENCE], why) != ST_OK)
        return why->grade;
    return journal_shrink(f->o.journal, &f->shrink, why);
}

static void smooth(double *known, double now)
{
    *known = *known > 0 ? *known + SMOOTH * (now - *known) : now;
}

void line_learned(struct flow *f, const struct exposure *e, const struct encode_result *r)
{
    double size = (double)e->file.size;
    if (e->exact || size <= 0)
        return;
    smooth(&f->shrink, (double)r->bundle_size / size);
    smooth(&f->encode_pace, (double)r->cpu_ns / NS_PER_S / pool_threads(f->pool) / size);
}

static double bundle_bytes(const struct flow *f, const struct order_item *i)
{
    if (i->bundle_bytes > 0)
        return (double)i->bundle_bytes;
    return (double)i->file_bytes * (f->shrink > 0 ? f->shrink : SHRINK_GUESS);
}

static double encode_s(const struct flow *f, const struct order_item *i)
{
    return i->bundle_bytes > 0 ? 0 : (double)i->file_bytes * f->encode_pace;
}

static void look_at(struct flow *f, struct order_item *i)
{
    const struct transit *t = flow_transit(f, i->id);
    double rate = meter_rate(ship_meter(f->ship));
    if (t) {
        struct shipment_state s;
        transit_state(t, &s);
        i->under_way = true;
        i->bundle_bytes = transit_bundle_bytes(t);
        i->flowing = transit_flowing(t);
        i->drained = transit_drained(t);
        i->first_ns = s.first_ns;
        i->out = fmin(1, (double)s.given_bytes / bundle_bytes(f, i));
    }
    double line_s = rate > 0 ? bundle_bytes(f, i) / rate : 0;
    i->need_s = fmax(line_s, (double)i->file_bytes * f->encode_pace);
}

/* ---- adaptive ---- */

static void weigh(struct flow *f, const struct order_item *items, size_t count)
{
    double rate = meter_rate(ship_meter(f->ship)), bytes = 0, cpu_s = 0;
    struct fault why;
    f->load = (struct order_load){0};
    for (size_t i = 0; i < count; i++) {
        if (items[i].drained || items[i].kind == ORDER_BACKFILL)
            continue;
        f->load.exposures++;
        bytes += (1 - items[i].out) * bundle_bytes(f, &items[i]);
        cpu_s += encode_s(f, &items[i]);
    }
    if (rate > 0)
        f->load.line_s = fmax(bytes / rate, cpu_s);
    if (journal_cadence(f->o.journal, clock_wall(), &f->load.cadence_s, &why) != ST_OK)
        flow_trouble(f, &why);
}

static void adapt(struct flow *f, const struct order_item *items, size_t count)
{
    char text[200];
    bool before = f->line.behind;
    weigh(f, items, count);
    f->line.behind = order_falls_behind(before, &f->load);
    if (f->line.behind == before)
        return;
    order_load_text(f->line.behind, &f->load, text, sizeof text);
    log_info(AT(.stage = "order"), "%s", text);
}

/* ---- letting go ---- */

/* sending -> ready. What is finished of it is kept, here and at the far end. */
static void let_go(struct flow *f, int64_t id)
{
    struct transit *t = flow_transit(f, id);
    struct shipment_state sent;
    struct exposure e;
    struct fault why;
    bool found = false;
    transit_state(t, &sent);
    flow_forget_transit(f, id);
    transit_drop(&t);
    if (journal_get(f->o.journal, id, &e, &found, &why) != ST_OK) {
        flow_trouble(f, &why);
        return;
    }
    if (!found || e.state != EXPOSURE_SENDING)
        return;
    log_debug(AT(.stage = "order", .exposure = e.name),
              "makes room for newer ones; it goes on when its turn comes");
    e.state = EXPOSURE_READY;
    e.sent_bytes += sent.sent_bytes;
    flow_save(f, &e);
}

/* Its bundle is made again when its turn comes. */
static void give_up_bundle(struct flow *f, int64_t id)
{
    struct exposure e;
    struct fault why;
    bool found = false;
    if (flow_transit(f, id))
        let_go(f, id);
    if (journal_get(f->o.journal, id, &e, &found, &why) != ST_OK) {
        flow_trouble(f, &why);
        return;
    }
    if (!found || e.state != EXPOSURE_READY || !e.bundle_sha256[0])
        return;
    log_info(AT(.stage = "order", .exposure = e.name),
             "the spool is full: its bundle makes room for the newest, and is made again later");
    flow_forget_bundle(f, &e);
    e.bundle_sha256[0] = '\0';
    e.bundle_size = 0;
    flow_save(f, &e);
}

void line_make_room(struct flow *f, const struct order_item *newest,
                    const struct order_item *items, size_t count)
{
    struct fault why;
    for (size_t i = count; i-- > 0;) {
        if (items[i].turn || items[i].drained || items[i].bundle_bytes == 0)
            continue;
        if (spool_room(f->o.spool, f->config.set.quota_gib, newest->file_bytes, &why) != ST_WAIT)
            return;
        give_up_bundle(f, items[i].id);
    }
}

/* ---- the order ---- */

/* What newer ones overtook stays ready to go on, but not in any number. */
static void let_go_of_the_last(struct flow *f, struct order_item *items, size_t count)
{
    int overtaken = 0;
    for (size_t i = 0; i < count; i++) {
        struct order_item *at = &items[i];
        if (!at->under_way || at->turn || at->drained || ++overtaken <= OVERTAKEN_MAX)
            continue;
        let_go(f, at->id);
        at->under_way = false;
    }
}

void line_arrange(struct flow *f, struct order_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        look_at(f, &items[i]);
    if (f->config.policy.mode == ORDER_ADAPTIVE)
        adapt(f, items, count);
    order_arrange(&f->config.policy, &f->line, items, count, clock_wall());
    /* In batch mode a round is under way to its end. */
    if (f->config.policy.mode != ORDER_BATCH)
        let_go_of_the_last(f, items, count);
    for (size_t i = 0; i < count; i++) {
        struct transit *t = flow_transit(f, items[i].id);
        if (t)
            transit_urgency(t, -items[i].place);
    }
}
