#include "pull/retire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/flow.h"
#include "pull/intake.h"
#include "pull/job_files.h"

#define GONE "gone/" /* no path of a bundle begins so */
#define TWIN "it holds the same source file (SHA-256) as " /* so begins a refused twin's reason */

bool retire_is_gone(const struct exposure *x)
{
    return strncmp(x->bundle, GONE, strlen(GONE)) == 0;
}

bool retire_is_lost(const struct agent *a, const struct exposure *x)
{
    char path[PULL_PATH];
    struct stat st;
    pull_path(&a->s, x->bundle, path);
    if (lstat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR;
    return !S_ISREG(st.st_mode) || st.st_size != x->bundle_size;
}

bool retire_can(const struct agent *a, const struct exposure *x)
{
    return !flow_is_flying(a, x->id) &&
           (x->state == EX_STORED || x->state == EX_DONE || x->state == EX_PARKED);
}

/* "jobs/NIGHT/NAME/": where the exposure's jobs are. */
static enum status jobs_below(const struct exposure *x, char out[PULL_PATH], struct fault *why)
{
    enum status st = job_folder(x, 1, out, PULL_PATH, why);
    if (st == ST_OK)
        *strrchr(out, '/') = '\0';
    return st;
}

/* What an old job has left must not be taken for the newcomer's. */
static enum status move_jobs(struct agent *a, const char *from, const char *to, struct fault *why)
{
    char old[PULL_PATH], new[PULL_PATH];
    pull_path(&a->s, from, old);
    pull_path(&a->s, to, new);
    return access(old, F_OK) == 0 ? fs_rename(old, new, why) : ST_OK;
}

static enum status write_rows(struct agent *a, const struct exposure *x, const char *from,
                              const char *to, struct fault *why)
{
    enum status st = catalogue_begin(a->cat, why);
    if (st != ST_OK)
        return st;
    st = catalogue_move_jobs(a->cat, x->id, from, to, why);
    if (st == ST_OK)
        st = catalogue_save(a->cat, x, why);
    if (st == ST_OK)
        return catalogue_commit(a->cat, why);
    catalogue_rollback(a->cat);
    return st;
}

enum status retire_exposure(struct agent *a, struct exposure *x, struct fault *why)
{
    char from[PULL_PATH], to[PULL_PATH], end[32];
    struct exposure was = *x;
    snprintf(end, sizeof end, "~gone%lld", (long long)x->id);
    snprintf(x->name, sizeof x->name, "%.*s%s", (int)(sizeof x->name - strlen(end) - 1), was.name,
             end);
    pull_text(x->bundle, sizeof x->bundle, GONE "%lld/%s.tar", (long long)x->id, was.name);
    snprintf(x->reason, sizeof x->reason, "its bundle '%.300s' was moved away, and the name is "
             "another exposure's now", was.bundle);
    if (x->state == EX_STORED)
        x->state = EX_PARKED;
    enum status st = jobs_below(&was, from, why);
    if (st == ST_OK)
        st = jobs_below(x, to, why);
    if (st == ST_OK)
        st = move_jobs(a, from, to, why);
    crash_point("pull:jobs-moved");
    if (st == ST_OK)
        st = write_rows(a, x, from, to, why);
    if (st == ST_OK)
        log_warn(AT(.stage = "intake", .exposure = was.name), "%s is another exposure's bundle now: "
                 "what is known of the earlier one stays in the catalogue as %s", was.bundle, x->name);
    return st;
}

/* Its jobs' folder goes by its name, which may be another exposure's soon. */
static enum status take_jobs(struct agent *a, const struct exposure *was, const struct exposure *x,
                             struct fault *why)
{
    char from[PULL_PATH], to[PULL_PATH], old[PULL_PATH], new[PULL_PATH];
    enum status st = jobs_below(was, from, why);
    if (st == ST_OK)
        st = jobs_below(x, to, why);
    if (st != ST_OK)
        return st;
    pull_path(&a->s, from, old);
    pull_path(&a->s, to, new);
    if (strcmp(from, to) == 0 || (access(old, F_OK) == 0 && access(new, F_OK) == 0))
        return catalogue_save(a->cat, x, why);
    st = move_jobs(a, from, to, why);
    return st == ST_OK ? write_rows(a, x, from, to, why) : st;
}

/* x gets the bundle of `now`, and its name. */
static enum status take_bundle(struct agent *a, struct exposure *x, const struct exposure *now,
                               struct fault *why)
{
    struct exposure was = *x;
    memcpy(x->bundle, now->bundle, sizeof x->bundle);
    memcpy(x->name, now->name, sizeof x->name);
    memcpy(x->bundle_sha256, now->bundle_sha256, sizeof x->bundle_sha256);
    x->bundle_size = now->bundle_size;
    x->bundle_mtime_ns = now->bundle_mtime_ns;
    if (x->state == EX_PARKED || retire_is_gone(&was))
        x->reason[0] = '\0';
    if (x->state == EX_PARKED) {
        x->state = EX_STORED;
        x->attempts = 0;
        x->due_ns = clock_wall();
    }
    enum status st = take_jobs(a, &was, x, why);
    if (st == ST_OK)
        log_info(AT(.stage = "stored", .exposure = x->name), "%.1f MB, %s: its bundle is back%s%s",
                 (double)x->bundle_size / 1e6, x->bundle, retire_is_gone(&was) ? "" :
                 "; missing or cut short: ", retire_is_gone(&was) ? "" : was.bundle);
    return st;
}

enum status retire_return(struct agent *a, struct exposure *x, const char *rel,
                          const struct receipt *r, struct fault *why)
{
    struct exposure now;
    intake_from_receipt(rel, r, &now);
    return take_bundle(a, x, &now, why);
}

/* ---- twins ---- */

/* x is no exposure of its own any more, but its twin's bundle. */
static enum status give(struct agent *a, const struct exposure *x, struct exposure *twin,
                        struct fault *why)
{
    enum status st = catalogue_begin(a->cat, why);
    if (st != ST_OK)
        return st;
    st = catalogue_remove(a->cat, x->id, why);
    if (st == ST_OK)
        st = take_bundle(a, twin, x, why);
    if (st == ST_OK)
        return catalogue_commit(a->cat, why);
    catalogue_rollback(a->cat);
    return st;
}

/* Only what is no more than a bundle can be another's: nothing is placed from it. */
static bool fits(const struct exposure *x, const struct exposure *twin)
{
    return x->ccds == 0 && x->jobs == 0 && (x->exact == EXACT_NO) == (twin->exact == EXACT_NO);
}

enum status retire_twin(struct agent *a, const struct exposure *x, bool *given, struct fault *why)
{
    struct exposure twin;
    bool found;
    enum status st = catalogue_by_source(a->cat, x, &twin, &found, why);
    /* A parked row that has become a bundle keeps its early number. */
    if (st != ST_OK || !found ||
        (twin.id > x->id && (twin.placed == 0 || x->placed > 0)))
        return st;
    if (!retire_is_lost(a, &twin))
        return fault(why, ST_REJECT, TWIN "%s, which is catalogued: nothing is lost, remove '%s'",
                     twin.bundle, x->bundle);
    if (!fits(x, &twin))
        return fault(why, ST_REJECT, TWIN "%s, which is catalogued, but missing or cut short there: "
                     "keep '%s'", twin.bundle, x->bundle);
    if (!retire_can(a, &twin))
        return fault(why, ST_WAIT, TWIN "%s, which is missing or cut short, and whose exposure is "
                     "being worked on", twin.bundle);
    st = give(a, x, &twin, why);
    *given = st == ST_OK;
    return st;
}

enum status retire_parked_twin(struct agent *a, const struct exposure *x, struct fault *why)
{
    struct exposure twin;
    bool found;
    if (x->state != EX_PARKED || strncmp(x->reason, TWIN, strlen(TWIN)) != 0 || !retire_can(a, x))
        return ST_OK;
    enum status st = catalogue_by_source(a->cat, x, &twin, &found, why);
    if (st != ST_OK || !found || !fits(x, &twin) || !retire_can(a, &twin) ||
        !retire_is_lost(a, &twin))
        return st;
    return give(a, x, &twin, why);
}
