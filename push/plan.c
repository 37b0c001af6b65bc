#include "push/plan.h"

bool plan_take(struct plan *p, int64_t most, bool eager, int64_t *offset, int64_t *length)
{
    if (!ranges_gap(&p->taken, 0, p->size, offset, length))
        return false;
    bool at_end = *offset + *length == p->size;
    if (*length < most && at_end && !p->finished && !eager)
        return false;
    if (*length > most)
        *length = most;
    return ranges_add(&p->taken, *offset, *length);
}

bool plan_got(struct plan *p, int64_t offset, int64_t length)
{
    return ranges_add(&p->taken, offset, length) && ranges_add(&p->acked, offset, length);
}

/* What another lane's copy of it has got acknowledged meanwhile stays. */
bool plan_lost(struct plan *p, int64_t offset, int64_t length)
{
    if (!ranges_cut(&p->taken, offset, length))
        return false;
    for (size_t i = 0; i < p->acked.count; i++)
        if (!ranges_add(&p->taken, p->acked.at[i].offset, p->acked.at[i].length))
            return false;
    return true;
}

bool plan_doubt(struct plan *p, int64_t offset, int64_t length)
{
    return ranges_add(&p->doubt, offset, length);
}

static bool got_all(struct plan *p, const struct extent *have, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!plan_got(p, have[i].offset, have[i].length))
            return false;
    return true;
}

bool plan_settle(struct plan *p, const struct extent *have, size_t count)
{
    bool ok = got_all(p, have, count);
    for (size_t i = 0; ok && i < p->doubt.count; i++)
        ok = plan_lost(p, p->doubt.at[i].offset, p->doubt.at[i].length);
    p->doubt.count = 0;
    return ok;
}

bool plan_resume(struct plan *p, const struct extent *have, size_t count)
{
    p->taken.count = p->acked.count = p->doubt.count = 0;
    return got_all(p, have, count);
}

bool plan_flies(struct plan *p, int64_t offset, int64_t length)
{
    return ranges_add(&p->taken, offset, length);
}

int64_t plan_rest(const struct plan *p)
{
    int64_t offset, length, rest = 0;
    for (int64_t at = 0; ranges_gap(&p->taken, at, p->size, &offset, &length); at = offset + length)
        rest += length;
    return rest;
}

bool plan_all_taken(const struct plan *p)
{
    return p->finished && p->doubt.count == 0 && ranges_cover(&p->taken, 0, p->size);
}

bool plan_complete(const struct plan *p)
{
    return p->finished && ranges_cover(&p->acked, 0, p->size);
}

void plan_free(struct plan *p)
{
    ranges_free(&p->taken);
    ranges_free(&p->acked);
    ranges_free(&p->doubt);
}
