/* A far end for test_push_lane: the test program itself, started by the real sshd as a
 * forced command, behaves well or badly as its mode says. It stores what comes in DIR/bytes
 * at its offset, and a word in DIR/bye when it was told BYE. Blocking and simple on purpose. */
#ifndef SKYFERRY_FAKE_FAR_H
#define SKYFERRY_FAKE_FAR_H

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/wire.h"

struct fake {
    const char *mode, *dir;
    struct buf in, out;
    int bytes_fd;
    int chunks;
    bool done;
};

static inline bool fake_is(const struct fake *f, const char *mode)
{
    return strcmp(f->mode, mode) == 0;
}

static inline void fake_say(struct fake *f, enum wire_type type, uint16_t stream, const char *body)
{
    wire_put(&f->out, type, stream, body, (uint32_t)strlen(body));
}

static inline void fake_file(const struct fake *f, const char *name, const char *text)
{
    char path[4096];
    struct fault why;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    fs_write_file(path, text, strlen(text), false, &why);
}

static inline void fake_chunk(struct fake *f, const struct wire_frame *in)
{
    unsigned char got[16];
    memcpy(got, in->payload, 8);
    wire_put_u64(got + 8, in->length - 8);
    fs_pwrite_all(f->bytes_fd, in->payload + 8, in->length - 8, (off_t)wire_u64(in->payload));
    f->chunks++;
    wire_put(&f->out, WIRE_GOT, in->stream, got, sizeof got);
    if (fake_is(f, "quits")) {
        fputs("the disk of the store is gone\n", stderr);
        exit(1);
    }
    if (fake_is(f, "slow"))
        nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
}

static inline void fake_commit(struct fake *f, const struct wire_frame *in)
{
    struct wire_commit c;
    struct fault why;
    struct receipt r = {.name = "DECam_1", .stored = "ut160901/DECam_1.tar", .night = "ut160901"};
    struct buf body = {0};
    if (wire_commit_parse(in->payload, in->length, &c, &why) != ST_OK)
        exit(9);
    memcpy(r.id, c.sha256, sizeof r.id);
    memcpy(r.sha256, c.sha256, sizeof r.sha256);
    memcpy(r.source_sha256, c.source_sha256, sizeof r.sha256);
    snprintf(r.source_name, sizeof r.source_name, "x.fits");
    r.size = c.size;
    receipt_text(&r, &body);
    wire_put(&f->out, WIRE_RECEIPT, in->stream, body.data, (uint32_t)body.len);
    buf_free(&body);
}

static inline void fake_handle(struct fake *f, const struct wire_frame *in)
{
    switch (in->type) {
    case WIRE_HELLO:
        fake_say(f, WIRE_WELCOME, 0,
                 fake_is(f, "later")
                     ? "{\"protocol\":99,\"software\":\"skyferry 99\",\"agent\":\"later\"}"
                     : "{\"protocol\":1,\"software\":\"skyferry 1\",\"agent\":\"fake\"}");
        break;
    case WIRE_OPEN:
        fake_say(f, WIRE_OPENED, in->stream, "{\"have\":[]}");
        break;
    case WIRE_CHUNK:
        fake_chunk(f, in);
        break;
    case WIRE_COMMIT:
        fake_commit(f, in);
        break;
    case WIRE_HAVE:
        fake_say(f, WIRE_HELD, 0, "{\"held\":[true,false]}");
        break;
    case WIRE_PING:
        wire_put(&f->out, WIRE_PONG, 0, in->payload, in->length);
        break;
    case WIRE_BYE:
        fake_file(f, "bye", "bye");
        f->done = true;
        break;
    default:
        break;
    }
    if (fake_is(f, "mute") && in->type != WIRE_HELLO)
        f->out.len = 0;
}

/* "lazy" answers no chunk before it has read eight of them: without several under way at the
 * same time nothing would ever move. */
static inline void fake_flush(struct fake *f)
{
    if (fake_is(f, "lazy") && f->chunks % 8 != 0)
        return;
    if (fs_write_all(STDOUT_FILENO, f->out.data, f->out.len) != 0)
        exit(7);
    f->out.len = 0;
}

static inline int fake_serve(struct fake *f)
{
    while (!f->done) {
        struct wire_frame in;
        struct fault why;
        size_t used;
        enum status st = wire_take(f->in.data, f->in.len, &in, &used, &why);
        if (st == ST_OK) {
            fake_handle(f, &in);
            buf_consume(&f->in, used);
            fake_flush(f);
            /* Reads nothing more, but goes when the line goes. */
            if (fake_is(f, "stuck") && in.type == WIRE_OPEN)
                return poll(&(struct pollfd){.fd = STDIN_FILENO}, 1, 60000) < 0;
            continue;
        }
        if (st != ST_WAIT || !buf_reserve(&f->in, 65536))
            return 8;
        ssize_t n = read(STDIN_FILENO, f->in.data + f->in.len, 65536);
        if (n <= 0)
            return 0;
        f->in.len += (size_t)n;
    }
    return 0;
}

/* argv: PROGRAM far MODE DIR */
static inline int fake_main(char **argv)
{
    struct fake f = {.mode = argv[2], .dir = argv[3]};
    char path[4096], pid[32];
    snprintf(pid, sizeof pid, "%ld", (long)getppid());
    fake_file(&f, "session", pid);
    if (fake_is(&f, "banner")) {
        puts("Welcome to the cluster!");
        return 0;
    }
    if (fake_is(&f, "short banner")) {
        puts("hi");
        fputs("This account is closed.\n", stderr);
        return 1;
    }
    if (fake_is(&f, "silent"))
        return 0;
    if (fake_is(&f, "usage")) {
        fputs("skyferry-pull: pull.conf:3: unknown key 'rot'\n", stderr);
        return 2;
    }
    snprintf(path, sizeof path, "%s/bytes", f.dir);
    f.bytes_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int code = fake_serve(&f);
    close(f.bytes_fd);
    buf_free(&f.in);
    buf_free(&f.out);
    return code;
}

#endif
