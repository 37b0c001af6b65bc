/* A lane over a real sshd: bytes flow and are acknowledged while more are sent; keys are
 * checked; whatever is wrong with the line or the far end is told in words, in time. The far
 * end is this program itself (fake_far.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/unit/sshd_fixture.h"

#define ID "a171c0f50d9815dc43c652fafc22c783b9da48cb9158e624b827045369696853"

static struct mailbox *box;
static struct lane *lane;

/* The lane's send() comes here first. On a long line the kernel's buffer is often full and
 * takes a part of a packet; loopback's is not, unless it is made small. */
static atomic_bool small_buffer;

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
    int size = 8192;
    if (atomic_load(&small_buffer))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return sendto(fd, bytes, len, flags, NULL, 0);
}

/* ---- events ---- */

static struct lane_event *next_event(int seconds)
{
    int64_t until = clock_mono() + seconds * NS_PER_S;
    struct mail *m;
    while (!(m = mailbox_take(box)) && clock_mono() < until) {
        struct pollfd p = {.fd = mailbox_fd(box), .events = POLLIN};
        poll(&p, 1, (int)((until - clock_mono()) / NS_PER_MS) + 1);
    }
    return (struct lane_event *)m;
}

static long long in_flight(void)
{
    struct lane_pulse p;
    lane_pulse(lane, &p);
    return p.in_flight;
}

/* That there is room again is told in between. */
static struct lane_event *expect(enum lane_event_kind kind)
{
    struct lane_event *e;
    while ((e = next_event(30)) && e->mail.kind == LANE_ROOM && kind != LANE_ROOM)
        lane_event_free(e);
    assert_non_null(e);
    if ((int)kind != e->mail.kind)
        print_message("event %d: %s\n", e->mail.kind, e->why.text);
    assert_int_equal(e->mail.kind, kind);
    return e;
}

/* The lane goes down for this reason, within this time. */
static void expect_down(enum status grade, const char *words)
{
    struct lane_event *e = expect(LANE_DOWN);
    if (!strstr(e->why.text, words))
        print_message("%s\n", e->why.text);
    assert_non_null(strstr(e->why.text, words));
    assert_int_equal(e->why.grade, grade);
    lane_event_free(e);
}

static void start(const struct lane_options *o)
{
    struct fault why;
    assert_int_equal(lane_start(o, 7, box, &lane, &why), ST_OK);
}

static void come_up(const struct lane_options *o)
{
    start(o);
    struct lane_event *e = expect(LANE_UP);
    assert_int_equal(e->lane, 7);
    assert_string_equal(e->hello.agent, "fake");
    lane_event_free(e);
}

static int setup(void **state)
{
    (void)state;
    box = mailbox_new();
    return box ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    lane_stop(&lane);
    lane_stop(&lane);
    for (struct mail *m; (m = mailbox_take(box));)
        lane_event_free((struct lane_event *)m);
    mailbox_free(&box);
    return 0;
}

static void stops_in_time(void)
{
    int64_t before = clock_mono();
    lane_stop(&lane);
    assert_null(lane);
    assert_true(clock_mono() - before < 10 * NS_PER_S);
}

/* ---- a file to send ---- */

struct load {
    int fd;
    size_t size;
    unsigned char *bytes;
};

static struct load load_make(size_t size)
{
    struct load l = {.size = size, .bytes = malloc(size)};
    unsigned seed = 1;
    for (size_t i = 0; i < size; i++)
        l.bytes[i] = (unsigned char)(seed = seed * 1664525u + 1013904223u, seed >> 24);
    l.fd = open(at("load"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(fs_write_all(l.fd, l.bytes, size), 0);
    return l;
}

static void load_free(struct load *l)
{
    close(l->fd);
    free(l->bytes);
}

static void post(enum lane_verb verb, const struct load *l, int64_t offset, uint32_t length)
{
    struct lane_job j = {.verb = verb, .bundle = 42, .fd = l ? l->fd : -1, .offset = offset,
                         .length = length};
    memcpy(j.open.id, ID, sizeof j.open.id);
    snprintf(j.open.name, sizeof j.open.name, "DECam_1");
    memcpy(j.commit.sha256, ID, sizeof j.commit.sha256);
    memcpy(j.commit.source_sha256, ID, sizeof j.commit.source_sha256);
    j.commit.size = l ? (int64_t)l->size : 0;
    snprintf(j.commit.source_name, sizeof j.commit.source_name, "x.fits");
    if (verb == LANE_HAVE)
        j.text = strdup("{\"exposures\":[]}");
    lane_post(lane, &j);
}

static void post_all(const struct load *l, uint32_t chunk)
{
    for (size_t from = 0; from < l->size; from += chunk) {
        size_t left = l->size - from;
        post(LANE_CHUNK, l, (int64_t)from, (uint32_t)(left < chunk ? left : chunk));
    }
}

static void expect_all(const struct load *l, uint32_t chunk)
{
    for (size_t from = 0; from < l->size; from += chunk) {
        struct lane_event *e = expect(LANE_GOT);
        assert_true(e->bundle == 42 && e->offset == (int64_t)from);
        assert_true(e->sent_bytes >= e->offset + e->length);
        lane_event_free(e);
    }
}

static void far_has(const struct load *l)
{
    struct buf b = {0};
    struct fault why;
    assert_int_equal(fs_read_file(at("bytes"), l->size + 1, &b, &why), ST_OK);
    assert_int_equal(b.len, l->size);
    assert_memory_equal(b.data, l->bytes, l->size);
    buf_free(&b);
}

/* Sends it all, commits, says goodbye. */
static void carries(const struct lane_options *o, size_t size, uint32_t chunk)
{
    struct load l = load_make(size);
    come_up(o);
    int64_t before = clock_mono();
    post(LANE_OPEN, &l, 0, 0);
    post_all(&l, chunk);
    post(LANE_COMMIT, &l, 0, 0);
    lane_event_free(expect(LANE_OPENED));
    expect_all(&l, chunk);
    struct lane_event *e = expect(LANE_RECEIPT);
    assert_true(e->receipt.size == (int64_t)size);
    assert_true(e->sent_bytes == (int64_t)size);
    lane_event_free(e);
    assert_true(in_flight() == 0);
    far_has(&l);
    /* No wake-up was missed: then it would have lain still until the PING after 10 s. */
    assert_true(clock_mono() - before < 9 * NS_PER_S);
    stops_in_time();
    for (int i = 0; i < 500 && access(at("bye"), F_OK) != 0; i++)
        short_sleep();
    assert_int_equal(access(at("bye"), F_OK), 0);
    load_free(&l);
}

/* ---- the good line ---- */

static void bytes_flow_and_are_acknowledged(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    far_is("good");
    carries(&o, 20000000, 1 << 20);
}

static void many_chunks_are_under_way_at_once(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    far_is("lazy");
    carries(&o, 64 * 65536, 65536);
}

/* So many that the window for the answers has to be opened again in between. */
static void many_answers_come_back(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    far_is("good");
    atomic_store(&small_buffer, true);
    carries(&o, 12800000, 512);
    atomic_store(&small_buffer, false);
}

/* The far end is slower than the line: windows and socket buffers fill, packets are sent in
 * part, and the far end's answers have to be taken in between. */
static void a_slow_far_end_only_slows(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    far_is("slow");
    carries(&o, 16 << 20, 32768);
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    snprintf(o.host, sizeof o.host, "localhost");
    put_file("known_hosts", "[localhost]:%d %s\n", sshd_port, get_file("host_key.pub"));
    far_is("good");
    carries(&o, 100000, 65536);
    pin("host_key.pub");
}

static void a_question_is_answered(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    struct wire_hello hello;
    struct fault why;
    struct buf held = {0};
    far_is("good");
    assert_int_equal(lane_ask(&o, "{\"exposures\":[]}", &hello, &held, &why), ST_OK);
    assert_string_equal(hello.agent, "fake");
    assert_int_equal(held.len, 21);
    assert_memory_equal(held.data, "{\"held\":[true,false]}", 21);
    assert_int_equal(lane_ask(&o, NULL, &hello, NULL, &why), ST_OK);
    buf_free(&held);
    o.port = free_port(NULL);
    assert_int_equal(lane_ask(&o, NULL, &hello, NULL, &why), ST_RETRY);
    assert_non_null(strstr(why.text, "Connection refused"));
}

/* RekeyLimit 256K: the server asks for new keys all the time, over the thin line mostly while
 * a packet is half sent. */
static void a_server_that_rekeys_often_only_slows(void **state)
{
    (void)state;
    sshd_stop();
    sshd_start("RekeyLimit 256K\nMaxSessions 1\nMaxStartups 2");
    pin("host_key.pub");
    struct lane_options o = to_far();
    far_is("good");
    carries(&o, 12000000, 1 << 18);
    pid_t relay = relay_start(&o.port);
    pin_at(o.port, "host_key.pub");
    far_is("good");
    atomic_store(&small_buffer, true);
    carries(&o, 6 << 20, 16384);
    atomic_store(&small_buffer, false);
    relay_stop(relay);
    sshd_stop();
    sshd_start("");
    pin("host_key.pub");
}

/* ---- keys ---- */

static void an_unknown_host_key_is_shown(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    char words[300], print[256];
    far_is("good");
    run((char *[]){"sh", "-c", "ssh-keygen -lf \"$1\" | cut -d' ' -f2 >\"$2\"", "sh",
                   (char *)at("host_key.pub"), (char *)at("print"), NULL});
    snprintf(print, sizeof print, "%s", get_file("print"));
    put_file("known_hosts", "[127.0.0.2]:%d %s\n", sshd_port, get_file("host_key.pub"));
    start(&o);
    snprintf(words, sizeof words, "the host key is not known: %s (ssh-ed25519)", print);
    expect_down(ST_REJECT, words);
    lane_stop(&lane);
    unlink(at("known_hosts"));
    start(&o);
    snprintf(words, sizeof words, "ssh-keyscan -p %d 127.0.0.1 >> ", sshd_port);
    expect_down(ST_REJECT, words);
    lane_stop(&lane);
    /* What ssh-keyscan writes is what is wanted. */
    run((char *[]){"sh", "-c", "ssh-keyscan -p \"$1\" 127.0.0.1 >>\"$2\" 2>/dev/null", "sh",
                   (char *)(intptr_t)(snprintf(print, sizeof print, "%d", sshd_port), print),
                   (char *)at("known_hosts"), NULL});
    come_up(&o);
    assert_int_not_equal(access(at("session"), F_OK), -1);
    pin("host_key.pub");
}

static void a_changed_host_key_is_refused(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    far_is("good");
    pin("other_host_key.pub");
    start(&o);
    expect_down(ST_REJECT, "the host key HAS CHANGED: it is now SHA256:");
    /* Nothing was asked of that machine. */
    assert_int_equal(access(at("session"), F_OK), -1);
    pin("host_key.pub");
}

static void the_pinned_kind_of_key_is_asked_for(void **state)
{
    (void)state;
    char line[4200];
    sshd_stop();
    snprintf(line, sizeof line, "HostKey %s", at("ecdsa_host_key"));
    sshd_start(line);
    struct lane_options o = to_far();
    far_is("good");
    pin("ecdsa_host_key.pub");
    come_up(&o);
    stops_in_time();
    pin("host_key.pub");
    come_up(&o);
    stops_in_time();
    /* Hashed names, as ssh-keygen -H writes them. */
    run((char *[]){"sh", "-c", "ssh-keygen -q -H -f \"$1\" 2>/dev/null", "sh",
                   (char *)at("known_hosts"), NULL});
    come_up(&o);
    stops_in_time();
    sshd_stop();
    sshd_start("");
    pin("host_key.pub");
}

static void a_useless_identity_is_explained(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    far_is("good");
    snprintf(o.identity, sizeof o.identity, "%s", at("nowhere"));
    start(&o);
    expect_down(ST_REJECT, "ssh-keygen -t ed25519 -N '' -f");
    lane_stop(&lane);
    snprintf(o.identity, sizeof o.identity, "%s", at("locked_key"));
    start(&o);
    expect_down(ST_REJECT, "has a passphrase");
    lane_stop(&lane);
    put_file("garbage_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n"
                            "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n");
    snprintf(o.identity, sizeof o.identity, "%s", at("garbage_key"));
    start(&o);
    expect_down(ST_REJECT, "cannot be used");
    lane_stop(&lane);
    snprintf(o.identity, sizeof o.identity, "%s", at("other_host_key"));
    start(&o);
    expect_down(ST_REJECT, "was refused. The line of ");
}

static void algorithms_that_do_not_meet_are_said(void **state)
{
    (void)state;
    sshd_stop();
    sshd_start("Ciphers chacha20-poly1305@openssh.com");
    pin("host_key.pub");
    struct lane_options o = to_far();
    start(&o);
    expect_down(ST_REJECT, "no common SSH algorithms");
    sshd_stop();
    sshd_start("");
    pin("host_key.pub");
}

/* ---- a far end that is none ---- */

static void a_wrong_program_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *mode;
        enum status grade;
        const char *words;
    } cases[] = {
        {"banner", ST_REJECT, "something that says \"Welcome to the cluster!\""},
        {"short banner", ST_REJECT, "\"hi\" (exit status 1: \"This account is closed.\")"},
        {"silent", ST_REJECT, "skyferry-pull did not start (exit status 0); check the command"},
        {"usage", ST_REJECT, "(exit status 2: \"skyferry-pull: pull.conf:3: unknown key 'rot'\")"},
        {"later", ST_REJECT, "speaks wire protocol 99"},
    };
    struct lane_options o = to_far();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        far_is(cases[i].mode);
        start(&o);
        expect_down(cases[i].grade, cases[i].words);
        lane_stop(&lane);
    }
    put_file("authorized_keys", "restrict,command=\"/nowhere/skyferry-pull receive\" %s\n",
             get_file("user_key.pub"));
    start(&o);
    expect_down(ST_REJECT, "skyferry-pull did not start (exit status 127: ");
}

static void a_far_end_that_dies_leaves_its_last_words(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    struct load l = load_make(1000000);
    far_is("quits");
    come_up(&o);
    post(LANE_OPEN, &l, 0, 0);
    lane_event_free(expect(LANE_OPENED));
    post_all(&l, 65536);
    expect_down(ST_RETRY, "ended (exit status 1: \"the disk of the store is gone\")");
    assert_true(in_flight() == 0);
    /* What comes too late is dropped, and freed. */
    post(LANE_CHUNK, &l, 0, 100);
    post(LANE_HAVE, NULL, 0, 0);
    assert_true(in_flight() == 0);
    assert_null(next_event(0));
    load_free(&l);
}

/* ---- a line that is none ---- */

static void a_far_end_out_of_reach_is_tried_again(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    int listening;
    o.port = free_port(NULL);
    start(&o);
    expect_down(ST_RETRY, "Connection refused");
    lane_stop(&lane);
    /* Accepted by the kernel, answered by nobody. */
    o.port = free_port(&listening);
    o.connect_timeout_s = 1;
    int64_t before = clock_mono();
    start(&o);
    expect_down(ST_RETRY, "no SSH answer in time");
    assert_true(clock_mono() - before < 15 * NS_PER_S);
    lane_stop(&lane);
    o.connect_timeout_s = 60;
    start(&o);
    short_sleep();
    stops_in_time();
    close(listening);
    snprintf(o.host, sizeof o.host, "no-such-host.invalid");
    o.connect_timeout_s = 5;
    start(&o);
    expect_down(ST_RETRY, "the name 'no-such-host.invalid'");
}

static void a_cut_is_noticed(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    struct load l = load_make(8 << 20);
    far_is("stuck");
    come_up(&o);
    post(LANE_OPEN, &l, 0, 0);
    lane_event_free(expect(LANE_OPENED));
    post_all(&l, 1 << 20);
    kill((pid_t)strtol(get_file("session"), NULL, 10), SIGKILL);
    expect_down(ST_RETRY, "127.0.0.1");
    load_free(&l);
}

static void silence_is_noticed(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    struct load l = load_make(100000);
    o.silence_s = 1;
    far_is("mute");
    come_up(&o);
    int64_t before = clock_mono();
    post(LANE_OPEN, &l, 0, 0);
    expect_down(ST_RETRY, "has not answered for 1 s: the line is dead");
    assert_true(clock_mono() - before > 900 * NS_PER_MS && clock_mono() - before < 15 * NS_PER_S);
    lane_stop(&lane);
    /* An idle line is asked: PING after half the time. */
    before = clock_mono();
    come_up(&o);
    expect_down(ST_RETRY, "has not answered for 1 s: the line is dead");
    assert_true(clock_mono() - before > 1400 * NS_PER_MS && clock_mono() - before < 15 * NS_PER_S);
    lane_stop(&lane);
    /* And one that answers stays up. */
    far_is("good");
    o.silence_s = 5;
    come_up(&o);
    assert_null(next_event(6));
    load_free(&l);
}

static void a_lane_stops_in_time_whatever_hangs(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    struct load l = load_make(8 << 20);
    far_is("stuck");
    come_up(&o);
    post(LANE_OPEN, &l, 0, 0);
    lane_event_free(expect(LANE_OPENED));
    post_all(&l, 1 << 20);
    for (int i = 0; i < 20; i++)
        short_sleep();
    assert_true(in_flight() == 8 << 20);
    stops_in_time();
    /* The same with a session that does not even read its socket. */
    come_up(&o);
    post(LANE_OPEN, &l, 0, 0);
    lane_event_free(expect(LANE_OPENED));
    pid_t session = (pid_t)strtol(get_file("session"), NULL, 10);
    kill(session, SIGSTOP);
    post_all(&l, 1 << 20);
    for (int i = 0; i < 20; i++)
        short_sleep();
    stops_in_time();
    kill(session, SIGKILL);
    load_free(&l);
}

static void a_dead_line_is_noticed_while_sending(void **state)
{
    (void)state;
    struct lane_options o = to_far();
    struct load l = load_make(8 << 20);
    pid_t relay = relay_start(&o.port);
    pin_at(o.port, "host_key.pub");
    far_is("good");
    o.silence_s = 4;
    come_up(&o);
    post(LANE_OPEN, &l, 0, 0);
    lane_event_free(expect(LANE_OPENED));
    post_all(&l, 1 << 20);
    lane_event_free(expect(LANE_GOT));
    kill(relay, SIGSTOP);
    int64_t before = clock_mono();
    struct lane_event *e;
    while ((e = next_event(20)) && e->mail.kind != LANE_DOWN)
        lane_event_free(e);
    assert_non_null(e);
    assert_int_equal(e->mail.kind, LANE_DOWN);
    assert_int_equal(e->why.grade, ST_RETRY);
    assert_true(clock_mono() - before < 15 * NS_PER_S);
    lane_event_free(e);
    stops_in_time();
    relay_stop(relay);
    pin("host_key.pub");
    load_free(&l);
}

static int sshd_up(void **state)
{
    (void)state;
    far_is("good");
    sshd_start("");
    pin("host_key.pub");
    return 0;
}

static int sshd_down(void **state)
{
    (void)state;
    sshd_stop();
    scratch_remove(&dir);
    return 0;
}

#define LANE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LANE_TEST(bytes_flow_and_are_acknowledged),
        LANE_TEST(many_chunks_are_under_way_at_once),
        LANE_TEST(many_answers_come_back),
        LANE_TEST(a_slow_far_end_only_slows),
        LANE_TEST(a_name_is_looked_up),
        LANE_TEST(a_question_is_answered),
        LANE_TEST(a_server_that_rekeys_often_only_slows),
        LANE_TEST(an_unknown_host_key_is_shown),
        LANE_TEST(a_changed_host_key_is_refused),
        LANE_TEST(the_pinned_kind_of_key_is_asked_for),
        LANE_TEST(a_useless_identity_is_explained),
        LANE_TEST(algorithms_that_do_not_meet_are_said),
        LANE_TEST(a_wrong_program_is_named),
        LANE_TEST(a_far_end_that_dies_leaves_its_last_words),
        LANE_TEST(a_far_end_out_of_reach_is_tried_again),
        LANE_TEST(a_cut_is_noticed),
        LANE_TEST(silence_is_noticed),
        LANE_TEST(a_lane_stops_in_time_whatever_hangs),
        LANE_TEST(a_dead_line_is_noticed_while_sending),
    };
    if (argc == 4 && strcmp(argv[1], "far") == 0)
        return fake_main(argv);
    signal(SIGPIPE, SIG_IGN);
    if (!sshd_prepare())
        return 0;
    return cmocka_run_group_tests(tests, sshd_up, sshd_down);
}
