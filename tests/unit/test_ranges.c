/* Sets of byte ranges, against a plain array of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/ranges.h"

static void check_invariants(const struct ranges *r)
{
    for (size_t i = 0; i < r->count; i++) {
        assert_true(r->at[i].length > 0);
        if (i > 0)
            assert_true(r->at[i - 1].offset + r->at[i - 1].length < r->at[i].offset);
    }
}

static void ranges_are_what_a_bitmap_says(void **state)
{
    enum { N = 64 };
    (void)state;
    for (unsigned seed = 0; seed < 200; seed++) {
        struct ranges r = {0};
        char bit[N] = {0};
        srand(seed);
        for (int step = 0; step < 60; step++) {
            int64_t from = rand() % N, length = rand() % (N - from + 1);
            bool add = rand() % 2;
            assert_true(add ? ranges_add(&r, from, length) : ranges_cut(&r, from, length));
            memset(bit + from, add, (size_t)length);
            check_invariants(&r);
            int64_t total = 0, offset, gap, at = rand() % N;
            for (int i = 0; i < N; i++)
                total += bit[i];
            assert_int_equal(ranges_total(&r), total);
            int64_t first = at, end;
            while (first < N && bit[first])
                first++;
            for (end = first; end < N && !bit[end];)
                end++;
            assert_int_equal(ranges_gap(&r, at, N, &offset, &gap), first < N);
            assert_int_equal(ranges_cover(&r, at, at + length), first >= at + length);
            if (first < N) {
                assert_int_equal(offset, first);
                assert_int_equal(gap, end - first);
            }
        }
        ranges_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_what_a_bitmap_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
