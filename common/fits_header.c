#include "common/fits_private.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_COLUMN 30 /* numbers end here in fixed format, comments follow */

static const char *card_at(const struct fits_header *h, size_t index)
{
    return h->cards + index * FITS_CARD;
}

/* Room is always a whole number of blocks, so that the struct needs no capacity. */
static size_t room_for(size_t count)
{
    return (count + 35) / 36 * FITS_BLOCK;
}

bool fits_header_append(struct fits_header *h, const char *card)
{
    if (h->count % 36 == 0) {
        char *more = realloc(h->cards, room_for(h->count + 1));
        if (!more)
            return false;
        h->cards = more;
    }
    memcpy(h->cards + h->count++ * FITS_CARD, card, FITS_CARD);
    return true;
}

long fits_find_end(const char *bytes, size_t len, size_t from)
{
    for (size_t at = from; at + FITS_CARD <= len; at += FITS_CARD)
        if (memcmp(bytes + at, "END     ", 8) == 0)
            return (long)at;
    return -1;
}

size_t fits_find_unprintable(const unsigned char *bytes, size_t len)
{
    size_t i = 0;
    while (i < len && bytes[i] >= 32 && bytes[i] <= 126)
        i++;
    return i;
}

enum status fits_header_parse(const void *bytes, size_t len, struct fits_header *out,
                              struct fault *why)
{
    *out = (struct fits_header){0};
    long end = fits_find_end(bytes, len, 0);
    size_t cards = (end < 0 ? len : (size_t)end) / FITS_CARD;
    size_t bad = fits_find_unprintable(bytes, cards * FITS_CARD);
    if (bad < cards * FITS_CARD)
        return fault(why, ST_REJECT,
                     "header card %zu has the byte 0x%02x in column %zu; FITS headers are "
                     "printable ASCII",
                     bad / FITS_CARD + 1, ((const unsigned char *)bytes)[bad], bad % FITS_CARD + 1);
    if (end < 0)
        return fault(why, ST_REJECT, "a header of %zu bytes has no END card", len);
    if (cards == 0)
        return ST_OK;
    out->cards = malloc(room_for(cards));
    if (!out->cards)
        return fault(why, ST_RETRY, "no memory for a header of %zu cards", cards);
    memcpy(out->cards, bytes, cards * FITS_CARD);
    out->count = cards;
    return ST_OK;
}

void fits_header_free(struct fits_header *h)
{
    free(h->cards);
    *h = (struct fits_header){0};
}

bool fits_header_copy(struct fits_header *to, const struct fits_header *from)
{
    *to = (struct fits_header){0};
    if (from->count == 0)
        return true;
    to->cards = malloc(room_for(from->count));
    if (!to->cards)
        return false;
    memcpy(to->cards, from->cards, from->count * FITS_CARD);
    to->count = from->count;
    return true;
}

bool fits_header_write(const struct fits_header *h, struct buf *out)
{
    size_t size = (h->count + 1 + 35) / 36 * FITS_BLOCK;
    if (!buf_reserve(out, size))
        return false;
    char *to = (char *)out->data + out->len;
    if (h->count)
        memcpy(to, h->cards, h->count * FITS_CARD);
    memset(to + h->count * FITS_CARD, ' ', size - h->count * FITS_CARD);
    memcpy(to + h->count * FITS_CARD, "END", 3);
    out->len += size;
    return true;
}

/* ---- finding ---- */

bool fits_card_is(const char *card, const char *keyword)
{
    size_t len = strlen(keyword);
    return len <= 8 && memcmp(card, keyword, len) == 0 &&
           memcmp(card + len, "        ", 8 - len) == 0;
}

/* HIERARCH is ESO's way of longer names; without a '=' it is a mere comment. */
static const char *hierarch_equals(const char *card)
{
    return memcmp(card, "HIERARCH ", 9) == 0 ? memchr(card, '=', FITS_CARD) : NULL;
}

void fits_card_keyword(const char *card, char out[FITS_CARD + 1])
{
    const char *equals = hierarch_equals(card);
    size_t len = equals ? (size_t)(equals - card) : 8;
    while (len > 0 && card[len - 1] == ' ')
        len--;
    memcpy(out, card, len);
    out[len] = '\0';
}

/* `wanted` may leave out the word HIERARCH when the name cannot be a plain keyword. */
static bool card_matches(const char *card, const char *wanted)
{
    if (strlen(wanted) <= 8)
        return fits_card_is(card, wanted);
    if (!hierarch_equals(card))
        return false;
    char keyword[FITS_CARD + 1];
    fits_card_keyword(card, keyword);
    return strcmp(keyword, wanted) == 0 || strcmp(keyword + 9, wanted) == 0;
}

long fits_header_find(const struct fits_header *h, const char *keyword)
{
    for (size_t i = 0; i < h->count; i++)
        if (card_matches(card_at(h, i), keyword))
            return (long)i;
    return -1;
}

/* ---- reading values ---- */

/* Where a card's value begins, NULL when it has none. *end is the card's end. */
static const char *card_value(const char *card, const char **end)
{
    const char *equals = hierarch_equals(card);
    *end = card + FITS_CARD;
    if (!equals && card[8] == '=')
        equals = card + 8;
    if (!equals)
        return NULL;
    const char *at = equals + 1;
    while (at < *end && *at == ' ')
        at++;
    return at < *end ? at : NULL;
}

/* Appends the quoted text at `at` to out; false when it is no text. */
static bool take_quoted(const char *at, const char *end, char *out, size_t size, size_t *used)
{
    if (at >= end || *at != '\'')
        return false;
    for (at++; at < end; at++) {
        if (*at == '\'') {
            if (at + 1 >= end || at[1] != '\'')
                return true;
            at++;
        }
        if (*used + 1 < size)
            out[(*used)++] = *at;
    }
    return true; /* a missing closing quote is a common slip: take what is there */
}

bool fits_card_continues(const struct fits_header *h, size_t index)
{
    return index > 0 && index < h->count && memcmp(card_at(h, index), "CONTINUE  ", 10) == 0;
}

bool fits_header_text(const struct fits_header *h, const char *keyword, char *out, size_t size)
{
    long found = fits_header_find(h, keyword);
    if (size == 0 || found < 0)
        return false;
    const char *end, *at = card_value(card_at(h, (size_t)found), &end);
    char text[FITS_CARD];
    size_t total = 0, used = 0;
    if (!at || !take_quoted(at, end, text, sizeof text, &used))
        return false;
    for (size_t next = (size_t)found + 1;; next++) {
        bool more = used > 0 && text[used - 1] == '&' && fits_card_continues(h, next);
        size_t take = more ? used - 1 : used;
        if (take > size - 1 - total)
            take = size - 1 - total;
        memcpy(out + total, text, take);
        total += take;
        if (!more)
            break;
        at = card_at(h, next) + 8;
        end = at + FITS_CARD - 8;
        while (at < end && *at == ' ')
            at++;
        used = 0;
        if (!take_quoted(at, end, text, sizeof text, &used))
            break;
    }
    while (total > 0 && out[total - 1] == ' ')
        total--;
    out[total] = '\0';
    return true;
}

/* The bare word of a number or logical, up to a comment or blank. */
static bool take_word(const struct fits_header *h, const char *keyword, char *out, size_t size)
{
    long found = fits_header_find(h, keyword);
    if (found < 0)
        return false;
    const char *end, *at = card_value(card_at(h, (size_t)found), &end);
    size_t len = 0;
    if (!at)
        return false;
    while (at + len < end && at[len] != ' ' && at[len] != '/')
        len++;
    const char *rest = at + len;
    while (rest < end && *rest == ' ')
        rest++;
    if (len == 0 || len >= size || (rest < end && *rest != '/'))
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

bool fits_header_int(const struct fits_header *h, const char *keyword, int64_t *out)
{
    char word[FITS_CARD], *end;
    if (!take_word(h, keyword, word, sizeof word) || !strpbrk(word, "0123456789"))
        return false;
    errno = 0;
    long long value = strtoll(word, &end, 10);
    if (*end || errno)
        return false;
    *out = value;
    return true;
}

bool fits_header_real(const struct fits_header *h, const char *keyword, double *out)
{
    char word[FITS_CARD], *end;
    if (!take_word(h, keyword, word, sizeof word))
        return false;
    /* strtod would also take "inf", "nan" and hexadecimal, which FITS does not know. */
    if (strspn(word, "+-.0123456789eEdD") != strlen(word))
        return false;
    for (char *p = word; *p; p++)
        if (*p == 'D' || *p == 'd')
            *p = 'E';
    double value = strtod(word, &end);
    if (end == word || *end || !isfinite(value))
        return false;
    *out = value;
    return true;
}

bool fits_header_logical(const struct fits_header *h, const char *keyword, bool *out)
{
    char word[FITS_CARD];
    if (!take_word(h, keyword, word, sizeof word))
        return false;
    if (strcmp(word, "T") != 0 && strcmp(word, "F") != 0)
        return false;
    *out = word[0] == 'T';
    return true;
}

void fits_card_comment(const char *card, char out[FITS_CARD + 1])
{
    const char *end, *at = card_value(card, &end);
    out[0] = '\0';
    if (!at || *at == '\'')
        return;
    at = memchr(at, '/', (size_t)(end - at));
    if (!at)
        return;
    for (at++; at < end && *at == ' ';)
        at++;
    size_t len = (size_t)(end - at);
    while (len > 0 && at[len - 1] == ' ')
        len--;
    memcpy(out, at, len);
    out[len] = '\0';
}

/* ---- writing ---- */

/* Values from outside may hold anything; a card holds printable ASCII only. */
static char printable(char c)
{
    return c >= 32 && c <= 126 ? c : '?';
}

/* "KEYWORD = value / comment" as one card, cut at 80 columns. */
static bool add_card(struct fits_header *h, const char *key, const char *value,
                     const char *comment)
{
    char card[FITS_CARD + 1], line[4 * FITS_CARD];
    if (strlen(key) > 8)
        snprintf(line, sizeof line, "HIERARCH %s = %s", key, value);
    else
        snprintf(line, sizeof line, "%-8s= %s", key, value);
    size_t used = strlen(line);
    if (comment && *comment)
        snprintf(line + used, sizeof line - used, "%*s / %s",
                 used < VALUE_COLUMN ? (int)(VALUE_COLUMN - used) : 0, "", comment);
    snprintf(card, sizeof card, "%-80.80s", line);
    for (int i = 0; i < FITS_CARD; i++)
        card[i] = printable(card[i]);
    return fits_header_append(h, card);
}

/* COMMENT and HISTORY take free text, cut into as many cards as it needs. */
static bool add_commentary(struct fits_header *h, const char *key, const char *text)
{
    size_t len = strlen(text), at = 0;
    do {
        char card[FITS_CARD + 1];
        snprintf(card, sizeof card, "%-8s%-72.72s", key, text + at);
        for (int i = 0; i < FITS_CARD; i++)
            card[i] = printable(card[i]);
        if (!fits_header_append(h, card))
            return false;
        at += FITS_CARD - 8;
    } while (at < len);
    return true;
}

/* Quotes as much of `text` as fits into `columns`, doubling quotes; returns characters taken. */
static size_t quote(const char *text, size_t columns, bool more, char *out)
{
    size_t used = 0, taken = 0, limit = columns - 2 - (more ? 1 : 0);
    out[used++] = '\'';
    for (; text[taken]; taken++) {
        size_t width = text[taken] == '\'' ? 2 : 1;
        if (used - 1 + width > limit)
            break;
        out[used++] = printable(text[taken]);
        if (width == 2)
            out[used++] = '\'';
    }
    while (!more && used < 9)
        out[used++] = ' ';
    if (more)
        out[used++] = '&';
    out[used++] = '\'';
    out[used] = '\0';
    return taken;
}

bool fits_header_add_text(struct fits_header *h, const char *key, const char *value,
                          const char *comment)
{
    if (strcmp(key, "COMMENT") == 0 || strcmp(key, "HISTORY") == 0)
        return add_commentary(h, key, value);
    char quoted[FITS_CARD + 8];
    size_t columns = strlen(key) > 8 ? FITS_CARD - 12 - strlen(key) : FITS_CARD - 10;
    if (columns > FITS_CARD || columns < 12)
        return false; /* the keyword leaves no room for a value */
    if (quote(value, columns, false, quoted) == strlen(value))
        return add_card(h, key, quoted, comment);
    value += quote(value, columns, true, quoted);
    if (!add_card(h, key, quoted, NULL))
        return false;
    for (bool last = false; !last;) {
        char card[FITS_CARD + 1];
        last = quote(value, FITS_CARD - 10, false, quoted) == strlen(value);
        if (!last)
            value += quote(value, FITS_CARD - 10, true, quoted);
        snprintf(card, sizeof card, "CONTINUE  %-70.70s", quoted);
        if (!fits_header_append(h, card))
            return false;
    }
    return true;
}

bool fits_header_add_int(struct fits_header *h, const char *key, int64_t value, const char *comment)
{
    char text[32];
    snprintf(text, sizeof text, "%20" PRId64, value);
    return add_card(h, key, text, comment);
}

bool fits_header_add_real(struct fits_header *h, const char *key, double value, const char *comment)
{
    char digits[32], text[40], wide[48];
    if (!isfinite(value))
        return add_card(h, key, "", comment); /* FITS has no such number: value undefined */
    snprintf(digits, sizeof digits, "%.15G", value);
    if (strtod(digits, NULL) != value)
        snprintf(digits, sizeof digits, "%.17G", value);
    snprintf(text, sizeof text, "%s%s", digits, strpbrk(digits, ".E") ? "" : ".0");
    snprintf(wide, sizeof wide, "%20s", text);
    return add_card(h, key, wide, comment);
}

bool fits_header_add_logical(struct fits_header *h, const char *key, bool value,
                             const char *comment)
{
    char text[32];
    snprintf(text, sizeof text, "%20s", value ? "T" : "F");
    return add_card(h, key, text, comment);
}

void fits_header_remove(struct fits_header *h, const char *keyword)
{
    size_t kept = 0;
    bool dropping = false;
    for (size_t i = 0; i < h->count; i++) {
        bool continues = fits_card_continues(h, i);
        dropping = continues ? dropping : card_matches(card_at(h, i), keyword);
        if (dropping)
            continue;
        if (kept != i)
            memcpy(h->cards + kept * FITS_CARD, card_at(h, i), FITS_CARD);
        kept++;
    }
    h->count = kept;
}
