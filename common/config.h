/* Settings are rows. One table a program says, for every key: its section, type,
 * where it lands in the program's settings struct, default, range, unit and one
 * sentence. From these rows come the parser, its messages, --dump-config, the files
 * in etc/ and the man pages' lists, so that none of them can disagree. */
#ifndef SKYFERRY_CONFIG_H
#define SKYFERRY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/status.h"

enum setting_type {
    SET_TEXT,   /* char[N] in the struct; N is the row's size */
    SET_PATH,   /* as SET_TEXT; "~/" at the start becomes $HOME */
    SET_INT,    /* int */
    SET_REAL,   /* double */
    SET_BOOL,   /* bool: yes/no, true/false, on/off, 1/0 */
    SET_CHOICE  /* char[N]; one of the words in choices, "a|b|c" */
};

struct setting {
    const char *section, *key;
    enum setting_type type;
    size_t offset, size;     /* offsetof and sizeof the member */
    const char *fallback;    /* default, as text; NULL: must be given in the file */
    double min, max;         /* inclusive, for INT and REAL; of a text that must be given min > max:
                                it may be given empty */
    const char *choices;     /* for CHOICE */
    const char *unit;        /* "s", "Mbit/s", NULL */
    const char *sentence;    /* what it does, one line */
};
#define SETTING_AT(type, member) offsetof(type, member), sizeof(((type *)0)->member)

/* A table ends with a row whose key is NULL. */

/* Collects problems: each becomes one line "FILE:LINE: what is wrong; remedy". */
struct config_report {
    struct buf text;
    int count;
    const char *advice; /* what helps when a file cannot be read; NULL: --config */
};
void config_problem(struct config_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Fills target with the defaults, then with the file (NULL: none), reporting every
 * unknown section or key, bad value, repeated key and missing required key. A close
 * misspelling is answered with the right key. Comments stand on lines of their own:
 * " ;" or " #" after a value is a problem, for nothing may be cut in silence. Paths lose
 * trailing slashes. min >= max means any number. Returns r->count == 0. */
bool config_load(const char *file, const struct setting *rows, void *target,
                 struct config_report *r);

/* Sets one key as if it stood in the file ("ship.mode", "serial"): command-line options
 * and environment; `where` names the source in messages ("--mode"). */
bool config_set(const struct setting *rows, void *target, const char *section, const char *key,
                const char *value, const char *where, struct config_report *r);

enum config_form {
    CONFIG_DEFAULTS, /* an etc/ file: every key with its default, its sentence above it */
    CONFIG_CURRENT,  /* the same with the values in force */
    CONFIG_MAN       /* mdoc list items for a man page */
};
/* Appends the rows as text; target may be NULL except for CONFIG_CURRENT. */
void config_dump(const struct setting *rows, const void *target, enum config_form form,
                 struct buf *out);

/* What a row's value may be, in words: "a whole number from 1 to 16 (s)". */
void config_allowed(const struct setting *row, char *out, size_t size);

/* "Did you mean ...?": candidate when it is a likely misspelling of word and nearer to it
 * than best (NULL: none yet), else best. Case, '-' and '_' do not matter. */
const char *config_nearer(const char *word, const char *candidate, const char *best);

/* Appends text word by word, at most 79 columns a line, and a newline. The first line goes
 * on at `column`; the others begin with `indent`. */
void config_wrap(struct buf *out, const char *text, const char *indent, int column);

#endif
