/* `unpack BUNDLE...`: needs neither configuration nor store; for weight maps a camera's keys, which
 * are the usual ones unless a configuration is given. */
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
    if (c->why.grade != ST_OK) {
        printf("  %-8s FAILED: %s\n", what, c->why.text);
        return;
    }
    printf("  %-8s %-9s %10lld bytes  %s\n", what, c->codec, (long long)c->bytes, c->path);
    if (c->weight[0])
        printf("  %-8s weight map                  %s\n", what, c->weight);
    else if (c->weightless.grade != ST_OK)
        printf("  %-8s %s\n", what, c->weightless.text);
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
    if (r->unproven > 0)
        printf("  %zu ccds " UNPACK_UNPROVEN "\n", r->unproven);
    if (r->weightless > 0)
        fprintf(stderr, "skyferry-pull: %s: %zu weight maps could not be made\n", path,
                r->weightless);
    printf("  %zu of %zu files in %.1f s\n", r->done, r->count, r->seconds);
}

/* The camera of the configuration given, else the usual keys. */
static bool find_camera(const struct invocation *in, struct camera *out)
{
    struct pull_settings s;
    struct config_report r = {0};
    struct pull_overrides o = {.config = option_value(in, OPT_CONFIG), .root = "/"};
    if (o.config && pull_settings_load(&o, &s, &r))
        *out = s.camera;
    else if (!o.config)
        config_load(NULL, camera_settings, out, &r);
    if (r.count > 0 && buf_append(&r.text, "", 1))
        fprintf(stderr, "skyferry-pull: %s", (const char *)r.text.data);
    buf_free(&r.text);
    return r.count == 0;
}

int command_unpack(struct invocation *in)
{
    struct camera camera;
    struct unpack_options o = {.to = option_value(in, OPT_TO),
                               .rebuild = option_value(in, OPT_REBUILD) != NULL,
                               .force = option_value(in, OPT_FORCE) != NULL};
    int good = 0, bad = 0;
    size_t files = 0;
    if (in->operand_count == 0) {
        fprintf(stderr, "skyferry-pull: unpack: which bundles? unpack BUNDLE... [--to DIR]\n");
        return EXIT_USAGE;
    }
    if (option_value(in, OPT_WEIGHTS)) {
        if (!find_camera(in, &camera))
            return EXIT_USAGE;
        o.weights = &camera;
    }
    for (int i = 0; i < in->operand_count; i++) {
        struct unpack_report r = {0};
        struct fault why = {0};
        enum status st = unpack_bundle(in->operands[i], &o, &r, &why);
        print_report(in->operands[i], &r, st, &why);
        bool all = st == ST_OK && r.weightless == 0;
        good += all;
        bad += !all;
        files += r.done;
        unpack_report_free(&r);
    }
    if (bad == 0)
        return EXIT_DONE;
    return good > 0 || files > 0 ? EXIT_INCOMPLETE : EXIT_FAILED;
}
