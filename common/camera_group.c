/* Lists of ccds, and cameras that write one file a ccd: which files make one exposure, and which
 * ccds it needs. */
#include "common/camera.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool camera_groups(const struct camera *c)
{
    return c->key_group[0] != '\0';
}

/* The next item of a list: first..last. False at the end, and (*bad) where it is no list. */
static bool next_range(const char **at, long *first, long *last, bool *bad)
{
    char *end;
    *at += strspn(*at, ", ");
    if (!**at)
        return false;
    *bad = !isdigit((unsigned char)**at);
    *first = *last = strtol(*at, &end, 10);
    if (*end == '-' && isdigit((unsigned char)end[1]))
        *last = strtol(end + 1, &end, 10);
    *bad |= strspn(end, ", ") == 0 && *end != '\0';
    *bad |= *first < 1 || *last < *first || *last > CAMERA_CCD_MAX;
    *at = end;
    return !*bad;
}

bool camera_list_has(const char *list, int ccd)
{
    long first, last;
    bool bad = false;
    while (next_range(&list, &first, &last, &bad))
        if (ccd >= first && ccd <= last)
            return true;
    return false;
}

bool camera_list_valid(const char *list)
{
    long first, last;
    bool bad = false;
    while (next_range(&list, &first, &last, &bad))
        ;
    return !bad;
}

bool camera_group_wants(const struct camera *c, int ccd)
{
    return camera_list_has(c->group_ccds, ccd) && !camera_list_has(c->group_bad, ccd);
}

static void mark(const char *list, unsigned char *ccds, unsigned char as)
{
    long first, last;
    bool bad = false;
    while (next_range(&list, &first, &last, &bad))
        memset(ccds + first, as, (size_t)(last - first + 1));
}

static int marked(const unsigned char *ccds)
{
    int count = 0;
    for (int ccd = 1; ccd <= CAMERA_CCD_MAX; ccd++)
        count += ccds[ccd];
    return count;
}

int camera_group_ccds(const struct camera *c, unsigned char wanted[CAMERA_CCD_MAX + 1])
{
    memset(wanted, 0, CAMERA_CCD_MAX + 1);
    mark(c->group_ccds, wanted, 1);
    mark(c->group_bad, wanted, 0);
    return marked(wanted);
}

int camera_group_missing(const struct camera *c, const unsigned char *has, char *words, size_t size)
{
    unsigned char wanted[CAMERA_CCD_MAX + 1];
    int count = 0;
    size_t used = 0;
    words[0] = '\0';
    camera_group_ccds(c, wanted);
    for (int ccd = 1; ccd <= CAMERA_CCD_MAX; ccd++) {
        if (has[ccd] || !wanted[ccd])
            continue;
        if (count++ < 12 && used < size)
            used += (size_t)snprintf(words + used, size - used, "%s%d", used ? ", " : "", ccd);
    }
    if (count > 12 && used < size)
        snprintf(words + used, size - used, " and %d more", count - 12);
    return count;
}

bool camera_job_wants(const struct camera *c, int ccd)
{
    return (!c->job_ccds[0] || camera_list_has(c->job_ccds, ccd)) &&
           !camera_list_has(c->job_bad, ccd);
}

static void check_list(const char *file, const char *key, const char *list,
                       struct config_report *r)
{
    if (!camera_list_valid(list))
        config_problem(r, "%s: %s = %s: give numbers and ranges from 1 to %d, as in 1-104, 110",
                       file, key, list, CAMERA_CCD_MAX);
}

void camera_group_check(const struct camera *c, const char *file, struct config_report *r)
{
    check_list(file, "[jobs] ccds", c->job_ccds, r);
    check_list(file, "[jobs] bad_ccds", c->job_bad, r);
    if (!camera_groups(c))
        return;
    check_list(file, "[group] ccds", c->group_ccds, r);
    check_list(file, "[group] bad_ccds", c->group_bad, r);
    if (!c->key_ccd[0])
        config_problem(r, "%s: [keys] ccd is empty, but where each ccd is a file of its own ([group] "
                          "key) its header must say which one: name that keyword", file);
    unsigned char ccds[CAMERA_CCD_MAX + 1] = {0};
    mark(c->group_ccds, ccds, 1);
    int listed = marked(ccds);
    if (listed != c->ccds)
        config_problem(r, "%s: [camera] ccds = %d, but [group] ccds names %d; an exposure of several "
                          "files needs the list of all its ccds", file, c->ccds, listed);
    else if (camera_group_ccds(c, ccds) == 0)
        config_problem(r, "%s: [group] bad_ccds leaves no ccd of the exposure", file);
}

/* Text, or a whole number as text. */
static bool key_text(const struct fits_header *h, const char *key, char *out, size_t size)
{
    int64_t n;
    if (fits_header_text(h, key, out, size))
        return true;
    if (!fits_header_int(h, key, &n) || n < 0)
        return false;
    snprintf(out, size, "%" PRId64, n);
    return true;
}

static bool group_of(const struct camera *c, const char *text, char name[CAMERA_GROUP],
                     int64_t *number)
{
    size_t end = strlen(text);
    while (end && text[end - 1] == ' ')
        end--;
    size_t digits = end;
    while (digits && isdigit((unsigned char)text[digits - 1]))
        digits--;
    /* 18 digits fit an int64_t. */
    if (end - digits > 18 || end - digits <= (size_t)c->group_digits)
        return false;
    *number = strtoll(text + digits, NULL, 10);
    for (int i = 0; i < c->group_digits; i++)
        *number /= 10;
    *number -= *number % c->group_numbers;
    size_t used = 0;
    for (size_t i = 0; i < digits && used < 64; i++)
        if (text[i] > ' ' && text[i] < 0x7f)
            name[used++] = text[i];
    snprintf(name + used, CAMERA_GROUP - used, "%" PRId64, *number);
    return true;
}

bool camera_group(const struct camera *c, const struct fits_header *primary,
                  const struct fits_header *first, char name[CAMERA_GROUP], int64_t *number)
{
    const struct fits_header *in[] = {primary, first};
    char text[72];
    name[0] = '\0';
    for (size_t i = 0; i < 2; i++)
        if (in[i] && key_text(in[i], c->key_group, text, sizeof text) &&
            group_of(c, text, name, number))
            return true;
    return false;
}

void camera_ccd_fault(const struct camera *c, const struct fits_header *image, char *out,
                      size_t size)
{
    char text[72];
    double x;
    if (!key_text(image, c->key_ccd, text, sizeof text)) {
        if (!fits_header_real(image, c->key_ccd, &x)) {
            snprintf(out, size, "its keyword %s is missing", c->key_ccd);
            return;
        }
        snprintf(text, sizeof text, "%g", x);
    }
    for (char *at = text; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    snprintf(out, size, "%s = %s, where a number is needed that is from 1 to %d with ccd_offset = %d "
             "added", c->key_ccd, text, CAMERA_CCD_MAX, c->ccd_offset);
}
