/* Which jobs are next: the newest exposure's first, as many as the ceilings allow. */
#include <stdlib.h>

#include "common/clock.h"
#include "pull/gate.h"
#include "pull/job_inner.h"

#define AT_A_TIME 4096 /* the rest follows at the next look */

struct next {
    struct agent *a;
    struct ceiling c;
    enum ceiling_by by;
    struct job *items;
    size_t count, room;
    size_t first;  /* the jobs from here on are of one exposure, not decided about yet */
    int64_t now;
    bool full;     /* out of memory */
};

/* The exposure whose jobs stand at the end: as many of them as may go stay. False: it ends here. */
static bool decide(struct next *n)
{
    int wanted = (int)(n->count - n->first);
    int let = wanted > 0 ? ceiling_let(&n->c, wanted, &n->by) : 0;
    ceiling_took(&n->c, let);
    n->count = n->first += (size_t)let;
    return let == wanted;
}

static bool add(struct next *n, const struct job *j)
{
    if (n->count == n->room) {
        size_t room = n->room ? 2 * n->room : 16;
        struct job *bigger = realloc(n->items, room * sizeof *bigger);
        n->full = bigger == NULL;
        if (!bigger)
            return false;
        n->items = bigger;
        n->room = room;
    }
    n->items[n->count++] = *j;
    return true;
}

static bool collect(void *ctx, const struct job *j)
{
    struct next *n = ctx;
    if (j->due_ns > n->now || !agent_is_chosen(n->a, j->exposure))
        return true;
    bool another = n->count > n->first && n->items[n->first].exposure != j->exposure;
    if (another && (!decide(n) || n->count >= AT_A_TIME))
        return false;
    return add(n, j);
}

static void count_running(struct next *n)
{
    gate_ceiling(n->a, n->a->jobs->row->adopt != NULL, &n->c);
    for (const struct running *r = n->a->jobs->running; r; r = r->next)
        ceiling_add(&n->c, r->handle);
}

/* One submission: an exposure's jobs, or each job where they go one by one. */
static bool is_first_of_its(const struct next *n, size_t i)
{
    return !n->c.arrays || i == 0 || n->items[i].exposure != n->items[i - 1].exposure;
}

static enum status begin_all(struct next *n, struct fault *why)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n->count; i++) {
        if (is_first_of_its(n, i) && !gate_submits(n->a))
            break;
        st = job_start(n->a, &n->items[i], why);
    }
    return st;
}

enum status jobs_look(struct agent *a, struct fault *why)
{
    char words[200];
    enum status st = a->jobs ? job_record_ends(a, why) : ST_OK;
    if (st != ST_OK || !a->jobs || a->s.dry_run || gate_paused(a, PAUSE_JOBS))
        return st;
    struct next n = {.a = a, .now = clock_wall()};
    count_running(&n);
    st = catalogue_jobs_next(a->cat, collect, &n, why);
    if (st == ST_OK && n.full)
        st = fault(why, ST_RETRY, "out of memory");
    decide(&n);
    if (st == ST_OK)
        st = begin_all(&n, why);
    if (st == ST_OK && n.by != CEILING_NONE) {
        ceiling_words(&n.c, n.by, words, sizeof words);
        gate_held(a, PAUSE_JOBS, words);
    }
    if (n.count >= AT_A_TIME)
        agent_poke(a);
    free(n.items);
    return st;
}
