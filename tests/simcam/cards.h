/*
 * cards.h - a growing FITS header: 80-character cards in fixed format (FITS standard 4.0, section 4.2).
 *
 * Start from {0}; add cards in order; errors (no memory, a bad value) stick and show in failed, so a caller looks once at the
 * end. Values and comments must be printable ASCII; a comment that does not fit is cut, a value never is. One thread.
 */
#ifndef SIMCAM_CARDS_H
#define SIMCAM_CARDS_H

#include <stdbool.h>
#include <stddef.h>

#define CARD_SIZE 80
#define CARD_TEXT_MAX 64        /* longest string value that is sure to fit, quotes doubled or not being the caller's care */

struct cards {
    char *text;                 /* count * CARD_SIZE characters, no terminator */
    size_t count, room;
    bool failed;
};

void cards_flag(struct cards *c, const char *key, bool value, const char *comment);
void cards_int(struct cards *c, const char *key, long value, const char *comment);
/* digits is the number of significant digits. */
void cards_real(struct cards *c, const char *key, double value, int digits, const char *comment);
void cards_text(struct cards *c, const char *key, const char *value, const char *comment);
/* A card given whole (HIERARCH, COMMENT), padded here. */
void cards_whole(struct cards *c, const char *card);

/* Bytes that the header fills in a file, with END and padded to a whole block. */
size_t cards_bytes(const struct cards *c);

/* Write the header into cards_bytes(c) bytes. */
void cards_write(const struct cards *c, char *header);

void cards_free(struct cards *c);

#endif
