#include "pull/receive.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/log.h"
#include "pull/receive_session.h"

#define READ_SIZE ((size_t)256 * 1024)
#define ANSWERS_MAX ((size_t)256 * 1024) /* unread answers after which no frame is taken */
#define LAST_WORDS_MS 5000               /* for answers that are left when the loop ends */

static void take_frames(struct session *s)
{
    size_t pos = 0;
    while (!s->ending && s->out.len < ANSWERS_MAX) {
        struct wire_frame f;
        struct fault why;
        size_t used;
        enum status st = wire_take(s->in.data + pos, s->in.len - pos, &f, &used, &why);
        if (st == ST_WAIT)
            break;
        if (st != ST_OK) {
            session_refuse(s, 0, "frame", &why);
            session_end(s, EXIT_FAILED);
            break;
        }
        session_handle(s, &f);
        pos += used;
    }
    if (pos > 0)
        buf_consume(&s->in, pos);
}

static void read_some(struct session *s)
{
    if (!buf_reserve(&s->in, READ_SIZE)) {
        session_out_of_memory(s);
        return;
    }
    ssize_t n = read(s->in_fd, s->in.data + s->in.len, READ_SIZE);
    if (n > 0) {
        s->in.len += (size_t)n;
        return;
    }
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (s->in.len > 0 || n < 0)
        log_warn(AT(.stage = "receive"), "the line was cut%s; push goes on where it stopped",
                 s->in.len > 0 ? " inside a frame" : "");
    session_end(s, s->in.len > 0 || n < 0 ? EXIT_FAILED : EXIT_DONE);
}

static void write_some(struct session *s)
{
    while (s->out.len > 0) {
        ssize_t n = write(s->out_fd, s->out.data, s->out.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            log_warn(AT(.stage = "receive"), "the far end reads no answers any more: %s",
                     strerror(errno));
            s->out.len = 0;
            session_end(s, EXIT_FAILED);
            return;
        }
        buf_consume(&s->out, (size_t)n);
    }
}

/* One wait and what follows from it. */
static void turn(struct session *s)
{
    struct pollfd fds[] = {
        {.fd = s->signal_fd, .events = POLLIN},
        {.fd = s->out.len < ANSWERS_MAX && !s->ending ? s->in_fd : -1, .events = POLLIN},
        {.fd = s->out.len > 0 ? s->out_fd : -1, .events = POLLOUT},
    };
    int n = poll(fds, 3, s->ending ? LAST_WORDS_MS : RECEIVE_IDLE_S * 1000);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0 || fds[0].revents) {
        if (n == 0 && !s->ending)
            log_warn(AT(.stage = "receive"), "nothing came for %d s: the line is dead",
                     RECEIVE_IDLE_S);
        s->out.len = 0;
        session_end(s, n > 0 ? EXIT_DONE : EXIT_FAILED);
        return;
    }
    if (fds[2].revents)
        write_some(s);
    if (fds[1].revents)
        read_some(s);
}

static void serve(struct session *s)
{
    while (!s->ending || s->out.len > 0) {
        take_frames(s);
        write_some(s);
        if (!s->ending || s->out.len > 0)
            turn(s);
    }
}

/* What the process had before: restored by leave(). */
struct before {
    sigset_t mask;
    struct sigaction pipe;
    int out_flags;
};

static bool enter(struct session *s, struct before *b)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    b->out_flags = fcntl(s->out_fd, F_GETFL);
    pthread_sigmask(SIG_BLOCK, &wanted, &b->mask);
    sigaction(SIGPIPE, &ignore, &b->pipe);
    s->signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    /* A blocking pipe takes more than PIPE_BUF only by blocking. */
    return s->signal_fd >= 0 && b->out_flags >= 0 &&
           fcntl(s->out_fd, F_SETFL, b->out_flags | O_NONBLOCK) == 0;
}

static void leave(struct session *s, const struct before *b)
{
    if (b->out_flags >= 0)
        fcntl(s->out_fd, F_SETFL, b->out_flags);
    if (s->signal_fd >= 0) {
        /* Taken here, or it would kill us when the mask is restored. */
        struct signalfd_siginfo info;
        while (read(s->signal_fd, &info, sizeof info) > 0)
            ;
        close(s->signal_fd);
    }
    sigaction(SIGPIPE, &b->pipe, NULL);
    pthread_sigmask(SIG_SETMASK, &b->mask, NULL);
}

int receive_run(const struct part_store *store, const char *store_name, int in_fd, int out_fd)
{
    struct session s = {.store = store, .store_name = store_name, .in_fd = in_fd,
                        .out_fd = out_fd, .signal_fd = -1, .code = EXIT_FAILED};
    struct before b;
    if (enter(&s, &b))
        serve(&s);
    else
        log_error(AT(.stage = "receive"), "cannot begin: %s", strerror(errno));
    leave(&s, &b);
    session_release(&s);
    buf_free(&s.in);
    buf_free(&s.out);
    return s.code;
}
