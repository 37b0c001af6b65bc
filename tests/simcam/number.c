#include "number.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

bool
number_long(const char *text, long least, long most, long *value)
{
    char *end;

    errno = 0;
    const long n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || n < least || n > most)
        return false;
    *value = n;
    return true;
}

bool
number_double(const char *text, double least, double most, double *value)
{
    char *end;

    errno = 0;
    const double x = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(x) || x < least || x > most)
        return false;
    *value = x;
    return true;
}
