/* How faithful delivered pixels must be, as it is configured, and what that means for the codec
 * of one ccd. Asked for is one of three: a step (qstep), a ratio, or an error relative to the sky
 * noise; the last two are turned into steps by a ladder, one for each method: rows of steps in
 * units of the noise, with the ratio and the error that sky-dominated 16-bit frames of a DECam
 * ccd have with them (measured; docs/performance.md). A row serves any frame, as bits a pixel
 * depend on the step's ratio to the noise only. Plain values; any thread. */
#ifndef SKYFERRY_FIDELITY_H
#define SKYFERRY_FIDELITY_H

#include "common/codec.h"
#include "common/noise.h"

#define FIDELITY_RATIO_DEFAULT 10.0
#define FIDELITY_RATIO_MIN 3.0
#define FIDELITY_RATIO_MAX 40.0

/* What must travel exactly, whatever the codec does to the rest: bits. */
enum { EXACT_SATURATED = 1, EXACT_OVERSCAN = 2, EXACT_MASKED = 4 };

struct fidelity {
    char method[16];       /* as configured */
    bool lossless;
    double qstep;          /* > 0: this step; else */
    double ratio;          /* > 0: 16-bit bytes over bytes sent, for the exposure; else */
    double noise;          /* > 0: rms error over the sky noise */
    double q;              /* quantized, when none of them is set: noise over step */
    double max_error;      /* > 0: no delivered pixel differs by more; ADU, */
    bool max_in_noise;     /* or in units of the sky noise */
    unsigned exact;
    char masks[4096];      /* for EXACT_MASKED: push/mask.h */
    double pace;           /* with ratio: what came out over what the ladder promises, in the
                              filter's last exposure; 1: not known */
};

/* Is nothing lost, whatever the image? (By method, or because lossless is asked for.) */
bool fidelity_is_exact(const struct fidelity *f);

/* Does the ladder decide, so that the sky must be measured? */
bool fidelity_by_noise(const struct fidelity *f);

/* Where on the ladder to begin, as a row's ratio; 0 when the ladder does not decide. With noise
 * each ccd finds its own row nearby: rounding to whole ADU is part of the error asked for. */
double fidelity_rung(const struct fidelity *f);

/* The error over the sky noise that the ladder gives this method at this ratio; 0: no ladder. */
double fidelity_error(const char *method, double ratio);

/* The codec's options for one ccd; *out points at f->method. The ladder gives no loss at all
 * without a noise above 0, when that needs no more bytes, and for integers of other than 16 bits
 * (they may be masks). */
void fidelity_options(const struct fidelity *f, double rung, const struct sky *sky, int bitpix,
                      struct codec_options *out);

/* The largest error allowed on this ccd, ADU; NaN: none was set, or the noise is not known. */
double fidelity_bound(const struct fidelity *f, const struct sky *sky);

/* "htj2k, ratio 10; max_error 4s; exact saturated": for people. ratio_max is that of method auto. */
void fidelity_text(const struct fidelity *f, double ratio_max, char *out, size_t size);

/* "3.5" (ADU) or "4s" (sky noise); "" is none. False: neither. */
bool fidelity_parse_bound(const char *text, double *value, bool *in_noise);
/* "saturated,overscan,masked", "" is none. False: an unknown word. */
bool fidelity_parse_exact(const char *text, unsigned *bits);

#endif
