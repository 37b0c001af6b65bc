/* Exposures of several files: each file keeps a row, a bundle and a receipt of its own, so that its
 * digest is vouched for by itself; none of them becomes ready before all are whole. All that is
 * known of an exposure is in the rows of its files, so a restart forgets nothing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/crashpoint.h"
#include "common/log.h"
#include "push/flow_inner.h"

#define SEEN_NS NS_PER_S /* so long a file that is being looked at holds up giving up */
#define LOOK_AGAIN_NS (1800 * NS_PER_S) /* at the latest: the clock may be set */
#define NOTE_WANTED "wanted"
#define NOTE_PROFILE "profile"
#define GROUPS " of several files"

enum status gather_open(struct flow *f, struct fault *why)
{
    struct journal *j = f->o.journal;
    const struct settings *s = &f->config.set;
    char digest[DIGEST_HEX], wanted[600], profile[DIGEST_HEX + 32], was[600], before[DIGEST_HEX + 32];
    snprintf(wanted, sizeof wanted, "%s|%d|%d|%s", s->proposals, s->first_exposure,
             s->last_exposure, s->share);
    camera_digest(&f->config.camera, CAMERA_ALL, digest);
    snprintf(profile, sizeof profile, "%s%s", digest, camera_groups(&f->config.camera) ? GROUPS : "");
    journal_noted(j, NOTE_WANTED, was, sizeof was);
    journal_noted(j, NOTE_PROFILE, before, sizeof before);
    enum status st = ST_OK;
    /* The notes come last: a crash before them does it all again. */
    if (strcmp(wanted, was) != 0 && (st = journal_unskip(j, why)) == ST_OK)
        st = journal_note(j, NOTE_WANTED, wanted, why);
    if (st != ST_OK || strcmp(profile, before) == 0)
        return st;
    st = journal_regroup(j, strstr(profile, GROUPS) || strstr(before, GROUPS), why);
    return st == ST_OK ? journal_note(j, NOTE_PROFILE, profile, why) : st;
}

static bool save_as(struct flow *f, struct exposure *e, int state, const char *reason)
{
    e->state = state;
    e->attempts = 0;
    e->due_ns = 0;
    snprintf(e->reason, sizeof e->reason, "%s", reason);
    if (flow_save(f, e) == ST_REJECT)
        flow_merge(f, e);
    flow_poke(f);
    return true;
}

bool gather_takes(struct flow *f, struct exposure *e, const struct settle_verdict *v)
{
    /* A file that somebody named is wanted as it is. */
    bool named = e->origin == ORIGIN_SEND;
    if (v->skip && named)
        log_info(AT(.stage = "settle", .exposure = e->name), "was named to send, so it goes, though: "
                 "%s", v->why.text);
    if (v->skip && !named) {
        log_info(AT(.stage = "settle", .exposure = e->name), "skipped: %s", v->why.text);
        return save_as(f, e, EXPOSURE_SKIPPED, v->why.text);
    }
    if (!v->group[0])
        return false;
    memcpy(e->group, v->group, sizeof e->group);
    e->group_ccd = v->group_ccd;
    if (named)
        return false;
    return save_as(f, e, EXPOSURE_PARTIAL, "");
}

/* ---- is it all there? ---- */

/* Both go, as both were wanted; but one of them is not what its place says. */
static enum status look_for_twins(struct flow *f, const char *group, struct fault *why)
{
    struct journal_twice t;
    enum status st = journal_group_twice(f->o.journal, group, &t, why);
    if (st == ST_OK && t.ccd)
        log_warn(AT(.stage = "gather", .exposure = group), "ccd %d is there in two files, %s and %s: "
                 "both are shipped, though the far end has but one place for them", t.ccd,
                 t.path[0], t.path[1]);
    return st;
}

/* What cannot be looked at just now is left to the encoder, which tries again. */
static bool still_there(void *ctx, const struct exposure *e)
{
    struct stat st;
    struct identity now;
    if (stat(e->path, &st) == 0) {
        identity_of(&st, &now);
        if (identity_equal(&now, &e->file))
            return true;
    } else if (errno != ENOENT && errno != ENOTDIR) {
        return true;
    }
    *(struct exposure *)ctx = *e;
    return false;
}

/* A file may have gone while it waited for the others: it counts no longer, and what is left is
 * decided on again. False also on failure. */
static bool all_there(struct flow *f, const char *group, enum status *st, struct fault *why)
{
    struct exposure lost = {0};
    struct fault gone;
    *st = journal_group_waiting(f->o.journal, group, still_there, &lost, why);
    if (*st != ST_OK || lost.id == 0)
        return *st == ST_OK;
    fault(&gone, ST_REJECT, "is gone, or another file now, so %s is not all there", group);
    lost.state = EXPOSURE_PARTIAL; /* also where it is parked for want of the others */
    lost.file = (struct identity){0}; /* when it comes back as it was, that is news */
    known_set(f->known, lost.path, NULL);
    flow_restart(f, &lost, &gone);
    return false;
}

static enum status release(struct flow *f, const char *group, int coming, struct fault *why)
{
    enum status st = look_for_twins(f, group, why);
    if (st == ST_OK)
        st = journal_group_release(f->o.journal, group, coming, why);
    if (st == ST_OK)
        crash_point("push:gathered");
    return st;
}

/* What of it is there: how many ccds, and in words. */
struct so_far {
    int coming;
    char words[240];
};

/* The time for the rest to come is over. */
static enum status give_up(struct flow *f, const char *group, const struct so_far *so_far,
                           struct fault *why)
{
    const struct camera *c = &f->config.camera;
    char reason[512];
    enum status st;
    if (!all_there(f, group, &st, why))
        return st;
    if (strcmp(c->group_partial, "ship") == 0) {
        log_warn(AT(.stage = "gather", .exposure = group), "shipped in part: %s, and nothing more "
                 "came for %d s", so_far->words, c->group_wait_s);
        return release(f, group, so_far->coming, why);
    }
    snprintf(reason, sizeof reason, "exposure %s has %s, and nothing more came for %d s; it goes "
             "when the rest comes, and this file alone by skyferry-push send", group, so_far->words,
             c->group_wait_s);
    log_error(AT(.stage = "gather", .exposure = group), "parked: %s", reason);
    return journal_group_park(f->o.journal, group, reason, why);
}

/* An agent that was not there has not waited; and what is on disk may be the rest as long as
 * nobody has looked at it, as behind a file server that hung. */
static enum status wait_on(struct flow *f, const char *group, int64_t newest_ns,
                           const struct so_far *so_far, struct fault *why)
{
    int64_t now = clock_wall(), since = newest_ns > f->start_ns ? newest_ns : f->start_ns;
    int64_t due = since + f->config.camera.group_wait_s * NS_PER_S;
    if (due <= now) {
        bool may = false;
        enum status st = journal_group_may_grow(f->o.journal, f->o.only_request, due, &may, why);
        if (st != ST_OK || !may)
            return st == ST_OK ? give_up(f, group, so_far, why) : st;
        due = now + SEEN_NS;
    }
    due = due - now < LOOK_AGAIN_NS ? due : now + LOOK_AGAIN_NS;
    return journal_group_wait(f->o.journal, group, due, so_far->words, why);
}

static enum status decide(struct flow *f, const char *group, struct fault *why)
{
    unsigned char wanted[CAMERA_CCD_MAX + 1];
    struct journal_group g;
    struct so_far so_far;
    char words[160];
    enum status st = journal_group(f->o.journal, group, &g, why);
    if (st != ST_OK)
        return st;
    int size = camera_group_ccds(&f->config.camera, wanted);
    int lacking = camera_group_missing(&f->config.camera, g.has, words, sizeof words);
    if (lacking == 0 || g.released) {
        if (!all_there(f, group, &st, why))
            return st;
        if (g.released)
            log_info(AT(.stage = "gather", .exposure = group), "a file came after the others went; "
                     "it follows them");
        else
            log_info(AT(.stage = "gather", .exposure = group), "all %d ccds are there", size);
        return release(f, group, size - lacking, why);
    }
    so_far.coming = size - lacking;
    snprintf(so_far.words, sizeof so_far.words, "%d of %d ccds (missing: %s)", so_far.coming, size,
             words);
    return wait_on(f, group, g.newest_ns, &so_far, why);
}

static bool take_first(void *ctx, const struct exposure *e)
{
    *(struct exposure *)ctx = *e;
    return false;
}

/* One exposure a turn: what is decided of it is due no more. */
void steps_gather(struct flow *f)
{
    struct fault why;
    struct exposure e = {0};
    enum status st = journal_due(f->o.journal, EXPOSURE_PARTIAL, f->o.only_request, 1, take_first,
                                 &e, &why);
    if (st == ST_OK && e.id && e.origin == ORIGIN_SEND) {
        save_as(f, &e, EXPOSURE_READY, ""); /* it was named while it was found whole */
    } else if (st == ST_OK && e.id) {
        st = decide(f, e.group, &why);
        flow_poke(f);
    }
    if (st != ST_OK)
        flow_trouble(f, &why);
}
