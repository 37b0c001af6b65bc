/* Our Rice decoder and cfitsio's agree: the same pixels out of all that can be coded, and of
 * damaged code either the same pixels or a refusal by both; nothing is read past the tail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/fits_private.h"
#include "tests/unit/fits_fixture.h"

#define MOST 5000 /* pixels a tile */

static uint64_t seed = 77;

static uint32_t below(uint32_t n)
{
    return fixture_random(&seed) % n;
}

/* Pixels of many kinds: noise of every width, bright edges, both ends of the range. */
static void fill(int16_t *pixels, size_t n)
{
    uint32_t width = 1u << below(17), edges = below(4), quiet = below(3);
    int32_t level = (int32_t)below(65536);
    for (size_t i = 0; i < n; i++) {
        if (edges == 1 && below(40) == 0)
            level = (int32_t)below(65536);
        int32_t v = edges == 2 && below(30) == 0 ? (below(2) ? 32767 : -32768)
                    : edges == 3 && quiet == 0   ? (i % 2 ? 32767 : -32768)
                    : quiet && i / 64 % 3 == 0   ? level
                                                 : level + (int32_t)below(width);
        pixels[i] = (int16_t)(uint16_t)v;
    }
}

/* One tile of code, in exactly the bytes that may be read. */
struct code {
    unsigned char *bytes;
    size_t len, n;
    int block;
};

static void free_code(struct code *c)
{
    free(c->bytes);
    *c = (struct code){0};
}

static void set_code(struct code *c, const unsigned char *bytes, size_t len, size_t n, int block)
{
    *c = (struct code){malloc(len + FITS_RICE_TAIL(block)), len, n, block};
    assert_non_null(c->bytes);
    memcpy(c->bytes, bytes, len);
}

static void make_code(struct code *c, int16_t *pixels)
{
    static const int blocks[] = {32, 32, 32, 1, 7, 16, 33, 64, 4096};
    static unsigned char bytes[FITS_RICE_ROOM(MOST, 2) + 2 * MOST];
    size_t n = 1 + below(below(4) ? 300 : MOST);
    int block = blocks[below(sizeof blocks / sizeof *blocks)];
    fill(pixels, n);
    long len = fits_rice_encode(pixels, n, 2, block, bytes, sizeof bytes);
    assert_true(len > 2);
    set_code(c, bytes, (size_t)len, n, block);
}

/* Decodes all three ways. cfitsio needs ones behind the tile, ours must not care. */
static bool decode(struct code *c, uint16_t *out)
{
    static uint16_t theirs[MOST], plain[MOST];
    memset(c->bytes + c->len, 0xff, FITS_RICE_TAIL(c->block));
    bool good = fits_rice_decode(c->bytes, c->len, theirs, c->n, 2, c->block);
    uint32_t range = below(3) ? 256 : 1;
    for (size_t i = 0; i < FITS_RICE_TAIL(c->block); i++)
        c->bytes[c->len + i] = (unsigned char)below(range);
    assert_int_equal(fits_rice16_decode(c->bytes, c->len, c->block, out, c->n), good);
    assert_int_equal(fits_rice16_plain(c->bytes, c->len, c->block, plain, c->n), good);
    if (!good)
        return false;
    assert_memory_equal(out, plain, c->n * 2);
    fits_swap_copy(plain, theirs, c->n, 2);
    assert_memory_equal(out, plain, c->n * 2);
    return true;
}

static void what_is_coded_comes_back(void **state)
{
    (void)state;
    static int16_t pixels[MOST];
    static uint16_t got[MOST], stored[MOST];
    for (int i = 0; i < 2000; i++) {
        struct code c;
        make_code(&c, pixels);
        assert_true(decode(&c, got));
        fits_swap_copy(stored, pixels, c.n, 2);
        assert_memory_equal(got, stored, c.n * 2);
        free_code(&c);
    }
}

static void a_tile_that_is_cut_is_refused(void **state)
{
    (void)state;
    static int16_t pixels[MOST];
    static uint16_t got[MOST];
    for (int i = 0; i < 400; i++) {
        struct code c, cut;
        make_code(&c, pixels);
        for (int k = 0; k < 8 && c.len > 3; k++) {
            set_code(&cut, c.bytes, k ? 3 + below((uint32_t)c.len - 3) : c.len - 1, c.n, c.block);
            assert_false(decode(&cut, got));
            free_code(&cut);
        }
        free_code(&c);
    }
}

static void damaged_code_gives_the_same_as_cfitsio(void **state)
{
    (void)state;
    static int16_t pixels[MOST];
    static uint16_t got[MOST];
    int refused = 0, decoded = 0;
    for (int i = 0; i < 4000; i++) {
        struct code c;
        make_code(&c, pixels);
        size_t at = below((uint32_t)c.len), run = below(200);
        switch (i % 4) {
        case 0: /* a few bits */
            for (int flips = 0; flips < 1 + i % 5; flips++)
                c.bytes[below((uint32_t)c.len)] ^= (unsigned char)(1 << below(8));
            break;
        case 1: /* zeros: unary numbers longer than any register */
        case 2:
            memset(c.bytes + at, i % 4 == 1 ? 0 : 0xff, run < c.len - at ? run : c.len - at);
            break;
        default: /* no code at all */
            for (size_t k = 0; k < c.len; k++)
                c.bytes[k] = (unsigned char)below(256);
        }
        if (decode(&c, got))
            decoded++;
        else
            refused++;
        free_code(&c);
    }
    assert_true(refused > 1000);
    assert_true(decoded > 1000);
}

/* Nothing but zeros, or the longest numbers that any block can hold, up to the very end. */
static void the_worst_tiles_stay_within_the_tail(void **state)
{
    (void)state;
    static const int blocks[] = {1, 32, 4096};
    static unsigned char bytes[3000];
    static uint16_t got[MOST];
    for (int split = 0; split < 16; split++)
        for (size_t zeros = 0; zeros < 70; zeros += 11)
            for (size_t i = 0; i < 3; i++)
                for (size_t len = 3; len < sizeof bytes; len = len * 2 + 1) {
                    struct code c;
                    memset(bytes, 0, sizeof bytes);
                    bytes[2] = (unsigned char)(split << 4);
                    for (size_t bit = 20 + zeros; bit < 8 * len; bit += zeros + 1 + (size_t)split)
                        bytes[bit / 8] |= (unsigned char)(0x80 >> bit % 8);
                    set_code(&c, bytes, len, MOST, blocks[i]);
                    decode(&c, got);
                    memset(c.bytes, 0, len);
                    c.bytes[2] = (unsigned char)(split << 4);
                    bool runs_on = split > 0 && split < 15;
                    assert_true(!decode(&c, got) || !runs_on);
                    free_code(&c);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_coded_comes_back),
        cmocka_unit_test(a_tile_that_is_cut_is_refused),
        cmocka_unit_test(damaged_code_gives_the_same_as_cfitsio),
        cmocka_unit_test(the_worst_tiles_stay_within_the_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
