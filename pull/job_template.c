#include "pull/job_template.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "common/lookup.h"
#include "pull/job_dialect.h"

#define MAX_TEMPLATE ((size_t)1 << 20)
#define WALLTIME_MORE 120 /* s beyond the job's own limit: for the script to begin and to end */

struct value {
    const char *key, *text;
};
#define VALUES 17

struct filled {
    struct value row[VALUES];
    char walltime[32], nodes[16], tasks[16], cores[16], processors[16], first[16];
};

static void number(char *out, size_t size, int value)
{
    snprintf(out, size, "%d", value);
}

static void gather(const struct pull_settings *s, const struct script_values *v, struct filled *f)
{
    const struct slurm_settings *m = &s->slurm;
    /* PBS: a reservation is a queue of its own. */
    bool in_queue = dialect_find(s->runner) == &dialect_pbs && m->reservation[0];
    const char *partition = in_queue ? m->reservation : m->partition;
    int t = s->timeout_seconds + WALLTIME_MORE;
    snprintf(f->walltime, sizeof f->walltime, "%02d:%02d:%02d", t / 3600, t / 60 % 60, t % 60);
    number(f->nodes, sizeof f->nodes, m->nodes);
    number(f->tasks, sizeof f->tasks, m->tasks_per_node);
    number(f->cores, sizeof f->cores, m->cores);
    number(f->processors, sizeof f->processors, m->tasks_per_node * m->cores);
    number(f->first, sizeof f->first, v->first);
    const struct value rows[VALUES] = {
        {"name", v->name}, {"folder", v->folder}, {"key", v->key}, {"program", v->program},
        {"first", f->first}, {"store", s->root}, {"partition", partition}, {"account", m->account},
        {"reservation", m->reservation}, {"qos", m->qos}, {"memory", m->memory}, {"tmp", m->tmp},
        {"walltime", m->walltime[0] ? m->walltime : f->walltime}, {"nodes", f->nodes},
        {"tasks_per_node", f->tasks}, {"cores", f->cores}, {"processors", f->processors},
    };
    memcpy(f->row, rows, sizeof rows);
}

/* The value that stands at p ("{name}..."); *len is the placeholder's length, 0: the shell's. */
static const char *value_at(const struct filled *f, const char *p, size_t *len)
{
    size_t n = strspn(p + 1, "abcdefghijklmnopqrstuvwxyz_0123456789");
    *len = islower((unsigned char)p[1]) && p[1 + n] == '}' ? n + 2 : 0;
    for (int i = 0; *len && i < VALUES; i++)
        if (strlen(f->row[i].key) == n && strncmp(f->row[i].key, p + 1, n) == 0)
            return f->row[i].text;
    return NULL;
}

static void quote(struct buf *out, const char *text)
{
    buf_append(out, "'", 1);
    for (const char *p = text; *p; p++)
        buf_append(out, *p == '\'' ? "'\\''" : p, *p == '\'' ? 4 : 1);
    buf_append(out, "'", 1);
}

static void allowed(const struct filled *f, char *out, size_t size)
{
    out[0] = '\0';
    for (int i = 0; i < VALUES; i++) {
        size_t at = strlen(out);
        snprintf(out + at, size - at, "%s{%s}", i ? " " : "", f->row[i].key);
    }
}

/* One line without its newline. Empty values leave a comment line out. */
static bool fill_line(const struct filled *f, const char *line, struct buf *out,
                      struct fault *why)
{
    bool comment = line[0] == '#', left_out = false;
    size_t before = out->len, len;
    for (const char *p = line; *p;) {
        const char *value = *p == '{' && (p == line || p[-1] != '$') ? value_at(f, p, &len) : NULL;
        if (*p == '{' && (p == line || p[-1] != '$') && len > 0 && !value) {
            char words[320];
            allowed(f, words, sizeof words);
            fault(why, ST_REJECT, "'%.*s' is no placeholder; there are %s", (int)len, p, words);
            return false;
        }
        if (!value) {
            buf_append(out, p++, 1);
            continue;
        }
        left_out = left_out || (comment && value[0] == '\0');
        if (comment)
            buf_append(out, value, strlen(value));
        else
            quote(out, value);
        p += len;
    }
    if (left_out)
        out->len = before;
    else
        buf_append(out, "\n", 1);
    return true;
}

enum status template_find(const struct pull_settings *s, char out[PULL_PATH], struct fault *why)
{
    const struct batch_dialect *d = dialect_find(s->runner);
    const char *given = d == &dialect_pbs ? s->pbs.script : s->slurm.script;
    const char *ending = d ? d->ending : dialect_slurm.ending;
    char folder[PULL_PATH];
    if (strchr(given, '/'))
        pull_text(out, PULL_PATH, "%s", given);
    else if (lookup_folder("jobs", s->config, folder, sizeof folder))
        pull_text(out, PULL_PATH, "%s/%s%s", folder, given, ending);
    else
        return fault(why, ST_REJECT, "there is no folder jobs/ with script templates beside the "
                     "configuration file or near the program; give the template's path");
    return ST_OK;
}

enum status template_fill(const struct pull_settings *s, const struct script_values *v,
                          struct buf *out, struct fault *why)
{
    struct filled f;
    struct buf text = {0};
    char path[PULL_PATH];
    int at = 0;
    gather(s, v, &f);
    enum status st = template_find(s, path, why);
    if (st == ST_OK)
        st = fs_read_file(path, MAX_TEMPLATE, &text, why);
    if (st == ST_OK && !buf_append(&text, "", 1))
        st = fault(why, ST_RETRY, "out of memory for '%s'", path);
    if (st == ST_OK && strncmp((char *)text.data, "#!", 2) != 0)
        st = fault(why, ST_REJECT, "%s:1: a batch script begins with #! and its shell", path);
    char *rest = st == ST_OK ? (char *)text.data : NULL;
    for (char *line; st == ST_OK && (line = strsep(&rest, "\n"));) {
        at++;
        if (!rest && line[0] == '\0')
            break;
        if (!fill_line(&f, line, out, why)) {
            st = ST_REJECT;
            fault_within(why, "%s:%d: ", path, at);
        }
    }
    buf_free(&text);
    return st;
}

void template_check(const struct pull_settings *s, struct config_report *r)
{
    static const struct script_values any = {"name", "/folder", "key", "skyferry-pull", 1};
    struct buf out = {0};
    struct fault why;
    bool pbs = dialect_find(s->runner) == &dialect_pbs;
    if (template_fill(s, &any, &out, &why) != ST_OK)
        config_problem(r, "[jobs] %s_template = %s: %s", pbs ? "pbs" : "slurm",
                       pbs ? s->pbs.script : s->slurm.script, why.text);
    buf_free(&out);
}
