/* PBS Professional and OpenPBS, by the commands in the settings, whose defaults are qsub -J,
 * qselect, qstat -x -t -f and qdel. Formats: qsub(1B), qselect(1B), qstat(1B) of OpenPBS 20 to
 * 23. Written from these pages and never tried on a real PBS.
 *
 * An array is 12[], its task n 12[n]. -J takes ranges of at least two numbers only: one task goes
 * as a plain job, 12; and a number inside of a range that is not meant finds another key in its
 * folder and goes away (job_task.h). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "pull/job_dialect.h"

/* ---- the commands ---- */

#define MANY "\x01" /* what {jobs} is before the names take its place */

/* Every placeholder that a pbs_ setting may hold; each allows some. */
enum { AT_NAME, AT_RANGE, AT_OUTPUT, AT_SCRIPT, AT_JOBS, AT_JOB, VALUES };

static bool make(const char *text, const char *key, const char *const values[VALUES],
                 struct command *out, struct config_report *r)
{
    static const char *const keys[VALUES] = {"name", "range", "output", "script", "jobs", "job"};
    struct command_value list[VALUES + 1];
    int count = 0;
    for (int i = 0; i < VALUES; i++)
        if (values[i])
            list[count++] = (struct command_value){keys[i], values[i]};
    list[count] = (struct command_value){NULL, NULL};
    return command_fill(text, key, list, out, r);
}

static bool made(const char *text, const char *key, const char *const values[VALUES],
                 struct command *out, struct fault *why)
{
    struct config_report r = {0};
    bool ok = make(text, key, values, out, &r);
    if (!ok)
        fault(why, ST_REJECT, "%.*s", (int)r.text.len, (const char *)r.text.data);
    buf_free(&r.text);
    return ok;
}

/* PBS wants a letter or digit first; ours may begin with '_'. */
static void job_name(const struct batch_submission *b, char *out, size_t size)
{
    snprintf(out, size, "%s%.200s.%s", isalnum((unsigned char)b->name[0]) ? "" : "x", b->name,
             b->key);
}

static bool submit(const struct pull_settings *s, const struct batch_submission *b,
                   struct command *out, struct fault *why)
{
    char name[256], range[48] = "", output[PULL_PATH + 32];
    job_name(b, name, sizeof name);
    bool many = s->max_running > 0 && b->count > (size_t)s->max_running;
    if (b->count > 1)
        snprintf(range, sizeof range, many ? "%d-%d%%%d" : "%d-%d", b->numbers[0],
                 b->numbers[b->count - 1], s->max_running);
    if (b->count > 1)
        snprintf(output, sizeof output, "%s/q^array_index^/pbs.out", b->folder);
    else
        snprintf(output, sizeof output, "%s/q%d/pbs.out", b->folder, b->numbers[0]);
    const char *const values[VALUES] = {[AT_NAME] = name, [AT_RANGE] = range,
                                        [AT_OUTPUT] = output, [AT_SCRIPT] = b->script};
    return made(s->pbs.submit, "pbs_submit", values, out, why);
}

static bool find(const struct pull_settings *s, const struct batch_submission *b,
                 struct command *out, struct fault *why)
{
    char name[256];
    job_name(b, name, sizeof name);
    const char *const values[VALUES] = {[AT_NAME] = name};
    return made(s->pbs.find, "pbs_find", values, out, why);
}

static bool states(const struct pull_settings *s, const char *const *ids, size_t count,
                   struct command *out, struct fault *why)
{
    const char *words[COMMAND_ARGS + 1] = {NULL};
    const char *const values[VALUES] = {[AT_JOBS] = MANY};
    struct command one;
    size_t n = 0;
    if (!made(s->pbs.query, "pbs_query", values, &one, why))
        return false;
    for (int i = 0; i < one.argc; i++) {
        bool many = strcmp(one.argv[i], MANY) == 0;
        for (size_t k = 0; k < (many ? count : 1) && n < COMMAND_ARGS; k++)
            words[n++] = many ? ids[k] : one.argv[i];
    }
    dialect_words(out, words);
    command_free(&one);
    return true;
}

static bool cancel(const struct pull_settings *s, const char *task, struct command *out,
                   struct fault *why)
{
    const char *const values[VALUES] = {[AT_JOB] = task};
    return made(s->pbs.cancel, "pbs_cancel", values, out, why);
}

/* Without its job's name a search would find anybody's. */
static void need(const char *key, const char *text, const char *placeholder,
                 struct config_report *r)
{
    if (!strstr(text, placeholder))
        config_problem(r, "[jobs] %s = %s: %s is missing in it", key, text, placeholder);
}

static bool has_word(const struct command *c, const char *word)
{
    for (int i = 0; i < c->argc; i++)
        if (strcmp(c->argv[i], word) == 0)
            return true;
    return false;
}

void dialect_check(const struct pull_settings *s, struct config_report *r)
{
    const struct {
        const char *key, *text, *needed;
        const char *values[VALUES];
    } rows[] = {{"pbs_submit", s->pbs.submit, "{name}",
                 {[AT_NAME] = "a", [AT_RANGE] = "1-2", [AT_OUTPUT] = "a", [AT_SCRIPT] = "a"}},
                {"pbs_find", s->pbs.find, "{name}", {[AT_NAME] = "a"}},
                {"pbs_query", s->pbs.query, "{jobs}", {[AT_JOBS] = MANY}},
                {"pbs_cancel", s->pbs.cancel, "{job}", {[AT_JOB] = "a"}}};
    struct command c;
    if (dialect_find(s->runner) != &dialect_pbs)
        return;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!make(rows[i].text, rows[i].key, rows[i].values, &c, r))
            continue;
        need(rows[i].key, rows[i].text, rows[i].needed, r);
        if (rows[i].values[AT_SCRIPT])
            need(rows[i].key, rows[i].text, "{script}", r);
        if (rows[i].values[AT_JOBS] && strstr(rows[i].text, "{jobs}") && !has_word(&c, MANY))
            config_problem(r, "[jobs] %s = %s: {jobs} has to be a word of its own", rows[i].key,
                           rows[i].text);
        command_free(&c);
    }
}

/* ---- answers ---- */

/* "12.server", "12[].server" or "12[3].server": tasks -1, 0 and 3; where it ends, NULL when it is
 * none of them. The server's name is left out: commands add their own. */
static const char *read_name(const char *p, char id[BATCH_ID], int *task)
{
    p += strspn(p, " \t\n");
    size_t digits = strspn(p, "0123456789");
    char *end = (char *)p + digits;
    *task = BATCH_ONLY;
    if (digits == 0 || digits >= 16)
        return NULL;
    dialect_cut(id, BATCH_ID, p, digits);
    if (*end == '[') {
        long number = strtol(end + 1, &end, 10);
        if (*end != ']' || number < 0 || number >= INT32_MAX)
            return NULL;
        end++;
        *task = (int)number;
        id[digits] = '[';
        id[digits + 1] = ']';
        id[digits + 2] = '\0';
    }
    if (*end != '.' && *end != '\0' && !isspace((unsigned char)*end))
        return NULL;
    return end + strcspn(end, " \t\n");
}

/* qsub prints it on its last line, qselect alone. */
static bool read_id(const char *out, char id[BATCH_ID])
{
    const char *line = out;
    int task;
    for (const char *p = out; (p = strchr(p, '\n')) && p[1]; p++)
        line = p + 1;
    const char *end = read_name(line, id, &task);
    return end && task <= 0 && end[strspn(end, " \t\n")] == '\0';
}

/* 153 is "Unknown Job Id", 35 "Job has finished": the others' lines are there. */
static bool heard(int status, const char *err)
{
    return status == 0 || status == 153 || status == 35 || strstr(err, "Unknown Job Id") ||
           strstr(err, "has finished");
}

static void set_state(struct batch_said *said, char letter)
{
    static const struct {
        char letter;
        const char *word;
    } states_known[] = {{'Q', "QUEUED"}, {'R', "RUNNING"}, {'E', "EXITING"}, {'H', "HELD"},
                        {'S', "SUSPENDED"}, {'U', "SUSPENDED"}, {'W', "WAITING"}, {'T', "MOVING"},
                        {'M', "MOVED"}, {'B', "BEGUN"}, {'X', "FINISHED"}, {'F', "FINISHED"}};
    said->over = letter == 'X' || letter == 'F';
    said->held = letter == 'H';
    said->turn = !said->held;
    snprintf(said->state, sizeof said->state, "STATE_%c", isalpha((unsigned char)letter) ? letter
                                                                                         : '?');
    for (size_t i = 0; i < sizeof states_known / sizeof states_known[0]; i++)
        if (states_known[i].letter == letter)
            snprintf(said->state, sizeof said->state, "%s", states_known[i].word);
}

/* Above 255 a signal ended it; below 0 PBS could not run it. */
static int read_status(const char *value)
{
    long status = strtol(value, NULL, 10);
    if (status > 256 && status < 256 + 128)
        return 128 + (int)status - 256;
    return status >= 0 && status < 256 ? (int)status : -1;
}

/* "Fri Jul  1 14:42:57 2022", local */
static int64_t read_time(const char *value)
{
    struct tm t = {.tm_isdst = -1};
    const char *end = strptime(value, "%a %b %d %H:%M:%S %Y", &t);
    time_t s = end && *end == '\0' ? mktime(&t) : -1;
    return s > 0 ? (int64_t)s * NS_PER_S : 0;
}

/* The first of each name counts: the environment that follows may hold anything. */
static void take_attribute(struct batch_said *said, const char *line)
{
    size_t name = strcspn(line, " =");
    const char *value = line + name;
    if (strncmp(value, " = ", 3) != 0)
        return;
    value += 3;
    size_t len = strlen(value);
    if (name == 8 && strncmp(line, "Job_Name", name) == 0 && !said->sign[0])
        dialect_cut(said->sign, sizeof said->sign, value, len);
    else if (name == 9 && strncmp(line, "job_state", name) == 0 && !said->state[0])
        set_state(said, *value);
    else if (name == 9 && strncmp(line, "exec_host", name) == 0 && !said->node[0])
        dialect_cut(said->node, sizeof said->node, value, strcspn(value, "/"));
    else if (name == 11 && strncmp(line, "Exit_status", name) == 0)
        said->exit_status = read_status(value);
    else if (name == 7 && strncmp(line, "comment", name) == 0 && !said->reason[0])
        dialect_cut(said->reason, sizeof said->reason, value, len);
    else if (name == 5 && strncmp(line, "stime", name) == 0)
        said->started_ns = read_time(value);
    else if (name == 5 && strncmp(line, "mtime", name) == 0)
        said->ended_ns = read_time(value);
}

/* qstat breaks long values: a line that begins with a tab goes on. */
static char *next_line(char **rest)
{
    char *line = strsep(rest, "\n");
    while (line && *rest && **rest == '\t') {
        char *more = strsep(rest, "\n") + 1;
        memmove(line + strlen(line), more, strlen(more) + 1);
    }
    return line;
}

static void give(struct batch_said *said, void (*take)(void *ctx, const struct batch_said *said),
                 void *ctx)
{
    if (!said->over)
        said->ended_ns = 0;
    if (said->array[0] && said->state[0])
        take(ctx, said);
    *said = (struct batch_said){.exit_status = -1};
}

static void read_states(char *answer, void (*take)(void *ctx, const struct batch_said *said),
                        void *ctx)
{
    static const char head[] = "Job Id: ";
    struct batch_said said = {.exit_status = -1};
    for (char *line; (line = next_line(&answer));) {
        if (strncmp(line, head, strlen(head)) == 0) {
            give(&said, take, ctx);
            if (!read_name(line + strlen(head), said.array, &said.task))
                said.array[0] = '\0';
        } else if (strncmp(line, "    ", 4) == 0) {
            take_attribute(&said, line + 4);
        }
    }
    give(&said, take, ctx);
}

static const struct batch_probe probes[] = {{NULL, NULL}};

/* ---- names ---- */

static void task_name(const char *id, int number, char out[BATCH_ID])
{
    size_t len = strcspn(id, "[");
    if (id[len])
        snprintf(out, BATCH_ID, "%.*s[%d]", (int)(len < 16 ? len : 16), id, number);
    else
        snprintf(out, BATCH_ID, "%.31s", id);
}

static void array_name(const char *task, char out[BATCH_ID])
{
    int number;
    if (!read_name(task, out, &number))
        out[0] = '\0';
}

const struct batch_dialect dialect_pbs = {
    .name = "pbs", .system = "PBS", .submit_name = "qsub", .states_name = "qstat",
    .cancel_name = "qdel", .ending = ".qsub", .submit = submit, .read_id = read_id,
    .find = find, .states = states, .heard = heard, .read_states = read_states, .probes = probes,
    .cancel = cancel, .task_name = task_name, .array_name = array_name,
};
