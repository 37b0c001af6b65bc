/* kill -9 in the middle of a commit: whatever comes next, there is one bundle with one
 * receipt, and never a receipt without its bundle. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/part_fixture.h"

static const char *const points[] = {"commit-intent", "commit-sealed", "commit-named",
                                     "commit-receipt"};
#define POINTS (sizeof points / sizeof points[0])

/* Delivers in a process of its own that dies at the point. */
static void deliver_and_die(const struct sample *s, const char *point)
{
    int end = -1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct receipt r;
        struct fault why;
        setenv("SKYFERRY_CRASH_AT", point, 1);
        deliver(s, &r, &why);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFSIGNALED(end));
    assert_int_equal(WTERMSIG(end), SIGKILL);
}

/* Every receipt of the night stands beside its bundle. */
static void receipts_have_bundles(void)
{
    DIR *d = opendir(in_store("bundles/ut160901"));
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        char rel[512];
        struct receipt r;
        struct fault why;
        struct stat st;
        size_t len = strlen(e->d_name);
        if (len < 8 || strcmp(e->d_name + len - 8, ".receipt") != 0)
            continue;
        snprintf(rel, sizeof rel, "bundles/ut160901/%.*s.tar", (int)len - 8, e->d_name);
        assert_int_equal(stat(in_store(rel), &st), 0);
        assert_int_equal(part_receipt(in_store(rel), &r, &why), ST_OK);
        assert_int_equal(r.size, st.st_size);
    }
    closedir(d);
}

static void one_bundle_and_nothing_left(const struct sample *s, const struct receipt *r)
{
    receipts_have_bundles();
    assert_string_equal(r->stored, "ut160901/DECam_1.tar");
    assert_true(stored_is(r->stored, s));
    assert_int_equal(count_files("bundles/ut160901", ".tar"), 1);
    assert_int_equal(count_files("bundles/ut160901", ".receipt"), 1);
    assert_int_equal(count_files("incoming", ""), 0);
}

static void a_repeated_commit_ends_it(void **state)
{
    for (size_t i = 0; i < POINTS; i++) {
        struct sample s;
        struct receipt r, again;
        struct fault why;
        store_setup(state);
        sample_make(&s, "DECam_1", 1, 20000);
        deliver_and_die(&s, points[i]);
        receipts_have_bundles();
        assert_int_equal(deliver(&s, &r, &why), ST_OK);
        one_bundle_and_nothing_left(&s, &r);
        assert_int_equal(deliver(&s, &again, &why), ST_OK);
        assert_memory_equal(&r, &again, sizeof r);
        sample_free(&s);
        store_teardown(state);
    }
}

/* Once the bundle has its name, the receipt is the one that was meant for it. */
static void a_named_bundle_keeps_its_receipt(void **state)
{
    struct sample s;
    struct receipt r, meant;
    struct fault why;
    struct buf text = {0};
    char rel[512];
    (void)state;
    sample_make(&s, "DECam_1", 2, 20000);
    deliver_and_die(&s, "commit-named");
    assert_true(there("bundles/ut160901/DECam_1.tar"));
    assert_false(there("bundles/ut160901/DECam_1.receipt"));
    snprintf(rel, sizeof rel, "incoming/DECam_1.%.8s.receipt", s.open.id);
    assert_int_equal(fs_read_file(in_store(rel), 10000, &text, &why), ST_OK);
    assert_int_equal(receipt_parse(text.data, text.len, &meant, &why), ST_OK);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_memory_equal(&r, &meant, sizeof r);
    one_bundle_and_nothing_left(&s, &r);
    buf_free(&text);
    sample_free(&s);
}

/* The sender never comes back: another bundle's commit, or the clean-up, ends it. */
static void anybody_ends_it(void **state)
{
    for (size_t i = 1; i < POINTS; i++)
        for (int by_expiry = 0; by_expiry < 2; by_expiry++) {
            struct sample s, other;
            struct receipt r;
            struct fault why;
            store_setup(state);
            sample_make(&s, "DECam_1", 3, 20000);
            sample_make(&other, "DECam_2", 4, 20000);
            deliver_and_die(&s, points[i]);
            if (by_expiry)
                part_expire(&store, 0);
            else
                assert_int_equal(deliver(&other, &r, &why), ST_OK);
            receipts_have_bundles();
            assert_true(stored_is("ut160901/DECam_1.tar", &s));
            assert_true(there("bundles/ut160901/DECam_1.receipt"));
            assert_int_equal(count_files("incoming", ""), 0);
            sample_free(&s);
            sample_free(&other);
            store_teardown(state);
        }
}

/* The same source file comes again under another id (push lost its journal as well). */
static void another_encoding_finds_it_held(void **state)
{
    for (size_t i = 1; i < POINTS; i++) {
        struct sample s, again;
        struct receipt r;
        struct fault why;
        store_setup(state);
        sample_make(&s, "DECam_1", 5, 20000);
        sample_make(&again, "DECam_1", 6, 10000);
        memcpy(again.commit.source_sha256, s.commit.source_sha256, DIGEST_HEX);
        deliver_and_die(&s, points[i]);
        assert_int_equal(deliver(&again, &r, &why), ST_OK);
        assert_string_equal(r.id, s.open.id);
        one_bundle_and_nothing_left(&s, &r);
        sample_free(&s);
        sample_free(&again);
        store_teardown(state);
    }
}

/* A different file takes the name between the crash and the repeat. */
static void another_file_of_the_name_does_not_mix(void **state)
{
    for (size_t i = 0; i < POINTS; i++) {
        struct sample s, other;
        struct receipt r, ro;
        struct fault why;
        store_setup(state);
        sample_make(&s, "DECam_1", 7, 20000);
        sample_make(&other, "DECam_1", 8, 10000);
        deliver_and_die(&s, points[i]);
        assert_int_equal(deliver(&other, &ro, &why), ST_OK);
        assert_int_equal(deliver(&s, &r, &why), ST_OK);
        assert_string_not_equal(r.stored, ro.stored);
        assert_true(stored_is(r.stored, &s));
        assert_true(stored_is(ro.stored, &other));
        receipts_have_bundles();
        assert_int_equal(count_files("bundles/ut160901", ".tar"), 2);
        assert_int_equal(count_files("incoming", ""), 0);
        sample_free(&s);
        sample_free(&other);
        store_teardown(state);
    }
}

/* Behind the seal the name cannot be given (here: the night's folder is a file; in life: a
 * full disk). The commit is retried, by the same lane or by another, and nothing is lost. */
static void a_seal_waits_for_its_name(void **state)
{
    struct sample s;
    struct receipt r;
    struct fault why;
    (void)state;
    sample_make(&s, "DECam_1", 9, 20000);
    struct part *p = open_new(&s), *other = open_new(&s);
    write_range(p, &s, 0, 20000);
    assert_int_equal(fs_write_file(in_store("bundles"), "x", 1, false, &why), ST_OK);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_RETRY);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_RETRY);
    assert_int_equal(part_commit(other, &s.commit, &r, &why), ST_RETRY);
    assert_int_equal(unlink(in_store("bundles")), 0);
    assert_int_equal(part_commit(other, &s.commit, &r, &why), ST_OK);
    one_bundle_and_nothing_left(&s, &r);
    part_close(&p);
    part_close(&other);
    sample_free(&s);
}

static void killed(pid_t pid)
{
    int end;
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFSIGNALED(end));
}

/* A lane opens the bundle anew while the seal waits: nobody may write into the sealed part. */
static void a_sealed_part_is_not_taken_up(void **state)
{
    struct sample s;
    struct receipt r;
    struct fault why;
    struct part *p = NULL;
    bool held;
    (void)state;
    sample_make(&s, "DECam_1", 11, 20000);
    struct part *first = open_new(&s);
    write_range(first, &s, 0, 20000);
    assert_int_equal(fs_write_file(in_store("bundles"), "x", 1, false, &why), ST_OK);
    assert_int_equal(part_commit(first, &s.commit, &r, &why), ST_RETRY);
    for (int i = 0; i < 3; i++)
        assert_int_equal(part_open(&store, &s.open, &p, &r, &held, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "cannot get its name"));
    assert_null(p);
    assert_int_equal(unlink(in_store("bundles")), 0);
    assert_int_equal(part_open(&store, &s.open, &p, &r, &held, &why), ST_OK);
    assert_true(held);
    one_bundle_and_nothing_left(&s, &r);
    part_close(&first);
    sample_free(&s);
}

/* Many open it while others commit it: there is one bundle, and it holds what was sent. */
static void opened_while_it_is_committed(void **state)
{
    struct sample s;
    struct receipt r;
    struct fault why;
    (void)state;
    sample_make(&s, "DECam_1", 12, 3000);
    for (int round = 0; round < 100; round++) {
        pid_t pids[3];
        for (int k = 0; k < 3; k++) {
            if ((pids[k] = fork()) != 0)
                continue;
            struct part *p = NULL;
            bool held = false;
            while (!held && part_open(&store, &s.open, &p, &r, &held, &why) == ST_OK) {
                if (!held && part_write(p, 0, s.bytes, s.size, &why) == ST_OK && k == 0)
                    part_commit(p, &s.commit, &r, &why);
                part_close(&p);
            }
            kill(getpid(), SIGKILL); /* no exit handlers of the test's */
        }
        for (int k = 0; k < 3; k++)
            killed(pids[k]);
        assert_int_equal(deliver(&s, &r, &why), ST_OK);
        one_bundle_and_nothing_left(&s, &r);
        assert_int_equal(unlink(in_store("bundles/ut160901/DECam_1.tar")), 0);
        assert_int_equal(unlink(in_store("bundles/ut160901/DECam_1.receipt")), 0);
    }
    sample_free(&s);
}

/* A lane's process dies at any moment while bytes come; the next goes on where the map ends. */
static void bytes_before_a_kill_are_kept(void **state)
{
    struct sample s;
    struct receipt r;
    struct fault why;
    struct extent *have;
    size_t count = 0;
    (void)state;
    sample_make(&s, "DECam_1", 10, 4000000);
    for (int round = 0; round < 5; round++) {
        int fds[2], end;
        char one;
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
            struct part *p = open_new(&s);
            for (size_t at = (size_t)round * 500000;; at = (at + 1000) % 3999000) {
                part_write(p, (int64_t)at, s.bytes + at, 1000, &why);
                if (at % 100000 == 0)
                    (void)!write(fds[1], "x", 1);
            }
        }
        for (int i = 0; i < 3; i++)
            assert_int_equal(read(fds[0], &one, 1), 1);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &end, 0), pid);
        close(fds[0]);
        close(fds[1]);
    }
    struct part *p = open_new(&s);
    assert_int_equal(part_extents(p, &have, &count, &why), ST_OK);
    assert_true(count > 0 && have[0].length >= 200000);
    free(have);
    part_close(&p);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    one_bundle_and_nothing_left(&s, &r);
    sample_free(&s);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeated_commit_ends_it),
        STORE_TEST(a_named_bundle_keeps_its_receipt),
        cmocka_unit_test(anybody_ends_it),
        cmocka_unit_test(another_encoding_finds_it_held),
        cmocka_unit_test(another_file_of_the_name_does_not_mix),
        STORE_TEST(a_seal_waits_for_its_name),
        STORE_TEST(a_sealed_part_is_not_taken_up),
        STORE_TEST(opened_while_it_is_committed),
        STORE_TEST(bytes_before_a_kill_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
