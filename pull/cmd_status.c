/* `status`: opens the catalogue, draws, once or again and again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"
#include "common/redraw.h"
#include "pull/commands.h"
#include "pull/status_kinds.h"

#define PERIOD_MS 2000
#define LIMIT 40

/* On a screen that is drawn again and again, 0 elsewhere. */
static int lines_that_fit(void)
{
    struct winsize w;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 ? w.ws_row : 0;
}

static enum status draw(struct invocation *in, struct status_picture *p, FILE *to,
                        struct fault *why)
{
    enum status st = ST_OK;
    p->unknown = p->faulty = 0;
    p->now_ns = clock_wall();
    p->daemon = fs_lock_holder(in->s.lock);
    if (p->daemon || !lease_read(in->s.root, in->s.lease_seconds, &p->elsewhere))
        p->elsewhere.pid = 0;
    /* No catalogue yet is no failure: nothing has come. */
    if (access(in->s.catalogue, F_OK) == 0)
        st = catalogue_open(in->s.catalogue, true, &p->cat, why);
    if (st == ST_OK && p->kind)
        st = status_kind_draw(p, option_value(in, OPT_JSON) != NULL, to, why);
    else if (st == ST_OK && option_value(in, OPT_JSON))
        st = status_json(p, to, why);
    else if (st == ST_OK)
        st = p->name_count > 0 ? status_detail(p, to, why) : status_table(p, to, why);
    catalogue_close(&p->cat);
    return st;
}

static bool flushed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    fprintf(stderr, "skyferry-pull: cannot write to standard output: %s\n", strerror(errno));
    return false;
}

static int once(struct invocation *in, struct status_picture *p)
{
    struct fault why;
    enum status st = draw(in, p, stdout, &why);
    if (!flushed())
        return EXIT_FAILED;
    if (st != ST_OK) {
        say_problem("%s", why.text);
        return EXIT_FAILED;
    }
    return p->unknown > 0 ? EXIT_FAILED : p->faulty > 0 ? EXIT_INCOMPLETE : EXIT_DONE;
}

struct watching {
    struct invocation *in;
    struct status_picture *p;
};

static enum status again(void *ctx, FILE *to, struct fault *why)
{
    struct watching *w = ctx;
    w->p->lines = w->p->kind ? lines_that_fit() : 0;
    w->p->steady = option_value(w->in, OPT_FOLLOW) && !isatty(STDOUT_FILENO);
    return draw(w->in, w->p, to, why);
}

static int watch(struct invocation *in, struct status_picture *p)
{
    struct watching w = {in, p};
    struct redraw r = {.program = "skyferry-pull", .every_ms = PERIOD_MS,
                       .plain = option_value(in, OPT_JSON) != NULL,
                       .changes = option_value(in, OPT_FOLLOW) != NULL, .draw = again, .ctx = &w};
    return redraw_run(&r);
}

/* `status jobs|seeing|inventory`; false, with the reason said, when something follows. */
static bool take_kind(struct status_picture *p)
{
    p->kind = p->name_count > 0 ? status_kind_of(p->names[0]) : NULL;
    if (!p->kind)
        return true;
    if (p->name_count > 1)
        fprintf(stderr, "skyferry-pull: status %s takes no name ('%s'); --night chooses a night\n",
                p->kind->word, p->names[1]);
    p->limit = p->kind->limit;
    return p->name_count == 1;
}

int command_status(struct invocation *in)
{
    struct status_picture p = {.names = in->operands, .name_count = in->operand_count,
                               .night = option_value(in, OPT_NIGHT), .limit = LIMIT,
                               .root = in->s.root, .camera = &in->s.camera, .settings = &in->s};
    if (!take_kind(&p))
        return EXIT_USAGE;
    const char *limit = option_value(in, OPT_LIMIT);
    char *end = NULL;
    if (limit) {
        long n = strtol(limit, &end, 10);
        if (!*limit || *end || n < 1 || n > 1000000) {
            fprintf(stderr, "skyferry-pull: --limit '%s': give a number from 1 on\n", limit);
            return EXIT_USAGE;
        }
        p.limit = (int)n;
    }
    if (p.night && !night_valid(p.night)) {
        fprintf(stderr, "skyferry-pull: --night '%s' is no night: write it as utYYMMDD\n", p.night);
        return EXIT_USAGE;
    }
    if (option_value(in, OPT_ALL))
        p.limit = 0;
    bool again_and_again = option_value(in, OPT_WATCH) || option_value(in, OPT_FOLLOW);
    return again_and_again ? watch(in, &p) : once(in, &p);
}
