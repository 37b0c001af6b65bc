/* A limit that follows the clock, as [ship] rate_mbit says it:
 *     300                                   at all times
 *     300, 50 06:00-18:00                   50 from 06:00 to 18:00, 300 at all other times
 *     50 06:00-18:00, none 22:00-04:00      no limit where nothing is said, and by night
 * in Mbit/s (1,000,000 bits), by times of the UTC day as [site] night_rollover; a window may
 * span midnight; "none", 0 or nothing at all is no limit. Plain values, no clock of its own. */
#ifndef SKYFERRY_TIMETABLE_H
#define SKYFERRY_TIMETABLE_H

#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

#define TIMETABLE_WINDOWS 16
#define TIMETABLE_TEXT 256  /* no longer text is accepted, its NUL included */
#define TIMETABLE_LEAST 0.1 /* Mbit/s: below it a chunk would take minutes */
#define TIMETABLE_MOST 1e5

struct timetable_window {
    int from, to; /* seconds of the UTC day, 0..86399 and 1..86400; to <= from: over midnight */
    double mbit;
};
struct timetable {
    double mbit; /* where no window is open; 0: no limit */
    struct timetable_window window[TIMETABLE_WINDOWS];
    int count;
};

/* REJECT: what is wrong with it and what to write instead; *out is then as it was. */
enum status timetable_parse(const char *text, struct timetable *out, struct fault *why);

/* What holds at that time, Mbit/s; 0: no limit. */
double timetable_at(const struct timetable *t, int64_t wall_ns);
/* The first time after it at which another rate holds; 0: never. */
int64_t timetable_next(const struct timetable *t, int64_t wall_ns);

#endif
