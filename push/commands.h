/* The commands of skyferry-push as main.c calls them, once options and configuration are
 * read. Each prints its own words and returns the exit status; none calls exit. status
 * and check have headers of their own. */
#ifndef SKYFERRY_PUSH_COMMANDS_H
#define SKYFERRY_PUSH_COMMANDS_H

#include "push/settings.h"

/* Watches, encodes and ships until it is stopped. `source` is read again at SIGHUP. */
int run_command(const struct config *c, const struct settings_source *source);

/* Delivers these files (list: and those named in this file, one a line) and waits until the
 * far end has them. timeout_s: without any connection for so long it is given up. */
struct send_options {
    const char *const *files;
    int count;
    const char *list; /* NULL: none */
    int timeout_s;
};
int send_command(const struct config *c, const struct send_options *o);

/* The end of the night: what does the far end lack of the watched directory? Sends it. */
struct sweep_options {
    int64_t exp_min;   /* only exposure numbers above it are sent; -1: all */
    const char *night; /* "utYYMMDD"; NULL: all nights */
    bool dry_run;
    int timeout_s;
};
int sweep_command(const struct config *c, const struct sweep_options *o);

/* Switches the running agent to this mode. */
int mode_command(const struct config *c, enum order_mode mode);

/* Shows the running agent's rate limit (text NULL), or changes it: a timetable that
 * timetable_parse takes, or "auto", which is what the configuration says. */
int rate_command(const struct config *c, const char *text);

/* Parked exposures of these names (or "all") start anew. */
int retry_command(const struct config *c, const char *const *names, int count);

#endif
