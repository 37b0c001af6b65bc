/* Which exposures an agent ships: those of its proposals, numbers, and of its share, so that of
 * several agents each ships some and all together ship all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "push/wanted.h"

static struct camera camera;
static struct fault why;

static bool wants(const struct wanted *w, int64_t number)
{
    struct survey s = {.facts = {.expnum = number, .propid = "o15100"}};
    return wanted_file(w, &camera, &s, &why);
}

static void a_share_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int share, shares;
    } t[] = {{"", true, 1, 1}, {"1/1", true, 1, 1}, {"6/6", true, 6, 6}, {"2/10", true, 2, 10},
             {"0/6", false, 1, 1}, {"7/6", false, 1, 1}, {"2", false, 1, 1}, {"2/6x", false, 1, 1},
             {"-1/6", false, 1, 1}, {"a/b", false, 1, 1}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int share, shares;
        assert_int_equal(wanted_share(t[i].text, &share, &shares), t[i].ok);
        assert_true(share == t[i].share && shares == t[i].shares);
    }
}

static int takers(int64_t number, int shares, int ships[])
{
    int count = 0;
    for (int i = 1; i <= shares; i++) {
        struct wanted w = {.share = i, .shares = shares};
        bool is_ours = wants(&w, number);
        ships[i] += is_ours;
        count += is_ours;
    }
    return count;
}

static void each_exposure_has_one_agent(void **state)
{
    (void)state;
    int ships[7] = {0};
    memset(&camera, 0, sizeof camera);
    for (int64_t number = -1; number < 60; number++)
        assert_int_equal(takers(number, 6, ships), 1);
    for (int i = 1; i <= 6; i++)
        assert_true(ships[i] >= 10);
}

/* Every second number only: each of six agents has visits all the same. */
static void visits_are_shared_evenly(void **state)
{
    (void)state;
    int ships[7] = {0};
    camera = (struct camera){.key_group = "FRAMEID", .group_numbers = 2, .group_ccds = "1-104"};
    for (int64_t number = 1200; number < 1320; number += 2)
        assert_int_equal(takers(number, 6, ships), 1);
    for (int i = 1; i <= 6; i++)
        assert_int_equal(ships[i], 10);
}

static void proposals_and_numbers(void **state)
{
    (void)state;
    struct wanted w = {.proposals = "o15999, O15100", .first = 10, .last = 20};
    memset(&camera, 0, sizeof camera);
    assert_true(wants(&w, 10) && wants(&w, 20));
    assert_false(wants(&w, 9) || wants(&w, 21) || wants(&w, -1));
    snprintf(w.proposals, sizeof w.proposals, "o15999");
    assert_false(wants(&w, 10));
    assert_non_null(strstr(why.text, "of proposal o15100"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_is_read), cmocka_unit_test(each_exposure_has_one_agent),
        cmocka_unit_test(visits_are_shared_evenly), cmocka_unit_test(proposals_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
