/* `unpack BUNDLE...`: needs neither configuration nor store. */
#include <stdio.h>

#include "common/fsutil.h"
#include "pull/commands.h"
#include "pull/unpack.h"

static void print_one(const struct unpack_ccd *c)
{
    char what[32];
    if (c->ccd > 0)
        snprintf(what, sizeof what, "ccd %d", c->ccd);
    else
        snprintf(what, sizeof what, "HDU %d", c->hdu);
    if (c->why.grade == ST_OK)
        printf("  %-8s %-9s %10lld bytes  %s\n", what, c->codec, (long long)c->bytes, c->path);
    else
        printf("  %-8s FAILED: %s\n", what, c->why.text);
}

static void print_report(const char *path, const struct unpack_report *r, enum status st,
                         const struct fault *why)
{
    printf("%s:%s%s\n", fs_basename(path), r->name[0] ? " exposure " : "", r->name);
    for (size_t i = 0; i < r->count; i++)
        print_one(&r->ccds[i]);
    if (st != ST_OK && r->failed == 0)
        fprintf(stderr, "skyferry-pull: %s: %s\n", path, why->text);
    else if (st != ST_OK)
        fprintf(stderr, "skyferry-pull: %s: %zu of %zu files could not be made\n", path, r->failed,
                r->count);
    printf("  %zu of %zu files in %.1f s\n", r->done, r->count, r->seconds);
}

int command_unpack(struct invocation *in)
{
    struct unpack_options o = {.to = option_value(in, OPT_TO),
                               .rebuild = option_value(in, OPT_REBUILD) != NULL,
                               .force = option_value(in, OPT_FORCE) != NULL};
    int good = 0, bad = 0;
    size_t files = 0;
    if (in->operand_count == 0) {
        fprintf(stderr, "skyferry-pull: unpack: which bundles? unpack BUNDLE... [--to DIR]\n");
        return EXIT_USAGE;
    }
    for (int i = 0; i < in->operand_count; i++) {
        struct unpack_report r = {0};
        struct fault why = {0};
        enum status st = unpack_bundle(in->operands[i], &o, &r, &why);
        print_report(in->operands[i], &r, st, &why);
        good += st == ST_OK;
        bad += st != ST_OK;
        files += r.done;
        unpack_report_free(&r);
    }
    if (bad == 0)
        return EXIT_DONE;
    return good > 0 || files > 0 ? EXIT_INCOMPLETE : EXIT_FAILED;
}
