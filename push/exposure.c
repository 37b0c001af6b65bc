#include "push/exposure.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fsutil.h"

/* Members are ROOT_NNNN.suffix and fs_name_ok takes at most 200 characters. */
#define ROOT_MAX 160

const char *const exposure_state_names[EXPOSURE_STATES] = {
    [EXPOSURE_SEEN] = "seen",     [EXPOSURE_READY] = "ready", [EXPOSURE_SENDING] = "sending",
    [EXPOSURE_STORED] = "stored", [EXPOSURE_DONE] = "done",   [EXPOSURE_PARKED] = "parked",
    [EXPOSURE_PARTIAL] = "partial", [EXPOSURE_SKIPPED] = "skipped",
};

int exposure_state_parse(const char *word)
{
    for (int i = 0; i < EXPOSURE_STATES; i++)
        if (strcmp(word, exposure_state_names[i]) == 0)
            return i;
    return -1;
}

void exposure_root(const char *path, char out[MEMBER_NAME])
{
    static const char *const endings[] = {".fits.fz", ".fits.gz", ".fits", ".fit", ".fz"};
    char base[4096];
    strncpy(base, fs_basename(path), sizeof base - 1);
    base[sizeof base - 1] = '\0';
    size_t len = strlen(base);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t cut = strlen(endings[i]);
        if (len > cut && strcasecmp(base + len - cut, endings[i]) == 0) {
            base[len - cut] = '\0';
            break;
        }
    }
    fs_name_clean(out, ROOT_MAX + 1, base, "exposure");
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
    return a->size == b->size && a->mtime_ns == b->mtime_ns && a->inode == b->inode;
}

void identity_of(const struct stat *st, struct identity *out)
{
    out->size = st->st_size;
    out->mtime_ns = clock_ns(st->st_mtim);
    out->inode = (int64_t)st->st_ino;
}

void exposure_restart(struct exposure *e, const struct identity *file, int64_t now_ns)
{
    /* The same version, sent once more, is to give the same bytes. */
    if (!identity_equal(&e->file, file)) {
        e->method[0] = '\0';
        e->ratio = e->pace = 0;
    }
    e->file = *file;
    e->closed = false;
    e->changed_ns = now_ns;
    e->state = EXPOSURE_SEEN;
    e->attempts = 0;
    e->due_ns = 0;
    e->reason[0] = '\0';
    memset(&e->facts, 0, sizeof e->facts);
    e->facts.expnum = -1;
    e->facts.date_ns = INT64_MIN;
    e->group[0] = '\0';
    e->group_ccd = e->group_coming = 0;
    e->ccds = 0;
    e->image_bytes = 0;
    e->tiled = false;
    e->source_sha256[0] = e->bundle_id[0] = e->bundle_sha256[0] = e->stored_as[0] = '\0';
    e->bundle_size = e->sent_bytes = 0;
    e->fidelity = DELIVERED_UNKNOWN;
    e->follow = -1;
    memset(e->stamp, 0, sizeof e->stamp);
    e->stamp[STAMP_NOTICED] = now_ns;
}

void exposure_exact_of(const struct exposure *delivery, int64_t now_ns, struct exposure *out)
{
    *out = *delivery;
    exposure_restart(out, &delivery->file, now_ns);
    out->facts = delivery->facts;
    memcpy(out->group, delivery->group, sizeof out->group);
    out->group_ccd = delivery->group_ccd;
    out->group_coming = delivery->group_coming;
    out->exact = true;
    out->state = EXPOSURE_READY;
}

void exposure_visit(const struct exposure *e, const struct camera *camera, struct visit *out)
{
    unsigned char wanted[CAMERA_CCD_MAX + 1];
    *out = (struct visit){0};
    if (!e->group[0] || e->group_ccd < 1 || !camera_groups(camera))
        return;
    fs_name_clean(out->name, sizeof out->name, e->group, "visit");
    out->ccd = e->group_ccd;
    out->ccds = camera_group_ccds(camera, wanted);
    out->coming = e->group_coming;
}
