/* SFTP packets: requests are what the draft says, byte for byte; of answers, whatever a server or
 * somebody in its place sends, only sound ones are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "push/sftp.h"

static const struct sftp_handle handle = {2, "hh"};

static void is(struct buf *b, const char *bytes, size_t len)
{
    assert_int_equal(b->len, len);
    assert_memory_equal(b->data, bytes, len);
    b->len = 0;
}
#define IS(b, text) is(b, text, sizeof text - 1)

static void requests_are_as_the_draft_says(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(sftp_init(&b));
    IS(&b, "\0\0\0\5\1\0\0\0\3");
    assert_true(sftp_open(&b, 7, "a/b", SFTP_WRITE | SFTP_CREATE));
    IS(&b, "\0\0\0\x14\3\0\0\0\7\0\0\0\3a/b\0\0\0\xa\0\0\0\0");
    assert_true(sftp_write(&b, 8, &handle, 0x100000002, "xyz", 3));
    IS(&b, "\0\0\0\x1a\6\0\0\0\x8\0\0\0\2hh\0\0\0\1\0\0\0\2\0\0\0\3xyz");
    assert_true(sftp_read(&b, 9, &handle, 1, 32768));
    IS(&b, "\0\0\0\x17\5\0\0\0\x9\0\0\0\2hh\0\0\0\0\0\0\0\1\0\0\x80\0");
    assert_true(sftp_close(&b, 1, &handle));
    IS(&b, "\0\0\0\xb\4\0\0\0\1\0\0\0\2hh");
    assert_true(sftp_remove(&b, 1, "x"));
    IS(&b, "\0\0\0\xa\xd\0\0\0\1\0\0\0\1x");
    assert_true(sftp_rename(&b, 1, "x", "yy", false));
    IS(&b, "\0\0\0\x10\x12\0\0\0\1\0\0\0\1x\0\0\0\2yy");
    assert_true(sftp_rename(&b, 1, "x", "yy", true));
    IS(&b, "\0\0\0\x2c\xc8\0\0\0\1\0\0\0\x18posix-rename@openssh.com\0\0\0\1x\0\0\0\2yy");
    assert_true(sftp_fsync(&b, 1, &handle));
    IS(&b, "\0\0\0\x20\xc8\0\0\0\1\0\0\0\x11" "fsync@openssh.com\0\0\0\2hh");
    buf_free(&b);
}

static enum status take(const char *bytes, size_t len, struct sftp_reply *r)
{
    struct fault why;
    size_t used = 0;
    enum status st = sftp_take((const unsigned char *)bytes, len, r, &used, &why);
    if (st == ST_OK)
        assert_int_equal(used, len);
    return st;
}
#define TAKE(text, r) take(text, sizeof text - 1, r)

static void answers_are_taken(void **state)
{
    (void)state;
    struct sftp_reply r;
    struct sftp_server s;
    struct sftp_handle h;
    char words[160];
    assert_int_equal(TAKE("\0\0\0\x2f\2\0\0\0\3\0\0\0\x18posix-rename@openssh.com\0\0\0\1"
                          "1\0\0\0\1x\0\0\0\0", &r), ST_OK);
    sftp_version(&r, &s);
    assert_int_equal(s.version, 3);
    assert_true(s.posix_rename);
    assert_false(s.fsync);
    assert_int_equal(TAKE("\0\0\0\x17\x65\0\0\0\5\0\0\0\4\0\0\0\4" "full\0\0\0\2en", &r), ST_OK);
    assert_int_equal(r.id, 5);
    assert_int_equal(r.code, SFTP_FAILURE);
    sftp_words(&r, words);
    assert_string_equal(words, "failure (full)");
    assert_int_equal(TAKE("\0\0\0\x9\x65\0\0\0\5\0\0\0\0", &r), ST_OK); /* without words */
    assert_int_equal(r.code, SFTP_OK);
    assert_int_equal(TAKE("\0\0\0\xb\x66\0\0\0\6\0\0\0\2hh", &r), ST_OK);
    assert_true(sftp_handle_of(&r, &h));
    assert_int_equal(h.len, 2);
    assert_int_equal(TAKE("\0\0\0\x19\x69\0\0\0\6\0\0\0\x9\0\0\0\1\0\0\0\0\1\2\3\4\5\6\7\x8", &r),
                     ST_OK);
    assert_true(r.has_size && r.has_time);
    assert_int_equal(r.size, 0x100000000);
    assert_int_equal(r.mtime, 0x5060708);
}

static void other_bytes_are_refused(void **state)
{
    (void)state;
    struct sftp_reply r;
    struct sftp_handle h;
    struct sftp_server s;
    char words[160];
    assert_int_equal(TAKE("\0\0\0", &r), ST_WAIT);
    assert_int_equal(TAKE("\0\0\0\xb\x66\0\0\0\6\0\0\0\2h", &r), ST_WAIT);
    assert_int_equal(TAKE("Welcome to the cluster", &r), ST_REJECT);
    assert_int_equal(TAKE("\0\0\0\x9\x63\0\0\0\5\0\0\0\0", &r), ST_REJECT);       /* no kind */
    assert_int_equal(TAKE("\x7f\xff\xff\xff\x67\0\0\0\5", &r), ST_REJECT);         /* too long */
    assert_int_equal(TAKE("\0\0\0\3\x65\0\0", &r), ST_REJECT);                     /* too short */
    assert_int_equal(TAKE("\0\0\0\x9\x66\0\0\0\6\xff\xff\xff\xff", &r), ST_REJECT); /* lies */
    assert_int_equal(TAKE("\0\0\0\x11\x69\0\0\0\6\0\0\0\1\xff\0\0\0\0\0\0\0", &r), ST_REJECT);
    assert_int_equal(TAKE("\0\0\0\x9\x66\0\0\0\6\0\0\0\0", &r), ST_OK); /* an empty handle */
    assert_false(sftp_handle_of(&r, &h));
    assert_int_equal(sftp_free_bytes(&r), -1);
    assert_int_equal(sftp_write_limit(&r), 0);
    sftp_words(&r, words);
    assert_string_equal(words, "an odd answer");
    assert_int_equal(TAKE("\0\0\0\xa\2\0\0\0\3\0\0\0\x50x", &r), ST_OK);
    sftp_version(&r, &s);
    assert_int_equal(s.version, 3);
    assert_false(s.posix_rename);
    assert_int_equal(TAKE("\0\0\0\x12\x65\0\0\0\5\0\0\0\x63\0\0\0\5\33[2J\n", &r), ST_OK);
    sftp_words(&r, words);
    assert_string_equal(words, "failure (.[2J.)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_as_the_draft_says),
        cmocka_unit_test(answers_are_taken),
        cmocka_unit_test(other_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
