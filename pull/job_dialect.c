#include "pull/job_dialect.h"

#include <stdlib.h>
#include <string.h>

static const struct batch_dialect *const rows[] = {&dialect_slurm, &dialect_pbs};
#define ROWS (sizeof rows / sizeof rows[0])

const struct batch_dialect *dialect_find(const char *runner)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i]->name, runner) == 0)
            return rows[i];
    return NULL;
}

const struct batch_dialect *dialect_of_handle(const char *handle)
{
    for (size_t i = 0; i < ROWS; i++) {
        size_t len = strlen(rows[i]->name);
        if (strncmp(handle, rows[i]->name, len) == 0 && handle[len] == ' ')
            return rows[i];
    }
    return NULL;
}

void dialect_words(struct command *out, const char *const *words)
{
    *out = (struct command){0};
    for (; *words && out->argc < COMMAND_ARGS; words++)
        if ((out->argv[out->argc] = strdup(*words)))
            out->argc++;
}

void dialect_cut(char *out, size_t size, const char *text, size_t len)
{
    if (len >= size)
        len = size - 1;
    memcpy(out, text, len);
    out[len] = '\0';
}
