#include "pull/ceiling.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pull/settings.h"

void ceiling_init(struct ceiling *c, const struct pull_settings *s, bool arrays, int submits)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *c = (struct ceiling){.arrays = arrays, .queue_most = arrays ? s->max_queued : 0,
                          .run_most = s->max_running, .submits = submits,
                          .submit_most = s->submits_per_minute};
    if (!arrays && c->run_most == 0)
        c->run_most = processors > 0 ? (int)processors : 1;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

void ceiling_add(struct ceiling *c, const char *handle)
{
    if (!c->arrays || strcmp(c->handle, handle) != 0)
        c->members = 0;
    snprintf(c->handle, sizeof c->handle, "%s", handle);
    c->queued++;
    c->running += !c->arrays || c->run_most == 0 || c->members < c->run_most;
    c->members++;
}

/* The room under one ceiling for `wanted`. In parts only where that is the way of things (one by
 * one), or where all of it would never fit. */
static int room(const struct ceiling *c, int most, int used, int wanted)
{
    int left = most == 0 ? INT_MAX : most > used ? most - used : 0;
    if (wanted <= left)
        return wanted;
    return c->arrays && used > 0 ? 0 : left;
}

int ceiling_let(const struct ceiling *c, int jobs, enum ceiling_by *by)
{
    int n = room(c, c->queue_most, c->queued, jobs), m;
    *by = n < jobs ? CEILING_QUEUED : CEILING_NONE;
    if (c->arrays) {
        int slots = c->run_most ? least(n, c->run_most) : n;
        m = room(c, c->run_most, c->running, slots) < slots ? 0 : n;
    } else {
        m = room(c, c->run_most, c->running, n);
    }
    if (m < n)
        *by = CEILING_RUNNING;
    n = m;
    int submits = c->arrays ? least(n, 1) : n;
    m = c->submit_most == 0 ? submits : least(submits, c->submit_most - c->submits);
    if (m >= submits)
        return n;
    *by = CEILING_MINUTE;
    return c->arrays || m < 0 ? 0 : m;
}

void ceiling_took(struct ceiling *c, int jobs)
{
    c->queued += jobs;
    c->running += c->arrays && c->run_most ? least(jobs, c->run_most) : jobs;
    c->submits += c->arrays ? least(jobs, 1) : jobs;
}

void ceiling_words(const struct ceiling *c, enum ceiling_by by, char *out, size_t size)
{
    out[0] = '\0';
    if (by == CEILING_QUEUED)
        snprintf(out, size, "%d of %d tasks are in the queue ([jobs] max_queued)", c->queued,
                 c->queue_most);
    else if (by == CEILING_RUNNING)
        snprintf(out, size, "%d of %d %s ([jobs] max_running)", c->running, c->run_most,
                 c->arrays ? "tasks run or may run at any moment" : "jobs run");
    else if (by == CEILING_MINUTE)
        snprintf(out, size, "%d of %d submissions of this minute are made ([jobs] "
                 "submits_per_minute)", c->submits, c->submit_most);
}
