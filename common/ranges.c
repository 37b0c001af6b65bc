#include "common/ranges.h"

#include <stdlib.h>
#include <string.h>

/* One more than there are now. */
static bool make_room(struct ranges *r)
{
    if (r->count < r->room)
        return true;
    size_t room = r->room ? 2 * r->room : 8;
    struct extent *grown = realloc(r->at, room * sizeof *grown);
    if (!grown)
        return false;
    r->at = grown;
    r->room = room;
    return true;
}

static int64_t end_of(const struct extent *e)
{
    return e->offset + e->length;
}

/* The first range that ends at or after the offset. */
static size_t first_from(const struct ranges *r, int64_t offset)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (end_of(&r->at[mid]) < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool ranges_add(struct ranges *r, int64_t offset, int64_t length)
{
    int64_t end = offset + length;
    if (length <= 0)
        return true;
    if (!make_room(r))
        return false;
    size_t first = first_from(r, offset), last = first;
    for (; last < r->count && r->at[last].offset <= end; last++) {
        offset = r->at[last].offset < offset ? r->at[last].offset : offset;
        end = end_of(&r->at[last]) > end ? end_of(&r->at[last]) : end;
    }
    /* Ranges first..last become one. */
    memmove(&r->at[first + 1], &r->at[last], (r->count - last) * sizeof *r->at);
    r->at[first] = (struct extent){offset, end - offset};
    r->count = r->count - (last - first) + 1;
    return true;
}

bool ranges_cut(struct ranges *r, int64_t offset, int64_t length)
{
    int64_t end = offset + length;
    if (length <= 0)
        return true;
    if (!make_room(r))
        return false;
    for (size_t i = first_from(r, offset); i < r->count && r->at[i].offset < end;) {
        struct extent whole = r->at[i];
        int64_t left = offset - whole.offset, right = end_of(&whole) - end;
        if (left > 0 && right > 0) {
            memmove(&r->at[i + 1], &r->at[i], (r->count - i) * sizeof *r->at);
            r->at[i].length = left;
            r->at[i + 1] = (struct extent){end, right};
            r->count++;
            return true;
        }
        if (left > 0 || right > 0) {
            if (left > 0)
                r->at[i].length = left < whole.length ? left : whole.length;
            else
                r->at[i] = (struct extent){end, right};
            i++;
        } else {
            memmove(&r->at[i], &r->at[i + 1], (r->count - i - 1) * sizeof *r->at);
            r->count--;
        }
    }
    return true;
}

bool ranges_gap(const struct ranges *r, int64_t from, int64_t end, int64_t *offset,
                int64_t *length)
{
    size_t i = first_from(r, from);
    if (i < r->count && r->at[i].offset <= from) {
        from = end_of(&r->at[i]);
        i++;
    }
    if (from >= end)
        return false;
    int64_t stop = i < r->count && r->at[i].offset < end ? r->at[i].offset : end;
    *offset = from;
    *length = stop - from;
    return true;
}

bool ranges_cover(const struct ranges *r, int64_t from, int64_t to)
{
    int64_t offset, length;
    return !ranges_gap(r, from, to, &offset, &length);
}

int64_t ranges_total(const struct ranges *r)
{
    int64_t total = 0;
    for (size_t i = 0; i < r->count; i++)
        total += r->at[i].length;
    return total;
}

void ranges_free(struct ranges *r)
{
    free(r->at);
    *r = (struct ranges){0};
}
