#include "pull/status_kinds.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

static const struct status_kind kinds[] = {
    {"jobs", 40, status_jobs, status_jobs_json},
    {"seeing", 40, status_seeing, status_seeing_json},
    {"inventory", 7, status_inventory, status_inventory_json},
};

const struct status_kind *status_kind_of(const char *word)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].word, word) == 0)
            return &kinds[i];
    return NULL;
}

enum status status_json_member(FILE *to, const char *key, json_t *value, struct fault *why)
{
    if (key)
        fprintf(to, ",\"%s\":", key);
    int failed = json_dumpf(value, to, JSON_COMPACT | JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY);
    json_decref(value);
    return failed ? fault(why, ST_RETRY, "cannot write the status: output closed, or out of memory")
                  : ST_OK;
}

static enum status draw_json(struct status_picture *p, FILE *to, struct fault *why)
{
    char iso[32];
    clock_iso(p->now_ns, iso, sizeof iso);
    fprintf(to, "{\"now\":\"%s\",\"now_ns\":%" PRId64 ",\"daemon\":%ld", iso, p->now_ns, p->daemon);
    enum status st = p->kind->json(p, to, why);
    fputs("}\n", to);
    return st;
}

enum status status_kind_draw(struct status_picture *p, bool json, FILE *to, struct fault *why)
{
    return json ? draw_json(p, to, why) : p->kind->table(p, to, why);
}

int status_rows(const struct status_picture *p, int other_lines)
{
    int most = p->limit > 0 ? p->limit : 1000000, fit = p->lines - other_lines;
    return p->lines > 0 && fit < most ? (fit > 1 ? fit : 1) : most;
}

void status_when(int64_t ns, char *out, size_t size)
{
    time_t s = (time_t)(ns / NS_PER_S);
    struct tm t;
    if (ns <= 0 || !gmtime_r(&s, &t) || strftime(out, size, "%m-%d %H:%M:%S", &t) == 0)
        snprintf(out, size, "-");
}
