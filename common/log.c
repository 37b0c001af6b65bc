#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/fsutil.h"

#define WORDS_SIZE 8192 /* a longer message is cut */

static struct {
    pthread_mutex_t lock; /* guards all but level */
    atomic_int level;
    int fd; /* the file, -1 for none */
    int json, quiet_terminal;
    char agent[32];
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_INFO, .fd = -1};

static const char *const level_word[] = {"debug", "info", "warn", "error"};
static const char *const level_mark[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

int log_level_parse(const char *word)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
        if (word && strcmp(word, level_word[i]) == 0)
            return i;
    return -1;
}

/* The fields are filled in once, in UTC, when the log is opened. */
static enum status expand(const char *pattern, char *out, size_t size, struct fault *why)
{
    time_t t = time(NULL);
    struct tm utc;
    if (!gmtime_r(&t, &utc) || strftime(out, size, pattern, &utc) == 0)
        return fault(why, ST_FATAL, "log file name '%s' is too long; give a shorter [log] file",
                     pattern);
    return ST_OK;
}

static enum status open_file(const char *pattern, int *fd, struct fault *why)
{
    char path[4096], directory[4096];
    enum status st = expand(pattern, path, sizeof path, why);
    if (st != ST_OK)
        return st;
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash && slash != directory) {
        *slash = '\0';
        if (fs_mkdirs(directory, why) != ST_OK)
            return fault_within(why, "log file '%s': ", path);
    }
    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return fault_errno(why, ST_FATAL, "cannot open the log file '%s' ([log] file)", path);
    return ST_OK;
}

enum status log_open(const struct log_options *o, struct fault *why)
{
    int fd = -1;
    if (o->file && o->file[0]) {
        enum status st = open_file(o->file, &fd, why);
        if (st != ST_OK)
            return st;
    }
    log_close();
    pthread_mutex_lock(&logger.lock);
    logger.fd = fd;
    logger.json = o->json;
    logger.quiet_terminal = o->quiet_terminal && fd >= 0;
    snprintf(logger.agent, sizeof logger.agent, "%s", o->agent ? o->agent : "");
    atomic_store(&logger.level, (int)o->level);
    pthread_mutex_unlock(&logger.lock);
    return ST_OK;
}

void log_close(void)
{
    pthread_mutex_lock(&logger.lock);
    if (logger.fd >= 0)
        close(logger.fd);
    logger.fd = -1;
    logger.json = logger.quiet_terminal = 0;
    logger.agent[0] = '\0';
    atomic_store(&logger.level, (int)LOG_INFO);
    pthread_mutex_unlock(&logger.lock);
}

/* Length of the UTF-8 sequence at s when it is a valid, printable character outside
 * ASCII; else 0. C1 controls (U+0080-9F) move a terminal's cursor, so they do not count. */
static size_t utf8_printable(const unsigned char *s)
{
    size_t len = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xC2 && s[1] < 0xA0) || (s[0] == 0xE0 && s[1] < 0xA0) ||
        (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
        (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return len;
}

/* Header values and file names come from outside: nothing in them may begin a new line
 * or steer a terminal. */
static bool put_text(struct buf *b, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    bool ok = true;
    while (ok && *s) {
        size_t len = *s >= 0x20 && *s < 0x7F ? 1 : *s >= 0x80 ? utf8_printable(s) : 0;
        if (len > 0)
            ok = buf_append(b, s, len);
        else if (*s == '\n')
            ok = buf_append(b, "\\n", 2);
        else
            ok = buf_printf(b, "\\x%02x", *s);
        s += len ? len : 1;
    }
    return ok;
}

/* As a JSON string (RFC 8259); a byte that is no UTF-8 is read as Latin-1. */
static bool put_json(struct buf *b, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    bool ok = buf_append(b, "\"", 1);
    while (ok && *s) {
        size_t len = *s >= 0x20 && *s < 0x7F ? 1 : *s >= 0x80 ? utf8_printable(s) : 0;
        if (*s == '"' || *s == '\\')
            ok = buf_printf(b, "\\%c", *s);
        else if (len > 0)
            ok = buf_append(b, s, len);
        else
            ok = buf_printf(b, "\\u%04x", *s);
        s += len ? len : 1;
    }
    return ok && buf_append(b, "\"", 1);
}

static bool json_line(struct buf *b, enum log_level level, const struct log_at *at,
                      const char *words)
{
    const struct {
        const char *key, *value;
    } fields[] = {{"agent", logger.agent}, {"stage", at->stage}, {"exposure", at->exposure}};
    char when[32];
    clock_iso(clock_wall(), when, sizeof when);
    bool ok = buf_printf(b, "{\"time\":\"%s\",\"level\":\"%s\"", when, level_word[level]);
    for (size_t i = 0; ok && i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value && fields[i].value[0])
            ok = buf_printf(b, ",\"%s\":", fields[i].key) && put_json(b, fields[i].value);
    if (ok && at->ccd)
        ok = buf_printf(b, ",\"ccd\":%d", at->ccd);
    return ok && buf_printf(b, ",\"message\":") && put_json(b, words) && buf_append(b, "}\n", 2);
}

static bool text_line(struct buf *b, enum log_level level, const struct log_at *at,
                      const char *words)
{
    char when[32];
    clock_iso(clock_wall(), when, sizeof when);
    bool ok = buf_printf(b, "%s %s ", when, level_mark[level]);
    size_t bare = b->len;
    if (ok && logger.agent[0])
        ok = put_text(b, logger.agent) && buf_append(b, " ", 1);
    if (ok && at->stage)
        ok = put_text(b, at->stage) && buf_append(b, " ", 1);
    if (ok && at->exposure)
        ok = buf_append(b, "exposure=", 9) && put_text(b, at->exposure) && buf_append(b, " ", 1);
    if (ok && at->ccd)
        ok = buf_printf(b, "ccd=%d ", at->ccd);
    if (ok && b->len > bare) {
        b->len--; /* the last blank */
        ok = buf_append(b, ": ", 2);
    }
    return ok && put_text(b, words) && buf_append(b, "\n", 1);
}

/* One write a line: lines of several processes in one file do not mix. */
static void emit(enum log_level level, const struct buf *line)
{
    bool kept = logger.fd >= 0 && fs_write_all(logger.fd, line->data, line->len) == 0;
    /* When the file takes no more (its disk is full), the terminal is the last place. */
    if (!kept || !logger.quiet_terminal || level >= LOG_WARN)
        (void)!fs_write_all(STDERR_FILENO, line->data, line->len);
}

void log_write(enum log_level level, const struct log_at *at, const char *fmt, ...)
{
    static const struct log_at nowhere = {0};
    if ((int)level < atomic_load(&logger.level))
        return;
    int saved = errno;
    char words[WORDS_SIZE];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(words, sizeof words, fmt, ap) < 0)
        snprintf(words, sizeof words, "(message lost: bad format '%s')", fmt);
    va_end(ap);

    struct buf line = {0};
    pthread_mutex_lock(&logger.lock);
    if ((logger.json ? json_line : text_line)(&line, level, at ? at : &nowhere, words))
        emit(level, &line);
    else
        (void)!write(STDERR_FILENO, "log: out of memory, a line is lost\n", 35);
    pthread_mutex_unlock(&logger.lock);
    buf_free(&line);
    errno = saved;
}
