/* Slurm: sbatch --parsable, squeue in lines of our own format, scontrol, sacct, scancel.
 * Formats: sbatch(1), squeue(1), scontrol(1), sacct(1) of Slurm 20.11 to 24.05. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/clock.h"
#include "pull/job_dialect.h"

/* ---- words ---- */

static bool is_over(const char *state)
{
    static const char *const over[] = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL",
                                       "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED",
                                       "REVOKED"};
    for (size_t i = 0; i < sizeof over / sizeof over[0]; i++)
        if (strncmp(state, over[i], strlen(over[i])) == 0)
            return true;
    return false;
}

/* "1:0" is exit status 1, "0:9" signal 9. */
static int read_status(const char *text)
{
    char *end;
    long status = strtol(text, &end, 10);
    if (end == text || *end != ':')
        return -1;
    long sig = strtol(end + 1, NULL, 10);
    if (sig > 0 && sig < 128)
        return 128 + (int)sig;
    return status >= 0 && status < 256 ? (int)status : -1;
}

/* "2026-11-21T16:00:00", local; 0 when it is anything else ("Unknown"). */
static int64_t read_time(const char *text)
{
    struct tm t = {.tm_isdst = -1};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
    time_t s = end && *end == '\0' ? mktime(&t) : -1;
    return s > 0 ? (int64_t)s * NS_PER_S : 0;
}

/* Without a node Slurm writes "(null)", "None assigned" or "n/a". */
static void set_node(struct batch_said *said, const char *text, size_t len)
{
    dialect_cut(said->node, sizeof said->node, text, len);
    if (said->node[0] == '(' || strcmp(said->node, "None assigned") == 0 ||
        strcmp(said->node, "n/a") == 0)
        said->node[0] = '\0';
}

/* ---- sbatch ---- */

static bool submit(const struct pull_settings *s, const struct batch_submission *b,
                   struct command *out, struct fault *why)
{
    char name[320], comment[64], output[PULL_PATH + 32], exclude[512];
    bool avoids = b->avoid && b->avoid[0];
    struct buf array = {0};
    buf_printf(&array, "--array=");
    for (size_t i = 0; i < b->count; i++)
        buf_printf(&array, "%s%d", i ? "," : "", b->numbers[i]);
    if (s->max_running > 0 && b->count > (size_t)s->max_running)
        buf_printf(&array, "%%%d", s->max_running); /* no more of them at once */
    snprintf(name, sizeof name, "--job-name=%s.%s", b->name, b->key);
    snprintf(comment, sizeof comment, "--comment=skyferry %s", b->key);
    snprintf(output, sizeof output, "--output=%s/q%%a/slurm.out", b->folder);
    pull_text(exclude, sizeof exclude, "--exclude=%s", avoids ? b->avoid : "");
    const char *last[] = {avoids ? exclude : b->script, avoids ? b->script : NULL};
    if (array.data)
        dialect_words(out, (const char *const[]){"sbatch", "--parsable", name, comment,
                                                 (char *)array.data, output, last[0], last[1], NULL});
    bool ok = array.data && out->argc == 7 + avoids;
    buf_free(&array);
    if (!ok)
        fault(why, ST_RETRY, "out of memory");
    return ok;
}

/* "1234" or "1234;cluster" alone on the last line. */
static bool read_id(const char *out, char id[BATCH_ID])
{
    const char *line = out;
    for (const char *p = out; (p = strchr(p, '\n')) && p[1]; p++)
        line = p + 1;
    size_t n = strspn(line, "0123456789");
    if (n == 0 || n >= 16 || (line[n] && line[n] != ';' && line[n] != '\n'))
        return false;
    dialect_cut(id, BATCH_ID, line, n);
    return true;
}

/* ---- squeue ---- */

static bool states(const struct pull_settings *s, const char *const *ids, size_t count,
                   struct command *out, struct fault *why)
{
    static const char *const words[] = {"squeue", "--noheader", "--array", "--me", "--states=all",
                                        "--format=%F|%K|%T|%N|%r|%j|%k", NULL};
    (void)s, (void)ids, (void)count, (void)why;
    dialect_words(out, words);
    return true;
}

static bool heard(int status, const char *err)
{
    (void)err;
    return status == 0;
}

static bool read_line(char *line, struct batch_said *said)
{
    const char *array = strsep(&line, "|"), *task = strsep(&line, "|");
    const char *state = strsep(&line, "|"), *node = strsep(&line, "|");
    const char *reason = strsep(&line, "|");
    size_t digits = strspn(array, "0123456789");
    if (!line || digits == 0 || array[digits] || digits >= 16)
        return false;
    *said = (struct batch_said){.exit_status = -1};
    char *end;
    long number = strtol(task, &end, 10);
    said->task = *end == '\0' && number > 0 && number < INT32_MAX ? (int)number : 0;
    dialect_cut(said->array, sizeof said->array, array, digits);
    dialect_cut(said->state, sizeof said->state, state, strlen(state));
    set_node(said, node, strlen(node));
    dialect_cut(said->sign, sizeof said->sign, line, strlen(line));
    if (strcmp(reason, "None") != 0)
        dialect_cut(said->reason, sizeof said->reason, reason, strlen(reason));
    said->over = is_over(said->state);
    said->turn = strcmp(reason, "Priority") == 0 || strcmp(reason, "Resources") == 0 ||
                 strcmp(reason, "BeginTime") == 0;
    said->held = strcasestr(reason, "held") != NULL;
    return said->state[0] != '\0';
}

static void read_states(char *answer, void (*take)(void *ctx, const struct batch_said *said),
                        void *ctx)
{
    struct batch_said said;
    for (char *line; (line = strsep(&answer, "\n"));)
        if (read_line(line, &said))
            take(ctx, &said);
}

/* ---- scontrol, then sacct ---- */

/* The value of KEY= in scontrol's line and its length; NULL when it is not there. */
static const char *field(const char *text, const char *key, size_t *len)
{
    size_t n = strlen(key);
    for (const char *p = text; (p = strstr(p, key)); p += n)
        if ((p == text || p[-1] == ' ' || p[-1] == '\n') && p[n] == '=') {
            *len = strcspn(p + n + 1, " \n");
            return p + n + 1;
        }
    return NULL;
}

static void cut_field(const char *text, const char *key, char *out, size_t size)
{
    size_t len = 0;
    const char *value = field(text, key, &len);
    dialect_cut(out, size, value ? value : "", len);
}

static void call_scontrol(const char *task, struct command *out)
{
    dialect_words(out, (const char *const[]){"scontrol", "--oneliner", "show", "job", task, NULL});
}

static enum batch_answer read_scontrol(int status, const char *out, const char *err,
                                       struct batch_said *said)
{
    char text[64];
    size_t len = 0;
    *said = (struct batch_said){.exit_status = -1};
    /* While other tasks of the array are known it prints "Job 12_3 not found". */
    if (status != 0)
        return strstr(err, "Invalid job id") || strstr(out, " not found") || strstr(err, " not found")
                   ? BATCH_UNKNOWN : BATCH_DEAF;
    cut_field(out, "JobState", said->state, sizeof said->state);
    cut_field(out, "ExitCode", text, sizeof text);
    said->exit_status = read_status(text);
    cut_field(out, "StartTime", text, sizeof text);
    said->started_ns = read_time(text);
    cut_field(out, "EndTime", text, sizeof text);
    said->over = is_over(said->state);
    said->ended_ns = said->over ? read_time(text) : 0;
    cut_field(out, "Reason", said->reason, sizeof said->reason);
    if (strcmp(said->reason, "None") == 0)
        said->reason[0] = '\0';
    const char *node = field(out, "NodeList", &len);
    set_node(said, node ? node : "", len);
    return said->state[0] ? BATCH_SAID : BATCH_DEAF;
}

static void call_sacct(const char *task, struct command *out)
{
    char job[BATCH_ID + 16];
    snprintf(job, sizeof job, "--jobs=%s", task);
    dialect_words(out, (const char *const[]){"sacct", "--noheader", "--parsable2", "--allocations",
                                             job, "--format=State,ExitCode,NodeList,Start,End",
                                             NULL});
}

/* Where there is no accounting it fails or prints nothing. */
static enum batch_answer read_sacct(int status, const char *out, const char *err,
                                    struct batch_said *said)
{
    char line[256];
    char *rest = line;
    (void)err;
    *said = (struct batch_said){.exit_status = -1};
    dialect_cut(line, sizeof line, out, strcspn(out, "\n"));
    const char *state = strsep(&rest, "|"), *code = strsep(&rest, "|"), *node = strsep(&rest, "|");
    const char *start = strsep(&rest, "|");
    if (status != 0 || !start || !rest)
        return BATCH_UNKNOWN;
    /* "CANCELLED by 1000" */
    dialect_cut(said->state, sizeof said->state, state, strcspn(state, " "));
    said->over = is_over(said->state);
    said->exit_status = said->over ? read_status(code) : -1;
    set_node(said, node, strlen(node));
    said->started_ns = read_time(start);
    said->ended_ns = said->over ? read_time(rest) : 0;
    return said->state[0] ? BATCH_SAID : BATCH_UNKNOWN;
}

static const struct batch_probe probes[] = {
    {call_scontrol, read_scontrol}, {call_sacct, read_sacct}, {NULL, NULL}};

/* ---- names ---- */

static bool cancel(const struct pull_settings *s, const char *task, struct command *out,
                   struct fault *why)
{
    (void)s, (void)why;
    dialect_words(out, (const char *const[]){"scancel", task, NULL});
    return true;
}

static void task_name(const char *id, int number, char out[BATCH_ID])
{
    snprintf(out, BATCH_ID, "%.15s_%d", id, number);
}

static void array_name(const char *task, char out[BATCH_ID])
{
    dialect_cut(out, BATCH_ID, task, strcspn(task, "_"));
}

const struct batch_dialect dialect_slurm = {
    .name = "slurm", .system = "Slurm", .submit_name = "sbatch", .states_name = "squeue",
    .cancel_name = "scancel", .ending = ".sbatch", .submit = submit, .read_id = read_id,
    .states = states, .heard = heard, .read_states = read_states, .probes = probes,
    .cancel = cancel, .task_name = task_name, .array_name = array_name,
};
