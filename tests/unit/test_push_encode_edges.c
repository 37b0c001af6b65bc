/* Frames that are no ordinary sky through every method, with a ratio, an error, a bound and exact
 * pixels asked for: what comes back holds all that was promised, or is exact; what the manifest
 * says of it is true; and broken tiles are refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/digest.h"
#include "common/exact.h"
#include "push/encode_hdu.h"
#include "tests/unit/push_fixture.h"
#include "tests/unit/scratch.h"
#include "tests/unit/sky_fixture.h"

static struct scratch folder;
static struct camera camera;
static struct fault why;

/* ---- frames ---- */

static double normal_value(void)
{
    double two[2];
    two_normals(two);
    return two[0];
}

static double odd_float(size_t i)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e-310, 3e38, -3e38};
    return i % 97 == 5 ? odd[i / 97 % 8] : 1000 + 5 * normal_value();
}

/* Physical values of pixel i. */
static double f_zero(size_t i) { return (void)i, 0; }
static double f_full(size_t i) { return (void)i, 65535; }
static double f_constant(size_t i) { return (void)i, 1234; }
static double f_sky(size_t i) { return (void)i, 1800 + 6 * normal_value(); }
static double f_quiet(size_t i) { return (void)i, 1800 + 0.4 * normal_value(); }
static double f_stars(size_t i) { return i % 301 < 7 ? 65535 : 1800 + 6 * normal_value(); }
static double f_random(size_t i) { return (void)i, fixture_random(&sky_seed) % 65536; }
static double f_checks(size_t i) { return (i % 100 + i / 100) % 2 ? 65535 : 0; }
static double f_signed(size_t i) { return (void)i, -200 + 6 * normal_value(); }
static double f_byte(size_t i) { return (void)i, 100 + 4 * normal_value(); }
static double f_mask(size_t i) { return i % 7 ? 0 : (double)(1u << i % 30); }
static double f_all_nan(size_t i) { return (void)i, NAN; }
static double f_huge(size_t i) { return (void)i, 1e300 * (1 + 0.1 * normal_value()); }
static double f_large(size_t i) { return (void)i, 1e30 * (1 + 0.1 * normal_value()); }
static double f_tiny(size_t i) { return (void)i, 1e-30 * (5 + normal_value()); }

struct frame {
    const char *name;
    int bitpix, width, height;
    double bscale, bzero;
    bool blank;
    double (*value)(size_t i);
};

static const struct frame frames[] = {
    {"zeros", 16, 100, 80, 1, 32768, false, f_zero},
    {"saturated", 16, 100, 80, 1, 32768, false, f_full},
    {"constant", 16, 100, 80, 1, 32768, false, f_constant},
    {"a sky", 16, 130, 120, 1, 32768, false, f_sky},
    {"a quiet sky", 16, 130, 120, 1, 32768, false, f_quiet},
    {"stars", 16, 130, 120, 1, 32768, false, f_stars},
    {"random bits", 16, 130, 120, 1, 32768, false, f_random},
    {"a checkerboard", 16, 100, 100, 1, 32768, false, f_checks},
    {"signed", 16, 130, 120, 1, 0, false, f_signed},
    {"one pixel wide", 16, 1, 3000, 1, 32768, false, f_sky},
    {"one pixel high", 16, 3000, 1, 1, 32768, false, f_sky},
    {"one pixel", 16, 1, 1, 1, 32768, false, f_sky},
    {"one axis", 16, 3000, 0, 1, 32768, false, f_sky},
    {"odd floats", -32, 130, 120, 1, 0, false, odd_float},
    {"odd doubles", -64, 130, 120, 1, 0, false, odd_float},
    {"no numbers", -32, 100, 80, 1, 0, false, f_all_nan},
    {"float zeros", -32, 100, 80, 1, 0, false, f_zero},
    {"huge doubles", -64, 130, 120, 1, 0, false, f_huge},
    {"large floats", -32, 130, 120, 1, 0, false, f_large},
    {"tiny floats", -32, 130, 120, 1, 0, false, f_tiny},
    {"bytes", 8, 130, 120, 1, 0, false, f_byte},
    {"a mask", 32, 130, 120, 1, 0, false, f_mask},
    {"32 bits", 32, 130, 120, 1, 0, false, f_sky},
    {"64 bits", 64, 130, 120, 1, 0, false, f_sky},
    {"half units", 16, 130, 120, 0.5, 1000, false, f_sky},
    {"double units", 16, 130, 120, 2, 1000, false, f_sky},
    {"negative units", 16, 130, 120, -0.5, 1000, false, f_sky},
    {"blank pixels", 16, 130, 120, 1, 32768, true, f_sky},
    {"32-bit blanks", 32, 130, 120, 1, 0, true, f_sky}};
#define FRAMES (sizeof frames / sizeof *frames)

static void make_frame(const struct frame *f, struct fits_image *img)
{
    make_image(img, f->bitpix, f->width, f->height, false, PIX_ZERO);
    struct fits_header *h = &img->header;
    fits_header_add_real(h, "BSCALE", f->bscale, NULL);
    fits_header_add_real(h, "BZERO", f->bzero, NULL);
    fits_header_add_real(h, "SATURATE", 60000, NULL);
    if (f->blank)
        fits_header_add_int(h, "BLANK", -32768, NULL);
    int size = abs(f->bitpix) / 8;
    for (size_t i = 0; i < img->size / (size_t)size; i++) {
        double v = (f->value(i) - f->bzero) / f->bscale;
        float narrow = (float)v;
        uint32_t single;
        uint64_t both;
        memcpy(&single, &narrow, 4);
        memcpy(&both, &v, 8);
        if (f->bitpix == 16)
            v = fmin(fmax(rint(v), -32767), 32767);
        int64_t n = f->bitpix == -32 ? (int64_t)single : f->bitpix == -64 ? (int64_t)both
                    : f->blank && i % 50 == 3                            ? -32768
                                                                         : (int64_t)rint(v);
        put_pixel(img->data + i * (size_t)size, size, n);
    }
}

/* A physical value, NaN of blank pixels. */
static double physical(const struct frame *f, const unsigned char *data, size_t i)
{
    size_t size = (size_t)abs(f->bitpix) / 8;
    uint64_t u = 0;
    for (size_t k = 0; k < size; k++)
        u = u << 8 | data[i * size + k];
    uint32_t low = (uint32_t)u;
    float narrow;
    double wide;
    memcpy(&narrow, &low, 4);
    memcpy(&wide, &u, 8);
    double stored = f->bitpix == 8     ? (double)u
                    : f->bitpix == 16  ? (int16_t)u
                    : f->bitpix == 32  ? (int32_t)low
                    : f->bitpix == 64  ? (double)(int64_t)u
                    : f->bitpix == -32 ? (double)narrow
                                       : wide;
    if (f->blank && stored == -32768)
        return NAN;
    return f->bzero + f->bscale * stored;
}

/* ---- one frame through one method ---- */

static void encode_frame(const struct fits_image *img, const struct fidelity *fidelity,
                         struct encode_hdu *h)
{
    char path[4096];
    struct buf file = {0};
    struct fits_file scanned;
    fixture_primary(&file, 1, NULL);
    append_hdu(&file, img);
    scratch_path(&folder, "frame.fits", path);
    write_bytes(path, file.data, file.len);
    int fd = open(path, O_RDONLY);
    assert_int_equal(fits_scan(fd, &scanned, &why), ST_OK);
    assert_int_equal(scanned.count, 2);
    *h = (struct encode_hdu){.fd = fd, .hdu = scanned.hdu[1], .ccd = 1, .root = "x",
                             .fidelity = *fidelity, .rung = fidelity_rung(fidelity),
                             .camera = &camera};
    encode_hdu_run(h);
    close(fd);
    fits_file_free(&scanned);
    buf_free(&file);
}

/* As the far end does it: the picture, then the exact pixels over it. */
static void deliver(const struct fits_image *raw, const struct encode_hdu *h,
                    struct fits_image *out)
{
    const struct member *m = &h->member[h->count - 1];
    const struct buf *bytes = &h->bytes[h->count - 1];
    const struct codec *c = codec_find(m->codec);
    *out = (struct fits_image){0};
    assert_int_equal(m->role, MEMBER_IMAGE);
    assert_non_null(c);
    if (!c->has_header)
        assert_true(fits_header_copy(&out->header, &raw->header));
    if (codec_decode(c, bytes->data, bytes->len, out, &why) != ST_OK)
        fail_msg("%s: %s", m->codec, why.text);
    int64_t pixels = 0;
    for (int i = 0; i < h->count; i++)
        if (h->member[i].role == MEMBER_EXACT) {
            struct buf plain = {0};
            assert_int_equal(bundle_expand(h->bytes[i].data, h->bytes[i].len,
                                           (size_t)h->member[i].raw_size, &plain, &why), ST_OK);
            assert_int_equal(exact_apply(plain.data, plain.len, out, &pixels, &why), ST_OK);
            buf_free(&plain);
        }
    assert_int_equal(pixels, m->measured.exact_pixels);
}

/* What was promised, and what was said of it. */
static void judge(const char *what, const struct frame *f, const struct fidelity *asked,
                  const struct fits_image *raw, const struct encode_hdu *h)
{
    const struct member *m = &h->member[h->count - 1];
    const struct measures *said = &m->measured;
    struct fits_image got;
    deliver(raw, h, &got);
    assert_int_equal(got.size, raw->size);
    size_t pixels = raw->size / ((size_t)abs(f->bitpix) / 8);
    bool same = memcmp(raw->data, got.data, raw->size) == 0;
    double squares = 0, most = 0;
    for (size_t i = 0; i < pixels; i++) {
        double a = physical(f, raw->data, i), b = physical(f, got.data, i);
        if (isnan(a) != isnan(b) || (isinf(a) && a != b))
            fail_msg("%s: pixel %zu was %g and is %g", what, i, a, b);
        double d = isnan(a) || a == b ? 0 : fabs(a - b);
        squares += d * d;
        most = fmax(most, d);
        if ((asked->exact & EXACT_SATURATED) && a >= 60000 && d != 0)
            fail_msg("%s: pixel %zu is saturated and %g off", what, i, d);
    }
    double rms = sqrt(squares / (double)pixels), bound = said->bound;
    bool own_step = f->bitpix == 8 && asked->qstep > 0;
    bool light = (f->bitpix == 16 || f->bitpix < 0 || own_step) && !asked->lossless;
    if (!same && (!light || m->qstep == 0))
        fail_msg("%s: not exact (%s)", what, m->codec);
    if (strcmp(m->codec, "original") != 0 &&
        (fabs(said->rms_error - rms) > 1e-6 * rms || fabs(said->max_error - most) > 1e-9 * most))
        fail_msg("%s: rms %g and max %g, said are %g and %g", what, rms, most, said->rms_error,
                 said->max_error);
    if (most > bound || (asked->max_error > 0 && !same && isnan(bound)))
        fail_msg("%s (%s): %g off, the bound is %g", what, m->codec, most, bound);
    if (asked->noise > 0 && !same && rms > 1.15 * asked->noise * said->noise)
        fail_msg("%s (%s): rms %g, noise %g", what, m->codec, rms, said->noise);
    fits_image_free(&got);
}

static void through_every_method(const struct fidelity *asked, const char *label)
{
    static const char *const methods[] = {"htj2k", "jp2", "quantized", "jxl", "rice", "original"};
    int count = asked->ratio > 0 || asked->lossless ? 6 : 3; /* the rest knows of no loss */
    for (size_t i = 0; i < FRAMES; i++) {
        struct fits_image raw;
        make_frame(&frames[i], &raw);
        for (int m = 0; m < count; m++) {
            struct fidelity f = *asked;
            struct encode_hdu h;
            struct manifest written = {.format = MANIFEST_FORMAT, .software = "x", .name = "x",
                                       .source_name = "x.fits", .facts = {.expnum = 1}};
            struct manifest read = {0};
            struct buf text = {0};
            char what[96];
            snprintf(f.method, sizeof f.method, "%s", methods[m]);
            snprintf(what, sizeof what, "%s, %s, %s", frames[i].name, methods[m], label);
            encode_frame(&raw, &f, &h);
            if (h.grade != ST_OK)
                fail_msg("%s: %s", what, h.why.text);
            if (m < 5) /* original is the HDU as it stands */
                judge(what, &frames[i], &f, &raw, &h);
            for (int k = 0; k < h.count; k++)
                assert_true(manifest_add(&written, &h.member[k]));
            digest_bytes("x", 1, written.source_sha256);
            if (!manifest_write(&written, &text))
                fail_msg("%s: its manifest cannot be written", what);
            if (manifest_parse(text.data, text.len, &read, &why) != ST_OK)
                fail_msg("%s: its manifest cannot be read: %s", what, why.text);
            manifest_free(&written);
            manifest_free(&read);
            buf_free(&text);
            encode_hdu_free(&h);
        }
        fits_image_free(&raw);
    }
}

static void a_ratio(void **state)
{
    (void)state;
    through_every_method(&(struct fidelity){.ratio = 10, .q = 1, .pace = 1}, "ratio 10");
}

static void an_error(void **state)
{
    (void)state;
    through_every_method(&(struct fidelity){.noise = 0.3, .q = 1, .pace = 1}, "noise 0.3");
}

static void a_bound_in_noise(void **state)
{
    (void)state;
    struct fidelity f = {.ratio = 10, .q = 1, .pace = 1, .max_error = 2, .max_in_noise = true};
    through_every_method(&f, "2s");
    f.ratio = 0; /* htj2k and jp2: 10 by default; quantized: q */
    through_every_method(&f, "q, 2s");
}

static void a_bound_in_adu_and_saturated(void **state)
{
    (void)state;
    through_every_method(&(struct fidelity){.ratio = 20, .q = 1, .pace = 1, .max_error = 3,
                                            .exact = EXACT_SATURATED}, "3 ADU, saturated");
}

static void steps_of_ones_own(void **state)
{
    (void)state;
    struct fidelity f = {.qstep = 0.0005, .q = 0.5, .pace = 1, .exact = EXACT_SATURATED};
    through_every_method(&f, "qstep");
    through_every_method(&(struct fidelity){.q = 1, .pace = 1}, "q");
    f.lossless = true;
    through_every_method(&f, "lossless");
}

/* ---- broken ---- */

static void broken_tiles_are_refused_by_name(void **state)
{
    (void)state;
    struct fits_image raw;
    struct buf packed = {0}, file = {0};
    struct fits_file scanned;
    char path[4096];
    make_frame(&frames[3], &raw);
    assert_true(fits_header_add_text(&raw.header, "EXTNAME", "N7", NULL));
    assert_int_equal(fits_tile_pack(&raw, &packed, &why), ST_OK);
    assert_true(buf_append(&file, packed.data, packed.len));
    scratch_path(&folder, "broken.fits.fz", path);
    for (int form = 0; form < 2; form++) {
        memcpy(file.data, packed.data, packed.len);
        if (form == 0) { /* bytes of the tiles, under the sums that were right */
            memset(file.data + file.len - 9000, 0x55, 200);
        } else { /* and without any sum that tells */
            unsigned char *sum = memmem(file.data + FITS_BLOCK, file.len - FITS_BLOCK,
                                        "CHECKSUM=", 9);
            unsigned char *data = memmem(file.data + FITS_BLOCK, file.len - FITS_BLOCK,
                                         "DATASUM =", 9);
            assert_non_null(sum);
            assert_non_null(data);
            memcpy(sum, "COMMENT  ", 9);
            memcpy(data, "COMMENT  ", 9);
            /* the first tile's length and place: far outside */
            struct fits_file f;
            write_bytes(path, packed.data, packed.len);
            int fd = open(path, O_RDONLY);
            assert_int_equal(fits_scan(fd, &f, &why), ST_OK);
            memset(file.data + f.hdu[1].data, 0x7f, 64);
            fits_file_free(&f);
            close(fd);
        }
        write_bytes(path, file.data, file.len);
        int fd = open(path, O_RDONLY);
        assert_int_equal(fits_scan(fd, &scanned, &why), ST_OK);
        struct encode_hdu h = {.fd = fd, .hdu = scanned.hdu[1], .ccd = 7, .root = "x",
                               .fidelity = {.method = "htj2k", .ratio = 10, .q = 1, .pace = 1},
                               .rung = 10, .camera = &camera};
        encode_hdu_run(&h);
        assert_int_equal(h.grade, ST_REJECT);
        if (!strstr(h.why.text, "HDU 1 (EXTNAME N7): "))
            fail_msg("%s", h.why.text);
        encode_hdu_free(&h);
        fits_file_free(&scanned);
        close(fd);
    }
    fits_image_free(&raw);
    buf_free(&packed);
    buf_free(&file);
}

static int set_up(void **state)
{
    (void)state;
    fixture_camera(&camera, 0);
    snprintf(camera.key_saturate, sizeof camera.key_saturate, "SATURATE");
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
        cmocka_unit_test(a_ratio),
        cmocka_unit_test(an_error),
        cmocka_unit_test(a_bound_in_noise),
        cmocka_unit_test(a_bound_in_adu_and_saturated),
        cmocka_unit_test(steps_of_ones_own),
        cmocka_unit_test(broken_tiles_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
