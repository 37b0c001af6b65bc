/* Several codestreams of OpenJPH, one for each group of wavelet levels, joined into one standard
 * codestream: the packets of the coarsest group first, then of each finer one all but its first
 * packet (its low band, which the groups before it say better). Used by codec_htj2k_shape.c only.
 * Source: ISO/IEC 15444-1 annexes A (markers) and B.10 (packet headers). */
#ifndef SKYFERRY_CODEC_HTJ2K_JOIN_H
#define SKYFERRY_CODEC_HTJ2K_JOIN_H

#include "common/codec_j2k.h"

#define HTJ2K_GROUPS 3 /* wavelet level 1, level 2, and all coarser ones */

/* One group of levels as OpenJPH made it. */
struct htj2k_group {
    int levels;
    uint32_t width, height; /* of the image that it was made of */
    struct buf bytes;
    size_t siz, cap, cod, qcd, tile; /* offsets of the markers, and of the first packet */
};

/* Sets the offsets from bytes; false when the codestream is not laid out as OpenJPH's are. */
bool htj2k_find_markers(struct htj2k_group *g);

/* Appends the joined codestream, the finest group first in g; its samples have 17 bits with sign,
 * its comment says the offset. False when memory is out or a packet header cannot be read. */
bool htj2k_join(const struct htj2k_group g[HTJ2K_GROUPS], int32_t offset, struct buf *out);

#endif
