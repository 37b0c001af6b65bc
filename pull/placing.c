#include "pull/placing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/place.h"

void placing_night(const struct pull_settings *s, const struct facts *facts, const char *fallback,
                   char out[NIGHT_SIZE])
{
    if (s->run_date[0])
        snprintf(out, NIGHT_SIZE, "%s", s->run_date);
    else if (facts->date_ns != INT64_MIN)
        night_of(&s->rule, facts->date_ns, out);
    else if (fallback != out)
        snprintf(out, NIGHT_SIZE, "%s", fallback);
}

enum status placing_path(const struct pull_settings *s, const struct exposure *x,
                         const struct ccd *one, char *out, size_t size, struct fault *why)
{
    enum obstype type = camera_obstype(&s->camera, x->facts.obstype);
    struct place_values v = {.night = x->night, .name = x->name, .source_name = x->source_name,
                             .extname = one->extname, .facts = &x->facts, .camera = &s->camera,
                             .ccd = one->ccd};
    return place_path(s->place[type], &v, out, size, why);
}

enum status placing_claim(const struct pull_settings *s, const struct exposure *x, char *out,
                          size_t size, struct fault *why)
{
    struct ccd none = {.ccd = x->visit_ccd}; /* files of a visit share all but the ccd */
    return placing_path(s, x, &none, out, size, why);
}

enum status placing_file(const struct pull_settings *s, const struct exposure *x,
                         const struct ccd *c, struct place_file *file, struct fault *why)
{
    file->draft.fd = -1;
    file->root = s->root;
    file->conflict = x->force ? PLACE_REPLACE : place_conflict_of(s->on_conflict);
    enum status st = placing_path(s, x, c, file->rel, sizeof file->rel, why);
    /* The lossy file that the catalogue placed: its name stays, its bytes become exact. */
    if (x->exact == EXACT_COMING && c->path[0] && c->checksum[0]) {
        memcpy(file->known.rel, c->path, sizeof file->known.rel);
        memcpy(file->known.datasum, c->datasum, sizeof file->known.datasum);
        memcpy(file->known.checksum, c->checksum, sizeof file->known.checksum);
        file->known.size = c->size;
        if (file->conflict == PLACE_REPLACE && !x->force)
            file->conflict = PLACE_PARK; /* what somebody changed since is not ours to replace */
    }
    if (st != ST_OK || camera_obstype(&s->camera, x->facts.obstype) != OBS_SCIENCE)
        return st;
    file->mirror = place_mirror_of(s->workspace);
    snprintf(file->mirror_rel, sizeof file->mirror_rel, "workspace/%s/%d/%s", x->night, c->ccd,
             fs_basename(file->rel));
    return ST_OK;
}

/* A hand-made bundle may not say the ccd; the HDU's number is then as good a name as any. */
void placing_ccd(struct ccd *c, const struct exposure *x, const struct member *m)
{
    *c = (struct ccd){.exposure = x->id, .ccd = m->ccd > 0 ? m->ccd : m->hdu, .hdu = m->hdu};
    snprintf(c->extname, sizeof c->extname, "%s", m->extname);
    placing_member(c, m);
}

void placing_member(struct ccd *c, const struct member *m)
{
    c->qstep = m->qstep;
    snprintf(c->member, sizeof c->member, "%s", m->name);
    snprintf(c->codec, sizeof c->codec, "%s", m->codec);
}

static void sweep_folder(const struct pull_settings *s, const char *rel)
{
    char path[PULL_PATH];
    pull_text(path, sizeof path, "%s/%.*s", s->root, (int)(fs_basename(rel) - rel), rel);
    if (access(path, F_OK) == 0)
        fs_sweep_drafts(path);
}

void placing_sweep(const struct pull_settings *s, const struct exposure *x, const struct ccd *ccds,
                   size_t count)
{
    struct place_file file = {0};
    struct fault why;
    for (size_t i = 0; i < count; i++) {
        if (placing_file(s, x, &ccds[i], &file, &why) != ST_OK)
            continue;
        sweep_folder(s, file.rel);
        if (file.mirror != MIRROR_NONE)
            sweep_folder(s, file.mirror_rel);
    }
}
