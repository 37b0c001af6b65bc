#include "pull/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"

#define MAX_TEXT 8192

/* What the store's file says; is.id is "" when there is none. */
struct named {
    struct catalogue_identity is;
    char host[65], path[PULL_PATH];
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
    if (st == ST_OK && sscanf((const char *)text.data, "catalogue %32[0-9a-f] term %" SCNd64
                              " host %64s path %4095[^\n]", n->is.id, &n->is.term, n->host,
                              n->path) < 2)
        st = fault(why, ST_REJECT, "'%s' names no catalogue: skyferry-pull rebuild makes both anew",
                   file);
    buf_free(&text);
    return st;
}

/* The catalogue's term is written first: cut short between the two, it is one ahead. */
static enum status compare(const struct pull_settings *s, const struct named *n,
                           const struct catalogue_identity *is, struct fault *why)
{
    bool same = strcmp(n->is.id, is->id) == 0;
    if (!n->is.id[0] || (same && (is->term == n->is.term || is->term == n->is.term + 1)))
        return ST_OK;
    if (same)
        return fault(why, ST_REJECT, "the catalogue '%s' is an old copy of this store's, which was "
                     "last '%s' on %s: what came later would be done again. Run skyferry-pull "
                     "with that one, or make this one anew: skyferry-pull rebuild", s->catalogue,
                     n->path, n->host);
    return fault(why, ST_REJECT, "the catalogue '%s' is not this store's, whose is '%s' on %s: with "
                 "this one everything would be done again. Run skyferry-pull there, or make "
                 "this catalogue anew: skyferry-pull rebuild", s->catalogue, n->path, n->host);
}

static enum status look(const struct pull_settings *s, struct catalogue *cat,
                        struct catalogue_identity *is, struct named *n, struct fault *why)
{
    enum status st = read_named(s, n, why);
    if (st == ST_OK)
        st = catalogue_identity(cat, is, why);
    return st == ST_OK ? compare(s, n, is, why) : st;
}

enum status identity_check(const struct pull_settings *s, struct catalogue *cat, struct fault *why)
{
    struct named n;
    struct catalogue_identity is;
    return look(s, cat, &is, &n, why);
}

enum status identity_claim(const struct pull_settings *s, const struct catalogue_identity *is,
                           struct fault *why)
{
    char file[PULL_PATH], text[MAX_TEXT], host[65] = "unknown";
    gethostname(host, sizeof host - 1);
    pull_path(s, "catalogue.id", file);
    int len = snprintf(text, sizeof text, "catalogue %s\nterm %" PRId64 "\nhost %s\npath %s\n",
                       is->id, is->term, host, s->catalogue);
    return fs_write_file(file, text, (size_t)len, false, why);
}

enum status identity_settle(const struct pull_settings *s, struct catalogue *cat, struct fault *why)
{
    struct named n;
    struct catalogue_identity is;
    enum status st = look(s, cat, &is, &n, why);
    if (st != ST_OK)
        return st;
    is.term = (n.is.id[0] ? n.is.term : is.term) + 1;
    st = catalogue_set_term(cat, is.term, why);
    return st == ST_OK ? identity_claim(s, &is, why) : st;
}
