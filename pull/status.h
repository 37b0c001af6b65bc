/* `skyferry-pull status`: what the catalogue says, as tables of at most 79 columns or as JSON.
 * Opens the catalogue read-only and changes nothing, so it may run at any time, with a daemon
 * or without. The pictures are drawn into a FILE, so that tests can look at them. */
#ifndef SKYFERRY_PULL_STATUS_H
#define SKYFERRY_PULL_STATUS_H

#include <stdio.h>

#include "pull/catalogue.h"
#include "pull/lease.h"
#include "pull/settings.h"

struct status_kind;
struct status_picture {
    struct catalogue *cat; /* NULL: there is none yet */
    const char *const *names;
    int name_count;        /* 0: the table of all */
    const char *night;     /* NULL: any */
    int limit;             /* exposures in the table; <= 0: all */
    long daemon;           /* its pid, 0: none runs here */
    struct lease_holder elsewhere; /* with another state folder or machine; pid 0: none */
    const char *root;
    const struct camera *camera;
    const struct pull_settings *settings; /* for what is held back; NULL: not told */
    int64_t now_ns;
    /* of a kind (pull/status_kinds.h) */
    const struct status_kind *kind; /* NULL: none was asked for */
    int lines;             /* that may be drawn; <= 0: any number */
    bool steady;           /* nothing that changes by itself, such as the age of what goes on */
    int unknown, faulty;   /* out: names that match nothing; named exposures that are not whole */
};

/* The table of exposures by night, then what is parked and why, then a line that sums up. */
enum status status_table(struct status_picture *p, FILE *to, struct fault *why);
/* One exposure after the other in full: stamps, ccds with their figures, jobs. */
enum status status_detail(struct status_picture *p, FILE *to, struct fault *why);
/* {"now", "now_ns", "daemon", "held": {...}, "exposures": [...]}: all of them whatever the limit; with names
 * also each one's ccd_list and job_list. */
enum status status_json(struct status_picture *p, FILE *to, struct fault *why);

/* Of a visit whose ccds are not all placed: "NAME: 103 of 104 ccds (missing: 104)". */
void status_visit_line(const struct status_picture *p, const struct exposure *x, FILE *to);
/* What only visits and their files have; `in_full`: also a visit's "file_list". `o` is jansson's. */
enum status status_visit_json(const struct status_picture *p, const struct exposure *x, bool in_full,
                              void *o, struct fault *why);

/* "12.3s", "45m", "7h", "3d" after `from`; "-" when either is unknown, "?" before. */
void status_after(int64_t from, int64_t to, char *out, size_t size);
/* Made to fit `width` columns: the middle gives way to '~'. Nothing that steers a terminal. */
void status_fit(const char *text, int width, char *out, size_t size);

#endif
