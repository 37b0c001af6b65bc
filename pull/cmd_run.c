/* The two commands that work all night: the daemon, and one lane's far end. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/log.h"
#include "pull/agent.h"
#include "pull/commands.h"
#include "pull/part.h"
#include "pull/receive.h"

int command_run(struct invocation *in)
{
    struct agent *a = NULL;
    struct fault why;
    enum status st = agent_open(&in->s, &a, &why);
    if (st == ST_OK)
        st = agent_obey(a, &why);
    if (st == ST_OK)
        st = agent_watch(a, &why);
    if (st == ST_OK) {
        if (strcmp(in->s.runner, "slurm") == 0 && !in->s.slurm.reservation[0])
            log_warn(AT(.stage = "agent"), "no reservation is given: jobs wait for free nodes like "
                     "everybody's; --res-name NAME, or [jobs] slurm_reservation, when there is one");
        log_info(AT(.stage = "agent"), "ready: the store is %s", in->s.root);
        st = agent_run(a, &why);
    }
    agent_close(&a);
    if (st != ST_OK)
        log_error(AT(.stage = "agent"), "%s", why.text);
    else
        log_info(AT(.stage = "agent"), "ended");
    return st == ST_OK ? EXIT_DONE : st == ST_REJECT ? EXIT_USAGE : EXIT_FAILED;
}

/* Lanes come and go many times a night: one log file a day for all of them, beside the
 * daemon's. Standard error goes over the line, so only warnings are worth it. */
static enum status open_lane_log(const struct pull_settings *s, struct fault *why)
{
    char file[PULL_PATH] = "";
    struct log_options o = {.agent = "receive", .file = file, .quiet_terminal = 1,
                            .level = (enum log_level)log_level_parse(s->log_level),
                            .json = strcmp(s->log_format, "json") == 0};
    if (s->log_file[0])
        pull_text(file, sizeof file, "%.*sskyferry-receive_%%Y%%m%%d.log",
                  (int)(fs_basename(s->log_file) - s->log_file), s->log_file);
    return log_open(&o, why);
}

int command_receive(struct invocation *in)
{
    struct part_store store;
    struct fault why;
    char name[256] = "";
    if (open_lane_log(&in->s, &why) != ST_OK)
        log_warn(AT(.stage = "receive"), "%s", why.text);
    pull_part_store(&in->s, &store);
    gethostname(name, sizeof name - 1);
    return receive_run(&store, name, STDIN_FILENO, STDOUT_FILENO);
}
