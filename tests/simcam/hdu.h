/*
 * hdu.h - one HDU as bytes in memory: made, sealed with its checksums, tile-compressed.
 *
 * The plain form is laid out here; the compressed form is made by cfitsio's fits_img_compress, so that it is what fpack makes
 * of the plain one (RICE_1, one row a tile, lossless). A struct hdu owns its bytes. No state is shared between threads.
 */
#ifndef SIMCAM_HDU_H
#define SIMCAM_HDU_H

#include <stddef.h>
#include <stdint.h>

#include "cards.h"

struct hdu {
    unsigned char *bytes;       /* owned */
    size_t start, size;         /* the HDU is bytes[start .. start + size) */
};

/* Set cfitsio up; call once before any thread uses it, for its own first-use test is not locked. 0 or -1. */
int hdu_start(void);

/*
 * Lay out a header and room for data bytes, zeroed; *pixels points at it (pixels may be NULL). 0, or -1 for want of
 * memory or cards that failed.
 */
int hdu_create(struct hdu *h, const struct cards *cards, size_t data, uint16_t **pixels);

/*
 * Fill the CHECKSUM and DATASUM cards of the HDU, if it has them (FITS standard 4.0, 4.4.2.7 and appendix J). The cards must
 * hold string values in fixed format; their comments stay as they are.
 */
void hdu_seal(struct hdu *h);

/*
 * Replace an image HDU by its tile-compressed form, sealed if the image has checksum cards. 0, or -1 with cfitsio's message in
 * why (of why_size bytes); h is then unchanged.
 */
int hdu_compress(struct hdu *h, char *why, size_t why_size);

/* Release; harmless on {0}. */
void hdu_free(struct hdu *h);

#endif
