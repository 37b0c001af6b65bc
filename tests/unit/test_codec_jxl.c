/* jxl: every bit comes back, the file is one that other readers decode, it is never larger than
 * rice's, and what is damaged or forged is refused in words. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/digest.h"
#include "common/residual.h"
#include "tests/unit/codec_fixture.h"
#include "tests/unit/scratch.h"

static struct scratch folder;
static const struct codec_options options = {.method = "jxl", .qstep = 3e-5};

#define BOX 100 /* the seal at a file's end: its last 64 bytes are the digest of all before */

static void seal_anew(unsigned char *file, size_t len)
{
    char hex[DIGEST_HEX];
    digest_bytes(file, len - 64, hex);
    memcpy(file + len - 64, hex, 64);
}

static enum status decode_as(const struct fits_image *as, const void *bytes, size_t len,
                             struct fault *why)
{
    struct fits_image got = {0};
    unsigned char *copy = malloc(len + 1); /* exactly as long, so that ASan sees the end */
    memcpy(copy, bytes, len);
    assert_true(fits_header_copy(&got.header, &as->header));
    enum status st = codec_decode(codec_find("jxl"), copy, len, &got, why);
    if (st != ST_OK)
        assert_null(got.data);
    fits_image_free(&got);
    free(copy);
    return st;
}

/* ---- the pictures on which codecs fall down ---- */

static int clamp(int v, int bitpix)
{
    int low = bitpix == 8 ? 0 : -32768, high = bitpix == 8 ? 255 : 32767;
    return v < low ? low : v > high ? high : v;
}

/* About normal, of width sigma. */
static int noise(uint64_t *seed, int sigma)
{
    int sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (int)(fixture_random(seed) % 1001) - 500;
    return sum * sigma / 1000;
}

static const char *const kinds[] = {"zero",    "saturated", "noise 1",   "noise 3",   "noise 30",
                                    "noise 1000", "random", "sparse",    "hot",       "rows 1",
                                    "rows 3",  "rows 30",   "rows 1000", "ramp",      "comb",
                                    "blocks",  "half dead", "stars",     "multiples", "extremes"};
#define KINDS (sizeof kinds / sizeof *kinds)

static int pixel(const char *kind, int x, int y, int width, int row, uint64_t *seed)
{
    int any = (int)(fixture_random(seed) % 65536) - 32768;
    bool rare = fixture_random(seed) % 50 == 0;
    if (strncmp(kind, "noise ", 6) == 0)
        return 100 + noise(seed, (int)strtol(kind + 6, NULL, 10));
    if (strncmp(kind, "rows ", 5) == 0)
        return row;
    switch (kind[0]) {
    case 'z': return 0;
    case 'r': return kind[2] == 'n' ? any : 37 * x + y;
    case 'h': return kind[1] == 'o' ? (rare ? any : 100 + noise(seed, 3)) : x < width / 2 ? 100 : any;
    case 'c': return x % 2 ? 20000 : -20000;
    case 'b': return (x / 16 + y / 16) % 2 ? 20000 : -20000;
    case 'm': return 8 * (100 + noise(seed, 3));
    case 'e': return rare ? -32768 : 32767;
    default: break;
    }
    if (kind[1] == 't') {
        int dx = x % 40 - 20, dy = y % 40 - 20, r = dx * dx + dy * dy;
        return 100 + noise(seed, 3) + (r < 60 ? 60000 / (r + 1) : 0);
    }
    return kind[1] == 'a' ? 32767 - rare : rare ? 1 : 0;
}

static void paint(struct fits_image *img, int bitpix, int width, int height, const char *kind)
{
    uint64_t seed = 77;
    make_image(img, bitpix, width, height, bitpix == 16, PIX_ZERO);
    for (int y = 0; y < height; y++) {
        int row = strncmp(kind, "rows ", 5) == 0
                      ? 100 + noise(&seed, (int)strtol(kind + 5, NULL, 10)) : 0;
        for (int x = 0; x < width; x++)
            put_pixel(img->data + ((size_t)y * (size_t)width + (size_t)x) * (size_t)(bitpix / 8),
                      bitpix / 8, clamp(pixel(kind, x, y, width, row, &seed), bitpix));
    }
}

static const int sides[][2] = {{300, 200}, {1, 1}, {1, 500}, {500, 1}, {33, 40}, {1100, 300}};
#define SIDES (sizeof sides / sizeof *sides)

static void every_picture_comes_back(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++)
        for (int bitpix = 8; bitpix <= 16; bitpix += 8)
            for (size_t s = 0; s < SIDES; s++) {
                struct fits_image img, got;
                struct buf b = {0};
                struct fault why = {0};
                paint(&img, bitpix, sides[s][0], sides[s][1], kinds[k]);
                enum status st = through(&options, &img, &b, &got, &why);
                if (st != ST_OK || !same_image(&img, &got))
                    fail_msg("%s %d x %d: %s", kinds[k], sides[s][0], sides[s][1],
                             st ? why.text : "not the same");
                fits_image_free(&got);
                fits_image_free(&img);
                buf_free(&b);
            }
}

/* Scaled and blank pixels are stored values like any others, to the last bit; what jxl cannot
 * hold goes to rice or stays as it is. */
static void scaled_and_blank_pixels_come_back(void **state)
{
    (void)state;
    struct fits_image img, got;
    struct buf b = {0};
    paint(&img, 16, 300, 200, "extremes");
    fits_header_remove(&img.header, "BZERO");
    fits_header_remove(&img.header, "BSCALE");
    assert_true(fits_header_add_real(&img.header, "BSCALE", 0.37, NULL));
    assert_true(fits_header_add_real(&img.header, "BZERO", 12.5, NULL));
    assert_true(fits_header_add_int(&img.header, "BLANK", -32768, NULL));
    assert_ptr_equal(codec_choose(&options, &img, false, false), codec_find("jxl"));
    assert_int_equal(through(&options, &img, &b, &got, NULL), ST_OK);
    assert_true(same_image(&img, &got));
    fits_image_free(&got);
    fits_image_free(&img);
    buf_free(&b);
    static const int others[][2] = {{32, 'r'}, {-32, 'r'}, {-64, 'r'}, {64, 'o'}};
    for (int i = 0; i < 4; i++) { /* random bits: NaNs and infinities, too */
        make_image(&img, others[i][0], 300, 200, false, PIX_RANDOM);
        assert_int_equal(codec_choose(&options, &img, false, false)->name[0], others[i][1]);
        fits_image_free(&img);
    }
}

/* fpack -r is what rice does; the bound that decides without a second encoder is a true one. */
static void never_larger_than_rice(void **state)
{
    (void)state;
    int taken = 0, kept = 0;
    for (size_t k = 0; k < KINDS; k++)
        for (int bitpix = 8; bitpix <= 16; bitpix += 8)
            for (size_t s = 0; s < SIDES; s++) {
                const struct codec *c = codec_find("jxl"), *rice = codec_find("rice");
                struct fits_image img;
                struct buf least = {0}, r = {0};
                paint(&img, bitpix, sides[s][0], sides[s][1], kinds[k]);
                assert_int_equal(codec_encode(&c, &img, &options, &least, NULL), ST_OK);
                assert_int_equal(rice->encode(&img, &options, &r, NULL), ST_OK);
                if (least.len > r.len || fits_tile_least(&img) > r.len)
                    fail_msg("%s %d: %zu bytes, rice %zu, said to be at least %zu", kinds[k],
                             bitpix, least.len, r.len, fits_tile_least(&img));
                taken += c == rice;
                kept += c == codec_find("jxl");
                if (c == rice) {
                    assert_int_equal(least.len, r.len);
                    assert_memory_equal(least.data, r.data, r.len);
                }
                fits_image_free(&img);
                buf_free(&least);
                buf_free(&r);
            }
    assert_true(taken > 4); /* rows, random bits */
    assert_true(kept > 150);
}

/* On noise, which is most of any exposure: 14 % less than rice at a dark sky's noise. */
static void noise_gets_small(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf b = {0}, r = {0};
    paint(&img, 16, 1100, 600, "noise 3");
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &b, NULL), ST_OK);
    assert_int_equal(codec_find("rice")->encode(&img, &options, &r, NULL), ST_OK);
    if ((double)b.len > 0.86 * (double)r.len)
        fail_msg("%zu bytes where rice takes %zu", b.len, r.len);
    assert_true(b.len < fits_tile_least(&img)); /* so that rice need not be tried */
    fits_image_free(&img);
    buf_free(&b);
    buf_free(&r);
}

/* ---- what the file is ---- */

/* djxl sees residual.h's field in strips, and undoing it by the book gives the pixels. */
static void djxl_reads_the_field(void **state)
{
    (void)state;
    enum { WIDTH = 1100, HEIGHT = 300, STRIP = (1 << 18) / WIDTH };
    struct fits_image img;
    struct buf b = {0}, pgm = {0};
    char path[4096], out[4096];
    paint(&img, 16, WIDTH, HEIGHT, "stars");
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &b, NULL), ST_OK);
    scratch_path(&folder, "picture.jxl", path);
    scratch_path(&folder, "picture.pgm", out);
    write_bytes(path, b.data, b.len);
    if (RUN("djxl", path, out) != 0) {
        print_message("[  SKIPPED ] djxl is not installed\n");
    } else {
        struct residual r;
        uint16_t *field = malloc(img.size);
        unsigned char *stored = malloc(img.size);
        assert_int_equal(fs_read_file(out, 1u << 22, &pgm, NULL), ST_OK);
        assert_true(pgm.len > img.size);
        const unsigned char *samples = pgm.data + pgm.len - img.size;
        for (size_t i = 0; i < img.size / 2; i++)
            field[i] = (uint16_t)(samples[2 * i] << 8 | samples[2 * i + 1]);
        assert_true(residual_open(&r, WIDTH, 16));
        for (size_t y = 0; y < HEIGHT; y += STRIP)
            residual_undo(&r, field + y * WIDTH, y + STRIP < HEIGHT ? STRIP : HEIGHT - y,
                          stored + y * WIDTH * 2);
        assert_memory_equal(stored, img.data, img.size);
        residual_close(&r);
        free(stored);
        free(field);
    }
    fits_image_free(&img);
    buf_free(&pgm);
    buf_free(&b);
}

/* The formula in residual.h, written once more without any care for speed. */
static uint16_t at(const uint16_t *v, int width, int x, int y)
{
    return v[y * width + (x < 0 ? 0 : x >= width ? width - 1 : x)];
}

static int median(int a, int b, int c)
{
    return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

static void the_field_is_the_formula(void **state)
{
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        enum { W = 37, H = 11, CUT = 7 };
        struct fits_image img;
        struct residual r;
        uint16_t v[W * H], field[W * H];
        paint(&img, 16, W, H, kinds[k]);
        for (int i = 0; i < W * H; i++)
            v[i] = (uint16_t)((img.data[2 * i] << 8 | img.data[2 * i + 1]) ^ 0x8000);
        assert_true(residual_open(&r, W, 16));
        residual_make(&r, img.data, CUT, field);
        residual_make(&r, img.data + CUT * W * 2, H - CUT, field + CUT * W);
        residual_close(&r);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                int guess = x ? v[y * W + x - 1] : 32768, g;
                if (y > 0) {
                    int up = y > 1 ? y - 2 : 0, sum = 16, low = 65535, high = 0;
                    for (int d = -3; d <= 3; d++)
                        sum += 2 * at(v, W, x + d, y - 1) + at(v, W, x + d, up);
                    for (int d = 1; d <= 3; d++)
                        sum += (d == 1 ? 5 : d == 2 ? 4 : 2) *
                               (x - d >= 0 ? v[y * W + x - d] : v[(y - 1) * W]);
                    int near[4] = {x ? v[y * W + x - 1] : v[(y - 1) * W], at(v, W, x - 1, y - 1),
                                   at(v, W, x, y - 1), at(v, W, x + 1, y - 1)};
                    for (int i = 0; i < 4; i++) {
                        low = near[i] < low ? near[i] : low;
                        high = near[i] > high ? near[i] : high;
                    }
                    guess = median(sum / 32, low, high);
                }
                const uint16_t *f = field + y * W + x;
                if (y == 0 || y == CUT)
                    g = x ? *(f - 1) : 32768;
                else
                    g = x ? median(*(f - 1), *(f - W), *(f - 1) + *(f - W) - *(f - W - 1))
                          : *(f - W);
                assert_int_equal(*f, (uint16_t)(g + v[y * W + x] - guess));
            }
        fits_image_free(&img);
    }
}

static void the_same_bytes_each_time(void **state)
{
    (void)state;
    struct fits_image img;
    struct buf b = {0}, again = {0};
    paint(&img, 16, 1100, 300, "stars");
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &b, NULL), ST_OK);
    assert_true(buf_append(&again, "here", 4));
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &again, NULL), ST_OK);
    assert_int_equal(again.len, b.len + 4);
    assert_memory_equal(again.data + 4, b.data, b.len);
    fits_image_free(&img);
    buf_free(&again);
    buf_free(&b);
}

/* ---- damage ---- */

static void other_pictures_are_refused(void **state)
{
    (void)state;
    static const struct {
        int bitpix, width, height;
        const char *words;
    } rows[] = {{16, 101, 90, "100 x 90 of 16 bits where the header asks for 101 x 90"},
                {16, 90, 100, "100 x 90 of 16 bits where the header asks for 90 x 100"},
                {8, 100, 90, "where the header asks for 100 x 90 of 8 bits"},
                {32, 100, 90, "cannot hold an image of BITPIX 32"},
                {16, 16000, 16000, "where the header asks for"}};
    struct fits_image img, none = {0};
    struct buf b = {0}, j = {0};
    struct fault why = {0};
    paint(&img, 16, 100, 90, "stars");
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &b, NULL), ST_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fits_image as;
        make_image(&as, rows[i].bitpix, rows[i].width, rows[i].height, false, PIX_ZERO);
        assert_int_equal(decode_as(&as, b.data, b.len, &why), ST_REJECT);
        if (!strstr(why.text, rows[i].words))
            fail_msg("%s", why.text);
        fits_image_free(&as);
    }
    assert_int_equal(codec_decode(codec_find("jxl"), b.data, b.len, &none, &why), ST_REJECT);
    assert_int_equal(codec_find("jp2")->encode(&img, &(struct codec_options){.method = "jp2", .reversible = true}, &j,
                                               NULL), ST_OK);
    assert_int_equal(decode_as(&img, j.data, j.len, &why), ST_REJECT);
    fits_image_free(&img);
    buf_free(&b);
    buf_free(&j);
}

/* A picture sealed as another shape: libjxl's own figures are looked at before any pixel. */
static void a_false_seal_does_not_help(void **state)
{
    (void)state;
    static const int shapes[][2] = {{90, 100}, {100, 91}, {100, 89}, {101, 90}, {300, 30}, {9000, 9000}};
    struct fits_image img;
    struct buf b = {0};
    paint(&img, 16, 100, 90, "stars");
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &b, NULL), ST_OK);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct fits_image as;
        struct fault why = {0};
        make_image(&as, 16, shapes[i][0], shapes[i][1], true, PIX_ZERO);
        put_pixel(b.data + b.len - 76, 4, shapes[i][0]);
        put_pixel(b.data + b.len - 72, 4, shapes[i][1]);
        seal_anew(b.data, b.len);
        assert_int_equal(decode_as(&as, b.data, b.len, &why), ST_REJECT);
        assert_non_null(strstr(why.text, "at line 0"));
        fits_image_free(&as);
    }
    fits_image_free(&img);
    buf_free(&b);
}

/* Behind a seal made anew, libjxl sees the damage itself: an error or another picture. */
static void forged_codestreams_do_no_harm(void **state)
{
    (void)state;
    const char *rounds = getenv("FUZZ"); /* for longer runs by hand */
    long n = rounds ? strtol(rounds, NULL, 10) : 400;
    uint64_t seed = rounds ? (uint64_t)n : 23;
    struct fits_image img;
    struct buf b = {0};
    int said = dup(2), none = open("/dev/null", O_WRONLY);
    paint(&img, 16, 100, 90, "stars");
    assert_int_equal(codec_find("jxl")->encode(&img, &options, &b, NULL), ST_OK);
    if (!rounds)
        dup2(none, 2); /* Debian's libjxl says on stderr where it gave up */
    for (long i = 0; i < n; i++) {
        struct fault why = {0};
        size_t len = b.len, from = i % 3 ? 0 : 40, reach = i % 2 ? 120 : b.len - BOX - from;
        unsigned char *copy = malloc(len);
        memcpy(copy, b.data, len);
        for (int k = 0; k < 1 + i % 6; k++)
            copy[from + fixture_random(&seed) % reach] ^= (unsigned char)(1 + fixture_random(&seed) % 255);
        if (i % 5 == 4) { /* a piece taken out */
            size_t cut = 1 + fixture_random(&seed) % 200;
            memmove(copy + 60, copy + 60 + cut, len - 60 - cut);
            len -= cut;
        }
        seal_anew(copy, len);
        enum status st = decode_as(&img, copy, len, &why);
        assert_true(st == ST_OK || (st == ST_REJECT && strlen(why.text) > 20));
        free(copy);
    }
    dup2(said, 2);
    close(said);
    close(none);
    fits_image_free(&img);
    buf_free(&b);
}

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&folder);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_picture_comes_back),
        cmocka_unit_test(scaled_and_blank_pixels_come_back),
        cmocka_unit_test(never_larger_than_rice),
        cmocka_unit_test(noise_gets_small),
        cmocka_unit_test(djxl_reads_the_field),
        cmocka_unit_test(the_field_is_the_formula),
        cmocka_unit_test(the_same_bytes_each_time),
        cmocka_unit_test(other_pictures_are_refused),
        cmocka_unit_test(a_false_seal_does_not_help),
        cmocka_unit_test(forged_codestreams_do_no_harm),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
