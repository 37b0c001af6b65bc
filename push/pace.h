/* A wanted ratio held over an exposure without encoding anything twice. The ladder
 * (common/fidelity.h) promises a ratio for each of its rows; how far a sky keeps that promise,
 * its pace, is learned from the ccds already written, and the row for the next ccd is chosen so
 * that the whole exposure meets the ratio. The filter's last exposure gives the pace to begin
 * with. A plain value of the main thread; what it says depends on the order of calls only, so
 * that the same file gives the same bytes however many threads encode. */
#ifndef SKYFERRY_PACE_H
#define SKYFERRY_PACE_H

#include <stdint.h>

struct pace {
    double wanted;           /* ratio; 0: steps are fixed, only the rung counts */
    double rung, first;      /* fixed row; pace to begin with */
    double left;             /* raw bytes of images not given out yet */
    double total;            /* raw bytes of all images */
    double given_promised;   /* bytes that the rows promise for what is given out and not written */
    double promised, came;   /* the same for what is written, and what it came to */
    double written;          /* all bytes written, headers and tables too */
};

/* rung, pace: fidelity_rung's and fidelity.pace; ratio 0 keeps the rung for every ccd. */
void pace_begin(struct pace *p, double ratio, double rung, double pace, int64_t raw_bytes);
/* The row for the next image of so many raw bytes. */
double pace_next(struct pace *p, int64_t raw_bytes);
/* An image that pace_next gave this row came to so many bytes in the bundle. */
void pace_wrote(struct pace *p, double rung, int64_t raw_bytes, int64_t bytes);
/* Bytes of anything else. */
void pace_wrote_other(struct pace *p, int64_t bytes);
/* The pace of the whole, for the next exposure; what was given when nothing was written. */
double pace_result(const struct pace *p);

#endif
