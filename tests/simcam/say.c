#include "say.h"

#include <stdarg.h>
#include <stdio.h>

void
complain(const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    (void)fprintf(stderr, "simcam: %s\n", text);
}
