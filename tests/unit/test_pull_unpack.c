/* A bundle becomes FITS files: every codec gives stand-alone files that say where they came
 * from, a damaged ccd does not hold the others, nothing is overwritten, and codec
 * "original" gives the source file back byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/unpack_fixture.h"

static int set_up(void **state)
{
    (void)state;
    return scratch_make(&dir);
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&dir);
    return 0;
}

static void every_codec_gives_the_pixels_and_the_cards(void **state)
{
    (void)state;
    char source[4096], bundle[4096], to[4096], path[4096], name[64];
    make_source(scratch_path(&dir, "every.fits", source));
    for (const struct codec *const *row = codec_all(); *row; row++) {
        struct unpack_report r;
        struct fault why = {0};
        struct fits_image img = {0};
        snprintf(name, sizeof name, "every_%s", (*row)->name);
        scratch_path(&dir, name, to);
        snprintf(bundle, sizeof bundle, "%.4000s.tar", to);
        make_bundle(source, (*row)->name, bundle);
        if (unpack_to(bundle, to, &r, &why) != ST_OK)
            fail_msg("%s: %s", (*row)->name, why.text);
        assert_string_equal(r.name, ROOT);
        assert_int_equal(r.count, 3);
        assert_int_equal(r.done, 3);
        assert_int_equal(r.failed, 0);
        assert_int_equal(r.ccds[0].ccd, 11);
        assert_int_equal(r.ccds[1].ccd, 12);
        assert_int_equal(r.ccds[2].ccd, 0);
        assert_int_equal(r.ccds[2].hdu, 3);
        assert_string_equal(r.ccds[0].codec, (*row)->name);
        snprintf(path, sizeof path, "%.4000s/" ROOT "_12.fits", to);
        assert_string_equal(r.ccds[1].path, path);
        assert_int_equal(r.ccds[1].bytes % FITS_BLOCK, 0);
        assert_pixels(source, 2, path);
        verify(path);
        verify(r.ccds[2].path);
        load(path, &img);
        assert_text(&img.header, "OBJECT", "DWF field 4hr");
        assert_number(&img.header, "GAINA", 4.05);
        assert_text(&img.header, "SFCODEC", (*row)->name);
        assert_number(&img.header, "SFQSTEP", 0);
        assert_text(&img.header, "SFSRC", ROOT ".fits");
        assert_text(&img.header, "SFEXT", "N5");
        assert_number(&img.header, "SFHDU", 2);
        assert_text(&img.header, "SFVERS", "skyferry 0.1.0");
        char sha256[DIGEST_HEX];
        int fd = open(source, O_RDONLY);
        assert_int_equal(digest_fd(fd, -1, sha256, &why), ST_OK);
        close(fd);
        assert_text(&img.header, "SFSHA", sha256);
        fits_image_free(&img);
        unpack_report_free(&r);
    }
}

static void the_ratio_is_bytes_before_by_bytes_on_the_wire(void **state)
{
    (void)state;
    char source[4096], bundle[4096], to[4096], path[4096];
    struct unpack_report r;
    struct fault why = {0};
    struct manifest m;
    struct fits_image img = {0};
    make_source(scratch_path(&dir, "ratio.fits", source));
    make_bundle(source, "rice", scratch_path(&dir, "ratio.tar", bundle));
    assert_int_equal(unpack_to(bundle, scratch_path(&dir, "ratio", to), &r, &why), ST_OK);
    int fd = open(bundle, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    close(fd);
    load(scratch_path(&dir, "ratio/" ROOT "_11.fits", path), &img);
    double ratio;
    assert_true(fits_header_real(&img.header, "SFRATIO", &ratio));
    double want = (double)(WIDE * HIGH * 2) / (double)m.members[1].size;
    assert_true(ratio > want - 0.006 && ratio < want + 0.006);
    fits_image_free(&img);
    manifest_free(&m);
    unpack_report_free(&r);
}

/* The table's bytes behind the primary's cards. */
static void other_hdus_come_whole(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    struct golden g;
    struct buf file = {0};
    struct fits_header h = {0};
    char to[4096], path[4096];
    golden_make(&g);
    assert_int_equal(unpack_to(GOLDEN_TAR, scratch_path(&dir, "golden", to), &r, &why), ST_OK);
    assert_int_equal(r.count, 2);
    scratch_path(&dir, "golden/" ROOT "_hdu2.fits", path);
    assert_string_equal(r.ccds[1].path, path);
    slurp(path, &file);
    const struct member *table = &g.m.members[2];
    assert_int_equal(file.len, FITS_BLOCK + table->size);
    assert_memory_equal(file.data + FITS_BLOCK, g.source.data + table->offset,
                        (size_t)table->size);
    assert_int_equal(fits_header_parse(file.data, file.len, &h, &why), ST_OK);
    assert_text(&h, "OBJECT", "DWF field 4hr");
    assert_true(fits_header_find(&h, "COMMENT") > 0);
    verify(path);
    verify(scratch_path(&dir, "golden/" ROOT "_3.fits", path));
    fits_header_free(&h);
    buf_free(&file);
    unpack_report_free(&r);
    golden_free(&g);
}

static void a_damaged_ccd_does_not_hold_the_others(void **state)
{
    (void)state;
    char source[4096], bundle[4096], to[4096], path[4096];
    struct unpack_report r;
    struct manifest m;
    struct fault why = {0};
    make_source(scratch_path(&dir, "hurt.fits", source));
    make_bundle(source, "rice", scratch_path(&dir, "hurt.tar", bundle));
    int fd = open(bundle, O_RDWR);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    assert_string_equal(m.members[1].name, ROOT "_11.fits.fz");
    assert_int_equal(pwrite(fd, "damage", 6, m.members[1].offset + 3000), 6);
    close(fd);
    manifest_free(&m);
    assert_int_equal(unpack_to(bundle, scratch_path(&dir, "hurt", to), &r, &why), ST_REJECT);
    assert_string_equal(why.text, "exposure " ROOT ", ccd 11: member " ROOT
                                  "_11.fits.fz is damaged: its SHA-256 is wrong");
    assert_int_equal(r.count, 3);
    assert_int_equal(r.done, 2);
    assert_int_equal(r.failed, 1);
    assert_int_equal(r.ccds[0].why.grade, ST_REJECT);
    assert_int_equal(r.ccds[0].bytes, 0);
    assert_string_equal(r.ccds[0].path, "");
    assert_int_equal(access(scratch_path(&dir, "hurt/" ROOT "_11.fits", path), F_OK), -1);
    assert_pixels(source, 2, scratch_path(&dir, "hurt/" ROOT "_12.fits", path));
    unpack_report_free(&r);
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    char to[4096], path[4096];
    struct unpack_report r;
    struct stat first, again;
    struct fault why = {0};
    struct buf file = {0};
    scratch_path(&dir, "keep", to);
    scratch_path(&dir, "keep/" ROOT "_3.fits", path);
    assert_int_equal(unpack_to(GOLDEN_TAR, to, &r, &why), ST_OK);
    unpack_report_free(&r);
    assert_int_equal(stat(path, &first), 0);
    /* The same again: the same file, not even written anew. */
    assert_int_equal(unpack_to(GOLDEN_TAR, to, &r, &why), ST_OK);
    assert_int_equal(r.done, 2);
    unpack_report_free(&r);
    assert_int_equal(stat(path, &again), 0);
    assert_int_equal(first.st_ino, again.st_ino);
    assert_int_equal(fs_write_file(path, "mine", 4, false, &why), ST_OK);
    assert_int_equal(unpack_to(GOLDEN_TAR, to, &r, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "exposure " ROOT ", ccd 3: "));
    assert_non_null(strstr(why.text, "_3.fits is there already with other content"));
    assert_int_equal(r.done, 1);
    unpack_report_free(&r);
    slurp(path, &file);
    assert_int_equal(file.len, 4);
    struct unpack_options o = {.to = to, .force = true};
    assert_int_equal(unpack_bundle(GOLDEN_TAR, &o, &r, &why), ST_OK);
    assert_int_equal(r.done, 2);
    unpack_report_free(&r);
    slurp(path, &file);
    assert_int_equal(file.len, 2 * FITS_BLOCK);
    buf_free(&file);
}

static void original_gives_the_source_file_back(void **state)
{
    (void)state;
    struct golden g;
    struct unpack_report r;
    struct fault why = {0};
    struct buf file = {0};
    char to[4096], path[4096];
    golden_make(&g);
    struct unpack_options o = {.to = scratch_path(&dir, "back", to), .rebuild = true};
    if (unpack_bundle(GOLDEN_TAR, &o, &r, &why) != ST_OK)
        fail_msg("%s", why.text);
    scratch_path(&dir, "back/" ROOT ".fits", path);
    assert_int_equal(r.count, 1);
    assert_int_equal(r.done, 1);
    assert_string_equal(r.ccds[0].path, path);
    assert_int_equal(r.ccds[0].bytes, g.source.len);
    unpack_report_free(&r);
    slurp(path, &file);
    assert_int_equal(file.len, g.source.len);
    assert_memory_equal(file.data, g.source.data, g.source.len);
    /* Again: fine. Another file of that name: kept, unless forced. */
    assert_int_equal(unpack_bundle(GOLDEN_TAR, &o, &r, &why), ST_OK);
    unpack_report_free(&r);
    assert_int_equal(fs_write_file(path, "mine", 4, false, &why), ST_OK);
    assert_int_equal(unpack_bundle(GOLDEN_TAR, &o, &r, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "exposure " ROOT ": "));
    assert_non_null(strstr(why.text, "is there already with other content"));
    unpack_report_free(&r);
    o.force = true;
    assert_int_equal(unpack_bundle(GOLDEN_TAR, &o, &r, &why), ST_OK);
    unpack_report_free(&r);
    slurp(path, &file);
    assert_memory_equal(file.data, g.source.data, g.source.len);
    buf_free(&file);
    golden_free(&g);
}

/* The manifest's digest of the source decides, not the members' own. */
static void a_wrong_source_is_never_published(void **state)
{
    (void)state;
    struct golden g;
    struct fault why = {0};
    struct manifest m;
    char path[4096], out[4096], sha256[DIGEST_HEX];
    int64_t size;
    golden_make(&g);
    g.m.source_sha256[0] = g.m.source_sha256[0] == 'a' ? 'b' : 'a';
    scratch_path(&dir, "wrong.tar", path);
    scratch_path(&dir, "wrong.fits", out);
    assert_int_equal(golden_bundle(&g, path, sha256, &size, &why), ST_OK);
    int fd = open(path, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    assert_int_equal(unpack_rebuild(fd, &m, out, false, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "the rebuilt bytes are not the source file's"));
    assert_int_equal(access(out, F_OK), -1);
    manifest_free(&m);
    close(fd);
    golden_free(&g);
}

static void a_recoded_bundle_cannot_be_rebuilt(void **state)
{
    (void)state;
    char source[4096], bundle[4096], to[4096];
    struct unpack_report r;
    struct fault why = {0};
    make_source(scratch_path(&dir, "recoded.fits", source));
    make_bundle(source, "rice", scratch_path(&dir, "recoded.tar", bundle));
    struct unpack_options o = {.to = scratch_path(&dir, "recoded", to), .rebuild = true};
    assert_int_equal(unpack_bundle(bundle, &o, &r, &why), ST_REJECT);
    assert_string_equal(why.text,
                        "exposure " ROOT ": ccd 11 was sent with codec rice; a source file can be "
                        "rebuilt only when all of it was sent with method original");
    assert_int_equal(r.failed, 1);
    unpack_report_free(&r);
}

static void a_missing_hdu_stops_the_rebuild(void **state)
{
    (void)state;
    struct golden g;
    struct fault why = {0};
    golden_make(&g);
    g.m.members[1].hdu = 7;
    char out[4096];
    assert_int_equal(unpack_rebuild(-1, &g.m, scratch_path(&dir, "x.fits", out), false, &why),
                     ST_REJECT);
    assert_non_null(strstr(why.text, "does not hold HDU 1 as it stood"));
    golden_free(&g);
}

/* Manifests that bundle_index lets pass and that still cannot be decoded. */
static void what_cannot_be_decoded_is_said(void **state)
{
    (void)state;
    struct fault why = {0};
    struct manifest m;
    struct buf file = {0};
    struct unpack_ccd ccd;
    struct fits_header primary = {0};
    int fd = open(GOLDEN_TAR, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    struct unpack_source src = {.fd = fd, .m = &m};
    struct member one = m.members[1];
    snprintf(one.codec, sizeof one.codec, "fractal");
    assert_int_equal(unpack_image(&src, &one, &file, &ccd, &why), ST_REJECT);
    assert_string_equal(why.text,
                        "exposure " ROOT ", ccd 3: codec fractal is unknown to this version");
    assert_int_equal(ccd.why.grade, ST_REJECT);
    snprintf(one.codec, sizeof one.codec, "htj2k");
    assert_int_equal(unpack_image(&src, &one, &file, &ccd, &why), ST_REJECT);
    assert_string_equal(why.text, "exposure " ROOT ", ccd 3: the bundle lacks the header of HDU 1");
    snprintf(one.codec, sizeof one.codec, "rice");
    assert_int_equal(unpack_image(&src, &one, &file, &ccd, &why), ST_REJECT);
    assert_int_equal(file.len, 0);
    one = m.members[2];
    snprintf(one.codec, sizeof one.codec, "zstd");
    assert_int_equal(unpack_other(&src, &one, &file, &ccd, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "exposure " ROOT ", HDU 2: "));
    one = m.members[3];
    one.hdu = 3;
    assert_int_equal(unpack_other(&src, &one, &file, &ccd, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "_tail.hdu is no FITS HDU"));
    one.codec[0] = 'z';
    assert_int_equal(unpack_other(&src, &one, &file, &ccd, NULL), ST_REJECT);
    assert_int_equal(file.len, 0);
    m.members[0].role = MEMBER_HDU;
    m.members[0].hdu = 9;
    assert_int_equal(unpack_primary(fd, &m, &primary, &why), ST_REJECT);
    assert_string_equal(why.text, "exposure " ROOT ": the bundle lacks the primary header");
    buf_free(&file);
    manifest_free(&m);
    close(fd);
}

static void what_is_no_bundle_is_said_with_its_name(void **state)
{
    (void)state;
    struct unpack_report r;
    struct fault why = {0};
    char path[4096], to[4096];
    scratch_path(&dir, "nothing", to);
    assert_int_equal(unpack_to("/no/such.tar", to, &r, &why), ST_RETRY);
    assert_string_equal(why.text,
                        "cannot open the bundle /no/such.tar: No such file or directory");
    unpack_report_free(&r);
    assert_int_equal(unpack_to(GOLDEN_MANIFEST, to, &r, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "bundle " GOLDEN_MANIFEST ": this is no plain tar"));
    assert_string_equal(r.name, "");
    assert_int_equal(r.count, 0);
    unpack_report_free(&r);
    assert_int_equal(access(to, F_OK), -1);
    /* A directory that cannot be: a file has the name. */
    assert_int_equal(fs_write_file(scratch_path(&dir, "file", path), "x", 1, false, &why), ST_OK);
    assert_int_not_equal(unpack_to(GOLDEN_TAR, path, &r, &why), ST_OK);
    unpack_report_free(&r);
}

/* HDUs that were only compressed are as good as those that stood as they were. */
static void squeezed_hdus_are_rebuilt_too(void **state)
{
    (void)state;
    struct golden g;
    struct fault why = {0};
    struct manifest m = {0};
    struct buf packed = {0}, file = {0};
    struct bundle_writer *w = NULL;
    char bundle[4096], out[4096], sha256[DIGEST_HEX];
    int64_t size;
    golden_make(&g);
    golden_facts(&m);
    m.source_size = g.m.source_size;
    memcpy(m.source_sha256, g.m.source_sha256, DIGEST_HEX);
    assert_int_equal(bundle_create(scratch_path(&dir, "squeezed.tar", bundle), 0, &w, &why), ST_OK);
    for (size_t i = g.m.count; i-- > 0;) { /* backwards: the order in the tar does not matter */
        struct member one = g.m.members[i];
        bool squeeze = one.role == MEMBER_HDU;
        packed.len = 0;
        if (squeeze)
            bundle_squeeze(g.source.data + one.offset, (size_t)one.size, &packed, &why);
        else
            assert_true(buf_append(&packed, g.source.data + one.offset, (size_t)one.size));
        snprintf(one.codec, sizeof one.codec, squeeze ? "zstd" : "original");
        add(w, &m, &one, &packed, squeeze ? ".hdu.zst" : ".hdu");
    }
    assert_int_equal(golden_add_manifest(w, &m, &why), ST_OK);
    assert_int_equal(bundle_finish(&w, sha256, &size, &why), ST_OK);
    manifest_free(&m);
    int fd = open(bundle, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    if (unpack_rebuild(fd, &m, scratch_path(&dir, "squeezed.fits", out), false, &why) != ST_OK)
        fail_msg("%s", why.text);
    close(fd);
    slurp(out, &file);
    assert_int_equal(file.len, g.source.len);
    assert_memory_equal(file.data, g.source.data, file.len);
    buf_free(&file);
    buf_free(&packed);
    manifest_free(&m);
    golden_free(&g);
}

static size_t count_cards(const struct fits_header *h, const char *keyword)
{
    size_t found = 0;
    for (size_t i = 0; i < h->count; i++)
        found += memcmp(h->cards + i * FITS_CARD, keyword, strlen(keyword)) == 0;
    return found;
}

/* A file that was delivered once may be sent again, its image in the primary HDU: nothing
 * comes twice, and its provenance is the last passage's. */
static void a_delivered_file_may_be_sent_again(void **state)
{
    (void)state;
    static const char *const methods[] = {"rice", "original"};
    char first[4096], bundle[4096], to[4096], path[4096];
    struct unpack_report r;
    struct fault why = {0};
    assert_int_equal(unpack_to(GOLDEN_TAR, scratch_path(&dir, "once", to), &r, &why), ST_OK);
    memcpy(first, r.ccds[0].path, sizeof first);
    unpack_report_free(&r);
    for (size_t i = 0; i < 2; i++) {
        struct fits_image img = {0};
        make_bundle(first, methods[i], scratch_path(&dir, "twice.tar", bundle));
        assert_int_equal(unpack_to(bundle, scratch_path(&dir, methods[i], to), &r, &why), ST_OK);
        assert_int_equal(r.count, 1);
        assert_int_equal(r.ccds[0].hdu, 0);
        memcpy(path, r.ccds[0].path, sizeof path);
        unpack_report_free(&r);
        verify(path);
        load(path, &img);
        assert_text(&img.header, "SFCODEC", methods[i]);
        assert_int_equal(count_cards(&img.header, "SFCODEC "), 1);
        assert_int_equal(count_cards(&img.header, "COMMENT a comment that must survive"), 1);
        assert_int_equal(count_cards(&img.header, "OBJECT  "), 1);
        fits_image_free(&img);
    }
}

static void real_frames_arrive(void **state)
{
    (void)state;
    static const char *const frames[] = {"../shared/data/c4d_171113_060340_ooi_r_ls9.N6.fits",
                                         "../shared/data/c4d_170316_062107_ooi_z_ls9.N2.fits",
                                         "../shared/data/c4d_170316_062107_ood_z_ls9.N2.fits"};
    char bundle[4096], to[4096], path[4096], name[32];
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct unpack_report r;
        struct fault why = {0};
        if (access(frames[i], R_OK) != 0) {
            print_message("%s is not here: not tested\n", frames[i]);
            continue;
        }
        snprintf(name, sizeof name, "real%zu", i);
        scratch_path(&dir, name, to);
        snprintf(bundle, sizeof bundle, "%.4000s.tar", to);
        make_bundle(frames[i], "rice", bundle);
        if (unpack_to(bundle, to, &r, &why) != ST_OK)
            fail_msg("%s: %s", frames[i], why.text);
        assert_int_equal(r.done, 1);
        assert_pixels(frames[i], r.ccds[0].hdu, r.ccds[0].path);
        unpack_report_free(&r);
        make_bundle(frames[i], "original", bundle);
        struct unpack_options o = {.to = to, .rebuild = true};
        if (unpack_bundle(bundle, &o, &r, &why) != ST_OK)
            fail_msg("%s: %s", frames[i], why.text);
        snprintf(path, sizeof path, "%.4000s/" ROOT ".fits", to);
        assert_same_file(frames[i], path);
        unpack_report_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_gives_the_pixels_and_the_cards),
        cmocka_unit_test(the_ratio_is_bytes_before_by_bytes_on_the_wire),
        cmocka_unit_test(other_hdus_come_whole),
        cmocka_unit_test(a_damaged_ccd_does_not_hold_the_others),
        cmocka_unit_test(nothing_is_overwritten),
        cmocka_unit_test(original_gives_the_source_file_back),
        cmocka_unit_test(a_wrong_source_is_never_published),
        cmocka_unit_test(a_recoded_bundle_cannot_be_rebuilt),
        cmocka_unit_test(a_missing_hdu_stops_the_rebuild),
        cmocka_unit_test(what_cannot_be_decoded_is_said),
        cmocka_unit_test(what_is_no_bundle_is_said_with_its_name),
        cmocka_unit_test(squeezed_hdus_are_rebuilt_too),
        cmocka_unit_test(a_delivered_file_may_be_sent_again),
        cmocka_unit_test(real_frames_arrive),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
