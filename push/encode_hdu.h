/* One HDU made into members of the bundle, on a worker thread: read, checksums verified,
 * decompressed when it is tiled, encoded, digested. The job carries all it needs and
 * all it made; nothing is shared but the descriptor, which is only pread from. */
#ifndef SKYFERRY_ENCODE_HDU_H
#define SKYFERRY_ENCODE_HDU_H

#include "common/bundle.h"
#include "common/fidelity.h"
#include "common/fits.h"

#define ENCODE_MEMBERS 3 /* header, exact pixels and picture, or header and HDU */

/* What a worker spends its time on, for the log and the bench. */
enum encode_part {
    PART_READ,   /* reading the file, CHECKSUM and DATASUM */
    PART_TILES,  /* tile decompression, or copying plain pixels */
    PART_NOISE,  /* measuring the sky */
    PART_ENCODE, /* the codec */
    PART_PROOF,  /* decoding again, to know the errors */
    PART_DIGEST, /* SHA-256 of members and source file */
    ENCODE_PARTS
};

struct encode_hdu {
    /* given */
    int fd;
    struct fits_hdu hdu;  /* index -1: bytes past the last HDU, head..end */
    int ccd;              /* > 0 for images */
    char root[MEMBER_NAME];
    struct fidelity fidelity;
    double rung;                 /* of the ladder, where the fidelity goes by it */
    const struct camera *camera; /* outlives the job */
    /* made */
    enum status grade;
    struct fault why;
    struct member member[ENCODE_MEMBERS];
    struct buf bytes[ENCODE_MEMBERS];
    int count;
    struct fault note; /* OK, or why something asked for could not be had (a mask) */
    bool fell_back; /* the method could not carry these pixels: member[].codec could */
    int64_t cpu_ns[ENCODE_PARTS], mark; /* where the time went; mark: of the present lap */
};

/* Fills what is made. WAIT: the file is shorter than it was; RETRY: read error, out of
 * memory; REJECT: wrong checksum, broken tiles (HDU and EXTNAME named). */
void encode_hdu_run(struct encode_hdu *h);
void encode_hdu_free(struct encode_hdu *h);

#endif
