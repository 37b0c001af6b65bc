/* The words between push and pull: frames byte for byte, JSON bodies there and back, and a
 * clear no to everything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/wire.h"
#include "tests/unit/golden_wire.h"

#define ID "a171c0f50d9815dc43c652fafc22c783b9da48cb9158e624b827045369696853"
#define SUM "6fbe11fa9b19fa6491fe0016893ce13db7fa5ef0225d27de8715ffbb6b471537"

static void frame_bytes_are_as_drawn(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_true(wire_put(&b, WIRE_PING, 0x1234, "tick", 4));
    static const unsigned char want[] = {0, 0, 0, 4, 13, 0, 0x12, 0x34, 't', 'i', 'c', 'k'};
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    b.len = 0;
    assert_true(wire_put_chunk_head(&b, 7, 0x0102030405060708, 0x10000));
    static const unsigned char chunk[] = {0, 1, 0, 8, 5, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(b.len, sizeof chunk);
    assert_memory_equal(b.data, chunk, sizeof chunk);
    assert_true(wire_u64(chunk + 8) == 0x0102030405060708);
    b.len = 0;
    assert_false(wire_put(&b, WIRE_PING, 0, "", WIRE_MAX + 1));
    assert_false(wire_put_chunk_head(&b, 1, 0, WIRE_MAX));
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void a_frame_is_taken_when_it_is_whole(void **state)
{
    (void)state;
    struct buf b = {0};
    struct wire_frame f;
    struct fault why;
    size_t used;
    assert_true(wire_put(&b, WIRE_HAVE, 65535, "{}", 2) && wire_put(&b, WIRE_BYE, 0, NULL, 0));
    for (size_t len = 0; len < WIRE_HEAD + 2; len++)
        assert_int_equal(wire_take(b.data, len, &f, &used, &why), ST_WAIT);
    assert_int_equal(wire_take(b.data, b.len, &f, &used, &why), ST_OK);
    assert_int_equal(used, WIRE_HEAD + 2);
    assert_int_equal(f.type, WIRE_HAVE);
    assert_int_equal(f.stream, 65535);
    assert_int_equal(f.length, 2);
    assert_memory_equal(f.payload, "{}", 2);
    assert_int_equal(wire_take(b.data + used, b.len - used, &f, &used, &why), ST_OK);
    assert_int_equal(f.type, WIRE_BYE);
    assert_int_equal(used, WIRE_HEAD);
    buf_free(&b);
}

static void what_is_no_frame_is_shown(void **state)
{
    (void)state;
    struct wire_frame f;
    struct fault why;
    size_t used;
    const char banner[] = "Welcome to the cluster!\n";
    assert_int_equal(wire_take((const unsigned char *)banner, 24, &f, &used, &why), ST_REJECT);
    assert_string_equal(why.text,
                        "these bytes are no skyferry frame: \"Welcome to the cluster!.\"");
    const unsigned char bad[][8] = {
        {0, 0, 0, 0, 0, 0, 0, 0},           /* type 0 */
        {0, 0, 0, 0, WIRE_CLOSE + 1, 0, 0, 0}, /* a type of another version */
        {0, 0, 0, 0, WIRE_PING, 1, 0, 0},   /* the reserved byte */
        {0, 0x40, 0, 1, WIRE_PING, 0, 0, 0} /* longer than a frame may be */
    };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(wire_take(bad[i], 8, &f, &used, &why), ST_REJECT);
    const unsigned char longest[8] = {0, 0x40, 0, 0, WIRE_PING, 0, 0, 0};
    assert_int_equal(wire_take(longest, 8, &f, &used, &why), ST_WAIT);
}

static const struct receipt a_receipt = {
    .id = ID,
    .name = "c4d_170316_062107_ooi",
    .stored = "ut170316/c4d_170316_062107_ooi~2.tar",
    .night = "ut170316",
    .size = 314572800,
    .sha256 = SUM,
    .source_name = "c4d 170316 \xc3\xa9.fits.fz",
    .source_sha256 = ID,
    .source_size = 300000000000,
    .noticed_ns = 1489645268000000000,
    .encoded_ns = 1489645269000000001,
    .first_ns = 1489645268000000002,
    .stored_ns = INT64_MAX,
};

static void a_receipt_survives(void **state)
{
    (void)state;
    struct buf b = {0};
    struct receipt r;
    struct fault why;
    assert_true(receipt_text(&a_receipt, &b));
    assert_int_equal(receipt_parse(b.data, b.len, &r, &why), ST_OK);
    assert_memory_equal(&r, &a_receipt, sizeof r);
    buf_free(&b);
}

static void requests_survive(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    /* static: the bytes between members are compared too, and so must be zero */
    static const struct wire_open o = {ID, "dome.1", "2017-03-16", -5, true, true};
    struct wire_open o2;
    assert_true(wire_open_text(&o, &b));
    assert_int_equal(wire_open_parse(b.data, b.len, &o2, &why), ST_OK);
    assert_memory_equal(&o, &o2, sizeof o);
    b.len = 0;
    static const struct wire_commit c = {0, SUM, ID, 1, "x.fits", 2, 3, true};
    struct wire_commit c2;
    assert_true(wire_commit_text(&c, &b));
    assert_int_equal(wire_commit_parse(b.data, b.len, &c2, &why), ST_OK);
    assert_memory_equal(&c, &c2, sizeof c);
    b.len = 0;
    static const struct wire_hello h = {1, "skyferry 9", "blanco:1", 123456789012, true,
                                        {8, 2, {{"htj2k", 7.25, 9.5}, {"original", 3.5, 1.75}}}};
    struct wire_hello h2;
    assert_true(wire_hello_text(&h, &b));
    assert_int_equal(wire_hello_parse(b.data, b.len, &h2, &why), ST_OK);
    assert_memory_equal(&h, &h2, sizeof h);
    buf_free(&b);
}

/* What an older release neither writes nor knows: left out unless it is true, so that the
 * words of a night without exact data stay those of before; missing means false. */
static void exact_is_said_only_when_it_is(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    struct wire_open o = {.id = ID, .name = "one", .mtime_ns = 1}, o2 = {.exact = true};
    struct receipt r = a_receipt, r2;
    struct wire_hello h = {.protocol = 1, .exact = true};
    assert_true(wire_open_text(&o, &b) && buf_append(&b, "", 1));
    assert_null(strstr((char *)b.data, "exact"));
    assert_int_equal(wire_open_parse(b.data, b.len - 1, &o2, &why), ST_OK);
    assert_false(o2.exact);
    b.len = 0;
    r.exact = true;
    assert_true(receipt_text(&r, &b) && buf_append(&b, "", 1));
    assert_non_null(strstr((char *)b.data, "\"exact\":true"));
    assert_int_equal(receipt_parse(b.data, b.len - 1, &r2, &why), ST_OK);
    assert_true(r2.exact);
    b.len = 0;
    assert_true(wire_hello_text(&h, &b) && buf_append(&b, "", 1));
    assert_non_null(strstr((char *)b.data, "\"exact\":true"));
    static const char odd[] = "{\"protocol\":1,\"software\":\"a\",\"agent\":\"b\",\"exact\":1}";
    assert_int_equal(wire_hello_parse(odd, strlen(odd), &h, &why), ST_REJECT);
    buf_free(&b);
}

/* Figures for a guess at times are never worth a lane: what makes no sense is left out. */
static void decoding_that_makes_no_sense(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    struct wire_hello h = {.protocol = 1};
    struct wire_decoding d = {.threads = 3};
    assert_true(wire_hello_text(&h, &b) && buf_append(&b, "", 1));
    assert_null(strstr((char *)b.data, "decoding"));
    static const char *const odd[] = {
        "7", "null", "[]", "{}", "{\"threads\":0,\"by\":[]}", "{\"threads\":-1,\"by\":[]}",
        "{\"threads\":1e9,\"by\":[]}", "{\"threads\":2}", "{\"threads\":2,\"by\":{}}"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        char text[200];
        int n = snprintf(text, sizeof text, "{\"protocol\":1,\"software\":\"a\",\"agent\":\"b\","
                         "\"decoding\":%s}", odd[i]);
        assert_int_equal(wire_hello_parse(text, (size_t)n, &h, &why), ST_OK);
        assert_int_equal(h.decoding.threads, 0);
        assert_int_equal(wire_decoding_parse(odd[i], strlen(odd[i]), &d, &why), ST_REJECT);
        assert_int_equal(d.threads, 3);
    }
    static const char some[] =
        "{\"threads\":2,\"more\":1,\"by\":[{\"codec\":\"rice\",\"ns\":3,\"ratio\":3.5},"
        "{\"codec\":\"\",\"ns\":3,\"ratio\":3.5},{\"codec\":\"jxl\",\"ns\":-3,\"ratio\":3.5},"
        "{\"codec\":\"a-name-that-is-too-long\",\"ns\":3,\"ratio\":3.5},4,"
        "{\"codec\":\"jxl\",\"ns\":1e300,\"ratio\":3.5},{\"codec\":\"jxl\",\"ns\":20}]}";
    assert_int_equal(wire_decoding_parse(some, strlen(some), &d, &why), ST_OK);
    assert_int_equal(d.threads, 2);
    assert_int_equal(d.count, 1);
    assert_string_equal(d.by[0].codec, "rice");
    /* More than there is room for. */
    b.len = 0;
    buf_printf(&b, "{\"threads\":1,\"by\":[");
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%s{\"codec\":\"c%d\",\"ns\":1,\"ratio\":1}", i ? "," : "", i);
    buf_printf(&b, "]}");
    assert_int_equal(wire_decoding_parse(b.data, b.len, &d, &why), ST_OK);
    assert_int_equal(d.count, WIRE_DECODERS);
    buf_free(&b);
}

static void lists_survive(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    struct extent e[] = {{0, 5}, {5, 1}, {1LL << 40, 7}}, *e2 = NULL;
    size_t n;
    assert_true(wire_opened_text(e, 3, &b));
    assert_int_equal(b.len, strlen("{\"have\":[[0,5],[5,1],[1099511627776,7]]}"));
    assert_int_equal(wire_opened_parse(b.data, b.len, &e2, &n, &why), ST_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(e, e2, sizeof e);
    free(e2);
    b.len = 0;
    assert_true(wire_opened_text(NULL, 0, &b));
    assert_int_equal(wire_opened_parse(b.data, b.len, &e2, &n, &why), ST_OK);
    assert_int_equal(n, 0);
    free(e2);
    b.len = 0;
    static const struct wire_have a[] = {{"one", "", 1, 2, ID, false},
                                         {"two", "2017-03-16", -1, 0, SUM, true}};
    struct wire_have *a2;
    assert_true(wire_have_text(a, 2, &b));
    assert_int_equal(wire_have_parse(b.data, b.len, &a2, &n, &why), ST_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(a, a2, sizeof a);
    free(a2);
    b.len = 0;
    bool h[] = {true, false, true}, h2[3] = {false, true, false};
    assert_true(wire_held_text(h, 3, &b));
    assert_int_equal(wire_held_parse(b.data, b.len, h2, 3, &why), ST_OK);
    assert_memory_equal(h, h2, sizeof h);
    assert_int_equal(wire_held_parse(b.data, b.len, h2, 2, &why), ST_REJECT);
    assert_string_equal(why.text, "HELD: 3 answers to 2 questions");
    buf_free(&b);
}

static void refusals_keep_grade_and_words(void **state)
{
    (void)state;
    static const enum status said[] = {ST_WAIT, ST_RETRY, ST_REJECT, ST_FATAL};
    static const enum status meant[] = {ST_WAIT, ST_RETRY, ST_REJECT, ST_RETRY};
    for (size_t i = 0; i < 4; i++) {
        struct buf b = {0};
        struct fault f = {said[i], "the store is full: \"3 MiB\"\n"}, g;
        assert_true(wire_refused_text(&f, "chunk", &b));
        assert_int_equal(wire_refused_parse(b.data, b.len, &g), meant[i]);
        assert_int_equal(g.grade, meant[i]);
        assert_string_equal(g.text, f.text);
        buf_free(&b);
    }
    struct fault g;
    assert_int_equal(wire_refused_parse("{\"grade\":\"ok\",\"reason\":\"?\"}", 27, &g), ST_REJECT);
    assert_int_equal(wire_refused_parse("{}", 2, &g), ST_REJECT);
    assert_int_equal(wire_refused_parse("", 0, &g), ST_REJECT);
    assert_int_equal(wire_refused_parse(NULL, 0, NULL), ST_REJECT);
}

static void bytes_that_are_no_utf8_do_not_stop_a_receipt(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fault why;
    struct wire_commit c = {1, SUM, ID, 1, "na\xefve.fits", 0, 0, false}, c2;
    assert_true(wire_commit_text(&c, &b));
    assert_int_equal(wire_commit_parse(b.data, b.len, &c2, &why), ST_OK);
    assert_string_equal(c2.source_name, "na?ve.fits");
    buf_free(&b);
}

/* A sound OPEN with one key's value replaced. */
static enum status open_with(const char *key, const char *value, struct fault *why)
{
    static const char *const sound[][2] = {{"id", "\"" ID "\""},
                                           {"name", "\"x\""},
                                           {"date_obs", "\"\""},
                                           {"mtime_ns", "1"},
                                           {"resume", "true"}};
    struct buf b = {0};
    struct wire_open o = {.mtime_ns = 77};
    for (size_t i = 0; i < 5; i++) {
        bool mine = strcmp(key, sound[i][0]) == 0;
        if (!mine || value)
            assert_true(buf_printf(&b, "%c\"%s\":%s", b.len ? ',' : '{', sound[i][0],
                                   mine ? value : sound[i][1]));
    }
    assert_true(buf_printf(&b, ",\"later\":[1]}"));
    enum status st = wire_open_parse(b.data, b.len, &o, why);
    if (st != ST_OK)
        assert_int_equal(o.mtime_ns, 77); /* nothing half-read */
    buf_free(&b);
    return st;
}

static void bad_values_name_their_key(void **state)
{
    (void)state;
    struct fault why;
    assert_int_equal(open_with("none", "", &why), ST_OK);
    assert_int_equal(open_with("name", "\"../../x;rm\"", &why), ST_REJECT);
    assert_string_equal(why.text, "OPEN: the key 'name' may not be \"../../x;rm\"");
    assert_int_equal(open_with("name", NULL, &why), ST_REJECT);
    assert_string_equal(why.text, "OPEN: the key 'name' is missing");
    static const char *const bad[][2] = {
        {"name", "\"\""},      {"name", "\"a/b\""},        {"name", "\".hidden\""},
        {"name", "\"-rf\""},   {"name", "\"a b\""},        {"name", "\"a\\u0000b\""},
        {"name", "7"},         {"name", "null"},           {"id", "\"abc\""},
        {"id", "\"" ID "0\""}, {"mtime_ns", "\"1\""},      {"mtime_ns", "1.5"},
        {"resume", "1"},       {"mtime_ns", "9223372036854775808"},
        {"date_obs", "\"2017-03-16T06:21:07.12345678901234567890\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(open_with(bad[i][0], bad[i][1], &why), ST_REJECT);
}

static void hostile_receipts_are_refused(void **state)
{
    (void)state;
    static const char *const stored[] = {"x.tar", "ut170316/../x.tar", "ut171316/x.tar",
                                         "/ut170316/x.tar", "ut170316/x", "ut170316/.x.tar",
                                         "ut170316/a/b.tar", "ut170316/-x.tar", ""};
    for (size_t i = 0; i < sizeof stored / sizeof stored[0]; i++) {
        struct receipt r = a_receipt, back;
        struct buf b = {0};
        struct fault why;
        snprintf(r.stored, sizeof r.stored, "%s", stored[i]);
        assert_true(receipt_text(&r, &b));
        assert_int_equal(receipt_parse(b.data, b.len, &back, &why), ST_REJECT);
        assert_non_null(strstr(why.text, "'stored'"));
        buf_free(&b);
    }
}

static void bad_lists_are_refused(void **state)
{
    (void)state;
    static const char *const opened[] = {
        "{}", "[]", "{\"have\":{}}", "{\"have\":[1]}", "{\"have\":[[0]]}", "{\"have\":[[0,0]]}",
        "{\"have\":[[-1,2]]}", "{\"have\":[[5,5],[9,1]]}", "{\"have\":[[5,5],[0,1]]}",
        "{\"have\":[[1,9223372036854775807]]}", "{\"have\":[[0,1,2]]}", "{\"have\":[[0,1]]",
    };
    struct fault why;
    struct extent *e;
    struct wire_have *h;
    size_t n;
    bool held[1];
    for (size_t i = 0; i < sizeof opened / sizeof opened[0]; i++)
        assert_int_equal(wire_opened_parse(opened[i], strlen(opened[i]), &e, &n, &why), ST_REJECT);
    assert_int_equal(wire_opened_parse("{\"have\":[[0,1],[0,1]]}", 22, &e, &n, NULL), ST_REJECT);
    const char ask[] = "{\"exposures\":[{\"name\":\"x\"}]}";
    assert_int_equal(wire_have_parse(ask, strlen(ask), &h, &n, &why), ST_REJECT);
    assert_string_equal(why.text,
                        "HAVE: entry 0 of 'exposures': the key 'date_obs' is missing");
    assert_int_equal(wire_held_parse("{\"held\":[0]}", 12, held, 1, &why), ST_REJECT);
}

/* The body of a captured frame, read and written again. */
static void write_again(const struct wire_frame *f, struct buf *out)
{
    struct fault why = {0};
    struct wire_hello hello;
    struct wire_open open;
    struct wire_commit commit;
    struct receipt r;
    struct extent *e = NULL;
    struct wire_have *h = NULL;
    bool held[8];
    size_t n = 0;
    const unsigned char *p = f->payload;
    switch (f->type) {
    case WIRE_HELLO:
    case WIRE_WELCOME:
        assert_int_equal(wire_hello_parse(p, f->length, &hello, &why), ST_OK);
        assert_int_equal(hello.protocol, WIRE_VERSION);
        assert_true(wire_hello_text(&hello, out));
        break;
    case WIRE_OPEN:
        /* One captured OPEN is hostile on purpose: it stays as it is. */
        if (wire_open_parse(p, f->length, &open, &why) == ST_OK)
            assert_true(wire_open_text(&open, out));
        else
            assert_true(strstr(why.text, "../../x;rm") && buf_append(out, p, f->length));
        break;
    case WIRE_OPENED:
        assert_int_equal(wire_opened_parse(p, f->length, &e, &n, &why), ST_OK);
        assert_true(wire_opened_text(e, n, out));
        break;
    case WIRE_COMMIT:
        assert_int_equal(wire_commit_parse(p, f->length, &commit, &why), ST_OK);
        assert_true(wire_commit_text(&commit, out));
        break;
    case WIRE_RECEIPT:
        assert_int_equal(receipt_parse(p, f->length, &r, &why), ST_OK);
        assert_true(receipt_text(&r, out));
        break;
    case WIRE_HAVE:
        assert_int_equal(wire_have_parse(p, f->length, &h, &n, &why), ST_OK);
        assert_true(wire_have_text(h, n, out));
        break;
    case WIRE_HELD:
        assert_int_equal(wire_held_parse(p, f->length, held, 1, &why), ST_OK);
        assert_true(wire_held_text(held, 1, out));
        break;
    default:
        assert_true(buf_append(out, p, f->length));
    }
    free(e);
    free(h);
}

static void the_golden_session_reads_and_writes_the_same(void **state)
{
    (void)state;
    static struct golden_session g;
    unsigned seen = 0;
    assert_true(golden_read(GOLDEN_WIRE, &g));
    for (size_t i = 0; i < g.count; i++) {
        const struct golden_frame *one = &g.frames[i];
        struct buf body = {0}, frame = {0};
        seen |= 1u << one->frame.type;
        write_again(&one->frame, &body);
        assert_true(wire_put(&frame, one->frame.type, one->frame.stream, body.data,
                             (uint32_t)body.len));
        if (frame.len != one->bytes.len || memcmp(frame.data, one->bytes.data, frame.len) != 0)
            fail_msg("'%s' of %s is written as '%.*s' now: %s", one->said, GOLDEN_WIRE, (int)body.len,
                     (const char *)body.data, GOLDEN_CHANGED);
        buf_free(&body);
        buf_free(&frame);
    }
    /* Every type of frame is in it. */
    for (int type = WIRE_HELLO; type <= WIRE_CLOSE; type++)
        assert_true(seen >> type & 1);
    golden_free(&g);
}

/* All that older releases say is understood; what is made of it now may have more keys. */
static void an_older_session_is_read(void **state)
{
    (void)state;
    static struct golden_session g;
    assert_true(golden_read(GOLDEN_WIRE_OLD, &g));
    for (size_t i = 0; i < g.count; i++) {
        struct buf body = {0};
        write_again(&g.frames[i].frame, &body);
        buf_free(&body);
    }
    golden_free(&g);
}

/* What stands above each frame of the capture is what it says. */
static void the_golden_session_is_annotated_truly(void **state)
{
    (void)state;
    static struct golden_session g;
    static char said[4096];
    assert_true(golden_read(GOLDEN_WIRE, &g));
    for (size_t i = 0; i < g.count; i++) {
        golden_describe(&g.frames[i].frame, said);
        assert_string_equal(g.frames[i].said + 2, said);
    }
    golden_free(&g);
}

static void types_have_names(void **state)
{
    (void)state;
    assert_string_equal(wire_type_name(WIRE_HELLO), "HELLO");
    assert_string_equal(wire_type_name(WIRE_CLOSE), "CLOSE");
    assert_string_equal(wire_type_name(0), "unknown");
    assert_string_equal(wire_type_name(17), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_bytes_are_as_drawn),
        cmocka_unit_test(a_frame_is_taken_when_it_is_whole),
        cmocka_unit_test(what_is_no_frame_is_shown),
        cmocka_unit_test(a_receipt_survives),
        cmocka_unit_test(requests_survive),
        cmocka_unit_test(exact_is_said_only_when_it_is),
        cmocka_unit_test(decoding_that_makes_no_sense),
        cmocka_unit_test(lists_survive),
        cmocka_unit_test(refusals_keep_grade_and_words),
        cmocka_unit_test(bytes_that_are_no_utf8_do_not_stop_a_receipt),
        cmocka_unit_test(bad_values_name_their_key),
        cmocka_unit_test(hostile_receipts_are_refused),
        cmocka_unit_test(bad_lists_are_refused),
        cmocka_unit_test(the_golden_session_reads_and_writes_the_same),
        cmocka_unit_test(an_older_session_is_read),
        cmocka_unit_test(the_golden_session_is_annotated_truly),
        cmocka_unit_test(types_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
