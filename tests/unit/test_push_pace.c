/* A ratio held over an exposure: simulated ccds that keep the ladder's promise badly in several
 * ways, given out and written as encode.c does it, sixteen behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "push/pace.h"

#define CCDS 62
#define LAG 16
#define RAW ((int64_t)2160 * 4146 * 2)
#define SWING 1.4 /* rows stay within this of a steady exposure's */

static uint32_t seed = 1;
static double chance(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) / 16777216.0;
}

/* What a ccd comes to over what its row promises. */
struct sky {
    double factor;   /* of all ccds */
    double scatter;  /* each differs by up to so much of it */
    int odd;         /* so many ccds travel without loss, at 4:1 */
    double slope;    /* the last ccd's factor over the first one's, less 1 */
};

static double came_to(const struct sky *s, int ccd, double rung)
{
    double promised = (double)RAW / rung;
    int every = s->odd > 0 ? CCDS / s->odd : 0;
    if (every > 0 && ccd % every == every / 2)
        return (double)RAW / 4;
    return promised * s->factor * (1 + s->scatter * (2 * chance() - 1)) *
           (1 + s->slope * (ccd / (CCDS - 1.0) - 0.5));
}

struct exposure {
    double ratio, least, most; /* over all; rows given */
    double pace;
};

/* One exposure from a pace known, with headers of 20 kB a ccd besides. */
static struct exposure expose(const struct sky *s, double ratio, double pace)
{
    struct pace p;
    struct exposure out = {.least = INFINITY};
    double rung[CCDS], bytes[CCDS], total = 0;
    pace_begin(&p, ratio, ratio / pace, pace, RAW * CCDS);
    for (int i = 0; i < CCDS + LAG; i++) {
        if (i >= LAG) {
            pace_wrote(&p, rung[i - LAG], RAW, (int64_t)bytes[i - LAG]);
            total += bytes[i - LAG];
        }
        if (i == LAG) { /* the primary's header, a table */
            pace_wrote_other(&p, 60000);
            total += 60000;
        }
        if (i >= CCDS)
            continue;
        rung[i] = pace_next(&p, RAW);
        assert_true(isfinite(rung[i]) && rung[i] > 0);
        bytes[i] = came_to(s, i, rung[i]) + 20000;
        out.least = fmin(out.least, rung[i]);
        out.most = fmax(out.most, rung[i]);
    }
    out.ratio = (double)RAW * CCDS / total;
    out.pace = pace_result(&p);
    return out;
}

/* The first exposure, and the next two with the pace of the one before. */
static void night(const char *what, const struct sky *s, double first, double later)
{
    static const double ratios[] = {4, 10, 25};
    for (int r = 0; r < (s->odd ? 2 : 3); r++) {
        double pace = 1;
        for (int n = 0; n < 3; n++) {
            struct exposure e = expose(s, ratios[r], pace);
            double off = fabs(e.ratio / ratios[r] - 1);
            if (off > (n ? later : first))
                fail_msg("%s, factor %g: exposure %d has %g for %g", what, s->factor, n, e.ratio,
                         ratios[r]);
            if (e.most > e.least * SWING * SWING * 2)
                fail_msg("%s: rows from %g to %g", what, e.least, e.most);
            pace = e.pace;
        }
    }
}

static void a_sky_that_is_off_by_a_factor(void **state)
{
    (void)state;
    for (double factor = 0.6; factor <= 1.61; factor += 0.1) {
        struct sky s = {.factor = factor};
        night("constant", &s, 0.1, 0.03);
        struct exposure e = expose(&s, 10, 1);
        assert_true(fabs(e.pace * factor - 1) < 0.05);
    }
}

static void ccds_that_scatter(void **state)
{
    (void)state;
    for (double factor = 0.7; factor <= 1.5; factor += 0.2) {
        struct sky s = {.factor = factor, .scatter = 0.2};
        night("scatter", &s, 0.1, 0.03);
    }
}

/* At 25:1 three of them would be a third of all bytes: up to 10:1. */
static void a_few_ccds_without_loss(void **state)
{
    (void)state;
    for (int odd = 1; odd <= 3; odd++) {
        struct sky s = {.factor = 1.1, .scatter = 0.1, .odd = odd};
        night("odd ccds", &s, 0.1, 0.03);
    }
}

static void a_sky_that_changes_over_the_array(void **state)
{
    (void)state;
    for (double slope = -0.4; slope <= 0.41; slope += 0.2) {
        struct sky s = {.factor = 1.2, .slope = slope};
        night("slope", &s, 0.1, fabs(slope) > 0.3 ? 0.08 : 0.04);
    }
}

/* Where the ratio is out of reach, rows stop at the swing instead of ruining the last ccds. */
static void no_ccd_suffers_for_the_others(void **state)
{
    (void)state;
    struct sky s = {.factor = 1, .odd = 31}; /* half of them at 4:1: 20:1 cannot be */
    struct exposure e = expose(&s, 20, 1);
    assert_true(e.ratio < 15);
    struct pace p;
    pace_begin(&p, 10, 10, 1, 40 * RAW);
    for (int i = 0; i < 40; i++) {
        double row = pace_next(&p, RAW), pace = pace_result(&p);
        assert_true(row <= 10 / pace * SWING * 1.0001 && row >= 10 / pace / SWING * 0.9999);
        pace_wrote(&p, row, RAW, i % 3 ? RAW / 2 : RAW / 100);
    }
}

static void the_noise_keeps_its_row(void **state)
{
    (void)state;
    struct pace p;
    pace_begin(&p, 0, 5.5, 1, 20 * RAW);
    for (int i = 0; i < 20; i++) {
        assert_true(pace_next(&p, RAW) == 5.5);
        pace_wrote(&p, 5.5, RAW, RAW / (2 + i));
    }
    pace_begin(&p, 0, 0, 1, 20 * RAW); /* no ladder at all */
    assert_true(pace_next(&p, RAW) == 0);
    pace_wrote(&p, 0, RAW, RAW);
    assert_true(isfinite(pace_result(&p)));
}

static void a_pace_without_images_is_the_one_given(void **state)
{
    (void)state;
    struct pace p;
    pace_begin(&p, 10, 8, 1.25, 0);
    assert_true(pace_result(&p) == 1.25);
    pace_wrote_other(&p, 5000);
    assert_true(pace_result(&p) == 1.25);
    pace_begin(&p, 10, 8, NAN, RAW); /* an unknown one is 1 */
    assert_true(pace_result(&p) == 1);
    pace_begin(&p, 10, 10, 1, 3 * RAW);
    assert_true(fabs(pace_next(&p, RAW) - 10) < 1e-9);
}

/* The same calls, the same rows: the same file gives the same bytes. */
static void nothing_but_the_calls_decides(void **state)
{
    (void)state;
    struct sky s = {.factor = 1.3, .scatter = 0.2};
    seed = 5;
    struct exposure a = expose(&s, 10, 1.1);
    seed = 5;
    struct exposure b = expose(&s, 10, 1.1);
    assert_memory_equal(&a, &b, sizeof a);
}

/* One ccd only, or fewer than are under way at a time: the pace of the last exposure does it. */
static void few_ccds_learn_from_the_last_exposure(void **state)
{
    (void)state;
    double pace = 1, ratio = 0;
    for (int n = 0; n < 4; n++) {
        struct pace p;
        double row[8], total = 0;
        pace_begin(&p, 10, 10 / pace, pace, 8 * RAW);
        for (int i = 0; i < 8; i++)
            row[i] = pace_next(&p, RAW);
        for (int i = 0; i < 8; i++) {
            pace_wrote(&p, row[i], RAW, (int64_t)((double)RAW / row[i] * 1.3));
            total += (double)RAW / row[i] * 1.3;
        }
        pace = pace_result(&p);
        ratio = 8 * (double)RAW / total;
    }
    assert_true(fabs(ratio / 10 - 1) < 0.03);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sky_that_is_off_by_a_factor),
        cmocka_unit_test(ccds_that_scatter),
        cmocka_unit_test(a_few_ccds_without_loss),
        cmocka_unit_test(a_sky_that_changes_over_the_array),
        cmocka_unit_test(no_ccd_suffers_for_the_others),
        cmocka_unit_test(the_noise_keeps_its_row),
        cmocka_unit_test(a_pace_without_images_is_the_one_given),
        cmocka_unit_test(nothing_but_the_calls_decides),
        cmocka_unit_test(few_ccds_learn_from_the_last_exposure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
