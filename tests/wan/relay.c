/*
 * wan-relay: a long line in user space, between two TUN devices in two network namespaces.
 *
 * Each direction is a drop-tail queue of so many bytes, a line of so many Mbit/s (IP bytes
 * count), random loss, and a delay. SIGUSR1 cuts the line: what is under way and what comes
 * is dropped; SIGUSR2 restores it. SIGHUP writes the counters at once; they are written every
 * --every ms too, one JSON object a line with CLOCK_MONOTONIC and wall time. One thread; it
 * ends on SIGTERM or SIGINT. Meant to be started by box.sh, which sets up the devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    PACKET_MAX = 2048,  /* the devices' MTU is 1500 */
    TURN_NS = 150000,   /* packets are handled in batches of so much time */
    TAKE_MAX = 4096,    /* packets read in one turn */
};

/* What passed one direction and what did not, since the start. */
struct counts {
    uint64_t in_packets, in_bytes, out_packets, out_bytes;
    uint64_t queue_drops, loss_drops, cut_drops, refused;
    int64_t busy_ns; /* line time of all packets taken, the part still to come included */
};

/* A packet under way; its bytes follow. */
struct packet {
    int64_t due;
    uint64_t size;
};

/* One direction. The ring is mapped twice, side by side, so that no packet is split. */
struct way {
    int in, out;
    double rate_mbit, delay_ms, queue_kib, loss_percent; /* as given */
    double ns_per_byte;
    int64_t delay_ns, queue_bytes;
    uint64_t random;
    int64_t free_at; /* when the line has sent all it was given */
    uint8_t *ring;
    size_t ring_size;
    uint64_t head, tail; /* bytes ever written and read */
    struct counts n;
};

struct relay {
    struct way way[2]; /* near to far, far to near */
    const char *namespace[2], *device, *counters_path;
    uint64_t seed;
    double every_ms;
    bool cut;
    FILE *counters;
    int signals;
    int64_t next_record;
};

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("wan-relay: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static int64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- one direction ---- */

static void way_open(struct way *w, uint64_t seed) {
    w->ns_per_byte = 8000.0 / w->rate_mbit;
    w->delay_ns = (int64_t)(w->delay_ms * 1e6);
    w->queue_bytes = (int64_t)(w->queue_kib * 1024);
    w->random = seed;
    /* Twice the bytes that can be under way: small packets carry a header each. */
    double under_way = (double)w->queue_bytes + (double)w->delay_ns / w->ns_per_byte;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    w->ring_size = ((size_t)(2 * under_way) + (1 << 20)) / page * page;
    int fd = memfd_create("wan-relay", MFD_CLOEXEC);
    uint8_t *both = mmap(NULL, 2 * w->ring_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || ftruncate(fd, (off_t)w->ring_size) != 0 || both == MAP_FAILED) die("no memory: %s", strerror(errno));
    for (int i = 0; i < 2; i++)
        if (mmap(both + (size_t)i * w->ring_size, w->ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED)
            die("no memory: %s", strerror(errno));
    close(fd);
    w->ring = both;
}

static struct packet *way_at(struct way *w, uint64_t offset) {
    return (struct packet *)(void *)(w->ring + offset % w->ring_size);
}

static size_t packet_room(size_t size) { return sizeof(struct packet) + ((size + 7) & ~(size_t)7); }

static bool way_loses(struct way *w) {
    uint64_t z = w->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53 * 100 < w->loss_percent;
}

static int64_t way_waiting_ns(const struct way *w, int64_t now) { return w->free_at > now ? w->free_at - now : 0; }

/* Takes what the device has; a lost packet costs its line time all the same. */
static int way_take(struct way *w, int64_t now, bool cut) {
    int taken = 0;
    for (; taken < TAKE_MAX; taken++) {
        uint8_t spare[sizeof(struct packet) + PACKET_MAX];
        bool fits = w->ring_size - (w->head - w->tail) >= packet_room(PACKET_MAX);
        uint8_t *at = fits ? (uint8_t *)way_at(w, w->head) : spare;
        ssize_t size = read(w->in, at + sizeof(struct packet), PACKET_MAX);
        if (size <= 0) break;
        w->n.in_packets++;
        w->n.in_bytes += (uint64_t)size;
        int64_t waiting = way_waiting_ns(w, now);
        if (cut) {
            w->n.cut_drops++;
            continue;
        }
        if (!fits || (waiting > 0 && (double)waiting / w->ns_per_byte + (double)size > (double)w->queue_bytes)) {
            w->n.queue_drops++;
            continue;
        }
        int64_t line_ns = (int64_t)((double)size * w->ns_per_byte + 0.5);
        w->free_at = now + waiting + line_ns;
        w->n.busy_ns += line_ns;
        if (way_loses(w)) {
            w->n.loss_drops++;
            continue;
        }
        struct packet head = {.due = w->free_at + w->delay_ns, .size = (uint64_t)size};
        memcpy(at, &head, sizeof head);
        w->head += packet_room((size_t)size);
    }
    return taken;
}

static void way_give(struct way *w, int64_t now) {
    while (w->tail != w->head) {
        const struct packet *p = way_at(w, w->tail);
        if (p->due > now) break;
        if (write(w->out, p + 1, p->size) == (ssize_t)p->size) {
            w->n.out_packets++;
            w->n.out_bytes += p->size;
        } else {
            w->n.refused++;
        }
        w->tail += packet_room(p->size);
    }
}

/* The line is cut: what is under way never arrives, what is queued is never sent. */
static void way_flush(struct way *w, int64_t now) {
    while (w->tail != w->head) {
        w->n.cut_drops++;
        w->tail += packet_room(way_at(w, w->tail)->size);
    }
    w->n.busy_ns -= way_waiting_ns(w, now);
    w->free_at = now;
}

/* ---- counters ---- */

static void way_print(struct way *w, FILE *f, const char *name, int64_t now) {
    int64_t waiting = way_waiting_ns(w, now);
    fprintf(f,
            "\"%s\":{\"in_packets\":%llu,\"in_bytes\":%llu,\"out_packets\":%llu,\"out_bytes\":%llu,"
            "\"queue_drops\":%llu,\"loss_drops\":%llu,\"cut_drops\":%llu,\"refused\":%llu,"
            "\"queue_bytes\":%.0f,\"busy_s\":%.6f}",
            name, (unsigned long long)w->n.in_packets, (unsigned long long)w->n.in_bytes,
            (unsigned long long)w->n.out_packets, (unsigned long long)w->n.out_bytes,
            (unsigned long long)w->n.queue_drops, (unsigned long long)w->n.loss_drops,
            (unsigned long long)w->n.cut_drops, (unsigned long long)w->n.refused, (double)waiting / w->ns_per_byte,
            (double)(w->n.busy_ns - waiting) / 1e9);
}

static void record(struct relay *r, const char *event) {
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    fprintf(r->counters, "{\"mono\":%.6f,\"wall\":%.6f,\"event\":\"%s\",\"cut\":%s,", (double)now / 1e9,
            (double)clock_ns(CLOCK_REALTIME) / 1e9, event, r->cut ? "true" : "false");
    way_print(&r->way[0], r->counters, "near_to_far", now);
    fputc(',', r->counters);
    way_print(&r->way[1], r->counters, "far_to_near", now);
    fputs("}\n", r->counters);
    fflush(r->counters);
}

/* ---- the relay ---- */

static int open_device(const char *namespace, const char *device) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) != 0) die("namespace %s: %s", namespace, strerror(errno));
    close(ns);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) die("/dev/net/tun: %s", strerror(errno));
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    if (ioctl(fd, TUNSETIFF, &request) != 0) die("device %s in %s: %s", device, namespace, strerror(errno));
    return fd;
}

static void relay_open(struct relay *r) {
    int fd[2];
    for (int i = 0; i < 2; i++) fd[i] = open_device(r->namespace[i], r->device);
    for (int i = 0; i < 2; i++) {
        r->way[i].in = fd[i];
        r->way[i].out = fd[1 - i];
        way_open(&r->way[i], r->seed + (uint64_t)i * 0x632be59bd9b4e019u);
    }
    r->counters = fopen(r->counters_path, "ae");
    if (r->counters == NULL) die("%s: %s", r->counters_path, strerror(errno));
    sigset_t set;
    sigemptyset(&set);
    const int wanted[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) sigaddset(&set, wanted[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    r->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (r->signals < 0) die("signalfd: %s", strerror(errno));
    /* A line does not wait for a processor: first in turn where that is allowed. */
    struct sched_param first = {.sched_priority = 1};
    (void)sched_setscheduler(0, SCHED_FIFO, &first);
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    (void)prctl(PR_SET_PDEATHSIG, (unsigned long)SIGTERM, 0UL, 0UL, 0UL); /* no script, no line */
}

/* False when it is time to end. */
static bool relay_signal(struct relay *r, int64_t now) {
    struct signalfd_siginfo info;
    while (read(r->signals, &info, sizeof info) == sizeof info) {
        switch (info.ssi_signo) {
        case SIGUSR1:
            r->cut = true;
            for (int i = 0; i < 2; i++) way_flush(&r->way[i], now);
            record(r, "cut");
            break;
        case SIGUSR2:
            r->cut = false;
            record(r, "restore");
            break;
        case SIGHUP: record(r, "asked"); break;
        default: record(r, "end"); return false;
        }
    }
    return true;
}

/* While packets come the devices are looked at once a turn, not once a packet. */
static void relay_wait(struct relay *r, bool busy, int64_t now) {
    struct pollfd fds[] = {{.fd = r->signals, .events = POLLIN},
                           {.fd = r->way[0].in, .events = POLLIN},
                           {.fd = r->way[1].in, .events = POLLIN}};
    int64_t until = r->next_record;
    for (int i = 0; i < 2; i++) {
        struct way *w = &r->way[i];
        if (w->tail != w->head && way_at(w, w->tail)->due < until) until = way_at(w, w->tail)->due;
    }
    int64_t wait = until - now;
    if (busy || wait < TURN_NS) wait = TURN_NS;
    struct timespec timeout = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
    (void)ppoll(fds, busy ? 1 : 3, &timeout, NULL);
}

static void relay_run(struct relay *r) {
    record(r, "start");
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    r->next_record = now;
    while (relay_signal(r, now)) {
        int taken = 0;
        now = clock_ns(CLOCK_MONOTONIC);
        for (int i = 0; i < 2; i++) {
            taken += way_take(&r->way[i], now, r->cut);
            way_give(&r->way[i], now);
        }
        if (now >= r->next_record) {
            record(r, "tick");
            r->next_record += (int64_t)(r->every_ms * 1e6);
        }
        relay_wait(r, taken > 0, now);
        now = clock_ns(CLOCK_MONOTONIC);
    }
}

/* "A" for both directions or "A,B". */
static void pair(const char *text, double *there, double *back) {
    char *end;
    *there = *back = strtod(text, &end);
    if (*end == ',') *back = strtod(end + 1, &end);
    if (*end != '\0' || *there < 0 || *back < 0) die("'%s' is not a number or two", text);
}

static const char usage[] =
    "usage: wan-relay --near NS --far NS --counters FILE [--device NAME] [--rate MBIT]\n"
    "                 [--delay MS] [--queue KIB] [--loss PERCENT] [--seed N] [--every MS]\n"
    "Numbers hold for both directions, or A,B for near to far and far to near. The delay\n"
    "is one way. Signals: USR1 cut, USR2 restore, HUP write the counters, TERM end.\n";

static void options(struct relay *r, int argc, char **argv) {
    static const struct option known[] = {
        {"near", 1, NULL, 'n'},  {"far", 1, NULL, 'f'},   {"device", 1, NULL, 'i'}, {"counters", 1, NULL, 'c'},
        {"rate", 1, NULL, 'r'},  {"delay", 1, NULL, 'd'}, {"queue", 1, NULL, 'q'},  {"loss", 1, NULL, 'l'},
        {"every", 1, NULL, 'e'}, {"seed", 1, NULL, 's'},  {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0}};
    struct way *there = &r->way[0], *back = &r->way[1];
    double unused;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'n': r->namespace[0] = optarg; break;
        case 'f': r->namespace[1] = optarg; break;
        case 'i': r->device = optarg; break;
        case 'c': r->counters_path = optarg; break;
        case 'r': pair(optarg, &there->rate_mbit, &back->rate_mbit); break;
        case 'd': pair(optarg, &there->delay_ms, &back->delay_ms); break;
        case 'q': pair(optarg, &there->queue_kib, &back->queue_kib); break;
        case 'l': pair(optarg, &there->loss_percent, &back->loss_percent); break;
        case 'e': pair(optarg, &r->every_ms, &unused); break;
        case 's': r->seed = strtoull(optarg, NULL, 0); break;
        case 'h': fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (optind != argc || r->namespace[0] == NULL || r->namespace[1] == NULL || r->counters_path == NULL ||
        there->rate_mbit <= 0 || back->rate_mbit <= 0 || r->every_ms < 1) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv) {
    static const struct way plain = {.rate_mbit = 100, .delay_ms = 80, .queue_kib = 2048};
    static struct relay r = {.device = "line", .seed = 1, .every_ms = 1000};
    r.way[0] = r.way[1] = plain;
    options(&r, argc, argv);
    relay_open(&r);
    relay_run(&r);
    return fclose(r.counters) == 0 ? 0 : 1;
}
