/* Reading a map that others append to (pull/part_map.h). */
#include <string.h>
#include <sys/stat.h>

#include "common/fsutil.h"
#include "pull/part_map.h"

#define AT_ONCE 256 /* records read in one piece */

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
            if (!ranges_add(&r->have, e.offset, e.length))
                return fault(why, ST_RETRY, "out of memory for the map of a part");
            r->read += MAP_RECORD;
        }
    }
}
