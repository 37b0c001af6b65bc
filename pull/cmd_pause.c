/* `pause` and `resume`: the token is the file, so both work with a daemon and without. */
#include <stdio.h>
#include <string.h>

#include "common/fsutil.h"
#include "pull/commands.h"
#include "pull/lease.h"
#include "pull/pause.h"

static const char *const held[PAUSABLES] = {
    "no further exposure is unpacked; bundles are still received",
    "no further job is begun; what runs goes on"};

/* The operands as a mask of 1 << enum pausable; none: both. 0: said what is wrong. */
static unsigned chosen(const struct invocation *in, const char *command)
{
    unsigned mask = in->operand_count ? 0 : (1u << PAUSABLES) - 1;
    for (int i = 0; i < in->operand_count; i++) {
        int what = 0;
        while (what < PAUSABLES && strcmp(in->operands[i], pause_names[what]) != 0)
            what++;
        if (what == PAUSABLES) {
            fprintf(stderr, "skyferry-pull: %s: '%.60s' is neither ingest nor jobs\n", command,
                    in->operands[i]);
            return 0;
        }
        mask |= 1u << what;
    }
    return mask;
}

/* A daemon that looks for its tokens elsewhere is not told by ours. */
static void say_whom(const struct pull_settings *s)
{
    struct lease_holder other;
    long pid = fs_lock_holder(s->lock);
    if (pid)
        printf("the daemon (process %ld) takes it up within a second\n", pid);
    else if (lease_read(s->root, s->lease_seconds, &other) && !other.expired)
        printf("the daemon runs on %s: it takes it up if its [store] state is this folder too "
               "(%s); else say it there\n", other.host, s->state);
    else
        printf("no daemon runs; it holds for one that is started\n");
}

static int failed(const struct fault *why)
{
    say_problem("%s", why->text);
    return EXIT_FAILED;
}

int command_pause(struct invocation *in)
{
    const char *reason = option_value(in, OPT_REASON);
    struct pause_token before, now;
    struct fault why;
    char words[700];
    unsigned mask = chosen(in, "pause");
    if (!mask)
        return EXIT_USAGE;
    for (int i = 0; i < PAUSABLES; i++) {
        if (!(mask & 1u << i))
            continue;
        pause_read(in->s.state, (enum pausable)i, &before);
        if ((!before.set || reason) &&
            pause_set(in->s.state, (enum pausable)i, reason ? reason : "", &why) != ST_OK)
            return failed(&why);
        pause_read(in->s.state, (enum pausable)i, &now);
        pause_words(&now, words, sizeof words);
        printf("%s %s paused %s\n  %s\n", pause_names[i], before.set ? "was already" : "is", words,
               held[i]);
    }
    say_whom(&in->s);
    printf("skyferry-pull resume ends it\n");
    return EXIT_DONE;
}

int command_resume(struct invocation *in)
{
    struct pause_token before;
    struct fault why;
    char words[700];
    bool any = false;
    unsigned mask = chosen(in, "resume");
    if (!mask)
        return EXIT_USAGE;
    for (int i = 0; i < PAUSABLES; i++) {
        if (!(mask & 1u << i))
            continue;
        pause_read(in->s.state, (enum pausable)i, &before);
        if (before.set && pause_end(in->s.state, (enum pausable)i, &why) != ST_OK)
            return failed(&why);
        pause_words(&before, words, sizeof words);
        if (before.set)
            printf("%s goes on, the newest first; it was paused %s\n", pause_names[i], words);
        any = any || before.set;
    }
    if (any)
        say_whom(&in->s);
    else
        printf("nothing was paused\n");
    return EXIT_DONE;
}
