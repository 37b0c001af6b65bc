/* The order at work: what is known of the queue, of the line and of the processors is put
 * before order.c, and what it says is told to those under way. In adaptive mode also how much
 * waits, against how fast it comes. */
#include <limits.h>
#include <math.h>
#include <string.h>

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
    return (double)i->bundle_bytes +
           (double)i->open_bytes * (f->shrink > 0 ? f->shrink : SHRINK_GUESS);
}

static double encode_s(const struct flow *f, const struct order_item *i)
{
    return (double)i->open_bytes * f->encode_pace;
}

static bool carries(const struct transit *t, const struct order_item *i)
{
    return i->group[0] ? strcmp(transit_group(t), i->group) == 0 : transit_exposure(t) == i->id;
}

/* What the transits of an exposure say of it; how many bytes the line has got from them. */
static double look_at_transits(struct flow *f, struct order_item *i)
{
    int drained = 0;
    double given = 0;
    for (size_t n = 0; n < f->transit_count; n++) {
        const struct transit *t = f->transits[n];
        struct shipment_state s;
        if (!carries(t, i))
            continue;
        transit_state(t, &s);
        given += (double)s.given_bytes;
        i->carried++;
        drained += transit_drained(t);
        i->flowing |= transit_flowing(t);
        if (s.first_ns && (!i->first_ns || s.first_ns < i->first_ns))
            i->first_ns = s.first_ns;
        if (i->group[0])
            continue;
        i->bundle_bytes = transit_bundle_bytes(t);
        i->open_bytes = i->bundle_bytes > 0 ? 0 : i->file_bytes;
    }
    i->under_way = i->carried > 0;
    i->drained = i->under_way && drained >= i->files;
    return given;
}

/* Its files that are stored count, too: how much of it is out decides whether it is finished. */
static void look_at_gone(struct flow *f, const struct order_item *i, struct journal_gone *gone)
{
    struct fault why;
    memset(gone, 0, sizeof *gone);
    if (i->group[0] && (i->under_way || i->id == f->line.id) &&
        journal_group_gone(f->o.journal, i->group, gone, &why) != ST_OK)
        flow_trouble(f, &why);
}

static void look_at(struct flow *f, struct order_item *i)
{
    double rate = meter_rate(ship_meter(f->ship)), given = look_at_transits(f, i);
    struct journal_gone gone;
    look_at_gone(f, i, &gone);
    i->wire_bytes = bundle_bytes(f, i) + gone.bytes;
    if (gone.first_ns)
        i->first_ns = gone.first_ns;
    if (i->under_way || gone.bytes > 0)
        i->out = fmin(1, (given + gone.bytes) / i->wire_bytes);
    double line_s = rate > 0 ? i->wire_bytes / rate : 0;
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
        bytes += (1 - items[i].out) * items[i].wire_bytes;
        cpu_s += encode_s(f, &items[i]);
    }
    if (rate > 0)
        f->load.line_s = fmax(bytes / rate, cpu_s);
    if (journal_cadence(f->o.journal, &f->config.camera, clock_wall(), &f->load.cadence_s,
                        &why) != ST_OK)
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

struct bundles {
    int64_t ids[FLOW_TRANSITS];
    size_t count;
};

static bool take_bundle(void *ctx, const struct journal_file *file)
{
    struct bundles *b = ctx;
    if (file->bundle_bytes > 0)
        b->ids[b->count++] = file->id;
    return b->count < FLOW_TRANSITS;
}

/* Of one exposure, one bundle after the other, until there is room. False: there is none yet. */
static bool give_up_bundles(struct flow *f, const struct order_item *i, int64_t bytes)
{
    struct bundles b = {.ids = {i->id}, .count = !i->group[0]};
    struct fault why;
    if (i->group[0] && journal_group_files(f->o.journal, i->group, f->o.only_request, take_bundle,
                                           &b, &why) != ST_OK)
        flow_trouble(f, &why);
    for (size_t n = 0; n < b.count; n++) {
        if (spool_room(f->o.spool, f->config.set.quota_gib, bytes, &why) != ST_WAIT)
            return true;
        give_up_bundle(f, b.ids[n]);
    }
    return false;
}

/* What was overtaken must not keep a file of the newest out of the spool. */
static void make_room(struct flow *f, int64_t bytes, const struct order_item *items, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        if (items[i].turn || items[i].drained || items[i].bundle_bytes == 0)
            continue;
        if (give_up_bundles(f, &items[i], bytes))
            return;
    }
}

/* ---- the order ---- */

/* What newer ones overtook stays ready to go on, but not in any number. */
static void let_go_of_the_last(struct flow *f, struct order_item *items, size_t count)
{
    int overtaken = 0;
    for (size_t i = 0; i < count; i++) {
        struct order_item *at = &items[i];
        if (!at->under_way || at->turn || at->drained)
            continue;
        for (size_t n = f->transit_count; n-- > 0;) {
            struct transit *t = f->transits[n];
            if (!carries(t, at) || transit_drained(t) || ++overtaken <= OVERTAKEN_MAX)
                continue;
            let_go(f, transit_exposure(t));
            at->carried--;
        }
        at->under_way = at->carried > 0;
    }
}

/* Of one exposure's files the ccds go in their order. */
int line_urgency(int place, int ccd)
{
    int most = INT_MAX / (CAMERA_CCD_MAX + 1) - 1;
    return -((place < most ? place : most) * (CAMERA_CCD_MAX + 1) + ccd);
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
    for (size_t i = 0; i < count; i++)
        for (size_t n = 0; items[i].under_way && n < f->transit_count; n++)
            if (carries(f->transits[n], &items[i]))
                transit_urgency(f->transits[n],
                                line_urgency(items[i].place, transit_ccd(f->transits[n])));
}

/* ---- whose turn it is ---- */

struct files {
    const struct flow *flow;
    int64_t ids[FLOW_TRANSITS], bytes[FLOW_TRANSITS];
    size_t count;
};

static bool take_file(void *ctx, const struct journal_file *file)
{
    struct files *l = ctx;
    if (flow_transit(l->flow, file->id))
        return true;
    l->ids[l->count] = file->id;
    l->bytes[l->count++] = file->bytes;
    return l->flow->transit_count + l->count < FLOW_TRANSITS;
}

void line_begin(struct flow *f, const struct order_item *item, const struct order_item *items,
                size_t count)
{
    struct files l = {.flow = f, .ids = {item->id}, .bytes = {item->file_bytes}};
    struct order_item file = *item;
    struct fault why;
    if (item->carried >= item->files)
        return;
    l.count = !item->group[0];
    if (item->group[0] && journal_group_files(f->o.journal, item->group, f->o.only_request,
                                              take_file, &l, &why) != ST_OK)
        flow_trouble(f, &why);
    for (size_t i = 0; i < l.count; i++) {
        if (item->newest)
            make_room(f, l.bytes[i], items, count);
        file.id = l.ids[i];
        flow_begin(f, &file);
    }
}
