/* Commands of skyferry-pull called as main.c does, their standard output kept as text. */
#ifndef SKYFERRY_COMMAND_FIXTURE_H
#define SKYFERRY_COMMAND_FIXTURE_H

#include "pull/commands.h"
#include "tests/unit/pull_fixture.h"

static char said[65536];

/* Runs the command over the fixture's settings; said holds what it printed. */
static inline int call(int (*command)(struct invocation *in), const struct option_found *found,
                       const char **operands)
{
    static struct invocation in;
    char path[4096];
    struct buf text = {0};
    in = (struct invocation){.s = settings, .found = found, .operands = operands};
    while (found && found[in.found_count].id)
        in.found_count++;
    while (operands && operands[in.operand_count])
        in.operand_count++;
    scratch_path(&dir, "said", path);
    fflush(stdout);
    int before = dup(STDOUT_FILENO), errors = dup(STDERR_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    int code = command(&in);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    close(fd);
    close(before);
    close(errors);
    slurp(path, &text);
    snprintf(said, sizeof said, "%.*s", (int)text.len, (const char *)text.data);
    buf_free(&text);
    return code;
}

#define OPTIONS(...) (const struct option_found[]){__VA_ARGS__, {0}}
#define OPERANDS(...) (const char *[]){__VA_ARGS__, NULL}

static inline void assert_said(const char *words)
{
    if (!strstr(said, words))
        fail_msg("no '%s' in: %s", words, said);
}

#endif
