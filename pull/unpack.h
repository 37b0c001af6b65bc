/* One bundle made into stand-alone FITS files: no database, no daemon, no shared state.
 * The daemon's worker threads call unpack_image for one ccd each; `skyferry-pull unpack`
 * calls unpack_bundle. The manifest has passed bundle_index, the fd is only pread from
 * and may be shared between threads. Buffers and headers belong to the caller. */
#ifndef SKYFERRY_UNPACK_H
#define SKYFERRY_UNPACK_H

#include "common/bundle.h"
#include "common/fits.h"

#define UNPACK_HDU_MAX (2LL << 30) /* bytes of one HDU that travelled whole; more is refused */

/* Behind a number of ccds: what to say of those that are `unproven`. */
#define UNPACK_UNPROVEN                                                                            \
    "decode to other pixels than the sender measured (is the codec's library here of another "     \
    "version?): lossy as they are, they are delivered, with SFPROOF = F and no errors stated"

/* What a worker spends its time on, for the log and the bench. */
enum unpack_part {
    PART_READ,   /* reading the members, their SHA-256 */
    PART_DECODE, /* the codec */
    PART_FILE,   /* header, DATASUM and CHECKSUM of the FITS file */
    UNPACK_PARTS
};

/* What became of one HDU that a file was made of. */
struct unpack_ccd {
    int ccd;                  /* 0: no image, but another HDU delivered whole */
    int hdu;
    char member[MEMBER_NAME];
    char codec[16];
    int64_t bytes;            /* of the FITS file; 0 when it failed */
    char datasum[24], checksum[24]; /* the file's cards; "" from unpack_other */
    char path[4096];          /* where it was written; "" from unpack_image and unpack_other */
    double seconds;           /* reading, decoding and (unpack_bundle) writing */
    int64_t cpu_ns[UNPACK_PARTS]; /* by unpack_image */
    bool unproven;            /* delivered, but not the pixels that the sender measured */
    struct fault why;         /* grade ST_OK, or what went wrong */
    char weight[4096];        /* where its weight map was written; "" when it was not */
    struct fault weightless;  /* grade ST_OK, or why a map that was asked for is not there */
};

/* A bundle opened for unpacking; the same for all its members. */
struct unpack_source {
    int fd;
    const struct manifest *m;
    const struct fits_header *primary; /* from unpack_primary; NULL: none */
};

/* The primary header's cards: from the header member of HDU 0, else from the HDU itself.
 * REJECT when the bundle holds neither, or the cards cannot be read. */
enum status unpack_primary(int fd, const struct manifest *m, struct fits_header *out,
                           struct fault *why);

/* The image member of this HDU; NULL: the bundle has none. */
const struct member *unpack_image_of(const struct manifest *m, int hdu);

/* The image member `one`, with the pixels that travelled exactly beside it, as a stand-alone FITS
 * file (fits_image_file) appended to file. Its header ends with the cards of pull/provenance.h.
 * REJECT when the member is damaged, its codec unknown, the decoded image not the shape that its
 * header says, the exact pixels damaged or missing, or when the pixels are not those whose DATASUM
 * the sender stated though exact or bounded ones were promised; the words name exposure and ccd.
 * Other lossy ones are delivered all the same, out->unproven: a decoder of another version may
 * round otherwise. *out is filled but for its path, also on failure. */
enum status unpack_image(const struct unpack_source *src, const struct member *one,
                         struct buf *file, struct unpack_ccd *out, struct fault *why);

/* Bytes that its images and other HDUs stand for, pixels without padding. */
int64_t unpack_raw_size(const struct manifest *m);

/* An HDU that travelled whole (a table, an image without a ccd number) as a FITS file: the
 * primary's cards with no data, then the HDU as it stood. HDU 0 is its own file. */
enum status unpack_other(const struct unpack_source *src, const struct member *one,
                         struct buf *file, struct unpack_ccd *out, struct fault *why);
/* Does unpack_other make a file of this member? (Not of images, headers, trailing bytes,
 * nor of a primary HDU without data.) */
bool unpack_is_other(const struct unpack_source *src, const struct member *one);

/* The source file byte for byte, its SHA-256 proven against the manifest before it gets its
 * name. REJECT when a member was re-coded (any codec but "original"), or when out_path
 * is taken by another file (the same bytes: OK) unless force. WAIT: the disk is full. */
enum status unpack_rebuild(int fd, const struct manifest *m, const char *out_path, bool force,
                           struct fault *why);

struct unpack_options {
    const char *to;  /* directory, made when missing; NULL: "." */
    bool rebuild;    /* write the source file instead of one file a ccd */
    bool force;      /* replace files of other content */
    int threads;     /* decoders; <= 0: one for each processor */
    const struct camera *weights; /* write weight maps, too (pull/weight.h); NULL: none */
};

struct unpack_report {
    char name[MEMBER_NAME];  /* the exposure's root; "" when the bundle could not be read */
    struct unpack_ccd *ccds; /* owned: one for each file made or failed, by HDU */
    size_t count;
    size_t done, failed;     /* of these */
    size_t unproven;         /* of those done */
    size_t weightless;       /* likewise: without the weight map that was asked for */
    double seconds;
};

/* Unpacks one bundle: DIR/NAME_CCD.fits for each ccd (and DIR/NAME_CCD.weight.fits, which does
 * not count as a file of its own, nor its lack as a fault), DIR/NAME_hduN.fits for other HDUs,
 * or with rebuild the source file under its own name. One bad ccd does not hold its siblings;
 * the first fault by HDU is returned. A file already there with the same bytes is left alone and
 * counts as done, with other bytes it is a REJECT unless force. A full disk (WAIT) ends the work
 * early. Free the report with unpack_report_free, also after a failure. */
enum status unpack_bundle(const char *path, const struct unpack_options *o,
                          struct unpack_report *out, struct fault *why);
void unpack_report_free(struct unpack_report *r);

#endif
