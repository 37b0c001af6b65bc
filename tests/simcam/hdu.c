#include "hdu.h"

#include <endian.h>
#include <fitsio.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 2880

/* What cfitsio needs before an extension when it reads one from memory. Left out of the file. */
static const char *const stub_cards[] = {
    "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0",
    "EXTEND  =                    T",
};

int
hdu_start(void)
{
    return fits_init_cfitsio() == 0 ? 0 : -1;
}

int
hdu_create(struct hdu *h, const struct cards *cards, size_t data, uint16_t **pixels)
{
    const size_t header = cards_bytes(cards);
    const size_t padded = (data + BLOCK - 1) / BLOCK * BLOCK;

    *h = (struct hdu){.start = BLOCK, .size = header + padded};
    if (cards->failed || (h->bytes = calloc(1, h->start + h->size)) == NULL)
        return -1;
    memset(h->bytes, ' ', BLOCK);
    for (size_t i = 0; i < sizeof(stub_cards) / sizeof(stub_cards[0]); i++)
        memcpy(h->bytes + i * CARD_SIZE, stub_cards[i], strlen(stub_cards[i]));
    memcpy(h->bytes + CARD_SIZE * sizeof(stub_cards) / sizeof(stub_cards[0]), "END", 3);
    cards_write(cards, (char *)h->bytes + h->start);
    if (pixels != NULL)
        *pixels = (uint16_t *)(void *)(h->bytes + h->start + header);
    return 0;
}

/* Ones' complement sum of big-endian 32-bit words. */
static uint32_t
sum_words(const unsigned char *bytes, size_t size)
{
    uint64_t sum = 0;

    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t word;

        memcpy(&word, bytes + i, sizeof(word));
        sum += be32toh(word);
    }
    while (sum >> 32 != 0)
        sum = (sum & 0xffffffffu) + (sum >> 32);
    return (uint32_t)sum;
}

/* The card of a keyword in a header that ends with END, or NULL. */
static unsigned char *
find_card(unsigned char *header, size_t size, const char *key)
{
    char wanted[9];

    (void)snprintf(wanted, sizeof(wanted), "%-8s", key);
    for (size_t at = 0; at + CARD_SIZE <= size; at += CARD_SIZE) {
        if (memcmp(header + at, wanted, 8) == 0)
            return header + at;
        if (memcmp(header + at, "END     ", 8) == 0)
            break;
    }
    return NULL;
}

void
hdu_seal(struct hdu *h)
{
    unsigned char *start = h->bytes + h->start;
    unsigned char *end = find_card(start, h->size, "END");
    unsigned char *checksum = find_card(start, h->size, "CHECKSUM");
    unsigned char *datasum = find_card(start, h->size, "DATASUM");
    char text[24];

    if (end == NULL || checksum == NULL || datasum == NULL)
        return;
    const size_t header = ((size_t)(end - start) / BLOCK + 1) * BLOCK;
    (void)snprintf(text, sizeof(text), "%-10lu", (unsigned long)sum_words(start + header, h->size - header));
    memcpy(datasum + 11, text, 10);
    memcpy(checksum + 11, "0000000000000000", 16);
    fits_encode_chksum(sum_words(start, h->size), 1, text);
    memcpy(checksum + 11, text, 16);
}

/* Give the compressed HDU the checksum cards of the plain one, whose comments carry no clock; hdu_seal fills them anew. */
static void
copy_checksum_cards(const struct hdu *plain, fitsfile *out, int *status)
{
    static const char *const keys[] = {"CHECKSUM", "DATASUM"};

    for (int i = 0; i < 2; i++) {
        const unsigned char *card = find_card(plain->bytes + plain->start, plain->size, keys[i]);
        char text[CARD_SIZE + 1];

        if (card == NULL)
            return;
        memcpy(text, card, CARD_SIZE);
        text[CARD_SIZE] = '\0';
        fits_write_record(out, text, status);
    }
}

/* Compress the image in an open memory file into another, and tell where its HDU stands there. */
static void
compress_into(const struct hdu *plain, fitsfile *in, fitsfile *out, struct hdu *packed, int *status)
{
    LONGLONG head = 0, data = 0, end = 0;

    fits_movabs_hdu(in, 2, NULL, status);
    fits_set_compression_type(out, RICE_1, status);
    fits_img_compress(in, out, status);
    copy_checksum_cards(plain, out, status);
    fits_flush_file(out, status);
    fits_get_hduaddrll(out, &head, &data, &end, status);
    packed->start = (size_t)head;
    packed->size = (size_t)(end - head);
}

/*
 * How cfitsio's memory file changes its size. cfitsio cuts the file after the header and stretches it again over the table's
 * rows, then looks into the rows for heap space to use again: on a disk they would be zero, after realloc they are whatever
 * memory held before, and the table comes out wrong. So: never shrink, and clear all that is new.
 */
static void *
resize(void *bytes, size_t size)
{
    const size_t held = bytes == NULL ? 0 : malloc_usable_size(bytes);
    unsigned char *grown;

    if (size <= held)
        return bytes;
    grown = realloc(bytes, size);
    if (grown != NULL)
        memset(grown + held, 0, malloc_usable_size(grown) - held);
    return grown;
}

int
hdu_compress(struct hdu *h, char *why, size_t why_size)
{
    size_t in_size = h->start + h->size, out_size = 0;
    void *in_bytes = h->bytes, *out_bytes = NULL;
    fitsfile *in = NULL, *out = NULL;
    struct hdu packed = {0};
    int status = 0, ignored = 0;
    char text[FLEN_STATUS];

    fits_open_memfile(&in, "simcam", READONLY, &in_bytes, &in_size, 0, NULL, &status);
    fits_create_memfile(&out, &out_bytes, &out_size, h->size / 8 + BLOCK, resize, &status);
    compress_into(h, in, out, &packed, &status);
    if (out != NULL)
        fits_close_file(out, status == 0 ? &status : &ignored);
    ignored = 0;
    if (in != NULL)
        fits_close_file(in, &ignored);
    packed.bytes = out_bytes;
    if (status != 0) {
        fits_get_errstatus(status, text);
        (void)snprintf(why, why_size, "cfitsio: %s", text);
        fits_clear_errmsg();
        hdu_free(&packed);
        return -1;
    }
    hdu_seal(&packed);
    hdu_free(h);
    *h = packed;
    return 0;
}

void
hdu_free(struct hdu *h)
{
    free(h->bytes);
    *h = (struct hdu){0};
}
