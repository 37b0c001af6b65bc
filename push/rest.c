#include "push/rest.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "push/screen.h"

#define INDENT 4

void rest_say(FILE *to, const char *lead, const char *path, const char *what, const char *reason)
{
    fprintf(to, "%s: ", lead);
    for (const char *p = path; *p; p++)
        fputc(iscntrl((unsigned char)*p) ? '?' : *p, to);
    fprintf(to, "%s\n", what);
    if (reason[0])
        screen_say(to, INDENT, "    ", reason);
}

void rest_end(struct rest *r)
{
    const struct exposure *e = &r->first;
    char what[CAMERA_GROUP + 80] = "";
    if (r->count == 0)
        return;
    if (r->count > 1)
        snprintf(what, sizeof what, " and %" PRId64 " more of %s", r->count - 1, e->group);
    size_t len = strlen(what);
    snprintf(what + len, sizeof what - len, ": %s", exposure_state_names[e->state]);
    rest_say(r->to, "not delivered", e->path, what, e->reason);
    r->count = 0;
}

bool rest_take(void *ctx, const struct exposure *e)
{
    struct rest *r = ctx;
    bool same = r->count > 0 && e->group[0] && strcmp(e->group, r->first.group) == 0 &&
                e->state == r->first.state && strcmp(e->reason, r->first.reason) == 0;
    if (!same) {
        rest_end(r);
        r->first = *e;
    }
    r->count++;
    return true;
}
