/* FITS as this project needs it (FITS standard 4.0): the structure of a file walked
 * without a library, so that "still growing" and "broken" can be told apart to the
 * byte; headers as their 80-column cards, never reformatted; pixels always as the
 * standard stores them (big-endian, unscaled), so that lossless is lossless by
 * construction. Tile compression goes through cfitsio (fits_tile.c, the one file that
 * includes it), but for 16-bit Rice tiles (fits_rice.c). Any thread; nothing is shared
 * between calls. */
#ifndef SKYFERRY_FITS_H
#define SKYFERRY_FITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/status.h"

#define FITS_BLOCK 2880
#define FITS_CARD 80
#define FITS_MAX_AXES 8
#define FITS_MAX_HDUS 4096

/* ---- headers ---- */

/* Cards without END, count * 80 bytes, owned. Start with {0}. */
struct fits_header {
    char *cards;
    size_t count;
};

/* Parses header bytes (from the first card; stops at END). REJECT when there is no END
 * in len bytes or a byte is not printable ASCII. */
enum status fits_header_parse(const void *bytes, size_t len, struct fits_header *out,
                              struct fault *why);
void fits_header_free(struct fits_header *h);
bool fits_header_copy(struct fits_header *to, const struct fits_header *from);

/* The first card with this keyword: its index, or -1. */
long fits_header_find(const struct fits_header *h, const char *keyword);
/* Values: false when the keyword is missing or of another type. Text loses trailing
 * blanks and doubled quotes, is cut to size; CONTINUE cards are followed. */
bool fits_header_text(const struct fits_header *h, const char *keyword, char *out, size_t size);
bool fits_header_int(const struct fits_header *h, const char *keyword, int64_t *out);
bool fits_header_real(const struct fits_header *h, const char *keyword, double *out);
bool fits_header_logical(const struct fits_header *h, const char *keyword, bool *out);
/* Appends a card, value already formatted by kind; false when memory is out. Text longer
 * than a card goes on in CONTINUE cards. */
bool fits_header_add_text(struct fits_header *h, const char *key, const char *value,
                          const char *comment);
bool fits_header_add_int(struct fits_header *h, const char *key, int64_t value, const char *comment);
bool fits_header_add_real(struct fits_header *h, const char *key, double value, const char *comment);
bool fits_header_add_logical(struct fits_header *h, const char *key, bool value, const char *comment);
/* Removes every card with this keyword. */
void fits_header_remove(struct fits_header *h, const char *keyword);

/* ---- the structure of a file ---- */

enum fits_kind {
    FITS_EMPTY,  /* no data at all (the usual primary HDU) */
    FITS_IMAGE,  /* plain pixels, NAXIS >= 1 */
    FITS_TILED,  /* a tile-compressed image in a binary table (ZIMAGE = T) */
    FITS_TABLE,  /* BINTABLE or TABLE */
    FITS_OTHER   /* random groups, unknown extension types */
};

struct fits_hdu {
    int index;               /* 0 = primary */
    enum fits_kind kind;
    off_t head, data, end;   /* byte offsets: header, data, first byte past the padding */
    int bitpix, naxis;       /* of the image, also when tiled */
    int64_t naxes[FITS_MAX_AXES];
    char extname[72];        /* "" when there is none */
};

struct fits_file {
    struct fits_hdu *hdu; /* owned */
    size_t count;
    off_t size;  /* of the file */
    off_t end;   /* of the last HDU; less than size when other bytes trail */
};

/* Walks all HDUs of an open file with pread. WAIT when the file ends before an HDU's
 * last block (the text says which HDU and how many bytes are missing; a zero-length
 * file is the shortest of these), also while a header's place is still full of zeros;
 * REJECT when it can never be FITS (first card not SIMPLE, impossible BITPIX or NAXISn, an
 * HDU over 1 TiB, bytes in a header that are no text, a ZIMAGE table whose Z cards describe
 * no image, more than FITS_MAX_HDUS, no END within 10 MB).
 * Zero or blank bytes past the last HDU are not an HDU; other bytes there trail.
 * out is freed by fits_file_free also after a failure. */
enum status fits_scan(int fd, struct fits_file *out, struct fault *why);
void fits_file_free(struct fits_file *f);

/* One HDU's bytes, head..end, appended to out. WAIT when the file is shorter, RETRY on a read error. */
enum status fits_read_hdu(int fd, const struct fits_hdu *hdu, struct buf *out, struct fault *why);
enum status fits_read_header(int fd, const struct fits_hdu *hdu, struct fits_header *out,
                             struct fault *why);

/* Checks DATASUM and CHECKSUM where present (FITS checksum convention, standard
 * 4.4.2.7) over an HDU's bytes. REJECT when one is present and wrong; OK otherwise. */
enum status fits_check_sums(const void *hdu_bytes, size_t len, struct fault *why);
/* The same of a header's bytes, whole blocks, with its data unit's sum known. */
enum status fits_check_head(const void *head_bytes, size_t len, uint32_t datasum,
                            struct fault *why);

/* DATASUM of a data unit that comes in pieces of any length: start with {0}; the padding is
 * zeros and so adds nothing. */
struct fits_datasum {
    uint32_t sum;
    unsigned char rest[4];
    size_t held; /* of rest */
};
void fits_datasum_add(struct fits_datasum *d, const void *bytes, size_t len);
uint32_t fits_datasum_end(const struct fits_datasum *d);

/* ---- images ---- */

/* One image: its own header cards (structural ones included, as an uncompressed image
 * extension or primary would have them) and its stored values, big-endian. Owned. */
struct fits_image {
    struct fits_header header;
    int bitpix, naxis;
    int64_t naxes[FITS_MAX_AXES];
    unsigned char *data;
    size_t size; /* bytes of data, without padding */
};

void fits_image_free(struct fits_image *img);

/* The number that one pixel stands as in the file, without BZERO and BSCALE. */
double fits_stored_value(const unsigned char *pixel, int bitpix);

/* Sets bitpix, naxis, naxes and size from img->header (BITPIX, NAXIS, NAXISn); REJECT
 * when they are missing or absurd (more than 16 GiB). Allocates no data. */
enum status fits_image_shape(struct fits_image *img, struct fault *why);

/* Makes an image from one HDU's bytes, plain or tile-compressed (decompressed through
 * cfitsio, header restored as funpack does but without blank cards before END;
 * SIMPLE/XTENSION card as it was). REJECT when the HDU is no image or its tiles are broken. */
enum status fits_image_load(const void *hdu_bytes, size_t len, struct fits_image *out,
                            struct fault *why);

/* Is an integer image lossless under the tile compression in these bytes? (True for
 * RICE_1, GZIP, PLIO of integers; false for HCOMPRESS with a scale and quantised floats.) */
bool fits_tiled_lossless(const void *hdu_bytes, size_t len);

/* The stand-alone file of one ccd, as delivered: a primary image whose header is
 *   structural cards (SIMPLE, BITPIX, NAXIS, NAXISn),
 *   the primary HDU's other cards in order, but for those that the ccd's own header
 *   also has (the ccd wins; COMMENT, HISTORY and blank cards are all kept),
 *   the ccd's other cards in order,
 *   the cards of `extra` (provenance; may be NULL),
 *   CHECKSUM and DATASUM, new and right.
 * Left out: the sources' structural cards (XTENSION, PCOUNT, GCOUNT, EXTEND, GROUPS, NEXTEND,
 * INHERIT, tile-compression Z*, CHECKSUM, DATASUM); of the primary also what is true of its
 * own array and name only (BSCALE, BZERO, BLANK, EXTNAME, EXTVER, EXTLEVEL); and cards that
 * `extra` says anew. primary is NULL when the image is the primary. Bytes appended to out
 * are header + data + padding: the whole file. RETRY only (memory). */
enum status fits_image_file(const struct fits_header *primary, const struct fits_image *img,
                            const struct fits_header *extra, struct buf *out, struct fault *why);

/* Tile-compresses an image losslessly into a stand-alone .fits.fz (empty primary and one
 * extension that carries all of img->header, CHECKSUM and DATASUM): a row a tile, RICE_1 for
 * 8, 16 and 32-bit integers, GZIP_2 unquantised for floats. REJECT for what the convention
 * cannot hold (64-bit, over 2 GiB, a header with tile-compression cards of its own). */
enum status fits_tile_pack(const struct fits_image *img, struct buf *out, struct fault *why);
/* Would it be packed, as far as the header and the shape tell? */
bool fits_tile_packable(const struct fits_image *img);
/* No file of fits_tile_pack's for these pixels is smaller than this: a bound from one quick
 * look at an 8 or 16-bit image (0 for others), some tenth below the truth on noise. */
size_t fits_tile_least(const struct fits_image *img);
/* The image back out of such a file (its second HDU), every bit (NaNs, too) and card as it
 * went in. REJECT also when CHECKSUM or DATASUM is missing or wrong. */
enum status fits_tile_unpack(const void *file, size_t len, struct fits_image *out,
                             struct fault *why);

/* How coarsely an image is quantised: the step is noise / q in its own units (those of
 * BSCALE and BZERO), but for integers never less than one stored unit. */
struct fits_quantum {
    double q;     /* > 0; 0: `step` holds */
    double noise; /* of the sky; 0: each tile's own, as fpack estimates it */
    double step;  /* in stored units */
};

/* The standard's own lossy form: a stand-alone .fits.fz like fits_tile_pack's, of floats that
 * any FITS reader opens: physical values, subtractively dithered (2 for floats, which keeps
 * 0.0 exactly, else 1), RICE_1, a scale and zero for each tile of some rows. Values come back
 * within half a step, without bias. NaNs and blank pixels stay what they are; tiles that are
 * constant, hold infinities, whose noise is 0, or that span more than 2^31 steps are kept
 * exactly. The header's cards are all carried, but for BSCALE, BZERO, BLANK and the sums of
 * the original pixels. Same image and quantum, same bytes. REJECT when it is not
 * fits_tile_quantisable. */
enum status fits_tile_quantise(const struct fits_image *img, const struct fits_quantum *quantum,
                               struct buf *out, struct fault *why);
/* No 64-bit integers, no floats with BSCALE or BZERO, else as fits_tile_packable. */
bool fits_tile_quantisable(const struct fits_image *img);
/* The image back out of such a file, stored as img->header says (which must be set; data must
 * not): integers rounded to whole stored values and cut to their range; at a step of one they
 * come back exactly. REJECT when the file is damaged or of another image. */
enum status fits_tile_restore(const void *file, size_t len, struct fits_image *img,
                              struct fault *why);
/* The mean step of such a file's quantised tiles; 0 when all are exact or it is no such file. */
double fits_tile_step(const void *file, size_t len);

#endif
