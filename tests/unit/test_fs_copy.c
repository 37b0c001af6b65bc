/* A second file of one: as another name, as a copy, over another file or never over it. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct fault why;
static char from[4096], to[4096];

static int setup(void **state)
{
    (void)state;
    if (scratch_make(&dir) != 0)
        return -1;
    scratch_path(&dir, "from", from);
    scratch_path(&dir, "to", to);
    return fs_write_file(from, "sky", 3, false, &why) == ST_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

static void assert_holds(const char *path, const char *text)
{
    struct buf b = {0};
    assert_int_equal(fs_read_file(path, 100, &b, &why), ST_OK);
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(b.data, text, b.len);
    buf_free(&b);
}

static int count; /* of files, by nftw */

static int count_file(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)path;
    (void)st;
    (void)at;
    count += kind == FTW_F;
    return 0;
}

/* No draft is left. */
static void assert_files(int wanted)
{
    count = 0;
    assert_int_equal(nftw(dir.dir, count_file, 8, FTW_PHYS), 0);
    assert_int_equal(count, wanted);
}

static void a_copy_is_a_file_of_its_own(void **state)
{
    struct fs_copy c = {.from = from, .to = to};
    struct timespec old[2] = {{1000, 0}, {1000, 5}};
    struct stat a, b;
    (void)state;
    assert_int_equal(utimensat(-1, from, old, 0), 0);
    assert_int_equal(fs_copy_file(&c, &why), ST_OK);
    assert_true(c.way == FS_COPIED || c.way == FS_CLONED);
    assert_holds(to, "sky");
    assert_int_equal(stat(from, &a), 0);
    assert_int_equal(stat(to, &b), 0);
    assert_true(a.st_ino != b.st_ino && a.st_mtim.tv_sec == b.st_mtim.tv_sec);
}

static void a_link_is_the_same_file(void **state)
{
    struct fs_copy c = {.from = from, .to = to, .may_link = true};
    struct stat a, b;
    (void)state;
    assert_int_equal(fs_copy_file(&c, &why), ST_OK);
    assert_int_equal(stat(from, &a), 0);
    assert_int_equal(stat(to, &b), 0);
    assert_int_equal(a.st_ino == b.st_ino, c.way == FS_LINKED);
    assert_true(c.way == FS_LINKED || c.way == FS_CLONED);
    assert_files(2);
}

static void a_taken_name_is_kept(void **state)
{
    struct fs_copy c = {.from = from, .to = to};
    (void)state;
    assert_int_equal(fs_write_file(to, "mine", 4, false, &why), ST_OK);
    for (int i = 0; i < 2; i++) {
        c.may_link = i == 1;
        assert_int_equal(fs_copy_file(&c, &why), ST_REJECT);
        assert_non_null(strstr(why.text, "is kept as it is"));
        assert_holds(to, "mine");
    }
    assert_files(2);
    /* Never written into: who reads the old one goes on with it. */
    char other[4096];
    assert_int_equal(link(to, scratch_path(&dir, "other", other)), 0);
    c.replace = true;
    assert_int_equal(fs_copy_file(&c, &why), ST_OK);
    assert_holds(to, "sky");
    assert_holds(other, "mine");
    assert_files(3);
}

static void what_is_not_there_cannot_be_copied(void **state)
{
    struct fs_copy c = {.from = from, .to = to, .may_link = true};
    (void)state;
    assert_int_equal(unlink(from), 0);
    assert_int_equal(fs_copy_file(&c, &why), ST_RETRY);
    assert_files(0);
    /* A link is no calibration file. */
    assert_int_equal(symlink("/etc/passwd", from), 0);
    assert_int_equal(fs_copy_file(&c, &why), ST_RETRY);
    assert_files(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_is_a_file_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_is_the_same_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_taken_name_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_there_cannot_be_copied, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
