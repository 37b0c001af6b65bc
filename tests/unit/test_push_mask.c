/* Bad-pixel masks: plain or tile-compressed, 8 to 32 bits, by the ccd's number; what is missing, cut,
 * no mask or of another size is refused with the file's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "push/mask.h"
#include "tests/unit/fits_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static struct fault why;

static void put_file(const char *name, const struct buf *bytes, size_t len)
{
    char path[4096];
    scratch_path(&scratch, name, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, len, f), len);
    fclose(f);
}

/* Masked: every 7th pixel. */
static void make_mask(struct fits_image *img, int bitpix, bool is_unsigned)
{
    make_image(img, bitpix, 70, 50, is_unsigned, PIX_ZERO);
    size_t size = (size_t)abs(bitpix) / 8;
    memset(img->data, 0, img->size);
    for (size_t i = 0; i < img->size / size; i++) {
        if (is_unsigned)
            img->data[i * size] = 0x80; /* stored -32768 stands for 0 */
        if (i % 7 == 0)
            img->data[i * size + size - 1] = 4;
    }
}

static void every_form_is_read(void **state)
{
    (void)state;
    static const struct {
        int bitpix;
        bool is_unsigned, packed;
    } forms[] = {{8, false, false}, {8, false, true}, {16, false, false}, {16, true, false},
                 {16, true, true},  {32, false, false}, {32, false, true}};
    for (int k = 0; k < (int)(sizeof forms / sizeof *forms); k++) {
        struct fits_image mask, ccd;
        struct buf file = {0};
        unsigned char *got = NULL;
        char name[32], directory[4096];
        make_mask(&mask, forms[k].bitpix, forms[k].is_unsigned);
        make_image(&ccd, 16, 70, 50, true, PIX_RANDOM);
        assert_int_equal(forms[k].packed ? fits_tile_pack(&mask, &file, &why)
                                         : fits_image_file(NULL, &mask, NULL, &file, &why), ST_OK);
        snprintf(name, sizeof name, "%d.fits%s", k + 1, forms[k].packed ? ".fz" : "");
        put_file(name, &file, file.len);
        scratch_path(&scratch, ".", directory);
        if (mask_load(directory, k + 1, &ccd, &got, &why) != ST_OK)
            fail_msg("%s: %s", name, why.text);
        for (int i = 0; i < 70 * 50; i++)
            assert_int_equal(got[i], i % 7 == 0);
        free(got);
        fits_image_free(&mask);
        fits_image_free(&ccd);
        buf_free(&file);
    }
}

static void others_are_refused_by_name(void **state)
{
    (void)state;
    struct fits_image mask, ccd, floats;
    struct buf file = {0}, real = {0};
    unsigned char *got = NULL;
    char directory[4096];
    scratch_path(&scratch, ".", directory);
    make_mask(&mask, 8, false);
    make_image(&ccd, 16, 70, 51, true, PIX_RANDOM);
    make_image(&floats, -32, 70, 51, false, PIX_ZERO);
    assert_int_equal(fits_image_file(NULL, &mask, NULL, &file, &why), ST_OK);
    assert_int_equal(fits_image_file(NULL, &floats, NULL, &real, &why), ST_OK);
    put_file("11.fits", &file, file.len);
    put_file("12.fits", &file, 3000);
    put_file("13.fits", &real, real.len);
    static const char *const words[] = {"no mask of ccd 10", "not as large", "12.fits", "integers"};
    for (int ccd_number = 10; ccd_number < 14; ccd_number++) {
        assert_int_equal(mask_load(directory, ccd_number, &ccd, &got, &why), ST_REJECT);
        assert_non_null(strstr(why.text, words[ccd_number - 10]));
        assert_null(got);
    }
    fits_image_free(&mask);
    fits_image_free(&ccd);
    fits_image_free(&floats);
    buf_free(&file);
    buf_free(&real);
}

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&scratch);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_form_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_are_refused_by_name, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
