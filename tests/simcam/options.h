/*
 * options.h - the command line of the simulated camera.
 *
 * One table of rows (options.c) holds every option with its range, default and sentence; the parser and --help come from it.
 * All problems are reported, not only the first. Main thread only; the strings belong to argv.
 */
#ifndef SIMCAM_OPTIONS_H
#define SIMCAM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "plan.h"

struct options {
    /* where and how the files appear */
    const char *out, *subdir, *prefix, *name_pattern;
    long layout, format, style;         /* index of the choice in the table; as is layout */
    double write_seconds;
    bool no_checksum, force, quiet;
    const char *truth;
    /* what is observed */
    long type;
    const char *night, *program, *object, *filter, *date_obs, *propid, *observer;
    double ra, dec, exptime, cadence;
    long count, expnum;
    /* the camera */
    long ccds, width, height, dead_ccd, wcs;
    double seeing, sky, pointing_error;
    long seed, threads;
    bool help;
    /* made from the above by options_parse */
    struct plan plan;
    int64_t start;              /* of the first exposure, when.h */
    char directory[3584];       /* out and subdir joined */
};

enum { LAYOUT_DECAM, LAYOUT_HSC };
enum { FORMAT_FITS, FORMAT_FZ };
enum { WCS_TAN, WCS_TPV };

#define OPTIONS_UNSET (-1000.0)         /* a number that was not given */
#define OPTIONS_ROOT 200                /* room for a file's name without extension */

/* Read the command line; 0, or -1 with every problem said on standard error. */
int options_parse(struct options *o, int argc, char *argv[]);

/* Print the help that the table holds. */
void options_help(FILE *to);

/* The name of an exposure's file, without extension. */
void options_file_root(const struct options *o, long expnum, char root[OPTIONS_ROOT]);

void options_free(struct options *o);

#endif
