/* Header cards are read by the standard's rules, survive verbatim, and are written so that
 * they read back as they were meant, whatever the value holds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fits_fixture.h"

static struct fits_header parsed(const struct buf *b)
{
    struct fits_header h;
    struct fault why = {0};
    enum status st = fits_header_parse(b->data, b->len, &h, &why);
    if (st != ST_OK)
        print_message("%s\n", why.text);
    assert_int_equal(st, ST_OK);
    return h;
}

static struct fits_header of_cards(const char *const *cards)
{
    struct buf b = {0};
    for (; *cards; cards++)
        card(&b, "%s", *cards);
    end_card(&b);
    struct fits_header h = parsed(&b);
    buf_free(&b);
    return h;
}
#define CARDS(...) of_cards((const char *const[]){__VA_ARGS__, NULL})

static void assert_card(const struct fits_header *h, size_t index, const char *text)
{
    char padded[FITS_CARD + 1], got[FITS_CARD + 1];
    assert_true(index < h->count);
    snprintf(padded, sizeof padded, "%-80s", text);
    memcpy(got, h->cards + index * FITS_CARD, FITS_CARD);
    got[FITS_CARD] = '\0';
    assert_string_equal(got, padded);
}

static void parses_up_to_end(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int n = 0; n < 80; n++) {
        b.len = 0;
        for (int i = 0; i < n; i++)
            card(&b, "KEY%-5d= %d / %d", i, i, n);
        size_t cards = b.len;
        end_card(&b);
        card(&b, "AFTER   = 1");
        struct fits_header h = parsed(&b);
        assert_int_equal(h.count, n);
        assert_memory_equal(n ? h.cards : (char *)b.data, b.data, cards);
        assert_int_equal(fits_header_find(&h, "AFTER"), -1);
        assert_true(fits_header_add_int(&h, "MORE", 1, NULL)); /* the room grows from any count */
        assert_int_equal(fits_header_find(&h, "MORE"), n);
        fits_header_free(&h);
        assert_null(h.cards);
    }
    buf_free(&b);
}

static void refuses_what_is_no_header(void **state)
{
    (void)state;
    struct buf b = {0};
    struct fits_header h;
    struct fault why;
    card(&b, "SIMPLE  = T");
    card(&b, "ENDING  = 1");
    assert_int_equal(fits_header_parse(b.data, b.len, &h, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "no END"));
    end_card(&b);
    b.data[FITS_CARD + 20] = 0x07;
    assert_int_equal(fits_header_parse(b.data, b.len, &h, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "card 2"));
    assert_non_null(strstr(why.text, "0x07"));
    assert_non_null(strstr(why.text, "column 21"));
    for (int byte = 0; byte < 256; byte++) {
        b.data[FITS_CARD + 20] = (unsigned char)byte;
        enum status wanted = byte >= 32 && byte <= 126 ? ST_OK : ST_REJECT;
        assert_int_equal(fits_header_parse(b.data, b.len, &h, &why), wanted);
        fits_header_free(&h);
    }
    assert_int_equal(fits_header_parse(b.data, 79, &h, &why), ST_REJECT);
    assert_int_equal(fits_header_parse(NULL, 0, &h, &why), ST_REJECT);
    buf_free(&b);
}

static void finds_keywords(void **state)
{
    (void)state;
    struct fits_header h =
        CARDS("OBJECT  = 'M 31'", "OBJECTS = 2", "HIERARCH ESO DET CHIP1 NAME = 'EEV'",
              "HIERARCH not a card", "OBJECT  = 'again'", "HIERARCH TIME_RECORDED = '2017'");
    char text[80];
    assert_int_equal(fits_header_find(&h, "OBJECT"), 0);
    assert_int_equal(fits_header_find(&h, "OBJECTS"), 1);
    assert_int_equal(fits_header_find(&h, "OBJ"), -1);
    assert_int_equal(fits_header_find(&h, "object"), -1);
    assert_int_equal(fits_header_find(&h, "HIERARCH"), 2);
    assert_int_equal(fits_header_find(&h, "ESO DET CHIP1 NAME"), 2);
    assert_int_equal(fits_header_find(&h, "HIERARCH ESO DET CHIP1 NAME"), 2);
    assert_true(fits_header_text(&h, "ESO DET CHIP1 NAME", text, sizeof text));
    assert_string_equal(text, "EEV");
    assert_true(fits_header_text(&h, "TIME_RECORDED", text, sizeof text));
    assert_string_equal(text, "2017");
    fits_header_free(&h);
}

static void reads_text(void **state)
{
    (void)state;
    struct fits_header h =
        CARDS("A       = 'plain   '           / a comment", "B       = 'it''s / here'  / no",
              "C       = ''", "D       = '   x   '", "E       =  5", "F       = 'no end",
              "G       = 'first &'", "CONTINUE  'second&'  / c", "CONTINUE  ' third '",
              "H       = 'lonely&'", "I       = 'x&'", "CONTINUE   5", "J       'no equals'",
              "K       ='close'");
    const char *expected[][2] = {
        {"A", "plain"},  {"B", "it's / here"},        {"C", ""},        {"D", "   x"},
        {"F", "no end"}, {"G", "first second third"}, {"H", "lonely&"}, {"K", "close"}};
    char text[80];
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(fits_header_text(&h, expected[i][0], text, sizeof text));
        assert_string_equal(text, expected[i][1]);
    }
    assert_false(fits_header_text(&h, "E", text, sizeof text));
    assert_false(fits_header_text(&h, "J", text, sizeof text));
    assert_false(fits_header_text(&h, "MISSING", text, sizeof text));
    assert_true(fits_header_text(&h, "G", text, 9));
    assert_string_equal(text, "first se");
    assert_false(fits_header_text(&h, "G", text, 0));
    fits_header_free(&h);
}

static void reads_numbers(void **state)
{
    (void)state;
    struct fits_header h = CARDS(
        "I1      =                   42 / answer", "I2      = -9223372036854775808",
        "I3      = 9223372036854775808", "I4      = 1.5", "I5      = 12 34", "I6      = +7/tight",
        "R1      = 1.5E3", "R2      = -2.5D-2 / fortran", "R3      = nan", "R4      = inf",
        "R5      = 0x10", "R6      = 1E999", "R7      = .5", "L1      =                    T",
        "L2      = F / no", "L3      = TRUE", "S1      = 'T'", "N1      =", "N2      = / empty");
    int64_t i;
    double r;
    bool l;
    assert_true(fits_header_int(&h, "I1", &i) && i == 42);
    assert_true(fits_header_int(&h, "I2", &i) && i == INT64_MIN);
    assert_false(fits_header_int(&h, "I3", &i));
    assert_false(fits_header_int(&h, "I4", &i));
    assert_false(fits_header_int(&h, "I5", &i));
    assert_true(fits_header_int(&h, "I6", &i) && i == 7);
    assert_true(fits_header_real(&h, "I1", &r) && r == 42);
    assert_true(fits_header_real(&h, "R1", &r) && r == 1500);
    assert_true(fits_header_real(&h, "R2", &r) && r == -0.025);
    assert_true(fits_header_real(&h, "R7", &r) && r == 0.5);
    for (const char *const *k =
             (const char *const[]){"R3", "R4", "R5", "R6", "S1", "N1", "N2", "L1", NULL};
         *k; k++)
        assert_false(fits_header_real(&h, *k, &r));
    assert_true(fits_header_logical(&h, "L1", &l) && l);
    assert_true(fits_header_logical(&h, "L2", &l) && !l);
    assert_false(fits_header_logical(&h, "L3", &l));
    assert_false(fits_header_logical(&h, "S1", &l));
    fits_header_free(&h);
}

static void writes_fixed_format(void **state)
{
    (void)state;
    struct fits_header h = {0};
    assert_true(fits_header_add_logical(&h, "SIMPLE", true, "standard"));
    assert_true(fits_header_add_int(&h, "BITPIX", -32, "bits"));
    assert_true(fits_header_add_text(&h, "OBJECT", "M 31", "target"));
    assert_true(fits_header_add_text(&h, "OBSERVER", "O'Neill", NULL));
    assert_true(fits_header_add_real(&h, "EXPTIME", 20, "s"));
    assert_true(fits_header_add_real(&h, "QSTEP", 0.00003, NULL));
    assert_true(fits_header_add_real(&h, "BAD", NAN, "undefined"));
    assert_true(fits_header_add_text(&h, "HIDDEN", "a\nb\x80", NULL));
    assert_true(fits_header_add_int(&h, "SKYFERRY VERSION", 3, "long name"));
    assert_card(&h, 0, "SIMPLE  =                    T / standard");
    assert_card(&h, 1, "BITPIX  =                  -32 / bits");
    assert_card(&h, 2, "OBJECT  = 'M 31    '           / target");
    assert_card(&h, 3, "OBSERVER= 'O''Neill'");
    assert_card(&h, 4, "EXPTIME =                 20.0 / s");
    assert_card(&h, 5, "QSTEP   =                3E-05");
    assert_card(&h, 6, "BAD     =                      / undefined");
    assert_card(&h, 7, "HIDDEN  = 'a?b?    '");
    assert_card(&h, 8, "HIERARCH SKYFERRY VERSION =                    3 / long name");
    int64_t i;
    assert_true(fits_header_int(&h, "SKYFERRY VERSION", &i) && i == 3);
    fits_header_free(&h);
}

static void text_of_any_length_comes_back(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int len = 0; len < 400; len++) {
        char text[401], got[512];
        struct fits_header h = {0};
        for (int i = 0; i < len; i++) {
            uint32_t r = fixture_random(&seed);
            text[i] = r % 4 == 0 ? '\'' : r % 9 == 0 ? '&' : (char)('!' + r % 90);
        }
        text[len] = '\0';
        assert_true(fits_header_add_text(&h, "LONG", text, "comment"));
        assert_true(fits_header_add_int(&h, "NEXT", 1, NULL));
        assert_true(fits_header_text(&h, "LONG", got, sizeof got));
        assert_string_equal(got, text);
        fits_header_remove(&h, "LONG");
        assert_int_equal(h.count, 1);
        assert_int_equal(fits_header_find(&h, "NEXT"), 0);
        fits_header_free(&h);
    }
}

static void numbers_come_back_bit_for_bit(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (int n = 0; n < 20000; n++) {
        struct fits_header h = {0};
        uint64_t bits = (uint64_t)fixture_random(&seed) << 32 | fixture_random(&seed);
        double value, got;
        int64_t whole;
        memcpy(&value, &bits, 8);
        if (!isfinite(value))
            continue;
        assert_true(fits_header_add_real(&h, "R", value, "c"));
        assert_true(fits_header_add_int(&h, "I", (int64_t)bits, "c"));
        assert_true(fits_header_real(&h, "R", &got));
        assert_memory_equal(&got, &value, 8);
        assert_true(fits_header_int(&h, "I", &whole));
        assert_true(whole == (int64_t)bits);
        fits_header_free(&h);
    }
}

static void history_is_cut_into_cards(void **state)
{
    (void)state;
    struct fits_header h = {0};
    char text[101];
    memset(text, 'x', 100);
    text[100] = '\0';
    assert_true(fits_header_add_text(&h, "HISTORY", text, NULL));
    assert_true(fits_header_add_text(&h, "COMMENT", "", NULL));
    assert_int_equal(h.count, 3);
    assert_memory_equal(h.cards, "HISTORY xxxx", 12);
    assert_card(&h, 1, "HISTORY xxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    assert_card(&h, 2, "COMMENT");
    fits_header_free(&h);
}

static void copies_and_removes(void **state)
{
    (void)state;
    struct fits_header h = CARDS("A       = 'x&'", "CONTINUE  'y'", "B       = 1", "A       = 2",
                                 "CONTINUE  'stray'", "COMMENT A");
    struct fits_header copy;
    assert_true(fits_header_copy(&copy, &h));
    fits_header_remove(&h, "A");
    assert_int_equal(h.count, 2);
    assert_card(&h, 0, "B       = 1");
    assert_card(&h, 1, "COMMENT A");
    fits_header_remove(&h, "MISSING");
    assert_int_equal(h.count, 2);
    assert_int_equal(copy.count, 6);
    assert_card(&copy, 0, "A       = 'x&'");
    fits_header_free(&copy);
    fits_header_free(&h);
    struct fits_header none = {0};
    assert_true(fits_header_copy(&copy, &none));
    assert_int_equal(copy.count, 0);
    fits_header_free(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_up_to_end),
        cmocka_unit_test(refuses_what_is_no_header),
        cmocka_unit_test(finds_keywords),
        cmocka_unit_test(reads_text),
        cmocka_unit_test(reads_numbers),
        cmocka_unit_test(writes_fixed_format),
        cmocka_unit_test(text_of_any_length_comes_back),
        cmocka_unit_test(numbers_come_back_bit_for_bit),
        cmocka_unit_test(history_is_cut_into_cards),
        cmocka_unit_test(copies_and_removes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
