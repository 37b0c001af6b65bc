/* The limit in force: of what [ship] rate_mbit says, or `skyferry-push rate` said since, that
 * which holds at this time of the day. Passed on to the throttle whenever it changes. Main
 * thread. */
#ifndef SKYFERRY_LIMIT_H
#define SKYFERRY_LIMIT_H

#include "push/throttle.h"
#include "push/timetable.h"

struct limit;

/* configured: rate_mbit, which settings_load has found to be right. NULL: out of memory. */
struct limit *limit_new(const char *configured);
void limit_free(struct limit **l); /* after the lanes */
struct throttle *limit_throttle(const struct limit *l);

/* rate_mbit was read again: another value than before ends what was asked for. */
void limit_configure(struct limit *l, const char *configured);
/* A timetable in place of rate_mbit; "auto": rate_mbit again. REJECT as timetable_parse. */
enum status limit_ask(struct limit *l, const char *text, struct fault *why);

/* Takes what holds at this time (clock_wall, clock_mono) into force, and logs a change. */
void limit_tick(struct limit *l, int64_t wall_ns, int64_t mono_ns);

/* What is in force since the last tick, until when, and who said so: for people, "" when there
 * is no limit and none to come, and as a JSON object. */
void limit_words(const struct limit *l, char *out, size_t size);
void limit_figures(const struct limit *l, char *out, size_t size);

#endif
