/* The names, side-cars and maps of a drop folder: what is written is read again, and what
 * somebody else put there is taken for what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/drop.h"

#define ID "a171c0f50d9815dc43c652fafc22c783b9da48cb9158e624b827045369696853"

static void names_are_read_again(void **state)
{
    (void)state;
    for (int kind = 0; kind < DROP_NONE; kind++) {
        char file[DROP_NAME], name[MEMBER_NAME], id8[9];
        assert_true(drop_name((enum drop_kind)kind, "DECam_1.x", ID, file));
        assert_int_equal(drop_name_parse(file, name, id8), kind);
        assert_string_equal(name, "DECam_1.x");
        assert_string_equal(id8, kind < DROP_ASK ? "a171c0f5" : "");
    }
}

static void other_names_are_none_of_ours(void **state)
{
    (void)state;
    static const char *const files[] = {
        "", ".", "..", ".tar", "DECam.tar", "DECam.a171c0f.tar", "DECam.A171C0F5.tar", ".a171c0f5.tar",
        "-rf.a171c0f5.tar", "..a171c0f5.commit", "a b.a171c0f5.tar", "a/b.a171c0f5.tar", "ask-.json",
        "ask-../x.json", "far-end.json", ".DECam.a171c0f5.tar", "DECam.a171c0f5.bytes",
        "x.a171c0f5.tar\n", ".DECam.4711.0.part"};
    char name[MEMBER_NAME], id8[9], longest[400];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        assert_int_equal(drop_name_parse(files[i], name, id8), DROP_NONE);
    memset(longest, 'x', sizeof longest);
    memcpy(longest + 380, ".a171c0f5.tar", 14);
    assert_int_equal(drop_name_parse(longest, name, id8), DROP_NONE);
}

static void fill(struct drop_side *s)
{
    memset(s, 0, sizeof *s);
    memcpy(s->open.id, ID, sizeof s->open.id);
    strcpy(s->open.name, "DECam_1");
    strcpy(s->open.date_obs, "2016-08-31T23:10:00");
    s->open.mtime_ns = 5;
    s->commit.size = 1234;
    memcpy(s->commit.sha256, ID, sizeof s->commit.sha256);
    memcpy(s->commit.source_sha256, ID, sizeof s->commit.source_sha256);
    strcpy(s->commit.source_name, "DECam_1.fits");
    s->commit.exact = true;
}

static void a_side_car_is_read_again(void **state)
{
    (void)state;
    struct drop_side in, out;
    struct buf text = {0};
    struct fault why;
    fill(&in);
    assert_true(drop_side_text(&in, &text));
    assert_int_equal(drop_side_parse(text.data, text.len, &out, &why), ST_OK);
    assert_memory_equal(&in.commit, &out.commit, sizeof in.commit);
    assert_string_equal(out.open.name, "DECam_1");
    /* Whatever is missing of it, it is refused, and out stays as it was. */
    for (size_t len = 0; len + 2 < text.len; len++)
        assert_int_equal(drop_side_parse(text.data, len, &out, &why), ST_REJECT);
    assert_string_equal(out.open.name, "DECam_1");
    buf_free(&text);
}

static void a_strange_side_car_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{}", "[]", "null", "\"skyferry-drop\"",
        "{\"format\":\"skyferry-drop\",\"version\":2,\"open\":{},\"commit\":{}}",
        "{\"format\":\"skyferry-drop\",\"version\":1,\"open\":{},\"commit\":{}}",
        "{\"format\":\"skyferry-drop\",\"version\":1,\"open\":3,\"commit\":[]}",
        "{\"format\":3,\"version\":1,\"open\":{},\"commit\":{}}"};
    struct drop_side out;
    struct fault why;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(drop_side_parse(texts[i], strlen(texts[i]), &out, &why), ST_REJECT);
        assert_true(why.text[0]);
    }
}

static void a_map_keeps_what_is_sound(void **state)
{
    (void)state;
    struct buf text = {0};
    struct extent *have = NULL;
    size_t count;
    assert_true(drop_map_add(&text, 0, 100));
    assert_true(drop_map_add(&text, 500, 50));
    size_t two = text.len;
    assert_true(drop_map_add(&text, 200, 100));
    assert_true(drop_map_read((char *)text.data, text.len, 1000, &have, &count));
    assert_int_equal(count, 3);
    assert_int_equal(have[2].offset, 200);
    free(have);
    /* A torn last line; a limit; a flipped digit; foreign words. */
    assert_true(drop_map_read((char *)text.data, text.len - 1, 1000, &have, &count));
    assert_int_equal(count, 2);
    free(have);
    assert_true(drop_map_read((char *)text.data, text.len, 300, &have, &count));
    assert_int_equal(count, 2);
    free(have);
    text.data[two] ^= 1;
    assert_true(drop_map_read((char *)text.data, text.len, 1000, &have, &count));
    assert_int_equal(count, 2);
    free(have);
    static const char words[] = "0 100\n-5 5 00000000\nx\n\n\n9223372036854775807 2 12345678\n";
    assert_true(drop_map_read(words, sizeof words - 1, INT64_MAX, &have, &count));
    assert_int_equal(count, 0);
    free(have);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_again),
        cmocka_unit_test(other_names_are_none_of_ours),
        cmocka_unit_test(a_side_car_is_read_again),
        cmocka_unit_test(a_strange_side_car_is_refused),
        cmocka_unit_test(a_map_keeps_what_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
