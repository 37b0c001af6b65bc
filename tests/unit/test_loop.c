/* The event loop: timers in order and re-armed, descriptors and timers taken away while
 * it dispatches, signals delivered on the loop's thread. */
#include "common/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

struct scene {
    struct loop *l;
    struct loop_timer *timer[4];
    int pipes[3][2];
    char order[64];
    int calls, limit;
    int64_t at[16];
};

static struct fault why;

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof *s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pipe2(s->pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(loop_open(&s->l, &why), ST_OK);
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < 4; i++)
        loop_timer_free(&s->timer[i]);
    loop_close(&s->l);
    assert_null(s->l);
    loop_close(&s->l);
    for (int i = 0; i < 3; i++) {
        close(s->pipes[i][0]);
        close(s->pipes[i][1]);
    }
    free(s);
    return 0;
}

static void note(struct scene *s, char c)
{
    size_t len = strlen(s->order);
    s->order[len] = c;
    s->order[len + 1] = '\0';
}

static void letter_a(void *ctx) { note(ctx, 'a'); }
static void letter_b(void *ctx) { note(ctx, 'b'); }
static void stop(void *ctx) { loop_stop(((struct scene *)ctx)->l); }

static void timers_fire_in_order_of_time(void **state)
{
    struct scene *s = *state;
    s->timer[0] = loop_timer_new(s->l, letter_a, s);
    s->timer[1] = loop_timer_new(s->l, letter_b, s);
    s->timer[2] = loop_timer_new(s->l, stop, s);
    s->timer[3] = loop_timer_new(s->l, letter_a, s);
    loop_timer_set(s->timer[1], 0, 0);
    loop_timer_set(s->timer[0], 20, 0);
    loop_timer_set(s->timer[2], 40, 0);
    loop_timer_set(s->timer[3], 5, 0);
    loop_timer_set(s->timer[3], -1, 0); /* disarmed: must not fire */
    int64_t start = clock_mono();
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->order, "ba");
    int64_t ms = (clock_mono() - start) / NS_PER_MS;
    assert_in_range(ms, 40, 20000);
}

static void tick(void *ctx)
{
    struct scene *s = ctx;
    s->at[s->calls++] = clock_mono();
    if (s->calls == s->limit)
        loop_stop(s->l);
}

static void a_periodic_timer_keeps_its_period(void **state)
{
    struct scene *s = *state;
    s->limit = 5;
    s->timer[0] = loop_timer_new(s->l, tick, s);
    int64_t start = clock_mono();
    loop_timer_set(s->timer[0], 10, 20);
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_int_equal(s->calls, 5);
    assert_true(s->at[0] - start >= 10 * NS_PER_MS);
    assert_true(s->at[4] - start >= 90 * NS_PER_MS);
    assert_true(s->at[4] - start < 20000 * NS_PER_MS);
}

/* Frees itself and the other timer, which is due in the same pass. */
static void free_all(void *ctx)
{
    struct scene *s = ctx;
    note(s, 'f');
    loop_timer_free(&s->timer[0]);
    loop_timer_free(&s->timer[1]);
}

static void timers_may_be_freed_by_callbacks(void **state)
{
    struct scene *s = *state;
    s->timer[0] = loop_timer_new(s->l, free_all, s);
    s->timer[1] = loop_timer_new(s->l, free_all, s);
    s->timer[2] = loop_timer_new(s->l, stop, s);
    loop_timer_set(s->timer[0], 0, 1);
    loop_timer_set(s->timer[1], 0, 1);
    loop_timer_set(s->timer[2], 20, 0);
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->order, "f");
    assert_null(s->timer[0]);
}

static void rearm(void *ctx)
{
    struct scene *s = ctx;
    loop_timer_set(s->timer[0], 0, 0);
    if (s->calls++ == 0)
        assert_int_equal(write(s->pipes[0][1], "x", 1), 1);
}

static void read_and_stop(void *ctx, int fd)
{
    struct scene *s = ctx;
    char c;
    assert_int_equal(read(fd, &c, 1), 1);
    note(s, c);
    loop_stop(s->l);
}

static void an_always_due_timer_does_not_starve_descriptors(void **state)
{
    struct scene *s = *state;
    s->timer[0] = loop_timer_new(s->l, rearm, s);
    loop_timer_set(s->timer[0], 0, 0);
    assert_int_equal(loop_read(s->l, s->pipes[0][0], read_and_stop, s, &why), ST_OK);
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->order, "x");
}

static void never(void *ctx, int fd)
{
    (void)ctx;
    fail_msg("callback of a forgotten descriptor %d", fd);
}

/* Forgets and closes the two other readable descriptors of the same batch, and opens new
 * ones, which get the same numbers. */
static void take_away(void *ctx, int fd)
{
    struct scene *s = ctx;
    for (int i = 0; i < 3; i++) {
        loop_forget(s->l, s->pipes[i][0]);
        if (s->pipes[i][0] == fd)
            continue;
        close(s->pipes[i][0]);
        close(s->pipes[i][1]);
        assert_int_equal(pipe2(s->pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(loop_read(s->l, s->pipes[i][0], never, s, &why), ST_OK);
    }
    note(s, 't');
}

static void descriptors_may_go_while_others_wait(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_read(s->l, s->pipes[i][0], take_away, s, &why), ST_OK);
        assert_int_equal(write(s->pipes[i][1], "x", 1), 1);
    }
    s->timer[0] = loop_timer_new(s->l, stop, s);
    loop_timer_set(s->timer[0], 30, 0);
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->order, "t");
}

static void a_closed_writer_is_readable(void **state)
{
    struct scene *s = *state;
    assert_int_equal(write(s->pipes[0][1], "e", 1), 1);
    close(s->pipes[0][1]);
    s->pipes[0][1] = -1;
    assert_int_equal(loop_read(s->l, s->pipes[0][0], read_and_stop, s, &why), ST_OK);
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_string_equal(s->order, "e");
}

static void what_cannot_be_waited_for_is_said(void **state)
{
    struct scene *s = *state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    assert_int_equal(loop_read(s->l, fd, never, s, &why), ST_FATAL);
    assert_non_null(strstr(why.text, "cannot wait for descriptor"));
    assert_non_null(strstr(why.text, strerror(EBADF)));
    loop_forget(s->l, fd); /* harmless */
}

static void on_signal(void *ctx, int signo)
{
    struct scene *s = ctx;
    note(s, signo == SIGUSR1 ? '1' : signo == SIGUSR2 ? '2' : '?');
    if (strlen(s->order) == 2)
        loop_stop(s->l);
}

static void signals_come_through_the_loop(void **state)
{
    struct scene *s = *state;
    loop_hold_signals();
    kill(getpid(), SIGUSR1); /* held: would end the process otherwise */
    assert_int_equal(loop_signal(s->l, SIGUSR1, on_signal, s, &why), ST_OK);
    assert_int_equal(loop_signal(s->l, SIGUSR2, on_signal, s, &why), ST_OK);
    kill(getpid(), SIGUSR2); /* blocked by now */
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_int_equal(strlen(s->order), 2);
    assert_non_null(strchr(s->order, '1'));
    assert_non_null(strchr(s->order, '2'));
    assert_int_equal(loop_signal(s->l, 0, on_signal, s, &why), ST_FATAL);
}

static void a_stop_before_the_run_counts_once(void **state)
{
    struct scene *s = *state;
    s->timer[0] = loop_timer_new(s->l, stop, s);
    loop_timer_set(s->timer[0], 60000, 0);
    loop_stop(s->l);
    int64_t start = clock_mono();
    assert_int_equal(loop_run(s->l, &why), ST_OK);
    assert_true(clock_mono() - start < 30000 * NS_PER_MS);
    s->timer[1] = loop_timer_new(s->l, letter_a, s);
    loop_timer_set(s->timer[1], 1, 0);
    loop_timer_set(s->timer[0], 10, 0);
    assert_int_equal(loop_run(s->l, &why), ST_OK); /* runs again, until the timer */
    assert_string_equal(s->order, "a");
}

static void a_timer_outlives_its_loop(void **state)
{
    struct scene *s = *state;
    s->timer[0] = loop_timer_new(s->l, letter_a, s);
    loop_close(&s->l);
    loop_timer_set(s->timer[0], 0, 0);
    loop_timer_free(&s->timer[0]);
    assert_null(s->timer[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_in_order_of_time, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_periodic_timer_keeps_its_period, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(timers_may_be_freed_by_callbacks, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(an_always_due_timer_does_not_starve_descriptors, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(descriptors_may_go_while_others_wait, open_scene,
                                        close_scene),
        cmocka_unit_test_setup_teardown(a_closed_writer_is_readable, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(what_cannot_be_waited_for_is_said, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(signals_come_through_the_loop, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_stop_before_the_run_counts_once, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_timer_outlives_its_loop, open_scene, close_scene),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
