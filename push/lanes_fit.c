#include "push/lanes_fit.h"

#define WINDOW (2 << 20)     /* of a channel of OpenSSH's server */
#define LINE 50e6            /* bytes a second for which there are windows from the start */
#define ROUNDS 8             /* round trips in a sample */
#define SPAN_MIN_NS 2500000000LL
#define SPARE 1.5            /* of them */
#define LIMITED 0.10         /* share of the time before a full window that asks for more */
#define GAIN 1.05            /* what a try must bring */
#define REST_SAMPLES 40      /* after one that brought nothing */

static int clamp(int n, int low, int high)
{
    return n < low ? low : n > high ? high : n;
}

void fit_begin(struct lanes_fit *f, int known, int limit)
{
    *f = (struct lanes_fit){.limit = clamp(limit, 1, LANES_MAX)};
    f->measured = known > 0;
    f->wanted = clamp(known > 0 ? known : 2, 1, f->limit);
}

void fit_round_trip(struct lanes_fit *f, int64_t rtt_ns)
{
    if (f->measured || rtt_ns <= 0)
        return;
    f->measured = true;
    int enough = (int)(LINE * (double)rtt_ns / 1e9 / WINDOW) + 1;
    f->wanted = clamp(enough, f->wanted, f->limit);
}

int64_t fit_span(int64_t rtt_ns)
{
    return rtt_ns * ROUNDS > SPAN_MIN_NS ? rtt_ns * ROUNDS : SPAN_MIN_NS;
}

void fit_warm_up(struct lanes_fit *f)
{
    f->settling = true;
}

static bool more(struct lanes_fit *f, int step, double rate)
{
    int wanted = clamp(f->wanted + (step > 1 ? step : 1), 1, f->limit);
    f->step = wanted - f->wanted;
    f->wanted = wanted;
    f->before = rate;
    f->trying = f->settling = f->step > 0;
    return f->trying;
}

/* Windows enough for what the line was seen to carry, and one to spare. */
static int enough(double rate, int64_t rtt_ns)
{
    return (int)(SPARE * rate * (double)rtt_ns / 1e9 / WINDOW) + 2;
}

bool fit_learn(struct lanes_fit *f, const struct fit_sample *s)
{
    if (s->up < f->wanted || s->span_ns <= 0)
        return false; /* the last increase is still under way */
    if (f->settling) {
        f->settling = false;
        return false;
    }
    double rate = (double)s->bytes / ((double)s->span_ns / 1e9);
    bool limited = (double)s->limited_ns > LIMITED * (double)s->span_ns * s->up;
    if (f->trying && rate < GAIN * f->before) {
        f->trying = false;
        f->wanted -= f->step;
        f->rest = REST_SAMPLES;
        return true;
    }
    if (f->trying)
        f->proven = f->wanted;
    int fewer = clamp(enough(rate, s->rtt_ns), f->proven, f->wanted);
    if (!f->trying && !limited && fewer < f->wanted) {
        f->wanted = fewer;
        f->settling = true;
        return true;
    }
    if (!f->trying && f->rest > 0) {
        f->rest--;
        return false;
    }
    return more(f, limited ? f->wanted / 2 : f->wanted / 4, rate);
}
