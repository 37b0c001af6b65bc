/* The log: one line an event, to standard error and, when configured, to a file.
 * Text form:  2026-11-21T03:04:05.123Z INFO  push settle exposure=DECam_1 ccd=7: words
 * JSON form (format = json): the same fields as one object a line.
 * The logger is the one mutable global of the project; any thread may log. */
#ifndef SKYFERRY_LOG_H
#define SKYFERRY_LOG_H

#include "common/status.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_options {
    const char *agent;    /* "push", "pull", "receive": first word of each line */
    const char *file;     /* path, strftime fields (UTC, at opening); NULL or "": none */
    enum log_level level; /* lines below this are dropped */
    int json;             /* one JSON object a line instead of text */
    int quiet_terminal;   /* with a file: nothing below WARN on standard error */
};

/* Where a line comes from: log_info(AT(.stage = "settle", .exposure = name), "...").
 * ccd 0 means none: a ccd's number in a header starts at 1. */
struct log_at {
    const char *stage, *exposure;
    int ccd;
};
#define AT(...) (&(struct log_at){__VA_ARGS__})

/* Opens the log (the file is appended to, its directory made), or opens it again with other
 * options. Texts in o are copied. Before it, and after log_close: INFO, standard error. */
enum status log_open(const struct log_options *o, struct fault *why);
void log_close(void);

/* "debug" ... "error" to a level; -1 when the word is none of them. */
int log_level_parse(const char *word);

void log_write(enum log_level level, const struct log_at *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(at, ...) log_write(LOG_DEBUG, at, __VA_ARGS__)
#define log_info(at, ...) log_write(LOG_INFO, at, __VA_ARGS__)
#define log_warn(at, ...) log_write(LOG_WARN, at, __VA_ARGS__)
#define log_error(at, ...) log_write(LOG_ERROR, at, __VA_ARGS__)

#endif
