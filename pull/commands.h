/* The commands of skyferry-pull, one file each (cmd_*.c): called by main.c with the settings
 * loaded and the options sorted, they print to standard output, log what goes wrong, and give
 * back the process's exit status. None of them exits by itself. */
#ifndef SKYFERRY_PULL_COMMANDS_H
#define SKYFERRY_PULL_COMMANDS_H

#include "common/options.h"
#include "pull/settings.h"

enum option_id {
    OPT_CONFIG = 1, OPT_PUSH_DIR, OPT_RUN_DATE, OPT_DEBUG, OPT_QUIET, OPT_HELP, OPT_VERSION,
    OPT_DUMP_CONFIG, OPT_DUMP_MAN, OPT_FORCE, OPT_NIGHT, OPT_NAME, OPT_ALL, OPT_NO_WAIT, OPT_TO,
    OPT_REBUILD, OPT_JSON, OPT_WATCH, OPT_LIMIT, OPT_WEIGHTS, OPT_IN_PLACE,
    OPT_VISIT, OPT_FIELD, OPT_VERDICT, OPT_RES_NAME, OPT_FOLLOW,
    OPT_IN_NIGHT, OPT_OUT_NIGHT, OPT_CCD, OPT_KIND, OPT_DRY_RUN, OPT_REASON
};

struct invocation {
    struct pull_settings s;
    const struct option_found *found;
    int found_count;
    const char **operands; /* after the command's name */
    int operand_count;
};

/* The option's value ("" when it takes none), NULL when it was not given. */
const char *option_value(const struct invocation *in, enum option_id id);
/* A line on standard error, under our name. */
void say_problem(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int command_run(struct invocation *in);
int command_receive(struct invocation *in);
int command_unpack(struct invocation *in);
int command_reprocess(struct invocation *in);
int command_retry(struct invocation *in);
int command_status(struct invocation *in);
int command_verify(struct invocation *in);
int command_rebuild(struct invocation *in);
int command_convert_wcs(struct invocation *in);
int command_copycals(struct invocation *in);
int command_check(struct invocation *in);
int command_pause(struct invocation *in);
int command_resume(struct invocation *in);
int command_task(struct invocation *in);

#endif
