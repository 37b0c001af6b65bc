/* `convert-wcs`: which file it writes, and which it leaves; what is in common/fits_tpv.h has its own
 * tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/command_fixture.h"

#define MIB ((int64_t)1 << 20)

/* A primary HDU with a header that has SIP, and bytes of data that are all zeros. */
static const char *sip_file(const char *name, int64_t bytes, char path[4096])
{
    static const char *const cards[] = {
        "SIMPLE  =                    T", "BITPIX  =                    8",
        "NAXIS   =                    1", "", "CTYPE1  = 'RA---TAN-SIP'", "CTYPE2  = 'DEC--TAN-SIP'",
        "CRPIX1  = 10.5", "CRPIX2  = 20.5", "CRVAL1  = 150.1", "CRVAL2  = -35.2", "CD1_1   = 1.0E-5",
        "CD2_2   = 1.0E-5", "A_ORDER = 2", "A_2_0   = 1.0E-7", "B_ORDER = 2", "B_1_1   = 1.0E-7", "END"};
    char block[2881] = "", size[81];
    snprintf(size, sizeof size, "NAXIS1  = %20lld", (long long)bytes);
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++)
        snprintf(block + 80 * i, sizeof block - 80 * i, "%-80s", i == 3 ? size : cards[i]);
    memset(block + strlen(block), ' ', 2880 - strlen(block));
    scratch_path(&dir, name, path);
    TRY(fs_write_file(path, block, 2880, false, WHY));
    assert_int_equal(truncate(path, 2880 + (bytes + 2879) / 2880 * 2880), 0);
    return path;
}

static int64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void two_of_one_name_are_not_written_over_each_other(void **state)
{
    (void)state;
    char a[4096], b[4096], out[4096], other[4096];
    TRY(fs_mkdirs(scratch_path(&dir, "a", a), WHY));
    TRY(fs_mkdirs(scratch_path(&dir, "b", b), WHY));
    sip_file("a/x.fits", 100, a);
    sip_file("b/x.fits", 5000, b);
    scratch_path(&dir, "new", out);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(call(command_convert_wcs, OPTIONS({OPT_TO, out, "to"},
                                                           {OPT_FORCE, "", "force"}),
                              OPERANDS(a, b)), EXIT_INCOMPLETE);
        assert_said("was just made of another file");
        assert_int_equal(size_of(scratch_path(&dir, "new/x.tpv.fits", other)), 2 * 2880);
    }
    /* One of an earlier run is replaced, as was asked. */
    assert_int_equal(call(command_convert_wcs, OPTIONS({OPT_TO, out, "to"}, {OPT_FORCE, "", "force"}),
                          OPERANDS(b)), EXIT_DONE);
    assert_int_equal(size_of(other), 3 * 2880);
}

static void a_link_is_not_replaced(void **state)
{
    (void)state;
    char a[4096], link[4096];
    struct stat st;
    sip_file("x.fits", 100, a);
    assert_int_equal(symlink("x.fits", scratch_path(&dir, "l.fits", link)), 0);
    assert_int_equal(call(command_convert_wcs, OPTIONS({OPT_IN_PLACE, "", "in-place"}),
                          OPERANDS(link)), EXIT_FAILED);
    assert_said("is a symbolic link, to 'x.fits'");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(call(command_convert_wcs, NULL, OPERANDS(link)), EXIT_DONE);
    assert_int_equal(size_of(scratch_path(&dir, "l.tpv.fits", link)), 2 * 2880);
    assert_int_equal(call(command_convert_wcs, OPTIONS({OPT_IN_PLACE, "", "in-place"}),
                          OPERANDS(a)), EXIT_DONE);
}

/* Its own process: what it has ever held is counted. */
static void a_large_file_takes_little_memory(void **state)
{
    (void)state;
    char a[4096], out[4096];
    int code = -1;
    sip_file("big.fits", 64 * MIB, a);
    pid_t pid = fork();
    if (pid == 0) {
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        int end = call(command_convert_wcs, NULL, OPERANDS(a));
        getrusage(RUSAGE_SELF, &after);
        _exit(end != EXIT_DONE ? 1 : (after.ru_maxrss - before.ru_maxrss) * 1024 > 32 * MIB ? 2 : 0);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFEXITED(code));
    assert_int_equal(WEXITSTATUS(code), 0);
    assert_int_equal(size_of(scratch_path(&dir, "big.tpv.fits", out)), size_of(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_of_one_name_are_not_written_over_each_other, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(a_link_is_not_replaced, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(a_large_file_takes_little_memory, store_setup,
                                        store_teardown),
    };
    return cmocka_run_group_tests_name("pull convert-wcs", tests, NULL, NULL);
}
