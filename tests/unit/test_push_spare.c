/* After a blip there is a connection more than is needed: it is ended, and only it. Over a real
 * sshd; the far end is this program itself (fake_far.h). That a lane stalls is played. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "push/lanes_inner.h"
#include "tests/unit/sshd_fixture.h"

static struct loop *loop;
static struct lanes *lanes;
static int downs, last_down, wanted_up;
static int64_t deadline;

static void on_event(void *ctx, const struct lane_event *e)
{
    (void)ctx;
    if (e->mail.kind != LANE_DOWN)
        return;
    downs++;
    last_down = e->lane;
}

static void look(void *ctx)
{
    (void)ctx;
    if (lanes_state(lanes)->up == wanted_up || clock_mono() > deadline)
        loop_stop(loop);
}

/* Until so many lanes are up; at most for so long. */
static void run_until(int up, int seconds)
{
    struct fault why;
    struct loop_timer *t = loop_timer_new(loop, look, NULL);
    wanted_up = up;
    deadline = clock_mono() + seconds * NS_PER_S;
    loop_timer_set(t, 5, 5);
    assert_int_equal(loop_run(loop, &why), ST_OK);
    loop_timer_free(&t);
}

static void open_lanes(int count)
{
    struct fault why;
    struct lane_options far = to_far();
    struct lanes_options o = {.lane = &far, .count = count, .limit = LANES_MAX, .window = 1 << 20,
                              .spare_ns = 200 * NS_PER_MS, .event = on_event};
    assert_int_equal(loop_open(&loop, &why), ST_OK);
    o.loop = loop;
    downs = 0;
    assert_int_equal(lanes_open(&o, &lanes, &why), ST_OK);
    run_until(count, 30);
    assert_int_equal(lanes_state(lanes)->up, count);
}

static void close_lanes(void)
{
    lanes_close(&lanes);
    loop_close(&loop);
}

/* As when the line does not answer for a moment, and then does. */
static void blip(int lane)
{
    lanes->slot[lane].stalled = true;
    lanes->state.lost_mono = clock_mono();
    lanes_start(lanes);
    run_until(3, 30);
    assert_int_equal(lanes_state(lanes)->up, 3);
    lanes->slot[lane].stalled = false;
}

static void the_scout_goes_when_all_is_well(void **state)
{
    (void)state;
    open_lanes(2);
    for (int round = 0; round < 2; round++) {
        blip(round);
        run_until(2, 30);
        assert_int_equal(lanes_state(lanes)->up, 2);
        assert_int_equal(downs, round + 1);
        assert_int_equal(last_down, 2);
        assert_int_equal(lanes_state(lanes)->trouble.grade, ST_OK);
    }
    /* And those that are needed stay. */
    run_until(1, 1);
    assert_int_equal(lanes_state(lanes)->up, 2);
    close_lanes();
}

static void one_that_has_something_to_do_stays(void **state)
{
    (void)state;
    struct lane_job open = {.verb = LANE_OPEN, .bundle = 1, .open = {.name = "DECam_1"}};
    open_lanes(2);
    memset(open.open.id, 'a', DIGEST_HEX - 1);
    blip(0);
    lanes_post(lanes, 2, &open);
    assert_true(lanes->slot[2].posted_mono > 0);
    lanes->slot[2].posted_mono += 3600 * NS_PER_S; /* as if it were given more all the time */
    run_until(2, 1);
    assert_int_equal(lanes_state(lanes)->up, 3);
    lanes->slot[2].posted_mono = clock_mono();
    run_until(2, 30);
    assert_int_equal(lanes_state(lanes)->up, 2);
    close_lanes();
}

static int sshd_up(void **state)
{
    (void)state;
    far_is("good");
    sshd_start("");
    pin("host_key.pub");
    return 0;
}

static int sshd_down(void **state)
{
    (void)state;
    sshd_stop();
    scratch_remove(&dir);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scout_goes_when_all_is_well),
        cmocka_unit_test(one_that_has_something_to_do_stays),
    };
    if (argc == 4 && strcmp(argv[1], "far") == 0)
        return fake_main(argv);
    signal(SIGPIPE, SIG_IGN);
    if (!sshd_prepare())
        return 0;
    return cmocka_run_group_tests_name("push spare", tests, sshd_up, sshd_down);
}
