/* A bundle is a tar that anybody's tar reads: written the same to the byte each time, whole
 * up to bundle_size at any moment, and read back by offset with every digest checked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/golden_exposure.h"
#include "tests/unit/scratch.h"

static struct scratch dir;

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

static void slurp(const char *path, struct buf *out)
{
    struct fault why = {0};
    if (fs_read_file(path, 64 << 20, out, &why) != ST_OK)
        fail_msg("%s", why.text);
}

static int64_t file_size(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Runs argv with stdout and stderr into files of the scratch folder. -1: no such program. */
static int run(char *const argv[], const char *out, const char *err)
{
    char to[4096];
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(scratch_path(&dir, out, to), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dup2(fd, STDOUT_FILENO);
        fd = open(scratch_path(&dir, err, to), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dup2(fd, STDERR_FILENO);
        setenv("TZ", "UTC", 1);
        setenv("LC_ALL", "C", 1);
        execvp(argv[0], argv);
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status);
}

static void names_follow_the_rule(void **state)
{
    (void)state;
    struct member m = {.role = MEMBER_IMAGE, .hdu = 20, .ccd = 17};
    member_name(&m, "R", ".jph");
    assert_string_equal(m.name, "R_17.jph");
    m.role = MEMBER_HEADER;
    member_name(&m, "R", ".hdr.zst");
    assert_string_equal(m.name, "R_17.hdr.zst");
    m = (struct member){.role = MEMBER_HEADER, .hdu = 0};
    member_name(&m, "R", ".hdr.zst");
    assert_string_equal(m.name, "R_0.hdr.zst");
    m = (struct member){.role = MEMBER_HDU, .hdu = 0};
    member_name(&m, "R", ".hdu");
    assert_string_equal(m.name, "R_hdu0.hdu");
    m.hdu = 63;
    member_name(&m, "R", ".hdu.zst");
    assert_string_equal(m.name, "R_hdu63.hdu.zst");
    m.hdu = -1;
    member_name(&m, "R", ".hdu");
    assert_string_equal(m.name, "R_tail.hdu");
    char root[MEMBER_NAME];
    memset(root, 'r', sizeof root);
    root[sizeof root - 1] = '\0';
    m.hdu = 4095;
    member_name(&m, root, ".hdu.zst");
    assert_true(fs_name_ok(m.name));
    assert_string_equal(m.name + strlen(m.name) - 16, "_hdu4095.hdu.zst");
}

static void writes_the_golden_bundle(void **state)
{
    (void)state;
    struct golden g;
    struct fault why = {0};
    struct buf made = {0}, stored = {0};
    char path[4096], sha256[DIGEST_HEX], sha256_read[DIGEST_HEX];
    int64_t size = 0;
    golden_make(&g);
    const char *to = getenv("UPDATE_GOLDEN") ? GOLDEN_TAR : scratch_path(&dir, "made.tar", path);
    assert_int_equal(golden_bundle(&g, to, sha256, &size, &why), ST_OK);
    slurp(to, &made);
    slurp(GOLDEN_TAR, &stored);
    assert_int_equal(made.len, stored.len);
    assert_memory_equal(made.data, stored.data, stored.len);
    assert_int_equal(size, made.len);
    digest_bytes(made.data, made.len, sha256_read);
    assert_string_equal(sha256, sha256_read);
    buf_free(&stored);
    buf_free(&made);
    golden_free(&g);
}

static void gnu_tar_lists_and_unpacks_it_in_silence(void **state)
{
    (void)state;
    struct buf out = {0};
    char path[4096], to[4096];
    assert_int_equal(run((char *[]){"tar", "-tvf", GOLDEN_TAR, NULL}, "out", "err"), 0);
    assert_int_equal(file_size(scratch_path(&dir, "err", path)), 0);
    slurp(scratch_path(&dir, "out", path), &out);
    assert_true(buf_append(&out, "", 1));
    assert_non_null(strstr((char *)out.data, "-rw-r--r-- 0/0            2880 2017-11-13 06:03 "
                                             "c4d_171113_060340_ori_hdu0.hdu\n"));
    assert_non_null(strstr((char *)out.data, " manifest.json\n"));
    size_t lines = 0;
    for (const char *p = (char *)out.data; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 5);
    buf_free(&out);
    scratch_path(&dir, "untar", to);
    assert_int_equal(mkdir(to, 0755), 0);
    assert_int_equal(run((char *[]){"tar", "-xf", GOLDEN_TAR, "-C", to, NULL}, "out", "err"), 0);
    assert_int_equal(file_size(scratch_path(&dir, "err", path)), 0);
    assert_int_equal(file_size(scratch_path(&dir, "out", path)), 0);
    slurp(scratch_path(&dir, "untar/manifest.json", path), &out);
    struct buf manifest = {0};
    slurp(GOLDEN_MANIFEST, &manifest);
    assert_int_equal(out.len, manifest.len);
    assert_memory_equal(out.data, manifest.data, out.len);
    buf_free(&manifest);
    buf_free(&out);
}

static void bsdtar_lists_it_in_silence(void **state)
{
    (void)state;
    char path[4096];
    int rc = run((char *[]){"bsdtar", "-tvf", GOLDEN_TAR, NULL}, "out", "err");
    if (rc < 0) {
        print_message("bsdtar (package libarchive-tools) is not installed\n");
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(file_size(scratch_path(&dir, "err", path)), 0);
    assert_true(file_size(scratch_path(&dir, "out", path)) > 300);
}

/* The heart of reading by offset: the bytes at each offset are the member's. */
static void index_finds_every_byte(void **state)
{
    (void)state;
    struct golden g;
    struct manifest m;
    struct fault why = {0};
    golden_make(&g);
    int fd = open(GOLDEN_TAR, O_RDONLY);
    assert_true(fd >= 0);
    if (bundle_index(fd, &m, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0); /* pread only: threads may share it */
    assert_int_equal(m.count, g.m.count);
    for (size_t i = 0; i < m.count; i++) {
        struct buf bytes = {0};
        const struct member *one = &m.members[i], *from = &g.m.members[i];
        assert_string_equal(one->name, from->name);
        assert_int_equal(one->size, from->size);
        assert_true(buf_reserve(&bytes, (size_t)one->size));
        assert_int_equal(pread(fd, bytes.data, (size_t)one->size, one->offset), one->size);
        assert_memory_equal(bytes.data, g.source.data + from->offset, (size_t)one->size);
        assert_int_equal(bundle_read(fd, one, &bytes, &why), ST_OK);
        assert_int_equal(bytes.len, one->size);
        buf_free(&bytes);
    }
    close(fd);
    manifest_free(&m);
    golden_free(&g);
}

static void read_appends_and_checks_the_digest(void **state)
{
    (void)state;
    struct manifest m;
    struct fault why = {0};
    struct buf out = {0};
    int fd = open(GOLDEN_TAR, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    assert_true(buf_append(&out, "before", 6));
    struct member one = m.members[3];
    assert_int_equal(bundle_read(fd, &one, &out, &why), ST_OK);
    assert_int_equal(out.len, 46);
    assert_memory_equal(out.data, "beforewritten by the camera", 27);
    one.sha256[0] = one.sha256[0] == '0' ? '1' : '0';
    assert_int_equal(bundle_read(fd, &one, &out, &why), ST_REJECT);
    assert_string_equal(why.text, "member c4d_171113_060340_ori_tail.hdu is damaged: "
                                  "its SHA-256 is wrong");
    one.size = INT64_MAX;
    assert_int_equal(bundle_read(fd, &one, &out, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "the bundle is truncated"));
    assert_int_equal(out.len, 46);
    buf_free(&out);
    close(fd);
    manifest_free(&m);
}

/* Chunks are shipped while the bundle grows: what bundle_size counts is in the file and
 * stays as it is. */
static void each_member_is_in_the_file_when_add_returns(void **state)
{
    (void)state;
    struct bundle_writer *w = NULL;
    struct fault why = {0};
    struct buf early = {0}, late = {0};
    char path[4096], sha256[DIGEST_HEX], name[32];
    char *bytes = malloc(100000);
    int64_t size, ends[40];
    scratch_path(&dir, "growing.tar", path);
    assert_int_equal(bundle_create(path, GOLDEN_MTIME, &w, &why), ST_OK);
    assert_int_equal(bundle_size(w), 0);
    for (int i = 0; i < 40; i++) {
        size_t len = (size_t)(i * i * 61);
        memset(bytes, 'a' + i, len);
        digest_bytes(bytes, len, sha256);
        snprintf(name, sizeof name, "x_%d.jph", i + 1);
        assert_int_equal(bundle_add(w, name, bytes, len, sha256, &why), ST_OK);
        ends[i] = bundle_size(w);
        assert_int_equal(ends[i], file_size(path));
        assert_int_equal(ends[i] % 512, 0);
        assert_true(ends[i] >= (int64_t)len + (i ? ends[i - 1] : 0));
    }
    slurp(path, &early);
    assert_int_equal(bundle_finish(&w, sha256, &size, &why), ST_OK);
    assert_null(w);
    slurp(path, &late);
    assert_int_equal(size, ends[39] + 1024);
    assert_int_equal(late.len, size);
    assert_memory_equal(early.data, late.data, early.len);
    buf_free(&late);
    buf_free(&early);
    free(bytes);
}

static void thousands_of_members(void **state)
{
    (void)state;
    struct golden g = {0};
    struct manifest m;
    struct fault why = {0};
    char path[4096], sha256[DIGEST_HEX];
    int64_t size;
    golden_facts(&g.m);
    for (int i = 0; i < 4096; i++) {
        buf_printf(&g.source, "ccd number %d", i + 1);
        golden_member(&g, MEMBER_IMAGE, i, i + 1, "");
    }
    digest_bytes("", 0, g.m.source_sha256);
    scratch_path(&dir, "many.tar", path);
    assert_int_equal(golden_bundle(&g, path, sha256, &size, &why), ST_OK);
    int fd = open(path, O_RDONLY);
    if (bundle_index(fd, &m, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_int_equal(m.count, 4096);
    for (int i = 0; i < 4096; i += 13) {
        struct buf b = {0};
        assert_int_equal(bundle_read(fd, &m.members[i], &b, &why), ST_OK);
        assert_memory_equal(b.data, g.source.data + g.m.members[i].offset, b.len);
        buf_free(&b);
    }
    close(fd);
    manifest_free(&m);
    golden_free(&g);
}

static void a_full_disk_is_wait(void **state)
{
    (void)state;
    struct bundle_writer *w = NULL;
    struct fault why = {0};
    char sha256[DIGEST_HEX];
    int64_t size;
    digest_bytes("abc", 3, sha256);
    assert_int_equal(bundle_create("/dev/full", 0, &w, &why), ST_OK);
    assert_int_equal(bundle_add(w, "x_1.jph", "abc", 3, sha256, &why), ST_WAIT);
    assert_string_equal(why.text, "x_1.jph: cannot write the bundle: No space left on device");
    assert_int_equal(bundle_size(w), 0);
    assert_int_equal(bundle_add(w, "x_2.jph", "abc", 3, sha256, NULL), ST_WAIT);
    assert_int_equal(bundle_finish(&w, sha256, &size, &why), ST_WAIT);
    assert_null(w);
}

/* A write that fails half-way leaves the members before it, and nothing of its own. */
static void a_failed_write_is_taken_back(void **state)
{
    (void)state;
    struct bundle_writer *w = NULL;
    struct fault why = {0};
    struct rlimit old, small;
    static char bytes[60000];
    char path[4096], sha256[DIGEST_HEX];
    digest_bytes(bytes, sizeof bytes, sha256);
    scratch_path(&dir, "limited.tar", path);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status made = bundle_create(path, 0, &w, &why);
    enum status first = bundle_add(w, "x_1.jph", bytes, sizeof bytes, sha256, &why);
    int64_t whole = bundle_size(w);
    enum status second = bundle_add(w, "x_2.jph", bytes, sizeof bytes, sha256, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(made, ST_OK);
    assert_int_equal(first, ST_OK);
    assert_int_equal(second, ST_RETRY);
    assert_non_null(strstr(why.text, "x_2.jph: cannot write the bundle: File too large"));
    assert_int_equal(bundle_size(w), whole);
    assert_int_equal(file_size(path), whole);
    bundle_abandon(&w);
    assert_int_equal(file_size(path), whole);
}

static void create_and_add_refuse_what_cannot_be(void **state)
{
    (void)state;
    struct bundle_writer *w = NULL;
    struct fault why = {0};
    char path[4096], sha256[DIGEST_HEX];
    assert_int_equal(bundle_create(scratch_path(&dir, "no/such/x.tar", path), 0, &w, &why),
                     ST_RETRY);
    assert_null(w);
    assert_non_null(strstr(why.text, "no/such/x.tar: No such file or directory"));
    digest_bytes("", 0, sha256);
    assert_int_equal(bundle_create(scratch_path(&dir, "refuse.tar", path), 0, &w, &why), ST_OK);
    assert_int_equal(bundle_add(w, "../x", "", 0, sha256, &why), ST_REJECT);
    assert_int_equal(bundle_add(w, "x", "", 0, (char[DIGEST_HEX]){"abc"}, &why), ST_REJECT);
    assert_int_equal(bundle_size(w), 0);
    assert_int_equal(bundle_add(w, "x", "", 0, sha256, &why), ST_OK);
    bundle_abandon(&w);
    bundle_abandon(&w);
}

static void zstd_gives_the_bytes_back(void **state)
{
    (void)state;
    struct fault why = {0};
    struct buf small = {0}, back = {0};
    size_t len = 300000;
    unsigned seed = 7;
    char *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(rand_r(&seed) % 7);
    assert_true(buf_append(&small, "kept", 4));
    assert_int_equal(bundle_squeeze(bytes, len, &small, &why), ST_OK);
    assert_true(small.len < len / 2);
    buf_consume(&small, 4);
    assert_true(buf_append(&back, "kept", 4));
    assert_int_equal(bundle_expand(small.data, small.len, len, &back, &why), ST_OK);
    assert_int_equal(back.len, len + 4);
    assert_memory_equal(back.data + 4, bytes, len);
    assert_int_equal(bundle_expand(small.data, small.len, len - 1, &back, &why), ST_REJECT);
    assert_string_equal(why.text, "zstd data are longer than the manifest says");
    assert_int_equal(bundle_expand(small.data, small.len - 1, len, &back, &why), ST_REJECT);
    assert_string_equal(why.text, "zstd data end too early");
    assert_true(buf_append(&small, "x", 1));
    assert_int_equal(bundle_expand(small.data, small.len, len, &back, &why), ST_REJECT);
    assert_string_equal(why.text, "other bytes follow the zstd data");
    small.data[20] ^= 0x55;
    assert_int_equal(bundle_expand(small.data, 0, len, &back, &why), ST_REJECT);
    assert_int_equal(bundle_expand("SIMPLE  =", 9, len, &back, &why), ST_REJECT);
    assert_int_equal(back.len, len + 4);
    buf_free(&back);
    buf_free(&small);
    small = (struct buf){0};
    assert_int_equal(bundle_squeeze("", 0, &small, &why), ST_OK);
    assert_int_equal(bundle_expand(small.data, small.len, 0, &back, &why), ST_OK);
    assert_int_equal(back.len, 0);
    buf_free(&back);
    buf_free(&small);
    free(bytes);
}

/* A few bytes that claim to be gigabytes must not become gigabytes. */
static void a_zstd_bomb_stays_small(void **state)
{
    (void)state;
    struct fault why = {0};
    struct buf bomb = {0}, out = {0};
    size_t len = 64 << 20;
    char *zeros = calloc(1, len);
    assert_int_equal(bundle_squeeze(zeros, len, &bomb, &why), ST_OK);
    assert_true(bomb.len < 10000);
    assert_int_equal(bundle_expand(bomb.data, bomb.len, 100000, &out, &why), ST_REJECT);
    assert_true(out.cap < 1 << 20);
    assert_int_equal(out.len, 0);
    buf_free(&out);
    buf_free(&bomb);
    free(zeros);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_follow_the_rule),
        cmocka_unit_test(writes_the_golden_bundle),
        cmocka_unit_test(gnu_tar_lists_and_unpacks_it_in_silence),
        cmocka_unit_test(bsdtar_lists_it_in_silence),
        cmocka_unit_test(index_finds_every_byte),
        cmocka_unit_test(read_appends_and_checks_the_digest),
        cmocka_unit_test(each_member_is_in_the_file_when_add_returns),
        cmocka_unit_test(thousands_of_members),
        cmocka_unit_test(a_full_disk_is_wait),
        cmocka_unit_test(a_failed_write_is_taken_back),
        cmocka_unit_test(create_and_add_refuse_what_cannot_be),
        cmocka_unit_test(zstd_gives_the_bytes_back),
        cmocka_unit_test(a_zstd_bomb_stays_small),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
