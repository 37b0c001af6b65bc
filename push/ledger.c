#include "push/ledger.h"

#include <stdlib.h>

bool ledger_begin(struct ledger *l, const struct fidelity *f, const struct survey *s, size_t items)
{
    int64_t raw = 0;
    for (size_t i = 0; i < s->layout.count; i++)
        if (s->ccd[i] > 0)
            raw += survey_image_bytes(&s->layout.hdu[i]);
    double rung = fidelity_rung(f), pace = f->pace > 0 ? f->pace : 1;
    *l = (struct ledger){.item = calloc(items ? items : 1, sizeof *l->item)};
    pace_begin(&l->pace, rung > 0 && !(f->noise > 0) ? rung * pace : 0, rung, pace, raw);
    return l->item != NULL;
}

void ledger_free(struct ledger *l)
{
    free(l->item);
    l->item = NULL;
}

static void tell(struct ledger *l, size_t end)
{
    for (; l->told < end; l->told++) {
        const struct ledger_item *i = &l->item[l->told];
        if (i->rung > 0)
            pace_wrote(&l->pace, i->rung, i->raw, i->bytes);
        else
            pace_wrote_other(&l->pace, i->bytes);
    }
}

double ledger_rung(struct ledger *l, size_t item, const struct fits_hdu *hdu)
{
    tell(l, item < LEDGER_LAG ? 0 : item - LEDGER_LAG);
    return pace_next(&l->pace, survey_image_bytes(hdu));
}

void ledger_wrote(struct ledger *l, size_t item, double rung, const struct fits_hdu *hdu,
                  int64_t bytes)
{
    l->item[item] = (struct ledger_item){rung, survey_image_bytes(hdu), bytes};
}

double ledger_end(struct ledger *l, size_t items)
{
    tell(l, items);
    return l->pace.wanted > 0 ? pace_result(&l->pace) : 0;
}
