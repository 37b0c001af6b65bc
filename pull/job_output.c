#include "pull/job_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/settings.h"

#define PIECE 65536

struct job_output {
    struct loop *loop;
    int pipe, file;
    int64_t room; /* bytes that the file may still take */
    bool told;
    void (*full)(void *ctx);
    void *ctx;
};

/* One read; false when nothing more is there now, or ever. */
static bool move(struct job_output *o)
{
    char piece[PIECE];
    ssize_t n = read(o->pipe, piece, sizeof piece);
    if (n < 0)
        return errno == EINTR;
    if (n == 0) {
        loop_forget(o->loop, o->pipe);
        return false;
    }
    ssize_t kept = n < o->room ? n : (ssize_t)o->room;
    o->room -= kept;
    /* A full disk costs the words, not the job. */
    (void)!fs_write_all(o->file, piece, (size_t)kept);
    if (kept < n && !o->told) {
        o->told = true;
        o->full(o->ctx);
    }
    return true;
}

static void on_readable(void *ctx, int fd)
{
    (void)fd;
    move(ctx);
}

static int open_file(const struct job_output_options *o, struct fault *why)
{
    char path[PULL_PATH];
    int fd = -1;
    if (pull_text(path, sizeof path, "%s/%s", o->folder, o->name))
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        fault_errno(why, ST_RETRY, "cannot make the job's file '%s'", path);
    return fd;
}

enum status job_output_open(struct loop *l, const struct job_output_options *options,
                            struct job_output **out, int *write_end, struct fault *why)
{
    int ends[2] = {-1, -1};
    struct job_output *o = calloc(1, sizeof *o);
    enum status st = ST_RETRY;
    *out = NULL;
    *write_end = -1;
    if (!o)
        return fault(why, ST_RETRY, "out of memory");
    *o = (struct job_output){l, -1, -1, options->most, false, options->full, options->ctx};
    if ((o->file = open_file(options, why)) < 0)
        goto out;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        fault_errno(why, ST_RETRY, "cannot make a pipe for a job");
        goto out;
    }
    o->pipe = ends[0];
    fcntl(o->pipe, F_SETFL, O_NONBLOCK);
    st = loop_read(l, o->pipe, on_readable, o, why);
    if (st != ST_OK)
        goto out;
    *write_end = ends[1];
    ends[1] = -1;
    *out = o;
    o = NULL;
out:
    if (ends[1] >= 0)
        close(ends[1]);
    job_output_close(&o);
    return st;
}

void job_output_close(struct job_output **out)
{
    struct job_output *o = *out;
    if (!o)
        return;
    o->told = true; /* its job is over: nobody is told any more */
    /* A full pipe is two reads; a process that escaped us must not keep us here. */
    for (int i = 0; i < 8 && o->pipe >= 0 && move(o); i++)
        ;
    if (o->pipe >= 0) {
        loop_forget(o->loop, o->pipe);
        close(o->pipe);
    }
    if (o->file >= 0)
        close(o->file);
    free(o);
    *out = NULL;
}
