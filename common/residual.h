/* An image of 8 or 16 bits as what a good guess of each pixel leaves (the residual), and back:
 * for codec_jxl, which gives it to libjxl. The guess is a mean of the 17 pixels before it, for
 * pictures that are mostly noise:
 *     y-2   1  1  1  1  1  1  1
 *     y-1   2  2  2  2  2  2  2          / 32, rounded, and cut to what the pixels W, NW, N
 *     y     2  4  5  ?                   and NE (the nearest four) span: stars have edges
 * Off the image's left and right stands the pixel of y-1 (y-2) nearest to it; above line 1 stands
 * line 0 twice. Line 0 is guessed from W alone, and its first pixel as 32768. A sample is the
 * stored value as an unsigned number, 16-bit values with their sign bit turned.
 * The fast coders of libjxl know one guess g of their own, the middle one of W, N and
 * W + N - NW, which leaves too much of noise. So that they find the residuals again, a field
 * is made as their decoder would: each of its values is g of its own neighbours plus the
 * residual, modulo 65536 (and so at its edges: g is W in the first line of a strip, N left of
 * the others, 32768 for the first value). Any thread, one at a time for each struct. */
#ifndef SKYFERRY_RESIDUAL_H
#define SKYFERRY_RESIDUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct residual {
    size_t width, done;    /* done: lines so far */
    int bits;              /* 8 or 16 */
    uint16_t *lines;       /* owned: three, padded, in turn */
    uint16_t *low, *high;  /* owned: of NW, N and NE */
    uint32_t *sum;         /* owned: of the lines above, weighted */
    uint16_t *left;        /* owned: a line's residuals */
};

/* False when memory is out. residual_close is harmless on a struct of zeros. */
bool residual_open(struct residual *r, size_t width, int bits);
void residual_close(struct residual *r);

/* The next `count` lines of the image, as one strip: from stored big-endian values to the
 * strip's field of width * count values, or back. */
void residual_make(struct residual *r, const unsigned char *stored, size_t count, uint16_t *field);
void residual_undo(struct residual *r, const uint16_t *field, size_t count, unsigned char *stored);

#endif
