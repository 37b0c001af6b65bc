#include "pull/task_bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fsutil.h"

#define PIECE ((size_t)1 << 20)

/* Is it only this file that is not there? */
static bool is_alone(const char *path)
{
    char folder[PULL_PATH];
    pull_text(folder, sizeof folder, "%.*s", (int)(fs_basename(path) - path), path);
    return access(folder, R_OK | X_OK) == 0;
}

enum status task_bundle_open(struct task_bundle *b, enum task_trouble *trouble, struct fault *why)
{
    *trouble = TROUBLE_BUNDLE;
    b->store_fd = open(b->path, O_RDONLY | O_CLOEXEC);
    if (b->store_fd < 0) {
        int err = errno;
        if (err != ENOENT || !is_alone(b->path))
            *trouble = TROUBLE_STORE;
        errno = err;
        return fault_errno(why, ST_RETRY, "cannot open the bundle '%s'", b->path);
    }
    enum status st = bundle_index(b->store_fd, &b->m, why);
    if (st == ST_OK && strcmp(b->m.source_sha256, b->source_sha256) != 0)
        st = fault(why, ST_REJECT, "the bundle '%s' is of another source file by now", b->path);
    return st;
}

/* Is it one of theirs, or the primary header's? */
static bool is_needed(const struct member *m, const int *hdus, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (m->hdu == hdus[i])
            return true;
    return m->hdu == 0;
}

static enum status copy_member(struct task_bundle *b, const struct member *m, unsigned char *piece,
                               enum task_trouble *trouble, struct fault *why)
{
    for (int64_t at = 0; at < m->size;) {
        size_t len = m->size - at < (int64_t)PIECE ? (size_t)(m->size - at) : PIECE;
        int rc = fs_pread_all(b->store_fd, piece, len, m->offset + at);
        if (rc < 0)
            return fault_errno(why, ST_RETRY, "cannot read the bundle '%s'", b->path);
        if (rc > 0)
            return fault(why, ST_REJECT, "the bundle '%s' is truncated", b->path);
        if (fs_pwrite_all(b->copy_fd, piece, len, m->offset + at) != 0) {
            *trouble = TROUBLE_SCRATCH;
            return fault_errno(why, fs_write_grade(errno), "cannot copy member %s", m->name);
        }
        at += (int64_t)len;
    }
    return ST_OK;
}

enum status task_bundle_copy(struct task_bundle *b, const int *hdus, size_t count, const char *to,
                             enum task_trouble *trouble, struct fault *why)
{
    enum status st = ST_OK;
    unsigned char *piece = malloc(PIECE);
    *trouble = TROUBLE_BUNDLE;
    if (!piece)
        return fault(why, ST_RETRY, "out of memory for the members");
    b->copy_fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (b->copy_fd < 0) {
        *trouble = TROUBLE_SCRATCH;
        st = fault_errno(why, fs_write_grade(errno), "cannot make '%s'", to);
    }
    for (size_t i = 0; st == ST_OK && i < b->m.count; i++)
        if (is_needed(&b->m.members[i], hdus, count))
            st = copy_member(b, &b->m.members[i], piece, trouble, why);
    free(piece);
    if (st == ST_OK)
        st = unpack_primary(b->copy_fd, &b->m, &b->primary, why);
    b->copy = (struct unpack_source){b->copy_fd, &b->m, &b->primary};
    b->store = (struct unpack_source){b->store_fd, &b->m, &b->primary};
    return st;
}

void task_bundle_close(struct task_bundle *b)
{
    if (b->store_fd >= 0)
        close(b->store_fd);
    if (b->copy_fd >= 0)
        close(b->copy_fd);
    b->store_fd = b->copy_fd = -1;
    manifest_free(&b->m);
    fits_header_free(&b->primary);
}
