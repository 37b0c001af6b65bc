/* What decoding costs, as the daemon counts it and the lanes' processes read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"
#include "pull/decoding.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static void near_to(double got, double wanted)
{
    if (!(fabs(got / wanted - 1) < 1e-5))
        fail_msg("%g, wanted %g", got, wanted);
}

static void test_ccds_add_up(void **state)
{
    struct decoding_tally t = {0};
    struct wire_decoding d = {0};
    (void)state;
    decoding_count(&t, "htj2k", 7000, 2000, 200);
    decoding_count(&t, "rice", 4000, 2000, 500);
    decoding_count(&t, "htj2k", 9000, 2000, 200);
    decoding_blend(&d, &t);
    assert_int_equal(d.count, 2);
    assert_string_equal(d.by[0].codec, "htj2k");
    near_to(d.by[0].ns, 8);
    near_to(d.by[0].ratio, 10);
    near_to(d.by[1].ns, 4);
    /* The next one counts three tenths, and only for the codec that it holds. */
    struct decoding_tally next = {0};
    decoding_count(&next, "htj2k", 18000, 2000, 100);
    decoding_blend(&d, &next);
    near_to(d.by[0].ns, 8 + 0.3 * 10);
    near_to(d.by[0].ratio, 10 + 0.3 * 10);
    near_to(d.by[1].ns, 4);
}

static void test_more_codecs_than_room(void **state)
{
    struct decoding_tally t = {0};
    struct wire_decoding d = {0};
    char name[16];
    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "c%d", i);
        decoding_count(&t, name, 1000, 2000, 500);
    }
    assert_int_equal(t.count, WIRE_DECODERS);
    decoding_blend(&d, &t);
    decoding_blend(&d, &t);
    assert_int_equal(d.count, WIRE_DECODERS);
    /* What took no time at all makes no figure. */
    struct decoding_tally odd = {0};
    struct wire_decoding none = {0};
    decoding_count(&odd, "rice", 0, 2000, 500);
    decoding_blend(&none, &odd);
    assert_int_equal(none.count, 0);
}

static void test_the_file(void **state)
{
    struct decoding_tally t = {0};
    struct wire_decoding d = {.threads = 9};
    char path[4096];
    (void)state;
    decoding_read(scratch.dir, &d);
    assert_int_equal(d.threads, 0); /* none yet */
    decoding_note(scratch.dir, 4, &t);
    scratch_path(&scratch, "decoding.json", path);
    assert_int_not_equal(access(path, F_OK), 0); /* nothing to say */
    decoding_count(&t, "jxl", 20000, 2000, 400);
    decoding_note(scratch.dir, 4, &t);
    decoding_read(scratch.dir, &d);
    assert_int_equal(d.threads, 4);
    assert_int_equal(d.count, 1);
    near_to(d.by[0].ns, 20);
    near_to(d.by[0].ratio, 5);
    /* It goes on from there, also with another number of threads; a broken one is begun anew. */
    decoding_note(scratch.dir, 6, &t);
    decoding_read(scratch.dir, &d);
    assert_int_equal(d.threads, 6);
    assert_int_equal(fs_write_file(path, "{\"threads\":", 11, false, NULL), ST_OK);
    decoding_read(scratch.dir, &d);
    assert_int_equal(d.threads, 0);
    decoding_note(scratch.dir, 2, &t);
    decoding_read(scratch.dir, &d);
    assert_int_equal(d.threads, 2);
    near_to(d.by[0].ns, 20);
    /* A folder that is not there is no reason to stop. */
    decoding_note("/nowhere/at/all", 2, &t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ccds_add_up),
        cmocka_unit_test(test_more_codecs_than_room),
        cmocka_unit_test_setup_teardown(test_the_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
