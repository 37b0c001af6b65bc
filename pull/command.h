/* [jobs] command made into an argument array without any shell: blanks separate, '...' is
 * literal, "..." keeps blanks, a backslash takes the next character as it is (inside "..."
 * only before " and \). Outside '...', {job} {result} {exposure} {night} {store} are filled
 * in, each staying inside its argument whatever it holds. Pure, but for command_find. */
#ifndef SKYFERRY_PULL_COMMAND_H
#define SKYFERRY_PULL_COMMAND_H

#include "common/config.h"

#define COMMAND_ARGS 64

struct command {
    int argc;
    char *argv[COMMAND_ARGS + 1]; /* malloc'ed, NULL-ended */
};

struct command_values {
    const char *job, *result, *exposure, *night, *store;
};

/* Splits and fills in; problems (an open quote, an unknown placeholder, no program) go to r
 * and leave *out empty. values NULL: only checked, placeholders stay. */
bool command_make(const char *text, const struct command_values *values, struct command *out,
                  struct config_report *r);
void command_free(struct command *c);

/* The same for another setting of [jobs], `key`, with placeholders of its own (a list that ends
 * with a NULL key). A word in which a value is empty is left out. */
struct command_value {
    const char *key, *text;
};
bool command_fill(const char *text, const char *key, const struct command_value *values,
                  struct command *out, struct config_report *r);

/* The program's path: as given when it has a slash, else beside this program, else in PATH.
 * False when there is no such executable file. */
bool command_find(const char *program, char *out, size_t size);

#endif
