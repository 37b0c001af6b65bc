#include "common/fits_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fits_image_free(struct fits_image *img)
{
    fits_header_free(&img->header);
    free(img->data);
    *img = (struct fits_image){0};
}

enum status fits_image_shape(struct fits_image *img, struct fault *why)
{
    struct fits_axes axes;
    bool groups = false;
    int64_t pcount = 0, gcount = 1;
    enum status st = fits_header_axes(&img->header, "", &axes, why);
    if (st != ST_OK)
        return st;
    fits_header_int(&img->header, "PCOUNT", &pcount);
    fits_header_int(&img->header, "GCOUNT", &gcount);
    fits_header_logical(&img->header, "GROUPS", &groups);
    int64_t bytes = fits_axes_bytes(&axes, FITS_IMAGE_MAX);
    if (bytes < 0)
        return fault(why, ST_REJECT, "the image's axes ask for more than %lld GiB",
                     FITS_IMAGE_MAX >> 30);
    if (bytes == 0 || groups || pcount != 0 || gcount != 1)
        return fault(why, ST_REJECT, "the HDU holds no plain image (no pixels, groups, or PCOUNT "
                     "and GCOUNT other than 0 and 1)");
    img->bitpix = axes.bitpix;
    img->naxis = axes.naxis;
    memcpy(img->naxes, axes.n, sizeof img->naxes);
    img->size = (size_t)bytes;
    return ST_OK;
}

/* A plain image: the header as it is, the pixels as they are. */
static enum status load_plain(const unsigned char *data, size_t len, struct fits_image *out,
                              struct fault *why)
{
    enum status st = fits_image_shape(out, why);
    if (st != ST_OK)
        return st;
    if (out->size > len)
        return fault(why, ST_REJECT, "the image has %zu bytes of pixels where its header says %zu",
                     len, out->size);
    out->data = malloc(out->size);
    if (!out->data)
        return fault(why, ST_RETRY, "no memory for an image of %zu bytes", out->size);
    memcpy(out->data, data, out->size);
    return ST_OK;
}

enum status fits_image_load(const void *hdu_bytes, size_t len, struct fits_image *out,
                            struct fault *why)
{
    struct fits_header h = {0};
    char type[16] = "";
    bool tiled = false;
    *out = (struct fits_image){0};
    enum status st = fits_header_parse(hdu_bytes, len, &h, why);
    if (st != ST_OK)
        return st;
    size_t head = (h.count + 36) / 36 * FITS_BLOCK;
    if (head > len)
        head = len;
    const unsigned char *data = (const unsigned char *)hdu_bytes + head;
    fits_header_text(&h, "XTENSION", type, sizeof type);
    fits_header_logical(&h, "ZIMAGE", &tiled);
    if (strcmp(type, "BINTABLE") == 0 && tiled) {
        st = fits_tile_load(&h, data, len - head, false, out, why);
    } else if (h.count > 0 && (fits_card_is(h.cards, "SIMPLE") || strcmp(type, "IMAGE") == 0)) {
        out->header = h;
        h = (struct fits_header){0};
        st = load_plain(data, len - head, out, why);
    } else {
        st = fault(why, ST_REJECT, "the HDU is no image");
    }
    fits_header_free(&h);
    if (st != ST_OK)
        fits_image_free(out);
    return st;
}

/* ---- the stand-alone file ---- */

/* Is `key` one of the words, where a word ending in '#' stands for a number there? */
static bool key_among(const char *key, const char *const *words)
{
    for (; *words; words++) {
        size_t len = strcspn(*words, "#");
        if (strncmp(key, *words, len) != 0)
            continue;
        if (!(*words)[len]) {
            if (!key[len])
                return true;
        } else if (isdigit((unsigned char)key[len])) {
            while (isdigit((unsigned char)key[len]))
                len++;
            if (!key[len])
                return true;
        }
    }
    return false;
}

/* Said anew, or no longer true of a primary image on its own. */
static const char *const structural[] = {
    "SIMPLE",   "XTENSION", "BITPIX",   "NAXIS",    "NAXIS#",   "PCOUNT",   "GCOUNT",
    "EXTEND",   "GROUPS",   "NEXTEND",  "INHERIT",  "CHECKSUM", "DATASUM",  "ZIMAGE",
    "ZTABLE",   "ZCMPTYPE", "ZBITPIX",  "ZNAXIS",   "ZNAXIS#",  "ZTILE#",   "ZNAME#",
    "ZVAL#",    "ZSIMPLE",  "ZTENSION", "ZEXTEND",  "ZBLOCKED", "ZPCOUNT",  "ZGCOUNT",
    "ZHECKSUM", "ZDATASUM", "ZQUANTIZ", "ZDITHER0", "ZMASKCMP", "ZBLANK",   NULL};

/* True of the primary's own array and name only: inherited, they would change what the
 * ccd's numbers mean. */
static const char *const primary_only[] = {"BSCALE",  "BZERO",   "BLANK",    "EXTNAME",
                                           "EXTVER",  "EXTLEVEL", NULL};

static bool is_commentary(const char *key)
{
    return !key[0] || strcmp(key, "COMMENT") == 0 || strcmp(key, "HISTORY") == 0;
}

/* A sorted list of a header's keywords, so that two long headers merge in n log n. */
struct keywords {
    char (*name)[FITS_CARD + 1];
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool keywords_add(struct keywords *k, const struct fits_header *h)
{
    char (*more)[FITS_CARD + 1] = realloc(k->name, (k->count + h->count + 1) * sizeof *more);
    if (!more)
        return false;
    k->name = more;
    for (size_t i = 0; i < h->count; i++)
        fits_card_keyword(h->cards + i * FITS_CARD, k->name[k->count++]);
    qsort(k->name, k->count, sizeof *k->name, by_name);
    return true;
}

static bool keywords_have(const struct keywords *k, const char *name)
{
    return k->count && bsearch(name, k->name, k->count, sizeof *k->name, by_name);
}

/* Appends the cards of h that pass, their CONTINUE cards with them. */
static bool merge(struct fits_header *to, const struct fits_header *h,
                  const char *const *also_without, const struct keywords *taken)
{
    bool keep = true;
    for (size_t i = 0; i < h->count; i++) {
        const char *card = h->cards + i * FITS_CARD;
        char key[FITS_CARD + 1];
        if (!fits_card_continues(h, i)) {
            fits_card_keyword(card, key);
            keep = is_commentary(key) ||
                   (!key_among(key, structural) && !keywords_have(taken, key) &&
                    !(also_without && key_among(key, also_without)));
        }
        if (keep && !fits_header_append(to, card))
            return false;
    }
    return true;
}

/* The image's own comment on a structural card, or ours. */
static const char *comment_of(const struct fits_header *h, const char *key, const char *ours,
                              char text[FITS_CARD + 1])
{
    long at = fits_header_find(h, key);
    text[0] = '\0';
    if (at >= 0)
        fits_card_comment(h->cards + at * FITS_CARD, text);
    return text[0] ? text : ours;
}

static bool add_structure(struct fits_header *to, const struct fits_image *img)
{
    char text[FITS_CARD + 1];
    const struct fits_header *h = &img->header;
    bool ok = fits_header_add_logical(to, "SIMPLE", true,
                                      comment_of(h, "SIMPLE", "conforms to FITS standard", text)) &&
              fits_header_add_int(to, "BITPIX", img->bitpix,
                                  comment_of(h, "BITPIX", "bits per pixel", text)) &&
              fits_header_add_int(to, "NAXIS", img->naxis,
                                  comment_of(h, "NAXIS", "number of axes", text));
    for (int i = 0; ok && i < img->naxis; i++) {
        char key[16];
        snprintf(key, sizeof key, "NAXIS%d", i + 1);
        ok = fits_header_add_int(to, key, img->naxes[i],
                                 comment_of(h, key, "length of this axis", text));
    }
    return ok;
}

/* All cards but CHECKSUM and DATASUM. */
static bool merge_all(struct fits_header *to, const struct fits_header *primary,
                      const struct fits_image *img, const struct fits_header *extra)
{
    struct keywords by_extra = {0}, by_ccd = {0};
    bool ok = add_structure(to, img) && (!extra || keywords_add(&by_extra, extra)) &&
              (!extra || keywords_add(&by_ccd, extra)) && keywords_add(&by_ccd, &img->header) &&
              (!primary || merge(to, primary, primary_only, &by_ccd)) &&
              merge(to, &img->header, NULL, &by_extra) &&
              (!extra || merge(to, extra, NULL, &(struct keywords){0}));
    free(by_extra.name);
    free(by_ccd.name);
    return ok;
}

enum status fits_image_file(const struct fits_header *primary, const struct fits_image *img,
                            const struct fits_header *extra, struct buf *out, struct fault *why)
{
    struct fits_header h = {0};
    size_t padded = (img->size + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK, start = out->len;
    bool done = false;
    if (!merge_all(&h, primary, img, extra))
        goto out;
    size_t head = (h.count + 2 + 36) / 36 * FITS_BLOCK;
    if (!buf_reserve(out, head + padded))
        goto out;
    unsigned char *data = out->data + start + head;
    memcpy(data, img->data, img->size);
    memset(data + img->size, 0, padded - img->size);
    uint32_t datasum = fits_sum(data, padded, 0);
    if (!fits_header_add_sums(&h, datasum) || !fits_header_write(&h, out))
        goto out;
    fits_sum_header(out->data + start, head, h.count - 2, datasum);
    out->len = start + head + padded;
    done = true;
out:
    fits_header_free(&h);
    if (done)
        return ST_OK;
    out->len = start;
    return fault(why, ST_RETRY, "no memory for a file of %zu bytes", padded);
}
