#include "push/timetable.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define DAY 86400
#define EXAMPLE "such as: 300, 50 06:00-18:00"

/* ---- reading ---- */

static const char *skip_blanks(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* strtod would also take "inf", "nan", signs and hexadecimal. */
static bool read_rate(const char **p, double *mbit)
{
    size_t len = strspn(*p, "0123456789.");
    char *end;
    if (strncmp(*p, "none", 4) == 0 && !isalnum((unsigned char)(*p)[4])) {
        *p += 4;
        *mbit = 0;
        return true;
    }
    *mbit = strtod(*p, &end);
    if (len == 0 || end != *p + len)
        return false;
    *p = end;
    return *mbit == 0 || (*mbit >= TIMETABLE_LEAST && *mbit <= TIMETABLE_MOST);
}

/* HH:MM, up to 24:00. */
static bool read_time(const char **p, int *seconds)
{
    const char *t = *p;
    for (int i = 0; i < 5; i++)
        if (i == 2 ? t[i] != ':' : !isdigit((unsigned char)t[i]))
            return false;
    int h = (t[0] - '0') * 10 + t[1] - '0', m = (t[3] - '0') * 10 + t[4] - '0';
    *p += 5;
    *seconds = h * 3600 + m * 60;
    return m < 60 && *seconds <= DAY;
}

static bool read_window(const char **p, struct timetable_window *w)
{
    if (!read_time(p, &w->from))
        return false;
    *p = skip_blanks(*p);
    if (*(*p)++ != '-')
        return false;
    *p = skip_blanks(*p);
    return read_time(p, &w->to) && w->from < DAY && w->to > 0 && w->from != w->to;
}

/* Is the window open at this second of the day? */
static bool is_open(const struct timetable_window *w, int second)
{
    bool after = second >= w->from, before = second < w->to;
    return w->from < w->to ? after && before : after || before;
}

static const struct timetable_window *overlapped(const struct timetable *t,
                                                 const struct timetable_window *w)
{
    for (int i = 0; i < t->count; i++)
        if (is_open(&t->window[i], w->from) || is_open(w, t->window[i].from))
            return &t->window[i];
    return NULL;
}

static enum status add_window(struct timetable *t, const struct timetable_window *w,
                              struct fault *why)
{
    const struct timetable_window *other = overlapped(t, w);
    if (t->count == TIMETABLE_WINDOWS)
        return fault(why, ST_REJECT, "there may be %d windows at most", TIMETABLE_WINDOWS);
    if (other)
        return fault(why, ST_REJECT,
                     "the windows %02d:%02d-%02d:%02d and %02d:%02d-%02d:%02d overlap: end one "
                     "where the other begins",
                     other->from / 3600, other->from / 60 % 60, other->to / 3600,
                     other->to / 60 % 60, w->from / 3600, w->from / 60 % 60, w->to / 3600,
                     w->to / 60 % 60);
    t->window[t->count++] = *w;
    return ST_OK;
}

/* One entry, up to the comma or the end. */
static enum status read_entry(const char **p, struct timetable *t, bool *has_default,
                              struct fault *why)
{
    struct timetable_window w;
    const char *at = *p;
    int len = (int)strcspn(*p, ",");
    if (!read_rate(p, &w.mbit))
        return fault(why, ST_REJECT, "'%.*s' does not begin with a rate: write Mbit/s from %g to "
                     "%g, or none, then perhaps a window of the UTC day, " EXAMPLE,
                     len, at, TIMETABLE_LEAST, TIMETABLE_MOST);
    *p = skip_blanks(*p);
    if (**p == ',' || **p == '\0') {
        if (*has_default)
            return fault(why, ST_REJECT, "two rates stand without a window ('%.*s' is the second): "
                         "give all but one the times at which they hold, " EXAMPLE, len, at);
        *has_default = true;
        t->mbit = w.mbit;
        return ST_OK;
    }
    const char *times = *p;
    if (!read_window(p, &w) || (*skip_blanks(*p) != ',' && *skip_blanks(*p) != '\0'))
        return fault(why, ST_REJECT, "'%.*s' is no window: write two times of the UTC day with - "
                     "between, as 06:00-18:00 or over midnight 22:00-04:00",
                     (int)strcspn(times, ","), times);
    *p = skip_blanks(*p);
    return add_window(t, &w, why);
}

enum status timetable_parse(const char *text, struct timetable *out, struct fault *why)
{
    struct timetable t = {0};
    bool has_default = false;
    const char *p = skip_blanks(text);
    if (strlen(text) >= TIMETABLE_TEXT)
        return fault(why, ST_REJECT, "it is longer than %d characters", TIMETABLE_TEXT - 1);
    while (*p) {
        if (read_entry(&p, &t, &has_default, why) != ST_OK)
            return ST_REJECT;
        if (*p != ',')
            break;
        p = skip_blanks(p + 1);
        if (!*p)
            return fault(why, ST_REJECT, "nothing follows its last comma");
    }
    *out = t;
    return ST_OK;
}

/* ---- asking ---- */

static int64_t second_of(int64_t wall_ns)
{
    int64_t s = wall_ns / NS_PER_S;
    return wall_ns % NS_PER_S < 0 ? s - 1 : s;
}

static double rate_at(const struct timetable *t, int second)
{
    for (int i = 0; i < t->count; i++)
        if (is_open(&t->window[i], second))
            return t->window[i].mbit;
    return t->mbit;
}

static int of_day(int64_t second)
{
    return (int)((second % DAY + DAY) % DAY);
}

double timetable_at(const struct timetable *t, int64_t wall_ns)
{
    return rate_at(t, of_day(second_of(wall_ns)));
}

int64_t timetable_next(const struct timetable *t, int64_t wall_ns)
{
    int64_t now = second_of(wall_ns);
    int today = of_day(now), nearest = 0;
    double rate = rate_at(t, today);
    for (int i = 0; i < 2 * t->count; i++) {
        int edge = (i % 2 ? t->window[i / 2].to : t->window[i / 2].from) % DAY;
        int ahead = edge > today ? edge - today : edge - today + DAY;
        if (rate_at(t, edge) != rate && (nearest == 0 || ahead < nearest))
            nearest = ahead;
    }
    return nearest == 0 ? 0 : (now + nearest) * NS_PER_S;
}
