/* The cards at the end of every delivered header: where the pixels came from, what was done to
 * them, and what the raw ones measured (the table is in skyferry-bundle(5)). Called for each
 * image by unpack; plain values, any thread. */
#ifndef SKYFERRY_PULL_PROVENANCE_H
#define SKYFERRY_PULL_PROVENANCE_H

#include "common/fits.h"
#include "common/manifest.h"

/* Are the delivered pixels those whose DATASUM the sender stated? */
enum proof {
    PROOF_UNSTATED, /* it stated none */
    PROOF_GIVEN,
    PROOF_FAILED    /* others: what it measured of its own does not hold */
};

struct passage {
    const struct manifest *m;
    const struct member *one; /* the image's */
    int64_t sent;             /* bytes on the wire, of all its members but the header's */
    int64_t exact;            /* pixels that came exactly beside a lossy picture; -1: no member */
    enum proof proof;
};

/* Removes an earlier passage's cards. */
void provenance_drop(struct fits_header *h);
/* Appends this passage's. What was not measured has no card; numbers that were are rounded to five
 * digits. False when memory is out. */
bool provenance_add(struct fits_header *h, const struct passage *p);

#endif
