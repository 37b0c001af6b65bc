/* What a job measured: result.json, {"ccds": [{"ccd": 1, "background": ..., "noise": ...,
 * "saturated": ..., "stars": ..., "fwhm": ..., "error": "..."}, ...]}. A figure may be null
 * or missing, unknown keys are ignored. The file comes from a program that anybody may have
 * written: its size, its numbers and its ccds are checked. Any thread. */
#ifndef SKYFERRY_PULL_QUALITY_H
#define SKYFERRY_PULL_QUALITY_H

#include "pull/exposure.h"

#define QUALITY_MAX ((size_t)4 << 20)

/* Reads the file into the `quality` of those of the ccds that it names. REJECT with words
 * when it is too large, no JSON, of another shape, or names a ccd that is not among them.
 * *found is false (and OK returned) when there is no such file. */
enum status quality_read(const char *path, struct ccd *ccds, size_t count, bool *found,
                         struct fault *why);

/* A figure was measured (not NaN)? */
bool quality_known(double figure);

#endif
