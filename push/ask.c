/* Short words to the agent that runs: `mode`, `rate` and `retry`. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/loop.h"
#include "push/commands.h"
#include "push/journal.h"
#include "push/spool.h"
#include "push/status.h"

#define LOOK_MS 50
#define PATIENCE 100 /* looks: 5 s */

struct wish {
    struct loop *loop;
    struct journal *journal;
    const char *what, *text; /* as spool_wish has them */
    const char *note;        /* where the agent says that it has taken it */
    int looks;
    bool taken;
};

static void look(void *ctx)
{
    struct wish *w = ctx;
    char now[TIMETABLE_TEXT];
    journal_noted(w->journal, w->note, now, sizeof now);
    w->taken = strcmp(now, w->text) == 0;
    if (w->taken || ++w->looks > PATIENCE)
        loop_stop(w->loop);
}

static enum status wait_until_taken(struct wish *w, struct fault *why)
{
    struct loop_timer *timer = NULL;
    enum status st = loop_open(&w->loop, why);
    if (st == ST_OK && !(timer = loop_timer_new(w->loop, look, w)))
        st = fault(why, ST_FATAL, "out of memory");
    if (st == ST_OK) {
        loop_timer_set(timer, 0, LOOK_MS);
        st = loop_run(w->loop, why);
    }
    loop_timer_free(&timer);
    loop_close(&w->loop);
    if (st == ST_OK && !w->taken)
        st = fault(why, ST_RETRY, "the agent has not answered yet; see skyferry-push status");
    return st;
}

/* Leaves the wish for the agent `pid` and waits until it has taken it. False: said why. */
static bool wish(const struct config *c, long pid, struct wish *w)
{
    struct fault why = {.grade = ST_OK};
    if (spool_wish(c->set.spool, w->what, w->text, &why) == ST_OK) {
        if (kill((pid_t)pid, SIGUSR1) != 0)
            fault_errno(&why, ST_RETRY, "cannot signal the agent (pid %ld)", pid);
        else
            wait_until_taken(w, &why);
    }
    if (!w->taken)
        fprintf(stderr, "skyferry-push: %s\n", why.text);
    return w->taken;
}

static bool open_journal(const struct config *c, struct journal **out)
{
    struct fault why;
    if (journal_open(c->set.spool, false, out, &why) == ST_OK)
        return true;
    fprintf(stderr, "skyferry-push: %s\n", why.text);
    return false;
}

int mode_command(const struct config *c, enum order_mode mode)
{
    const char *word = order_mode_word(mode);
    struct wish w = {.what = "mode", .text = word, .note = NOTE_MODE};
    long pid = spool_holder(c->set.spool);
    if (pid == 0) {
        fprintf(stderr, "skyferry-push: no agent is running on the spool %s; start one with: "
                        "skyferry-push run --mode %s\n", c->set.spool, word);
        return EXIT_FAILED;
    }
    bool ok = open_journal(c, &w.journal) && wish(c, pid, &w);
    journal_close(&w.journal);
    if (!ok)
        return EXIT_FAILED;
    printf("the agent (pid %ld) is in %s mode now, until it stops; [ship] mode = %s keeps it\n", pid,
           word, word);
    return EXIT_DONE;
}

/* What holds now, as the agent says. */
static void show_rate(struct journal *j, long pid)
{
    char words[200];
    journal_noted(j, NOTE_RATE, words, sizeof words);
    printf("the agent (pid %ld): %s\n", pid, words[0] ? words : "no limit");
}

int rate_command(const struct config *c, const char *text)
{
    struct wish w = {.what = "rate", .text = text, .note = NOTE_RATE_SAID};
    struct fault why;
    long pid = spool_holder(c->set.spool);
    if (pid == 0) {
        fprintf(stderr, "skyferry-push: no agent is running on the spool %s; [ship] rate_mbit "
                        "says what holds when one is started\n", c->set.spool);
        return EXIT_FAILED;
    }
    bool ok = open_journal(c, &w.journal);
    if (ok && text) {
        /* The same may have been said before. */
        if (journal_note(w.journal, w.note, "", &why) != ST_OK)
            fprintf(stderr, "skyferry-push: %s\n", why.text);
        ok = wish(c, pid, &w);
    }
    if (ok)
        show_rate(w.journal, pid);
    if (ok && text && strcmp(text, "auto") != 0)
        printf("until it stops, or [ship] rate_mbit changes at a reload; rate_mbit = %s keeps it\n",
               text);
    journal_close(&w.journal);
    return ok ? EXIT_DONE : EXIT_FAILED;
}

int retry_command(const struct config *c, const char *const *names, int count)
{
    struct journal *j = NULL;
    struct fault why;
    int code = EXIT_DONE;
    int64_t all = 0;
    if (journal_open(c->set.spool, false, &j, &why) != ST_OK) {
        fprintf(stderr, "skyferry-push: %s\n", why.text);
        return EXIT_FAILED;
    }
    for (int i = 0; i < count; i++) {
        int64_t n = 0;
        const char *name = strcmp(names[i], "all") == 0 ? "" : names[i];
        if (journal_unpark(j, name, &n, &why) != ST_OK) {
            fprintf(stderr, "skyferry-push: %s\n", why.text);
            code = EXIT_FAILED;
            break;
        }
        if (n == 0 && name[0]) {
            fprintf(stderr, "skyferry-push: no parked exposure is called %s; see skyferry-push "
                            "status\n", names[i]);
            code = EXIT_FAILED;
        }
        all += n;
    }
    journal_close(&j);
    long pid = spool_holder(c->set.spool);
    if (pid > 0)
        kill((pid_t)pid, SIGUSR1);
    if (all == 0 && code == EXIT_DONE)
        printf("nothing is parked\n");
    else
        printf("%lld parked exposure%s to be tried again%s\n", (long long)all, all == 1 ? "" : "s",
               pid > 0 || all == 0 ? "" : " when skyferry-push run is started");
    return code;
}
