#include "common/redraw.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/loop.h"

struct watching {
    const struct redraw *r;
    struct loop *loop;
    char *before; /* the last picture, when only changes are wanted */
    int code;
};

/* Is this line (with its end) one of the text's? */
static bool has_line(const char *text, const char *line, size_t len)
{
    for (const char *p = text; p && *p; p += strcspn(p, "\n") + 1) {
        if (strncmp(p, line, len) == 0)
            return true;
        if (!strchr(p, '\n'))
            break;
    }
    return false;
}

/* The length of the line that begins at `at`, with its end. */
static size_t line_at(const char *text, size_t len, size_t at)
{
    size_t n = strcspn(text + at, "\n") + 1;
    return at + n > len ? len - at : n;
}

static void show_changes(struct watching *w, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = line_at(text, len, at);
        if (!w->before || !has_line(w->before, text + at, n))
            fwrite(text + at, 1, n, stdout);
        at += n;
    }
    free(w->before);
    w->before = strndup(text, len);
}

/* How many of the screen's lines this line (len bytes with its end) takes. */
static int height(size_t len, int columns)
{
    return len <= 2 || columns <= 0 ? 1 : (int)((len - 2) / (size_t)columns) + 1;
}

static int whole_height(const char *text, size_t len, int columns)
{
    int rows = 0;
    for (size_t at = 0, n; at < len; at += n) {
        n = line_at(text, len, at);
        rows += height(n, columns);
    }
    return rows;
}

/* What is higher than the screen loses its middle: its head says what it is, and what needs a human
 * stands last. `spare` lines stay free. */
static void show_on_screen(const char *text, size_t len, int spare)
{
    struct winsize size = {0};
    int skipped = 0, used = 0;
    size_t at = 0, n;
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    int room = size.ws_row - spare, left = whole_height(text, len, size.ws_col);
    if (size.ws_row == 0 || left <= room) {
        fwrite(text, 1, len, stdout);
        return;
    }
    for (; at < len; at += n) {
        n = line_at(text, len, at);
        int rows = height(n, size.ws_col);
        if (used + rows > room / 2)
            break;
        fwrite(text + at, 1, n, stdout);
        used += rows;
        left -= rows;
    }
    for (; at < len && left > room - used - 1; at += n) {
        n = line_at(text, len, at);
        left -= height(n, size.ws_col);
        skipped++;
    }
    printf("... %d line%s between do not fit on this screen\n", skipped,
           skipped == 1 ? "" : "s");
    if (at < len)
        fwrite(text + at, 1, len - at, stdout);
}

static void show(struct watching *w, const char *text, size_t len, const struct fault *why)
{
    bool plain = w->r->plain, terminal = isatty(STDOUT_FILENO) && !plain;
    bool changes = w->r->changes && !plain && !terminal;
    if (terminal)
        fputs("\033[H\033[J", stdout);
    if (changes && why->grade == ST_OK)
        show_changes(w, text, len);
    else if (terminal)
        show_on_screen(text, len, why->grade == ST_OK ? 1 : 3);
    else if (!changes && (why->grade == ST_OK || !plain))
        fwrite(text, 1, len, stdout);
    if (!terminal && !plain && !changes)
        putchar('\n');
    if (why->grade != ST_OK)
        fprintf(terminal ? stdout : stderr, "%s: %s\n", w->r->program, why->text);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        w->code = EXIT_FAILED;
        loop_stop(w->loop);
    }
}

/* Drawn in memory and written at once, so that the screen does not flicker. */
static void again(void *ctx)
{
    struct watching *w = ctx;
    struct fault why = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);
    if (!memory)
        return;
    why.grade = w->r->draw(w->r->ctx, memory, &why);
    if (fclose(memory) == 0)
        show(w, text, len, &why);
    free(text);
}

static void on_signal(void *ctx, int signo)
{
    struct watching *w = ctx;
    (void)signo;
    loop_stop(w->loop);
}

int redraw_run(const struct redraw *r)
{
    struct watching w = {.r = r, .code = EXIT_DONE};
    struct loop_timer *timer = NULL;
    struct fault why;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    enum status st = loop_open(&w.loop, &why);
    if (st == ST_OK && !(timer = loop_timer_new(w.loop, again, &w)))
        st = fault(&why, ST_FATAL, "out of memory");
    if (st == ST_OK)
        st = loop_signal(w.loop, SIGINT, on_signal, &w, &why);
    if (st == ST_OK)
        st = loop_signal(w.loop, SIGTERM, on_signal, &w, &why);
    if (st == ST_OK) {
        loop_timer_set(timer, 0, r->every_ms);
        st = loop_run(w.loop, &why);
    }
    if (st != ST_OK) {
        fprintf(stderr, "%s: %s\n", r->program, why.text);
        w.code = EXIT_FAILED;
    }
    free(w.before);
    loop_timer_free(&timer);
    loop_close(&w.loop);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return w.code;
}
