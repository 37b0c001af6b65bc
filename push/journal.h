/* The journal: every exposure that push knows, and how far it has come (SQLite, in the
 * spool directory). What it says after a crash is what holds: a step is written here
 * before anything relies on it. The agent's main thread writes the rows; commands
 * (send, sweep, retry, status) open the same file beside it and only add rows, ask for
 * them, or put them back to the start. One handle a thread. */
#ifndef SKYFERRY_JOURNAL_H
#define SKYFERRY_JOURNAL_H

#include "common/db.h"
#include "push/exposure.h"
#include "push/order.h"

struct journal;

#define JOURNAL_NAME "journal.db"

/* Opens SPOOL/journal.db, making it unless read_only. */
enum status journal_open(const char *spool, bool read_only, struct journal **out,
                         struct fault *why);
void journal_close(struct journal **j);

/* Everything written between the two becomes durable together, at the end. */
enum status journal_begin(struct journal *j, struct fault *why);
enum status journal_commit(struct journal *j, struct fault *why);
void journal_rollback(struct journal *j); /* or not at all */

/* ---- one row; *found says whether there is one ---- */

enum status journal_get(struct journal *j, int64_t id, struct exposure *out, bool *found,
                        struct fault *why);
/* The newest row of a path; here and below that of its delivery, never of its exact data. */
enum status journal_by_path(struct journal *j, const char *path, struct exposure *out,
                            bool *found, struct fault *why);
/* The row of exactly this version of a path. */
enum status journal_by_version(struct journal *j, const char *path, const struct identity *file,
                               struct exposure *out, bool *found, struct fault *why);

/* Adds a row and sets e->id. REJECT when this version of this path has one already (one for its
 * delivery, one for its exact data). */
enum status journal_add(struct journal *j, struct exposure *e, struct fault *why);
/* Writes all of e but path, name, origin and request, which belong to the askers.
 * REJECT when e->file is now a version that another row has. */
enum status journal_save(struct journal *j, const struct exposure *e, struct fault *why);
enum status journal_remove(struct journal *j, int64_t id, struct fault *why);
/* This row is asked for by a command. */
enum status journal_ask(struct journal *j, int64_t id, enum exposure_origin origin,
                        int64_t request, struct fault *why);

/* ---- many rows ---- */

typedef bool journal_fn(void *ctx, const struct exposure *e);

/* Up to `limit` rows in this state that are due, newest file first. request 0: all. A row
 * that is due absurdly late (the clock was set back) counts as due. */
enum status journal_due(struct journal *j, enum exposure_state state, int64_t request, int limit,
                        journal_fn *fn, void *ctx, struct fault *why);
/* The values by which the next is chosen, of all due rows that are ready or sending, those of one
 * exposure's files as one; the camera knows the calibrations. The array is malloc'ed. */
struct order_queue {
    struct order_item *items;
    size_t count;
};
enum status journal_candidates(struct journal *j, int64_t request, const struct camera *camera,
                               struct order_queue *out, struct fault *why);
/* One exposure came every so many seconds lately, by the times of their (first) files, or none for
 * longer than that; 0: not known. Without those of a sweep, and where an exposure is several files
 * without those that are not to be shipped. */
enum status journal_cadence(struct journal *j, const struct camera *camera, int64_t now_ns,
                            double *seconds, struct fault *why);
/* DATE-OBS, or where that is unknown the file's time, of the youngest delivered lately; INT64_MIN:
 * none. Likewise without those of a sweep. */
enum status journal_youngest(struct journal *j, int64_t *date_ns, struct fault *why);
/* Bytes of a bundle over those of its file, of the last few; 0: not known. */
enum status journal_shrink(struct journal *j, double *share, struct fault *why);
/* The earliest due_ns after after_ns, when the rows were last looked at, of a row that is neither
 * done nor parked; INT64_MAX: none. */
enum status journal_next_due(struct journal *j, int64_t after_ns, int64_t request, int64_t *due_ns,
                             struct fault *why);
/* Nothing waits any longer: for the start of the agent. */
enum status journal_all_due(struct journal *j, struct fault *why);
/* What is ready waits no longer: there is room again. */
enum status journal_ready_due(struct journal *j, struct fault *why);
/* Newest first, the first `limit` (0: all), of one state (-1: of all), of one request (0: of
 * all). Rows of exact data are among them unless all of both are asked for. */
enum status journal_list(struct journal *j, int state, int64_t request, int limit, journal_fn *fn,
                         void *ctx, struct fault *why);
/* How many rows, and bytes of their files, are in each state. request 0: all deliveries,
 * without the rows of exact data. */
struct journal_counts {
    int64_t rows[EXPOSURE_STATES], bytes[EXPOSURE_STATES];
};
enum status journal_count(struct journal *j, int64_t request, struct journal_counts *out,
                          struct fault *why);
/* The same of one state, where there is a reason to tell; the files of an exposure that have the same
 * one as one: the newest of them, and how many they are. */
typedef bool journal_told_fn(void *ctx, const struct exposure *e, int64_t files);
enum status journal_tell(struct journal *j, int state, int limit, journal_told_fn *fn, void *ctx,
                         struct fault *why);
/* Parked rows of this name ("" : all; or of this exposure of several files) go back to the start
 * (of exact data: are ready again); *count says how many. */
enum status journal_unpark(struct journal *j, const char *name, int64_t *count,
                           struct fault *why);

/* ---- exposures of several files (journal_group.c) ---- */

struct journal_group {
    unsigned char has[CAMERA_CCD_MAX + 1]; /* a file of this ccd is whole */
    bool released;     /* some of it was given free, or shipped, before; not by `send` */
    int64_t newest_ns; /* when the last of its files was found whole */
};
enum status journal_group(struct journal *j, const char *group, struct journal_group *out,
                          struct fault *why);
/* Two files hold the same ccd of it: which, and where they lie. */
struct journal_twice {
    int ccd; /* 0: none is there twice */
    char path[2][4096];
};
enum status journal_group_twice(struct journal *j, const char *group, struct journal_twice *out,
                                struct fault *why);
/* All of its files that wait are ready at once, those parked for want of the others as well;
 * `coming` is noted with each of them (group_coming). */
enum status journal_group_release(struct journal *j, const char *group, int coming,
                                  struct fault *why);
/* Those files, one after the other, until fn returns false. */
enum status journal_group_waiting(struct journal *j, const char *group, journal_fn *fn, void *ctx,
                                  struct fault *why);
/* They wait on, not looked at before due_ns; or are parked. Not those that were named to `send`. */
enum status journal_group_wait(struct journal *j, const char *group, int64_t due_ns,
                               const char *reason, struct fault *why);
enum status journal_group_park(struct journal *j, const char *group, const char *reason,
                               struct fault *why);
/* Is any file that was seen before then not yet known to be whole, so that it may be one of them? */
enum status journal_group_may_grow(struct journal *j, int64_t request, int64_t before_ns, bool *may,
                                   struct fault *why);
/* Of its files that are stored: the bytes of their bundles, and when the line got the first. */
struct journal_gone {
    double bytes;
    int64_t first_ns; /* 0: not known */
};
enum status journal_group_gone(struct journal *j, const char *group, struct journal_gone *out,
                               struct fault *why);
/* Its files that are among the candidates, ccd by ccd, until fn returns false. */
struct journal_file {
    int64_t id, bytes, bundle_bytes;
};
typedef bool journal_file_fn(void *ctx, const struct journal_file *file);
enum status journal_group_files(struct journal *j, const char *group, int64_t request,
                                journal_file_fn *fn, void *ctx, struct fault *why);
/* What was skipped is looked at again. */
enum status journal_unskip(struct journal *j, struct fault *why);
/* By another profile: likewise, and what waits or is parked for want of its exposure's other files,
 * of whatever exposure; `unread`: also what was parked because it was not found whole. */
enum status journal_regroup(struct journal *j, bool unread, struct fault *why);

/* ---- exact data that follow a lossy delivery (rows with e->exact) ---- */

/* The row of the exact data of this version. */
enum status journal_exact_of(struct journal *j, const struct exposure *e, struct exposure *out,
                             bool *found, struct fault *why);
/* The newest delivery that was lossy and has no row of exact data yet. */
enum status journal_owed(struct journal *j, struct exposure *out, bool *found, struct fault *why);
/* This row of exact data is stored: their delivery is exact now. */
enum status journal_exact_came(struct journal *j, const struct exposure *e, struct fault *why);
/* Does any row of exact data wait, or is under way? */
enum status journal_exact_waits(struct journal *j, bool *waits, struct fault *why);
/* The far end has lost them: a row of this version that is done or parked is void. */
enum status journal_exact_forget(struct journal *j, const struct exposure *e, struct fault *why);
/* Rows that wait for an idle line, which nobody asked for, are dropped. */
enum status journal_exact_drop(struct journal *j, struct fault *why);
/* Is any exposure not delivered yet, and not parked? */
enum status journal_busy(struct journal *j, bool *busy, struct fault *why);

/* Of all deliveries that are made: */
struct journal_exactness {
    int64_t delivered;
    int64_t exact;     /* the far end holds them bit for bit */
    int64_t under_way, parked; /* of the others: their exact data's row */
    int64_t gone;      /* lossy for good: the file is no longer there */
    int64_t followed;  /* have a row of exact data in any state */
};
enum status journal_exactness(struct journal *j, struct journal_exactness *out, struct fault *why);

/* ---- beside the rows ---- */

/* The SHA-256 of this version of a file, from a row or from an earlier journal_digest_put;
 * sha256[0] is '\0' when it is not known. */
enum status journal_digest(struct journal *j, const char *path, const struct identity *file,
                           char sha256[DIGEST_HEX], struct fault *why);
enum status journal_digest_put(struct journal *j, const char *path, const struct identity *file,
                               const char *sha256, struct fault *why);

/* Small facts about the running agent that status and send want to know ("mode", "lanes_up",
 * ...). A missing note reads as "". */
enum status journal_note(struct journal *j, const char *key, const char *value,
                         struct fault *why);
void journal_noted(struct journal *j, const char *key, char *out, size_t size);

#endif
