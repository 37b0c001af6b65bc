/* What each HDU of an exposure came to in its bundle, and what follows for the steps of those to
 * come: the pace (push/pace.h) hears of an item a fixed number of items late, whatever the number
 * of threads, so that the same file gives the same bytes. Main thread only. */
#ifndef SKYFERRY_LEDGER_H
#define SKYFERRY_LEDGER_H

#include "common/fidelity.h"
#include "push/pace.h"
#include "push/survey.h"

/* An item's steps follow from what those up to so many before it came to: hence no more of them
 * may be under way. */
#define LEDGER_LAG 16

struct ledger_item {
    double rung;        /* 0: no picture */
    int64_t raw, bytes; /* of its plane; in the bundle */
};

struct ledger {
    struct pace pace;
    struct ledger_item *item; /* owned */
    size_t told;              /* the pace has heard of so many */
};

/* items: HDUs and what trails them. False: no memory. */
bool ledger_begin(struct ledger *l, const struct fidelity *f, const struct survey *s, size_t items);
void ledger_free(struct ledger *l);
/* The rung for the image `item`, in order; all items LEDGER_LAG before it are written. */
double ledger_rung(struct ledger *l, size_t item, const struct fits_hdu *hdu);
/* rung 0: the item is no picture. */
void ledger_wrote(struct ledger *l, size_t item, double rung, const struct fits_hdu *hdu,
                  int64_t bytes);
/* All `items` are written: the pace of the whole, 0 where no ratio was wanted. */
double ledger_end(struct ledger *l, size_t items);

#endif
