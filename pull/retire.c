#include "pull/retire.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/flow.h"
#include "pull/intake.h"
#include "pull/job_files.h"

#define GONE "gone/" /* no path of a bundle begins so */

bool retire_is_gone(const struct exposure *x)
{
    return strncmp(x->bundle, GONE, strlen(GONE)) == 0;
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

enum status retire_return(struct agent *a, struct exposure *x, const char *rel,
                          const struct receipt *r, struct fault *why)
{
    struct exposure now;
    intake_from_receipt(rel, r, &now);
    memcpy(x->bundle, now.bundle, sizeof x->bundle);
    memcpy(x->name, now.name, sizeof x->name);
    memcpy(x->bundle_sha256, r->sha256, sizeof x->bundle_sha256);
    x->bundle_size = r->size;
    x->bundle_mtime_ns = 0;
    x->reason[0] = '\0';
    if (x->state == EX_PARKED) {
        x->state = EX_STORED;
        x->attempts = 0;
        x->due_ns = clock_wall();
    }
    enum status st = catalogue_save(a->cat, x, why);
    if (st == ST_OK)
        log_info(AT(.stage = "stored", .exposure = x->name), "%.1f MB, %s: its bundle is back",
                 (double)r->size / 1e6, rel);
    return st;
}
