#include "pull/renew.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/fsutil.h"
#include "common/log.h"
#include "pull/flow.h"
#include "pull/gate.h"
#include "pull/job.h"
#include "pull/request.h"
#include "pull/retire.h"

#define AT_A_TIME 64 /* the rest follows at the next look */

/* ---- a bundle comes ---- */

bool renew_pairs(const struct exposure *x, const struct receipt *r)
{
    size_t root = strlen(r->name);
    bool named = strncmp(x->name, r->name, root) == 0 &&
                 (x->name[root] == '\0' || x->name[root] == '~');
    return named && strcmp(x->source_sha256, r->source_sha256) == 0 &&
           r->exact == (x->exact == EXACT_NO);
}

void renew_bundle(const char *rel, const struct receipt *r, int64_t exposure,
                  struct other_bundle *out)
{
    *out = (struct other_bundle){.exposure = exposure, .size = r->size,
                                 .role = r->exact ? BUNDLE_NEXT : BUNDLE_FORMER,
                                 .stored_ns = r->stored_ns};
    snprintf(out->path, sizeof out->path, "%s", rel);
    memcpy(out->sha256, r->sha256, sizeof out->sha256);
}

enum status renew_notice(struct agent *a, const char *rel, const struct receipt *r, bool *taken,
                         struct fault *why)
{
    struct other_bundle b;
    struct exposure x;
    bool found = false;
    enum status st = catalogue_get_bundle(a->cat, rel, &b, taken, why);
    if (st != ST_OK || *taken)
        return st;
    st = catalogue_pair(a->cat, r->source_sha256, r->name, &x, &found, why);
    if (st != ST_OK || !found || strcmp(x.bundle, rel) == 0)
        return st;
    if (retire_is_lost(a, &x) && r->exact == (x.exact != EXACT_NO)) {
        *taken = true; /* when it rests, at a later rescan */
        st = retire_can(a, &x) ? retire_return(a, &x, rel, r, why) : ST_OK;
        agent_poke(a);
        return st;
    }
    if (!renew_pairs(&x, r))
        return st;
    renew_bundle(rel, r, x.id, &b);
    st = catalogue_put_bundle(a->cat, &b, why);
    if (st != ST_OK)
        return st;
    *taken = true;
    crash_point("pull:exactnoticed");
    log_info(AT(.stage = "stored", .exposure = x.name), "%s, %.1f MB: %s", r->exact
             ? "its exact data have come" : "its lossy data came after the exact ones",
             (double)r->size / 1e6, rel);
    agent_poke(a);
    return ST_OK;
}

/* ---- its turn ---- */

struct batch {
    struct other_bundle items[AT_A_TIME];
    size_t count;
};

static bool note(void *ctx, const struct other_bundle *b)
{
    struct batch *all = ctx;
    all->items[all->count++] = *b;
    return all->count < AT_A_TIME;
}

void renew_swap(struct exposure *x, const struct other_bundle *next, struct other_bundle *former)
{
    *former = (struct other_bundle){.exposure = x->id, .role = BUNDLE_FORMER,
                                    .size = x->bundle_size,
                                    .stored_ns = x->stamp[STAMP_STORED]};
    memcpy(former->path, x->bundle, sizeof former->path);
    memcpy(former->sha256, x->bundle_sha256, sizeof former->sha256);
    memcpy(x->bundle, next->path, sizeof x->bundle);
    memcpy(x->bundle_sha256, next->sha256, sizeof x->bundle_sha256);
    x->bundle_size = next->size;
    x->bundle_mtime_ns = 0;
    x->exact = EXACT_COMING;
}

static enum status write_swap(struct agent *a, struct exposure *x, const struct other_bundle *next,
                              struct fault *why)
{
    struct other_bundle former;
    renew_swap(x, next, &former);
    x->state = EX_STORED;
    x->attempts = 0;
    x->due_ns = clock_wall();
    x->reason[0] = '\0';
    enum status st = catalogue_drop_bundle(a->cat, next->path, why);
    /* Something that was no bundle at all is nothing to remember. */
    if (st == ST_OK && former.sha256[0])
        st = catalogue_put_bundle(a->cat, &former, why);
    if (st == ST_OK)
        st = requests_retry_ccds(a, x->id, why); /* now of the exact bundle */
    if (st == ST_OK)
        st = catalogue_save(a->cat, x, why);
    return st == ST_OK ? catalogue_count(a->cat, x->id, why) : st;
}

/* Jobs at work still read the lossy files: those are left to them. */
static bool rests(const struct agent *a, const struct exposure *x)
{
    return !flow_is_flying(a, x->id) && agent_is_chosen(a, x->id) &&
           (x->state == EX_STORED || x->state == EX_DONE || x->state == EX_PARKED);
}

static enum status take_up(struct agent *a, const struct other_bundle *next, struct fault *why)
{
    struct exposure x;
    bool found = false;
    enum status st = catalogue_get(a->cat, next->exposure, &x, &found, why);
    if (st != ST_OK || !found || !rests(a, &x))
        return st;
    if ((st = catalogue_begin(a->cat, why)) != ST_OK)
        return st;
    if ((st = write_swap(a, &x, next, why)) != ST_OK) {
        catalogue_rollback(a->cat);
        return st;
    }
    st = catalogue_commit(a->cat, why);
    crash_point("pull:exacttaken");
    return st;
}

/* ---- the lossy one goes ---- */

static bool is_there(const struct agent *a, const struct exposure *x)
{
    char path[PULL_PATH];
    struct stat st;
    pull_path(&a->s, x->bundle, path);
    return lstat(path, &st) == 0 && st.st_size == x->bundle_size;
}

/* Its receipt stays: it remembers what was delivered. */
static enum status remove_former(struct agent *a, const struct other_bundle *b, struct fault *why)
{
    struct exposure x;
    bool found = false;
    char path[PULL_PATH], folder[PULL_PATH];
    enum status st = catalogue_get(a->cat, b->exposure, &x, &found, why);
    if (st != ST_OK || !found || x.exact != EXACT_YES || !is_there(a, &x))
        return st;
    pull_path(&a->s, b->path, path);
    pull_text(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path), path);
    if (unlink(path) != 0 && errno != ENOENT) {
        log_warn(AT(.stage = "exact", .exposure = x.name), "cannot remove the lossy bundle '%s': "
                 "%s", b->path, strerror(errno));
        return ST_OK;
    }
    crash_point("pull:exactremoved");
    log_info(AT(.stage = "exact", .exposure = x.name), "every ccd is exact now: the lossy bundle "
             "%s is removed", b->path);
    st = fs_sync_dir(folder, why);
    return st == ST_OK ? catalogue_drop_bundle(a->cat, b->path, why) : st;
}

enum status renew_look(struct agent *a, struct fault *why)
{
    struct batch next = {.count = 0}, former = {.count = 0};
    enum status st = catalogue_bundles(a->cat, BUNDLE_NEXT, true, note, &next, why);
    for (size_t i = 0; st == ST_OK && i < next.count && !gate_paused(a, PAUSE_INGEST); i++)
        st = take_up(a, &next.items[i], why);
    if (st == ST_OK && !a->s.keep_lossy)
        st = catalogue_bundles(a->cat, BUNDLE_FORMER, true, note, &former, why);
    for (size_t i = 0; st == ST_OK && i < former.count; i++)
        st = remove_former(a, &former.items[i], why);
    return st;
}

/* ---- for the step that places ---- */

enum status renew_check(const struct exposure *x, const struct manifest *m, struct fault *why)
{
    bool other = x->source_sha256[0] && strcmp(x->source_sha256, m->source_sha256) != 0;
    if (other && x->exact != EXACT_COMING)
        return fault(why, ST_REJECT, "'%s' is another exposure's bundle now; what is placed of this "
                     "one stays", x->bundle);
    if (x->exact != EXACT_COMING)
        return ST_OK;
    if (other)
        return fault(why, ST_REJECT, "'%s' should hold the exact data of this exposure and is made "
                     "from another file (SHA-256 %.16s...)", x->bundle, m->source_sha256);
    if (!manifest_is_exact(m))
        return fault(why, ST_REJECT, "'%s' should hold exact data and is lossy", x->bundle);
    return ST_OK;
}

bool renew_wants(const struct exposure *x, struct ccd *c, const struct member *m)
{
    if (c->state == CCD_PARKED || (c->state == CCD_PLACED && x->exact != EXACT_COMING))
        return false;
    if (!m) {
        c->state = CCD_PARKED;
        snprintf(c->reason, sizeof c->reason, "the bundle '%.200s' lacks its HDU %d", x->bundle,
                 c->hdu);
        return false;
    }
    return c->state == CCD_WAITING || c->qstep != m->qstep || strcmp(c->codec, m->codec) != 0;
}

enum status renew_end(struct agent *a, struct exposure *x, struct ccd *ccds, size_t count,
                      struct fault *why)
{
    bool all = x->exact == EXACT_COMING && x->state == EX_PLACED;
    for (size_t i = 0; i < count; i++)
        all = all && ccds[i].state == CCD_PLACED;
    if (!all)
        return ST_OK;
    x->exact = EXACT_YES;
    x->stamp[STAMP_RENEWED] = clock_wall();
    if (!a->s.rerun_on_exact)
        return ST_OK;
    jobs_cancel(a, x->id);
    x->stamp[STAMP_DONE] = 0;
    for (size_t i = 0; i < count; i++)
        ccds[i].job = 0;
    return catalogue_clear_jobs(a->cat, x->id, why);
}
