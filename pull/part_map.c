#include "pull/part_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

#define HEAD_MAGIC "SKYFERRY MAP 1\n" /* 16 bytes with its NUL */
#define RECORD_MAGIC "SFRECORD"       /* 8 bytes without */
#define HEX_DIGITS (DIGEST_HEX - 1)

static uint64_t fnv1a(const unsigned char *p, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void seal(unsigned char *bytes, size_t len)
{
    wire_put_u64(bytes + len - 8, fnv1a(bytes, len - 8));
}

static bool sealed(const unsigned char *bytes, size_t len)
{
    return wire_u64(bytes + len - 8) == fnv1a(bytes, len - 8);
}

enum status map_begin(int fd, const struct map_head *head, struct fault *why)
{
    unsigned char h[MAP_HEAD];
    memcpy(h, HEAD_MAGIC, 16);
    memcpy(h + 16, head->id, HEX_DIGITS);
    wire_put_u64(h + 16 + HEX_DIGITS, (uint64_t)head->first_ns);
    seal(h, sizeof h);
    if (ftruncate(fd, 0) != 0 || fs_write_all(fd, h, sizeof h) != 0)
        return fault_errno(why, fs_write_grade(errno), "cannot write the map of a part");
    return ST_OK;
}

bool map_head_read(int fd, struct map_head *out)
{
    unsigned char h[MAP_HEAD];
    if (fs_pread_all(fd, h, sizeof h, 0) != 0 || memcmp(h, HEAD_MAGIC, 16) != 0 ||
        !sealed(h, sizeof h))
        return false;
    memcpy(out->id, h + 16, HEX_DIGITS);
    out->id[HEX_DIGITS] = '\0';
    out->first_ns = (int64_t)wire_u64(h + 16 + HEX_DIGITS);
    return true;
}

enum status map_add(int fd, int64_t offset, int64_t length, struct fault *why)
{
    unsigned char r[MAP_RECORD];
    memcpy(r, RECORD_MAGIC, 8);
    wire_put_u64(r + 8, (uint64_t)offset);
    wire_put_u64(r + 16, (uint64_t)length);
    seal(r, sizeof r);
    /* One write: a record cut short by a full disk ends the map until map_mend. */
    ssize_t n = write(fd, r, sizeof r);
    if (n == (ssize_t)sizeof r)
        return ST_OK;
    if (n >= 0)
        errno = ENOSPC;
    return fault_errno(why, fs_write_grade(errno), "cannot note a chunk in the map of a part");
}

bool map_record_read(const unsigned char *r, struct extent *out)
{
    if (memcmp(r, RECORD_MAGIC, 8) != 0 || !sealed(r, MAP_RECORD))
        return false;
    *out = (struct extent){(int64_t)wire_u64(r + 8), (int64_t)wire_u64(r + 16)};
    return out->offset >= 0 && out->length > 0 && out->length <= INT64_MAX - out->offset;
}

/* The sound records in the order of writing, one malloc'ed array. */
static enum status read_all(int fd, struct extent **all, size_t *count, struct fault *why)
{
    struct stat s;
    unsigned char *bytes = NULL;
    struct extent *list = NULL;
    enum status st = ST_OK;
    *all = NULL;
    *count = 0;
    if (fstat(fd, &s) != 0)
        return fault_errno(why, ST_RETRY, "cannot read the map of a part");
    if (s.st_size < MAP_HEAD + MAP_RECORD)
        return ST_OK;
    size_t n = (size_t)(s.st_size - MAP_HEAD) / MAP_RECORD;
    bytes = malloc(n * MAP_RECORD);
    list = calloc(n, sizeof *list);
    if (!bytes || !list) {
        st = fault(why, ST_RETRY, "out of memory for the map of a part");
        goto out;
    }
    if (fs_pread_all(fd, bytes, n * MAP_RECORD, MAP_HEAD) != 0) {
        st = fault_errno(why, ST_RETRY, "cannot read the map of a part");
        goto out;
    }
    while (*count < n && map_record_read(bytes + *count * MAP_RECORD, &list[*count]))
        (*count)++;
    *all = list;
    list = NULL;
out:
    free(list);
    free(bytes);
    return st;
}

static int by_offset(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Sorts, joins what touches or overlaps, drops what lies past limit; the new count. */
static size_t merge(struct extent *all, size_t count, int64_t limit)
{
    size_t kept = 0;
    qsort(all, count, sizeof *all, by_offset);
    for (size_t i = 0; i < count && all[i].offset < limit; i++) {
        int64_t end = all[i].offset + all[i].length;
        if (end > limit)
            end = limit;
        struct extent *last = kept > 0 ? &all[kept - 1] : NULL;
        if (!last || last->offset + last->length < all[i].offset)
            all[kept++] = (struct extent){all[i].offset, end - all[i].offset};
        else if (end > last->offset + last->length)
            last->length = end - last->offset;
    }
    return kept;
}

enum status map_read(int fd, int64_t limit, struct extent **have, size_t *count, struct fault *why)
{
    enum status st = read_all(fd, have, count, why);
    if (st == ST_OK && *count > 0)
        *count = merge(*have, *count, limit);
    return st;
}

enum status map_mend(int fd, struct fault *why)
{
    struct extent *all;
    size_t count;
    struct stat s;
    enum status st = read_all(fd, &all, &count, why);
    if (st != ST_OK)
        return st;
    free(all);
    off_t sound = MAP_HEAD + (off_t)count * MAP_RECORD;
    if (fstat(fd, &s) != 0 || (s.st_size > sound && ftruncate(fd, sound) != 0))
        return fault_errno(why, ST_RETRY, "cannot mend the map of a part");
    return ST_OK;
}
