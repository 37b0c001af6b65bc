#include "push/order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BEHIND 2.0    /* exposures' time of backlog: falls behind, ... */
#define CAUGHT_UP 0.5 /* ... and has caught up */

const char order_mode_words[] = "parallel (p), serial (s), batch (b, bundle), adaptive (a), "
                                "list (l), end of night (e, sweep)";
const char *const order_kind_words[ORDER_KINDS] = {"science", "calibration", "backfill"};

static const struct {
    const char *word;
    enum order_mode mode;
} words[] = {
    {"parallel", ORDER_PARALLEL}, {"p", ORDER_PARALLEL},      {"serial", ORDER_SERIAL},
    {"s", ORDER_SERIAL},          {"batch", ORDER_BATCH},     {"b", ORDER_BATCH},
    {"bundle", ORDER_BATCH},      {"adaptive", ORDER_ADAPTIVE}, {"a", ORDER_ADAPTIVE},
    {"list", ORDER_LIST},         {"l", ORDER_LIST},          {"sweep", ORDER_SWEEP},
    {"e", ORDER_SWEEP},           {"endofnight", ORDER_SWEEP}, {"end of night", ORDER_SWEEP},
    {"end-of-night", ORDER_SWEEP},
};
#define WORDS (sizeof words / sizeof words[0])

bool order_mode_parse(const char *word, enum order_mode *out)
{
    for (size_t i = 0; i < WORDS; i++) {
        if (strcasecmp(word, words[i].word) == 0) {
            *out = words[i].mode;
            return true;
        }
    }
    return false;
}

bool order_is_policy(enum order_mode mode)
{
    return mode <= ORDER_ADAPTIVE;
}

const char *order_mode_word(enum order_mode mode)
{
    for (size_t i = 0; i < WORDS; i++)
        if (words[i].mode == mode)
            return words[i].word;
    return "";
}

bool order_priority_parse(const char *text, int rank[ORDER_KINDS])
{
    static const char blank[] = " \t,";
    int place = 0;
    bool seen[ORDER_KINDS] = {false};
    for (size_t len; *(text += strspn(text, blank)); text += len) {
        int kind = 0;
        len = strcspn(text, blank);
        while (kind < ORDER_KINDS && (strlen(order_kind_words[kind]) != len ||
                                      strncasecmp(text, order_kind_words[kind], len) != 0))
            kind++;
        if (kind == ORDER_KINDS || seen[kind])
            return false;
        seen[kind] = true;
        rank[kind] = place++;
    }
    return place == ORDER_KINDS;
}

/* ---- one before the other ---- */

static int64_t age_key(const struct order_item *i)
{
    return i->date_ns == INT64_MIN ? i->mtime_ns : i->date_ns;
}

static bool is_younger(const struct order_item *a, const struct order_item *b)
{
    if (age_key(a) != age_key(b))
        return age_key(a) > age_key(b);
    if (a->mtime_ns != b->mtime_ns)
        return a->mtime_ns > b->mtime_ns;
    return a->id > b->id;
}

struct rule {
    const int *rank;
    bool by_age, begun_first;
};

static bool goes_before(const struct rule *r, const struct order_item *a,
                        const struct order_item *b)
{
    /* They only wait for an answer, and nothing may come between them and their commit. */
    if (a->drained != b->drained)
        return a->drained;
    if (r->rank[a->kind] != r->rank[b->kind])
        return r->rank[a->kind] < r->rank[b->kind];
    if (r->begun_first && a->begun != b->begun)
        return a->begun;
    return r->by_age ? is_younger(a, b) : a->id < b->id;
}

static int compare(const void *pa, const void *pb, void *rule)
{
    if (goes_before(rule, pa, pb))
        return -1;
    return goes_before(rule, pb, pa) ? 1 : 0;
}

static void sort(const struct rule *rule, struct order_item *items, size_t count)
{
    struct rule copy = *rule;
    if (count > 1)
        qsort_r(items, count, sizeof *items, compare, &copy);
}

/* ---- the newest ---- */

/* To the front; what stood before it moves up. */
static void bring_forward(struct order_item *items, size_t from, size_t to)
{
    struct order_item moved = items[from];
    memmove(&items[to + 1], &items[to], (from - to) * sizeof *items);
    items[to] = moved;
}

static size_t find(const struct order_item *items, size_t count, int64_t id)
{
    size_t i = 0;
    while (i < count && items[i].id != id)
        i++;
    return i;
}

static bool is_timely(const struct order_item *i, int64_t now_ns)
{
    int64_t since = i->first_ns && i->first_ns < now_ns ? i->first_ns : now_ns;
    return i->need_s <= 0 || (double)(since - i->came_ns) <= ORDER_TIMELY * i->need_s * 1e9;
}

/* Is the one that goes first finished before the newest, a younger one, is begun? */
static bool holds_the_line(struct order_line *line, const struct order_item *current)
{
    if (!line->guarded)
        return false;
    if (current->out >= ORDER_OVERTAKE || line->overtakings >= ORDER_IN_A_ROW)
        return true;
    line->overtakings++;
    return false;
}

/* Puts what goes first to the front and the newest behind it, if that is another one. */
static void newest_first(struct order_line *line, struct order_item *items, size_t count,
                         int64_t now_ns)
{
    int kind = items[0].kind;
    size_t newest = 0, current = find(items, count, line->id);
    for (size_t i = 1; i < count && items[i].kind == (enum order_kind)kind; i++)
        if (is_younger(&items[i], &items[newest]))
            newest = i;
    items[newest].newest = age_key(&items[newest]) >= line->youngest[kind];
    if (current == count)
        line->overtakings = 0;
    if (!items[newest].newest)
        newest = 0; /* the youngest of those left behind: no hurry */
    bool holds = current < count && current != newest && items[current].kind == (enum order_kind)kind &&
                 holds_the_line(line, &items[current]);
    bring_forward(items, newest, 0);
    if (holds)
        bring_forward(items, find(items, count, line->id), 0);
    if (items[0].id == line->id)
        return;
    line->id = items[0].id;
    line->guarded = items[0].newest && is_timely(&items[0], now_ns);
    if (age_key(&items[0]) > line->youngest[kind])
        line->youngest[kind] = age_key(&items[0]);
}

/* ---- whose turn it is ---- */

static void give_turns(struct order_item *items, size_t count, size_t room)
{
    for (size_t i = 0; i < count && i < room; i++)
        items[i].turn = true;
}

/* One on the line; the next is made ready meanwhile, to leave the line no pause. */
static void give_turn_and_next(struct order_item *items, size_t count)
{
    give_turns(items, count, count > 0 && items[0].flowing ? 2 : 1);
}

/* What is under way of several files has its turn until all of them are. */
static void keep_turns(struct order_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        items[i].turn = items[i].turn || (items[i].under_way && items[i].group[0]);
}

/* The newest in addition to these. */
static void give_turns_beside(struct order_item *items, size_t count, size_t room)
{
    for (size_t i = 0, given = 0; i < count; i++)
        items[i].turn = items[i].newest || given++ < room;
}

void order_arrange(const struct order_policy *p, struct order_line *line, struct order_item *items,
                   size_t count, int64_t now_ns)
{
    bool in_order = p->mode == ORDER_ADAPTIVE && !line->behind;
    bool batch = p->mode == ORDER_BATCH, any_under_way = false;
    struct rule rule = {p->rank, p->mode != ORDER_PARALLEL && !in_order, batch};
    struct order_item *all = items;
    size_t drained = 0, every = count;
    for (size_t i = 0; i < count; i++) {
        items[i].newest = items[i].turn = false;
        drained += items[i].drained;
        any_under_way |= items[i].under_way;
    }
    sort(&rule, items, count);
    items += drained;
    count -= drained;
    if (count > 0 && !batch && !in_order)
        newest_first(line, items, count, now_ns);
    if (batch) {
        give_turns(items, count, any_under_way ? 0 : (size_t)p->batch_size);
        keep_turns(items, count);
    } else if (in_order) {
        give_turns(items, count, (size_t)p->window);
    } else if (p->mode == ORDER_PARALLEL) {
        give_turns_beside(items, count, (size_t)p->window);
    } else {
        give_turn_and_next(items, count);
    }
    for (size_t i = 0; i < every; i++)
        all[i].place = (int)i;
}

void order_exact(const struct order_policy *p, struct order_item *items, size_t count)
{
    static const int alike[ORDER_KINDS] = {0};
    sort(&(struct rule){alike, p->mode != ORDER_PARALLEL, true}, items, count);
}

/* ---- adaptive ---- */

bool order_falls_behind(bool behind, const struct order_load *l)
{
    if (l->line_s <= 0 || l->cadence_s <= 0 || l->exposures == 0)
        return behind && l->exposures > 0;
    return l->line_s > (behind ? CAUGHT_UP : BEHIND) * l->cadence_s &&
           (behind || l->exposures > 1);
}

void order_load_text(bool behind, const struct order_load *l, char *out, size_t size)
{
    const char *unit = l->line_s < 120 ? "s" : "min";
    double line = l->line_s < 120 ? l->line_s : l->line_s / 60;
    int n = snprintf(out, size, "%s: %d exposure%s, %.*f %s of line",
                     behind ? "falling behind" : "time in hand", l->exposures,
                     l->exposures == 1 ? "" : "s", line < 10 ? 1 : 0, line, unit);
    if (n > 0 && (size_t)n < size && l->cadence_s > 0)
        n += snprintf(out + n, size - (size_t)n, ", a new one every %.3g s", l->cadence_s);
    if (n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "; %s", behind ? "newest first" : "in order of arrival");
}
