#include "common/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fsutil.h"

#define ROOT_MAX 180

struct bundle_writer {
    struct archive *a;
    struct digest *hash;
    int fd;
    int64_t mtime_ns;
    int64_t written; /* bytes handed to the file */
    int64_t final;   /* end of the last whole member */
    struct fault broken; /* the first failure; grade ST_OK while there is none */
};

void member_name(struct member *m, const char *root, const char *suffix)
{
    if (m->hdu < 0)
        snprintf(m->name, sizeof m->name, "%.*s_tail%s", ROOT_MAX, root, suffix);
    else if (m->ccd > 0 || (m->role == MEMBER_HEADER && m->hdu == 0))
        snprintf(m->name, sizeof m->name, "%.*s_%d%s", ROOT_MAX, root, m->ccd, suffix);
    else
        snprintf(m->name, sizeof m->name, "%.*s_hdu%d%s", ROOT_MAX, root, m->hdu, suffix);
}

/* Never tells libarchive of a failure: it would leak its buffer on the way out. From the
 * first one on nothing more is written, and `broken` is what the callers look at. */
static la_ssize_t on_write(struct archive *a, void *data, const void *bytes, size_t len)
{
    (void)a;
    struct bundle_writer *w = data;
    if (w->broken.grade != ST_OK)
        return (la_ssize_t)len;
    if (fs_write_all(w->fd, bytes, len) != 0) {
        fault_errno(&w->broken, fs_write_grade(errno), "cannot write the bundle");
        return (la_ssize_t)len;
    }
    digest_update(w->hash, bytes, len);
    w->written += (int64_t)len;
    return (la_ssize_t)len;
}

static void release(struct bundle_writer **w)
{
    if (!*w)
        return;
    if ((*w)->broken.grade == ST_OK)
        fault(&(*w)->broken, ST_RETRY, "abandoned"); /* freeing would write the tar's end */
    if ((*w)->a)
        archive_write_free((*w)->a);
    digest_free(&(*w)->hash);
    if ((*w)->fd >= 0)
        close((*w)->fd);
    free(*w);
    *w = NULL;
}

enum status bundle_create(const char *path, int64_t mtime_ns, struct bundle_writer **out,
                          struct fault *why)
{
    enum status s;
    *out = NULL;
    struct bundle_writer *w = calloc(1, sizeof *w);
    if (!w)
        return fault(why, ST_RETRY, "out of memory for the bundle %s", path);
    w->mtime_ns = mtime_ns > 0 ? mtime_ns : 0;
    w->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        s = fault_errno(why, fs_write_grade(errno), "cannot create the bundle %s", path);
        goto out;
    }
    w->hash = digest_new();
    w->a = archive_write_new();
    if (!w->hash || !w->a) {
        s = fault(why, ST_RETRY, "out of memory for the bundle %s", path);
        goto out;
    }
    /* Block size 0: every byte goes to the file at once, so that it can be shipped. */
    if (archive_write_set_format_pax(w->a) != ARCHIVE_OK ||
        archive_write_set_format_option(w->a, "pax", "xattrheader", "SCHILY") != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(w->a, 0) != ARCHIVE_OK ||
        archive_write_open(w->a, w, NULL, on_write, NULL) != ARCHIVE_OK) {
        s = fault(why, ST_FATAL, "libarchive cannot write a pax tar: %s",
                  archive_error_string(w->a));
        goto out;
    }
    *out = w;
    return ST_OK;
out:
    release(&w);
    return s;
}

/* The bundle ends after its last whole member again; nothing more can be added. */
static enum status break_off(struct bundle_writer *w, const char *name, struct fault *why)
{
    if (w->broken.grade == ST_OK)
        fault(&w->broken, ST_RETRY, "cannot write the bundle: %s", archive_error_string(w->a));
    /* Best effort: what stands past `final` is not shipped either way. */
    if (ftruncate(w->fd, w->final) == 0)
        w->written = w->final;
    if (!why)
        return w->broken.grade;
    *why = w->broken;
    return fault_within(why, "%s: ", name);
}

static bool write_member(struct bundle_writer *w, struct archive_entry *e, const void *bytes,
                         size_t len)
{
    if (archive_write_header(w->a, e) != ARCHIVE_OK)
        return false;
    if (len > 0 && archive_write_data(w->a, bytes, len) != (la_ssize_t)len)
        return false;
    return archive_write_finish_entry(w->a) == ARCHIVE_OK;
}

/* What goes into a member's pax header besides its digest; empty: nothing. */
struct records {
    struct buf head, row;
};

static enum status add(struct bundle_writer *w, const struct member *one, const void *bytes,
                       const struct records *more, struct fault *why)
{
    if (w->broken.grade != ST_OK)
        return break_off(w, one->name, why);
    if (!fs_name_ok(one->name) || !digest_valid(one->sha256))
        return fault(why, ST_REJECT, "a bundle's member cannot have the name %s, SHA-256 %s",
                     one->name, one->sha256);
    struct archive_entry *e = archive_entry_new();
    if (!e)
        return fault(why, ST_RETRY, "%s: out of memory", one->name);
    archive_entry_set_pathname(e, one->name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (la_int64_t)one->size);
    archive_entry_set_mtime(e, w->mtime_ns / NS_PER_S, (long)(w->mtime_ns % NS_PER_S));
    archive_entry_xattr_add_entry(e, BUNDLE_XATTR, one->sha256, DIGEST_HEX - 1);
    if (more->row.len > 0)
        archive_entry_xattr_add_entry(e, BUNDLE_XATTR_ROW, more->row.data, more->row.len);
    if (more->head.len > 0)
        archive_entry_xattr_add_entry(e, BUNDLE_XATTR_HEAD, more->head.data, more->head.len);
    bool ok = write_member(w, e, bytes, (size_t)one->size);
    archive_entry_free(e);
    if (!ok || w->broken.grade != ST_OK)
        return break_off(w, one->name, why);
    w->final = w->written;
    return ST_OK;
}

enum status bundle_add(struct bundle_writer *w, const char *name, const void *bytes, size_t len,
                       const char sha256[DIGEST_HEX], struct fault *why)
{
    static const struct records none;
    struct member one = {.size = (int64_t)len};
    if (strlen(name) >= sizeof one.name || strlen(sha256) >= sizeof one.sha256)
        return fault(why, ST_REJECT, "the member's name %s is too long", name);
    snprintf(one.name, sizeof one.name, "%s", name);
    snprintf(one.sha256, sizeof one.sha256, "%s", sha256);
    return add(w, &one, bytes, &none, why);
}

enum status bundle_add_member(struct bundle_writer *w, const struct manifest *m,
                              const struct member *one, const void *bytes, struct fault *why)
{
    struct records more = {0};
    enum status s = ST_OK;
    if (!manifest_row_write(one, &more.row) ||
        (w->final == 0 && !manifest_head_write(m, &more.head)))
        s = fault(why, ST_RETRY, "%s: out of memory", one->name);
    if (s == ST_OK)
        s = add(w, one, bytes, &more, why);
    buf_free(&more.row);
    buf_free(&more.head);
    return s;
}

int64_t bundle_size(const struct bundle_writer *w)
{
    return w->final;
}

enum status bundle_finish(struct bundle_writer **writer, char sha256[DIGEST_HEX], int64_t *size,
                          struct fault *why)
{
    struct bundle_writer *w = *writer;
    enum status s = ST_OK;
    if (archive_write_close(w->a) != ARCHIVE_OK || w->broken.grade != ST_OK)
        s = break_off(w, "its end", why);
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0 && s == ST_OK)
        s = fault_errno(why, fs_write_grade(errno), "cannot write the bundle");
    if (s == ST_OK) {
        *size = w->written;
        digest_finish(&w->hash, sha256);
    }
    release(writer);
    return s;
}

void bundle_abandon(struct bundle_writer **w)
{
    release(w);
}
