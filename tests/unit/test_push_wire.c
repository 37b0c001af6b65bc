/* Push's half of the captured session (golden_wire.h): the jobs below still become those very
 * bytes, and the captured answers still become the events that they were. */
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
#include "tests/unit/golden_wire.h"
#include "tests/unit/scratch.h"

#define NAME "c4d_170316_062107_ooi"
#define BAD_NAME "../../x;rm"

/* Steps of the session, besides the jobs of lane.h. */
enum { HELLO = 100, PING, BYE };

static const struct step {
    const char *note;
    int what;         /* enum lane_verb, or one of the above */
    int bundle;       /* push's number for it: a stream each */
    int offset, length;
    const char *as;   /* "exact", "bad", "other": which bundle it is; NULL: the first */
    bool fresh;       /* OPEN that does not wait for the answer */
} steps[] = {
    {"push greets", HELLO},
    {"the sweep asks: not there yet", LANE_HAVE},
    {"stream 1 is this bundle", LANE_OPEN, 11},
    {"its end comes before its beginning", LANE_CHUNK, 11, 132, 60},
    {NULL, LANE_CHUNK, 11, 0, 66},
    {"too early: 66 bytes are missing", LANE_COMMIT, 11},
    {"the other lane died; this one goes on", LANE_OPEN, 12},
    {NULL, LANE_CHUNK, 12, 66, 66},
    {"now it is whole", LANE_COMMIT, 11},
    {"the same again is the same receipt", LANE_COMMIT, 11},
    {"late bytes of another lane are there already", LANE_CHUNK, 12, 66, 66},
    {"done with it here", LANE_CLOSE, 12},
    {"a repeated OPEN of a stored bundle is answered by its receipt", LANE_OPEN, 13},
    {"now the sweep finds it", LANE_HAVE},
    {"but not the exact data that are to follow", LANE_HAVE, .as = "exact"},
    {"a name that is no name", LANE_OPEN, 14, .as = "bad", .fresh = true},
    {"and what follows on that stream", LANE_CHUNK, 14, 0, 66},
    {"a bundle begun, without waiting for the answer, and given up", LANE_OPEN, 15, .as = "other",
     .fresh = true},
    {NULL, LANE_CHUNK, 15, 0, 1},
    {"no answer", LANE_ABORT, 15},
    {"the exact data of the first exposure", LANE_OPEN, 16, .as = "exact"},
    {NULL, LANE_CHUNK, 16, 0, 96},
    {NULL, LANE_COMMIT, 16, .as = "exact"},
    {"the sweep finds them, too", LANE_HAVE, .as = "exact"},
    {"still there?", PING},
    {"goodbye", BYE},
};
#define STEPS (sizeof steps / sizeof steps[0])

static struct scratch dir;
static struct mailbox *box;
static struct talk *talk;
static struct lane_load load;
static char text[192]; /* the first bundle; its first half is the exact data */
static int spool;
static struct golden_session *golden;

static int setup(void **state)
{
    (void)state;
    char path[4096];
    struct fault why;
    for (int i = 0; i < 6; i++) {
        char line[40];
        snprintf(line, sizeof line, "skyferry golden bundle, line %02d\n", i);
        memcpy(text + 32 * i, line, 32);
    }
    if (scratch_make(&dir) != 0)
        return -1;
    scratch_path(&dir, "spool", path);
    if (fs_write_file(path, text, sizeof text, false, &why) != ST_OK)
        return -1;
    spool = open(path, O_RDONLY | O_CLOEXEC);
    box = mailbox_new();
    talk = talk_new(&(struct talk_options){3, box, "blanco:4711", &load});
    golden = calloc(1, sizeof *golden);
    return spool >= 0 && talk && golden ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    for (struct mail *m; (m = mailbox_take(box));)
        lane_event_free((struct lane_event *)m);
    talk_free(&talk);
    mailbox_free(&box);
    close(spool);
    golden_free(golden);
    free(golden);
    scratch_remove(&dir);
    return 0;
}

/* ---- what each step asks for ---- */

static bool is_as(const struct step *s, const char *word)
{
    return s->as && strcmp(s->as, word) == 0;
}

static void source_of(char sha[DIGEST_HEX], int64_t *size)
{
    static const char source[] = "the camera's file, 26 byte";
    digest_bytes(source, 26, sha);
    *size = 26;
}

static void open_of(const struct step *s, struct wire_open *out)
{
    *out = (struct wire_open){.mtime_ns = 1489645267000000000, .resume = !s->fresh,
                              .exact = is_as(s, "exact")};
    const char *id = s->as ? s->as : "first";
    digest_bytes(id, strlen(id), out->id);
    snprintf(out->name, sizeof out->name, "%s", is_as(s, "bad") ? BAD_NAME
                                                : is_as(s, "other") ? "other" : NAME);
    if (!s->fresh)
        snprintf(out->date_obs, sizeof out->date_obs, "2017-03-16T06:21:07.123");
}

static void commit_of(const struct step *s, struct wire_commit *out)
{
    *out = (struct wire_commit){.size = is_as(s, "exact") ? 96 : 192, .exact = is_as(s, "exact"),
                                .noticed_ns = 1489645268000000000,
                                .encoded_ns = 1489645269500000000};
    digest_bytes(text, (size_t)out->size, out->sha256);
    source_of(out->source_sha256, &out->source_size);
    snprintf(out->source_name, sizeof out->source_name, NAME ".fits.fz");
}

static char *have_of(const struct step *s)
{
    struct wire_have h = {.mtime_ns = 1489645267000000000, .exact = is_as(s, "exact")};
    struct buf b = {0};
    snprintf(h.name, sizeof h.name, NAME);
    snprintf(h.date_obs, sizeof h.date_obs, "2017-03-16T06:21:07.123");
    source_of(h.source_sha256, &h.source_size);
    assert_true(wire_have_text(&h, 1, &b) && buf_append(&b, "", 1));
    return (char *)b.data;
}

/* The talk has these bytes to send then. */
static void take_step(const struct step *s)
{
    struct lane_job job = {.bundle = s->bundle, .fd = spool, .offset = s->offset,
                           .length = (uint32_t)s->length};
    if (s->what == HELLO)
        return;
    if (s->what == PING) {
        talk_ping(talk);
    } else if (s->what == BYE) {
        talk_bye(talk);
    } else {
        job.verb = (enum lane_verb)s->what;
        open_of(s, &job.open);
        commit_of(s, &job.commit);
        job.text = job.verb == LANE_HAVE ? have_of(s) : NULL;
        talk_job(talk, &job);
    }
}

/* ---- against the capture ---- */

/* The release's number is another with each release. */
static void same_hello(const struct wire_frame *want, const struct wire_frame *got)
{
    struct wire_hello a, b;
    struct fault why;
    assert_int_equal(wire_hello_parse(want->payload, want->length, &a, &why), ST_OK);
    assert_int_equal(wire_hello_parse(got->payload, got->length, &b, &why), ST_OK);
    struct buf x = {0}, y = {0};
    memcpy(a.software, b.software, sizeof a.software);
    assert_true(wire_hello_text(&a, &x) && wire_hello_text(&b, &y));
    if (y.len != got->length || x.len != y.len || memcmp(x.data, got->payload, x.len) != 0)
        fail_msg("HELLO says %.*s now: " GOLDEN_CHANGED, (int)got->length,
                 (const char *)got->payload);
    buf_free(&x);
    buf_free(&y);
}

static void same_bytes(size_t number, const struct golden_frame *want, const unsigned char *bytes,
                       size_t len)
{
    static char was[4096], is[4096];
    struct wire_frame got;
    struct fault why;
    size_t used;
    assert_int_equal(wire_take(bytes, len, &got, &used, &why), ST_OK);
    if (got.type == WIRE_HELLO && want->frame.type == WIRE_HELLO) {
        same_hello(&want->frame, &got);
    } else if (len != want->bytes.len || memcmp(bytes, want->bytes.data, len) != 0) {
        golden_describe(&want->frame, was);
        golden_describe(&got, is);
        fail_msg("frame %zu of %s\n  was    %s\n  is now %s\n%s", number + 1, GOLDEN_WIRE, was, is,
                 GOLDEN_CHANGED);
    }
}

/* What an answer becomes; -1: no event. */
static int event_of(enum wire_type type)
{
    switch (type) {
    case WIRE_WELCOME: return LANE_UP;
    case WIRE_OPENED: return LANE_OPENED;
    case WIRE_GOT: return LANE_GOT;
    case WIRE_RECEIPT: return LANE_RECEIPT;
    case WIRE_HELD: return LANE_HELD;
    case WIRE_REFUSED: return LANE_REFUSED;
    default: return -1;
    }
}

static void hear(const struct golden_frame *answer, const struct step *s)
{
    struct fault why;
    int kind = event_of(answer->frame.type);
    if (talk_input(talk, answer->bytes.data, answer->bytes.len, &why) != ST_OK)
        fail_msg("%s is not understood any more: %s. " GOLDEN_CHANGED, answer->said, why.text);
    struct lane_event *e;
    while ((e = (struct lane_event *)mailbox_take(box)) && e->mail.kind == LANE_ROOM)
        lane_event_free(e);
    assert_int_equal(e ? e->mail.kind : -1, kind);
    if (e && kind != LANE_UP) {
        assert_int_equal(e->bundle, s->bundle);
        assert_int_equal(e->length, s->length);
    }
    if (e && kind == LANE_RECEIPT) {
        assert_string_equal(e->receipt.name, NAME);
        assert_int_equal(e->receipt.exact, is_as(s, "exact"));
    }
    lane_event_free(e);
}

static void jobs_become_the_captured_bytes(void **state)
{
    (void)state;
    size_t at = 0;
    assert_true(golden_read(GOLDEN_WIRE, golden));
    for (size_t i = 0; i < STEPS; i++) {
        const unsigned char *bytes;
        take_step(&steps[i]);
        size_t len = talk_output(talk, &bytes);
        assert_true(at < golden->count && golden->frames[at].from == '>');
        same_bytes(at, &golden->frames[at], bytes, len);
        talk_sent(talk, len);
        for (at++; at < golden->count && golden->frames[at].from == '<'; at++)
            hear(&golden->frames[at], &steps[i]);
        assert_int_equal(talk_due(talk), 0);
    }
    assert_int_equal(at, golden->count);
}

/* ---- capturing ---- */

static void capture(void **state)
{
    (void)state;
    for (size_t i = 0; i < STEPS; i++) {
        const unsigned char *bytes;
        take_step(&steps[i]);
        size_t len = talk_output(talk, &bytes);
        assert_true(golden_add(golden, '>', steps[i].note ? steps[i].note : "", bytes, len));
        talk_sent(talk, len);
    }
    assert_true(golden_write(GOLDEN_WIRE, golden));
}

int main(void)
{
    const struct CMUnitTest update[] = {
        cmocka_unit_test_setup_teardown(capture, setup, teardown),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(jobs_become_the_captured_bytes, setup, teardown),
    };
    return getenv("UPDATE_GOLDEN") ? cmocka_run_group_tests(update, NULL, NULL)
                                   : cmocka_run_group_tests(tests, NULL, NULL);
}
