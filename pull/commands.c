#include "pull/commands.h"

#include <stdarg.h>
#include <stdio.h>

const char *option_value(const struct invocation *in, enum option_id id)
{
    const char *value = NULL;
    for (int i = 0; i < in->found_count; i++)
        if (in->found[i].id == (int)id)
            value = in->found[i].value ? in->found[i].value : "";
    return value;
}

void say_problem(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("skyferry-pull: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}
