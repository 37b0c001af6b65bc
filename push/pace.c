#include "push/pace.h"

#include <math.h>

/* The pace to begin with counts as much as so many ccds of sixty. */
#define TRUST (4.0 / 60)
/* No ccd is to suffer for another: steps stay near those of a steady exposure. */
#define SWING 1.4

void pace_begin(struct pace *p, double ratio, double rung, double pace, int64_t raw_bytes)
{
    *p = (struct pace){.wanted = ratio, .rung = rung, .first = pace > 0 ? pace : 1,
                       .left = (double)raw_bytes, .total = (double)raw_bytes};
}

double pace_result(const struct pace *p)
{
    double trust = TRUST * p->total / (p->rung > 0 ? p->rung : 1);
    return p->came > 0 ? (p->promised + trust) / (p->came + trust / p->first) : p->first;
}

double pace_next(struct pace *p, int64_t raw_bytes)
{
    double rung = p->rung, raw = (double)raw_bytes;
    if (p->wanted > 0) {
        double pace = pace_result(p), steady = p->wanted / pace;
        double budget = p->total / p->wanted - p->written - p->given_promised / pace;
        rung = budget > 0 ? p->left / budget / pace : steady * SWING;
        rung = fmin(fmax(rung, steady / SWING), steady * SWING);
    }
    p->left = fmax(p->left - raw, 0);
    p->given_promised += rung > 0 ? raw / rung : raw;
    return rung;
}

void pace_wrote(struct pace *p, double rung, int64_t raw_bytes, int64_t bytes)
{
    double promised = rung > 0 ? (double)raw_bytes / rung : (double)raw_bytes;
    p->given_promised = fmax(p->given_promised - promised, 0);
    p->promised += promised;
    p->came += (double)bytes;
    p->written += (double)bytes;
}

void pace_wrote_other(struct pace *p, int64_t bytes)
{
    p->written += (double)bytes;
}
