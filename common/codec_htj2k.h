/* What is inside the HTJ2K codec: the C face of OpenJPH (codec_htj2k.cpp), and the shaping of
 * steps built on it (codec_htj2k_shape.c). Nobody else includes this.
 *
 * OpenJPH takes one step for a whole image. The light of a faint star lies in the coarse wavelet
 * bands, most of the bytes in the finest ones, which hold little but noise: so each of three groups
 * of levels is encoded by itself with a step of its own, and the packets are joined into one
 * standard codestream whose QCD says the step of every band. Level 1 comes from the image, level 2
 * from its low band, levels 3 and up from the low band of that; a quarter of the work each time. */
#ifndef SKYFERRY_CODEC_HTJ2K_H
#define SKYFERRY_CODEC_HTJ2K_H

#include "common/codec_j2k.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One image for OpenJPH: signed or unsigned samples of `bits` bits, handed over line by line. */
struct htj2k_plane {
    uint32_t width, height;
    int bits;
    bool is_signed, reversible;
    int levels;
    double qstep; /* of the sample range; not used when reversible */
    void (*line)(void *ctx, uint32_t y, int32_t *samples);
    void *ctx;
};

/* Appends the bare codestream: one tile, one layer, one precinct a resolution, RPCL. */
enum status htj2k_codestream(const struct htj2k_plane *p, struct buf *out, struct fault *why);

/* Calls line for each row of a bare codestream that j2k_check has passed, in order; a line that
 * returns anything but OK ends it. */
enum status htj2k_lines(const unsigned char *bytes, size_t len, uint32_t width, uint32_t height,
                        enum status (*line)(void *ctx, uint32_t y, const int32_t *samples,
                                            struct fault *why),
                        void *ctx, struct fault *why);

/* Appends the codestream of img with the three steps of o->step; s->offset is set already. REJECT
 * when the values' range is too large for steps so fine. */
enum status htj2k_shaped(const struct fits_image *img, const struct j2k_shape *s,
                         const struct codec_options *o, struct buf *out, struct fault *why);

#ifdef __cplusplus
}
#endif
#endif
