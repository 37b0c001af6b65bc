#include "common/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 79

void config_wrap(struct buf *out, const char *text, const char *indent, int column)
{
    bool fresh = true; /* no blank is due before the next word */
    while (*text) {
        text += strspn(text, " ");
        size_t len = strcspn(text, " ");
        if (!len)
            break;
        if (!fresh && column + 1 + (int)len > COLUMNS) {
            buf_printf(out, "\n%s", indent);
            column = (int)strlen(indent);
            fresh = true;
        }
        buf_printf(out, "%s%.*s", fresh ? "" : " ", (int)len, text);
        column += (int)len + !fresh;
        fresh = false;
        text += len;
    }
    buf_printf(out, "\n");
}

/* "a|b|c" as "a, b or c". */
static void list_choices(const char *choices, struct buf *out)
{
    for (const char *c = choices; *c;) {
        size_t len = strcspn(c, "|");
        const char *next = c[len] ? c + len + 1 : c + len;
        bool last = !*next;
        buf_printf(out, "%s%.*s", c == choices ? "" : last ? " or " : ", ", (int)len, c);
        c = next;
    }
}

static void say_range(const struct setting *s, struct buf *out)
{
    const char *kind = s->type == SET_INT ? "a whole number" : "a number";
    if (s->min >= s->max || (isinf(s->max) && isinf(s->min)))
        buf_printf(out, "%s", kind);
    else if (isinf(s->max))
        buf_printf(out, "%s of at least %.10g", kind, s->min);
    else if (isinf(s->min))
        buf_printf(out, "%s of at most %.10g", kind, s->max);
    else
        buf_printf(out, "%s from %.10g to %.10g", kind, s->min, s->max);
}

static void say_allowed(const struct setting *s, struct buf *out)
{
    switch (s->type) {
    case SET_TEXT:
        buf_printf(out, "a text of at most %zu characters", s->size - 1);
        break;
    case SET_PATH:
        buf_printf(out, "a path");
        break;
    case SET_INT:
    case SET_REAL:
        say_range(s, out);
        break;
    case SET_BOOL:
        buf_printf(out, "yes or no");
        break;
    case SET_CHOICE:
        list_choices(s->choices, out);
        break;
    }
    if (s->unit)
        buf_printf(out, " (%s)", s->unit);
}

void config_allowed(const struct setting *row, char *out, size_t size)
{
    struct buf b = {0};
    say_allowed(row, &b);
    snprintf(out, size, "%s", b.data ? (char *)b.data : "");
    buf_free(&b);
}

/* The shortest decimal that reads back as the same number. */
static void print_real(const char *at, struct buf *out)
{
    char text[40];
    double x;
    memcpy(&x, at, sizeof x);
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    if (strchr(text, 'e') && fabs(x) >= 1 && fabs(x) < 1e15)
        snprintf(text, sizeof text, "%.0f", x); /* 20, not 2e+01 */
    buf_printf(out, "%s", text);
}

/* What lies in the home directory is written so that it holds for another account too. */
static void print_path(const char *path, int size, struct buf *out)
{
    const char *home = getenv("HOME");
    size_t len = home ? strlen(home) : 0;
    if (len > 1 && strncmp(path, home, len) == 0 && path[len] == '/')
        buf_printf(out, "~%.*s", size - (int)len, path + len);
    else
        buf_printf(out, "%.*s", size, path);
}

static void print_value(const struct setting *s, const void *target, struct buf *out)
{
    const char *at = (const char *)target + s->offset;
    switch (s->type) {
    case SET_PATH:
        print_path(at, (int)s->size, out);
        break;
    case SET_TEXT:
    case SET_CHOICE:
        buf_printf(out, "%.*s", (int)s->size, at);
        break;
    case SET_INT:
        buf_printf(out, "%d", *(const int *)at);
        break;
    case SET_REAL:
        print_real(at, out);
        break;
    case SET_BOOL:
        buf_printf(out, "%s", *(const bool *)at ? "yes" : "no");
        break;
    }
}

static const char *stop_of(const char *sentence)
{
    size_t len = strlen(sentence);
    return len && strchr(".?!", sentence[len - 1]) ? "" : ".";
}

/* What the comment says of the values, where the sentence does not already. */
static void comment(const struct setting *s, struct buf *out)
{
    struct buf text = {0};
    buf_printf(&text, "%s%s", s->sentence, stop_of(s->sentence));
    bool plain = s->type == SET_TEXT || s->type == SET_PATH;
    if (!plain) {
        buf_printf(&text, " Give ");
        say_allowed(s, &text);
        buf_printf(&text, ".");
    } else if (s->unit) {
        buf_printf(&text, " Unit: %s.", s->unit);
    }
    if (!s->fallback)
        buf_printf(&text, " Required.");
    buf_printf(out, "# ");
    config_wrap(out, text.data ? (char *)text.data : "", "# ", 2);
    buf_free(&text);
}

static void dump_ini(const struct setting *s, const void *target, enum config_form form,
                     struct buf *out)
{
    struct buf value = {0};
    if (form == CONFIG_CURRENT)
        print_value(s, target, &value);
    else if (s->fallback)
        buf_printf(&value, "%s", s->fallback);
    bool given = s->fallback || (value.data && value.data[0]);
    comment(s, out);
    buf_printf(out, "%s%s =%s%s\n", given ? "" : "# ", s->key, value.len ? " " : "",
               value.data ? (char *)value.data : "");
    buf_free(&value);
}

/* Text as mdoc takes it: backslashes doubled by name, no macro at a line's start. */
static void mdoc_text(const char *text, struct buf *out)
{
    if (*text == '.' || *text == '\'')
        buf_printf(out, "\\&");
    for (; *text; text++) {
        if (*text == '\\')
            buf_printf(out, "\\e");
        else
            buf_printf(out, "%c", *text);
    }
}

static void mdoc_argument(const struct setting *s, struct buf *out)
{
    switch (s->type) {
    case SET_TEXT:
        buf_printf(out, "Ar text");
        break;
    case SET_PATH:
        buf_printf(out, "Ar path");
        break;
    case SET_INT:
    case SET_REAL:
        buf_printf(out, "Ar number");
        break;
    case SET_BOOL:
        buf_printf(out, "Cm yes | no");
        break;
    case SET_CHOICE:
        buf_printf(out, "Cm");
        for (const char *c = s->choices; *c;) {
            size_t len = strcspn(c, "|");
            buf_printf(out, "%s %.*s", c == s->choices ? "" : " |", (int)len, c);
            c += len + (c[len] == '|');
        }
        break;
    }
}

static void dump_mdoc(const struct setting *s, struct buf *out)
{
    struct buf text = {0};
    buf_printf(out, ".It Sy [%s] Cm %s No = ", s->section, s->key);
    mdoc_argument(s, out);
    buf_printf(out, "\n");
    buf_printf(&text, "%s%s", s->sentence, stop_of(s->sentence));
    mdoc_text(text.data ? (char *)text.data : "", out);
    buf_printf(out, "\n");
    if (s->type == SET_INT || s->type == SET_REAL) {
        text.len = 0;
        say_allowed(s, &text);
        buf_printf(out, "Give %s.\n", (char *)text.data);
    } else if (s->unit) {
        buf_printf(out, "Unit: %s.\n", s->unit);
    }
    if (!s->fallback) {
        buf_printf(out, "Required.\n");
    } else if (!*s->fallback) {
        buf_printf(out, "Empty by default.\n");
    } else {
        buf_printf(out, "The default is\n.Ql \"\\&");
        mdoc_text(s->fallback, out);
        buf_printf(out, "\" .\n");
    }
    buf_free(&text);
}

void config_dump(const struct setting *rows, const void *target, enum config_form form,
                 struct buf *out)
{
    for (const struct setting *s = rows; s->key; s++) {
        if (form == CONFIG_MAN) {
            dump_mdoc(s, out);
            continue;
        }
        bool first = s == rows;
        if (first || strcmp(s->section, s[-1].section) != 0)
            buf_printf(out, "%s[%s]\n\n", first ? "" : "\n", s->section);
        else
            buf_printf(out, "\n");
        dump_ini(s, target, form, out);
    }
}
