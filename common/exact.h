/* Pixels that travel exactly beside a lossy picture: those that it would change by more than
 * max_error, and those that `exact` asks for. A member R_N.exact.zst holds them
 * (skyferry-bundle(5)): runs of neighbours, and their stored values as they stood. The sender
 * gathers them while it judges its own decoded picture, the far end writes them over the decoded
 * pixels. Plain memory; any thread. */
#ifndef SKYFERRY_EXACT_H
#define SKYFERRY_EXACT_H

#include "common/buf.h"
#include "common/fits.h"

/* Start with {.size = bytes of a pixel}. */
struct exact {
    int size;
    int64_t pixels, next;    /* so far; the index behind the last one */
    int64_t first, length;   /* of the run that is still open */
    struct buf runs, values; /* owned */
};

/* n pixels from index `first` (counted through the image in stored order; never before what was
 * added already). False when memory is out. */
bool exact_add(struct exact *e, int64_t first, int64_t n, const unsigned char *stored);
/* Appends what a member expands to. */
bool exact_write(struct exact *e, struct buf *out);
void exact_free(struct exact *e);

/* Writes such pixels into img->data; *pixels says how many. REJECT when the bytes are damaged, of
 * another pixel size, or name pixels outside the image: then img is unchanged or partly written. */
enum status exact_apply(const void *bytes, size_t len, struct fits_image *img, int64_t *pixels,
                        struct fault *why);

#endif
