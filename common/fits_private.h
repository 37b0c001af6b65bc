/* What the fits_*.c files share and nobody else needs: single cards, the ones-complement
 * sum, and the geometry of a tile-compressed image as its binary table describes it.
 * All of it reads hostile bytes: every number is checked here, once, before it is used
 * as a size or an offset. Any thread; structs point into the caller's bytes. */
#ifndef SKYFERRY_FITS_PRIVATE_H
#define SKYFERRY_FITS_PRIVATE_H

#include "common/fits.h"

#define FITS_HEADER_MAX (10u << 20) /* no END within this: no FITS */
#define FITS_DATA_MAX (1LL << 40)   /* of one HDU; more is a damaged header */
#define FITS_IMAGE_MAX (16LL << 30) /* of one image in memory */

/* ---- cards ---- */

/* Offset of the END card in len bytes, or -1. Begins at `from`, a multiple of 80. */
long fits_find_end(const char *bytes, size_t len, size_t from);
/* Index of the first byte that no header may hold, len when there is none. */
size_t fits_find_unprintable(const unsigned char *bytes, size_t len);
/* The keyword of one card, without trailing blanks: 8 columns, or for HIERARCH the whole
 * "HIERARCH ..." up to the '='. */
void fits_card_keyword(const char *card, char out[FITS_CARD + 1]);
/* Has the card this keyword of at most 8 characters in its first 8 columns? */
bool fits_card_is(const char *card, const char *keyword);
/* The text after the first '/' behind a value that is no text, or "". */
void fits_card_comment(const char *card, char out[FITS_CARD + 1]);
/* Appends one card as it stands; false when memory is out. */
bool fits_header_append(struct fits_header *h, const char *card);
/* Does the index-th card belong to the text value of the one before (CONTINUE)? */
bool fits_card_continues(const struct fits_header *h, size_t index);
/* The cards, END and blanks up to the next block, appended to out. */
bool fits_header_write(const struct fits_header *h, struct buf *out);

/* BITPIX, NAXIS and NAXISn, each with a prefix ("" or "Z"). REJECT names the card. */
struct fits_axes {
    int bitpix, naxis;
    int64_t n[FITS_MAX_AXES];
};
enum status fits_header_axes(const struct fits_header *h, const char *prefix,
                             struct fits_axes *out, struct fault *why);
/* Bytes of n[0] * n[1] * ... pixels; -1 when that is more than max. */
int64_t fits_axes_bytes(const struct fits_axes *a, int64_t max);

/* ---- pixels ---- */

/* Copies n values of 1, 2, 4 or 8 bytes, turning their byte order. Both are aligned to the
 * values' size. */
void fits_swap_copy(void *restrict to, const void *restrict from, size_t n, int size);
/* GZIP_2 keeps all first bytes of a tile together, then all second ones, ... */
void fits_shuffle(unsigned char *restrict to, const unsigned char *restrict from, size_t n,
                  int size);
void fits_unshuffle(unsigned char *restrict to, const unsigned char *restrict from, size_t n,
                    int size);

/* ---- sums ---- */

/* The ones-complement sum of big-endian 32-bit words, going on from `sum`. len is a
 * multiple of 4. */
uint32_t fits_sum(const void *bytes, size_t len, uint32_t sum);
/* The 16 characters that bring an HDU's sum to "minus zero" (standard, appendix J). */
void fits_sum_text(uint32_t sum, char out[17]);
/* Appends CHECKSUM (still zeros) and DATASUM cards; their comments carry no date, so that
 * the same image gives the same bytes. */
bool fits_header_add_sums(struct fits_header *h, uint32_t datasum);
/* Fills in the CHECKSUM, the index-th card of `head` bytes of header as written. */
void fits_sum_header(unsigned char *header, size_t head, size_t index, uint32_t datasum);

/* ---- a tile-compressed image ---- */

enum tile_method { TILE_RICE, TILE_GZIP_1, TILE_GZIP_2, TILE_PLIO, TILE_HCOMPRESS };

struct tile_column {
    int64_t offset; /* in a row; -1: the table has no such column */
    int width;      /* of its descriptor: 8 (P) or 16 (Q) */
    int item;       /* bytes of one element */
};

struct tiles {
    struct fits_axes image;
    int64_t side[FITS_MAX_AXES]; /* of a whole tile */
    int64_t pixels;              /* in a whole tile */
    int64_t rows, row_bytes;     /* of the table; one row a tile */
    int64_t heap, heap_bytes;    /* offset in data, and size */
    enum tile_method method;
    int block, byte_pixel;       /* RICE: pixels a block, bytes a pixel */
    double hcompress_scale;
    int hcompress_smooth;
    bool quantised;              /* floats went through ZSCALE and ZZERO */
    struct tile_column packed, gzipped, plain;
    int64_t scale_at, zero_at;   /* ZSCALE and ZZERO in a row, as columns of doubles; else -1 */
    const unsigned char *data;   /* the table's data unit */
};

/* Reads and checks the geometry; bytes and len are the data unit (NULL: header only,
 * nothing of the data is looked at). REJECT says which card is wrong. */
enum status fits_tiles_read(const struct fits_header *h, const void *bytes, size_t len,
                            struct tiles *out, struct fault *why);
/* The bytes of one tile in one column; *len 0 when there are none. REJECT when they lie
 * outside the heap. */
enum status fits_tile_bytes(const struct tiles *t, const struct tile_column *c, int64_t row,
                            const unsigned char **bytes, size_t *len, struct fault *why);
/* Where tile `row` lies in the image (first pixel and sides) and how many pixels it has. */
int64_t fits_tile_box(const struct tiles *t, int64_t row, int64_t *first, int64_t *side);

/* The image's own header out of the table's, by funpack's rules; exact = true keeps what
 * funpack would trim (for files made by fits_tile_pack). */
enum status fits_tile_header(const struct fits_header *table, bool exact,
                             struct fits_header *out, struct fault *why);
/* Can a table's header carry this image's cards so that fits_tile_header gives the same
 * back? False when a card has a keyword of the convention itself. */
bool fits_tile_can_carry(const struct fits_header *image);
/* Appends the image's cards, structural ones under their Z names. */
bool fits_tile_wrap(const struct fits_header *image, struct fits_header *table);
/* Only the cards that the decompression itself needs, each once and well-formed, so that
 * cfitsio reads the same numbers out of them as fits_tiles_read did. */
enum status fits_tile_core(const struct fits_header *table, struct fits_header *out,
                           struct fault *why);

/* ---- Rice of 16-bit pixels (fits_rice.c) ---- */

/* RICE_1 (FITS standard 4.0, section 10.4.1; Rice, Yeh & Miller 1993, in the form that White
 * gave it in cfitsio's ricecomp.c) to n pixels as FITS stores them, so 16 bits, big-endian;
 * `stored` is aligned. len is at least 3. Reads up to FITS_RICE_TAIL(block) bytes past len,
 * which must be there but may be anything. False when the code runs past its end. It refuses
 * the same tiles as fits_rice_decode and makes the same pixels of all others, in a third of
 * the time; fits_rice16_plain is for processors without BMI2. */
#define FITS_RICE_TAIL(block) (64 + 8 * (size_t)(block))
bool fits_rice16_decode(const unsigned char *bytes, size_t len, int block, void *stored, size_t n);
bool fits_rice16_plain(const unsigned char *bytes, size_t len, int block, void *stored, size_t n);

/* ---- cfitsio's part (fits_tile.c) ---- */

/* Rice: n values of `size` bytes (1, 2, 4), in the machine's order. Decoding reads up to
 * FITS_RICE_TAIL(block) bytes past len, which must be there and be 0xff; false when the
 * code runs past its end. Encoding returns the bytes made, at most FITS_RICE_ROOM, or -1. */
#define FITS_RICE_ROOM(n, size) ((n) * (size_t)(size) + (n) / 8 + 64)
bool fits_rice_decode(unsigned char *bytes, size_t len, void *values, size_t n, int size,
                      int block);
long fits_rice_encode(void *values, size_t n, int size, int block, unsigned char *out,
                      size_t room);
/* The noise of an image of nx * ny values as fpack estimates it: the least of three from
 * differences of neighbours; 0 when it is constant or too small to tell. Values may be NaN. */
double fits_noise(float *values, long nx, long ny);
/* gzip: false when the stream is damaged or gives more than room bytes. */
bool fits_gzip_decode(const unsigned char *bytes, size_t len, void *out, size_t room, size_t *got);
/* Bytes made, at most FITS_GZIP_ROOM, or -1. */
#define FITS_GZIP_ROOM(len) ((len) + (len) / 8 + 128)
long fits_gzip_encode(const void *bytes, size_t len, unsigned char *out, size_t room);
/* Hcompress: out has n values, int when narrow, else int64_t; sides and length are the
 * caller's to check. */
bool fits_hcompress_decode(unsigned char *bytes, bool narrow, int smooth, void *out);
/* Decompresses the second HDU of a whole file in memory, which t describes, to `size` bytes
 * of pixels. */
enum status fits_run_decompress(struct buf *file, const struct tiles *t, unsigned char *pixels,
                                size_t size, struct fault *why);

/* fits_image_load for a tile-compressed HDU whose header is parsed already. */
enum status fits_tile_load(const struct fits_header *table, const void *data, size_t len,
                           bool exact, struct fits_image *out, struct fault *why);

#endif
