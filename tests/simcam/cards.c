#include "cards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 2880

/* The next card, blank; NULL and failed when there is no memory. */
static char *
next_card(struct cards *c)
{
    if (c->count == c->room) {
        const size_t room = c->room == 0 ? 144 : 2 * c->room;
        char *grown = realloc(c->text, room * CARD_SIZE);

        if (grown == NULL) {
            c->failed = true;
            return NULL;
        }
        c->text = grown;
        c->room = room;
    }
    char *card = c->text + CARD_SIZE * c->count++;
    memset(card, ' ', CARD_SIZE);
    return card;
}

/* Keyword, value as formatted, comment from column 33 or where the value ends; the comment is cut at the end of the card. */
static void
add(struct cards *c, const char *key, const char *value, const char *comment)
{
    char line[2 * CARD_SIZE], tail[2 * CARD_SIZE];
    char *card = next_card(c);

    if (card == NULL)
        return;
    const int used = snprintf(line, sizeof(line), "%-8.8s= %-20s", key, value);
    if (used < 0 || used > CARD_SIZE) {
        c->failed = true;
        return;
    }
    memcpy(card, line, (size_t)used);
    const int more = comment == NULL ? 0 : snprintf(tail, sizeof(tail), " / %.*s", CARD_SIZE, comment);
    if (more > 0)
        memcpy(card + used, tail, (size_t)(more < CARD_SIZE - used ? more : CARD_SIZE - used));
}

void
cards_flag(struct cards *c, const char *key, bool value, const char *comment)
{
    add(c, key, value ? "                   T" : "                   F", comment);
}

void
cards_int(struct cards *c, const char *key, long value, const char *comment)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%20ld", value);
    add(c, key, text, comment);
}

void
cards_real(struct cards *c, const char *key, double value, int digits, const char *comment)
{
    char number[40], text[48];

    (void)snprintf(number, sizeof(number), "%.*G", digits, value);
    if (strpbrk(number, ".EN") == NULL)         /* a whole number needs a point to be a real */
        (void)snprintf(text, sizeof(text), "%19s.", number);
    else
        (void)snprintf(text, sizeof(text), "%20s", number);
    add(c, key, text, comment);
}

void
cards_text(struct cards *c, const char *key, const char *value, const char *comment)
{
    char quoted[CARD_SIZE], text[CARD_SIZE + 4];
    size_t n = 0;

    for (const char *p = value; *p != '\0'; p++) {
        if (n + 3 > sizeof(quoted) || *p < ' ' || *p > '~') {
            c->failed = true;
            return;
        }
        if (*p == '\'')
            quoted[n++] = '\'';
        quoted[n++] = *p;
    }
    quoted[n] = '\0';
    (void)snprintf(text, sizeof(text), "'%-8s'", quoted);
    add(c, key, text, comment);
}

void
cards_whole(struct cards *c, const char *card)
{
    const size_t n = strlen(card);
    char *place = next_card(c);

    if (place == NULL)
        return;
    if (n > CARD_SIZE)
        c->failed = true;
    else
        memcpy(place, card, n);
}

size_t
cards_bytes(const struct cards *c)
{
    return ((c->count + 1) * CARD_SIZE + BLOCK - 1) / BLOCK * BLOCK;
}

void
cards_write(const struct cards *c, char *header)
{
    const size_t used = c->count * CARD_SIZE;

    memset(header, ' ', cards_bytes(c));
    if (used > 0)
        memcpy(header, c->text, used);
    memcpy(header + used, "END", 3);
}

void
cards_free(struct cards *c)
{
    free(c->text);
    *c = (struct cards){0};
}
