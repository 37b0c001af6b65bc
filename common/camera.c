#include "common/camera.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define IN(member) SETTING_AT(struct camera, member)

const struct setting camera_settings[] = {
    {"camera", "name", SET_TEXT, IN(name), "camera", 0, 0, NULL, NULL,
     "The camera's name, as messages and manifests show it."},
    {"camera", "ccds", SET_INT, IN(ccds), "0", 0, 4096, NULL, NULL,
     "How many image HDUs an exposure has; 0: any number."},
    {"camera", "expnum_from_name", SET_BOOL, IN(expnum_from_name), "yes", 0, 0, NULL, NULL,
     "Take the exposure number from the file's name (its last run of four or more digits) when "
     "the header has none."},
    {"camera", "flat_words", SET_TEXT, IN(flat_words),
     "dome flat, domeflat, flat, sky flat, skyflat", 0, 0, NULL, NULL,
     "OBSTYPE values that mean a flat field, separated by commas."},
    {"camera", "bias_words", SET_TEXT, IN(bias_words), "zero, bias", 0, 0, NULL, NULL,
     "OBSTYPE values that mean a bias frame, separated by commas."},
    {"keys", "expnum", SET_TEXT, IN(key_expnum), "EXPNUM", 0, 0, NULL, NULL,
     "Header keyword of the exposure number."},
    {"keys", "object", SET_TEXT, IN(key_object), "OBJECT", 0, 0, NULL, NULL,
     "Header keyword of the field or target."},
    {"keys", "filter", SET_TEXT, IN(key_filter), "FILTER", 0, 0, NULL, NULL,
     "Header keyword of the filter."},
    {"keys", "obstype", SET_TEXT, IN(key_obstype), "OBSTYPE", 0, 0, NULL, NULL,
     "Header keyword of the kind of exposure."},
    {"keys", "date_obs", SET_TEXT, IN(key_date_obs), "DATE-OBS", 0, 0, NULL, NULL,
     "Header keyword of the start of the exposure, UTC."},
    {"keys", "exptime", SET_TEXT, IN(key_exptime), "EXPTIME", 0, 0, NULL, NULL,
     "Header keyword of the exposure time in seconds."},
    {"keys", "propid", SET_TEXT, IN(key_propid), "PROPID", 0, 0, NULL, NULL,
     "Header keyword of the observing proposal."},
    {"keys", "ccd", SET_TEXT, IN(key_ccd), "CCDNUM", 0, 0, NULL, NULL,
     "Header keyword of the ccd's number, in its own HDU."},
    {"keys", "data_section", SET_TEXT, IN(key_data_section), "DATASEC", 0, 0, NULL, NULL,
     "Header keyword of the section of a ccd that saw light."},
    {"keys", "amplifier_section", SET_TEXT, IN(key_amplifier_section), "DATASECA, DATASECB",
     0, 0, NULL, NULL,
     "Header keywords of each amplifier's part of it, separated by commas."},
    {"keys", "overscan_section", SET_TEXT, IN(key_overscan_section), "BIASSECA, BIASSECB, BIASSEC",
     0, 0, NULL, NULL,
     "Header keywords of the overscans, separated by commas: first each amplifier's own, in the "
     "order of the amplifiers."},
    {"keys", "saturate", SET_TEXT, IN(key_saturate), "SATURATA, SATURATB, SATURATE",
     0, 0, NULL, NULL,
     "Header keywords of the level in ADU where pixels are saturated, separated by commas; the "
     "lowest holds."},
    {"keys", "gain", SET_TEXT, IN(key_gain), "GAINA, GAINB, GAIN", 0, 0, NULL, NULL,
     "Header keywords of the gain in electrons per ADU, separated by commas; their mean holds."},
    {"keys", "read_noise", SET_TEXT, IN(key_read_noise), "RDNOISEA, RDNOISEB, RDNOISE",
     0, 0, NULL, NULL,
     "Header keywords of the read noise in electrons, separated by commas; their mean holds."},
    {NULL, NULL, SET_TEXT, 0, 0, NULL, 0, 0, NULL, NULL, NULL}};

bool camera_load(const char *name, const char *directory, struct camera *out,
                 struct config_report *r)
{
    char path[4200];
    if (strchr(name, '/'))
        snprintf(path, sizeof path, "%s", name);
    else
        snprintf(path, sizeof path, "%s/%s.conf", directory, name);
    int before = r->count;
    config_load(path, camera_settings, out, r);
    return r->count == before;
}

/* Trims, and drops what is not printable ASCII: these texts reach logs and terminals. */
static void clean(char *text)
{
    char *to = text;
    for (const char *c = text + strspn(text, " \t"); *c; c++)
        if (*c >= ' ' && *c < 0x7f)
            *to++ = *c;
    while (to > text && to[-1] == ' ')
        to--;
    *to = '\0';
}

/* The two headers in which facts are looked for, in order. */
struct sources {
    const struct fits_header *in[2];
};

static void text_fact(const struct sources *s, const char *key, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < 2 && !out[0] && *key; i++) {
        if (s->in[i] && fits_header_text(s->in[i], key, out, size))
            clean(out);
        else
            out[0] = '\0';
    }
}

/* Some cameras write numbers as text. */
static bool number_text(const struct fits_header *h, const char *key, double *out)
{
    char text[72], *end;
    if (!fits_header_text(h, key, text, sizeof text))
        return false;
    clean(text);
    /* strtod would also take "inf", "nan" and hexadecimal. */
    if (!*text || strspn(text, "+-.0123456789eE") != strlen(text))
        return false;
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

static bool whole_number(const struct fits_header *h, const char *key, int64_t *out)
{
    if (fits_header_int(h, key, out))
        return true;
    double x;
    if (!fits_header_real(h, key, &x) && !number_text(h, key, &x))
        return false;
    if (x != floor(x) || fabs(x) > 9e15)
        return false;
    *out = (int64_t)x;
    return true;
}

static int64_t expnum_fact(const struct sources *s, const char *key)
{
    int64_t n;
    for (int i = 0; i < 2 && *key; i++)
        if (s->in[i] && whole_number(s->in[i], key, &n) && n >= 0)
            return n;
    return -1;
}

static double real_fact(const struct sources *s, const char *key)
{
    double x;
    int64_t n;
    for (int i = 0; i < 2 && *key; i++) {
        if (!s->in[i])
            continue;
        if (fits_header_real(s->in[i], key, &x) && isfinite(x))
            return x;
        if (fits_header_int(s->in[i], key, &n))
            return (double)n;
        if (number_text(s->in[i], key, &x))
            return x;
    }
    return NAN;
}

void camera_facts(const struct camera *c, const struct fits_header *primary,
                  const struct fits_header *first, struct facts *out)
{
    struct sources s = {{primary, first}};
    text_fact(&s, c->key_object, out->object, sizeof out->object);
    text_fact(&s, c->key_filter, out->filter, sizeof out->filter);
    text_fact(&s, c->key_obstype, out->obstype, sizeof out->obstype);
    text_fact(&s, c->key_propid, out->propid, sizeof out->propid);
    text_fact(&s, c->key_date_obs, out->date_obs, sizeof out->date_obs);
    out->expnum = expnum_fact(&s, c->key_expnum);
    out->exptime = real_fact(&s, c->key_exptime);
    if (!out->date_obs[0] || !clock_parse_date_obs(out->date_obs, &out->date_ns))
        out->date_ns = INT64_MIN;
}

int camera_ccd(const struct camera *c, const struct fits_header *image)
{
    int64_t n;
    if (!*c->key_ccd || !whole_number(image, c->key_ccd, &n) || n < 1 || n > 9999)
        return -1;
    return (int)n;
}

int64_t camera_expnum_from_name(const struct camera *c, const char *file_name)
{
    if (!c->expnum_from_name)
        return -1;
    const char *slash = strrchr(file_name, '/');
    const char *digits = NULL;
    for (const char *at = slash ? slash + 1 : file_name; *at;) {
        size_t n = strspn(at, "0123456789");
        if (n >= 4)
            digits = at;
        at += n ? n : 1;
    }
    /* 18 digits fit an int64_t; longer runs are no exposure number. */
    if (!digits || strspn(digits, "0123456789") > 18)
        return -1;
    return strtoll(digits, NULL, 10);
}

/* Is text one of the comma-separated words, blanks around it and case aside? */
static bool listed(const char *words, const char *text)
{
    size_t len = strlen(text);
    for (const char *w = words; *w;) {
        w += strspn(w, ", ");
        size_t n = strcspn(w, ",");
        size_t bare = n;
        while (bare && w[bare - 1] == ' ')
            bare--;
        if (bare && bare == len && strncasecmp(w, text, bare) == 0)
            return true;
        w += n;
    }
    return false;
}

enum obstype camera_obstype(const struct camera *c, const char *obstype_word)
{
    char word[256];
    snprintf(word, sizeof word, "%s", obstype_word);
    clean(word);
    if (listed(c->flat_words, word))
        return OBS_FLAT;
    if (listed(c->bias_words, word))
        return OBS_BIAS;
    return OBS_SCIENCE;
}
