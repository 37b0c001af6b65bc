#include "pull/part_view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

#define SHORT_ID 8

struct part_view {
    int part_fd, map_fd;
    struct map_reader map;
};

/* "NAME.0123abcd.map": does the short id begin the id? */
static bool is_named_after(const char *map_path, const char *id)
{
    size_t len = strlen(map_path), end = strlen(".map");
    return len > SHORT_ID + 1 + end && map_path[len - end - SHORT_ID - 1] == '.' &&
           strncmp(map_path + len - end - SHORT_ID, id, SHORT_ID) == 0;
}

static int open_plain(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

enum status part_view_open(const char *map_path, struct part_view **out, struct fault *why)
{
    char part[4200];
    bool anew = true;
    *out = NULL;
    struct part_view *v = calloc(1, sizeof *v);
    if (!v)
        return fault(why, ST_RETRY, "out of memory");
    v->part_fd = -1;
    snprintf(part, sizeof part, "%.*s.part", (int)(strlen(map_path) - strlen(".map")), map_path);
    v->map_fd = open_plain(map_path);
    if (v->map_fd >= 0)
        v->part_fd = open_plain(part);
    enum status st = ST_OK;
    if (v->part_fd < 0)
        st = fault_errno(why, ST_WAIT, "cannot look into '%s'", part);
    if (st == ST_OK)
        st = map_follow(v->map_fd, &v->map, &anew, why);
    if (st == ST_OK && anew)
        st = fault(why, ST_WAIT, "'%s' has no head yet", map_path);
    if (st == ST_OK && !is_named_after(map_path, v->map.head.id))
        st = fault(why, ST_REJECT, "'%s' is the map of another part", map_path);
    if (st != ST_OK)
        part_view_close(&v);
    *out = v;
    return st;
}

static bool is_linked(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* A commit unlinks the map first and then gives the part its name; who gives up unlinks both. */
enum view_state part_view_look(struct part_view *v)
{
    bool anew = false, sealed = !is_linked(v->map_fd);
    if (sealed && !is_linked(v->part_fd))
        return VIEW_GONE;
    /* A failure to read is tried again at the next look. */
    if (map_follow(v->map_fd, &v->map, &anew, NULL) == ST_OK && anew)
        return VIEW_ANEW;
    return sealed ? VIEW_SEALED : VIEW_GROWS;
}

const struct map_head *part_view_head(const struct part_view *v)
{
    return &v->map.head;
}

int part_view_fd(const struct part_view *v)
{
    return v->part_fd;
}

bool part_view_has(const struct part_view *v, int64_t from, int64_t to)
{
    return ranges_cover(&v->map.have, from, to);
}

static bool has(const void *have, int64_t from, int64_t to)
{
    return ranges_cover(have, from, to);
}

struct bundle_reach part_view_reach(const struct part_view *v)
{
    return (struct bundle_reach){has, &v->map.have};
}

void part_view_close(struct part_view **out)
{
    struct part_view *v = *out;
    if (!v)
        return;
    if (v->map_fd >= 0)
        close(v->map_fd);
    if (v->part_fd >= 0)
        close(v->part_fd);
    ranges_free(&v->map.have);
    free(v);
    *out = NULL;
}
