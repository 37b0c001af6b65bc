#include "pull/provenance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const keys[] = {
    "SFCODEC", "SFQSTEP", "SFRATIO", "SFRMS",  "SFMAXERR", "SFBOUND", "SFEXACT", "SFPROOF", "SFSKY",
    "SFNOISE", "SFRDN",   "SFGAIN",  "SFSRC",  "SFSHA",    "SFEXT",   "SFHDU",   "SFVERS",  NULL};

void provenance_drop(struct fits_header *h)
{
    for (const char *const *key = keys; *key; key++)
        fits_header_remove(h, *key);
}

/* A measured number, as far as it means something. */
static bool add_measured(struct fits_header *h, const char *key, double value, const char *comment)
{
    char digits[32];
    if (!isfinite(value))
        return true;
    snprintf(digits, sizeof digits, "%.5g", value);
    return fits_header_add_real(h, key, strtod(digits, NULL), comment);
}

static bool add_errors(struct fits_header *h, const struct passage *p)
{
    const struct measures *found = &p->one->measured;
    bool failed = p->proof == PROOF_FAILED;
    bool counted = p->exact >= 0 || isfinite(found->bound);
    return (failed ||
            (add_measured(h, "SFRMS", found->rms_error, "[adu] rms error of these pixels") &&
             add_measured(h, "SFMAXERR", found->max_error, "[adu] largest error of these pixels") &&
             add_measured(h, "SFBOUND", found->bound, "[adu] promised: no error is larger"))) &&
           (!counted || fits_header_add_int(h, "SFEXACT", p->exact > 0 ? p->exact : 0,
                                            "pixels that travelled exactly")) &&
           (p->proof == PROOF_UNSTATED ||
            fits_header_add_logical(h, "SFPROOF", !failed, "T: as the sender measured them"));
}

static bool add_sky(struct fits_header *h, const struct measures *found)
{
    return add_measured(h, "SFSKY", found->sky, "[adu] median of the raw sky, bias included") &&
           add_measured(h, "SFNOISE", found->noise, "[adu] noise of a raw sky pixel, 1 sigma") &&
           add_measured(h, "SFRDN", found->read_noise, "[adu] read noise of a raw pixel") &&
           add_measured(h, "SFGAIN", found->gain, "[electron/adu] gain of the raw pixels");
}

bool provenance_add(struct fits_header *h, const struct passage *p)
{
    const struct member *one = p->one;
    /* Two decimals, so that the card reads as what it is: a rough figure. */
    double ratio = p->sent > 0 ? (double)one->raw_size / (double)p->sent : 0;
    ratio = round(ratio * 100) / 100;
    return fits_header_add_text(h, "SFCODEC", one->codec, "how the pixels travelled (skyferry)") &&
           fits_header_add_real(h, "SFQSTEP", one->qstep,
                                "quantisation step of 16-bit range; 0: exact") &&
           fits_header_add_real(h, "SFRATIO", ratio, "bytes before / bytes on the wire") &&
           add_errors(h, p) && add_sky(h, &one->measured) &&
           fits_header_add_text(h, "SFSRC", p->m->source_name, "source file; SFSHA: its SHA-256") &&
           fits_header_add_text(h, "SFSHA", p->m->source_sha256, NULL) &&
           fits_header_add_text(h, "SFEXT", one->extname, "EXTNAME in the source file") &&
           fits_header_add_int(h, "SFHDU", one->hdu, "HDU in the source file, 0 = primary") &&
           fits_header_add_text(h, "SFVERS", p->m->software, "software that encoded it");
}
