/* Which files are to be shipped at all: of which proposals, of which exposure numbers, which ccds.
 * A value taken from the settings; any thread. */
#ifndef SKYFERRY_WANTED_H
#define SKYFERRY_WANTED_H

#include "push/survey.h"

struct wanted {
    char proposals[512]; /* comma-separated, case ignored; "": any */
    int first, last;     /* exposure numbers; 0: no bound */
    int share, shares;   /* this agent's part of the exposures; 1, 1: all */
};

/* False with the reason in why (graded OK, as it is no fault). */
bool wanted_file(const struct wanted *w, const struct camera *camera, const struct survey *s,
                 struct fault *why);

/* "2/6", or "" for all; false, and all, when it is neither. */
bool wanted_share(const char *text, int *share, int *shares);

#endif
