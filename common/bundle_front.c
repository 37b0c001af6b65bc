/* The front of a bundle that still grows. Nothing is read that is not said to be there. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>

#include "common/bundle_inner.h"
#include "common/fsutil.h"

#define PAX_MAX (64 << 10)          /* bytes of a member's pax records */
#define END_MAX ((int64_t)1 << 42)  /* no bundle is longer */

static int64_t whole_blocks(int64_t bytes)
{
    return (bytes + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

static int64_t octal(const unsigned char *text, size_t len)
{
    int64_t value = 0;
    size_t i = 0;
    for (; i < len && text[i] >= '0' && text[i] <= '7'; i++)
        value = 8 * value + (text[i] - '0');
    return i > 0 ? value : -1;
}

/* How many bytes of headers stand before the next member's data? A member of ours begins with
 * its pax records. */
static enum status header_length(int fd, const struct bundle_reach *there, int64_t at,
                                 int64_t *length, struct fault *why)
{
    unsigned char block[TAR_BLOCK];
    if (!there->has(there->ctx, at, at + TAR_BLOCK))
        return ST_WAIT;
    int rc = fs_pread_all(fd, block, sizeof block, at);
    if (rc != 0)
        return fault(why, ST_RETRY, "the growing bundle cannot be read");
    int64_t pax = octal(block + 124, 11);
    if (memcmp(block + 257, "ustar", 6) != 0 || block[156] != 'x' || pax < 0 || pax > PAX_MAX)
        return fault(why, ST_REJECT, "at %lld no member with pax records begins", (long long)at);
    *length = TAR_BLOCK + whole_blocks(pax) + TAR_BLOCK;
    return there->has(there->ctx, at, at + *length) ? ST_OK : ST_WAIT;
}

static enum status take_head(struct archive_entry *e, struct bundle_front *f, struct fault *why)
{
    size_t len;
    const void *head = bundle_record(e, BUNDLE_XATTR_HEAD, &len);
    if (f->m.count > 0)
        return ST_OK;
    if (!head)
        return fault(why, ST_REJECT, "its first member does not tell of the exposure");
    return manifest_head_parse(head, len, &f->m, why);
}

/* An HDU travels once, its header once, its exact pixels once, a ccd is one HDU. */
static enum status check_once(struct bundle_front *f, const struct member *one, struct fault *why)
{
    unsigned char bit = one->role == MEMBER_HEADER ? 1 : one->role == MEMBER_EXACT ? 4 : 2;
    bool again = f->hdus[one->hdu + 1] & bit;
    f->hdus[one->hdu + 1] |= bit;
    if (one->role == MEMBER_IMAGE) {
        again = again || f->ccds[one->ccd];
        f->ccds[one->ccd] = 1;
    }
    return again ? fault(why, ST_REJECT, "member %s: its HDU or ccd is there twice", one->name)
                 : ST_OK;
}

static enum status take_row(struct archive_entry *e, const struct found *found,
                            struct bundle_front *f, struct fault *why)
{
    size_t len;
    struct member one = {.offset = found->offset, .size = found->size};
    const void *row = bundle_record(e, BUNDLE_XATTR_ROW, &len);
    memcpy(one.name, found->name, sizeof one.name);
    memcpy(one.sha256, found->sha256, sizeof one.sha256);
    if (!row)
        return fault(why, ST_REJECT, "member %s has no row of the manifest with it", one.name);
    enum status s = manifest_row_parse(row, len, &one, why);
    if (s == ST_OK)
        s = check_once(f, &one, why);
    if (s == ST_OK && f->m.count >= BUNDLE_MEMBERS_MAX)
        s = fault(why, ST_REJECT, "more than %d members", BUNDLE_MEMBERS_MAX);
    if (s == ST_OK && !manifest_add(&f->m, &one))
        s = fault(why, ST_RETRY, "out of memory for a bundle of %zu members", f->m.count);
    return s;
}

static enum status take_next(struct archive *a, struct source *src, struct bundle_front *f,
                             struct fault *why)
{
    struct archive_entry *e = NULL;
    struct found found = {.name = ""};
    if (bundle_open_tar(a, src) != ARCHIVE_OK || archive_read_next_header(a, &e) != ARCHIVE_OK)
        return bundle_refuse_tar(a, src, f->m.count, why);
    enum status s = bundle_take_member(a, e, src, &found, why);
    if (s != ST_OK)
        return s;
    if (found.offset != src->size)
        return fault(why, ST_REJECT, "member %s: its tar header is broken", found.name);
    f->ended = strcmp(found.name, MANIFEST_NAME) == 0;
    if (!f->ended)
        s = take_head(e, f, why);
    if (!f->ended && s == ST_OK)
        s = take_row(e, &found, f, why);
    if (s == ST_OK)
        f->next = found.offset + whole_blocks(found.size);
    return s;
}

enum status bundle_front_next(int fd, const struct bundle_reach *there, struct bundle_front *f,
                              struct fault *why)
{
    int64_t length = 0;
    if (f->ended)
        return fault(why, ST_WAIT, "no more members");
    enum status s = header_length(fd, there, f->next, &length, why);
    if (s != ST_OK)
        return s;
    struct source src = {.fd = fd, .from = f->next, .at = f->next, .size = f->next + length,
                         .limit = END_MAX};
    struct archive *a = archive_read_new();
    if (!a)
        return fault(why, ST_RETRY, "out of memory while reading a bundle");
    s = take_next(a, &src, f, why);
    archive_read_free(a);
    return s;
}

void bundle_front_free(struct bundle_front *f)
{
    manifest_free(&f->m);
}
