/* What the two JPEG 2000 codecs share: which images they take, how stored FITS values
 * become samples and back, the boxes around a codestream, and a strict look at a
 * codestream's main header, so that a library only sees one that this project could have
 * written for this image. C and C++ include it. Any thread. */
#ifndef SKYFERRY_CODEC_J2K_H
#define SKYFERRY_CODEC_J2K_H

#ifdef __cplusplus
extern "C" {
#endif

#include "common/codec.h"

#define J2K_LEVELS 5          /* wavelet decompositions, as ojph_compress has it */
#define J2K_QSTEP_MIN 1e-5    /* finer costs more bytes than lossless: then lossless it is */
#define J2K_QSTEP_MAX 0.5
#define J2K_LOSSY_SIDE 64     /* OpenJPH 0.9 destroys lossy images of 32 pixels a side */

struct j2k_shape {
    uint32_t width, height;
    int bits;        /* 8 or 16 */
    bool is_signed;  /* 16-bit without BZERO = 32768 */
    bool shifted;    /* samples have 17 bits with sign: the value less offset, so that what lies
                        near the sky is near zero; the codestream's comment says the offset */
    int32_t offset;
};

#define J2K_OFFSET_WORDS "skyferry: pixel = sample + "

enum j2k_kind { J2K_PART1, J2K_HT };

/* Lossless: any 8 or 16-bit image of two axes (further ones of length 1). Lossy: only when
 * every stored value is a plain brightness: no BLANK card (a blank pixel must not become a
 * dark one, nor the reverse), BSCALE 1, BZERO 0 or that of unsigned 16-bit (signed 8-bit)
 * data; both sides at least J2K_LOSSY_SIDE; and qstep at most J2K_QSTEP_MAX. */
bool j2k_accepts(const struct fits_image *img, const struct codec_options *o);
bool j2k_is_lossy(const struct codec_options *o);

/* Of an image whose header is set; also sets bitpix, naxes and size. REJECT when it is none
 * that j2k_accepts losslessly. */
enum status j2k_shape_of(struct fits_image *img, struct j2k_shape *out, struct fault *why);

/* One line of width pixels: stored big-endian values to samples, and back with samples cut
 * to the range that the stored value has. */
int j2k_depth(const struct j2k_shape *s, bool *is_signed); /* bits of a sample */
void j2k_read_line(const struct j2k_shape *s, const unsigned char *stored, int32_t *samples);
void j2k_write_line(const struct j2k_shape *s, const int32_t *samples, unsigned char *stored);

/* Appends the boxes of a JP2 (ISO/IEC 15444-1 annex I) or JPH file (15444-15 annex D) up to
 * the codestream, which the caller appends; then j2k_close_boxes sets its length and ends
 * the file with a UUID box that holds the SHA-256 of all before it. Readers skip that box;
 * it spares the decoders what they do not survive: OpenJPH 0.9 aborts on some damage. */
bool j2k_open_boxes(const struct j2k_shape *s, enum j2k_kind kind, struct buf *out, size_t *start);
bool j2k_close_boxes(struct buf *out, size_t start);

/* Finds the codestream in such a file and checks it up to the first packet; sets s->shifted and
 * s->offset from it. REJECT when it is damaged, or of other sides, depth, components, tiles or
 * coding style. */
enum status j2k_check(const void *file, size_t len, struct j2k_shape *s, enum j2k_kind kind,
                      const unsigned char **codestream, size_t *codestream_len,
                      struct fault *why);

#ifdef __cplusplus
}
#endif
#endif
