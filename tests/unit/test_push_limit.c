/* The limit in force: the configuration's, or what was asked for since, by the time of the day;
 * what people and programs are told of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/clock.h"
#include "push/limit.h"

#define AT(h, m) ((20778LL * 86400 + (h) * 3600 + (m) * 60) * NS_PER_S) /* of 2026-11-21 */

static struct limit *limit;

static int tear_down(void **state)
{
    (void)state;
    limit_free(&limit);
    return 0;
}

static void begin(const char *configured)
{
    limit = limit_new(configured);
    assert_non_null(limit);
}

static void ask(const char *text)
{
    struct fault why;
    if (limit_ask(limit, text, &why) != ST_OK)
        fail_msg("%s", why.text);
}

/* Ticks, and expects that rate in the throttle and these words. */
static void expect(int64_t wall, double mbit, const char *words)
{
    char got[200];
    limit_tick(limit, wall, 1);
    limit_words(limit, got, sizeof got);
    assert_true(throttle_mbit(limit_throttle(limit)) == mbit);
    assert_string_equal(got, words);
}

static void expect_figures(const char *wanted)
{
    char got[300];
    json_t *j;
    limit_figures(limit, got, sizeof got);
    assert_string_equal(got, wanted);
    assert_non_null(j = json_loads(got, 0, NULL));
    json_decref(j);
}

static void nothing_configured_is_no_word(void **state)
{
    (void)state;
    begin("");
    expect(AT(12, 0), 0, "");
    expect_figures("{\"mbit\":null,\"until\":null,\"until_ns\":null,\"then_mbit\":null,"
                   "\"asked\":false}");
}

static void the_timetable_is_followed(void **state)
{
    (void)state;
    begin("300, 50 06:00-18:00");
    expect(AT(5, 59), 300, "at most 300 Mbit/s until 06:00 UTC, then at most 50 Mbit/s");
    expect(AT(6, 0), 50, "at most 50 Mbit/s until 18:00 UTC, then at most 300 Mbit/s");
    expect_figures("{\"mbit\":50,\"until\":\"2026-11-21T18:00:00.000Z\","
                   "\"until_ns\":1795284000000000000,\"then_mbit\":300,\"asked\":false}");
    expect(AT(18, 0), 300, "at most 300 Mbit/s until 06:00 UTC, then at most 50 Mbit/s");
}

static void a_limit_that_is_to_come_is_told(void **state)
{
    (void)state;
    begin("50 06:00-18:00");
    expect(AT(4, 0), 0, "no limit until 06:00 UTC, then at most 50 Mbit/s");
    expect(AT(7, 0), 50, "at most 50 Mbit/s until 18:00 UTC, then no limit");
}

static void what_is_asked_for_holds_until_auto(void **state)
{
    (void)state;
    begin("300");
    expect(AT(12, 0), 300, "at most 300 Mbit/s");
    ask("20");
    expect(AT(12, 0), 20, "at most 20 Mbit/s; said by skyferry-push rate");
    ask("none");
    expect(AT(12, 0), 0, "no limit; said by skyferry-push rate");
    ask("auto");
    expect(AT(12, 0), 300, "at most 300 Mbit/s");
}

static void nonsense_changes_nothing(void **state)
{
    (void)state;
    struct fault why;
    begin("300");
    assert_int_equal(limit_ask(limit, "fast", &why), ST_REJECT);
    assert_true(strstr(why.text, "'fast'"));
    expect(AT(12, 0), 300, "at most 300 Mbit/s");
}

/* A reload for another reason leaves alone what was asked for. */
static void only_another_value_at_a_reload_counts(void **state)
{
    (void)state;
    begin("300");
    ask("20");
    limit_configure(limit, "300");
    expect(AT(12, 0), 20, "at most 20 Mbit/s; said by skyferry-push rate");
    limit_configure(limit, "100");
    expect(AT(12, 0), 100, "at most 100 Mbit/s");
    limit_configure(limit, "");
    expect(AT(12, 0), 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(nothing_configured_is_no_word, tear_down),
        cmocka_unit_test_teardown(the_timetable_is_followed, tear_down),
        cmocka_unit_test_teardown(a_limit_that_is_to_come_is_told, tear_down),
        cmocka_unit_test_teardown(what_is_asked_for_holds_until_auto, tear_down),
        cmocka_unit_test_teardown(nonsense_changes_nothing, tear_down),
        cmocka_unit_test_teardown(only_another_value_at_a_reload_counts, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
