#include "plan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

#define PARTS 5

/* True when a name can stand in a header card. */
static bool
check_name(const char *name, char why[PLAN_WHY])
{
    const size_t n = strlen(name);

    for (size_t i = 0; i < n; i++) {
        if (name[i] < ' ' || name[i] > '~') {
            (void)snprintf(why, PLAN_WHY, "a name is printable ASCII");
            return false;
        }
    }
    if (n == 0 || n > PLAN_NAME - 4)
        (void)snprintf(why, PLAN_WHY, "a name has 1 to %d characters", PLAN_NAME - 4);
    return n > 0 && n <= PLAN_NAME - 4;
}

int
plan_add_field(struct plan *p, const char *name, double ra, double dec, char why[PLAN_WHY])
{
    struct plan_field *grown;

    if (!check_name(name, why))
        return -1;
    if (!(ra >= 0.0 && ra < 360.0) || !(dec >= -90.0 && dec <= 90.0)) {
        (void)snprintf(why, PLAN_WHY, "field %s: right ascension is 0 to 360, declination -90 to 90 degrees", name);
        return -1;
    }
    grown = realloc(p->fields, (p->field_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        (void)snprintf(why, PLAN_WHY, "out of memory");
        return -1;
    }
    p->fields = grown;
    grown[p->field_count] = (struct plan_field){.ra = ra, .dec = dec};
    (void)snprintf(grown[p->field_count++].name, PLAN_NAME, "%s", name);
    return 0;
}

int
plan_add(struct plan *p, const struct plan_item *item, char why[PLAN_WHY])
{
    struct plan_item *grown = realloc(p->items, (p->item_count + 1) * sizeof(*grown));

    if (grown == NULL) {
        (void)snprintf(why, PLAN_WHY, "out of memory");
        return -1;
    }
    p->items = grown;
    grown[p->item_count++] = *item;
    return 0;
}

/* Cut text at a separator into at most most parts, in place; how many, most + 1 when there are more. */
static size_t
cut(char *text, const char *separators, char *parts[], size_t most)
{
    size_t n = 0;

    for (char *rest = text, *part; (part = strsep(&rest, separators)) != NULL;) {
        if (n == most)
            return most + 1;
        parts[n++] = part;
    }
    return n;
}

/* [:COUNT[:SECONDS]] at the end of an item. */
static int
parse_tail(struct plan_item *item, char *const parts[], size_t n, char why[PLAN_WHY])
{
    if (n > 0 && !number_long(parts[0], 1, 1000000, &item->count)) {
        (void)snprintf(why, PLAN_WHY, "'%s' is not a count of exposures (1 to 1000000)", parts[0]);
        return -1;
    }
    if (n > 1 && !number_double(parts[1], 0.0, 36000.0, &item->exptime)) {
        (void)snprintf(why, PLAN_WHY, "'%s' is not an exposure time (0 to 36000 seconds)", parts[1]);
        return -1;
    }
    return 0;
}

/* The filter of an item by its short name. */
static int
parse_filter(struct plan_item *item, const char *name, char why[PLAN_WHY])
{
    item->filter = filter_find(name);
    if (item->filter == NULL)
        (void)snprintf(why, PLAN_WHY, "'%s' is not a filter (u g r i z Y VR)", name);
    return item->filter == NULL ? -1 : 0;
}

/* object:NAME:FILTER[:COUNT[:SECONDS]] */
static int
parse_object(struct plan_item *item, char *const parts[], size_t n, char why[PLAN_WHY])
{
    item->kind = EXPOSURE_OBJECT;
    if (!check_name(parts[1], why))
        return -1;
    (void)snprintf(item->object, PLAN_NAME, "%s", parts[1]);
    if (parse_filter(item, parts[2], why) != 0)
        return -1;
    return parse_tail(item, parts + 3, n - 3, why);
}

/* flat:FILTER[:COUNT[:SECONDS]] */
static int
parse_flat(struct plan_item *item, char *const parts[], size_t n, char why[PLAN_WHY])
{
    item->kind = EXPOSURE_FLAT;
    if (parse_filter(item, parts[1], why) != 0)
        return -1;
    (void)snprintf(item->object, PLAN_NAME, "%s flat", parts[1]);
    return parse_tail(item, parts + 2, n - 2, why);
}

/* One item of a plan; text is cut up. */
static int
parse_item(struct plan *p, char *text, char why[PLAN_WHY])
{
    struct plan_item item = {.count = 1, .exptime = -1.0, .filter = filter_find("g"), .object = "bias"};
    char *parts[PARTS], shown[48];
    size_t n;
    int result = -1;

    (void)snprintf(shown, sizeof(shown), "%s", text);
    n = cut(text, ":", parts, PARTS);
    if (strcmp(parts[0], "bias") == 0 && n <= 2) {
        item.kind = EXPOSURE_BIAS;
        result = parse_tail(&item, parts + 1, n - 1, why);
    } else if (strcmp(parts[0], "flat") == 0 && n >= 2 && n <= 4)
        result = parse_flat(&item, parts, n, why);
    else if (strcmp(parts[0], "object") == 0 && n >= 3 && n <= 5)
        result = parse_object(&item, parts, n, why);
    else
        (void)snprintf(why, PLAN_WHY, "'%s' is not bias[:N], flat:FILTER[:N[:S]] or object:NAME:FILTER[:N[:S]]", shown);
    return result == 0 ? plan_add(p, &item, why) : -1;
}

int
plan_parse(struct plan *p, const char *text, char why[PLAN_WHY])
{
    char *copy = strdup(text), *rest = copy, *item;
    int result = copy == NULL ? -1 : 0;

    if (copy == NULL)
        (void)snprintf(why, PLAN_WHY, "out of memory");
    while (result == 0 && (item = strsep(&rest, ",")) != NULL)
        result = parse_item(p, item, why);
    free(copy);
    return result;
}

/* NAME, RA, DEC as text; a full turn counts as none. */
static int
field_from_parts(struct plan *p, char *const parts[], char why[PLAN_WHY])
{
    double ra, dec;

    if (!number_double(parts[1], 0.0, 360.0, &ra) || !number_double(parts[2], -90.0, 90.0, &dec)) {
        (void)snprintf(why, PLAN_WHY, "field %.40s: right ascension and declination are decimal degrees", parts[0]);
        return -1;
    }
    return plan_add_field(p, parts[0], fmod(ra, 360.0), dec, why);
}

int
plan_parse_field(struct plan *p, const char *text, char why[PLAN_WHY])
{
    char *copy = strdup(text), *parts[3];
    int result = -1;

    if (copy == NULL)
        (void)snprintf(why, PLAN_WHY, "out of memory");
    else if (cut(copy, ":", parts, 3) != 3)
        (void)snprintf(why, PLAN_WHY, "'%.60s' is not NAME:RA:DEC", text);
    else
        result = field_from_parts(p, parts, why);
    free(copy);
    return result;
}

/* One line of a file: an item, a field, or nothing once the comment and the blanks around are off. */
static int
parse_line(struct plan *p, char *line, char why[PLAN_WHY])
{
    char *parts[4], *end;
    const size_t white = strspn(line, " \t");

    line[strcspn(line, "#\r\n")] = '\0';
    line += white <= strlen(line) ? white : 0;
    for (end = line + strlen(line); end > line && (end[-1] == ' ' || end[-1] == '\t'); end--)
        end[-1] = '\0';
    if (line[0] == '\0')
        return 0;
    if (strncmp(line, "field ", 6) != 0)
        return parse_item(p, line, why);
    if (cut(line, " ", parts, 4) != 4) {
        (void)snprintf(why, PLAN_WHY, "a field line is: field NAME RA DEC");
        return -1;
    }
    return field_from_parts(p, parts + 1, why);
}

int
plan_read(struct plan *p, const char *path, char why[PLAN_WHY])
{
    FILE *file = fopen(path, "re");
    char *line = NULL, reason[PLAN_WHY];
    size_t room = 0;
    int result = 0;

    if (file == NULL) {
        (void)snprintf(why, PLAN_WHY, "cannot open %.150s: %s", path, strerror(errno));
        return -1;
    }
    for (int n = 1; result == 0 && getline(&line, &room, file) >= 0; n++) {
        result = parse_line(p, line, reason);
        if (result != 0)
            (void)snprintf(why, PLAN_WHY, "%.80s line %d: %.150s", path, n, reason);
    }
    if (result == 0 && ferror(file)) {
        (void)snprintf(why, PLAN_WHY, "cannot read %.150s", path);
        result = -1;
    }
    free(line);
    (void)fclose(file);
    return result;
}

/* A place for a field that has none: fixed by its name, in the part of the sky that Cerro Tololo sees best. */
static void
place_by_name(struct plan_item *item)
{
    uint64_t key = 0;

    for (const char *c = item->object; *c != '\0'; c++)
        key = rng_hash(key, (unsigned char)*c);
    item->ra = floor((double)(key & 0xffff) / 65536.0 * 3600.0) / 10.0;
    item->dec = -60.0 + floor((double)(key >> 48) / 65536.0 * 600.0) / 10.0;
}

void
plan_resolve(struct plan *p)
{
    for (size_t i = 0; i < p->item_count; i++) {
        struct plan_item *item = &p->items[i];

        if (item->kind != EXPOSURE_OBJECT)
            continue;
        place_by_name(item);
        for (size_t j = 0; j < p->field_count; j++) {
            if (strcmp(p->fields[j].name, item->object) == 0) {
                item->ra = p->fields[j].ra;
                item->dec = p->fields[j].dec;
            }
        }
    }
}

long
plan_length(const struct plan *p)
{
    long n = 0;

    for (size_t i = 0; i < p->item_count; i++)
        n += p->items[i].count;
    return n;
}

const struct plan_item *
plan_at(const struct plan *p, long index)
{
    size_t i = 0;

    index %= plan_length(p);
    while (index >= p->items[i].count)
        index -= p->items[i++].count;
    return &p->items[i];
}

void
plan_free(struct plan *p)
{
    free(p->items);
    free(p->fields);
    *p = (struct plan){0};
}
