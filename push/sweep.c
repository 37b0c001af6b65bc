#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pool.h"
#include "push/commands.h"
#include "push/deliver.h"
#include "push/held.h"
#include "push/progress.h"
#include "push/rest.h"
#include "push/sweep_inner.h"

/* ---- what the far end holds ---- */

static bool asked_about(const struct sweep_item *i)
{
    return !i->broken[0] && i->of_night;
}

/* exact: of those that are held, which ones bit for bit? */
static bool asked_exactly(const struct sweep_item *i)
{
    return asked_about(i) && i->held;
}

static enum status ask(struct sweep *s, bool exact, struct fault *why)
{
    bool (*wanted)(const struct sweep_item *) = exact ? asked_exactly : asked_about;
    enum status st = ST_RETRY;
    struct lane_options lane;
    size_t n = 0;
    struct wire_have *asked = calloc(s->count + 1, sizeof *asked);
    bool *held = calloc(s->count + 1, sizeof *held);
    if (!asked || !held) {
        fault(why, ST_RETRY, "out of memory for %zu exposures", s->count);
        goto out;
    }
    for (size_t i = 0; i < s->count; i++) {
        const struct sweep_item *item = &s->items[i];
        struct wire_have *h = &asked[n];
        if (!wanted(item))
            continue;
        h->exact = exact;
        snprintf(h->name, sizeof h->name, "%s", item->name);
        snprintf(h->date_obs, sizeof h->date_obs, "%s", item->facts.date_obs);
        h->mtime_ns = item->file.mtime_ns;
        h->source_size = item->file.size;
        memcpy(h->source_sha256, item->sha256, sizeof h->source_sha256);
        n++;
    }
    settings_lane(&s->config->set, &lane);
    if (lane.connect_timeout_s > s->o->timeout_s)
        lane.connect_timeout_s = s->o->timeout_s;
    /* With nothing to ask the far end is still greeted: an empty night must not pass for a
     * complete one while the line is down. */
    st = n ? held_ask(&lane, asked, held, n, &s->hello, why)
           : lane_ask(&lane, NULL, &s->hello, NULL, why);
    n = 0;
    for (size_t i = 0; i < s->count && st == ST_OK; i++)
        if (wanted(&s->items[i]))
            *(exact ? &s->items[i].exact : &s->items[i].held) = held[n++];
out:
    free(asked);
    free(held);
    return st;
}

/* An exposure without a number is never left behind for it. */
static bool excluded(const struct sweep *s, const struct sweep_item *i)
{
    return s->o->exp_min >= 0 && i->facts.expnum >= 0 && i->facts.expnum <= s->o->exp_min;
}

struct tally {
    size_t total, held, missing, excluded, broken, to_send;
};

static void tally(const struct sweep *s, struct tally *t)
{
    *t = (struct tally){0};
    for (size_t i = 0; i < s->count; i++) {
        const struct sweep_item *item = &s->items[i];
        if (!item->of_night)
            continue;
        t->total++;
        t->held += item->held;
        t->missing += !item->held;
        if (!item->held && item->broken[0])
            t->broken++;
        else if (!item->held && excluded(s, item))
            t->excluded++;
        else if (!item->held)
            t->to_send++;
    }
}

static void print_tally(const struct sweep *s, const struct tally *t)
{
    printf("total %zu, held %zu, missing %zu, to send %zu\n", t->total, t->held, t->missing,
           t->to_send);
    if (t->excluded)
        printf("not to be sent: %zu with exposure numbers up to %lld (--exp-min)\n", t->excluded,
               (long long)s->o->exp_min);
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].of_night && s->items[i].broken[0])
            rest_say(stdout, "cannot be sent", s->items[i].path, "", s->items[i].broken);
}

static void print_missing(const struct sweep *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct sweep_item *item = &s->items[i];
        if (item->of_night && !item->held && !item->broken[0] && !excluded(s, item))
            printf("missing: %s\n", item->path);
    }
}

/* ---- sending ---- */

static void print_rest(const struct sweep *s)
{
    struct rest r = {.to = stdout};
    struct fault why;
    if (deliver_rest(s->deliver, rest_take, &r, &why) != ST_OK)
        fprintf(stderr, "skyferry-push: %s\n", why.text);
    rest_end(&r);
}

static bool to_send(const struct sweep *s, const struct sweep_item *i)
{
    return i->of_night && !i->held && !i->broken[0] && !excluded(s, i);
}

static int by_group(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void note_held(struct sweep *s, const struct sweep_item *item)
{
    struct exposure e = {.file = item->file, .facts = item->facts, .group_ccd = item->ccd};
    struct fault why;
    snprintf(e.path, sizeof e.path, "%s", item->path);
    memcpy(e.name, item->name, sizeof e.name);
    memcpy(e.group, item->group, sizeof e.group);
    memcpy(e.source_sha256, item->sha256, sizeof e.source_sha256);
    if (deliver_held(s->deliver, &e, &why) != ST_OK)
        fprintf(stderr, "skyferry-push: %s: %s\n", item->path, why.text);
}

/* What is missing of an exposure of several files follows the others that are held, which a journal
 * that was begun anew does not know of. */
static void note_held_parts(struct sweep *s)
{
    const char **groups = calloc(s->count + 1, sizeof *groups);
    size_t count = 0;
    for (size_t i = 0; groups && i < s->count; i++)
        if (s->items[i].group[0] && to_send(s, &s->items[i]))
            groups[count++] = s->items[i].group;
    if (count > 1)
        qsort(groups, count, sizeof *groups, by_group);
    for (size_t i = 0; count && i < s->count; i++) {
        const char *group = s->items[i].group;
        if (s->items[i].held && group[0] && bsearch(&group, groups, count, sizeof *groups, by_group))
            note_held(s, &s->items[i]);
    }
    free(groups);
}

static void send_missing(struct sweep *s, struct deliver_result *r)
{
    struct fault why;
    note_held_parts(s);
    for (size_t i = 0; i < s->count; i++) {
        struct sweep_item *item = &s->items[i];
        if (!to_send(s, item))
            continue;
        if (deliver_add(s->deliver, item->path, ORIGIN_SWEEP, true, &why) != ST_OK)
            snprintf(item->broken, sizeof item->broken, "%.400s", why.text);
    }
    deliver_wait(s->deliver, s->o->timeout_s, r);
    print_rest(s);
}

static int unreachable(const struct fault *why)
{
    fprintf(stderr, "skyferry-push: the far end cannot be reached, so it is not known what it "
                    "lacks: %s\n", why->text);
    return EXIT_UNREACHABLE;
}

static int finish(struct sweep *s, const struct tally *before)
{
    struct deliver_result r = {0};
    struct tally after;
    struct fault why;
    if (before->to_send > 0)
        send_missing(s, &r);
    if (r.unreachable)
        return unreachable(&r.trouble);
    if (r.trouble.grade != ST_OK)
        fprintf(stderr, "skyferry-push: %s\n", r.trouble.text);
    if (before->to_send > 0 && ask(s, false, &why) != ST_OK)
        return unreachable(&why);
    tally(s, &after);
    size_t sent = before->to_send - after.to_send;
    printf("sent %zu of %zu, missing %zu of %zu (%.1f %% held)\n", sent, before->to_send,
           after.missing, after.total,
           after.total ? 100.0 * (double)after.held / (double)after.total : 100.0);
    return after.missing > after.excluded ? EXIT_INCOMPLETE : EXIT_DONE;
}

/* ---- exact data ---- */

struct exact_tally {
    size_t total, exact, to_send;
};

/* Of the night's exposures that are held; what --exp-min leaves behind stays as it is. */
static void tally_exact(const struct sweep *s, struct exact_tally *t)
{
    *t = (struct exact_tally){0};
    for (size_t i = 0; i < s->count; i++) {
        const struct sweep_item *item = &s->items[i];
        if (!asked_exactly(item))
            continue;
        t->total++;
        t->exact += item->exact;
        t->to_send += !item->exact && !excluded(s, item);
    }
}

static void queue_exact(struct sweep *s)
{
    struct exposure e;
    struct fault why;
    for (size_t i = 0; i < s->count; i++) {
        const struct sweep_item *item = &s->items[i];
        if (!asked_exactly(item) || item->exact || excluded(s, item))
            continue;
        memset(&e, 0, sizeof e);
        snprintf(e.path, sizeof e.path, "%s", item->path);
        memcpy(e.name, item->name, sizeof e.name);
        e.file = item->file;
        e.facts = item->facts;
        if (deliver_add_exact(s->deliver, &e, true, &why) != ST_OK)
            rest_say(stdout, "not queued", item->path, "", why.text);
    }
}

/* What is held lossy gets its exact data. `code`: how the rest of the sweep ended. */
static int send_exact(struct sweep *s, int code)
{
    struct deliver_result r = {0};
    struct exact_tally before, after;
    struct fault why;
    if (ask(s, true, &why) != ST_OK)
        return unreachable(&why);
    if (!s->hello.exact) {
        printf("exact data: the far end's %s does not know them; [sweep] lossless needs a newer "
               "skyferry-pull there\n", s->hello.software);
        return EXIT_INCOMPLETE;
    }
    tally_exact(s, &before);
    printf("exact: %zu of %zu, to send %zu\n", before.exact, before.total, before.to_send);
    if (before.to_send == 0 || s->o->dry_run)
        return before.to_send ? EXIT_INCOMPLETE : code;
    queue_exact(s);
    deliver_wait(s->deliver, s->o->timeout_s, &r);
    print_rest(s);
    if (r.unreachable)
        return unreachable(&r.trouble);
    if (r.trouble.grade != ST_OK)
        fprintf(stderr, "skyferry-push: %s\n", r.trouble.text);
    if (ask(s, true, &why) != ST_OK)
        return unreachable(&why);
    tally_exact(s, &after);
    printf("exact data sent: %zu of %zu, exact %zu of %zu\n", before.to_send - after.to_send,
           before.to_send, after.exact, after.total);
    return after.to_send ? EXIT_INCOMPLETE : code;
}

int sweep_command(const struct config *c, const struct sweep_options *o)
{
    struct sweep s = {.config = c, .o = o};
    struct tally t;
    struct fault why;
    int code = EXIT_FAILED;
    if (deliver_open(c, &s.deliver, &why) != ST_OK || sweep_look(&s, &why) != ST_OK) {
        fprintf(stderr, "skyferry-push: %s\n", why.text);
        goto out;
    }
    if (ask(&s, false, &why) != ST_OK) {
        code = unreachable(&why);
        goto out;
    }
    tally(&s, &t);
    print_tally(&s, &t);
    if (t.total == 0 && o->night) {
        fprintf(stderr, "skyferry-push: there is no exposure of night %s below %s; is it the night "
                        "that you mean?\n", o->night, c->set.directory);
    } else if (o->dry_run) {
        print_missing(&s);
        code = t.missing > t.excluded ? EXIT_INCOMPLETE : EXIT_DONE;
    } else {
        code = finish(&s, &t);
    }
    bool delivered = code == EXIT_DONE || code == EXIT_INCOMPLETE;
    if (settings_exact_sweep(&c->set) && delivered && t.total > 0)
        code = send_exact(&s, code);
out:
    deliver_close(&s.deliver);
    sweep_free(&s);
    return code;
}
