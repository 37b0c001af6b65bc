#include "push/lane_ssh.h"

#include <errno.h>
#include <libssh2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "push/key_file.h"
#include "push/lane_memory.h"
#include "push/lane_ssh_pins.h"
#include "push/lane_words.h"

#define COMMAND "skyferry-pull receive"
#define FREE_TRIES 100
#define READ_ROUNDS 16 /* what is queued on no stream of ours cannot hold us for ever */

struct ssh {
    struct lane_options o;
    int64_t deadline; /* of the opening */
    int stop_fd, fd;
    struct memory memory;    /* of libssh2 */
    LIBSSH2_SESSION *session;
    struct pins *pins;
    LIBSSH2_CHANNEL *channel;
    bool want_in, want_out;  /* what the last call of libssh2 stopped at */
    bool writing, reading;   /* that call must be made again before any other */
    bool hung_up;            /* the far end has closed the connection */
    bool dead;               /* we have: libssh2 must not touch the socket any more */
    int64_t heard, written;
    int64_t sent;            /* all that the socket took */
    int64_t credit;          /* bytes that the far end has ever allowed us to send */
    struct tail words;       /* the end of the command's standard error */
};

/* libssh2 does not say reliably what it waits for (after a part of a packet it says nothing),
 * so its socket calls pass through here and are noted. */
static ssize_t on_recv(libssh2_socket_t fd, void *buffer, size_t length, int flags, void **abstract)
{
    struct ssh *s = *abstract;
    if (s->dead)
        return -ECONNRESET;
    ssize_t n = recv(fd, buffer, length, flags);
    s->want_in = n < 0 && (errno == EAGAIN || errno == EINTR);
    s->hung_up = s->hung_up || (n <= 0 && !s->want_in);
    return n < 0 ? (errno == EINTR ? -EAGAIN : -errno) : n;
}

static ssize_t on_send(libssh2_socket_t fd, const void *buffer, size_t length, int flags,
                       void **abstract)
{
    struct ssh *s = *abstract;
    if (s->dead)
        return -EPIPE;
    ssize_t n = send(fd, buffer, length, flags | MSG_NOSIGNAL);
    s->sent += n > 0 ? n : 0;
    s->want_out = n < 0 ? errno == EAGAIN || errno == EINTR : (size_t)n < length;
    s->hung_up = s->hung_up || (n < 0 && !s->want_out);
    return n < 0 ? (errno == EINTR ? -EAGAIN : -errno) : n;
}

static void fresh_call(struct ssh *s)
{
    s->want_in = s->want_out = false;
}

void ssh_poll(const struct ssh *s, struct pollfd *out)
{
    out->fd = s->fd;
    out->revents = 0;
    out->events = s->want_out ? POLLOUT : POLLIN;
    /* With nothing half done, input is always welcome. */
    if (!s->writing && !s->reading)
        out->events |= POLLIN;
}

static enum status wait_more(struct ssh *s, struct fault *why)
{
    struct pollfd p;
    s->writing = true;
    ssh_poll(s, &p);
    s->writing = false;
    enum status st = net_await(p.fd, p.events, s->deadline, s->stop_fd);
    if (st == ST_RETRY)
        fault(why, st, "no SSH answer in time");
    return st;
}

/* Calls until libssh2 is done with it; `st` is OK then, and `rc` what it answered. */
#define AWAIT(s, rc, st, why, call)                                                       \
    do {                                                                                  \
        fresh_call(s);                                                                    \
        rc = (call);                                                                      \
        st = rc == LIBSSH2_ERROR_EAGAIN ? wait_more(s, why) : ST_OK;                      \
    } while (rc == LIBSSH2_ERROR_EAGAIN && st == ST_OK)

static const char *last_words(const struct ssh *s)
{
    char *text = NULL;
    libssh2_session_last_error(s->session, &text, NULL, 0);
    return text && text[0] ? text : "no reason given";
}

static enum status prefer_methods(struct ssh *s, struct fault *why)
{
    char list[256];
    pins_kinds(s->pins, list);
    static const char ciphers[] = "aes128-ctr,aes192-ctr,aes256-ctr";
    static const char macs[] = "hmac-sha2-256,hmac-sha2-512,hmac-sha1";
    if (libssh2_session_method_pref(s->session, LIBSSH2_METHOD_HOSTKEY, list) != 0 ||
        libssh2_session_method_pref(s->session, LIBSSH2_METHOD_CRYPT_CS, ciphers) != 0 ||
        libssh2_session_method_pref(s->session, LIBSSH2_METHOD_CRYPT_SC, ciphers) != 0 ||
        libssh2_session_method_pref(s->session, LIBSSH2_METHOD_MAC_CS, macs) != 0 ||
        libssh2_session_method_pref(s->session, LIBSSH2_METHOD_MAC_SC, macs) != 0)
        return fault(why, ST_REJECT, "libssh2 lacks a cipher that is needed: %s", last_words(s));
    return ST_OK;
}

static enum status shake_hands(struct ssh *s, struct fault *why)
{
    int rc;
    enum status st = prefer_methods(s, why);
    if (st != ST_OK)
        return st;
    AWAIT(s, rc, st, why, libssh2_session_handshake(s->session, s->fd));
    if (st != ST_OK || rc == 0)
        return st;
    if (rc == LIBSSH2_ERROR_KEX_FAILURE && !s->hung_up)
        return fault(why, ST_REJECT,
                     "no common SSH algorithms (%s): the server must allow aes128-ctr with "
                     "hmac-sha2-256, and an Ed25519 or ECDSA host key",
                     last_words(s));
    return fault(why, ST_RETRY, "the SSH greeting failed: %s%s", last_words(s),
                 s->hung_up ? " (the server hung up: too many connections at once?)" : "");
}

/* Can it be used unattended? A file that key_file does not know is libssh2's to judge. */
static enum status check_identity(const struct lane_options *o, struct fault *why)
{
    struct key_file key;
    const char *path = o->identity;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return words_identity(o, false, why);
    enum status st = key_file_read(path, &key, why);
    if (st == ST_RETRY)
        return fault_errno(why, ST_REJECT, "the identity '%.200s' cannot be read", path);
    return st == ST_OK && key.locked ? words_identity(o, true, why) : ST_OK;
}

static enum status log_in(struct ssh *s, struct fault *why)
{
    int rc;
    enum status st;
    AWAIT(s, rc, st, why,
          libssh2_userauth_publickey_fromfile_ex(s->session, s->o.user,
                                                 (unsigned)strlen(s->o.user), NULL, s->o.identity,
                                                 NULL));
    if (st != ST_OK || rc == 0)
        return st;
    if (s->hung_up)
        return fault(why, ST_RETRY, "the connection was closed at login: %s", last_words(s));
    if (rc == LIBSSH2_ERROR_AUTHENTICATION_FAILED || rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED)
        return fault(why, ST_REJECT,
                     "login as '%s' was refused. The line of %.150s.pub (Ed25519) must stand in "
                     "~/.ssh/authorized_keys there, as: restrict,command=\"skyferry-pull receive "
                     "...\" ssh-ed25519 ...",
                     s->o.user, s->o.identity);
    return fault(why, ST_REJECT, "the identity '%.200s' cannot be used (%s): make an Ed25519 key",
                 s->o.identity, last_words(s));
}

static enum status start_command(struct ssh *s, struct fault *why)
{
    int rc;
    enum status st;
    AWAIT(s, rc, st, why,
          (s->channel = libssh2_channel_open_session(s->session))
              ? 0 : libssh2_session_last_errno(s->session));
    if (st == ST_OK && rc != 0)
        return fault(why, ST_RETRY, "the server opens no session: %s", last_words(s));
    if (st != ST_OK)
        return st;
    if (s->o.sftp) {
        AWAIT(s, rc, st, why, libssh2_channel_subsystem(s->channel, "sftp"));
        if (st == ST_OK && rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED)
            return fault(why, ST_REJECT, "the server offers no SFTP to '%s': sshd_config there "
                         "needs the line: Subsystem sftp internal-sftp", s->o.user);
        if (st == ST_OK && rc != 0)
            return fault(why, ST_RETRY, "the server did not start SFTP: %s", last_words(s));
        return st;
    }
    AWAIT(s, rc, st, why, libssh2_channel_exec(s->channel, COMMAND));
    if (st == ST_OK && rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED)
        return fault(why, ST_REJECT, "the server refuses to run a command for '%s'", s->o.user);
    if (st == ST_OK && rc != 0)
        return fault(why, ST_RETRY, "the server did not start the command: %s", last_words(s));
    return st;
}

static LIBSSH2_ALLOC_FUNC(on_alloc)
{
    return memory_take(&((struct ssh *)*abstract)->memory, count);
}

static LIBSSH2_REALLOC_FUNC(on_realloc)
{
    return memory_resize(&((struct ssh *)*abstract)->memory, ptr, count);
}

static LIBSSH2_FREE_FUNC(on_free)
{
    memory_give(&((struct ssh *)*abstract)->memory, ptr);
}

static struct ssh *ssh_new(const struct lane_options *o)
{
    struct ssh *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *o;
    s->fd = -1;
    s->session = libssh2_session_init_ex(on_alloc, on_free, on_realloc, s);
    if (!s->session) {
        memory_end(&s->memory);
        free(s);
        return NULL;
    }
    libssh2_session_set_blocking(s->session, 0);
    libssh2_session_callback_set(s->session, LIBSSH2_CALLBACK_RECV, (void *)on_recv);
    libssh2_session_callback_set(s->session, LIBSSH2_CALLBACK_SEND, (void *)on_send);
    return s;
}

enum status ssh_open(const struct lane_options *o, int stop_fd, bool *reached, struct ssh **out,
                     struct fault *why)
{
    struct ssh *s = ssh_new(o);
    int64_t patience = o->connect_timeout_s * NS_PER_S;
    *reached = false;
    if (!s)
        return fault(why, ST_RETRY, "out of memory");
    s->stop_fd = stop_fd;
    struct net_target to = {.host = o->host, .port = o->port, .silence_s = o->silence_s,
                            .knock_ns = o->knock_ms * NS_PER_MS, .congestion = o->congestion};
    enum status st = pins_open(s->session, &s->o, &s->pins, why);
    if (st == ST_OK)
        st = check_identity(o, why);
    if (st == ST_OK)
        st = net_connect(&to, clock_mono() + patience, stop_fd, &s->fd, why);
    if (st == ST_OK) {
        *reached = true;
        s->deadline = clock_mono() + patience;
        st = pins_read(s->pins, why);
        if (st == ST_OK)
            st = shake_hands(s, why);
        if (st == ST_OK)
            st = pins_check(s->pins, why);
        if (st == ST_OK)
            st = log_in(s, why);
        if (st == ST_OK)
            st = start_command(s, why);
        if (st == ST_RETRY || st == ST_REJECT)
            fault_within(why, "%.100s port %d: ", o->host, o->port);
    }
    s->heard = clock_mono();
    if (st != ST_OK)
        ssh_close(&s);
    *out = s;
    return st;
}

/* The window grows when the command has read what we sent: that too is a sign of life. */
static void note_credit(struct ssh *s)
{
    int64_t credit = s->written + (int64_t)libssh2_channel_window_write(s->channel);
    if (credit > s->credit) {
        s->credit = credit;
        s->heard = clock_mono();
    }
}

static enum status broken(struct ssh *s, struct fault *why)
{
    return fault(why, ST_RETRY, "the connection to %.100s broke: %s", s->o.host, last_words(s));
}

enum status ssh_write(struct ssh *s, const unsigned char *bytes, size_t len, size_t *done,
                      struct fault *why)
{
    if (s->reading)
        return ST_WAIT;
    fresh_call(s);
    ssize_t n = libssh2_channel_write(s->channel, (const char *)bytes, len);
    s->writing = n == LIBSSH2_ERROR_EAGAIN && libssh2_channel_window_write(s->channel) > 0;
    if (n > 0) {
        s->written += n;
        *done = (size_t)n;
    }
    note_credit(s);
    if (n > 0)
        return ST_OK;
    return n == 0 || n == LIBSSH2_ERROR_EAGAIN ? ST_WAIT : broken(s, why);
}

bool ssh_room(const struct ssh *s)
{
    return !s->writing && !s->reading && libssh2_channel_window_write(s->channel) > 0;
}

/* Keeps the end of what the command says on standard error; it shares the channel's window
 * with its answers, so it has to be read. */
static void read_words(struct ssh *s)
{
    char chunk[200];
    fresh_call(s);
    ssize_t n = libssh2_channel_read_stderr(s->channel, chunk, sizeof chunk);
    if (n == LIBSSH2_ERROR_EAGAIN)
        s->reading = s->want_out;
    while (n > 0) {
        tail_add(&s->words, chunk, (size_t)n);
        n = libssh2_channel_read_stderr(s->channel, chunk, sizeof chunk);
        if (n == LIBSSH2_ERROR_EAGAIN)
            s->reading = s->want_out;
    }
}

/* Bytes that libssh2 has taken off the socket and that nobody has read yet. */
static bool is_queued(struct ssh *s)
{
    unsigned long count = 0;
    libssh2_channel_window_read_ex(s->channel, &count, NULL);
    return count > 0;
}

/* Reading words may take answers off the socket, and the other way round: poll would not tell
 * of them, so both are read until nothing is left. */
enum status ssh_read(struct ssh *s, unsigned char *bytes, size_t size, size_t *got,
                     struct fault *why)
{
    int rounds = 0;
    if (s->writing)
        return ST_WAIT;
    do {
        fresh_call(s);
        ssize_t n = libssh2_channel_read(s->channel, (char *)bytes, size);
        s->reading = n == LIBSSH2_ERROR_EAGAIN && s->want_out;
        note_credit(s);
        if (n > 0) {
            s->heard = clock_mono();
            *got = (size_t)n;
            return ST_OK;
        }
        if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
            return broken(s, why);
        if (!s->reading)
            read_words(s);
    } while (!s->reading && is_queued(s) && ++rounds < READ_ROUNDS);
    if (!libssh2_channel_eof(s->channel))
        return ST_WAIT;
    *got = 0;
    return ST_OK;
}

int64_t ssh_sent(const struct ssh *s)
{
    return s->sent;
}

int64_t ssh_heard(const struct ssh *s)
{
    return s->heard;
}

void ssh_pulse(const struct ssh *s, struct net_pulse *out)
{
    net_pulse(s->fd, out);
}

bool ssh_window_full(const struct ssh *s)
{
    return !s->writing && !s->reading && libssh2_channel_window_write(s->channel) == 0;
}

void ssh_how_ended(struct ssh *s, int64_t deadline, struct ssh_end *out)
{
    struct fault why;
    enum status st;
    int rc;
    char *name = NULL;
    memset(out, 0, sizeof *out);
    s->deadline = deadline;
    AWAIT(s, rc, st, &why, libssh2_channel_wait_closed(s->channel));
    read_words(s);
    tail_line(&s->words, out->words);
    if (st != ST_OK || rc != 0)
        return;
    out->known = true;
    out->status = libssh2_channel_get_exit_status(s->channel);
    libssh2_channel_get_exit_signal(s->channel, &name, NULL, NULL, NULL, NULL, NULL);
    snprintf(out->signal, sizeof out->signal, "%s", name ? name : "");
    if (name)
        libssh2_free(s->session, name);
}

void ssh_send_eof(struct ssh *s)
{
    if (!s->writing && !s->reading)
        (void)libssh2_channel_send_eof(s->channel);
}

void ssh_close(struct ssh **out)
{
    struct ssh *s = *out;
    if (!s)
        return;
    s->dead = true;
    if (s->fd >= 0 && !(s->channel && libssh2_channel_eof(s->channel)))
        net_drop_unsent(s->fd);
    if (s->fd >= 0)
        close(s->fd);
    pins_close(&s->pins);
    /* With a socket that only fails there is nothing left to wait for. */
    for (int i = 0; i < FREE_TRIES && libssh2_session_free(s->session) == LIBSSH2_ERROR_EAGAIN; i++)
        ;
    memory_end(&s->memory);
    free(s);
    *out = NULL;
}
