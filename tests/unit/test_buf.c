/* The growable buffer keeps every byte it was given, in order, and its NUL after printf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"

static void appends_in_order(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 10000; i++) {
        unsigned char byte = (unsigned char)(i * 7);
        assert_true(buf_append(&b, &byte, 1));
    }
    assert_int_equal(b.len, 10000);
    assert_true(b.cap >= b.len);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], (unsigned char)(i * 7));
    assert_true(buf_append(&b, NULL, 0));
    assert_int_equal(b.len, 10000);
    buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, 0);
    buf_free(&b);
}

static void prints(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(buf_printf(&b, "ccd %d", 7));
    assert_int_equal(b.len, 5);
    assert_string_equal((char *)b.data, "ccd 7");
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    assert_true(buf_printf(&b, "%s", text));
    assert_true(buf_printf(&b, "%s", ""));
    assert_int_equal(b.len, 1005);
    assert_int_equal(strlen((char *)b.data), 1005);
    buf_free(&b);
    assert_true(buf_printf(&b, "%s", ""));
    assert_string_equal((char *)b.data, "");
    buf_free(&b);
}

static void consumes_the_front(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(buf_append(&b, "abcdef", 6));
    buf_consume(&b, 0);
    assert_int_equal(b.len, 6);
    buf_consume(&b, 2);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "cdef", 4);
    buf_consume(&b, 100);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void refuses_the_impossible(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(buf_append(&b, "keep", 4));
    unsigned char *before = b.data;
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_false(buf_reserve(&b, SIZE_MAX / 2));
    assert_ptr_equal(b.data, before);
    assert_memory_equal(b.data, "keep", 4);
    buf_free(&b);
}

static void large_growth_is_not_doubled(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(buf_reserve(&b, 18u << 20));
    assert_true(b.cap >= 18u << 20);
    assert_true(b.cap < 24u << 20);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_in_order),       cmocka_unit_test(prints),
        cmocka_unit_test(consumes_the_front),     cmocka_unit_test(refuses_the_impossible),
        cmocka_unit_test(large_growth_is_not_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
