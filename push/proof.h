/* What a lossy member really does to its pixels: it is decoded here, before it is shipped, and
 * compared with the raw image row by row, on the worker thread that encoded it. What may not
 * differ so much is gathered to travel exactly (common/exact.h). */
#ifndef SKYFERRY_PROOF_H
#define SKYFERRY_PROOF_H

#include "common/exact.h"
#include "common/fidelity.h"

struct proof_order {
    const struct codec *codec;
    const struct fits_image *raw;
    double bound;      /* ADU; NaN: any error will do */
    unsigned exact;    /* EXACT_... */
    const struct regions *regions; /* for exact; NULL when that is 0 */
    const unsigned char *mask;     /* for EXACT_MASKED: a byte a pixel, 1 where masked */
};

struct proof {
    double rms, max;   /* ADU, of all pixels, after those that travel exactly are put in */
    double max_coded;  /* ADU, before that: of the member alone */
    uint32_t datasum;  /* of the delivered data unit */
};

/* Decodes the member and compares; exact is filled. REJECT when the member cannot be decoded,
 * RETRY without memory. Pixels that are no number must stay so: else they count as infinitely
 * wrong, and travel exactly when a bound is set. */
enum status proof_run(const struct proof_order *o, const struct buf *member, struct exact *exact,
                      struct proof *out, struct fault *why);

/* The same for a lossless member, which is not decoded: its errors are 0. */
void proof_lossless(const struct fits_image *raw, struct proof *out);

#endif
