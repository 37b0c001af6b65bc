/* What early.c (which parts there are), early_ccd.c (their ccds) and early_end.c (how it ends)
 * share. Not for other modules. */
#ifndef SKYFERRY_PULL_EARLY_INNER_H
#define SKYFERRY_PULL_EARLY_INNER_H

#include <stdatomic.h>

#include "common/watch.h"
#include "pull/decoding.h"
#include "pull/early.h"
#include "pull/making.h"
#include "pull/part_view.h"

enum early_step {
    EARLY_SEEN,    /* its members are not all there yet */
    EARLY_DRAFT,   /* with the pool */
    EARLY_DRAFTED, /* waits for its row to be durable */
    EARLY_NAMING,  /* with the pool */
    EARLY_PLACED,
    EARLY_LEFT     /* to the whole bundle */
};

struct early_job;

struct early_ccd {
    struct ccd row;
    enum early_step step;
    bool listed;  /* its member has been met in the part */
    bool dirty;   /* the row is newer than the catalogue's */
    struct early_job *job; /* EARLY_DRAFTED only */
};

/* One part. */
struct coming {
    struct coming *next;
    struct agent *a;
    char part[512];             /* below root, as in the row's `bundle` */
    char name[MEMBER_NAME];     /* what the part is called: the exposure's name */
    struct part_view *view;     /* NULL: the part is gone */
    struct bundle_front front;
    size_t listed;              /* members of front.m looked at */
    struct flight *f;           /* its row; NULL: nothing has been placed */
    char claim[1024];
    struct fits_header primary;
    struct early_ccd *ccds;
    size_t count, room;
    int pending, drafts;        /* jobs with the pool; drafts that have no name yet */
    bool dirty;                 /* look at it again */
    bool whole;                 /* nothing more is begun: the rest waits for the whole bundle */
    bool over;                  /* all is to be withdrawn, for this reason: */
    char reason[256];
    bool distrusted;            /* if the part still grows after that, it is waited for whole */
    bool stored;                /* its receipt is there: */
    char bundle[512];
    struct receipt receipt;
    bool ending;                /* the job that ends it is with the pool */
    bool remove;                /* forget it at the next turn */
    atomic_bool stop;           /* for workers: do not begin */
    struct decoding_tally tally;
    int64_t cpu;
    int unproven;
};

struct early {
    struct watch *watch;
    struct loop_timer *look, *save, *tick;
    int64_t save_at;            /* clock_mono; 0: not set */
    struct coming *first;
    bool store_seen;            /* intake knows all receipts that were there at start */
};

/* ---- early.c ---- */
struct coming *early_add(struct agent *a, const char *part);
void early_part_map(const struct coming *c, char out[PULL_PATH]); /* the map's path */
/* Rows are written and drafts named within so many milliseconds. */
void early_hurry(struct agent *a, int64_t ms);
/* No job is out, or one came back: does an end follow? */
void early_turn(struct coming *c);
void early_withdraw(struct coming *c, const char *reason);

/* ---- early_begin.c ---- */
/* The exposure's row, when nothing speaks against it; else c->whole is true after an OK, too. */
enum status early_begin(struct coming *c, struct fault *why);
/* All that was coming when the agent ended. */
enum status early_resume(struct agent *a, struct fault *why);

/* ---- early_ccd.c ---- */
/* Takes up the members that were met since, and begins the ccds whose members are all there. */
void early_ccds(struct coming *c);
/* Writes what is dirty, then gives the drafts to be named. */
enum status early_save(struct coming *c, struct fault *why);
void early_name(struct coming *c);
/* Drops drafts that wait for their names. */
void early_drop_drafts(struct coming *c);

/* ---- early_end.c ---- */
/* Confirms (stored) or withdraws (over); early_ended follows. No job is out. */
void early_end(struct coming *c);
void early_ended(struct coming *c); /* in early.c */

#endif
