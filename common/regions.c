#include "common/regions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool empty(const struct rectangle *r)
{
    return r->x0 >= r->x1 || r->y0 >= r->y1;
}

static struct rectangle common_part(const struct rectangle *a, const struct rectangle *b)
{
    return (struct rectangle){
        a->x0 > b->x0 ? a->x0 : b->x0, a->y0 > b->y0 ? a->y0 : b->y0,
        a->x1 < b->x1 ? a->x1 : b->x1, a->y1 < b->y1 ? a->y1 : b->y1};
}

static bool overlap(const struct rectangle *a, const struct rectangle *b)
{
    struct rectangle both = common_part(a, b);
    return !empty(&both);
}

/* A pixel number and the character that must follow it. */
static bool number_then(const char **at, char follower, int64_t *out)
{
    char *end;
    *at += strspn(*at, " ");
    if (!strchr("+-0123456789", **at) || !**at)
        return false;
    *out = strtoll(*at, &end, 10); /* the largest int64_t when it is more */
    if (end == *at)
        return false;
    end += strspn(end, " ");
    *at = end + 1;
    return *end == follower;
}

/* "[x1:x2,y1:y2]", from 1 and inclusive, either way round, cut to `within`. */
static bool read_section(const struct fits_header *h, const char *key,
                         const struct rectangle *within, struct rectangle *out)
{
    char text[72];
    int64_t x1, x2, y1, y2;
    if (!fits_header_text(h, key, text, sizeof text))
        return false;
    const char *at = text + strspn(text, " ");
    if (*at++ != '[' || !number_then(&at, ':', &x1) || !number_then(&at, ',', &x2) ||
        !number_then(&at, ':', &y1) || !number_then(&at, ']', &y2) || x1 < 1 || x2 < 1 ||
        y1 < 1 || y2 < 1)
        return false;
    struct rectangle said = {(x1 < x2 ? x1 : x2) - 1, (y1 < y2 ? y1 : y2) - 1,
                             x1 < x2 ? x2 : x1, y1 < y2 ? y2 : y1};
    *out = common_part(&said, within);
    return !empty(out);
}

/* The next of a comma-separated list of keywords; false at its end. */
static bool next_key(const char **list, char *key, size_t size)
{
    *list += strspn(*list, ", ");
    size_t n = strcspn(*list, ", "), fits = n < size ? n : size - 1;
    memcpy(key, *list, fits);
    key[fits] = '\0';
    *list += n;
    return n > 0;
}

struct numbers {
    double lowest, mean; /* NaN: none of the keys has a number above 0 */
};

static struct numbers numbers_of(const struct fits_header *h, const char *keys)
{
    char key[72];
    double value, lowest = NAN, sum = 0;
    int count = 0;
    while (next_key(&keys, key, sizeof key)) {
        if (!fits_header_real(h, key, &value) || value <= 0)
            continue;
        lowest = count && lowest < value ? lowest : value;
        sum += value;
        count++;
    }
    return (struct numbers){lowest, count && isfinite(sum) ? sum / count : NAN};
}

/* The smallest rectangle around both. */
static void widen(struct rectangle *r, const struct rectangle *by)
{
    if (empty(r)) {
        *r = *by;
        return;
    }
    r->x0 = r->x0 < by->x0 ? r->x0 : by->x0;
    r->y0 = r->y0 < by->y0 ? r->y0 : by->y0;
    r->x1 = r->x1 > by->x1 ? r->x1 : by->x1;
    r->y1 = r->y1 > by->y1 ? r->y1 : by->y1;
}

/* The amplifiers' sections; which[i] is the place in the list of section i's key. */
static void read_amplifiers(const struct fits_header *h, const char *keys,
                            const struct rectangle *within, struct regions *out, int which[])
{
    char key[72];
    out->sections = 0;
    for (int i = 0; next_key(&keys, key, sizeof key) && out->sections < REGIONS_MAX; i++) {
        struct section s = {.overscan = -1};
        bool apart = read_section(h, key, within, &s.data);
        for (int k = 0; k < out->sections && apart; k++)
            apart = !overlap(&s.data, &out->section[k].data);
        if (!apart)
            continue;
        which[out->sections] = i;
        out->section[out->sections++] = s;
    }
}

/* An overscan over the data or over another one is a mistake, or the second name of the same. */
static void read_overscans(const struct fits_header *h, const char *keys,
                           const struct rectangle *within, struct regions *out, const int which[])
{
    char key[72];
    out->overscans = 0;
    for (int i = 0; next_key(&keys, key, sizeof key) && out->overscans < REGIONS_MAX; i++) {
        struct rectangle *o = &out->overscan[out->overscans];
        bool apart = read_section(h, key, within, o) && !overlap(o, &out->data);
        for (int k = 0; k < out->overscans && apart; k++)
            apart = !overlap(o, &out->overscan[k]);
        if (!apart)
            continue;
        for (int k = 0; k < out->sections; k++)
            if (which[k] == i)
                out->section[k].overscan = out->overscans;
        out->overscans++;
    }
}

enum status regions_read(const struct camera *c, const struct fits_image *img,
                         struct regions *out, struct fault *why)
{
    if (img->naxis < 1 || !img->data || !img->size || img->naxes[0] < 1 ||
        (img->naxis > 1 && img->naxes[1] < 1))
        return fault(why, ST_REJECT, "the image has no pixels to measure");
    const struct rectangle whole = {0, 0, img->naxes[0], img->naxis > 1 ? img->naxes[1] : 1};
    const struct fits_header *h = &img->header;
    int which[REGIONS_MAX];
    bool said = *c->key_data_section && read_section(h, c->key_data_section, &whole, &out->data);
    read_amplifiers(h, c->key_amplifier_section, said ? &out->data : &whole, out, which);
    if (!said) {
        out->data = out->sections ? (struct rectangle){0, 0, 0, 0} : whole;
        for (int i = 0; i < out->sections; i++)
            widen(&out->data, &out->section[i].data);
    }
    if (!out->sections) {
        out->section[0] = (struct section){out->data, -1};
        which[0] = -1;
        out->sections = 1;
    }
    read_overscans(h, c->key_overscan_section, &whole, out, which);
    out->saturate = numbers_of(h, c->key_saturate).lowest;
    out->gain = numbers_of(h, c->key_gain).mean;
    out->read_noise = numbers_of(h, c->key_read_noise).mean;
    return ST_OK;
}
