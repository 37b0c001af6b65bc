/* manifest.json: what a bundle holds and where it came from (skyferry-bundle(5)).
 * The struct and the JSON text say the same; unknown JSON keys are ignored so that a
 * later version may add some, an unknown format number is refused. */
#ifndef SKYFERRY_MANIFEST_H
#define SKYFERRY_MANIFEST_H

#include "common/camera.h"
#include "common/digest.h"

#define MANIFEST_FORMAT 1
#define MEMBER_NAME 256
#define MANIFEST_NAME "manifest.json"
#define MANIFEST_CCD_MAX 9999

enum member_role {
    MEMBER_IMAGE,  /* the encoded pixels of one image HDU */
    MEMBER_HEADER, /* header cards of one HDU, zstd */
    MEMBER_EXACT,  /* pixels of a lossy image that travel exactly (common/exact.h), zstd */
    MEMBER_HDU     /* a whole HDU that is no image, or trailing bytes (hdu = -1);
                      codec "original" = as it stood, "zstd" = compressed */
};

/* What was measured of an image before it was encoded, and of what its member decodes to. NaN:
 * not measured, or not to be had. ADU. */
struct measures {
    double sky, noise;      /* median and sigma of the raw sky (common/noise.h) */
    double read_noise, gain; /* ADU, e-/ADU */
    double rms_error, max_error; /* of the delivered pixels against the raw ones; 0: exact */
    double bound;           /* no pixel differs by more: promised */
    int64_t exact_pixels;   /* how many travel exactly in a member of their own */
    int64_t datasum;        /* of the delivered pixels (FITS DATASUM); -1: not known */
};
extern const struct measures measures_none;

struct member {
    char name[MEMBER_NAME];
    enum member_role role;
    int hdu;              /* index in the source file; -1: bytes past the last HDU */
    int ccd;              /* > 0 for images and their headers; else 0 */
    char extname[72];
    char codec[16];       /* a codec's name, or "zstd" */
    double qstep;         /* of a lossy codec; 0: exact */
    int64_t size;         /* of the member */
    int64_t raw_size;     /* of what it stands for: data bytes, or the HDU's */
    char sha256[DIGEST_HEX];
    struct measures measured; /* images only */
    int64_t offset;       /* of its data in the tar; not in the JSON, set by bundle_index */
};

/* Of a camera that writes one file a ccd: which exposure the file is a part of. */
struct visit {
    char name[CAMERA_GROUP]; /* "": the file is an exposure of its own */
    int ccd;                 /* which ccd of the visit it holds */
    int ccds;                /* how many the camera's profile wants of a visit */
    int coming;              /* how many were there when it was sent on its way; 0: not known */
};

struct manifest {
    int format;
    char software[64];    /* "skyferry 1.0.0" */
    char name[MEMBER_NAME]; /* the exposure's root */
    struct facts facts;
    struct visit visit;
    char source_name[MEMBER_NAME], source_sha256[DIGEST_HEX];
    int64_t source_size, source_mtime_ns;
    struct member *members; /* owned; without the manifest itself */
    size_t count;
};

/* Appends one member (copied). */
bool manifest_add(struct manifest *m, const struct member *one);
void manifest_free(struct manifest *m);

/* Do all of its images come back bit for bit? (Headers and other HDUs always do.) */
bool manifest_is_exact(const struct manifest *m);

bool manifest_write(const struct manifest *m, struct buf *out);
/* REJECT with the key named when it is no JSON, lacks something, or a value is out of
 * its range (names that fs_name_ok refuses, digests that are none, two members of one name). */
enum status manifest_parse(const void *json, size_t len, struct manifest *out, struct fault *why);

/* ---- in pieces, for those who cannot wait for the manifest: it is the last member ---- */

/* All but the members. */
bool manifest_head_write(const struct manifest *m, struct buf *out);
enum status manifest_head_parse(const void *json, size_t len, struct manifest *out,
                                struct fault *why);
/* One object of the members, without what the tar says: name, size and SHA-256. These, and the
 * offset, stand in *one before it is parsed; the rest is filled in. */
bool manifest_row_write(const struct member *one, struct buf *out);
enum status manifest_row_parse(const void *json, size_t len, struct member *one,
                               struct fault *why);

/* All that a file made of this HDU follows from: the exposure, the primary's header and the
 * HDU's own members (copied). False: out of memory. */
bool manifest_of_hdu(const struct manifest *m, int hdu, struct manifest *out);
/* SHA-256 of its text: two of the same digest say the same. False: out of memory. */
bool manifest_digest(const struct manifest *m, char hex[DIGEST_HEX]);

#endif
