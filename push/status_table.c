/* The table of `status`, for a terminal of 80 columns at 3 a.m.: who is at work, how much waits,
 * the newest exposures, and last, next to the prompt, what needs a human. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "push/screen.h"
#include "push/status.h"

#define NAME_WIDTH 26
#define LISTED 10 /* parked ones, and waiting ones, that are told in full */

/* ---- cells ---- */

static void cell_mb(int64_t bytes, char *out, size_t size)
{
    double mb = (double)bytes / 1e6;
    snprintf(out, size, mb < 99999.95 ? "%.1f" : "%.0f", mb);
}

static void cell_time(int64_t ns, char *out, size_t size)
{
    char iso[32];
    clock_iso(ns, iso, sizeof iso); /* 2026-11-21T03:38:33.123Z */
    snprintf(out, size, "%.5s %.8s", iso + 5, iso + 11);
}

static void cell_duration(int64_t ns, char *out, size_t size)
{
    double s = (double)ns / NS_PER_S;
    if (s < 999.95)
        snprintf(out, size, "%.1f", s);
    else if (s < 99999.5)
        snprintf(out, size, "%.0f", s);
    else
        snprintf(out, size, "%.0fd", s / 86400);
}

/* "1.2 GB", for sums. */
static void amount(int64_t bytes, char *out, size_t size)
{
    double b = (double)bytes;
    if (b < 1e9)
        snprintf(out, size, "%.1f MB", b / 1e6);
    else if (b < 1e12)
        snprintf(out, size, "%.1f GB", b / 1e9);
    else
        snprintf(out, size, "%.1f TB", b / 1e12);
}

static const char *state_word(const struct exposure *e)
{
    return e->state >= 0 ? exposure_state_names[e->state] : "unknown";
}

/* ---- the head ---- */

static void print_agent(const struct status_picture *p, FILE *to)
{
    const struct agent_seen *a = &p->agent;
    char machine[40] = "", iso[32], order[200];
    struct order_load load;
    bool behind;
    gethostname(machine, sizeof machine - 1);
    clock_iso(p->now_ns, iso, sizeof iso);
    fprintf(to, "skyferry-push on %.35s, %.10s %.8s UTC\n", machine, iso, iso + 11);
    if (!a->running) {
        fputs("agent: not running; start it with: skyferry-push run\n", to);
        return;
    }
    fprintf(to, "agent: running (pid %ld)", a->pid);
    if (a->mode[0])
        fprintf(to, ", mode %s", a->mode);
    if (a->lanes_up[0])
        fprintf(to, ", %s connection%s up", a->lanes_up, strcmp(a->lanes_up, "1") == 0 ? "" : "s");
    if (a->rtt_ms[0])
        fprintf(to, ", round trip %s ms", a->rtt_ms);
    fputc('\n', to);
    if (status_order(a, &behind, &load)) {
        order_load_text(behind, &load, order, sizeof order);
        screen_say(to, 9, "order:   ", order);
    }
    if (a->rate[0])
        screen_say(to, 9, "rate:    ", a->rate);
    if (a->choice[0])
        screen_say(to, 9, "auto:    ", a->choice);
    if (a->trouble[0])
        screen_say(to, 9, "trouble: ", a->trouble);
}

static void print_counts(const struct journal_counts *n, FILE *to)
{
    static const char *const meaning[EXPOSURE_STATES] = {
        [EXPOSURE_SEEN] = "found; not yet known to be whole",
        [EXPOSURE_READY] = "whole; wait for their turn",
        [EXPOSURE_SENDING] = "being compressed and shipped",
        [EXPOSURE_STORED] = "safe at the far end; spool not cleaned yet",
        [EXPOSURE_DONE] = "safe at the far end",
        [EXPOSURE_PARKED] = "need you: see below",
        [EXPOSURE_PARTIAL] = "whole; wait for their exposure's other files",
        [EXPOSURE_SKIPPED] = "not to be shipped, by the settings",
    };
    int64_t rows = 0, bytes = 0;
    char text[32];
    for (int i = 0; i < EXPOSURE_STATES; i++) {
        if (i > EXPOSURE_PARKED && n->rows[i] == 0)
            continue; /* of some cameras only */
        amount(n->bytes[i], text, sizeof text);
        fprintf(to, "  %-8s%7" PRId64 "  %10s  %s\n", exposure_state_names[i], n->rows[i], text,
                i == EXPOSURE_PARKED && n->rows[i] == 0 ? "none needs you" : meaning[i]);
        if (i == EXPOSURE_SEEN || i == EXPOSURE_READY || i == EXPOSURE_SENDING ||
            i == EXPOSURE_PARTIAL) {
            rows += n->rows[i];
            bytes += n->bytes[i];
        }
    }
    amount(bytes, text, sizeof text);
    fprintf(to, "Not yet at the far end: %" PRId64 " exposure%s, %s.\n", rows,
            rows == 1 ? "" : "s", text);
}

/* Only where exact data follow at all. */
static enum status print_exactness(const struct status_picture *p, FILE *to, struct fault *why)
{
    struct journal_exactness x;
    enum status st = journal_exactness(p->journal, &x, why);
    if (st != ST_OK || x.followed == 0)
        return st;
    fprintf(to, "Exact at the far end: %" PRId64 " of %" PRId64 "; on their way: %" PRId64, x.exact,
            x.delivered, x.under_way);
    if (x.parked > 0)
        fprintf(to, "; parked: %" PRId64, x.parked);
    if (x.gone > 0)
        fprintf(to, "; file gone: %" PRId64, x.gone);
    fputs(".\n", to);
    return ST_OK;
}

/* ---- the newest ---- */

struct rows {
    const struct status_picture *picture;
    FILE *to;
    int told, left_out;
    int64_t files; /* of those told */
};

static bool print_row(void *ctx, const struct exposure *e)
{
    struct rows *r = ctx;
    const int64_t *t = e->stamp;
    char name[64], in[24], out[24] = "-", ratio[24] = "-", when[24] = "-", took[24] = "-";
    status_shorten(e->name, NAME_WIDTH, name, sizeof name);
    cell_mb(e->file.size, in, sizeof in);
    if (e->bundle_size > 0) {
        cell_mb(e->bundle_size, out, sizeof out);
        double times = (double)e->file.size / (double)e->bundle_size;
        snprintf(ratio, sizeof ratio, times < 999.95 ? "%.1f" : "%.0f", times);
    }
    if (t[STAMP_NOTICED])
        cell_time(t[STAMP_NOTICED], when, sizeof when);
    if (t[STAMP_NOTICED] && t[STAMP_STORED])
        cell_duration(t[STAMP_STORED] - t[STAMP_NOTICED], took, sizeof took);
    const struct order_item *place = status_place(r->picture, e);
    if (place && e->state == EXPOSURE_READY)
        snprintf(took, sizeof took, "#%d", place->place + 1);
    fprintf(r->to, "%-*s %-7s %7s %7s %5s %14s %7s\n", NAME_WIDTH, name, state_word(e), in, out,
            ratio, when, took);
    return true;
}

static enum status print_newest(const struct status_picture *p, const struct journal_counts *n,
                                FILE *to, struct fault *why)
{
    struct rows r = {.picture = p, .to = to};
    int64_t all = 0;
    for (int i = 0; i < EXPOSURE_STATES; i++)
        all += n->rows[i];
    if (all == 0) {
        fputs("\nNothing has been seen yet.\n", to);
        return ST_OK;
    }
    fprintf(to, "\n%-*s %-7s %7s %7s %5s %14s %7s\n", NAME_WIDTH, "EXPOSURE", "STATE", "MB IN",
            "MB OUT", "RATIO", "NOTICED UTC", "SECONDS");
    enum status st = journal_list(p->journal, -1, 0, p->rows, print_row, &r, why);
    if (st == ST_OK && all > p->rows)
        fprintf(to, "... the newest %d of %" PRId64 "\n", p->rows, all);
    return st;
}

/* ---- what needs attention ---- */

/* "  HSCA1234 (103 files): ", where one line stands for several files. */
static void first_words(const struct exposure *e, int64_t files, char *out, size_t size)
{
    char name[64], count[32] = "";
    status_shorten(files > 1 ? e->group : e->name, 50, name, sizeof name);
    if (files > 1)
        snprintf(count, sizeof count, " (%" PRId64 " files)", files);
    snprintf(out, size, "  %s%s%s: ", name, count, e->exact ? " (exact data)" : "");
}

static bool list_parked(void *ctx, const struct exposure *e, int64_t files)
{
    struct rows *r = ctx;
    char first[160];
    first_words(e, files, first, sizeof first);
    screen_say(r->to, 6, first, e->reason[0] ? e->reason : "no reason was kept");
    fprintf(r->to, "      then: skyferry-push retry %s\n", files > 1 ? e->group : e->name);
    r->files += files;
    return true;
}

static void next_try(const struct status_picture *p, const struct exposure *e, char *out,
                     size_t size)
{
    char iso[32], attempts[48] = "";
    int64_t left = e->due_ns - p->now_ns;
    if (e->attempts > 0)
        snprintf(attempts, sizeof attempts, "%d attempt%s failed; ", e->attempts,
                 e->attempts == 1 ? "" : "s");
    if (!p->agent.running) {
        snprintf(out, size, "[%snext try when the agent runs]", attempts);
    } else if (left <= 0) {
        snprintf(out, size, "[%snext try now]", attempts);
    } else {
        clock_iso(e->due_ns, iso, sizeof iso);
        snprintf(out, size, "[%snext try in %lld s, at %.8s UTC]", attempts,
                 (long long)((left + NS_PER_S - 1) / NS_PER_S), iso + 11);
    }
}

static void print_waiting(const struct rows *r, const struct exposure *e, int64_t files)
{
    char first[160], when[128], words[sizeof e->reason + sizeof when];
    first_words(e, files, first, sizeof first);
    next_try(r->picture, e, when, sizeof when);
    snprintf(words, sizeof words, "%s %s", e->reason, when);
    screen_say(r->to, 6, first, words);
}

static bool list_waiting(void *ctx, const struct exposure *e, int64_t files)
{
    struct rows *r = ctx;
    if (!e->reason[0])
        return true;
    if (r->told == LISTED) {
        r->left_out++;
        return true;
    }
    if (r->told++ == 0)
        fputs("\nWaiting, with a reason:\n", r->to);
    print_waiting(r, e, files);
    return true;
}

static enum status print_attention(const struct status_picture *p, const struct journal_counts *n,
                                   FILE *to, struct fault *why)
{
    static const int moving[] = {EXPOSURE_SENDING, EXPOSURE_READY, EXPOSURE_SEEN, EXPOSURE_PARTIAL,
                                 EXPOSURE_STORED};
    struct rows waiting = {.picture = p, .to = to}, parked = waiting;
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < sizeof moving / sizeof moving[0]; i++)
        st = journal_tell(p->journal, moving[i], 0, list_waiting, &waiting, why);
    if (waiting.left_out > 0)
        fprintf(to, "  ... and %d more: skyferry-push status --json\n", waiting.left_out);
    if (st != ST_OK || n->rows[EXPOSURE_PARKED] == 0)
        return st;
    fputs("\nParked; put right what the reason says (a file that changes starts anew):\n", to);
    st = journal_tell(p->journal, EXPOSURE_PARKED, LISTED, list_parked, &parked, why);
    if (n->rows[EXPOSURE_PARKED] > parked.files)
        fprintf(to, "  ... and %" PRId64 " more: skyferry-push status --json\n",
                n->rows[EXPOSURE_PARKED] - parked.files);
    return st;
}

/* ---- the ones asked for by name ---- */

static void print_stamps(const struct exposure *e, FILE *to)
{
    static const char *const words[STAMPS] = {
        [STAMP_NOTICED] = "noticed", [STAMP_SETTLED] = "found whole",
        [STAMP_ENCODE] = "encoding", [STAMP_ENCODED] = "encoded",
        [STAMP_FIRST] = "first sent", [STAMP_LAST] = "last sent",
        [STAMP_STORED] = "stored",   [STAMP_DONE] = "cleaned up",
    };
    char iso[32];
    for (int i = 0; i < STAMPS; i++) {
        if (!e->stamp[i])
            continue;
        clock_iso(e->stamp[i], iso, sizeof iso);
        fprintf(to, "  %-11s %.10s %.12s UTC", words[i], iso, iso + 11);
        if (i != STAMP_NOTICED && e->stamp[STAMP_NOTICED])
            fprintf(to, "  %+11.3f s",
                    (double)(e->stamp[i] - e->stamp[STAMP_NOTICED]) / NS_PER_S);
        fputc('\n', to);
    }
}

static void print_facts(const struct exposure *e, FILE *to)
{
    const struct facts *f = &e->facts;
    char number[32] = "no number", words[600];
    if (!e->stamp[STAMP_SETTLED])
        return;
    if (f->expnum >= 0)
        snprintf(number, sizeof number, "number %" PRId64, f->expnum);
    snprintf(words, sizeof words, "%s, %s, %s, %s, %s, %d ccd%s", number,
             f->object[0] ? f->object : "no object", f->filter[0] ? f->filter : "no filter",
             f->obstype[0] ? f->obstype : "no type", f->date_obs[0] ? f->date_obs : "no date",
             e->ccds, e->ccds == 1 ? "" : "s");
    screen_say(to, 14, "  exposure    ", words);
}

static bool print_details(void *ctx, const struct exposure *e)
{
    struct rows *r = ctx;
    char size[32], when[128];
    if (!status_wanted(r->picture, e))
        return true;
    fputc('\n', r->to);
    screen_say(r->to, 4, "", e->name);
    fprintf(r->to, "  %-11s %s\n", "state", state_word(e));
    const struct order_item *place = status_place(r->picture, e);
    if (place)
        fprintf(r->to, "  %-11s %d of the %zu not yet delivered that can go (%s)\n", "order",
                place->place + 1, r->picture->queue.count, order_kind_words[place->kind]);
    if (e->state == EXPOSURE_PARKED) {
        screen_say(r->to, 14, "  reason      ", e->reason);
        fprintf(r->to, "  %-11s skyferry-push retry %s\n", "then", e->name);
    } else if (e->reason[0]) {
        screen_say(r->to, 14, "  reason      ", e->reason);
        next_try(r->picture, e, when, sizeof when);
        screen_say(r->to, 14, "              ", when);
    }
    screen_say(r->to, 14, "  file        ", e->path);
    amount(e->file.size, size, sizeof size);
    fprintf(r->to, "  %-11s %s (%" PRId64 " bytes)\n", "size", size, e->file.size);
    if (e->source_sha256[0])
        fprintf(r->to, "  %-11s %s\n", "SHA-256", e->source_sha256);
    print_facts(e, r->to);
    if (e->bundle_size > 0) {
        amount(e->bundle_size, size, sizeof size);
        fprintf(r->to, "  %-11s %s (%" PRId64 " bytes), ratio %.2f\n", "bundle", size,
                e->bundle_size, (double)e->file.size / (double)e->bundle_size);
    }
    if (e->stored_as[0])
        screen_say(r->to, 14, "  stored as   ", e->stored_as);
    if (status_exact(e)[0])
        fprintf(r->to, "  %-11s %s%s\n", "exact data", e->follow >= 0 ? "follow: " : "",
                status_exact(e));
    print_stamps(e, r->to);
    return true;
}

/* ---- all of it ---- */

enum status status_table(const struct status_picture *p, FILE *to, struct fault *why)
{
    struct journal_counts n = {0};
    enum status st = p->journal ? journal_count(p->journal, 0, &n, why) : ST_OK;
    if (st != ST_OK)
        return st;
    print_agent(p, to);
    if (p->options->name_count > 0) {
        struct rows r = {.picture = p, .to = to};
        return p->journal ? journal_list(p->journal, -1, 0, 0, print_details, &r, why) : ST_OK;
    }
    print_counts(&n, to);
    if (p->journal && (st = print_exactness(p, to, why)) != ST_OK)
        return st;
    st = print_newest(p, &n, to, why);
    if (st == ST_OK && p->journal)
        st = print_attention(p, &n, to, why);
    return st;
}
