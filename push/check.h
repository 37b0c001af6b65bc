/* `skyferry-push check`: everything that `run` is going to need, tried before the night: the
 * directories, the key, the host key, the kernel's limits, and a real connection. Called by
 * main.c with the loaded configuration (needs: NEED_SPOOL alone, so that what is missing is
 * reported here, with the rest). Changes nothing, but makes the spool directory. Each finding
 * is a line "ok", "warn" or "FAIL" on standard output with its remedy below. One thread. */
#ifndef SKYFERRY_PUSH_CHECK_H
#define SKYFERRY_PUSH_CHECK_H

#include <stdio.h>

#include "push/settings.h"

/* Runs all checks, local ones first, prints every finding and a last line that sums up.
 * EXIT_DONE: all well, or warnings only; EXIT_FAILED: something here must be mended (the far
 * end is still tried when host, key and known_hosts are usable); EXIT_UNREACHABLE: all is well
 * here, but the far end did not answer as skyferry-pull should. */
int check_command(const struct config *c);

/* ---- the parts, for tests ---- */

struct check_report {
    FILE *to;
    int ok, warnings, failures; /* here */
    int far_failures;
};

enum check_level { CHECK_OK, CHECK_WARN, CHECK_FAIL, CHECK_FAR_FAIL };

/* One finding; below it, what to do: in words, and as a command line to type. */
void check_say(struct check_report *r, enum check_level level, const char *subject,
               const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void check_remedy(struct check_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void check_type(struct check_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* check.c: directory, kind of file system, sub-directories against the kernel's inotify
 * limits (proc: "/proc", or a stand-in with sys/fs/inotify below it); spool and journal. */
void check_watch(const struct config *c, const char *proc, struct check_report *r);
void check_spool(const struct config *c, struct check_report *r);

/* check_codec.c: what is asked of pixels, and what of it has no effect; masks. */
void check_codec(const struct config *c, struct check_report *r);

/* check_line.c */
bool check_host(const struct config *c, struct check_report *r);
bool check_identity(const struct config *c, struct check_report *r);    /* it can be tried */
bool check_known_hosts(const struct config *c, struct check_report *r); /* an entry may fit */
void check_far_end(const struct config *c, struct check_report *r);     /* connects */

#endif
