#include "common/fits_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t add_carry(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b;
    return sum + (sum < a);
}

/* Two 32-bit words at a time: 2^64 - 1 is a multiple of 2^32 - 1, so the ones-complement
 * sum of 64-bit words folds to that of their halves. */
uint32_t fits_sum(const void *bytes, size_t len, uint32_t sum)
{
    const unsigned char *at = bytes;
    uint64_t wide = sum, word;
    size_t pairs = len / 8;
    for (size_t i = 0; i < pairs; i++, at += 8) {
        memcpy(&word, at, 8);
        wide = add_carry(wide, __builtin_bswap64(word));
    }
    if (len % 8) {
        uint32_t last;
        memcpy(&last, at, 4);
        wide = add_carry(wide, __builtin_bswap32(last));
    }
    wide = (wide >> 32) + (wide & 0xffffffffu);
    wide = (wide >> 32) + (wide & 0xffffffffu);
    return (uint32_t)wide;
}

void fits_datasum_add(struct fits_datasum *d, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    if (d->held > 0) {
        size_t take = 4 - d->held < len ? 4 - d->held : len;
        memcpy(d->rest + d->held, at, take);
        d->held += take;
        at += take;
        len -= take;
        if (d->held < 4)
            return;
        d->sum = fits_sum(d->rest, 4, d->sum);
    }
    d->sum = fits_sum(at, len - len % 4, d->sum);
    d->held = len % 4;
    memcpy(d->rest, at + len - d->held, d->held);
}

uint32_t fits_datasum_end(const struct fits_datasum *d)
{
    unsigned char word[4] = {0};
    memcpy(word, d->rest, d->held);
    return d->held ? fits_sum(word, 4, d->sum) : d->sum;
}

/* FITS standard 4.0, appendix J.2: each byte of the complement is split over four
 * characters, which are then moved off the punctuation between digits and letters. */
void fits_sum_text(uint32_t sum, char out[17])
{
    static const unsigned char avoid[] = {0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40,
                                          0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60};
    uint32_t value = ~sum;
    char text[16];
    for (int i = 0; i < 4; i++) {
        int byte = (int)(value >> (24 - 8 * i) & 0xff);
        int part[4] = {byte / 4 + byte % 4 + '0', byte / 4 + '0', byte / 4 + '0', byte / 4 + '0'};
        for (int again = 1; again;) {
            again = 0;
            for (size_t k = 0; k < sizeof avoid; k++)
                for (int j = 0; j < 4; j += 2)
                    if (part[j] == avoid[k] || part[j + 1] == avoid[k]) {
                        part[j]++;
                        part[j + 1]--;
                        again = 1;
                    }
        }
        for (int j = 0; j < 4; j++)
            text[4 * j + i] = (char)part[j];
    }
    /* The value begins at column 12, the last byte of a word: hence the turn by one. */
    for (int i = 0; i < 16; i++)
        out[(i + 1) % 16] = text[i];
    out[16] = '\0';
}

bool fits_header_add_sums(struct fits_header *h, uint32_t datasum)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%" PRIu32, datasum);
    return fits_header_add_text(h, "CHECKSUM", "0000000000000000", "HDU checksum") &&
           fits_header_add_text(h, "DATASUM", digits, "data unit checksum");
}

void fits_sum_header(unsigned char *header, size_t head, size_t index, uint32_t datasum)
{
    char text[17];
    fits_sum_text(fits_sum(header, head, datasum), text);
    memcpy(header + index * FITS_CARD + 11, text, 16);
}

/* The number in DATASUM, a text of digits; false when it is absent or empty. */
static bool stated_datasum(const struct fits_header *h, uint64_t *out)
{
    char text[32], *end;
    int64_t number;
    if (fits_header_int(h, "DATASUM", &number) && number >= 0) {
        *out = (uint64_t)number;
        return true;
    }
    if (!fits_header_text(h, "DATASUM", text, sizeof text) || !text[0])
        return false;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (*end || errno)
        *out = UINT64_MAX; /* no sum can equal it */
    return true;
}

static enum status check(const struct fits_header *h, const void *head, size_t len, uint32_t data,
                         struct fault *why)
{
    uint64_t stated;
    char text[24];
    if (stated_datasum(h, &stated) && stated != data)
        return fault(why, ST_REJECT,
                     "DATASUM is wrong: the header says %" PRIu64 ", the data give %" PRIu32, stated,
                     data);
    uint32_t whole = fits_sum(head, len, data);
    if (fits_header_text(h, "CHECKSUM", text, sizeof text) && text[0] && whole != 0 &&
        whole != UINT32_MAX)
        return fault(why, ST_REJECT,
                     "CHECKSUM is wrong: the HDU's sum is 0x%08" PRIx32 " where it must be all ones",
                     whole);
    return ST_OK;
}

enum status fits_check_head(const void *head_bytes, size_t len, uint32_t datasum,
                            struct fault *why)
{
    struct fits_header h = {0};
    enum status st = fits_header_parse(head_bytes, len, &h, why);
    if (st == ST_OK)
        st = check(&h, head_bytes, len, datasum, why);
    fits_header_free(&h);
    return st;
}

enum status fits_check_sums(const void *hdu_bytes, size_t len, struct fault *why)
{
    struct fits_header h = {0};
    enum status st = fits_header_parse(hdu_bytes, len, &h, why);
    if (st != ST_OK)
        return st;
    size_t head = (h.count + 36) / 36 * FITS_BLOCK;
    const unsigned char *bytes = hdu_bytes;
    uint64_t stated;
    char text[24];
    bool has_any = stated_datasum(&h, &stated) ||
                   (fits_header_text(&h, "CHECKSUM", text, sizeof text) && text[0]);
    if (has_any && (len % FITS_BLOCK || head > len))
        st = fault(why, ST_REJECT, "%zu bytes are no whole number of FITS blocks", len);
    else if (has_any)
        st = check(&h, bytes, head, fits_sum(bytes + head, len - head, 0), why);
    fits_header_free(&h);
    return st;
}
