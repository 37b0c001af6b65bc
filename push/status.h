/* `skyferry-push status`: what the journal says of every exposure, for an observer at a
 * terminal or as JSON for programs. Called by main.c with the loaded configuration
 * (needs: NEED_SPOOL only). Opens the journal read-only and writes nothing anywhere, so it
 * may run at any time, beside an agent or without one; prints to standard output, problems
 * to standard error. One thread. */
#ifndef SKYFERRY_PUSH_STATUS_H
#define SKYFERRY_PUSH_STATUS_H

#include <stdbool.h>
#include <stdio.h>

#include "push/journal.h"
#include "push/settings.h"

/* Notes (journal_note) that whoever holds the spool's lock keeps up to date and status shows;
 * any may be missing: */
#define NOTE_MODE "mode"         /* "adaptive", "serial", ...: the policy in force */
#define NOTE_ORDER "order_json"  /* in adaptive mode how it stands, as a JSON object; else "" */
#define NOTE_LANES "lanes_up"    /* "3": connections that are up */
#define NOTE_RTT "rtt_ms"        /* "160": the least round trip seen; "" while not known */
#define NOTE_AUTO "auto"         /* what method = auto chose, and why; "" with another method */
#define NOTE_FIGURES "auto_json" /* the same as a JSON object */
#define NOTE_RATE "rate"         /* the rate limit in force, until when; "" when there is none */
#define NOTE_RATE_FIGURES "rate_json"
#define NOTE_RATE_SAID "rate_said" /* what `skyferry-push rate` said last and was understood */
#define NOTE_TROUBLE "trouble"   /* why no connection is up, or why shipping pauses; "" */

struct status_options {
    const char *const *names; /* exposures, file names or paths to show; NULL: the newest
                                 (table), all (JSON) */
    int name_count;
    bool json;
    bool watch;               /* draw again every second until SIGINT or SIGTERM; with json
                                 one object a line and second */
};

/* EXIT_DONE; EXIT_FAILED when the journal cannot be read or standard output not written (said
 * on standard error), or when a name that was given matches no exposure. No journal yet is no
 * failure: nothing has been seen. Needs no signal set-up by the caller: during --watch
 * SIGINT and SIGTERM end it with EXIT_DONE; the signal mask is put back. */
int status_command(const struct config *c, const struct status_options *o);

/* ---- the parts, for tests and for other commands ---- */

struct agent_seen {
    bool running;
    long pid;
    char mode[16], lanes_up[8], rtt_ms[8], trouble[512]; /* "" when nothing runs, or it has not said */
    char choice[400], figures[600];           /* likewise */
    char rate[200], rate_figures[300];
    char order[160];
};
/* Is it behind, and with what figures? False when that is not known. */
bool status_order(const struct agent_seen *agent, bool *behind, struct order_load *out);
/* What status_order reads. */
void status_order_note(bool behind, const struct order_load *l, char *out, size_t size);

/* Does somebody hold the spool's lock (spool_holder), and what did it note? j may be NULL. */
void status_agent(const char *spool, struct journal *j, struct agent_seen *out);

/* What could go now, in the order in which it goes as far as the journal tells: the agent knows
 * better how far the line is. items is malloc'ed. */
enum status status_queue(const struct config *c, struct journal *j, const struct agent_seen *agent,
                         struct order_queue *out, struct fault *why);

/* One picture. */
struct status_picture {
    struct journal *journal; /* NULL: there is none yet */
    struct agent_seen agent;
    const struct status_options *options;
    int64_t now_ns;          /* the wall clock */
    int rows;                /* the newest so many in the table */
    bool *matched;           /* name_count of them: set where a name was found */
    struct order_queue queue;
};
/* Lines of at most 79 columns (but for a command with a long name in it), or one JSON object
 * on one line, see skyferry-push(1). The grade is the journal's. */
enum status status_table(const struct status_picture *p, FILE *to, struct fault *why);
enum status status_json(const struct status_picture *p, FILE *to, struct fault *why);

/* Is e one of the names asked for? True for every e when there are none. */
bool status_wanted(const struct status_picture *p, const struct exposure *e);

/* Its place in the queue; NULL: it has none. */
const struct order_item *status_place(const struct status_picture *p, const struct exposure *e);

/* How exact the far end's copy of a delivery is: "exact", "lossy", "gone" (lossy, and the file is
 * no longer there), or how far its exact data have come: "ready", "sending", "parked"; "" while
 * nothing is delivered or known. */
const char *status_exact(const struct exposure *e);

/* A name made to fit `width` columns: its middle gives way to a '~'. */
void status_shorten(const char *name, int width, char *out, size_t size);

#endif
