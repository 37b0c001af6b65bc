#include "pull/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"

#define MAX_TEXT 8192

/* What the store's file says; id is "" when there is none. */
struct named {
    char id[CATALOGUE_ID], host[65], path[PULL_PATH];
};

static enum status read_named(const struct pull_settings *s, struct named *n, struct fault *why)
{
    char file[PULL_PATH];
    struct buf text = {0};
    memset(n, 0, sizeof *n);
    pull_path(s, "catalogue.id", file);
    enum status st = fs_read_file(file, MAX_TEXT, &text, why);
    if (st == ST_RETRY && errno == ENOENT)
        return ST_OK;
    if (st == ST_OK && !buf_append(&text, "", 1))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK && sscanf((const char *)text.data, "catalogue %32[0-9a-f] host %64s path %4095[^\n]",
                              n->id, n->host, n->path) < 1)
        st = fault(why, ST_REJECT, "'%s' names no catalogue: skyferry-pull rebuild makes both anew",
                   file);
    buf_free(&text);
    return st;
}

static enum status compare(const struct pull_settings *s, const struct named *n, const char *id,
                           struct fault *why)
{
    if (!n->id[0] || strcmp(n->id, id) == 0)
        return ST_OK;
    return fault(why, ST_REJECT, "the catalogue '%s' is not this store's, whose is '%s' on %s: with "
                 "this one everything would be done again. Run skyferry-pull there, or make "
                 "this catalogue anew: skyferry-pull rebuild", s->catalogue, n->path, n->host);
}

enum status identity_check(const struct pull_settings *s, struct catalogue *cat, struct fault *why)
{
    struct named n;
    char id[CATALOGUE_ID];
    enum status st = read_named(s, &n, why);
    if (st == ST_OK)
        st = catalogue_id(cat, id, why);
    return st == ST_OK ? compare(s, &n, id, why) : st;
}

enum status identity_claim(const struct pull_settings *s, const char *id, struct fault *why)
{
    char file[PULL_PATH], text[MAX_TEXT], host[65] = "unknown";
    gethostname(host, sizeof host - 1);
    pull_path(s, "catalogue.id", file);
    int len = snprintf(text, sizeof text, "catalogue %s\nhost %s\npath %s\n", id, host, s->catalogue);
    return fs_write_file(file, text, (size_t)len, false, why);
}

enum status identity_settle(const struct pull_settings *s, struct catalogue *cat, struct fault *why)
{
    struct named n;
    char id[CATALOGUE_ID];
    enum status st = read_named(s, &n, why);
    if (st == ST_OK)
        st = catalogue_id(cat, id, why);
    if (st == ST_OK)
        st = n.id[0] ? compare(s, &n, id, why) : identity_claim(s, id, why);
    return st;
}
