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
    const char *method; /* configured: "htj2k", "jp2", "rice", "original" */
    double qstep;       /* quantisation step as a fraction of the sample range (16-bit data: of
                           65536); below 1e-5: lossless, which is then smaller */
    bool reversible;    /* htj2k and jp2: lossless, qstep not used */
};

struct codec {
    const char *name;   /* in the manifest and the settings */
    const char *suffix; /* of its members: ".jph", ".jp2", ".fits.fz", ".hdu" */
    bool has_header;    /* the member carries the header cards itself */
    bool lossy_possible;
    /* Can it carry this image as promised? Looks at the header and shape only. */
    bool (*accepts)(const struct fits_image *img, const struct codec_options *o);
    /* Appends the member's bytes to out. */
    enum status (*encode)(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why);
    /* img->header is set for codecs without has_header, data is not; fills data (and header
     * for the others). REJECT, never a crash, on bytes that are corrupt or of another shape:
     * .jph and .jp2 end with a digest of their own, .fits.fz carries CHECKSUM and DATASUM. */
    enum status (*decode)(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why);
    const char *sentence; /* for docs and the log */
};

/* By name, NULL when unknown. The rows are: original, rice, htj2k, jp2. */
const struct codec *codec_find(const char *name);
/* All rows in order, NULL-ended. */
const struct codec *const *codec_all(void);

/* Which codec carries this HDU: the configured one when it accepts the image, else the
 * HDU as it stands when it is already tile-compressed (`tiled`), else rice when it
 * accepts, else the HDU as it stands. "rice" for an HDU that is already losslessly tiled,
 * or holds tiled floats, is also the HDU as it stands. Never NULL. */
const struct codec *codec_choose(const struct codec_options *o, const struct fits_image *img,
                                 bool tiled, bool tiled_lossless);

/* Is what this codec gives back for these options bit-exact? */
bool codec_is_lossless(const struct codec *c, const struct codec_options *o);

#endif
