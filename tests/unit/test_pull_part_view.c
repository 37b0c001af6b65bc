/* Looking into a part that somebody else fills: which bytes are there, at any moment, and what
 * becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pull/part_view.h"
#include "tests/unit/part_fixture.h"

#define SIZE 100000

static struct fault why;

static struct part_view *view_of(const struct sample *s)
{
    char rel[512];
    struct part_view *v = NULL;
    snprintf(rel, sizeof rel, "incoming/%s.%.8s.map", s->open.name, s->open.id);
    if (part_view_open(in_store(rel), &v, &why) != ST_OK)
        fail_msg("%s", why.text);
    return v;
}

static void it_knows_what_the_map_says(void **state)
{
    (void)state;
    struct sample s;
    sample_make(&s, "A", 1, SIZE);
    struct part *p = open_new(&s);
    struct part_view *v = view_of(&s);
    assert_int_equal(part_view_look(v), VIEW_GROWS);
    assert_false(part_view_has(v, 0, 1));
    assert_true(part_view_has(v, 5, 5));
    srand(3);
    for (int round = 0; round < 400; round++) {
        struct extent *have = NULL;
        size_t count = 0, from = (size_t)rand() % (SIZE - 700), to = from + 1 + (size_t)rand() % 700;
        write_range(p, &s, from, to);
        assert_int_equal(part_view_look(v), VIEW_GROWS);
        assert_int_equal(part_extents(p, &have, &count, &why), ST_OK);
        for (int probe = 0; probe < 50; probe++) {
            int64_t a = rand() % SIZE, b = a + 1 + rand() % 2000;
            bool there = false;
            for (size_t i = 0; i < count; i++)
                there = there || (have[i].offset <= a && have[i].offset + have[i].length >= b);
            assert_int_equal(part_view_has(v, a, b), there);
        }
        free(have);
    }
    part_view_close(&v);
    assert_null(v);
    part_close(&p);
    sample_free(&s);
}

static void a_half_written_record_waits(void **state)
{
    (void)state;
    struct sample s;
    char rel[512];
    sample_make(&s, "A", 1, SIZE);
    struct part *p = open_new(&s);
    struct part_view *v = view_of(&s);
    write_range(p, &s, 0, 1000);
    write_range(p, &s, 1000, 2000);
    snprintf(rel, sizeof rel, "incoming/A.%.8s.map", s.open.id);
    assert_int_equal(truncate(in_store(rel), MAP_HEAD + MAP_RECORD + 20), 0);
    assert_int_equal(part_view_look(v), VIEW_GROWS);
    assert_true(part_view_has(v, 0, 1000));
    assert_false(part_view_has(v, 0, 1001));
    part_close(&p);
    p = open_new(&s); /* mends the map */
    write_range(p, &s, 1000, 3000);
    assert_int_equal(part_view_look(v), VIEW_GROWS);
    assert_true(part_view_has(v, 0, 3000));
    part_view_close(&v);
    part_close(&p);
    sample_free(&s);
}

static void it_sees_how_it_ends(void **state)
{
    (void)state;
    struct sample s;
    struct receipt r;
    unsigned char byte;
    sample_make(&s, "A", 1, SIZE);
    struct part *p = open_new(&s);
    struct part_view *v = view_of(&s);
    int64_t first_ns = part_view_head(v)->first_ns;
    assert_string_equal(part_view_head(v)->id, s.open.id);
    write_range(p, &s, 0, SIZE);
    assert_int_equal(part_view_look(v), VIEW_GROWS);
    /* One byte is wrong: all of it is dropped. */
    byte = (unsigned char)(s.bytes[50] ^ 1);
    assert_int_equal(part_write(p, 50, &byte, 1, &why), ST_OK);
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_RETRY);
    /* Also when as many records as before have come since. */
    write_range(p, &s, 0, 5);
    write_range(p, &s, 5, SIZE);
    assert_int_equal(part_view_look(v), VIEW_ANEW);
    part_view_close(&v);
    v = view_of(&s);
    assert_true(part_view_head(v)->first_ns > first_ns);
    assert_int_equal(part_view_look(v), VIEW_GROWS);
    assert_true(part_view_has(v, 0, SIZE));
    /* Stored: what is there can still be read. */
    assert_int_equal(part_commit(p, &s.commit, &r, &why), ST_OK);
    assert_int_equal(part_view_look(v), VIEW_SEALED);
    assert_int_equal(fs_pread_all(part_view_fd(v), &byte, 1, 50), 0);
    assert_int_equal(byte, s.bytes[50]);
    part_view_close(&v);
    part_close(&p);
    sample_free(&s);
    /* Given up. */
    sample_make(&s, "B", 2, SIZE);
    p = open_new(&s);
    v = view_of(&s);
    write_range(p, &s, 0, 1000);
    assert_int_equal(part_abort(p, &why), ST_OK);
    assert_int_equal(part_view_look(v), VIEW_GONE);
    part_view_close(&v);
    part_close(&p);
    sample_free(&s);
}

static void odd_files_are_left_alone(void **state)
{
    (void)state;
    struct sample s;
    struct part_view *v = NULL;
    char from[4096], to[4096], rel[512];
    sample_make(&s, "A", 1, SIZE);
    struct part *p = open_new(&s);
    write_range(p, &s, 0, 1000);
    assert_int_equal(part_view_open(in_store("incoming/B.01234567.map"), &v, &why), ST_WAIT);
    assert_null(v);
    /* Under another short id than the map's. */
    snprintf(rel, sizeof rel, "incoming/A.%.8s.map", s.open.id);
    snprintf(from, sizeof from, "%s", in_store(rel));
    snprintf(to, sizeof to, "%s", in_store("incoming/A.zzzzzzzz.map"));
    assert_int_equal(link(from, to), 0);
    memcpy(from + strlen(from) - 3, "part", 5);
    memcpy(to + strlen(to) - 3, "part", 5);
    assert_int_equal(link(from, to), 0);
    assert_int_equal(part_view_open(in_store("incoming/A.zzzzzzzz.map"), &v, &why), ST_REJECT);
    /* An empty map, one without its part, a link. */
    int fd = open(in_store("incoming/C.01234567.map"), O_WRONLY | O_CREAT, 0644);
    assert_int_equal(part_view_open(in_store("incoming/C.01234567.map"), &v, &why), ST_WAIT);
    close(fd);
    fd = open(in_store("incoming/C.01234567.part"), O_WRONLY | O_CREAT, 0644);
    assert_int_equal(part_view_open(in_store("incoming/C.01234567.map"), &v, &why), ST_WAIT);
    close(fd);
    assert_int_equal(symlink("/etc/passwd", in_store("incoming/D.01234567.map")), 0);
    assert_int_equal(part_view_open(in_store("incoming/D.01234567.map"), &v, &why), ST_WAIT);
    assert_int_equal(part_view_open(in_store("incoming/.map"), &v, &why), ST_WAIT);
    part_close(&p);
    sample_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_knows_what_the_map_says, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(a_half_written_record_waits, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(it_sees_how_it_ends, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(odd_files_are_left_alone, store_setup, store_teardown),
    };
    return cmocka_run_group_tests_name("part view", tests, NULL, NULL);
}
