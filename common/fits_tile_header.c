#include "common/fits_private.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* How the image's structural cards are called inside the table (FITS standard 4.0,
 * section 10.1). '#' stands for a number. */
static const struct {
    const char *image, *table;
} renamed[] = {{"SIMPLE", "ZSIMPLE"},   {"XTENSION", "ZTENSION"}, {"BITPIX", "ZBITPIX"},
               {"NAXIS", "ZNAXIS"},     {"NAXIS#", "ZNAXIS#"},    {"EXTEND", "ZEXTEND"},
               {"BLOCKED", "ZBLOCKED"}, {"PCOUNT", "ZPCOUNT"},    {"GCOUNT", "ZGCOUNT"},
               {"CHECKSUM", "ZHECKSUM"}, {"DATASUM", "ZDATASUM"}};

/* The table's own cards, which are no part of the image's header. */
static const char *const dropped[] = {"XTENSION", "BITPIX",   "NAXIS",    "NAXIS#", "PCOUNT",
                                      "GCOUNT",   "TFIELDS",  "TTYPE#",   "TFORM#", "THEAP",
                                      "ZIMAGE",   "ZQUANTIZ", "ZDITHER0", "ZTILE#", "ZCMPTYPE",
                                      "ZBLANK",   "ZNAME#",   "ZVAL#",    "CHECKSUM", "DATASUM"};

/* Neither dropped nor renamed, but they steer the decompression: of the table ... */
static const char *const steering[] = {"ZSCALE", "ZZERO", "TSCAL#", "TZERO#", "TNULL#", "TDIM#"};
/* ... and of the image, where they are at home. */
static const char *const scaling[] = {"BSCALE", "BZERO", "BLANK", "ZBITPIX", "ZNAXIS", "ZNAXIS#"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Does the card's keyword fit the pattern? *digits: where the number begins, 0 for none. */
static bool fits_pattern(const char *card, const char *pattern, size_t *digits)
{
    size_t len = strcspn(pattern, "#");
    *digits = 0;
    if (memcmp(card, pattern, len) != 0)
        return false;
    if (pattern[len]) {
        *digits = len;
        if (len >= 8 || !isdigit((unsigned char)card[len]))
            return false;
        while (len < 8 && isdigit((unsigned char)card[len]))
            len++;
    }
    while (len < 8 && card[len] == ' ')
        len++;
    return len == 8;
}

static bool among(const char *card, const char *const *patterns, size_t count)
{
    size_t digits;
    for (size_t i = 0; i < count; i++)
        if (fits_pattern(card, patterns[i], &digits))
            return true;
    return false;
}

/* Copies a card under its other name; false when that name is too long. */
static bool rename_card(const char *card, const char *to, size_t digits, char out[FITS_CARD])
{
    size_t len = strcspn(to, "#");
    memcpy(out, card, FITS_CARD);
    memset(out, ' ', 8);
    memcpy(out, to, len);
    while (digits > 0 && digits < 8 && isdigit((unsigned char)card[digits])) {
        if (len == 8)
            return false;
        out[len++] = card[digits++];
    }
    return true;
}

/* The card as the image has it: 1 taken, 0 left out, -1 memory. */
static int unwrap_card(const char *card, bool structure, struct fits_header *out)
{
    char other[FITS_CARD];
    size_t digits;
    for (size_t i = 0; i < COUNT(renamed); i++)
        if (fits_pattern(card, renamed[i].table, &digits)) {
            if (!structure || !rename_card(card, renamed[i].image, digits, other))
                return 0;
            return fits_header_append(out, other) ? 1 : -1;
        }
    if (among(card, dropped, COUNT(dropped)))
        return 0;
    return fits_header_append(out, card) ? 1 : -1;
}

/* Structural cards of an image that was compressed without a note of its own ones, as
 * cfitsio writes them. */
static bool invent_structure(const struct fits_header *table, struct fits_header *out)
{
    struct fits_axes a;
    char key[16], comment[32];
    if (fits_header_axes(table, "Z", &a, NULL) != ST_OK ||
        !fits_header_add_text(out, "XTENSION", "IMAGE", "IMAGE extension") ||
        !fits_header_add_int(out, "BITPIX", a.bitpix, "number of bits per data pixel") ||
        !fits_header_add_int(out, "NAXIS", a.naxis, "number of data axes"))
        return false;
    for (int i = 1; i <= a.naxis; i++) {
        snprintf(key, sizeof key, "NAXIS%d", i);
        snprintf(comment, sizeof comment, "length of data axis %d", i);
        if (!fits_header_add_int(out, key, a.n[i - 1], comment))
            return false;
    }
    return fits_header_add_int(out, "PCOUNT", 0, "required keyword; must = 0") &&
           fits_header_add_int(out, "GCOUNT", 1, "required keyword; must = 1");
}

static bool is_blank(const char *card)
{
    for (int i = 0; i < FITS_CARD; i++)
        if (card[i] != ' ')
            return false;
    return true;
}

enum status fits_tile_header(const struct fits_header *table, bool exact,
                             struct fits_header *out, struct fault *why)
{
    bool noted = fits_header_find(table, "ZSIMPLE") >= 0 ||
                 fits_header_find(table, "ZTENSION") >= 0;
    bool ok = noted || invent_structure(table, out);
    for (size_t i = 0; ok && i < table->count; i++) {
        const char *card = table->cards + i * FITS_CARD;
        if (exact || memcmp(card, "EXTNAME = 'COMPRESSED_IMAGE'", 28) != 0)
            ok = unwrap_card(card, noted, out) >= 0;
    }
    /* Blank cards before END are room that some program left; funpack takes them so, too. */
    while (!exact && out->count > 0 && is_blank(out->cards + (out->count - 1) * FITS_CARD))
        out->count--;
    return ok ? ST_OK : fault(why, ST_RETRY, "no memory for a header of %zu cards", table->count);
}

bool fits_tile_can_carry(const struct fits_header *image)
{
    size_t digits;
    for (size_t i = 0; i < image->count; i++) {
        const char *card = image->cards + i * FITS_CARD;
        char other[FITS_CARD];
        bool known = false;
        for (size_t k = 0; k < COUNT(renamed); k++) {
            if (fits_pattern(card, renamed[k].table, &digits))
                return false;
            if (fits_pattern(card, renamed[k].image, &digits)) {
                known = rename_card(card, renamed[k].table, digits, other);
                if (!known)
                    return false;
            }
        }
        if (!known && (among(card, dropped, COUNT(dropped)) ||
                       among(card, steering, COUNT(steering))))
            return false;
    }
    return image->count > 0 && (fits_card_is(image->cards, "SIMPLE") ||
                                fits_card_is(image->cards, "XTENSION"));
}

bool fits_tile_wrap(const struct fits_header *image, struct fits_header *table)
{
    size_t digits;
    for (size_t i = 0; i < image->count; i++) {
        const char *card = image->cards + i * FITS_CARD;
        char other[FITS_CARD];
        for (size_t k = 0; k < COUNT(renamed); k++)
            if (fits_pattern(card, renamed[k].image, &digits)) {
                if (!rename_card(card, renamed[k].table, digits, other))
                    return false;
                card = other;
                break;
            }
        if (!fits_header_append(table, card))
            return false;
    }
    return true;
}

enum status fits_tile_core(const struct fits_header *table, struct fits_header *out,
                           struct fault *why)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *card = table->cards + i * FITS_CARD;
        char key[FITS_CARD + 1], text[FITS_CARD];
        double number;
        bool logical;
        bool take = (among(card, dropped, COUNT(dropped)) && !fits_card_is(card, "CHECKSUM") &&
                     !fits_card_is(card, "DATASUM")) ||
                    among(card, steering, COUNT(steering)) || among(card, scaling, COUNT(scaling));
        fits_card_keyword(card, key);
        if (!take || fits_header_find(table, key) != (long)i)
            continue;
        if (!fits_header_real(table, key, &number) && !fits_header_logical(table, key, &logical) &&
            !fits_header_text(table, key, text, sizeof text))
            return fault(why, ST_REJECT, "the value of %s is malformed", key);
        if (!fits_header_append(out, card))
            return fault(why, ST_RETRY, "no memory for a header");
    }
    return ST_OK;
}
