#include "push/throttle.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/clock.h"

#define TURN_S 0.010              /* of the rate: one turn, in whole TCP packets */
#define PACKET 1448               /* TCP payload of an Ethernet frame, time stamps in it */
#define PACKETS_MOST 22           /* an SSH packet holds no more */
#define HEADS 68                  /* what SSH adds to a packet, at most */
#define UNSENT_S 0.020            /* of the rate may wait in the sockets together, */
#define UNSENT_LEAST 4096.0       /* so much in each at least: a stalled line frees no flood */
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

/* What a socket keeps back while the line stalls would leave it at the line's full rate. */
static void bound_unsent(int fd, double rate, int lanes)
{
    int most = rate > 0 ? (int)between(UNSENT_LEAST, rate * UNSENT_S / lanes, 1 << 20) : -1;
    if (fd >= 0)
        (void)!setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof most);
}

/* Gives l the next turn; the rate is not 0. */
static void give_turn(struct throttle *t, struct throttle_lane *l, int64_t now_ns, size_t wanted,
                      int64_t sent)
{
    size_t packets = (size_t)between(1, t->rate * TURN_S / PACKET + 0.5, PACKETS_MOST);
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
static void start_anew(struct throttle *t, struct throttle_lane *l, int64_t sent)
{
    l->epoch = t->epoch;
    give_back(l);
    if (t->rate <= 0)
        l->paid = sent;
    bound_unsent(l->fd, t->rate, t->lanes);
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
        start_anew(t, l, sent);
    /* After a halt of the whole machine the turns of all lanes would fall together. */
    if (l->grant > 0 && now_ns - l->due > THROTTLE_LATE_NS)
        give_back(l);
    bool limited = t->rate > 0;
    if (!limited)
        l->paid = sent;
    else if (l->grant == 0)
        give_turn(t, l, now_ns, wanted, sent);
    pthread_mutex_unlock(&t->lock);
    *until = l->due;
    if (!limited)
        return wanted;
    l->begun = now_ns >= l->due;
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
