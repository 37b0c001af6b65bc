/* Reading a map that others append to (pull/part_map.h). */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fsutil.h"
#include "pull/part_map.h"

#define AT_ONCE 256 /* records read in one piece */

static int64_t end_of(const struct extent *e)
{
    return e->offset + e->length;
}

/* The first extent that ends at or after the offset. */
static size_t first_from(const struct map_reader *r, int64_t offset)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (end_of(&r->have[mid]) < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool join(struct map_reader *r, struct extent e)
{
    if (r->count == r->room) {
        size_t room = r->room ? 2 * r->room : 64;
        struct extent *bigger = realloc(r->have, room * sizeof *bigger);
        if (!bigger)
            return false;
        r->have = bigger;
        r->room = room;
    }
    int64_t end = end_of(&e);
    size_t first = first_from(r, e.offset), last = first;
    for (; last < r->count && r->have[last].offset <= end; last++) {
        e.offset = r->have[last].offset < e.offset ? r->have[last].offset : e.offset;
        end = end_of(&r->have[last]) > end ? end_of(&r->have[last]) : end;
    }
    memmove(&r->have[first + 1], &r->have[last], (r->count - last) * sizeof *r->have);
    r->have[first] = (struct extent){e.offset, end - e.offset};
    r->count = r->count - (last - first) + 1;
    return true;
}

/* Is it still the map that was read so far? A shorter one, or one of another head, is not. */
static bool is_same(int fd, const struct stat *now, struct map_reader *r)
{
    struct map_head head;
    if (now->st_size < r->read || !map_head_read(fd, &head))
        return false;
    if (r->read == 0)
        r->head = head;
    return strcmp(head.id, r->head.id) == 0 && head.first_ns == r->head.first_ns;
}

enum status map_follow(int fd, struct map_reader *r, bool *anew, struct fault *why)
{
    unsigned char bytes[AT_ONCE * MAP_RECORD];
    struct stat now;
    if (fstat(fd, &now) != 0)
        return fault_errno(why, ST_RETRY, "cannot read the map of a part");
    *anew = !is_same(fd, &now, r);
    if (*anew)
        return ST_OK;
    r->read = r->read ? r->read : MAP_HEAD;
    for (;;) {
        int64_t left = (now.st_size - r->read) / MAP_RECORD;
        size_t n = left < AT_ONCE ? (size_t)left : AT_ONCE;
        if (n == 0)
            return ST_OK;
        if (fs_pread_all(fd, bytes, n * MAP_RECORD, r->read) != 0)
            return fault(why, ST_RETRY, "cannot read the map of a part");
        for (size_t i = 0; i < n; i++) {
            struct extent e;
            /* Half written, or damaged: looked at again the next time. */
            if (!map_record_read(bytes + i * MAP_RECORD, &e))
                return ST_OK;
            if (!join(r, e))
                return fault(why, ST_RETRY, "out of memory for the map of a part");
            r->read += MAP_RECORD;
        }
    }
}

bool map_covers(const struct map_reader *r, int64_t from, int64_t to)
{
    size_t i = first_from(r, from);
    /* One that only touches `from` ends there. */
    if (i < r->count && end_of(&r->have[i]) == from)
        i++;
    return to <= from || (i < r->count && r->have[i].offset <= from && end_of(&r->have[i]) >= to);
}
