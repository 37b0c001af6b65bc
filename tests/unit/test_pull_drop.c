/* Drops taken into the store: whole ones get a receipt, wrong ones a refusal and are gone, hostile
 * ones harm nothing, and kill -9 at any step is led to the same end. */
#include <setjmp.h>
#include <signal.h>
#include <time.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "pull/drop_take.h"
#include "tests/unit/part_fixture.h"
#include "tests/unit/small_disk.h"

static struct drop_order order;
static char folder[4096];

static int setup(void **state)
{
    if (store_setup(state) != 0)
        return -1;
    snprintf(folder, sizeof folder, "%s", in_store("drops"));
    order = (struct drop_order){.store = store, .folder = folder};
    return mkdir(folder, 0755);
}

static int teardown(void **state)
{
    return store_teardown(state);
}

/* ---- what push leaves ---- */

static const char *file_of(const struct sample *s, enum drop_kind kind)
{
    static char files[4][DROP_NAME];
    static int next;
    next = (next + 1) % 4;
    assert_true(drop_name(kind, s->open.name, s->open.id, files[next]));
    return files[next];
}

static const char *at(const char *file)
{
    static char paths[8][8192];
    static int next;
    next = (next + 1) % 8;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, file);
    return paths[next];
}

static const char *path_of(const struct sample *s, enum drop_kind kind)
{
    return at(file_of(s, kind));
}

static bool in_drops(const struct sample *s, enum drop_kind kind)
{
    struct stat st;
    return lstat(path_of(s, kind), &st) == 0;
}

static void put(const char *path, const void *bytes, size_t len)
{
    struct fault why;
    assert_int_equal(fs_write_file(path, bytes, len, false, &why), ST_OK);
}

static void put_side(const struct sample *s)
{
    struct drop_side side = {s->open, s->commit};
    struct buf text = {0};
    assert_true(drop_side_text(&side, &text));
    put(path_of(s, DROP_SIDE), text.data, text.len);
    buf_free(&text);
}

static void drop(const struct sample *s)
{
    put_side(s);
    put(path_of(s, DROP_TAR), s->bytes, s->size);
    put(path_of(s, DROP_MAP), "", 0);
}

static enum status take(const struct sample *s, struct receipt *r, struct fault *why)
{
    return drop_take(&order, file_of(s, DROP_TAR), r, why);
}

/* Only answers are left of it. */
static void drop_is_gone(const struct sample *s)
{
    for (enum drop_kind k = DROP_PART; k <= DROP_TAR; k++)
        assert_false(in_drops(s, k));
    assert_int_equal(count_files("incoming", ""), 0);
}

static void told_refused(const struct sample *s, enum status grade, const char *words)
{
    struct buf text = {0};
    struct fault why;
    assert_int_equal(fs_read_file(path_of(s, DROP_REFUSED), 10000, &text, &why), ST_OK);
    assert_int_equal(wire_refused_parse(text.data, text.len, &why), grade);
    if (!strstr(why.text, words))
        print_message("%s\n", why.text);
    assert_non_null(strstr(why.text, words));
    assert_false(in_drops(s, DROP_RECEIPT));
    buf_free(&text);
}

static void told_stored(const struct sample *s, const char *stored)
{
    struct buf text = {0};
    struct receipt r;
    struct fault why;
    assert_int_equal(fs_read_file(path_of(s, DROP_RECEIPT), 10000, &text, &why), ST_OK);
    assert_int_equal(receipt_parse(text.data, text.len, &r, &why), ST_OK);
    assert_string_equal(r.stored, stored);
    assert_string_equal(r.sha256, s->commit.sha256);
    assert_true(stored_is(stored, s));
    assert_false(in_drops(s, DROP_REFUSED));
    buf_free(&text);
}

/* ---- tests ---- */

static void a_whole_drop_is_stored(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 1, 9000000);
    drop(&s);
    assert_int_equal(take(&s, &r, &why), ST_OK);
    assert_string_equal(r.stored, "ut160901/DECam_1.tar");
    told_stored(&s, "ut160901/DECam_1.tar");
    drop_is_gone(&s);
    /* Dropped once more it is held: the receipt comes again, nothing is doubled. */
    unlink(path_of(&s, DROP_RECEIPT));
    drop(&s);
    assert_int_equal(take(&s, &r, &why), ST_OK);
    told_stored(&s, "ut160901/DECam_1.tar");
    drop_is_gone(&s);
    assert_int_equal(count_files("bundles/ut160901", ".tar"), 1);
    sample_free(&s);
}

/* Another link to it, or another owner: the bytes must not stay in somebody else's hands. */
static void what_is_not_ours_alone_is_copied(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 2, 9000000);
    drop(&s);
    assert_int_equal(link(path_of(&s, DROP_TAR), at("mine")), 0);
    assert_int_equal(take(&s, &r, &why), ST_OK);
    put(at("x"), "", 0);
    int fd = open(at("mine"), O_WRONLY);
    assert_int_equal(fs_pwrite_all(fd, "damage", 6, 100), 0);
    close(fd);
    told_stored(&s, "ut160901/DECam_1.tar");
    drop_is_gone(&s);
    if (geteuid() == 0) {
        struct sample other;
        sample_make(&other, "DECam_2", 3, 5000);
        drop(&other);
        assert_int_equal(chown(path_of(&other, DROP_TAR), 65534, 65534), 0);
        assert_int_equal(take(&other, &r, &why), ST_OK);
        struct stat st;
        assert_int_equal(stat(in_store("bundles/ut160901/DECam_2.tar"), &st), 0);
        assert_int_equal(st.st_uid, 0);
        drop_is_gone(&other);
        sample_free(&other);
    }
    sample_free(&s);
}

static void wrong_bytes_are_refused_and_gone(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    for (int linked = 0; linked < 2; linked++) {
        sample_make(&s, "DECam_1", 4, 50000);
        s.bytes[777] ^= 1;
        drop(&s);
        if (linked)
            assert_int_equal(link(path_of(&s, DROP_TAR), at("second")), 0);
        assert_int_equal(take(&s, &r, &why), ST_RETRY);
        told_refused(&s, ST_RETRY, "SHA-256 differs");
        drop_is_gone(&s);
        s.bytes[777] ^= 1;
        drop(&s);
        assert_int_equal(take(&s, &r, &why), ST_OK);
        told_stored(&s, "ut160901/DECam_1.tar");
        sample_free(&s);
        teardown(state);
        setup(state);
    }
}

static void a_short_one_is_refused(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 5, 50000);
    put_side(&s);
    put(path_of(&s, DROP_TAR), s.bytes, s.size - 1);
    assert_int_equal(take(&s, &r, &why), ST_RETRY);
    told_refused(&s, ST_RETRY, "49999 bytes");
    drop_is_gone(&s);
    sample_free(&s);
}

static void half_a_drop_is_left_alone(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 6, 5000);
    put(path_of(&s, DROP_TAR), s.bytes, s.size); /* somebody's tar, without a side-car */
    assert_int_equal(take(&s, &r, &why), ST_WAIT);
    assert_string_equal(why.text, "");
    assert_true(in_drops(&s, DROP_TAR));
    assert_int_equal(rename(path_of(&s, DROP_TAR), path_of(&s, DROP_PART)), 0);
    put_side(&s); /* the bundle is about to get its name */
    assert_int_equal(drop_take(&order, file_of(&s, DROP_SIDE), &r, &why), ST_WAIT);
    assert_string_equal(why.text, "");
    assert_true(in_drops(&s, DROP_PART));
    assert_false(in_drops(&s, DROP_REFUSED));
    /* The bytes are lost: push must know. */
    unlink(path_of(&s, DROP_PART));
    assert_int_equal(drop_take(&order, file_of(&s, DROP_SIDE), &r, &why), ST_RETRY);
    told_refused(&s, ST_RETRY, "gone");
    drop_is_gone(&s);
    sample_free(&s);
}

static void garbage_for_a_side_car(void **state)
{
    (void)state;
    static const char *const garbage[] = {"", "{", "[1,2", "\xff\xfe\x00", "{\"format\":1}"};
    struct sample s, other;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 7, 5000);
    sample_make(&other, "DECam_2", 8, 5000);
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        drop(&s);
        put(path_of(&s, DROP_SIDE), garbage[i], strlen(garbage[i]));
        assert_int_equal(take(&s, &r, &why), ST_RETRY);
        told_refused(&s, ST_RETRY, "side-car");
        drop_is_gone(&s);
    }
    /* One that speaks of another exposure must not move that one's receipt. */
    drop(&s);
    put_side(&other);
    assert_int_equal(rename(path_of(&other, DROP_SIDE), path_of(&s, DROP_SIDE)), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    told_refused(&s, ST_REJECT, "DECam_2");
    assert_false(in_drops(&other, DROP_RECEIPT) || in_drops(&other, DROP_REFUSED));
    assert_int_equal(count_files("bundles", ""), 0);
    sample_free(&s);
    sample_free(&other);
}

static void links_folders_and_pipes(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 9, 5000);
    put(in_store("secret"), s.bytes, s.size); /* right bytes, but not to be reached by a link */
    put_side(&s);
    assert_int_equal(symlink(in_store("secret"), path_of(&s, DROP_TAR)), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    told_refused(&s, ST_REJECT, "no plain file");
    drop_is_gone(&s);
    assert_true(there("secret"));
    put_side(&s);
    assert_int_equal(mkdir(path_of(&s, DROP_TAR), 0755), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    drop_is_gone(&s);
    put_side(&s);
    assert_int_equal(mkfifo(path_of(&s, DROP_TAR), 0644), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    drop_is_gone(&s);
    put(path_of(&s, DROP_TAR), s.bytes, s.size);
    assert_int_equal(symlink("/dev/zero", path_of(&s, DROP_SIDE)), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    drop_is_gone(&s);
    /* A receipt's name that is a link is replaced, not followed. */
    drop(&s);
    assert_int_equal(symlink(in_store("secret"), path_of(&s, DROP_RECEIPT)), 0);
    assert_int_equal(take(&s, &r, &why), ST_OK);
    told_stored(&s, "ut160901/DECam_1.tar");
    struct stat st;
    assert_int_equal(stat(in_store("secret"), &st), 0);
    assert_int_equal(st.st_size, s.size);
    sample_free(&s);
}

/* While its side-car is there the drop is not done with. */
static void what_cannot_be_removed_keeps_its_side_car(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    char inside[DROP_NAME + 8];
    sample_make(&s, "DECam_1", 9, 5000);
    snprintf(inside, sizeof inside, "%s/x", file_of(&s, DROP_TAR));
    put_side(&s);
    assert_int_equal(mkdir(path_of(&s, DROP_TAR), 0755), 0);
    put(at(inside), "x", 1);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    assert_true(in_drops(&s, DROP_TAR) && in_drops(&s, DROP_SIDE));
    assert_int_equal(unlink(at(inside)), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    drop_is_gone(&s);
    sample_free(&s);
}

/* The disk fails, not the bundle: what was dropped stays, and is taken when the disk is well. */
static void the_stores_own_trouble_costs_no_bytes(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    struct rlimit was, little = {.rlim_cur = 100000};
    sample_make(&s, "DECam_1", 9, 5000000);
    drop(&s);
    assert_int_equal(link(path_of(&s, DROP_TAR), at("second")), 0); /* so that it is copied */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    little.rlim_max = was.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    assert_int_equal(take(&s, &r, &why), ST_WAIT);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    told_refused(&s, ST_WAIT, "cannot write");
    assert_true(in_drops(&s, DROP_TAR) && in_drops(&s, DROP_SIDE));
    assert_int_equal(take(&s, &r, &why), ST_OK);
    told_stored(&s, "ut160901/DECam_1.tar");
    sample_free(&s);
}

/* ---- full disks ---- */

static void fill_disk(const char *name)
{
    static const unsigned char block[4096];
    int fd = open(at(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    while (fs_write_all(fd, block, sizeof block) == 0)
        ;
    close(fd);
}

/* In a child whose drop folder is a file system of its own. 0: as it should be, 77: not allowed
 * here, else the line that failed. */
static int answer_on_a_full_disk(const struct sample *s, const struct sample *bad)
{
    struct receipt r;
    struct fault why = {0};
    if (!small_disk(folder, "size=200k"))
        return 77;
    drop(s);
    fill_disk("filler");
    /* Kept open its removal frees nothing: as when others take at once what comes free. */
    int held = open(path_of(s, DROP_TAR), O_RDONLY | O_CLOEXEC);
    if (held < 0 || take(s, &r, &why) != ST_OK)
        return __LINE__;
    close(held);
    told_stored(s, "ut160901/DECam_1.tar");
    drop_is_gone(s);
    /* Somebody else's name for the bytes: they are not written over. */
    unlink(path_of(s, DROP_RECEIPT));
    unlink(at("filler"));
    drop(s);
    if (link(path_of(s, DROP_TAR), at("mine")) != 0)
        return __LINE__;
    fill_disk("filler");
    if (take(s, &r, &why) != ST_WAIT || in_drops(s, DROP_TAR))
        return __LINE__;
    unlink(at("mine"));
    if (drop_take(&order, file_of(s, DROP_SIDE), &r, &why) != ST_OK)
        return __LINE__;
    /* Others were faster than the answer: the bytes are free all the same. */
    unlink(path_of(s, DROP_RECEIPT));
    unlink(at("filler"));
    put_side(s);
    fill_disk("filler");
    if (take(s, &r, &why) != ST_WAIT || !in_drops(s, DROP_SIDE) || in_drops(s, DROP_TAR))
        return __LINE__;
    if (!strstr(why.text, "is full") || strstr(why.text, "access") || strstr(why.text, s->open.name))
        return __LINE__;
    unlink(at("filler"));
    if (drop_take(&order, file_of(s, DROP_SIDE), &r, &why) != ST_OK)
        return __LINE__;
    drop_is_gone(s);
    /* Worthless bytes do not keep their refusal away. */
    drop(bad);
    fill_disk("filler");
    if (take(bad, &r, &why) != ST_RETRY)
        return __LINE__;
    told_refused(bad, ST_RETRY, "SHA-256 differs");
    drop_is_gone(bad);
    return 0;
}

/* Else the disk stays full: what is stored is kept for the want of 600 bytes to say so. */
static void on_a_full_disk_what_is_stored_makes_room_for_its_answer(void **state)
{
    (void)state;
    struct sample s, bad;
    int end = -1;
    sample_make(&s, "DECam_1", 14, 100000);
    sample_make(&bad, "DECam_2", 15, 100000);
    bad.bytes[777] ^= 1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(answer_on_a_full_disk(&s, &bad));
    assert_int_equal(waitpid(pid, &end, 0), pid);
    sample_free(&s);
    sample_free(&bad);
    assert_true(WIFEXITED(end));
    if (WEXITSTATUS(end) == 77) {
        print_message("no file system of our own may be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(end), 0);
}

static void a_sparse_monster_is_not_read(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 10, 100);
    s.commit.size = (int64_t)1 << 41;
    put_side(&s);
    put(path_of(&s, DROP_TAR), "x", 1);
    assert_int_equal(truncate(path_of(&s, DROP_TAR), s.commit.size), 0);
    assert_int_equal(take(&s, &r, &why), ST_REJECT);
    drop_is_gone(&s);
    sample_free(&s);
}

static void a_store_that_is_away_keeps_the_drop(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 11, 5000);
    drop(&s);
    order.store.root = "/nonexistent/store";
    assert_int_equal(take(&s, &r, &why), ST_WAIT);
    told_refused(&s, ST_WAIT, "mounted");
    assert_true(in_drops(&s, DROP_TAR) && in_drops(&s, DROP_SIDE));
    order.store.root = dir.dir;
    assert_int_equal(take(&s, &r, &why), ST_OK);
    told_stored(&s, "ut160901/DECam_1.tar");
    drop_is_gone(&s);
    /* A full one as well, where a copy is needed. */
    struct sample full;
    sample_make(&full, "DECam_2", 12, 5000);
    drop(&full);
    assert_int_equal(link(path_of(&full, DROP_TAR), at("second")), 0);
    order.store.min_free_bytes = INT64_MAX;
    assert_int_equal(take(&full, &r, &why), ST_WAIT);
    told_refused(&full, ST_WAIT, "full");
    order.store.min_free_bytes = 0;
    assert_int_equal(take(&full, &r, &why), ST_OK);
    told_stored(&full, "ut160901/DECam_2.tar");
    sample_free(&s);
    sample_free(&full);
}

/* ---- kill -9 ---- */

static void die_at(const struct sample *s, const char *point)
{
    int end = -1;
    pid_t pid = fork();
    if (pid == 0) {
        struct receipt r;
        struct fault why;
        setenv("SKYFERRY_CRASH_AT", point, 1);
        take(s, &r, &why);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFSIGNALED(end));
    assert_int_equal(WTERMSIG(end), SIGKILL);
}

static void killed_anywhere_it_ends_well(void **state)
{
    static const char *const points[] = {"drop-moved",    "commit-intent", "commit-sealed",
                                         "commit-named",  "commit-receipt", "drop-stored",
                                         "drop-receipt", "drop-cleared"};
    for (size_t i = 0; i < 2 * sizeof points / sizeof points[0]; i++) {
        struct sample s;
        struct receipt r;
        struct fault why;
        sample_make(&s, "DECam_1", 13, 5000000);
        drop(&s);
        if (i % 2) /* copied, not renamed */
            assert_int_equal(link(path_of(&s, DROP_TAR), at("second")), 0);
        die_at(&s, points[i / 2]);
        /* As the rescan finds it: by the side-car, by the bundle, or both. */
        assert_int_equal(drop_take(&order, file_of(&s, DROP_SIDE), &r, &why), ST_OK);
        told_stored(&s, "ut160901/DECam_1.tar");
        drop_is_gone(&s);
        assert_int_equal(count_files("bundles/ut160901", ".tar"), 1);
        assert_int_equal(count_files("bundles/ut160901", ".receipt"), 1);
        sample_free(&s);
        teardown(state);
        setup(state);
    }
}

/* ---- questions, and what is no longer needed ---- */

static void questions_are_answered(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    struct fault why;
    struct buf text = {0};
    struct wire_have asked[2] = {0};
    bool held[2];
    sample_make(&s, "DECam_1", 14, 5000);
    drop(&s);
    assert_int_equal(take(&s, &r, &why), ST_OK);
    for (int i = 0; i < 2; i++) {
        snprintf(asked[i].name, sizeof asked[i].name, "DECam_%d", i + 1);
        strcpy(asked[i].date_obs, s.open.date_obs);
        asked[i].source_size = s.commit.source_size;
        memcpy(asked[i].source_sha256, s.commit.source_sha256, DIGEST_HEX);
    }
    assert_true(wire_have_text(asked, 2, &text));
    put(at("ask-0001.json"), text.data, text.len);
    assert_int_equal(drop_answer(&order, "ask-0001.json", &why), ST_OK);
    text.len = 0;
    assert_int_equal(fs_read_file(at("answer-0001.json"), 10000, &text, &why), ST_OK);
    assert_int_equal(wire_held_parse(text.data, text.len, held, 2, &why), ST_OK);
    assert_true(held[0]);
    assert_false(held[1]);
    assert_int_equal(access(at("ask-0001.json"), F_OK), -1);
    /* Asked once only; nonsense is refused in words; a link is not followed. */
    assert_int_equal(drop_answer(&order, "ask-0001.json", &why), ST_WAIT);
    put(at("ask-2.json"), "what?", 5);
    assert_int_equal(drop_answer(&order, "ask-2.json", &why), ST_REJECT);
    text.len = 0;
    assert_int_equal(fs_read_file(at("answer-2.json"), 10000, &text, &why), ST_OK);
    assert_int_equal(wire_refused_parse(text.data, text.len, &why), ST_REJECT);
    assert_int_equal(symlink("/etc/passwd", at("ask-3.json")), 0);
    assert_int_equal(drop_answer(&order, "ask-3.json", &why), ST_REJECT);
    assert_int_equal(access("/etc/passwd", F_OK), 0);
    assert_int_equal(mkfifo(at("ask-4.json"), 0644), 0);
    assert_int_equal(drop_answer(&order, "ask-4.json", &why), ST_REJECT);
    assert_int_equal(access(at("ask-4.json"), F_OK), -1);
    buf_free(&text);
    sample_free(&s);
}

static void old(const char *path, int days)
{
    struct timespec t[2] = {{.tv_sec = time(NULL) - (time_t)days * 86400}, {0}};
    t[1] = t[0];
    assert_int_equal(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void what_nobody_needs_goes(void **state)
{
    (void)state;
    struct sample s, lost;
    struct receipt r;
    struct fault why;
    sample_make(&s, "DECam_1", 15, 5000);
    sample_make(&lost, "DECam_2", 16, 5000);
    drop(&s);
    drop(&lost);
    assert_int_equal(take(&s, &r, &why), ST_OK);
    assert_int_equal(take(&lost, &r, &why), ST_OK);
    put(at(".half.12345678.bytes"), "x", 1);
    put(at(".half.12345678.map"), "x", 1);
    put(at(".fresh.12345678.bytes"), "x", 1);
    put(at("answer-1.json"), "{}", 2);
    put(at(".probe-11111111"), "", 0);
    put(at("letter.txt"), "not ours", 8);
    put(at("whole.12345678.tar"), "x", 1);
    old(at(".half.12345678.bytes"), 15);
    old(at(".half.12345678.map"), 15);
    old(at("answer-1.json"), 2);
    old(at(".probe-11111111"), 2);
    old(at("letter.txt"), 400);
    old(at("whole.12345678.tar"), 400);
    /* Its bundle is gone: the receipt would lie. */
    unlink(in_store("bundles/ut160901/DECam_2.tar"));
    assert_int_equal(drop_expire(&order, 14), 1);
    assert_true(in_drops(&s, DROP_RECEIPT));
    assert_false(in_drops(&lost, DROP_RECEIPT));
    static const char *const left[] = {".fresh.12345678.bytes", "letter.txt", "whole.12345678.tar"};
    static const char *const gone[] = {".half.12345678.bytes", ".half.12345678.map",
                                       "answer-1.json", ".probe-11111111"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(access(at(left[i]), F_OK), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(access(at(gone[i]), F_OK), -1);
    old(path_of(&s, DROP_RECEIPT), 15);
    drop_expire(&order, 14);
    assert_false(in_drops(&s, DROP_RECEIPT));
    sample_free(&s);
    sample_free(&lost);
}

#define DROP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DROP_TEST(a_whole_drop_is_stored),
        DROP_TEST(what_is_not_ours_alone_is_copied),
        DROP_TEST(wrong_bytes_are_refused_and_gone),
        DROP_TEST(a_short_one_is_refused),
        DROP_TEST(half_a_drop_is_left_alone),
        DROP_TEST(garbage_for_a_side_car),
        DROP_TEST(links_folders_and_pipes),
        DROP_TEST(what_cannot_be_removed_keeps_its_side_car),
        DROP_TEST(the_stores_own_trouble_costs_no_bytes),
        DROP_TEST(on_a_full_disk_what_is_stored_makes_room_for_its_answer),
        DROP_TEST(a_sparse_monster_is_not_read),
        DROP_TEST(a_store_that_is_away_keeps_the_drop),
        DROP_TEST(killed_anywhere_it_ends_well),
        DROP_TEST(questions_are_answered),
        DROP_TEST(what_nobody_needs_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
