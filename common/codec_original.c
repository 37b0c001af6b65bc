#include "common/fits_private.h"

#include "common/codec.h"

#include <string.h>

/* A shipper that holds the HDU's own bytes sends those; this is for an image that was made
 * or changed in memory: its cards, END, and its pixels, each padded as the standard says. */
static enum status encode(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why)
{
    size_t start = out->len, pad = (FITS_BLOCK - img->size % FITS_BLOCK) % FITS_BLOCK;
    (void)o;
    if (!fits_header_write(&img->header, out) || !buf_append(out, img->data, img->size) ||
        !buf_reserve(out, pad + 1)) {
        out->len = start;
        return fault(why, ST_RETRY, "no memory for an HDU of %zu bytes", img->size);
    }
    memset(out->data + out->len, 0, pad);
    out->len += pad;
    return ST_OK;
}

static bool accepts(const struct fits_image *img, const struct codec_options *o)
{
    (void)img;
    (void)o;
    return true;
}

static enum status decode(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why)
{
    fits_image_free(img);
    return fits_image_load(bytes, len, img, why);
}

const struct codec codec_original = {
    .name = "original",
    .suffix = ".hdu",
    .has_header = true,
    .lossy_possible = false,
    .accepts = accepts,
    .encode = encode,
    .decode = decode,
    .sentence = "the HDU's bytes as they stood in the file",
};
