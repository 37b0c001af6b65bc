/* The night rule gives the requirement's vectors, for both rollovers, month and year ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/night.h"

static void check(const char *rollover, double longitude, const char *date_obs, const char *want)
{
    struct night_rule rule;
    int64_t ns;
    char night[NIGHT_SIZE];
    assert_true(night_rule_parse(rollover, longitude, &rule));
    assert_true(clock_parse_date_obs(date_obs, &ns));
    night_of(&rule, ns, night);
    assert_string_equal(night, want);
}

static void forerunner_vectors(void **state)
{
    (void)state;
    check("22:30", -70.8, "2016-08-31T23:10:00", "ut160901");
    check("22:30", -70.8, "2016-08-31T22:29:59", "ut160831");
    check("22:30", -70.8, "2016-08-31T22:29:59.999", "ut160831");
    check("22:30", -70.8, "2016-08-31T22:30:00", "ut160901");
    check("22:30:30", -70.8, "2016-08-31T22:30:29", "ut160831");
    check("22:30", -70.8, "2016-12-31T22:45:00", "ut170101");
    check("22:30", -70.8, "2016-02-28T23:00:00", "ut160229");
    check("22:30", -70.8, "2015-02-28T23:00:00", "ut150301");
    check("22:30", -70.8, "2016-09-01T05:00:00", "ut160901");
}

static void noon_at_the_site(void **state)
{
    (void)state;
    struct night_rule rule;
    assert_true(night_rule_parse("noon", -70.8, &rule));
    assert_int_equal(rule.rollover_s, 16 * 3600 + 43 * 60 + 12);
    check("noon", -70.8, "2017-03-15T16:43:11", "ut170315");
    check("noon", -70.8, "2017-03-15T16:43:12", "ut170316");
    check("noon", -70.8, "2017-03-15T20:00:00", "ut170316"); /* afternoon flats */
    check("noon", -70.8, "2017-03-16T06:21:07", "ut170316");
    assert_true(night_rule_parse("noon", 289.2, &rule)); /* the same place, counted east */
    assert_int_equal(rule.rollover_s, 16 * 3600 + 43 * 60 + 12);
    assert_true(night_rule_parse("noon", 0, &rule));
    assert_int_equal(rule.rollover_s, 43200);
    assert_true(night_rule_parse("noon", 180, &rule));
    assert_int_equal(rule.rollover_s, 0);
    assert_true(night_rule_parse("noon", -180, &rule));
    assert_int_equal(rule.rollover_s, 0);
    check("noon", -155.476, "2016-01-31T23:30:00", "ut160201"); /* Subaru */
}

static void one_night_is_24_hours(void **state)
{
    (void)state;
    struct night_rule rule = {60192};
    char night[NIGHT_SIZE], before[NIGHT_SIZE] = "";
    int64_t start = clock_days_from_civil(2015, 12, 1) * 86400;
    int changes = 0;
    for (int64_t s = start; s < start + 100 * 86400; s += 600) {
        night_of(&rule, s * NS_PER_S, night);
        assert_true(night_valid(night));
        changes += strcmp(night, before) != 0;
        assert_true(strcmp(night, before) >= 0 || changes == 1);
        memcpy(before, night, sizeof before);
    }
    assert_int_equal(changes, 101);
}

static void before_1970_and_century(void **state)
{
    (void)state;
    check("22:30", 0, "1969-12-31T22:00:00", "ut691231");
    check("22:30", 0, "1969-12-31T22:30:00", "ut700101");
    check("22:30", 0, "1999-12-31T23:00:00", "ut000101");
}

static void refuses_bad_rules(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "24:00",    "22:60",     "22:30:60", "2:30", "22.30",
                                      "22:3",  "22:30:",   "22:30:000", "midday",   "Noon", "-1:30",
                                      " 22:30", "22:30x",  "22-30",     "22:30-00"};
    struct night_rule rule = {7};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (night_rule_parse(bad[i], 0, &rule))
            fail_msg("accepted: '%s'", bad[i]);
        assert_int_equal(rule.rollover_s, 7);
    }
    assert_false(night_rule_parse("noon", -180.1, &rule));
    assert_false(night_rule_parse("noon", 360.1, &rule));
    assert_false(night_rule_parse("noon", NAN, &rule));
    assert_true(night_rule_parse("22:30", NAN, &rule));
    assert_int_equal(rule.rollover_s, 81000);
}

static void validity(void **state)
{
    (void)state;
    assert_true(night_valid("ut160229"));
    assert_true(night_valid("ut000101"));
    assert_true(night_valid("ut991231"));
    static const char *const bad[] = {"",          "ut150229", "ut161301", "ut160001", "ut160100",
                                      "ut160132",  "160229",   "UT160229", "ut16022",  "ut1602290",
                                      "ut16022x",  "ut/../..", "ut160631", "xt160229"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (night_valid(bad[i]))
            fail_msg("accepted: '%s'", bad[i]);
    assert_false(night_valid(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forerunner_vectors),      cmocka_unit_test(noon_at_the_site),
        cmocka_unit_test(one_night_is_24_hours),   cmocka_unit_test(before_1970_and_century),
        cmocka_unit_test(refuses_bad_rules),       cmocka_unit_test(validity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
