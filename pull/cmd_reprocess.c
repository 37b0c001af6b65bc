/* `reprocess` and `retry`: with a daemon they leave it a request and wait; without one they
 * run the same engine themselves until the exposures named are finished. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/log.h"
#include "pull/agent.h"
#include "pull/commands.h"
#include "pull/pause.h"

#define MAX_LIST ((size_t)16 << 20)
#define POLL_MS 200
#define SAY_POLLS 15   /* why it takes so long is looked for then, and told when it is news */

/* What was asked for, and what of it there is. */
struct errand {
    struct invocation *in;
    enum request_verb verb;
    bool force;
    struct catalogue *cat; /* the daemon's, or our own agent's */
    int64_t *ids;
    size_t count, room;
    int missing, arriving, twice;
    int seen;      /* of the night, visit and field that were asked for, whatever became of them */
    int64_t visit; /* -1: any */
    bool broken; /* out of memory */
};

static bool add_id(void *ctx, const struct exposure *x)
{
    struct errand *e = ctx;
    if (x->state == EX_COMING) {
        say_problem("'%s' is still arriving: ask again when it is stored; the rest goes on", x->name);
        e->arriving++;
        return true;
    }
    for (size_t i = 0; i < e->count; i++)
        if (e->ids[i] == x->id) {
            e->twice++;
            return true;
        }
    if (e->count == e->room) {
        size_t room = e->room ? 2 * e->room : 64;
        int64_t *bigger = realloc(e->ids, room * sizeof *bigger);
        e->broken = bigger == NULL;
        if (!bigger)
            return false;
        e->ids = bigger;
        e->room = room;
    }
    e->ids[e->count++] = x->id;
    return true;
}

static bool add_faulty(void *ctx, const struct exposure *x)
{
    ((struct errand *)ctx)->seen++;
    return x->state == EX_PARKED || x->faults > 0 ? add_id(ctx, x) : true;
}

/* ---- which exposures ---- */

static enum status add_name(struct errand *e, const char *name, struct fault *why)
{
    struct catalogue_pick pick = {.name = name, .oldest_first = true};
    size_t before = e->count + (size_t)e->arriving;
    int twice = e->twice;
    enum status st = catalogue_each(e->cat, &pick, add_id, e, why);
    if (st == ST_OK && e->twice > twice) {
        say_problem("'%s' is asked for more than once: it is done once", name);
    } else if (st == ST_OK && e->count + (size_t)e->arriving == before) {
        say_problem("there is no exposure '%s' in the catalogue; the rest goes on", name);
        e->missing++;
    }
    return st;
}

/* One name a line; blank lines and those that begin with '#' are skipped. */
static enum status add_lines(struct errand *e, char *text, struct fault *why)
{
    enum status st = ST_OK;
    char *rest = text;
    for (char *line; st == ST_OK && (line = strsep(&rest, "\n"));) {
        line += strspn(line, " \t\r");
        for (size_t n = strlen(line); n > 0 && strchr(" \t\r", line[n - 1]);)
            line[--n] = '\0';
        if (line[0] && line[0] != '#')
            st = add_name(e, line, why);
    }
    return st;
}

static enum status add_list(struct errand *e, const char *list, struct fault *why)
{
    struct buf text = {0};
    const char *path = strcmp(list, "-") == 0 ? "/dev/stdin" : list;
    enum status st = fs_read_file(path, MAX_LIST, &text, why);
    if (st == ST_OK && !buf_append(&text, "", 1))
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK)
        st = add_lines(e, (char *)text.data, why);
    buf_free(&text);
    return st;
}

static bool of_verdict(const struct exposure *x, const char *word)
{
    if (strcmp(word, "parked") == 0)
        return x->state == EX_PARKED;
    if (strcmp(word, "faulty") == 0)
        return x->state != EX_PARKED && x->faults > 0;
    return x->state == EX_DONE && x->faults == 0;
}

static bool of_field(const struct exposure *x, const char *field)
{
    char name[sizeof x->facts.object];
    fs_name_clean(name, sizeof name, x->facts.object, "unnamed");
    return strcasecmp(x->facts.object, field) == 0 || strcasecmp(name, field) == 0;
}

/* What all of --visit, --field and --verdict choose. */
static bool add_chosen(void *ctx, const struct exposure *x)
{
    struct errand *e = ctx;
    const char *field = option_value(e->in, OPT_FIELD);
    const char *verdict = option_value(e->in, OPT_VERDICT);
    int64_t visit = x->facts.expnum;
    if (visit < 0)
        visit = camera_expnum_from_name(&e->in->s.camera, x->source_name);
    if ((e->visit >= 0 && visit != e->visit) || (field && !of_field(x, field)))
        return true;
    e->seen++;
    return verdict && !of_verdict(x, verdict) ? true : add_id(ctx, x);
}

static bool asks_for_some(const struct invocation *in)
{
    return option_value(in, OPT_NIGHT) || option_value(in, OPT_VISIT) ||
           option_value(in, OPT_FIELD) || option_value(in, OPT_VERDICT);
}

/* False, with the reason said, when a choice cannot be understood. */
static bool read_choice(struct errand *e)
{
    static const char *const verdicts[] = {"whole", "faulty", "parked"};
    const char *visit = option_value(e->in, OPT_VISIT);
    const char *verdict = option_value(e->in, OPT_VERDICT);
    bool known = !verdict;
    e->visit = -1;
    if (visit && (!*visit || strspn(visit, "0123456789") != strlen(visit) || strlen(visit) > 18)) {
        say_problem("--visit '%s' is no exposure number: give its digits", visit);
        return false;
    }
    if (visit)
        e->visit = strtoll(visit, NULL, 10);
    for (int i = 0; !known && i < 3; i++)
        known = strcmp(verdict, verdicts[i]) == 0;
    if (!known)
        say_problem("--verdict '%s': there are whole, faulty and parked", verdict);
    return known;
}

static enum status add_night(struct errand *e, const char *night, exposure_fn *fn,
                             struct fault *why)
{
    struct catalogue_pick pick = {.night = night, .oldest_first = true};
    if (night && !night_valid(night))
        return fault(why, ST_REJECT, "--night '%s' is no night: write it as utYYMMDD", night);
    return catalogue_each(e->cat, &pick, fn, e, why);
}

/* Nothing of what was asked for by night, visit or field is a mistake; nothing of a verdict is
 * good news. */
static void say_unseen(struct errand *e)
{
    const char *night = option_value(e->in, OPT_NIGHT), *field = option_value(e->in, OPT_FIELD);
    const char *visit = option_value(e->in, OPT_VISIT);
    if (e->seen > 0 || (!night && !visit && !field))
        return;
    say_problem("there is no such exposure%s%s%s%s%s%s in the catalogue", visit ? " of visit " : "",
                visit ? visit : "", field ? " of field " : "", field ? field : "",
                night ? " of night " : "", night ? night : "");
    e->missing++;
}

static enum status find_exposures(struct errand *e, struct fault *why)
{
    struct invocation *in = e->in;
    const char *night = option_value(in, OPT_NIGHT);
    bool is_retry = e->verb == ASK_RETRY;
    enum status st = ST_OK;
    if (asks_for_some(in) || option_value(in, OPT_ALL))
        st = add_night(e, night, is_retry ? add_faulty : add_chosen, why);
    if (st == ST_OK)
        say_unseen(e);
    for (int i = 0; st == ST_OK && i < in->found_count; i++)
        if (in->found[i].id == OPT_NAME)
            st = add_name(e, in->found[i].value, why);
    for (int i = 0; st == ST_OK && i < in->operand_count; i++)
        st = is_retry ? add_name(e, in->operands[i], why) : add_list(e, in->operands[i], why);
    return st == ST_OK && e->broken ? fault(why, ST_RETRY, "out of memory") : st;
}

static enum status ask_all(struct errand *e, struct fault *why)
{
    enum status st = catalogue_begin(e->cat, why);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; st == ST_OK && i < e->count; i++)
        st = catalogue_ask(e->cat, e->ids[i], e->verb, e->force, why);
    if (st == ST_OK)
        return catalogue_commit(e->cat, why);
    catalogue_rollback(e->cat);
    return st;
}

/* ---- without a daemon ---- */

static enum status do_it(struct errand *e, struct agent *a, struct fault *why)
{
    e->cat = a->cat;
    enum status st = find_exposures(e, why);
    if (st == ST_OK && e->count > 0)
        st = ask_all(e, why);
    for (size_t i = 0; st == ST_OK && i < e->count; i++)
        st = agent_choose(a, e->ids[i], why);
    if (st != ST_OK || e->count == 0)
        return st;
    st = agent_obey(a, why);
    return st == ST_OK ? agent_run(a, why) : st;
}

/* ---- with a daemon ---- */

struct vigil {
    struct errand *e;
    struct loop *loop;
    enum status st;
    struct fault *why;
    int polls;
    char words[700], told[700]; /* what an unfinished one waits for; the last that was said */
};

static bool note_waiting(void *ctx, const struct job *j)
{
    struct vigil *v = ctx;
    if ((j->state != JOB_WAITING && j->state != JOB_RUNNING) || !(j->reason[0] || j->batch[0]))
        return true;
    pull_text(v->words, sizeof v->words, "q%d %s: %s%s%s", j->number, job_state_name(j->state),
              j->reason[0] ? j->reason : j->batch, j->reason[0] ? "" : " ",
              j->reason[0] ? "" : j->batch_state);
    return false;
}

/* The first of them that has something in its way; what only takes its time says nothing. */
static void say_waiting(struct vigil *v)
{
    struct exposure x = {0};
    struct fault why;
    bool found;
    v->words[0] = '\0';
    for (size_t i = 0; i < v->e->count && !v->words[0]; i++) {
        if (catalogue_get(v->e->cat, v->e->ids[i], &x, &found, &why) != ST_OK || !found)
            continue;
        if (x.state != EX_DONE && x.state != EX_PARKED && x.reason[0])
            pull_text(v->words, sizeof v->words, "%s", x.reason);
        else
            catalogue_jobs_of(v->e->cat, x.id, note_waiting, v, &why);
    }
    if (!v->words[0] || strcmp(v->words, v->told) == 0)
        return;
    say_problem("%s is not done yet: %s", x.name, v->words);
    if (!v->told[0])
        say_problem("what was asked is kept: interrupt this, and it is done all the same");
    memcpy(v->told, v->words, sizeof v->told);
}

static void on_poll(void *ctx)
{
    struct vigil *v = ctx;
    bool busy = false;
    v->st = catalogue_any_busy(v->e->cat, v->e->ids, v->e->count, &busy, v->why);
    if (v->st == ST_OK && busy && fs_lock_holder(v->e->in->s.lock) == 0)
        v->st = fault(v->why, ST_RETRY, "the daemon has ended; what was asked is kept and is done "
                      "when it runs again (skyferry-pull run)");
    if (v->st != ST_OK || !busy)
        loop_stop(v->loop);
    else if (++v->polls % SAY_POLLS == 0)
        say_waiting(v);
}

static enum status wait_for_daemon(struct errand *e, struct fault *why)
{
    struct vigil v = {.e = e, .why = why};
    enum status st = loop_open(&v.loop, why);
    struct loop_timer *t = st == ST_OK ? loop_timer_new(v.loop, on_poll, &v) : NULL;
    if (st == ST_OK && !t)
        st = fault(why, ST_RETRY, "out of memory");
    if (st == ST_OK) {
        loop_timer_set(t, POLL_MS, POLL_MS);
        st = loop_run(v.loop, why);
    }
    loop_timer_free(&t);
    loop_close(&v.loop);
    return st == ST_OK ? v.st : st;
}

static void wake_daemon(const struct pull_settings *s)
{
    long pid = fs_lock_holder(s->lock);
    if (pid > 1)
        kill((pid_t)pid, SIGUSR1);
}

static enum status leave_it(struct errand *e, struct catalogue **cat, struct fault *why)
{
    if (option_value(e->in, OPT_RUN_DATE))
        return fault(why, ST_RETRY, "--run-date: a daemon is running, which places by its own "
                     "rules; stop it first, or give --run-date to skyferry-pull run");
    enum status st = catalogue_open(e->in->s.catalogue, false, cat, why);
    e->cat = *cat;
    if (st == ST_OK)
        st = find_exposures(e, why);
    if (st == ST_OK && e->count > 0)
        st = ask_all(e, why);
    if (st != ST_OK || e->count == 0)
        return st;
    wake_daemon(&e->in->s);
    return option_value(e->in, OPT_NO_WAIT) ? ST_OK : wait_for_daemon(e, why);
}

/* ---- both ---- */

/* How each of them ended; the number of those that are not whole. */
static int print_ends(struct errand *e)
{
    int bad = 0;
    for (size_t i = 0; i < e->count; i++) {
        struct exposure x;
        struct fault why;
        bool found;
        if (catalogue_get(e->cat, e->ids[i], &x, &found, &why) != ST_OK || !found)
            continue;
        bool whole = x.state == EX_DONE && x.faults == 0;
        bad += !whole;
        printf("%s: %s, %d of %d ccds placed, %d of %d jobs done%s%s\n", x.name,
               exposure_state_name(x.state), x.placed, x.ccds, x.jobs_done, x.jobs,
               whole ? "" : "; ", whole ? "" : x.reason[0] ? x.reason : "see status");
    }
    return bad;
}

/* Else one would wonder why nothing happens. */
static void say_paused(const struct pull_settings *s)
{
    struct pause_token t;
    char words[700];
    for (int i = 0; i < PAUSABLES; i++) {
        pause_read(s->state, (enum pausable)i, &t);
        pause_words(&t, words, sizeof words);
        if (t.set)
            say_problem("%s: paused %s; what is asked waits for skyferry-pull resume",
                        pause_names[i], words);
    }
}

static int perform(struct errand *e)
{
    struct agent *a = NULL;
    struct catalogue *cat = NULL;
    struct fault why = {0};
    int bad = 0;
    enum status st = ST_OK;
    /* agent_open would make a new, empty store wherever a wrong [store] root points. */
    if (access(e->in->s.catalogue, F_OK) != 0)
        st = fault_errno(&why, ST_RETRY, "no catalogue at '%s' (is [store] root right? "
                         "skyferry-pull rebuild makes one from the files)", e->in->s.catalogue);
    else
        st = agent_open(&e->in->s, &a, &why);
    say_paused(&e->in->s);
    if (st == ST_OK)
        st = do_it(e, a, &why);
    else if (st == ST_WAIT && fs_lock_holder(e->in->s.lock)) /* else it works on another machine */
        st = leave_it(e, &cat, &why);
    if (st == ST_OK && e->count > 0 && !(cat && option_value(e->in, OPT_NO_WAIT)))
        bad = print_ends(e);
    if (st == ST_OK && e->count == 0 && e->missing == 0 && e->arriving == 0)
        printf("there is nothing to do\n");
    catalogue_close(&cat);
    agent_close(&a);
    free(e->ids);
    if (st != ST_OK)
        say_problem("%s", why.text);
    if (st != ST_OK)
        return st == ST_REJECT ? EXIT_USAGE : EXIT_FAILED;
    return bad > 0 || e->missing > 0 || e->arriving > 0 ? EXIT_INCOMPLETE : EXIT_DONE;
}

int command_reprocess(struct invocation *in)
{
    struct errand e = {.in = in, .verb = ASK_REPROCESS,
                       .force = option_value(in, OPT_FORCE) != NULL};
    if (in->operand_count == 0 && !option_value(in, OPT_NAME) && !asks_for_some(in)) {
        say_problem("reprocess: which exposures? reprocess LIST, --name NAME, --night utYYMMDD, "
                    "--visit N, --field OBJECT or --verdict WORD");
        return EXIT_USAGE;
    }
    if (!read_choice(&e))
        return EXIT_USAGE;
    return perform(&e);
}

int command_retry(struct invocation *in)
{
    struct errand e = {.in = in, .verb = ASK_RETRY, .visit = -1,
                       .force = option_value(in, OPT_FORCE) != NULL};
    if (in->operand_count == 0 && !option_value(in, OPT_ALL) && !option_value(in, OPT_NIGHT)) {
        say_problem("retry: which exposures? retry NAME..., --all or --night utYYMMDD");
        return EXIT_USAGE;
    }
    return perform(&e);
}
