#include "push/meter.h"

#include <math.h>

#define SECOND 1000000000.0
#define SLICE 2.0          /* s in flight that make one sample */
#define LIMITED 0.75       /* of a slice: then the line was the limit */
#define QUIET_NS 1000000000LL /* nothing added for so long: longer than any round trip */
#define SMOOTH 10.0        /* s */
#define SUDDEN 2.0         /* s: where it is another line altogether, */
#define OTHER 2.0          /* by such a factor */
#define MORE 1.25          /* than its limit a line may seem to carry for a while */
#define RAISE 1.5          /* what is tried beyond a rate that is a lower bound, once more each time */
#define HOPE_MOST 16.0
#define LIFT 0.75          /* how much of the way one lower bound goes */
#define STALE_NS (3600 * 1000000000LL)
#define WORTH 16384        /* fewer bytes tell of round trips, not of the line */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Time passes while things are as they are. */
static void pass(struct meter *m, int64_t now_ns)
{
    int64_t from = m->mark_ns;
    m->mark_ns = now_ns;
    if (m->in_flight <= 0 || now_ns <= from)
        return;
    m->span_ns += now_ns - from;
    int64_t limited = m->posted_ns + QUIET_NS, met = limited;
    if (m->waits || m->backlog > 0)
        limited = from;
    if (m->waits)
        met = from;
    else if (m->backlog > 0 && m->trip_ns > 0)
        met = m->drain_ns + m->trip_ns;
    m->limited_ns += larger(0, now_ns - larger(from, limited));
    m->met_ns += larger(0, now_ns - larger(from, met));
}

static void forget_slice(struct meter *m)
{
    m->bytes = m->span_ns = m->limited_ns = m->met_ns = 0;
}

/* Much faster than what is known: what the bytes would have taken at that pace counts, or a slow
 * line's memory would hold for minutes on one that is done with an exposure in a blink. */
static double share_of(const struct meter *m, int64_t bytes, double span, double pace)
{
    bool faster = pace * OTHER < m->pace, slower = pace > OTHER * m->pace;
    double said = faster ? (double)bytes * m->pace : span;
    return fmax(1 - exp(-said / (faster || slower ? SUDDEN : SMOOTH)), span / (m->trust + span));
}

static void learn(struct meter *m, int64_t now_ns)
{
    double span = (double)m->span_ns / SECOND, pace = span / (double)m->bytes;
    bool limited = (double)m->limited_ns >= LIMITED * (double)m->span_ns;
    bool met = (double)m->met_ns >= LIMITED * (double)m->span_ns;
    int64_t bytes = m->bytes;
    forget_slice(m);
    if (bytes < WORTH || span <= 0)
        return;
    if (now_ns - m->known_ns > STALE_NS)
        m->trust = 0;
    if (now_ns - m->ceiling_ns > STALE_NS)
        m->ceiling = 0;
    m->carried = true;
    if (m->pace <= 0) {
        m->pace = pace;
    } else if (limited) {
        m->pace += share_of(m, bytes, span, pace) * (pace - m->pace);
    } else if (pace < m->pace) {
        m->pace += LIFT * (pace - m->pace);
    } else {
        return; /* slower than what is known, but not for the line's sake */
    }
    m->trust += limited ? span : 0;
    m->known_ns = now_ns;
    if (!met)
        return;
    m->ceiling = m->pace;
    m->ceiling_ns = now_ns;
    m->hope = 1;
}

void meter_posted(struct meter *m, int64_t now_ns, int64_t bytes)
{
    pass(m, now_ns);
    if (m->in_flight == 0) {
        m->began_ns = now_ns;
        m->trip_ns = 0;
    }
    m->in_flight += bytes;
    m->posted_ns = now_ns;
}

void meter_got(struct meter *m, int64_t now_ns, int64_t bytes)
{
    pass(m, now_ns);
    if (m->trip_ns == 0)
        m->trip_ns = larger(1, now_ns - m->began_ns);
    m->in_flight = larger(0, m->in_flight - bytes);
    m->backlog = larger(0, m->backlog - bytes);
    m->bytes += bytes;
    if (m->in_flight == 0 || (double)m->span_ns >= SLICE * SECOND)
        learn(m, now_ns);
}

void meter_lost(struct meter *m, int64_t now_ns, int64_t bytes)
{
    pass(m, now_ns);
    m->in_flight = larger(0, m->in_flight - bytes);
    m->backlog = 0;
    forget_slice(m);
}

void meter_waits(struct meter *m, int64_t now_ns, bool waits)
{
    if (m->waits == waits)
        return;
    pass(m, now_ns);
    m->waits = waits;
    if (waits)
        return;
    m->backlog = m->in_flight;
    m->drain_ns = now_ns;
}

double meter_rate(const struct meter *m)
{
    return m->pace > 0 ? 1 / m->pace : 0;
}

bool meter_at_limit(const struct meter *m)
{
    return m->ceiling > 0 && m->ceiling <= MORE * m->pace;
}

double meter_hoped(const struct meter *m)
{
    return meter_rate(m) * fmax(m->hope, 1);
}

void meter_raise(struct meter *m)
{
    if (m->carried && !meter_at_limit(m))
        m->hope = fmin(fmax(m->hope, 1) * RAISE, HOPE_MOST);
    m->carried = false;
}

void meter_recall(struct meter *m, int64_t now_ns, double rate, int64_t age_ns, bool at_limit)
{
    if (!(rate > 0) || !isfinite(rate))
        return;
    m->pace = 1 / rate;
    m->trust = age_ns >= 0 && age_ns <= STALE_NS ? SMOOTH : 0;
    m->ceiling = at_limit ? m->pace : 0;
    m->ceiling_ns = m->known_ns = now_ns - (age_ns > 0 ? age_ns : 0);
}

void effort_add(struct effort *e, double spent, double due)
{
    if (!(spent > 0) || !(due > 0))
        return;
    e->spent = e->spent * 0.7 + spent;
    e->due = e->due * 0.7 + due;
}

double effort_factor(const struct effort *e)
{
    return e->due > 0 ? e->spent / e->due : 0;
}
