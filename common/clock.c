#include "common/clock.h"

#include <stdio.h>
#include <string.h>

#define S_PER_DAY 86400LL

int64_t clock_ns(struct timespec t)
{
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t now(clockid_t id)
{
    struct timespec t;
    return clock_gettime(id, &t) == 0 ? clock_ns(t) : 0;
}

int64_t clock_wall(void)
{
    return now(CLOCK_REALTIME);
}

int64_t clock_mono(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t clock_boot(void)
{
    return now(CLOCK_BOOTTIME);
}

int64_t clock_thread_cpu(void)
{
    return now(CLOCK_THREAD_CPUTIME_ID);
}

int64_t clock_lap(int64_t *mark)
{
    int64_t before = *mark;
    *mark = clock_thread_cpu();
    return *mark - before;
}

/* Division that rounds down also before 1970. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

void clock_iso(int64_t wall_ns, char *out, size_t size)
{
    int64_t ms = floor_div(wall_ns, NS_PER_MS);
    int64_t days = floor_div(ms, S_PER_DAY * 1000);
    int in_day = (int)(ms - days * S_PER_DAY * 1000);
    int64_t y;
    int m, d;
    clock_civil_from_days(days, &y, &m, &d);
    snprintf(out, size, "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ", (long long)y, m, d,
             in_day / 3600000, in_day / 60000 % 60, in_day / 1000 % 60, in_day % 1000);
}

/* Exactly `digits` decimal digits; moves *p past them. */
static bool take_digits(const char **p, int digits, int *out)
{
    int v = 0;
    for (int i = 0; i < digits; i++) {
        if ((*p)[i] < '0' || (*p)[i] > '9')
            return false;
        v = v * 10 + ((*p)[i] - '0');
    }
    *p += digits;
    *out = v;
    return true;
}

static bool take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static bool take_date(const char **p, int64_t *days)
{
    int y, m, d;
    if (!take_digits(p, 4, &y) || !take_char(p, '-') || !take_digits(p, 2, &m) ||
        !take_char(p, '-') || !take_digits(p, 2, &d))
        return false;
    if (m < 1 || m > 12 || d < 1 || d > 31)
        return false;
    /* 30 February comes back as another date. */
    int64_t y2;
    int m2, d2;
    *days = clock_days_from_civil(y, m, d);
    clock_civil_from_days(*days, &y2, &m2, &d2);
    return y2 == y && m2 == m && d2 == d;
}

/* hh:mm:ss[.s...] as ns of the day. A leap second is the first second of the next minute,
 * as in POSIX time; some cameras also round 59.9996 up to "60.000" at any minute. */
static bool take_time(const char **p, int64_t *ns)
{
    int h, m, s;
    if (!take_digits(p, 2, &h) || !take_char(p, ':') || !take_digits(p, 2, &m) ||
        !take_char(p, ':') || !take_digits(p, 2, &s))
        return false;
    if (h > 23 || m > 59 || s > 60)
        return false;
    *ns = (h * 3600LL + m * 60 + s) * NS_PER_S;
    if (!take_char(p, '.'))
        return true;
    int digit;
    int64_t unit = NS_PER_S / 10;
    if (!take_digits(p, 1, &digit))
        return false;
    do {
        *ns += digit * unit;
        unit /= 10; /* digits past the ninth count for nothing */
    } while (take_digits(p, 1, &digit));
    return true;
}

bool clock_parse_date_obs(const char *text, int64_t *wall_ns)
{
    int64_t days, ns = 0;
    if (!text || !take_date(&text, &days))
        return false;
    if (take_char(&text, 'T') && !take_time(&text, &ns))
        return false;
    take_char(&text, 'Z');
    if (*text != '\0')
        return false;
    /* int64_t nanoseconds reach from 1677-09-21 to 2262-04-11. */
    if (days < -106751 || days > 106750)
        return false;
    *wall_ns = days * S_PER_DAY * NS_PER_S + ns;
    return true;
}

/* The calendar algorithms count years from 1 March, so that the leap day is the last
 * day of the year, in eras of 400 years = 146097 days (H. Hinnant, "chrono-compatible
 * low-level date algorithms"). Day 0 of the count is 0000-03-01, 719468 days before 1970. */
int64_t clock_days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = floor_div(y, 400);
    int64_t year = y - era * 400;
    int64_t day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

void clock_civil_from_days(int64_t days, int64_t *y, int *m, int *d)
{
    days += 719468;
    int64_t era = floor_div(days, 146097);
    int64_t doe = days - era * 146097;
    int64_t year = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t day = doe - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * day + 2) / 153;
    *d = (int)(day - (153 * month + 2) / 5 + 1);
    *m = (int)(month + (month < 10 ? 3 : -9));
    *y = year + era * 400 + (*m <= 2);
}
