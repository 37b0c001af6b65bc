#include "pull/quality.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/fsutil.h"

bool quality_known(double figure)
{
    return !isnan(figure);
}

/* One figure; null and absent mean not measured. */
static enum status figure(const json_t *one, const char *key, double *out, struct fault *why)
{
    const json_t *value = json_object_get(one, key);
    *out = NAN;
    if (!value || json_is_null(value))
        return ST_OK;
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return fault(why, ST_REJECT, "\"%s\" is no number", key);
    *out = json_number_value(value);
    return ST_OK;
}

static enum status read_one(const json_t *one, struct ccd *ccds, size_t count, struct fault *why)
{
    const json_t *number = json_object_get(one, "ccd");
    struct ccd *c = NULL;
    if (!json_is_integer(number))
        return fault(why, ST_REJECT, "an entry of \"ccds\" has no \"ccd\" number");
    for (size_t i = 0; i < count && !c; i++)
        if (ccds[i].ccd == json_integer_value(number))
            c = &ccds[i];
    if (!c)
        return fault(why, ST_REJECT, "ccd %lld is none of this job's",
                     (long long)json_integer_value(number));
    struct quality *q = &c->quality;
    const char *keys[] = {"background", "noise", "saturated", "stars", "fwhm"};
    double *to[] = {&q->background, &q->noise, &q->saturated, &q->stars, &q->fwhm};
    for (int i = 0; i < 5; i++)
        if (figure(one, keys[i], to[i], why) != ST_OK)
            return fault_within(why, "ccd %d: ", c->ccd);
    const char *error = json_string_value(json_object_get(one, "error"));
    snprintf(q->error, sizeof q->error, "%s", error ? error : "");
    return ST_OK;
}

static enum status read_all(const struct buf *text, struct ccd *ccds, size_t count,
                            struct fault *why)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)text->data, text->len, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(root, "ccds");
    enum status st = ST_OK;
    if (!root)
        st = fault(why, ST_REJECT, "line %d: %s", error.line, error.text);
    else if (!json_is_array(list))
        st = fault(why, ST_REJECT, "there is no array \"ccds\"");
    for (size_t i = 0; st == ST_OK && i < json_array_size(list); i++)
        st = read_one(json_array_get(list, i), ccds, count, why);
    json_decref(root);
    return st;
}

enum status quality_read(const char *path, struct ccd *ccds, size_t count, bool *found,
                         struct fault *why)
{
    struct buf text = {0};
    enum status st = fs_read_file(path, QUALITY_MAX, &text, why);
    *found = st == ST_OK || errno != ENOENT;
    if (st == ST_OK)
        st = read_all(&text, ccds, count, why);
    else if (!*found)
        st = ST_OK;
    buf_free(&text);
    return st == ST_OK ? st : fault_within(why, "the job's result.json cannot be used: ");
}
