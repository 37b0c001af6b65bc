/* Lossless later: the exact data of what was delivered lossy. Their rows go the same road as
 * deliveries, from `ready` on, but never before an exposure: they begin only when there is
 * nothing else to send, and on the line and the processors whatever comes goes first. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "push/flow_inner.h"

#define IDLE_NS (3 * NS_PER_S) /* so long nothing else to do: the line is idle */
#define LINE_LOOK_MS 2000      /* while it is down, or the far end too old */

int exact_under_way(const struct flow *f)
{
    int n = 0;
    for (size_t i = 0; i < f->transit_count; i++)
        n += transit_is_exact(f->transits[i]);
    return n;
}

void exact_drop(struct flow *f, const struct exposure *e, const struct fault *why)
{
    struct fault trouble;
    log_info(AT(.stage = "exact", .exposure = e->name),
             "%s; its exact data cannot follow any more", why->text);
    if (journal_remove(f->o.journal, e->id, &trouble) != ST_OK)
        flow_trouble(f, &trouble);
    flow_poke(f);
}

/* ---- may they go? ---- */

static void look_again(struct flow *f, int64_t ms)
{
    if (f->exact_look_ms < 0 || ms < f->exact_look_ms)
        f->exact_look_ms = ms < 0 ? 0 : ms;
}

/* Nothing to find out, to encode or to send for a while, by the journal too. */
static bool is_idle(struct flow *f, bool busy)
{
    struct fault why;
    int64_t now = clock_mono();
    if (!busy && f->settling_count == 0 && journal_busy(f->o.journal, &busy, &why) != ST_OK) {
        flow_trouble(f, &why);
        return false;
    }
    if (busy || f->settling_count > 0 || f->busy_mono == 0)
        f->busy_mono = now;
    int64_t left = f->busy_mono + IDLE_NS - now;
    if (left > 0)
        look_again(f, left / NS_PER_MS + 1);
    return left <= 0;
}

/* Is there a far end that knows them? An older one would take them for lossy ones. */
static bool is_understood(struct flow *f)
{
    const struct lanes_state *line = ship_line(f->ship);
    if (line->up == 0 || !line->hello.exact)
        look_again(f, LINE_LOOK_MS);
    if (line->up == 0)
        return false;
    if (!line->hello.exact && !f->exact_refused)
        log_warn(AT(.stage = "exact"), "the far end's %s does not know exact data that follow: "
                 "[sweep] lossless waits until a newer skyferry-pull is installed there",
                 line->hello.software);
    f->exact_refused = !line->hello.exact;
    return line->hello.exact;
}

/* ---- one more ---- */

static enum status write_row(struct flow *f, const struct exposure *delivery, struct fault *why)
{
    struct exposure e;
    exposure_exact_of(delivery, clock_wall(), &e);
    e.ccds = delivery->ccds;
    e.origin = ORIGIN_WATCH;
    e.request = 0;
    return journal_add(f->o.journal, &e, why);
}

/* The newest delivery that lacks them, if its file is still there to make them from. */
static void take_next(struct flow *f)
{
    struct exposure e = {0}, now;
    struct fault why;
    bool found = false;
    enum status st = journal_owed(f->o.journal, &e, &found, &why);
    if (st == ST_OK && !found)
        return;
    if (st == ST_OK && intake_fill(&now, e.path, 0) && identity_equal(&now.file, &e.file)) {
        st = write_row(f, &e, &why);
        crash_point("push:exactowed");
    } else if (st == ST_OK) {
        log_warn(AT(.stage = "exact", .exposure = e.name), "stays lossy at the far end: %s is no "
                 "longer there as it was delivered", e.path);
        e.fidelity = DELIVERED_GONE;
        st = journal_save(f->o.journal, &e, &why);
    }
    if (st != ST_OK && st != ST_REJECT)
        flow_trouble(f, &why);
    flow_poke(f);
}

/* One at a time: a row that waits, with a reason, is the one. */
static bool is_one_on_its_way(struct flow *f)
{
    struct fault why;
    bool waits = true;
    if (journal_exact_waits(f->o.journal, &waits, &why) == ST_OK)
        return waits;
    flow_trouble(f, &why);
    return true;
}

/* A sweep waits for these: they need no idle line, only nothing that goes before them. */
static size_t asked_for_first(struct order_item *items, size_t count)
{
    size_t asked = 0;
    for (size_t i = 0; i < count; i++) {
        struct order_item item = items[i];
        if (item.kind != ORDER_BACKFILL)
            continue;
        items[i] = items[asked];
        items[asked++] = item;
    }
    return asked;
}

/* How many files of what a sweep asked for go together. */
static size_t window(const struct flow *f)
{
    const struct camera *c = &f->config.camera;
    size_t files = (size_t)f->config.policy.window * (camera_groups(c) ? (size_t)c->ccds : 1);
    return files < FLOW_TRANSITS ? files : FLOW_TRANSITS;
}

void exact_send(struct flow *f, struct order_item *items, size_t count, bool busy)
{
    bool on_idle = settings_exact_idle(&f->config.set) && f->o.only_request == 0;
    bool idle = on_idle && is_idle(f, busy);
    size_t asked = asked_for_first(items, count);
    size_t under_way = (size_t)exact_under_way(f), room = asked ? window(f) : 1;
    if (busy || (!asked && !idle) || under_way >= room || !is_understood(f))
        return;
    for (size_t i = 0; i < (asked ? asked : count) && under_way < room; i++) {
        flow_begin(f, &items[i]);
        under_way = (size_t)exact_under_way(f);
    }
    if (idle && under_way == 0 && count == 0 && !is_one_on_its_way(f))
        take_next(f);
}
