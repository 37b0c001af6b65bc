#include "common/codec.h"

#include <string.h>

static bool accepts(const struct fits_image *img, const struct codec_options *o)
{
    (void)o;
    return fits_tile_packable(img);
}

static enum status encode(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why)
{
    (void)o;
    return fits_tile_pack(img, out, why);
}

/* The member brings its own header, whatever the caller has already put there. */
static enum status decode(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why)
{
    fits_image_free(img);
    return fits_tile_unpack(bytes, len, img, why);
}

const struct codec codec_rice = {
    .name = "rice",
    .suffix = ".fits.fz",
    .has_header = true,
    .lossy_possible = false,
    .accepts = accepts,
    .encode = encode,
    .decode = decode,
    .sentence = "lossless tile-compressed FITS, as fpack writes it: Rice for integers, gzip for "
                "floats",
};
