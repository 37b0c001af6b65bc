/* A lane's side of a drop folder, against OpenSSH's own sftp-server at the other end of a socket
 * pair (no SSH between): what lies in the folder when, what is found there again after a cut,
 * and what each answer of skyferry-pull becomes. The test plays skyferry-pull's part by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/drop.h"
#include "common/fsutil.h"
#include "push/lane_talk.h"
#include "tests/unit/scratch.h"
#include "tests/unit/small_disk.h"

#define SERVER "/usr/lib/openssh/sftp-server"
#define SIZE ((size_t)300000)
#define BUNDLE 5

static struct scratch dir;
static struct mailbox *box;
static struct talk *talk;
static struct lane_load load;
static unsigned char bytes[SIZE];
static int spool = -1, line = -1;
static pid_t server;
static char *denied; /* of the server's requests */

/* ---- the other end ---- */

static const char *at(const char *name)
{
    static char paths[8][4096];
    static int next;
    next = (next + 1) % 8;
    return scratch_path(&dir, name, paths[next]);
}

static bool there(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

static void put(const char *name, const void *what, size_t len)
{
    struct fault why;
    assert_int_equal(fs_write_file(at(name), what, len, false, &why), ST_OK);
}

static void connect_to_server(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    server = fork();
    if (server == 0) {
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        execl(SERVER, SERVER, denied ? "-P" : "-e", denied, NULL);
        _exit(127);
    }
    close(pair[1]);
    line = pair[0];
    fcntl(line, F_SETFL, O_NONBLOCK);
    talk = talk_new(&(struct talk_options){3, box, "test", &load, at("drops")});
    assert_non_null(talk);
}

static void cut(void)
{
    talk_free(&talk);
    if (line >= 0)
        close(line);
    line = -1;
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
    for (struct mail *m; (m = mailbox_take(box));)
        lane_event_free((struct lane_event *)m);
    atomic_store(&load.in_flight, 0);
    atomic_store(&load.unsent, 0);
}

static int setup(void **state)
{
    (void)state;
    struct fault why;
    unsigned seed = 1;
    denied = NULL;
    box = mailbox_new();
    if (scratch_make(&dir) != 0 || !box || mkdir(at("drops"), 0755) != 0)
        return -1;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(seed = seed * 1664525u + 1013904223u, seed >> 24);
    if (fs_write_file(at("spool"), bytes, SIZE, false, &why) != ST_OK)
        return -1;
    spool = open(at("spool"), O_RDONLY | O_CLOEXEC);
    return spool >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    cut();
    close(spool);
    mailbox_free(&box);
    scratch_remove(&dir);
    return 0;
}

/* ---- moving the bytes ---- */

static enum status turn(struct fault *why)
{
    const unsigned char *out;
    unsigned char in[8192];
    enum status st = ST_OK;
    size_t len = talk_output(talk, &out);
    if (len > 0) {
        ssize_t n = write(line, out, len);
        if (n > 0)
            talk_sent(talk, (size_t)n);
    }
    ssize_t n = read(line, in, sizeof in);
    if (n > 0)
        st = talk_input(talk, in, (size_t)n, why);
    if (n == 0)
        st = fault(why, ST_RETRY, "the server ended");
    talk_tick(talk, clock_mono());
    if (n <= 0 && talk_output(talk, &out) == 0) {
        struct pollfd p = {.fd = line, .events = POLLIN};
        poll(&p, 1, 10);
    }
    return st;
}

/* The next that is not about room: of that nothing is asked here. */
static struct mail *next_mail(void)
{
    struct mail *m;
    while ((m = mailbox_take(box)) && m->kind == LANE_ROOM)
        lane_event_free((struct lane_event *)m);
    return m;
}

static struct lane_event *expect(enum lane_event_kind kind)
{
    struct fault why;
    struct mail *m;
    int64_t until = clock_mono() + 20 * NS_PER_S;
    while (!(m = next_mail()) && clock_mono() < until)
        if (turn(&why) != ST_OK)
            fail_msg("%s", why.text);
    struct lane_event *e = (struct lane_event *)m;
    assert_non_null(e);
    if (e->mail.kind != (int)kind)
        print_message("event %d: %s\n", e->mail.kind, e->why.text);
    assert_int_equal(e->mail.kind, kind);
    return e;
}

static void meet(enum lane_event_kind kind)
{
    lane_event_free(expect(kind));
}

/* Nothing is due any more. */
static void settle(void)
{
    struct fault why;
    const unsigned char *out;
    while (talk_due(talk) > 0 || talk_output(talk, &out) > 0)
        assert_int_equal(turn(&why), ST_OK);
}

/* ---- skyferry-pull ---- */

static void pull_runs(void)
{
    struct wire_hello h = {.protocol = WIRE_VERSION, .free_bytes = 12345, .exact = true};
    struct buf text = {0};
    strcpy(h.software, "skyferry test");
    strcpy(h.agent, "store");
    assert_true(wire_hello_text(&h, &text));
    put("drops/" DROP_FAR_END, text.data, text.len);
    buf_free(&text);
}

static struct wire_open *opening(bool resume)
{
    static struct wire_open o;
    memset(&o, 0, sizeof o);
    digest_bytes("id", 2, o.id);
    strcpy(o.name, "DECam_1");
    o.resume = resume;
    return &o;
}

static const char *name_of(enum drop_kind kind)
{
    static char names[4][DROP_NAME + 8];
    static int next;
    char file[DROP_NAME];
    next = (next + 1) % 4;
    assert_true(drop_name(kind, "DECam_1", opening(false)->id, file));
    snprintf(names[next], sizeof names[next], "drops/%s", file);
    return names[next];
}

static struct wire_commit *commitment(void)
{
    static struct wire_commit c;
    memset(&c, 0, sizeof c);
    c.size = (int64_t)SIZE;
    digest_bytes(bytes, SIZE, c.sha256);
    digest_bytes("source", 6, c.source_sha256);
    strcpy(c.source_name, "DECam_1.fits");
    return &c;
}

static void give_receipt(void)
{
    struct receipt r = {.size = (int64_t)SIZE};
    struct buf text = {0};
    memcpy(r.id, opening(false)->id, sizeof r.id);
    memcpy(r.sha256, commitment()->sha256, sizeof r.sha256);
    memcpy(r.source_sha256, commitment()->source_sha256, sizeof r.source_sha256);
    strcpy(r.name, "DECam_1");
    strcpy(r.stored, "ut160901/DECam_1.tar");
    strcpy(r.night, "ut160901");
    strcpy(r.source_name, "DECam_1.fits");
    assert_true(receipt_text(&r, &text));
    put(name_of(DROP_RECEIPT), text.data, text.len);
    buf_free(&text);
}

/* ---- jobs ---- */

static void job(enum lane_verb verb, const struct lane_job *more)
{
    struct lane_job j = more ? *more : (struct lane_job){0};
    const unsigned char *out;
    struct fault why;
    j.verb = verb;
    j.bundle = BUNDLE;
    while (talk_output(talk, &out) > 0)
        assert_int_equal(turn(&why), ST_OK);
    talk_job(talk, &j);
}

static void open_it(bool resume)
{
    job(LANE_OPEN, &(struct lane_job){.open = *opening(resume)});
}

static void chunk(size_t from, size_t to)
{
    atomic_fetch_add(&load.in_flight, (long long)(to - from));
    atomic_fetch_add(&load.unsent, (long long)(to - from));
    job(LANE_CHUNK, &(struct lane_job){.fd = spool, .offset = (int64_t)from,
                                       .length = (uint32_t)(to - from)});
}

static void commit(void)
{
    job(LANE_COMMIT, &(struct lane_job){.commit = *commitment()});
}

static void come_up(void)
{
    connect_to_server();
    meet(LANE_UP);
}

static void send_all(void)
{
    open_it(false);
    chunk(100000, SIZE);
    chunk(0, 100000);
    meet(LANE_OPENED);
    meet(LANE_GOT);
    meet(LANE_GOT);
    assert_int_equal(atomic_load(&load.in_flight), 0);
    assert_int_equal(atomic_load(&load.unsent), 0);
}

static bool is_whole(enum drop_kind kind)
{
    struct buf b = {0};
    struct fault why;
    bool same = fs_read_file(at(name_of(kind)), 2 * SIZE, &b, &why) == ST_OK && b.len == SIZE &&
                memcmp(b.data, bytes, SIZE) == 0;
    buf_free(&b);
    return same;
}

/* Committed: the bundle has its name and nobody has answered. */
static void drop_lands(void)
{
    struct fault why;
    int64_t until = clock_mono() + 10 * NS_PER_S;
    commit();
    while (!there(name_of(DROP_TAR)) && clock_mono() < until)
        assert_int_equal(turn(&why), ST_OK);
    assert_true(is_whole(DROP_TAR));
    assert_false(there(name_of(DROP_PART)));
    struct buf text = {0};
    struct drop_side side;
    assert_int_equal(fs_read_file(at(name_of(DROP_SIDE)), 10000, &text, &why), ST_OK);
    assert_int_equal(drop_side_parse(text.data, text.len, &side, &why), ST_OK);
    assert_string_equal(side.commit.sha256, commitment()->sha256);
    buf_free(&text);
}

/* ---- tests ---- */

static void the_greeting_looks_at_the_folder(void **state)
{
    (void)state;
    pull_runs();
    connect_to_server();
    struct lane_event *e = expect(LANE_UP);
    assert_string_equal(e->hello.software, "skyferry test");
    assert_int_equal(e->hello.free_bytes, 12345);
    assert_int_equal(e->hello.quiet_s, 0);
    assert_non_null(strstr(e->hello.server, "posix-rename"));
    assert_non_null(strstr(e->hello.server, "fsync"));
    lane_event_free(e);
    settle();
    int files = 0;
    DIR *d = opendir(at("drops"));
    for (struct dirent *f; (f = readdir(d));)
        files++;
    closedir(d);
    assert_int_equal(files, 3); /* ., .., far-end.json: nothing of ours is left */
}

static void nobody_behind_the_folder_is_told(void **state)
{
    (void)state;
    connect_to_server();
    struct lane_event *e = expect(LANE_UP);
    assert_int_equal(e->hello.quiet_s, -1);
    assert_true(e->hello.free_bytes > 0); /* the server knows that */
    lane_event_free(e);
    cut();
    pull_runs();
    struct timespec old[2] = {{.tv_sec = time(NULL) - 5000}, {.tv_sec = time(NULL) - 5000}};
    utimensat(AT_FDCWD, at("drops/" DROP_FAR_END), old, 0);
    connect_to_server();
    e = expect(LANE_UP);
    assert_in_range(e->hello.quiet_s, 4990, 5100);
    lane_event_free(e);
}

static void down(enum status grade, const char *words)
{
    struct fault why;
    enum status st = ST_OK;
    connect_to_server();
    for (int i = 0; i < 1000 && st == ST_OK; i++)
        st = turn(&why);
    assert_int_equal(st, grade);
    if (!strstr(why.text, words))
        print_message("%s\n", why.text);
    assert_non_null(strstr(why.text, words));
    cut();
}

static void a_folder_that_cannot_be_used(void **state)
{
    (void)state;
    assert_int_equal(rmdir(at("drops")), 0);
    down(ST_REJECT, "[store] drops");
    put("drops", "a file", 6);
    down(ST_REJECT, "is not there");
    unlink(at("drops"));
    if (geteuid() != 0) {
        mkdir(at("drops"), 0555);
        down(ST_REJECT, "chmod 2770");
    }
    mkdir(at("drops"), 0755);
    static const char later[] = "{\"protocol\":99,\"software\":\"later\",\"agent\":\"x\"}";
    put("drops/" DROP_FAR_END, later, sizeof later - 1);
    down(ST_REJECT, "same release");
}

static void a_bundle_is_dropped_and_answered(void **state)
{
    char *const servers[] = {NULL, "posix-rename", "fsync", "posix-rename,fsync,statvfs,limits"};
    for (size_t i = 0; i < 4; i++) {
        denied = servers[i];
        pull_runs();
        come_up();
        send_all();
        assert_true(is_whole(DROP_PART));
        assert_false(there(name_of(DROP_TAR)) || there(name_of(DROP_SIDE)));
        drop_lands();
        give_receipt();
        struct lane_event *e = expect(LANE_RECEIPT);
        assert_string_equal(e->receipt.stored, "ut160901/DECam_1.tar");
        lane_event_free(e);
        job(LANE_CLOSE, NULL);
        settle();
        teardown(state);
        setup(state);
    }
}

/* Names are taken: an old side-car, an old bundle. */
static void names_that_are_taken(void **state)
{
    char *const servers[] = {NULL, "posix-rename"};
    for (size_t i = 0; i < 2; i++) {
        denied = servers[i];
        pull_runs();
        put(name_of(DROP_SIDE), "old", 3);
        put(name_of(DROP_TAR), "old", 3);
        put(name_of(DROP_RECEIPT), "{}", 2);
        put(name_of(DROP_REFUSED), "{}", 2);
        come_up();
        send_all();
        unlink(at(name_of(DROP_TAR)));
        put(name_of(DROP_TAR), "old", 3);
        commit();
        struct fault why;
        int64_t until = clock_mono() + 10 * NS_PER_S;
        while (!is_whole(DROP_TAR) && clock_mono() < until)
            assert_int_equal(turn(&why), ST_OK);
        assert_true(is_whole(DROP_TAR));
        assert_false(there(name_of(DROP_RECEIPT)));
        give_receipt();
        meet(LANE_RECEIPT);
        teardown(state);
        setup(state);
    }
}

static void opened_has(const struct extent *want, size_t count)
{
    struct lane_event *e = expect(LANE_OPENED);
    size_t n = 0;
    for (size_t i = 0; i < e->have_count; i++) {
        if (e->have[i].length == 0)
            continue;
        assert_true(n < count);
        assert_int_equal(e->have[i].offset, want[n].offset);
        assert_int_equal(e->have[i].length, want[n].length);
        n++;
    }
    assert_int_equal(n, count);
    lane_event_free(e);
}

static void after_a_cut_the_map_tells(void **state)
{
    (void)state;
    pull_runs();
    come_up();
    open_it(false);
    meet(LANE_OPENED);
    chunk(0, 100000);
    meet(LANE_GOT);
    chunk(200000, 250000);
    meet(LANE_GOT);
    settle();
    cut();
    /* A torn record, and one of bytes that are not there. */
    int fd = open(at(name_of(DROP_MAP)), O_WRONLY | O_APPEND);
    struct buf more = {0};
    drop_map_add(&more, 240000, 90000);
    drop_map_add(&more, 100000, 10);
    assert_int_equal(fs_write_all(fd, more.data, more.len - 3), 0);
    close(fd);
    buf_free(&more);
    come_up();
    open_it(true);
    opened_has((struct extent[]){{0, 100000}, {200000, 50000}}, 2);
    chunk(100000, 200000);
    chunk(250000, SIZE);
    meet(LANE_GOT);
    meet(LANE_GOT);
    drop_lands();
    /* Cut again, after the names: the bundle is known, nothing is sent. */
    settle();
    cut();
    come_up();
    open_it(true);
    opened_has((struct extent[]){{0, (int64_t)SIZE}}, 1);
    /* And again, while skyferry-pull has it and has not answered. */
    cut();
    unlink(at(name_of(DROP_TAR)));
    come_up();
    open_it(true);
    opened_has((struct extent[]){{0, (int64_t)SIZE}}, 1);
    commit();
    give_receipt();
    meet(LANE_RECEIPT);
    /* A receipt that is there already answers OPEN. */
    cut();
    come_up();
    open_it(true);
    meet(LANE_RECEIPT);
}

/* Nobody would ever answer for it: the connection ended between the two names. */
static void a_bundle_without_its_side_car_is_sent_again(void **state)
{
    (void)state;
    static const char *const sides[] = {NULL, "no side-car"};
    for (size_t i = 0; i < 2; i++) {
        pull_runs();
        put(name_of(DROP_TAR), bytes, SIZE);
        if (sides[i])
            put(name_of(DROP_SIDE), sides[i], strlen(sides[i]));
        come_up();
        open_it(true);
        opened_has(NULL, 0);
        settle();
        assert_false(there(name_of(DROP_TAR)) || there(name_of(DROP_SIDE)));
        chunk(0, SIZE);
        meet(LANE_GOT);
        drop_lands();
        give_receipt();
        meet(LANE_RECEIPT);
        teardown(state);
        setup(state);
    }
}

/* A side-car of another size is not this bundle's. */
static void a_bundle_of_another_size_is_sent_again(void **state)
{
    (void)state;
    pull_runs();
    come_up();
    send_all();
    drop_lands();
    cut();
    assert_int_equal(truncate(at(name_of(DROP_TAR)), SIZE / 2), 0);
    come_up();
    open_it(true);
    opened_has(NULL, 0);
    settle();
    assert_false(there(name_of(DROP_TAR)) || there(name_of(DROP_SIDE)));
}

static void a_refusal_is_handed_on(void **state)
{
    (void)state;
    struct fault theirs;
    struct buf text = {0};
    pull_runs();
    come_up();
    send_all();
    drop_lands();
    fault(&theirs, ST_RETRY, "SHA-256 differs");
    assert_true(wire_refused_text(&theirs, "commit", &text));
    put(name_of(DROP_REFUSED), text.data, text.len);
    struct lane_event *e = expect(LANE_REFUSED);
    assert_int_equal(e->why.grade, ST_RETRY);
    assert_non_null(strstr(e->why.text, "differs"));
    lane_event_free(e);
    settle();
    assert_false(there(name_of(DROP_REFUSED)));
    /* Garbage for a receipt is none. */
    job(LANE_CLOSE, NULL);
    open_it(true);
    meet(LANE_OPENED);
    commit();
    put(name_of(DROP_RECEIPT), "{\"id\":", 6);
    settle();
    assert_null(next_mail());
    give_receipt();
    meet(LANE_RECEIPT);
    buf_free(&text);
}

static void without_skyferry_pull_it_waits(void **state)
{
    (void)state;
    come_up();
    send_all();
    drop_lands();
    struct lane_event *e = expect(LANE_REFUSED);
    assert_int_equal(e->why.grade, ST_WAIT);
    assert_non_null(strstr(e->why.text, "does not run"));
    lane_event_free(e);
    assert_true(is_whole(DROP_TAR)); /* it stays, for when it runs */
    job(LANE_HAVE, &(struct lane_job){.text = strdup("{\"exposures\":[]}")});
    e = expect(LANE_REFUSED);
    assert_int_equal(e->why.grade, ST_RETRY);
    lane_event_free(e);
    /* What waits for it need not wait on. */
    pull_runs();
    meet(LANE_TAKES);
    settle();
    assert_null(next_mail());
}

/* Waits for a question in the folder, which is not `but`. */
static void find_question(char ask[DROP_NAME], const char *but)
{
    struct fault why;
    char name[MEMBER_NAME], id8[9];
    int64_t until = clock_mono() + 20 * NS_PER_S;
    ask[0] = '\0';
    while (!ask[0]) {
        assert_true(clock_mono() < until);
        assert_int_equal(turn(&why), ST_OK);
        DIR *d = opendir(at("drops"));
        for (struct dirent *f; (f = readdir(d));)
            if (drop_name_parse(f->d_name, name, id8) == DROP_ASK && strcmp(name, but) != 0)
                snprintf(ask, DROP_NAME, "%.250s", name);
        closedir(d);
    }
}

static const char *answer_to(const char *ask, const char *text)
{
    static char path[DROP_NAME + 8];
    char file[DROP_NAME];
    assert_true(drop_name(DROP_ANSWER, ask, "", file));
    snprintf(path, sizeof path, "drops/%.250s", file);
    put(path, text, strlen(text));
    return path;
}

static void held_is(const char *text)
{
    struct lane_event *e = expect(LANE_HELD);
    assert_string_equal(e->text, text);
    lane_event_free(e);
}

static void a_question_is_a_file(void **state)
{
    (void)state;
    char ask[DROP_NAME];
    pull_runs();
    come_up();
    job(LANE_HAVE, &(struct lane_job){.text = strdup("{\"exposures\":[]}")});
    find_question(ask, "");
    const char *path = answer_to(ask, "{\"held\":[]}");
    held_is("{\"held\":[]}");
    settle();
    assert_false(there(path));
}

static void questions_wait_for_their_turn(void **state)
{
    (void)state;
    char first[DROP_NAME], second[DROP_NAME];
    pull_runs();
    come_up();
    job(LANE_HAVE, &(struct lane_job){.text = strdup("{\"exposures\":[1]}")});
    job(LANE_HAVE, &(struct lane_job){.text = strdup("{\"exposures\":[2]}")});
    find_question(first, "");
    assert_null(next_mail());
    answer_to(first, "{\"held\":[true]}");
    held_is("{\"held\":[true]}");
    find_question(second, first);
    answer_to(second, "{\"held\":[false]}");
    held_is("{\"held\":[false]}");
    /* One that cannot be asked keeps the next from nothing. */
    job(LANE_HAVE, &(struct lane_job){.text = strdup("{\"exposures\":[3]}")});
    job(LANE_HAVE, &(struct lane_job){.text = strdup("{\"exposures\":[4]}")});
    assert_int_equal(rename(at("drops"), at("away")), 0);
    meet(LANE_REFUSED);
    meet(LANE_REFUSED);
    assert_int_equal(rename(at("away"), at("drops")), 0);
}

static void a_failed_write_is_refused(void **state)
{
    (void)state;
    pull_runs();
    denied = "write";
    come_up();
    open_it(false);
    chunk(0, 1000);
    meet(LANE_OPENED);
    struct lane_event *e = expect(LANE_REFUSED);
    assert_int_equal(e->why.grade, ST_RETRY);
    assert_int_equal(e->length, 1000);
    assert_non_null(strstr(e->why.text, "permission denied"));
    lane_event_free(e);
    assert_int_equal(atomic_load(&load.in_flight), 0);
    assert_int_equal(atomic_load(&load.unsent), 0);
    chunk(SIZE, SIZE + 5); /* the spool file is shorter */
    e = expect(LANE_REFUSED);
    assert_int_equal(e->offset, SIZE);
    lane_event_free(e);
    settle();
    assert_false(there(name_of(DROP_MAP))); /* and nothing is promised */
}

static void fill_disk(void)
{
    int fd = open(at("drops/filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    while (write(fd, bytes, 4096) > 0)
        ;
    close(fd);
}

/* The bundle is whole, and there is no room for its side-car: "failure", says the server. */
static void a_full_disk_is_named(void **state)
{
    (void)state;
    int end = -1;
    pid_t pid = fork();
    if (pid == 0) {
        if (!small_disk(at("drops"), "size=600k"))
            _exit(77);
        pull_runs();
        come_up();
        send_all();
        fill_disk();
        commit();
        struct lane_event *e = expect(LANE_REFUSED);
        bool named = e->why.grade == ST_WAIT && strstr(e->why.text, "is full");
        if (!named)
            print_message("%s\n", e->why.text);
        lane_event_free(e);
        /* With room it goes on where it stopped. */
        unlink(at("drops/filler"));
        job(LANE_CLOSE, NULL);
        open_it(true);
        meet(LANE_OPENED);
        commit();
        drop_lands();
        cut();
        _exit(named ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &end, 0), pid);
    assert_true(WIFEXITED(end));
    if (WEXITSTATUS(end) == 77) {
        print_message("no file system of our own may be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(end), 0);
}

/* What is no answer of a server ends the lane, and may be tried again. */
static void nonsense_ends_the_lane(void **state)
{
    (void)state;
    static const struct { const char *bytes; size_t len; } nonsense[] = {
        {"\0\0\0\x9\x65\0\xff\0\5\0\0\0\0", 13}, /* an answer to nothing */
        {"Connection to cluster closed.\r\n", 31},
        {"\0\0\0\x9\x66\0\0\0\1\xff\xff\xff\xff", 13}};
    for (size_t i = 0; i < 3; i++) {
        struct fault why;
        pull_runs();
        come_up();
        open_it(false);
        meet(LANE_OPENED);
        settle();
        assert_int_equal(talk_input(talk, (const unsigned char *)nonsense[i].bytes,
                                    nonsense[i].len, &why), ST_RETRY);
        cut();
    }
    /* Before the greeting it is a human's. */
    struct fault why;
    connect_to_server();
    assert_int_equal(talk_input(talk, (const unsigned char *)"Welcome!\n", 9, &why), ST_REJECT);
}

static void given_up_nothing_is_left(void **state)
{
    (void)state;
    pull_runs();
    come_up();
    send_all();
    job(LANE_ABORT, NULL);
    settle();
    for (enum drop_kind k = DROP_PART; k <= DROP_TAR; k++)
        assert_false(there(name_of(k)));
    commit(); /* of what is not open */
    meet(LANE_REFUSED);
}

#define DROP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DROP_TEST(the_greeting_looks_at_the_folder),
        DROP_TEST(nobody_behind_the_folder_is_told),
        DROP_TEST(a_folder_that_cannot_be_used),
        DROP_TEST(a_bundle_is_dropped_and_answered),
        DROP_TEST(names_that_are_taken),
        DROP_TEST(after_a_cut_the_map_tells),
        DROP_TEST(a_bundle_without_its_side_car_is_sent_again),
        DROP_TEST(a_bundle_of_another_size_is_sent_again),
        DROP_TEST(a_refusal_is_handed_on),
        DROP_TEST(without_skyferry_pull_it_waits),
        DROP_TEST(a_question_is_a_file),
        DROP_TEST(questions_wait_for_their_turn),
        DROP_TEST(a_failed_write_is_refused),
        DROP_TEST(a_full_disk_is_named),
        DROP_TEST(nonsense_ends_the_lane),
        DROP_TEST(given_up_nothing_is_left),
    };
    if (access(SERVER, X_OK) != 0) {
        printf("1..1\nok 1 - # skipped: no %s here (Debian: openssh-sftp-server)\n", SERVER);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
