/* `skyferry-pull status jobs|seeing|inventory`: one question of the night each, drawn from the
 * catalogue as tables of at most 79 columns, every row whole in itself, or as one JSON object.
 * Each costs the same in a season's catalogue as in a night's (pull/catalogue_sums.h). */
#ifndef SKYFERRY_PULL_STATUS_KINDS_H
#define SKYFERRY_PULL_STATUS_KINDS_H

#include <jansson.h>

#include "pull/status.h"

struct status_kind {
    const char *word;
    int limit; /* rows, when nobody says */
    enum status (*table)(struct status_picture *p, FILE *to, struct fault *why);
    /* Its members of the object, each after a comma (status_json_member). */
    enum status (*json)(struct status_picture *p, FILE *to, struct fault *why);
};

/* NULL: the word is none. */
const struct status_kind *status_kind_of(const char *word);
/* As the picture's kind draws it, with JSON's frame; no catalogue draws as an empty one. */
enum status status_kind_draw(struct status_picture *p, bool json, FILE *to, struct fault *why);

/* What runs and waits, what failed and why, the newest that are done. */
enum status status_jobs(struct status_picture *p, FILE *to, struct fault *why);
enum status status_jobs_json(struct status_picture *p, FILE *to, struct fault *why);
/* What the jobs measured on the newest science exposures: shall the night go on? */
enum status status_seeing(struct status_picture *p, FILE *to, struct fault *why);
enum status status_seeing_json(struct status_picture *p, FILE *to, struct fault *why);
/* What the store holds of the newest nights, and which calibrations they lack. */
enum status status_inventory(struct status_picture *p, FILE *to, struct fault *why);
enum status status_inventory_json(struct status_picture *p, FILE *to, struct fault *why);

/* How many rows may be drawn, by the picture's limit (<= 0: any number) and its lines, of which
 * other_lines are for the rest of the picture. */
int status_rows(const struct status_picture *p, int other_lines);
/* "04-05 03:12:04", UTC; "-" when it is unknown. */
void status_when(int64_t ns, char *out, size_t size);

/* Writes ,"KEY":VALUE and frees the value; KEY NULL: the value alone. */
enum status status_json_member(FILE *to, const char *key, json_t *value, struct fault *why);
/* Texts of any bytes; NULL instead of a number that is none; KEY and KEY_ns. */
json_t *status_json_text(const char *s);
json_t *status_json_real(double x);
void status_json_time(json_t *o, const char *key, int64_t ns);

#endif
