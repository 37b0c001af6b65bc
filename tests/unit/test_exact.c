/* Pixels that travel exactly: what goes in comes out, wherever it lies and whatever its size, and
 * damaged bytes are refused before anything outside the image is touched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/exact.h"

#define WIDE 97
#define HIGH 31
#define PIXELS (WIDE * HIGH)

static uint32_t seed = 1;
static uint32_t chance(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static void picture(struct fits_image *img, int bitpix)
{
    size_t size = (size_t)abs(bitpix) / 8;
    *img = (struct fits_image){.bitpix = bitpix, .naxis = 2, .naxes = {WIDE, HIGH},
                               .size = PIXELS * size};
    img->data = malloc(img->size);
    for (size_t i = 0; i < img->size; i++)
        img->data[i] = (unsigned char)chance(256);
}

/* Every pixel with a chance of 1 in `rare`, in runs, out of img and into *b. */
static int64_t gather(const struct fits_image *img, uint32_t rare, bool *chosen, struct buf *b)
{
    struct exact e = {.size = abs(img->bitpix) / 8};
    for (int64_t i = 0; i < PIXELS;) {
        int64_t n = chance(rare) ? 0 : 1 + chance(9);
        n = n < PIXELS - i ? n : PIXELS - i;
        assert_true(exact_add(&e, i, n, img->data + (size_t)i * (size_t)e.size));
        for (int64_t k = 0; k < (n ? n : 1); k++)
            chosen[i + k] = n > 0;
        i += n ? n : 1;
    }
    assert_true(exact_write(&e, b));
    int64_t pixels = e.pixels;
    exact_free(&e);
    return pixels;
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    static const int kinds[] = {8, 16, 32, 64, -32, -64};
    static const uint32_t rare[] = {1, 2, 50, 1000000};
    for (int k = 0; k < 6; k++)
        for (int r = 0; r < 4; r++) {
            struct fits_image img, other;
            struct buf b = {0};
            struct fault why;
            bool chosen[PIXELS] = {false};
            int64_t pixels = -1;
            size_t size = (size_t)abs(kinds[k]) / 8;
            picture(&img, kinds[k]);
            picture(&other, kinds[k]);
            unsigned char *before = malloc(other.size);
            memcpy(before, other.data, other.size);
            int64_t put = gather(&img, rare[r], chosen, &b);
            assert_int_equal(exact_apply(b.data, b.len, &other, &pixels, &why), ST_OK);
            assert_int_equal(pixels, put);
            for (size_t i = 0; i < PIXELS; i++)
                assert_memory_equal(other.data + i * size,
                                    (chosen[i] ? img.data : before) + i * size, size);
            free(before);
            fits_image_free(&img);
            fits_image_free(&other);
            buf_free(&b);
        }
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf b = {0};
    struct fault why;
    bool chosen[PIXELS];
    int64_t pixels;
    int refused = 0;
    picture(&img, 16);
    gather(&img, 3, chosen, &b);
    for (size_t len = 0; len < b.len; len++) {
        unsigned char *cut = malloc(len ? len : 1);
        memcpy(cut, b.data, len);
        assert_int_equal(exact_apply(cut, len, &img, &pixels, &why), ST_REJECT);
        free(cut);
    }
    for (int i = 0; i < 20000; i++) {
        size_t at = chance((uint32_t)(i % 2 ? b.len : 200));
        unsigned char old = b.data[at];
        b.data[at] ^= (unsigned char)(1 + chance(255));
        refused += exact_apply(b.data, b.len, &img, &pixels, &why) == ST_REJECT;
        b.data[at] = old;
    }
    assert_true(refused > 1000);
    struct fits_image wider;
    picture(&wider, 32);
    assert_int_equal(exact_apply(b.data, b.len, &wider, &pixels, &why), ST_REJECT);
    fits_image_free(&wider);
    fits_image_free(&img);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
