#include "common/codec.h"

#include <inttypes.h>
#include <jxl/decode.h>
#include <jxl/encode.h>
#include <stdlib.h>
#include <string.h>

#include "common/digest.h"
#include "common/residual.h"

/* Why residuals and effort 1, measured on the simulated camera's dark g exposures (ccds of
 * 2160 x 4146, sky noise 3 ADU; bytes against `fpack -r`, CPU time of one thread, libjxl 0.7,
 * all but the last in the strips below):
 *     plain pixels, effort 1 / 2 / 3             -6.5 / -10.5 / -11.5 %  at 110 / 95 / 44 MB/s
 *     squeezed, effort 4, no tree / a learned one      -13.5 / -16.5 %   at 80 / 24 MB/s
 *     residuals (common/residual.h), effort 1               -16.3 %      at 95 MB/s
 *     the whole ccd in one frame, effort 7                    -15 %      at 2 MB/s
 * The fast efforts know one guess, made for clean pictures, which leaves 0.35 bits more of
 * pure noise than there need be; so the guess is ours. The file is JPEG XL that every reader
 * decodes, but the picture in it shows noise: its pixels are residual.h's field. */
#define EFFORT 1
/* Groups of 1024 x 1024 pixels: at a group's edges libjxl guesses otherwise than residual.h
 * foresees, which costs bytes, never pixels. */
#define GROUP_SHIFT 3
/* Each strip of about so many pixels is a frame of its own: libjxl holds some 35 bytes for
 * each pixel of a frame, 300 MiB for a whole ccd at once; the strips save time, too. */
#define STRIP (1 << 18)

struct shape {
    uint32_t width, height, strip; /* strip: lines of each frame but the last */
    int bits;
};

static bool accepts(const struct fits_image *img, const struct codec_options *o)
{
    (void)o;
    return codec_is_flat(img);
}

static enum status shape_of(struct fits_image *img, struct shape *s, struct fault *why)
{
    enum status st = fits_image_shape(img, why);
    if (st != ST_OK)
        return st;
    if (!codec_is_flat(img))
        return fault(why, ST_REJECT, "JPEG XL: cannot hold an image of BITPIX %d, %d axes, "
                     "%" PRId64 " x %" PRId64, img->bitpix, img->naxis, img->naxes[0],
                     img->naxis > 1 ? img->naxes[1] : 0);
    *s = (struct shape){(uint32_t)img->naxes[0], (uint32_t)img->naxes[1], 1, img->bitpix};
    if (s->width < STRIP)
        s->strip = STRIP / s->width;
    return ST_OK;
}

static uint32_t lines_of_strip(const struct shape *s, uint32_t first)
{
    return s->height - first < s->strip ? s->height - first : s->strip;
}

static const JxlPixelFormat format = {1, JXL_TYPE_UINT16, JXL_NATIVE_ENDIAN, 0};

/* ---- the seal ---- */

/* The last box of a file: whose picture it is and the SHA-256 of all before the digits.
 * Other readers skip it; ours hands libjxl nothing that does not bear its seal. */
#define SEAL 100
#define SEAL_SHAPE 24  /* where width, height and bits begin, 4 bytes each */
#define SEAL_DIGEST 36 /* and the 64 digits */

static void put_u32(unsigned char *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static uint32_t get_u32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static bool add_seal(struct buf *out, size_t start, const struct shape *s)
{
    /* The 16 bytes behind "uuid" name the kind of box: 4c1f9b52-9e0d-5b8e-a1c7-30d2f7656b19. */
    static const unsigned char head[SEAL_SHAPE] = {0,    0,    0,    SEAL, 'u',  'u',  'i',  'd',
                                                   0x4c, 0x1f, 0x9b, 0x52, 0x9e, 0x0d, 0x5b, 0x8e,
                                                   0xa1, 0xc7, 0x30, 0xd2, 0xf7, 0x65, 0x6b, 0x19};
    unsigned char shape[SEAL_DIGEST - SEAL_SHAPE];
    char hex[DIGEST_HEX];
    put_u32(shape, s->width);
    put_u32(shape + 4, s->height);
    put_u32(shape + 8, (uint32_t)s->bits);
    if (!buf_append(out, head, sizeof head) || !buf_append(out, shape, sizeof shape))
        return false;
    digest_bytes(out->data + start, out->len - start, hex);
    return buf_append(out, hex, SEAL - SEAL_DIGEST);
}

static enum status check_seal(const unsigned char *file, size_t len, const struct shape *s,
                              struct fault *why)
{
    static const unsigned char begin[12] = {0, 0, 0, 12, 'J', 'X', 'L', ' ', 13, 10, 0x87, 10};
    const unsigned char *seal = file + len - SEAL, *shape = seal + SEAL_SHAPE;
    char hex[DIGEST_HEX];
    if (len < sizeof begin + SEAL || memcmp(file, begin, sizeof begin) != 0)
        return fault(why, ST_REJECT, "%zu bytes are no JPEG XL file, or a damaged one", len);
    digest_bytes(file, len - (SEAL - SEAL_DIGEST), hex);
    if (memcmp(seal + SEAL_DIGEST, hex, SEAL - SEAL_DIGEST) != 0)
        return fault(why, ST_REJECT, "the JPEG XL file is cut or damaged: its SHA-256 is not the "
                     "one it was written with");
    if (get_u32(shape) != s->width || get_u32(shape + 4) != s->height ||
        get_u32(shape + 8) != (uint32_t)s->bits)
        return fault(why, ST_REJECT, "the picture is %" PRIu32 " x %" PRIu32 " of %" PRIu32
                     " bits where the header asks for %" PRIu32 " x %" PRIu32 " of %d bits",
                     get_u32(shape), get_u32(shape + 4), get_u32(shape + 8), s->width, s->height,
                     s->bits);
    return ST_OK;
}

/* ---- encode ---- */

/* Whatever the encoder has ready, appended. */
static enum status drain(JxlEncoder *encoder, struct buf *out, struct fault *why)
{
    JxlEncoderStatus got;
    do {
        if (!buf_reserve(out, 1 << 18))
            return fault(why, ST_RETRY, "JPEG XL encoding: no memory");
        uint8_t *next = out->data + out->len;
        size_t room = out->cap - out->len;
        got = JxlEncoderProcessOutput(encoder, &next, &room);
        out->len = (size_t)(next - out->data);
    } while (got == JXL_ENC_NEED_MORE_OUTPUT);
    if (got != JXL_ENC_SUCCESS)
        return fault(why, ST_RETRY, "JPEG XL encoding: libjxl gives error %d (no memory?)",
                     (int)JxlEncoderGetError(encoder));
    return ST_OK;
}

/* Options as in the table on top; NULL when libjxl refuses one (or has no memory). */
static JxlEncoderFrameSettings *set_up(JxlEncoder *encoder, const struct shape *s)
{
    JxlBasicInfo info;
    JxlColorEncoding grey;
    JxlEncoderInitBasicInfo(&info);
    info.xsize = s->width;
    info.ysize = s->height;
    info.bits_per_sample = 16;
    info.num_color_channels = 1;
    info.uses_original_profile = JXL_TRUE;
    JxlColorEncodingSetToLinearSRGB(&grey, JXL_TRUE);
    JxlEncoderFrameSettings *f = JxlEncoderFrameSettingsCreate(encoder, NULL);
    if (!f || JxlEncoderUseContainer(encoder, JXL_TRUE) != JXL_ENC_SUCCESS ||
        JxlEncoderSetCodestreamLevel(encoder, 10) != JXL_ENC_SUCCESS || /* for 16 bits */
        JxlEncoderSetBasicInfo(encoder, &info) != JXL_ENC_SUCCESS ||
        JxlEncoderSetColorEncoding(encoder, &grey) != JXL_ENC_SUCCESS ||
        JxlEncoderSetFrameLossless(f, JXL_TRUE) != JXL_ENC_SUCCESS ||
        JxlEncoderFrameSettingsSetOption(f, JXL_ENC_FRAME_SETTING_EFFORT, EFFORT) !=
            JXL_ENC_SUCCESS ||
        JxlEncoderFrameSettingsSetOption(f, JXL_ENC_FRAME_SETTING_MODULAR_GROUP_SIZE,
                                         GROUP_SHIFT) != JXL_ENC_SUCCESS ||
        /* Values that are renumbered to close gaps are guessed otherwise than foreseen. */
        JxlEncoderFrameSettingsSetFloatOption(f, JXL_ENC_FRAME_SETTING_CHANNEL_COLORS_GLOBAL_PERCENT,
                                              0) != JXL_ENC_SUCCESS ||
        JxlEncoderFrameSettingsSetFloatOption(f, JXL_ENC_FRAME_SETTING_CHANNEL_COLORS_GROUP_PERCENT,
                                              0) != JXL_ENC_SUCCESS)
        return NULL;
    return f;
}

/* One frame: lines [y, y + count) of the picture, replacing what is there. */
static bool add_frame(JxlEncoderFrameSettings *settings, const struct shape *s, uint32_t y,
                      uint32_t count, const uint16_t *field)
{
    JxlFrameHeader h;
    JxlEncoderInitFrameHeader(&h);
    h.layer_info.have_crop = JXL_TRUE;
    h.layer_info.crop_y0 = (int32_t)y;
    h.layer_info.xsize = s->width;
    h.layer_info.ysize = count;
    return JxlEncoderSetFrameHeader(settings, &h) == JXL_ENC_SUCCESS &&
           JxlEncoderAddImageFrame(settings, &format, field,
                                   (size_t)s->width * count * sizeof *field) == JXL_ENC_SUCCESS;
}

static enum status encode_strips(const struct fits_image *img, const struct shape *s,
                                 struct buf *out, struct fault *why)
{
    enum status st = ST_OK;
    struct residual residual = {0};
    size_t line = (size_t)s->width * (size_t)s->bits / 8;
    uint16_t *field = malloc((size_t)s->width * lines_of_strip(s, 0) * sizeof *field);
    JxlEncoder *encoder = JxlEncoderCreate(NULL);
    JxlEncoderFrameSettings *settings = encoder ? set_up(encoder, s) : NULL;
    if (!field || !settings || !residual_open(&residual, s->width, s->bits)) {
        st = fault(why, ST_RETRY, "JPEG XL encoding: no memory");
        goto out;
    }
    for (uint32_t y = 0, count; y < s->height && st == ST_OK; y += count) {
        count = lines_of_strip(s, y);
        residual_make(&residual, img->data + y * line, count, field);
        if (!add_frame(settings, s, y, count, field)) {
            st = fault(why, ST_RETRY, "JPEG XL encoding: libjxl gives error %d (no memory?)",
                       (int)JxlEncoderGetError(encoder));
            goto out;
        }
        if (y + count == s->height)
            JxlEncoderCloseInput(encoder);
        st = drain(encoder, out, why);
    }
out:
    JxlEncoderDestroy(encoder);
    residual_close(&residual);
    free(field);
    return st;
}

static enum status encode(const struct fits_image *img, const struct codec_options *o,
                          struct buf *out, struct fault *why)
{
    struct fits_image shaped = *img;
    struct shape s;
    size_t start = out->len;
    (void)o;
    enum status st = shape_of(&shaped, &s, why);
    if (st == ST_OK)
        st = encode_strips(img, &s, out, why);
    if (st == ST_OK && !add_seal(out, start, &s))
        st = fault(why, ST_RETRY, "JPEG XL encoding: no memory");
    if (st != ST_OK)
        out->len = start;
    return st;
}

/* ---- decode ---- */

struct decoding {
    struct shape s;
    JxlDecoder *decoder;
    struct residual residual;
    uint16_t *field;
    uint32_t y, count; /* the frame at hand: its first line and how many */
    unsigned char *stored;
};

/* Is the picture as a whole what was sealed? */
static bool is_ours(const struct decoding *d)
{
    JxlBasicInfo i;
    return JxlDecoderGetBasicInfo(d->decoder, &i) == JXL_DEC_SUCCESS && i.xsize == d->s.width &&
           i.ysize == d->s.height && i.bits_per_sample == 16 && i.exponent_bits_per_sample == 0 &&
           i.num_color_channels == 1 && i.num_extra_channels == 0 && i.uses_original_profile &&
           !i.have_preview && !i.have_animation;
}

/* Is the frame at hand the strip that comes next? */
static bool is_next(struct decoding *d)
{
    JxlFrameHeader h;
    if (d->y == d->s.height || JxlDecoderGetFrameHeader(d->decoder, &h) != JXL_DEC_SUCCESS)
        return false;
    d->count = lines_of_strip(&d->s, d->y);
    return h.layer_info.crop_x0 == 0 && h.layer_info.crop_y0 == (int32_t)d->y &&
           h.layer_info.xsize == d->s.width && h.layer_info.ysize == d->count;
}

static bool give_room(struct decoding *d)
{
    size_t room = (size_t)d->s.width * d->count * sizeof *d->field, asked;
    return d->count > 0 &&
           JxlDecoderImageOutBufferSize(d->decoder, &format, &asked) == JXL_DEC_SUCCESS &&
           asked == room &&
           JxlDecoderSetImageOutBuffer(d->decoder, &format, d->field, room) == JXL_DEC_SUCCESS;
}

static bool take_strip(struct decoding *d)
{
    if (d->count == 0)
        return false;
    residual_undo(&d->residual, d->field, d->count,
                  d->stored + (size_t)d->y * d->s.width * (size_t)d->s.bits / 8);
    d->y += d->count;
    d->count = 0;
    return true;
}

/* False at the first thing that this program does not write. */
static bool decode_strips(struct decoding *d)
{
    for (;;) {
        bool go_on;
        switch (JxlDecoderProcessInput(d->decoder)) {
        case JXL_DEC_BASIC_INFO:
            go_on = is_ours(d);
            break;
        case JXL_DEC_FRAME:
            go_on = is_next(d);
            break;
        case JXL_DEC_NEED_IMAGE_OUT_BUFFER:
            go_on = give_room(d);
            break;
        case JXL_DEC_FULL_IMAGE:
            go_on = take_strip(d);
            break;
        case JXL_DEC_SUCCESS:
            return d->y == d->s.height;
        default:
            return false;
        }
        if (!go_on)
            return false;
    }
}

static enum status decode_all(struct decoding *d, const void *bytes, size_t len, struct fault *why)
{
    size_t field = (size_t)d->s.width * lines_of_strip(&d->s, 0);
    enum status st = ST_OK;
    d->field = malloc(field * sizeof *d->field);
    d->decoder = JxlDecoderCreate(NULL);
    if (!d->field || !d->decoder || !residual_open(&d->residual, d->s.width, d->s.bits) ||
        JxlDecoderSubscribeEvents(d->decoder, JXL_DEC_BASIC_INFO | JXL_DEC_FRAME |
                                                  JXL_DEC_FULL_IMAGE) != JXL_DEC_SUCCESS ||
        JxlDecoderSetCoalescing(d->decoder, JXL_FALSE) != JXL_DEC_SUCCESS ||
        JxlDecoderSetInput(d->decoder, bytes, len) != JXL_DEC_SUCCESS) {
        st = fault(why, ST_RETRY, "JPEG XL decoding: no memory");
        goto out;
    }
    JxlDecoderCloseInput(d->decoder);
    if (!decode_strips(d))
        st = fault(why, ST_REJECT, "JPEG XL decoding: the codestream is damaged, or not one that "
                   "this program writes (at line %" PRIu32 " of %" PRIu32 ")", d->y, d->s.height);
out:
    JxlDecoderDestroy(d->decoder);
    residual_close(&d->residual);
    free(d->field);
    return st;
}

static enum status decode(const void *bytes, size_t len, struct fits_image *img,
                          struct fault *why)
{
    struct decoding d = {0};
    enum status st = shape_of(img, &d.s, why);
    if (st == ST_OK)
        st = check_seal(bytes, len, &d.s, why);
    if (st != ST_OK)
        return st;
    d.stored = img->data = malloc(img->size);
    if (!img->data)
        return fault(why, ST_RETRY, "JPEG XL decoding: no memory for %zu bytes", img->size);
    st = decode_all(&d, bytes, len - SEAL, why);
    if (st != ST_OK) {
        free(img->data);
        img->data = NULL;
    }
    return st;
}

const struct codec codec_jxl = {
    .name = "jxl",
    .suffix = ".jxl",
    .has_header = false,
    .lossy_possible = false,
    .never_larger = true,
    .accepts = accepts,
    .encode = encode,
    .decode = decode,
    .sentence = "lossless and smallest: each pixel's residual from a mean of those before it, in "
                "JPEG XL (libjxl)",
};
