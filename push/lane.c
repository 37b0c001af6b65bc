#include "push/lane.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "push/lane_ssh.h"
#include "push/lane_talk.h"
#include "push/lane_words.h"

#define WRITES_A_TURN 64            /* of 32 KiB each, then the far end is listened to */
#define READ_SIZE ((size_t)64 * 1024)
#define GOODBYE_NS (700 * NS_PER_MS)
#define LAST_STATE_NS NS_PER_S      /* to learn how the far end's command ended */
#define PING_MAX_NS (300 * NS_PER_S) /* receive ends a lane that is silent for 15 minutes */
#define SILENCE_DEFAULT_S 30
#define CONNECT_DEFAULT_S 20
#define KNOCK_DEFAULT_MS 1000
#define LOOK_NS (250 * NS_PER_MS)    /* how often a lane with answers due looks at its line */
#define STALL_MIN_NS NS_PER_S
#define STALL_TRIPS 3                /* round trips without a sign, if that is longer */

struct queued {
    struct queued *next;
    struct lane_job job;
};

struct lane {
    struct lane_options o;
    int stop_fd, post_fd;
    pthread_t thread;
    struct lane_load load;
    atomic_llong heard, rtt, window, limited; /* for lane_pulse */
    atomic_bool abandoned;            /* set before stop_fd is woken: end without a word */
    pthread_mutex_t lock; /* of the four below */
    struct queued *first, *last;
    bool down;
    bool starved; /* a job was lost for lack of memory */
    /* The thread's own. */
    struct talk *talk;
    struct ssh *ssh;
    unsigned char *input;
    int64_t due_since; /* clock_mono; 0: nothing is due */
    int64_t give_up;   /* for WELCOME */
    int64_t look_due;  /* the line is looked at again */
    int64_t full_since; /* bytes wait for the far end's window; 0: none do */
    int64_t unheard_since; /* the first look that saw bytes nobody acknowledged; 0: all are */
    bool stalled, pinged; /* since the last sign of life */
    bool reached;      /* there was a TCP connection */
    struct throttle_lane pace;
    int64_t held_until; /* by the pace; 0: it does not hold us */
};

static void wake(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static struct queued *next_job(struct lane *l)
{
    pthread_mutex_lock(&l->lock);
    struct queued *q = l->first;
    if (q) {
        l->first = q->next;
        if (!l->first)
            l->last = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    return q;
}

static void drop_jobs(struct lane *l)
{
    struct queued *q;
    pthread_mutex_lock(&l->lock);
    l->down = true;
    pthread_mutex_unlock(&l->lock);
    while ((q = next_job(l))) {
        free(q->job.text);
        free(q);
    }
    atomic_store(&l->load.in_flight, 0);
    atomic_store(&l->load.unsent, INT64_MAX / 2); /* no room any more, until the main thread knows */
}

void lane_post(struct lane *l, const struct lane_job *job)
{
    struct queued *q = malloc(sizeof *q);
    pthread_mutex_lock(&l->lock);
    bool taken = q && !l->down;
    if (taken) {
        *q = (struct queued){NULL, *job};
        if (l->last)
            l->last->next = q;
        else
            l->first = q;
        l->last = q;
        if (job->verb == LANE_CHUNK) {
            atomic_fetch_add(&l->load.in_flight, job->length);
            atomic_fetch_add(&l->load.unsent, job->length);
        }
    }
    /* A job must not be lost in silence: the whole lane goes instead. */
    l->starved = l->starved || !q;
    pthread_mutex_unlock(&l->lock);
    wake(q ? l->post_fd : l->stop_fd);
    if (taken)
        return;
    free(q);
    free(job->text);
}

static bool is_starved(struct lane *l)
{
    pthread_mutex_lock(&l->lock);
    bool starved = l->starved;
    pthread_mutex_unlock(&l->lock);
    return starved;
}

void lane_pulse(const struct lane *l, struct lane_pulse *out)
{
    *out = (struct lane_pulse){.in_flight = atomic_load(&l->load.in_flight),
                               .unsent = atomic_load(&l->load.unsent),
                               .heard_mono = atomic_load(&l->heard),
                               .rtt_ns = atomic_load(&l->rtt),
                               .window = atomic_load(&l->window),
                               .limited_ns = atomic_load(&l->limited)};
}

/* How much of it may go now; all of what is no chunk. */
static size_t allowed(struct lane *l, size_t len)
{
    if (talk_payload(l->talk) == 0)
        return len;
    return throttle_allows(&l->pace, clock_mono(), ssh_sent(l->ssh), len, &l->held_until);
}

/* Writes what there is to write. *blocked: the connection takes no more now; *more: stopped
 * only to listen for a while. */
static enum status write_turn(struct lane *l, bool *blocked, bool *more, struct fault *why)
{
    *blocked = *more = false;
    l->held_until = 0;
    for (int i = 0; i < WRITES_A_TURN; i++) {
        const unsigned char *bytes;
        size_t done, len = talk_output(l->talk, &bytes);
        if (len == 0) {
            struct queued *q = talk_up(l->talk) ? next_job(l) : NULL;
            if (!q)
                return ST_OK;
            talk_job(l->talk, &q->job);
            free(q);
            continue;
        }
        if ((len = allowed(l, len)) == 0)
            return ST_OK;
        l->held_until = 0;
        enum status st = ssh_write(l->ssh, bytes, len, &done, why);
        *blocked = st == ST_WAIT;
        if (*blocked)
            return ST_OK;
        if (st != ST_OK)
            return st;
        if (talk_payload(l->talk) > 0)
            throttle_used(&l->pace, done);
        talk_sent(l->talk, done);
    }
    *more = true;
    return ST_OK;
}

/* The far end's command has ended though nobody said BYE. */
static enum status ended(struct lane *l, struct fault *why)
{
    struct ssh_end how;
    char heard[128], state[64] = "connection closed", said[256];
    ssh_how_ended(l->ssh, clock_mono() + LAST_STATE_NS, &how);
    if (how.signal[0])
        snprintf(state, sizeof state, "killed by SIG%s", how.signal);
    else if (how.known)
        snprintf(state, sizeof state, "exit status %d", how.status);
    snprintf(said, sizeof said, how.words[0] ? "%s: \"%s\"" : "%s", state, how.words);
    if (talk_up(l->talk))
        return fault(why, ST_RETRY, "%s on %.100s ended (%s)",
                     l->o.sftp ? "the SFTP server" : "skyferry-pull", l->o.host, said);
    if (l->o.sftp)
        return words_no_sftp(&l->o, said, why);
    if (talk_heard(l->talk, heard))
        return words_stranger(heard, said, why);
    /* 1 and death by signal may pass; a usage or configuration error, a command that is not
     * there or one that says nothing at all will not. */
    bool human = how.known && !how.signal[0] && how.status != EXIT_FAILED;
    return fault(why, human ? ST_REJECT : ST_RETRY, "skyferry-pull did not start (%s)%s", said,
                 human ? "; check the command=\"...\" of our key in ~/.ssh/authorized_keys there"
                       : "");
}

static enum status read_turn(struct lane *l, struct fault *why)
{
    for (;;) {
        size_t got;
        enum status st = ssh_read(l->ssh, l->input, READ_SIZE, &got, why);
        if (st == ST_WAIT)
            return ST_OK;
        if (st == ST_OK && got == 0)
            st = ended(l, why);
        else if (st == ST_OK)
            st = talk_input(l->talk, l->input, got, why);
        if (st != ST_OK && !talk_up(l->talk))
            fault_within(why, "%.100s port %d: ", l->o.host, l->o.port);
        if (st != ST_OK)
            return st;
    }
}

static void moves_again(struct lane *l)
{
    if (l->stalled && talk_post_line(l->talk, LANE_MOVES))
        l->stalled = false;
}

/* How long what is under way has not been acknowledged. (The kernel tells of the last
 * acknowledgement only, which may have come long before these bytes were sent.) */
static int64_t unheard_for(struct lane *l, const struct net_pulse *p, int64_t now)
{
    if (p->unheard_ns == 0)
        l->unheard_since = 0;
    else if (l->unheard_since == 0)
        l->unheard_since = now;
    int64_t seen = l->unheard_since ? now - l->unheard_since : 0;
    return p->unheard_ns < seen ? p->unheard_ns : seen;
}

/* Answers are due. Is the line cut? Bytes that TCP has under way and nobody acknowledges say so;
 * where there are none the command over there may be busy, or its answer lost: PING tells. */
static void look_at_line(struct lane *l, int64_t now, int64_t quiet_since)
{
    struct net_pulse p;
    ssh_pulse(l->ssh, &p);
    int64_t limit = STALL_TRIPS * p.rtt_ns > STALL_MIN_NS ? STALL_TRIPS * p.rtt_ns : STALL_MIN_NS;
    atomic_store(&l->rtt, p.least_rtt_ns);
    atomic_store(&l->window, p.window);
    l->look_due = now + LOOK_NS;
    int64_t unheard = unheard_for(l, &p, now);
    if (unheard <= limit)
        moves_again(l);
    if (l->due_since == 0 || now - quiet_since < limit)
        return;
    if (unheard > limit && !l->stalled)
        l->stalled = talk_post_line(l->talk, LANE_STALLED);
    if (p.unheard_ns == 0 && !l->pinged) {
        talk_ping(l->talk);
        l->pinged = true;
    }
}

/* The latest of: an answer came, the far end read something, the first answer became due. */
static int64_t quiet_since(struct lane *l, int64_t now)
{
    int64_t heard = ssh_heard(l->ssh);
    if (heard > atomic_load(&l->heard)) {
        atomic_store(&l->heard, heard);
        l->pinged = false;
        moves_again(l);
    }
    if (talk_due(l->talk) == 0)
        l->due_since = l->unheard_since = 0;
    else if (l->due_since == 0)
        l->due_since = now;
    return heard > l->due_since ? heard : l->due_since;
}

/* When the lane must do something even if no byte comes: give up, look, or ping. Does it when
 * the time has come. */
static enum status watch_silence(struct lane *l, int64_t *until, struct fault *why)
{
    int64_t now = clock_mono(), quiet = quiet_since(l, now);
    int64_t silence = l->o.silence_s * NS_PER_S + throttle_patience(&l->pace);
    int64_t ping = silence / 2 < PING_MAX_NS ? silence / 2 : PING_MAX_NS;
    if (now >= l->look_due)
        look_at_line(l, now, quiet);
    if (!talk_up(l->talk)) {
        *until = l->give_up;
        if (now >= *until && l->o.sftp)
            return words_no_sftp(&l->o, NULL, why);
        if (now >= *until)
            return fault(why, ST_RETRY, "%.100s: the login worked, but skyferry-pull has not answered in time: is its "
                         "machine busy, or is the account's shell start-up there (~/.bashrc) slow?",
                         l->o.host);
    } else if (l->due_since != 0) {
        *until = quiet + silence;
        if (now >= *until)
            return fault(why, ST_RETRY, "%.100s has not answered for %d s: the line is dead",
                         l->o.host, l->o.silence_s);
    } else {
        *until = quiet + ping;
        if (now >= *until) {
            talk_ping(l->talk);
            l->due_since = *until = now;
        }
    }
    if (l->due_since != 0 && l->look_due < *until)
        *until = l->look_due;
    return ST_OK;
}

/* How long bytes wait for the far end's window is what tells that more lanes would help. */
static void note_window(struct lane *l, bool blocked)
{
    int64_t now = clock_mono();
    if (l->full_since != 0)
        atomic_fetch_add(&l->limited, now - l->full_since);
    l->full_since = blocked && ssh_window_full(l->ssh) ? now : 0;
}

/* Waits for the socket, a job or the order to stop: WAIT then. */
static enum status rest(struct lane *l, int64_t until)
{
    struct pollfd fds[3] = {{.fd = l->stop_fd, .events = POLLIN},
                            {.fd = l->post_fd, .events = POLLIN}};
    uint64_t count;
    int64_t left = until - clock_mono();
    ssh_poll(l->ssh, &fds[2]);
    int n = poll(fds, 3, left <= 0 ? 0 : (int)(left / NS_PER_MS) + 1);
    if (n > 0 && fds[0].revents)
        return ST_WAIT;
    if (n > 0 && fds[1].revents)
        (void)!read(l->post_fd, &count, sizeof count);
    return ST_OK;
}

static enum status run(struct lane *l, struct fault *why)
{
    for (;;) {
        const unsigned char *bytes;
        bool blocked, more;
        int64_t until = 0;
        enum status st = write_turn(l, &blocked, &more, why);
        if (st == ST_OK)
            st = read_turn(l, why);
        int64_t tick = talk_tick(l->talk, clock_mono());
        note_window(l, blocked);
        if (st == ST_OK)
            st = watch_silence(l, &until, why);
        until = tick < until ? tick : until;
        if (l->held_until)
            until = l->held_until < until ? l->held_until : until;
        else if ((!blocked || ssh_room(l->ssh)) && talk_output(l->talk, &bytes) > 0)
            more = true;
        if (st == ST_OK)
            st = rest(l, more ? 0 : until);
        if (st != ST_OK)
            return st;
    }
}

/* BYE, if it can be said in time: what is being sent has to go out before it. */
static void say_goodbye(struct lane *l)
{
    struct fault why;
    const unsigned char *bytes;
    int64_t until = clock_mono() + GOODBYE_NS;
    bool said_all = false;
    if (!talk_up(l->talk))
        return;
    talk_bye(l->talk);
    while (clock_mono() < until) {
        struct pollfd p;
        size_t done, got, len = talk_output(l->talk, &bytes);
        enum status st = ST_WAIT;
        if (len > 0 && (st = ssh_write(l->ssh, bytes, len, &done, &why)) == ST_OK)
            talk_sent(l->talk, done);
        /* An SFTP server forgets what it has not begun when its input ends. */
        if (len == 0 && !said_all && (!l->o.sftp || talk_due(l->talk) == 0)) {
            ssh_send_eof(l->ssh);
            said_all = true;
        }
        if (st == ST_RETRY)
            return;
        while ((st = ssh_read(l->ssh, l->input, READ_SIZE, &got, &why)) == ST_OK && got > 0)
            if (l->o.sftp && talk_input(l->talk, l->input, got, &why) != ST_OK)
                return;
        if (st == ST_OK || st == ST_RETRY)
            return;
        ssh_poll(l->ssh, &p);
        int64_t left = until - clock_mono();
        if (talk_output(l->talk, &bytes) == 0 || !ssh_room(l->ssh))
            poll(&p, 1, left > 0 ? (int)(left / NS_PER_MS) + 1 : 0);
    }
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    struct fault why;
    enum status st = ssh_open(&l->o, l->stop_fd, &l->reached, &l->ssh, &why);
    l->give_up = clock_mono() + l->o.connect_timeout_s * NS_PER_S;
    if (st == ST_OK) {
        struct pollfd socket;
        ssh_poll(l->ssh, &socket);
        throttle_join(&l->pace, l->o.throttle, socket.fd);
        st = run(l, &why);
        throttle_leave(&l->pace);
    }
    if (st == ST_WAIT && is_starved(l))
        st = fault(&why, ST_RETRY, "out of memory");
    drop_jobs(l);
    if (st != ST_WAIT)
        talk_post_down(l->talk, l->reached, &why);
    else if (l->ssh && !atomic_load(&l->abandoned))
        say_goodbye(l);
    ssh_close(&l->ssh);
    return NULL;
}

static void lane_free(struct lane *l)
{
    talk_free(&l->talk);
    free(l->input);
    if (l->stop_fd >= 0)
        close(l->stop_fd);
    if (l->post_fd >= 0)
        close(l->post_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

enum status lane_start(const struct lane_options *o, int number, struct mailbox *events,
                       struct lane **out, struct fault *why)
{
    struct lane *l = calloc(1, sizeof *l);
    *out = NULL;
    if (!l)
        return fault(why, ST_RETRY, "out of memory");
    l->o = *o;
    if (l->o.silence_s <= 0)
        l->o.silence_s = SILENCE_DEFAULT_S;
    if (l->o.connect_timeout_s <= 0)
        l->o.connect_timeout_s = CONNECT_DEFAULT_S;
    if (l->o.knock_ms <= 0)
        l->o.knock_ms = KNOCK_DEFAULT_MS;
    pthread_mutex_init(&l->lock, NULL);
    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->post_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->talk = talk_new(&(struct talk_options){number, events, l->o.agent, &l->load,
                                              l->o.sftp ? l->o.sftp_directory : NULL});
    l->input = malloc(READ_SIZE);
    if (l->stop_fd < 0 || l->post_fd < 0 || !l->talk || !l->input ||
        pthread_create(&l->thread, NULL, lane_main, l) != 0) {
        lane_free(l);
        return fault(why, ST_RETRY, "a lane cannot start: out of memory, threads or files");
    }
    *out = l;
    return ST_OK;
}

void lane_bid_end(struct lane *l)
{
    if (l)
        wake(l->stop_fd);
}

void lane_stop(struct lane **l)
{
    if (!*l)
        return;
    lane_bid_end(*l);
    pthread_join((*l)->thread, NULL);
    lane_free(*l);
    *l = NULL;
}

void lane_abandon(struct lane **l)
{
    if (*l)
        atomic_store(&(*l)->abandoned, true);
    lane_stop(l);
}
