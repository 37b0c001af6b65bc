/* skyferry-pull: receives exposures, makes FITS files of them, runs the jobs. The road through
 * the code: receive -> part (bundles on disk), then run: intake -> flow -> fanout (unpack,
 * place) -> job. This file sorts the command line and calls the command. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "pull/commands.h"

static const struct option_row options[] = {
    {"config", NULL, 'c', "FILE", OPT_CONFIG, NULL, "The configuration file."},
    {"push-dir", "push_dir", 0, "DIR", OPT_PUSH_DIR, NULL,
     "The store's folder, instead of [store] root; the environment's PUSH_DIR does the same."},
    {"run-date", "run_date", 0, "utYYMMDD", OPT_RUN_DATE, "run reprocess retry check",
     "Place every exposure under this night instead of computing it from DATE-OBS."},
    {"res-name", "res_name", 0, "NAME", OPT_RES_NAME, "run reprocess retry check",
     "The reservation in which the jobs run, instead of [jobs] slurm_reservation."},
    {"verbose", "debug", 'v', NULL, OPT_DEBUG, NULL, "Log everything."},
    {"quiet", NULL, 'q', NULL, OPT_QUIET, NULL, "Log warnings and errors only."},
    {"force", NULL, 0, NULL, OPT_FORCE, "reprocess retry unpack convert-wcs",
     "Replace files that are there with other bytes."},
    {"night", NULL, 0, "utYYMMDD", OPT_NIGHT, "reprocess retry status",
     "Only, or all, exposures of this night."},
    {"name", NULL, 'n', "NAME", OPT_NAME, "reprocess",
     "One exposure, instead of a list; may be given several times."},
    {"visit", NULL, 0, "N", OPT_VISIT, "reprocess",
     "Only, or all, exposures of this exposure number; the file's name tells it without EXPNUM."},
    {"field", NULL, 0, "OBJECT", OPT_FIELD, "reprocess",
     "Only, or all, exposures of this field; as in the header or in the files' names, any case."},
    {"verdict", NULL, 0, "WORD", OPT_VERDICT, "reprocess",
     "Only, or all, exposures that ended so: whole, faulty (bad ccds or jobs), parked."},
    {"reason", NULL, 0, "TEXT", OPT_REASON, "pause",
     "Why; status and the log show it."},
    {"all", NULL, 0, NULL, OPT_ALL, "retry status",
     "retry: everything that is parked or failed; status: every exposure, job or night."},
    {"no-wait", "no_wait", 0, NULL, OPT_NO_WAIT, "reprocess retry",
     "Leave it to the daemon and do not wait for the end."},
    {"to", NULL, 0, "DIR", OPT_TO, "unpack convert-wcs",
     "Where the files go; otherwise: unpack the current folder, convert-wcs beside the old one."},
    {"in-place", NULL, 0, NULL, OPT_IN_PLACE, "convert-wcs",
     "Put the new file in the place of the old one instead of beside it."},
    {"rebuild", NULL, 0, NULL, OPT_REBUILD, "unpack",
     "Write the source file, byte for byte, instead of one file for each ccd."},
    {"weights", NULL, 0, NULL, OPT_WEIGHTS, "unpack",
     "Write a weight map beside each ccd: the noise of its raw sky (see NOISE in the manual)."},
    {"input", NULL, 'i', "utYYMMDD", OPT_IN_NIGHT, "copycals", "The night that has calibrations."},
    {"output", NULL, 'o', "utYYMMDD", OPT_OUT_NIGHT, "copycals", "The night that is to have them, too."},
    {"ccd", NULL, 0, "LIST", OPT_CCD, "copycals", "Only these ccds: numbers and ranges, 1-31,35."},
    {"kind", NULL, 0, "WORDS", OPT_KIND, "copycals", "Only bias or flat, else both."},
    {"dry-run", "dry_run", 0, NULL, OPT_DRY_RUN, "copycals", "Say what would be done, and do nothing."},
    {"pipe-dir", "pipe_dir", 'p', "DIR", OPT_PUSH_DIR, "copycals", "The same as --push-dir."},
    {"json", NULL, 0, NULL, OPT_JSON, "status", "Everything, for programs."},
    {"watch", NULL, 'w', NULL, OPT_WATCH, "status", "Again every two seconds, until interrupted."},
    {"follow", NULL, 0, NULL, OPT_FOLLOW, "status",
     "The same; where the output is no terminal, only what has changed is added."},
    {"limit", NULL, 0, "N", OPT_LIMIT, "status",
     "At most N exposures or jobs, the newest, 40 otherwise; of inventory N nights, 7 otherwise."},
    {"dump-config", NULL, 0, NULL, OPT_DUMP_CONFIG, NULL,
     "Print a configuration file: with -c the values in force, else all defaults."},
    {"dump-man", NULL, 0, "PART", OPT_DUMP_MAN, NULL,
     "Print the options or the settings as the manual page lists them."},
    {"help", NULL, 'h', NULL, OPT_HELP, NULL, "Print this; after a command, that command's."},
    {"version", NULL, 'V', NULL, OPT_VERSION, NULL, "Print the version."},
    {.name = NULL},
};

enum need { NEED_NOTHING, NEED_SETTINGS };

static const struct {
    const char *name, *operands, *sentence;
    int (*run)(struct invocation *in);
    enum need need;
    int most; /* operands; -1: any number */
} commands[] = {
    {"run", "", "The daemon: notices bundles, unpacks, places, runs jobs.", command_run,
     NEED_SETTINGS, 0},
    {"receive", "", "One lane's far end, as sshd's forced command.", command_receive,
     NEED_SETTINGS, 0},
    {"status", " [NAME...]", "What became of the exposures; with a name, of each ccd; or one of "
     "jobs, seeing, inventory.", command_status, NEED_SETTINGS, -1},
    {"check", "", "Tries everything that is needed before the night, and says how to mend it.",
     command_check, NEED_SETTINGS, 0},
    {"reprocess", " LIST", "Unpacks, places and runs the jobs again; LIST holds a name a line, "
     "- is standard input.", command_reprocess, NEED_SETTINGS, 1},
    {"retry", " [NAME...]", "Tries again what is parked or failed, and only that.",
     command_retry, NEED_SETTINGS, -1},
    {"pause", " [WHAT]", "Nothing more of WHAT begins until resume: ingest (unpacking) or jobs, "
     "otherwise both; bundles are still received, what runs goes on.", command_pause, NEED_SETTINGS, 2},
    {"resume", " [WHAT]", "Ends a pause: what waited goes on, the newest first.",
     command_resume, NEED_SETTINGS, 2},
    {"unpack", " BUNDLE...", "Makes FITS files of bundles, anywhere, without any set-up.",
     command_unpack, NEED_NOTHING, -1},
    {"convert-wcs", " FILE...", "Makes TPV headers of TAN-SIP ones, for SWarp; no pixel changes.",
     command_convert_wcs, NEED_NOTHING, -1},
    {"copycals", " -i A -o B", "Makes the bias frames and flats of night A available for night B.",
     command_copycals, NEED_SETTINGS, 0},
    {"verify", "", "Compares the files with the catalogue, and both with their checksums.",
     command_verify, NEED_SETTINGS, 0},
    {"rebuild", "", "Makes the catalogue again from the files alone.", command_rebuild,
     NEED_SETTINGS, 0},
    {"task", " FOLDER KEY", "Runs one job on a node; a batch script calls it.", command_task,
     NEED_NOTHING, 2},
};
#define COMMANDS (int)(sizeof commands / sizeof commands[0])

static int find_command(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return i;
    return -1;
}

/* ---- help ---- */

static bool takes(const struct option_row *row, const char *command)
{
    size_t len = strlen(command);
    const char *p = row->commands;
    while (p && (p = strstr(p, command)) && (p[len] != ' ' && p[len] != '\0'))
        p += len;
    return !row->commands || p;
}

static void print_text(const struct buf *text)
{
    fwrite(text->data, 1, text->len, stdout);
}

static int help_command(int at)
{
    struct option_row rows[sizeof options / sizeof options[0]];
    struct buf text = {0};
    size_t n = 0;
    for (const struct option_row *row = options; row->name; row++)
        if (takes(row, commands[at].name))
            rows[n++] = *row;
    rows[n] = (struct option_row){.name = NULL};
    buf_printf(&text, "usage: skyferry-pull [OPTION...] %s%s\n", commands[at].name,
               commands[at].operands);
    config_wrap(&text, commands[at].sentence, "", 0);
    buf_printf(&text, "\n");
    options_help(rows, false, &text);
    print_text(&text);
    buf_free(&text);
    return EXIT_DONE;
}

static int help_all(void)
{
    struct buf text = {0};
    buf_printf(&text, "usage: skyferry-pull [OPTION...] COMMAND\n"
               "Receives exposures, makes FITS files of them, runs a job over each.\n\n");
    for (int i = 0; i < COMMANDS; i++) {
        char left[64];
        snprintf(left, sizeof left, "  %s%s", commands[i].name, commands[i].operands);
        buf_printf(&text, "%-22s", left);
        config_wrap(&text, commands[i].sentence, "                      ", 22);
    }
    buf_printf(&text, "\n");
    options_help(options, false, &text);
    buf_printf(&text, "\nExit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 not "
               "everything\nis there or valid. More: man skyferry-pull.\n");
    print_text(&text);
    buf_free(&text);
    return EXIT_DONE;
}

static int dump_man(const char *part)
{
    struct buf text = {0};
    if (strcmp(part, "options") == 0)
        options_help(options, true, &text);
    else if (strcmp(part, "settings") == 0)
        config_dump(pull_settings_rows, NULL, CONFIG_MAN, &text);
    else
        fprintf(stderr, "skyferry-pull: --dump-man takes options or settings, not '%s'\n", part);
    print_text(&text);
    int code = text.len ? EXIT_DONE : EXIT_USAGE;
    buf_free(&text);
    return code;
}

/* ---- the command line ---- */

static int report(struct config_report *r)
{
    for (char *line = (char *)r->text.data; line && *line;) {
        size_t len = strcspn(line, "\n");
        fprintf(stderr, "skyferry-pull: %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
    if (r->count > 1)
        fprintf(stderr, "skyferry-pull: %d problems\n", r->count);
    return EXIT_USAGE;
}

static bool load(struct invocation *in, struct config_report *r)
{
    struct pull_overrides o = {.config = option_value(in, OPT_CONFIG),
                               .root = option_value(in, OPT_PUSH_DIR),
                               .run_date = option_value(in, OPT_RUN_DATE),
                               .reservation = option_value(in, OPT_RES_NAME)};
    if (!o.root)
        o.root = getenv("PUSH_DIR");
    if (option_value(in, OPT_DEBUG))
        o.level = "debug";
    else if (option_value(in, OPT_QUIET))
        o.level = "warn";
    return pull_settings_load(&o, &in->s, r);
}

static int dump_config(struct invocation *in)
{
    struct config_report r = {0};
    struct buf text = {0};
    bool given = option_value(in, OPT_CONFIG) != NULL;
    int code = EXIT_DONE;
    if (given && !load(in, &r))
        code = report(&r);
    else
        config_dump(pull_settings_rows, &in->s, given ? CONFIG_CURRENT : CONFIG_DEFAULTS, &text);
    print_text(&text);
    buf_free(&text);
    buf_free(&r.text);
    return code;
}

static void log_arguments(int argc, char **argv)
{
    struct buf text = {0};
    for (int i = 0; i < argc; i++)
        buf_printf(&text, "%s%s", i ? " " : "", argv[i]);
    log_info(AT(.stage = "agent"), "skyferry-pull %s, process %ld: %s", SKYFERRY_VERSION,
             (long)getpid(), text.data ? (const char *)text.data : "");
    buf_free(&text);
}

/* The daemon keeps a log file, and so do lanes, which open theirs; the other commands talk to
 * the terminal that called them. */
static bool open_log(struct invocation *in, const char *command, struct fault *why)
{
    struct pull_settings quiet = in->s;
    if (strcmp(command, "run") == 0)
        return pull_log_open(&in->s, "pull", why) == ST_OK;
    quiet.log_file[0] = '\0';
    if (!in->s.level_given[0])
        snprintf(quiet.log_level, sizeof quiet.log_level, "warn");
    return pull_log_open(&quiet, "pull", why) == ST_OK;
}

static int perform(struct invocation *in, int at, struct config_report *r, int argc, char **argv)
{
    struct fault why;
    if (commands[at].most >= 0 && in->operand_count > commands[at].most)
        config_problem(r, "%s: '%s' is one operand too many; it goes: %s%s", commands[at].name,
                       in->operands[commands[at].most], commands[at].name, commands[at].operands);
    if (commands[at].need == NEED_SETTINGS)
        load(in, r);
    if (r->count > 0)
        return report(r);
    if (!open_log(in, commands[at].name, &why)) {
        fprintf(stderr, "skyferry-pull: %s\n", why.text);
        return EXIT_FAILED;
    }
    if (strcmp(commands[at].name, "run") == 0)
        log_arguments(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    int code = commands[at].run(in);
    if (fflush(stdout) != 0 && code == EXIT_DONE)
        code = EXIT_FAILED;
    return code;
}

static int dispatch(struct invocation *in, struct config_report *r, int argc, char **argv)
{
    int at = in->operand_count > 0 ? find_command(in->operands[0]) : -1;
    if (option_value(in, OPT_VERSION)) {
        puts("skyferry-pull " SKYFERRY_VERSION);
        return EXIT_DONE;
    }
    if (option_value(in, OPT_HELP))
        return at >= 0 ? help_command(at) : help_all();
    if (option_value(in, OPT_DUMP_MAN))
        return dump_man(option_value(in, OPT_DUMP_MAN));
    if (r->count == 0 && option_value(in, OPT_DUMP_CONFIG))
        return dump_config(in);
    if (in->operand_count == 0)
        config_problem(r, "which command? --help lists them");
    else if (at < 0)
        config_problem(r, "'%.60s' is no command; --help lists them", in->operands[0]);
    if (at < 0)
        return report(r);
    in->operands++;
    in->operand_count--;
    return perform(in, at, r, argc, argv);
}

int main(int argc, char **argv)
{
    struct invocation *in = calloc(1, sizeof *in);
    struct option_found *found = calloc((size_t)argc + 1, sizeof *found);
    const char **operands = calloc((size_t)argc + 1, sizeof *operands);
    struct config_report r = {0};
    int code = EXIT_FAILED;
    if (in && found && operands) {
        options_parse(options, argc, argv, found, &in->found_count, operands, &in->operand_count,
                      &r);
        in->found = found;
        in->operands = operands;
        code = dispatch(in, &r, argc, argv);
    }
    log_close();
    buf_free(&r.text);
    free(operands);
    free(found);
    free(in);
    return code;
}
