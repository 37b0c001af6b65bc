/* Time: nanoseconds since 1970 UTC (int64_t) wherever an instant is stored or
 * sent; the monotonic clock wherever a duration is measured. */
#ifndef SKYFERRY_CLOCK_H
#define SKYFERRY_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL

int64_t clock_wall(void);       /* CLOCK_REALTIME, ns since 1970 UTC */
int64_t clock_mono(void);       /* CLOCK_MONOTONIC, ns */
int64_t clock_boot(void);       /* CLOCK_BOOTTIME, ns: goes on while the machine is suspended */
int64_t clock_thread_cpu(void); /* CPU time of the calling thread, ns */
int64_t clock_ns(struct timespec t); /* such as a file's st_mtim, in ns */
/* CPU time of the calling thread since *mark, which moves to now: the laps of one job. */
int64_t clock_lap(int64_t *mark);

/* ISO 8601 UTC with milliseconds and "Z"; out takes at least 32 bytes. */
void clock_iso(int64_t wall_ns, char *out, size_t size);

/* Reads a FITS DATE-OBS (FITS standard 4.0, section 9.1.1): YYYY-MM-DD or
 * YYYY-MM-DDThh:mm:ss[.s...], an optional trailing Z, leap second 60 allowed.
 * False when the text is anything else or no real calendar date. */
bool clock_parse_date_obs(const char *text, int64_t *wall_ns);

/* Days since 1970-01-01 of a civil date, and back (proleptic Gregorian). */
int64_t clock_days_from_civil(int64_t y, int m, int d);
void clock_civil_from_days(int64_t days, int64_t *y, int *m, int *d);

#endif
