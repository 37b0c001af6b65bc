/*
 * plan.h - what to observe: a list of exposures, given as a compact line or as a file.
 *
 * Items, separated by commas on the command line and by line ends in a file (where # starts a comment):
 *     bias[:COUNT]
 *     flat:FILTER[:COUNT[:SECONDS]]
 *     object:NAME:FILTER[:COUNT[:SECONDS]]
 *     field NAME RA DEC           in a file only: where a NAME is, in degrees
 * An object whose field is not given has a fixed place that its name decides. A plan owns its strings. Main thread only.
 */
#ifndef SIMCAM_PLAN_H
#define SIMCAM_PLAN_H

#include <stddef.h>

#include "exposure.h"

#define PLAN_NAME 64            /* room for a name */
#define PLAN_WHY 256            /* room for a reason */

struct plan_item {
    enum exposure_kind kind;
    char object[PLAN_NAME];
    const struct filter *filter;
    long count;
    double exptime;             /* seconds; negative when not given */
    double ra, dec;             /* degrees; set by plan_resolve */
};

struct plan_field {
    char name[PLAN_NAME];
    double ra, dec;
};

struct plan {
    struct plan_item *items;
    struct plan_field *fields;
    size_t item_count, field_count;
};

/* Add a field at a place; 0, or -1 with the reason in why. The same for the next four. */
int plan_add_field(struct plan *p, const char *name, double ra, double dec, char why[PLAN_WHY]);

/* Add a field given as NAME:RA:DEC. */
int plan_parse_field(struct plan *p, const char *text, char why[PLAN_WHY]);

/* Add one item. */
int plan_add(struct plan *p, const struct plan_item *item, char why[PLAN_WHY]);

/* Add the items of a comma-separated line. */
int plan_parse(struct plan *p, const char *text, char why[PLAN_WHY]);

/* Add the items and fields of a file. */
int plan_read(struct plan *p, const char *path, char why[PLAN_WHY]);

/* Give every item the place of its field; call when all fields are known. */
void plan_resolve(struct plan *p);

/* How many exposures one run through the plan takes. */
long plan_length(const struct plan *p);

/* The item of exposure number index from 0; the plan repeats. It must have a length. */
const struct plan_item *plan_at(const struct plan *p, long index);

void plan_free(struct plan *p);

#endif
