/* What a lossy member does to its pixels: errors against a count by brute force, for every pixel
 * type; no pixel beyond the bound once the exact ones are in; saturated pixels and overscan exact
 * when asked for; and the DATASUM of what is delivered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "push/proof.h"
#include "tests/unit/sky_fixture.h"

#define WIDE 83
#define HIGH 71
#define PIXELS (WIDE * HIGH)

static const int kinds[] = {8, 16, 32, 64, -32, -64};
static struct fault why;

/* ---- a codec whose members are the pixels that it gives back ---- */

static enum status give_rows(const void *bytes, size_t len, struct fits_image *img,
                             codec_row_fn *fn, void *ctx, struct fault *w)
{
    enum status st = fits_image_shape(img, w);
    size_t row = (size_t)img->naxes[0] * (size_t)abs(img->bitpix) / 8;
    if (st == ST_OK && len != img->size)
        st = fault(w, ST_REJECT, "%zu bytes are no such image", len);
    for (int64_t y = 0; st == ST_OK && y < img->naxes[1]; y++)
        st = fn(ctx, y, (const unsigned char *)bytes + (size_t)y * row, w);
    return st;
}

static const struct codec plain = {.name = "plain", .lossy_possible = true, .rows = give_rows};

/* Gives back 12 rows of 7 zeros. */
static enum status zero_rows(const void *bytes, size_t len, struct fits_image *img,
                             codec_row_fn *fn, void *ctx, struct fault *w)
{
    static const unsigned char zeros[7];
    enum status st = ST_OK;
    (void)bytes, (void)len, (void)img;
    for (int64_t y = 0; st == ST_OK && y < 12; y++)
        st = fn(ctx, y, zeros, w);
    return st;
}

static const struct codec all_zero = {.name = "zero", .lossy_possible = true, .has_header = true,
                                      .rows = zero_rows};

/* ---- values, told apart by long doubles ---- */

static long double value_at(const unsigned char *data, size_t i, int bitpix)
{
    size_t size = (size_t)abs(bitpix) / 8;
    uint64_t u = 0;
    for (size_t k = 0; k < size; k++)
        u = u << 8 | data[i * size + k];
    uint32_t low = (uint32_t)u;
    float f;
    double d;
    memcpy(&f, &low, 4);
    memcpy(&d, &u, 8);
    return bitpix == 8     ? (long double)u
           : bitpix == 16  ? (long double)(int16_t)u
           : bitpix == 32  ? (long double)(int32_t)low
           : bitpix == 64  ? (long double)(int64_t)u
           : bitpix == -32 ? (long double)f
                           : (long double)d;
}

static void put_at(unsigned char *data, size_t i, int bitpix, double v)
{
    unsigned char *p = data + i * (size_t)abs(bitpix) / 8;
    float f = (float)v;
    uint32_t single;
    uint64_t both;
    memcpy(&single, &f, 4);
    memcpy(&both, &v, 8);
    put_pixel(p, abs(bitpix) / 8,
              bitpix > 0 ? (int64_t)v : bitpix == -32 ? (int64_t)single : (int64_t)both);
}

static long double difference(const unsigned char *a, const unsigned char *b, size_t i, int bitpix)
{
    long double x = value_at(a, i, bitpix), y = value_at(b, i, bitpix);
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? 0 : (long double)INFINITY;
    return x == y ? 0 : fabsl(x - y);
}

/* ---- one proof against brute force ---- */

struct setup {
    struct fits_image raw;
    struct buf member;
    double scale;
    struct regions regions;
};

/* Raw pixels of some range, and others that differ a little here and much there. */
static void set_up(struct setup *s, int bitpix, double scale, double zero)
{
    *s = (struct setup){.scale = scale, .regions = {.saturate = NAN}};
    make_image(&s->raw, bitpix, WIDE, HIGH, false, PIX_ZERO);
    if (scale != 1)
        assert_true(fits_header_add_real(&s->raw.header, "BSCALE", scale, NULL));
    if (zero != 0)
        assert_true(fits_header_add_real(&s->raw.header, "BZERO", zero, NULL));
    assert_true(buf_append(&s->member, s->raw.data, s->raw.size));
    for (size_t i = 0; i < PIXELS; i++) {
        uint32_t r = fixture_random(&sky_seed);
        double far = r % 97 == 0 ? 40 : 3, v = 20 + r % 150;
        double off = far * (fixture_random(&sky_seed) % 2001 / 1000.0 - 1);
        put_at(s->raw.data, i, bitpix, v);
        put_at(s->member.data, i, bitpix, bitpix > 0 ? fmax(rint(v + off), 0) : v + off);
    }
    if (bitpix == 64) /* neighbours that are one double */
        for (size_t i = 0; i < 200; i++) {
            put_pixel(s->raw.data + 8 * i, 8, ((int64_t)1 << 62) + (int64_t)i);
            put_pixel(s->member.data + 8 * i, 8, ((int64_t)1 << 62) + 2 * (int64_t)i % 7);
        }
}

static void add_odd_floats(struct setup *s, bool mismatched)
{
    static const double pairs[][2] = {{NAN, NAN}, {INFINITY, INFINITY}, {-INFINITY, -INFINITY},
                                      {0.0, -0.0}, {NAN, 5},            {5, NAN},
                                      {INFINITY, -INFINITY},            {7, INFINITY}};
    for (size_t i = 0; i < (mismatched ? 8 : 4); i++) {
        put_at(s->raw.data, 100 + 37 * i, s->raw.bitpix, pairs[i][0]);
        put_at(s->member.data, 100 + 37 * i, s->raw.bitpix, pairs[i][1]);
    }
}

static void tear_down(struct setup *s)
{
    fits_image_free(&s->raw);
    buf_free(&s->member);
}

/* The sum in the header of the file that would be delivered. */
static uint32_t datasum_of(const struct fits_image *img)
{
    struct buf file = {0};
    struct fits_header h = {0};
    char text[32];
    assert_int_equal(fits_image_file(NULL, img, NULL, &file, &why), ST_OK);
    assert_int_equal(fits_header_parse(file.data, file.len, &h, &why), ST_OK);
    assert_true(fits_header_text(&h, "DATASUM", text, sizeof text));
    fits_header_free(&h);
    buf_free(&file);
    return (uint32_t)strtoul(text, NULL, 10);
}

static bool near(double a, long double b)
{
    return a == (double)b || fabsl(a - b) <= 1e-9L * fabsl(b);
}

/* Must pixel i be exact? */
static bool is_wanted(const struct setup *s, size_t i, double bound, unsigned exact)
{
    int64_t x = (int64_t)i % WIDE, y = (int64_t)i / WIDE;
    double zero = 0;
    fits_header_real(&s->raw.header, "BZERO", &zero);
    long double v = value_at(s->raw.data, i, s->raw.bitpix);
    bool wanted = (double)difference(s->raw.data, s->member.data, i, s->raw.bitpix) *
                      fabs(s->scale) > bound;
    if (exact & EXACT_SATURATED)
        wanted |= (double)(zero + s->scale * v) >= s->regions.saturate;
    for (int k = 0; k < s->regions.overscans && exact & EXACT_OVERSCAN; k++) {
        const struct rectangle *r = &s->regions.overscan[k];
        wanted |= x >= r->x0 && x < r->x1 && y >= r->y0 && y < r->y1;
    }
    return wanted;
}

/* Runs the proof, puts the exact pixels in, and counts everything again. */
static void prove(const struct setup *s, double bound, unsigned exact)
{
    struct proof_order o = {.codec = &plain, .raw = &s->raw, .bound = bound, .exact = exact,
                            .regions = &s->regions};
    struct exact e;
    struct proof p;
    struct buf packed = {0};
    struct fits_image delivered = {0};
    int bitpix = s->raw.bitpix;
    size_t size = (size_t)abs(bitpix) / 8;
    assert_int_equal(proof_run(&o, &s->member, &e, &p, &why), ST_OK);
    assert_true(fits_header_copy(&delivered.header, &s->raw.header));
    assert_int_equal(fits_image_shape(&delivered, &why), ST_OK);
    delivered.data = malloc(delivered.size);
    memcpy(delivered.data, s->member.data, delivered.size);
    int64_t put = 0, wanted = 0;
    assert_true(exact_write(&e, &packed));
    if (e.pixels > 0)
        assert_int_equal(exact_apply(packed.data, packed.len, &delivered, &put, &why), ST_OK);
    assert_int_equal(put, e.pixels);
    long double squares = 0, most = 0, coded = 0;
    for (size_t i = 0; i < PIXELS; i++) {
        bool exactly = is_wanted(s, i, bound, exact);
        wanted += exactly;
        assert_memory_equal(delivered.data + i * size,
                            (exactly ? s->raw.data : s->member.data) + i * size, size);
        long double d = difference(s->raw.data, delivered.data, i, bitpix) * fabs(s->scale);
        coded = fmaxl(coded, difference(s->raw.data, s->member.data, i, bitpix) * fabs(s->scale));
        assert_false(d > bound);
        squares += d * d;
        most = fmaxl(most, d);
    }
    assert_int_equal(wanted, e.pixels);
    if (!near(p.rms, sqrtl(squares / PIXELS)) || !near(p.max, most) || !near(p.max_coded, coded))
        fail_msg("BITPIX %d, bound %g: rms %g, max %g, coded %g for %Lg, %Lg, %Lg", bitpix, bound,
                 p.rms, p.max, p.max_coded, sqrtl(squares / PIXELS), most, coded);
    assert_int_equal(p.datasum, datasum_of(&delivered));
    fits_image_free(&delivered);
    buf_free(&packed);
    exact_free(&e);
}

/* ---- the tests ---- */

static const double bounds[] = {NAN, 0, 0.5, 2, 2.5, 1000};

static void errors_are_those_of_every_pixel(void **state)
{
    (void)state;
    for (int k = 0; k < 6; k++)
        for (int b = 0; b < 6; b++)
            for (int form = 0; form < 3; form++) {
                struct setup s;
                set_up(&s, kinds[k], form == 0 ? 1 : form == 1 ? 0.25 : -2, form ? 1000 : 0);
                if (kinds[k] < 0)
                    add_odd_floats(&s, b > 0);
                prove(&s, bounds[b], 0);
                tear_down(&s);
            }
}

/* Without a bound, what became no number or ceased to be one is infinitely wrong. */
static void lost_numbers_are_infinitely_wrong(void **state)
{
    (void)state;
    struct setup s;
    struct exact e;
    struct proof p;
    set_up(&s, -32, 1, 0);
    add_odd_floats(&s, true);
    struct proof_order o = {.codec = &plain, .raw = &s.raw, .bound = NAN};
    assert_int_equal(proof_run(&o, &s.member, &e, &p, &why), ST_OK);
    assert_true(isinf(p.max) && isinf(p.max_coded) && isinf(p.rms) && e.pixels == 0);
    exact_free(&e);
    tear_down(&s);
}

static void saturated_and_overscan_are_exact(void **state)
{
    (void)state;
    for (int k = 0; k < 6; k++)
        for (unsigned exact = 0; exact < 4; exact++)
            for (int form = 0; form < 4; form++) {
                struct setup s;
                double scale = form == 3 ? -2 : form == 2 ? 0.5 : 1, zero = form ? 300 : 0;
                set_up(&s, kinds[k], scale, zero);
                s.regions.saturate = zero + scale * 100; /* of values from 20 to 169 */
                s.regions.overscan[0] = (struct rectangle){0, 0, 5, HIGH};
                s.regions.overscan[1] = (struct rectangle){WIDE - 3, 10, WIDE, 60};
                s.regions.overscans = 2;
                prove(&s, form % 2 ? NAN : 2, exact);
                s.regions.saturate = NAN; /* not known */
                prove(&s, NAN, exact);
                tear_down(&s);
            }
}

/* The sections of a cube's header are those of each of its planes. */
static void overscan_is_exact_in_every_plane(void **state)
{
    (void)state;
    enum { WIDTH = 7, HEIGHT = 3, PLANES = 4, COUNT = WIDTH * HEIGHT * PLANES };
    unsigned char raw[COUNT], sent[COUNT];
    int64_t put;
    struct regions regions = {.saturate = NAN, .overscans = 1, .overscan = {{5, 1, 7, 3}}};
    struct fits_image img = {.bitpix = 8, .naxis = 3, .naxes = {WIDTH, HEIGHT, PLANES},
                             .size = COUNT, .data = raw};
    struct fits_image got = {.bitpix = 8, .size = COUNT, .data = sent};
    struct proof_order o = {.codec = &all_zero, .raw = &img, .bound = NAN,
                            .exact = EXACT_OVERSCAN, .regions = &regions};
    struct buf member = {0}, packed = {0};
    struct exact e;
    struct proof p;
    memset(raw, 9, sizeof raw);
    memset(sent, 0, sizeof sent);
    assert_int_equal(proof_run(&o, &member, &e, &p, &why), ST_OK);
    assert_true(exact_write(&e, &packed));
    assert_int_equal(exact_apply(packed.data, packed.len, &got, &put, &why), ST_OK);
    assert_int_equal(put, PLANES * 2 * 2);
    for (int i = 0; i < COUNT; i++) {
        int x = i % WIDTH, y = i / WIDTH % HEIGHT;
        assert_int_equal(sent[i], x >= 5 && y >= 1 ? 9 : 0);
    }
    buf_free(&packed);
    exact_free(&e);
}

/* What the real codecs give back, of a sky with stars. */
static void real_members_keep_the_bound(void **state)
{
    (void)state;
    const struct codec_options options[] = {
        {.method = "htj2k", .step = {20.0 / 65536, 8.0 / 65536, 4.0 / 65536}, .offset = 1800},
        {.method = "htj2k", .qstep = 20.0 / 65536}, {.method = "jp2", .qstep = 20.0 / 65536},
        {.method = "quantized", .q = 0.25, .noise = 10}};
    for (int k = 0; k < 4; k++)
        for (int b = 0; b < 4; b++) {
            static const double adus[] = {NAN, 30, 12, 3};
            struct setup s = {.scale = 1, .regions = {.saturate = 50000}};
            struct fits_image got;
            int worst;
            make_noise(&s.raw, WIDE, HIGH, true, 1800, 10);
            for (int i = 0; i < 30; i++)
                put_adu(&s.raw, (size_t)(i * 191), 20000 + 1500 * i, true);
            assert_int_equal(through(&options[k], &s.raw, &s.member, &got, &why), ST_OK);
            assert_true(sqrt(compare_pixels(&s.raw, &got, &worst)) > 2 && worst > 12);
            struct proof_order o = {.codec = codec_find(options[k].method), .raw = &s.raw,
                                    .bound = adus[b], .regions = &s.regions};
            struct exact e;
            struct proof p;
            assert_int_equal(proof_run(&o, &s.member, &e, &p, &why), ST_OK);
            assert_int_equal(p.max_coded, worst);
            assert_true(b == 0 ? p.max == worst && e.pixels == 0 : p.max <= adus[b]);
            assert_true(b < 2 || e.pixels > 0);
            exact_free(&e);
            /* And the same counts by brute force of what it decoded to. */
            s.member.len = 0;
            assert_true(buf_append(&s.member, got.data, got.size));
            prove(&s, adus[b], b ? EXACT_SATURATED : 0);
            fits_image_free(&got);
            tear_down(&s);
        }
}

static void a_broken_member_is_refused(void **state)
{
    (void)state;
    struct setup s;
    struct exact e;
    struct proof p;
    set_up(&s, 16, 1, 0);
    s.member.len -= 10;
    struct proof_order o = {.codec = &plain, .raw = &s.raw, .bound = 2};
    assert_int_equal(proof_run(&o, &s.member, &e, &p, &why), ST_REJECT);
    exact_free(&e);
    o.codec = codec_find("htj2k");
    assert_int_equal(proof_run(&o, &s.member, &e, &p, &why), ST_REJECT);
    exact_free(&e);
    tear_down(&s);
}

static void lossless_has_no_error(void **state)
{
    (void)state;
    for (int k = 0; k < 6; k++) {
        struct setup s;
        struct proof p;
        set_up(&s, kinds[k], 1, 0);
        proof_lossless(&s.raw, &p);
        assert_true(p.rms == 0 && p.max == 0 && p.max_coded == 0);
        assert_int_equal(p.datasum, datasum_of(&s.raw));
        tear_down(&s);
    }
}

/* The pieces may have any length. */
static void a_sum_in_pieces_is_the_sum_of_the_whole(void **state)
{
    (void)state;
    for (size_t len = 0; len < 120; len++) {
        unsigned char bytes[120] = {0};
        struct fits_datasum whole = {0}, pieces = {0};
        for (size_t i = 0; i < len; i++)
            bytes[i] = len % 5 ? (unsigned char)fixture_random(&sky_seed) : 0xff;
        fits_datasum_add(&whole, bytes, len);
        for (size_t at = 0, n; at < len; at += n) {
            n = fixture_random(&sky_seed) % 9;
            n = n < len - at ? n : len - at;
            fits_datasum_add(&pieces, bytes + at, n);
        }
        assert_int_equal(fits_datasum_end(&whole), fits_datasum_end(&pieces));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_those_of_every_pixel),
        cmocka_unit_test(lost_numbers_are_infinitely_wrong),
        cmocka_unit_test(saturated_and_overscan_are_exact),
        cmocka_unit_test(overscan_is_exact_in_every_plane),
        cmocka_unit_test(real_members_keep_the_bound),
        cmocka_unit_test(a_broken_member_is_refused),
        cmocka_unit_test(lossless_has_no_error),
        cmocka_unit_test(a_sum_in_pieces_is_the_sum_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
