/* Command-line options are rows too: spelling, the forerunner's aliases, argument and
 * help stand in one table a program, from which getopt's table, --help and the man
 * page are made. */
#ifndef SKYFERRY_OPTIONS_H
#define SKYFERRY_OPTIONS_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/config.h"

struct option_row {
    const char *name;     /* long spelling, without "--" */
    const char *aliases;  /* other long spellings, blank-separated, or NULL */
    char letter;          /* short spelling or 0 */
    const char *argument; /* "FILE", or NULL when it takes none */
    int id;               /* the program's own number, > 0 */
    const char *commands; /* which commands take it, blank-separated; NULL: all */
    const char *help;     /* one sentence */
};

struct option_found {
    int id;
    const char *value; /* inside argv, or NULL */
    const char *spelling; /* the row's name, for messages */
};

/* Sorts argv into options and operands. Accepts --x=v, --x v, -x v, -xv, "--" ends
 * options. found and operands have room for argc entries each. Problems (unknown
 * option, missing argument, an option that this command does not take) go to r.
 * The first operand is the command. */
void options_parse(const struct option_row *rows, int argc, char **argv,
                   struct option_found *found, int *found_count, const char **operands,
                   int *operand_count, struct config_report *r);

/* The option list of --help, wrapped at 79 columns, or as mdoc items. */
void options_help(const struct option_row *rows, bool mdoc, struct buf *out);

#endif
