#include "common/codec_j2k.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/digest.h"

/* gcc turns these loops into vector code at -O3 only; clang does so at -O2. */
#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

/* ---- which images ---- */

bool j2k_is_lossy(const struct codec_options *o)
{
    return !o->reversible && (o->step[0] > 0 || !(o->qstep >= 0 && o->qstep < J2K_QSTEP_MIN));
}

/* A card's number; `missing` when there is none, NaN (equal to nothing) when it is no number. */
static double real_or(const struct fits_header *h, const char *key, double missing)
{
    double value;
    if (fits_header_find(h, key) < 0)
        return missing;
    return fits_header_real(h, key, &value) ? value : (double)__builtin_nan("");
}

static bool is_unsigned16(const struct fits_image *img)
{
    return img->bitpix == 16 && real_or(&img->header, "BZERO", 0) == 32768 &&
           real_or(&img->header, "BSCALE", 1) == 1;
}

bool j2k_accepts(const struct fits_image *img, const struct codec_options *o)
{
    if (!codec_is_flat(img))
        return false;
    if (!j2k_is_lossy(o))
        return true;
    double bzero = real_or(&img->header, "BZERO", 0);
    bool plain = real_or(&img->header, "BSCALE", 1) == 1 &&
                 (bzero == 0 || (img->bitpix == 16 && bzero == 32768) ||
                  (img->bitpix == 8 && bzero == -128));
    bool steps = o->step[0] > 0 || (o->qstep > 0 && o->qstep <= J2K_QSTEP_MAX);
    return plain && fits_header_find(&img->header, "BLANK") < 0 && steps &&
           img->naxes[0] >= J2K_LOSSY_SIDE &&
           img->naxes[1] >= J2K_LOSSY_SIDE;
}

enum status j2k_shape_of(struct fits_image *img, struct j2k_shape *out, struct fault *why)
{
    enum status st = fits_image_shape(img, why);
    if (st != ST_OK)
        return st;
    if (!codec_is_flat(img))
        return fault(why, ST_REJECT, "JPEG 2000 cannot hold an image of BITPIX %d, %d axes, "
                     "%" PRId64 " x %" PRId64, img->bitpix, img->naxis, img->naxes[0],
                     img->naxis > 1 ? img->naxes[1] : 0);
    *out = (struct j2k_shape){.width = (uint32_t)img->naxes[0],
                              .height = (uint32_t)img->naxes[1],
                              .bits = img->bitpix,
                              .is_signed = img->bitpix == 16 && !is_unsigned16(img)};
    return ST_OK;
}

/* ---- samples ---- */

VECTORISE static void read16(const uint16_t *restrict from, int32_t *restrict to, size_t n,
                             uint16_t flip, int32_t shift)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint16_t)(__builtin_bswap16(from[i]) ^ flip) + shift;
}

VECTORISE static void read8(const uint8_t *restrict from, int32_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i];
}

VECTORISE static void write16(const int32_t *restrict from, uint16_t *restrict to, size_t n,
                              int32_t low)
{
    int32_t high = low + 65535;
    for (size_t i = 0; i < n; i++) {
        int32_t v = from[i] < low ? low : from[i] > high ? high : from[i];
        to[i] = __builtin_bswap16((uint16_t)((uint16_t)(v - low) ^ 0x8000u));
    }
}

VECTORISE static void write8(const int32_t *restrict from, uint8_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(from[i] < 0 ? 0 : from[i] > 255 ? 255 : from[i]);
}

int j2k_depth(const struct j2k_shape *s, bool *is_signed)
{
    *is_signed = s->is_signed || s->shifted;
    return s->shifted ? 17 : s->bits;
}

/* Both kinds of 16-bit data are the stored value with its sign bit turned, less 32768 when
 * the samples are signed. Rows of an even number of bytes in a malloc'ed image are aligned. */
void j2k_read_line(const struct j2k_shape *s, const unsigned char *stored, int32_t *samples)
{
    if (s->bits == 8)
        read8(stored, samples, s->width);
    else
        read16((const uint16_t *)(const void *)stored, samples, s->width, 0x8000,
               (s->is_signed ? -32768 : 0) - (s->shifted ? s->offset : 0));
}

void j2k_write_line(const struct j2k_shape *s, const int32_t *samples, unsigned char *stored)
{
    if (s->bits == 8)
        write8(samples, stored, s->width);
    else
        write16(samples, (uint16_t *)(void *)stored, s->width,
                (s->is_signed ? -32768 : 0) - (s->shifted ? s->offset : 0));
}

/* ---- boxes ---- */

static void put_u32(unsigned char *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static uint32_t get_u16(const unsigned char *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get_u32(const unsigned char *p)
{
    return get_u16(p) << 16 | get_u16(p + 2);
}

/* The whole of a file before its codestream. Kept as bytes, it reads like the standard's
 * figures and is compared as one run when decoding. */
#define BOXES 85
#define CODESTREAM_BOX 77 /* where the codestream's own box begins */
#define SHIFTED_DEPTH (16 | 0x80)
#define SEAL 88           /* the UUID box behind it */
#define SEAL_DIGEST 24    /* where in it the digest begins */

/* As the picture's header box and SIZ have it. */
static unsigned char depth_byte(const struct j2k_shape *s)
{
    bool is_signed;
    int depth = j2k_depth(s, &is_signed);
    return (unsigned char)((depth - 1) | (is_signed ? 0x80 : 0));
}

static void fill_boxes(const struct j2k_shape *s, enum j2k_kind kind, unsigned char box[BOXES])
{
    static const unsigned char pattern[BOXES] = {
        0, 0, 0, 12, 'j', 'P', ' ', ' ', 0x0d, 0x0a, 0x87, 0x0a,            /* signature */
        0, 0, 0, 20, 'f', 't', 'y', 'p', 'j', 'p', '2', ' ', 0, 0, 0, 0,    /* brand, version, */
        'j', 'p', '2', ' ',                                                 /* compatible with */
        0, 0, 0, 45, 'j', 'p', '2', 'h',                                    /* header: */
        0, 0, 0, 22, 'i', 'h', 'd', 'r', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,   /* sides, 1 component */
        7, 0, 0,                                                            /* wavelets */
        0, 0, 0, 15, 'c', 'o', 'l', 'r', 1, 0, 0, 0, 0, 0, 17,              /* greyscale */
        0, 0, 0, 0, 'j', 'p', '2', 'c'};
    memcpy(box, pattern, BOXES);
    if (kind == J2K_HT)
        box[22] = box[30] = 'h';
    put_u32(box + 48, s->height);
    put_u32(box + 52, s->width);
    box[58] = depth_byte(s);
}

bool j2k_open_boxes(const struct j2k_shape *s, enum j2k_kind kind, struct buf *out, size_t *start)
{
    unsigned char box[BOXES];
    fill_boxes(s, kind, box);
    *start = out->len;
    return buf_append(out, box, sizeof box);
}

static void fill_seal(const void *file, size_t len, unsigned char box[SEAL])
{
    /* The 16 bytes in the middle name the kind of box: 0a7daae0-778f-5d11-8b26-daca6b7fc596. */
    static const unsigned char head[SEAL_DIGEST] = {0,    0,    0,    SEAL, 'u',  'u',  'i',  'd',
                                                    0x0a, 0x7d, 0xaa, 0xe0, 0x77, 0x8f, 0x5d, 0x11,
                                                    0x8b, 0x26, 0xda, 0xca, 0x6b, 0x7f, 0xc5, 0x96};
    char hex[DIGEST_HEX];
    digest_bytes(file, len, hex);
    memcpy(box, head, SEAL_DIGEST);
    memcpy(box + SEAL_DIGEST, hex, SEAL - SEAL_DIGEST);
}

bool j2k_close_boxes(struct buf *out, size_t start)
{
    unsigned char seal[SEAL];
    size_t len = out->len - start;
    if (len - CODESTREAM_BOX > UINT32_MAX)
        return false;
    put_u32(out->data + start + CODESTREAM_BOX, (uint32_t)(len - CODESTREAM_BOX));
    fill_seal(out->data + start, len, seal);
    return buf_append(out, seal, SEAL);
}

/* ---- the codestream's main header (ISO/IEC 15444-1 annex A) ---- */

enum marker {
    SOC = 0xff4f, CAP = 0xff50, SIZ = 0xff51, COD = 0xff52, QCD = 0xff5c, COM = 0xff64,
    SOT = 0xff90, SOD = 0xff93, EOC = 0xffd9
};

static enum status check_siz(const unsigned char *p, size_t len, const struct j2k_shape *s,
                             struct fault *why)
{
    uint32_t depth = depth_byte(s);
    static const unsigned char zeros[8];
    if (len != 39 || get_u16(p + 34) != 1)
        return fault(why, ST_REJECT, "the codestream has more than one component");
    if (get_u32(p + 2) != s->width || get_u32(p + 6) != s->height || p[36] != depth)
        return fault(why, ST_REJECT, "the codestream's width, height or depth is another than its "
                     "picture's");
    if (memcmp(p + 10, zeros, 8) != 0 || memcmp(p + 26, zeros, 8) != 0 ||
        get_u32(p + 18) < s->width || get_u32(p + 22) < s->height || p[37] != 1 || p[38] != 1)
        return fault(why, ST_REJECT, "the codestream has several tiles, offsets or subsampling");
    return ST_OK;
}

/* Only the style that both encoders are told to use: anything else is damage, and some of
 * it (tiny precincts, many levels) would cost gigabytes. */
static enum status check_cod(const unsigned char *p, size_t len, enum j2k_kind kind,
                             struct fault *why)
{
    uint32_t style = kind == J2K_HT ? 0x40 : 0;
    if (len != 10 || p[0] != 0 || p[1] > 4 || get_u16(p + 2) != 1 || p[4] != 0 ||
        p[5] > J2K_LEVELS || p[6] != 4 || p[7] != 4 || p[8] != style || p[9] > 1)
        return fault(why, ST_REJECT, "the codestream's coding style is not one that this program "
                     "writes");
    return ST_OK;
}

/* QCD: one step for each subband of the levels that COD promised. */
static enum status check_qcd(const unsigned char *p, size_t len, int levels, struct fault *why)
{
    size_t bands = 3 * (size_t)levels + 1;
    int style = len > 0 ? p[0] & 0x1f : -1;
    if (levels < 0 || !((style == 0 && len == 1 + bands) || (style == 2 && len == 1 + 2 * bands)))
        return fault(why, ST_REJECT, "the codestream's quantisation steps are not one a subband");
    return ST_OK;
}

/* The one tile-part must reach exactly to the end marker. */
static enum status check_tile_part(const unsigned char *p, size_t left, struct fault *why)
{
    if (left < 16 || get_u16(p + 2) != 10 || get_u16(p + 4) != 0 || p[10] != 0 || p[11] > 1 ||
        get_u16(p + 12) != SOD)
        return fault(why, ST_REJECT, "the codestream's tile header is damaged");
    if (get_u32(p + 6) != left - 2 || get_u16(p + left - 2) != EOC)
        return fault(why, ST_REJECT, "the codestream is cut or has bytes too many");
    return ST_OK;
}

/* The comment with the offset; other comments say nothing. */
static enum status check_comment(const unsigned char *p, size_t len, struct j2k_shape *s,
                                 struct fault *why)
{
    char text[64], *end;
    size_t words = strlen(J2K_OFFSET_WORDS);
    if (!s->shifted || len < 2 + words || memcmp(p + 2, J2K_OFFSET_WORDS, words) != 0)
        return ST_OK;
    if (len - 2 >= sizeof text)
        return fault(why, ST_REJECT, "the codestream's offset is too long");
    memcpy(text, p + 2, len - 2);
    text[len - 2] = '\0';
    long offset = strtol(text + words, &end, 10);
    if (end == text + words || end != text + len - 2 || offset < -32768 || offset > 65535)
        return fault(why, ST_REJECT, "the codestream's offset '%s' is no pixel value",
                     text + words);
    s->offset = (int32_t)offset;
    return ST_OK;
}

static enum status check_codestream(const unsigned char *p, size_t len, struct j2k_shape *s,
                                    enum j2k_kind kind, struct fault *why)
{
    size_t at = 2;
    int levels = -1;
    bool sized = false, quantised = false, capable = false;
    if (len < 4 || get_u16(p) != SOC)
        return fault(why, ST_REJECT, "the codestream does not begin as JPEG 2000 does");
    while (at + 4 <= len && get_u16(p + at) != SOT) {
        uint32_t marker = get_u16(p + at), size = get_u16(p + at + 2);
        const unsigned char *body = p + at + 4;
        enum status st = ST_OK;
        if (size < 2 || size > len - at - 2)
            return fault(why, ST_REJECT, "the codestream's main header is damaged");
        if ((marker == SIZ) != (at == 2) || (marker == COD && levels >= 0) ||
            (marker == QCD && quantised) || (marker == CAP && capable))
            return fault(why, ST_REJECT, "the codestream's main header is out of order");
        if (marker == SIZ) {
            st = check_siz(body, size - 2, s, why);
            sized = true;
        } else if (marker == COD) {
            st = check_cod(body, size - 2, kind, why);
            levels = st == ST_OK ? body[5] : -1;
        } else if (marker == QCD) {
            st = check_qcd(body, size - 2, levels, why);
            quantised = true;
        } else if (marker == CAP && kind == J2K_HT) {
            capable = size == 8;
        } else if (marker == COM) {
            st = check_comment(body, size - 2, s, why);
        } else {
            st = fault(why, ST_REJECT, "the codestream has a marker 0x%04" PRIx32 " that this "
                       "program does not write", marker);
        }
        if (st != ST_OK)
            return st;
        at += 2 + size;
    }
    if (at + 4 > len || !sized || levels < 0 || !quantised || capable != (kind == J2K_HT))
        return fault(why, ST_REJECT, "the codestream's main header is not whole");
    return check_tile_part(p + at, len - at, why);
}

/* The boxes and the seal: what is damaged, and whether it is a picture of this shape. */
static enum status check_file(const unsigned char *p, size_t len, const struct j2k_shape *s,
                              enum j2k_kind kind, struct fault *why)
{
    unsigned char expected[BOXES], seal[SEAL];
    const char *name = kind == J2K_HT ? "JPH" : "JP2";
    fill_boxes(s, kind, expected);
    if (len < BOXES + SEAL || memcmp(p, expected, 48) != 0)
        return fault(why, ST_REJECT, "%zu bytes are no %s file, or a damaged one", len, name);
    if (get_u32(p + CODESTREAM_BOX) != len - SEAL - CODESTREAM_BOX)
        return fault(why, ST_REJECT, "the %s file is cut: %zu bytes, its boxes say %" PRIu64, name,
                     len, (uint64_t)get_u32(p + CODESTREAM_BOX) + CODESTREAM_BOX + SEAL);
    fill_seal(p, len - SEAL, seal);
    if (memcmp(p + len - SEAL, seal, SEAL) != 0)
        return fault(why, ST_REJECT, "the %s file is damaged: its SHA-256 is not the one it was "
                     "written with", name);
    if (memcmp(p + 48, expected + 48, 8) != 0)
        return fault(why, ST_REJECT, "the picture is %" PRIu32 " x %" PRIu32
                     " where the header asks for %" PRIu32 " x %" PRIu32, get_u32(p + 52),
                     get_u32(p + 48), s->width, s->height);
    if (p[58] != expected[58])
        return fault(why, ST_REJECT, "the picture has %d-bit %s samples where the header asks "
                     "for %d-bit %s ones", (p[58] & 0x7f) + 1, p[58] & 0x80 ? "signed" : "unsigned",
                     s->bits, s->is_signed ? "signed" : "unsigned");
    if (memcmp(p, expected, CODESTREAM_BOX) != 0 ||
        memcmp(p + CODESTREAM_BOX + 4, expected + CODESTREAM_BOX + 4, 4) != 0)
        return fault(why, ST_REJECT, "the %s file's boxes are not those that this program writes",
                     name);
    return ST_OK;
}

enum status j2k_check(const void *file, size_t len, struct j2k_shape *s, enum j2k_kind kind,
                      const unsigned char **codestream, size_t *codestream_len, struct fault *why)
{
    const unsigned char *box = file;
    s->offset = 0;
    s->shifted = kind == J2K_HT && s->bits == 16 && len > BOXES && box[58] == SHIFTED_DEPTH;
    enum status st = check_file(file, len, s, kind, why);
    if (st != ST_OK)
        return st;
    *codestream = (const unsigned char *)file + BOXES;
    *codestream_len = len - BOXES - SEAL;
    return check_codestream(*codestream, *codestream_len, s, kind, why);
}
