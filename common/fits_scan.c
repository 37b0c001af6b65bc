#include "common/fits_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fsutil.h"

#define FIRST_READ (10 * FITS_BLOCK) /* most headers fit into this */
#define PRIMARY_OPENS "SIMPLE  ="
#define EXTENSION_OPENS "XTENSION="
#define OPENS 9

/* One card of the array's shape: its value, or why it cannot be. */
static enum status axis_card(const struct fits_header *h, const char *keyword, int64_t max,
                             int64_t *out, struct fault *why)
{
    if (fits_header_find(h, keyword) < 0)
        return fault(why, ST_REJECT, "the header has no %s", keyword);
    if (!fits_header_int(h, keyword, out))
        return fault(why, ST_REJECT, "%s is no integer", keyword);
    if (*out < 0 || *out > max)
        return fault(why, ST_REJECT, "%s = %" PRId64 " is out of range (0 to %" PRId64 ")", keyword,
                     *out, max);
    return ST_OK;
}

enum status fits_header_axes(const struct fits_header *h, const char *prefix,
                             struct fits_axes *out, struct fault *why)
{
    char key[16];
    int64_t bitpix, naxis = 0;
    *out = (struct fits_axes){0};
    snprintf(key, sizeof key, "%sBITPIX", prefix);
    if (!fits_header_int(h, key, &bitpix))
        return fault(why, ST_REJECT, "%s is missing or no integer", key);
    if (bitpix != 8 && bitpix != 16 && bitpix != 32 && bitpix != 64 && bitpix != -32 &&
        bitpix != -64)
        return fault(why, ST_REJECT, "%s = %" PRId64 " is none of 8, 16, 32, 64, -32, -64", key,
                     bitpix);
    snprintf(key, sizeof key, "%sNAXIS", prefix);
    enum status st = axis_card(h, key, FITS_MAX_AXES, &naxis, why);
    if (st != ST_OK)
        return st;
    out->bitpix = (int)bitpix;
    out->naxis = (int)naxis;
    for (int i = 0; i < out->naxis; i++) {
        snprintf(key, sizeof key, "%sNAXIS%d", prefix, i + 1);
        if ((st = axis_card(h, key, FITS_DATA_MAX, &out->n[i], why)) != ST_OK)
            return st;
    }
    return ST_OK;
}

/* Products go through __builtin_mul_overflow: NAXISn come from outside. */
static int64_t bounded_product(const int64_t *n, int count, int64_t times, int64_t max)
{
    int64_t product = times;
    for (int i = 0; i < count; i++)
        if (n[i] == 0)
            return 0;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(product, n[i], &product) || product > max)
            return -1;
    return product;
}

int64_t fits_axes_bytes(const struct fits_axes *a, int64_t max)
{
    if (a->naxis == 0)
        return 0;
    return bounded_product(a->n, a->naxis, abs(a->bitpix) / 8, max);
}

/* Standard 4.4.1.2 and 6.1: |BITPIX| * GCOUNT * (PCOUNT + NAXIS1 * ...); random groups
 * have NAXIS1 = 0, which then does not count. */
static enum status data_bytes(const struct fits_header *h, const struct fits_axes *a,
                              bool primary, int64_t *out, struct fault *why)
{
    int64_t pcount = 0, gcount = 1;
    bool groups = false;
    fits_header_logical(h, "GROUPS", &groups);
    groups = groups && primary && a->naxis > 1 && a->n[0] == 0;
    if (!primary || groups) {
        enum status st = ST_OK;
        if (fits_header_find(h, "PCOUNT") >= 0)
            st = axis_card(h, "PCOUNT", FITS_DATA_MAX, &pcount, why);
        if (st == ST_OK && fits_header_find(h, "GCOUNT") >= 0)
            st = axis_card(h, "GCOUNT", FITS_DATA_MAX, &gcount, why);
        if (st != ST_OK)
            return st;
    }
    int64_t item = abs(a->bitpix) / 8;
    int skip = groups ? 1 : 0;
    int64_t pixels = 0, each;
    if (a->naxis > 0)
        pixels = bounded_product(a->n + skip, a->naxis - skip, 1, FITS_DATA_MAX);
    if (pixels < 0 || __builtin_add_overflow(pixels, pcount, &each) ||
        (*out = bounded_product((int64_t[]){each, gcount}, 2, item, FITS_DATA_MAX)) < 0)
        return fault(why, ST_REJECT, "the axes ask for more than %lld TiB of data",
                     FITS_DATA_MAX >> 40);
    return ST_OK;
}

/* ---- one HDU ---- */

/* The kind, and for images the shape. A table that claims to be a compressed image must
 * be one: parked with words, it is found tonight and not by the first job. */
static enum status classify(const struct fits_header *h, const struct fits_axes *a, int64_t bytes,
                            struct fits_hdu *hdu, struct fault *why)
{
    struct fits_axes image = *a;
    char type[16] = "";
    bool tiled = false, groups = false, primary = fits_card_is(h->cards, "SIMPLE");
    int64_t pcount = 0, gcount = 1;
    fits_header_text(h, "XTENSION", type, sizeof type);
    fits_header_logical(h, "ZIMAGE", &tiled);
    fits_header_logical(h, "GROUPS", &groups);
    fits_header_int(h, "PCOUNT", &pcount);
    fits_header_int(h, "GCOUNT", &gcount);
    if (!primary && strcmp(type, "BINTABLE") == 0 && tiled) {
        enum status st = fits_header_axes(h, "Z", &image, why);
        if (st != ST_OK)
            return st;
        if (fits_axes_bytes(&image, FITS_DATA_MAX) <= 0)
            return fault(why, ST_REJECT, "ZNAXIS and ZNAXISn describe no image");
        hdu->kind = FITS_TILED;
    } else if (!primary && (strcmp(type, "BINTABLE") == 0 || strcmp(type, "TABLE") == 0)) {
        hdu->kind = FITS_TABLE;
    } else if (primary ? (groups && a->naxis > 0 && a->n[0] == 0)
                       : (strcmp(type, "IMAGE") != 0 || pcount != 0 || gcount != 1)) {
        hdu->kind = FITS_OTHER;
    } else {
        hdu->kind = bytes > 0 ? FITS_IMAGE : FITS_EMPTY;
    }
    hdu->bitpix = image.bitpix;
    hdu->naxis = image.naxis;
    memcpy(hdu->naxes, image.n, sizeof hdu->naxes);
    fits_header_text(h, "EXTNAME", hdu->extname, sizeof hdu->extname);
    if (hdu->kind == FITS_TILED && strcmp(hdu->extname, "COMPRESSED_IMAGE") == 0)
        hdu->extname[0] = '\0'; /* fpack's own name for an image that has none */
    return ST_OK;
}

/* Does the first card open an HDU? A file that stops within these first bytes may yet, and
 * check_text knows about zeros. */
static enum status check_opening(const struct buf *head, int index, struct fault *why)
{
    const char *magic = index == 0 ? PRIMARY_OPENS : EXTENSION_OPENS;
    size_t have = head->len < OPENS ? head->len : OPENS;
    if (head->data[0] != 0 && memcmp(head->data, magic, have) != 0)
        return fault(why, ST_REJECT, "this is no FITS file: it does not begin with SIMPLE =");
    return ST_OK;
}

/* A header with other bytes than text in it never ends; but zeros up to where the file is
 * filled are a place taken by a writer who comes back. */
static enum status check_text(const struct buf *head, struct fault *why)
{
    size_t at = fits_find_unprintable(head->data, head->len), zeros = at;
    while (zeros < head->len && head->data[zeros] == 0)
        zeros++;
    if (at == head->len)
        return ST_OK;
    if (zeros == head->len)
        return fault(why, ST_WAIT, "the header is not written yet, its place holds zeros");
    struct fits_header none;
    return fits_header_parse(head->data, head->len, &none, why);
}

/* Appends the next bytes of the header, twice as many each time. */
static enum status read_on(int fd, off_t at, off_t size, int index, struct buf *head,
                           struct fault *why)
{
    off_t left = size - at - (off_t)head->len;
    if (left <= 0)
        return fault(why, ST_WAIT,
                     "the file ends within the header of HDU %d, at least %lld bytes are missing",
                     index, (long long)(FITS_BLOCK - size % FITS_BLOCK));
    size_t take = head->len ? head->len : FIRST_READ;
    if ((off_t)take > left)
        take = (size_t)left;
    if (!buf_reserve(head, take))
        return fault(why, ST_RETRY, "no memory for the header of HDU %d", index);
    int got = fs_pread_all(fd, head->data + head->len, take, at + (off_t)head->len);
    if (got < 0)
        return fault_errno(why, ST_RETRY, "cannot read the header of HDU %d", index);
    if (got > 0)
        return fault(why, ST_WAIT, "the file became shorter while HDU %d was read", index);
    head->len += take;
    return ST_OK;
}

/* Fills head from `at` until END is among its cards; *length is the header's, padded. */
static enum status read_to_end(int fd, off_t at, off_t size, int index, struct buf *head,
                               size_t *length, struct fault *why)
{
    for (size_t done = 0;; done = head->len / FITS_CARD * FITS_CARD) {
        enum status st = read_on(fd, at, size, index, head, why);
        if (st != ST_OK)
            return st;
        long end = fits_find_end((char *)head->data, head->len, done);
        st = check_opening(head, index, why);
        if (st == ST_OK && end < 0)
            st = check_text(head, why);
        if (st != ST_OK)
            return st;
        if (end >= 0) {
            *length = (size_t)end / FITS_BLOCK * FITS_BLOCK + FITS_BLOCK;
            return ST_OK;
        }
        if (head->len >= FITS_HEADER_MAX)
            return fault(why, ST_REJECT, "HDU %d has no END card in its first %u MB", index,
                         FITS_HEADER_MAX >> 20);
    }
}

/* Walks the HDU at `at`; its bytes may reach past the end of the file (WAIT). */
static enum status scan_hdu(int fd, off_t at, off_t size, struct fits_hdu *hdu, struct fault *why)
{
    struct buf head = {0};
    struct fits_header h = {0};
    struct fits_axes axes;
    size_t length = 0;
    int64_t bytes = 0;
    enum status st = read_to_end(fd, at, size, hdu->index, &head, &length, why);
    if (st != ST_OK)
        goto out;
    st = fits_header_parse(head.data, head.len, &h, why);
    if (st == ST_OK)
        st = fits_header_axes(&h, "", &axes, why);
    if (st == ST_OK)
        st = data_bytes(&h, &axes, hdu->index == 0, &bytes, why);
    if (st == ST_OK)
        st = classify(&h, &axes, bytes, hdu, why);
    if (st != ST_OK) {
        fault_within(why, "HDU %d: ", hdu->index);
        goto out;
    }
    hdu->head = at;
    hdu->data = at + (off_t)length;
    hdu->end = hdu->data + (off_t)((bytes + FITS_BLOCK - 1) / FITS_BLOCK * FITS_BLOCK);
    if (hdu->end > size)
        st = fault(why, ST_WAIT, "the file ends within HDU %d%s%s, %lld bytes are missing",
                   hdu->index, hdu->extname[0] ? " " : "", hdu->extname,
                   (long long)(hdu->end - size));
out:
    fits_header_free(&h);
    buf_free(&head);
    return st;
}

/* Is there another HDU at `at`? Zeros, blanks and other bytes past the last HDU are none;
 * the beginning of the word XTENSION at the very end of the file may become one. */
static enum status another_hdu(int fd, off_t at, off_t size, bool *yes, struct fault *why)
{
    char word[OPENS];
    size_t have = size - at < OPENS ? (size_t)(size - at) : OPENS;
    *yes = false;
    if (have == 0)
        return ST_OK;
    int got = fs_pread_all(fd, word, have, at);
    if (got < 0)
        return fault_errno(why, ST_RETRY, "cannot read the file");
    *yes = got == 0 && memcmp(word, EXTENSION_OPENS, have) == 0;
    return ST_OK;
}

enum status fits_scan(int fd, struct fits_file *out, struct fault *why)
{
    struct stat sb;
    bool more = true;
    enum status st = ST_OK;
    size_t room = 0;
    *out = (struct fits_file){0};
    if (fstat(fd, &sb) < 0)
        return fault_errno(why, ST_RETRY, "cannot look at the file");
    out->size = sb.st_size;
    if (sb.st_size == 0)
        return fault(why, ST_WAIT, "the file is empty: HDU 0 is missing, at least %d bytes",
                     FITS_BLOCK);
    while (more) {
        if (out->count == FITS_MAX_HDUS)
            return fault(why, ST_REJECT, "the file has more than %d HDUs", FITS_MAX_HDUS);
        if (out->count == room) {
            room = room ? room * 2 : 64;
            struct fits_hdu *grown = realloc(out->hdu, room * sizeof *grown);
            if (!grown)
                return fault(why, ST_RETRY, "no memory for %zu HDUs", room);
            out->hdu = grown;
        }
        struct fits_hdu *hdu = &out->hdu[out->count];
        *hdu = (struct fits_hdu){.index = (int)out->count};
        if ((st = scan_hdu(fd, out->end, out->size, hdu, why)) != ST_OK)
            return st;
        out->end = hdu->end;
        out->count++;
        if ((st = another_hdu(fd, out->end, out->size, &more, why)) != ST_OK)
            return st;
    }
    return ST_OK;
}

void fits_file_free(struct fits_file *f)
{
    free(f->hdu);
    *f = (struct fits_file){0};
}

/* ---- reading ---- */

static enum status read_range(int fd, off_t from, off_t to, struct buf *out, struct fault *why)
{
    size_t len = (size_t)(to - from);
    if (!buf_reserve(out, len))
        return fault(why, ST_RETRY, "no memory for %zu bytes of an HDU", len);
    int got = fs_pread_all(fd, out->data + out->len, len, from);
    if (got < 0)
        return fault_errno(why, ST_RETRY, "cannot read %zu bytes of an HDU", len);
    if (got > 0)
        return fault(why, ST_WAIT, "the file has become shorter than its HDUs");
    out->len += len;
    return ST_OK;
}

enum status fits_read_hdu(int fd, const struct fits_hdu *hdu, struct buf *out, struct fault *why)
{
    return read_range(fd, hdu->head, hdu->end, out, why);
}

enum status fits_read_header(int fd, const struct fits_hdu *hdu, struct fits_header *out,
                             struct fault *why)
{
    struct buf bytes = {0};
    *out = (struct fits_header){0};
    enum status st = read_range(fd, hdu->head, hdu->data, &bytes, why);
    if (st == ST_OK)
        st = fits_header_parse(bytes.data, bytes.len, out, why);
    buf_free(&bytes);
    return st;
}
