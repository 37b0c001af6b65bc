/* Tile-compressed files of this project's own making: what reading a single tile, writing
 * the table and quantising pixels have in common. Bytes that are read may be hostile; the
 * geometry is fits_private.h's. Any thread; nothing is shared between calls. */
#ifndef SKYFERRY_FITS_TILE_H
#define SKYFERRY_FITS_TILE_H

#include "common/fits_private.h"

/* ---- reading one tile (fits_tile_load.c, fits_tile_pack.c) ---- */

/* Room that one thread's decoding uses again for each tile. Start with {0}. */
struct tile_scratch {
    unsigned char *packed; /* a tile's bytes and the sentinel */
    size_t packed_room;
    unsigned char *pixels; /* a tile's values */
    size_t pixel_room;
    int64_t row;  /* the tile at work, for messages */
};
void fits_tile_scratch_free(struct tile_scratch *s);
/* A tile's `len` bytes to n values in s->pixels: Rice to t->byte_pixel bytes each in the
 * machine's order, gzip to `size` bytes each in FITS's order. REJECT when they are damaged or
 * hold another number of values. */
enum status fits_tile_unrice(const struct tiles *t, const unsigned char *bytes, size_t len,
                             size_t n, struct tile_scratch *s, struct fault *why);
enum status fits_tile_ungzip(const struct tiles *t, const unsigned char *bytes, size_t len,
                             size_t n, int size, struct tile_scratch *s, struct fault *why);

/* Finds the table of a file made by fits_tile_write and checks its sums. The table's header
 * is the caller's to free, also after a failure; data points into the file. */
enum status fits_tile_open(const void *file, size_t len, struct fits_header *table,
                           const unsigned char **data, size_t *data_len, struct fault *why);

/* ---- writing a tile-compressed file (fits_tile_write.c) ---- */

#define FITS_RICE_BLOCK 32 /* pixels a Rice block, as fpack has it */

/* A file under construction: an empty primary, and a table with a row a tile, whose bytes
 * `pack` makes. Column 0 is COMPRESSED_DATA; with a dither there are also 1,
 * GZIP_COMPRESSED_DATA, for tiles that are kept exactly, and ZSCALE and ZZERO. */
struct tile_file {
    const struct fits_header *image; /* the image's cards, all of them carried */
    int naxis;
    int64_t side[FITS_MAX_AXES];     /* of a tile */
    int64_t rows;                    /* tiles */
    enum tile_method method;         /* TILE_RICE or TILE_GZIP_2 */
    int byte_pixel;                  /* RICE: bytes a value */
    bool raw_floats;                 /* floats, not quantised */
    int dither;                      /* 1, 2: SUBTRACTIVE_DITHER_n with this seed, 1 to 10000 */
    int seed;
    size_t guess;                    /* bytes that the tiles will take, roughly */
    /* Makes tile `row` behind out's end and hands it to fits_tile_put. */
    enum status (*pack)(struct tile_file *f, int64_t row, struct buf *out, struct fault *why);
    void *ctx;
    /* fits_tile_write's own */
    size_t longest[2], table, heap, heap_bytes;
    uint32_t datasum;
};

/* Appends the file to out, with CHECKSUM and DATASUM. */
enum status fits_tile_write(struct tile_file *f, struct buf *out, struct fault *why);
/* Takes `made` bytes behind out's end as a tile's content; false when the heap is over 2 GiB. */
bool fits_tile_put(struct tile_file *f, int64_t row, int column, size_t made, struct buf *out);
void fits_tile_put_scale(const struct tile_file *f, int64_t row, double scale, double zero,
                         struct buf *out);
/* Can the convention, cfitsio and a Rice tile of one row hold an image of this shape? */
bool fits_tile_packable_shape(const struct fits_image *img);

/* ---- quantisation with subtractive dither (fits_tile_dither.c) ---- */

/* Standard 4.0, section 10.2: q = floor((x - ZZERO) / ZSCALE + r), and back
 * x = (q - r + 0.5) * ZSCALE + ZZERO, where r runs through the 10,000 random numbers of its
 * appendix I, from a place that ZDITHER0 and the tile's number say. */
#define FITS_QUANT_NULL (-2147483647)  /* an undefined pixel (ZBLANK) */
#define FITS_QUANT_ZERO (-2147483646)  /* exactly 0.0, with dither 2 */
#define FITS_QUANT_LEAST (-2147483637) /* cfitsio keeps ten values for such purposes */
#define FITS_QUANT_SPAN 2147483600.0   /* most steps from the least to the largest value */
#define FITS_DITHER_SEEDS 10000

struct dither {
    double scale, zero; /* ZSCALE and ZZERO */
    int64_t row;        /* of the tile, from 0 */
    int64_t seed;       /* ZDITHER0, 1 to 10000 */
};

/* n values, none less than `low`, at most SPAN steps above it and none NaN; low itself
 * becomes `base`, so that ZZERO is low - base * scale, which d->zero need not say yet. */
void fits_dither(const struct dither *d, const double *x, size_t n, double low, int32_t base,
                 int32_t *q);
/* And back. What stands for null or zero in q comes out as any number. */
void fits_undither(const struct dither *d, const int32_t *q, size_t n, double *x);

/* ---- what stored values mean (fits_tile_values.c) ---- */

struct tile_values {
    int bitpix, packed;   /* the image's BITPIX; -32 or -64: the tiles' ZBITPIX */
    double scale, zero;   /* BSCALE and BZERO; 1 and 0 for floats */
    double low, high;     /* of integers as stored */
    bool has_blank;
    int64_t blank;        /* the BLANK card */
};

/* Of an image whose header and shape are set. False for what cannot be carried: 64-bit
 * integers, a malformed BSCALE, BZERO or BLANK, or ones too far apart for a double. */
bool fits_tile_values(const struct fits_image *img, struct tile_values *out);
/* n stored values to physical ones; NaN where they are blank. */
void fits_tile_read_values(const struct tile_values *v, const unsigned char *stored, size_t n,
                           double *x);
/* And back: integers are rounded, cut to their range, and become blank only from NaN. */
void fits_tile_write_values(const struct tile_values *v, const double *x, size_t n,
                            unsigned char *stored);

#endif
