#include "pull/unpack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/codec.h"

#define HEADER_MAX (16 << 20) /* bytes of one HDU's cards; fits_scan allows 10 MB */

/* Cards that tell where a file came from; an earlier passage's are replaced. */
static const char *const provenance[] = {"SFCODEC", "SFQSTEP", "SFRATIO", "SFSRC", "SFSHA",
                                         "SFEXT",   "SFHDU",   "SFVERS",  NULL};

/* ---- members ---- */

static const struct member *find(const struct manifest *m, enum member_role role, int hdu)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == role && m->members[i].hdu == hdu)
            return &m->members[i];
    return NULL;
}

/* The bytes that a member of role header or hdu, or of codec "original", stands for. */
static enum status read_exact(int fd, const struct member *one, int64_t max, struct buf *out,
                              struct fault *why)
{
    struct buf packed = {0};
    if (one->raw_size > max || one->size > max)
        return fault(why, ST_REJECT, "member %s: %" PRId64 " bytes are more than can be unpacked",
                     one->name, one->raw_size > one->size ? one->raw_size : one->size);
    if (strcmp(one->codec, "original") == 0)
        return bundle_read(fd, one, out, why);
    if (strcmp(one->codec, "zstd") != 0)
        return fault(why, ST_REJECT, "member %s: codec %s is unknown for whole HDUs and headers",
                     one->name, one->codec);
    size_t before = out->len;
    enum status s = bundle_read(fd, one, &packed, why);
    if (s != ST_OK)
        goto out;
    s = bundle_expand(packed.data, packed.len, (size_t)one->raw_size, out, why);
    if (s != ST_OK)
        s = why ? fault_within(why, "member %s: ", one->name) : s;
    else if ((int64_t)(out->len - before) != one->raw_size)
        s = fault(why, ST_REJECT, "member %s: %zu bytes came out, the manifest says %" PRId64,
                  one->name, out->len - before, one->raw_size);
out:
    buf_free(&packed);
    return s;
}

static enum status read_header(int fd, const struct member *one, struct fits_header *out,
                               struct fault *why)
{
    struct buf cards = {0};
    char end[FITS_CARD + 1];
    snprintf(end, sizeof end, "%-80s", "END");
    int64_t max = one->role == MEMBER_HEADER ? HEADER_MAX : UNPACK_HDU_MAX;
    enum status s = read_exact(fd, one, max, &cards, why);
    /* The cards may come without their END. */
    if (s == ST_OK && one->role == MEMBER_HEADER && !buf_append(&cards, end, FITS_CARD))
        s = fault(why, ST_RETRY, "out of memory for a header");
    if (s == ST_OK)
        s = fits_header_parse(cards.data, cards.len, out, why);
    buf_free(&cards);
    return s;
}

/* ---- one image ---- */

/* cpu: NULL, or where the time spent on reading and decoding is added. */
static enum status decode(int fd, const struct manifest *m, const struct member *one,
                          struct fits_image *img, int64_t *cpu, struct fault *why)
{
    int64_t mark = clock_thread_cpu();
    struct buf packed = {0};
    enum status s = ST_OK;
    const struct codec *codec = codec_find(one->codec);
    if (!codec)
        return fault(why, ST_REJECT, "codec %s is unknown to this version", one->codec);
    if (!codec->has_header) {
        const struct member *header = find(m, MEMBER_HEADER, one->hdu);
        s = header ? read_header(fd, header, &img->header, why)
                   : fault(why, ST_REJECT, "the bundle lacks the header of HDU %d", one->hdu);
    }
    if (s == ST_OK)
        s = bundle_read(fd, one, &packed, why);
    if (cpu)
        cpu[PART_READ] += clock_lap(&mark);
    if (s == ST_OK)
        s = codec_decode(codec, packed.data, packed.len, img, why);
    if (cpu)
        cpu[PART_DECODE] += clock_lap(&mark);
    buf_free(&packed);
    return s;
}

static void drop_provenance(struct fits_header *h)
{
    for (const char *const *key = provenance; *key; key++)
        fits_header_remove(h, *key);
}

static bool add_provenance(const struct manifest *m, const struct member *one,
                           struct fits_header *h)
{
    /* Two decimals, so that the card reads as what it is: a rough figure. */
    double ratio = one->size > 0 ? (double)one->raw_size / (double)one->size : 0;
    ratio = round(ratio * 100) / 100;
    return fits_header_add_text(h, "SFCODEC", one->codec, "how the pixels travelled (skyferry)") &&
           fits_header_add_real(h, "SFQSTEP", one->qstep,
                                "quantisation step of 16-bit range; 0: exact") &&
           fits_header_add_real(h, "SFRATIO", ratio, "bytes before / bytes on the wire") &&
           fits_header_add_text(h, "SFSRC", m->source_name, "source file; SFSHA: its SHA-256") &&
           fits_header_add_text(h, "SFSHA", m->source_sha256, NULL) &&
           fits_header_add_text(h, "SFEXT", one->extname, "EXTNAME in the source file") &&
           fits_header_add_int(h, "SFHDU", one->hdu, "HDU in the source file, 0 = primary") &&
           fits_header_add_text(h, "SFVERS", m->software, "software that encoded it");
}

static void begin(const struct member *one, struct unpack_ccd *out)
{
    *out = (struct unpack_ccd){.ccd = one->ccd, .hdu = one->hdu};
    snprintf(out->member, sizeof out->member, "%s", one->name);
    snprintf(out->codec, sizeof out->codec, "%s", one->codec);
}

static enum status end(const struct unpack_source *src, const struct member *one,
                       struct unpack_ccd *out, int64_t started, struct fault *why)
{
    out->seconds = (double)(clock_mono() - started) / NS_PER_S;
    if (out->why.grade == ST_OK)
        return ST_OK;
    out->bytes = 0;
    if (one->role == MEMBER_IMAGE)
        fault_within(&out->why, "exposure %s, ccd %d: ", src->m->name, one->ccd);
    else
        fault_within(&out->why, "exposure %s, HDU %d: ", src->m->name, one->hdu);
    if (why)
        *why = out->why;
    return out->why.grade;
}

enum status unpack_image(const struct unpack_source *src, const struct member *one,
                         struct buf *file, struct unpack_ccd *out, struct fault *why)
{
    int64_t started = clock_mono();
    size_t before = file->len;
    struct fits_image img = {0};
    struct fits_header extra = {0};
    begin(one, out);
    enum status s = decode(src->fd, src->m, one, &img, out->cpu_ns, &out->why);
    if (s != ST_OK)
        goto out;
    drop_provenance(&img.header);
    if (!add_provenance(src->m, one, &extra)) {
        s = fault(&out->why, ST_RETRY, "out of memory for a header");
        goto out;
    }
    /* An image in the primary HDU inherits nothing: its own cards are the primary's. */
    int64_t mark = clock_thread_cpu();
    s = fits_image_file(one->hdu == 0 ? NULL : src->primary, &img, &extra, file, &out->why);
    out->cpu_ns[PART_FILE] += clock_lap(&mark);
out:
    out->why.grade = s;
    if (s != ST_OK)
        file->len = before;
    out->bytes = (int64_t)(file->len - before);
    fits_header_free(&extra);
    fits_image_free(&img);
    return end(src, one, out, started, why);
}

/* ---- the primary header and other HDUs ---- */

enum status unpack_primary(int fd, const struct manifest *m, struct fits_header *out,
                           struct fault *why)
{
    struct fits_image img = {0};
    enum status s;
    *out = (struct fits_header){0};
    const struct member *image = find(m, MEMBER_IMAGE, 0), *one = find(m, MEMBER_HEADER, 0);
    if (!one)
        one = find(m, MEMBER_HDU, 0);
    if (!one && image && strcmp(image->codec, "original") == 0)
        one = image;
    if (one) {
        s = read_header(fd, one, out, why);
    } else if (image) {
        s = decode(fd, m, image, &img, NULL, why);
        if (s == ST_OK && !fits_header_copy(out, &img.header))
            s = fault(why, ST_RETRY, "out of memory for a header");
        fits_image_free(&img);
    } else {
        s = fault(why, ST_REJECT, "the bundle lacks the primary header");
    }
    if (s != ST_OK) {
        fits_header_free(out);
        return why ? fault_within(why, "exposure %s: ", m->name) : s;
    }
    drop_provenance(out);
    return ST_OK;
}

bool unpack_is_other(const struct unpack_source *src, const struct member *one)
{
    int64_t naxis = 0;
    if (one->role != MEMBER_HDU || one->hdu < 0)
        return false;
    return one->hdu > 0 ||
           (src->primary && fits_header_int(src->primary, "NAXIS", &naxis) && naxis > 0);
}

/* A primary HDU without data in front of the HDU that follows. */
static bool put_empty_primary(const struct fits_header *primary, struct buf *file)
{
    static const char *const structural[] = {
        "SIMPLE",   "BITPIX", "NAXIS",  "EXTEND", "NEXTEND", "GROUPS", "PCOUNT", "GCOUNT",
        "CHECKSUM", "DATASUM", "BSCALE", "BZERO", "BLANK",   NULL};
    static const char first[] =
        "SIMPLE  =                    T / conforms to FITS standard                      "
        "BITPIX  =                    8 / array data type                                "
        "NAXIS   =                    0 / number of array dimensions                     "
        "EXTEND  =                    T / extensions follow                              ";
    size_t before = file->len;
    struct fits_header rest = {0};
    if (primary && !fits_header_copy(&rest, primary))
        return false;
    for (const char *const *key = structural; *key; key++)
        fits_header_remove(&rest, *key);
    for (int n = 1; n <= FITS_MAX_AXES; n++) {
        char key[24];
        snprintf(key, sizeof key, "NAXIS%d", n);
        fits_header_remove(&rest, key);
    }
    bool ok = buf_append(file, first, sizeof first - 1) &&
              buf_append(file, rest.cards, rest.count * FITS_CARD) && buf_append(file, "END", 3);
    fits_header_free(&rest);
    size_t pad = (FITS_BLOCK - (file->len - before) % FITS_BLOCK) % FITS_BLOCK;
    if (!ok || !buf_reserve(file, pad))
        return false;
    memset(file->data + file->len, ' ', pad);
    file->len += pad;
    return true;
}

enum status unpack_other(const struct unpack_source *src, const struct member *one,
                         struct buf *file, struct unpack_ccd *out, struct fault *why)
{
    int64_t started = clock_mono();
    size_t before = file->len;
    enum status s = ST_OK;
    begin(one, out);
    if (one->hdu > 0 && !put_empty_primary(src->primary, file))
        s = fault(&out->why, ST_RETRY, "out of memory for a header");
    size_t from = file->len;
    if (s == ST_OK)
        s = read_exact(src->fd, one, UNPACK_HDU_MAX, file, &out->why);
    const char *word = one->hdu > 0 ? "XTENSION" : "SIMPLE  ";
    if (s == ST_OK && ((file->len - from) % FITS_BLOCK != 0 || file->len - from < FITS_BLOCK ||
                       memcmp(file->data + from, word, 8) != 0))
        s = fault(&out->why, ST_REJECT, "member %s is no FITS HDU", one->name);
    out->why.grade = s;
    if (s != ST_OK)
        file->len = before;
    out->bytes = (int64_t)(file->len - before);
    return end(src, one, out, started, why);
}
