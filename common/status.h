/* Graded failures. Every step of either agent reports how it ended by saying
 * what its caller should do next; the stage engine alone (common/stage.h)
 * turns that into a new state. The words go into a struct fault, once, where
 * the cause is known; the callers above hand both upward unchanged. */
#ifndef SKYFERRY_STATUS_H
#define SKYFERRY_STATUS_H

enum status {
    ST_OK = 0,  /* done */
    ST_WAIT,    /* not yet: ask again later; no attempt is counted */
    ST_RETRY,   /* transient: back off and try again; an attempt is counted */
    ST_REJECT,  /* this item can never pass: park it with the reason */
    ST_FATAL    /* the agent itself must stop (its own disk, its own database) */
};

/* Why a call did not return ST_OK, in words for an observer: what happened, to
 * which file, exposure or ccd, and what to do. Owned by the caller, no pointers. */
struct fault {
    enum status grade;
    char text[512];
};

/* Fills *why (which may be NULL) and returns grade, so that a failing function
 * ends with `return fault(why, ST_RETRY, "...", ...)`. Long texts are cut. */
enum status fault(struct fault *why, enum status grade, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of errno appended. */
enum status fault_errno(struct fault *why, enum status grade, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts words in front of the text already in *why ("ccd 17: ..."); returns why->grade. */
enum status fault_within(struct fault *why, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* "ok", "wait", "retry", "reject", "fatal". */
const char *status_name(enum status s);

/* Exit status of every command, for scripts and cron. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,       /* wrong usage or configuration */
    EXIT_INCOMPLETE = 3,  /* not everything delivered or valid */
    EXIT_UNREACHABLE = 4  /* the far end cannot be reached */
};

#endif
