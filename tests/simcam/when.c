#include "when.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEGREE (M_PI / 180.0)

const double when_longitude_east = -70.81489;
const double when_latitude = -30.16606;

bool
when_parse(const char *text, int64_t *date)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    double fraction = 0.0;

    if (rest == NULL)
        return false;
    if (*rest == '.') {
        char *end;

        if (rest[1] < '0' || rest[1] > '9')
            return false;
        fraction = strtod(rest, &end);
        rest = end;
    }
    if (*rest == 'Z')
        rest++;
    if (*rest != '\0')
        return false;
    *date = (int64_t)timegm(&tm) * WHEN_SECOND + llround(fraction * (double)WHEN_SECOND);
    return true;
}

void
when_format(int64_t date, const char *format, char text[WHEN_TEXT])
{
    const int64_t part = ((date % WHEN_SECOND) + WHEN_SECOND) % WHEN_SECOND;
    const time_t seconds = (time_t)((date - part) / WHEN_SECOND);
    const char *micro = strstr(format, "%f");
    char head[WHEN_TEXT], form[WHEN_TEXT];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    (void)snprintf(form, sizeof(form), "%.*s", micro != NULL ? (int)(micro - format) : (int)strlen(format), format);
    if (strftime(head, sizeof(head), form, &tm) == 0)
        head[0] = '\0';
    if (micro != NULL)
        (void)snprintf(text, WHEN_TEXT, "%.23s%06d", head, (int)part);
    else
        (void)snprintf(text, WHEN_TEXT, "%s", head);
}

double
when_mjd(int64_t date)
{
    return 40587.0 + (double)date / (86400.0 * (double)WHEN_SECOND);
}

double
when_sidereal(int64_t date)
{
    /* Greenwich mean sidereal time to a second or so (Meeus, Astronomical Algorithms, 12.4, linear term). */
    const double days = when_mjd(date) - 51544.5;
    const double angle = fmod(280.46061837 + 360.98564736629 * days + when_longitude_east, 360.0);

    return angle < 0.0 ? angle + 360.0 : angle;
}

double
when_hour_angle(int64_t date, double ra)
{
    return remainder(when_sidereal(date) - ra, 360.0);
}

double
when_zenith_distance(double hour_angle, double dec)
{
    const double sin_alt = sin(when_latitude * DEGREE) * sin(dec * DEGREE)
        + cos(when_latitude * DEGREE) * cos(dec * DEGREE) * cos(hour_angle * DEGREE);

    return acos(fmax(-1.0, fmin(1.0, sin_alt))) / DEGREE;
}
