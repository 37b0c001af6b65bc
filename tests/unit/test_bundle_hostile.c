/* What a stranger may put into a bundle: every kind of wrong member, tar or manifest is
 * refused with words that name it, and no damage at all makes the reader crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/fsutil.h"
#include "tests/unit/golden_exposure.h"
#include "tests/unit/raw_tar.h"

#define IMAGE "x_1.jph"
#define HEADER "x_1.hdr.zst"

/* The two members that the manifest of these tests lists. */
static const struct raw_member image = {.name = IMAGE, .bytes = "pixels", .len = 6};
static const struct raw_member header = {.name = HEADER, .bytes = "cards", .len = 5};

static int memory_file(const struct buf *bytes)
{
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fs_pwrite_all(fd, bytes->data, bytes->len, 0), 0);
    return fd;
}

static enum status index_bytes(const struct buf *bytes, struct fault *why)
{
    struct manifest m;
    int fd = memory_file(bytes);
    enum status s = bundle_index(fd, &m, why);
    if (s == ST_OK)
        assert_int_equal(m.count, 2);
    else
        assert_null(m.members);
    manifest_free(&m);
    close(fd);
    return s;
}

static void assert_refused(const struct buf *tar, const char *words)
{
    struct fault why = {0};
    enum status s = index_bytes(tar, &why);
    if (s != ST_REJECT || !strstr(why.text, words))
        fail_msg("expected a rejection with \"%s\", got %s: %s", words, status_name(s), why.text);
}

static void list_member(struct manifest *m, const struct raw_member *raw, enum member_role role)
{
    struct member one = {.role = role, .hdu = 1, .ccd = 1, .codec = "htj2k",
                         .size = (int64_t)raw->len};
    snprintf(one.name, sizeof one.name, "%s", raw->name);
    digest_bytes(raw->bytes, raw->len, one.sha256);
    assert_true(manifest_add(m, &one));
}

/* manifest.json for the two members above, as a member to add. */
static struct raw_member manifest_member(struct buf *text)
{
    struct manifest m = {.source_size = 100};
    golden_facts(&m);
    digest_bytes("", 0, m.source_sha256);
    list_member(&m, &image, MEMBER_IMAGE);
    list_member(&m, &header, MEMBER_HEADER);
    assert_true(manifest_write(&m, text));
    manifest_free(&m);
    return (struct raw_member){.name = MANIFEST_NAME, .bytes = (char *)text->data,
                               .len = text->len};
}

/* The members given, then the manifest, then the end. */
static void build(struct buf *tar, const struct raw_member *members, size_t count)
{
    struct buf text = {0};
    tar->len = 0;
    for (size_t i = 0; i < count; i++)
        raw_add(tar, &members[i]);
    struct raw_member last = manifest_member(&text);
    raw_add(tar, &last);
    raw_end(tar);
    buf_free(&text);
}

static void a_tar_from_another_writer_is_fine(void **state)
{
    (void)state;
    struct buf tar = {0};
    struct fault why = {0};
    build(&tar, (struct raw_member[]){image, header}, 2);
    if (index_bytes(&tar, &why) != ST_OK)
        fail_msg("%s", why.text);
    /* In another order, and with the padding that GNU tar adds. */
    build(&tar, (struct raw_member[]){header, image}, 2);
    static const char zeros[10240];
    assert_true(buf_append(&tar, zeros, 10240 - tar.len % 10240));
    if (index_bytes(&tar, &why) != ST_OK)
        fail_msg("%s", why.text);
    buf_free(&tar);
}

static void wrong_members_are_refused(void **state)
{
    (void)state;
    static const char zeros_digest[] =
        "0000000000000000000000000000000000000000000000000000000000000000";
    static const struct {
        struct raw_member one; /* in the image's place */
        const char *words;
    } cases[] = {
        {{.name = "/etc/x_1.jph"}, "member /etc/x_1.jph has an absolute path"},
        {{.name = "../x_1.jph"}, "member ../x_1.jph has \"..\" in its path"},
        {{.name = "a/../../x_1.jph"}, "member a/../../x_1.jph has \"..\" in its path"},
        {{.name = ".."}, "member .. has \"..\" in its path"},
        {{.name = "a/x_1.jph"}, "member a/x_1.jph has a name that is no plain file name"},
        {{.name = "./x_1.jph"}, "member ./x_1.jph has a name that is no plain file name"},
        {{.name = "a\033[2Jb"}, "member a?[2Jb has a name that is no plain file name"},
        {{.name = ".x_1.jph"}, "member .x_1.jph has a name that is no plain file name"},
        {{.name = "\xc3\xa9.jph"}, "has "},
        {{.name = IMAGE, .pax = "path=../../x_1.jph"}, "member ../../x_1.jph has \"..\""},
        {{.name = IMAGE, .pax = "linkpath=/etc/passwd", .type = '2'}, "is a link"},
        {{.name = IMAGE, .type = '1', .link = HEADER}, "member x_1.jph is a link"},
        {{.name = IMAGE, .type = '2', .link = "/etc/passwd"}, "member x_1.jph is a link"},
        {{.name = IMAGE, .type = '5'}, "is a directory"},
        {{.name = IMAGE "/", .type = '0'}, "is a directory"},
        {{.name = IMAGE, .type = '3'}, "member x_1.jph is a device"},
        {{.name = IMAGE, .type = '6'}, "member x_1.jph is a device"},
        {{.name = IMAGE, .type = '7', .bytes = "pixels", .len = 6}, "no plain file of a pax tar"},
        {{.name = IMAGE, .bytes = "pixels", .len = 6, .pax = "GNU.sparse.map=1,2,4,2"},
         "is a sparse file"},
        {{.name = IMAGE, .bytes = "1\n0\n6\n", .len = 6, .pax = "GNU.sparse.major=1"},
         "its first member is broken"},
        {{.name = IMAGE, .bytes = "pixel", .len = 5},
         "member x_1.jph has 5 bytes, the manifest says 6"},
        {{.name = IMAGE, .bytes = "Pixels", .len = 6},
         "member x_1.jph: the SHA-256 in its tar header is not the manifest's"},
        {{.name = IMAGE, .bytes = "pixels", .len = 6, .sha256 = zeros_digest},
         "member x_1.jph: the SHA-256 in its tar header is not the manifest's"},
        {{.name = IMAGE, .bytes = "pixels", .len = 6, .sha256 = ""},
         "member x_1.jph: its tar header holds no SHA-256"},
        {{.name = IMAGE, .bytes = "pixels", .len = 6, .sha256 = "abc"},
         "member x_1.jph: its tar header holds a broken SHA-256"},
        {{.name = "other.jph", .bytes = "pixels", .len = 6},
         "member x_1.jph of the manifest is missing"},
    };
    struct buf tar = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        build(&tar, (struct raw_member[]){cases[i].one, header}, 2);
        assert_refused(&tar, cases[i].words);
    }
    buf_free(&tar);
}

static void missing_extra_and_double_members_are_refused(void **state)
{
    (void)state;
    struct buf tar = {0};
    struct raw_member extra = {.name = "x_2.jph", .bytes = "pixels", .len = 6};
    build(&tar, &header, 1);
    assert_refused(&tar, "member x_1.jph of the manifest is missing");
    build(&tar, NULL, 0);
    assert_refused(&tar, "member x_1.jph of the manifest is missing");
    build(&tar, (struct raw_member[]){image, header, extra}, 3);
    assert_refused(&tar, "member x_2.jph is not in the manifest");
    build(&tar, (struct raw_member[]){image, header, image}, 3);
    assert_refused(&tar, "member x_1.jph is there twice");
    buf_free(&tar);
}

static void the_manifest_must_be_there_and_last(void **state)
{
    (void)state;
    struct buf tar = {0}, text = {0};
    struct raw_member last = manifest_member(&text);
    raw_add(&tar, &image);
    raw_add(&tar, &header);
    raw_end(&tar);
    assert_refused(&tar, "the bundle ends without manifest.json");
    tar.len = 0;
    raw_add(&tar, &image);
    raw_add(&tar, &last);
    raw_add(&tar, &header);
    raw_end(&tar);
    assert_refused(&tar, "other members follow manifest.json");
    tar.len = 0;
    raw_add(&tar, &image);
    raw_add(&tar, &last);
    raw_add(&tar, &last);
    raw_end(&tar);
    assert_refused(&tar, "other members follow manifest.json");
    buf_free(&text);
    buf_free(&tar);
}

static void the_manifest_must_be_sound(void **state)
{
    (void)state;
    struct buf tar = {0};
    struct raw_member last = {.name = MANIFEST_NAME, .bytes = "{\"format\": 1", .len = 12};
    raw_add(&tar, &last);
    raw_end(&tar);
    assert_refused(&tar, "manifest.json: no valid JSON, line 1");
    tar.len = 0;
    last.sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    raw_add(&tar, &last);
    raw_end(&tar);
    assert_refused(&tar, "member manifest.json is damaged: its SHA-256 is wrong");
    tar.len = 0;
    last = (struct raw_member){.name = MANIFEST_NAME, .bytes = "{\"format\": 9}", .len = 13};
    raw_add(&tar, &last);
    raw_end(&tar);
    assert_refused(&tar, "bundle format 9");
    tar.len = 0;
    last = (struct raw_member){.name = MANIFEST_NAME, .len = BUNDLE_MANIFEST_MAX + 1};
    char *blanks = malloc(last.len);
    memset(blanks, ' ', last.len);
    last.bytes = blanks;
    raw_add(&tar, &last);
    raw_end(&tar);
    assert_refused(&tar, "manifest.json is longer than 16777216 bytes");
    free(blanks);
    buf_free(&tar);
}

static void the_end_must_be_there_and_clean(void **state)
{
    (void)state;
    struct buf tar = {0};
    static const char zeros[65536];
    build(&tar, (struct raw_member[]){image, header}, 2);
    size_t whole = tar.len;
    tar.len = whole - 512;
    assert_refused(&tar, "truncated: its end is missing");
    tar.len = whole - 1024;
    assert_refused(&tar, "truncated: its end is missing");
    tar.len = whole - 1025;
    assert_refused(&tar, "truncated");
    tar.len = whole;
    assert_true(buf_append(&tar, "more", 4));
    assert_refused(&tar, "1028 bytes follow the last member");
    tar.len = whole;
    raw_add(&tar, &image);
    raw_end(&tar);
    assert_refused(&tar, "other bytes follow the last member");
    tar.len = whole;
    assert_true(buf_append(&tar, zeros, sizeof zeros));
    assert_refused(&tar, "66560 bytes follow the last member");
    buf_free(&tar);
}

static void truncation_anywhere_is_refused(void **state)
{
    (void)state;
    struct buf tar = {0};
    struct fault why;
    build(&tar, (struct raw_member[]){image, header}, 2);
    size_t whole = tar.len;
    for (tar.len = 0; tar.len < whole; tar.len += 61)
        assert_int_equal(index_bytes(&tar, &why), ST_REJECT);
    tar.len = 2000;
    assert_refused(&tar, "truncated");
    buf_free(&tar);
}

/* A huge size in a header must not make the reader seek or allocate its way there. */
static void a_size_past_the_end_is_refused(void **state)
{
    (void)state;
    struct buf tar = {0};
    raw_header(&tar, "x_1.jph", '0', NULL, 077777777777);
    raw_end(&tar);
    assert_refused(&tar, "truncated inside member x_1.jph");
    struct raw_member one = image;
    one.pax = "size=9223372036854775807";
    build(&tar, &one, 1);
    assert_refused(&tar, "its first member is broken: Tar size attribute overflow");
    one.pax = "size=99999999999999999999999";
    build(&tar, &one, 1);
    assert_int_equal(index_bytes(&tar, NULL), ST_REJECT);
    buf_free(&tar);
}

static void what_is_no_plain_tar_is_refused(void **state)
{
    (void)state;
    struct buf b = {0};
    static const char zeros[4096];
    struct fault why;
    assert_refused(&b, "this is no plain tar");
    assert_true(buf_append(&b, zeros, sizeof zeros));
    assert_refused(&b, "the bundle ends without manifest.json");
    b.len = 0;
    for (int i = 0; i < 100; i++)
        golden_card(&b, "SIMPLE  =                    T");
    assert_refused(&b, "this is no plain tar");
    /* A good bundle, compressed. */
    struct buf tar = {0};
    build(&tar, (struct raw_member[]){image, header}, 2);
    b.len = 0;
    assert_int_equal(bundle_squeeze(tar.data, tar.len, &b, &why), ST_OK);
    assert_refused(&b, "this is no plain tar");
    b.len = 0;
    assert_true(buf_append(&b, "\x1f\x8b\x08\0\0\0\0\0\0\3", 10));
    assert_true(buf_append(&b, tar.data, tar.len));
    assert_refused(&b, "this is no plain tar");
    buf_free(&tar);
    buf_free(&b);
    struct manifest m;
    int fd = open("tests", O_RDONLY);
    assert_int_equal(bundle_index(fd, &m, &why), ST_REJECT);
    assert_string_equal(why.text, "this is no file");
    close(fd);
    assert_int_equal(bundle_index(-1, &m, &why), ST_RETRY);
}

static void too_many_members_are_refused(void **state)
{
    (void)state;
    struct buf tar = {0};
    for (int i = 0; i <= BUNDLE_MEMBERS_MAX; i++) {
        char name[32];
        snprintf(name, sizeof name, "x_%d.jph", i);
        struct raw_member one = image;
        one.name = name;
        raw_add(&tar, &one);
    }
    raw_end(&tar);
    assert_refused(&tar, "more than 10000 members");
    buf_free(&tar);
}

/* Reads all that the index of damaged bytes still allows. */
static void try_all(const struct buf *bytes)
{
    struct manifest m;
    struct fault why;
    int fd = memory_file(bytes);
    enum status s = bundle_index(fd, &m, &why);
    assert_true(s == ST_OK || s == ST_REJECT);
    for (size_t i = 0; s == ST_OK && i < m.count; i++) {
        struct buf out = {0};
        enum status r = bundle_read(fd, &m.members[i], &out, &why);
        assert_true(r == ST_OK || r == ST_REJECT);
        buf_free(&out);
    }
    manifest_free(&m);
    close(fd);
}

static void mutations_never_crash(void **state)
{
    (void)state;
    struct buf whole = {0}, hurt = {0};
    struct fault why;
    unsigned seed = 170316;
    assert_int_equal(fs_read_file(GOLDEN_TAR, 1 << 20, &whole, &why), ST_OK);
    for (int round = 0; round < 4000; round++) {
        hurt.len = 0;
        assert_true(buf_append(&hurt, whole.data, whole.len));
        int kind = rand_r(&seed) % 4;
        if (kind == 0)
            hurt.len = (size_t)rand_r(&seed) % whole.len;
        for (int flips = kind ? 1 + rand_r(&seed) % 6 : 0; flips > 0; flips--) {
            /* Half of them where they hurt most: in the headers at the front. */
            size_t span = rand_r(&seed) % 2 ? 1536 : whole.len;
            hurt.data[(size_t)rand_r(&seed) % span] = (unsigned char)rand_r(&seed);
        }
        try_all(&hurt);
    }
    buf_free(&hurt);
    buf_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tar_from_another_writer_is_fine),
        cmocka_unit_test(wrong_members_are_refused),
        cmocka_unit_test(missing_extra_and_double_members_are_refused),
        cmocka_unit_test(the_manifest_must_be_there_and_last),
        cmocka_unit_test(the_manifest_must_be_sound),
        cmocka_unit_test(the_end_must_be_there_and_clean),
        cmocka_unit_test(truncation_anywhere_is_refused),
        cmocka_unit_test(a_size_past_the_end_is_refused),
        cmocka_unit_test(what_is_no_plain_tar_is_refused),
        cmocka_unit_test(too_many_members_are_refused),
        cmocka_unit_test(mutations_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
