#include "push/limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

struct limit {
    struct throttle *throttle;
    char configured[TIMETABLE_TEXT];
    struct timetable table; /* in force */
    bool asked;             /* by `skyferry-push rate`, not by the configuration */
    bool ticked;
    double mbit;            /* since the last tick */
    int64_t next_ns;        /* when it changes; 0: never */
    double then;
};

static void go_by_configuration(struct limit *l)
{
    l->table = (struct timetable){0};
    timetable_parse(l->configured, &l->table, NULL);
    l->asked = false;
}

struct limit *limit_new(const char *configured)
{
    struct limit *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->throttle = throttle_new();
    if (!l->throttle)
        limit_free(&l);
    else
        limit_configure(l, configured);
    return l;
}

void limit_free(struct limit **l)
{
    if (!*l)
        return;
    throttle_free(&(*l)->throttle);
    free(*l);
    *l = NULL;
}

struct throttle *limit_throttle(const struct limit *l)
{
    return l->throttle;
}

void limit_configure(struct limit *l, const char *configured)
{
    if (strcmp(l->configured, configured) == 0)
        return;
    snprintf(l->configured, sizeof l->configured, "%s", configured);
    go_by_configuration(l);
}

enum status limit_ask(struct limit *l, const char *text, struct fault *why)
{
    if (strcmp(text, "auto") == 0) {
        go_by_configuration(l);
        return ST_OK;
    }
    enum status st = timetable_parse(text, &l->table, why);
    l->asked = l->asked || st == ST_OK;
    return st;
}

void limit_tick(struct limit *l, int64_t wall_ns, int64_t mono_ns)
{
    char words[200];
    double before = l->mbit;
    l->mbit = timetable_at(&l->table, wall_ns);
    l->next_ns = timetable_next(&l->table, wall_ns);
    l->then = l->next_ns ? timetable_at(&l->table, l->next_ns) : 0;
    throttle_set(l->throttle, l->mbit, mono_ns);
    if (l->mbit == before && (l->ticked || l->mbit == 0)) {
        l->ticked = true;
        return;
    }
    l->ticked = true;
    limit_words(l, words, sizeof words);
    log_info(AT(.stage = "ship"), "rate from now on: %s", words[0] ? words : "no limit");
}

/* ---- for people and programs ---- */

static void words_of(double mbit, char *out, size_t size)
{
    if (mbit > 0)
        snprintf(out, size, "at most %.6g Mbit/s", mbit);
    else
        snprintf(out, size, "no limit");
}

void limit_words(const struct limit *l, char *out, size_t size)
{
    char rate[32], then[32], until[80] = "", iso[32];
    out[0] = '\0';
    if (l->mbit == 0 && l->next_ns == 0 && !l->asked)
        return;
    words_of(l->mbit, rate, sizeof rate);
    words_of(l->then, then, sizeof then);
    if (l->next_ns) {
        clock_iso(l->next_ns, iso, sizeof iso);
        snprintf(until, sizeof until, " until %.5s UTC, then %s", iso + 11, then);
    }
    snprintf(out, size, "%s%s%s", rate, until,
             l->asked ? "; said by skyferry-push rate" : "");
}

static void number(double mbit, char *out, size_t size)
{
    if (mbit > 0)
        snprintf(out, size, "%.6g", mbit);
    else
        snprintf(out, size, "null");
}

void limit_figures(const struct limit *l, char *out, size_t size)
{
    char rate[32], then[32], until[64] = "null", ns[32] = "null", iso[32];
    number(l->mbit, rate, sizeof rate);
    number(l->then, then, sizeof then);
    if (l->next_ns) {
        clock_iso(l->next_ns, iso, sizeof iso);
        snprintf(until, sizeof until, "\"%s\"", iso);
        snprintf(ns, sizeof ns, "%lld", (long long)l->next_ns);
    }
    snprintf(out, size, "{\"mbit\":%s,\"until\":%s,\"until_ns\":%s,\"then_mbit\":%s,\"asked\":%s}",
             rate, until, ns, then, l->asked ? "true" : "false");
}
