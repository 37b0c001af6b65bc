/* Where a program finds itself, also after an upgrade has put another file in its place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "common/lookup.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static struct fault why;

#define PROGRAM ((size_t)1 << 28)

static enum status copy(const char *from, const char *to)
{
    struct buf bytes = {0};
    enum status st = fs_read_file(from, PROGRAM, &bytes, &why);
    if (st == ST_OK)
        st = fs_write_file(to, bytes.data, bytes.len, false, &why);
    buf_free(&bytes);
    return st == ST_OK && chmod(to, 0755) != 0 ? ST_RETRY : st;
}

static bool finds(const char *path)
{
    char found[4096];
    return lookup_program(found, sizeof found) && strcmp(found, path) == 0;
}

/* As a daemon while `make install` replaces it; the exit status says which step failed. */
static int be_upgraded(const char *path)
{
    char found[4096];
    if (!finds(path))
        return 1;
    if (unlink(path) != 0 || lookup_program(found, sizeof found) || errno != ENOENT)
        return 2;
    if (copy("/bin/true", path) != ST_OK || !finds(path))
        return 3;
    return lookup_program(found, 8) ? 4 : 0;
}

static void an_upgrade_does_not_hide_the_program(void **state)
{
    char path[4096], self[4096];
    int code = -1;
    (void)state;
    assert_true(lookup_program(self, sizeof self));
    assert_string_equal(fs_basename(self), "test_lookup");
    assert_int_equal(copy(self, scratch_path(&dir, "daemon (1)", path)), ST_OK);
    pid_t pid = fork();
    if (pid == 0) {
        execl(path, path, "upgraded", (char *)NULL);
        _exit(9);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_does_not_hide_the_program),
    };
    if (argc > 1)
        return be_upgraded(argv[0]);
    if (scratch_make(&dir) != 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&dir);
    return failed;
}
