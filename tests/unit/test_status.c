/* Faults carry their grade and words upward whole, and never past their buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "common/status.h"

static void says_what_it_was_told(void **state)
{
    (void)state;
    struct fault why;
    assert_int_equal(fault(&why, ST_REJECT, "ccd %d of %s", 3, "DECam_1"), ST_REJECT);
    assert_int_equal(why.grade, ST_REJECT);
    assert_string_equal(why.text, "ccd 3 of DECam_1");
    assert_int_equal(fault(NULL, ST_WAIT, "nobody listens"), ST_WAIT);
}

static void adds_errno(void **state)
{
    (void)state;
    struct fault why;
    char want[128] = "cannot open x: ";
    strncat(want, strerror(ENOENT), 80);
    errno = ENOENT;
    assert_int_equal(fault_errno(&why, ST_RETRY, "cannot open %s", "x"), ST_RETRY);
    assert_string_equal(why.text, want);
    assert_int_equal(errno, ENOENT);
    errno = EACCES;
    assert_int_equal(fault_errno(NULL, ST_FATAL, "nobody"), ST_FATAL);
    assert_int_equal(errno, EACCES);
}

static void puts_words_in_front(void **state)
{
    (void)state;
    struct fault why;
    fault(&why, ST_RETRY, "the disk sleeps");
    assert_int_equal(fault_within(&why, "ccd %d: ", 17), ST_RETRY);
    assert_string_equal(why.text, "ccd 17: the disk sleeps");
}

static void cuts_long_texts(void **state)
{
    (void)state;
    struct fault why;
    char text[2000];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    fault(&why, ST_WAIT, "%s", text);
    assert_int_equal(strlen(why.text), sizeof why.text - 1);
    fault_within(&why, "front: ");
    assert_int_equal(strlen(why.text), sizeof why.text - 1);
    assert_memory_equal(why.text, "front: yyy", 10);
    errno = EIO;
    fault_errno(&why, ST_WAIT, "%s", text);
    assert_int_equal(strlen(why.text), sizeof why.text - 1);
}

static void names_grades(void **state)
{
    (void)state;
    assert_string_equal(status_name(ST_OK), "ok");
    assert_string_equal(status_name(ST_WAIT), "wait");
    assert_string_equal(status_name(ST_RETRY), "retry");
    assert_string_equal(status_name(ST_REJECT), "reject");
    assert_string_equal(status_name(ST_FATAL), "fatal");
    assert_string_equal(status_name((enum status)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_it_was_told), cmocka_unit_test(adds_errno),
        cmocka_unit_test(puts_words_in_front),   cmocka_unit_test(cuts_long_texts),
        cmocka_unit_test(names_grades),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
