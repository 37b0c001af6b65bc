#include "push/throttle.h"

#include <linux/sockios.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "common/clock.h"

#define TURN_S 0.005              /* of the rate: one turn, in whole TCP packets */
#define TURN_MOST_S 0.010         /* where so long a turn is a few packets only: */
#define PACKETS_FEW 4.0           /* SSH's heads are 1 % of them */
#define PACKET 1448               /* TCP payload of an Ethernet frame, time stamps in it */
#define PACKETS_MOST 22           /* an SSH packet holds no more */
#define WRITE 32700               /* bytes: libssh2 takes no more at once */
#define HEADS 68                  /* what SSH adds to a packet, at most */
#define UNSENT_S 0.005            /* of the rate may wait in all sockets together */
#define UNSENT_LOOK_NS (3 * NS_PER_MS)
#define WINDOW_S 1.0              /* longer than a round trip and a chunk */
#define CHUNK_S 0.25
#define CHUNK_LEAST 16384
#define SIGN_OF_LIFE 131072.0     /* sshd opens its window again after so many bytes */

struct throttle {
    pthread_mutex_t lock; /* of all below */
    double rate;          /* bytes a second; 0: no limit */
    double mbit;          /* as it was set */
    int64_t next;         /* when the next turn begins, given the bytes of the others */
    uint64_t epoch;       /* counts the rates */
    int lanes;
};

struct throttle *throttle_new(void)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (t)
        pthread_mutex_init(&t->lock, NULL);
    return t;
}

void throttle_free(struct throttle **t)
{
    if (!*t)
        return;
    pthread_mutex_destroy(&(*t)->lock);
    free(*t);
    *t = NULL;
}

void throttle_set(struct throttle *t, double mbit, int64_t now_ns)
{
    pthread_mutex_lock(&t->lock);
    if (mbit != t->mbit) {
        t->mbit = mbit;
        t->rate = mbit * 1e6 / 8 * THROTTLE_AIM;
        t->next = now_ns;
        t->epoch++;
    }
    pthread_mutex_unlock(&t->lock);
}

double throttle_mbit(struct throttle *t)
{
    if (!t)
        return 0;
    pthread_mutex_lock(&t->lock);
    double mbit = t->mbit;
    pthread_mutex_unlock(&t->lock);
    return mbit;
}

static double rate_of(struct throttle *t, int *lanes)
{
    pthread_mutex_lock(&t->lock);
    double rate = t->rate;
    *lanes = t->lanes > 0 ? t->lanes : 1;
    pthread_mutex_unlock(&t->lock);
    return rate;
}

static double between(double least, double x, double most)
{
    return x < least ? least : x > most ? most : x;
}

/* ---- a lane's part ---- */

void throttle_join(struct throttle_lane *l, struct throttle *t, int fd)
{
    *l = (struct throttle_lane){.of = t, .fd = fd};
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->lanes++;
    pthread_mutex_unlock(&t->lock);
}

void throttle_leave(struct throttle_lane *l)
{
    if (!l->of)
        return;
    pthread_mutex_lock(&l->of->lock);
    l->of->lanes--;
    pthread_mutex_unlock(&l->of->lock);
    l->of = NULL;
}

/* What a socket keeps back (TCP begins anew after a silence, the line stalls) would leave it
 * later, on top of what the others send by then: while it does, the others have its turns. */
static bool is_clogged(const struct throttle *t, const struct throttle_lane *l)
{
    int unsent = 0;
    if (l->fd < 0 || ioctl(l->fd, SIOCOUTQNSD, &unsent) != 0)
        return false;
    return unsent > PACKET + t->rate * UNSENT_S / t->lanes;
}

/* Gives l the next turn; the rate is not 0. */
static void give_turn(struct throttle *t, struct throttle_lane *l, int64_t now_ns, size_t wanted,
                      int64_t sent)
{
    double few = between(1, t->rate * TURN_MOST_S / PACKET + 0.5, PACKETS_FEW);
    size_t packets = (size_t)between(few, t->rate * TURN_S / PACKET + 0.5, PACKETS_MOST);
    size_t turn = packets * PACKET - HEADS;
    l->grant = wanted < turn ? wanted : turn;
    l->begun = false;
    int64_t owed = sent - l->paid; /* heads, checksums, what did not ask */
    l->paid = sent + (int64_t)l->grant;
    if (t->next < now_ns - THROTTLE_LATE_NS)
        t->next = now_ns - THROTTLE_LATE_NS;
    l->due = t->next;
    t->next += (int64_t)((double)((int64_t)l->grant + owed) / t->rate * NS_PER_S);
}

static void give_back(struct throttle_lane *l)
{
    l->paid -= (int64_t)l->grant;
    l->grant = 0;
}

/* The rate has changed, or it is the first. */
static void start_anew(const struct throttle *t, struct throttle_lane *l)
{
    l->epoch = t->epoch;
    give_back(l);
}

/* Without a limit: one write, which may be half done when a limit comes. */
static void give_write(struct throttle_lane *l, int64_t now_ns, size_t wanted, int64_t sent)
{
    l->grant = wanted < WRITE ? wanted : WRITE;
    l->paid = sent + (int64_t)l->grant;
    l->due = now_ns;
}

size_t throttle_allows(struct throttle_lane *l, int64_t now_ns, int64_t sent, size_t wanted,
                       int64_t *until)
{
    struct throttle *t = l->of;
    if (!t)
        return wanted;
    if (l->grant > 0 && l->begun)
        return wanted < l->grant ? wanted : l->grant;
    pthread_mutex_lock(&t->lock);
    if (l->epoch != t->epoch)
        start_anew(t, l);
    /* After a halt of the whole machine the turns of all lanes would fall together. */
    if (l->grant > 0 && now_ns - l->due > THROTTLE_LATE_NS)
        give_back(l);
    bool limited = t->rate > 0, clogged = limited && l->grant == 0 && is_clogged(t, l);
    if (!limited)
        give_write(l, now_ns, wanted, sent);
    else if (l->grant == 0 && !clogged)
        give_turn(t, l, now_ns, wanted, sent);
    pthread_mutex_unlock(&t->lock);
    *until = clogged ? now_ns + UNSENT_LOOK_NS : l->due;
    l->begun = !clogged && now_ns >= l->due;
    return l->begun ? l->grant : 0;
}

void throttle_used(struct throttle_lane *l, size_t bytes)
{
    l->grant -= bytes < l->grant ? bytes : l->grant;
}

int64_t throttle_patience(const struct throttle_lane *l)
{
    int lanes;
    double rate = l->of ? rate_of(l->of, &lanes) : 0;
    return rate > 0 ? (int64_t)(lanes * SIGN_OF_LIFE / rate * NS_PER_S) : 0;
}

/* ---- how much is handed out ---- */

int64_t throttle_chunk(struct throttle *t, int lanes, int64_t most)
{
    int joined;
    double rate = t ? rate_of(t, &joined) : 0;
    if (rate <= 0 || lanes < 1 || most < CHUNK_LEAST)
        return most;
    return (int64_t)between(CHUNK_LEAST, rate * CHUNK_S / lanes, (double)most);
}

int64_t throttle_window(struct throttle *t, int lanes, int64_t most)
{
    int joined;
    double rate = t ? rate_of(t, &joined) : 0;
    if (rate <= 0 || lanes < 1)
        return most;
    double least = 2 * (double)throttle_chunk(t, lanes, most);
    return (int64_t)between(least < (double)most ? least : (double)most, rate * WINDOW_S / lanes,
                            (double)most);
}
