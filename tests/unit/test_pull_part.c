/* The receiving side of a bundle: bytes in any order, from several processes, survive cuts;
 * nothing gets a final name that is not whole; nothing is stored twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "pull/part_map.h"
#include "tests/unit/part_fixture.h"

static void a_bundle_arrives(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r, beside;
    struct fault why;
    sample_make(&s, "DECam_1", 1, 100000);
    struct part *p = open_new(&s);
    write_range(p, &s, 60000, 100000);
    write_range(p, &s, 0, 60000);
    assert_false(there("bundles"));
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_OK);
    part_close(&p);
    assert_string_equal(r.stored, "ut160901/DECam_1.tar");
    assert_string_equal(r.night, "ut160901");
    assert_string_equal(r.name, "DECam_1");
    assert_string_equal(r.id, s.open.id);
    assert_string_equal(r.sha256, s.commit.sha256);
    assert_string_equal(r.source_sha256, s.commit.source_sha256);
    assert_string_equal(r.source_name, "DECam_1.fits");
    assert_true(r.size == 100000 && r.source_size == 1000);
    assert_true(r.first_ns > 0 && r.stored_ns >= r.first_ns);
    assert_true(stored_is("ut160901/DECam_1.tar", &s));
    assert_int_equal(count_files("incoming", ""), 0);
    assert_int_equal(part_receipt(in_store("bundles/ut160901/DECam_1.tar"), &beside, &why), ST_OK);
    assert_memory_equal(&r, &beside, sizeof r);
    assert_int_equal(part_receipt(in_store("bundles/ut160901/x.tar"), &beside, &why), ST_RETRY);
    assert_int_equal(errno, ENOENT);
    sample_free(&s);
}

static void the_night_follows_the_exposure(void **state)
{
    (void)state;
    static const struct {
        const char *date_obs;
        int64_t mtime_s;
        const char *night;
    } vectors[] = {
        {"2016-08-31T22:29:59", 0, "ut160831"}, {"2016-12-31T22:45:00", 0, "ut170101"},
        {"2016-02-28T23:00:00", 0, "ut160229"}, {"", 1489645267, "ut170316"},
        {"yesterday", 1489645267, "ut170316"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct sample s;
        struct receipt r;
        struct fault why;
        char name[32];
        snprintf(name, sizeof name, "v%zu", i);
        sample_make(&s, name, (unsigned)i, 10);
        snprintf(s.open.date_obs, sizeof s.open.date_obs, "%s", vectors[i].date_obs);
        s.open.mtime_ns = vectors[i].mtime_s * 1000000000;
        assert_int_equal(deliver(&s, &r, &why), ST_OK);
        assert_string_equal(r.night, vectors[i].night);
        sample_free(&s);
    }
}

static void a_cut_transfer_goes_on(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    struct extent *have;
    size_t count;
    sample_make(&s, "DECam_1", 2, 5000);
    struct part *p = open_new(&s);
    write_range(p, &s, 1000, 2000);
    write_range(p, &s, 4000, 4500);
    write_range(p, &s, 2000, 3000);
    write_range(p, &s, 1500, 2500);
    part_close(&p);
    p = open_new(&s);
    assert_int_equal(part_extents(p, &have, &count, &why), ST_OK);
    assert_int_equal(count, 2);
    assert_true(have[0].offset == 1000 && have[0].length == 2000);
    assert_true(have[1].offset == 4000 && have[1].length == 500);
    free(have);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_WAIT);
    assert_string_equal(why.text, "2500 of the 5000 bytes of 'DECam_1' are still missing");
    part_close(&p);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_true(stored_is(r.stored, &s));
    sample_free(&s);
}

static void commit_again_is_the_same_receipt(void **state)
{
    (void)state;
    struct sample s;
    struct receipt first, again;
    struct fault why;
    bool held;
    sample_make(&s, "DECam_1", 3, 5000);
    struct part *p = open_new(&s), *other = open_new(&s);
    write_range(p, &s, 0, 5000);
    assert_int_equal(part_commit(p, &s.commit, &first, &why), ST_OK);
    assert_int_equal(part_commit(p, &s.commit, &again, &why), ST_OK);
    assert_memory_equal(&first, &again, sizeof first);
    assert_int_equal(part_commit(other, &s.commit, &again, &why), ST_OK);
    assert_memory_equal(&first, &again, sizeof first);
    /* A late chunk must not touch what is stored. */
    assert_true(part_gone(other));
    assert_int_equal(part_write(other, 0, "wrong", 5, &why), ST_REJECT);
    assert_string_equal(why.text, "'DECam_1' was committed or given up by another lane");
    part_close(&p);
    part_close(&other);
    assert_int_equal(part_open(&store, &s.open, &p, &again, &held, &why), ST_OK);
    assert_true(held);
    assert_null(p);
    assert_memory_equal(&first, &again, sizeof first);
    assert_true(stored_is(first.stored, &s));
    assert_int_equal(count_files("bundles/ut160901", ".tar"), 1);
    assert_int_equal(count_files("incoming", ""), 0);
    sample_free(&s);
}

static void wrong_bytes_are_dropped_and_asked_for_again(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    struct extent *have;
    size_t count;
    sample_make(&s, "DECam_1", 4, 5000);
    struct part *p = open_new(&s);
    write_range(p, &s, 0, 5000);
    assert_int_equal(part_write(p, 77, "X", 1, &why), ST_OK);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "SHA-256 differs"));
    assert_true(part_dropped(p));
    assert_int_equal(part_extents(p, &have, &count, &why), ST_OK);
    assert_int_equal(count, 0);
    free(have);
    /* More bytes than the bundle has are wrong as well. */
    write_range(p, &s, 0, 5000);
    assert_int_equal(part_write(p, 5000, "X", 1, &why), ST_OK);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_RETRY);
    assert_false(there("bundles"));
    assert_true(part_dropped(p));
    write_range(p, &s, 0, 4999);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_WAIT);
    assert_false(part_dropped(p));
    write_range(p, &s, 0, 5000);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_OK);
    assert_true(stored_is(r.stored, &s));
    part_close(&p);
    sample_free(&s);
}

static void two_files_of_one_name_are_both_kept(void **state)
{
    (void)state;
    struct sample a, b, c;
    struct receipt ra, rb, rc;
    struct fault why;
    bool held;
    sample_make(&a, "DECam_1", 5, 3000);
    sample_make(&b, "DECam_1", 6, 4000);
    sample_make(&c, "DECam_1", 7, 5000);
    assert_int_equal(deliver(&a, &ra, &why), ST_OK);
    assert_int_equal(deliver(&b, &rb, &why), ST_OK);
    assert_string_equal(ra.stored, "ut160901/DECam_1.tar");
    assert_string_equal(rb.stored, "ut160901/DECam_1~2.tar");
    assert_true(stored_is(ra.stored, &a));
    assert_true(stored_is(rb.stored, &b));
    /* The same source file, encoded otherwise: it is held already. */
    memcpy(c.commit.source_sha256, b.commit.source_sha256, DIGEST_HEX);
    assert_int_equal(deliver(&c, &rc, &why), ST_OK);
    assert_memory_equal(&rc, &rb, sizeof rc);
    assert_int_equal(count_files("bundles/ut160901", ".tar"), 2);
    assert_int_equal(count_files("incoming", ""), 0);
    struct wire_have h = {.source_size = 1000};
    snprintf(h.name, sizeof h.name, "DECam_1");
    snprintf(h.date_obs, sizeof h.date_obs, "2016-08-31T23:10:00");
    memcpy(h.source_sha256, b.commit.source_sha256, DIGEST_HEX);
    assert_int_equal(part_holds(&store, &h, &held, &why), ST_OK);
    assert_true(held);
    h.source_size = 999;
    assert_int_equal(part_holds(&store, &h, &held, &why), ST_OK);
    assert_false(held);
    h.source_size = 1000;
    snprintf(h.date_obs, sizeof h.date_obs, "2016-08-30T23:10:00");
    assert_int_equal(part_holds(&store, &h, &held, &why), ST_OK);
    assert_false(held);
    sample_free(&a);
    sample_free(&b);
    sample_free(&c);
}

/* The exact data of an exposure that was delivered lossy: kept beside it, under a name that
 * says so, with a receipt of their own; then they answer for it. */
static void exact_data_are_kept_beside_the_lossy(void **state)
{
    (void)state;
    struct sample a, b, exact, again;
    struct receipt ra, rb, rx, r;
    struct fault why;
    struct wire_have h = {.name = "DECam_1", .date_obs = "2016-08-31T23:10:00",
                          .source_size = 1000};
    bool held;
    sample_make(&a, "DECam_1", 5, 3000);
    sample_make(&b, "DECam_1", 6, 4000);
    sample_make(&exact, "DECam_1", 7, 9000);
    sample_make(&again, "DECam_1", 8, 3500);
    memcpy(exact.commit.source_sha256, b.commit.source_sha256, DIGEST_HEX);
    memcpy(again.commit.source_sha256, b.commit.source_sha256, DIGEST_HEX);
    memcpy(h.source_sha256, b.commit.source_sha256, DIGEST_HEX);
    assert_int_equal(deliver(&a, &ra, &why), ST_OK);
    assert_int_equal(deliver(&b, &rb, &why), ST_OK);
    assert_false(rb.exact);
    h.exact = true;
    assert_int_equal(part_holds(&store, &h, &held, &why), ST_OK);
    assert_false(held);
    exact.open.exact = true;
    assert_int_equal(deliver(&exact, &rx, &why), ST_REJECT); /* OPEN and COMMIT contradict */
    exact.commit.exact = true;
    assert_int_equal(deliver(&exact, &rx, &why), ST_OK);
    assert_string_equal(rx.stored, "ut160901/DECam_1~2.exact.tar"); /* beside its own */
    assert_true(rx.exact);
    assert_true(stored_is(rx.stored, &exact) && stored_is(rb.stored, &b));
    assert_int_equal(part_holds(&store, &h, &held, &why), ST_OK);
    assert_true(held);
    assert_int_equal(part_held(&store, &exact.open, &r, &held, &why), ST_OK);
    assert_true(held && r.exact);
    assert_int_equal(deliver(&exact, &r, &why), ST_OK);
    assert_memory_equal(&r, &rx, sizeof r);
    /* The lossy one is removed, its receipt stays: nobody asks for it again. */
    assert_int_equal(unlink(in_store("bundles/ut160901/DECam_1~2.tar")), 0);
    h.exact = false;
    assert_int_equal(part_holds(&store, &h, &held, &why), ST_OK);
    assert_true(held);
    assert_int_equal(deliver(&again, &r, &why), ST_OK);
    assert_memory_equal(&r, &rx, sizeof r);
    assert_int_equal(count_files("bundles/ut160901", ".tar"), 2);
    assert_int_equal(count_files("incoming", ""), 0);
    sample_free(&a);
    sample_free(&b);
    sample_free(&exact);
    sample_free(&again);
}

/* An exposure that happens to be called like another one's exact data. */
static void a_name_like_exact_data_is_no_trap(void **state)
{
    (void)state;
    struct sample odd, exact;
    struct receipt r;
    struct fault why;
    sample_make(&odd, "DECam_1.exact", 5, 3000);
    sample_make(&exact, "DECam_1", 6, 4000);
    exact.open.exact = exact.commit.exact = true;
    assert_int_equal(deliver(&odd, &r, &why), ST_OK);
    assert_int_equal(deliver(&exact, &r, &why), ST_OK);
    assert_string_equal(r.stored, "ut160901/DECam_1~2.exact.tar");
    assert_true(stored_is("ut160901/DECam_1.exact.tar", &odd));
    sample_free(&odd);
    sample_free(&exact);
}

static void a_bundle_that_is_gone_or_cut_is_not_held(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r, again;
    struct fault why;
    bool held;
    sample_make(&s, "DECam_1", 8, 3000);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_int_equal(part_held(&store, &s.open, &again, &held, &why), ST_OK);
    assert_true(held);
    /* Somebody removed the bundle: it comes back under its own name. */
    assert_int_equal(unlink(in_store("bundles/ut160901/DECam_1.tar")), 0);
    assert_int_equal(part_held(&store, &s.open, &again, &held, &why), ST_OK);
    assert_false(held);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_string_equal(r.stored, "ut160901/DECam_1.tar");
    /* Somebody cut it: the whole one comes beside it. */
    assert_int_equal(truncate(in_store("bundles/ut160901/DECam_1.tar"), 2999), 0);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_string_equal(r.stored, "ut160901/DECam_1~2.tar");
    assert_true(stored_is(r.stored, &s));
    sample_free(&s);
}

static void hostile_names_and_offsets_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"../x", "", "a/b", ".x", "-x", "a b", "x\n"};
    struct sample s;
    struct part *p;
    struct receipt r;
    struct fault why;
    bool held;
    sample_make(&s, "DECam_1", 9, 100);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct wire_open o = s.open;
        snprintf(o.name, sizeof o.name, "%s", names[i]);
        assert_int_equal(part_open(&store, &o, &p, &r, &held, &why), ST_REJECT);
        assert_null(p);
    }
    struct wire_open o = s.open;
    snprintf(o.id, sizeof o.id, "../../../../etc/passwd");
    assert_int_equal(part_open(&store, &o, &p, &r, &held, &why), ST_REJECT);
    p = open_new(&s);
    assert_int_equal(part_write(p, -1, "x", 1, &why), ST_REJECT);
    assert_int_equal(part_write(p, INT64_MAX, "x", 1, &why), ST_REJECT);
    assert_int_equal(part_write(p, 0, "x", 0, &why), ST_REJECT);
    part_close(&p);
    part_close(&p);
    sample_free(&s);
}

static void a_full_store_says_wait(void **state)
{
    (void)state;
    struct sample s;
    struct fault why;
    struct receipt r;
    sample_make(&s, "DECam_1", 10, 100);
    store.min_free_bytes = INT64_MAX;
    struct part *p = open_new(&s);
    assert_int_equal(part_write(p, 0, s.bytes, 100, &why), ST_WAIT);
    assert_memory_equal(why.text, "the store is full", 17);
    part_close(&p);
    store.min_free_bytes = 1;
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    sample_free(&s);
}

static void map_path(const struct sample *s, const char *ending, char rel[512])
{
    snprintf(rel, 512, "incoming/%s.%.8s.%s", s->open.name, s->open.id, ending);
}

static void damage(const char *rel, off_t at, const void *bytes, size_t len)
{
    int fd = open(in_store(rel), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
}

static void expect_extents(const struct sample *s, int64_t first_length)
{
    struct extent *have;
    size_t count;
    struct fault why;
    struct part *p = open_new(s);
    assert_int_equal(part_extents(p, &have, &count, &why), ST_OK);
    assert_int_equal(count, first_length > 0 ? 1 : 0);
    if (first_length > 0)
        assert_true(have[0].offset == 0 && have[0].length == first_length);
    free(have);
    part_close(&p);
}

static void write_in_tens(const struct sample *s)
{
    struct part *p = open_new(s);
    for (size_t at = 0; at < 100; at += 10)
        write_range(p, s, at, at + 10);
    part_close(&p);
}

static void a_corrupt_map_only_asks_again(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    char map[512];
    sample_make(&s, "DECam_1", 11, 200);
    map_path(&s, "map", map);
    write_in_tens(&s);
    expect_extents(&s, 100);
    /* A flipped bit in the seventh record: six are believed, the rest is cut. */
    damage(map, MAP_HEAD + 6 * MAP_RECORD + 15, "\xff", 1);
    expect_extents(&s, 60);
    struct stat st;
    assert_int_equal(stat(in_store(map), &st), 0);
    assert_int_equal(st.st_size, MAP_HEAD + 6 * MAP_RECORD);
    /* A record cut short, as a full disk leaves it; what is appended later counts. */
    assert_int_equal(truncate(in_store(map), MAP_HEAD + 5 * MAP_RECORD + 7), 0);
    struct part *p = open_new(&s);
    write_range(p, &s, 50, 70);
    part_close(&p);
    expect_extents(&s, 70);
    /* The head is gone: everything is asked for again. */
    damage(map, 20, "garbage", 7);
    expect_extents(&s, 0);
    assert_int_equal(truncate(in_store(map), 5), 0);
    expect_extents(&s, 0);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_true(stored_is(r.stored, &s));
    sample_free(&s);
}

static void a_map_tells_nothing_of_bytes_that_are_gone(void **state)
{
    (void)state;
    struct sample s;
    struct fault why;
    struct receipt r;
    char part[512];
    sample_make(&s, "DECam_1", 12, 200);
    map_path(&s, "part", part);
    write_in_tens(&s);
    assert_int_equal(truncate(in_store(part), 33), 0);
    expect_extents(&s, 33);
    struct part *p = open_new(&s);
    assert_int_equal(unlink(in_store(part)), 0);
    expect_extents(&s, 0);
    assert_int_equal(part_write(p, 0, s.bytes, 10, &why), ST_REJECT);
    part_close(&p);
    assert_int_equal(deliver(&s, &r, &why), ST_OK);
    assert_true(stored_is(r.stored, &s));
    sample_free(&s);
}

static void an_abort_forgets_the_bytes(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 13, 200);
    struct part *p = open_new(&s), *other = open_new(&s);
    write_range(p, &s, 0, 200);
    assert_int_equal(part_abort(p, &why), ST_OK);
    assert_int_equal(part_abort(p, &why), ST_OK);
    assert_int_equal(count_files("incoming", ""), 0);
    assert_int_equal(part_write(other, 0, s.bytes, 10, &why), ST_REJECT);
    assert_int_equal(part_commit(other, &s.commit, &r, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "open it again"));
    part_close(&p);
    part_close(&other);
    expect_extents(&s, 0);
    sample_free(&s);
}

static void make_old(const char *rel, int days)
{
    struct timespec t[2];
    clock_gettime(CLOCK_REALTIME, &t[0]);
    t[0].tv_sec -= (time_t)days * 86400;
    t[1] = t[0];
    assert_int_equal(utimensat(AT_FDCWD, in_store(rel), t, 0), 0);
}

static void forgotten_parts_go_after_their_days(void **state)
{
    (void)state;
    struct sample old, young;
    char rel[512];
    assert_int_equal(part_expire(&store, 30), 0);
    sample_make(&old, "old", 14, 200);
    sample_make(&young, "young", 15, 200);
    write_in_tens(&old);
    write_in_tens(&young);
    map_path(&old, "part", rel);
    make_old(rel, 31);
    assert_int_equal(part_expire(&store, 30), 0); /* its map is young */
    map_path(&old, "map", rel);
    make_old(rel, 31);
    assert_int_equal(part_expire(&store, 30), 1);
    assert_int_equal(count_files("incoming", ""), 2);
    expect_extents(&young, 100);
    sample_free(&old);
    sample_free(&young);
}

/* Lane n of four writes every fourth chunk, and one chunk of its neighbour's twice. */
static void lane_process(const struct sample *s, int n, size_t chunk)
{
    struct part *p = NULL;
    struct receipt r;
    struct fault why;
    bool held;
    int bad = part_open(&store, &s->open, &p, &r, &held, &why) != ST_OK || held;
    for (size_t i = (size_t)n; !bad && i * chunk < s->size; i += 4) {
        size_t at = i * chunk, len = s->size - at < chunk ? s->size - at : chunk;
        bad = part_write(p, (int64_t)at, s->bytes + at, len, &why) != ST_OK;
    }
    if (!bad && n > 0)
        bad = part_write(p, 0, s->bytes, chunk, &why) != ST_OK;
    part_close(&p);
    _exit(bad);
}

static void four_processes_fill_one_bundle(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    pid_t pids[4];
    sample_make(&s, "DECam_1", 16, 50u * 1000 * 1000);
    for (int n = 0; n < 4; n++) {
        pids[n] = fork();
        assert_true(pids[n] >= 0);
        if (pids[n] == 0)
            lane_process(&s, n, 100000);
    }
    for (int n = 0; n < 4; n++) {
        int end = -1;
        assert_int_equal(waitpid(pids[n], &end, 0), pids[n]);
        assert_int_equal(end, 0);
    }
    struct part *p = open_new(&s);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_OK);
    part_close(&p);
    assert_string_equal(r.sha256, s.commit.sha256);
    assert_true(stored_is(r.stored, &s));
    assert_int_equal(count_files("incoming", ""), 0);
    sample_free(&s);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_bundle_arrives),
        STORE_TEST(the_night_follows_the_exposure),
        STORE_TEST(a_cut_transfer_goes_on),
        STORE_TEST(commit_again_is_the_same_receipt),
        STORE_TEST(wrong_bytes_are_dropped_and_asked_for_again),
        STORE_TEST(two_files_of_one_name_are_both_kept),
        STORE_TEST(exact_data_are_kept_beside_the_lossy),
        STORE_TEST(a_name_like_exact_data_is_no_trap),
        STORE_TEST(a_bundle_that_is_gone_or_cut_is_not_held),
        STORE_TEST(hostile_names_and_offsets_are_refused),
        STORE_TEST(a_full_store_says_wait),
        STORE_TEST(a_corrupt_map_only_asks_again),
        STORE_TEST(a_map_tells_nothing_of_bytes_that_are_gone),
        STORE_TEST(an_abort_forgets_the_bytes),
        STORE_TEST(forgotten_parts_go_after_their_days),
        STORE_TEST(four_processes_fill_one_bundle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
