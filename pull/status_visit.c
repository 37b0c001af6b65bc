/* What `status` says of visits (pull/visit.h) beyond what it says of any exposure. */
#include <jansson.h>
#include <stdlib.h>

#include "pull/status.h"
#include "pull/visit.h"

static bool parked_line(void *ctx, const struct exposure *x)
{
    fprintf(ctx, "    %s is parked: %s\n", x->name, x->reason);
    return true;
}

void status_visit_line(const struct status_picture *p, const struct exposure *x, FILE *to)
{
    char words[160];
    if (!x->visit_ccds || x->placed >= x->visit_ccds)
        return;
    int lacking = visit_missing(p->cat, p->camera, x, words, sizeof words);
    fprintf(to, "  %s: %d of %d ccds%s%s%s\n", x->name, x->placed, x->visit_ccds,
            lacking ? " (missing: " : "", words, lacking ? ")" : "");
    struct catalogue_pick parked = {.visit = x->id, .states = 1u << EX_PARKED, .limit = 3};
    struct fault why;
    catalogue_each(p->cat, &parked, parked_line, to, &why);
}

static bool add_file(void *ctx, const struct exposure *x)
{
    static const enum stamp shown[] = {STAMP_CLOSED, STAMP_NOTICED, STAMP_ENCODED, STAMP_FIRST,
                                       STAMP_STORED, STAMP_PLACED, STAMP_DONE};
    json_t *o = json_object();
    char key[32];
    json_object_set_new(o, "ccd", json_integer(x->visit_ccd));
    json_object_set_new(o, "name", json_string(x->name));
    json_object_set_new(o, "state", json_string(exposure_state_name(x->state)));
    json_object_set_new(o, "reason", json_string(x->reason));
    json_object_set_new(o, "bundle", json_string(x->bundle));
    json_object_set_new(o, "bytes", json_integer(x->bundle_size));
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        snprintf(key, sizeof key, "%s_ns", stamp_names[shown[i]]);
        json_object_set_new(o, key, x->stamp[shown[i]] > 0 ? json_integer(x->stamp[shown[i]])
                                                           : json_null());
    }
    json_array_append_new(ctx, o);
    return true;
}

static json_t *missing_list(const struct status_picture *p, const struct exposure *x,
                            struct fault *why, enum status *st)
{
    unsigned char has[CAMERA_CCD_MAX + 1] = {0};
    struct ccd *ccds = NULL;
    size_t count = 0;
    json_t *list = json_array();
    *st = catalogue_ccds(p->cat, x->id, &ccds, &count, why);
    for (size_t i = 0; i < count; i++)
        if (ccds[i].state == CCD_PLACED && ccds[i].ccd > 0 && ccds[i].ccd <= CAMERA_CCD_MAX)
            has[ccds[i].ccd] = 1;
    for (int ccd = 1; ccd <= CAMERA_CCD_MAX && p->camera; ccd++)
        if (!has[ccd] && camera_group_wants(p->camera, ccd))
            json_array_append_new(list, json_integer(ccd));
    free(ccds);
    return list;
}

static enum status visit_object(const struct status_picture *p, const struct exposure *x, json_t *o,
                                struct fault *why)
{
    struct visit_tally t;
    json_t *v = json_object();
    enum status st = catalogue_visit_tally(p->cat, x->id, &t, why);
    json_object_set_new(v, "ccds", json_integer(x->visit_ccds));
    json_object_set_new(v, "coming", x->visit_coming ? json_integer(x->visit_coming) : json_null());
    json_object_set_new(v, "placed", json_integer(x->placed));
    if (st == ST_OK) {
        json_object_set_new(v, "files", json_integer(t.files));
        json_object_set_new(v, "missing", x->placed < x->visit_ccds ? missing_list(p, x, why, &st)
                                                                    : json_array());
    }
    json_object_set_new(o, "visit", v);
    return st;
}

enum status status_visit_json(const struct status_picture *p, const struct exposure *x, bool in_full,
                              void *o, struct fault *why)
{
    struct catalogue_pick pick = {.visit = x->id, .oldest_first = true};
    struct exposure v;
    bool found = false;
    enum status st = ST_OK;
    if (x->visit && (st = catalogue_get(p->cat, x->visit, &v, &found, why)) == ST_OK && found) {
        json_object_set_new(o, "file_of", json_string(v.name));
        json_object_set_new(o, "visit_ccd", json_integer(x->visit_ccd));
    }
    if (st == ST_OK && x->visit_ccds)
        st = visit_object(p, x, o, why);
    if (st != ST_OK || !x->visit_ccds || !in_full)
        return st;
    json_t *files = json_array();
    st = catalogue_each(p->cat, &pick, add_file, files, why);
    json_object_set_new(o, "file_list", files);
    return st;
}
