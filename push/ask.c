/* Short words to the agent that runs: `mode` and `retry`. */
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

struct wait_mode {
    struct loop *loop;
    struct journal *journal;
    const char *mode;
    int looks;
    bool taken;
};

static void look(void *ctx)
{
    struct wait_mode *w = ctx;
    char now[32];
    journal_noted(w->journal, NOTE_MODE, now, sizeof now);
    w->taken = strcmp(now, w->mode) == 0;
    if (w->taken || ++w->looks > PATIENCE)
        loop_stop(w->loop);
}

static enum status wait_for_mode(struct wait_mode *w, struct fault *why)
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

int mode_command(const struct config *c, enum order_mode mode)
{
    const char *word = order_mode_word(mode);
    struct wait_mode w = {.mode = word};
    struct fault why = {.grade = ST_OK};
    long pid = spool_holder(c->set.spool);
    if (pid == 0) {
        fprintf(stderr, "skyferry-push: no agent is running on the spool %s; start one with: "
                        "skyferry-push run --mode %s\n", c->set.spool, word);
        return EXIT_FAILED;
    }
    if (spool_wish_mode(c->set.spool, word, &why) == ST_OK &&
        journal_open(c->set.spool, false, &w.journal, &why) == ST_OK) {
        if (kill((pid_t)pid, SIGUSR1) != 0)
            fault_errno(&why, ST_RETRY, "cannot signal the agent (pid %ld)", pid);
        else
            wait_for_mode(&w, &why);
    }
    journal_close(&w.journal);
    if (!w.taken) {
        fprintf(stderr, "skyferry-push: %s\n", why.text);
        return EXIT_FAILED;
    }
    printf("the agent (pid %ld) is in %s mode now, until it stops; [ship] mode = %s keeps it\n", pid,
           word, word);
    return EXIT_DONE;
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
        if (n == 0) {
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
    printf("%lld parked exposure%s to be tried again%s\n", (long long)all, all == 1 ? "" : "s",
           pid > 0 || all == 0 ? "" : " when skyferry-push run is started");
    return code;
}
