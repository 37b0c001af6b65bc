#include "common/codec_j2k.h"

#include <math.h>
#include <openjpeg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first message of OpenJPEG in one call, warnings as well: a codestream of ours gives none. */
struct notes {
    char text[256];
    bool any;
};

static void note(const char *message, void *ctx)
{
    struct notes *n = ctx;
    if (n->any)
        return;
    n->any = true;
    snprintf(n->text, sizeof n->text, "%s", message);
    n->text[strcspn(n->text, "\r\n")] = '\0';
}

static void ignore(const char *message, void *ctx)
{
    (void)message;
    (void)ctx;
}

static enum status jp2_fault(const char *doing, const struct notes *n, struct fault *why)
{
    return fault(why, ST_REJECT, "JPEG 2000 %s: %s", doing,
                 n->any ? n->text : "OpenJPEG gives no reason");
}

/* ---- streams in memory ---- */

struct sink {
    struct buf *out;
    size_t start, at; /* position within the codestream */
    bool full;        /* memory is out */
};

static OPJ_SIZE_T sink_write(void *bytes, OPJ_SIZE_T count, void *ctx)
{
    struct sink *s = ctx;
    size_t end = s->start + s->at + count;
    if (end > s->out->len) {
        if (!buf_reserve(s->out, end - s->out->len)) {
            s->full = true;
            return (OPJ_SIZE_T)-1;
        }
        s->out->len = end;
    }
    memcpy(s->out->data + s->start + s->at, bytes, count);
    s->at += count;
    return count;
}

static OPJ_BOOL sink_seek(OPJ_OFF_T offset, void *ctx)
{
    struct sink *s = ctx;
    if (offset < 0 || (size_t)offset > s->out->len - s->start)
        return OPJ_FALSE;
    s->at = (size_t)offset;
    return OPJ_TRUE;
}

static OPJ_OFF_T sink_skip(OPJ_OFF_T count, void *ctx)
{
    struct sink *s = ctx;
    return sink_seek((OPJ_OFF_T)s->at + count, ctx) ? count : -1;
}

struct source {
    const unsigned char *bytes;
    size_t len, at;
};

static OPJ_SIZE_T source_read(void *to, OPJ_SIZE_T count, void *ctx)
{
    struct source *s = ctx;
    size_t left = s->len - s->at, take = count < left ? count : left;
    if (take == 0)
        return (OPJ_SIZE_T)-1;
    memcpy(to, s->bytes + s->at, take);
    s->at += take;
    return take;
}

static OPJ_BOOL source_seek(OPJ_OFF_T offset, void *ctx)
{
    struct source *s = ctx;
    if (offset < 0 || (size_t)offset > s->len)
        return OPJ_FALSE;
    s->at = (size_t)offset;
    return OPJ_TRUE;
}

static OPJ_OFF_T source_skip(OPJ_OFF_T count, void *ctx)
{
    struct source *s = ctx;
    return source_seek((OPJ_OFF_T)s->at + count, ctx) ? count : -1;
}

/* ---- encode ---- */

/* OpenJPEG has no step to set: it cuts a fine code at a wanted signal-to-noise ratio. A
 * uniform quantiser of step d makes a mean square error of d*d/12, and qstep is d as a
 * fraction of the range, so the ratio of the range's square to that error is 12/qstep^2. */
static float psnr_of(double qstep)
{
    return (float)(10 * log10(12 / (qstep * qstep)));
}

/* As many levels as sides allow: OpenJPEG refuses more. */
static int resolutions(const struct j2k_shape *s)
{
    uint32_t least = s->width < s->height ? s->width : s->height;
    int levels = 0;
    while (levels < J2K_LEVELS && least >> (levels + 1) > 0)
        levels++;
    return levels + 1;
}

static void set_parameters(opj_cparameters_t *p, const struct j2k_shape *s,
                           const struct codec_options *o)
{
    opj_set_default_encoder_parameters(p);
    p->tcp_numlayers = 1;
    p->numresolution = resolutions(s);
    if (j2k_is_lossy(o)) {
        p->irreversible = 1;
        p->cp_fixed_quality = 1;
        p->tcp_distoratio[0] = psnr_of(o->qstep);
    } else {
        p->cp_disto_alloc = 1;
        p->tcp_rates[0] = 0;
    }
}

static opj_image_t *picture_of(const struct fits_image *img, const struct j2k_shape *s)
{
    opj_image_cmptparm_t c = {.dx = 1,
                              .dy = 1,
                              .w = s->width,
                              .h = s->height,
                              .prec = (OPJ_UINT32)s->bits,
                              .sgnd = s->is_signed};
    opj_image_t *picture = opj_image_create(1, &c, OPJ_CLRSPC_GRAY);
    if (!picture)
        return NULL;
    picture->x1 = s->width;
    picture->y1 = s->height;
    size_t line = (size_t)s->width * (size_t)s->bits / 8;
    for (uint32_t y = 0; y < s->height; y++)
        j2k_read_line(s, img->data + y * line, picture->comps[0].data + (size_t)y * s->width);
    return picture;
}

static enum status run_encoder(opj_image_t *picture, const struct j2k_shape *s,
                               const struct codec_options *o, struct buf *out, struct fault *why)
{
    struct notes notes = {.any = false};
    struct sink sink = {.out = out, .start = out->len};
    opj_cparameters_t parameters;
    enum status st = ST_OK;
    opj_codec_t *codec = opj_create_compress(OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_create(1 << 20, OPJ_STREAM_WRITE);
    if (!codec || !stream) {
        st = fault(why, ST_RETRY, "JPEG 2000 encoding: no memory");
        goto out;
    }
    opj_set_error_handler(codec, note, &notes);
    opj_set_warning_handler(codec, note, &notes);
    opj_set_info_handler(codec, ignore, NULL);
    opj_stream_set_user_data(stream, &sink, NULL);
    opj_stream_set_write_function(stream, sink_write);
    opj_stream_set_seek_function(stream, sink_seek);
    opj_stream_set_skip_function(stream, sink_skip);
    set_parameters(&parameters, s, o);
    if (!opj_setup_encoder(codec, &parameters, picture) ||
        !opj_start_compress(codec, picture, stream) || !opj_encode(codec, stream) ||
        !opj_end_compress(codec, stream))
        st = sink.full ? fault(why, ST_RETRY, "JPEG 2000 encoding: no memory")
                       : jp2_fault("encoding", &notes, why);
out:
    if (stream)
        opj_stream_destroy(stream);
    if (codec)
        opj_destroy_codec(codec);
    return st;
}

/* ---- decode ---- */

static bool has_shape(const opj_image_t *picture, const struct j2k_shape *s)
{
    const opj_image_comp_t *c = picture->comps;
    return picture->numcomps == 1 && c->w == s->width && c->h == s->height &&
           c->prec == (OPJ_UINT32)s->bits && (c->sgnd != 0) == s->is_signed;
}

static enum status run_decoder(struct source *source, const struct j2k_shape *s,
                               unsigned char *stored, struct fault *why)
{
    struct notes notes = {.any = false};
    opj_dparameters_t parameters;
    opj_image_t *picture = NULL;
    enum status st = ST_OK;
    size_t line = (size_t)s->width * (size_t)s->bits / 8;
    opj_codec_t *codec = opj_create_decompress(OPJ_CODEC_J2K);
    opj_stream_t *stream = opj_stream_create(1 << 20, OPJ_STREAM_READ);
    if (!codec || !stream) {
        st = fault(why, ST_RETRY, "JPEG 2000 decoding: no memory");
        goto out;
    }
    opj_set_error_handler(codec, note, &notes);
    opj_set_warning_handler(codec, note, &notes);
    opj_set_info_handler(codec, ignore, NULL);
    opj_stream_set_user_data(stream, source, NULL);
    opj_stream_set_user_data_length(stream, source->len);
    opj_stream_set_read_function(stream, source_read);
    opj_stream_set_seek_function(stream, source_seek);
    opj_stream_set_skip_function(stream, source_skip);
    opj_set_default_decoder_parameters(&parameters);
    if (!opj_setup_decoder(codec, &parameters) || !opj_read_header(stream, codec, &picture) ||
        !has_shape(picture, s) || !opj_decode(codec, stream, picture) ||
        !opj_end_decompress(codec, stream) || !has_shape(picture, s) || !picture->comps[0].data ||
        notes.any) {
        st = jp2_fault("decoding", &notes, why);
        goto out;
    }
    for (uint32_t y = 0; y < s->height; y++)
        j2k_write_line(s, picture->comps[0].data + (size_t)y * s->width, stored + y * line);
out:
    if (picture)
        opj_image_destroy(picture);
    if (stream)
        opj_stream_destroy(stream);
    if (codec)
        opj_destroy_codec(codec);
    return st;
}

/* ---- the two faces ---- */

/* The mean square error of a codestream, in units of the samples; infinite when broken. */
static double error_of(const struct fits_image *img, const struct j2k_shape *s,
                       struct source codestream)
{
    size_t line = (size_t)s->width * (size_t)s->bits / 8;
    double sum = 0;
    int32_t *samples = malloc(2 * (size_t)s->width * sizeof *samples);
    unsigned char *stored = malloc(img->size);
    if (!samples || !stored || run_decoder(&codestream, s, stored, NULL) != ST_OK)
        sum = INFINITY;
    for (uint32_t y = 0; y < s->height && isfinite(sum); y++) {
        j2k_read_line(s, img->data + y * line, samples);
        j2k_read_line(s, stored + y * line, samples + s->width);
        for (uint32_t x = 0; x < s->width; x++) {
            double d = (double)samples[x] - samples[s->width + x];
            sum += d * d;
        }
    }
    free(samples);
    free(stored);
    return sum / ((double)s->width * s->height);
}

/* Where next to nothing is left of a picture (a step far above its noise), OpenJPEG cuts the
 * few bytes of the lowest subband short, and the error can be a hundred steps. Such pictures
 * are looked at again, which costs little, and get a finer step until the promise holds. */
static enum status encode_promised(const struct fits_image *img, const struct j2k_shape *s,
                                   struct codec_options o, struct buf *out, struct fault *why)
{
    size_t start = out->len;
    double step = o.qstep * (s->bits == 16 ? 65536 : 256);
    for (;; o.qstep /= 2) { /* which ends: below J2K_QSTEP_MIN it is lossless */
        opj_image_t *picture = picture_of(img, s); /* the encoder uses it up */
        if (!picture)
            return fault(why, ST_RETRY, "JPEG 2000 encoding: no memory for a picture");
        enum status st = run_encoder(picture, s, &o, out, why);
        opj_image_destroy(picture);
        size_t len = out->len - start;
        if (st != ST_OK || !j2k_is_lossy(&o) || len > (size_t)s->width * s->height / 16 ||
            error_of(img, s, (struct source){out->data + start, len, 0}) <= (1 + step) * (1 + step))
            return st;
        out->len = start;
    }
}

static enum status encode(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why)
{
    struct fits_image shaped = *img;
    struct j2k_shape s;
    size_t start;
    enum status st = j2k_shape_of(&shaped, &s, why);
    if (st != ST_OK)
        return st;
    if (!j2k_open_boxes(&s, J2K_PART1, out, &start))
        return fault(why, ST_RETRY, "JPEG 2000 encoding: no memory for a picture");
    st = encode_promised(img, &s, *o, out, why);
    if (st == ST_OK && !j2k_close_boxes(out, start))
        st = fault(why, ST_REJECT,
                   "JPEG 2000 encoding: no memory, or a codestream longer than 4 GB");
    if (st != ST_OK)
        out->len = start;
    return st;
}

static enum status decode(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why)
{
    struct j2k_shape s;
    struct source source = {0};
    enum status st = j2k_shape_of(img, &s, why);
    if (st == ST_OK)
        st = j2k_check(bytes, len, &s, J2K_PART1, &source.bytes, &source.len, why);
    if (st != ST_OK)
        return st;
    img->data = malloc(img->size);
    if (!img->data)
        return fault(why, ST_RETRY, "JPEG 2000 decoding: no memory for %zu bytes", img->size);
    st = run_decoder(&source, &s, img->data, why);
    if (st != ST_OK) {
        free(img->data);
        img->data = NULL;
    }
    return st;
}

const struct codec codec_jp2 = {
    .name = "jp2",
    .suffix = ".jp2",
    .has_header = false,
    .lossy_possible = true,
    .accepts = j2k_accepts,
    .encode = encode,
    .decode = decode,
    .sentence = "JPEG 2000 Part 1 (OpenJPEG), for tools that read nothing newer: slower, kinder "
                "to faint sources; lossy quality as of a uniform quantiser of step qstep",
};
