#include "push/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

#define BAR_WIDTH 30
#define LINE_EVERY_NS (10 * NS_PER_S)

void progress_bar(int64_t done, int64_t total, int width, char *out, int size)
{
    int filled = total > 0 ? (int)(done * width / total) : width;
    if (size < width + 3)
        return;
    out[0] = '[';
    memset(out + 1, '#', (size_t)filled);
    memset(out + 1 + filled, '.', (size_t)(width - filled));
    out[width + 1] = ']';
    out[width + 2] = '\0';
}

void progress_start(struct progress *p, const char *what)
{
    *p = (struct progress){.what = what, .terminal = isatty(STDERR_FILENO) == 1,
                           .said_mono = clock_mono(), .said_done = -1};
}

void progress_show(struct progress *p, int64_t done, int64_t total, const char *note)
{
    int64_t now = clock_mono();
    int percent = total > 0 ? (int)(done * 100 / total) : 100;
    if (p->terminal) {
        char bar[BAR_WIDTH + 3];
        progress_bar(done, total, BAR_WIDTH, bar, sizeof bar);
        fprintf(stderr, "\r\033[K%s %s %lld/%lld (%d %%) %s", p->what, bar, (long long)done,
                (long long)total, percent, note);
        fflush(stderr);
        p->open = true;
    } else if (now - p->said_mono >= LINE_EVERY_NS && done != p->said_done) {
        fprintf(stderr, "%s %lld/%lld (%d %%) %s\n", p->what, (long long)done, (long long)total,
                percent, note);
        p->said_mono = now;
        p->said_done = done;
    }
}

void progress_end(struct progress *p)
{
    if (p->open)
        fputc('\n', stderr);
    p->open = false;
}
