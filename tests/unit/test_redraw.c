/* A picture drawn again and again where no terminal is: whole each time, or only its changes. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(changes_are_added),
                                       cmocka_unit_test(else_all_of_it_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
