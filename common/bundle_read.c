#include "common/bundle_inner.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fsutil.h"

#define TAIL_MAX (64 << 10) /* zero bytes that may follow the last member */

struct listing {
    struct found *item;
    size_t count, cap;
};

static la_ssize_t on_read(struct archive *a, void *data, const void **bytes)
{
    struct source *src = data;
    size_t want = src->size - src->at < TAR_WINDOW ? (size_t)(src->size - src->at) : TAR_WINDOW;
    *bytes = src->window;
    if (want == 0)
        return 0;
    int rc = fs_pread_all(src->fd, src->window, want, src->at);
    if (rc != 0) {
        src->error = rc < 0 ? errno : EIO;
        archive_set_error(a, src->error, "%s", strerror(src->error));
        return -1;
    }
    src->at += (int64_t)want;
    return (la_ssize_t)want;
}

static la_int64_t on_skip(struct archive *a, void *data, la_int64_t want)
{
    (void)a;
    struct source *src = data;
    if (want > src->size - src->at)
        want = src->size - src->at;
    src->at += want;
    return want;
}

static enum status refuse_kind(struct archive_entry *e, const char *shown, struct fault *why)
{
    const char *kind = NULL;
    if (archive_entry_hardlink(e) || archive_entry_symlink(e) ||
        archive_entry_filetype(e) == AE_IFLNK)
        kind = "a link";
    else if (archive_entry_filetype(e) == AE_IFDIR)
        kind = "a directory";
    else if (archive_entry_filetype(e) != AE_IFREG)
        kind = "a device or other special file";
    else if (archive_entry_sparse_count(e) > 0)
        kind = "a sparse file";
    if (kind)
        return fault(why, ST_REJECT, "member %s is %s; a bundle holds plain files only", shown,
                     kind);
    return ST_OK;
}

static bool climbs(const char *name)
{
    for (const char *p = name; (p = strstr(p, "..")); p++)
        if ((p == name || p[-1] == '/') && (p[2] == '\0' || p[2] == '/'))
            return true;
    return false;
}

static enum status take_name(struct archive_entry *e, struct found *out, struct fault *why)
{
    char shown[128]; /* a terminal's escape codes stay out of the log */
    const char *name = archive_entry_pathname(e);
    if (!name || !*name)
        return fault(why, ST_REJECT, "a member has no readable name");
    snprintf(shown, sizeof shown, "%s", name);
    for (char *p = shown; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    if (name[0] == '/')
        return fault(why, ST_REJECT, "member %s has an absolute path", shown);
    if (climbs(name))
        return fault(why, ST_REJECT, "member %s has \"..\" in its path", shown);
    enum status s = refuse_kind(e, shown, why);
    if (s != ST_OK)
        return s;
    if (!fs_name_ok(name))
        return fault(why, ST_REJECT, "member %s has a name that is no plain file name", shown);
    snprintf(out->name, sizeof out->name, "%s", name);
    return ST_OK;
}

const void *bundle_record(struct archive_entry *e, const char *wanted, size_t *len)
{
    const char *key;
    const void *value, *found = NULL;
    size_t size;
    archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &key, &value, &size) == ARCHIVE_OK) {
        if (strcmp(key, wanted) != 0)
            continue;
        if (found)
            return NULL;
        found = value;
        *len = size;
    }
    return found;
}

static enum status take_digest(struct archive_entry *e, struct found *out, struct fault *why)
{
    size_t len;
    const void *value = bundle_record(e, BUNDLE_XATTR, &len);
    if (value && len == DIGEST_HEX - 1)
        memcpy(out->sha256, value, len);
    if (value && !digest_valid(out->sha256))
        return fault(why, ST_REJECT, "member %s: its tar header holds a broken SHA-256", out->name);
    if (!value)
        return fault(why, ST_REJECT, "member %s: its tar header holds no SHA-256", out->name);
    return ST_OK;
}

/* libarchive's position is where the data begin if the block before it is the member's own
 * header: a plain file's, its size within the archive. */
static enum status take_place(struct archive *a, struct archive_entry *e,
                              const struct source *src, struct found *out, struct fault *why)
{
    unsigned char head[TAR_BLOCK];
    out->offset = src->from + archive_filter_bytes(a, 0);
    out->size = archive_entry_size_is_set(e) ? archive_entry_size(e) : -1;
    if (out->size < 0 || out->offset < TAR_BLOCK || out->offset % TAR_BLOCK != 0)
        return fault(why, ST_REJECT, "member %s: its tar header is broken", out->name);
    if (out->size > src->limit - out->offset)
        return fault(why, ST_REJECT, "the bundle is truncated inside member %s", out->name);
    int rc = fs_pread_all(src->fd, head, sizeof head, out->offset - TAR_BLOCK);
    if (rc < 0)
        return fault_errno(why, ST_RETRY, "cannot read the bundle");
    if (rc > 0 || memcmp(head + 257, "ustar", 6) != 0 || head[156] != '0')
        return fault(why, ST_REJECT, "member %s is no plain file of a pax tar", out->name);
    return ST_OK;
}

static struct found *listing_more(struct listing *l)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct found *grown = realloc(l->item, cap * sizeof *grown);
        if (!grown)
            return NULL;
        l->item = grown;
        l->cap = cap;
    }
    memset(&l->item[l->count], 0, sizeof *l->item);
    return &l->item[l->count++];
}

enum status bundle_take_member(struct archive *a, struct archive_entry *e,
                               const struct source *src, struct found *out, struct fault *why)
{
    enum status s = take_name(e, out, why);
    if (s == ST_OK)
        s = take_place(a, e, src, out, why);
    return s == ST_OK ? take_digest(e, out, why) : s;
}

static enum status take_entry(struct archive *a, struct archive_entry *e, const struct source *src,
                              struct listing *l, struct fault *why)
{
    if (l->count > 0 && strcmp(l->item[l->count - 1].name, MANIFEST_NAME) == 0)
        return fault(why, ST_REJECT,
                     "other members follow " MANIFEST_NAME ", which must be the last");
    if (l->count >= BUNDLE_MEMBERS_MAX)
        return fault(why, ST_REJECT, "more than %d members", BUNDLE_MEMBERS_MAX);
    struct found *one = listing_more(l);
    if (!one)
        return fault(why, ST_RETRY, "out of memory for a bundle of %zu members", l->count);
    return bundle_take_member(a, e, src, one, why);
}

enum status bundle_refuse_tar(struct archive *a, const struct source *src, size_t count,
                              struct fault *why)
{
    if (src->error)
        return fault(why, ST_RETRY, "cannot read the bundle: %s", strerror(src->error));
    if (archive_errno(a) == ENOMEM)
        return fault(why, ST_RETRY, "out of memory while reading a bundle");
    const char *words = archive_error_string(a);
    if (count == 0)
        return fault(why, ST_REJECT, "this is no plain tar, or its first member is broken: %s",
                     words ? words : "unknown format");
    return fault(why, ST_REJECT, "the tar is broken or truncated after %zu members: %s", count,
                 words ? words : "unknown error");
}

/* Only the plain tar reader is switched on, and no filter: a compressed tar, or a tar in
 * a tar, is no bundle. */
int bundle_open_tar(struct archive *a, struct source *src)
{
    int rc = archive_read_support_format_tar(a);
    return rc == ARCHIVE_OK ? archive_read_open2(a, src, NULL, on_read, on_skip, NULL) : rc;
}

static enum status list_members(struct source *src, struct listing *l, struct fault *why)
{
    enum status s = ST_OK;
    struct archive_entry *e = NULL;
    struct archive *a = archive_read_new();
    if (!a)
        return fault(why, ST_RETRY, "out of memory while reading a bundle");
    int rc = bundle_open_tar(a, src);
    while (rc == ARCHIVE_OK && s == ST_OK) {
        rc = archive_read_next_header(a, &e);
        if (rc == ARCHIVE_OK)
            s = take_entry(a, e, src, l, why);
    }
    if (s == ST_OK && rc != ARCHIVE_EOF)
        s = bundle_refuse_tar(a, src, l->count, why);
    archive_read_free(a);
    return s;
}

static int64_t padded(const struct found *one)
{
    return one->offset + (one->size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

/* At least two blocks of zeros end a tar; anything else there is cut off or smuggled in. */
static enum status check_tail(const struct source *src, const struct found *last,
                              struct fault *why)
{
    unsigned char block[TAR_BLOCK];
    static const unsigned char zeros[TAR_BLOCK];
    int64_t from = padded(last), len = src->size - from;
    if (len < 2 * TAR_BLOCK)
        return fault(why, ST_REJECT, "the bundle is truncated: its end is missing");
    if (len > TAIL_MAX || len % TAR_BLOCK != 0)
        return fault(why, ST_REJECT, "%lld bytes follow the last member", (long long)len);
    for (int64_t at = from; at < src->size; at += TAR_BLOCK) {
        int rc = fs_pread_all(src->fd, block, sizeof block, at);
        if (rc != 0)
            return fault_errno(why, ST_RETRY, "cannot read the bundle");
        if (memcmp(block, zeros, sizeof block) != 0)
            return fault(why, ST_REJECT, "other bytes follow the last member");
    }
    return ST_OK;
}

static enum status read_manifest(const struct source *src, const struct found *last,
                                 struct manifest *m, struct fault *why)
{
    if (last->size > BUNDLE_MANIFEST_MAX)
        return fault(why, ST_REJECT, MANIFEST_NAME " is longer than %u bytes", BUNDLE_MANIFEST_MAX);
    struct buf text = {0};
    struct member one = {.offset = last->offset, .size = last->size};
    snprintf(one.name, sizeof one.name, "%s", last->name);
    snprintf(one.sha256, sizeof one.sha256, "%s", last->sha256);
    enum status s = bundle_read(src->fd, &one, &text, why);
    if (s == ST_OK)
        s = manifest_parse(text.data, text.len, m, why);
    buf_free(&text);
    return s;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->name, ((const struct found *)b)->name);
}

static enum status match_member(struct member *one, struct listing *l, struct fault *why)
{
    struct found key = {.claimed = false};
    memcpy(key.name, one->name, sizeof key.name);
    struct found *hit = bsearch(&key, l->item, l->count, sizeof key, by_name);
    if (!hit)
        return fault(why, ST_REJECT, "member %s of the manifest is missing", one->name);
    if (hit->size != one->size)
        return fault(why, ST_REJECT, "member %s has %lld bytes, the manifest says %lld", one->name,
                     (long long)hit->size, (long long)one->size);
    if (strcmp(hit->sha256, one->sha256) != 0)
        return fault(why, ST_REJECT,
                     "member %s: the SHA-256 in its tar header is not the manifest's", one->name);
    one->offset = hit->offset;
    hit->claimed = true;
    return ST_OK;
}

static enum status match(struct manifest *m, struct listing *l, struct fault *why)
{
    qsort(l->item, l->count, sizeof *l->item, by_name);
    for (size_t i = 1; i < l->count; i++)
        if (by_name(&l->item[i - 1], &l->item[i]) == 0)
            return fault(why, ST_REJECT, "member %s is there twice", l->item[i].name);
    for (size_t i = 0; i < m->count; i++) {
        enum status s = match_member(&m->members[i], l, why);
        if (s != ST_OK)
            return s;
    }
    for (size_t i = 0; i < l->count; i++)
        if (!l->item[i].claimed)
            return fault(why, ST_REJECT, "member %s is not in the manifest", l->item[i].name);
    return ST_OK;
}

enum status bundle_index(int fd, struct manifest *m, struct fault *why)
{
    enum status s;
    struct listing l = {0};
    struct source src = {.fd = fd};
    struct stat st;
    *m = (struct manifest){0};
    if (fstat(fd, &st) != 0)
        return fault_errno(why, ST_RETRY, "cannot read the bundle");
    if (!S_ISREG(st.st_mode))
        return fault(why, ST_REJECT, "this is no file");
    src.size = src.limit = st.st_size;
    s = list_members(&src, &l, why);
    if (s != ST_OK)
        goto out;
    if (l.count == 0 || strcmp(l.item[l.count - 1].name, MANIFEST_NAME) != 0) {
        s = fault(why, ST_REJECT, "the bundle ends without " MANIFEST_NAME);
        goto out;
    }
    s = check_tail(&src, &l.item[l.count - 1], why);
    if (s == ST_OK)
        s = read_manifest(&src, &l.item[l.count - 1], m, why);
    if (s != ST_OK)
        goto out;
    l.count--; /* the manifest does not list itself */
    s = match(m, &l, why);
out:
    if (s != ST_OK)
        manifest_free(m);
    free(l.item);
    return s;
}

enum status bundle_read(int fd, const struct member *one, struct buf *out, struct fault *why)
{
    char sha256[DIGEST_HEX];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fault_errno(why, ST_RETRY, "member %s: cannot read the bundle", one->name);
    /* Before any memory is taken: is it there? */
    if (one->size < 0 || one->offset < 0 || one->offset > st.st_size ||
        one->size > st.st_size - one->offset)
        return fault(why, ST_REJECT, "member %s: the bundle is truncated", one->name);
    size_t len = (size_t)one->size;
    if (!buf_reserve(out, len + 1))
        return fault(why, ST_RETRY, "member %s: out of memory for %zu bytes", one->name, len);
    int rc = fs_pread_all(fd, out->data + out->len, len, one->offset);
    if (rc < 0)
        return fault_errno(why, ST_RETRY, "member %s: cannot read the bundle", one->name);
    if (rc > 0)
        return fault(why, ST_REJECT, "member %s: the bundle is truncated", one->name);
    digest_bytes(out->data + out->len, len, sha256);
    if (strcmp(sha256, one->sha256) != 0)
        return fault(why, ST_REJECT, "member %s is damaged: its SHA-256 is wrong", one->name);
    out->len += len;
    return ST_OK;
}
