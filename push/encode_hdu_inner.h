/* What encode_hdu.c and encode_image.c share: members of the HDU in hand. */
#ifndef SKYFERRY_ENCODE_HDU_INNER_H
#define SKYFERRY_ENCODE_HDU_INNER_H

#include "push/encode_hdu.h"

/* The next member to fill; its bytes go into h->bytes at the same place. */
struct member *encode_hdu_member(struct encode_hdu *h, enum member_role role, const char *codec,
                                 const char *suffix);
/* A member with these cards. */
enum status encode_hdu_header(struct encode_hdu *h, const struct fits_header *cards);
/* The HDU whole; its bytes are handed over. */
void encode_hdu_as_it_stands(struct encode_hdu *h, enum member_role role, struct buf *hdu);

/* An image: measured, encoded, proven (encode_image.c). */
enum status encode_hdu_image(struct encode_hdu *h, struct buf *hdu);

#endif
