#include "common/camera.h"

#include <ctype.h>
#include <dirent.h>
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
    {"camera", "pattern", SET_TEXT, IN(pattern), "*.fits *.fits.fz", 0, 0, NULL, NULL,
     "File names that this camera writes: shell patterns, separated by blanks; [watch] pattern of "
     "push.conf goes before it."},
    {"camera", "ccd_offset", SET_INT, IN(ccd_offset), "0", 0, 1000, NULL, NULL,
     "Added to the ccd's number in the header where a camera counts from 0, as ours begin at 1."},
    {"camera", "pixel_scale_arcsec", SET_REAL, IN(pixel_scale), "0", 0, 3600, NULL, "arcsec",
     "The side of a pixel on the sky, by which the seeing is shown; 0: unknown, it is shown in "
     "pixels."},
    {"keys", "expnum", SET_TEXT, IN(key_expnum), "EXPNUM", 0, 0, NULL, NULL,
     "Header keyword of the exposure number."},
    {"keys", "object", SET_TEXT, IN(key_object), "OBJECT", 0, 0, NULL, NULL,
     "Header keyword of the field or target."},
    {"keys", "filter", SET_TEXT, IN(key_filter), "FILTER", 0, 0, NULL, NULL,
     "Header keyword of the filter."},
    {"keys", "obstype", SET_TEXT, IN(key_obstype), "OBSTYPE", 0, 0, NULL, NULL,
     "Header keyword of the kind of exposure."},
    {"keys", "date_obs", SET_TEXT, IN(key_date_obs), "DATE-OBS", 0, 0, NULL, NULL,
     "Header keyword of the start of the exposure, UTC; or those of its date and of its time of "
     "day, with a comma between."},
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
    {"group", "key", SET_TEXT, IN(key_group), "", 0, 0, NULL, NULL,
     "For cameras that write one file a ccd: the header keyword whose text ends in the number of "
     "the exposure that a file belongs to; none of it is shipped before all of it is there; "
     "empty: every file is an exposure."},
    {"group", "digits", SET_INT, IN(group_digits), "0", 0, 9, NULL, NULL,
     "How many of that number's last digits count the files and are not the exposure's."},
    {"group", "numbers", SET_INT, IN(group_numbers), "1", 1, 100, NULL, NULL,
     "How many numbers in a row one exposure has; it goes by the first, a multiple of this."},
    {"group", "ccds", SET_TEXT, IN(group_ccds), "", 0, 0, NULL, NULL,
     "The ccds that make the exposure, as numbers and ranges (1-104); others are not shipped."},
    {"group", "bad_ccds", SET_TEXT, IN(group_bad), "", 0, 0, NULL, NULL,
     "Those of them that are neither waited for nor shipped, likewise."},
    {"group", "wait_seconds", SET_INT, IN(group_wait_s), "600", 1, 86400, NULL, "s",
     "So long after the newest of its files the rest of an exposure is waited for, at the telescope "
     "before it is shipped, at the cluster before its jobs are made."},
    {"group", "partial", SET_CHOICE, IN(group_partial), "park", 0, 0, "park|ship", NULL,
     "What is done then: park it until the rest comes, or ship what is there (at the cluster: make "
     "jobs for it); either is reported."},
    {"jobs", "ccds", SET_TEXT, IN(job_ccds), "", 0, 0, NULL, NULL,
     "The ccds that get calibration jobs at the cluster, as numbers and ranges (1-59); empty: all."},
    {"jobs", "bad_ccds", SET_TEXT, IN(job_bad), "", 0, 0, NULL, NULL,
     "Those of them that get none, likewise; they are placed all the same."},
    {NULL, NULL, SET_TEXT, 0, 0, NULL, 0, 0, NULL, NULL, NULL}};

/* [group] and [jobs] alone may be left out. A camera that lacks a keyword says so by an empty value. */
static void require_all(struct setting *rows)
{
    for (; rows->key; rows++) {
        if (strcmp(rows->section, "group") == 0 || strcmp(rows->section, "jobs") == 0)
            continue;
        rows->fallback = NULL;
        if (rows->type == SET_TEXT)
            rows->min = rows->max + 1;
    }
}

static int is_profile(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return e->d_name[0] != '.' && dot && strcmp(dot, ".conf") == 0;
}

/* What to give instead: the profiles that there are. */
static void advise(const char *directory, char *out, size_t size)
{
    struct dirent **of = NULL;
    int count = directory[0] ? scandir(directory, &of, is_profile, alphasort) : 0;
    int len = snprintf(out, size, "give [camera] profile the path of a camera's profile%s",
                       count > 0 ? ", or one of these names: " : "");
    for (int i = 0; i < count; i++) {
        int stem = (int)(strlen(of[i]->d_name) - strlen(".conf"));
        if (len < (int)size)
            len += snprintf(out + len, size - (size_t)len, "%s%.*s", i ? ", " : "", stem,
                            of[i]->d_name);
        free(of[i]);
    }
    free(of);
}

bool camera_load(const char *name, const char *directory, struct camera *out,
                 struct config_report *r)
{
    char path[4200], advice[1024];
    if (strchr(name, '/'))
        snprintf(path, sizeof path, "%s", name);
    else
        snprintf(path, sizeof path, "%s/%s.conf", directory, name);
    int before = r->count;
    struct setting rows[sizeof camera_settings / sizeof *camera_settings];
    memcpy(rows, camera_settings, sizeof rows);
    require_all(rows);
    advise(strchr(name, '/') ? "" : directory, advice, sizeof advice);
    r->advice = advice;
    bool read = config_load(path, rows, out, r);
    r->advice = NULL;
    if (read)
        camera_group_check(out, path, r);
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

/* One keyword, or that of the date and that of the time of day. */
static void date_fact(const struct sources *s, const char *keys, char *out, size_t size)
{
    char key[72], time[32];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(keys, ", "), keys);
    text_fact(s, key, out, size);
    keys += strcspn(keys, ",");
    keys += strspn(keys, ", ");
    text_fact(s, keys, time, sizeof time);
    size_t used = strlen(out);
    if (used && time[0] && !strchr(out, 'T'))
        snprintf(out + used, size - used, "T%s", time);
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
    date_fact(&s, c->key_date_obs, out->date_obs, sizeof out->date_obs);
    out->expnum = expnum_fact(&s, c->key_expnum);
    out->exptime = real_fact(&s, c->key_exptime);
    if (!out->date_obs[0] || !clock_parse_date_obs(out->date_obs, &out->date_ns))
        out->date_ns = INT64_MIN;
}

int camera_ccd(const struct camera *c, const struct fits_header *image)
{
    int64_t n;
    if (!*c->key_ccd || !whole_number(image, c->key_ccd, &n) || n < 0 || n > CAMERA_CCD_MAX)
        return -1;
    n += c->ccd_offset;
    return n < 1 || n > CAMERA_CCD_MAX ? -1 : (int)n;
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

bool camera_word_listed(const char *words, const char *text)
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
    if (camera_word_listed(c->flat_words, word))
        return OBS_FLAT;
    if (camera_word_listed(c->bias_words, word))
        return OBS_BIAS;
    return OBS_SCIENCE;
}
