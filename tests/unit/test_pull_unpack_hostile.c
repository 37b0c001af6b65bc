/* Unpacking when things go badly: members whose digests are right and whose contents are
 * not (a broken or hostile sender) are refused and never crash; a full disk stops early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/small_disk.h"
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

static bool is_grade(enum status s)
{
    return s == ST_OK || s == ST_REJECT;
}

/* Everything that the manifest lists, with the primary as it can be had. */
static void unpack_all(int fd, const struct manifest *m)
{
    struct fits_header primary = {0};
    struct fault why;
    struct unpack_ccd done;
    struct buf file = {0};
    assert_true(is_grade(unpack_primary(fd, m, &primary, &why)));
    struct unpack_source src = {fd, m, &primary};
    for (size_t i = 0; i < m->count; i++) {
        file.len = 0;
        if (m->members[i].role == MEMBER_IMAGE)
            assert_true(is_grade(unpack_image(&src, &m->members[i], &file, &done, &why)));
        else if (unpack_is_other(&src, &m->members[i]))
            assert_true(is_grade(unpack_other(&src, &m->members[i], &file, &done, NULL)));
    }
    buf_free(&file);
    fits_header_free(&primary);
}

/* Changes bytes of one member in the file, and its digest in the manifest to match. */
static void spoil(int fd, struct member *one, const struct buf *tar, unsigned *seed)
{
    struct buf bytes = {0};
    assert_true(buf_append(&bytes, tar->data + one->offset, (size_t)one->size));
    for (int flips = 1 + rand_r(seed) % 5; flips > 0 && bytes.len > 0; flips--) {
        size_t span = rand_r(seed) % 2 && bytes.len > 700 ? 700 : bytes.len;
        bytes.data[(size_t)rand_r(seed) % span] = (unsigned char)rand_r(seed);
    }
    if (rand_r(seed) % 8 == 0)
        one->raw_size = rand_r(seed) % 2 ? rand_r(seed) : INT64_MAX;
    digest_bytes(bytes.data, bytes.len, one->sha256);
    assert_int_equal(fs_pwrite_all(fd, bytes.data, bytes.len, one->offset), 0);
    buf_free(&bytes);
}

static void contents_that_lie_never_crash(void **state)
{
    (void)state;
    char source[4096], bundle[4096];
    unsigned seed = 171113;
    make_source(scratch_path(&dir, "lie.fits", source));
    for (const struct codec *const *row = codec_all(); *row; row++) {
        struct buf tar = {0};
        struct fault why;
        make_bundle(source, (*row)->name, scratch_path(&dir, "lie.tar", bundle));
        slurp(bundle, &tar);
        for (int round = 0; round < 150; round++) {
            struct manifest m;
            int fd = memfd_create("bundle", MFD_CLOEXEC);
            assert_int_equal(fs_pwrite_all(fd, tar.data, tar.len, 0), 0);
            assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
            spoil(fd, &m.members[(size_t)rand_r(&seed) % m.count], &tar, &seed);
            unpack_all(fd, &m);
            manifest_free(&m);
            close(fd);
        }
        buf_free(&tar);
    }
}

/* A header of another shape than the pixels, whole and well signed. */
static void a_header_of_another_ccd_is_refused(void **state)
{
    (void)state;
    static const char *const shapes[] = {
        "NAXIS1  =                   65", "NAXIS1  =          2147483647",
        "NAXIS1  = 99999999999999999999", "NAXIS2  =                   -3",
        "BITPIX  =                  -64", "NAXIS   =                    9", NULL};
    char source[4096], bundle[4096];
    struct fault why;
    struct manifest m;
    make_source(scratch_path(&dir, "shape.fits", source));
    make_bundle(source, "htj2k", scratch_path(&dir, "shape.tar", bundle));
    int fd = open(bundle, O_RDWR);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    struct member *header = &m.members[1], *image = &m.members[2];
    assert_int_equal(header->role, MEMBER_HEADER);
    assert_int_equal(image->hdu, header->hdu);
    struct unpack_source src = {fd, &m, NULL};
    for (const char *const *card = shapes; *card; card++) {
        struct buf cards = {0}, packed = {0}, file = {0};
        struct unpack_ccd done;
        golden_card(&cards, "XTENSION= 'IMAGE   '");
        golden_card(&cards, "BITPIX  =                   16");
        golden_card(&cards, "NAXIS   =                    2");
        golden_card(&cards, "NAXIS1  =                   64");
        golden_card(&cards, "NAXIS2  =                   48");
        for (size_t at = 0; at < cards.len; at += FITS_CARD)
            if (memcmp(cards.data + at, *card, 8) == 0)
                memcpy(cards.data + at, *card, strlen(*card));
        assert_int_equal(bundle_squeeze(cards.data, cards.len, &packed, &why), ST_OK);
        assert_true((int64_t)packed.len <= header->size + 512);
        header->size = (int64_t)packed.len;
        header->raw_size = (int64_t)cards.len;
        digest_bytes(packed.data, packed.len, header->sha256);
        assert_int_equal(fs_pwrite_all(fd, packed.data, packed.len, header->offset), 0);
        assert_int_equal(unpack_image(&src, image, &file, &done, &why), ST_REJECT);
        assert_non_null(strstr(why.text, "exposure " ROOT ", ccd 11: "));
        assert_int_equal(file.len, 0);
        buf_free(&file);
        buf_free(&packed);
        buf_free(&cards);
    }
    manifest_free(&m);
    close(fd);
}

static void a_header_that_claims_gigabytes_is_refused(void **state)
{
    (void)state;
    char source[4096], bundle[4096];
    struct fault why;
    struct manifest m;
    struct fits_header h;
    make_source(scratch_path(&dir, "huge.fits", source));
    make_bundle(source, "htj2k", scratch_path(&dir, "huge.tar", bundle));
    int fd = open(bundle, O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_OK);
    m.members[0].raw_size = INT64_MAX;
    assert_int_equal(unpack_primary(fd, &m, &h, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "are more than can be unpacked"));
    m.members[0].raw_size = 2881;
    assert_int_equal(unpack_primary(fd, &m, &h, &why), ST_REJECT);
    assert_non_null(strstr(why.text, "2880 bytes came out, the manifest says 2881"));
    manifest_free(&m);
    close(fd);
}

/* In a child with a file system of its own of one page. 0: as it should be, 77: not allowed
 * here, else the line that failed. */
static int on_a_full_disk(const char *to)
{
    struct unpack_report r;
    struct fault why = {0};
    if (!small_disk(to, "size=4096"))
        return 77;
    struct unpack_options o = {.to = to, .threads = 1};
    if (unpack_bundle(GOLDEN_TAR, &o, &r, &why) != ST_WAIT) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    if (!strstr(why.text, "exposure " ROOT ", ccd 3: ") || !strstr(why.text, "No space left"))
        return 2;
    if (r.count != 2 || r.done != 0 || r.failed != 2)
        return 3;
    if (!strstr(r.ccds[1].why.text, "HDU 2: not begun, the disk is full"))
        return 4;
    o.rebuild = true;
    unpack_report_free(&r);
    if (unpack_bundle(GOLDEN_TAR, &o, &r, &why) != ST_WAIT)
        return 5;
    unpack_report_free(&r);
    /* No draft stays behind to keep the disk full. */
    return rmdir(to) == 0 || errno == EBUSY ? 0 : 6;
}

static void a_full_disk_stops_early_and_waits(void **state)
{
    (void)state;
    char to[4096];
    int status;
    assert_int_equal(mkdir(scratch_path(&dir, "full", to), 0755), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(on_a_full_disk(to));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no file system of our own may be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents_that_lie_never_crash),
        cmocka_unit_test(a_header_of_another_ccd_is_refused),
        cmocka_unit_test(a_header_that_claims_gigabytes_is_refused),
        cmocka_unit_test(a_full_disk_stops_early_and_waits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
