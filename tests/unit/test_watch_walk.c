/* One walk over a tree, and the globs that choose from it. */
#include "common/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <string.h>

#include "common/fsutil.h"
#include "common/watch_inner.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct fault why;
static char order[4096]; /* names below the scratch folder in the order of their reports */

static int set_up(void **state)
{
    (void)state;
    order[0] = '\0';
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static void put(const char *name)
{
    char path[4096];
    assert_int_equal(fs_write_file(scratch_path(&scratch, name, path), "x", 1, false, &why), ST_OK);
}

static void make(const char *name)
{
    char path[4096];
    assert_int_equal(mkdir(scratch_path(&scratch, name, path), 0755), 0);
}

static void note(const char *mark, const char *path)
{
    size_t len = strlen(order);
    snprintf(order + len, sizeof order - len, "%s%s ", mark, path + strlen(scratch.dir));
}

static void seen(void *ctx, const char *path, enum watch_hint hint)
{
    assert_ptr_equal(ctx, &scratch);
    assert_int_equal(hint, WATCH_FOUND);
    note("", path);
}

static void patterns(void **state)
{
    (void)state;
    assert_true(watch_matches("*.fits *.fits.fz", "a.fits"));
    assert_true(watch_matches("*.fits *.fits.fz", "a.fits.fz"));
    assert_true(watch_matches("  *.fz\tDECam_[0-9]* ", "DECam_1.txt"));
    assert_false(watch_matches("*.fits *.fits.fz", "a.fits.part"));
    assert_false(watch_matches("*", ".a.fits"));
    assert_false(watch_matches(".*", ".a.fits"));
    assert_false(watch_matches("", "a.fits"));
    assert_false(watch_matches("*.FITS", "a.fits"));
}

static void breadth_first_in_order_of_names(void **state)
{
    (void)state;
    struct watch_options o = {.directory = scratch.dir, .patterns = "*.fits", .recursive = true};
    make("b");
    make("b/deep");
    make("a");
    make("a/.hidden");
    put("b/deep/5.fits");
    put("b/4.fits");
    put("a/3.fits");
    put("a/.hidden/no.fits");
    put("z.fits");
    put("y.fits");
    put("y.fits.gz");
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_OK);
    assert_string_equal(order, "/y.fits /z.fits /a/3.fits /b/4.fits /b/deep/5.fits ");
    order[0] = '\0';
    o.recursive = false;
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_OK);
    assert_string_equal(order, "/y.fits /z.fits ");
}

static void tie(const char *target, const char *name)
{
    char path[4096];
    assert_int_equal(symlink(target, scratch_path(&scratch, name, path)), 0);
}

/* A night that was moved to another disk, and links that would double or never end. */
static void links_to_directories(void **state)
{
    (void)state;
    char top[4096], path[4096];
    struct watch_options o = {.directory = scratch_path(&scratch, "top", top), .patterns = "*.fits",
                              .recursive = true};
    make("top");
    make("top/own");
    make("disk2");
    make("disk2/night");
    make("disk2/night/deep");
    put("top/own/1.fits");
    put("disk2/2.fits");
    put("disk2/night/3.fits");
    put("disk2/night/deep/4.fits");
    tie("own", "top/again");                     /* a second name */
    tie("night", "top/latest");                  /* of a link: not the one that counts */
    tie(scratch_path(&scratch, "disk2/night", path), "top/night");
    tie("../../../top", "disk2/night/deep/back"); /* round about */
    tie("..", "top/own/up");
    tie("../..", "top/own/above");               /* all of disk2, too */
    tie("nowhere", "top/dangling");
    tie("itself", "top/itself");
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_OK);
    assert_string_equal(order, "/top/own/1.fits /top/night/3.fits /top/night/deep/4.fits ");
    /* Twice over the same folders, of which one holds the other. */
    order[0] = '\0';
    tie("../disk2", "top/z");
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_OK);
    assert_string_equal(order, "/top/own/1.fits /top/night/3.fits /top/night/deep/4.fits "
                               "/top/z/2.fits ");
    order[0] = '\0';
    o.recursive = false;
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_OK);
    assert_string_equal(order, "");
}

static void a_directory_that_is_none(void **state)
{
    (void)state;
    char path[4096];
    struct watch_options o = {.patterns = "*", .recursive = true};
    o.directory = scratch_path(&scratch, "none", path);
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "/none: No such file or directory"));
    put("file");
    o.directory = scratch_path(&scratch, "file", path);
    assert_int_equal(watch_walk(&o, seen, &scratch, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "/file: Not a directory"));
    assert_string_equal(order, "");
}

static void enter(void *ctx, const char *directory)
{
    (void)ctx;
    note("E", directory);
    /* What appears between the watch and the reading is read. */
    if (strlen(directory) > strlen(scratch.dir))
        put("sub/late.fits");
}

static void file(void *ctx, const char *path)
{
    (void)ctx;
    note("", path);
}

static void entered_before_it_is_read(void **state)
{
    (void)state;
    struct walker w = {.recursive = true, .patterns = "*.fits", .enter = enter, .file = file};
    make("sub");
    put("first.fits");
    assert_int_equal(watch_tree(&w, scratch.dir), 0);
    assert_string_equal(order, "E /first.fits E/sub /sub/late.fits ");
    char path[4096];
    assert_int_equal(watch_tree(&w, scratch_path(&scratch, "none", path)), ENOENT);
}

#define NAMES 9000 /* more than are sorted at once */

struct roll {
    int next, wrong;
};

static void called(void *ctx, const char *path)
{
    struct roll *r = ctx;
    int n = -1;
    sscanf(path + strlen(scratch.dir), "/n%d.fits", &n);
    r->wrong += n != r->next++;
}

/* However short the slices: each name once, in order, and what is added meanwhile, too. */
static void a_large_folder_in_slices(void **state)
{
    (void)state;
    struct roll r = {0};
    char path[4096], name[32];
    int slices = 0;
    struct walker w = {.recursive = true, .patterns = "n*.fits", .file = called, .ctx = &r};
    for (int i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "n%05d.fits", (i * 7919) % NAMES);
        int fd = open(scratch_path(&scratch, name, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
    }
    make("late");
    put("late/nothing.fits");
    struct walk *k = walk_begin(&w);
    assert_non_null(k);
    assert_int_equal(walk_add(k, scratch.dir), 0);
    while (!walk_go(k, 0)) /* a name further each time */
        if (slices++ == 100)
            assert_int_equal(walk_add(k, scratch_path(&scratch, "gone", path)), 0);
    assert_int_equal(walk_error(k), 0);
    assert_true(slices > 2 * NAMES);
    assert_true(r.next == NAMES + 1 && r.wrong == 1); /* late/nothing.fits has no number */
    walk_end(&k);
    /* Given up in the middle. */
    assert_non_null(k = walk_begin(&w));
    assert_int_equal(walk_add(k, scratch.dir), 0);
    for (int i = 0; i < NAMES + 100; i++)
        assert_false(walk_go(k, 0));
    walk_end(&k);
    assert_null(k);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(patterns), T(breadth_first_in_order_of_names), T(links_to_directories),
        T(a_directory_that_is_none),
        T(entered_before_it_is_read), T(a_large_folder_in_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
