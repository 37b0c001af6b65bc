/* A header whose astrometry is TAN-SIP made into one that is TPV, for programs that do not know
 * SIP (SWarp). Both place the same polynomials around a tangent plane, SIP before the CD matrix,
 * in pixels, TPV behind it, in degrees: the matrix put into the polynomials carries one into
 * the other without any fit, so that every pixel keeps its sky position to rounding.
 * Formulas: Shupe et al. 2005 (SIP); the FITS registry's TPV convention. Any thread; nothing is
 * kept between calls. */
#ifndef SKYFERRY_FITS_TPV_H
#define SKYFERRY_FITS_TPV_H

#include "common/fits.h"

/* TPV's numbers are for polynomials up to this degree; SIP goes to 9. */
#define FITS_TPV_DEGREE 7

/* *converted is false, and *out empty, when the header has nothing of SIP. Else *out (the
 * caller's to free) is the header with the CTYPEs renamed, the SIP cards gone, PVi_m in the place
 * of the first of them and every other card as it was, but for CROTAi and a tiled image's ZHECKSUM,
 * which go, and CDELTi and PCi_j, which become CDi_j; CHECKSUM too, which is then wrong.
 * REJECT, with the card named, when only part of SIP is there, a card is no number, is there
 * twice or contradicts another, or TPV cannot hold it: a degree above 7, a second distortion, a
 * matrix that joins the sky's axes with a third one. */
enum status fits_tpv_header(const struct fits_header *in, struct fits_header *out, bool *converted,
                            struct fault *why);

/* Such a header's bytes, whole blocks, appended to out; CHECKSUM, where there is one, made right for
 * a data unit of this sum. False, and nothing appended, when memory is out. */
bool fits_tpv_write(const struct fits_header *changed, uint32_t datasum, struct buf *out);

#endif
