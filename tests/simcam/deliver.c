#include "deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

static const int least_pieces = 40;             /* of a slow file, so that a small one grows visibly too */

struct delivery {
    const struct deliver_options *options;
    const struct halt *halt;
    char *path, *working;       /* final name; the name written under, maybe the same text */
    int fd;
    int parts, part;
    int64_t begin;
};

/* The one teardown, right in every state. */
static void
release(struct delivery **d)
{
    if (*d == NULL)
        return;
    if ((*d)->fd >= 0)
        close((*d)->fd);
    free((*d)->path);
    free((*d)->working);
    free(*d);
    *d = NULL;
}

/* The final path and the one written to meanwhile. */
static int
make_names(struct delivery *d, const char *name)
{
    const bool hidden = d->options->style == DELIVER_RENAME;

    if (asprintf(&d->path, "%s/%s", d->options->directory, name) < 0)
        d->path = NULL;
    if (asprintf(&d->working, hidden ? "%s/.%s.tmp" : "%s/%s", d->options->directory, name) < 0)
        d->working = NULL;
    return d->path == NULL || d->working == NULL ? -1 : 0;
}

int
delivery_open(const struct deliver_options *o, const struct halt *halt, const char *name, int parts, struct delivery **d)
{
    struct delivery *new = calloc(1, sizeof(*new));
    struct stat st;

    *d = NULL;
    if (new == NULL)
        return -1;
    *new = (struct delivery){.options = o, .halt = halt, .fd = -1, .parts = parts, .begin = halt_now()};
    if (make_names(new, name) != 0) {
        complain("out of memory");
        goto out;
    }
    if (!o->force && lstat(new->path, &st) == 0) {
        complain("%s is there already; --force would replace it", new->path);
        goto out;
    }
    new->fd = open(new->working, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (new->fd < 0)
        complain("cannot create %s: %s", new->working, strerror(errno));
    else
        *d = new;
out:
    if (*d == NULL)
        release(&new);
    return *d == NULL ? -1 : 0;
}

static int
write_all(const struct delivery *d, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t n = write(d->fd, bytes, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            complain("cannot write %s: %s", d->working, strerror(errno));
            return -1;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

/* What a writer does that opens the file anew for every piece: a watcher sees it closed half way. */
static int
reopen(struct delivery *d)
{
    close(d->fd);
    d->fd = open(d->working, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (d->fd < 0)
        complain("cannot open %s again: %s", d->working, strerror(errno));
    return d->fd < 0 ? -1 : 0;
}

/* One part in equal pieces, each followed by a wait until its share of the time is over. */
static int
write_slowly(struct delivery *d, const unsigned char *bytes, size_t size)
{
    const int even = least_pieces / d->parts;
    const size_t pieces = even > 4 ? (size_t)even : 4;

    for (size_t i = 0; i < pieces; i++) {
        const size_t from = size * i / pieces, to = size * (i + 1) / pieces;
        const double share = ((double)d->part + (double)(i + 1) / (double)pieces) / (double)d->parts;

        if (write_all(d, bytes + from, to - from) != 0)
            return -1;
        if (halt_wait(d->halt, d->begin + llround(share * d->options->write_seconds * 1e6)))
            return 1;
        if (d->options->style == DELIVER_SPLIT && reopen(d) != 0)
            return -1;
    }
    return 0;
}

int
delivery_write(struct delivery *d, const unsigned char *bytes, size_t size)
{
    const bool slow = d->options->style == DELIVER_SLOW || d->options->style == DELIVER_SPLIT;
    int result;

    if (slow)
        result = write_slowly(d, bytes, size);
    else if ((result = write_all(d, bytes, size)) == 0)
        result = halt_wait(d->halt, 0) ? 1 : 0;
    d->part++;
    return result;
}

int
delivery_finish(struct delivery **d)
{
    int result = 0;

    if (close((*d)->fd) != 0) {
        complain("cannot close %s: %s", (*d)->working, strerror(errno));
        result = -1;
    }
    (*d)->fd = -1;
    if (result == 0 && strcmp((*d)->path, (*d)->working) != 0 && rename((*d)->working, (*d)->path) != 0) {
        complain("cannot rename %s: %s", (*d)->working, strerror(errno));
        result = -1;
    }
    if (result != 0)
        (void)unlink((*d)->working);
    release(d);
    return result;
}

void
delivery_abandon(struct delivery **d)
{
    if (*d == NULL)
        return;
    (void)unlink((*d)->working);
    release(d);
}

const char *
delivery_path(const struct delivery *d)
{
    return d->path;
}
