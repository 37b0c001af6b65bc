/* Waiting for bytes that other lanes' processes are writing. inotify tells where it can; on a
 * file system of several machines the look a few times a second does. */
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "pull/part_map.h"
#include "pull/part_store.h"

#define LOOK_MS 100

static bool is_whole(struct part *p, int64_t size)
{
    struct extent *have = NULL;
    size_t count = 0;
    bool whole = true; /* what cannot be asked is for the commit to find out */
    if (part_extents(p, &have, &count, NULL) == ST_OK)
        whole = count > 0 && have[0].offset == 0 && have[0].length >= size;
    free(have);
    return whole;
}

void part_await(struct part *p, int64_t size, int64_t until, int stop_fd)
{
    struct pollfd fds[] = {{.fd = -1, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    char events[4096];
    if (is_whole(p, size))
        return;
    fds[0].fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fds[0].fd >= 0)
        inotify_add_watch(fds[0].fd, p->map_path, IN_MODIFY);
    while (!is_whole(p, size) && clock_mono() < until && !fds[1].revents)
        if (poll(fds, 2, LOOK_MS) > 0 && fds[0].revents)
            while (read(fds[0].fd, events, sizeof events) > 0)
                ;
    if (fds[0].fd >= 0)
        close(fds[0].fd);
}
