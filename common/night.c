#include "common/night.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

#define S_PER_DAY 86400LL

/* Two digits below limit at p. */
static bool two_digits(const char *p, int limit, int *out)
{
    if (!isdigit((unsigned char)p[0]) || !isdigit((unsigned char)p[1]))
        return false;
    *out = (p[0] - '0') * 10 + (p[1] - '0');
    return *out < limit;
}

static bool parse_fixed(const char *text, int64_t *seconds)
{
    size_t len = strlen(text);
    int h, m, s = 0;
    if (len != 5 && len != 8)
        return false;
    if (!two_digits(text, 24, &h) || text[2] != ':' || !two_digits(text + 3, 60, &m))
        return false;
    if (len == 8 && (text[5] != ':' || !two_digits(text + 6, 60, &s)))
        return false;
    *seconds = h * 3600 + m * 60 + s;
    return true;
}

bool night_rule_parse(const char *rollover, double longitude_deg, struct night_rule *out)
{
    if (strcmp(rollover, "noon") != 0)
        return parse_fixed(rollover, &out->rollover_s);
    if (!(longitude_deg >= -180.0 && longitude_deg <= 360.0))
        return false;
    /* The sun moves 15 degrees an hour: 240 s a degree. */
    int64_t s = llround(S_PER_DAY / 2.0 - longitude_deg * 240.0);
    out->rollover_s = ((s % S_PER_DAY) + S_PER_DAY) % S_PER_DAY;
    return true;
}

void night_of(const struct night_rule *rule, int64_t wall_ns, char out[NIGHT_SIZE])
{
    int64_t seconds = wall_ns / NS_PER_S - (wall_ns % NS_PER_S < 0);
    int64_t shifted = seconds + S_PER_DAY - rule->rollover_s;
    int64_t days = shifted / S_PER_DAY - (shifted % S_PER_DAY < 0);
    int64_t y;
    int m, d;
    clock_civil_from_days(days, &y, &m, &d);
    snprintf(out, NIGHT_SIZE, "ut%02d%02d%02d", (int)(y % 100), m, d);
}

bool night_valid(const char *night)
{
    if (!night || strlen(night) != 8 || night[0] != 'u' || night[1] != 't')
        return false;
    int yy, mm, dd, m, d;
    int64_t y;
    if (!two_digits(night + 2, 100, &yy) || !two_digits(night + 4, 13, &mm) ||
        !two_digits(night + 6, 32, &dd) || mm == 0 || dd == 0)
        return false;
    clock_civil_from_days(clock_days_from_civil(2000 + yy, mm, dd), &y, &m, &d);
    return m == mm && d == dd;
}
