#include "common/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct fault *why, enum status grade, const char *fmt, va_list ap)
{
    why->grade = grade;
    vsnprintf(why->text, sizeof why->text, fmt, ap);
}

enum status fault(struct fault *why, enum status grade, const char *fmt, ...)
{
    if (why) {
        va_list ap;
        va_start(ap, fmt);
        fill(why, grade, fmt, ap);
        va_end(ap);
    }
    return grade;
}

enum status fault_errno(struct fault *why, enum status grade, const char *fmt, ...)
{
    int err = errno;
    if (why) {
        va_list ap;
        va_start(ap, fmt);
        fill(why, grade, fmt, ap);
        va_end(ap);
        size_t used = strlen(why->text);
        snprintf(why->text + used, sizeof why->text - used, ": %s", strerror(err));
    }
    errno = err;
    return grade;
}

enum status fault_within(struct fault *why, const char *fmt, ...)
{
    char inner[sizeof why->text];
    snprintf(inner, sizeof inner, "%s", why->text);
    va_list ap;
    va_start(ap, fmt);
    fill(why, why->grade, fmt, ap);
    va_end(ap);
    size_t used = strlen(why->text);
    snprintf(why->text + used, sizeof why->text - used, "%s", inner);
    return why->grade;
}

const char *status_name(enum status s)
{
    static const char *const names[] = {"ok", "wait", "retry", "reject", "fatal"};
    return s >= ST_OK && s <= ST_FATAL ? names[s] : "unknown";
}
