/* manifest.json: the same struct gives the same text to the byte, the text gives the struct
 * back, and whatever a stranger may write there is refused with the key named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/golden_exposure.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void assert_same_member(const struct member *a, const struct member *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->hdu, b->hdu);
    assert_int_equal(a->ccd, b->ccd);
    assert_string_equal(a->extname, b->extname);
    assert_string_equal(a->codec, b->codec);
    assert_memory_equal(&a->qstep, &b->qstep, sizeof a->qstep);
    assert_memory_equal(&a->measured, &b->measured, sizeof a->measured);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->raw_size, b->raw_size);
    assert_string_equal(a->sha256, b->sha256);
}

static void assert_same(const struct manifest *a, const struct manifest *b)
{
    assert_int_equal(a->format, b->format);
    assert_string_equal(a->software, b->software);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->source_name, b->source_name);
    assert_string_equal(a->source_sha256, b->source_sha256);
    assert_int_equal(a->source_size, b->source_size);
    assert_int_equal(a->source_mtime_ns, b->source_mtime_ns);
    assert_string_equal(a->facts.object, b->facts.object);
    assert_string_equal(a->facts.filter, b->facts.filter);
    assert_string_equal(a->facts.obstype, b->facts.obstype);
    assert_string_equal(a->facts.propid, b->facts.propid);
    assert_string_equal(a->facts.date_obs, b->facts.date_obs);
    assert_int_equal(a->facts.expnum, b->facts.expnum);
    assert_int_equal(a->facts.date_ns, b->facts.date_ns);
    assert_true(a->facts.exptime == b->facts.exptime ||
                (isnan(a->facts.exptime) && isnan(b->facts.exptime)));
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_same_member(&a->members[i], &b->members[i]);
}

static enum status parse_text(const char *text, struct manifest *m, struct fault *why)
{
    return manifest_parse(text, strlen(text), m, why);
}

static const struct visit a_visit = {.name = "HSCA1234", .ccd = 3, .ccds = 104, .coming = 103};

/* The golden manifest as text, for tests that change a piece of it. */
static char *golden_of(const struct visit *visit)
{
    struct golden g;
    struct buf b = {0};
    golden_make(&g);
    if (visit)
        g.m.visit = *visit;
    assert_true(manifest_write(&g.m, &b));
    golden_free(&g);
    assert_true(buf_append(&b, "", 1));
    return (char *)b.data;
}

static char *golden_text(void)
{
    return golden_of(NULL);
}

static char *with(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    if (!at)
        fail_msg("the golden manifest has no %s", old);
    struct buf b = {0};
    assert_true(buf_append(&b, text, (size_t)(at - text)));
    assert_true(buf_printf(&b, "%s%s", new, at + strlen(old)));
    assert_true(buf_append(&b, "", 1));
    return (char *)b.data;
}

static void assert_refused(const char *text, const char *words)
{
    struct manifest m;
    struct fault why = {0};
    enum status s = parse_text(text, &m, &why);
    if (s != ST_REJECT || !strstr(why.text, words))
        fail_msg("expected a rejection with \"%s\", got %s: %s", words, status_name(s), why.text);
    assert_int_equal(m.count, 0);
    assert_null(m.members);
}

static void writes_the_golden_text(void **state)
{
    (void)state;
    struct fault why;
    struct buf stored = {0};
    char *text = golden_text();
    if (getenv("UPDATE_GOLDEN"))
        assert_int_equal(fs_write_file(GOLDEN_MANIFEST, text, strlen(text), false, &why), ST_OK);
    assert_int_equal(fs_read_file(GOLDEN_MANIFEST, 1 << 20, &stored, &why), ST_OK);
    assert_int_equal(stored.len, strlen(text));
    assert_memory_equal(stored.data, text, stored.len);
    buf_free(&stored);
    free(text);
}

static void reads_the_golden_text(void **state)
{
    (void)state;
    struct fault why;
    struct buf stored = {0};
    struct golden g;
    struct manifest m;
    golden_make(&g);
    assert_int_equal(fs_read_file(GOLDEN_MANIFEST, 1 << 20, &stored, &why), ST_OK);
    assert_int_equal(manifest_parse(stored.data, stored.len, &m, &why), ST_OK);
    assert_same(&m, &g.m);
    assert_int_equal(m.members[1].offset, 0); /* not of the JSON */
    manifest_free(&m);
    golden_free(&g);
    buf_free(&stored);
}

/* One file of several, and what an older reader takes it for. */
static void a_visit_is_written_and_read(void **state)
{
    (void)state;
    struct fault why;
    struct buf stored = {0};
    struct manifest m;
    char *text = golden_of(&a_visit);
    if (getenv("UPDATE_GOLDEN"))
        assert_int_equal(fs_write_file(GOLDEN_VISIT, text, strlen(text), false, &why), ST_OK);
    assert_int_equal(fs_read_file(GOLDEN_VISIT, 1 << 20, &stored, &why), ST_OK);
    assert_int_equal(stored.len, strlen(text));
    assert_memory_equal(stored.data, text, stored.len);
    assert_int_equal(parse_text(text, &m, &why), ST_OK);
    assert_memory_equal(&m.visit, &a_visit, sizeof a_visit);
    manifest_free(&m);
    assert_int_equal(manifest_head_parse(text, strlen(text), &m, &why), ST_OK);
    assert_memory_equal(&m.visit, &a_visit, sizeof a_visit);
    manifest_free(&m);
    char *plain = golden_text();
    assert_int_equal(parse_text(plain, &m, &why), ST_OK);
    assert_int_equal(m.visit.ccd, 0);
    assert_string_equal(m.visit.name, "");
    manifest_free(&m);
    buf_free(&stored);
    free(plain);
    free(text);
}

static void a_visit_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"\"name\": \"HSCA1234\"", "\"name\": \"../x\"", "visit.name is no safe file name"},
        {"\"name\": \"HSCA1234\"", "\"name\": 7", "visit.name is no text"},
        {"\"ccd\": 3", "\"ccd\": 0", "visit.ccd must be a whole number from 1 to 9999"},
        {"\"ccds\": 104,", "", "visit.ccds is missing"},
        {"\"coming\": 103", "\"coming\": 10000", "visit.coming must be a whole number from 0"},
        {"\"visit\": {", "\"visit\": 3, \"v\": {", "visit is missing or no object"},
    };
    char *text = golden_of(&a_visit);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *changed = with(text, wrong[i][0], wrong[i][1]);
        assert_refused(changed, wrong[i][2]);
        free(changed);
    }
    free(text);
}

static struct member extreme_member(void)
{
    struct member one = {.name = "x_9999.jph", .role = MEMBER_IMAGE, .hdu = 4095, .ccd = 9999,
                         .extname = "quote \" back \\ slash / \xc3\xa9", .codec = "htj2k",
                         .qstep = 0.1 + 0.2 - 0.3 + 0.00003, .size = INT64_MAX, .raw_size = 0,
                         .sha256 = SHA,
                         .measured = {.sky = -1e-300, .noise = 1.0 / 3, .read_noise = 0,
                                      .gain = NAN, .rms_error = 4e18, .max_error = 0,
                                      .bound = NAN, .exact_pixels = INT64_MAX,
                                      .datasum = UINT32_MAX}};
    return one;
}

static void extremes_survive(void **state)
{
    (void)state;
    struct fault why;
    struct buf b = {0};
    struct manifest back, m = {.format = 1, .software = "s", .name = "x",
                               .source_name = "a b (2).fits", .source_sha256 = SHA,
                               .source_size = INT64_MAX, .source_mtime_ns = INT64_MIN};
    m.facts = (struct facts){.expnum = INT64_MAX, .date_ns = INT64_MIN + 1, .exptime = 1.0 / 3.0};
    struct member one = extreme_member();
    assert_true(manifest_add(&m, &one));
    assert_true(manifest_write(&m, &b));
    assert_int_equal(manifest_parse(b.data, b.len, &back, &why), ST_OK);
    assert_same(&back, &m);
    manifest_free(&back);
    manifest_free(&m);
    buf_free(&b);
}

static void what_the_header_does_not_say_stays_unsaid(void **state)
{
    (void)state;
    struct fault why;
    struct buf b = {0};
    struct manifest back, m = {.format = 1, .software = "s", .name = "x", .source_name = "x.fits",
                               .source_sha256 = SHA};
    m.facts = (struct facts){.expnum = -1, .date_ns = INT64_MIN, .exptime = NAN};
    assert_true(manifest_write(&m, &b));
    assert_true(buf_append(&b, "", 1));
    assert_null(strstr((char *)b.data, "expnum"));
    assert_null(strstr((char *)b.data, "exptime"));
    assert_null(strstr((char *)b.data, "date"));
    assert_non_null(strstr((char *)b.data, "\"facts\": {}"));
    assert_int_equal(manifest_parse(b.data, b.len - 1, &back, &why), ST_OK);
    assert_same(&back, &m);
    manifest_free(&back);
    buf_free(&b);
}

static void a_file_name_that_is_no_utf8_is_written_all_the_same(void **state)
{
    (void)state;
    struct fault why;
    struct buf b = {0};
    struct manifest back, m = {.format = 1, .software = "s", .name = "x",
                               .source_name = "caf\xe9.fits", .source_sha256 = SHA};
    assert_true(manifest_write(&m, &b));
    assert_int_equal(manifest_parse(b.data, b.len, &back, &why), ST_OK);
    assert_string_equal(back.source_name, "caf_.fits");
    manifest_free(&back);
    buf_free(&b);
}

static void keys_of_later_versions_are_ignored(void **state)
{
    (void)state;
    struct fault why;
    struct manifest m;
    char *text = golden_text();
    char *more = with(text, "\"format\"", "\"weather\": {\"seeing\": [0.9, null]}, \"format\"");
    char *most = with(more, "\"role\"", "\"noise\": 2.1, \"role\"");
    assert_int_equal(parse_text(most, &m, &why), ST_OK);
    assert_int_equal(m.count, 4);
    manifest_free(&m);
    free(most);
    free(more);
    free(text);
}

/* A piece of the golden manifest, what stands there instead, and the words of the refusal. */
static const struct {
    const char *old, *new, *words;
} bad[] = {
    {"\"format\": 1", "\"format\": 2", "bundle format 2"},
    {"\"format\": 1", "\"format\": \"1\"", "format must be a whole number"},
    {"\"format\": 1", "\"formal\": 1", "format is missing"},
    {"\"software\": \"skyferry 0.1.0\"", "\"software\": 1", "software is no text"},
    {"\"name\": \"c4d_171113_060340_ori\"", "\"name\": \"../x\"", "name is no safe file name"},
    {"\"name\": \"c4d_171113_060340_ori\"", "\"name\": \"\"", "name is no safe file name"},
    {"\"source\"", "\"sauce\"", "source is missing"},
    {"\"name\": \"c4d_171113_060340_ori.fits\"", "\"name\": \"/etc/passwd\"",
     "source.name is no file name"},
    {"\"name\": \"c4d_171113_060340_ori.fits\"", "\"name\": \"..\"", "source.name is no file name"},
    {"\"name\": \"c4d_171113_060340_ori.fits\"", "\"name\": \"a\\u001b[2J\"",
     "source.name holds control characters"},
    {"\"name\": \"c4d_171113_060340_ori.fits\"", "\"name\": \"a\\u0000b\"", "no valid JSON"},
    {"\"size\": 14440", "\"size\": -1", "source.size must be a whole number from 0"},
    {"\"size\": 14440", "\"size\": 14440.5", "source.size must be a whole number from 0"},
    {"\"size\": 14440", "\"size\": 99999999999999999999", "no valid JSON"},
    {"\"mtime_ns\": 1510553020123456789", "\"mtime_ns\": \"now\"", "source.mtime_ns must be"},
    {"\"facts\": {", "\"facts\": [], \"f\": {", "facts is missing or no object"},
    {"\"expnum\": 694037", "\"expnum\": -1", "facts.expnum must be a whole number from 0"},
    {"\"exptime\": 20.5", "\"exptime\": 1e300", "facts.exptime must be a number"},
    {"\"exptime\": 20.5", "\"exptime\": 1e999", "no valid JSON"},
    {"\"exptime\": 20.5", "\"exptime\": NaN", "no valid JSON"},
    {"\"object\": \"DWF field 4hr\"", "\"object\": \"a\\nb\"", "facts.object holds control"},
    {"\"obstype\": \"object\"",
     "\"obstype\": \"1234567890123456789012345678901234567890123456789012345678901234567890123\"",
     "facts.obstype is too long"},
    {"\"members\": [", "\"members\": 3, \"m\": [", "members is missing or no array"},
    {"\"members\": [", "\"members\": [7,", "members[0] is missing or no object"},
    {"\"role\": \"image\"", "\"role\": \"picture\"", "members[1].role is none of image"},
    {"\"role\": \"image\"", "\"role\": 0", "members[1].role is no text"},
    {"\"hdu\": 1,", "\"hdu\": 4096,", "members[1].hdu must be a whole number from -1 to 4095"},
    {"\"hdu\": 1,", "\"hdu\": -2,", "members[1].hdu must be"},
    {"\"hdu\": 1,", "\"hdu\": -1,", "hdu -1 is for trailing bytes only"},
    {"\"hdu\": 1,", "\"hdu\": 2,", "HDU 2 is there twice"},
    {"\"ccd\": 3", "\"ccd\": 10000", "members[1].ccd must be a whole number from 0 to 9999"},
    {"\"ccd\": 3", "\"ccd\": 0", "an image needs a ccd number"},
    {"\"codec\": \"original\"", "\"codec\": \"../x\"", "members[0].codec is no word"},
    {"\"codec\": \"original\"", "\"codec\": \"\"", "members[0].codec is no word"},
    {"\"codec\": \"original\"", "\"codec\": \"abcdefghijklmnop\"", "members[0].codec is too long"},
    {"\"qstep\": 0.0", "\"qstep\": -0.5", "members[0].qstep must be a number from 0 to 1"},
    {"\"qstep\": 0.0", "\"qstep\": true", "members[0].qstep must be"},
    {"\"raw_size\": 2880", "\"raw_size\": -2880", "members[0].raw_size must be"},
    {"\"raw_size\": 2880,", "", "members[0].raw_size is missing"},
    {"ori_hdu0.hdu", "ori/hdu0.hdu", "members[0].name is no safe file name"},
    {"c4d_171113_060340_ori_hdu0.hdu", "..", "members[0].name is no safe file name"},
    {"c4d_171113_060340_ori_hdu0.hdu", "manifest.json", "it lists itself"},
    {"ori_hdu0.hdu", "ori_3.hdu", "two members of the name c4d_171113_060340_ori_3.hdu"},
    {"\"role\": \"hdu\"", "\"role\": \"hdu\", \"role\": \"hdu\"", "no valid JSON"},
    {"{", "[", "no valid JSON"},
};

static void bad_values_are_refused_with_their_key(void **state)
{
    (void)state;
    char *text = golden_text();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *changed = with(text, bad[i].old, bad[i].new);
        assert_refused(changed, bad[i].words);
        free(changed);
    }
    free(text);
}

static void a_damaged_digest_is_refused(void **state)
{
    (void)state;
    char *text = golden_text();
    char *digest = strstr(text, "\"sha256\": \"") + 11;
    digest[5] = 'G';
    assert_refused(text, "source.sha256 is no SHA-256");
    digest[5] = '0';
    digest = strstr(digest, "\"sha256\": \"") + 11;
    digest[63] = '"';
    digest[64] = ' ';
    assert_refused(text, "members[0].sha256 is no SHA-256");
    free(text);
}

static void two_images_of_one_ccd_are_refused(void **state)
{
    (void)state;
    struct fault why;
    struct buf b = {0};
    struct manifest back, m = {.format = 1, .software = "s", .name = "x", .source_name = "x.fits",
                               .source_sha256 = SHA};
    struct member one = {.name = "x_5.jph", .role = MEMBER_IMAGE, .hdu = 1, .ccd = 5,
                         .codec = "htj2k", .sha256 = SHA};
    assert_true(manifest_add(&m, &one));
    one.hdu = 2;
    snprintf(one.name, sizeof one.name, "x_5.jp2");
    assert_true(manifest_add(&m, &one));
    assert_true(manifest_write(&m, &b));
    assert_int_equal(manifest_parse(b.data, b.len, &back, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "member x_5.jp2: ccd 5 is there twice"));
    manifest_free(&m);
    buf_free(&b);
}

static void what_is_no_manifest_is_refused(void **state)
{
    (void)state;
    struct manifest m;
    struct fault why;
    assert_refused("", "no valid JSON");
    assert_refused("SIMPLE  =                    T", "no valid JSON");
    assert_refused("[]", "it is no JSON object");
    assert_refused("{}", "format is missing");
    assert_refused("{\"format\": 1} x", "no valid JSON");
    assert_int_equal(manifest_parse("{\"format\": 1, \"a\0b\": 1}", 24, &m, &why), ST_REJECT);
    assert_int_equal(manifest_parse("\0\0\0\0", 4, &m, &why), ST_REJECT);
}

static void deep_or_huge_json_is_refused_before_it_is_parsed(void **state)
{
    (void)state;
    struct manifest m;
    struct fault why;
    size_t len = 2 << 20;
    char *text = malloc(len);
    assert_non_null(text);
    memset(text, '[', len);
    assert_int_equal(manifest_parse(text, len, &m, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "nested deeper than 16"));
    memset(text, ',', len);
    text[0] = '[';
    assert_int_equal(manifest_parse(text, len, &m, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "more than 1000000 values"));
    /* Brackets inside a text are text. */
    memset(text, '[', len);
    memcpy(text, "{\"a\": \"", 7);
    memcpy(text + len - 2, "\"}", 2);
    assert_int_equal(manifest_parse(text, len, &m, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "format is missing"));
    free(text);
}

static void thousands_of_members(void **state)
{
    (void)state;
    struct fault why;
    struct buf b = {0};
    struct manifest back, m = {.format = 1, .software = "s", .name = "x", .source_name = "x.fits",
                               .source_sha256 = SHA};
    for (int i = 0; i < 4096; i++) {
        struct member one = {.role = i % 2 ? MEMBER_IMAGE : MEMBER_HDU, .hdu = i,
                             .ccd = i % 2 ? i : 0, .codec = "rice", .sha256 = SHA};
        member_name(&one, "x", ".fits.fz");
        assert_true(manifest_add(&m, &one));
        one.role = MEMBER_HEADER;
        member_name(&one, "x", ".hdr.zst");
        assert_true(manifest_add(&m, &one));
    }
    assert_true(manifest_write(&m, &b));
    assert_true(b.len < BUNDLE_MANIFEST_MAX);
    assert_int_equal(manifest_parse(b.data, b.len, &back, &why), ST_OK);
    assert_same(&back, &m);
    manifest_free(&back);
    manifest_free(&m);
    buf_free(&b);
}

/* Truncated everywhere, and with bytes changed at random: an answer, never a crash (the
 * sanitizers look on). */
static void mutations_never_crash(void **state)
{
    (void)state;
    struct fault why;
    struct manifest m;
    char *text = golden_text();
    size_t len = strlen(text);
    for (size_t cut = 0; cut + 2 < len; cut++)
        assert_int_equal(manifest_parse(text, cut, &m, &why), ST_REJECT);
    char *copy = malloc(len);
    assert_non_null(copy);
    unsigned seed = 20171113;
    for (int round = 0; round < 4000; round++) {
        memcpy(copy, text, len);
        for (int flips = 1 + rand_r(&seed) % 4; flips > 0; flips--)
            copy[(unsigned)rand_r(&seed) % len] = (char)rand_r(&seed);
        enum status s = manifest_parse(copy, len, &m, &why);
        assert_true(s == ST_OK || s == ST_REJECT);
        if (s == ST_OK)
            manifest_free(&m);
    }
    free(copy);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_golden_text),
        cmocka_unit_test(reads_the_golden_text),
        cmocka_unit_test(a_visit_is_written_and_read),
        cmocka_unit_test(a_visit_that_is_none_is_refused),
        cmocka_unit_test(extremes_survive),
        cmocka_unit_test(what_the_header_does_not_say_stays_unsaid),
        cmocka_unit_test(a_file_name_that_is_no_utf8_is_written_all_the_same),
        cmocka_unit_test(keys_of_later_versions_are_ignored),
        cmocka_unit_test(bad_values_are_refused_with_their_key),
        cmocka_unit_test(a_damaged_digest_is_refused),
        cmocka_unit_test(two_images_of_one_ccd_are_refused),
        cmocka_unit_test(what_is_no_manifest_is_refused),
        cmocka_unit_test(deep_or_huge_json_is_refused_before_it_is_parsed),
        cmocka_unit_test(thousands_of_members),
        cmocka_unit_test(mutations_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
