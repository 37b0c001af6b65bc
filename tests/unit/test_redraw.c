/* A picture drawn again and again where no terminal is: whole each time, or only its changes. */
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/redraw.h"
#include "tests/unit/scratch.h"

static const char *const pictures[] = {"head\na 1\n\nsum 1\n", "head\na 1\nb 1\n\nsum 2\n", "",
                                       "head\na 1\nb 2\n\nsum 2\n"};

/* One picture after the other; the third fails. */
static enum status draw(void *ctx, FILE *to, struct fault *why)
{
    int n = (*(int *)ctx)++;
    fputs(pictures[n], to);
    if (n == 3)
        raise(SIGTERM);
    return n == 2 ? fault(why, ST_RETRY, "busy") : ST_OK;
}

static void drawn(bool changes, bool plain, char *out, size_t size)
{
    struct scratch dir;
    char path[4096];
    int count = 0;
    struct redraw r = {.program = "test", .every_ms = 5, .plain = plain, .changes = changes,
                       .draw = draw, .ctx = &count};
    assert_int_equal(scratch_make(&dir), 0);
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    int fd = open(scratch_path(&dir, "out", path), O_RDWR | O_CREAT, 0600);
    dup2(fd, STDOUT_FILENO);
    int code = redraw_run(&r);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    ssize_t n = pread(fd, out, size - 1, 0);
    close(fd);
    close(before);
    scratch_remove(&dir);
    assert_int_equal(code, EXIT_DONE);
    assert_true(n >= 0);
    out[n] = '\0';
}

static void changes_are_added(void **state)
{
    char out[256];
    (void)state;
    drawn(true, false, out, sizeof out);
    assert_string_equal(out, "head\na 1\n\nsum 1\nb 1\nsum 2\nb 2\n");
}

static void else_all_of_it_is(void **state)
{
    char out[256];
    (void)state;
    drawn(false, false, out, sizeof out);
    assert_string_equal(out, "head\na 1\n\nsum 1\n\nhead\na 1\nb 1\n\nsum 2\n\n\n"
                             "head\na 1\nb 2\n\nsum 2\n\n");
    /* A failed one is nothing to a program. */
    drawn(true, true, out, sizeof out);
    assert_string_equal(out, "head\na 1\n\nsum 1\nhead\na 1\nb 1\n\nsum 2\n"
                             "head\na 1\nb 2\n\nsum 2\n");
}

/* ---- on a terminal ---- */

static const char *wide;

static enum status draw_once(void *ctx, FILE *to, struct fault *why)
{
    (void)ctx, (void)why;
    fputs(wide, to);
    raise(SIGTERM);
    return ST_OK;
}

/* As it comes on a screen of so many lines of 20 columns. */
static void on_screen(const char *text, unsigned short rows, char *out, size_t size)
{
    struct winsize screen = {.ws_row = rows, .ws_col = 20};
    struct redraw r = {.program = "test", .every_ms = 5, .draw = draw_once};
    struct termios raw;
    int ours, theirs;
    assert_int_equal(openpty(&ours, &theirs, NULL, NULL, &screen), 0);
    assert_int_equal(tcgetattr(theirs, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(theirs, TCSANOW, &raw), 0);
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    dup2(theirs, STDOUT_FILENO);
    wide = text;
    int code = redraw_run(&r);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    ssize_t n = read(ours, out, size - 1);
    close(theirs);
    close(ours);
    assert_int_equal(code, EXIT_DONE);
    assert_true(n >= 0);
    out[n] = '\0';
}

#define CLEAR "\033[H\033[J"

static void a_low_screen_shows_both_ends(void **state)
{
    char out[512];
    const char *text = "head\na 1\nb 2\nc 3\nd 4\ne 5\nneeds a human\n";
    (void)state;
    on_screen(text, 8, out, sizeof out);
    assert_string_equal(out + strlen(CLEAR), text);
    on_screen(text, 7, out, sizeof out);
    assert_string_equal(out, CLEAR "head\na 1\nb 2\n... 2 lines between do not fit on this screen\n"
                                   "e 5\nneeds a human\n");
    /* A line that is wrapped counts as many. */
    on_screen("head\n12345678901234567890\n123456789012345678901\nlast\n", 6, out, sizeof out);
    assert_string_equal(out, CLEAR "head\n12345678901234567890\n123456789012345678901\nlast\n");
    on_screen("head\n12345678901234567890\n123456789012345678901\nlast\n", 5, out, sizeof out);
    assert_string_equal(out, CLEAR "head\n12345678901234567890\n"
                                   "... 1 line between do not fit on this screen\nlast\n");
    /* Nothing is known of its size, or nothing fits. */
    on_screen(text, 0, out, sizeof out);
    assert_string_equal(out + strlen(CLEAR), text);
    on_screen(text, 1, out, sizeof out);
    assert_string_equal(out, CLEAR "... 7 lines between do not fit on this screen\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(changes_are_added),
                                       cmocka_unit_test(else_all_of_it_is),
                                       cmocka_unit_test(a_low_screen_shows_both_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
