/* SHA-256 gives the published vectors (FIPS 180-4 examples), in any pieces, of bytes or files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/digest.h"
#include "common/fsutil.h"
#include "tests/unit/scratch.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define TWO_BLOCKS "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
#define MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void known_vectors(void **state)
{
    (void)state;
    char hex[DIGEST_HEX];
    digest_bytes(NULL, 0, hex);
    assert_string_equal(hex, EMPTY);
    digest_bytes("abc", 3, hex);
    assert_string_equal(hex, ABC);
    digest_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
    assert_string_equal(hex, TWO_BLOCKS);
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    char hex[DIGEST_HEX];
    struct digest *d = digest_new();
    assert_non_null(d);
    char block[997];
    memset(block, 'a', sizeof block);
    size_t left = 1000000;
    while (left > 0) {
        size_t n = left < sizeof block ? left : sizeof block;
        digest_update(d, block, n);
        left -= n;
    }
    digest_update(d, NULL, 0);
    digest_finish(&d, hex);
    assert_null(d);
    assert_string_equal(hex, MILLION_A);
}

static void free_is_harmless(void **state)
{
    (void)state;
    struct digest *d = digest_new();
    digest_update(d, "x", 1);
    digest_free(&d);
    assert_null(d);
    digest_free(&d);
    char hex[DIGEST_HEX] = "old";
    digest_finish(&d, hex);
    assert_false(digest_valid(hex));
}

static void files(void **state)
{
    char path[4096], hex[DIGEST_HEX];
    struct fault why;
    char *a = malloc(1000000);
    assert_non_null(a);
    memset(a, 'a', 1000000);
    int fd = open(scratch_path(*state, "million", path), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, "abc", 3), 0);
    assert_int_equal(digest_fd(fd, -1, hex, &why), ST_OK);
    assert_string_equal(hex, ABC);
    assert_int_equal(digest_fd(fd, 0, hex, &why), ST_OK);
    assert_string_equal(hex, EMPTY);
    assert_int_equal(fs_pwrite_all(fd, a, 1000000, 0), 0);
    assert_int_equal(fs_pwrite_all(fd, "tail", 4, 1000000), 0);
    assert_int_equal(digest_fd(fd, 1000000, hex, &why), ST_OK);
    assert_string_equal(hex, MILLION_A);
    assert_int_equal(digest_fd(fd, 1000005, hex, &why), ST_WAIT);
    assert_string_equal(why.text, "the file ends at byte 1000004 of 1000005");
    assert_false(digest_valid(hex));
    close(fd);
    assert_int_equal(digest_fd(fd, -1, hex, &why), ST_RETRY);
    free(a);
}

static void validity(void **state)
{
    (void)state;
    assert_true(digest_valid(EMPTY));
    assert_false(digest_valid(NULL));
    assert_false(digest_valid(""));
    assert_false(digest_valid("e3b0"));
    assert_false(digest_valid(EMPTY "0"));
    assert_false(digest_valid("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"));
    assert_false(digest_valid("g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    assert_false(digest_valid("../../../../../../../../../../../../../../../../../../etc/passwd1"));
}

static struct scratch dir;

static int set_up(void **state)
{
    *state = &dir;
    return scratch_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),    cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(free_is_harmless), cmocka_unit_test(files),
        cmocka_unit_test(validity),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
