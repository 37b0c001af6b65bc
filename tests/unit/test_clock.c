/* DATE-OBS is read exactly or refused; the calendar agrees with libc on every day. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/clock.h"

static void calendar_agrees_with_libc(void **state)
{
    (void)state;
    for (int64_t day = -106000; day <= 106000; day++) {
        time_t t = (time_t)day * 86400;
        struct tm utc;
        assert_non_null(gmtime_r(&t, &utc));
        int64_t y;
        int m, d;
        clock_civil_from_days(day, &y, &m, &d);
        assert_int_equal(y, utc.tm_year + 1900);
        assert_int_equal(m, utc.tm_mon + 1);
        assert_int_equal(d, utc.tm_mday);
        assert_int_equal(clock_days_from_civil(y, m, d), day);
    }
}

static void calendar_far_away(void **state)
{
    (void)state;
    assert_int_equal(clock_days_from_civil(1970, 1, 1), 0);
    assert_int_equal(clock_days_from_civil(0, 3, 1), -719468);
    assert_int_equal(clock_days_from_civil(-1, 12, 31), -719529);
    assert_int_equal(clock_days_from_civil(9999, 12, 31), 2932896);
}

static void reads_date_obs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:00", 0},
        {"1970-01-01T00:00:01Z", NS_PER_S},
        {"2016-02-29T12:00:00.5", 1456747200 * NS_PER_S + 500000000},
        {"2017-03-16T06:21:07.123456789", 1489645267 * NS_PER_S + 123456789},
        {"2017-03-16T06:21:07.1234567899", 1489645267 * NS_PER_S + 123456789},
        {"2017-03-16T06:21:07.0Z", 1489645267 * NS_PER_S},
        {"2016-12-31T23:59:60", 1483228800 * NS_PER_S},
        {"2016-12-31T23:59:60.25", 1483228800 * NS_PER_S + 250000000},
        {"1969-12-31T23:59:59.999", -1000000},
        {"2262-04-10T00:00:00", 9223200000 * NS_PER_S},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t ns = 42;
        if (!clock_parse_date_obs(good[i].text, &ns))
            fail_msg("refused: %s", good[i].text);
        assert_int_equal(ns, good[i].ns);
    }
}

static void refuses_what_is_no_date(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " ", "2016", "2016-02", "2016-02-30", "2015-02-29", "1900-02-29", "2016-13-01",
        "2016-00-10", "2016-01-00", "2016-01-32", "16-01-01", "2016/01/01", "31/12/98",
        "2016-01-01T", "2016-01-01T10", "2016-01-01T10:00", "2016-01-01T24:00:00",
        "2016-01-01T10:60:00", "2016-01-01T10:00:61", "2016-01-01T10:00:00.",
        "2016-01-01T10:00:00.5x", "2016-01-01T10:00:00.5ZZ", "2016-01-01T10:00:00+01:00",
        "2016-01-01 10:00:00", " 2016-01-01", "2016-01-01 ", "-016-01-01", "2016-1-1",
        "+2016-01-01", "1500-01-01", "3000-01-01", "2016-01-01T1 :00:00",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ns = 42;
        if (clock_parse_date_obs(bad[i], &ns))
            fail_msg("accepted: '%s'", bad[i]);
        assert_int_equal(ns, 42);
    }
    int64_t ns;
    assert_false(clock_parse_date_obs(NULL, &ns));
}

static void writes_iso(void **state)
{
    (void)state;
    char out[32];
    clock_iso(0, out, sizeof out);
    assert_string_equal(out, "1970-01-01T00:00:00.000Z");
    clock_iso(1489645267 * NS_PER_S + 123999999, out, sizeof out);
    assert_string_equal(out, "2017-03-16T06:21:07.123Z");
    clock_iso(-1, out, sizeof out);
    assert_string_equal(out, "1969-12-31T23:59:59.999Z");
    clock_iso(INT64_MAX, out, sizeof out);
    assert_string_equal(out, "2262-04-11T23:47:16.854Z");
    clock_iso(INT64_MIN, out, sizeof out);
    assert_string_equal(out, "1677-09-21T00:12:43.145Z");
    int64_t back;
    clock_iso(1700000000 * NS_PER_S + 7 * NS_PER_MS, out, sizeof out);
    assert_true(clock_parse_date_obs(out, &back));
    assert_int_equal(back, 1700000000 * NS_PER_S + 7 * NS_PER_MS);
}

static void clocks_run(void **state)
{
    (void)state;
    int64_t wall = clock_wall(), libc = (int64_t)time(NULL) * NS_PER_S;
    assert_true(wall - libc > -2 * NS_PER_S && wall - libc < 2 * NS_PER_S);
    int64_t mono = clock_mono(), cpu = clock_thread_cpu();
    volatile uint64_t sum = 0;
    while (clock_mono() - mono < 20 * NS_PER_MS)
        sum = sum + 1;
    int64_t spent = clock_thread_cpu() - cpu;
    assert_true(spent > 0);
    assert_true(spent <= clock_mono() - mono + NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar_agrees_with_libc), cmocka_unit_test(calendar_far_away),
        cmocka_unit_test(reads_date_obs),            cmocka_unit_test(refuses_what_is_no_date),
        cmocka_unit_test(writes_iso),                cmocka_unit_test(clocks_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
