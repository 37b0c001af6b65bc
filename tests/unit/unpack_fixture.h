/* What the tests of unpacking share: a small exposure, bundles of it in any codec, and ways
 * to look at the files that come out (our own reader, and fitsverify when installed). Of
 * one program each: `dir` is its throw-away folder. */
#ifndef SKYFERRY_UNPACK_FIXTURE_H
#define SKYFERRY_UNPACK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/codec.h"
#include "common/fsutil.h"
#include "pull/unpack.h"
#include "tests/unit/golden_exposure.h"
#include "tests/unit/scratch.h"

#define ROOT "c4d_171113_060340_ori"
#define WIDE 64
#define HIGH 48

static struct scratch dir;

/* ---- bundles ---- */

static inline void add(struct bundle_writer *w, struct manifest *m, struct member *one,
                const struct buf *bytes, const char *suffix)
{
    struct fault why = {0};
    one->size = (int64_t)bytes->len;
    member_name(one, m->name, suffix);
    digest_bytes(bytes->data, bytes->len, one->sha256);
    if (bundle_add_member(w, m, one, bytes->data, &why) != ST_OK)
        fail_msg("%s", why.text);
    assert_true(manifest_add(m, one));
}

/* The HDU's cards (END and padding too), compressed. */
static inline void add_header(struct bundle_writer *w, struct manifest *m,
                              const struct fits_hdu *hdu, int ccd, const struct buf *whole)
{
    struct buf packed = {0};
    struct member one = {.role = MEMBER_HEADER, .hdu = hdu->index, .ccd = ccd, .codec = "zstd",
                         .raw_size = hdu->data - hdu->head,
                         .measured = measures_none};
    assert_int_equal(bundle_squeeze(whole->data, (size_t)one.raw_size, &packed, NULL), ST_OK);
    add(w, m, &one, &packed, ".hdr.zst");
    buf_free(&packed);
}

/* > 0: htj2k and jp2 are lossy with this step. */
static double lossy_qstep;

static inline void add_image(struct bundle_writer *w, struct manifest *m,
                             const struct fits_hdu *hdu, const struct codec *codec,
                             const struct buf *whole)
{
    struct codec_options o = {.method = codec->name, .reversible = lossy_qstep <= 0,
                              .qstep = lossy_qstep};
    struct fault why = {0};
    struct fits_image img = {0};
    struct buf packed = {0};
    int ccd = m->visit.ccd ? m->visit.ccd : hdu->index + 10;
    if (!codec->has_header)
        add_header(w, m, hdu, ccd, whole);
    struct member one = {.role = MEMBER_IMAGE, .hdu = hdu->index, .ccd = ccd,
                         .measured = measures_none};
    one.qstep = codec_is_lossless(codec, &o) ? 0 : o.qstep;
    snprintf(one.codec, sizeof one.codec, "%s", codec->name);
    snprintf(one.extname, sizeof one.extname, "%s", hdu->extname);
    if (fits_image_load(whole->data, whole->len, &img, &why) != ST_OK)
        fail_msg("%s", why.text);
    one.raw_size = (int64_t)img.size;
    if (strcmp(codec->name, "original") == 0)
        assert_true(buf_append(&packed, whole->data, whole->len));
    else if (codec->encode(&img, &o, &packed, &why) != ST_OK)
        fail_msg("%s", why.text);
    add(w, m, &one, &packed, codec->suffix);
    fits_image_free(&img);
    buf_free(&packed);
}

static inline void add_other(struct bundle_writer *w, struct manifest *m,
                             const struct fits_hdu *hdu, bool exact, const struct buf *whole)
{
    struct buf packed = {0};
    struct member one = {.role = MEMBER_HDU, .hdu = hdu->index, .codec = "original",
                         .raw_size = (int64_t)whole->len, .measured = measures_none};
    if (!exact) {
        snprintf(one.codec, sizeof one.codec, "zstd");
        assert_int_equal(bundle_squeeze(whole->data, whole->len, &packed, NULL), ST_OK);
    }
    add(w, m, &one, exact ? whole : &packed, exact ? ".hdu" : ".hdu.zst");
    buf_free(&packed);
}

/* The source file as a bundle, each image (ccd number: HDU + 10) with this codec. */
static inline void make_bundle(const char *source, const char *method, const char *to)
{
    struct fault why = {0};
    struct bundle_writer *w = NULL;
    struct fits_file f = {0};
    struct manifest m = {0};
    struct buf whole = {0};
    const struct codec *codec = codec_find(method);
    bool exact = strcmp(method, "original") == 0;
    char sha256[DIGEST_HEX];
    int64_t size;
    int fd = open(source, O_RDONLY);
    assert_non_null(codec);
    if (fits_scan(fd, &f, &why) != ST_OK)
        fail_msg("%s", why.text);
    golden_facts(&m);
    m.source_size = f.size;
    assert_int_equal(digest_fd(fd, -1, m.source_sha256, &why), ST_OK);
    assert_int_equal(bundle_create(to, GOLDEN_MTIME, &w, &why), ST_OK);
    for (size_t i = 0; i < f.count; i++) {
        const struct fits_hdu *hdu = &f.hdu[i];
        whole.len = 0;
        assert_int_equal(fits_read_hdu(fd, hdu, &whole, &why), ST_OK);
        if (hdu->kind == FITS_IMAGE || hdu->kind == FITS_TILED)
            add_image(w, &m, hdu, codec, &whole);
        else if (i == 0 && !exact)
            add_header(w, &m, hdu, 0, &whole);
        else
            add_other(w, &m, hdu, exact, &whole);
    }
    assert_int_equal(golden_add_manifest(w, &m, &why), ST_OK);
    assert_int_equal(bundle_finish(&w, sha256, &size, &why), ST_OK);
    buf_free(&whole);
    manifest_free(&m);
    fits_file_free(&f);
    close(fd);
}

/* Primary, two ccds of unsigned 16 bit (HDU 1 and 2), a table (HDU 3). */
static inline void make_source(const char *path)
{
    static const char *const primary[] = {
        "SIMPLE  =                    T", "BITPIX  =                    8",
        "NAXIS   =                    0", "EXTEND  =                    T",
        "OBJECT  = 'DWF field 4hr'", "GAINA   =                  1.0 / the ccd's own wins", NULL};
    static const char *const table[] = {
        "XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2",
        "NAXIS1  =                    4", "NAXIS2  =                    2",
        "PCOUNT  =                    0", "GCOUNT  =                    1",
        "TFIELDS =                    1", "TFORM1  = '1J      '", "TTYPE1  = 'COUNTS  '",
        "EXTNAME = 'GUIDER  '", NULL};
    struct buf b = {0};
    struct fault why;
    golden_header(&b, primary);
    for (int ccd = 0; ccd < 2; ccd++) {
        const char *image[] = {
            "XTENSION= 'IMAGE   '", "BITPIX  =                   16",
            "NAXIS   =                    2", "NAXIS1  =                   64",
            "NAXIS2  =                   48", "PCOUNT  =                    0",
            "GCOUNT  =                    1", ccd ? "EXTNAME = 'N5      '" : "EXTNAME = 'N4      '",
            "BZERO   =                32768", "BSCALE  =                    1",
            "GAINA   =                 4.05 / [electron/adu] gain of amplifier A",
            "COMMENT the ccd's own comment", NULL};
        golden_header(&b, image);
        for (int i = 0; i < WIDE * HIGH; i++) {
            int adu = 1000 + (i * 7919 + ccd * 31) % 97 - 32768;
            unsigned char value[2] = {(unsigned char)((unsigned)adu >> 8), (unsigned char)adu};
            buf_append(&b, value, sizeof value);
        }
        golden_pad(&b, 0);
    }
    golden_header(&b, table);
    buf_append(&b, "\0\0\1\2\0\0\3\4", 8);
    golden_pad(&b, 0);
    assert_int_equal(fs_write_file(path, b.data, b.len, false, &why), ST_OK);
    buf_free(&b);
}

/* ---- looking at files ---- */

static inline void slurp(const char *path, struct buf *out)
{
    struct fault why = {0};
    out->len = 0;
    if (fs_read_file(path, 64 << 20, out, &why) != ST_OK)
        fail_msg("%s", why.text);
}

static inline void assert_same_file(const char *a, const char *b)
{
    struct buf one = {0}, two = {0};
    slurp(a, &one);
    slurp(b, &two);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    buf_free(&two);
    buf_free(&one);
}

/* An independent reader: no error and no warning, when fitsverify is installed. */
static inline void verify(const char *path)
{
    struct buf said = {0};
    char out[4096];
    scratch_path(&dir, "fitsverify.out", out);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execlp("fitsverify", "fitsverify", path, (char *)NULL);
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        print_message("fitsverify is not installed: %s not looked at\n", path);
        return;
    }
    slurp(out, &said);
    assert_true(buf_append(&said, "", 1));
    if (!strstr((char *)said.data, "found 0 warning(s) and 0 error(s)"))
        fail_msg("fitsverify on %s:\n%s", path, (char *)said.data);
    buf_free(&said);
}

static inline void load(const char *path, struct fits_image *out)
{
    struct buf file = {0};
    struct fault why = {0};
    slurp(path, &file);
    if (fits_image_load(file.data, file.len, out, &why) != ST_OK)
        fail_msg("%s", why.text);
    if (fits_check_sums(file.data, file.len, &why) != ST_OK)
        fail_msg("%s", why.text);
    buf_free(&file);
}

static inline void assert_text(const struct fits_header *h, const char *key, const char *value)
{
    char text[256];
    if (!fits_header_text(h, key, text, sizeof text))
        fail_msg("no card %s", key);
    assert_string_equal(text, value);
}

static inline void assert_number(const struct fits_header *h, const char *key, double value)
{
    double found;
    if (!fits_header_real(h, key, &found))
        fail_msg("no card %s", key);
    assert_true(found == value);
}

static inline enum status unpack_to(const char *bundle, const char *to, struct unpack_report *r,
                             struct fault *why)
{
    struct unpack_options o = {.to = to, .threads = 2};
    return unpack_bundle(bundle, &o, r, why);
}

/* The pixels of HDU `hdu` of the source against a delivered file. */
static inline void assert_pixels(const char *source, int hdu, const char *delivered)
{
    struct fits_file f = {0};
    struct fault why;
    struct buf whole = {0};
    struct fits_image want = {0}, got = {0};
    int fd = open(source, O_RDONLY);
    assert_int_equal(fits_scan(fd, &f, &why), ST_OK);
    assert_int_equal(fits_read_hdu(fd, &f.hdu[hdu], &whole, &why), ST_OK);
    assert_int_equal(fits_image_load(whole.data, whole.len, &want, &why), ST_OK);
    load(delivered, &got);
    assert_int_equal(got.bitpix, want.bitpix);
    assert_int_equal(got.naxis, want.naxis);
    assert_int_equal(got.size, want.size);
    assert_memory_equal(got.data, want.data, want.size);
    fits_image_free(&got);
    fits_image_free(&want);
    buf_free(&whole);
    fits_file_free(&f);
    close(fd);
}

#endif
