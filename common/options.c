#include "common/options.h"

#include <stdio.h>
#include <string.h>

struct parse {
    const struct option_row *rows;
    int argc, at; /* the argument being read */
    char **argv;
    struct option_found *found;
    int *found_count;
    struct config_report *r;
};

/* '-' and '_' are the same to an observer's fingers. */
static bool same(const char *name, const char *given, size_t len)
{
    if (strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((name[i] == '_' ? '-' : name[i]) != (given[i] == '_' ? '-' : given[i]))
            return false;
    return true;
}

/* The n-th spelling of a row (0: its name) copied to out; false past the last. */
static bool spelling(const struct option_row *row, int n, char *out, size_t size)
{
    const char *s = n == 0 ? row->name : row->aliases;
    for (int i = 1; s && i < n; i++) {
        s += strspn(s, " ");
        s += strcspn(s, " ");
    }
    if (!s || !*(s += strspn(s, " ")))
        return false;
    snprintf(out, size, "%.*s", (int)strcspn(s, " "), s);
    return true;
}

static const struct option_row *find_long(const struct option_row *rows, const char *given,
                                          size_t len)
{
    char name[64];
    for (const struct option_row *o = rows; o->name; o++)
        for (int n = 0; spelling(o, n, name, sizeof name); n++)
            if (same(name, given, len))
                return o;
    return NULL;
}

static const struct option_row *find_letter(const struct option_row *rows, char letter)
{
    for (const struct option_row *o = rows; o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

/* A value that is itself a known option means that the value was forgotten; any other
 * word is taken, "-1" too. */
static const char *next_value(struct parse *p)
{
    if (p->at + 1 >= p->argc)
        return NULL;
    const char *next = p->argv[p->at + 1];
    if (strncmp(next, "--", 2) == 0 && find_long(p->rows, next + 2, strcspn(next + 2, "=")))
        return NULL;
    p->at++;
    return next;
}

/* found has room for argc entries, which "-vvvvvv" alone could exceed. */
static void keep(struct parse *p, const struct option_row *row, const char *value)
{
    if (*p->found_count >= p->argc) {
        config_problem(p->r, "%.60s: too many letters in one word; write them apart",
                       p->argv[p->at]);
        return;
    }
    p->found[(*p->found_count)++] =
        (struct option_found){.id = row->id, .value = value, .spelling = row->name};
}

static void unknown_long(struct parse *p, const char *given, size_t len)
{
    char word[64], name[64], best[64];
    const char *nearest = NULL;
    snprintf(word, sizeof word, "%.*s", (int)len, given);
    for (const struct option_row *o = p->rows; o->name; o++) {
        for (int n = 0; spelling(o, n, name, sizeof name); n++) {
            if (config_nearer(word, name, nearest) == name) {
                snprintf(best, sizeof best, "%s", name);
                nearest = best;
            }
        }
    }
    if (nearest)
        config_problem(p->r, "--%s: no such option; did you mean --%s?", word, nearest);
    else
        config_problem(p->r, "--%s: no such option; --help lists them", word);
}

static void read_long(struct parse *p)
{
    const char *given = p->argv[p->at] + 2;
    size_t len = strcspn(given, "=");
    const char *value = given[len] ? given + len + 1 : NULL;
    const struct option_row *row = find_long(p->rows, given, len);
    if (!row) {
        unknown_long(p, given, len);
        return;
    }
    if (!row->argument && value) {
        config_problem(p->r, "--%s: takes no value; leave out '=%.60s'", row->name, value);
        return;
    }
    if (row->argument && !value && !(value = next_value(p))) {
        config_problem(p->r, "--%s: needs a value; write --%s=%s", row->name, row->name,
                       row->argument);
        return;
    }
    keep(p, row, value);
}

static void read_letters(struct parse *p)
{
    for (const char *c = p->argv[p->at] + 1; *c; c++) {
        const struct option_row *row = find_letter(p->rows, *c);
        if (!row) {
            config_problem(p->r, "-%c: no such option; --help lists them", *c);
            return;
        }
        if (!row->argument) {
            keep(p, row, NULL);
            continue;
        }
        const char *value = c[1] ? c + 1 : next_value(p);
        if (!value)
            config_problem(p->r, "-%c: needs a value; write -%c %s", *c, *c, row->argument);
        else
            keep(p, row, value);
        return;
    }
}

static bool takes(const char *commands, const char *command)
{
    size_t len = strlen(command);
    for (const char *c = commands; c && *c;) {
        c += strspn(c, " ");
        size_t n = strcspn(c, " ");
        if (n == len && memcmp(c, command, n) == 0)
            return true;
        c += n;
    }
    return !commands;
}

static void check_command(const struct parse *p, const char *command)
{
    for (int i = 0; i < *p->found_count; i++) {
        const struct option_row *row = p->rows;
        while (row->name && row->id != p->found[i].id)
            row++;
        if (row->name && !takes(row->commands, command))
            config_problem(p->r, "--%s: '%.40s' does not take this option; it goes with: %s",
                           row->name, command, row->commands);
    }
}

void options_parse(const struct option_row *rows, int argc, char **argv,
                   struct option_found *found, int *found_count, const char **operands,
                   int *operand_count, struct config_report *r)
{
    struct parse p = {rows, argc, 1, argv, found, found_count, r};
    bool ended = false;
    *found_count = *operand_count = 0;
    for (; p.at < argc; p.at++) {
        const char *arg = argv[p.at];
        if (ended || arg[0] != '-' || !arg[1])
            operands[(*operand_count)++] = arg;
        else if (strcmp(arg, "--") == 0)
            ended = true;
        else if (arg[1] == '-')
            read_long(&p);
        else
            read_letters(&p);
    }
    if (*operand_count)
        check_command(&p, operands[0]);
}

/* ---- help ---- */

#define HELP_COLUMN 26

/* The sentence, with the other spellings but for those that '-' for '_' explains. */
static void sentence(const struct option_row *row, struct buf *out)
{
    char name[64];
    bool any = false;
    size_t len = strlen(row->help);
    bool stop = len && row->help[len - 1] == '.';
    buf_printf(out, "%.*s", (int)(len - stop), row->help);
    for (int n = 1; spelling(row, n, name, sizeof name); n++) {
        if (same(row->name, name, strlen(name)))
            continue;
        buf_printf(out, "%s--%s", any ? ", " : " (also ", name);
        any = true;
    }
    buf_printf(out, "%s.", any ? ")" : "");
}

static void help_text(const struct option_row *row, struct buf *out)
{
    static const char indent[HELP_COLUMN + 1] = "                          ";
    char left[128];
    struct buf text = {0};
    char letter[8] = "    ";
    if (row->letter)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    int width = snprintf(left, sizeof left, "  %s--%s%s%s", letter, row->name,
                         row->argument ? " " : "", row->argument ? row->argument : "");
    sentence(row, &text);
    if (width < HELP_COLUMN - 1)
        buf_printf(out, "%-*s", HELP_COLUMN, left);
    else
        buf_printf(out, "%s\n%s", left, indent);
    config_wrap(out, text.data ? (char *)text.data : "", indent, HELP_COLUMN);
    buf_free(&text);
}

static void help_mdoc(const struct option_row *row, struct buf *out)
{
    buf_printf(out, ".It");
    if (row->letter)
        buf_printf(out, " Fl %c ,", row->letter);
    buf_printf(out, " Fl -%s", row->name);
    if (row->argument)
        buf_printf(out, " Ar %s", row->argument);
    buf_printf(out, "\n");
    sentence(row, out);
    buf_printf(out, "\n");
    if (row->commands)
        buf_printf(out, "For: %s.\n", row->commands);
}

void options_help(const struct option_row *rows, bool mdoc, struct buf *out)
{
    for (const struct option_row *row = rows; row->name; row++) {
        if (mdoc)
            help_mdoc(row, out);
        else
            help_text(row, out);
    }
}
