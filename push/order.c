#include "push/order.h"

#include <limits.h>
#include <stdlib.h>
#include <strings.h>

const char order_mode_words[] =
    "parallel (p), serial (s), batch (b, bundle), list (l), end of night (e, sweep)";

bool order_mode_parse(const char *word, enum order_mode *out)
{
    static const struct {
        const char *word;
        enum order_mode mode;
    } words[] = {
        {"p", ORDER_PARALLEL},      {"parallel", ORDER_PARALLEL},
        {"s", ORDER_SERIAL},        {"serial", ORDER_SERIAL},
        {"b", ORDER_BATCH},         {"batch", ORDER_BATCH},
        {"bundle", ORDER_BATCH},    {"l", ORDER_LIST},
        {"list", ORDER_LIST},       {"e", ORDER_SWEEP},
        {"sweep", ORDER_SWEEP},     {"endofnight", ORDER_SWEEP},
        {"end of night", ORDER_SWEEP}, {"end-of-night", ORDER_SWEEP},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(word, words[i].word) == 0) {
            *out = words[i].mode;
            return true;
        }
    }
    return false;
}

static int64_t age_key(const struct order_item *i)
{
    return i->date_ns == INT64_MIN ? i->mtime_ns : i->date_ns;
}

bool order_before(const struct order_policy *p, const struct order_item *a,
                  const struct order_item *b)
{
    if (a->exact != b->exact)
        return b->exact;
    if (a->begun != b->begun)
        return a->begun;
    if (p->mode == ORDER_PARALLEL) {
        if (a->backfill != b->backfill)
            return b->backfill;
        return a->id < b->id;
    }
    if (age_key(a) != age_key(b))
        return age_key(a) > age_key(b);
    if (a->mtime_ns != b->mtime_ns)
        return a->mtime_ns > b->mtime_ns;
    return a->id > b->id;
}

static int compare(const void *pa, const void *pb, void *policy)
{
    if (order_before(policy, pa, pb))
        return -1;
    return order_before(policy, pb, pa) ? 1 : 0;
}

size_t order_pick(const struct order_policy *p, struct order_item *items, size_t count,
                  size_t under_way)
{
    struct order_policy policy = *p;
    size_t room = 0;
    if (count == 0)
        return 0;
    qsort_r(items, count, sizeof *items, compare, &policy);
    switch (p->mode) {
    case ORDER_SERIAL:
        room = under_way == 0 ? 1 : 0;
        break;
    case ORDER_BATCH:
        room = under_way == 0 ? (size_t)p->batch_size : 0;
        break;
    default:
        room = under_way < (size_t)p->window ? (size_t)p->window - under_way : 0;
    }
    return room < count ? room : count;
}

int order_urgency(const struct order_policy *p, const struct order_item *i)
{
    /* Half of the range for each kind; ids and seconds since 2000 stay far below 2^30. */
    const int64_t half = 1 << 30, epoch_s = 946684800;
    if (i->exact)
        return INT_MIN;
    if (p->mode == ORDER_PARALLEL) {
        int64_t place = i->id % half;
        return (int)(i->backfill ? -place - half : -place);
    }
    int64_t age = age_key(i) / 1000000000 - epoch_s;
    return (int)(age < -half ? -half : age > half ? half : age);
}
