/* The bundle: one plain POSIX pax tar an exposure (skyferry-bundle(5)), written member
 * by member while its front is already on the wire, and read by offset, so that ccds
 * can be decoded in any order by several threads. libarchive lives here only. */
#ifndef SKYFERRY_BUNDLE_H
#define SKYFERRY_BUNDLE_H

#include <stdint.h>

#include "common/fits.h"
#include "common/manifest.h"

#define BUNDLE_XATTR "user.skyferry.sha256"
#define BUNDLE_XATTR_ROW "user.skyferry.row"       /* the member's row of the manifest */
#define BUNDLE_XATTR_HEAD "user.skyferry.exposure" /* the manifest's head, in the first member */
#define BUNDLE_MANIFEST_MAX (16u << 20) /* bytes; a longer manifest.json is refused */
#define BUNDLE_MEMBERS_MAX 10000        /* twice FITS_MAX_HDUS and some */

struct bundle_writer;

/* Fills m->name from its role, hdu and ccd: ROOT_N + suffix for the member of ccd N (pixels
 * or header), ROOT_0 + suffix for the primary's header, ROOT_hduN + suffix for any other
 * HDU N, ROOT_tail + suffix for trailing bytes (hdu -1). A root of more than 180
 * characters is cut, so that the name stays one that fs_name_ok accepts. */
void member_name(struct member *m, const char *root, const char *suffix);

/* Creates path (truncating). Every member gets the modification time mtime_ns (of the
 * source file), mode 0644, no owner: the same members give the same tar. */
enum status bundle_create(const char *path, int64_t mtime_ns, struct bundle_writer **out,
                          struct fault *why);
/* Adds one member; its digest goes into its pax header as SCHILY.xattr.user.skyferry.sha256.
 * When it returns, all bytes of it are in the file. WAIT: the disk is full. After a failed
 * write the file ends after its last whole member again and takes no more: later calls
 * answer the same; abandon it and begin anew (the same members give the same bytes). */
enum status bundle_add(struct bundle_writer *w, const char *name, const void *bytes, size_t len,
                       const char sha256[DIGEST_HEX], struct fault *why);
/* The same for one of the members of m: what the manifest will say of it goes into its pax header,
 * too, and into the first one what m says of the exposure (m->members are not looked at). */
enum status bundle_add_member(struct bundle_writer *w, const struct manifest *m,
                              const struct member *one, const void *bytes, struct fault *why);
int64_t bundle_size(const struct bundle_writer *w); /* bytes in the file, final from here on */
/* Writes the end of the archive and gives the whole file's SHA-256 (computed while it was
 * written). The writer is gone afterwards, also on failure. Nothing is fsynced: what is lost
 * in a power cut can be encoded again. */
enum status bundle_finish(struct bundle_writer **w, char sha256[DIGEST_HEX], int64_t *size,
                          struct fault *why);
void bundle_abandon(struct bundle_writer **w); /* closes; the file stays for the caller */

/* Walks the tar and checks it against its manifest: every member named, present once,
 * of the right size, plain file, safe name; none extra; each pax digest equal to the
 * manifest's. REJECT says which member is missing, extra, absolute, holds "..", ...
 * Fills m (offsets included). Pixels are not read: bundle_read checks their digest. */
enum status bundle_index(int fd, struct manifest *m, struct fault *why);

/* A bundle that still grows, from its front: what bundle_index will say of it, member by member.
 * Start with {0}, end with bundle_front_free. */
struct bundle_front {
    struct manifest m; /* the exposure and the members met so far, offsets included */
    int64_t next;      /* where the next member begins */
    bool ended;        /* the manifest was met: no more members */
    unsigned char hdus[FITS_MAX_HDUS + 1], ccds[MANIFEST_CCD_MAX + 1]; /* seen */
};
/* Are the bytes from..to-1 there? Only these are read. */
struct bundle_reach {
    bool (*has)(const void *ctx, int64_t from, int64_t to);
    const void *ctx;
};
/* Takes the next member's header; its data need not be there yet. WAIT: the header is not.
 * REJECT: what follows is no member with a row of its own (a bundle of an older writer, or
 * broken): nothing more can be said before the whole is there. */
enum status bundle_front_next(int fd, const struct bundle_reach *there, struct bundle_front *f,
                              struct fault *why);
void bundle_front_free(struct bundle_front *f);

/* One member's bytes appended to out, its SHA-256 checked (REJECT when wrong). */
enum status bundle_read(int fd, const struct member *one, struct buf *out, struct fault *why);

/* zstd for members of role header and hdu. */
enum status bundle_squeeze(const void *bytes, size_t len, struct buf *out, struct fault *why);
/* At most max bytes come out, else REJECT. */
enum status bundle_expand(const void *bytes, size_t len, size_t max, struct buf *out,
                          struct fault *why);

#endif
