/* What rate_mbit may say, what holds at a given time, when it changes next, and that a mistake
 * is named together with its remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "push/timetable.h"

/* 2026-11-21, day 20778 since 1970: that time of it. */
#define AT(h, m, s) ((20778LL * 86400 + (h) * 3600 + (m) * 60 + (s)) * NS_PER_S)

static struct timetable read(const char *text)
{
    struct timetable t;
    struct fault why;
    if (timetable_parse(text, &t, &why) != ST_OK)
        fail_msg("'%s': %s", text, why.text);
    return t;
}

static void expect_at(const struct timetable *t, int64_t wall, double mbit)
{
    double got = timetable_at(t, wall);
    if (got != mbit)
        fail_msg("%.3f instead of %.3f", got, mbit);
}

static void nothing_is_no_limit(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "  ", "0", "none", " none ", "0.0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct timetable t = read(texts[i]);
        expect_at(&t, AT(12, 0, 0), 0);
        assert_int_equal(timetable_next(&t, AT(12, 0, 0)), 0);
    }
}

static void one_number_holds_at_all_times(void **state)
{
    (void)state;
    struct timetable t = read("62.5");
    expect_at(&t, AT(0, 0, 0), 62.5);
    expect_at(&t, AT(23, 59, 59), 62.5);
    expect_at(&t, -1, 62.5); /* before 1970 */
    assert_int_equal(timetable_next(&t, AT(12, 0, 0)), 0);
}

static void a_window_holds_from_its_first_second_to_before_its_last(void **state)
{
    (void)state;
    struct timetable t = read("300, 50 06:00-18:00");
    expect_at(&t, AT(5, 59, 59), 300);
    expect_at(&t, AT(6, 0, 0), 50);
    expect_at(&t, AT(17, 59, 59) + 999999999, 50);
    expect_at(&t, AT(18, 0, 0), 300);
    assert_int_equal(timetable_next(&t, AT(5, 0, 0)), AT(6, 0, 0));
    assert_int_equal(timetable_next(&t, AT(6, 0, 0)), AT(18, 0, 0));
    assert_int_equal(timetable_next(&t, AT(18, 0, 0)), AT(30, 0, 0));
    assert_int_equal(timetable_next(&t, AT(17, 59, 59) + 999999999), AT(18, 0, 0));
}

static void windows_span_midnight_and_the_order_does_not_matter(void **state)
{
    (void)state;
    struct timetable t = read("20 22:00-04:30 ,none 04:30 - 06:00,100 , 50 06:00-18:00");
    expect_at(&t, AT(23, 0, 0), 20);
    expect_at(&t, AT(4, 29, 59), 20);
    expect_at(&t, AT(4, 30, 0), 0);
    expect_at(&t, AT(7, 0, 0), 50);
    expect_at(&t, AT(19, 0, 0), 100);
    assert_int_equal(timetable_next(&t, AT(23, 0, 0)), AT(28, 30, 0));
    assert_int_equal(timetable_next(&t, AT(1, 0, 0)), AT(4, 30, 0));
    assert_int_equal(timetable_next(&t, AT(4, 30, 0)), AT(6, 0, 0));
    assert_int_equal(timetable_next(&t, AT(19, 0, 0)), AT(22, 0, 0));
}

static void without_a_rate_for_other_times_there_is_no_limit_then(void **state)
{
    (void)state;
    struct timetable t = read("50 06:00-24:00");
    expect_at(&t, AT(23, 59, 59), 50);
    expect_at(&t, AT(0, 0, 0), 0);
    assert_int_equal(timetable_next(&t, AT(23, 0, 0)), AT(24, 0, 0));
}

/* Edges between equal rates are none, and a window of the whole day has no end. */
static void only_a_change_of_the_rate_counts(void **state)
{
    (void)state;
    struct timetable t = read("50, 50 06:00-18:00, 70 18:00-19:00");
    assert_int_equal(timetable_next(&t, AT(5, 0, 0)), AT(18, 0, 0));
    assert_int_equal(timetable_next(&t, AT(18, 30, 0)), AT(19, 0, 0));
    t = read("9, 70 00:00-24:00");
    expect_at(&t, AT(0, 0, 0), 70);
    expect_at(&t, AT(23, 59, 59), 70);
    assert_int_equal(timetable_next(&t, AT(5, 0, 0)), 0);
}

static void mistakes_are_named_with_their_remedy(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"fast", "'fast' does not begin with a rate"},
        {"-3", "does not begin with a rate"},
        {"0x10", "does not begin with a rate"},
        {"0.05", "from 0.1 to 100000"},
        {"200000", "from 0.1 to 100000"},
        {"1.2.3", "does not begin with a rate"},
        {"50 6:00-18:00", "'6:00-18:00' is no window"},
        {"50 06:00", "'06:00' is no window"},
        {"50 06:00-18:00 UTC", "'06:00-18:00 UTC' is no window"},
        {"50 06:00-06:00", "is no window"},
        {"50 25:00-18:00", "is no window"},
        {"50 06:60-18:00", "is no window"},
        {"50 24:00-18:00", "is no window"},
        {"50 06:00-24:01", "is no window"},
        {"300, 50", "'50' is the second"},
        {"300,", "nothing follows"},
        {",300", "does not begin with a rate"},
        {"50 06:00-18:00, 20 17:00-19:00", "06:00-18:00 and 17:00-19:00 overlap"},
        {"50 22:00-04:00, 20 03:00-05:00", "overlap"},
        {"20 03:00-05:00, 50 22:00-04:00", "overlap"},
        {"20 03:00-05:00, 50 02:00-06:00", "overlap"},
        {"nonesuch", "does not begin with a rate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct timetable t = {.mbit = 7};
        struct fault why = {.text = ""};
        if (timetable_parse(cases[i].text, &t, &why) != ST_REJECT)
            fail_msg("'%s' was taken", cases[i].text);
        if (!strstr(why.text, cases[i].words))
            fail_msg("'%s': %s", cases[i].text, why.text);
        assert_true(t.mbit == 7);
    }
}

static void too_much_is_refused(void **state)
{
    (void)state;
    struct timetable t;
    struct fault why;
    char text[600] = "";
    memset(text, ' ', 300);
    assert_int_equal(timetable_parse(text, &t, &why), ST_REJECT);
    text[0] = '\0';
    for (int i = 0; i < TIMETABLE_WINDOWS + 1; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d %02d:00-%02d:30",
                 i ? "," : "", i + 1, i, i);
    assert_int_equal(timetable_parse(text, &t, &why), ST_REJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_no_limit),
        cmocka_unit_test(one_number_holds_at_all_times),
        cmocka_unit_test(a_window_holds_from_its_first_second_to_before_its_last),
        cmocka_unit_test(windows_span_midnight_and_the_order_does_not_matter),
        cmocka_unit_test(without_a_rate_for_other_times_there_is_no_limit_then),
        cmocka_unit_test(only_a_change_of_the_rate_counts),
        cmocka_unit_test(mistakes_are_named_with_their_remedy),
        cmocka_unit_test(too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
