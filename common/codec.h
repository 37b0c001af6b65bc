/* The table of compression methods. Each codec is one file behind one row. A codec
 * turns one image into a bundle member's bytes and back; what it cannot carry, it does
 * not accept, and codec_choose falls back to a lossless row: nothing is degraded in
 * silence. Encoders are deterministic: the same image and options give the same bytes.
 * Any thread. */
#ifndef SKYFERRY_CODEC_H
#define SKYFERRY_CODEC_H

#include "common/buf.h"
#include "common/fits.h"

struct codec_options {
    const char *method; /* configured: "htj2k", "jp2", "jxl", "rice",
                           "quantized", "original" */
    double qstep;       /* quantisation step as a fraction of the sample range (16-bit data: of
                           65536); below 1e-5: lossless, which is then smaller */
    double step[3];     /* htj2k: such steps for wavelet level 1 (the finest), level 2, and all
                           coarser ones, in place of qstep; step[0] is 0: qstep for all */
    int offset;         /* with step: about the sky's value, which becomes 0 on the way */
    bool reversible;    /* htj2k and jp2: lossless, qstep not used */
    double q;           /* quantized: the step is noise / q; 0: qstep holds */
    double noise;       /* measured sky noise of this image in ADU, 0 when unknown: quantized
                           then goes by each tile's own */
};

/* One row of stored values (naxes[0] of them, big-endian), y counted through all planes. Anything
 * but OK ends the decoding and is what it returns. */
typedef enum status codec_row_fn(void *ctx, int64_t y, const unsigned char *row, struct fault *why);

struct codec {
    const char *name;   /* in the manifest and the settings */
    const char *suffix; /* of its members: ".jph", ".jp2", ".jxl", ".fits.fz", ".hdu" */
    bool has_header;    /* the member carries the header cards itself */
    bool lossy_possible;
    bool never_larger; /* than rice: codec_encode sees to it */
    /* Can it carry this image as promised? Looks at the header and shape only. */
    bool (*accepts)(const struct fits_image *img, const struct codec_options *o);
    /* Appends the member's bytes to out. */
    enum status (*encode)(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why);
    /* One of the two is set; call codec_decode and codec_rows, which work with either. */
    enum status (*decode)(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why);
    enum status (*rows)(const void *bytes, size_t len, struct fits_image *img, codec_row_fn *fn,
                        void *ctx, struct fault *why);
    const char *sentence; /* for docs and the log */
    /* The mean step of an encoded member in the image's units, 0 when it is exact; NULL: qstep
     * of the options says it. */
    double (*step)(const void *bytes, size_t len);
};

/* By name, NULL when unknown. The rows are: original, rice, htj2k, jp2, jxl, quantized. */
const struct codec *codec_find(const char *name);
/* All rows in order, NULL-ended. */
const struct codec *const *codec_all(void);

/* Which codec carries this HDU: the configured one when it accepts the image, else the
 * HDU as it stands when it is already tile-compressed (`tiled`), else rice when it
 * accepts, else the HDU as it stands. "rice" for an HDU that is already losslessly tiled,
 * or holds tiled floats, is also the HDU as it stands; so is "quantized" for one that is tiled
 * with loss. Never NULL. */
const struct codec *codec_choose(const struct codec_options *o, const struct fits_image *img,
                                 bool tiled, bool tiled_lossless);

/* A member's bytes back into an image. img->header is set for codecs without has_header, data is
 * not; fills data (and header for the others). REJECT, never a crash, on bytes that are corrupt
 * or of another shape: .jph, .jp2 and .jxl end with a digest of their own, .fits.fz carries CHECKSUM
 * and DATASUM. */
enum status codec_decode(const struct codec *c, const void *bytes, size_t len,
                         struct fits_image *img, struct fault *why);
/* The same row by row: where the codec can, without a plane of its own. img is left without data
 * (of codecs without has_header only its shape is set). */
enum status codec_rows(const struct codec *c, const void *bytes, size_t len,
                       struct fits_image *img, codec_row_fn *fn, void *ctx, struct fault *why);

/* Does it have the shape that the picture formats (J2K, JXL) hold: 8 or 16-bit integers, two
 * axes (further ones of length 1), sides of at most 2^20 and 2^28 pixels in all? */
bool codec_is_flat(const struct fits_image *img);

/* Encodes with *c, appending to out. Where *c is never_larger and rice's member is smaller after
 * all (rows that have nothing to do with each other, random bits), that is taken: *c = rice. */
enum status codec_encode(const struct codec **c, const struct fits_image *img,
                         const struct codec_options *o, struct buf *out, struct fault *why);

/* Is what this codec gives back for these options bit-exact? */
bool codec_is_lossless(const struct codec *c, const struct codec_options *o);
/* The step of a member that was encoded so, as a fraction of the 16-bit range and at most 1 (of
 * several, that of the finest wavelet level); 0 when it is exact. */
double codec_qstep(const struct codec *c, const struct codec_options *o, const void *bytes,
                   size_t len);

#endif
