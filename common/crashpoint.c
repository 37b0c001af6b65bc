#include "common/crashpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void crash_point(const char *name)
{
    static atomic_int passed;
    const char *wanted = getenv("SKYFERRY_CRASH_AT");
    if (!wanted)
        return;
    size_t len = strlen(name);
    if (strncmp(wanted, name, len) != 0 || (wanted[len] != '\0' && wanted[len] != ':'))
        return;
    int nth = wanted[len] == ':' ? (int)strtol(wanted + len + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&passed, 1) + 1 == nth)
        kill(getpid(), SIGKILL);
}
