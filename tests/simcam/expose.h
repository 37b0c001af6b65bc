/*
 * expose.h - make one exposure: CCDs on several threads, written in order by the caller's.
 *
 * Each worker takes the next CCD, makes its pixels and its HDU (compressed if asked) in its own memory and puts it into a
 * window of a few places; the calling thread writes them in order. Memory is bounded by the window, whatever the number of
 * CCDs, and the bytes do not depend on the number of threads.
 */
#ifndef SIMCAM_EXPOSE_H
#define SIMCAM_EXPOSE_H

#include <stdio.h>

#include "deliver.h"
#include "exposure.h"

struct expose_options {
    int threads;
    struct deliver_options deliver;
    const struct halt *halt;
    FILE *truth;                /* where the placed stars go as CSV, or NULL */
    bool quiet;                 /* do not print the path of the finished file */
};

/* The first line of a truth file. */
extern const char expose_truth_heading[];

/* With e->single it is a file for each CCD, and those finished before a stop or an error remain. 0 when the file has its final name, 1 when a stop was asked for (no file remains), -1 on error (said). */
int expose(const struct expose_options *o, const struct exposure *e);

#endif
