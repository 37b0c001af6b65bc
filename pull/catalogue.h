/* The catalogue: one SQLite file (common/db.h) that knows every exposure, ccd and job of a
 * store; `rebuild` can make it again from the tree. Typed rows only, no SQL outside. The
 * daemon's main thread writes; other commands open it read-only, or write a request that
 * the daemon takes up. Structs are copied in and out; texts are UTF-8 as they came. */
#ifndef SKYFERRY_PULL_CATALOGUE_H
#define SKYFERRY_PULL_CATALOGUE_H

#include <stddef.h>

#include "pull/exposure.h"

struct catalogue;

enum status catalogue_open(const char *path, bool read_only, struct catalogue **out,
                           struct fault *why);
void catalogue_close(struct catalogue **c);
/* Tells this catalogue from any other, also from one rebuilt for the same store, and from an older
 * copy of itself. */
struct catalogue_identity {
    char id[33];
    int64_t term; /* how often an agent was started with it */
};
enum status catalogue_identity(struct catalogue *c, struct catalogue_identity *out,
                               struct fault *why);
enum status catalogue_set_term(struct catalogue *c, int64_t term, struct fault *why);

/* One transaction; nested calls join the outer one. */
enum status catalogue_begin(struct catalogue *c, struct fault *why);
enum status catalogue_commit(struct catalogue *c, struct fault *why);
void catalogue_rollback(struct catalogue *c);

/* ---- exposures ---- */

/* Inserts x and sets its id; REJECT when its bundle is catalogued already. */
enum status catalogue_add(struct catalogue *c, struct exposure *x, struct fault *why);
/* Writes all of x but its id and counts. */
enum status catalogue_save(struct catalogue *c, const struct exposure *x, struct fault *why);
/* One exposure; *found says whether there is one. */
enum status catalogue_get(struct catalogue *c, int64_t id, struct exposure *x, bool *found,
                          struct fault *why);
enum status catalogue_by_bundle(struct catalogue *c, const char *bundle, struct exposure *x,
                                bool *found, struct fault *why);
/* Another exposure of the same source file, neither parked nor still coming. */
enum status catalogue_by_source(struct catalogue *c, const struct exposure *like,
                                struct exposure *x, bool *found, struct fault *why);

/* Is there any exposure of this source file, in whatever state? */
enum status catalogue_knows_source(struct catalogue *c, const char *source_sha256, bool *known,
                                   struct fault *why);
/* The exposure (none that is still coming) made from this source file whose name is `root` or
 * root~N; one that is not parked, if there is one. */
enum status catalogue_pair(struct catalogue *c, const char *source_sha256, const char *root,
                           struct exposure *x, bool *found, struct fault *why);

/* Which ones: NULL, 0 and -1 choose all. Newest first, or in order of arrival. */
enum catalogue_rows {
    ROWS_EXPOSURES, /* a visit is one, its files are none; but a name chooses any */
    ROWS_BUNDLES,   /* whatever has a bundle: no visits, but their files */
    ROWS_ALL
};
struct catalogue_pick {
    const char *name;      /* "NAME", "NIGHT/NAME", with or without ".tar" */
    const char *night;
    unsigned states;       /* mask of 1 << enum exposure_state; 0: all */
    int64_t due_ns;        /* > 0: due by then */
    int limit;             /* <= 0: all */
    bool oldest_first;
    bool by_age;           /* newest first by when push noticed them; for one state */
    enum catalogue_rows rows;
    int64_t visit;         /* only the files of this visit, whatever `rows` says */
};
typedef bool exposure_fn(void *ctx, const struct exposure *x); /* false: enough */
enum status catalogue_each(struct catalogue *c, const struct catalogue_pick *p, exposure_fn *fn,
                           void *ctx, struct fault *why);
/* Stored ones that wait, and not after a failure, are due now. */
enum status catalogue_hurry_stored(struct catalogue *c, struct fault *why);
/* The earliest due_ns of those states after `after`; 0 when there is none. */
enum status catalogue_next_due(struct catalogue *c, unsigned states, int64_t after, int64_t *due,
                               struct fault *why);
/* Sets ccds, placed, jobs, jobs_done and faults from the rows below; its visit's likewise. */
enum status catalogue_count(struct catalogue *c, int64_t exposure, struct fault *why);
/* Forgets the exposure itself with all its rows. */
enum status catalogue_remove(struct catalogue *c, int64_t exposure, struct fault *why);
/* Forgets the exposure's ccds, jobs and figures. */
enum status catalogue_clear(struct catalogue *c, int64_t exposure, struct fault *why);

/* Forgets the exposure's jobs; its ccds are in none then. */
enum status catalogue_clear_jobs(struct catalogue *c, int64_t exposure, struct fault *why);

/* ---- bundles beside the exposures' own ---- */

/* Adds it, or gives it a new role. */
enum status catalogue_put_bundle(struct catalogue *c, const struct other_bundle *b,
                                 struct fault *why);
enum status catalogue_drop_bundle(struct catalogue *c, const char *path, struct fault *why);
enum status catalogue_get_bundle(struct catalogue *c, const char *path, struct other_bundle *b,
                                 bool *found, struct fault *why);
typedef bool bundle_fn(void *ctx, const struct other_bundle *b);
/* In order of arrival. ready: only those next ones whose exposure rests (stored, done or
 * parked), and those former ones whose exposure is exact. */
enum status catalogue_bundles(struct catalogue *c, enum bundle_role role, bool ready, bundle_fn *fn,
                              void *ctx, struct fault *why);

/* ---- ccds ---- */

/* Inserts (id 0; sets it) or updates. */
enum status catalogue_put_ccd(struct catalogue *c, struct ccd *one, struct fault *why);
enum status catalogue_drop_ccd(struct catalogue *c, int64_t ccd_id, struct fault *why);
/* All ccds of an exposure (of a visit: of its files) by ccd number and HDU, placed ones first; *out
 * is malloc'ed. */
enum status catalogue_ccds(struct catalogue *c, int64_t exposure, struct ccd **out, size_t *count,
                           struct fault *why);
/* Which exposure's placed ccd has this path, or is about to have it (see made_from in
 * pull/exposure.h); *exposure is 0 when none has. */
enum status catalogue_path_owner(struct catalogue *c, const char *path, int64_t *exposure,
                                 struct fault *why);
/* Another exposure than `but` whose jobs are to place a ccd there; 0 when there is none. */
enum status catalogue_path_awaited(struct catalogue *c, const char *path, int64_t but,
                                   int64_t *exposure, struct fault *why);
enum status catalogue_put_quality(struct catalogue *c, int64_t ccd_id, const struct quality *q,
                                  struct fault *why);

/* ---- visits (pull/visit.h) ---- */

enum status catalogue_visit(struct catalogue *c, const char *night, const char *name,
                            struct exposure *x, bool *found, struct fault *why);
/* How far its files are. */
struct visit_tally {
    int files;
    int rest;     /* different ccds that are placed, or parked */
    int moving;   /* files that are stored and not yet placed */
    bool mixed;   /* exact data of some have taken the place of lossy ones, of others not */
    int64_t newest_ns; /* when the last of them came */
};
enum status catalogue_visit_tally(struct catalogue *c, int64_t visit, struct visit_tally *out,
                                  struct fault *why);
/* Counts, sizes and stamps of a visit (or a file's visit) from its files; else nothing. */
enum status catalogue_visit_count(struct catalogue *c, int64_t exposure, struct fault *why);
/* One of its files is gone: counted anew, and gone as well if that was all there was of it. */
enum status catalogue_visit_left(struct catalogue *c, int64_t visit, struct fault *why);
/* Its files that wait for its jobs look again. */
enum status catalogue_visit_wake(struct catalogue *c, int64_t visit, struct fault *why);

/* ---- jobs ---- */

enum status catalogue_put_job(struct catalogue *c, struct job *one, struct fault *why);
enum status catalogue_get_job(struct catalogue *c, int64_t id, struct job *out, bool *found,
                              struct fault *why);
typedef bool job_fn(void *ctx, const struct job *j);
/* Jobs of one exposure by number (exposure > 0), or of all in a state, oldest first. */
enum status catalogue_jobs_of(struct catalogue *c, int64_t exposure, job_fn *fn, void *ctx,
                              struct fault *why);
enum status catalogue_jobs_in(struct catalogue *c, enum job_state state, job_fn *fn, void *ctx,
                              struct fault *why);
/* The newest `limit` (<= 0: all) of a state, newest first; night NULL: of any. */
enum status catalogue_jobs_newest(struct catalogue *c, enum job_state state, const char *night,
                                  int limit, job_fn *fn, void *ctx, struct fault *why);
/* Waiting jobs of exposures that work on them: the newest exposure (as by_age) first, by number. */
enum status catalogue_jobs_next(struct catalogue *c, job_fn *fn, void *ctx, struct fault *why);
enum status catalogue_next_job_due(struct catalogue *c, int64_t after, int64_t *due,
                                   struct fault *why);

/* Folders of the exposure's jobs that begin with `from` begin with `to`. */
enum status catalogue_move_jobs(struct catalogue *c, int64_t exposure, const char *from,
                                const char *to, struct fault *why);

/* What waits for its next attempt waits no longer. */
enum status catalogue_hurry_jobs(struct catalogue *c, struct fault *why);

/* ---- what is held back ---- */

/* Notes that one of `what` (enum pausable) begins now; forgets what began a minute ago. */
enum status catalogue_note_begun(struct catalogue *c, int what, int64_t now_ns, struct fault *why);
enum status catalogue_forget_begun(struct catalogue *c, int what, struct fault *why);
/* Those noted since `since` and up to `now`, oldest first. */
typedef bool moment_fn(void *ctx, int64_t at_ns);
enum status catalogue_begun(struct catalogue *c, int what, int64_t since, int64_t now,
                            moment_fn *fn, void *ctx, struct fault *why);
/* What waits for its next attempt does not count. */
struct waiting_counts {
    int64_t stored;    /* exposures to be unpacked, or being unpacked; */
    int64_t fresh;     /* of these: nobody has looked into them yet */
    int64_t with_jobs; /* exposures that have jobs that wait */
};
enum status catalogue_waiting(struct catalogue *c, int64_t now_ns, struct waiting_counts *out,
                              struct fault *why);

/* ---- requests: what another process asks of the daemon ---- */

enum request_verb { ASK_REPROCESS, ASK_RETRY };
struct request {
    int64_t id, exposure;
    enum request_verb verb;
    bool force;
};
enum status catalogue_ask(struct catalogue *c, int64_t exposure, enum request_verb verb,
                          bool force, struct fault *why);
typedef bool request_fn(void *ctx, const struct request *r);
enum status catalogue_requests(struct catalogue *c, request_fn *fn, void *ctx, struct fault *why);
enum status catalogue_answered(struct catalogue *c, int64_t request, struct fault *why);
/* Does a request for this exposure still wait? */
enum status catalogue_is_asked(struct catalogue *c, int64_t exposure, bool *asked,
                               struct fault *why);
/* Is any of these still asked for, or neither done nor parked? One query, whatever their number. */
enum status catalogue_any_busy(struct catalogue *c, const int64_t *ids, size_t count, bool *busy,
                               struct fault *why);

const char *exposure_state_name(enum exposure_state s);
const char *ccd_state_name(enum ccd_state s);
const char *job_state_name(enum job_state s);

#endif
