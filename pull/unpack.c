#include "pull/unpack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/codec.h"
#include "common/exact.h"
#include "pull/provenance.h"

#define HEADER_MAX (16 << 20) /* bytes of one HDU's cards; fits_scan allows 10 MB */

/* ---- members ---- */

static const struct member *find(const struct manifest *m, enum member_role role, int hdu)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == role && m->members[i].hdu == hdu)
            return &m->members[i];
    return NULL;
}

const struct member *unpack_image_of(const struct manifest *m, int hdu)
{
    return find(m, MEMBER_IMAGE, hdu);
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

/* ---- decoding ---- */

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

/* ---- pixels that travelled exactly, and the proof ---- */

/* Over the decoded ones; p->exact says how many, and p->sent grows. */
static enum status add_exact(const struct unpack_source *src, struct passage *p,
                             struct fits_image *img, struct fault *why)
{
    struct buf bytes = {0};
    const struct member *exact = find(src->m, MEMBER_EXACT, p->one->hdu);
    int64_t promised = p->one->measured.exact_pixels;
    if (!exact && promised == 0)
        return ST_OK;
    if (!exact)
        return fault(why, ST_REJECT, "the bundle lacks the %" PRId64 " pixels that were to travel "
                     "exactly", promised);
    /* Every pixel, and for each a run of its own. */
    int64_t most = 3 * (int64_t)img->size + 4096;
    enum status s = read_exact(src->fd, exact, most < UNPACK_HDU_MAX ? most : UNPACK_HDU_MAX,
                               &bytes, why);
    if (s == ST_OK) {
        s = exact_apply(bytes.data, bytes.len, img, &p->exact, why);
        if (s != ST_OK)
            fault_within(why, "member %s: ", exact->name);
    }
    if (s == ST_OK && promised > 0 && promised != p->exact)
        s = fault(why, ST_REJECT, "member %s: it holds %" PRId64 " pixels, the manifest says %"
                  PRId64, exact->name, p->exact, promised);
    p->sent += exact->size;
    buf_free(&bytes);
    return s;
}

/* Was it promised that these pixels are just those that the sender had? */
static bool is_promised(const struct passage *p)
{
    const struct measures *found = &p->one->measured;
    return (p->one->qstep == 0 && !(found->rms_error > 0)) || found->max_error == 0 ||
           isfinite(found->bound) || p->exact >= 0;
}

static enum status write_file(const struct unpack_source *src, const struct passage *p,
                              const struct fits_image *img, struct buf *file, struct fault *why)
{
    struct fits_header extra = {0};
    /* An image in the primary HDU inherits nothing: its own cards are the primary's. */
    enum status s = provenance_add(&extra, p)
                        ? fits_image_file(p->one->hdu == 0 ? NULL : src->primary, img, &extra,
                                          file, why)
                        : fault(why, ST_RETRY, "out of memory for a header");
    fits_header_free(&extra);
    return s;
}

/* The sums that fits_image_file found when it wrote the file from here on. */
static enum status read_sums(const struct buf *file, size_t from, struct unpack_ccd *out)
{
    struct fits_header h = {0};
    enum status s = fits_header_parse(file->data + from, file->len - from, &h, &out->why);
    fits_header_text(&h, "DATASUM", out->datasum, sizeof out->datasum);
    fits_header_text(&h, "CHECKSUM", out->checksum, sizeof out->checksum);
    fits_header_free(&h);
    return s;
}

/* Written as if the proof held, which it nearly always does: the sum comes with the writing. */
static enum status prove_and_write(const struct unpack_source *src, struct passage *p,
                                   const struct fits_image *img, struct buf *file,
                                   struct unpack_ccd *out)
{
    size_t before = file->len;
    char wanted[24] = "";
    if (p->one->measured.datasum >= 0) {
        snprintf(wanted, sizeof wanted, "%" PRId64, p->one->measured.datasum);
        p->proof = PROOF_GIVEN;
    }
    enum status s = write_file(src, p, img, file, &out->why);
    if (s == ST_OK)
        s = read_sums(file, before, out);
    if (s != ST_OK || !wanted[0] || strcmp(wanted, out->datasum) == 0)
        return s;
    if (is_promised(p))
        return fault(&out->why, ST_REJECT, "it decodes to other pixels than the sender proved; is "
                     "the library behind codec %s here of another version?", p->one->codec);
    p->proof = PROOF_FAILED;
    out->unproven = true;
    file->len = before;
    s = write_file(src, p, img, file, &out->why);
    return s == ST_OK ? read_sums(file, before, out) : s;
}

/* ---- one image ---- */

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
    struct passage p = {.m = src->m, .one = one, .sent = one->size, .exact = -1};
    begin(one, out);
    enum status s = decode(src->fd, src->m, one, &img, out->cpu_ns, &out->why);
    int64_t mark = clock_thread_cpu();
    if (s == ST_OK)
        s = add_exact(src, &p, &img, &out->why);
    out->cpu_ns[PART_DECODE] += clock_lap(&mark);
    if (s == ST_OK) {
        provenance_drop(&img.header);
        s = prove_and_write(src, &p, &img, file, out);
    }
    out->cpu_ns[PART_FILE] += clock_lap(&mark);
    out->why.grade = s;
    if (s != ST_OK)
        file->len = before;
    out->bytes = (int64_t)(file->len - before);
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
    provenance_drop(out);
    return ST_OK;
}

int64_t unpack_raw_size(const struct manifest *m)
{
    int64_t sum = 0;
    for (size_t i = 0; i < m->count; i++)
        if (m->members[i].role == MEMBER_IMAGE || m->members[i].role == MEMBER_HDU)
            sum += m->members[i].raw_size;
    return sum;
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
