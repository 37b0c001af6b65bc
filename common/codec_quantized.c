#include "common/codec.h"

#include <math.h>

/* With q = 0 the step is absolute, and means something only where the sample range does. */
static double absolute_step(const struct fits_image *img, const struct codec_options *o)
{
    return o->reversible ? 0 : o->qstep * (img->bitpix == 8 ? 256 : 65536);
}

/* Images of 8 and 32 bits are often masks, whose bits no step may touch: they are taken only
 * when a noise was measured, which a mask has not. */
static bool accepts(const struct fits_image *img, const struct codec_options *o)
{
    bool relative = o->q > 0 && isfinite(o->q), measured = o->noise > 0;
    if (o->reversible || !isfinite(o->noise) || o->noise < 0 || !fits_tile_quantisable(img))
        return false;
    if (!relative)
        return o->q == 0 && o->qstep > 0 && o->qstep <= 0.5 &&
               (img->bitpix == 8 || img->bitpix == 16);
    return img->bitpix == 16 || img->bitpix < 0 || measured;
}

static enum status encode(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why)
{
    struct fits_quantum quantum = {.q = o->reversible ? 0 : o->q, .noise = o->noise,
                                   .step = absolute_step(img, o)};
    return fits_tile_quantise(img, &quantum, out, why);
}

static enum status decode(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why)
{
    return fits_tile_restore(bytes, len, img, why);
}

const struct codec codec_quantized = {
    .name = "quantized",
    .suffix = ".fits.fz",
    .has_header = false,
    .lossy_possible = true,
    .accepts = accepts,
    .encode = encode,
    .decode = decode,
    .step = fits_tile_step,
    .sentence = "tile-compressed FITS of dithered floats, which any FITS reader opens: lossy, the "
                "step a fraction of the noise",
};
