/* A lane's side of the conversation, moved by hand: which bytes each job becomes, which
 * event each answer becomes, and what is said of a far end that talks nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "push/lane_talk.h"
#include "push/lane_words.h"
#include "tests/unit/scratch.h"

#define ID "a171c0f50d9815dc43c652fafc22c783b9da48cb9158e624b827045369696853"

static struct scratch dir;
static struct mailbox *box;
static struct talk *talk;
static struct lane_load load; /* goes below zero here: nobody raises it */
static int spool; /* a file of the ten bytes 0123456789 */

static int setup(void **state)
{
    (void)state;
    char path[4096];
    struct fault why;
    if (scratch_make(&dir) != 0)
        return -1;
    scratch_path(&dir, "spool", path);
    if (fs_write_file(path, "0123456789", 10, false, &why) != ST_OK)
        return -1;
    spool = open(path, O_RDONLY | O_CLOEXEC);
    box = mailbox_new();
    atomic_store(&load.in_flight, 0);
    atomic_store(&load.unsent, 0);
    talk = talk_new(&(struct talk_options){3, box, "blanco:1", &load});
    return spool >= 0 && talk ? 0 : -1;
}

static struct lane_event *event(void)
{
    return (struct lane_event *)mailbox_take(box);
}

static int teardown(void **state)
{
    (void)state;
    for (struct lane_event *e; (e = event());)
        lane_event_free(e);
    talk_free(&talk);
    mailbox_free(&box);
    close(spool);
    scratch_remove(&dir);
    return 0;
}

/* The next event, of this kind. The caller frees it. */
static struct lane_event *expect(enum lane_event_kind kind)
{
    struct lane_event *e = event();
    assert_non_null(e);
    assert_int_equal(e->mail.kind, kind);
    assert_int_equal(e->lane, 3);
    return e;
}

static void expect_nothing(void)
{
    assert_null(event());
}

/* Takes the frame that is to be sent, all of it. */
static void sends(enum wire_type type, uint16_t stream, const void *body, size_t len)
{
    const unsigned char *bytes;
    struct wire_frame f;
    struct fault why;
    size_t used, count = talk_output(talk, &bytes);
    assert_int_equal(wire_take(bytes, count, &f, &used, &why), ST_OK);
    assert_int_equal(f.type, type);
    assert_int_equal(f.stream, stream);
    if (body) {
        assert_int_equal(f.length, len);
        assert_memory_equal(f.payload, body, len);
    }
    talk_sent(talk, used);
}

static void sends_nothing(void)
{
    const unsigned char *bytes;
    assert_int_equal(talk_output(talk, &bytes), 0);
}

static enum status hears(enum wire_type type, uint16_t stream, const void *body, size_t len,
                         struct fault *why)
{
    struct buf b = {0};
    assert_true(wire_put(&b, type, stream, body, (uint32_t)len));
    enum status st = talk_input(talk, b.data, b.len, why);
    buf_free(&b);
    return st;
}

static void hears_got(uint16_t stream, uint64_t offset, uint64_t length)
{
    unsigned char body[16];
    struct fault why;
    wire_put_u64(body, offset);
    wire_put_u64(body + 8, length);
    assert_int_equal(hears(WIRE_GOT, stream, body, 16, &why), ST_OK);
}

static void come_up(void)
{
    struct fault why;
    static const char welcome[] =
        "{\"protocol\":1,\"software\":\"skyferry 9\",\"agent\":\"ozstar\",\"free_bytes\":5}";
    sends(WIRE_HELLO, 0, NULL, 0);
    assert_false(talk_up(talk));
    assert_int_equal(hears(WIRE_WELCOME, 0, welcome, strlen(welcome), &why), ST_OK);
    assert_true(talk_up(talk));
    struct lane_event *e = expect(LANE_UP);
    assert_string_equal(e->hello.agent, "ozstar");
    assert_true(e->hello.free_bytes == 5);
    lane_event_free(e);
    assert_int_equal(talk_due(talk), 0);
}

static void job(enum lane_verb verb, int64_t bundle, int64_t offset, uint32_t length)
{
    struct lane_job j = {.verb = verb, .bundle = bundle, .fd = spool, .offset = offset,
                         .length = length};
    memcpy(j.open.id, ID, sizeof j.open.id);
    memcpy(j.commit.sha256, ID, sizeof j.commit.sha256);
    memcpy(j.commit.source_sha256, ID, sizeof j.commit.source_sha256);
    snprintf(j.open.name, sizeof j.open.name, "DECam_%d", (int)bundle);
    snprintf(j.commit.source_name, sizeof j.commit.source_name, "x.fits");
    if (verb == LANE_HAVE)
        j.text = strdup("{\"exposures\":[]}");
    talk_job(talk, &j);
}

static void hello_says_who_we_are(void **state)
{
    (void)state;
    const unsigned char *bytes;
    struct wire_frame f;
    struct wire_hello h;
    struct fault why;
    size_t used, count = talk_output(talk, &bytes);
    assert_int_equal(wire_take(bytes, count, &f, &used, &why), ST_OK);
    assert_int_equal(used, count);
    assert_int_equal(f.type, WIRE_HELLO);
    assert_int_equal(wire_hello_parse(f.payload, f.length, &h, &why), ST_OK);
    assert_int_equal(h.protocol, WIRE_VERSION);
    assert_string_equal(h.agent, "blanco:1");
    assert_int_equal(talk_due(talk), 1);
}

static void jobs_become_frames_and_answers_events(void **state)
{
    (void)state;
    struct fault why;
    struct lane_event *e;
    come_up();
    job(LANE_OPEN, 700, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    job(LANE_CHUNK, 700, 2, 5);
    sends(WIRE_CHUNK, 1, "\0\0\0\0\0\0\0\2" "23456", 13);
    job(LANE_CHUNK, 700, 0, 2);
    sends(WIRE_CHUNK, 1, "\0\0\0\0\0\0\0\0" "01", 10);
    job(LANE_COMMIT, 700, 0, 0);
    sends(WIRE_COMMIT, 1, NULL, 0);
    sends_nothing();
    assert_int_equal(talk_due(talk), 4);
    assert_true(atomic_load(&load.unsent) == -7);
    lane_event_free(expect(LANE_ROOM));
    lane_event_free(expect(LANE_ROOM));
    expect_nothing();
    assert_int_equal(hears(WIRE_OPENED, 1, "{\"have\":[[7,3]]}", 16, &why), ST_OK);
    e = expect(LANE_OPENED);
    assert_true(e->bundle == 700 && e->have_count == 1 && e->have[0].offset == 7);
    lane_event_free(e);
    hears_got(1, 2, 5);
    e = expect(LANE_GOT);
    assert_true(e->bundle == 700 && e->offset == 2 && e->length == 5 && e->sent_bytes == 7);
    lane_event_free(e);
    assert_true(atomic_load(&load.in_flight) == -5);
    static const char full[] =
        "{\"grade\":\"wait\",\"reason\":\"the store is full\",\"about\":\"chunk\"}";
    assert_int_equal(hears(WIRE_REFUSED, 1, full, strlen(full), &why), ST_OK);
    e = expect(LANE_REFUSED);
    assert_true(e->bundle == 700 && e->offset == 0 && e->length == 2);
    assert_int_equal(e->why.grade, ST_WAIT);
    assert_string_equal(e->why.text, "the store is full");
    lane_event_free(e);
    assert_true(atomic_load(&load.in_flight) == -7);
    static const struct receipt r = {.id = ID, .name = "DECam_700", .stored = "ut160901/DECam_700.tar",
                        .night = "ut160901", .size = 7, .sha256 = ID, .source_name = "x.fits",
                        .source_sha256 = ID};
    struct buf b = {0};
    assert_true(receipt_text(&r, &b));
    assert_int_equal(hears(WIRE_RECEIPT, 1, b.data, b.len, &why), ST_OK);
    buf_free(&b);
    e = expect(LANE_RECEIPT);
    assert_memory_equal(&e->receipt, &r, sizeof r);
    lane_event_free(e);
    assert_int_equal(talk_due(talk), 0);
}

static void each_bundle_has_its_stream(void **state)
{
    (void)state;
    come_up();
    job(LANE_OPEN, 10, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    job(LANE_OPEN, 20, 0, 0);
    sends(WIRE_OPEN, 2, NULL, 0);
    job(LANE_OPEN, 10, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    job(LANE_CLOSE, 10, 0, 0);
    sends(WIRE_CLOSE, 1, "", 0);
    job(LANE_ABORT, 20, 0, 0);
    sends(WIRE_ABORT, 2, "", 0);
    job(LANE_ABORT, 20, 0, 0);
    job(LANE_CLOSE, 99, 0, 0);
    sends_nothing();
    job(LANE_OPEN, 30, 0, 0);
    sends(WIRE_OPEN, 3, NULL, 0);
    assert_int_equal(talk_due(talk), 4);
    /* Numbers come round, past the one in use. */
    for (int n = 4; n <= 65535 + 3; n++) {
        uint16_t number = (uint16_t)(n <= 65535 ? n : n == 65536 ? 1 : n == 65537 ? 2 : 4);
        job(LANE_OPEN, 1000, 0, 0);
        sends(WIRE_OPEN, number, NULL, 0);
        job(LANE_CLOSE, 1000, 0, 0);
        sends(WIRE_CLOSE, number, NULL, 0);
    }
}

static void what_cannot_be_sent_is_said(void **state)
{
    (void)state;
    struct lane_event *e;
    come_up();
    job(LANE_CHUNK, 5, 0, 1);
    e = expect(LANE_REFUSED);
    assert_int_equal(e->why.grade, ST_RETRY);
    assert_string_equal(e->why.text, "bundle 5 was not opened on this lane");
    assert_true(e->bundle == 5 && e->length == 1);
    lane_event_free(e);
    job(LANE_OPEN, 5, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    job(LANE_CHUNK, 5, 8, 3);
    e = expect(LANE_REFUSED);
    assert_string_equal(e->why.text, "the spool file ends before byte 11");
    assert_int_equal(e->why.grade, ST_RETRY);
    lane_event_free(e);
    job(LANE_CHUNK, 5, 0, WIRE_MAX);
    e = expect(LANE_REFUSED);
    assert_int_equal(e->why.grade, ST_REJECT);
    lane_event_free(e);
    sends_nothing();
    assert_true(-atomic_load(&load.in_flight) == 1 + 3 + (long long)WIRE_MAX);
    assert_int_equal(talk_due(talk), 1);
    struct lane_job have = {.verb = LANE_HAVE, .text = calloc(1, WIRE_MAX + 2)};
    memset(have.text, ' ', WIRE_MAX + 1);
    talk_job(talk, &have);
    assert_null(have.text);
    e = expect(LANE_REFUSED);
    assert_non_null(strstr(e->why.text, "fewer exposures"));
    lane_event_free(e);
}

static void a_question_gets_its_answer(void **state)
{
    (void)state;
    struct fault why;
    come_up();
    job(LANE_HAVE, 0, 0, 0);
    sends(WIRE_HAVE, 0, "{\"exposures\":[]}", 16);
    talk_ping(talk);
    sends(WIRE_PING, 0, "", 0);
    assert_int_equal(hears(WIRE_HELD, 0, "{\"held\":[]}", 11, &why), ST_OK);
    struct lane_event *e = expect(LANE_HELD);
    assert_string_equal(e->text, "{\"held\":[]}");
    lane_event_free(e);
    assert_int_equal(hears(WIRE_PONG, 0, "", 0, &why), ST_OK);
    assert_int_equal(talk_due(talk), 0);
    expect_nothing();
    assert_int_equal(hears(WIRE_PING, 0, "you?", 4, &why), ST_OK);
    sends(WIRE_PONG, 0, "you?", 4);
    talk_bye(talk);
    sends(WIRE_BYE, 0, "", 0);
}

static void answers_out_of_turn_end_the_lane(void **state)
{
    (void)state;
    struct fault why;
    come_up();
    job(LANE_OPEN, 5, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    job(LANE_CHUNK, 5, 0, 3);
    sends(WIRE_CHUNK, 1, NULL, 0);
    assert_int_equal(hears(WIRE_GOT, 1, "0123456789012345", 16, &why), ST_RETRY);
    assert_string_equal(why.text, "the far end said GOT where another answer was due");
    teardown(NULL);
    setup(NULL);
    come_up();
    assert_int_equal(hears(WIRE_PONG, 0, "", 0, &why), ST_RETRY);
    assert_string_equal(why.text, "the far end said PONG where no answer was due");
    teardown(NULL);
    setup(NULL);
    come_up();
    job(LANE_OPEN, 5, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    assert_int_equal(hears(WIRE_OPENED, 1, "{\"have\":[]}", 11, &why), ST_OK);
    job(LANE_CHUNK, 5, 0, 3);
    sends(WIRE_CHUNK, 1, NULL, 0);
    assert_int_equal(hears(WIRE_GOT, 1, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\4", 16, &why), ST_RETRY);
    assert_string_equal(why.text, "the far end acknowledged bytes that were not sent next");
}

/* A refusal that belongs to no request means that the far end did not understand us. */
static void a_refusal_of_the_connection_ends_the_lane(void **state)
{
    (void)state;
    struct fault why;
    static const char no[] =
        "{\"grade\":\"reject\",\"reason\":\"no skyferry frame\",\"about\":\"frame\"}";
    come_up();
    job(LANE_OPEN, 5, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    assert_int_equal(hears(WIRE_REFUSED, 0, no, strlen(no), &why), ST_RETRY);
    assert_string_equal(why.text, "no skyferry frame");
    expect_nothing();
}

static enum status greeted_with(enum wire_type type, const char *body, struct fault *why)
{
    sends(WIRE_HELLO, 0, NULL, 0);
    enum status st = hears(type, 0, body, strlen(body), why);
    expect_nothing();
    assert_false(talk_up(talk));
    teardown(NULL);
    setup(NULL);
    return st;
}

static void only_a_skyferry_of_our_version_is_welcome(void **state)
{
    (void)state;
    struct fault why;
    assert_int_equal(greeted_with(WIRE_WELCOME, "{\"protocol\":99,\"software\":\"skyferry 9\","
                                                "\"agent\":\"later\"}", &why), ST_REJECT);
    assert_non_null(strstr(why.text, "(skyferry 9) speaks wire protocol 99"));
    assert_non_null(strstr(why.text, "same release on both sides"));
    assert_int_equal(greeted_with(WIRE_REFUSED, "{\"grade\":\"reject\",\"reason\":\"too old\"}",
                                  &why), ST_REJECT);
    assert_string_equal(why.text, "too old");
    assert_int_equal(greeted_with(WIRE_REFUSED, "{\"grade\":\"wait\",\"reason\":\"later\"}", &why),
                     ST_RETRY);
    assert_int_equal(greeted_with(WIRE_WELCOME, "{}", &why), ST_REJECT);
    assert_int_equal(greeted_with(WIRE_PONG, "", &why), ST_REJECT);
}

static void a_login_banner_is_shown(void **state)
{
    (void)state;
    struct fault why;
    char shown[128];
    static const unsigned char banner[] = "Welcome to the cluster!\nMaintenance on Monday.\n";
    sends(WIRE_HELLO, 0, NULL, 0);
    assert_false(talk_heard(talk, shown));
    assert_int_equal(talk_input(talk, banner, 5, &why), ST_OK);
    assert_int_equal(talk_input(talk, banner + 5, sizeof banner - 6, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "\"Welcome to the cluster! Maintenance on Monday.\""));
    assert_non_null(strstr(why.text, "authorized_keys"));
    assert_true(talk_heard(talk, shown));
}

static void bytes_may_come_in_any_pieces(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    come_up();
    job(LANE_OPEN, 5, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    talk_ping(talk);
    sends(WIRE_PING, 0, "", 0);
    assert_true(wire_put(&b, WIRE_OPENED, 1, "{\"have\":[]}", 11) &&
                wire_put(&b, WIRE_PONG, 0, "", 0));
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(talk_input(talk, b.data + i, 1, &why), ST_OK);
    lane_event_free(expect(LANE_OPENED));
    assert_int_equal(talk_due(talk), 0);
    buf_free(&b);
}

static void part_of_the_output_may_be_taken(void **state)
{
    (void)state;
    const unsigned char *bytes;
    struct fault why;
    come_up();
    job(LANE_OPEN, 5, 0, 0);
    sends(WIRE_OPEN, 1, NULL, 0);
    job(LANE_CHUNK, 5, 0, 10);
    assert_int_equal(talk_output(talk, &bytes), 26);
    talk_sent(talk, 20);
    /* A PONG in between goes behind the frame that is half sent. */
    assert_int_equal(hears(WIRE_PING, 0, "x", 1, &why), ST_OK);
    assert_int_equal(talk_output(talk, &bytes), 6 + 9);
    assert_memory_equal(bytes, "456789", 6);
    talk_sent(talk, 6);
    sends(WIRE_PONG, 0, "x", 1);
    sends_nothing();
}

static void the_end_of_a_text_is_kept(void **state)
{
    (void)state;
    struct tail t = {.len = 0};
    char line[200];
    tail_line(&t, line);
    assert_string_equal(line, "");
    for (int i = 0; i < 100; i++)
        tail_add(&t, "some earlier words\n", 19);
    tail_add(&t, "cannot open /etc/skyferry/", 26);
    tail_add(&t, "pull.conf\x07\r\n\n", 13);
    tail_line(&t, line);
    assert_string_equal(line, "cannot open /etc/skyferry/pull.conf.");
    static char big[1000];
    memset(big, 'y', sizeof big);
    tail_add(&t, big, sizeof big);
    tail_line(&t, line);
    assert_int_equal(strlen(line), 199);
}

static void a_fingerprint_is_as_ssh_shows_it(void **state)
{
    (void)state;
    char out[64];
    char sha[32];
    for (int i = 0; i < 32; i++)
        sha[i] = (char)(i * 8);
    words_fingerprint(sha, out);
    assert_string_equal(out, "SHA256:AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg");
    words_fingerprint(NULL, out);
    assert_string_equal(out, "SHA256:?");
}

#define TALK_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TALK_TEST(hello_says_who_we_are),
        TALK_TEST(jobs_become_frames_and_answers_events),
        TALK_TEST(each_bundle_has_its_stream),
        TALK_TEST(what_cannot_be_sent_is_said),
        TALK_TEST(a_question_gets_its_answer),
        TALK_TEST(answers_out_of_turn_end_the_lane),
        TALK_TEST(a_refusal_of_the_connection_ends_the_lane),
        TALK_TEST(only_a_skyferry_of_our_version_is_welcome),
        TALK_TEST(a_login_banner_is_shown),
        TALK_TEST(bytes_may_come_in_any_pieces),
        TALK_TEST(part_of_the_output_may_be_taken),
        cmocka_unit_test(the_end_of_a_text_is_kept),
        cmocka_unit_test(a_fingerprint_is_as_ssh_shows_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
