/* Files appear whole or not at all under their name; failures have their grade and errno. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/scratch.h"

static struct scratch dir;

/* A path in the scratch folder; good for the few names of one test. */
static const char *at(const char *name)
{
    static char paths[8][4096];
    static int next;
    next = (next + 1) % 8;
    return scratch_path(&dir, name, paths[next]);
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void holds(const char *path, const char *want)
{
    struct buf b = {0};
    struct fault why;
    assert_int_equal(fs_read_file(path, 1 << 20, &b, &why), ST_OK);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.data, want, b.len);
    buf_free(&b);
}

static void put(const char *path, const char *text)
{
    struct fault why;
    assert_int_equal(fs_write_file(path, text, strlen(text), false, &why), ST_OK);
}

static void makes_folders(void **state)
{
    (void)state;
    struct fault why;
    struct stat s;
    assert_int_equal(fs_mkdirs(at("d1/d2//d3/"), &why), ST_OK);
    assert_int_equal(stat(at("d1/d2/d3"), &s), 0);
    assert_true(S_ISDIR(s.st_mode));
    assert_int_equal(fs_mkdirs(at("d1/d2/d3"), &why), ST_OK);
    assert_int_equal(fs_mkdirs("/", &why), ST_OK);
    put(at("d1/file"), "x");
    assert_int_equal(fs_mkdirs(at("d1/file/d"), &why), ST_RETRY);
    assert_non_null(strstr(why.text, "d1/file"));
    assert_non_null(strstr(why.text, strerror(ENOTDIR)));
    assert_int_equal(fs_mkdirs(at("d1/file"), &why), ST_RETRY);
    assert_int_equal(fs_mkdirs("", &why), ST_REJECT);
}

static void reads_whole_files(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    put(at("small"), "0123456789");
    assert_true(buf_append(&b, "keep", 4));
    assert_int_equal(fs_read_file(at("small"), 10, &b, &why), ST_OK);
    assert_int_equal(b.len, 14);
    assert_memory_equal(b.data, "keep0123456789", 14);
    assert_int_equal(fs_read_file(at("small"), 9, &b, &why), ST_REJECT);
    assert_int_equal(b.len, 14);
    assert_int_equal(fs_read_file(at("nothing"), 9, &b, &why), ST_RETRY);
    assert_int_equal(errno, ENOENT);
    assert_non_null(strstr(why.text, "nothing"));
    assert_int_equal(fs_read_file(dir.dir, 9, &b, &why), ST_RETRY);
    assert_int_equal(errno, EISDIR);
    buf_free(&b);
}

/* In a folder that others write into: no link is followed, no fifo holds anybody up. */
static void reads_plain_files_only(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    put(at("plain"), "0123456789");
    assert_int_equal(symlink(at("plain"), at("link")), 0);
    assert_int_equal(mkfifo(at("fifo"), 0644), 0);
    assert_int_equal(fs_read_plain(at("plain"), 10, &b, &why), ST_OK);
    assert_int_equal(b.len, 10);
    assert_int_equal(fs_read_plain(at("plain"), 9, &b, &why), ST_REJECT);
    assert_int_equal(fs_read_plain(at("nothing"), 9, &b, &why), ST_RETRY);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(fs_read_plain(at("link"), 10, &b, &why), ST_REJECT);
    assert_int_equal(fs_read_plain(at("fifo"), 10, &b, &why), ST_REJECT);
    assert_int_equal(fs_read_plain(dir.dir, 10, &b, &why), ST_REJECT);
    assert_int_equal(b.len, 10);
    buf_free(&b);
}

static void shared_files_have_their_mode(void **state)
{
    (void)state;
    struct buf text = {.data = (unsigned char *)"shared", .len = 6};
    struct fault why;
    struct stat st;
    mode_t was = umask(077);
    assert_int_equal(fs_write_shared(at("shared"), &text, 0644, &why), ST_OK);
    umask(was);
    holds(at("shared"), "shared");
    assert_int_equal(stat(at("shared"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
}

static void positional_io(void **state)
{
    (void)state;
    char got[6] = "";
    int fd = open(at("pio"), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fs_pwrite_all(fd, "world", 5, 5), 0);
    assert_int_equal(fs_pwrite_all(fd, "hello", 5, 0), 0);
    assert_int_equal(fs_pread_all(fd, got, 5, 5), 0);
    assert_string_equal(got, "world");
    assert_int_equal(fs_pread_all(fd, got, 5, 6), 1);
    assert_int_equal(fs_pread_all(fd, got, 0, 100), 0);
    close(fd);
    assert_int_equal(fs_pread_all(fd, got, 5, 0), -1);
    assert_int_equal(fs_pwrite_all(fd, got, 5, 0), -1);
    assert_int_equal(fs_write_all(fd, got, 5), -1);
}

static void *drain(void *arg)
{
    size_t *total = arg;
    char block[3000];
    ssize_t n;
    while ((n = read((int)total[1], block, sizeof block)) > 0)
        total[0] += (size_t)n;
    return NULL;
}

/* A pipe takes large writes in pieces. */
static void writes_all_of_it(void **state)
{
    (void)state;
    int ends[2];
    pthread_t reader;
    assert_int_equal(pipe(ends), 0);
    size_t total[2] = {0, (size_t)ends[0]}, size = 3000001;
    char *big = calloc(1, size);
    assert_non_null(big);
    assert_int_equal(pthread_create(&reader, NULL, drain, total), 0);
    assert_int_equal(fs_write_all(ends[1], big, size), 0);
    close(ends[1]);
    pthread_join(reader, NULL);
    close(ends[0]);
    assert_int_equal(total[0], size);
    free(big);
}

static void full_disk_is_wait(void **state)
{
    (void)state;
    assert_int_equal(fs_write_grade(ENOSPC), ST_WAIT);
    assert_int_equal(fs_write_grade(EDQUOT), ST_WAIT);
    assert_int_equal(fs_write_grade(EIO), ST_RETRY);
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0)
        skip();
    assert_int_equal(fs_write_all(fd, "x", 1), -1);
    assert_int_equal(fs_write_grade(errno), ST_WAIT);
    close(fd);
}

/* ---- drafts ---- */

static void drafts_are_invisible_until_published(void **state)
{
    (void)state;
    struct fs_draft d;
    struct fault why;
    char want[128];
    assert_int_equal(fs_draft_open(&d, at("pub"), &why), ST_OK);
    snprintf(want, sizeof want, ".pub.%ld.0.part", (long)getpid());
    assert_string_equal(fs_basename(d.temp), want);
    assert_int_equal(fs_write_all(d.fd, "new", 3), 0);
    assert_false(there(at("pub")));
    assert_true(there(d.temp));
    assert_int_equal(fs_draft_publish(&d, true, &why), ST_OK);
    assert_int_equal(d.fd, -1);
    holds(at("pub"), "new");
    assert_false(there(at(want)));
    fs_draft_drop(&d);
    holds(at("pub"), "new");
}

static void keep_never_replaces(void **state)
{
    (void)state;
    struct fs_draft d;
    struct fault why;
    put(at("kept"), "first");
    assert_int_equal(fs_draft_open(&d, at("kept"), &why), ST_OK);
    assert_int_equal(fs_write_all(d.fd, "second", 6), 0);
    errno = 0;
    assert_int_equal(fs_draft_publish(&d, true, &why), ST_REJECT);
    assert_int_equal(errno, EEXIST);
    holds(at("kept"), "first");
    assert_true(there(d.temp));
    assert_int_equal(fs_draft_publish(&d, false, &why), ST_OK);
    holds(at("kept"), "second");
    assert_int_equal(fs_write_file(at("kept"), "third", 5, true, &why), ST_REJECT);
    assert_int_equal(errno, EEXIST);
    holds(at("kept"), "second");
    assert_int_equal(fs_write_file(at("kept"), "third", 5, false, &why), ST_OK);
    holds(at("kept"), "third");
}

static void drop_removes(void **state)
{
    (void)state;
    struct fs_draft a, b;
    struct fault why;
    char temp[4096];
    assert_int_equal(fs_draft_open(&a, at("drop"), &why), ST_OK);
    assert_int_equal(fs_draft_open(&b, at("drop"), &why), ST_OK);
    assert_string_not_equal(a.temp, b.temp);
    snprintf(temp, sizeof temp, "%s", a.temp);
    fs_draft_drop(&a);
    assert_false(there(temp));
    assert_true(there(b.temp));
    fs_draft_drop(&a);
    fs_draft_drop(&b);
    assert_false(there(at("drop")));
    assert_int_equal(fs_draft_open(&a, at("no/such/folder"), &why), ST_RETRY);
    assert_int_equal(errno, ENOENT);
    fs_draft_drop(&a);
}

static void *publish_kept(void *arg)
{
    struct fault why;
    char text = *(char *)arg, path[4096];
    enum status st = fs_write_file(scratch_path(&dir, "race", path), &text, 1, true, &why);
    *(char *)arg = st == ST_OK ? text : '\0';
    return NULL;
}

static void one_of_many_wins(void **state)
{
    (void)state;
    pthread_t threads[6];
    char given[6] = "abcdef";
    for (int i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_kept, &given[i]), 0);
    char winner[2] = "";
    int winners = 0;
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        if (given[i]) {
            winner[0] = given[i];
            winners++;
        }
    }
    assert_int_equal(winners, 1);
    holds(at("race"), winner);
}

static void renames(void **state)
{
    (void)state;
    struct fault why;
    put(at("from"), "moved");
    assert_int_equal(fs_mkdirs(at("other"), &why), ST_OK);
    assert_int_equal(fs_rename(at("from"), at("other/to"), &why), ST_OK);
    holds(at("other/to"), "moved");
    assert_false(there(at("from")));
    assert_int_equal(fs_rename(at("other/to"), at("other/again"), &why), ST_OK);
    holds(at("other/again"), "moved");
    assert_int_equal(fs_rename(at("from"), at("x"), &why), ST_RETRY);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(fs_sync_dir(at("not there"), &why), ST_RETRY);
}

static int set_up(void **state)
{
    (void)state;
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
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(reads_whole_files),
        cmocka_unit_test(reads_plain_files_only),
        cmocka_unit_test(shared_files_have_their_mode),
        cmocka_unit_test(positional_io),
        cmocka_unit_test(writes_all_of_it),
        cmocka_unit_test(full_disk_is_wait),
        cmocka_unit_test(drafts_are_invisible_until_published),
        cmocka_unit_test(keep_never_replaces),
        cmocka_unit_test(drop_removes),
        cmocka_unit_test(one_of_many_wins),
        cmocka_unit_test(renames),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
