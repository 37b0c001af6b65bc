/* skyferry-push: the observatory's agent. Options, configuration, log; then one command. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/options.h"
#include "push/check.h"
#include "push/commands.h"
#include "push/status.h"

enum option_id {
    OPT_CONFIG = 1, OPT_DATA_DIR, OPT_MODE, OPT_QS, OPT_COMPRESS, OPT_NO_COMPRESS, OPT_NBUNDLE,
    OPT_EXP_MIN, OPT_NIGHT, OPT_DRY_RUN, OPT_LIST, OPT_TIMEOUT, OPT_JSON, OPT_WATCH, OPT_SSH_HOST,
    OPT_SSH_USER, OPT_TARGET_PUSH, OPT_TARGET_LISTEN, OPT_VERBOSE, OPT_QUIET, OPT_DUMP_CONFIG,
    OPT_DUMP_MAN, OPT_VERSION, OPT_HELP
};

static const struct option_row option_rows[] = {
    {"config", NULL, 'c', "FILE", OPT_CONFIG, NULL, "Read this configuration file."},
    {"data-dir", "data_dir", 'd', "DIR", OPT_DATA_DIR, "run send sweep check",
     "The watched directory; also from the environment variable DATA_DIR."},
    {"mode", "method", 0, "MODE", OPT_MODE, "run send sweep",
     "adaptive (a), parallel (p), serial (s) or batch (b, bundle); --method=l FILE means send "
     "--list FILE, --method=e means sweep."},
    {"nbundle", NULL, 0, "N", OPT_NBUNDLE, "run", "Exposures in a batch."},
    {"Qs", "qs", 0, "STEP", OPT_QS, "run send sweep",
     "Quantisation step: larger means smaller files; also from the environment variable QS."},
    {"no-compress", NULL, 0, NULL, OPT_NO_COMPRESS, "run send sweep",
     "Send the files' bytes as they stand (codec original)."},
    {"compress", NULL, 0, NULL, OPT_COMPRESS, "run send sweep",
     "Compress, also where the configuration says original (codec htj2k)."},
    {"list", NULL, 0, "FILE", OPT_LIST, "send", "Deliver the files named in FILE, one a line."},
    {"exp-min", "exp_min", 0, "N", OPT_EXP_MIN, "sweep",
     "Send only exposures whose number is above N."},
    {"night", NULL, 0, "utYYMMDD", OPT_NIGHT, "sweep", "Compare this night only."},
    {"dry-run", NULL, 0, NULL, OPT_DRY_RUN, "sweep", "Say what is missing, send nothing."},
    {"timeout", NULL, 0, "SECONDS", OPT_TIMEOUT, "send sweep",
     "Give up after so long without any connection."},
    {"json", NULL, 0, NULL, OPT_JSON, "status", "Print one JSON object."},
    {"watch", NULL, 0, NULL, OPT_WATCH, "status", "Print again and again until stopped."},
    {"ssh-host", NULL, 0, "HOST", OPT_SSH_HOST, "run send sweep check", "The far end's machine."},
    {"ssh-user", NULL, 0, "USER", OPT_SSH_USER, "run send sweep check", "The account there."},
    {"target-push-dir", NULL, 0, "DIR", OPT_TARGET_PUSH, "run send sweep",
     "Accepted and ignored: the far end's [store] root decides where bundles go."},
    {"target-listen-dir", NULL, 0, "DIR", OPT_TARGET_LISTEN, "run send sweep",
     "Accepted and ignored, likewise."},
    {"verbose", "debug", 'v', NULL, OPT_VERBOSE, NULL, "Log every detail."},
    {"quiet", NULL, 'q', NULL, OPT_QUIET, NULL, "Log warnings and errors only."},
    {"dump-config", NULL, 0, NULL, OPT_DUMP_CONFIG, NULL,
     "Print the configuration in force, with comments, and end."},
    {"dump-man", NULL, 0, "WHAT", OPT_DUMP_MAN, NULL,
     "Print a part of the manual page: options or settings."},
    {"version", NULL, 0, NULL, OPT_VERSION, NULL, "Print the version and end."},
    {"help", NULL, 'h', NULL, OPT_HELP, NULL, "Print this help, or a command's, and end."},
    {.name = NULL},
};

enum command { CMD_NONE, CMD_RUN, CMD_SEND, CMD_SWEEP, CMD_STATUS, CMD_CHECK, CMD_MODE, CMD_RATE,
               CMD_RETRY };

static const struct command_row {
    const char *name, *arguments;
    enum command id;
    unsigned needs;
    int most_operands; /* besides the command; -1: any number */
    const char *sentence;
} commands[] = {
    {"run", "[--mode MODE]", CMD_RUN, NEED_SPOOL | NEED_WATCH | NEED_FAR_END, 0,
     "Watch the directory and ship what appears, until stopped."},
    {"send", "FILE... | --list LIST", CMD_SEND, NEED_SPOOL | NEED_FAR_END, -1,
     "Deliver these files and wait until the far end has them."},
    {"sweep", "[--exp-min N] [--night utYYMMDD] [--dry-run]", CMD_SWEEP,
     NEED_SPOOL | NEED_WATCH | NEED_FAR_END, 0,
     "Compare with what the far end holds, and send what is missing."},
    {"status", "[--json] [--watch] [NAME...]", CMD_STATUS, NEED_SPOOL, -1,
     "Show the queue and how far each exposure has come."},
    {"check", "", CMD_CHECK, NEED_SPOOL, 0, "Try everything that run needs, and say how to mend it."},
    {"mode", "adaptive | parallel | serial | batch", CMD_MODE, NEED_SPOOL, 1,
     "Switch the running agent to another mode."},
    {"rate", "[MBIT | TIMETABLE | none | auto]", CMD_RATE, NEED_SPOOL, -1,
     "Show or change the running agent's rate limit; auto: as configured."},
    {"retry", "NAME... | all", CMD_RETRY, NEED_SPOOL, -1, "Try parked exposures again."},
    {.name = NULL},
};

struct invocation {
    const struct command_row *command; /* NULL: none was named */
    const char **operands;             /* after the command */
    int operand_count;
    struct option_found *found;
    int found_count;
    struct settings_source source;
    enum order_mode mode;
    bool has_mode;
    struct send_options send;
    struct sweep_options sweep;
    struct status_options status;
    char rate[2 * TIMETABLE_TEXT]; /* "": show it */
    int verbosity; /* -1 quiet, 1 verbose */
};

static const struct command_row *find_command(const char *name)
{
    for (const struct command_row *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

/* ---- the forerunner had no commands: what did a line of options mean? ---- */

static const char *implied_command(int argc, char **argv)
{
    enum order_mode mode = ORDER_PARALLEL;
    if (argc < 2 || argv[1][0] != '-')
        return NULL;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (find_command(arg) || strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0 ||
            strcmp(arg, "--version") == 0 || strncmp(arg, "--dump-", 7) == 0)
            return NULL;
        if (strncmp(arg, "--method", 8) != 0 && strncmp(arg, "--mode", 6) != 0)
            continue;
        const char *value = strchr(arg, '=');
        value = value ? value + 1 : i + 1 < argc ? argv[i + 1] : "";
        order_mode_parse(value, &mode);
    }
    return mode == ORDER_LIST ? "send" : mode == ORDER_SWEEP ? "sweep" : "run";
}

/* ---- options ---- */

static void override(struct invocation *in, const char *section, const char *key,
                     const char *value, const char *where)
{
    size_t room = sizeof in->source.over / sizeof in->source.over[0];
    if ((size_t)in->source.count < room)
        in->source.over[in->source.count++] = (struct override){section, key, value, where};
}

static void take_environment(struct invocation *in)
{
    const char *dir = getenv("DATA_DIR"), *qs = getenv("QS");
    if (dir && dir[0])
        override(in, "watch", "directory", dir, "environment variable DATA_DIR");
    if (qs && qs[0])
        override(in, "codec", "qstep", qs, "environment variable QS");
}

static void take_mode(struct invocation *in, const char *word, struct config_report *r)
{
    enum command id = in->command ? in->command->id : CMD_NONE;
    if (!order_mode_parse(word, &in->mode))
        config_problem(r, "--mode %s: no such mode; there are %s", word, order_mode_words);
    else if (order_is_policy(in->mode))
        override(in, "ship", "mode", order_mode_word(in->mode), "--mode");
    else if ((in->mode == ORDER_LIST && id != CMD_SEND) || (in->mode == ORDER_SWEEP && id != CMD_SWEEP))
        config_problem(r, "--mode %s: that is the command '%s'; run takes %s", word,
                       in->mode == ORDER_LIST ? "send --list FILE" : "sweep",
                       "adaptive, parallel, serial or batch");
    in->has_mode = true;
}

static int64_t number(const char *text, const char *option, int64_t least, struct config_report *r)
{
    char *end;
    long long n = strtoll(text, &end, 10);
    if (!text[0] || *end || n < least)
        config_problem(r, "%s %s: give a whole number from %lld", option, text, (long long)least);
    return n;
}

static void take_option(struct invocation *in, const struct option_found *o,
                        struct config_report *r)
{
    switch (o->id) {
    case OPT_CONFIG: in->source.file = o->value; break;
    case OPT_DATA_DIR: override(in, "watch", "directory", o->value, "--data-dir"); break;
    case OPT_MODE: take_mode(in, o->value, r); break;
    case OPT_NBUNDLE: override(in, "ship", "batch_size", o->value, "--nbundle"); break;
    case OPT_QS: override(in, "codec", "qstep", o->value, "--Qs"); break;
    case OPT_NO_COMPRESS: override(in, "codec", "method", "original", "--no-compress"); break;
    case OPT_COMPRESS: override(in, "codec", "method", "htj2k", "--compress"); break;
    case OPT_SSH_HOST: override(in, "ship", "host", o->value, "--ssh-host"); break;
    case OPT_SSH_USER: override(in, "ship", "user", o->value, "--ssh-user"); break;
    case OPT_LIST: in->send.list = o->value; break;
    case OPT_EXP_MIN: in->sweep.exp_min = number(o->value, "--exp-min", -1, r); break;
    case OPT_NIGHT:
        in->sweep.night = o->value;
        if (!night_valid(o->value))
            config_problem(r, "--night %s: give a night as utYYMMDD, such as ut160831", o->value);
        break;
    case OPT_DRY_RUN: in->sweep.dry_run = true; break;
    case OPT_TIMEOUT: in->send.timeout_s = (int)number(o->value, "--timeout", 1, r); break;
    case OPT_JSON: in->status.json = true; break;
    case OPT_WATCH: in->status.watch = true; break;
    case OPT_VERBOSE: in->verbosity = 1; break;
    case OPT_QUIET: in->verbosity = -1; break;
    default: break; /* those that end the program, and those that are ignored */
    }
}

static bool given(const struct invocation *in, enum option_id id)
{
    for (int i = 0; i < in->found_count; i++)
        if (in->found[i].id == (int)id)
            return true;
    return false;
}

static const char *value_of(const struct invocation *in, enum option_id id)
{
    for (int i = 0; i < in->found_count; i++)
        if (in->found[i].id == (int)id)
            return in->found[i].value;
    return NULL;
}

static void list_commands(struct buf *out)
{
    for (const struct command_row *c = commands; c->name; c++)
        buf_printf(out, "%s%s", c == commands ? "" : ", ", c->name);
}

static void no_such_command(const char *word, struct config_report *r)
{
    struct buf names = {0};
    list_commands(&names);
    config_problem(r, "%s: no such command; there are %s", word,
                   names.data ? (char *)names.data : "");
    buf_free(&names);
}

/* A timetable need not be quoted: its words may come one by one. */
static void take_rate(struct invocation *in, struct config_report *r)
{
    struct timetable t;
    struct fault why;
    for (int i = 0; i < in->operand_count; i++) {
        size_t used = strlen(in->rate);
        snprintf(in->rate + used, sizeof in->rate - used, "%s%s", i ? " " : "", in->operands[i]);
    }
    if (strcmp(in->rate, "auto") != 0 && timetable_parse(in->rate, &t, &why) != ST_OK)
        config_problem(r, "rate %s: %s", in->rate, why.text);
}

/* The operands that a command takes. */
static void take_operands(struct invocation *in, struct config_report *r)
{
    const struct command_row *c = in->command;
    if (c->most_operands >= 0 && in->operand_count > c->most_operands)
        config_problem(r, "%s: no command, and %s takes no such argument; --help lists them", in->operands[c->most_operands], c->name);
    if (c->id == CMD_SEND && in->mode == ORDER_LIST && in->has_mode && in->operand_count == 1) {
        in->send.list = in->operands[0];
        in->operand_count = 0;
    }
    in->send.files = in->operands;
    in->send.count = in->operand_count;
    in->status.names = in->operand_count ? in->operands : NULL;
    in->status.name_count = in->operand_count;
    if (c->id == CMD_SEND && in->operand_count == 0 && !in->send.list)
        config_problem(r, "send: name the files, or a list of them with --list LIST");
    if (c->id == CMD_RETRY && in->operand_count == 0)
        config_problem(r, "retry: name the parked exposures, or say: retry all");
    if (c->id == CMD_RATE)
        take_rate(in, r);
    if (c->id == CMD_MODE && (in->operand_count != 1 || !order_mode_parse(in->operands[0], &in->mode) ||
                              !order_is_policy(in->mode)))
        config_problem(r, "mode %s: say one of adaptive (a), parallel (p), serial (s), batch (b, bundle)",
                       in->operand_count ? in->operands[0] : "");
}

static void read_arguments(struct invocation *in, int argc, char **argv, struct config_report *r)
{
    options_parse(option_rows, argc, argv, in->found, &in->found_count, in->operands,
                  &in->operand_count, r);
    if (in->operand_count > 0) {
        in->command = find_command(in->operands[0]);
        if (!in->command)
            no_such_command(in->operands[0], r);
        in->operands++;
        in->operand_count--;
    }
    take_environment(in);
    for (int i = 0; i < in->found_count; i++)
        take_option(in, &in->found[i], r);
    if (in->command)
        take_operands(in, r);
}

/* ---- help ---- */

static void print(struct buf *text)
{
    fwrite(text->data ? (char *)text->data : "", 1, text->len, stdout);
    buf_free(text);
}

/* The rows that this command takes. */
static void command_options(const char *name, struct buf *out)
{
    struct option_row rows[sizeof option_rows / sizeof option_rows[0]];
    size_t n = 0;
    for (const struct option_row *o = option_rows; o->name; o++) {
        const char *at = o->commands ? strstr(o->commands, name) : NULL;
        size_t len = strlen(name);
        bool whole = at && (at == o->commands || at[-1] == ' ') && (at[len] == ' ' || !at[len]);
        if (!o->commands || whole)
            rows[n++] = *o;
    }
    rows[n] = (struct option_row){.name = NULL};
    options_help(rows, false, out);
}

static int print_help(const struct command_row *c)
{
    struct buf out = {0};
    if (c) {
        char usage[200];
        snprintf(usage, sizeof usage, "usage: skyferry-push [OPTION...] %s %s", c->name,
                 c->arguments);
        config_wrap(&out, usage, "       ", 0);
        buf_printf(&out, "\n%s\n\n", c->sentence);
        command_options(c->name, &out);
    } else {
        buf_printf(&out, "usage: skyferry-push [OPTION...] COMMAND [ARGUMENT...]\n\n");
        for (c = commands; c->name; c++)
            buf_printf(&out, "  %-8s%s\n", c->name, c->sentence);
        buf_printf(&out, "\n");
        options_help(option_rows, false, &out);
        buf_printf(&out, "\nExit status: 0 done, 1 failed, 2 usage or configuration, 3 not "
                         "everything\ndelivered, 4 the far end cannot be reached. "
                         "See skyferry-push(1).\n");
    }
    print(&out);
    return EXIT_DONE;
}

static int print_man(const char *what)
{
    struct buf out = {0};
    if (strcmp(what, "options") == 0) {
        options_help(option_rows, true, &out);
    } else if (strcmp(what, "settings") == 0) {
        config_dump(settings_rows, NULL, CONFIG_MAN, &out);
    } else {
        fprintf(stderr, "skyferry-push: --dump-man %s: give options or settings\n", what);
        return EXIT_USAGE;
    }
    print(&out);
    return EXIT_DONE;
}

/* ---- running a command ---- */

static int complain(struct config_report *r)
{
    fwrite(r->text.data, 1, r->text.len, stderr);
    buf_free(&r->text);
    return EXIT_USAGE;
}

static bool start_log(const struct invocation *in, const struct config *c, int argc, char **argv)
{
    struct log_options o;
    struct fault why;
    struct buf line = {0};
    enum command id = in->command->id;
    settings_log(&c->set, &o);
    /* Only the agent itself is expected to talk; the commands print their results. */
    if (id != CMD_RUN && in->verbosity == 0) {
        o.quiet_terminal = 1;
        if (!o.file[0] && o.level < LOG_WARN && strcmp(c->set.log_level, "info") == 0)
            o.level = LOG_WARN;
    }
    if (id == CMD_STATUS || id == CMD_CHECK || id == CMD_MODE || id == CMD_RATE ||
        id == CMD_RETRY)
        o.file = NULL;
    if (log_open(&o, &why) != ST_OK) {
        fprintf(stderr, "skyferry-push: %s\n", why.text);
        return false;
    }
    for (int i = 0; i < argc; i++)
        buf_printf(&line, "%s%s", i ? " " : "", argv[i]);
    if (id == CMD_RUN || id == CMD_SEND || id == CMD_SWEEP)
        log_info(NULL, "started as: %s", line.data ? (char *)line.data : "");
    buf_free(&line);
    if (given(in, OPT_TARGET_PUSH) || given(in, OPT_TARGET_LISTEN))
        log_warn(NULL, "--target-push-dir and --target-listen-dir have no effect: the far end's "
                       "own configuration ([store] root) decides where bundles go");
    return true;
}

static int run_named(struct invocation *in, const struct config *c)
{
    if (in->send.timeout_s == 0)
        in->send.timeout_s = c->set.command_timeout_s;
    in->sweep.timeout_s = in->send.timeout_s;
    switch (in->command->id) {
    case CMD_RUN: return run_command(c, &in->source);
    case CMD_SEND: return send_command(c, &in->send);
    case CMD_SWEEP: return sweep_command(c, &in->sweep);
    case CMD_STATUS: return status_command(c, &in->status);
    case CMD_CHECK: return check_command(c);
    case CMD_MODE: return mode_command(c, in->mode);
    case CMD_RATE: return rate_command(c, in->rate[0] ? in->rate : NULL);
    case CMD_RETRY: return retry_command(c, in->operands, in->operand_count);
    default: return EXIT_USAGE;
    }
}

static int work(struct invocation *in, int argc, char **argv)
{
    struct config_report r = {0};
    struct config *c = calloc(1, sizeof *c);
    int code = EXIT_FAILED;
    read_arguments(in, argc, argv, &r);
    if (given(in, OPT_VERSION)) {
        printf("skyferry-push %s\n", SKYFERRY_VERSION);
        code = EXIT_DONE;
        goto out;
    }
    if (given(in, OPT_HELP) || given(in, OPT_DUMP_MAN)) {
        code = given(in, OPT_HELP) ? print_help(in->command) : print_man(value_of(in, OPT_DUMP_MAN));
        goto out;
    }
    if (in->verbosity != 0)
        override(in, "log", "level", in->verbosity > 0 ? "debug" : "warn", "-v or -q");
    bool dump = given(in, OPT_DUMP_CONFIG);
    if (!in->command && !dump && r.count == 0)
        config_problem(&r, "usage: skyferry-push [OPTION...] COMMAND; see skyferry-push --help");
    if (c)
        settings_load(&in->source, in->command && !dump ? in->command->needs : 0, c, &r);
    if (r.count > 0 || !c) {
        code = complain(&r);
    } else if (dump) {
        struct buf out = {0};
        config_dump(settings_rows, &c->set, CONFIG_CURRENT, &out);
        print(&out);
        code = EXIT_DONE;
    } else if (start_log(in, c, argc, argv)) {
        code = run_named(in, c);
        log_close();
    }
out:
    buf_free(&r.text);
    free(c);
    return code;
}

int main(int argc, char **argv)
{
    /* A ccd's buffers are tens of MB and live for a moment. Fresh ones cost 10 ms a ccd in page
     * faults, so they stay with each thread's heap, some 30 MB a thread. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    struct invocation in = {.sweep = {.exp_min = -1}};
    const char *implied = implied_command(argc, argv);
    int count = argc + (implied ? 1 : 0);
    char **args = calloc((size_t)count + 1, sizeof *args);
    struct option_found *found = calloc((size_t)count + 1, sizeof *found);
    const char **operands = calloc((size_t)count + 1, sizeof *operands);
    int code = EXIT_FAILED;
    if (!args || !found || !operands) {
        fprintf(stderr, "skyferry-push: out of memory\n");
        goto out;
    }
    for (int i = 0, n = 0; i < argc; i++) {
        args[n++] = argv[i];
        if (i == 0 && implied)
            args[n++] = (char *)implied;
    }
    in.found = found;
    in.operands = operands;
    code = work(&in, count, args);
    if (fflush(stdout) != 0 && code == EXIT_DONE)
        code = EXIT_FAILED;
out:
    free(args);
    free(found);
    free(operands);
    return code;
}
