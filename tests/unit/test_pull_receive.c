/* `skyferry-pull receive` on pipes, as sshd runs it: frames in, answers out in order, several
 * bundles at once, and an orderly end whatever happens to the line. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "common/clock.h"
#include "pull/receive.h"
#include "tests/unit/golden_wire.h"
#include "tests/unit/part_fixture.h"

/* ---- a receiver in a process of its own ---- */

struct far {
    pid_t pid;
    int to, from;
    struct buf heard;
};

static void far_start(struct far *f)
{
    int in[2], out[2];
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    *f = (struct far){.pid = fork()};
    assert_true(f->pid >= 0);
    if (f->pid == 0) {
        /* Pipes of another receiver would keep its line open. */
        for (int fd = 3; fd < 100; fd++)
            if (fd != in[0] && fd != out[1])
                close(fd);
        _exit(receive_run(&store, "cluster", in[0], out[1]));
    }
    close(in[0]);
    close(out[1]);
    f->to = in[1];
    f->from = out[0];
}

static int far_wait(struct far *f)
{
    int end = -1;
    assert_int_equal(waitpid(f->pid, &end, 0), f->pid);
    assert_true(WIFEXITED(end));
    return WEXITSTATUS(end);
}

/* Hangs up and gives the exit status. */
static int far_end(struct far *f)
{
    if (f->to >= 0)
        close(f->to);
    int code = far_wait(f);
    close(f->from);
    buf_free(&f->heard);
    return code;
}

static void tell_raw(struct far *f, const void *bytes, size_t len)
{
    assert_int_equal(fs_write_all(f->to, bytes, len), 0);
}

static void tell(struct far *f, enum wire_type type, uint16_t stream, const void *body, size_t len)
{
    struct buf b = {0};
    assert_true(wire_put(&b, type, stream, body, (uint32_t)len));
    tell_raw(f, b.data, b.len);
    buf_free(&b);
}

/* The next frame; its payload is good until the next call. */
static struct wire_frame hear(struct far *f)
{
    static struct buf last;
    struct wire_frame got;
    struct fault why;
    size_t used;
    enum status st;
    while ((st = wire_take(f->heard.data, f->heard.len, &got, &used, &why)) == ST_WAIT) {
        assert_true(buf_reserve(&f->heard, 65536));
        ssize_t n = read(f->from, f->heard.data + f->heard.len, 65536);
        assert_true(n > 0);
        f->heard.len += (size_t)n;
    }
    assert_int_equal(st, ST_OK);
    buf_free(&last);
    assert_true(buf_append(&last, f->heard.data, used));
    buf_consume(&f->heard, used);
    assert_int_equal(wire_take(last.data, last.len, &got, &used, &why), ST_OK);
    return got;
}

static void expect(struct far *f, enum wire_type type, uint16_t stream)
{
    struct wire_frame got = hear(f);
    assert_int_equal(got.type, type);
    assert_int_equal(got.stream, stream);
}

static void expect_refused(struct far *f, uint16_t stream, enum status grade, const char *words)
{
    struct fault why;
    struct wire_frame got = hear(f);
    assert_int_equal(got.type, WIRE_REFUSED);
    assert_int_equal(got.stream, stream);
    assert_int_equal(wire_refused_parse(got.payload, got.length, &why), grade);
    assert_non_null(strstr(why.text, words));
}

static void greet_as(struct far *f, int protocol)
{
    struct buf b = {0};
    struct wire_hello h = {protocol, "skyferry test", "blanco:1", 0, false};
    assert_true(wire_hello_text(&h, &b));
    tell(f, WIRE_HELLO, 0, b.data, b.len);
    buf_free(&b);
}

static void greet(struct far *f)
{
    struct wire_hello h;
    struct fault why;
    greet_as(f, WIRE_VERSION);
    struct wire_frame got = hear(f);
    assert_int_equal(got.type, WIRE_WELCOME);
    assert_int_equal(wire_hello_parse(got.payload, got.length, &h, &why), ST_OK);
    assert_string_equal(h.agent, "cluster");
    assert_true(h.free_bytes > 0);
}

static void tell_open(struct far *f, uint16_t stream, const struct sample *s)
{
    struct buf b = {0};
    assert_true(wire_open_text(&s->open, &b));
    tell(f, WIRE_OPEN, stream, b.data, b.len);
    buf_free(&b);
}

static void tell_chunk(struct far *f, uint16_t stream, const struct sample *s, size_t from,
                       size_t to)
{
    struct buf b = {0};
    assert_true(wire_put_chunk_head(&b, stream, from, (uint32_t)(to - from)));
    assert_true(buf_append(&b, s->bytes + from, to - from));
    tell_raw(f, b.data, b.len);
    buf_free(&b);
}

static void tell_commit(struct far *f, uint16_t stream, const struct sample *s)
{
    struct buf b = {0};
    assert_true(wire_commit_text(&s->commit, &b));
    tell(f, WIRE_COMMIT, stream, b.data, b.len);
    buf_free(&b);
}

static void expect_got(struct far *f, uint16_t stream, uint64_t from, uint64_t to)
{
    struct wire_frame got = hear(f);
    assert_int_equal(got.type, WIRE_GOT);
    assert_int_equal(got.stream, stream);
    assert_int_equal(got.length, 16);
    assert_true(wire_u64(got.payload) == from && wire_u64(got.payload + 8) == to - from);
}

static void expect_receipt(struct far *f, uint16_t stream, const struct sample *s)
{
    struct receipt r;
    struct fault why;
    struct wire_frame got = hear(f);
    assert_int_equal(got.type, WIRE_RECEIPT);
    assert_int_equal(got.stream, stream);
    assert_int_equal(receipt_parse(got.payload, got.length, &r, &why), ST_OK);
    assert_string_equal(r.sha256, s->commit.sha256);
    assert_true(stored_is(r.stored, s));
}

/* ---- tests ---- */

/* The words of a refusal are for people, and may become better ones. */
static void normal_refusal(const struct wire_frame *f, struct buf *out)
{
    static const char begin[] = "\"reason\":\"", end[] = "\",\"about\"";
    const unsigned char *p = f->payload, *stop = p + f->length;
    const unsigned char *a = memmem(p, f->length, begin, strlen(begin));
    assert_non_null(a);
    const unsigned char *b = memmem(a, (size_t)(stop - a), end, strlen(end));
    assert_non_null(b);
    assert_true(buf_append(out, p, (size_t)(a - p)) && buf_append(out, b, (size_t)(stop - b)));
}

/* Times, free space and the release differ from day to day. */
static void normal_body(const struct wire_frame *f, struct buf *out)
{
    struct fault why;
    struct receipt r;
    struct wire_hello h;
    if (f->type == WIRE_RECEIPT) {
        assert_int_equal(receipt_parse(f->payload, f->length, &r, &why), ST_OK);
        r.first_ns = r.stored_ns = 0;
        assert_true(receipt_text(&r, out));
    } else if (f->type == WIRE_WELCOME) {
        assert_int_equal(wire_hello_parse(f->payload, f->length, &h, &why), ST_OK);
        h.free_bytes = 0;
        h.software[0] = '\0';
        assert_true(wire_hello_text(&h, out));
    } else if (f->type == WIRE_REFUSED) {
        normal_refusal(f, out);
    } else {
        assert_true(buf_append(out, f->payload, f->length) && buf_append(out, "", 0));
    }
}

static void same_answer(const struct wire_frame *want, const struct wire_frame *got)
{
    static char was[4096], is[4096];
    struct buf a = {0}, b = {0};
    normal_body(want, &a);
    normal_body(got, &b);
    if (got->type != want->type || got->stream != want->stream || a.len != b.len ||
        (a.len > 0 && memcmp(a.data, b.data, a.len) != 0)) {
        golden_describe(want, was);
        golden_describe(got, is);
        fail_msg("the answer\n  was    %s\n  is now %s\n%s", was, is, GOLDEN_CHANGED);
    }
    buf_free(&a);
    buf_free(&b);
}

/* What receive answers to push's side of the session: in this very process, from a file into a
 * file. */
static void answers_to(const struct golden_session *g, struct buf *out)
{
    struct buf in = {0};
    struct fault why;
    for (size_t i = 0; i < g->count; i++)
        if (g->frames[i].from == '>')
            assert_true(buf_append(&in, g->frames[i].bytes.data, g->frames[i].bytes.len));
    assert_int_equal(fs_write_file(in_store("in"), in.data, in.len, false, &why), ST_OK);
    int in_fd = open(in_store("in"), O_RDONLY | O_CLOEXEC);
    int out_fd = open(in_store("out"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(in_fd >= 0 && out_fd >= 0);
    int flags = fcntl(out_fd, F_GETFL);
    assert_int_equal(receive_run(&store, "cluster", in_fd, out_fd), EXIT_DONE);
    assert_int_equal(fcntl(out_fd, F_GETFL), flags);
    assert_int_equal(fs_read_file(in_store("out"), 1 << 20, out, &why), ST_OK);
    assert_int_equal(count_files("incoming", ""), 0);
    close(in_fd);
    close(out_fd);
    buf_free(&in);
}

static void answered_as_captured(const char *path)
{
    static struct golden_session g;
    struct buf out = {0};
    struct fault why;
    size_t at = 0;
    assert_true(golden_read(path, &g));
    answers_to(&g, &out);
    for (size_t i = 0; i < g.count; i++) {
        struct wire_frame got;
        size_t used;
        if (g.frames[i].from == '>')
            continue;
        assert_int_equal(wire_take(out.data + at, out.len - at, &got, &used, &why), ST_OK);
        same_answer(&g.frames[i].frame, &got);
        at += used;
    }
    assert_int_equal(at, out.len);
    buf_free(&out);
    golden_free(&g);
}

static void the_golden_session_is_answered_as_captured(void **state)
{
    (void)state;
    answered_as_captured(GOLDEN_WIRE);
}

/* A push of an older release may be out there. */
static void an_older_session_is_answered_as_it_was(void **state)
{
    (void)state;
    answered_as_captured(GOLDEN_WIRE_OLD);
}

/* UPDATE_GOLDEN: each request's answer is put behind it. */
static void capture(void **state)
{
    (void)state;
    static struct golden_session g, whole;
    struct buf out = {0};
    struct fault why;
    size_t at = 0;
    assert_true(golden_read(GOLDEN_WIRE, &g));
    answers_to(&g, &out);
    for (size_t i = 0; i < g.count; i++) {
        const struct golden_frame *one = &g.frames[i];
        struct wire_frame got;
        size_t used;
        enum wire_type type = one->frame.type;
        if (one->from == '<')
            continue;
        assert_true(golden_add(&whole, '>', one->note, one->bytes.data, one->bytes.len));
        if (type == WIRE_ABORT || type == WIRE_CLOSE || type == WIRE_BYE)
            continue;
        assert_int_equal(wire_take(out.data + at, out.len - at, &got, &used, &why), ST_OK);
        assert_true(golden_add(&whole, '<', "", out.data + at, used));
        at += used;
    }
    assert_int_equal(at, out.len);
    assert_true(golden_write(GOLDEN_WIRE, &whole));
    buf_free(&out);
    golden_free(&g);
    golden_free(&whole);
}

static void frames_may_come_in_any_pieces(void **state)
{
    (void)state;
    static struct golden_session g;
    struct far f;
    assert_true(golden_read(GOLDEN_WIRE, &g));
    far_start(&f);
    for (size_t i = 0; i < g.count; i++)
        if (g.frames[i].from == '>')
            for (size_t b = 0; b < g.frames[i].bytes.len; b++)
                tell_raw(&f, g.frames[i].bytes.data + b, 1);
    for (size_t i = 0; i < g.count; i++) {
        if (g.frames[i].from == '>')
            continue;
        struct wire_frame got = hear(&f);
        same_answer(&g.frames[i].frame, &got);
    }
    assert_int_equal(far_end(&f), EXIT_DONE);
    golden_free(&g);
}

static void several_bundles_travel_at_once(void **state)
{
    (void)state;
    struct sample s[3];
    struct far f;
    far_start(&f);
    greet(&f);
    for (uint16_t i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "DECam_%u", i);
        sample_make(&s[i], name, i, 300000);
        tell_open(&f, i + 1, &s[i]);
    }
    for (uint16_t i = 0; i < 3; i++)
        expect(&f, WIRE_OPENED, i + 1);
    for (size_t at = 0; at < 300000; at += 100000)
        for (uint16_t i = 0; i < 3; i++) {
            tell_chunk(&f, i + 1, &s[i], at, at + 100000);
            expect_got(&f, i + 1, at, at + 100000);
        }
    for (uint16_t i = 3; i > 0; i--)
        tell_commit(&f, i, &s[i - 1]);
    for (uint16_t i = 3; i > 0; i--)
        expect_receipt(&f, i, &s[i - 1]);
    tell(&f, WIRE_BYE, 0, NULL, 0);
    assert_int_equal(far_end(&f), EXIT_DONE);
    for (int i = 0; i < 3; i++)
        sample_free(&s[i]);
}

static void two_lanes_share_a_bundle(void **state)
{
    (void)state;
    struct sample s;
    struct far a, b;
    sample_make(&s, "DECam_1", 1, 300000);
    far_start(&a);
    far_start(&b);
    greet(&a);
    greet(&b);
    tell_open(&a, 1, &s);
    tell_open(&b, 9, &s);
    expect(&a, WIRE_OPENED, 1);
    expect(&b, WIRE_OPENED, 9);
    tell_chunk(&a, 1, &s, 0, 150000);
    tell_chunk(&b, 9, &s, 150000, 300000);
    expect_got(&a, 1, 0, 150000);
    expect_got(&b, 9, 150000, 300000);
    tell_commit(&a, 1, &s);
    expect_receipt(&a, 1, &s);
    /* The other lane learns it by its next frame, and is not refused for being late. */
    tell_chunk(&b, 9, &s, 0, 150000);
    expect_got(&b, 9, 0, 150000);
    tell_commit(&b, 9, &s);
    expect_receipt(&b, 9, &s);
    tell(&b, WIRE_CLOSE, 9, NULL, 0);
    tell_chunk(&b, 9, &s, 0, 10);
    expect_refused(&b, 9, ST_RETRY, "stream 9 is not open");
    assert_int_equal(far_end(&a), EXIT_DONE);
    assert_int_equal(far_end(&b), EXIT_DONE);
    sample_free(&s);
}

static void another_version_is_refused_in_words(void **state)
{
    (void)state;
    struct far f;
    far_start(&f);
    greet_as(&f, WIRE_VERSION + 1);
    expect_refused(&f, 0, ST_REJECT, "install the same release on both sides");
    assert_int_equal(far_end(&f), EXIT_FAILED);
}

static void an_unusable_store_is_said_at_once(void **state)
{
    (void)state;
    struct far f;
    struct fault why;
    assert_int_equal(fs_write_file(in_store("incoming"), "x", 1, false, &why), ST_OK);
    far_start(&f);
    greet_as(&f, WIRE_VERSION);
    expect_refused(&f, 0, ST_RETRY, "the store cannot be used");
    assert_int_equal(far_end(&f), EXIT_FAILED);
}

static void what_is_not_push_is_refused(void **state)
{
    (void)state;
    struct far f;
    far_start(&f);
    tell_raw(&f, "GET / HTTP/1.1\r\n\r\n", 18);
    expect_refused(&f, 0, ST_REJECT, "no skyferry frame: \"GET / HTTP");
    assert_int_equal(far_end(&f), EXIT_FAILED);
    far_start(&f);
    tell(&f, WIRE_HAVE, 0, "{\"exposures\":[]}", 16);
    expect_refused(&f, 0, ST_REJECT, "the first frame must be HELLO, not HAVE");
    assert_int_equal(far_end(&f), EXIT_FAILED);
    far_start(&f);
    greet(&f);
    tell(&f, WIRE_GOT, 0, NULL, 0);
    expect_refused(&f, 0, ST_REJECT, "GOT is a word of the far end's");
    assert_int_equal(far_end(&f), EXIT_FAILED);
}

static void a_failed_request_stops_nothing_else(void **state)
{
    (void)state;
    struct sample s, full;
    struct far f;
    sample_make(&s, "DECam_1", 2, 1000);
    sample_make(&full, "DECam_2", 3, 1000);
    far_start(&f);
    greet(&f);
    tell(&f, WIRE_OPEN, 1, "{}", 2);
    expect_refused(&f, 1, ST_REJECT, "OPEN: the key 'id' is missing");
    tell_chunk(&f, 1, &s, 0, 10);
    expect_refused(&f, 1, ST_REJECT, "OPEN: the key 'id' is missing");
    tell(&f, WIRE_HAVE, 0, "nonsense", 8);
    expect_refused(&f, 0, ST_REJECT, "HAVE: it is no JSON");
    tell_open(&f, 2, &s);
    expect(&f, WIRE_OPENED, 2);
    tell(&f, WIRE_CHUNK, 2, "\0\0\0\0\0\0\0\0", 8);
    expect_refused(&f, 2, ST_REJECT, "a chunk without bytes");
    tell(&f, WIRE_CHUNK, 2, "\xff\0\0\0\0\0\0\0x", 9);
    expect_refused(&f, 2, ST_REJECT, "no part of a bundle");
    tell_chunk(&f, 2, &s, 0, 1000);
    expect_got(&f, 2, 0, 1000);
    tell_commit(&f, 2, &full);
    expect_refused(&f, 2, ST_RETRY, "SHA-256 differs");
    tell_chunk(&f, 2, &s, 0, 1000);
    expect_got(&f, 2, 0, 1000);
    tell_commit(&f, 2, &s);
    expect_receipt(&f, 2, &s);
    assert_int_equal(far_end(&f), EXIT_DONE);
    sample_free(&s);
    sample_free(&full);
}

static void a_full_store_makes_push_wait(void **state)
{
    (void)state;
    struct sample s;
    struct far f;
    sample_make(&s, "DECam_1", 4, 1000);
    store.min_free_bytes = INT64_MAX;
    far_start(&f);
    greet(&f);
    tell_open(&f, 1, &s);
    expect(&f, WIRE_OPENED, 1);
    tell_chunk(&f, 1, &s, 0, 1000);
    expect_refused(&f, 1, ST_WAIT, "the store is full");
    tell(&f, WIRE_PING, 0, "?", 1);
    expect(&f, WIRE_PONG, 0);
    assert_int_equal(far_end(&f), EXIT_DONE);
    sample_free(&s);
}

static void a_cut_inside_a_frame_keeps_what_came_before(void **state)
{
    (void)state;
    struct sample s;
    struct far f;
    struct buf half = {0};
    sample_make(&s, "DECam_1", 5, 200000);
    far_start(&f);
    greet(&f);
    tell_open(&f, 1, &s);
    expect(&f, WIRE_OPENED, 1);
    tell_chunk(&f, 1, &s, 0, 100000);
    expect_got(&f, 1, 0, 100000);
    assert_true(wire_put_chunk_head(&half, 1, 100000, 100000));
    assert_true(buf_append(&half, s.bytes + 100000, 50000));
    tell_raw(&f, half.data, half.len);
    assert_int_equal(far_end(&f), EXIT_FAILED);
    far_start(&f);
    greet(&f);
    tell_open(&f, 1, &s);
    struct wire_frame got = hear(&f);
    assert_int_equal(got.type, WIRE_OPENED);
    assert_int_equal(got.length, strlen("{\"have\":[[0,100000]]}"));
    assert_memory_equal(got.payload, "{\"have\":[[0,100000]]}", got.length);
    assert_int_equal(far_end(&f), EXIT_DONE);
    buf_free(&half);
    sample_free(&s);
}

static void sigterm_ends_it_at_once(void **state)
{
    (void)state;
    struct far f;
    far_start(&f);
    greet(&f);
    int64_t before = clock_mono();
    kill(f.pid, SIGTERM);
    assert_int_equal(far_wait(&f), EXIT_DONE);
    assert_true(clock_mono() - before < 20 * NS_PER_S);
    close(f.to);
    close(f.from);
    buf_free(&f.heard);
}

static void a_far_end_that_reads_nothing_costs_no_memory(void **state)
{
    (void)state;
    struct far f;
    struct buf ping = {0};
    char *payload = calloc(1, 1 << 20);
    size_t taken = 0;
    int idle = 0;
    assert_true(wire_put(&ping, WIRE_PING, 0, payload, 1 << 20));
    far_start(&f);
    greet(&f);
    fcntl(f.to, F_SETFL, O_NONBLOCK);
    /* Until it has taken nothing for half a second. */
    while (idle < 50 && taken < 64u << 20) {
        ssize_t n = write(f.to, ping.data + taken % ping.len, ping.len - taken % ping.len);
        idle = n > 0 ? 0 : idle + 1;
        taken += n > 0 ? (size_t)n : 0;
        if (n <= 0)
            nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    assert_true(taken < 8u << 20);
    close(f.from);
    assert_int_equal(far_wait(&f), EXIT_FAILED);
    close(f.to);
    buf_free(&f.heard);
    buf_free(&ping);
    free(payload);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(the_golden_session_is_answered_as_captured),
        STORE_TEST(an_older_session_is_answered_as_it_was),
        STORE_TEST(frames_may_come_in_any_pieces),
        STORE_TEST(several_bundles_travel_at_once),
        STORE_TEST(two_lanes_share_a_bundle),
        STORE_TEST(another_version_is_refused_in_words),
        STORE_TEST(an_unusable_store_is_said_at_once),
        STORE_TEST(what_is_not_push_is_refused),
        STORE_TEST(a_failed_request_stops_nothing_else),
        STORE_TEST(a_full_store_makes_push_wait),
        STORE_TEST(a_cut_inside_a_frame_keeps_what_came_before),
        STORE_TEST(sigterm_ends_it_at_once),
        STORE_TEST(a_far_end_that_reads_nothing_costs_no_memory),
    };
    const struct CMUnitTest update[] = {STORE_TEST(capture)};
    signal(SIGPIPE, SIG_IGN);
    if (getenv("UPDATE_GOLDEN"))
        return cmocka_run_group_tests(update, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
