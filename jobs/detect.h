/* Star count and seeing through source-extractor, when it is installed. */
#ifndef SKYFERRY_DETECT_H
#define SKYFERRY_DETECT_H

#include <stdbool.h>

#include "common/status.h"
#include "jobs/frame.h"

struct stars {
    int count;   /* detections of at least 5 pixels above 1.5 sigma, S/N over 10, no flags */
    double fwhm; /* median FWHM in pixels of the round ones with S/N over 50, or of all round
                    ones where fewer than 3 are so bright; NaN: fewer than 3 at all */
};

/* The program's path, or false when none is on PATH (Debian: source-extractor; elsewhere: sex). */
bool detect_find(char *path, size_t size);

/* Runs it on the frame with scratch files below `scratch`, removed again. noise is the sky
 * scatter in ADU: the threshold is set from it, not from the frame's own estimate. */
enum status detect_stars(const char *program, const struct frame *f, double noise,
                         const char *scratch, struct stars *out, struct fault *why);

#endif
