/* The observing night an instant belongs to, as "utYYMMDD":
 *     night = UTC date of (start of exposure + 24 h - rollover)
 * rollover is the UTC time of day at which the next night begins: local noon from the
 * site's longitude (12 h - longitude/15, DECam at -70.8 deg: 16:43) so that afternoon
 * flats belong to the coming night, or fixed ("22:30", the forerunner's rule, for which
 * 2016-08-31T23:10 is ut160901 and 22:29:59 is ut160831). The same answer whenever
 * and wherever it is asked. */
#ifndef SKYFERRY_NIGHT_H
#define SKYFERRY_NIGHT_H

#include <stdbool.h>
#include <stdint.h>

#define NIGHT_SIZE 16 /* "utYYMMDD" and NUL, with room to spare */

struct night_rule {
    int64_t rollover_s; /* seconds of the UTC day, 0..86399 */
};

/* From the settings: rollover "noon" (longitude_deg east positive, -180..360) or
 * "HH:MM" / "HH:MM:SS". False when the text is neither. */
bool night_rule_parse(const char *rollover, double longitude_deg, struct night_rule *out);

void night_of(const struct night_rule *rule, int64_t wall_ns, char out[NIGHT_SIZE]);

/* "ut" and six digits that are a real date? */
bool night_valid(const char *night);

#endif
