#include "common/codec_j2k.h"

#include <string.h>

/* Each row lives in its own file, codec_NAME.c. */
extern const struct codec codec_original, codec_rice, codec_htj2k, codec_jp2;

static const struct codec *const rows[] = {&codec_original, &codec_rice, &codec_htj2k, &codec_jp2,
                                           NULL};

const struct codec *const *codec_all(void)
{
    return rows;
}

const struct codec *codec_find(const char *name)
{
    for (const struct codec *const *c = rows; name && *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

const struct codec *codec_choose(const struct codec_options *o, const struct fits_image *img,
                                 bool tiled, bool tiled_lossless)
{
    const struct codec *wanted = codec_find(o->method);
    /* Floats that were quantised once lost what they lost: packed anew without loss they
     * would only grow threefold. */
    if (wanted == &codec_rice && tiled && (tiled_lossless || img->bitpix < 0))
        return &codec_original;
    if (wanted && wanted->accepts(img, o))
        return wanted;
    if (!tiled && codec_rice.accepts(img, o))
        return &codec_rice;
    return &codec_original;
}

bool codec_is_lossless(const struct codec *c, const struct codec_options *o)
{
    return !c->lossy_possible || !j2k_is_lossy(o);
}
