#include "push/settle.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/fsutil.h"

/* An exposure with too few ccds gets this many times settle_seconds for the rest to come. */
#define PATIENCE 5

/* Seconds without a change. The file's own clock counts, as it also covers the time before
 * we looked; when it runs ahead of ours (a file server's may), our own memory does. */
static double quiet_for(const struct exposure *e, const struct identity *file, int64_t now_ns)
{
    int64_t since = file->mtime_ns;
    if (since > now_ns)
        since = identity_equal(file, &e->file) ? e->changed_ns : now_ns;
    return (double)(now_ns - since) / NS_PER_S;
}

/* Seconds that we know of this very version. */
static double known_for(const struct exposure *e, const struct identity *file, int64_t now_ns)
{
    return identity_equal(file, &e->file) ? (double)(now_ns - e->changed_ns) / NS_PER_S : 0;
}

static enum status still_growing(const struct exposure *e, const struct settle_rules *rules,
                                 int64_t now_ns, struct settle_verdict *out)
{
    if (known_for(e, &out->file, now_ns) < rules->give_up_s)
        return ST_WAIT;
    struct fault was = out->why;
    return fault(&out->why, ST_REJECT,
                 "incomplete, and unchanged for %d s: %.300s; it is looked at again when it changes",
                 rules->give_up_s, was.text);
}

/* What its pixels come to. */
static void weigh(const struct survey *s, struct settle_verdict *out)
{
    for (size_t i = 0; i < s->layout.count; i++) {
        const struct fits_hdu *hdu = &s->layout.hdu[i];
        if (s->ccd[i] <= 0)
            continue;
        out->image_bytes += survey_image_bytes(hdu);
        out->tiled |= hdu->kind == FITS_TILED;
    }
}

/* The far end takes no bundle of such a file (skyferry-wire(5), COMMIT). */
static bool sayable(const char *path)
{
    for (const char *p = fs_basename(path); *p; p++)
        if (iscntrl((unsigned char)*p))
            return false;
    return true;
}

/* To the exposures that are shipped, and to which of them. */
static enum status belongs(const char *path, const struct survey *s, const struct settle_rules *rules,
                           const struct camera *camera, struct settle_verdict *out)
{
    if (camera_groups(camera) && !s->group[0])
        return fault(&out->why, ST_REJECT, "its headers do not say which exposure it belongs to: %s, "
                     "which [group] key of the camera's profile names, is missing or does not end in "
                     "a number of more than %d digits", camera->key_group, camera->group_digits);
    if (camera_groups(camera) && s->images != 1)
        return fault(&out->why, ST_REJECT, "has %d images: this camera's profile says one file a ccd",
                     s->images);
    out->skip = !wanted_file(&rules->wanted, camera, s, &out->why);
    if (!out->skip && s->ccd_fault[0])
        return fault(&out->why, ST_REJECT, "its header does not say which ccd it is: %s; [keys] ccd of "
                     "the camera's profile names the keyword", s->ccd_fault);
    if (!out->skip && !sayable(path))
        return fault(&out->why, ST_REJECT, "its name holds a line break or another control "
                     "character, which the far end takes in no file's name: rename it");
    memcpy(out->group, s->group, sizeof out->group);
    for (size_t i = 0; i < s->layout.count; i++)
        if (s->ccd[i] > 0)
            out->group_ccd = s->ccd[i];
    return ST_OK;
}

static enum status whole(const struct exposure *e, const struct survey *s,
                         const struct settle_rules *rules, int64_t now_ns,
                         const struct camera *camera, struct settle_verdict *out)
{
    double quiet = quiet_for(e, &out->file, now_ns);
    bool closed = e->closed && identity_equal(&out->file, &e->file);
    int expected = camera_groups(camera) ? 1 : camera->ccds;
    bool few = expected > 0 && s->images < expected;
    if (!closed && quiet < rules->settle_s)
        return fault(&out->why, ST_WAIT, "whole, but changed %.1f s ago", quiet);
    if (few && quiet < PATIENCE * rules->settle_s)
        return fault(&out->why, ST_WAIT, "%d of %d ccds so far", s->images, expected);
    if (few)
        snprintf(out->warning, sizeof out->warning,
                 "has %d ccds, where %d are usual for this camera", s->images, expected);
    out->facts = s->facts;
    out->ccds = s->images;
    weigh(s, out);
    return belongs(e->path, s, rules, camera, out);
}

enum status settle_decide(const struct exposure *e, const struct survey *s, enum status found,
                          const struct settle_rules *rules, int64_t now_ns,
                          const struct camera *camera, struct settle_verdict *out)
{
    out->stated = s->fd >= 0;
    out->file = s->file;
    if (found == ST_OK)
        found = whole(e, s, rules, now_ns, camera, out);
    else if (found == ST_WAIT)
        found = still_growing(e, rules, now_ns, out);
    else if (found == ST_REJECT && out->stated && quiet_for(e, &s->file, now_ns) < rules->settle_s)
        found = ST_WAIT; /* its writer may not be done with the first block */
    out->grade = out->why.grade = found;
    return found;
}

void settle_examine(const struct exposure *e, const struct camera *camera,
                    const struct settle_rules *rules, struct settle_verdict *out)
{
    struct survey s;
    memset(out, 0, sizeof *out);
    enum status found = survey_file(e->path, camera, &s, &out->why);
    settle_decide(e, &s, found, rules, clock_wall(), camera, out);
    survey_free(&s);
}
