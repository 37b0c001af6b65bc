/* OpenJPEG as an independent reader of what the JPEG 2000 codecs write. */
#ifndef SKYFERRY_OPENJPEG_FIXTURE_H
#define SKYFERRY_OPENJPEG_FIXTURE_H

#include <openjpeg.h>
#include <stddef.h>

/* The samples of a file as OpenJPEG's own JP2 reader sees it, NULL when it does not. */
static inline opj_image_t *read_by_openjpeg(const char *path)
{
    opj_dparameters_t parameters;
    opj_image_t *picture = NULL;
    opj_stream_t *stream = opj_stream_create_default_file_stream(path, OPJ_STREAM_READ);
    opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_JP2);
    opj_set_default_decoder_parameters(&parameters);
    if (!stream || !opj_setup_decoder(codec, &parameters) ||
        !opj_read_header(stream, codec, &picture) || !opj_decode(codec, stream, picture) ||
        !opj_end_decompress(codec, stream)) {
        opj_image_destroy(picture);
        picture = NULL;
    }
    opj_stream_destroy(stream);
    opj_destroy_codec(codec);
    return picture;
}

#endif
